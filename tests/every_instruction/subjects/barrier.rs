//! A barrier of three parties. A death in it never leaves more than a broken phase.

use crate::case::{Case, LONG, Look, SHORT, Subject, leak, tire};
use crate::support::Forked;
use crate::tracer::Op;
use commonhold::{Barrier, Error, Segment};

const PARTIES: usize = 3;

fn open(seg: &Segment) -> &'static Barrier {
    leak(Barrier::open(seg, "barrier").unwrap())
}

/// A handle that does not spin for long.
fn open_tired(seg: &Segment) -> &'static Barrier {
    let b = open(seg);
    tire(|d| {
        assert!(matches!(b.wait_timeout(d), Err(Error::Timeout)));
        b.reset().unwrap();
    });
    b
}

fn make(seg: &Segment) {
    Barrier::create(seg, "barrier", PARTIES).unwrap();
}

/// One party: passes, or is told that another will not come.
fn arrive(seg: &Segment) {
    let end = open(seg).wait_timeout(LONG);
    assert!(matches!(end, Ok(_) | Err(Error::Broken)), "{end:?}");
}

/// One that does not wait for long: the victim may have died before it arrived.
fn arrive_for_once(seg: &Segment) {
    let end = open(seg).wait_timeout(SHORT);
    let told = matches!(end, Ok(_) | Err(Error::Broken | Error::Timeout));
    assert!(told, "{end:?}");
}

/// The two other parties, when the operation sleeps.
fn others_arrive(seg: &Segment) -> Op {
    let seg = seg.clone();
    Box::new(move || {
        std::thread::scope(|scope| {
            scope.spawn(|| arrive_for_once(&seg));
            arrive_for_once(&seg);
        });
    })
}

/// Leaves an arrival to be found by those who wait for the dead.
fn die_waiting(seg: &Segment) {
    let b = open(seg);
    Forked::start(|| {
        std::thread::scope(|scope| {
            scope.spawn(|| b.wait());
            while b.waiting() == 0 {
                std::thread::yield_now();
            }
            // SAFETY: ends the process at once, the thread that waits included.
            unsafe { libc::_exit(0) };
        });
    })
    .finish();
}

fn mend(seg: &Segment) {
    open(seg).reset().unwrap();
}

fn judge(seg: &Segment, _: Look) -> u32 {
    let b = Barrier::open(seg, "barrier").unwrap();
    b.reset().unwrap();
    assert_eq!((b.is_broken(), b.waiting()), (false, 0));
    let party = || {
        let leads = |_| u32::from(b.wait_timeout(LONG).unwrap().is_leader());
        (0..3).map(leads).sum::<u32>()
    };
    let leaders = std::thread::scope(|scope| {
        let others = [(); PARTIES - 1].map(|()| scope.spawn(party));
        let mine = party();
        others.into_iter().map(|o| o.join().unwrap()).sum::<u32>() + mine
    });
    assert_eq!(leaders, 3);
    assert_eq!((b.is_broken(), b.waiting()), (false, 0));
    0
}

pub fn subject() -> Subject {
    Subject::new("Barrier", make, mend, judge)
        .case(
            Case::new("wait, released by others", 0, |seg| {
                let b = open_tired(seg);
                Box::new(|| assert!(!b.wait().unwrap().is_leader()))
            })
            .woken_by(others_arrive),
        )
        .case(
            Case::new("wait past two naps", 0, |seg| {
                let b = open_tired(seg);
                Box::new(|| assert!(!b.wait().unwrap().is_leader()))
            })
            .woken_by(others_arrive)
            .after_naps(3),
        )
        .case(
            Case::new("wait as the last: releases two", 0, |seg| {
                let b = open(seg);
                Box::new(|| assert!(b.wait().unwrap().is_leader()))
            })
            .peer(arrive)
            .peer(arrive)
            .released_by(mend),
        )
        .case(
            Case::new("wait_timeout that passes, with a waiter", 0, |seg| {
                let b = open_tired(seg);
                Box::new(|| assert!(matches!(b.wait_timeout(SHORT), Err(Error::Timeout))))
            })
            .peer(arrive)
            .released_by(mend),
        )
        .case(
            Case::new("wait with one that died", 0, |seg| {
                let b = open(seg);
                Box::new(|| assert!(matches!(b.wait(), Err(Error::Broken))))
            })
            .before(die_waiting),
        )
        .case(
            Case::new("reset with a waiter", 0, |seg| {
                let b = open(seg);
                Box::new(|| b.reset().unwrap())
            })
            .peer(arrive)
            .released_by(mend),
        )
        .case(
            Case::new("abort with a waiter; reset", 0, |seg| {
                let b = open(seg);
                Box::new(|| {
                    b.abort();
                    b.reset().unwrap();
                })
            })
            .peer(arrive)
            .released_by(mend),
        )
}
