//! `Semaphore`.

use super::Victim;
use crate::watch::{AT_ONCE, Watch};
use commonhold::{Result, Segment, Semaphore};

pub(super) struct Semaphores {
    one: Semaphore,
    many: Semaphore,
}

impl Victim for Semaphores {
    fn create(seg: &Segment) -> Result<Self> {
        Ok(Semaphores {
            one: Semaphore::create(seg, "one", 1)?,
            many: Semaphore::create(seg, "many", 40)?,
        })
    }

    fn open(seg: &Segment) -> Result<Self> {
        Ok(Semaphores {
            one: Semaphore::open(seg, "one")?,
            many: Semaphore::open(seg, "many")?,
        })
    }

    fn round(&self, w: &Watch) {
        use_semaphore(&self.one, w, "one");
        use_semaphore(&self.many, w, "many");
    }
}

fn use_semaphore(s: &Semaphore, w: &Watch, name: &str) {
    w.see("Semaphore::available", || s.available());
    let first = w.op("Semaphore::try_acquire", AT_ONCE, || s.try_acquire());
    let second = w.timed("Semaphore::acquire_timeout", |soon| s.acquire_timeout(soon));
    if let Some(permit) = first {
        w.see("Permit::drop", || drop(permit));
    }
    if let Some(permit) = second {
        w.see("Permit::forget", || permit.forget());
        // Otherwise there would soon be none.
        w.untimed("Semaphore::add_permits", name, || s.add_permits(1));
    }
    w.untimed("Semaphore::add_permits, many", name, || {
        s.add_permits(usize::MAX)
    });
    w.see("Semaphore::fmt", || format!("{s:?}").len());
}
