//! The guards that `RwLock` lends.

use crate::error::{Error, Result};
use crate::raw::MemberId;
use crate::raw::rwlock::{RawRwLock, ReaderLine, Reading};
use crate::segment::Placed;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU32, Ordering};

/// Reading access to what an [`RwLock`](crate::RwLock) protects; dropping it unlocks.
///
/// A guard that a forked child inherited is inert: the lock is the parent's, and dropping the child's copy does nothing (the child must
/// not use what it derefs to). A guard that is leaked keeps writers out until this process detaches or dies.
#[must_use = "if unused, the lock is released at once"]
pub struct RwLockReadGuard<'a, T> {
    placed: &'a Placed<RawRwLock>,
    line: &'a ReaderLine,
    /// In whose name the reading is counted.
    me: MemberId,
    reading: Reading,
    /// As std's: locked and unlocked by one thread.
    _not_send: PhantomData<*mut T>,
}

// SAFETY: a shared guard gives only `&T`.
unsafe impl<T: Sync> Sync for RwLockReadGuard<'_, T> {}

impl<'a, T> RwLockReadGuard<'a, T> {
    /// `me` is counted as a reader in `line`, as `reading` says.
    #[inline]
    pub(super) fn new(
        placed: &'a Placed<RawRwLock>,
        line: &'a ReaderLine,
        me: MemberId,
        reading: Reading,
    ) -> Result<Self> {
        if !is_still(placed.member(), me) {
            // The region was lost while we locked.
            return Err(Error::Corrupt);
        }
        Ok(RwLockReadGuard {
            placed,
            line,
            me,
            reading,
            _not_send: PhantomData,
        })
    }
}

impl<T> Deref for RwLockReadGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the lock is held, so among members that keep the protocol nobody writes; any bytes are a T; the handle that lent the
        // guard keeps the segment mapped.
        unsafe { self.placed.data().cast().as_ref() }
    }
}

impl<T> Drop for RwLockReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // Otherwise a forked child's copy: the parent reads.
        if is_still(self.placed.member(), self.me) {
            let raw = self.placed.control();
            raw.unlock_read(self.line, self.me, self.reading);
        }
    }
}

/// Writing access to what an [`RwLock`](crate::RwLock) protects; dropping it unlocks.
///
/// A guard that is dropped while its thread panics poisons the lock, as in std. A guard that a forked child inherited is
/// inert: the lock is the parent's, and dropping the child's copy does nothing (the child must not use what it
/// derefs to). A guard that is leaked leaves its lock held until this process detaches or dies
/// (a waiter that has waited long by then may take 12 s to find out about a detach).
#[must_use = "if unused, the lock is released at once"]
pub struct RwLockWriteGuard<'a, T> {
    placed: &'a Placed<RawRwLock>,
    /// Who has the gate.
    me: MemberId,
    /// Whether the thread was panicking when it locked.
    panicking: bool,
    /// As std's: locked and unlocked by one thread.
    _not_send: PhantomData<*mut T>,
}

// SAFETY: a shared guard gives only `&T`.
unsafe impl<T: Sync> Sync for RwLockWriteGuard<'_, T> {}

impl<'a, T> RwLockWriteGuard<'a, T> {
    /// `me` has the gate, and nobody reads.
    #[inline]
    pub(super) fn new(placed: &'a Placed<RawRwLock>, me: MemberId) -> Result<Self> {
        if !is_still(placed.member(), me) {
            // The region was lost while we locked.
            return Err(Error::Corrupt);
        }
        Ok(RwLockWriteGuard {
            placed,
            me,
            panicking: std::thread::panicking(),
            _not_send: PhantomData,
        })
    }

    /// Makes a writer a reader: others may read from now on, and no other writer comes in between. The value is declared sound, as by a
    /// drop.
    ///
    /// It never waits. [`Poisoned`](Error::Poisoned) if the thread panics meanwhile, as a drop would poison the lock;
    /// [`InvalidArgument`](Error::InvalidArgument) for a guard that was inherited across a fork, [`Corrupt`](Error::Corrupt) if the file was
    /// cut short; [`TooLarge`](Error::TooLarge) as from
    /// [`read`](crate::RwLock::read). The lock is left then.
    pub fn downgrade(guard: Self) -> Result<RwLockReadGuard<'a, T>> {
        let (placed, me) = (guard.placed, guard.me);
        if !is_still(placed.member(), me) {
            placed.check_whole()?;
            return Err(Error::InvalidArgument(
                "the guard was inherited across a fork: the lock is the parent's, lock it anew",
            ));
        }
        if guard.panics() {
            return Err(Error::Poisoned);
        }
        let line = placed.of_member(me);
        let reading = placed.control().downgrade(line, me)?;
        std::mem::forget(guard);
        RwLockReadGuard::new(placed, line, me, reading)
    }

    /// Whether the thread has begun to panic since it locked.
    #[inline]
    fn panics(&self) -> bool {
        !self.panicking && std::thread::panicking()
    }
}

impl<T> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the lock is held, so among members that keep the protocol nobody else has access; any bytes are a T.
        unsafe { self.placed.data().cast().as_ref() }
    }
}

impl<T> DerefMut for RwLockWriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`.
        unsafe { self.placed.data().cast().as_mut() }
    }
}

impl<T> Drop for RwLockWriteGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if !is_still(self.placed.member(), self.me) {
            // A forked child's copy: the parent holds the lock.
            return;
        }
        if self.panics() {
            self.placed.control().unlock_poisoned();
        } else {
            self.placed.control().unlock_write();
        }
    }
}

/// Whether this process is the member `id`, and the region is not lost.
#[inline]
fn is_still(member: &AtomicU32, id: MemberId) -> bool {
    member.load(Ordering::Relaxed) == id.bits()
}

impl<T: std::fmt::Debug> std::fmt::Debug for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: std::fmt::Display> std::fmt::Display for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: std::fmt::Display> std::fmt::Display for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}
