//! `Semaphore`.

use super::Victim;
use crate::watch::{AT_ONCE, Watch};
use commonhold::{Permit, Result, Segment, Semaphore};

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

/// To let go of a permit takes the semaphore's lock, without a deadline. Struck in between, that is only for a lock that can be had;
/// struck meanwhile, it is struck again and again.
fn end(
    mut permit: Option<Permit<'_>>,
    w: &Watch,
    name: &str,
    what: &'static str,
    how: fn(Permit<'_>),
) {
    if w.strikes_itself() {
        w.untimed(what, name, || Ok(permit.take().map(how)));
        std::mem::forget(permit);
    } else if let Some(permit) = permit {
        w.see(what, || how(permit));
    }
}

fn use_semaphore(s: &Semaphore, w: &Watch, name: &str) {
    w.see("Semaphore::available", || s.available());
    let first = w.op("Semaphore::try_acquire", AT_ONCE, || s.try_acquire());
    let second = w.timed("Semaphore::acquire_timeout", |soon| s.acquire_timeout(soon));
    end(first, w, name, "Permit::drop", |p| drop(p));
    if second.is_some() {
        end(second, w, name, "Permit::forget", |p| p.forget());
        // Otherwise there would soon be none.
        w.untimed("Semaphore::add_permits", name, || s.add_permits(1));
    }
    w.untimed("Semaphore::add_permits, many", name, || {
        s.add_permits(usize::MAX)
    });
    w.see("Semaphore::fmt", || format!("{s:?}").len());
}
