//! `Ring`.

mod chunks;
mod close;
mod deaths;
mod ends;
mod wake_ups;

use crate::support::{
    Child, Forked, LIMIT, Name, eventually, forks_are_noticed, listen, lost_wake_ups,
    most_sent_late, sleeps, tell, this_thread, wait_to_be_killed, waits_on_a_futex,
    within_the_limit,
};
use commonhold::{Consumer, Error, Producer, Result, Ring, Segment, SegmentOptions};
pub(crate) use deaths::{count_for_ever, lose_a_ring, recv_and_hold, send_and_hold, take_for_ever};
use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};
pub(crate) use wake_ups::recv_for_ever;

fn segment(name: &str) -> Segment {
    Segment::create(name, 1 << 16).unwrap()
}

fn private_ring(capacity: usize) -> Ring<u64> {
    let seg = Segment::anonymous(1 << 16).unwrap();
    Ring::create(&seg, "r", capacity).unwrap()
}

fn is_busy<T>(result: Result<T>) -> bool {
    matches!(result, Err(Error::Busy))
}

fn is_full<T>(result: Result<T>) -> bool {
    matches!(result, Err(Error::Full))
}

fn is_empty<T>(result: Result<T>) -> bool {
    matches!(result, Err(Error::Empty))
}

fn is_closed<T>(result: Result<T>) -> bool {
    matches!(result, Err(Error::Closed))
}

fn is_timeout<T>(result: Result<T>) -> bool {
    matches!(result, Err(Error::Timeout))
}

/// The consumer's end, once the kernel has let go of a killed holder.
fn next_consumer(r: &Ring<u64>) -> Consumer<u64> {
    let mut end = None;
    eventually(LIMIT, "the consumer's end is free", || {
        end = r.consumer().ok();
        end.is_some()
    });
    end.unwrap()
}

/// As [`next_consumer`].
fn next_producer(r: &Ring<u64>) -> Producer<u64> {
    let mut end = None;
    eventually(LIMIT, "the producer's end is free", || {
        end = r.producer().ok();
        end.is_some()
    });
    end.unwrap()
}

#[test]
fn items_arrive_in_order_around_a_ring_of_any_capacity() {
    for capacity in [1, 2, 3, 7, 8] {
        let r = private_ring(capacity);
        let (mut p, mut c) = (r.producer().unwrap(), r.consumer().unwrap());
        let mut next = 0;
        for round in 0..20 {
            assert!(r.is_empty() && c.is_empty() && is_empty(c.try_recv()));
            let n = 1 + round % capacity as u64;
            (next..next + n).for_each(|item| p.try_send(item).unwrap());
            assert_eq!(
                (r.len(), p.len(), c.len()),
                (n as usize, n as usize, n as usize)
            );
            if n as usize == capacity {
                assert!(r.is_full() && p.is_full() && c.is_full() && is_full(p.try_send(99)));
            }
            (next..next + n).for_each(|item| assert_eq!(c.try_recv().unwrap(), item));
            next += n;
        }
        assert_eq!(
            (r.capacity(), p.capacity(), c.capacity()),
            (capacity, capacity, capacity)
        );
    }
}

#[test]
fn batches_go_around_the_end_and_are_cut_to_what_fits() {
    let r = private_ring(5);
    let (mut p, mut c) = (r.producer().unwrap(), r.consumer().unwrap());
    let mut got = vec![99];
    assert_eq!(p.try_send_all(&[1, 2, 3]).unwrap(), 3);
    assert_eq!(c.try_recv_many(&mut got, 2).unwrap(), 2);
    assert_eq!(p.try_send_all(&[4, 5, 6, 7, 8, 9]).unwrap(), 4);
    assert!(is_full(p.try_send_all(&[9])));
    assert_eq!(p.try_send_all(&[]).unwrap(), 0);
    assert_eq!(c.recv_many(&mut got, usize::MAX).unwrap(), 5);
    assert_eq!(got, [99, 1, 2, 3, 4, 5, 6, 7]);
    assert!(is_empty(c.try_recv_many(&mut got, 3)));
    assert_eq!(c.try_recv_many(&mut got, 0).unwrap(), 0);
    std::thread::scope(|s| {
        s.spawn(|| p.send_all(&(0..1000).collect::<Vec<_>>()).unwrap());
        let mut got = Vec::new();
        while got.len() < 1000 {
            c.recv_many_timeout(&mut got, 3, LIMIT).unwrap();
        }
        assert!(got.into_iter().eq(0..1000));
    });
}

#[test]
fn timed_calls_keep_their_deadline() {
    let r = private_ring(2);
    let (mut p, mut c) = (r.producer().unwrap(), r.consumer().unwrap());
    let d = Duration::from_millis(20);
    let timed = |f: &mut dyn FnMut() -> bool| {
        let start = Instant::now();
        assert!(f());
        assert!(start.elapsed() >= d);
    };
    timed(&mut || is_timeout(c.recv_timeout(d)));
    timed(&mut || is_timeout(c.recv_many_timeout(&mut Vec::new(), 2, d)));
    timed(&mut || is_timeout(c.read_chunk_timeout(1, d)));
    assert_eq!(p.send_all_timeout(&[1, 2, 3], d).unwrap(), 2);
    timed(&mut || is_timeout(p.send_timeout(3, d)));
    timed(&mut || is_timeout(p.send_all_timeout(&[3], d)));
    timed(&mut || is_timeout(p.write_chunk_timeout(1, d)));
    assert_eq!(c.recv_timeout(d).unwrap(), 1);
    p.send_timeout(3, d).unwrap();
    assert_eq!(
        c.read_chunk_timeout(2, d).unwrap().as_slices(),
        (&[2][..], &[3][..])
    );
}

#[test]
fn a_batch_does_not_wait_beyond_its_deadline_for_one_who_takes_item_after_item() {
    let r = private_ring(1);
    let (mut p, mut c) = (r.producer().unwrap(), r.consumer().unwrap());
    let take = || drop(c.try_recv());
    let most = most_sent_late(take, || {
        let sent = p.send_all_timeout(&[7; 10_000], Duration::ZERO);
        sent.unwrap_or(0)
    });
    assert!((1..100).contains(&most), "{most} sent after the deadline");
}

#[test]
fn what_is_sent_lazily_is_visible_every_so_many_items_and_whenever_it_must_be() {
    let r = private_ring(4);
    let (mut p, mut c) = (r.producer().unwrap(), r.consumer().unwrap());
    p.lazy(3);
    p.send_all(&[1, 2]).unwrap();
    assert!(is_empty(c.try_recv()) && p.is_empty());
    p.send(3).unwrap();
    assert_eq!(r.len(), 3);
    p.send(4).unwrap();
    assert_eq!(r.len(), 3);
    // Full: the other side must see what it is to take.
    assert!(is_full(p.try_send(5)));
    assert_eq!(r.len(), 4);
    assert_eq!(c.iter().take(4).collect::<Vec<_>>(), [1, 2, 3, 4]);
    p.send(5).unwrap();
    p.flush().unwrap();
    p.flush().unwrap();
    assert_eq!(c.try_recv().unwrap(), 5);
    p.send(6).unwrap();
    drop(p);
    assert_eq!(c.try_recv().unwrap(), 6);
    let mut p = r.producer().unwrap();
    p.lazy(3);
    p.send(7).unwrap();
    p.close();
    assert_eq!(c.iter().collect::<Vec<_>>(), [7]);
}

#[test]
fn items_of_every_size_stand_side_by_side() {
    fn round_trip<T: commonhold::Plain + PartialEq + std::fmt::Debug>(items: [T; 5]) {
        let seg = Segment::anonymous(1 << 16).unwrap();
        let r = Ring::<T>::create(&seg, "r", 3).unwrap();
        let (mut p, mut c) = (r.producer().unwrap(), r.consumer().unwrap());
        for item in items {
            p.send(item).unwrap();
            p.send(items[0]).unwrap();
            assert_eq!(c.recv().unwrap(), item);
            assert_eq!(c.recv().unwrap(), items[0]);
        }
    }
    round_trip([(); 5]);
    round_trip([1u8, 2, 3, 4, 5]);
    round_trip([true, false, true, true, false]);
    round_trip(['a', 'b', 'c', 'd', 'e']);
    round_trip([[1u8, 2, 3], [4, 5, 6], [7, 8, 9], [1, 1, 1], [2, 2, 2]]);
    round_trip([[1u16; 3], [2; 3], [3; 3], [4; 3], [5; 3]]);
    round_trip([1u128, 2, 3, 4, u128::MAX]);
    round_trip([[1u64; 9], [2; 9], [3; 9], [4; 9], [5; 9]]);
    let seg = Segment::anonymous(1 << 16).unwrap();
    let before = seg.available();
    Ring::<[u8; 3]>::create(&seg, "packed", 128).unwrap();
    assert_eq!(before - seg.available(), 384 + 3 * 128);
}

#[test]
fn a_ring_is_found_by_its_name_and_type() {
    let seg = Segment::anonymous(1 << 16).unwrap();
    assert!(matches!(Ring::<u64>::open(&seg, "r"), Err(Error::NotFound)));
    let made = Ring::<u64>::open_or_create(&seg, "r", 3).unwrap();
    assert!(matches!(
        Ring::<u64>::create(&seg, "r", 3),
        Err(Error::AlreadyExists)
    ));
    let mismatch = |r: Result<Ring<u64>>| assert!(matches!(r, Err(Error::TypeMismatch { .. })));
    mismatch(Ring::open_or_create(&seg, "r", 4));
    mismatch(Ring::<i64>::open(&seg, "r").map(|_| unreachable!()));
    assert!(commonhold::Queue::<u64>::open(&seg, "r").is_err());
    let found = Ring::<u64>::open(&seg, "r").unwrap();
    assert_eq!(found.capacity(), 3);
    let mut p = made.producer().unwrap();
    assert!(is_busy(found.producer()));
    p.send(5).unwrap();
    let mut c = found.consumer().unwrap();
    assert_eq!(c.recv().unwrap(), 5);
    assert!(format!("{made:?} {p:?} {c:?}").contains("Producer"));
    fn is_a_handle<T: Clone + Send + Sync + 'static>(_: &T) {}
    fn is_an_end<T: Send + 'static>(_: &T) {}
    is_a_handle(&made);
    is_an_end(&p);
    is_an_end(&c);
}
