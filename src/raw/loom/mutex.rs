//! The mutex: at most one holder, nobody forgotten, the dead found, doubt kept until somebody mends it.

use super::{Fate, call, call_until, explore, id};
use crate::error::{Error, Result};
use crate::raw::mutex::{Heir, RawMutex, Took, is_free};
use crate::raw::{Membership, Nap};
use crate::sys::atomic::Ordering::Relaxed;
use crate::sys::deadline::Deadline;
use crate::sys::model::{self, Oracle};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

struct Guarded {
    mutex: RawMutex,
    count: UnsafeCell<u32>,
}

impl Guarded {
    fn new() -> Arc<Guarded> {
        Arc::new(Guarded {
            mutex: RawMutex::new(),
            count: UnsafeCell::new(0),
        })
    }

    /// Locks, counts, unlocks. The cell tells loom of any other access that is not ordered with this one.
    fn count_once(&self, index: usize, heir: Heir) -> Result<Took> {
        let took = self.mutex.lock(&call(index), heir)?;
        self.increment();
        self.mutex.unlock();
        Ok(took)
    }

    fn increment(&self) {
        // SAFETY: loom checks that nobody else has access now.
        self.count.with_mut(|c| unsafe { *c += 1 });
    }

    fn total(&self) -> u32 {
        // SAFETY: as above.
        self.count.with(|c| unsafe { *c })
    }
}

#[test]
fn the_dead_are_inherited_from_and_nobody_waits_for_ever() {
    explore(&[1], 2, |fate: Fate| {
        let g = Guarded::new();
        let threads: Vec<_> = (1..3)
            .map(|i| {
                let g = g.clone();
                thread::spawn(move || fate.live(i, || g.count_once(i, Heir::Inherits)))
            })
            .collect();
        assert!(g.count_once(0, Heir::Inherits).is_ok());
        let counted = threads
            .into_iter()
            .map(|t| t.join().unwrap())
            .filter(|r| matches!(r, Some(Ok(_))))
            .count() as u32;
        g.mutex.lock(&call(0), Heir::Inherits).unwrap();
        // The dead one may have counted before it died.
        let total = g.total();
        assert!(total == counted + 1 || !fate.nobody_dies() && total == counted + 2);
    });
}

#[test]
fn a_holder_that_dies_leaves_doubt_until_somebody_recovers() {
    explore(&[1], 3, |fate: Fate| {
        let g = Guarded::new();
        let threads: Vec<_> = (1..3)
            .map(|i| {
                let g = g.clone();
                thread::spawn(move || fate.live(i, || g.count_once(i, Heir::Refuses)))
            })
            .collect();
        let results: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
        let doubted = matches!(results[1], Some(Err(Error::Poisoned)));
        if fate.nobody_dies() {
            assert!(results.iter().all(|r| matches!(r, Some(Ok(_)))));
        } else if results[0].is_some() {
            assert!(!doubted);
        }
        // Whoever comes after a doubter meets the same doubt, or the death if nobody has met it yet.
        let died_holding = match g.mutex.lock(&call(0), Heir::Refuses) {
            Ok(_) => {
                assert!(!doubted);
                g.mutex.unlock();
                false
            }
            Err(Error::Poisoned) => {
                assert!(results[0].is_none());
                true
            }
            Err(e) => panic!("{e}"),
        };
        let took = g.mutex.lock(&call(0), Heir::Recovers).unwrap();
        assert_eq!(took == Took::FromTheDead, died_holding);
        assert_eq!(g.mutex.is_poisoned(), died_holding);
        g.increment();
        g.mutex.unlock();
        assert!(!g.mutex.is_poisoned());
        assert!(g.count_once(0, Heir::Refuses).is_ok());
    });
}

#[test]
fn recovering_takes_over_from_the_dead_and_says_so() {
    explore(&[1], 3, |fate: Fate| {
        let g = Guarded::new();
        let other = {
            let g = g.clone();
            thread::spawn(move || fate.live(1, || g.count_once(1, Heir::Refuses)).is_some())
        };
        let took = g.mutex.lock(&call(0), Heir::Recovers).unwrap();
        let doubted = g.mutex.is_poisoned();
        g.increment();
        g.mutex.unlock();
        let lived = other.join().unwrap();
        assert_eq!(doubted, took == Took::FromTheDead);
        assert!(!doubted || !lived);
        // Whether it died before, with or after the lock: the lock is sound, or its death is still to be met.
        match g.count_once(0, Heir::Refuses) {
            Ok(_) => {}
            Err(Error::Poisoned) => assert!(!lived && !doubted),
            Err(e) => panic!("{e}"),
        }
    });
}

#[test]
fn a_holder_that_panics_tells_all_who_wait() {
    explore(&[], 2, |_| {
        let g = Guarded::new();
        g.mutex.lock(&call(0), Heir::Refuses).unwrap();
        let waiters = [1, 2].map(|i| {
            let g = g.clone();
            thread::spawn(move || g.mutex.lock(&call(i), Heir::Refuses))
        });
        g.mutex.unlock_poisoned();
        for w in waiters {
            assert!(matches!(w.join().unwrap(), Err(Error::Poisoned)));
        }
    });
}

#[test]
fn one_that_recovers_and_dies_leaves_the_doubt() {
    explore(&[1], 3, |fate: Fate| {
        let g = Guarded::new();
        g.mutex.lock(&call(0), Heir::Refuses).unwrap();
        g.mutex.unlock_poisoned();
        let other = {
            let g = g.clone();
            thread::spawn(move || fate.live(1, || g.count_once(1, Heir::Recovers)))
        };
        let mine = g.count_once(0, Heir::Refuses);
        let theirs = other.join().unwrap();
        if theirs.is_none() && mine.is_err() {
            assert!(matches!(mine, Err(Error::Poisoned)));
        }
        let last = g.mutex.lock(&call(0), Heir::Refuses);
        match theirs {
            // It mended the state, and said so by unlocking.
            Some(r) => {
                assert_eq!(r.unwrap(), Took::FromTheDead);
                assert!(last.is_ok());
            }
            // It died: before its unlock (doubt), or after it (sound).
            None => assert!(matches!(last, Ok(Took::InOrder) | Err(Error::Poisoned))),
        }
    });
}

#[test]
fn one_that_is_woken_and_gives_up_leaves_the_next_wake_to_come() {
    explore(&[], 2, |_| {
        let g = Guarded::new();
        g.mutex.lock(&call(0), Heir::Refuses).unwrap();
        let impatient = {
            let g = g.clone();
            thread::spawn(move || {
                match g.mutex.lock(&call_until(1, Deadline::SOON), Heir::Refuses) {
                    Ok(_) => g.mutex.unlock(),
                    Err(e) => assert!(matches!(e, Error::Timeout)),
                }
            })
        };
        let patient = {
            let g = g.clone();
            thread::spawn(move || g.count_once(2, Heir::Refuses).map(drop).unwrap())
        };
        // This may wake the impatient one, but we are quicker to lock, and its time runs out.
        g.mutex.unlock();
        g.mutex.lock(&call(0), Heir::Refuses).unwrap();
        model::pass_time();
        g.mutex.unlock();
        impatient.join().unwrap();
        patient.join().unwrap();
    });
}

#[test]
fn a_panic_that_knows_of_no_sleepers_strands_none() {
    explore(&[], 2, |_| {
        let g = Guarded::new();
        g.mutex.lock(&call(0), Heir::Refuses).unwrap();
        let waiters = [1, 2].map(|i| {
            let g = g.clone();
            thread::spawn(move || match g.mutex.lock(&call(i), Heir::Refuses) {
                Ok(_) => g.mutex.unlock(),
                Err(e) => assert!(matches!(e, Error::Poisoned)),
            })
        });
        // Between the store of an unlock and its wake, somebody may lock without a word of those who sleep, and panic.
        let panics = {
            let g = g.clone();
            thread::spawn(move || {
                if g.mutex
                    .try_lock(&model::Oracle, call(3).me, Heir::Refuses)
                    .is_ok()
                {
                    g.mutex.unlock_poisoned();
                }
            })
        };
        g.mutex.unlock();
        panics.join().unwrap();
        for w in waiters {
            w.join().unwrap();
        }
    });
}

#[test]
fn trying_finds_the_dead_too() {
    explore(&[1], 3, |fate: Fate| {
        let g = Guarded::new();
        let other = {
            let g = g.clone();
            thread::spawn(move || fate.live(1, || g.count_once(1, Heir::Refuses)).is_some())
        };
        let early = g
            .mutex
            .try_lock(&model::Oracle, call(0).me, Heir::Refuses)
            .map(|_| {
                g.increment();
                g.mutex.unlock();
            });
        let lived = other.join().unwrap();
        match g.mutex.try_lock(&model::Oracle, call(0).me, Heir::Refuses) {
            Ok(_) => assert!(!matches!(early, Err(Error::Poisoned))),
            Err(Error::Poisoned) => assert!(!lived),
            Err(e) => panic!("{e}"),
        }
    });
}

/// As a future locks: a driver sleeps for it, and it tries again when the driver finds the lock free.
fn lock_by_a_driver(mutex: &RawMutex, index: usize) {
    let tries = || mutex.try_lock(&Oracle, id(index), Heir::Inherits).is_ok();
    while !tries() {
        let mut ticket = mutex.freed.register(&Oracle);
        if tries() {
            return;
        }
        // The driver's part.
        loop {
            if let Some(asleep) = mutex.freed.say_asleep(&ticket) {
                let (word, deaths) = (mutex.freed.word(), ticket.deaths);
                Oracle.park(word, asleep, deaths, Nap::UntilDeath, Deadline::NEVER);
            }
            ticket = mutex.freed.register_woken(&Oracle);
            if is_free(mutex.word.load(Relaxed)) {
                break;
            }
        }
    }
}

#[test]
fn one_for_whom_a_driver_sleeps_leaves_no_other_asleep() {
    explore(&[], 2, |_| {
        let mutex = Arc::new(RawMutex::new());
        let threads = [1, 2].map(|index| {
            let mutex = mutex.clone();
            thread::spawn(move || {
                if index == 1 {
                    lock_by_a_driver(&mutex, 1);
                } else {
                    mutex.lock(&call(2), Heir::Inherits).unwrap();
                }
                mutex.unlock();
            })
        });
        mutex.lock(&call(0), Heir::Inherits).unwrap();
        mutex.unlock();
        threads.into_iter().for_each(|t| t.join().unwrap());
    });
}
