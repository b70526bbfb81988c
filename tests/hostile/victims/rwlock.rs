//! `RwLock`.

use super::Victim;
use crate::watch::{AT_ONCE, Watch};
use commonhold::{InPlace, Result, RwLock, RwLockWriteGuard, Segment};
use std::fmt::Debug;

pub(super) struct RwLocks {
    small: RwLock<u8>,
    large: RwLock<[u64; 40]>,
}

impl Victim for RwLocks {
    fn create(seg: &Segment) -> Result<Self> {
        Ok(RwLocks {
            small: RwLock::create(seg, "small", 1)?,
            large: RwLock::create(seg, "large", [2; 40])?,
        })
    }

    fn open(seg: &Segment) -> Result<Self> {
        Ok(RwLocks {
            small: RwLock::open(seg, "small")?,
            large: RwLock::open(seg, "large")?,
        })
    }

    fn round(&self, watch: &Watch) {
        use_lock(&self.small, watch, "small", |n| *n = n.wrapping_add(1));
        use_lock(&self.large, watch, "large", |all| {
            all[39] = all[0].wrapping_add(1)
        });
    }
}

fn use_lock<T: InPlace + Sync + Debug>(l: &RwLock<T>, w: &Watch, name: &str, change: fn(&mut T)) {
    // First, where no tally bears the name of one who lives: not even our own.
    w.untimed("RwLock::recover", name, || l.recover().map(drop));
    w.untimed("RwLock::write", name, || l.write().map(drop));
    w.untimed("RwLock::read", name, || l.read().map(drop));
    w.see("RwLock::is_poisoned", || l.is_poisoned());
    if let Some(read) = w.op("RwLock::try_read", AT_ONCE, || l.try_read()) {
        w.see("RwLockReadGuard::deref", || format!("{read:?}").len());
        w.timed("RwLock::read_timeout, again", |soon| {
            l.read_timeout(soon).map(drop)
        });
        w.timed("RwLock::write_timeout, while reading", |soon| {
            l.write_timeout(soon).map(drop)
        });
        w.see("RwLockReadGuard::drop", || drop(read));
    }
    if let Some(mut write) = w.op("RwLock::try_write", AT_ONCE, || l.try_write()) {
        w.see("RwLockWriteGuard::deref_mut", || change(&mut write));
        w.see("RwLockWriteGuard::drop", || drop(write));
    }
    if let Some(mut write) = w.timed("RwLock::write_timeout", |soon| l.write_timeout(soon)) {
        w.see("RwLockWriteGuard::deref_mut", || change(&mut write));
        w.timed("RwLock::read_timeout, while writing", |soon| {
            l.read_timeout(soon).map(drop)
        });
        let read = w.op("RwLockWriteGuard::downgrade", AT_ONCE, || {
            RwLockWriteGuard::downgrade(write)
        });
        w.see("RwLockReadGuard::drop", || drop(read));
    }
    w.timed("RwLock::recover_timeout", |soon| {
        l.recover_timeout(soon).map(drop)
    });
    w.timed("RwLock::read_timeout", |soon| {
        l.read_timeout(soon).map(drop)
    });
    w.see("RwLock::fmt", || format!("{l:?}").len());
}
