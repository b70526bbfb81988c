//! `Condvar`, with the guards of a mutex and of an array.

use super::Victim;
use crate::layout::WAITED_WITH;
use crate::watch::{AT_ONCE, Watch};
use commonhold::{Condvar, Mutex, Result, Segment};

pub(super) struct Waited {
    mutex: Mutex<u64>,
    changed: Condvar,
    other: Condvar,
}

impl Victim for Waited {
    fn create(seg: &Segment) -> Result<Self> {
        Ok(Waited {
            mutex: Mutex::create(seg, WAITED_WITH, 0)?,
            changed: Condvar::create(seg, "changed")?,
            other: Condvar::create(seg, "other")?,
        })
    }

    fn open(seg: &Segment) -> Result<Self> {
        Ok(Waited {
            mutex: Mutex::open(seg, WAITED_WITH)?,
            changed: Condvar::open(seg, "changed")?,
            other: Condvar::open(seg, "other")?,
        })
    }

    fn round(&self, w: &Watch) {
        w.see("Condvar::notify_one", || self.changed.notify_one());
        w.see("Condvar::notify_all", || self.changed.notify_all());
        let lock = || w.timed("(lock_timeout)", |soon| self.mutex.lock_timeout(soon));
        if let Some(mut guard) = lock() {
            *guard = guard.wrapping_add(1);
            w.timed("Condvar::wait_timeout", |soon| {
                self.changed.wait_timeout(guard, soon).map(drop)
            });
        }
        if let Some(guard) = lock() {
            let now = *guard;
            w.timed("Condvar::wait_timeout_while", |soon| {
                let wait = |n: &mut u64| *n == now;
                self.other.wait_timeout_while(guard, soon, wait).map(drop)
            });
        }
        if let Some(guard) = lock() {
            // It waits for nothing, and so not at all.
            w.op("Condvar::wait_while", AT_ONCE, || {
                self.other.wait_while(guard, |_| false).map(drop)
            });
        }
        self.other.notify_all();
        w.untimed("(recover)", WAITED_WITH, || self.mutex.recover().map(drop));
    }
}
