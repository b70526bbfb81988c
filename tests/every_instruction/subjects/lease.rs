//! Leases of a queue's items: each is completed, or comes back.

use super::queue::{CAPACITY, Item, PROBE, expect, fill, item, make, open};
use crate::case::{Case, LONG, Look, SHORT, Subject, leak, tire};
use crate::support::Forked;
use commonhold::{Error, Lease, Queue, Segment};

fn fill_up(seg: &Segment) {
    fill(seg, 0, 4);
}

fn lease(q: &Queue<Item>) -> Lease<Item> {
    let lease = q.lease_timeout(LONG).unwrap();
    assert_eq!(*lease, item(lease[0]), "torn");
    lease
}

/// Leases so many.
fn take(q: &'static Queue<Item>, count: usize) -> Vec<Lease<Item>> {
    (0..count).map(|_| lease(q)).collect()
}

/// Leaves two to be found by those who meet a dead holder.
fn die_holding(seg: &Segment) {
    fill(seg, 0, 4);
    Forked::start(|| std::mem::forget(take(open(seg), 2))).finish();
}

/// A full queue of which two came back, the second first.
fn give_two_back(seg: &Segment) {
    fill(seg, 0, 4);
    let mut two = take(open(seg), 2);
    drop(two.pop());
    drop(two.pop());
}

/// Leases all there is, by those who are left: each whole, and once. Then nothing is left to do, and a probe goes through.
fn drain(seg: &Segment) -> Vec<u64> {
    let q = Queue::<Item>::open(seg, "queue").unwrap();
    let mut numbers = Vec::new();
    let got_all = loop {
        match q.try_lease() {
            Ok(lease) => {
                assert_eq!(*lease, item(lease[0]), "torn");
                numbers.push(lease[0]);
                lease.complete().unwrap();
            }
            Err(e) => break e,
        }
    };
    numbers.sort_unstable();
    assert!(numbers.windows(2).all(|w| w[0] != w[1]), "twice");
    numbers.retain(|n| *n < PROBE);
    q.try_join().unwrap();
    assert_eq!((q.len(), q.leased()), (0, 0));
    if q.is_closed() {
        assert!(matches!(got_all, Error::Closed), "{got_all}");
        return numbers;
    }
    assert!(matches!(got_all, Error::Empty), "{got_all}");
    for n in 0..CAPACITY as u64 {
        q.send_timeout(item(PROBE + n), LONG).unwrap();
    }
    assert!(matches!(q.try_send(item(PROBE)), Err(Error::Full)));
    for n in 0..CAPACITY as u64 {
        expect(PROBE + n, q.recv_timeout(LONG));
    }
    numbers
}

/// How many of 4 numbers are gone.
fn gone(seg: &Segment, _: Look) -> u32 {
    4u32.saturating_sub(drain(seg).len() as u32)
}

/// As the next ones do.
fn mend(seg: &Segment) {
    let q = open(seg);
    if let Ok(lease) = q.try_lease() {
        drop(lease);
    }
    let _ = q.try_join();
}

/// If the victim dies, what it had may come here.
fn to_the_end(seg: &Segment) {
    let end = loop {
        match open(seg).recv_timeout(LONG) {
            Ok(_) => {}
            Err(e) => break e,
        }
    };
    assert!(matches!(end, Error::Closed), "{end}");
}

/// Unless the victim completed one: then the sleeper finds the room, or the end, without being told again.
fn complete_all(seg: &Segment) {
    while let Ok(lease) = open(seg).try_lease() {
        lease.complete().unwrap();
    }
}

pub fn subject() -> Subject {
    Subject::new("Lease", make, mend, gone)
        .case(
            Case::new("lease and complete, three times", 3, |seg| {
                let q = open(seg);
                Box::new(|| (0..3).for_each(|_| lease(q).complete().unwrap()))
            })
            .before(fill_up),
        )
        .case(
            Case::new("lease two and give them back", 0, |seg| {
                let q = open(seg);
                Box::new(|| drop([lease(q), lease(q)]))
            })
            .before(fill_up),
        )
        .case(
            Case::new("complete, the second and the fourth of four", 2, |seg| {
                let mut all = take(open(seg), 4);
                let (fourth, second) = (all.remove(3), all.remove(1));
                leak(all);
                Box::new(|| {
                    second.complete().unwrap();
                    fourth.complete().unwrap();
                })
            })
            .before(fill_up),
        )
        .case(
            Case::new("recv and recv_many, past what is kept", 3, |seg| {
                let q = open(seg);
                leak(take(q, 1));
                Box::new(|| {
                    expect(1, q.recv());
                    let mut items = Vec::with_capacity(8);
                    assert_eq!(q.recv_many(&mut items, 8).unwrap(), 2);
                    assert_eq!(items, [item(2), item(3)]);
                })
            })
            .before(fill_up),
        )
        .case(
            Case::new("recv, lease and recv_many of what came back", 4, |seg| {
                let q = open(seg);
                Box::new(|| {
                    let first = lease(q);
                    assert!(first.redelivered() && *first == item(0));
                    let mut items = Vec::with_capacity(8);
                    assert_eq!(q.recv_many(&mut items, 2).unwrap(), 2);
                    assert_eq!(items, [item(1), item(2)]);
                    drop(first);
                    expect(0, q.recv());
                    expect(3, q.recv());
                })
            })
            .before(give_two_back),
        )
        .case(
            Case::new("recv and lease of what the dead had", 4, |seg| {
                let q = open(seg);
                Box::new(|| {
                    // The first call asks after the owners when it has got its own.
                    expect(2, q.recv());
                    expect(0, q.recv());
                    lease(q).complete().unwrap();
                    expect(3, q.try_recv());
                })
            })
            .before(die_holding),
        )
        .case(
            Case::new("lease, woken by one that is given back", 1, |seg| {
                let q = open(seg);
                tire(|d| assert!(matches!(q.lease_timeout(d), Err(Error::Timeout))));
                Box::new(|| lease(q).complete().unwrap())
            })
            .woken_by(|seg| {
                let q = open(seg);
                // And three that stay.
                fill(seg, 0, 1);
                let given = lease(q);
                Box::new(move || {
                    q.send_all(&[item(1), item(2), item(3)]).unwrap();
                    drop(given);
                })
            })
            .judged_by(|seg, _| u32::from(drain(seg).len() == 3)),
        )
        .case(
            Case::new("complete that wakes a sender", 1, |seg| {
                let first = lease(open(seg));
                Box::new(|| first.complete().unwrap())
            })
            .before(fill_up)
            .peer(|seg| open(seg).send_timeout(item(4), LONG).unwrap())
            .released_by(|seg| {
                if open(seg).is_full() {
                    complete_all(seg);
                }
            })
            .judged_by(|seg, _| u32::from(!drain(seg).contains(&0))),
        )
        .case(
            Case::new(
                "complete that wakes a join and ends a closed queue",
                1,
                |seg| {
                    let only = lease(open(seg));
                    Box::new(|| only.complete().unwrap())
                },
            )
            .before(|seg| {
                fill(seg, 0, 1);
                open(seg).close();
            })
            .peer(|seg| open(seg).join_timeout(LONG).unwrap())
            .peer(to_the_end)
            .released_by(complete_all)
            .judged_by(|seg, _| u32::from(drain(seg).is_empty())),
        )
        .case(
            Case::new("join and try_join in vain", 0, |seg| {
                let q = open(seg);
                tire(|d| assert!(matches!(q.join_timeout(d), Err(Error::Timeout))));
                Box::new(|| {
                    assert!(matches!(q.try_join(), Err(Error::WouldBlock)));
                    assert!(matches!(q.join_timeout(SHORT), Err(Error::Timeout)));
                })
            })
            .before(fill_up),
        )
        .case(
            Case::new("join, woken by the last completion", 0, |seg| {
                let q = open(seg);
                tire(|d| assert!(matches!(q.join_timeout(d), Err(Error::Timeout))));
                Box::new(|| q.join().unwrap())
            })
            .before(|seg| fill(seg, 0, 1))
            .woken_by(|seg| {
                let only = lease(open(seg));
                Box::new(|| only.complete().unwrap())
            })
            .judged_by(|seg, _| {
                drain(seg);
                0
            }),
        )
}
