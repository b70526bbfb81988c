//! The event.

use crate::error::{Error, Result};
#[cfg(feature = "async")]
use crate::futures::{Serves, Until, Wanted};
use crate::layout::fingerprint::Kind;
use crate::raw::event::{RawEvent, Reset};
use crate::segment::{Placed, Segment, Shape, travels};
use crate::select::Awaited;
use crate::sys::deadline::Deadline;
use crate::sys::map::InRegion;
use std::time::Duration;

// SAFETY: atomic words of which every pattern has a meaning; `repr(C)`.
unsafe impl InRegion for RawEvent {}

/// A flag that threads and processes wait for.
///
/// As Python's `multiprocessing.Event`: once it is [`set`](Self::set), every wait returns at once, until somebody calls
/// [`clear`](Self::clear). One that is made by [`create_auto_reset`](Self::create_auto_reset) lets one waiter through for each `set`,
/// and is clear again. (Windows has both, by these names.) Setting it when nobody waits is one atomic instruction and no system call.
///
/// Who waits when an event is set goes on, also if it is cleared before that one has looked; a `set` with a `clear` at once lets through just
/// those who wait. (An automatic event that is cleared at once may let nobody through.)
///
/// What was done before a `set` is seen by whoever its event lets through, and by whoever clears it. So one who is told of work by an
/// event waits, clears it, and then looks for work: what comes after that look sets the event again.
///
/// With the feature `process`, a handle is a serde value that [travels to other processes](crate::Segment#sending-it-to-another-process).
///
/// # When a member dies
/// A waiter that dies takes nothing with it. If an automatic event was about to let it through, it lets another through, within about
/// 50 ms (with more than 64 members, within a second; longer when the dead one had much memory to give back); if it had let it through,
/// that was its turn. If one dies while it sets the event, it was set or not; if it was, all who wait find out within the same time.
///
/// A stopped (SIGSTOP) process is alive. If it is stopped just when an automatic event has woken it, the event stays set until it goes on
/// or another looks: one who comes by does so at once, one who sleeps already within 12 s.
///
/// # Fairness
/// None. An automatic event wakes who has slept longest since it last looked around; all who wait do so now and then, and some (who see to
/// it that deaths are found) every 20 ms, and stand last in the queue again. Real-time threads are woken first. One that still spins, or just
/// comes by, may be quicker. A set of an automatic event that is set already lets nobody through in addition.
///
/// # Errors
/// [`WouldBlock`](Error::WouldBlock) from `try_wait`; [`Timeout`](Error::Timeout) from `wait_timeout`;
/// [`Corrupt`](Error::Corrupt) if the segment's file was cut short; in a forked child's first wait also those of attaching.
///
/// Making and finding: [`AlreadyExists`](crate::Error::AlreadyExists), [`NotFound`](crate::Error::NotFound),
/// [`TypeMismatch`](crate::Error::TypeMismatch) (also for an event of the other kind),
/// [`InvalidName`](crate::Error::InvalidName),
/// [`OutOfSpace`](crate::Error::OutOfSpace), [`TooManyObjects`](crate::Error::TooManyObjects),
/// [`Corrupt`](crate::Error::Corrupt), and [`Timeout`](crate::Error::Timeout) if another process has been at making an object for
/// 10 seconds (it may be stopped).
///
/// # Bytes
/// 8.
///
/// # Examples
/// ```
/// use commonhold::{Event, Segment};
///
/// # fn main() -> commonhold::Result<()> {
/// let seg = Segment::anonymous(1 << 16)?;
/// let stop = Event::create(&seg, "stop")?;
///
/// let stop2 = stop.clone();
/// let other = std::thread::spawn(move || -> commonhold::Result<()> {
///     stop2.wait()?;
///     Ok(())
/// });
///
/// stop.set();
/// other.join().unwrap()?;
/// assert!(stop.is_set());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Event {
    placed: Placed<RawEvent>,
    reset: Reset,
}

/// What stands as the type in the directory, so that the two are told apart where all objects are.
struct ManualReset;
struct AutoReset;

impl Event {
    const SHAPE: Shape = Shape::new::<RawEvent>(Kind::Event, 0, 1);

    /// Makes an event that is clear, and that stays set until somebody clears it, in 8 bytes.
    pub fn create(segment: &Segment, name: &str) -> Result<Self> {
        let placed = Placed::create::<ManualReset>(segment, name, Self::SHAPE, 1, |_| {})?;
        Ok(Self::of(placed, Reset::Manual))
    }

    /// Makes an event that is clear, and that each time it is set lets one waiter through, and is clear again, in 8 bytes.
    pub fn create_auto_reset(segment: &Segment, name: &str) -> Result<Self> {
        let placed = Placed::create::<AutoReset>(segment, name, Self::SHAPE, 1, |_| {})?;
        Ok(Self::of(placed, Reset::Automatic))
    }

    /// Finds the event of that name, of either kind.
    pub fn open(segment: &Segment, name: &str) -> Result<Self> {
        match Placed::open::<ManualReset>(segment, name, Self::SHAPE, None) {
            Ok(placed) => return Ok(Self::of(placed, Reset::Manual)),
            Err(Error::TypeMismatch { .. }) => {}
            Err(e) => return Err(e),
        }
        match Placed::open::<AutoReset>(segment, name, Self::SHAPE, None) {
            Ok(placed) => Ok(Self::of(placed, Reset::Automatic)),
            Err(Error::TypeMismatch { name, found, .. }) => Err(Error::TypeMismatch {
                name,
                expected: "an Event".to_owned(),
                found,
            }),
            Err(e) => Err(e),
        }
    }

    /// Finds the event of that name, or makes it as [`create`](Self::create) does.
    pub fn open_or_create(segment: &Segment, name: &str) -> Result<Self> {
        let placed = Placed::open_or_create::<ManualReset>(segment, name, Self::SHAPE, 1, |_| {})?;
        Ok(Self::of(placed, Reset::Manual))
    }

    /// Finds the event of that name, or makes it as [`create_auto_reset`](Self::create_auto_reset) does.
    pub fn open_or_create_auto_reset(segment: &Segment, name: &str) -> Result<Self> {
        let placed = Placed::open_or_create::<AutoReset>(segment, name, Self::SHAPE, 1, |_| {})?;
        Ok(Self::of(placed, Reset::Automatic))
    }

    fn of(placed: Placed<RawEvent>, reset: Reset) -> Self {
        Event { placed, reset }
    }

    /// Whether the event lets one waiter through each time it is set; if not, it stays set.
    pub fn is_auto_reset(&self) -> bool {
        self.reset == Reset::Automatic
    }

    /// Sets the event: lets all waiters through, even if somebody clears it at once; or, if it [is automatic](Self::is_auto_reset), one.
    #[inline]
    pub fn set(&self) {
        self.placed.become_member();
        self.placed.control().set(self.reset);
    }

    /// Clears the event: who waits from here on waits for the next [`set`](Self::set).
    #[inline]
    pub fn clear(&self) {
        self.placed.control().clear(self.reset);
    }

    /// Whether a wait would return at once, as things are.
    #[inline]
    pub fn is_set(&self) -> bool {
        self.placed.control().is_set(self.reset)
    }

    /// Waits until the event is set, as long as it takes. An automatic event is clear then.
    #[inline]
    pub fn wait(&self) -> Result<()> {
        self.wait_until(Deadline::NEVER)
    }

    /// As [`wait`](Self::wait), if the event is set; [`WouldBlock`](Error::WouldBlock) otherwise.
    #[inline]
    pub fn try_wait(&self) -> Result<()> {
        // Also for the look whether the region is lost.
        self.placed.call(Deadline::PASSED)?;
        if self.placed.control().try_wait(self.reset) {
            Ok(())
        } else {
            Err(Error::WouldBlock)
        }
    }

    /// As [`wait`](Self::wait), at most for `timeout`.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<()> {
        match self.try_wait() {
            Err(Error::WouldBlock) => self.wait_until(Deadline::after(timeout)),
            other => other,
        }
    }

    /// As [`wait`](Self::wait), without a thread that waits: a future for any runtime. It begins to wait when it is polled first; dropped
    /// before it is ready, it has let nobody through.
    ///
    /// What holds for all futures is said at [`Queue::recv_async`](crate::Queue::recv_async).
    #[cfg(feature = "async")]
    pub fn wait_async(&self) -> impl Future<Output = Result<()>> + Send + '_ {
        let serves = match self.reset {
            Reset::Manual => Serves::All,
            Reset::Automatic => Serves::One,
        };
        let raw = self.placed.control();
        let mut before = None;
        Until::new(
            move || Wanted::signal(self.setting(), serves),
            move || match self.reset {
                Reset::Automatic => self.try_wait(),
                Reset::Manual => {
                    self.placed.call(Deadline::PASSED)?;
                    let before = *before.get_or_insert_with(|| raw.begin_to_wait());
                    if raw.lets_through(before) {
                        Ok(())
                    } else {
                        Err(Error::WouldBlock)
                    }
                }
            },
        )
    }

    #[inline]
    fn wait_until(&self, deadline: Deadline) -> Result<()> {
        let call = self.placed.call(deadline)?;
        self.placed.control().wait(&call, self.reset)
    }

    /// That the event is set.
    pub(crate) fn setting(&self) -> Awaited {
        let reset = self.reset;
        let ready = move |placed: &Placed<RawEvent>, _| placed.control().is_set(reset);
        Awaited::new(&self.placed, |raw| &raw.changed, ready)
    }
}

travels!([] Event, placed);

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Event")
            .field("object", &self.placed)
            .field("is_auto_reset", &self.is_auto_reset())
            .field("is_set", &self.is_set())
            .finish()
    }
}
