//! `Once`.

use super::Victim;
use crate::watch::{AT_ONCE, Watch};
use commonhold::{Once, Result, Segment};

pub(super) struct Onces {
    /// Done, if nobody scribbles.
    first: Once,
    /// Begun, and given up.
    second: Once,
}

impl Victim for Onces {
    fn create(seg: &Segment) -> Result<Self> {
        Ok(Onces {
            first: Once::create(seg, "first")?,
            second: Once::create(seg, "second")?,
        })
    }

    fn open(seg: &Segment) -> Result<Self> {
        Ok(Onces {
            first: Once::open(seg, "first")?,
            second: Once::open(seg, "second")?,
        })
    }

    fn round(&self, w: &Watch) {
        use_once(&self.first, w, "first");
        use_once(&self.second, w, "second");
        w.op("Once::try_call_once, that panics", AT_ONCE, || {
            let panics = std::panic::AssertUnwindSafe(|| {
                self.second
                    .try_call_once(|| std::panic::resume_unwind(Box::new("on purpose")))
            });
            std::panic::catch_unwind(panics).unwrap_or(Ok(()))
        });
    }
}

fn use_once(once: &Once, w: &Watch, name: &str) {
    w.see("Once::is_completed", || once.is_completed());
    w.timed("Once::wait_timeout", |soon| once.wait_timeout(soon));
    w.op("Once::try_call_once", AT_ONCE, || once.try_call_once(|| {}));
    w.timed("Once::call_once_timeout", |soon| {
        once.call_once_timeout(soon, || {
            // A second call meets the claim of this one, or what became of it.
            w.timed("Once::call_once_timeout, again", |soon| {
                once.call_once_timeout(soon, || {})
            });
        })
    });
    w.timed("Once::call_once_force_timeout", |soon| {
        once.call_once_force_timeout(soon, |state| {
            w.see("OnceState::is_poisoned", || state.is_poisoned());
        })
    });
    w.untimed("Once::call_once", name, || once.call_once(|| {}));
    w.see("Once::fmt", || format!("{once:?}").len());
}
