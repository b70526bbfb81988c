//! What a look at the code with an attacker's eyes has found: one test each. (Three more stand beside the
//! code, in `src/raw`: `mutex.rs`, `queue.rs` and `versioned.rs`.)

use crate::layout::Layout;
use crate::region::Region;
use crate::support::{Forked, Name};
use crate::watch::GRACE;
use commonhold::{Array, Broadcast, Error, Place, Queue, Ring, Segment, Value};
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
        // A queue has a cell and a word for each item.
        let each = if object.name == "queue" { 16 } else { 8 };
        let more = (CAPACITY - 4096) / each;
        region.put(object.entry + 24, 8, object.size + more * each);
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

/// A segment, and its words from outside.
fn in_the_open(prepare: impl FnOnce(&Segment)) -> (Name, Segment, Region) {
    let name = Name::new("found");
    let seg = Segment::create(&name, 1 << 16).unwrap();
    prepare(&seg);
    let region = Region::open(&name);
    (name, seg, region)
}

#[test]
fn ends_of_a_ring_do_not_both_wait_for_the_other_after_a_scribble() {
    let (_name, seg, region) = in_the_open(|seg| {
        Ring::<u64>::create(seg, "ring", 4).unwrap();
    });
    let ring = Ring::<u64>::open(&seg, "ring").unwrap();
    let (mut p, mut c) = (ring.producer().unwrap(), ring.consumer().unwrap());
    let at = Layout::of(&region).object("ring").offset;
    let (tail, head) = (at, at + 128);
    p.send_all(&[1, 2, 3, 4]).unwrap();
    region.put(tail, 8, 0);
    assert!(matches!(c.try_recv(), Err(Error::Empty)));
    assert!(matches!(p.try_send(5), Err(Error::Full)));
    assert_eq!(
        c.try_recv().unwrap(),
        1,
        "the producer says again where it is"
    );
    let mut rest = Vec::new();
    assert_eq!(c.try_recv_many(&mut rest, 4).unwrap(), 3);
    region.put(head, 8, 0);
    assert!(matches!(p.try_send(5), Err(Error::Full)));
    assert!(matches!(c.try_recv(), Err(Error::Empty)));
    p.try_send(5).expect("the consumer says again where it is");
    assert_eq!(c.recv().unwrap(), 5);
}

#[test]
fn a_publisher_and_a_subscriber_do_not_both_wait_for_the_other_after_a_scribble() {
    let (_name, seg, region) = in_the_open(|seg| {
        Broadcast::<u64>::create(seg, "news", 4).unwrap();
    });
    let news = Broadcast::<u64>::open(&seg, "news").unwrap();
    let (publisher, mut subscriber) = (news.publisher().unwrap(), news.subscribe().unwrap());
    for item in 0..4 {
        publisher.send(item).unwrap();
        assert_eq!(subscriber.recv().unwrap(), item);
    }
    let layout = Layout::of(&region);
    let object = layout.object("news");
    let cursor = object.offset + object.size - layout.members * 64;
    assert_eq!(region.get(cursor, 8), 4);
    region.put(cursor, 8, 0);
    assert!(matches!(publisher.try_send(4), Err(Error::Full)));
    assert!(matches!(subscriber.try_recv(), Err(Error::Empty)));
    publisher
        .try_send(4)
        .expect("the subscriber says again where it is");
    assert_eq!(subscriber.recv().unwrap(), 4);
}
