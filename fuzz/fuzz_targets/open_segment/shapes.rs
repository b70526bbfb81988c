//! The valid segments that are scribbled on.

use crate::patch::MEMBERS;
use commonhold::{Array, Atomics, Condvar, Mutex, Queue, Result, SegmentOptions, Value};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;

/// A valid segment of each shape, made once.
pub fn valid(shape: u8) -> &'static [u8] {
    static MADE: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    let all = MADE.get_or_init(|| {
        (0..3)
            .map(|i| make([16, 12, 11][i], i == 0).unwrap())
            .collect()
    });
    &all[usize::from(shape) % all.len()]
}

fn make(max_objects: u32, leave_member: bool) -> Result<Vec<u8>> {
    let seg = SegmentOptions::new()
        .capacity(8192)
        .max_members(MEMBERS as u32)
        .max_objects(max_objects)
        .anonymous()?;
    let file = File::from(seg.as_fd().try_clone_to_owned().unwrap());
    Value::create(&seg, "value", 7u64)?.set(8)?;
    Value::create(&seg, "flag", true)?;
    Array::from_slice(&seg, "array", &[1u32, 2, 3, 4, 5])?;
    Array::create(&seg, "wide", 3, [9u8; 24])?;
    Array::create(&seg, "empty", 0, 0u8)?;
    Atomics::<AtomicU64>::create(&seg, "atomics", 4)?;
    let mutex = Mutex::create(&seg, "mutex", 1u64)?;
    Condvar::create(&seg, "condvar")?;
    Queue::create(&seg, "queue", 5)?.send_all(&[1u64, 2, 3])?;
    let closed = Queue::create(&seg, "closed", 3)?;
    closed.send(true)?;
    closed.close();
    Queue::create(&seg, "wide queue", 4)?.send([5u8; 24])?;
    if leave_member {
        // A dead member, and a lock in its hands.
        std::mem::forget(mutex.lock()?);
    } else {
        drop((mutex, closed, seg));
    }
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    Ok(bytes)
}

/// What they hold.
pub const NAMES: [&str; 11] = [
    "value",
    "flag",
    "array",
    "wide",
    "empty",
    "atomics",
    "mutex",
    "condvar",
    "queue",
    "closed",
    "wide queue",
];
