//! The event: a word that is set or clear, and waiting until it is set.
//!
//! # Points of death
//!
//! | a member dies | the word says | who mends it |
//! |---|---|---|
//! | setting, before the exchange | as before | nobody needs to: it was not set |
//! | setting, after the exchange, before the notify | set | the sweep ends the waits |
//! | clearing, before the exchange / after it | set / clear | nobody needs to |
//! | waiting, before it took an automatic event | set; it may have had the one wake-up | the sweep ends the waits of the others, who look |
//! | waiting, after it took it | clear | nobody needs to: it was let through |

use super::member::{Call, Membership};
use super::signal::RawSignal;
use super::wait::wait_closely_for;
use crate::error::Result;
use crate::sys::atomic::{AtomicU32, Ordering, fence_after_rmw};

/// The words of an event; all zero is one that is clear.
///
/// | state | meaning |
/// |---|---|
/// | even | clear: who waits, waits |
/// | odd | set: who waits is let through; by an automatic event one of them, who clears it |
///
/// Half of it is how often the event was cleared by hand: who waits for a manual event and finds another number than at first knows that
/// it was set meanwhile, and goes through, however soon it was cleared. (A waiter that comes to look only after 2^31 of them waits on.)
///
/// Every change of `state` is a read-modify-write, so that all of them stand in one order, and each set's Release reaches
/// whoever later meets the event set, over other sets and clears in between.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct RawEvent {
    pub(crate) state: AtomicU32,
    pub(crate) changed: RawSignal,
}

const CLEAR: u32 = 0;
const SET: u32 = 1;

/// How an event is cleared. Not in the region's words: the handle knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reset {
    /// By whoever calls `clear`.
    Manual,
    /// By the one waiter that it lets through.
    Automatic,
}

impl RawEvent {
    #[cfg(commonhold_loom)]
    pub(crate) fn new() -> RawEvent {
        RawEvent {
            state: AtomicU32::new(CLEAR),
            changed: RawSignal::new(),
        }
    }

    #[inline]
    pub(crate) fn set(&self, reset: Reset) {
        // Also if it is set already: who is let through must see what came before this set, too.
        // Release: pairs with the Acquire of `is_set`, `try_wait` and `clear`.
        self.state.fetch_or(SET, Ordering::Release);
        // Pairs with the fence in `register`.
        fence_after_rmw();
        self.changed.notify(match reset {
            Reset::Manual => u32::MAX,
            Reset::Automatic => 1,
        });
    }

    #[inline]
    pub(crate) fn clear(&self) {
        // Acquire, both: pairs with the Release of `set`: who clears the event, or finds that another did, and then looks at what was done
        // sees all that came before the sets that were cleared; a later set is one that it will meet.
        let state = self.state.load(Ordering::Acquire);
        if state & SET != 0 {
            // It fails if another cleared the event just now: that will do.
            let _ = self.state.compare_exchange(
                state,
                state.wrapping_add(1),
                Ordering::Acquire,
                Ordering::Acquire,
            );
        }
    }

    #[inline]
    pub(crate) fn is_set(&self) -> bool {
        // Acquire: pairs with the Release of `set`.
        self.state.load(Ordering::Acquire) & SET != 0
    }

    /// Whether the event lets the caller through at once.
    #[inline]
    pub(crate) fn try_wait(&self, reset: Reset) -> bool {
        match reset {
            Reset::Manual => self.is_set(),
            // The load first: a swap would take the line from the setter for nothing.
            // Acquire: as in `is_set`. Of several who swap, one finds it set.
            Reset::Automatic => {
                self.is_set_by_now() && self.state.swap(CLEAR, Ordering::Acquire) & SET != 0
            }
        }
    }

    /// Waits until the event lets the caller through, or the call's deadline.
    #[inline]
    pub(crate) fn wait<M: Membership>(&self, call: &Call<'_, M>, reset: Reset) -> Result<()> {
        match reset {
            // Relaxed: before it is believed it is looked at again.
            Reset::Manual => self.wait_since(call, self.state.load(Ordering::Relaxed)),
            Reset::Automatic => wait_closely_for(
                call,
                &self.changed,
                |_| Ok(self.try_wait(reset)),
                || self.is_set_by_now(),
            ),
        }
    }

    /// Waits until the event is set, or was after its state was `at_first`.
    #[inline]
    pub(crate) fn wait_since<M: Membership>(
        &self,
        call: &Call<'_, M>,
        at_first: u32,
    ) -> Result<()> {
        let lets_through = |state: u32| state & SET != 0 || state != at_first;
        wait_closely_for(
            call,
            &self.changed,
            // Acquire: pairs with the Release of `set`, also over the clear that came after it.
            |_| Ok(lets_through(self.state.load(Ordering::Acquire))),
            || lets_through(self.state.load(Ordering::Relaxed)),
        )
    }

    /// As [`is_set`](Self::is_set), for those who look again before they believe it.
    #[inline]
    fn is_set_by_now(&self) -> bool {
        self.state.load(Ordering::Relaxed) & SET != 0
    }
}
