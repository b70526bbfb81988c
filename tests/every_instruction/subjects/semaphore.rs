//! A semaphore of three permits.

use crate::case::{Case, LONG, Look, SHORT, Subject, leak, tire};
use crate::support::Forked;
use crate::tracer::Op;
use commonhold::{Error, Permit, Segment, Semaphore};

const PERMITS: usize = 3;

fn open(seg: &Segment) -> &'static Semaphore {
    leak(Semaphore::open(seg, "semaphore").unwrap())
}

/// A handle that does not spin for long when there is no permit.
fn open_tired(seg: &Segment) -> &'static Semaphore {
    let s = open(seg);
    tire(|d| assert!(matches!(s.acquire_timeout(d), Err(Error::Timeout))));
    s
}

fn make(seg: &Segment) {
    Semaphore::create(seg, "semaphore", PERMITS).unwrap();
}

fn take(s: &Semaphore, permits: usize) -> Vec<Permit<'_>> {
    (0..permits).map(|_| s.acquire().unwrap()).collect()
}

/// Holds all permits until the operation sleeps.
fn hold(seg: &Segment) -> Op {
    let permits = take(open(seg), PERMITS);
    Box::new(|| drop(permits))
}

/// Leaves all permits to be found by those who meet a dead holder.
fn die_holding(seg: &Segment) {
    Forked::start(|| std::mem::forget(take(open(seg), PERMITS))).finish();
}

fn mend(seg: &Segment) {
    drop(open(seg).acquire_timeout(LONG).unwrap());
}

/// All that there are, by those who are left.
fn count(s: &Semaphore) -> u32 {
    let mut permits = Vec::new();
    loop {
        match s.try_acquire() {
            Ok(permit) => permits.push(permit),
            Err(Error::WouldBlock) => break,
            Err(e) => panic!("{e}"),
        }
    }
    assert_eq!(s.available(), 0);
    permits.len() as u32
}

/// How many permits were added.
fn judge(seg: &Segment, _: Look) -> u32 {
    let s = Semaphore::open(seg, "semaphore").unwrap();
    let all = count(&s);
    assert_eq!(count(&s), all);
    assert_eq!(s.available(), all as usize);
    drop(s.acquire_timeout(LONG).unwrap());
    all - PERMITS as u32
}

/// Whether one was forgotten.
fn judge_less(seg: &Segment, look: Look) -> u32 {
    let s = Semaphore::open(seg, "semaphore").unwrap();
    let forgotten = PERMITS as u32 - count(&s);
    s.add_permits(forgotten as usize).unwrap();
    judge(seg, look) + forgotten
}

pub fn subject() -> Subject {
    Subject::new("Semaphore", make, mend, judge)
        .case(Case::new("acquire, release", 0, |seg| {
            let s = open(seg);
            Box::new(|| drop(s.acquire().unwrap()))
        }))
        .case(Case::new("try_acquire twice, release", 0, |seg| {
            let s = open(seg);
            Box::new(|| drop([(); 2].map(|()| s.try_acquire().unwrap())))
        }))
        .case(
            Case::new("acquire held by another, who releases", 0, |seg| {
                let s = open_tired(seg);
                Box::new(|| drop(s.acquire().unwrap()))
            })
            .woken_by(hold),
        )
        .case(
            Case::new("acquire held by another, past two naps", 0, |seg| {
                let s = open_tired(seg);
                Box::new(|| drop(s.acquire().unwrap()))
            })
            .woken_by(hold)
            .after_naps(3),
        )
        .case(
            Case::new("acquire_timeout that passes", 0, |seg| {
                let s = open_tired(seg);
                Box::new(|| {
                    let got = s.acquire_timeout(SHORT);
                    assert!(matches!(got, Err(Error::Timeout)));
                })
            })
            .woken_by(hold)
            .after_naps(1000),
        )
        .case(
            Case::new("try_acquire in vain", 0, |seg| {
                let s = open(seg);
                Box::new(|| assert!(matches!(s.try_acquire(), Err(Error::WouldBlock))))
            })
            .woken_by(hold),
        )
        .case(
            Case::new("release that wakes a sleeper", 0, |seg| {
                let mut permits = take(open(seg), PERMITS);
                Box::new(move || drop(permits.pop()))
            })
            .peer(mend),
        )
        .case(
            Case::new("acquire whose holder died", 0, |seg| {
                let s = open(seg);
                // Spins in vain, so that it sleeps soon.
                Box::new(|| drop(s.acquire().unwrap()))
            })
            .before(die_holding),
        )
        .case(
            Case::new("try_acquire whose holder died", 0, |seg| {
                let s = open(seg);
                Box::new(|| drop(s.try_acquire().unwrap()))
            })
            .before(die_holding),
        )
        .case(Case::new("add_permits", 2, |seg| {
            let s = open(seg);
            Box::new(|| s.add_permits(2).unwrap())
        }))
        .case(
            Case::new("add_permits with two waiters", 2, |seg| {
                let s = open(seg);
                std::mem::forget(take(s, PERMITS));
                Box::new(|| s.add_permits(2).unwrap())
            })
            .peer(mend)
            .peer(mend),
        )
        .case(
            Case::new("forget", 1, |seg| {
                let permit = open(seg).acquire().unwrap();
                Box::new(|| permit.forget())
            })
            .judged_by(judge_less),
        )
}
