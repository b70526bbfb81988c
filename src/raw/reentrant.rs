//! The lock that its holder may take again: a lock, the name of the thread that holds it, and how often it does.
//!
//! # Points of death
//!
//! | a member dies | the lock says | who mends it |
//! |---|---|---|
//! | holding the lock, at whatever depth, also before it wrote its name or after it took it away | its id | as with the lock alone: see [`Heir`] |
//! | after the unlock, before the wake | free | a sleeper looks again after its nap |
//!
//! What the dead left in `holder` and `depth` says nothing to anybody: whoever locks next writes over both.

use super::member::{Call, MemberId, Membership};
use super::mutex::{Heir, RawMutex};
use crate::error::{Error, Result};
use crate::sys::atomic::{AtomicU32, AtomicU64, LoadOwn, Ordering};

/// The words of a reentrant lock; all zero is one that nobody holds.
///
/// | lock | holder | depth | meaning |
/// |---|---|---|---|
/// | free | 0 | 0 | free |
/// | held by the living | 0, or of one who died | any | its holder is about to write its name and a depth of 1, or has just taken them away |
/// | held by the living | member and thread | 1 and more | that thread holds it, so many times |
/// | the same | the same | with bit 31 | the same; a guard of it was dropped by a panic |
/// | held by the dead | any | any | as the lock alone |
/// | free and poisoned | 0, or of one who died | any | in doubt |
///
/// `depth` is read and stored only by the thread that holds the lock. Anything else was scribbled; it can unlock the lock early or
/// keep it held, and no more: no memory is guarded by it.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct RawReentrant {
    pub(crate) lock: RawMutex,
    /// Bits 0..31: how many guards there are. Bit 31: one was dropped by a panic.
    pub(crate) depth: AtomicU32,
    pub(crate) reserved: u32,
    /// A [`Holder`], or 0.
    pub(crate) holder: AtomicU64,
}

const PANICKED: u32 = 1 << 31;
const DEEPEST: u32 = PANICKED - 1;

/// One thread of one member.
///
/// | bits | |
/// |---|---|
/// | 0..34 | the thread's number in its process, never 0 |
/// | 34..64 | the member's id |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holder(u64);

impl Holder {
    const THREAD_BITS: u32 = u64::BITS - MemberId::BITS;
    /// The highest number of a thread.
    pub(crate) const LAST_THREAD: u64 = (1 << Self::THREAD_BITS) - 1;

    pub(crate) fn new(member: MemberId, thread: u64) -> Holder {
        debug_assert!(thread != 0 && thread <= Self::LAST_THREAD);
        Holder(u64::from(member.bits()) << Self::THREAD_BITS | thread)
    }
}

impl RawReentrant {
    #[cfg(commonhold_loom)]
    pub(crate) fn new() -> RawReentrant {
        RawReentrant {
            lock: RawMutex::new(),
            depth: AtomicU32::new(0),
            reserved: 0,
            holder: AtomicU64::new(0),
        }
    }

    /// Locks, or locks once more, waiting until the call's deadline.
    #[inline]
    pub(crate) fn lock<M: Membership>(
        &self,
        call: &Call<'_, M>,
        thread: u64,
        heir: Heir,
    ) -> Result<()> {
        let me = Holder::new(call.me, thread);
        if self.is_held_by(me) {
            return self.lock_again();
        }
        self.lock.lock(call, heir)?;
        self.begin(me);
        Ok(())
    }

    /// As [`lock`](Self::lock), at once: `Err(WouldBlock)` if another thread holds it.
    #[inline]
    pub(crate) fn try_lock<M: Membership>(
        &self,
        members: &M,
        me: MemberId,
        thread: u64,
        heir: Heir,
    ) -> Result<()> {
        let holder = Holder::new(me, thread);
        if self.is_held_by(holder) {
            return self.lock_again();
        }
        self.lock.try_lock(members, me, heir)?;
        self.begin(holder);
        Ok(())
    }

    /// Whether the calling thread, who is `me`, holds the lock.
    ///
    /// Relaxed suffices. Only the thread itself ever stores its own name (no other thread of the process has its number, and no other
    /// process its member id), and it stores 0 over it before it unlocks. A load never gives a value older than the thread's own last
    /// store to the same word: so if it gives the thread's name, then the last store was that of `begin`, and the unlock has not come.
    #[inline]
    fn is_held_by(&self, me: Holder) -> bool {
        self.holder.load(Ordering::Relaxed) == me.0
    }

    #[inline]
    fn begin(&self, me: Holder) {
        // Relaxed, both: the depth is the holder's alone, and a name means something only to the one who bears it.
        self.depth.store(1, Ordering::Relaxed);
        self.holder.store(me.0, Ordering::Relaxed);
    }

    #[inline]
    fn lock_again(&self) -> Result<()> {
        let depth = self.depth.load_own();
        if depth & DEEPEST == DEEPEST {
            return Err(Error::TooLarge {
                requested: u64::from(DEEPEST) + 1,
                limit: u64::from(DEEPEST),
            });
        }
        // Relaxed: the holder's alone, here and below.
        self.depth.store(depth + 1, Ordering::Relaxed);
        Ok(())
    }

    /// Takes back one `lock` of the calling thread; `panicked`: it ends by a panic. The last one unlocks, and poisons if any of them
    /// did.
    #[inline]
    pub(crate) fn unlock(&self, panicked: bool) {
        let mut depth = self.depth.load_own();
        if panicked {
            depth |= PANICKED;
        }
        // At 0 somebody scribbled: that is as good as the last.
        if depth & DEEPEST > 1 {
            self.depth.store(depth - 1, Ordering::Relaxed);
            return;
        }
        self.depth.store(0, Ordering::Relaxed);
        // Before the unlock: see `is_held_by`.
        self.holder.store(0, Ordering::Relaxed);
        if depth & PANICKED != 0 {
            self.lock.unlock_poisoned();
        } else {
            self.lock.unlock();
        }
    }
}

#[cfg(all(test, not(commonhold_loom)))]
mod tests {
    use super::*;
    use crate::raw::oracles::Immortals;
    use crate::sys::deadline::Deadline;
    use crate::sys::spin::Adaptive;
    use std::time::Duration;

    fn id(slot: u32) -> MemberId {
        MemberId::new(slot, 1).unwrap()
    }

    fn lock(raw: &RawReentrant, member: u32, thread: u64) -> Result<()> {
        let call = Call {
            members: &Immortals,
            me: id(member),
            spin: &Adaptive::new(),
            deadline: Deadline::after(Duration::from_millis(2)),
        };
        raw.lock(&call, thread, Heir::Refuses)
    }

    fn new() -> RawReentrant {
        // SAFETY: all zero is a lock that nobody holds.
        unsafe { std::mem::zeroed() }
    }

    #[test]
    fn the_name_of_a_holder_says_which_thread_of_which_member() {
        let last = MemberId::new(1023, (1 << 20) - 1).unwrap();
        let names = [
            Holder::new(id(0), 1),
            Holder::new(id(0), Holder::LAST_THREAD),
            Holder::new(id(1), 1),
            Holder::new(last, 1),
            Holder::new(last, Holder::LAST_THREAD),
        ];
        for (i, name) in names.iter().enumerate() {
            assert!(name.0 != 0 && !names[..i].contains(name));
        }
    }

    #[test]
    fn a_depth_that_cannot_be_counted_is_refused() {
        let raw = new();
        lock(&raw, 3, 1).unwrap();
        for panicked in [0, PANICKED] {
            raw.depth.store(DEEPEST | panicked, Ordering::Relaxed);
            let got = lock(&raw, 3, 1);
            let limit = u64::from(DEEPEST);
            assert!(matches!(got, Err(Error::TooLarge { limit: l, .. }) if l == limit));
            assert_eq!(raw.depth.load(Ordering::Relaxed), DEEPEST | panicked);
        }
    }

    #[test]
    fn whatever_is_scribbled_a_lock_ends_and_an_unlock_panics_never() {
        for depth in [0, 1, 2, DEEPEST, PANICKED, PANICKED | 1, u32::MAX] {
            for holder in [0, Holder::new(id(3), 1).0, u64::MAX] {
                let raw = new();
                lock(&raw, 3, 1).unwrap();
                raw.depth.store(depth, Ordering::Relaxed);
                raw.holder.store(holder, Ordering::Relaxed);
                // Let in, refused, or too late.
                let again = lock(&raw, 3, 1);
                let other = lock(&raw, 4, 1);
                assert!(matches!(other, Err(Error::Timeout)));
                (0..=u32::from(again.is_ok())).for_each(|_| raw.unlock(false));
                // As good as new, or held for ever; in doubt, if it said that somebody panicked.
                let got = lock(&raw, 4, 1);
                assert!(matches!(
                    got,
                    Ok(()) | Err(Error::Timeout | Error::Poisoned)
                ));
            }
        }
    }
}
