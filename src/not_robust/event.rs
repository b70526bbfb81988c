//! The event.

use super::directory::Kind;
use super::object::Object;
use super::os::{Deadline, Signal};
use super::region::Region;
use crate::error::{Error, Result};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The word's lowest bit says whether the event is set; the others count how often it was.
const SET: u32 = 1;
const ONE_MORE: u32 = 2;

/// A flag that threads and processes wait for; on raw_sync's event.
///
/// Once it is [`set`](Self::set), every wait returns at once, until somebody calls [`clear`](Self::clear). One that is made by
/// [`create_auto_reset`](Self::create_auto_reset) lets one waiter through for each `set`, and is clear again. Who waits when it is set
/// goes on, even if it is cleared at once.
///
/// # When a member dies
/// A waiter that dies takes nothing with it, unless it dies in the few instructions in which it begins to wait, or sets the event:
/// then the others may not return, not even from the timed forms. Unlink the region, and make everything anew.
///
/// # Fairness
/// None. One that waits looks again every 20 ms at the latest.
///
/// # Errors
/// [`WouldBlock`](Error::WouldBlock) from `try_wait`; [`Timeout`](Error::Timeout) from `wait_timeout`.
///
/// Making and finding: those of [`Mutex`](super::Mutex); an event of the other kind is a [`TypeMismatch`](Error::TypeMismatch) for
/// `open_or_create` and `open_or_create_auto_reset`.
///
/// # Bytes
/// 16, those of raw_sync's event and 32 more, and 1.
///
/// # Examples
/// ```
/// # #![allow(deprecated)]
/// use commonhold::not_robust::{Event, Region};
///
/// # fn main() -> commonhold::Result<()> {
/// # let name = &format!("doc-event-{}", std::process::id());
/// let region = Region::create(name, 1 << 16)?;
/// let stop = Event::create(&region, "stop")?;
/// let stop2 = stop.clone();
/// let other = std::thread::spawn(move || stop2.wait());
/// stop.set();
/// other.join().unwrap()?;
/// assert!(stop.is_set());
/// Region::unlink(name)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Event {
    object: Object<Signal>,
    auto_reset: bool,
}

impl Event {
    /// Makes an event that is clear, and that stays set until somebody clears it.
    pub fn create(region: &Region, name: &str) -> Result<Self> {
        Object::create(region, name, Kind::Event, ()).map(Self::manual)
    }

    /// Makes an event that is clear, and that each time it is set lets one waiter through, and is clear again.
    pub fn create_auto_reset(region: &Region, name: &str) -> Result<Self> {
        Object::create(region, name, Kind::AutoResetEvent, ()).map(Self::automatic)
    }

    /// Finds the event of that name, of either kind.
    pub fn open(region: &Region, name: &str) -> Result<Self> {
        match Object::open::<()>(region, name, Kind::AutoResetEvent) {
            Err(Error::TypeMismatch { .. }) => {}
            other => return other.map(Self::automatic),
        }
        Object::open::<()>(region, name, Kind::Event).map(Self::manual)
    }

    /// Finds the event of that name, or makes it as [`create`](Self::create) does.
    pub fn open_or_create(region: &Region, name: &str) -> Result<Self> {
        Object::open_or_create(region, name, Kind::Event, ()).map(Self::manual)
    }

    /// Finds the event of that name, or makes it as [`create_auto_reset`](Self::create_auto_reset) does.
    pub fn open_or_create_auto_reset(region: &Region, name: &str) -> Result<Self> {
        Object::open_or_create(region, name, Kind::AutoResetEvent, ()).map(Self::automatic)
    }

    fn manual(object: Object<Signal>) -> Self {
        Event {
            object,
            auto_reset: false,
        }
    }

    fn automatic(object: Object<Signal>) -> Self {
        Event {
            object,
            auto_reset: true,
        }
    }

    /// Whether the event lets one waiter through each time it is set; if not, it stays set.
    pub fn is_auto_reset(&self) -> bool {
        self.auto_reset
    }

    /// Sets the event: lets all waiters through, or, if it [is automatic](Self::is_auto_reset), one.
    pub fn set(&self) {
        let words = self.object.words();
        // What was done before is seen by whoever it lets through. There is always another state.
        let _ = words
            .state
            .fetch_update(Ordering::Release, Ordering::Relaxed, |state| {
                Some(state.wrapping_add(ONE_MORE) | SET)
            });
        self.object.primitive().wake(&words.waiters);
    }

    /// Clears the event: who waits from here on waits for the next [`set`](Self::set).
    pub fn clear(&self) {
        // Sees what was done before it was set.
        self.object.words().state.fetch_and(!SET, Ordering::AcqRel);
    }

    /// Whether a wait would return at once, as things are.
    pub fn is_set(&self) -> bool {
        self.object.words().state.load(Ordering::Acquire) & SET != 0
    }

    /// Waits until the event is set, as long as it takes. An automatic event is clear then.
    pub fn wait(&self) -> Result<()> {
        self.wait_by(Deadline::NEVER)
    }

    /// As [`wait`](Self::wait), if the event is set; [`WouldBlock`](Error::WouldBlock) otherwise.
    pub fn try_wait(&self) -> Result<()> {
        match self.wait_timeout(Duration::ZERO) {
            Err(Error::Timeout) => Err(Error::WouldBlock),
            other => other,
        }
    }

    /// As [`wait`](Self::wait), at most for `timeout`.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<()> {
        self.wait_by(Deadline::after(timeout))
    }

    fn wait_by(&self, deadline: Deadline) -> Result<()> {
        let words = self.object.words();
        let before = words.state.load(Ordering::Acquire);
        self.object.primitive().wait(&words.waiters, deadline, || {
            let is_through = if self.auto_reset {
                // Pairs with the release in `set`.
                words.state.fetch_and(!SET, Ordering::Acquire) & SET != 0
            } else {
                let now = words.state.load(Ordering::Acquire);
                // Set, or set since we came and cleared again.
                now & SET != 0 || now & !SET != before & !SET
            };
            is_through.then_some(())
        })
    }
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Event")
            .field("object", &self.object)
            .field("is_auto_reset", &self.auto_reset)
            .field("is_set", &self.is_set())
            .finish()
    }
}
