//! `ReentrantMutex`.

use super::Victim;
use crate::watch::{AT_ONCE, Watch};
use commonhold::{ReentrantMutex, Result, Segment};

pub(super) struct Reentrants {
    mutex: ReentrantMutex,
}

const NAME: &str = "mutex";

impl Victim for Reentrants {
    fn create(seg: &Segment) -> Result<Self> {
        let mutex = ReentrantMutex::create(seg, NAME)?;
        Ok(Reentrants { mutex })
    }

    fn open(seg: &Segment) -> Result<Self> {
        let mutex = ReentrantMutex::open(seg, NAME)?;
        Ok(Reentrants { mutex })
    }

    fn round(&self, w: &Watch) {
        let m = &self.mutex;
        w.see("ReentrantMutex::is_poisoned", || m.is_poisoned());
        let tried = w.op("ReentrantMutex::try_lock", AT_ONCE, || m.try_lock());
        let again = w.op("ReentrantMutex::try_lock, again", AT_ONCE, || m.try_lock());
        w.see("ReentrantMutexGuard::drop", || drop(tried));
        let timed = w.timed("ReentrantMutex::lock_timeout", |soon| m.lock_timeout(soon));
        w.timed("ReentrantMutex::recover_timeout", |soon| {
            m.recover_timeout(soon).map(drop)
        });
        w.op("(from another thread)", AT_ONCE, || {
            std::thread::scope(|s| s.spawn(|| m.try_lock().map(drop)).join().unwrap())
        });
        w.see("ReentrantMutexGuard::drop", || drop((again, timed)));
        w.untimed("ReentrantMutex::recover", NAME, || m.recover().map(drop));
        w.untimed("ReentrantMutex::lock", NAME, || m.lock().map(drop));
        w.see("ReentrantMutex::fmt", || format!("{m:?}").len());
    }
}
