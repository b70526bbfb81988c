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
use super::mutex::LOST_AT_ONCE;
use super::signal::RawSignal;
use super::wait::wait_closely_for;
use crate::error::Result;
use crate::sys::atomic::{AtomicU32, Ordering, fence_after_rmw};

/// The words of an event; all zero is one that is clear.
///
/// | state, of a manual event | meaning |
/// |---|---|
/// | bit 0 clear | clear: who waits, waits |
/// | bit 0 set | set: who waits is let through |
/// | bits 1..32 | how often it was set: who finds another number than when it began to wait is let through, also if it was cleared since |
///
/// | state, of an automatic event | meaning |
/// |---|---|
/// | 0 | clear: who waits, waits |
/// | anything else (1, unless somebody scribbled) | set: one of those who wait is let through, who clears it |
///
/// Every change of `state` is a read-modify-write, so that all of them stand in one order, and each set's Release reaches
/// whoever later meets the event set, over other sets and clears in between. The count of sets comes round after 2^31 of them; one that
/// waited through just so many waits on.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct RawEvent {
    pub(crate) state: AtomicU32,
    pub(crate) changed: RawSignal,
}

const CLEAR: u32 = 0;
const SET: u32 = 1;
/// Of a manual event.
const ONE_MORE: u32 = 2;

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
        let most = match reset {
            Reset::Manual => {
                self.set_and_count();
                u32::MAX
            }
            Reset::Automatic => {
                // AcqRel, not Release alone: a compiler may make a store of an exchange that nobody wants the result of, if it is no
                // Acquire; and a store is no read-modify-write, which the fence below and the release sequence need.
                self.state.swap(SET, Ordering::AcqRel);
                1
            }
        };
        // Pairs with the fence in `register`.
        fence_after_rmw();
        self.changed.notify(most);
    }

    #[inline]
    fn set_and_count(&self) {
        let mut state = self.state.load(Ordering::Relaxed);
        // Who loses so many times loses to others who set it, and count, or to a scribbler.
        for _ in 0..LOST_AT_ONCE {
            let next = state.wrapping_add(ONE_MORE) | SET;
            // Release: as said in `set`.
            match self
                .state
                .compare_exchange(state, next, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(now) => state = now,
            }
        }
        // The count stays: whoever began to wait before us remembers a lower one. At 0 it might be what that one remembers.
        self.state.fetch_or(SET, Ordering::Release);
    }

    #[inline]
    pub(crate) fn clear(&self, reset: Reset) {
        // Acquire: pairs with the Release of `set`: who clears the event and then looks at what was done sees all that came before
        // the sets that it cleared; a later set is one that it will meet.
        match reset {
            Reset::Manual => self.state.fetch_and(!SET, Ordering::Acquire),
            Reset::Automatic => self.state.swap(CLEAR, Ordering::Acquire),
        };
    }

    #[inline]
    pub(crate) fn is_set(&self, reset: Reset) -> bool {
        // Acquire: pairs with the Release of `set`.
        reset.says_set(self.state.load(Ordering::Acquire))
    }

    /// Whether the event lets the caller through at once.
    #[inline]
    pub(crate) fn try_wait(&self, reset: Reset) -> bool {
        match reset {
            Reset::Manual => self.is_set(reset),
            // The load first: a swap would take the line from the setter for nothing.
            // Acquire: as in `is_set`. Of several who swap, one finds it set.
            Reset::Automatic => {
                self.is_set_by_now(reset) && self.state.swap(CLEAR, Ordering::Acquire) != CLEAR
            }
        }
    }

    /// Waits until the event lets the caller through, or the call's deadline.
    #[inline]
    pub(crate) fn wait<M: Membership>(&self, call: &Call<'_, M>, reset: Reset) -> Result<()> {
        match reset {
            Reset::Manual => self.wait_from(self.begin_to_wait(), call),
            Reset::Automatic => wait_closely_for(
                call,
                &self.changed,
                |_| Ok(self.try_wait(reset)),
                || self.is_set_by_now(reset),
            ),
        }
    }

    /// What a waiter remembers of a manual event.
    #[inline]
    pub(crate) fn begin_to_wait(&self) -> u32 {
        // Relaxed: it is only compared, with what the same thread loads later.
        self.state.load(Ordering::Relaxed)
    }

    /// Whether a manual event lets one through who began to wait then.
    #[cfg(all(feature = "async", not(commonhold_loom)))]
    pub(crate) fn lets_through(&self, before: u32) -> bool {
        // Acquire: as in `is_set`.
        lets_through(before, self.state.load(Ordering::Acquire))
    }

    /// Until the event is set, or was: who clears it at once takes nothing from those who waited (CPython's gh-57711).
    #[inline]
    pub(super) fn wait_from<M: Membership>(&self, before: u32, call: &Call<'_, M>) -> Result<()> {
        wait_closely_for(
            call,
            &self.changed,
            // Acquire: as in `is_set`.
            |_| Ok(lets_through(before, self.state.load(Ordering::Acquire))),
            || lets_through(before, self.state.load(Ordering::Relaxed)),
        )
    }

    /// As [`is_set`](Self::is_set), for those who look again before they believe it.
    #[inline]
    fn is_set_by_now(&self, reset: Reset) -> bool {
        reset.says_set(self.state.load(Ordering::Relaxed))
    }
}

fn lets_through(before: u32, now: u32) -> bool {
    now & SET != 0 || now / ONE_MORE != before / ONE_MORE
}

impl Reset {
    #[inline]
    fn says_set(self, state: u32) -> bool {
        match self {
            Reset::Manual => state & SET != 0,
            Reset::Automatic => state != CLEAR,
        }
    }
}
