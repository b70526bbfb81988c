//! The mutex.

use super::guard::{Locker, MutexGuard};
use crate::error::Result;
#[cfg(feature = "async")]
use crate::futures::{Lock, Until, Wanted};
use crate::layout::fingerprint::Kind;
use crate::plain::InPlace;
use crate::raw::mutex::RawMutex;
#[cfg(feature = "async")]
use crate::segment::Inner;
use crate::segment::{Placed, Segment, Shape, travels};
use crate::sys::map::InRegion;
use std::marker::PhantomData;
use std::time::Duration;

// SAFETY: one atomic word of which every pattern has a meaning; `repr(transparent)`.
unsafe impl InRegion for RawMutex {}

/// A value that one thread of one process at a time may use, in place.
///
/// As [`std::sync::Mutex`], in shared memory. The lock is a word that names its owner; locking and unlocking
/// without contention are one atomic instruction each and no system call.
///
/// With the feature `process`, a handle is a serde value that [travels to other processes](crate::Segment#sending-it-to-another-process).
///
/// # When a member dies
/// If it held the lock, the value may be half-changed: the next [`lock`](Self::lock) (or `try_lock`, `lock_timeout`), and
/// each one after it, gets [`Err(Poisoned)`](crate::Error::Poisoned), until somebody calls [`recover`](Self::recover),
/// looks at the value, and mends it. While the guard of `recover` is held the others wait; dropping it declares the value
/// sound. A waiter finds out within about 20 ms of the death (longer when the owner had much memory to give back: the kernel vouches for it until then). A stopped (SIGSTOP) owner is alive.
/// If it only waited, nothing.
///
/// # Fairness
/// None: a thread that runs may overtake one that was woken. A thread that locks what it holds already waits for itself, for
/// ever; use the timed form where that may happen.
///
/// # Errors
/// [`Poisoned`](crate::Error::Poisoned); [`WouldBlock`](crate::Error::WouldBlock) from `try_lock`;
/// [`Timeout`](crate::Error::Timeout) from `lock_timeout`; in a forked child's first operation also those of attaching.
///
/// Making and finding: [`AlreadyExists`](crate::Error::AlreadyExists), [`NotFound`](crate::Error::NotFound),
/// [`TypeMismatch`](crate::Error::TypeMismatch), [`InvalidName`](crate::Error::InvalidName),
/// [`OutOfSpace`](crate::Error::OutOfSpace), [`TooManyObjects`](crate::Error::TooManyObjects),
/// [`Corrupt`](crate::Error::Corrupt), and [`Timeout`](crate::Error::Timeout) if another process has been at making an object for
/// 10 seconds (it may be stopped).
///
/// # Bytes
/// 8, aligned up to `T`, and those of `T`.
///
/// # Examples
/// ```
/// use bytemuck::{Pod, Zeroable};
/// use commonhold::{Error, Mutex, Segment};
///
/// #[repr(C)]
/// #[derive(Clone, Copy, Pod, Zeroable)]
/// struct Account {
///     balance: i64,
///     bookings: u64,
/// }
///
/// # fn main() -> commonhold::Result<()> {
/// let seg = Segment::anonymous(1 << 16)?;
/// let account = Mutex::create(&seg, "account", Account { balance: 0, bookings: 0 })?;
///
/// let mut a = match account.lock() {
///     Err(Error::Poisoned) => {
///         let mut a = account.recover()?;
///         a.bookings = 0; // whatever makes the state good again
///         a
///     }
///     other => other?,
/// };
/// a.balance += 100;
/// a.bookings += 1;
/// # Ok(())
/// # }
/// ```
pub struct Mutex<T> {
    placed: Placed<RawMutex>,
    _value: PhantomData<T>,
}

// SAFETY: the value is reached only under the lock, by one thread at a time, and `T: Send`.
unsafe impl<T: InPlace> Send for Mutex<T> {}
// SAFETY: as above.
unsafe impl<T: InPlace> Sync for Mutex<T> {}

impl<T: InPlace> Mutex<T> {
    const SHAPE: Shape = Shape::new::<RawMutex>(Kind::Mutex, size_of::<T>(), align_of::<T>());

    /// Makes a mutex that holds `value`, in 8 bytes, aligned up to `T`, and those of `T`.
    pub fn create(segment: &Segment, name: &str, value: T) -> Result<Self> {
        let placed = Placed::create::<T>(segment, name, Self::SHAPE, 1, |at| {
            // SAFETY: one T's room, aligned, that nobody else knows of yet.
            unsafe { at.cast::<T>().write(value) }
        })?;
        Ok(Self::of(placed))
    }

    /// Finds the mutex of that name.
    pub fn open(segment: &Segment, name: &str) -> Result<Self> {
        let placed = Placed::open::<T>(segment, name, Self::SHAPE, None)?;
        Ok(Self::of(placed))
    }

    /// Finds the mutex of that name, or makes one that holds `value`.
    pub fn open_or_create(segment: &Segment, name: &str, value: T) -> Result<Self> {
        let placed = Placed::open_or_create::<T>(segment, name, Self::SHAPE, 1, |at| {
            // SAFETY: as in `create`.
            unsafe { at.cast::<T>().write(value) }
        })?;
        Ok(Self::of(placed))
    }

    fn of(placed: Placed<RawMutex>) -> Self {
        Mutex {
            placed,
            _value: PhantomData,
        }
    }

    #[inline]
    fn locker(&self) -> Locker<'_, T> {
        Locker {
            segment: self.placed.segment(),
            member: self.placed.member(),
            raw: self.placed.control(),
            spin: &self.placed.spin,
            data: self.placed.data().cast(),
        }
    }

    /// Locks, waiting as long as it takes.
    #[inline]
    pub fn lock(&self) -> Result<MutexGuard<'_, T>> {
        self.locker().lock()
    }

    /// Locks if nobody holds the lock; [`WouldBlock`](crate::Error::WouldBlock) otherwise.
    #[inline]
    pub fn try_lock(&self) -> Result<MutexGuard<'_, T>> {
        self.locker().try_lock()
    }

    /// Locks, waiting at most `timeout`.
    pub fn lock_timeout(&self, timeout: Duration) -> Result<MutexGuard<'_, T>> {
        self.locker().lock_timeout(timeout)
    }

    /// As [`lock`](Self::lock), without a thread that waits: a future for any runtime. Dropped before it is ready, it holds nothing.
    ///
    /// The guard is not `Send`: a task that may move between threads drops it before its next `await`, as with std's.
    ///
    /// What holds for all futures is said at [`Queue::recv_async`](crate::Queue::recv_async).
    #[cfg(feature = "async")]
    pub fn lock_async(&self) -> impl Future<Output = Result<MutexGuard<'_, T>>> + Send + '_ {
        let wanted = || Wanted::lock(Waited(self.placed.clone()));
        Until::new(wanted, || self.try_lock())
    }

    /// Locks, waiting as long as it takes, also when the lock is poisoned: then the value may be half-changed, and dropping
    /// the guard declares it sound. On a sound lock it is [`lock`](Self::lock).
    ///
    /// Who dies, or panics, holding such a guard leaves the lock poisoned.
    pub fn recover(&self) -> Result<MutexGuard<'_, T>> {
        self.locker().recover()
    }

    /// As [`recover`](Self::recover), waiting at most `timeout`.
    pub fn recover_timeout(&self, timeout: Duration) -> Result<MutexGuard<'_, T>> {
        self.locker().recover_timeout(timeout)
    }

    /// Whether the state is in doubt: since a holder's death was met (or a holder panicked), until a guard of
    /// [`recover`](Self::recover) is dropped. A death that nobody has met yet does not count.
    pub fn is_poisoned(&self) -> bool {
        self.placed.control().is_poisoned()
    }
}

#[cfg(feature = "async")]
struct Waited(Placed<RawMutex>);

#[cfg(feature = "async")]
impl Lock for Waited {
    fn members(&self) -> &Inner {
        self.0.inner()
    }

    fn raw(&self) -> &RawMutex {
        self.0.control()
    }

    fn is_kept(&self) -> bool {
        true
    }
}

impl<T> Clone for Mutex<T> {
    fn clone(&self) -> Self {
        Mutex {
            placed: self.placed.clone(),
            _value: PhantomData,
        }
    }
}

travels!([T: InPlace] Mutex<T>, placed);

impl<T> std::fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Mutex").field(&self.placed).finish()
    }
}
