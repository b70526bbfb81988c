//! Where an endpoint stands that one thread uses while another may wait for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// A number that its owner keeps in private memory, and shows to those who asked for it: a select that waits for its owner.
///
/// Whoever looks may see a former one, at most until its owner goes on: then there was something to go on to.
#[derive(Debug)]
pub(crate) struct Shown {
    own: u64,
    shown: OnceLock<Arc<AtomicU64>>,
}

impl Shown {
    pub(crate) fn new(own: u64) -> Shown {
        Shown {
            own,
            shown: OnceLock::new(),
        }
    }

    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.own
    }

    #[inline]
    pub(crate) fn set(&mut self, own: u64) {
        self.own = own;
        if let Some(shown) = self.shown.get() {
            // Relaxed: it orders nothing.
            shown.store(own, Ordering::Relaxed);
        }
    }

    /// What shows it from here on.
    pub(crate) fn show(&self) -> Arc<AtomicU64> {
        self.shown
            .get_or_init(|| Arc::new(AtomicU64::new(self.own)))
            .clone()
    }
}

/// Another endpoint, which goes its own way.
impl Clone for Shown {
    fn clone(&self) -> Shown {
        Shown::new(self.own)
    }
}
