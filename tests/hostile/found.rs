//! What a look at the code with an attacker's eyes has found: one test each. (Two more stand beside the code: in
//! `src/raw/mutex.rs` and `src/raw/queue.rs`.)

use crate::layout::{Layout, SLOTS};
use crate::region::Region;
use crate::support::{Forked, Name};
use crate::watch::GRACE;
use commonhold::{Array, Error, Place, Queue, Segment, Value};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_millis(10);

#[test]
fn writers_that_are_quicker_than_one_looks_do_not_outlast_a_deadline() {
    let seg = Segment::anonymous(1 << 16).unwrap();
    let value = Value::create(&seg, "value", 0u64).unwrap();
    let start = Instant::now();
    let waited = value.wait_until_timeout(SOON, |n| {
        assert!(start.elapsed() < SOON + GRACE, "it looks on and on");
        value.set(n + 1).unwrap();
        false
    });
    assert!(matches!(waited, Err(Error::Timeout)));
}

/// So long that a reading takes longer than the time between two strikes, also when the striker is not running all the time.
type Huge = [u64; 1 << 17];

#[test]
fn a_version_that_never_stands_still_does_not_outlast_a_deadline() {
    let name = Name::new("restless");
    let seg = Segment::create(&name, 1 << 22).unwrap();
    // A stack for some values of that size.
    let stack = std::thread::Builder::new().stack_size(1 << 26);
    let seg_there = seg.clone();
    let maker = move || Value::<Huge>::create(&seg_there, "value", [1; 1 << 17]).unwrap();
    let value = stack.spawn(maker).unwrap().join().unwrap();
    let region = Region::open(&name);
    let at = Layout::of(&region).object("value").offset;
    // The writers' lock names somebody who lives (this process), so that a reader gets no turn among them.
    region.put(at, 4, (region.get(SLOTS, 8) >> 1 & 0xF_FFFF) << 10);
    assert!(region.is_held_by_the_living(at));
    let limit = SOON + GRACE;
    let (start, done) = (Instant::now(), AtomicBool::new(false));
    let flip = || {
        let mut version = 0;
        while !done.load(Relaxed) && start.elapsed() < limit + GRACE {
            // Many for each look at the clock.
            for _ in 0..1000 {
                version += 1;
                region.put(at + 8, 8, version);
            }
        }
    };
    let took = std::thread::scope(|s| {
        s.spawn(flip);
        s.spawn(flip);
        let read = || {
            let waited = value.wait_until_timeout(SOON, |_| false).map(drop);
            (waited, start.elapsed())
        };
        let stack = std::thread::Builder::new().stack_size(1 << 26);
        let (waited, took) = stack.spawn_scoped(s, read).unwrap().join().unwrap();
        done.store(true, Relaxed);
        assert!(matches!(waited, Err(Error::Timeout)));
        took
    });
    assert!(took < limit, "{took:?}");
}

#[test]
fn a_length_beyond_all_memory_is_an_error_and_no_abort() {
    // Capacity is address space and costs nothing; this one leaves no room for a copy of itself.
    const CAPACITY: u64 = 1 << 46;
    let name = Name::new("vast");
    let seg = match Segment::create(&name, CAPACITY as usize) {
        Err(Error::OutOfSpace {
            place: Place::AddressSpace,
            ..
        }) => return eprintln!("skipped: no such address space"),
        other => other.unwrap(),
    };
    Queue::<u64>::create(&seg, "queue", 4).unwrap();
    Array::create(&seg, "array", 4, 1u64).unwrap();
    let region = Region::beginning_of(&name, Some(1 << 16));
    for object in Layout::of(&region).objects {
        let more = (CAPACITY - 4096) / 8;
        region.put(object.entry + 24, 8, object.size + more * 8);
        region.put(object.entry + 32, 8, object.len + more);
    }
    // An abort ends only the child.
    Forked::start(|| {
        let queue = Queue::<u64>::open(&seg, "queue").unwrap();
        let array = Array::<u64>::open(&seg, "array").unwrap();
        queue.send(1).unwrap();
        let results = [
            queue.try_recv_many(&mut Vec::new(), usize::MAX).map(drop),
            array.to_vec().map(drop),
        ];
        for result in results {
            let no_memory = matches!(
                result,
                Err(Error::OutOfSpace {
                    place: Place::AddressSpace,
                    ..
                })
            );
            assert!(no_memory, "{result:?}");
        }
        // What fits is there, and the lock is free.
        assert_eq!(array.get(0).unwrap(), 1);
        assert_eq!(queue.try_recv().unwrap(), 1);
    })
    .finish();
}
