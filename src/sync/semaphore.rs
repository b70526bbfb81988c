//! The semaphore.

use crate::error::{Error, Result};
#[cfg(feature = "async")]
use crate::futures::{Serves, Until, Wanted};
use crate::layout::fingerprint::Kind;
use crate::raw::semaphore::RawSemaphore;
use crate::raw::tally::Tally;
use crate::raw::wait::Look;
use crate::raw::{Call, MemberId};
use crate::segment::{Inner, Placed, Segment, Shape, travels};
use crate::select::Awaited;
use crate::sys::deadline::{Deadline, LastDone};
use crate::sys::map::InRegion;
use std::ptr::NonNull;
use std::sync::atomic::Ordering;
use std::time::Duration;

// SAFETY: atomics of which every pattern has a meaning; `repr(C)`, without padding.
unsafe impl InRegion for RawSemaphore {}
// SAFETY: one atomic word of which every pattern has a meaning; `repr(transparent)`.
unsafe impl InRegion for Tally {}

/// A number of permits, which processes take and give back.
///
/// Who holds a permit is known, so those of a dead process come back. Taking one and giving it back, without contention,
/// are two atomic instructions each and no system call. A permit belongs to the process: any of its threads may drop it.
///
/// With the feature `process`, a handle is a serde value that [travels to other processes](crate::Segment#sending-it-to-another-process).
///
/// # When a member dies
/// The permits that it held come back: whoever waits for one, or tries in vain to get one, finds out, within about 50 ms (with more than
/// 64 members, within a second; longer when the dead had much memory to give back). What the permits stood for is the program's to
/// mend. A permit that was handed over with [`Permit::forget`] is nobody's and does not come back.
/// If it only waited, or was adding permits, nothing: they are all added, or none is.
///
/// # Fairness
/// None: a thread that runs may take a permit before one that was woken for it.
///
/// # Errors
/// [`WouldBlock`](crate::Error::WouldBlock) from `try_acquire`; [`Timeout`](crate::Error::Timeout) from `acquire_timeout`;
/// [`TooLarge`](crate::Error::TooLarge) from `create` and `add_permits` beyond [`MAX_PERMITS`](Self::MAX_PERMITS);
/// [`Corrupt`](crate::Error::Corrupt) if the numbers contradict each other; in a forked child's first operation also those of
/// attaching.
///
/// Making and finding: [`AlreadyExists`](crate::Error::AlreadyExists), [`NotFound`](crate::Error::NotFound),
/// [`TypeMismatch`](crate::Error::TypeMismatch), [`InvalidName`](crate::Error::InvalidName),
/// [`OutOfSpace`](crate::Error::OutOfSpace), [`TooManyObjects`](crate::Error::TooManyObjects),
/// [`Corrupt`](crate::Error::Corrupt), and [`Timeout`](crate::Error::Timeout) if another process has been at making an object for
/// 10 seconds (it may be stopped).
///
/// # Bytes
/// 64, and 8 for each member that the segment has room for.
///
/// # Examples
/// ```
/// use commonhold::{Segment, Semaphore};
///
/// # fn main() -> commonhold::Result<()> {
/// let seg = Segment::anonymous(1 << 16)?;
/// let connections = Semaphore::create(&seg, "connections", 2)?;
///
/// let first = connections.acquire()?;
/// let second = connections.acquire()?;
/// assert!(connections.try_acquire().is_err());
/// drop(first);
/// assert_eq!(connections.available(), 1);
///
/// // The second leaves this process for good; whoever takes over what it stood for adds it again.
/// second.forget();
/// connections.add_permits(1)?;
/// assert_eq!(connections.available(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Semaphore {
    placed: Placed<RawSemaphore>,
    /// When a wait of this handle last asked after those who hold permits.
    asked: LastDone,
}

impl Semaphore {
    /// The most permits that a semaphore can have.
    pub const MAX_PERMITS: usize = RawSemaphore::MOST as usize;

    const SHAPE: Shape =
        Shape::new::<RawSemaphore>(Kind::Semaphore, 0, 1).and_for_each_member::<Tally>();

    /// Makes a semaphore of so many permits, in 64 bytes, and 8 for each member that the segment has room for.
    pub fn create(segment: &Segment, name: &str, permits: usize) -> Result<Self> {
        let permits = check(permits)?;
        let fill = |at| fill(at, permits);
        Placed::create::<()>(segment, name, Self::SHAPE, 1, fill).map(Self::of)
    }

    /// Finds the semaphore of that name.
    pub fn open(segment: &Segment, name: &str) -> Result<Self> {
        Placed::open::<()>(segment, name, Self::SHAPE, None).map(Self::of)
    }

    /// Finds the semaphore of that name, whatever its permits, or makes one of so many.
    pub fn open_or_create(segment: &Segment, name: &str, permits: usize) -> Result<Self> {
        let permits = check(permits)?;
        let fill = |at| fill(at, permits);
        Placed::open_or_create::<()>(segment, name, Self::SHAPE, 1, fill).map(Self::of)
    }

    fn of(placed: Placed<RawSemaphore>) -> Self {
        Semaphore {
            placed,
            asked: LastDone::never(),
        }
    }

    /// Takes a permit, waiting as long as it takes.
    #[inline]
    pub fn acquire(&self) -> Result<Permit<'_>> {
        match self.acquire_at_once()? {
            Some(permit) => Ok(permit),
            None => self.acquire_until(Deadline::NEVER),
        }
    }

    /// Takes a permit if there is one; [`WouldBlock`](crate::Error::WouldBlock) otherwise.
    ///
    /// It waits for those that are just taking one or giving one back, at most about a millisecond.
    #[inline]
    pub fn try_acquire(&self) -> Result<Permit<'_>> {
        match self.acquire_at_once()? {
            Some(permit) => Ok(permit),
            None => self.try_acquire_slowly(),
        }
    }

    #[cold]
    fn try_acquire_slowly(&self) -> Result<Permit<'_>> {
        let call = self.placed.call(Deadline::PASSED)?;
        let took = self.raw().try_acquire(self.tallies(), &call);
        self.permit(call.me, took)
    }

    /// Takes a permit, waiting at most `timeout`.
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Permit<'_>> {
        self.acquire_until(Deadline::after(timeout))
    }

    /// As [`acquire`](Self::acquire), without a thread that waits: a future for any runtime. Dropped before it is ready, it has taken
    /// nothing.
    ///
    /// What holds for all futures is said at [`Queue::recv_async`](crate::Queue::recv_async).
    #[cfg(feature = "async")]
    pub fn acquire_async(&self) -> impl Future<Output = Result<Permit<'_>>> + Send + '_ {
        let wanted = || Wanted::signal(self.permits(), Serves::One);
        Until::new(wanted, || self.try_acquire())
    }

    /// Makes so many more permits.
    ///
    /// As giving one back, it waits for those that are just taking one or giving one back, as long as it takes.
    pub fn add_permits(&self, permits: usize) -> Result<()> {
        let call = self.placed.call(Deadline::NEVER)?;
        self.raw().add(self.tallies(), &call, permits as u64)?;
        self.placed.check_whole()
    }

    /// How many permits there were to be had a moment ago. Those of a dead process count once somebody has found out, by waiting, or by
    /// trying in vain.
    pub fn available(&self) -> usize {
        self.raw().available().min(RawSemaphore::MOST) as usize
    }

    /// That there is a permit to be had.
    pub(crate) fn permits(&self) -> Awaited {
        let ready = |placed: &Placed<RawSemaphore>, look| {
            let raw = placed.control();
            raw.available() != 0
                || look == Look::AskingAfterOwners
                    && raw.are_held_by_the_dead(placed.of_members(), placed.inner())
        };
        Awaited::new(&self.placed, |raw| &raw.released, ready)
    }

    /// `None`: that is not possible without waiting, or asking after others.
    #[inline]
    fn acquire_at_once(&self) -> Result<Option<Permit<'_>>> {
        let me = self.placed.me()?;
        match self.raw().acquire_at_once(self.tallies(), me) {
            true => self.permit(me, Ok(())).map(Some),
            false => Ok(None),
        }
    }

    #[cold]
    fn acquire_until(&self, deadline: Deadline) -> Result<Permit<'_>> {
        let call = self.placed.call(deadline)?;
        let took = self.raw().acquire(self.tallies(), &call, &self.asked);
        self.permit(call.me, took)
    }

    /// A permit is `me`'s, or it got none.
    #[inline]
    fn permit(&self, me: MemberId, took: Result<()>) -> Result<Permit<'_>> {
        if self.placed.member().load(Ordering::Relaxed) != me.bits() {
            // The region was lost meanwhile, and that there was a permit, or none, means nothing.
            return Err(Error::Corrupt);
        }
        took.map(|()| Permit { of: self, me })
    }

    #[inline]
    fn raw(&self) -> &RawSemaphore {
        self.placed.control()
    }

    #[inline]
    fn tallies(&self) -> &[Tally] {
        self.placed.of_members()
    }
}

fn check(permits: usize) -> Result<u64> {
    if permits > Semaphore::MAX_PERMITS {
        return Err(Error::TooLarge {
            requested: permits as u64,
            limit: RawSemaphore::MOST,
        });
    }
    Ok(permits as u64)
}

/// Puts the first permits into the control block, which ends at `at`.
fn fill(at: NonNull<u8>, permits: u64) {
    // SAFETY: a semaphore has no items, so what stands before their place is the control block, all zero, which is a valid one;
    // nobody else knows of it yet.
    let raw = unsafe { at.cast::<RawSemaphore>().sub(1).as_ref() };
    raw.total.store(permits, Ordering::Relaxed);
    raw.available.store(permits, Ordering::Relaxed);
}

/// A permit of a [`Semaphore`]; dropping it gives it back.
///
/// It borrows the handle that it was taken by. A thread that is to outlive that handle's scope takes its own, by a clone of the handle.
///
/// A permit that a forked child inherited is inert: it is the parent's, and dropping the child's copy does nothing. One that is
/// leaked (other than by [`forget`](Self::forget)) is held until this process detaches or dies.
///
/// Giving a permit back waits for those that are just taking one or giving one back, as long as it takes: if one of them is stopped
/// (SIGSTOP) in these few instructions, until it goes on.
#[must_use = "if unused, the permit is given back at once"]
pub struct Permit<'a> {
    of: &'a Semaphore,
    /// Whose tally counts it.
    me: MemberId,
}

impl Permit<'_> {
    /// Lets go of the permit without giving it back: there is one less from here on. So a permit is handed over: forget it, tell another
    /// process (by a [`Queue`](crate::Queue), say), and that one adds it again, with [`add_permits(1)`](Semaphore::add_permits), when it is
    /// done with what the permit stands for. In between it is in nobody's name: if either dies then, somebody must add it in its stead.
    ///
    /// If this process dies within this call, the permit came back or is forgotten. In a forked child it does nothing.
    pub fn forget(self) {
        let this = std::mem::ManuallyDrop::new(self);
        if this.is_mine() {
            // An error: the region is lost, or was scribbled on, and so is the permit.
            let _ = this.of.raw().forget(this.of.tallies(), &this.call());
        }
    }

    #[inline]
    fn is_mine(&self) -> bool {
        self.of.placed.member().load(Ordering::Relaxed) == self.me.bits()
    }

    #[cold]
    fn release_slowly(&self) {
        // An error: as in `forget`.
        let _ = self.of.raw().release(self.of.tallies(), &self.call());
    }

    fn call(&self) -> Call<'_, Inner> {
        Call {
            members: self.of.placed.inner(),
            me: self.me,
            spin: &self.of.placed.spin,
            deadline: Deadline::NEVER,
        }
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.is_mine() {
            let tallies = self.of.tallies();
            if !self.of.raw().release_at_once(tallies, self.me) {
                self.release_slowly();
            }
        }
    }
}

impl std::fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Permit").finish_non_exhaustive()
    }
}

travels!([] Semaphore, placed);

impl std::fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Semaphore").field(&self.placed).finish()
    }
}
