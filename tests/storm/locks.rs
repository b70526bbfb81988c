//! Work under locks: a holder signs what it changes, and finds its own signature when it leaves.

use crate::ledger::{CHILD, Op, Token};
use crate::stage::{Stage, Wide};
use crate::worker::Worker;
use commonhold::{Array, Error, InPlace, Mutex, MutexGuard, Result, RwLock, RwLockWriteGuard};
use std::hint::black_box;
use std::ops::{DerefMut, Range};
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

/// What `Mutex`, `Array` and `RwLock` have in common. They protect a holder's name, some counters, and as many copies of them.
pub trait Lock {
    type Data: ?Sized + AsMut<[u64]>;
    type Guard<'g>: DerefMut<Target = Self::Data>
    where
        Self: 'g;
    fn lock(&self) -> Result<Self::Guard<'_>>;
    fn try_lock(&self) -> Result<Self::Guard<'_>>;
    fn lock_timeout(&self, timeout: Duration) -> Result<Self::Guard<'_>>;
    fn recover(&self) -> Result<Self::Guard<'_>>;
}

impl<T: InPlace + AsMut<[u64]>> Lock for Mutex<T> {
    type Data = T;
    type Guard<'g> = MutexGuard<'g, T>;
    fn lock(&self) -> Result<MutexGuard<'_, T>> {
        self.lock()
    }
    fn try_lock(&self) -> Result<MutexGuard<'_, T>> {
        self.try_lock()
    }
    fn lock_timeout(&self, timeout: Duration) -> Result<MutexGuard<'_, T>> {
        self.lock_timeout(timeout)
    }
    fn recover(&self) -> Result<MutexGuard<'_, T>> {
        self.recover()
    }
}

impl Lock for Array<u64> {
    type Data = [u64];
    type Guard<'g> = MutexGuard<'g, [u64]>;
    fn lock(&self) -> Result<MutexGuard<'_, [u64]>> {
        self.lock()
    }
    fn try_lock(&self) -> Result<MutexGuard<'_, [u64]>> {
        self.try_lock()
    }
    fn lock_timeout(&self, timeout: Duration) -> Result<MutexGuard<'_, [u64]>> {
        self.lock_timeout(timeout)
    }
    fn recover(&self) -> Result<MutexGuard<'_, [u64]>> {
        self.recover()
    }
}

/// To write.
impl<T: InPlace + Sync + AsMut<[u64]>> Lock for RwLock<T> {
    type Data = T;
    type Guard<'g> = RwLockWriteGuard<'g, T>;
    fn lock(&self) -> Result<RwLockWriteGuard<'_, T>> {
        self.write()
    }
    fn try_lock(&self) -> Result<RwLockWriteGuard<'_, T>> {
        self.try_write()
    }
    fn lock_timeout(&self, timeout: Duration) -> Result<RwLockWriteGuard<'_, T>> {
        self.write_timeout(timeout)
    }
    fn recover(&self) -> Result<RwLockWriteGuard<'_, T>> {
        self.recover()
    }
}

/// Stores that are really made, one after the other.
fn put(data: &mut [u64], index: usize, word: u64) {
    data[index] = word;
    black_box(data);
}

/// That nobody else is inside, and the copies agree.
fn check(data: &[u64]) {
    assert_eq!(
        data[0],
        0,
        "the lock was lent to two: {} is inside",
        Token(data[0])
    );
    let (counters, copies) = data[1..].split_at(data.len() / 2);
    assert_eq!(counters, copies, "half-changed, and nobody was told");
}

impl Worker<'_> {
    /// Locks in one of the ways, and mends what a dead holder left.
    pub fn hold<'g, L: Lock>(&mut self, lock: &'g L) -> L::Guard<'g> {
        loop {
            let got = match self.random.below(4) {
                0 => lock.try_lock(),
                1 => lock.lock_timeout(Duration::from_millis(self.random.below(30))),
                _ => lock.lock(),
            };
            match got {
                Err(Error::WouldBlock | Error::Timeout) => {}
                other => return self.sound(lock, other),
            }
        }
    }

    /// What locking gave, checked, or mended.
    pub fn sound<'g, L: Lock>(&mut self, lock: &'g L, got: Result<L::Guard<'g>>) -> L::Guard<'g> {
        let mut guard = match got {
            Err(Error::Poisoned) => {
                let mut guard = lock.recover().unwrap();
                self.mend(guard.as_mut());
                guard
            }
            other => other.unwrap(),
        };
        check(guard.as_mut());
        guard
    }

    /// Copies what was counted. A mender may die over it; the next begins anew.
    fn mend(&mut self, data: &mut [u64]) {
        let holder = Token(data[0]);
        if holder == Token(0) {
            // Another mended it before us, or the dead one had not begun, or had ended.
            return;
        }
        assert!(
            self.ledger().may_be_dead(holder),
            "the lock was taken from a living holder: {holder}"
        );
        self.ledger().mending(self.worker, self.thread, true);
        put(data, 0, self.token().0);
        let half = data.len() / 2;
        let spared = self.thread == CHILD || self.ledger().spared[self.worker].load(SeqCst) != 0;
        let dies_at = match self.random.below(2) {
            0 if !spared => self.random.below(half as u64 + 1) as usize,
            _ => usize::MAX,
        };
        for i in 1..=half {
            if i - 1 == dies_at {
                self.die();
            }
            put(data, half + i, data[i]);
        }
        if half == dies_at {
            self.die();
        }
        self.sign_off(data);
        self.ledger().mending(self.worker, self.thread, false);
    }

    /// Counts: first the counters, then the copies.
    pub fn count(&mut self, data: &mut [u64], counters: Range<usize>) {
        put(data, 0, self.token().0);
        let half = data.len() / 2;
        for i in counters.clone() {
            put(data, 1 + i, data[1 + i] + 1);
        }
        self.peril();
        for i in counters {
            put(data, 1 + half + i, data[1 + i]);
        }
        self.peril();
        self.sign_off(data);
    }

    fn sign_off(&self, data: &mut [u64]) {
        let signed = Token(data[0]);
        assert!(
            signed == self.token(),
            "{} held the lock, and was still alive when it was given to {signed}",
            self.token()
        );
        put(data, 0, 0);
    }

    /// Looks at the table for a while, in which nobody writes.
    fn read_table(&mut self) {
        let table = &self.stage.table;
        let got = match self.random.below(4) {
            0 => table.try_read(),
            1 => table.read_timeout(Duration::from_millis(self.random.below(30))),
            _ => table.read(),
        };
        match got {
            Ok(seen) => {
                let before = *seen;
                check(&before);
                self.peril();
                assert_eq!(*seen, before, "somebody wrote meanwhile");
            }
            Err(Error::WouldBlock | Error::Timeout) => {}
            Err(Error::Poisoned) => drop(self.hold(table)),
            Err(e) => panic!("{e}"),
        }
    }

    /// A change each of the mutex, of the array, of the value, and of the table if it is not only read.
    pub fn lock_step(&mut self) {
        let stage: &Stage = self.stage;
        self.operation(Op::Mutex, 1, |w| {
            let mut tally = w.hold(&stage.mutex);
            w.count(tally.as_mut(), 0..1);
            1
        });
        self.operation(Op::Array, 1, |w| {
            let mut array = w.hold(&stage.array);
            let half = array.len() / 2;
            w.count(&mut array, 0..half);
            1
        });
        self.operation(Op::RwLock, 1, |w| {
            if w.random.below(4) != 0 {
                w.read_table();
                return 0;
            }
            let mut table = w.hold(&stage.table);
            w.count(table.as_mut(), 0..1);
            if w.random.below(2) == 0 {
                let counted = *table;
                let table = RwLockWriteGuard::downgrade(table).unwrap();
                w.peril();
                assert_eq!(*table, counted, "somebody wrote meanwhile");
            }
            1
        });
        self.operation(Op::Value, 1, |w| {
            let change = |v: &mut Wide, w: &mut Self| {
                let (first, last) = v.split_at_mut(24);
                first.iter_mut().for_each(|n| *n += 1);
                w.peril();
                last.iter_mut().for_each(|n| *n += 1);
            };
            let timeout = Duration::from_millis(w.random.below(30));
            let got = match w.random.below(3) {
                0 => stage.value.try_update(|v| change(v, w)),
                1 => stage.value.update_timeout(timeout, |v| change(v, w)),
                _ => stage.value.update(|v| change(v, w)),
            };
            match got {
                Ok(()) => 1,
                Err(Error::WouldBlock | Error::Timeout) => 0,
                Err(e) => panic!("{e}"),
            }
        });
    }
}
