//! A mutex over a pair that its holders take from equal to equal, by two stores.

use crate::case::{Case, LONG, Look, SHORT, Subject, leak, tire};
use crate::support::Forked;
use crate::tracer::Op;
use commonhold::{Error, Mutex, MutexGuard, Segment};
use std::hint::black_box;

type Pair = [u64; 2];

pub fn open(seg: &Segment) -> &'static Mutex<Pair> {
    leak(Mutex::open(seg, "mutex").unwrap())
}

fn open_tired(seg: &Segment) -> &'static Mutex<Pair> {
    let m = open(seg);
    tire(|d| assert!(matches!(m.lock_timeout(d), Err(Error::Timeout))));
    m
}

pub fn make(seg: &Segment) {
    Mutex::<Pair>::create(seg, "mutex", [0; 2]).unwrap();
}

/// Holds the lock until the operation sleeps.
fn hold(seg: &Segment) -> Op {
    let pair = open(seg).lock().unwrap();
    Box::new(|| drop(pair))
}

/// Takes the pair one further.
pub fn step(pair: &mut Pair) {
    *black_box(&mut pair[0]) += 1;
    *black_box(&mut pair[1]) += 1;
}

/// The lock, its state mended if its last holder died; and how far the pair had come.
fn mended(m: &Mutex<Pair>) -> (MutexGuard<'_, Pair>, u64) {
    match m.lock_timeout(LONG) {
        Ok(pair) => {
            assert_eq!(pair[0], pair[1], "half-done, and nobody was told");
            let sum = pair[0] + pair[1];
            (pair, sum)
        }
        Err(Error::Poisoned) => {
            assert!(m.is_poisoned());
            assert!(matches!(m.try_lock(), Err(Error::Poisoned)));
            let mut pair = m.recover().unwrap();
            assert!(pair[0] - pair[1] <= 1, "{pair:?}");
            let sum = pair[0] + pair[1];
            pair[1] = pair[0];
            (pair, sum)
        }
        Err(e) => panic!("{e}"),
    }
}

pub fn mend(seg: &Segment) {
    drop(mended(open(seg)));
}

pub fn judge(seg: &Segment, _: Look) -> u32 {
    let m = Mutex::<Pair>::open(seg, "mutex").unwrap();
    let (mut pair, sum) = mended(&m);
    step(&mut pair);
    drop(pair);
    assert!(!m.is_poisoned());
    let pair = m.try_lock().expect("free, and sound again");
    assert_eq!(pair[0], pair[1]);
    sum as u32
}

/// Leaves the lock to be found by those who meet a dead owner.
pub fn die_holding(seg: &Segment) {
    Forked::start(|| {
        let pair = open(seg).lock().unwrap();
        std::mem::forget(pair);
        // Ends without letting go.
    })
    .finish();
}

/// Leaves it poisoned, held by a dead one who was mending.
fn die_recovering(seg: &Segment) {
    die_holding(seg);
    Forked::start(|| {
        let m = open(seg);
        assert!(matches!(m.lock(), Err(Error::Poisoned)));
        std::mem::forget(m.recover().unwrap());
    })
    .finish();
}

pub fn subject() -> Subject {
    Subject::new("Mutex", make, mend, judge)
        .case(Case::new("lock, two stores, unlock", 2, |seg| {
            let m = open(seg);
            Box::new(|| step(&mut m.lock().unwrap()))
        }))
        .case(Case::new("try_lock, two stores, unlock", 2, |seg| {
            let m = open(seg);
            Box::new(|| step(&mut m.try_lock().unwrap()))
        }))
        .case(
            Case::new("lock held by another, who unlocks", 2, |seg| {
                let m = open_tired(seg);
                Box::new(|| step(&mut m.lock().unwrap()))
            })
            .woken_by(hold),
        )
        .case(
            Case::new("lock held by another, past two naps", 2, |seg| {
                let m = open_tired(seg);
                Box::new(|| step(&mut m.lock().unwrap()))
            })
            .woken_by(hold)
            .after_naps(3),
        )
        .case(
            Case::new("lock_timeout that passes", 0, |seg| {
                let m = open_tired(seg);
                Box::new(|| {
                    let got = m.lock_timeout(SHORT);
                    assert!(matches!(got, Err(Error::Timeout)));
                })
            })
            .woken_by(hold)
            .after_naps(1000),
        )
        .case(
            Case::new("unlock that wakes a sleeper", 2, |seg| {
                let mut pair = open(seg).lock().unwrap();
                Box::new(move || {
                    step(&mut pair);
                    drop(pair);
                })
            })
            .peer(|seg| {
                mend(seg);
            }),
        )
        .case(
            Case::new("lock whose owner died: poisons it", 0, |seg| {
                let m = open(seg);
                Box::new(|| assert!(matches!(m.lock(), Err(Error::Poisoned))))
            })
            .before(die_holding),
        )
        .case(
            Case::new("try_lock whose owner died", 0, |seg| {
                let m = open(seg);
                Box::new(|| assert!(matches!(m.try_lock(), Err(Error::Poisoned))))
            })
            .before(die_holding),
        )
        .case(
            Case::new("recover, two stores, unlock", 2, |seg| {
                let m = open(seg);
                Box::new(|| step(&mut m.recover().unwrap()))
            })
            .before(die_holding),
        )
        .case(
            Case::new("recover_timeout that passes", 0, |seg| {
                let m = open_tired(seg);
                Box::new(|| {
                    let got = m.recover_timeout(SHORT);
                    assert!(matches!(got, Err(Error::Timeout)));
                })
            })
            .woken_by(hold)
            .after_naps(1000),
        )
        .case(
            Case::new("recover after a recoverer died", 2, |seg| {
                let m = open(seg);
                Box::new(|| step(&mut m.recover().unwrap()))
            })
            .before(die_recovering),
        )
}
