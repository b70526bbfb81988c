//! The readers-writer lock.

use super::rwlock_guards::{RwLockReadGuard, RwLockWriteGuard};
use crate::error::{Error, Result};
use crate::layout::fingerprint::Kind;
use crate::plain::InPlace;
use crate::raw::rwlock::{RawRwLock, ReaderLine, Reading, Stopped};
use crate::raw::{Call, MemberId};
use crate::segment::{Inner, Placed, Segment, Shape, travels};
use crate::sys::deadline::Deadline;
use crate::sys::map::InRegion;
use crate::sys::spin::Adaptive;
use std::marker::PhantomData;
use std::sync::atomic::Ordering;
use std::time::Duration;

// SAFETY: atomic words of which every pattern has a meaning, and reserved bytes that nobody reads; `repr(C)`.
unsafe impl InRegion for RawRwLock {}
// SAFETY: as above.
unsafe impl InRegion for ReaderLine {}

/// A value that many may read at a time, or one may write, in place.
///
/// As [`std::sync::RwLock`], in shared memory. Each process counts its readers on a cache line of its own, so readers of different
/// processes do not disturb each other; a writer looks at the lines of all processes that ever read. Without contention, reading is one
/// atomic read-modify-write, but for a process's first; and two while another thread of the same process reads, or the same thread already
/// does. Writing is two. None makes a system call.
///
/// With the feature `process`, a handle is a serde value that [travels to other processes](crate::Segment#sending-it-to-another-process).
///
/// # When a member dies
/// If it read, nothing: a writer that waits for it finds out within about 20 ms of the death (longer when the dead one had much memory to
/// give back: the kernel vouches for it until then).
///
/// If it wrote, the value may be half-changed: the next [`read`](Self::read) or [`write`](Self::write) (or one of their `try_` and
/// `_timeout` forms), and each one after it, gets [`Err(Poisoned)`](crate::Error::Poisoned), until somebody calls
/// [`recover`](Self::recover), looks at the value, and mends it. While the guard of `recover` is held the others wait; dropping it
/// declares the value sound. A waiter finds out as said above. A stopped (SIGSTOP) owner is alive.
/// If it only waited, nothing; not even if it was a writer that kept new readers out already.
///
/// # Fairness
/// None among those that wait, as with [`Mutex`](crate::Mutex), but neither side starves the other: a writer that waits for readers to leave
/// lets no new ones in, and readers that sleep do so in one queue with the writers.
///
/// So a thread that reads already and reads again, while a writer waits for it, waits for itself, for ever; so does one that writes
/// while it reads. Use a timed form where that may happen. A process may have 4,294,967,295 readings at a time.
///
/// # Errors
/// [`Poisoned`](crate::Error::Poisoned); [`WouldBlock`](crate::Error::WouldBlock) from `try_read` and `try_write`;
/// [`Timeout`](crate::Error::Timeout) from the timed forms; [`TooLarge`](crate::Error::TooLarge) for one reading too many (guards were
/// leaked); in a forked child's first operation also those of attaching.
///
/// Making and finding: [`AlreadyExists`](crate::Error::AlreadyExists), [`NotFound`](crate::Error::NotFound),
/// [`TypeMismatch`](crate::Error::TypeMismatch), [`InvalidName`](crate::Error::InvalidName),
/// [`OutOfSpace`](crate::Error::OutOfSpace), [`TooManyObjects`](crate::Error::TooManyObjects),
/// [`Corrupt`](crate::Error::Corrupt), and [`Timeout`](crate::Error::Timeout) if another process has been at making an object for
/// 10 seconds (it may be stopped).
///
/// # Bytes
/// 192, aligned up to `T`, and those of `T`, aligned up to 64; and 64 for each member that the segment has room for (4,096 by default).
///
/// # Examples
/// ```
/// use commonhold::{Error, RwLock, RwLockWriteGuard, Segment};
///
/// # fn main() -> commonhold::Result<()> {
/// let seg = Segment::anonymous(1 << 16)?;
/// let table = RwLock::create(&seg, "table", [0u64; 4])?;
///
/// {
///     let one = table.read()?;
///     let another = table.read()?;
///     assert_eq!(one[0] + another[3], 0);
///     assert!(matches!(table.try_write(), Err(Error::WouldBlock)));
/// }
///
/// let mut write = match table.write() {
///     Err(Error::Poisoned) => {
///         let mut write = table.recover()?;
///         *write = [0; 4]; // whatever makes the state good again
///         write
///     }
///     other => other?,
/// };
/// write[0] = 7;
/// // Others may read now, and nobody has written in between.
/// let read = RwLockWriteGuard::downgrade(write)?;
/// assert_eq!(read[0], 7);
/// # Ok(())
/// # }
/// ```
pub struct RwLock<T> {
    pub(super) placed: Placed<RawRwLock>,
    _value: PhantomData<T>,
}

// SAFETY: the value is written only under the lock, by one thread at a time, and `T: Send`; it is shared by those that read, and every
// function that lends it asks for `T: Sync`.
unsafe impl<T: InPlace> Send for RwLock<T> {}
// SAFETY: as above.
unsafe impl<T: InPlace> Sync for RwLock<T> {}

/// `T: Sync`, because two threads can read at a time, each by a handle that it opened for itself.
impl<T: InPlace + Sync> RwLock<T> {
    const SHAPE: Shape = Shape::new::<RawRwLock>(Kind::RwLock, size_of::<T>(), align_of::<T>())
        .and_for_each_member::<ReaderLine>();

    /// Makes a lock that holds `value`, in 192 bytes, aligned up to `T`, and those of `T`, aligned up to 64, and 64 for each member that the
    /// segment has room for.
    pub fn create(segment: &Segment, name: &str, value: T) -> Result<Self> {
        let placed = Placed::create::<T>(segment, name, Self::SHAPE, 1, |at| {
            // SAFETY: one T's room, aligned, that nobody else knows of yet.
            unsafe { at.cast::<T>().write(value) }
        })?;
        Ok(Self::of(placed))
    }

    /// Finds the lock of that name.
    pub fn open(segment: &Segment, name: &str) -> Result<Self> {
        let placed = Placed::open::<T>(segment, name, Self::SHAPE, None)?;
        Ok(Self::of(placed))
    }

    /// Finds the lock of that name, or makes one that holds `value`.
    pub fn open_or_create(segment: &Segment, name: &str, value: T) -> Result<Self> {
        let placed = Placed::open_or_create::<T>(segment, name, Self::SHAPE, 1, |at| {
            // SAFETY: as in `create`.
            unsafe { at.cast::<T>().write(value) }
        })?;
        Ok(Self::of(placed))
    }

    fn of(placed: Placed<RawRwLock>) -> Self {
        RwLock {
            placed,
            _value: PhantomData,
        }
    }

    /// Locks for reading, waiting as long as it takes.
    #[inline]
    pub fn read(&self) -> Result<RwLockReadGuard<'_, T>> {
        let (line, me, reading) = match read_solo(&self.placed) {
            Some((line, me)) => (line, me, Reading::Solo),
            None => read_otherwise(&self.placed)?,
        };
        RwLockReadGuard::new(&self.placed, line, me, reading)
    }

    /// Locks for reading if nobody writes or is about to; [`WouldBlock`](crate::Error::WouldBlock) otherwise, which can also mean that
    /// somebody else is just being let in.
    pub fn try_read(&self) -> Result<RwLockReadGuard<'_, T>> {
        let me = self.me()?;
        let line = self.placed.of_member(me);
        let reading = self
            .placed
            .control()
            .try_read(line, self.placed.inner(), me)
            .map_err(|e| self.unless_lost(e))?;
        RwLockReadGuard::new(&self.placed, line, me, reading)
    }

    /// Locks for reading, waiting at most `timeout`.
    pub fn read_timeout(&self, timeout: Duration) -> Result<RwLockReadGuard<'_, T>> {
        let me = self.me()?;
        let (raw, line) = (self.placed.control(), self.placed.of_member(me));
        let reading = match raw.read_at_once(line, me) {
            Some(reading) => reading,
            None => raw
                .read_contended(line, &self.call(me, Deadline::after(timeout)))
                .map_err(|e| self.unless_lost(e))?,
        };
        RwLockReadGuard::new(&self.placed, line, me, reading)
    }

    /// Locks for writing, waiting as long as it takes.
    #[inline]
    pub fn write(&self) -> Result<RwLockWriteGuard<'_, T>> {
        let (raw, me) = (self.placed.control(), self.me()?);
        let lines = self.placed.of_members();
        if let Err(stopped) = raw.write_at_once(lines, me) {
            let (inner, spin) = (self.placed.inner(), &self.placed.spin);
            wait_to_write(raw, lines, inner, spin, me, stopped)?;
        }
        RwLockWriteGuard::new(&self.placed, me)
    }

    /// Locks for writing if nobody reads or writes; [`WouldBlock`](crate::Error::WouldBlock) otherwise, which can also mean that
    /// somebody else is just being let in, or turned away.
    pub fn try_write(&self) -> Result<RwLockWriteGuard<'_, T>> {
        let (inner, me) = (self.placed.inner(), self.me()?);
        let lines = self.placed.of_members();
        self.placed
            .control()
            .try_write(lines, inner, me)
            .map_err(|e| self.unless_lost(e))?;
        RwLockWriteGuard::new(&self.placed, me)
    }

    /// Locks for writing, waiting at most `timeout`.
    pub fn write_timeout(&self, timeout: Duration) -> Result<RwLockWriteGuard<'_, T>> {
        let (raw, me) = (self.placed.control(), self.me()?);
        let lines = self.placed.of_members();
        if let Err(stopped) = raw.write_at_once(lines, me) {
            raw.write_contended(lines, &self.call(me, Deadline::after(timeout)), stopped)
                .map_err(|e| self.unless_lost(e))?;
        }
        RwLockWriteGuard::new(&self.placed, me)
    }

    /// Locks for writing, waiting as long as it takes, also when the lock is poisoned: then the value may be half-changed, and dropping
    /// the guard declares it sound. On a sound lock it is [`write`](Self::write).
    ///
    /// Who dies, or panics, holding such a guard leaves the lock poisoned.
    pub fn recover(&self) -> Result<RwLockWriteGuard<'_, T>> {
        self.recover_until(Deadline::NEVER)
    }

    /// As [`recover`](Self::recover), waiting at most `timeout`.
    pub fn recover_timeout(&self, timeout: Duration) -> Result<RwLockWriteGuard<'_, T>> {
        self.recover_until(Deadline::after(timeout))
    }

    fn recover_until(&self, deadline: Deadline) -> Result<RwLockWriteGuard<'_, T>> {
        let me = self.me()?;
        let lines = self.placed.of_members();
        self.placed
            .control()
            .recover(lines, &self.call(me, deadline))
            .map_err(|e| self.unless_lost(e))?;
        RwLockWriteGuard::new(&self.placed, me)
    }

    /// Whether the state is in doubt: since a writer's death was met (or a writer panicked), until a guard of
    /// [`recover`](Self::recover) is dropped. A death that nobody has met yet does not count.
    pub fn is_poisoned(&self) -> bool {
        self.placed.control().is_poisoned()
    }

    #[inline]
    pub(super) fn me(&self) -> Result<MemberId> {
        self.placed.inner().me_at(self.placed.member())
    }

    /// The error that a caller gets: in a region that is lost the doubt that another thread has just noted means nothing.
    #[cold]
    pub(super) fn unless_lost(&self, error: Error) -> Error {
        unless_lost(self.placed.inner(), error)
    }

    fn call(&self, me: MemberId, deadline: Deadline) -> Call<'_, Inner> {
        Call {
            members: self.placed.inner(),
            me,
            spin: &self.placed.spin,
            deadline,
        }
    }
}

/// See [`RwLock::unless_lost`].
fn unless_lost(members: &Inner, error: Error) -> Error {
    members.check_whole().err().unwrap_or(error)
}

/// What a read lock is nearly always: this much is a part of its callers.
#[inline]
fn read_solo(placed: &Placed<RawRwLock>) -> Option<(&ReaderLine, MemberId)> {
    let me = MemberId::from_private(placed.member().load(Ordering::Relaxed))?;
    let line = placed.of_member_if(me)?;
    let reads = placed.control().read_solo_at_once(line, me);
    reads.then_some((line, me))
}

/// All else. An error that it gives is the caller's as it is: were its address taken there, no guard could stay in registers.
#[cold]
#[inline(never)]
fn read_otherwise(placed: &Placed<RawRwLock>) -> Result<(&ReaderLine, MemberId, Reading)> {
    let (raw, members) = (placed.control(), placed.inner());
    let me = members.me_at(placed.member())?;
    let line = placed.of_member(me);
    if raw.read_beside_at_once(line, me) {
        return Ok((line, me, Reading::InTheTally));
    }
    let call = Call {
        members,
        me,
        spin: &placed.spin,
        deadline: Deadline::NEVER,
    };
    match raw.read_contended(line, &call) {
        Ok(reading) => Ok((line, me, reading)),
        Err(e) => Err(unless_lost(members, e)),
    }
}

/// What it needs comes in registers, as in `guard.rs`; its error as from [`read_otherwise`].
#[cold]
#[inline(never)]
fn wait_to_write(
    raw: &RawRwLock,
    lines: &[ReaderLine],
    members: &Inner,
    spin: &Adaptive,
    me: MemberId,
    stopped: Stopped,
) -> Result<()> {
    let call = Call {
        members,
        me,
        spin,
        deadline: Deadline::NEVER,
    };
    raw.write_contended(lines, &call, stopped)
        .map_err(|e| unless_lost(members, e))
}

impl<T> Clone for RwLock<T> {
    fn clone(&self) -> Self {
        RwLock {
            placed: self.placed.clone(),
            _value: PhantomData,
        }
    }
}

travels!([T: InPlace + Sync] RwLock<T>, placed);

impl<T> std::fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("RwLock").field(&self.placed).finish()
    }
}
