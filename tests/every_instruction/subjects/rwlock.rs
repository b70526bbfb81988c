//! A readers-writer lock over a pair that its writers take from equal to equal, by two stores.

use super::mutex::step;
use crate::case::{Case, LONG, Look, SHORT, Subject, leak, tire};
use crate::support::Forked;
use crate::tracer::Op;
use commonhold::{Error, RwLock, RwLockReadGuard, RwLockWriteGuard, Segment};

type Pair = [u64; 2];

fn open(seg: &Segment) -> &'static RwLock<Pair> {
    leak(RwLock::open(seg, "rwlock").unwrap())
}

/// While somebody else writes.
fn open_tired(seg: &Segment) -> &'static RwLock<Pair> {
    let l = open(seg);
    tire(|d| assert!(matches!(l.write_timeout(d), Err(Error::Timeout))));
    l
}

fn make(seg: &Segment) {
    RwLock::<Pair>::create(seg, "rwlock", [0; 2]).unwrap();
}

/// Writes until the operation sleeps.
fn hold(seg: &Segment) -> Op {
    let pair = open(seg).write().unwrap();
    Box::new(|| drop(pair))
}

/// Reads until the operation sleeps.
fn look_on(seg: &Segment) -> Op {
    let pair = read_solo(open(seg));
    Box::new(|| drop(pair))
}

/// A member's first reading is counted in the tally.
fn read_solo(l: &'static RwLock<Pair>) -> RwLockReadGuard<'static, Pair> {
    read(l.read().unwrap());
    l.read().unwrap()
}

fn read(pair: RwLockReadGuard<'_, Pair>) {
    assert_eq!(pair[0], pair[1]);
}

/// The lock, its state mended if its last writer died; and how far the pair had come.
fn mended(l: &RwLock<Pair>) -> (RwLockWriteGuard<'_, Pair>, u64) {
    match l.write_timeout(LONG) {
        Ok(pair) => {
            assert_eq!(pair[0], pair[1], "half-done, and nobody was told");
            let sum = pair[0] + pair[1];
            (pair, sum)
        }
        Err(Error::Poisoned) => {
            assert!(l.is_poisoned());
            assert!(matches!(l.try_read(), Err(Error::Poisoned)));
            assert!(matches!(l.try_write(), Err(Error::Poisoned)));
            let mut pair = l.recover().unwrap();
            assert!(pair[0] - pair[1] <= 1, "{pair:?}");
            let sum = pair[0] + pair[1];
            pair[1] = pair[0];
            (pair, sum)
        }
        Err(e) => panic!("{e}"),
    }
}

fn mend(seg: &Segment) {
    drop(mended(open(seg)));
}

fn judge(seg: &Segment, _: Look) -> u32 {
    let l = RwLock::<Pair>::open(seg, "rwlock").unwrap();
    let (mut pair, sum) = mended(&l);
    step(&mut pair);
    drop(pair);
    assert!(!l.is_poisoned());
    let (one, two) = (l.try_read().expect("nobody writes"), l.read().unwrap());
    read(one);
    read(two);
    drop(l.try_write().expect("nobody reads any more"));
    sum as u32
}

/// Leaves the lock to those who meet a writer that died.
fn die_writing(seg: &Segment) {
    Forked::start(|| std::mem::forget(open(seg).write().unwrap())).finish();
}

/// Leaves readings that nobody makes.
fn die_reading(seg: &Segment) {
    Forked::start(|| {
        let l = open(seg);
        std::mem::forget(l.read().unwrap());
        std::mem::forget(l.read().unwrap());
    })
    .finish();
}

/// Leaves it poisoned, held by a dead one who was mending.
fn die_recovering(seg: &Segment) {
    die_writing(seg);
    Forked::start(|| std::mem::forget(open(seg).recover().unwrap())).finish();
}

pub fn subject() -> Subject {
    Subject::new("RwLock", make, mend, judge)
        .case(Case::new("first read of a member, unlock", 0, |seg| {
            let l = open(seg);
            Box::new(|| read(l.read().unwrap()))
        }))
        .case(Case::new("read, read, unlock both", 0, |seg| {
            let l = open(seg);
            read(l.read().unwrap());
            Box::new(|| {
                let one = l.read().unwrap();
                read(l.try_read().unwrap());
                read(one);
            })
        }))
        .case(Case::new("write, two stores, unlock", 2, |seg| {
            let l = open(seg);
            Box::new(|| step(&mut l.write().unwrap()))
        }))
        .case(Case::new("try_write, two stores, unlock", 2, |seg| {
            let l = open(seg);
            Box::new(|| step(&mut l.try_write().unwrap()))
        }))
        .case(Case::new("write, downgrade, read, unlock", 2, |seg| {
            let l = open(seg);
            Box::new(|| {
                let mut pair = l.write().unwrap();
                step(&mut pair);
                read(RwLockWriteGuard::downgrade(pair).unwrap());
            })
        }))
        .case(
            Case::new("read while another writes, who leaves", 0, |seg| {
                let l = open_tired(seg);
                Box::new(|| read(l.read().unwrap()))
            })
            .woken_by(hold),
        )
        .case(
            Case::new("write while another writes, who leaves", 2, |seg| {
                let l = open_tired(seg);
                Box::new(|| step(&mut l.write().unwrap()))
            })
            .woken_by(hold),
        )
        .case(
            Case::new("write while another reads, who leaves", 2, |seg| {
                let l = open_tired(seg);
                Box::new(|| step(&mut l.write().unwrap()))
            })
            .woken_by(look_on),
        )
        .case(
            Case::new("write while another reads, past two naps", 2, |seg| {
                let l = open_tired(seg);
                Box::new(|| step(&mut l.write().unwrap()))
            })
            .woken_by(look_on)
            .after_naps(3),
        )
        .case(
            Case::new("read_timeout that passes", 0, |seg| {
                let l = open_tired(seg);
                Box::new(|| assert!(matches!(l.read_timeout(SHORT), Err(Error::Timeout))))
            })
            .woken_by(hold)
            .after_naps(1000),
        )
        .case(
            Case::new("write_timeout that passes, past readers", 0, |seg| {
                let l = open_tired(seg);
                Box::new(|| assert!(matches!(l.write_timeout(SHORT), Err(Error::Timeout))))
            })
            .woken_by(look_on)
            .after_naps(1000),
        )
        .case(
            Case::new("unlock of a write that wakes a reader", 2, |seg| {
                let mut pair = open(seg).write().unwrap();
                Box::new(move || {
                    step(&mut pair);
                    drop(pair);
                })
            })
            .peer(|seg| match open(seg).read() {
                Ok(pair) => read(pair),
                Err(e) => assert!(matches!(e, Error::Poisoned)),
            }),
        )
        .case(
            Case::new("unlock of a read that wakes a writer", 0, |seg| {
                let pair = open(seg).read().unwrap();
                Box::new(move || drop(pair))
            })
            .peer(|seg| drop(open(seg).write().unwrap())),
        )
        .case(
            Case::new("unlock of a solo read that wakes a writer", 0, |seg| {
                let pair = read_solo(open(seg));
                Box::new(move || drop(pair))
            })
            .peer(|seg| drop(open(seg).write().unwrap())),
        )
        .case(
            Case::new("write while a dead one reads", 2, |seg| {
                let l = open(seg);
                Box::new(|| step(&mut l.write().unwrap()))
            })
            .before(die_reading),
        )
        .case(
            Case::new("try_write while a dead one reads", 2, |seg| {
                let l = open(seg);
                Box::new(|| step(&mut l.try_write().unwrap()))
            })
            .before(die_reading),
        )
        .case(
            Case::new("read whose writer died: poisons it", 0, |seg| {
                let l = open(seg);
                Box::new(|| assert!(matches!(l.read(), Err(Error::Poisoned))))
            })
            .before(die_writing),
        )
        .case(
            Case::new("try_write whose writer died", 0, |seg| {
                let l = open(seg);
                Box::new(|| assert!(matches!(l.try_write(), Err(Error::Poisoned))))
            })
            .before(die_writing),
        )
        .case(
            Case::new("recover, two stores, unlock", 2, |seg| {
                let l = open(seg);
                Box::new(|| step(&mut l.recover().unwrap()))
            })
            .before(die_writing),
        )
        .case(
            Case::new("recover after a recoverer died", 2, |seg| {
                let l = open(seg);
                Box::new(|| step(&mut l.recover().unwrap()))
            })
            .before(die_recovering),
        )
}
