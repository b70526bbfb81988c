//! The bytes of a real segment stand where `docs/layout.md` says. (That its tables match the types is a unit test,
//! `src/layout/tests.rs`.)

use commonhold::{
    Array, Atomics, Barrier, Event, Once, Queue, ReentrantMutex, RwLock, Segment, SegmentOptions,
    Semaphore, Value,
};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicI16, AtomicU8, AtomicUsize};

/// The offset of `field` in the table marked `table`.
fn at(table: &str, field: &str) -> u64 {
    let doc = include_str!("../docs/layout.md");
    let (_, rest) = doc
        .split_once(&format!("<!-- table: {table} -->"))
        .expect("the table is there");
    rest.lines()
        .skip(3)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.split('|').map(str::trim).collect::<Vec<_>>())
        .find(|cells| cells[3] == field)
        .map(|cells| cells[1].parse().unwrap())
        .expect("the field is there")
}

struct Bytes(std::fs::File);

impl Bytes {
    fn of(seg: &Segment) -> Bytes {
        Bytes(seg.as_fd().try_clone_to_owned().unwrap().into())
    }

    fn get<const N: usize>(&self, at: u64) -> [u8; N] {
        let mut b = [0; N];
        self.0.read_exact_at(&mut b, at).unwrap();
        b
    }

    fn u32(&self, at: u64) -> u32 {
        u32::from_ne_bytes(self.get(at))
    }

    fn u64(&self, at: u64) -> u64 {
        u64::from_ne_bytes(self.get(at))
    }
}

#[test]
fn a_real_segment_has_the_documented_bytes() {
    let seg = SegmentOptions::new()
        .capacity(1 << 16)
        .max_members(10)
        .max_objects(1)
        .anonymous()
        .unwrap();
    let b = Bytes::of(&seg);
    let geometry = |field| at("Geometry", field);
    assert_eq!(&b.get::<8>(geometry("magic")), b"comnhold");
    assert_eq!(b.u32(geometry("version")), commonhold::LAYOUT_VERSION);
    assert_eq!(b.u32(geometry("byte_order")), 0x0102_0304);
    assert_eq!(b.u32(geometry("max_members")), 10);
    assert_eq!(b.u64(geometry("slots_at")), 4096);
    let entries_at = (4096u64 + 10 * 64).next_multiple_of(128);
    assert_eq!(b.u64(geometry("entries_at")), entries_at);
    let data_at = (entries_at + 256).next_multiple_of(4096);
    assert_eq!(b.u64(geometry("data_at")), data_at);
    assert_eq!(b.u64(geometry("file_bytes")), data_at + (1 << 16));
    assert_eq!(b.0.metadata().unwrap().len(), data_at + (1 << 16));

    let claim = b.u64(4096 + at("Slot", "claim"));
    assert_eq!(claim, u64::from(std::process::id()) << 32 | 1 << 1 | 1);

    let queue = Queue::<u32>::create(&seg, "jobs", 3).unwrap();
    queue.send_all(&[7, 8]).unwrap();
    queue.recv().unwrap();
    let entry = |field| entries_at + at("Entry", "record") + at("Record", field);
    assert_eq!(b.u32(entries_at + at("Entry", "state")), 1);
    assert_eq!(b.u32(entry("kind")), 6);
    assert_eq!(b.u64(entry("len")), 3);
    assert_eq!(b.u64(entry("type_size")), 4);
    assert_eq!(&b.get::<4>(entry("name")), b"jobs");
    assert_eq!(&b.get::<4>(entry("type_name")), b"u32\0");
    let object = b.u64(entry("offset"));
    assert_eq!(object, data_at);
    assert_eq!(b.u64(entry("size")), 384 + 3 * 4);
    let end = |end, field| b.u64(object + at("RawQueue", end) + at("End", field));
    assert_eq!(
        (end("senders", "position"), end("receivers", "position")),
        (2, 1)
    );
    assert_eq!(b.u32(object + 384 + 4), 8);
    assert_eq!(seg.available(), (1 << 16) - 512);
    queue.close();
    assert_ne!(
        b.u32(object + at("RawQueue", "idle") + at("Idle", "closed")),
        0
    );
}

#[test]
fn values_and_arrays_stand_where_documented() {
    let seg = SegmentOptions::new().max_objects(2).anonymous().unwrap();
    let b = Bytes::of(&seg);
    let data_at = b.u64(at("Geometry", "data_at"));
    let value = Value::create(&seg, "value", 5u64).unwrap();
    value.set(6).unwrap();
    assert_eq!(b.u64(data_at + at("RawVersioned", "version")), 1);
    assert_eq!((b.u64(data_at + 16), b.u64(data_at + 24)), (5, 6));
    let array = Array::from_slice(&seg, "array", &[1u16, 2]).unwrap();
    let lock = || b.u32(data_at + 128 + at("ArrayControl", "lock"));
    let guard = array.lock().unwrap();
    // Slot 0, generation 1.
    assert_eq!(lock(), 1 << 10);
    drop(guard);
    assert_eq!(lock(), 0);
    assert_eq!(b.u32(data_at + 128 + 64), u32::from_ne_bytes([1, 0, 2, 0]));
}

#[test]
fn events_onces_and_reentrant_mutexes_stand_where_documented() {
    let seg = SegmentOptions::new().max_objects(3).anonymous().unwrap();
    let b = Bytes::of(&seg);
    let data_at = b.u64(at("Geometry", "data_at"));
    let event = Event::create_auto_reset(&seg, "event").unwrap();
    let state = || b.u32(data_at + at("RawEvent", "state"));
    assert_eq!(state(), 0);
    event.set();
    assert_eq!(state(), 1);
    let found = seg.objects().pop().unwrap();
    assert_eq!((found.type_name.as_str(), found.size), ("AutoReset", 8));

    let once_at = data_at + 128;
    let once = Once::create(&seg, "once").unwrap();
    let once_is = || ["lock", "state"].map(|field| b.u32(once_at + at("RawOnce", field)));
    assert_eq!(once_is(), [0, 0]);
    // Slot 0, generation 1.
    let me = 1 << 10;
    once.call_once(|| assert_eq!(once_is(), [me, 1])).unwrap();
    assert_eq!(once_is(), [0, 2]);

    let mutex_at = data_at + 256;
    let mutex = ReentrantMutex::create(&seg, "mutex").unwrap();
    let field = |name| mutex_at + at("RawReentrant", name);
    let outer = mutex.lock().unwrap();
    let inner = mutex.lock().unwrap();
    assert_eq!([b.u32(field("lock")), b.u32(field("depth"))], [me, 2]);
    let holder = b.u64(field("holder"));
    assert_eq!(holder >> 34, u64::from(me));
    assert_ne!(holder & ((1 << 34) - 1), 0);
    drop((outer, inner));
    assert_eq!(
        [b.u64(field("lock")), b.u64(field("holder"))],
        [0, 0],
        "lock and depth, holder"
    );
}

#[test]
fn permits_and_arrivals_are_counted_where_documented() {
    let seg = SegmentOptions::new().max_members(3).anonymous().unwrap();
    let b = Bytes::of(&seg);
    let data_at = b.u64(at("Geometry", "data_at"));
    let semaphore = Semaphore::create(&seg, "semaphore", 5).unwrap();
    let permits = [(); 2].map(|()| semaphore.acquire().unwrap());
    let word = |field| b.u64(data_at + at("RawSemaphore", field));
    assert_eq!((word("total"), word("available")), (5, 3));
    // Slot 0, generation 1.
    assert_eq!(b.u64(data_at + 64), 1 << (32 + 10) | 2);
    drop(permits);
    assert_eq!(b.u64(data_at + 64) as u32, 0);

    // Behind 64 bytes and three tallies.
    let object = data_at + 128;
    let barrier = Barrier::create(&seg, "barrier", 1).unwrap();
    let phase = || b.u64(object + at("RawBarrier", "phase"));
    barrier.wait().unwrap();
    assert_eq!(phase(), 1 << 32 | 1 << 7);
    barrier.abort();
    assert_eq!(phase(), 2 << 32 | 1 << 31 | 1);
    barrier.reset().unwrap();
    assert_eq!(phase(), 2 << 32 | 1);

    let object = object + 64 + 3 * 64;
    let barrier = Barrier::create(&seg, "two", 2).unwrap();
    let timeout = std::time::Duration::from_millis(1);
    assert!(barrier.wait_timeout(timeout).is_err());
    let arrivals = |field| object + 64 + at("Arrivals", field);
    assert_eq!(b.u64(arrivals("count")), 1);
    assert_eq!(b.u32(arrivals("id")), 1 << 10);
    assert_eq!(b.u32(object + at("RawBarrier", "arrived")), 1);
}

#[test]
fn rwlocks_stand_where_documented() {
    let seg = SegmentOptions::new().max_members(70).anonymous().unwrap();
    let b = Bytes::of(&seg);
    let lock_at = b.u64(at("Geometry", "data_at"));
    let lock = RwLock::create(&seg, "lock", [7u64; 9]).unwrap();
    // Two lines for the value.
    let line_at = lock_at + 192 + 128;
    assert_eq!(seg.objects()[0].size, 192 + 128 + 70 * 64);
    let word = |field| b.u32(lock_at + at("RawRwLock", field));
    let seen = || b.u64(lock_at + at("RawRwLock", "seen"));
    let tally = || b.u64(line_at + at("ReaderLine", "tally"));
    assert_eq!((seen(), tally()), (0, 0));
    // Slot 0, generation 1.
    let me = 1u64 << 10;
    let reads = (lock.read().unwrap(), lock.read().unwrap());
    assert_eq!((seen(), tally()), (1, me << 32 | 2));
    drop(reads);
    assert_eq!((seen(), tally()), (1, me << 32));

    let mut write = lock.write().unwrap();
    write[8] = 8;
    assert_eq!((word("gate"), word("doubt")), (1 << 10, 1));
    drop(write);
    assert_eq!((word("gate"), word("doubt"), word("left")), (0, 0, 0));
    assert_eq!(b.u64(lock_at + 192 + 8 * 8), 8);
}

/// Processes that share a segment need not be built by one compiler, and newer ones say `Atomic<u8>`.
#[test]
fn atomics_are_called_the_same_by_every_compiler() {
    let seg = Segment::anonymous(1 << 12).unwrap();
    Atomics::<AtomicU8>::create(&seg, "AtomicU8", 1).unwrap();
    Atomics::<AtomicI16>::create(&seg, "AtomicI16", 1).unwrap();
    Atomics::<AtomicUsize>::create(&seg, "AtomicUsize", 1).unwrap();
    for object in seg.objects() {
        assert_eq!(object.type_name, object.name);
    }
}
