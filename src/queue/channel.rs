//! Values of any type that serde can write and read, of many senders and many receivers.

use super::frames::{Frames, MessageRoom};
use crate::encoding::{decode, encode};
use crate::error::{Error, Result};
#[cfg(feature = "async")]
use crate::futures::{Serves, Until, Wanted};
use crate::layout::fingerprint::Kind;
use crate::segment::{Segment, travels};
use crate::select::{Awaited, Receives};
use crate::sys::deadline::Deadline;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::cell::Cell;
use std::marker::PhantomData;
use std::time::Duration;

/// A first-in, first-out queue of values of any type that serde can write and read, for any number of senders and receivers in any
/// processes: `String`s, `Vec`s, maps and enums of them. (Feature `serde`.)
///
/// What one sender sent arrives in the order in which it was sent; each value goes to one receiver. A value travels as a message of
/// bytes, as through [`Messages`](crate::Messages), in [postcard's format](https://postcard.jamesmunns.com): it is encoded before a lock is
/// taken and decoded after it was left, from private memory.
///
/// Two processes mean the same type if its name (without the path) agrees; anything else is a
/// [`TypeMismatch`](crate::Error::TypeMismatch). The fields are not compared: postcard writes them one after another, without their names. Give a
/// type that you change a new name, or the segment. Types that need to be told what comes next (untagged enums, `serde_json::Value`)
/// can be sent and not received.
///
/// A [`Select`](crate::Select) waits for values, or for [room](Self::room_for), beside other objects; with the feature `async`,
/// `send_async` and `recv_async` are futures.
///
/// With the feature `process`, a handle is a serde value that [travels to other processes](crate::Segment#sending-it-to-another-process).
///
/// # When a member dies
/// At any instruction of a send or a receive: nothing happens to the others. A value is in the channel whole or not at all; what
/// was sent is received once. A value whose receive was done went to the dead receiver. A member that dies while it waits
/// takes nothing with it. A wake-up that a dead member should have passed on comes within about 50 ms (with more than 64
/// members, within a second).
///
/// # Fairness
/// As [`Messages`](crate::Messages#fairness).
///
/// # Closing
/// [`close`](Self::close) ends the sending: sends get [`Closed`](crate::Error::Closed), and so do receives once the channel
/// is drained. A channel stays closed.
///
/// # Errors
/// [`NotEncodable`](crate::Error::NotEncodable): the value's `Serialize` refused, or it does something that postcard does not know
/// (a sequence of unknown length); nothing was sent. [`NotDecodable`](crate::Error::NotDecodable): the bytes of a message are no `T`, or more
/// than one; that message is gone, and the next one is fine. [`TooLarge`](crate::Error::TooLarge) for a value of more bytes than
/// the capacity. All others are those of [`Messages`](crate::Messages#errors).
///
/// What a receiver decodes are the bytes that a peer chose. A `T` that can contain itself (a tree of `Box`es) can be nested as deep as
/// a message has bytes, and needs as much stack; a `Vec` of items of no bytes (`Vec<()>`) can be as long as a number. With a peer that you do not trust,
/// use types that are neither.
///
/// # Bytes
/// 399, and those of the capacity. Each value takes its bytes, rounded up to 8, and 8 more.
///
/// # Examples
/// ```
/// use commonhold::{Channel, Segment};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize, Debug, PartialEq)]
/// enum Job {
///     Fetch { url: String, headers: Vec<(String, String)> },
///     Stop,
/// }
///
/// # fn main() -> commonhold::Result<()> {
/// let seg = Segment::anonymous(1 << 16)?;
/// let jobs = Channel::<Job>::create(&seg, "jobs", 4096)?;
/// jobs.send(&Job::Fetch {
///     url: "https://example.org".into(),
///     headers: vec![("accept".into(), "*/*".into())],
/// })?;
/// jobs.send(&Job::Stop)?;
/// jobs.close();
///
/// assert!(matches!(jobs.recv()?, Job::Fetch { url, .. } if url.len() == 19));
/// let rest: Result<Vec<Job>, _> = jobs.iter().collect();
/// assert_eq!(rest?, [Job::Stop]);
/// # Ok(())
/// # }
/// ```
pub struct Channel<T> {
    frames: Frames,
    _values: PhantomData<fn(T) -> T>,
}

impl<T: Serialize + DeserializeOwned> Channel<T> {
    /// Makes a channel in which any value of up to `capacity` encoded bytes has room, in 399 bytes more.
    pub fn create(segment: &Segment, name: &str, capacity: usize) -> Result<Self> {
        Frames::create::<T>(segment, name, Kind::Channel, capacity).map(Self::of)
    }

    /// Finds the channel of that name, whatever its capacity.
    pub fn open(segment: &Segment, name: &str) -> Result<Self> {
        Frames::open::<T>(segment, name, Kind::Channel).map(Self::of)
    }

    /// Finds the channel of that name, or makes it. One of another capacity is a [`TypeMismatch`](crate::Error::TypeMismatch).
    pub fn open_or_create(segment: &Segment, name: &str, capacity: usize) -> Result<Self> {
        Frames::open_or_create::<T>(segment, name, Kind::Channel, capacity).map(Self::of)
    }

    fn of(frames: Frames) -> Self {
        Channel {
            frames,
            _values: PhantomData,
        }
    }

    /// Sends `value`, waiting for room as long as it takes.
    pub fn send(&self, value: &T) -> Result<()> {
        self.send_by(Deadline::NEVER, value)
    }

    /// Sends `value` if there is room; [`Full`](crate::Error::Full) otherwise. Waits at most a millisecond for others that are
    /// sending; if they take longer (stopped, preempted), it is `Full`, too.
    pub fn try_send(&self, value: &T) -> Result<()> {
        self.send_by(Deadline::PASSED, value)
    }

    /// Sends `value`, waiting for room at most `timeout`.
    pub fn send_timeout(&self, value: &T, timeout: Duration) -> Result<()> {
        self.send_by(Deadline::after(timeout), value)
    }

    /// Receives a value, waiting for one as long as it takes.
    pub fn recv(&self) -> Result<T> {
        self.recv_by(Deadline::NEVER)
    }

    /// Receives a value if there is one; [`Empty`](crate::Error::Empty) otherwise. Waits at most a millisecond for others that are
    /// receiving; if they take longer (stopped, preempted), it is `Empty`, too.
    pub fn try_recv(&self) -> Result<T> {
        self.recv_by(Deadline::PASSED)
    }

    /// Receives a value, waiting for one at most `timeout`.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T> {
        self.recv_by(Deadline::after(timeout))
    }

    /// As [`send`](Self::send), without a thread that waits: a future for any runtime. The value is encoded at once, and not kept.
    /// Dropped before it is ready, the future has sent nothing.
    ///
    /// What holds for all futures is said at [`Queue::recv_async`](crate::Queue::recv_async).
    #[cfg(feature = "async")]
    pub fn send_async<'a>(
        &'a self,
        value: &T,
    ) -> impl Future<Output = Result<()>> + Send + use<'a, T> {
        let mut bytes = Vec::new();
        let encoded = encode(value, &mut bytes);
        async move {
            encoded?;
            self.frames.send_async(bytes).await
        }
    }

    /// As [`recv`](Self::recv), without a thread that waits: a future for any runtime. Dropped before it is ready, it has received
    /// nothing.
    ///
    /// What holds for all futures is said at [`Queue::recv_async`](crate::Queue::recv_async).
    #[cfg(feature = "async")]
    pub fn recv_async(&self) -> impl Future<Output = Result<T>> + Send + '_ {
        let wanted = || Wanted::signal(self.arrival(), Serves::One);
        Until::new(wanted, || self.try_recv())
    }

    /// What a [`Select`](crate::Select) waits for with this value: `select.send(&channel.room_for(&value)?)`. It encodes the value, to
    /// see how long it is.
    pub fn room_for(&self, value: &T) -> Result<MessageRoom> {
        let mut bytes = Scratch::take();
        encode(value, &mut bytes.0)?;
        self.frames.room_for(bytes.0.len())
    }

    /// Receives, one after another, until the channel is closed and drained.
    ///
    /// A message that is no `T` is an `Err` between the values, and the next one comes after it. Any other error is the last that
    /// comes.
    pub fn iter(&self) -> ChannelIter<'_, T> {
        ChannelIter {
            channel: self,
            ended: false,
        }
    }

    /// Whether there was no value a moment ago. What was sent before the call, by anybody, and not received, counts.
    ///
    /// How many there are, nobody counts: see [`used`](Self::used).
    pub fn is_empty(&self) -> bool {
        self.used() == 0
    }

    /// How many bytes the values took that were in the channel a moment ago: for each its own, rounded up to 8, and 8 more.
    pub fn used(&self) -> usize {
        self.frames.used()
    }

    /// How many bytes the largest value can have, encoded.
    pub fn capacity(&self) -> usize {
        self.frames.capacity()
    }

    /// Ends the sending, for all; when it returns, no send succeeds any more. Waits for a send that is under way.
    pub fn close(&self) {
        self.frames.close();
    }

    /// Whether the channel is closed. There may still be values in it.
    pub fn is_closed(&self) -> bool {
        self.frames.is_closed()
    }

    fn send_by(&self, deadline: Deadline, value: &T) -> Result<()> {
        let mut bytes = Scratch::take();
        encode(value, &mut bytes.0)?;
        self.frames.send(deadline, &bytes.0)
    }

    fn recv_by(&self, deadline: Deadline) -> Result<T> {
        let mut bytes = Scratch::take();
        self.frames.recv(deadline, &mut bytes.0)?;
        decode(&bytes.0)
    }
}

/// The bytes of a value on its way: a vector that each thread uses again and again. None if a value, while it is encoded or decoded, sends
/// or receives another.
struct Scratch(Vec<u8>);

/// The longest that a thread keeps.
const KEPT: usize = 1 << 16;

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Scratch {
    fn take() -> Scratch {
        // A thread that ends has none any more.
        let mut bytes = SCRATCH.try_with(Cell::take).unwrap_or_default();
        bytes.clear();
        Scratch(bytes)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.0.capacity() <= KEPT {
            let bytes = std::mem::take(&mut self.0);
            let _ = SCRATCH.try_with(|kept| kept.set(bytes));
        }
    }
}

/// Receives until the channel is closed and drained; see [`Channel::iter`].
#[derive(Debug)]
pub struct ChannelIter<'a, T> {
    channel: &'a Channel<T>,
    ended: bool,
}

impl<T: Serialize + DeserializeOwned> Iterator for ChannelIter<'_, T> {
    type Item = Result<T>;
    fn next(&mut self) -> Option<Result<T>> {
        if self.ended {
            return None;
        }
        match self.channel.recv() {
            Ok(value) => Some(Ok(value)),
            Err(e @ Error::NotDecodable { .. }) => Some(Err(e)),
            Err(e) => {
                self.ended = true;
                (!matches!(e, Error::Closed)).then_some(Err(e))
            }
        }
    }
}

impl<'a, T: Serialize + DeserializeOwned> IntoIterator for &'a Channel<T> {
    type Item = Result<T>;
    type IntoIter = ChannelIter<'a, T>;
    fn into_iter(self) -> ChannelIter<'a, T> {
        self.iter()
    }
}

impl<T> Receives for Channel<T> {
    fn arrival(&self) -> Awaited {
        self.frames.arrival()
    }
}

impl<T> Clone for Channel<T> {
    fn clone(&self) -> Self {
        Channel {
            frames: self.frames.clone(),
            _values: PhantomData,
        }
    }
}

travels!([T: Serialize + DeserializeOwned] Channel<T>, frames.placed);

impl<T> std::fmt::Debug for Channel<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Channel").field(&self.frames).finish()
    }
}
