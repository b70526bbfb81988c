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
use super::mutex::{Heir, RawMutex, UnlockOnDrop};
use super::signal::RawSignal;
use crate::error::Result;
use crate::sys::atomic::{AtomicU64, LoadOwn, Ordering, fence};
#[cfg(not(commonhold_loom))]
use crate::{error::Error, sys::deadline::Deadline};

/// All zero: version 0, copy 0 current, unlocked.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct RawVersioned {
    pub(crate) writer: RawMutex,
    pub(crate) changed: RawSignal,
    pub(crate) reserved: u32,
    /// Its lowest bit says which copy is current.
    pub(crate) version: AtomicU64,
}

/// Readings to try before a reader asks the writers for a turn.
#[cfg(not(commonhold_loom))]
const READINGS: u32 = 128;
/// How long it waits for one, before it tries readings again: a writer may be stopped in its turn, and then readings succeed.
#[cfg(not(commonhold_loom))]
const TURN: std::time::Duration = std::time::Duration::from_millis(1);

impl RawVersioned {
    #[cfg(commonhold_loom)]
    pub(crate) fn new() -> RawVersioned {
        RawVersioned {
            writer: RawMutex::new(),
            changed: RawSignal::new(),
            reserved: 0,
            version: AtomicU64::new(0),
        }
    }

    /// One attempt at a reading: `copy` gets the version, and copies what [`copy_of`] it by relaxed atomic loads. `None`
    /// if writers were too quick: two of them published, or began to, in the meantime.
    #[inline]
    pub(crate) fn try_read<R>(&self, copy: impl FnOnce(u64) -> R) -> Option<R> {
        // Acquire: pairs with the Release in `write`, so the copy that the version names is seen whole.
        let before = self.version.load(Ordering::Acquire);
        let bytes = copy(before);
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
    fn read_in_turn<M: Membership, R>(
        &self,
        call: &Call<'_, M>,
        copy: impl FnOnce(u64) -> R,
    ) -> Result<R> {
        self.writer.lock(call, Heir::Inherits)?;
        let _unlock = UnlockOnDrop(&self.writer, call);
        Ok(copy(self.version.load_own()))
    }

    /// A reading for one whom writers overtake again and again: it tries some more, then takes a turn among the writers, and so on
    /// until the deadline. `call` is what a turn needs.
    #[cfg(not(commonhold_loom))]
    #[cold]
    pub(crate) fn read_against_writers<'a, M: Membership + 'a, R>(
        &self,
        deadline: Deadline,
        call: impl Fn(Deadline) -> Result<Call<'a, M>>,
        copy: impl Fn(u64) -> R,
    ) -> Result<R> {
        loop {
            for _ in 0..READINGS {
                std::hint::spin_loop();
                if let Some(bytes) = self.try_read(&copy) {
                    return Ok(bytes);
                }
                if deadline.has_passed() {
                    break;
                }
            }
            match self.read_in_turn(&call(Deadline::after(TURN))?, &copy) {
                // After the turn, not before it: who is late already gets this one chance.
                Err(Error::Timeout) if deadline.has_passed() => return Err(Error::Timeout),
                Err(Error::Timeout) => {}
                other => return other,
            }
        }
    }

    /// Writes: `write` gets the numbers of the current copy and of the spare, and stores into the spare by relaxed atomic
    /// stores. If it returns an error or panics, nothing is published.
    pub(crate) fn write<M: Membership, R>(
        &self,
        call: &Call<'_, M>,
        write: impl FnOnce(usize, usize) -> Result<R>,
    ) -> Result<R> {
        self.writer.lock(call, Heir::Inherits)?;
        // Also if `write` panics: nothing is published then, so nothing is in doubt.
        let unlock = UnlockOnDrop(&self.writer, call);
        let version = self.version.load_own();
        // Pairs with the fence in `try_read`: the version is published before the spare is touched.
        fence(Ordering::Release);
        let current = copy_of(version);
        let result = write(current, 1 - current)?;
        // Release: pairs with the Acquire in `try_read`; this store is the publication.
        self.version
            .store(version.wrapping_add(1), Ordering::Release);
        drop(unlock);
        // The unlock made a light fence: who waits looks twice.
        self.changed.notify(u32::MAX);
        Ok(result)
    }
}

/// Which of the two copies is current in that version.
#[inline]
pub(crate) fn copy_of(version: u64) -> usize {
    (version & 1) as usize
}

#[cfg(all(test, not(commonhold_loom)))]
mod tests {
    use super::*;
    use crate::raw::MemberId;
    use crate::raw::oracles::Immortals;
    use crate::sys::spin::Adaptive;
    use std::time::{Duration, Instant};

    #[test]
    fn a_version_that_never_stands_still_does_not_outlast_a_deadline() {
        // SAFETY: all zero is version 0, unlocked.
        let raw: RawVersioned = unsafe { std::mem::zeroed() };
        // Somebody else is in the writers' turn, and stays there.
        let [other, me] = [3, 5].map(|slot| MemberId::new(slot, 1).unwrap());
        assert!(raw.writer.lock_at_once(other));
        let spin = Adaptive::new();
        let call = |deadline| {
            Ok(Call {
                members: &Immortals,
                me,
                spin: &spin,
                deadline,
            })
        };
        let start = Instant::now();
        let copy = |_| {
            assert!(start.elapsed() < Duration::from_secs(30), "on and on");
            raw.version.fetch_add(1, Ordering::Relaxed);
        };
        let read = raw.read_against_writers(Deadline::after(Duration::from_millis(5)), call, copy);
        assert!(matches!(read, Err(Error::Timeout)));
    }
}
