//! A reentrant mutex, with a pair beside it that its holders take from equal to equal, by two stores at two depths.

use crate::case::{Case, LONG, Look, SHORT, Subject, leak, tire};
use crate::support::Forked;
use crate::tracer::Op;
use commonhold::{Atomics, Error, ReentrantMutex, ReentrantMutexGuard, Segment};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

struct Pair {
    lock: ReentrantMutex,
    words: Atomics<AtomicU64>,
}

impl Pair {
    fn open(seg: &Segment) -> &'static Pair {
        leak(Pair {
            lock: ReentrantMutex::open(seg, "reentrant").unwrap(),
            words: Atomics::open(seg, "words").unwrap(),
        })
    }

    fn open_tired(seg: &Segment) -> &'static Pair {
        let pair = Pair::open(seg);
        tire(|d| assert!(matches!(pair.lock.lock_timeout(d), Err(Error::Timeout))));
        pair
    }

    fn get(&self) -> [u64; 2] {
        [0, 1].map(|i| self.words[i].load(Relaxed))
    }

    fn add(&self, i: usize) {
        self.words[i].store(self.words[i].load(Relaxed) + 1, Relaxed);
    }

    /// Takes the pair one further, under a guard that the caller has.
    fn step(&self, _outer: &ReentrantMutexGuard<'_>) {
        self.add(0);
        let _inner = self.lock.lock().unwrap();
        self.add(1);
    }

    /// The lock, the pair mended if its last holder died; and how far it had come.
    fn mended(&self) -> (ReentrantMutexGuard<'_>, u64) {
        match self.lock.lock_timeout(LONG) {
            Ok(guard) => {
                let [a, b] = self.get();
                assert_eq!(a, b, "half-done, and nobody was told");
                (guard, a + b)
            }
            Err(Error::Poisoned) => {
                assert!(self.lock.is_poisoned());
                assert!(matches!(self.lock.try_lock(), Err(Error::Poisoned)));
                let guard = self.lock.recover().unwrap();
                let [a, b] = self.get();
                assert!(a - b <= 1, "{a} {b}");
                self.words[1].store(a, Relaxed);
                (guard, a + b)
            }
            Err(e) => panic!("{e}"),
        }
    }
}

fn make(seg: &Segment) {
    ReentrantMutex::create(seg, "reentrant").unwrap();
    Atomics::<AtomicU64>::create(seg, "words", 2).unwrap();
}

/// Holds the lock, twice, until the operation sleeps.
fn hold(seg: &Segment) -> Op {
    let pair = Pair::open(seg);
    let guards = [(); 2].map(|()| pair.lock.lock().unwrap());
    Box::new(|| drop(guards))
}

fn mend(seg: &Segment) {
    drop(Pair::open(seg).mended());
}

fn judge(seg: &Segment, _: Look) -> u32 {
    let pair = Pair::open(seg);
    let (guard, sum) = pair.mended();
    pair.step(&guard);
    // No stranger gets in while we hold it.
    std::thread::scope(|s| {
        let stranger = s.spawn(|| pair.lock.try_lock().map(drop));
        assert!(matches!(stranger.join().unwrap(), Err(Error::WouldBlock)));
    });
    drop(guard);
    assert!(!pair.lock.is_poisoned());
    let _guard = pair.lock.try_lock().expect("free, and sound again");
    let [a, b] = pair.get();
    assert_eq!(a, b);
    sum as u32
}

fn die_holding(seg: &Segment) {
    Forked::start(|| {
        let pair = Pair::open(seg);
        let guards = [(); 2].map(|()| pair.lock.lock().unwrap());
        std::mem::forget(guards);
        // Ends without letting go.
    })
    .finish();
}

fn die_recovering(seg: &Segment) {
    die_holding(seg);
    Forked::start(|| {
        let pair = Pair::open(seg);
        assert!(matches!(pair.lock.lock(), Err(Error::Poisoned)));
        std::mem::forget(pair.lock.recover().unwrap());
        std::mem::forget(pair.lock.lock().unwrap());
    })
    .finish();
}

pub fn subject() -> Subject {
    Subject::new("ReentrantMutex", make, mend, judge)
        .case(Case::new("lock, lock again, two stores", 2, |seg| {
            let pair = Pair::open(seg);
            Box::new(|| pair.step(&pair.lock.lock().unwrap()))
        }))
        .case(Case::new("try_lock, lock again, two stores", 2, |seg| {
            let pair = Pair::open(seg);
            Box::new(|| pair.step(&pair.lock.try_lock().unwrap()))
        }))
        .case(
            Case::new("lock held twice by another, who unlocks", 2, |seg| {
                let pair = Pair::open_tired(seg);
                Box::new(|| pair.step(&pair.lock.lock().unwrap()))
            })
            .woken_by(hold),
        )
        .case(
            Case::new("lock_timeout that passes", 0, |seg| {
                let pair = Pair::open_tired(seg);
                Box::new(|| {
                    let got = pair.lock.lock_timeout(SHORT);
                    assert!(matches!(got, Err(Error::Timeout)));
                })
            })
            .woken_by(hold)
            .after_naps(1000),
        )
        .case(
            Case::new("unlocks, the last of which wakes a sleeper", 2, |seg| {
                let pair = Pair::open(seg);
                let guard = pair.lock.lock().unwrap();
                Box::new(move || {
                    pair.step(&guard);
                    drop(guard);
                })
            })
            .peer(mend),
        )
        .case(
            Case::new("lock whose owner died at depth two: poisons it", 0, |seg| {
                let pair = Pair::open(seg);
                Box::new(|| assert!(matches!(pair.lock.lock(), Err(Error::Poisoned))))
            })
            .before(die_holding),
        )
        .case(
            Case::new("recover, lock again, two stores", 2, |seg| {
                let pair = Pair::open(seg);
                Box::new(|| pair.step(&pair.lock.recover().unwrap()))
            })
            .before(die_holding),
        )
        .case(
            Case::new("recover after a recoverer died", 2, |seg| {
                let pair = Pair::open(seg);
                Box::new(|| pair.step(&pair.lock.recover().unwrap()))
            })
            .before(die_recovering),
        )
}
