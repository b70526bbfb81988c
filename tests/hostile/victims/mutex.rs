//! `Mutex`.

use super::Victim;
use crate::watch::{AT_ONCE, Watch};
use commonhold::{InPlace, Mutex, Result, Segment};
use std::fmt::Debug;

pub(super) struct Mutexes {
    small: Mutex<u8>,
    large: Mutex<[u64; 40]>,
}

impl Victim for Mutexes {
    fn create(seg: &Segment) -> Result<Self> {
        Ok(Mutexes {
            small: Mutex::create(seg, "small", 1)?,
            large: Mutex::create(seg, "large", [2; 40])?,
        })
    }

    fn open(seg: &Segment) -> Result<Self> {
        Ok(Mutexes {
            small: Mutex::open(seg, "small")?,
            large: Mutex::open(seg, "large")?,
        })
    }

    fn round(&self, watch: &Watch) {
        use_mutex(&self.small, watch, "small", |n| *n = n.wrapping_add(1));
        use_mutex(&self.large, watch, "large", |all| {
            all[39] = all[0].wrapping_add(1)
        });
    }
}

fn use_mutex<T: InPlace + Debug>(m: &Mutex<T>, w: &Watch, name: &str, change: fn(&mut T)) {
    w.see("Mutex::is_poisoned", || m.is_poisoned());
    if let Some(mut guard) = w.op("Mutex::try_lock", AT_ONCE, || m.try_lock()) {
        w.see("MutexGuard::deref_mut", || change(&mut guard));
        w.see("MutexGuard::drop", || drop(guard));
    }
    if let Some(mut guard) = w.timed("Mutex::lock_timeout", |soon| m.lock_timeout(soon)) {
        w.see("MutexGuard::deref_mut", || change(&mut guard));
        // Not with the lock's own waiters in mind: a second lock meets the claim of this one, or what became of it.
        w.timed("Mutex::lock_timeout, again", |soon| {
            m.lock_timeout(soon).map(drop)
        });
        w.see("MutexGuard::drop", || drop(guard));
    }
    w.timed("Mutex::recover_timeout", |soon| {
        m.recover_timeout(soon).map(drop)
    });
    w.untimed("Mutex::recover", name, || m.recover().map(drop));
    w.untimed("Mutex::lock", name, || m.lock().map(drop));
    w.see("Mutex::fmt", || format!("{m:?}").len());
}
