//! The bytes of a real segment stand where `docs/layout.md` says. (That its tables match the types is a unit test,
//! `src/layout/tests.rs`.)

use commonhold::{
    Array, Atomics, Barrier, BlockHandle, BlockPool, Broadcast, Event, Messages, Once, Pipe, Plain,
    Queue, ReentrantMutex, Ring, RwLock, Segment, SegmentOptions, Semaphore, Value,
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
    let other = Bytes::of(&Segment::anonymous(1).unwrap());
    assert_ne!(b.get::<16>(geometry("id")), other.get(geometry("id")));

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
    assert_eq!(b.u64(entry("size")), 448 + 3 * 8);
    let end = |end, field| b.u64(object + at("RawQueue", end) + at("End", field));
    assert_eq!(
        (end("senders", "position"), end("receivers", "position")),
        (2, 1)
    );
    assert_eq!(b.u32(object + 384 + 4), 8);
    assert_eq!(seg.available(), (1 << 16) - 512);
    let kept =
        |field| b.u64(object + at("RawQueue", "receivers") + at("End", "kept") + at("Kept", field));
    let word = || b.u64(object + 448 + 8 + at("LeaseWord", "word"));
    let lease = queue.lease().unwrap();
    // Our id: the first slot, for the first time.
    assert_eq!(word(), 1 << 63 | 1 << (32 + 10) | 1);
    assert_eq!(
        ["cursor", "since", "returned"].map(kept),
        [2, 1, 0],
        "leased"
    );
    drop(lease);
    assert_eq!(word(), 1 << 63 | 1 << 62 | 1);
    assert_eq!(kept("returned"), 1);
    queue.close();
    assert_ne!(
        b.u32(object + at("RawQueue", "idle") + at("Idle", "closed")),
        0
    );
}

#[test]
fn broadcasts_stand_where_documented() {
    let seg = SegmentOptions::new().max_members(3).anonymous().unwrap();
    let b = Bytes::of(&seg);
    let object = b.u64(at("Geometry", "data_at"));
    let of = Broadcast::<u64>::create(&seg, "broadcast", 3).unwrap();
    let publisher = of.publisher().unwrap();
    publisher.send(6).unwrap();
    let [mut first, second] = [(); 2].map(|()| of.subscribe().unwrap());
    publisher.send_all(&[7, 8]).unwrap();
    first.recv().unwrap();
    publisher.send(9).unwrap();
    assert!(publisher.try_send(10).is_err());
    let of_publishers = |field| object + at("RawBroadcast", "publishers") + at("Publishers", field);
    let stream = |field| b.u64(object + at("RawBroadcast", "stream") + at("Stream", field));
    assert_eq!((stream("tail"), stream("claimed")), (4, 4));
    assert_eq!(b.u32(of_publishers("used")), 2);
    assert_eq!(b.u64(of_publishers("floor")), 1);
    assert_eq!([0, 8, 16].map(|i| b.u64(object + 384 + i)), [9, 7, 8]);
    // Behind three cells, on a line of their own.
    let subscriptions = object + 448;
    let one = |i: u64, field| subscriptions + 64 * i + at("Subscription", field);
    let cursors = [0, 1].map(|i| b.u64(one(i, "cursor")));
    assert_eq!(cursors, [2, 1]);
    // Slot 0, generation 1.
    let claims = || [0, 1, 2].map(|i| b.u32(one(i, "claim")));
    assert_eq!(claims(), [1 << 10, 1 << 10, 0]);
    drop((first, second));
    assert_eq!(claims(), [0; 3]);
    of.close();
    let idle = object + at("RawBroadcast", "idle");
    assert_ne!(b.u32(idle + at("Idle", "closed")), 0);
}

#[test]
fn a_ring_stands_where_documented() {
    let seg = SegmentOptions::new().max_objects(2).anonymous().unwrap();
    let b = Bytes::of(&seg);
    let ring = Ring::<[u8; 3]>::create(&seg, "ring", 3).unwrap();
    let object = b.u64(at("Geometry", "data_at"));
    let end = |end, field| object + at("RawRing", end) + at("RingEnd", field);
    let idle = |field| object + at("RawRing", "idle") + at("RingIdle", field);
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
    producer.send_all(&[[1, 2, 3], [4, 5, 6]]).unwrap();
    consumer.recv().unwrap();
    assert_eq!(b.u64(end("producer", "position")), 2);
    assert_eq!(b.u64(end("consumer", "position")), 1);
    // Slot 0, generation 1.
    assert_eq!(b.u32(end("producer", "claim")) & !(1 << 30), 1 << 10);
    drop(consumer);
    assert_eq!(b.u32(end("consumer", "claim")), 0);
    assert_eq!(b.get::<6>(object + 384), [1, 2, 3, 4, 5, 6]);
    assert_eq!((b.u32(idle("closed")), b.u64(idle("end"))), (0, 0));
    ring.close();
    assert_ne!(b.u32(idle("closed")), 0);
    assert_eq!(b.u64(idle("end")), 3);
}

#[test]
fn messages_stand_where_documented() {
    let seg = SegmentOptions::new().max_objects(2).anonymous().unwrap();
    let b = Bytes::of(&seg);
    let data_at = b.u64(at("Geometry", "data_at"));
    // Three words, of which the header is one.
    let m = Messages::create(&seg, "m", 10).unwrap();
    let found = seg.objects().pop().unwrap();
    assert_eq!((found.type_name.as_str(), found.size), ("u8", 10 + 399));
    m.send(b"").unwrap();
    m.send_with(8, |bytes| bytes.copy_from_slice(b"in place"))
        .unwrap();
    let header = |position: u64, len: u64| {
        let mixed = (position ^ len.rotate_left(32) ^ 0xF3A5).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed >> 48 << 48 | len
    };
    let ring = [0, 8, 16].map(|i| b.u64(data_at + 384 + i));
    let bytes = u64::from_ne_bytes(*b"in place");
    assert_eq!(ring, [header(0, 0), header(1, 8), bytes]);
    let end = |end| b.u64(data_at + at("RawQueue", end) + at("End", "position"));
    assert_eq!((end("senders"), end("receivers")), (3, 0));
    let mut got = Vec::new();
    m.recv(&mut got).unwrap();
    m.recv(&mut got).unwrap();
    // Across the end.
    m.send(b"0123456789").unwrap();
    m.recv(&mut got).unwrap();
    m.send(b"abc").unwrap();
    m.recv(&mut got).unwrap();
    m.send(b"9 or more").unwrap();
    assert_eq!((end("senders"), end("receivers")), (11, 8));
    let ring = [0, 8, 16].map(|i| b.u64(data_at + 384 + i));
    let bytes = [*b"9 or mor", *b"e\0\0\0\0\0\0\0"].map(u64::from_ne_bytes);
    assert_eq!(ring, [bytes[0], bytes[1], header(8, 9)]);
}

#[test]
fn blocks_their_words_and_their_handles_stand_where_documented() {
    let seg = SegmentOptions::new().max_objects(3).anonymous().unwrap();
    let b = Bytes::of(&seg);
    let data_at = b.u64(at("Geometry", "data_at"));
    let queue = Queue::<BlockHandle>::create(&seg, "queue", 1).unwrap();
    let pool_at = data_at + 512;
    let pool = BlockPool::create(&seg, "pool", 2, 65).unwrap();
    let word = |i: u64| b.u64(pool_at + 64 + 2 * 128 + i * 8 + at("BlockWord", "word"));
    assert_eq!([word(0), word(1)], [0, 0]);
    let first = pool.loan().unwrap();
    let mut second = pool.loan().unwrap();
    // Held by slot 0, generation 1, in their first turns.
    assert_eq!([word(0), word(1)], [1 << (34 + 10) | 1 << 32 | 1; 2]);
    second[0] = 7;
    second.set_len(5).unwrap();
    assert_eq!(b.get::<1>(pool_at + 64 + 128), [7]);
    second.send(&queue).unwrap();
    assert_eq!(word(1), (data_at / 128) << 34 | 3 << 32 | 1);
    let handle = |field| data_at + 384 + at("BlockHandle", field);
    let [pool_of, len] = ["pool", "len"].map(|field| b.u64(handle(field)));
    let id = ["index", "sequence"].map(|field| b.u32(handle(field)));
    assert_eq!((pool_of, len, id), (pool_at, 5, [1, 1]));
    drop(first);
    assert_eq!(word(0), 2);
    assert_eq!(b.u64(pool_at + at("RawBlocks", "last")), 2);
    let second = pool.receive(&queue).unwrap();
    assert_eq!(word(1), 1 << (34 + 10) | 1 << 32 | 2);
    drop(second);
    assert_eq!(word(1), 3);
    assert_eq!(b.u64(pool_at + at("RawBlocks", "last")), 1 << 32 | 3);

    let large_at = (pool_at + 64 + 2 * 128 + 2 * 8).next_multiple_of(4096);
    let large = BlockPool::create(&seg, "large", 2, 5000).unwrap();
    large.loan().unwrap()[4999] = 9;
    assert_eq!(b.get::<1>(large_at + 4096 + 4999), [9]);
    assert_eq!(b.u64(large_at + 4096 + 2 * 8192), 2);
    let found = seg.objects().into_iter().find(|o| o.name == "large");
    let found = found.unwrap();
    assert_eq!((found.type_name.as_str(), found.len), ("[u8]", 2));
    assert_eq!(found.size, 4096 + 2 * 8192 + 2 * 8);
}

#[test]
fn values_and_arrays_stand_where_documented() {
    let seg = SegmentOptions::new().max_objects(2).anonymous().unwrap();
    let b = Bytes::of(&seg);
    let data_at = b.u64(at("Geometry", "data_at"));
    let value = Value::create(&seg, "value", 5u64).unwrap();
    value.set(6).unwrap();
    assert_eq!(b.u64(data_at + at("RawVersioned", "version")), 1);
    assert_eq!((b.u64(data_at + 24), b.u64(data_at + 32)), (5, 6));
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
    let seg = SegmentOptions::new().max_objects(4).anonymous().unwrap();
    let b = Bytes::of(&seg);
    let data_at = b.u64(at("Geometry", "data_at"));
    let event = Event::create_auto_reset(&seg, "event").unwrap();
    let state = || b.u32(data_at + at("RawEvent", "state"));
    assert_eq!(state(), 0);
    event.set();
    assert_eq!(state(), 1);
    event.wait().unwrap();
    assert_eq!(state(), 0);
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

    let manual_at = data_at + 384;
    let manual = Event::create(&seg, "manual").unwrap();
    let state = || b.u32(manual_at + at("RawEvent", "state"));
    (0..2).for_each(|_| manual.set());
    assert_eq!(state(), 2 << 1 | 1);
    manual.clear();
    assert_eq!(state(), 2 << 1);
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
    let of = |field| b.u64(line_at + at("ReaderLine", field));
    let line = || [of("tally"), of("solo")];
    assert_eq!((seen(), line()), (0, [0, 0]));
    // Slot 0, generation 1.
    let me = 1u64 << 10;
    let reads = [0; 3].map(|_| lock.read().unwrap());
    assert_eq!((seen(), line()), (1, [me << 32 | 2, me << 32 | 1]));
    drop(reads);
    assert_eq!((seen(), line()), (1, [me << 32, me << 32]));

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

#[test]
fn a_pipe_and_its_messages_stand_where_documented() {
    let seg = SegmentOptions::new().max_objects(1).anonymous().unwrap();
    let b = Bytes::of(&seg);
    let data_at = b.u64(at("Geometry", "data_at"));
    let pipe = Pipe::create(&seg, "pipe", 20).unwrap();
    assert_eq!(seg.objects().pop().unwrap().size, 640 + 2 * 20 + 32);
    let end = |side| b.u32(data_at + at("RawPipe", "ends") + at("Ends", side));
    let position = |lane, field| b.u64(data_at + at("RawPipe", lane) + at("Lane", field));
    assert_eq!([end("left"), end("right")], [0, 0]);
    let (left, right) = (pipe.left().unwrap(), pipe.right().unwrap());
    // Slot 0, generation 1.
    assert_eq!([end("left"), end("right")], [1 << 10, 1 << 10]);
    left.send(b"ten bytes!").unwrap();
    right.send(b"").unwrap();
    assert_eq!(["tail", "head"].map(|f| position("to_right", f)), [3, 0]);
    assert_eq!(["tail", "head"].map(|f| position("to_left", f)), [1, 0]);
    let header = |len: u64| 0x2b5d << 50 | 0b11 << 48 | len;
    assert_eq!(b.u64(data_at + 640), header(10));
    assert_eq!(&b.get::<16>(data_at + 648), b"ten bytes!\0\0\0\0\0\0");
    // Of each lane 20 bytes are three words, and there is a header's.
    assert_eq!(b.u64(data_at + 640 + 4 * 8), header(0));
    let mut got = Vec::new();
    right.recv(&mut got).unwrap();
    assert_eq!(["tail", "head"].map(|f| position("to_right", f)), [3, 3]);
    drop(left);
    assert_eq!([end("left"), end("right")], [1, 1 << 10]);
    drop(right);
    assert_eq!([end("left"), end("right")], [1, 1]);
    let _right = pipe.right().unwrap();
    assert_eq!([end("left"), end("right")], [0, 1 << 10]);
    assert_eq!(["tail", "head"].map(|f| position("to_left", f)), [1, 1]);
}

/// Of `T`, under *Bytes* on the pages of what holds items, for `len` of them in a segment of `members`.
fn takes_what_the_page_says<T: Plain>(len: usize, members: u32) {
    let seg = SegmentOptions::new()
        .capacity(1 << 20)
        .max_members(members)
        .anonymous()
        .unwrap();
    let size = size_of::<T>();
    let cell = match size {
        ..=4 => size.next_power_of_two(),
        more => more.next_multiple_of(8),
    };
    let takes = |name: &str, bytes: usize| {
        let all = seg.objects();
        let object = all.iter().find(|object| object.name == name).unwrap();
        assert_eq!(object.size, bytes, "{object:?}, {len}, {members}");
    };
    Queue::<T>::create(&seg, "queue", len).unwrap();
    takes("queue", (384 + len * cell).next_multiple_of(64) + 8 * len);
    Ring::<T>::create(&seg, "ring", len).unwrap();
    takes("ring", 384 + len * size);
    Broadcast::<T>::create(&seg, "broadcast", len).unwrap();
    takes(
        "broadcast",
        (384 + len * cell).next_multiple_of(64) + 64 * members as usize,
    );
    Messages::create(&seg, "messages", len).unwrap();
    takes("messages", 399 + len);
    Pipe::create(&seg, "pipe", len).unwrap();
    takes("pipe", 672 + 2 * len);
    for bytes in [len, 4095, 4096, 4096 + len] {
        let line = if bytes < 4096 { 64 } else { 4096 };
        let name = format!("blocks of {bytes}");
        BlockPool::create(&seg, &name, len, bytes).unwrap();
        takes(&name, line + len * (8 + bytes.next_multiple_of(line)));
    }
}

#[test]
fn channels_take_as_many_bytes_as_their_pages_say() {
    for (len, members) in [(1, 1), (2, 64), (7, 3), (9, 64), (33, 2)] {
        takes_what_the_page_says::<u8>(len, members);
        takes_what_the_page_says::<[u8; 3]>(len, members);
        takes_what_the_page_says::<[u8; 5]>(len, members);
        takes_what_the_page_says::<[u8; 17]>(len, members);
        takes_what_the_page_says::<u64>(len, members);
    }
}
