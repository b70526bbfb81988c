//! What is done once.

use crate::error::{Error, Result};
use crate::layout::fingerprint::Kind;
use crate::raw::MemberId;
use crate::raw::once::{Before, RawOnce};
use crate::segment::{Inner, Placed, Segment, Shape, travels};
use crate::sys::deadline::Deadline;
use crate::sys::map::InRegion;
use std::time::Duration;

// SAFETY: atomic words of which every pattern has a meaning; `repr(C)`.
unsafe impl InRegion for RawOnce {}

/// Something that one thread of one process does, and that all others find done.
///
/// As [`std::sync::Once`], in shared memory: for the set-up of what processes share. Of those that call
/// [`call_once`](Self::call_once), one runs its closure, and the others return when that is done; they see all that it did.
/// Once it is done, a call is one load.
///
/// With the feature `process`, a handle is a serde value that [travels to other processes](crate::Segment#sending-it-to-another-process).
///
/// # When a member dies
/// In its closure: it is not done, and the next caller, or one who waits already, runs its own closure. So a closure should begin anew,
/// whatever it finds: with [`call_once_force`](Self::call_once_force) it is told whether an earlier one was left off. A lock that the dead one
/// held in it is poisoned: take such locks by `recover`. A caller
/// that waits finds out within about 20 ms of the death (longer when the dead one had much memory to give back). A stopped (SIGSTOP)
/// process is alive. In any other moment a death leaves it done, or not begun.
///
/// A panic in the closure is the same: the next caller runs its own. So it is with [`std::sync::OnceLock`]; `std::sync::Once` is
/// poisoned then, and would have every other process panic for the fault of one.
///
/// # Fairness
/// None among those who wait. A closure that calls the same `Once` waits for itself, for ever; use the timed form where
/// that may happen.
///
/// # Errors
/// [`WouldBlock`](Error::WouldBlock) from the forms that are named `try`; [`Timeout`](Error::Timeout) from those with a time;
/// [`InvalidArgument`](Error::InvalidArgument) in a child that the closure forked: what is being done is the parent's to finish;
/// [`Corrupt`](Error::Corrupt) if the segment's file was cut short; in a forked child's first operation also those of attaching.
///
/// Making and finding: [`AlreadyExists`](crate::Error::AlreadyExists), [`NotFound`](crate::Error::NotFound),
/// [`TypeMismatch`](crate::Error::TypeMismatch), [`InvalidName`](crate::Error::InvalidName),
/// [`OutOfSpace`](crate::Error::OutOfSpace), [`TooManyObjects`](crate::Error::TooManyObjects),
/// [`Corrupt`](crate::Error::Corrupt), and [`Timeout`](crate::Error::Timeout) if another process has been at making an object for
/// 10 seconds (it may be stopped).
///
/// # Bytes
/// 16.
///
/// # Examples
/// ```
/// use commonhold::{Array, Once, Segment};
///
/// # fn main() -> commonhold::Result<()> {
/// let seg = Segment::anonymous(1 << 16)?;
/// let table = Array::open_or_create(&seg, "table", 100, 0u32)?;
/// let filled = Once::open_or_create(&seg, "table is filled")?;
///
/// // The same in each process.
/// filled.call_once(|| {
///     // Not `lock`: one who was killed in here may have left it poisoned.
///     let mut table = table.recover().expect("the segment is whole");
///     (0..).zip(&mut *table).for_each(|(n, square)| *square = n * n);
/// })?;
/// assert_eq!(table.get(9)?, 81);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Once {
    placed: Placed<RawOnce>,
}

/// What a closure of [`Once::call_once_force`] is told.
#[derive(Debug)]
pub struct OnceState(Before);

impl OnceState {
    /// Whether an earlier closure was begun and not finished: whoever ran it died, or it panicked. Then some of what it did may
    /// be there.
    pub fn is_poisoned(&self) -> bool {
        self.0 == Before::Unfinished
    }
}

impl Once {
    const SHAPE: Shape = Shape::new::<RawOnce>(Kind::Once, 0, 1);

    /// Makes a once that is not done, in 16 bytes.
    pub fn create(segment: &Segment, name: &str) -> Result<Self> {
        let placed = Placed::create::<()>(segment, name, Self::SHAPE, 1, |_| {})?;
        Ok(Once { placed })
    }

    /// Finds the once of that name.
    pub fn open(segment: &Segment, name: &str) -> Result<Self> {
        let placed = Placed::open::<()>(segment, name, Self::SHAPE, None)?;
        Ok(Once { placed })
    }

    /// Finds the once of that name, or makes it.
    pub fn open_or_create(segment: &Segment, name: &str) -> Result<Self> {
        let placed = Placed::open_or_create::<()>(segment, name, Self::SHAPE, 1, |_| {})?;
        Ok(Once { placed })
    }

    /// Runs `f`, unless it is done; if another runs its closure, waits for that one. When this returns `Ok`, it is done.
    #[inline]
    pub fn call_once(&self, f: impl FnOnce()) -> Result<()> {
        self.call_once_force(|_| f())
    }

    /// As [`call_once`](Self::call_once); [`WouldBlock`](Error::WouldBlock) if another runs its closure.
    #[inline]
    pub fn try_call_once(&self, f: impl FnOnce()) -> Result<()> {
        self.try_call_once_force(|_| f())
    }

    /// As [`call_once`](Self::call_once), waiting at most `timeout` for another. `f` itself may take longer.
    #[inline]
    pub fn call_once_timeout(&self, timeout: Duration, f: impl FnOnce()) -> Result<()> {
        self.call_once_force_timeout(timeout, |_| f())
    }

    /// As [`call_once`](Self::call_once); `f` is told whether an earlier closure was begun and not finished.
    #[inline]
    pub fn call_once_force(&self, f: impl FnOnce(&OnceState)) -> Result<()> {
        if self.is_completed() {
            return Ok(());
        }
        self.run_until(Deadline::NEVER, f)
    }

    /// As [`call_once_force`](Self::call_once_force); [`WouldBlock`](Error::WouldBlock) if another runs its closure.
    pub fn try_call_once_force(&self, f: impl FnOnce(&OnceState)) -> Result<()> {
        if self.is_completed() {
            return Ok(());
        }
        let call = self.placed.call(Deadline::PASSED)?;
        let run = |before| run_unless_lost(call.members, call.me, before, f);
        self.placed.control().try_run(&call, run)
    }

    /// As [`call_once_force`](Self::call_once_force), waiting at most `timeout` for another. `f` itself may take longer.
    pub fn call_once_force_timeout(
        &self,
        timeout: Duration,
        f: impl FnOnce(&OnceState),
    ) -> Result<()> {
        if self.is_completed() {
            return Ok(());
        }
        self.run_until(Deadline::after(timeout), f)
    }

    /// Whether it is done. A `false` is old news.
    #[inline]
    pub fn is_completed(&self) -> bool {
        self.placed.control().is_completed()
    }

    /// Waits until it is done, as long as it takes: also over the death of one who was at it, until another has done it.
    #[inline]
    pub fn wait(&self) -> Result<()> {
        if self.is_completed() {
            return Ok(());
        }
        self.wait_until(Deadline::NEVER)
    }

    /// As [`wait`](Self::wait), at most for `timeout`.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<()> {
        if self.is_completed() {
            return Ok(());
        }
        self.wait_until(Deadline::after(timeout))
    }

    fn wait_until(&self, deadline: Deadline) -> Result<()> {
        let call = self.placed.call(deadline)?;
        self.placed.control().wait(&call)
    }

    fn run_until(&self, deadline: Deadline, f: impl FnOnce(&OnceState)) -> Result<()> {
        let call = self.placed.call(deadline)?;
        let run = |before| run_unless_lost(call.members, call.me, before, f);
        self.placed.control().run(&call, run)
    }
}

/// Runs the closure. `Err`: it was not run, or it is not this process that has done it.
fn run_unless_lost(
    members: &Inner,
    me: MemberId,
    before: Before,
    f: impl FnOnce(&OnceState),
) -> Result<()> {
    if !members.is_me(me) {
        // The region was lost while we locked: whether it is done nobody knows.
        return Err(Error::Corrupt);
    }
    f(&OnceState(before));
    if members.is_me(me) {
        return Ok(());
    }
    members.check_whole()?;
    Err(Error::InvalidArgument(
        "the closure forked: it is the parent's to finish, call anew in the child",
    ))
}

travels!([] Once, placed);

impl std::fmt::Debug for Once {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Once")
            .field("object", &self.placed)
            .field("is_completed", &self.is_completed())
            .finish()
    }
}
