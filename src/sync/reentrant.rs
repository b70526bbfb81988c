//! The mutex that its holder may lock again.

use crate::error::{Error, Result};
use crate::layout::fingerprint::Kind;
use crate::raw::MemberId;
use crate::raw::mutex::Heir;
use crate::raw::reentrant::{Holder, RawReentrant};
use crate::segment::{Placed, Segment, Shape, travels};
use crate::sys::deadline::Deadline;
use crate::sys::map::InRegion;
use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

// SAFETY: atomic words of which every pattern has a meaning; `repr(C)`.
unsafe impl InRegion for RawReentrant {}

/// A lock that one thread of one process at a time holds, and that this thread may lock again.
///
/// As Python's `multiprocessing.RLock`. It holds no value: a second guard of the same thread would lend it a second time. Each
/// guard counts, in whatever order they are dropped; the last one unlocks.
///
/// What makes a thread the holder is the thread and the segment's handle (or a clone of it) that it locked by. A
/// [`Segment`] that one process opens twice makes two members, and these exclude each other.
///
/// With the feature `process`, a handle is a serde value that [travels to other processes](crate::Segment#sending-it-to-another-process).
///
/// # When a member dies
/// If it held the lock, at whatever depth, what it did under it may be half-done: the next [`lock`](Self::lock) (or `try_lock`,
/// `lock_timeout`), and each one after it, gets [`Err(Poisoned)`](crate::Error::Poisoned), until somebody calls
/// [`recover`](Self::recover) and mends it. While guards of that thread are left the others wait (the thread itself may lock
/// again); dropping the last one declares all sound. A waiter finds out within about 20 ms of the death (longer when the
/// owner had much memory to give back: the kernel vouches for it until then). A stopped (SIGSTOP) owner is alive.
/// If it only waited, nothing.
///
/// # Fairness
/// None: a thread that runs may overtake one that was woken.
///
/// # Errors
/// [`Poisoned`](crate::Error::Poisoned); [`WouldBlock`](crate::Error::WouldBlock) from `try_lock`;
/// [`Timeout`](crate::Error::Timeout) from `lock_timeout`; [`TooLarge`](crate::Error::TooLarge) for a lock by a thread that
/// has 2,147,483,647 guards already; in a forked child's first operation also those of attaching.
///
/// Making and finding: [`AlreadyExists`](crate::Error::AlreadyExists), [`NotFound`](crate::Error::NotFound),
/// [`TypeMismatch`](crate::Error::TypeMismatch), [`InvalidName`](crate::Error::InvalidName),
/// [`OutOfSpace`](crate::Error::OutOfSpace), [`TooManyObjects`](crate::Error::TooManyObjects),
/// [`Corrupt`](crate::Error::Corrupt), and [`Timeout`](crate::Error::Timeout) if another process has been at making an object for
/// 10 seconds (it may be stopped).
///
/// # Bytes
/// 24.
///
/// # Examples
/// ```
/// use commonhold::{ReentrantMutex, Result, Segment, Value};
///
/// struct Shop {
///     lock: ReentrantMutex,
///     stock: Value<u32>,
///     sold: Value<u32>,
/// }
///
/// impl Shop {
///     fn sell(&self, n: u32) -> Result<()> {
///         let _guard = self.lock.lock()?;
///         self.stock.update(|stock| *stock -= n)?;
///         self.sold.update(|sold| *sold += n)
///     }
///
///     fn sell_all(&self) -> Result<()> {
///         let _guard = self.lock.lock()?;
///         // It locks again: between the two nobody else sells.
///         self.sell(self.stock.get()?)
///     }
/// }
///
/// # fn main() -> Result<()> {
/// let seg = Segment::anonymous(1 << 16)?;
/// let shop = Shop {
///     lock: ReentrantMutex::create(&seg, "shop")?,
///     stock: Value::create(&seg, "stock", 10)?,
///     sold: Value::create(&seg, "sold", 0)?,
/// };
/// shop.sell(3)?;
/// shop.sell_all()?;
/// assert_eq!((shop.stock.get()?, shop.sold.get()?), (0, 10));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ReentrantMutex {
    placed: Placed<RawReentrant>,
}

/// One lock of a [`ReentrantMutex`]; dropping the last one of a thread unlocks.
///
/// A guard that is dropped while its thread panics poisons the lock, when the last one is dropped; a [`recover`](ReentrantMutex::recover) by
/// the thread itself before that does not prevent it. A guard that a forked child
/// inherited is inert: the lock is the parent's, and dropping the child's copy does nothing. A guard that is leaked
/// leaves its lock held until this process detaches or dies (a waiter that has waited long by then may take 12 s to find out about
/// a detach).
#[must_use = "if unused, the lock is released at once"]
pub struct ReentrantMutexGuard<'a> {
    mutex: &'a ReentrantMutex,
    /// Whose claim stands in the lock word.
    me: MemberId,
    /// Whether the thread was panicking when it locked.
    panicking: bool,
    /// As std's: locked and unlocked by one thread.
    _not_send: PhantomData<std::sync::MutexGuard<'a, ()>>,
}

impl ReentrantMutex {
    const SHAPE: Shape = Shape::new::<RawReentrant>(Kind::ReentrantMutex, 0, 1);

    /// Makes a reentrant mutex, in 24 bytes.
    pub fn create(segment: &Segment, name: &str) -> Result<Self> {
        let placed = Placed::create::<()>(segment, name, Self::SHAPE, 1, |_| {})?;
        Ok(ReentrantMutex { placed })
    }

    /// Finds the reentrant mutex of that name.
    pub fn open(segment: &Segment, name: &str) -> Result<Self> {
        let placed = Placed::open::<()>(segment, name, Self::SHAPE, None)?;
        Ok(ReentrantMutex { placed })
    }

    /// Finds the reentrant mutex of that name, or makes it.
    pub fn open_or_create(segment: &Segment, name: &str) -> Result<Self> {
        let placed = Placed::open_or_create::<()>(segment, name, Self::SHAPE, 1, |_| {})?;
        Ok(ReentrantMutex { placed })
    }

    /// Locks, waiting as long as it takes; at once if this thread holds the lock.
    #[inline]
    pub fn lock(&self) -> Result<ReentrantMutexGuard<'_>> {
        self.lock_until(Deadline::NEVER, Heir::Refuses)
    }

    /// Locks if nobody holds the lock, or this thread does; [`WouldBlock`](Error::WouldBlock) otherwise.
    #[inline]
    pub fn try_lock(&self) -> Result<ReentrantMutexGuard<'_>> {
        let call = self.placed.call(Deadline::PASSED)?;
        let raw = self.placed.control();
        raw.try_lock(call.members, call.me, this_thread(), Heir::Refuses)?;
        self.guard(call.me)
    }

    /// Locks, waiting at most `timeout`.
    pub fn lock_timeout(&self, timeout: Duration) -> Result<ReentrantMutexGuard<'_>> {
        match self.try_lock() {
            Err(Error::WouldBlock) => self.lock_until(Deadline::after(timeout), Heir::Refuses),
            other => other,
        }
    }

    /// Locks, waiting as long as it takes, also when the lock is poisoned: then what it protects may be half-changed, and
    /// dropping the thread's last guard declares it sound. On a sound lock it is [`lock`](Self::lock).
    ///
    /// Who dies, or panics, holding such a guard leaves the lock poisoned.
    pub fn recover(&self) -> Result<ReentrantMutexGuard<'_>> {
        self.lock_until(Deadline::NEVER, Heir::Recovers)
    }

    /// As [`recover`](Self::recover), waiting at most `timeout`.
    pub fn recover_timeout(&self, timeout: Duration) -> Result<ReentrantMutexGuard<'_>> {
        self.lock_until(Deadline::after(timeout), Heir::Recovers)
    }

    /// Whether what the lock protects is in doubt: since a holder's death was met (or a holder panicked), until the last guard
    /// of a thread that called [`recover`](Self::recover) is dropped. A death that nobody has met yet does not count.
    pub fn is_poisoned(&self) -> bool {
        self.placed.control().lock.is_poisoned()
    }

    #[inline]
    fn lock_until(&self, deadline: Deadline, heir: Heir) -> Result<ReentrantMutexGuard<'_>> {
        let call = self.placed.call(deadline)?;
        self.placed.control().lock(&call, this_thread(), heir)?;
        self.guard(call.me)
    }

    /// The lock is held by this thread of `me`.
    #[inline]
    fn guard(&self, me: MemberId) -> Result<ReentrantMutexGuard<'_>> {
        if !self.is_me(me) {
            // The region was lost while we locked.
            return Err(Error::Corrupt);
        }
        Ok(ReentrantMutexGuard {
            mutex: self,
            me,
            panicking: std::thread::panicking(),
            _not_send: PhantomData,
        })
    }

    #[inline]
    fn is_me(&self, id: MemberId) -> bool {
        self.placed.member().load(Ordering::Relaxed) == id.bits()
    }
}

/// A number that no other thread of this process has or ever had. (A forked child's thread has that of its parent's, and is
/// another member.)
#[inline]
fn this_thread() -> u64 {
    // Without a destructor, so that it is there while the thread's others run.
    thread_local! {
        static NUMBER: Cell<u64> = const { Cell::new(0) };
    }
    match NUMBER.get() {
        0 => {
            let number = next_thread();
            NUMBER.set(number);
            number
        }
        number => number,
    }
}

#[cold]
fn next_thread() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    // It comes round after 17 thousand million threads, one every millisecond for half a year.
    LAST.fetch_add(1, Ordering::Relaxed) % Holder::LAST_THREAD + 1
}

impl Drop for ReentrantMutexGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        if !self.mutex.is_me(self.me) {
            // A forked child's copy: the parent holds the lock.
            return;
        }
        let panicked = !self.panicking && std::thread::panicking();
        self.mutex.placed.control().unlock(panicked);
    }
}

travels!([] ReentrantMutex, placed);

impl std::fmt::Debug for ReentrantMutex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ReentrantMutex").field(&self.placed).finish()
    }
}

impl std::fmt::Debug for ReentrantMutexGuard<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ReentrantMutexGuard")
            .field(self.mutex)
            .finish()
    }
}
