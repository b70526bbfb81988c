//! What scribblers and overtakers do to a broadcast, without threads.

use super::*;
use crate::raw::oracles::Awake;
use crate::sys::deadline::Deadline;
use crate::sys::spin::Adaptive;

const CAPACITY: u64 = 4;

struct Ring {
    raw: RawBroadcast,
    records: [Subscription; 2],
    spin: Adaptive,
}

impl Ring {
    fn new() -> Ring {
        Ring {
            // SAFETY: all zero is a broadcast to which nothing was sent.
            raw: unsafe { std::mem::zeroed() },
            // SAFETY: all zero are free records.
            records: unsafe { std::mem::zeroed() },
            spin: Adaptive::new(),
        }
    }

    fn call(&self) -> Call<'_, Awake> {
        Call {
            members: &Awake,
            me: MemberId::new(3, 1).unwrap(),
            spin: &self.spin,
            deadline: Deadline::PASSED,
        }
    }

    fn send(&self) -> Result<u64> {
        let call = self.call();
        self.raw
            .try_send(&self.records, CAPACITY, &call, 1, |_, _| {})
    }

    fn subscribe(&self) -> (usize, u64) {
        self.raw.subscribe(&self.records, &self.call()).unwrap()
    }

    fn look(&self, at: u64) -> Result<Found> {
        self.raw.look(CAPACITY, at, 1, |_, _| 1)
    }
}

fn is_corrupt<T>(r: Result<T>) -> bool {
    matches!(r, Err(Error::Corrupt))
}

#[test]
fn what_is_overwritten_while_it_is_read_does_not_count() {
    let ring = Ring::new();
    for _ in 0..CAPACITY {
        ring.send().unwrap();
    }
    let read = |_, n| {
        ring.send().unwrap();
        n
    };
    let found = ring.raw.look(CAPACITY, 0, 3, read).unwrap();
    assert_eq!(found, Found::Overtaken(1));
    let found = ring.raw.look(CAPACITY, 2, 2, read).unwrap();
    assert_eq!(found, Found::Items(2));
}

#[test]
fn a_subscriber_whose_cursor_is_impossible_keeps_nobody() {
    let ring = Ring::new();
    let (index, at) = ring.subscribe();
    assert_eq!((index, at), (0, 0));
    for cursor in [u64::MAX, 5, 1 << 63, u64::MAX - 3] {
        let record = &ring.records[index];
        record.cursor.store(cursor, Ordering::Relaxed);
        for _ in 0..2 * CAPACITY {
            ring.send().unwrap();
        }
        // It stands there again as soon as its subscriber receives.
        let tail = ring.raw.end();
        ring.raw.advance(record, at, tail);
        (0..CAPACITY).for_each(|_| assert_eq!(ring.send().unwrap(), 1));
        assert!(matches!(ring.send(), Err(Error::Full)));
        ring.raw.advance(record, tail, ring.raw.end());
    }
}

#[test]
fn positions_that_contradict_each_other_are_an_error_and_no_panic() {
    for (tail, claimed) in [(0, 5), (9, 8), (u64::MAX, 7), (0, u64::MAX), (1 << 63, 0)] {
        let ring = Ring::new();
        ring.raw.stream.tail.store(tail, Ordering::Relaxed);
        ring.raw.stream.claimed.store(claimed, Ordering::Relaxed);
        assert!(is_corrupt(ring.send()), "{tail} {claimed}");
        // And the lock is left.
        assert!(is_corrupt(ring.send()), "{tail} {claimed}");
        for at in [0, 1, u64::MAX, tail.wrapping_sub(9), tail.wrapping_add(1)] {
            if let Ok(Found::Items(n)) = ring.look(at) {
                assert_eq!(n, 1);
            }
            assert!(ring.raw.len(CAPACITY, at) <= CAPACITY);
        }
    }
}

#[test]
fn numbers_of_records_that_are_none_are_no_panic() {
    let ring = Ring::new();
    let (_, at) = ring.subscribe();
    for used in [2, 3, u32::MAX] {
        ring.raw.publishers.used.store(used, Ordering::Relaxed);
        ring.raw.publishers.floor.store(77, Ordering::Relaxed);
        ring.send().unwrap();
    }
    assert_eq!(ring.look(at).unwrap(), Found::Items(1));
    assert_eq!(ring.subscribe(), (1, 3));
    let more = ring.raw.subscribe(&ring.records, &ring.call());
    assert!(matches!(more, Err(Error::TooManySubscribers)));
    assert_eq!(ring.raw.subscribers(&ring.records, &Awake), 2);
}
