//! What a look at the code with an attacker's eyes has found: one test each. (Three more stand beside the
//! code, in `src/raw`: `mutex.rs`, `queue.rs` and `versioned.rs`.)

use crate::layout::Layout;
use crate::region::Region;
use crate::support::{Forked, Name};
use crate::watch::GRACE;
use commonhold::{Array, Error, Place, Queue, Segment, Value};
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
