//! `Atomics`.

use super::Victim;
use crate::watch::Watch;
use commonhold::{Atomics, Result, Segment};
use std::sync::atomic::{AtomicI16, AtomicU64, Ordering::SeqCst};

pub(super) struct Cells {
    long: Atomics<AtomicU64>,
    short: Atomics<AtomicI16>,
}

impl Victim for Cells {
    fn create(seg: &Segment) -> Result<Self> {
        Ok(Cells {
            long: Atomics::create(seg, "long", 33)?,
            short: Atomics::create(seg, "short", 100)?,
        })
    }

    fn open(seg: &Segment) -> Result<Self> {
        Ok(Cells {
            long: Atomics::open(seg, "long")?,
            short: Atomics::open(seg, "short")?,
        })
    }

    fn round(&self, watch: &Watch) {
        watch.see("Atomics<AtomicU64>", || {
            self.long.iter().map(|n| n.fetch_add(1, SeqCst)).max()
        });
        watch.see("Atomics<AtomicI16>", || {
            self.short.iter().map(|n| n.swap(1, SeqCst)).max()
        });
    }
}
