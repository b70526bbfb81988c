//! The reentrant lock: its holder passes, nobody else does, and a death at any depth leaves doubt.

use super::{Fate, call, explore};
use crate::error::{Error, Result};
use crate::raw::mutex::Heir;
use crate::raw::reentrant::RawReentrant;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

struct Guarded {
    lock: RawReentrant,
    count: UnsafeCell<u32>,
}

impl Guarded {
    fn new() -> Arc<Guarded> {
        Arc::new(Guarded {
            lock: RawReentrant::new(),
            count: UnsafeCell::new(0),
        })
    }

    fn lock(&self, index: usize, thread: u64, heir: Heir) -> Result<()> {
        self.lock.lock(&call(index), thread, heir)
    }

    fn add(&self) {
        // SAFETY: loom checks that nobody else has access now.
        self.count.with_mut(|c| unsafe { *c += 1 });
    }

    fn count(&self) -> u32 {
        // SAFETY: as above.
        self.count.with(|c| unsafe { *c })
    }

    /// Locks, locks again, and counts at both depths: also when the inner one is gone.
    fn count_twice(&self, index: usize, thread: u64, heir: Heir) -> Result<()> {
        self.lock(index, thread, heir)?;
        self.lock(index, thread, heir)
            .expect("the holder is let in");
        self.add();
        self.lock.unlock(false);
        self.add();
        self.lock.unlock(false);
        Ok(())
    }
}

#[test]
fn threads_of_one_process_and_of_others_exclude_each_other() {
    explore(&[], 2, |_| {
        let g = Guarded::new();
        // Two threads of one member, and one of another with the same number.
        let threads = [(1, 1), (1, 2)].map(|(index, thread)| {
            let g = g.clone();
            thread::spawn(move || g.count_twice(index, thread, Heir::Refuses).unwrap())
        });
        g.count_twice(0, 1, Heir::Refuses).unwrap();
        threads.into_iter().for_each(|t| t.join().unwrap());
        g.lock(0, 1, Heir::Refuses).unwrap();
        assert_eq!(g.count(), 6);
        g.lock.unlock(false);
    });
}

#[test]
fn one_that_has_left_must_wait_like_all_others() {
    explore(&[], 3, |_| {
        let g = Guarded::new();
        let other = {
            let g = g.clone();
            thread::spawn(move || g.count_twice(0, 2, Heir::Refuses).unwrap())
        };
        for _ in 0..2 {
            g.count_twice(0, 1, Heir::Refuses).unwrap();
        }
        other.join().unwrap();
    });
}

#[test]
fn one_who_only_tries_is_let_in_when_it_holds_the_lock_and_never_else() {
    explore(&[1], 3, |fate: Fate| {
        let g = Guarded::new();
        let other = {
            let g = g.clone();
            thread::spawn(move || fate.live(1, || g.count_twice(1, 1, Heir::Inherits)))
        };
        let call = call(0);
        let try_lock = || g.lock.try_lock(call.members, call.me, 1, Heir::Inherits);
        match try_lock() {
            Ok(()) => {
                g.add();
                try_lock().expect("the holder is let in");
                g.add();
                g.lock.unlock(false);
                g.lock.unlock(false);
            }
            Err(e) => assert!(matches!(e, Error::WouldBlock)),
        }
        other.join().unwrap();
        try_lock().expect("nobody who lives holds it");
        g.add();
    });
}

#[test]
fn a_death_at_any_depth_leaves_doubt_until_somebody_recovers() {
    explore(&[1], 3, |fate: Fate| {
        let g = Guarded::new();
        let other = {
            let g = g.clone();
            thread::spawn(move || {
                fate.live(1, || g.count_twice(1, 1, Heir::Refuses))
                    .is_some()
            })
        };
        let early = g.count_twice(0, 1, Heir::Refuses);
        let lived = other.join().unwrap();
        match (early, g.count_twice(0, 1, Heir::Refuses)) {
            (Ok(()), Ok(())) => {}
            (Ok(()) | Err(Error::Poisoned), Err(Error::Poisoned)) => assert!(!lived),
            other => panic!("{other:?}"),
        }
        // Sound or not: who mends the state may lock again meanwhile, also by a call that takes no poisoned locks.
        g.lock(0, 1, Heir::Recovers).unwrap();
        g.lock(0, 1, Heir::Refuses).unwrap();
        g.add();
        g.lock.unlock(false);
        g.lock.unlock(false);
        g.count_twice(0, 1, Heir::Refuses).unwrap();
    });
}

#[test]
fn a_panic_at_any_depth_is_told_when_the_last_guard_goes() {
    explore(&[], 2, |_| {
        let g = Guarded::new();
        g.lock(0, 1, Heir::Refuses).unwrap();
        g.lock(0, 1, Heir::Refuses).unwrap();
        let waiters = [1, 2].map(|thread| {
            let g = g.clone();
            thread::spawn(move || g.lock(1, thread, Heir::Refuses))
        });
        g.lock.unlock(true);
        g.lock.unlock(false);
        for w in waiters {
            assert!(matches!(w.join().unwrap(), Err(Error::Poisoned)));
        }
    });
}
