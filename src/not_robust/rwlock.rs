//! The lock for many readers or one writer.
//!
//! raw_sync has none on Windows, and on macOS one that can't be linked; so this one stands on its event everywhere, and what is
//! tested on one system is what runs on the others.

use super::directory::Kind;
use super::object::{Holder, Object};
use super::os::{Deadline, Signal};
use super::region::Region;
use crate::error::{Error, Result};
use crate::plain::InPlace;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The word's value while somebody writes; less is the number of readers.
const WRITER: u32 = u32::MAX;

/// A value that many may read, or one may change, in place; on raw_sync's event.
///
/// # When a member dies
/// While it reads: nobody can write any more. While it writes: nobody can do either. For ever; only the timed forms return. If it died in
/// the few instructions in which it waits or wakes others, they may not return either. Unlink the region, and make everything anew.
///
/// # Fairness
/// Readers go before writers: a writer waits until there is a moment without readers. Nobody is served in order; one that
/// waits looks again every 20 ms at the latest. A thread may hold several guards for reading.
///
/// # Errors
/// [`Poisoned`](Error::Poisoned) once a writer has panicked, until a guard of [`recover`](Self::recover) is dropped;
/// [`WouldBlock`](Error::WouldBlock) from `try_read` and `try_write`; [`Timeout`](Error::Timeout) from `read_timeout` and
/// `write_timeout`.
///
/// Making and finding: those of [`Mutex`](super::Mutex).
///
/// # Bytes
/// 16, those of raw_sync's event and 32 more, aligned up to `T`, and those of `T`.
///
/// # Examples
/// ```
/// # #![allow(deprecated)]
/// use commonhold::not_robust::{Region, RwLock};
///
/// # fn main() -> commonhold::Result<()> {
/// # let name = &format!("doc-rwlock-{}", std::process::id());
/// let region = Region::create(name, 1 << 16)?;
/// let table = RwLock::create(&region, "table", [0u64; 8])?;
/// table.write()?[3] = 5;
/// let (one, another) = (table.read()?, table.read()?);
/// assert_eq!(one[3] + another[3], 10);
/// # drop((one, another));
/// Region::unlink(name)?;
/// # Ok(())
/// # }
/// ```
pub struct RwLock<T> {
    object: Object<Signal>,
    _value: PhantomData<T>,
}

// SAFETY: the value is changed only under the lock, by one thread at a time, and `T: Send`.
unsafe impl<T: InPlace> Send for RwLock<T> {}
// SAFETY: many read at once, and `T: Sync`.
unsafe impl<T: InPlace + Sync> Sync for RwLock<T> {}

impl<T: InPlace + Sync> RwLock<T> {
    /// Makes a lock that holds `value`.
    pub fn create(region: &Region, name: &str, value: T) -> Result<Self> {
        Object::create(region, name, Kind::RwLock, value).map(Self::of)
    }

    /// Finds the lock of that name.
    pub fn open(region: &Region, name: &str) -> Result<Self> {
        Object::open::<T>(region, name, Kind::RwLock).map(Self::of)
    }

    /// Finds the lock of that name, or makes one that holds `value`.
    pub fn open_or_create(region: &Region, name: &str, value: T) -> Result<Self> {
        Object::open_or_create(region, name, Kind::RwLock, value).map(Self::of)
    }

    fn of(object: Object<Signal>) -> Self {
        RwLock {
            object,
            _value: PhantomData,
        }
    }

    /// Locks for reading, waiting as long as it takes.
    pub fn read(&self) -> Result<RwLockReadGuard<'_, T>> {
        self.read_by(Deadline::NEVER)
    }

    /// Locks for reading if nobody writes; [`WouldBlock`](Error::WouldBlock) otherwise.
    pub fn try_read(&self) -> Result<RwLockReadGuard<'_, T>> {
        at_once(self.read_timeout(Duration::ZERO))
    }

    /// Locks for reading, waiting at most `timeout`.
    pub fn read_timeout(&self, timeout: Duration) -> Result<RwLockReadGuard<'_, T>> {
        self.read_by(Deadline::after(timeout))
    }

    /// Locks for writing, waiting as long as it takes.
    pub fn write(&self) -> Result<RwLockWriteGuard<'_, T>> {
        self.sound(self.write_by(Deadline::NEVER)?)
    }

    /// Locks for writing if nobody reads or writes; [`WouldBlock`](Error::WouldBlock) otherwise.
    pub fn try_write(&self) -> Result<RwLockWriteGuard<'_, T>> {
        at_once(self.write_timeout(Duration::ZERO))
    }

    /// Locks for writing, waiting at most `timeout`.
    pub fn write_timeout(&self, timeout: Duration) -> Result<RwLockWriteGuard<'_, T>> {
        self.sound(self.write_by(Deadline::after(timeout))?)
    }

    /// Locks for writing, waiting as long as it takes, also when the lock is poisoned: then the value may be half-changed, and
    /// dropping the guard declares it sound. On a sound lock it is [`write`](Self::write).
    pub fn recover(&self) -> Result<RwLockWriteGuard<'_, T>> {
        self.recover_by(Deadline::NEVER)
    }

    /// As [`recover`](Self::recover), waiting at most `timeout`.
    pub fn recover_timeout(&self, timeout: Duration) -> Result<RwLockWriteGuard<'_, T>> {
        self.recover_by(Deadline::after(timeout))
    }

    /// Whether the state is in doubt: since a writer panicked, until a guard of [`recover`](Self::recover) is dropped.
    pub fn is_poisoned(&self) -> bool {
        self.object.is_poisoned()
    }

    fn read_by(&self, deadline: Deadline) -> Result<RwLockReadGuard<'_, T>> {
        self.lock(deadline, |state| {
            state.checked_add(1).filter(|readers| *readers != WRITER)
        })?;
        let guard = RwLockReadGuard {
            lock: self,
            holder: Holder::new(),
            _not_send: PhantomData,
        };
        self.sound(guard)
    }

    fn write_by(&self, deadline: Deadline) -> Result<RwLockWriteGuard<'_, T>> {
        self.lock(deadline, |state| (state == 0).then_some(WRITER))?;
        Ok(RwLockWriteGuard {
            lock: self,
            holder: Holder::new(),
            recovers: false,
            _not_send: PhantomData,
        })
    }

    fn recover_by(&self, deadline: Deadline) -> Result<RwLockWriteGuard<'_, T>> {
        let mut guard = self.write_by(deadline)?;
        guard.recovers = true;
        Ok(guard)
    }

    /// Waits until `step` makes another state of the present one.
    fn lock(&self, deadline: Deadline, step: impl Fn(u32) -> Option<u32>) -> Result<()> {
        let words = self.object.words();
        self.object
            .primitive()
            .wait(&words.waiters, deadline, || {
                // Pairs with the releases in `unlock`.
                words
                    .state
                    .fetch_update(Ordering::Acquire, Ordering::Relaxed, &step)
                    .ok()
            })
            .map(drop)
    }

    /// Gives the lock back if the state is in doubt.
    fn sound<G>(&self, guard: G) -> Result<G> {
        if self.is_poisoned() {
            return Err(Error::Poisoned);
        }
        Ok(guard)
    }
}

impl<T> RwLock<T> {
    fn unlock(&self, release: impl FnOnce(&AtomicU32) -> bool) {
        let words = self.object.words();
        if release(&words.state) {
            self.object.primitive().wake(&words.waiters);
        }
    }
}

fn at_once<R>(result: Result<R>) -> Result<R> {
    match result {
        Err(Error::Timeout) => Err(Error::WouldBlock),
        other => other,
    }
}

impl<T> Clone for RwLock<T> {
    fn clone(&self) -> Self {
        RwLock {
            object: self.object.clone(),
            _value: PhantomData,
        }
    }
}

impl<T> std::fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("RwLock").field(&self.object).finish()
    }
}

/// Access for reading to what an [`RwLock`] protects; dropping it unlocks.
///
/// A guard that a forked child inherited is inert: the lock is the parent's.
#[must_use = "if unused, the lock is released at once"]
pub struct RwLockReadGuard<'a, T> {
    lock: &'a RwLock<T>,
    holder: Holder,
    /// As std's.
    _not_send: PhantomData<*const T>,
}

// SAFETY: it gives only `&T`.
unsafe impl<T: Sync> Sync for RwLockReadGuard<'_, T> {}

impl<T> Deref for RwLockReadGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the lock is held, so nobody that keeps to it writes; any bytes are a T.
        unsafe { self.lock.object.value().as_ref() }
    }
}

impl<T> Drop for RwLockReadGuard<'_, T> {
    fn drop(&mut self) {
        if self.holder.is_another_process() {
            return;
        }
        // What was read was read before a writer may write. The last one wakes.
        self.lock
            .unlock(|state| state.fetch_sub(1, Ordering::Release) == 1);
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}

/// Access for writing to what an [`RwLock`] protects; dropping it unlocks.
///
/// A guard that is dropped while its thread panics poisons the lock. A guard that a forked child inherited is inert: the lock is the
/// parent's.
#[must_use = "if unused, the lock is released at once"]
pub struct RwLockWriteGuard<'a, T> {
    lock: &'a RwLock<T>,
    holder: Holder,
    /// Whether its drop declares the state sound.
    recovers: bool,
    /// As std's.
    _not_send: PhantomData<*mut T>,
}

// SAFETY: a shared guard gives only `&T`.
unsafe impl<T: Sync> Sync for RwLockWriteGuard<'_, T> {}

impl<T> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the lock is held, so nobody else that keeps to it has access; any bytes are a T.
        unsafe { self.lock.object.value().as_ref() }
    }
}

impl<T> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`.
        unsafe { self.lock.object.value().as_mut() }
    }
}

impl<T> Drop for RwLockWriteGuard<'_, T> {
    fn drop(&mut self) {
        if self.holder.is_another_process() {
            return;
        }
        let poisoned = &self.lock.object.words().poisoned;
        if self.holder.panics() {
            poisoned.store(1, Ordering::Relaxed);
        } else if self.recovers {
            poisoned.store(0, Ordering::Relaxed);
        }
        // What was written, and whether it is sound, was written before another may look.
        self.lock.unlock(|state| {
            state.store(0, Ordering::Release);
            true
        });
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}
