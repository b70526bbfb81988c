//! Turns of the threads that share an end.

use crate::error::Result;
use crate::raw::Call;
use crate::raw::mutex::{Heir, RawMutex};
use crate::segment::Inner;
use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};

/// What the threads of this process take turns with. The lock is one of ours, though it stands in private memory: its waits have a
/// deadline.
pub(super) struct Turns<T> {
    lock: RawMutex,
    of: UnsafeCell<T>,
}

// SAFETY: whoever has the lock has the value alone.
unsafe impl<T: Send> Sync for Turns<T> {}

impl<T> Turns<T> {
    pub(super) fn of(value: T) -> Turns<T> {
        Turns {
            lock: RawMutex::new(),
            of: UnsafeCell::new(value),
        }
    }

    /// If nobody else has the turn.
    #[inline]
    pub(super) fn at_once(&self, call: &Call<'_, Inner>) -> Option<Turn<'_, T>> {
        self.lock.lock_at_once(call.me).then(|| Turn(self))
    }

    pub(super) fn next(&self, call: &Call<'_, Inner>) -> Result<Turn<'_, T>> {
        self.lock.lock_inside(call, Heir::Inherits)?;
        Ok(Turn(self))
    }
}

pub(super) struct Turn<'a, T>(&'a Turns<T>);

impl<T> Deref for Turn<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the lock is held.
        unsafe { &*self.0.of.get() }
    }
}

impl<T> DerefMut for Turn<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is held.
        unsafe { &mut *self.0.of.get() }
    }
}

impl<T> Drop for Turn<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.0.lock.unlock();
    }
}
