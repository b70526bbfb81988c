//! Something that is done once: a lock, and a word that says how far it is.
//!
//! # Points of death
//!
//! | a member dies | the word says | who mends it |
//! |---|---|---|
//! | running, before its closure began | new, or begun; the lock | the next caller inherits the lock, and runs its own closure |
//! | in its closure, or after it, before the store of "done" | begun; the lock | the same, and is told that an earlier one did not finish |
//! | after that store, before the unlock | done; the lock | nobody needs the lock any more; who waits for it inherits it, and goes |
//! | after the unlock, before the notify | done | the sweep ends the waits |

use super::member::{Call, Membership};
use super::mutex::{Heir, RawMutex, UnlockOnDrop};
use super::signal::RawSignal;
use super::wait::wait_closely_for;
use crate::error::{Error, Result};
use crate::sys::atomic::{AtomicU32, LoadOwn, Ordering};

/// The words of a once; all zero is one that nobody has begun.
///
/// | state | lock | meaning |
/// |---|---|---|
/// | 0 | free | new |
/// | 0 | held | somebody is about to begin, or looks |
/// | 1 (or anything else, scribbled) | held | the holder's closure runs |
/// | 1 (or anything else, scribbled) | free | a closure was begun and not finished: it panicked |
/// | 2 | any | done, for ever |
///
/// What is held by a dead owner is free.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct RawOnce {
    pub(crate) lock: RawMutex,
    pub(crate) state: AtomicU32,
    pub(crate) completed: RawSignal,
}

const NEW: u32 = 0;
const BEGUN: u32 = 1;
const DONE: u32 = 2;

/// How an earlier caller left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    /// Nobody began.
    Untouched,
    /// Somebody began, and died or panicked.
    Unfinished,
}

impl RawOnce {
    #[cfg(commonhold_loom)]
    pub(crate) fn new() -> RawOnce {
        RawOnce {
            lock: RawMutex::new(),
            state: AtomicU32::new(NEW),
            completed: RawSignal::new(),
        }
    }

    #[inline]
    pub(crate) fn is_completed(&self) -> bool {
        // Acquire: pairs with the Release in `run_locked`: what the closure did is seen.
        self.state.load(Ordering::Acquire) == DONE
    }

    /// Runs `run`, unless it is done; waits until the call's deadline for another who does. If `run` returns an error or panics, it is
    /// not done.
    pub(crate) fn run<M: Membership>(
        &self,
        call: &Call<'_, M>,
        run: impl FnOnce(Before) -> Result<()>,
    ) -> Result<()> {
        let locked = self.lock.lock(call, Heir::Inherits);
        self.run_locked(call, locked.map(drop), run)
    }

    /// As [`run`](Self::run), at once: `Err(WouldBlock)` if another runs.
    pub(crate) fn try_run<M: Membership>(
        &self,
        call: &Call<'_, M>,
        run: impl FnOnce(Before) -> Result<()>,
    ) -> Result<()> {
        let locked = self.lock.try_lock(call.members, call.me, Heir::Inherits);
        self.run_locked(call, locked.map(drop), run)
    }

    fn run_locked<M: Membership>(
        &self,
        call: &Call<'_, M>,
        locked: Result<()>,
        run: impl FnOnce(Before) -> Result<()>,
    ) -> Result<()> {
        match locked {
            Ok(()) => {}
            // Those who only look hold the lock too.
            Err(Error::WouldBlock | Error::Timeout) if self.is_completed() => return Ok(()),
            Err(e) => return Err(e),
        }
        // Also if `run` panics: the state says that it was begun.
        let unlock = UnlockOnDrop(&self.lock, call);
        let before = match self.state.load_own() {
            DONE => return Ok(()),
            NEW => Before::Untouched,
            _ => Before::Unfinished,
        };
        // Relaxed: only holders of the lock tell 0 from 1.
        self.state.store(BEGUN, Ordering::Relaxed);
        run(before)?;
        // Release: pairs with the Acquire of `is_completed`; this store is the completion.
        self.state.store(DONE, Ordering::Release);
        drop(unlock);
        // The unlock made a light fence: who waits looks twice.
        self.completed.notify(u32::MAX);
        Ok(())
    }

    /// Waits until it is done, or the call's deadline.
    #[inline]
    pub(crate) fn wait<M: Membership>(&self, call: &Call<'_, M>) -> Result<()> {
        let is_completed = || self.is_completed();
        wait_closely_for(call, &self.completed, |_| Ok(is_completed()), is_completed)
    }
}
