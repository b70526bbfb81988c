//! The mutex.

use super::directory::Kind;
use super::object::{Holder, Object};
use super::os::{Deadline, OsMutex};
use super::region::Region;
use crate::error::{Error, Result};
use crate::plain::InPlace;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A value that one thread of one process at a time may use, in place; on raw_sync's mutex.
///
/// # When a member dies
/// If it held the lock, the lock is held for ever, and only the timed forms return. Unlink the region, and make everything anew.
/// (On Windows the system tells, and the next one gets [`Err(Poisoned)`](Error::Poisoned), unless the program is built to abort where it
/// panics; then it aborts.) If it only waited, nothing.
///
/// # Fairness
/// The system's. A thread that locks what it holds already waits for itself, for ever; use the timed form where that may happen.
///
/// # Errors
/// [`Poisoned`](Error::Poisoned) once a holder has panicked, until a guard of [`recover`](Self::recover) is dropped;
/// [`WouldBlock`](Error::WouldBlock) from `try_lock`; [`Timeout`](Error::Timeout) from `lock_timeout`;
/// [`Io`](Error::Io) with raw_sync's words for what it refuses.
///
/// Making and finding: [`AlreadyExists`](Error::AlreadyExists), [`NotFound`](Error::NotFound),
/// [`TypeMismatch`](Error::TypeMismatch), [`InvalidName`](Error::InvalidName), [`OutOfSpace`](Error::OutOfSpace),
/// [`TooManyObjects`](Error::TooManyObjects), [`TooLarge`](Error::TooLarge) for a type aligned to more than 4,096,
/// [`Corrupt`](Error::Corrupt), and [`Timeout`](Error::Timeout) if another process has been at making an object for 10 seconds
/// (it may have died). On Windows, [`Io`](Error::Io) if all that had the object open have ended: the system's lock goes with the last
/// of them.
///
/// # Bytes
/// 16, those of the system's mutex and 32 more, aligned up to `T`, and those of `T`.
///
/// # Examples
/// ```
/// # #![allow(deprecated)]
/// use commonhold::not_robust::{Mutex, Region};
///
/// # fn main() -> commonhold::Result<()> {
/// # let name = &format!("doc-mutex-{}", std::process::id());
/// let region = Region::create(name, 1 << 16)?;
/// let state = Mutex::create(&region, "state", [0u64; 2])?;
/// state.lock()?[1] += 1;
/// assert_eq!(*state.lock_timeout(std::time::Duration::from_millis(1))?, [0, 1]);
/// Region::unlink(name)?;
/// # Ok(())
/// # }
/// ```
pub struct Mutex<T> {
    object: Object<OsMutex>,
    _value: PhantomData<T>,
}

// SAFETY: the value is reached only under the lock, by one thread at a time, and `T: Send`.
unsafe impl<T: InPlace> Send for Mutex<T> {}
// SAFETY: as above.
unsafe impl<T: InPlace> Sync for Mutex<T> {}

impl<T: InPlace> Mutex<T> {
    /// Makes a mutex that holds `value`.
    pub fn create(region: &Region, name: &str, value: T) -> Result<Self> {
        Object::create(region, name, Kind::Mutex, value).map(Self::of)
    }

    /// Finds the mutex of that name.
    pub fn open(region: &Region, name: &str) -> Result<Self> {
        Object::open::<T>(region, name, Kind::Mutex).map(Self::of)
    }

    /// Finds the mutex of that name, or makes one that holds `value`.
    pub fn open_or_create(region: &Region, name: &str, value: T) -> Result<Self> {
        Object::open_or_create(region, name, Kind::Mutex, value).map(Self::of)
    }

    fn of(object: Object<OsMutex>) -> Self {
        Mutex {
            object,
            _value: PhantomData,
        }
    }

    /// Locks, waiting as long as it takes.
    pub fn lock(&self) -> Result<MutexGuard<'_, T>> {
        self.sound(self.lock_by(Deadline::NEVER)?)
    }

    /// Locks if nobody holds the lock; [`WouldBlock`](Error::WouldBlock) otherwise.
    pub fn try_lock(&self) -> Result<MutexGuard<'_, T>> {
        match self.lock_timeout(Duration::ZERO) {
            Err(Error::Timeout) => Err(Error::WouldBlock),
            other => other,
        }
    }

    /// Locks, waiting at most `timeout`.
    pub fn lock_timeout(&self, timeout: Duration) -> Result<MutexGuard<'_, T>> {
        self.sound(self.lock_by(Deadline::after(timeout))?)
    }

    /// Locks, waiting as long as it takes, also when the lock is poisoned: then the value may be half-changed, and dropping
    /// the guard declares it sound. On a sound lock it is [`lock`](Self::lock).
    pub fn recover(&self) -> Result<MutexGuard<'_, T>> {
        self.recover_by(Deadline::NEVER)
    }

    /// As [`recover`](Self::recover), waiting at most `timeout`.
    pub fn recover_timeout(&self, timeout: Duration) -> Result<MutexGuard<'_, T>> {
        self.recover_by(Deadline::after(timeout))
    }

    /// Whether the state is in doubt: since a holder panicked, until a guard of [`recover`](Self::recover) is dropped.
    pub fn is_poisoned(&self) -> bool {
        self.object.is_poisoned()
    }

    fn lock_by(&self, deadline: Deadline) -> Result<MutexGuard<'_, T>> {
        let words = self.object.words();
        self.object
            .primitive()
            .lock(&words.held, deadline)
            .inspect_err(|e| {
                if matches!(e, Error::Poisoned) {
                    words.poisoned.store(1, Ordering::Relaxed);
                }
            })?;
        Ok(MutexGuard {
            mutex: self,
            holder: Holder::new(),
            recovers: false,
            _not_send: PhantomData,
        })
    }

    fn recover_by(&self, deadline: Deadline) -> Result<MutexGuard<'_, T>> {
        let mut guard = match self.lock_by(deadline) {
            // It is free now.
            Err(Error::Poisoned) => self.lock_by(deadline),
            other => other,
        }?;
        guard.recovers = true;
        Ok(guard)
    }

    /// Gives the lock back if the state is in doubt.
    fn sound<'a>(&self, guard: MutexGuard<'a, T>) -> Result<MutexGuard<'a, T>> {
        if self.is_poisoned() {
            return Err(Error::Poisoned);
        }
        Ok(guard)
    }
}

impl<T> Clone for Mutex<T> {
    fn clone(&self) -> Self {
        Mutex {
            object: self.object.clone(),
            _value: PhantomData,
        }
    }
}

impl<T> std::fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Mutex").field(&self.object).finish()
    }
}

/// Access to what a [`Mutex`] protects; dropping it unlocks.
///
/// A guard that is dropped while its thread panics poisons the lock. A guard that a forked child inherited is inert: the lock is the
/// parent's. A guard that is leaked, or whose process dies, leaves its lock held for ever.
#[must_use = "if unused, the lock is released at once"]
pub struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    holder: Holder,
    /// Whether its drop declares the state sound.
    recovers: bool,
    /// The system's mutexes are unlocked by the thread that locked them.
    _not_send: PhantomData<*mut T>,
}

// SAFETY: a shared guard gives only `&T`.
unsafe impl<T: Sync> Sync for MutexGuard<'_, T> {}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the lock is held, so nobody else that keeps to it has access; any bytes are a T.
        unsafe { self.mutex.object.value().as_ref() }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`.
        unsafe { self.mutex.object.value().as_mut() }
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        if self.holder.is_another_process() {
            return;
        }
        let words = self.mutex.object.words();
        if self.holder.panics() {
            words.poisoned.store(1, Ordering::Relaxed);
        } else if self.recovers {
            words.poisoned.store(0, Ordering::Relaxed);
        }
        self.mutex.object.primitive().release(&words.held);
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}
