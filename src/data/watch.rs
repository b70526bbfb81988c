//! Watching a value: whoever only wants the latest.

use super::value::Value;
use crate::error::{Error, Result};
#[cfg(feature = "async")]
use crate::futures::when_ready;
use crate::plain::Plain;
use crate::select::{Awaited, Receives, Shown};
use crate::sys::deadline::Deadline;
use std::time::Duration;

/// A receiver of a [`Value`]'s changes: each receive gives the latest value, once.
///
/// Made by [`Value::watch`]. It remembers, in private memory, the last version that it has seen: so any number of them, in any
/// processes, watch one value, each at its own pace, and writers never wait for them. Values that were replaced before a receive are
/// skipped. Each write counts as a change, also one of an equal value. Whoever must see every item uses a
/// [`Broadcast`](crate::Broadcast).
///
/// A [`Select`](crate::Select) waits for a change beside other objects; with the feature `async`, `recv_async` is a future.
///
/// # When a member dies
/// As of [`Value`]: a change is there or not. A wake-up that a dead writer should have given comes within about 50 ms (with more
/// than 64 members, within a second).
///
/// # Fairness
/// None is needed: a receive takes nothing from others.
///
/// # Errors
/// [`Empty`](Error::Empty) from the `try_` form, if nothing was written since; [`Timeout`](Error::Timeout) from the timed one;
/// [`Corrupt`](Error::Corrupt) if the bytes are not a `T`: that change is taken, the next one is fine.
///
/// # Bytes
/// None in the segment.
///
/// # Examples
/// ```
/// use commonhold::{Error, Segment, Value};
///
/// # fn main() -> commonhold::Result<()> {
/// let seg = Segment::anonymous(1 << 16)?;
/// let speed = Value::create(&seg, "speed", 0.0f64)?;
/// let mut watch = speed.watch()?;
/// assert!(matches!(watch.try_recv(), Err(Error::Empty)));
///
/// speed.set(1.0)?;
/// speed.set(2.0)?;
/// assert_eq!(watch.recv()?, 2.0);
/// assert!(!watch.has_changed()?);
/// # Ok(())
/// # }
/// ```
pub struct Watch<T> {
    value: Value<T>,
    /// The version that was received last.
    seen: Shown,
}

impl<T: Plain> Watch<T> {
    pub(super) fn of(value: &Value<T>) -> Result<Self> {
        Ok(Watch {
            seen: Shown::new(value.version()?),
            value: value.clone(),
        })
    }

    /// Waits until the value has been written since the last receive (or since the watch was made), as long as it takes, and
    /// returns it.
    pub fn recv(&mut self) -> Result<T> {
        self.recv_by(Deadline::NEVER)
    }

    /// The value, if it has been written since the last receive; [`Empty`](Error::Empty) otherwise. If writers overtake it again and
    /// again, it waits for them at most a millisecond; then it is `Empty`, too.
    pub fn try_recv(&mut self) -> Result<T> {
        match look(&self.value, &mut self.seen, Deadline::PASSED) {
            Err(Error::Timeout) => Err(Error::Empty),
            found => found?.ok_or_else(|| Error::Empty),
        }
    }

    /// As [`recv`](Self::recv), at most for `timeout`.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<T> {
        self.recv_by(Deadline::after(timeout))
    }

    /// As [`recv`](Self::recv), without a thread that waits: a future for any runtime. Dropped before it is ready, it has received
    /// nothing.
    ///
    /// What holds for all futures is said at [`Queue::recv_async`](crate::Queue::recv_async).
    #[cfg(feature = "async")]
    pub fn recv_async(&mut self) -> impl Future<Output = Result<T>> + Send + '_ {
        when_ready(self, Receives::arrival, Self::try_recv)
    }

    /// Whether the value has been written since the last receive.
    pub fn has_changed(&self) -> Result<bool> {
        Ok(self.value.version()? != self.seen.get())
    }

    /// The value as it is now. To the next receive it is as new as before.
    pub fn get(&self) -> Result<T> {
        self.value.get()
    }

    /// The value that is watched.
    pub fn value(&self) -> &Value<T> {
        &self.value
    }

    /// Receives one change after another. It ends at an error only; to see which, loop over [`recv`](Self::recv).
    pub fn iter(&mut self) -> Changes<'_, T> {
        Changes { watch: self }
    }

    fn recv_by(&mut self, deadline: Deadline) -> Result<T> {
        let Watch { value, seen } = self;
        value.wait_for(deadline, || look(value, seen, deadline))
    }
}

impl<T: Plain> Receives for Watch<T> {
    fn arrival(&self) -> Awaited {
        self.value.change_from(self.seen.show())
    }
}

/// The value, if its version is not `seen`; and then it is.
fn look<T: Plain>(value: &Value<T>, seen: &mut Shown, deadline: Deadline) -> Result<Option<T>> {
    if value.version()? == seen.get() {
        return Ok(None);
    }
    let (value, version) = value.read_version(deadline)?;
    // Also if it is none: there is nothing better until the next write.
    seen.set(version);
    value.map(Some).ok_or_else(|| Error::Corrupt)
}

/// The changes of a value, one after another; see [`Watch::iter`].
#[derive(Debug)]
pub struct Changes<'a, T> {
    watch: &'a mut Watch<T>,
}

impl<T: Plain> Iterator for Changes<'_, T> {
    type Item = T;
    fn next(&mut self) -> Option<T> {
        self.watch.recv().ok()
    }
}

impl<'a, T: Plain> IntoIterator for &'a mut Watch<T> {
    type Item = T;
    type IntoIter = Changes<'a, T>;
    fn into_iter(self) -> Changes<'a, T> {
        self.iter()
    }
}

impl<T> Clone for Watch<T> {
    fn clone(&self) -> Self {
        Watch {
            value: self.value.clone(),
            seen: self.seen.clone(),
        }
    }
}

impl<T> std::fmt::Debug for Watch<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch")
            .field("value", &self.value)
            .finish_non_exhaustive()
    }
}
