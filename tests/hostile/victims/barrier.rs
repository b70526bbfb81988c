//! `Barrier`.

use super::Victim;
use crate::watch::Watch;
use commonhold::{Barrier, Result, Segment};

pub(super) struct Barriers {
    single: Barrier,
    pair: Barrier,
}

impl Victim for Barriers {
    fn create(seg: &Segment) -> Result<Self> {
        Ok(Barriers {
            single: Barrier::create(seg, "single", 1)?,
            pair: Barrier::create(seg, "pair", 2)?,
        })
    }

    fn open(seg: &Segment) -> Result<Self> {
        Ok(Barriers {
            single: Barrier::open(seg, "single")?,
            pair: Barrier::open(seg, "pair")?,
        })
    }

    fn round(&self, w: &Watch) {
        use_barrier(&self.single, w, "single");
        // With the other victim, if it comes.
        use_barrier(&self.pair, w, "pair");
        w.untimed("Barrier::wait", "single", || {
            // Whole, or it would be refused.
            self.single.reset()?;
            self.single.wait()
        });
    }
}

fn use_barrier(b: &Barrier, w: &Watch, name: &str) {
    w.timed("Barrier::wait_timeout", |soon| b.wait_timeout(soon));
    w.see("Barrier::waiting", || {
        assert!(b.waiting() <= b.parties());
    });
    w.see("Barrier::is_broken", || b.is_broken());
    w.timed("Barrier::wait_timeout, again", |soon| b.wait_timeout(soon));
    w.see("Barrier::abort", || b.abort());
    w.untimed("Barrier::reset", name, || b.reset());
    w.see("Barrier::fmt", || format!("{b:?}").len());
}
