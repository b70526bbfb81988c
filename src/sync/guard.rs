//! The guard of a lock, lent by `Mutex` and `Array`.

use crate::error::{Error, Result};
use crate::raw::mutex::{Heir, RawMutex};
use crate::raw::{Call, MemberId};
use crate::segment::{Inner, Segment};
use crate::sys::deadline::Deadline;
use crate::sys::spin::Adaptive;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// What a handle needs to lock its lock: the same for all that lend a [`MutexGuard`].
pub(crate) struct Locker<'a, T: ?Sized> {
    /// Not what it points to: that is a load more, before each lock, for those alone who wait.
    pub(crate) segment: &'a Segment,
    /// Where this process's name stands.
    pub(crate) member: &'a AtomicU32,
    pub(crate) raw: &'a RawMutex,
    pub(crate) spin: &'a Adaptive,
    /// Valid for as long as `segment` is mapped, and only used while the lock is held.
    pub(crate) data: NonNull<T>,
}

impl<T: ?Sized> Clone for Locker<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> Copy for Locker<'_, T> {}

impl<'a, T: ?Sized> Locker<'a, T> {
    #[inline]
    pub(crate) fn lock(self) -> Result<MutexGuard<'a, T>> {
        let me = self.me()?;
        if !self.raw.lock_at_once(me) {
            wait_for_ever(self.raw, self.segment, self.spin, me)?;
        }
        self.guard(me)
    }

    #[inline]
    pub(crate) fn try_lock(self) -> Result<MutexGuard<'a, T>> {
        let me = self.me()?;
        self.raw.try_lock(self.segment.inner(), me, Heir::Refuses)?;
        self.guard(me)
    }

    pub(crate) fn lock_timeout(self, timeout: Duration) -> Result<MutexGuard<'a, T>> {
        match self.try_lock() {
            Err(Error::WouldBlock) => self.lock_until(Deadline::after(timeout), Heir::Refuses),
            other => other,
        }
    }

    pub(crate) fn recover(self) -> Result<MutexGuard<'a, T>> {
        self.lock_until(Deadline::NEVER, Heir::Recovers)
    }

    pub(crate) fn recover_timeout(self, timeout: Duration) -> Result<MutexGuard<'a, T>> {
        self.lock_until(Deadline::after(timeout), Heir::Recovers)
    }

    #[inline]
    fn lock_until(self, deadline: Deadline, heir: Heir) -> Result<MutexGuard<'a, T>> {
        let me = self.me()?;
        let call = self.call(me, deadline);
        self.raw.lock(&call, heir)?;
        self.guard(me)
    }

    #[inline]
    fn me(&self) -> Result<MemberId> {
        self.segment.inner().me_at(self.member)
    }

    #[inline]
    fn is_me(&self, id: MemberId) -> bool {
        self.member.load(Ordering::Relaxed) == id.bits()
    }

    pub(crate) fn call(&self, me: MemberId, deadline: Deadline) -> Call<'a, Inner> {
        Call {
            members: self.segment.inner(),
            me,
            spin: self.spin,
            deadline,
        }
    }

    /// The lock is held by `me`.
    #[inline]
    pub(crate) fn guard(self, me: MemberId) -> Result<MutexGuard<'a, T>> {
        if !self.is_me(me) {
            // The region was lost while we locked.
            return Err(Error::Corrupt);
        }
        Ok(MutexGuard {
            locker: self,
            holder: match std::thread::panicking() {
                false => me.bits(),
                true => me.bits() | PANICKING,
            },
            _not_send: PhantomData,
        })
    }
}

/// What it needs comes in registers: a `Call`, or the `Locker`, would have to be written to memory before each lock, and a
/// locked instruction waits for all earlier stores.
#[cold]
#[inline(never)]
fn wait_for_ever(raw: &RawMutex, segment: &Segment, spin: &Adaptive, me: MemberId) -> Result<()> {
    let call = Call {
        members: segment.inner(),
        me,
        spin,
        deadline: Deadline::NEVER,
    };
    raw.lock_contended(&call, Heir::Refuses).map(drop)
}

/// In a guard's `holder`, where no id has a bit.
const PANICKING: u32 = 1 << 31;

/// Access to what a lock protects; dropping it unlocks.
///
/// Lent by [`Mutex::lock`](crate::Mutex::lock) and [`Array::lock`](crate::Array::lock) and their like.
///
/// A guard that is dropped while its thread panics poisons the lock, as in std. A guard that a forked child inherited is
/// inert: the lock is the parent's, and dropping the child's copy does nothing (the child must not use what it
/// derefs to). A guard that is leaked leaves its lock held until this process detaches or dies
/// (a waiter that has waited long by then may take 12 s to find out about a detach).
#[must_use = "if unused, the lock is released at once"]
pub struct MutexGuard<'a, T: ?Sized> {
    locker: Locker<'a, T>,
    /// Whose claim stands in the lock word; and [`PANICKING`] if the thread was panicking when it locked. In one word, which is
    /// compared in one step, and stays in a register: what a caller has to put on its stack, the unlock waits for.
    holder: u32,
    /// As std's: locked and unlocked by one thread.
    _not_send: PhantomData<*mut T>,
}

// SAFETY: a shared guard gives only `&T`.
unsafe impl<T: ?Sized + Sync> Sync for MutexGuard<'_, T> {}

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    /// Takes the guard apart; the lock stays held. `Err`: the guard was inherited across a fork, and holds nothing.
    pub(crate) fn into_locker(self) -> Result<(Locker<'a, T>, MemberId)> {
        let this = std::mem::ManuallyDrop::new(self);
        match MemberId::from_bits(this.holder) {
            Some(me) if this.locker.is_me(me) => Ok((this.locker, me)),
            _ => {
                this.locker.segment.inner().check_whole()?;
                Err(Error::InvalidArgument(
                    "the guard was inherited across a fork: the lock is the parent's, lock it anew",
                ))
            }
        }
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the lock is held, so among members that keep the protocol nobody else has access; any bytes are a T.
        unsafe { self.locker.data.as_ref() }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`.
        unsafe { self.locker.data.as_mut() }
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        let member = self.locker.member.load(Ordering::Relaxed);
        if member != self.holder {
            // A forked child's copy does nothing: the parent holds the lock.
            if member | PANICKING == self.holder {
                self.locker.raw.unlock();
            }
        } else if std::thread::panicking() {
            self.locker.raw.unlock_poisoned();
        } else {
            self.locker.raw.unlock();
        }
    }
}

impl<T: ?Sized + std::fmt::Debug> std::fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + std::fmt::Display> std::fmt::Display for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}
