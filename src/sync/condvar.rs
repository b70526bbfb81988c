//! The condition variable.

use super::guard::MutexGuard;
use crate::error::Result;
use crate::layout::fingerprint::Kind;
use crate::raw::Call;
use crate::raw::condvar::RawCondvar;
use crate::segment::{Placed, Segment, Shape, travels};
use crate::sys::deadline::Deadline;
use crate::sys::map::InRegion;
use std::time::Duration;

// SAFETY: one atomic word of which every pattern has a meaning; `repr(transparent)`.
unsafe impl InRegion for RawCondvar {}

/// A place to wait until somebody says that something has changed.
///
/// As [`std::sync::Condvar`], in shared memory, with the guards of [`Mutex`](crate::Mutex) and
/// [`Array`](crate::Array). Notifying when nobody waits is one load and no system call.
///
/// With the feature `process`, a handle is a serde value that [travels to other processes](crate::Segment#sending-it-to-another-process).
///
/// # When a member dies
/// A waiter that dies takes nothing with it; notifiers never wait for waiters. If it was the one that a
/// `notify_one` woke, all waiters are woken within about 50 ms (with more than 64 members, within a second), and look
/// again. A wait may therefore return for nothing, as std's may: wait in a loop, or with [`wait_while`](Self::wait_while).
/// If a member died with the mutex, the waiter gets [`Err(Poisoned)`](crate::Error::Poisoned).
///
/// # Fairness
/// The kernel's: those that sleep are woken in the order in which they went to sleep, real-time threads first. One that still
/// spins may be quicker.
///
/// A wait unlocks the mutex, and so declares a state sound that was got by `recover()`: mend it first.
///
/// # Errors
/// Those of [`Mutex::lock`](crate::Mutex::lock), when the mutex is locked again; the guard is gone then.
///
/// Making and finding: [`AlreadyExists`](crate::Error::AlreadyExists), [`NotFound`](crate::Error::NotFound),
/// [`TypeMismatch`](crate::Error::TypeMismatch), [`InvalidName`](crate::Error::InvalidName),
/// [`OutOfSpace`](crate::Error::OutOfSpace), [`TooManyObjects`](crate::Error::TooManyObjects),
/// [`Corrupt`](crate::Error::Corrupt), and [`Timeout`](crate::Error::Timeout) if another process has been at making an object for
/// 10 seconds (it may be stopped).
///
/// # Bytes
/// 4.
///
/// # Examples
/// ```
/// use commonhold::{Condvar, Mutex, Segment};
///
/// # fn main() -> commonhold::Result<()> {
/// let seg = Segment::anonymous(1 << 16)?;
/// let ready = Mutex::create(&seg, "ready", 0u32)?;
/// let changed = Condvar::create(&seg, "changed")?;
///
/// let (ready2, changed2) = (ready.clone(), changed.clone());
/// let other = std::thread::spawn(move || -> commonhold::Result<()> {
///     *ready2.lock()? = 1;
///     changed2.notify_one();
///     Ok(())
/// });
///
/// let guard = changed.wait_while(ready.lock()?, |ready| *ready == 0)?;
/// assert_eq!(*guard, 1);
/// # drop(guard);
/// # other.join().unwrap()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Condvar {
    placed: Placed<RawCondvar>,
}

/// Whether a timed wait ended because its time was up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// `true`: the time was up.
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

impl Condvar {
    const SHAPE: Shape = Shape::new::<RawCondvar>(Kind::Condvar, 0, 1);

    /// Makes a condition variable, in 4 bytes.
    pub fn create(segment: &Segment, name: &str) -> Result<Self> {
        let placed = Placed::create::<()>(segment, name, Self::SHAPE, 1, |_| {})?;
        Ok(Condvar { placed })
    }

    /// Finds the condition variable of that name.
    pub fn open(segment: &Segment, name: &str) -> Result<Self> {
        let placed = Placed::open::<()>(segment, name, Self::SHAPE, None)?;
        Ok(Condvar { placed })
    }

    /// Finds the condition variable of that name, or makes it.
    pub fn open_or_create(segment: &Segment, name: &str) -> Result<Self> {
        let placed = Placed::open_or_create::<()>(segment, name, Self::SHAPE, 1, |_| {})?;
        Ok(Condvar { placed })
    }

    /// Unlocks, waits for a notification, and locks again.
    pub fn wait<'a, T: ?Sized>(&self, guard: MutexGuard<'a, T>) -> Result<MutexGuard<'a, T>> {
        self.wait_until(guard, Deadline::NEVER)
            .map(|(guard, _)| guard)
    }

    /// As [`wait`](Self::wait), at most for `timeout`. The time to lock again is not counted.
    pub fn wait_timeout<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
    ) -> Result<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        self.wait_until(guard, Deadline::after(timeout))
    }

    /// Waits until `condition` is no longer true.
    pub fn wait_while<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        condition: impl FnMut(&mut T) -> bool,
    ) -> Result<MutexGuard<'a, T>> {
        self.wait_while_until(guard, condition, Deadline::NEVER)
            .map(|(guard, _)| guard)
    }

    /// Waits until `condition` is no longer true, at most for `timeout`; the result says whether it still is.
    pub fn wait_timeout_while<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
        condition: impl FnMut(&mut T) -> bool,
    ) -> Result<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        self.wait_while_until(guard, condition, Deadline::after(timeout))
    }

    /// Wakes one waiter, if there is any.
    #[inline]
    pub fn notify_one(&self) {
        self.placed.become_member();
        self.placed.control().notify_one();
    }

    /// Wakes all waiters.
    #[inline]
    pub fn notify_all(&self) {
        self.placed.become_member();
        self.placed.control().notify_all();
    }

    fn wait_while_until<'a, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: impl FnMut(&mut T) -> bool,
        deadline: Deadline,
    ) -> Result<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        loop {
            if !condition(&mut guard) {
                return Ok((guard, WaitTimeoutResult(false)));
            }
            if deadline.has_passed() {
                return Ok((guard, WaitTimeoutResult(true)));
            }
            (guard, _) = self.wait_until(guard, deadline)?;
        }
    }

    fn wait_until<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        deadline: Deadline,
    ) -> Result<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        // Before the guard is taken apart, so that an error here unlocks.
        let mine: Call<'_, _> = self.placed.call(deadline)?;
        let (locker, me) = guard.into_locker()?;
        let relock = locker.call(me, Deadline::NEVER);
        let timed_out = self.placed.control().wait(locker.raw, &mine, &relock)?;
        Ok((locker.guard(me)?, WaitTimeoutResult(timed_out)))
    }
}

travels!([] Condvar, placed);

impl std::fmt::Debug for Condvar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Condvar").field(&self.placed).finish()
    }
}
