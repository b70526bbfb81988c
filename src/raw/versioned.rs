//! A value in two copies, and the version that says which is current: readers take no lock, and a writer that dies
//! leaves the old value or the new one.
//!
//! The writer writes into the copy that is not current and publishes it by one store of the version. A reader copies the
//! current one and looks whether the version is still the same (a sequence lock with a spare: a reader is
//! disturbed only when a second write begins while it copies).
//!
//! # Points of death
//!
//! | a writer dies | readers see | who mends it |
//! |---|---|---|
//! | before the store of the version | the old value; the spare is half-written and unreachable | the next writer inherits the lock and writes the spare anew |
//! | after it, before the unlock | the new value | the next writer inherits the lock |
//! | after the unlock, before the notify | the new value | the sweep ends the waits |

use super::member::{Call, Membership};
use super::mutex::{Heir, RawMutex};
use super::signal::RawSignal;
use crate::error::Result;
use crate::sys::atomic::{AtomicU64, LoadOwn, Ordering, fence, fence_after_rmw};

/// All zero: version 0, copy 0 current, unlocked.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct RawVersioned {
    pub(crate) writer: RawMutex,
    pub(crate) changed: RawSignal,
    /// Its lowest bit says which copy is current.
    pub(crate) version: AtomicU64,
}

impl RawVersioned {
    #[cfg(commonhold_loom)]
    pub(crate) fn new() -> RawVersioned {
        RawVersioned {
            writer: RawMutex::new(),
            changed: RawSignal::new(),
            version: AtomicU64::new(0),
        }
    }

    /// One attempt at a reading: `copy` gets the number of the current copy, and copies it by relaxed atomic loads. `None`
    /// if writers were too quick: two of them published, or began to, in the meantime.
    #[inline]
    pub(crate) fn try_read<R>(&self, copy: impl FnOnce(usize) -> R) -> Option<R> {
        // Acquire: pairs with the Release in `write`, so the copy that the version names is seen whole.
        let before = self.version.load(Ordering::Acquire);
        let bytes = copy((before & 1) as usize);
        // Pairs with the Release fence in `write`: if `copy` saw a byte of a later write into this same copy, then the
        // load below sees the version that was published before that write began.
        fence(Ordering::Acquire);
        let after = self.version.load(Ordering::Relaxed);
        (before == after).then_some(bytes)
    }

    /// A number that each write changes.
    #[cfg(not(commonhold_loom))]
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Relaxed)
    }

    /// A reading in a writer's turn: for a reader that writers overtake again and again.
    #[cfg(not(commonhold_loom))]
    pub(crate) fn read_in_turn<M: Membership, R>(
        &self,
        call: &Call<'_, M>,
        copy: impl FnOnce(usize) -> R,
    ) -> Result<R> {
        self.writer.lock(call, Heir::Inherits)?;
        let _unlock = UnlockOnDrop(&self.writer, call);
        Ok(copy((self.version.load_own() & 1) as usize))
    }

    /// Writes: `write` gets the numbers of the current copy and of the spare, and stores into the spare by relaxed atomic
    /// stores. If it returns an error or panics, nothing is published.
    pub(crate) fn write<M: Membership, R>(
        &self,
        call: &Call<'_, M>,
        write: impl FnOnce(usize, usize) -> Result<R>,
    ) -> Result<R> {
        self.writer.lock(call, Heir::Inherits)?;
        let unlock = UnlockOnDrop(&self.writer, call);
        let version = self.version.load_own();
        // Pairs with the fence in `try_read`: the version is published before the spare is touched.
        fence(Ordering::Release);
        let current = (version & 1) as usize;
        let result = write(current, 1 - current)?;
        // Release: pairs with the Acquire in `try_read`; this store is the publication.
        self.version
            .store(version.wrapping_add(1), Ordering::Release);
        drop(unlock);
        // The unlock was a read-modify-write. Pairs with the fence in `register`.
        fence_after_rmw();
        self.changed.notify(u32::MAX);
        Ok(result)
    }
}

/// Unlocks also when the caller's closure panics: nothing was published, so nothing is in doubt.
/// In a child that was forked by the closure it is inert: the lock is the parent's.
struct UnlockOnDrop<'a, M: Membership>(&'a RawMutex, &'a Call<'a, M>);

impl<M: Membership> Drop for UnlockOnDrop<'_, M> {
    #[inline]
    fn drop(&mut self) {
        if self.1.members.is_still(self.1.me) {
            self.0.unlock();
        }
    }
}
