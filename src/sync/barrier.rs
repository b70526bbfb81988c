//! The barrier.

use crate::error::{Error, Result};
use crate::layout::fingerprint::Kind;
use crate::raw::barrier::{Arrivals, RawBarrier};
use crate::segment::{Placed, Segment, Shape, travels};
use crate::sys::deadline::Deadline;
use crate::sys::map::InRegion;
use std::time::Duration;

// SAFETY: atomics, and an integer that nobody writes, of which every pattern has a meaning; `repr(C)`, without padding.
unsafe impl InRegion for RawBarrier {}
// SAFETY: as above.
unsafe impl InRegion for Arrivals {}

/// A place where so many parties wait for each other, again and again.
///
/// As [`std::sync::Barrier`], in shared memory, and with what Python's has beside it. A party is a thread: several of one
/// process may be parties. When the last arrives all go on, and what each did before its [`wait`](Self::wait) is seen by all after
/// theirs; then the next phase begins.
///
/// A barrier is *broken* when a party will not come: it died, or its time was up, or somebody called [`abort`](Self::abort). Then all
/// that wait, and all that come, get [`Err(Broken)`](crate::Error::Broken), until [`reset`](Self::reset).
///
/// With the feature `process`, a handle is a serde value that [travels to other processes](crate::Segment#sending-it-to-another-process).
///
/// # When a member dies
/// If it had arrived, the barrier breaks, within about 50 ms (with more than 64 members, within a second; longer when the dead had much
/// memory to give back): for that, another party must be waiting. If the last arrives before anybody has found out, it is as if the member had died
/// after the phase.
/// If it had not arrived yet, nobody can know that it was to come: use [`wait_timeout`](Self::wait_timeout) where that may happen.
///
/// # Fairness
/// If there are more threads than parties, whichever come first make up a phase.
///
/// # Errors
/// [`Broken`](crate::Error::Broken); [`Timeout`](crate::Error::Timeout) from `wait_timeout`;
/// [`InvalidArgument`](crate::Error::InvalidArgument) for a barrier of no parties, and [`TooLarge`](crate::Error::TooLarge) for one of
/// more than 4,294,967,295; [`Corrupt`](crate::Error::Corrupt) if the numbers contradict each other; in a forked child's first operation
/// also those of attaching.
///
/// Making and finding: [`AlreadyExists`](crate::Error::AlreadyExists), [`NotFound`](crate::Error::NotFound),
/// [`TypeMismatch`](crate::Error::TypeMismatch) (also for another number of parties), [`InvalidName`](crate::Error::InvalidName),
/// [`OutOfSpace`](crate::Error::OutOfSpace), [`TooManyObjects`](crate::Error::TooManyObjects),
/// [`Corrupt`](crate::Error::Corrupt), and [`Timeout`](crate::Error::Timeout) if another process has been at making an object for
/// 10 seconds (it may be stopped).
///
/// # Bytes
/// 64, and 64 for each member that the segment has room for.
///
/// # Examples
/// ```
/// use commonhold::{Barrier, Segment};
///
/// # fn main() -> commonhold::Result<()> {
/// let seg = Segment::anonymous(1 << 16)?;
/// let barrier = Barrier::create(&seg, "barrier", 3)?;
/// let parties: Vec<_> = (0..3)
///     .map(|_| {
///         let barrier = barrier.clone();
///         std::thread::spawn(move || {
///             // The first half of the work, then
///             let leads = barrier.wait()?.is_leader();
///             // the second half: everybody has done the first.
///             Ok(leads)
///         })
///     })
///     .collect();
/// let mut leaders = 0;
/// for party in parties {
///     let leads: commonhold::Result<bool> = party.join().unwrap();
///     leaders += usize::from(leads?);
/// }
/// assert_eq!(leaders, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Barrier {
    placed: Placed<RawBarrier>,
}

/// Says which of the parties of a phase is its leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarrierWaitResult(bool);

impl BarrierWaitResult {
    /// `true` for one party of each phase: the last to arrive.
    pub fn is_leader(&self) -> bool {
        self.0
    }
}

impl Barrier {
    const SHAPE: Shape =
        Shape::new::<RawBarrier>(Kind::Barrier, 0, 1).and_for_each_member::<Arrivals>();

    /// Makes a barrier for so many parties, in 64 bytes, and 64 for each member that the segment has room for.
    pub fn create(segment: &Segment, name: &str, parties: usize) -> Result<Self> {
        check(parties)?;
        let placed = Placed::create::<()>(segment, name, Self::SHAPE, parties, |_| {})?;
        Barrier::of(placed)
    }

    /// Finds the barrier of that name.
    pub fn open(segment: &Segment, name: &str) -> Result<Self> {
        Barrier::of(Placed::open::<()>(segment, name, Self::SHAPE, None)?)
    }

    /// Finds the barrier of that name, which must be for so many parties, or makes it.
    pub fn open_or_create(segment: &Segment, name: &str, parties: usize) -> Result<Self> {
        check(parties)?;
        let placed = Placed::open_or_create::<()>(segment, name, Self::SHAPE, parties, |_| {})?;
        Barrier::of(placed)
    }

    fn of(placed: Placed<RawBarrier>) -> Result<Self> {
        match check(placed.len()) {
            Ok(()) => Ok(Barrier { placed }),
            // Nobody can have made it.
            Err(_) => Err(Error::Corrupt),
        }
    }

    /// Waits until all parties have arrived.
    #[inline]
    pub fn wait(&self) -> Result<BarrierWaitResult> {
        self.wait_until(Deadline::NEVER)
    }

    /// As [`wait`](Self::wait), at most for `timeout`. When the time is up before all have arrived, the barrier is broken: this call
    /// gets [`Err(Timeout)`](crate::Error::Timeout), the others [`Err(Broken)`](crate::Error::Broken).
    pub fn wait_timeout(&self, timeout: Duration) -> Result<BarrierWaitResult> {
        self.wait_until(Deadline::after(timeout))
    }

    /// Makes the barrier whole and empty. Those that wait get [`Err(Broken)`](crate::Error::Broken), those that come from here on
    /// begin a new phase.
    ///
    /// So let one do it, and the others wait until it has: a second reset would send away those that already wait in the new phase. It is
    /// for as many parties as before; somebody must come in the place of one that died.
    ///
    /// It waits for those that are just arriving, as long as it takes: if one of them is stopped (SIGSTOP) in these few instructions,
    /// until it goes on.
    pub fn reset(&self) -> Result<()> {
        let call = self.placed.call(Deadline::NEVER)?;
        self.raw().reset(self.placed.of_members(), &call)?;
        self.placed.check_whole()
    }

    /// Breaks the barrier: those that wait, and those that come, get [`Err(Broken)`](crate::Error::Broken).
    pub fn abort(&self) {
        self.placed.become_member();
        self.raw().abort();
    }

    /// Whether the barrier refuses to be waited at until it is [`reset`](Self::reset). A death that nobody has found out about does
    /// not count.
    pub fn is_broken(&self) -> bool {
        self.raw().is_broken()
    }

    /// How many parties make up a phase.
    pub fn parties(&self) -> usize {
        self.placed.len()
    }

    /// How many parties had arrived in the current phase a moment ago.
    pub fn waiting(&self) -> usize {
        (self.raw().waiting() as usize).min(self.parties())
    }

    #[inline]
    fn wait_until(&self, deadline: Deadline) -> Result<BarrierWaitResult> {
        let call = self.placed.call(deadline)?;
        let parties = self.placed.len() as u32;
        let leads = self.raw().wait(parties, self.placed.of_members(), &call)?;
        Ok(BarrierWaitResult(leads))
    }

    #[inline]
    fn raw(&self) -> &RawBarrier {
        self.placed.control()
    }
}

/// Whether a barrier can be for so many.
fn check(parties: usize) -> Result<()> {
    const MOST: u64 = u32::MAX as u64;
    match parties {
        0 => Err(Error::InvalidArgument("a barrier needs at least one party")),
        n if n as u64 > MOST => Err(Error::TooLarge {
            requested: n as u64,
            limit: MOST,
        }),
        _ => Ok(()),
    }
}

travels!([] Barrier, placed);

impl std::fmt::Debug for Barrier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Barrier").field(&self.placed).finish()
    }
}
