//! A queue of numbers, each with its complement; sent and received in order.

use super::die_at_the_change;
use crate::case::{Case, LONG, Look, SHORT, Subject, leak, tire};
use crate::support::Forked;
use commonhold::{Error, Queue, Segment};
use std::hint::black_box;

pub(super) type Item = [u64; 2];

pub(super) const CAPACITY: usize = 4;
/// Sent by those who only look whether the queue works.
pub(super) const PROBE: u64 = 1000;

pub(super) fn item(n: u64) -> Item {
    [n, !n]
}

pub(super) fn open(seg: &Segment) -> &'static Queue<Item> {
    leak(Queue::open(seg, "queue").unwrap())
}

/// A handle that does not spin for long when the queue is empty.
fn open_tired(seg: &Segment) -> &'static Queue<Item> {
    let q = open(seg);
    tire(|d| assert!(matches!(q.recv_timeout(d), Err(Error::Timeout))));
    q
}

/// A handle that does not spin for long when the queue is full.
fn open_tired_sender(seg: &Segment) -> &'static Queue<Item> {
    let q = open(seg);
    tire(|d| assert!(matches!(q.send_timeout(item(9), d), Err(Error::Timeout))));
    q
}

pub(super) fn make(seg: &Segment) {
    Queue::<Item>::create(seg, "queue", CAPACITY).unwrap();
}

/// Sends the numbers from `from` to `to`.
pub(super) fn fill(seg: &Segment, from: u64, to: u64) {
    let q = open(seg);
    for n in from..to {
        q.send(item(n)).unwrap();
    }
}

fn fill_up(seg: &Segment) {
    fill(seg, 0, 4);
}

/// Leaves 3 items whose cells lie across the ring's end.
fn fill_across(seg: &Segment) {
    let q = open(seg);
    fill(seg, 0, 3);
    for _ in 0..3 {
        q.recv().unwrap();
    }
    fill(seg, 3, 6);
}

/// What there is to be received: whole, in order, without a gap; then a probe goes through.
fn drain(seg: &Segment) -> Vec<u64> {
    let q = Queue::<Item>::open(seg, "queue").unwrap();
    let mut numbers = Vec::new();
    let got_all = loop {
        match q.try_recv() {
            Ok(got) => {
                assert_eq!(got, item(got[0]), "torn");
                numbers.push(got[0]);
            }
            Err(e) => break e,
        }
    };
    let real: Vec<u64> = numbers.iter().copied().filter(|n| *n < PROBE).collect();
    for pair in real.windows(2) {
        assert_eq!(pair[0] + 1, pair[1], "lost, or twice, or out of order");
    }
    assert!(q.is_empty());
    if q.is_closed() {
        assert!(matches!(got_all, Error::Closed), "{got_all}");
        assert!(matches!(q.try_send(item(PROBE)), Err(Error::Closed)));
        return real;
    }
    assert!(matches!(got_all, Error::Empty), "{got_all}");
    for n in 0..CAPACITY as u64 {
        q.send_timeout(item(PROBE + n), LONG).unwrap();
    }
    assert!(matches!(q.try_send(item(PROBE)), Err(Error::Full)));
    let mut probes = Vec::new();
    while probes.len() < CAPACITY {
        q.recv_many_timeout(&mut probes, CAPACITY, LONG).unwrap();
    }
    assert!((0..CAPACITY).all(|n| probes[n] == item(PROBE + n as u64)));
    real
}

/// How many numbers came, from 0 on.
fn sent(seg: &Segment, look: Look) -> u32 {
    let got = drain(seg);
    assert!(look == Look::Later || got.first().is_none_or(|n| *n == 0));
    got.len() as u32
}

/// How many of 3 numbers are gone.
fn received(seg: &Segment, look: Look) -> u32 {
    let got = drain(seg);
    assert!(look == Look::Later || got.last().is_none_or(|n| *n == 2));
    3u32.saturating_sub(got.len() as u32)
}

/// Both ends, as the next ones do.
fn mend(seg: &Segment) {
    let q = open(seg);
    let _ = q.try_recv();
    match q.try_send(item(PROBE)) {
        Ok(()) | Err(Error::Closed | Error::Full) => {}
        Err(e) => panic!("{e}"),
    }
}

pub(super) fn expect(n: u64, got: commonhold::Result<Item>) {
    assert_eq!(got.unwrap(), item(n));
}

/// Leaves the senders' lock with a dead one, and half an item where nobody may see it: by a kill, at some instruction of a
/// send, of which the others are tried too.
fn die_sending(seg: &Segment) {
    die_at_the_change(seg, 2, |seg| {
        let q = open(seg);
        Box::new(|| q.send(black_box(item(77))).unwrap())
    });
}

fn die_receiving(seg: &Segment) {
    fill(seg, 0, 3);
    die_at_the_change(seg, 1, |seg| {
        let q = open(seg);
        Box::new(|| expect(0, q.recv()))
    });
}

fn take_one(seg: &Segment) {
    let got = open(seg).recv_timeout(LONG).unwrap();
    assert_eq!(got, item(got[0]));
}

/// Unless the victim sent one: then the sleeper finds it without being told again.
fn put_one_if_need_be(seg: &Segment) {
    if open(seg).is_empty() {
        open(seg).send_timeout(item(PROBE), LONG).unwrap();
    }
}

/// Unless the victim took one: then the sleeper finds the room without being told again.
fn take_one_if_need_be(seg: &Segment) {
    if open(seg).is_full() {
        let _ = open(seg).try_recv();
    }
}

fn until_closed(seg: &Segment) {
    assert!(matches!(open(seg).recv_timeout(LONG), Err(Error::Closed)));
}

/// Unless the victim closed it: then the sleepers find out without being told again.
fn close_if_need_be(seg: &Segment) {
    if !open(seg).is_closed() {
        open(seg).close();
    }
}

pub fn subject() -> Subject {
    Subject::new("Queue", make, mend, sent)
        .case(Case::new("send, three times", 3, |seg| {
            let q = open(seg);
            Box::new(|| (0..3).for_each(|n| q.send(black_box(item(n))).unwrap()))
        }))
        .case(
            Case::new("send_all, across the ring's end", 3, |seg| {
                let q = open(seg);
                Box::new(|| q.send_all(&[item(3), item(4), item(5)]).unwrap())
            })
            .before(|seg| {
                let q = open(seg);
                fill(seg, 0, 3);
                (0..3).for_each(|n| expect(n, q.recv()));
            })
            .judged_by(|seg, _| drain(seg).len() as u32),
        )
        .case(
            Case::new("send to a full queue, woken by a receiver", 1, |seg| {
                let q = open_tired_sender(seg);
                Box::new(|| q.send(item(4)).unwrap())
            })
            .before(fill_up)
            .woken_by(|seg| {
                let q = open(seg);
                Box::new(|| expect(0, q.recv()))
            })
            .judged_by(|seg, _| drain(seg).last().map_or(0, |last| *last as u32 - 3)),
        )
        .case(
            Case::new("try_send and send_timeout to a full queue", 0, |seg| {
                let q = open_tired_sender(seg);
                Box::new(|| {
                    assert!(matches!(q.try_send(item(4)), Err(Error::Full)));
                    let got = q.send_timeout(item(4), SHORT);
                    assert!(matches!(got, Err(Error::Timeout)));
                })
            })
            .before(fill_up)
            .judged_by(|seg, _| 4 - drain(seg).len() as u32),
        )
        .case(
            Case::new("send that wakes a receiver", 1, |seg| {
                let q = open(seg);
                Box::new(|| q.send(item(0)).unwrap())
            })
            .peer(take_one)
            .released_by(put_one_if_need_be),
        )
        .case(
            Case::new("send after a sender died in the middle", 1, |seg| {
                let q = open(seg);
                Box::new(|| q.send(item(0)).unwrap())
            })
            .before(die_sending),
        )
        .case(
            Case::new("recv, three times", 3, |seg| {
                let q = open(seg);
                Box::new(|| (0..3).for_each(|n| expect(n, q.recv())))
            })
            .before(|seg| fill(seg, 0, 3))
            .judged_by(received),
        )
        .case(
            Case::new("recv_many, across the ring's end", 3, |seg| {
                let q = open(seg);
                Box::new(|| {
                    let mut items = Vec::with_capacity(8);
                    assert_eq!(q.recv_many(&mut items, 8).unwrap(), 3);
                    assert_eq!(items, [item(3), item(4), item(5)]);
                })
            })
            .before(fill_across)
            .judged_by(|seg, _| 3 - drain(seg).len() as u32),
        )
        .case(
            Case::new("recv from an empty queue, woken by a sender", 1, |seg| {
                let q = open_tired(seg);
                Box::new(|| expect(0, q.recv()))
            })
            .woken_by(|seg| {
                let q = open(seg);
                // And one that stays, to tell that the first is gone.
                Box::new(|| q.send_all(&[item(0), item(1)]).unwrap())
            })
            .judged_by(|seg, _| (drain(seg).first() == Some(&1)).into()),
        )
        .case(Case::new("try_recv and recv_timeout, empty", 0, |seg| {
            let q = open_tired(seg);
            Box::new(|| {
                assert!(matches!(q.try_recv(), Err(Error::Empty)));
                let got = q.recv_timeout(SHORT);
                assert!(matches!(got, Err(Error::Timeout)));
            })
        }))
        .case(
            Case::new("recv, empty, past sweeps that find a death", 0, |seg| {
                let q = open_tired(seg);
                Box::new(|| {
                    let got = q.recv_timeout(SHORT);
                    assert!(matches!(got, Err(Error::Timeout)));
                })
            })
            .before(|seg| Forked::start(|| assert!(open(seg).is_empty())).finish()),
        )
        .case(
            Case::new("recv that wakes a sender", 1, |seg| {
                let q = open(seg);
                Box::new(|| expect(0, q.recv()))
            })
            .before(fill_up)
            .peer(|seg| open(seg).send_timeout(item(4), LONG).unwrap())
            .released_by(take_one_if_need_be)
            .judged_by(|seg, _| drain(seg).len() as u32),
        )
        .case(
            Case::new("recv after a receiver died in the middle", 1, |seg| {
                let q = open(seg);
                Box::new(|| expect(0, q.recv()))
            })
            .before(die_receiving)
            .judged_by(received),
        )
        .case(
            Case::new("close", 1, |seg| {
                let q = open(seg);
                Box::new(|| q.close())
            })
            .judged_by(|seg, _| {
                drain(seg);
                open(seg).is_closed().into()
            }),
        )
        .case(
            // More than have a part in the watch over deaths: the others rely on being told.
            (0..10).fold(
                Case::new("close that wakes ten receivers", 1, |seg| {
                    let q = open(seg);
                    Box::new(|| q.close())
                })
                .released_by(close_if_need_be),
                |case, _| case.peer(until_closed),
            ),
        )
}
