//! `Event`.

use super::Victim;
use crate::watch::{AT_ONCE, Watch};
use commonhold::{Event, Result, Segment};

pub(super) struct Events {
    manual: Event,
    auto: Event,
}

impl Victim for Events {
    fn create(seg: &Segment) -> Result<Self> {
        Ok(Events {
            manual: Event::create(seg, "manual")?,
            auto: Event::create_auto_reset(seg, "auto")?,
        })
    }

    fn open(seg: &Segment) -> Result<Self> {
        Ok(Events {
            manual: Event::open(seg, "manual")?,
            auto: Event::open(seg, "auto")?,
        })
    }

    fn round(&self, w: &Watch) {
        for e in [&self.manual, &self.auto] {
            w.see("Event::is_set", || e.is_set());
            w.op("Event::try_wait", AT_ONCE, || e.try_wait());
            w.timed("Event::wait_timeout", |soon| e.wait_timeout(soon));
            w.see("Event::set", || e.set());
            w.timed("Event::wait_timeout, when it was set", |soon| {
                e.wait_timeout(soon)
            });
            w.see("Event::clear", || e.clear());
            w.see("Event::set", || e.set());
            w.see("Event::fmt", || format!("{e:?}").len());
        }
    }
}
