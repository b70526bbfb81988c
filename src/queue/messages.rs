//! Messages of different lengths, of many senders and many receivers.

use super::frames::{Frames, MessageRoom};
use crate::error::Result;
#[cfg(feature = "async")]
use crate::futures::{Serves, Until, Wanted};
use crate::layout::fingerprint::Kind;
use crate::segment::{Segment, travels};
use crate::select::{Awaited, Receives};
use crate::sys::deadline::Deadline;
use std::time::Duration;

/// A first-in, first-out queue of messages of different lengths, for any number of senders and receivers in any processes.
///
/// What one sender sent arrives in the order in which it was sent; each message goes to one receiver, whole, and as it was sent. A
/// message may be empty. Any of up to [`capacity`](Self::capacity) bytes has room when nothing else is in the queue.
///
/// A [`Select`](crate::Select) waits for messages, or for [room](Self::room_for), beside other objects; with the feature `async`,
/// `send_async` and `recv_async` are futures.
///
/// # In place
/// [`send_with`](Self::send_with) and [`recv_with`](Self::recv_with) save a copy: a closure writes, or reads, the bytes of the message
/// where they are. It runs while the other senders, or the other receivers, wait: it should be quick, and it must not wait for
/// the same end of the same queue. Only a message that lies across the ring's end goes by way of a copy, in private memory.
/// [`send`](Self::send) and [`recv`](Self::recv) copy, and hold nobody up for longer than that takes.
///
/// What a closure sees is shared with all who may write the segment. Members that keep the protocol leave it alone; a peer that
/// scribbles can change it under the closure's eyes, which is undefined behaviour by Rust's rules. With a peer that you do not
/// trust, use `send` and `recv`.
///
/// With the feature `process`, a handle is a serde value that [travels to other processes](crate::Segment#sending-it-to-another-process).
///
/// # When a member dies
/// At any instruction of a send or a receive: nothing happens to the others. A message is in the queue whole or not at all; what
/// was sent is received once. A member that dies in the closure of `send_with` has sent nothing; one that dies in that of
/// `recv_with` has received nothing, and the message goes to the next. A message whose receive was done went to the dead receiver. A
/// member that dies while it waits takes nothing with it. A wake-up that a dead member should have passed on comes within about
/// 50 ms (with more than 64 members, within a second).
///
/// # Fairness
/// None among senders, and none among receivers. A long message needs more room at once than a short one: while senders of
/// short ones keep the queue full, it waits.
///
/// # Closing
/// [`close`](Self::close) ends the sending: sends get [`Closed`](crate::Error::Closed), and so do receives once the queue
/// is drained. A queue stays closed.
///
/// # Errors
/// [`Closed`](crate::Error::Closed); [`Full`](crate::Error::Full) and [`Empty`](crate::Error::Empty) from the `try_` forms;
/// [`Timeout`](crate::Error::Timeout) from the timed ones; [`TooLarge`](crate::Error::TooLarge) at once for a message of more than the capacity;
/// [`OutOfSpace`](crate::Error::OutOfSpace) if there is no private memory for a copy of a message: it stays in the queue, or is not
/// sent; [`Corrupt`](crate::Error::Corrupt): a peer scribbled on the length of a message (it is gone with all that were
/// behind it, since where they begin is not known any more; what is sent from then on is fine) or on the queue's positions;
/// [`InvalidArgument`](crate::Error::InvalidArgument) in a child that a closure forked: the message is the parent's to send, or to
/// receive.
///
/// Making and finding: [`AlreadyExists`](crate::Error::AlreadyExists), [`NotFound`](crate::Error::NotFound),
/// [`TypeMismatch`](crate::Error::TypeMismatch), [`InvalidName`](crate::Error::InvalidName),
/// [`InvalidArgument`](crate::Error::InvalidArgument) for a capacity of 0, [`OutOfSpace`](crate::Error::OutOfSpace),
/// [`TooManyObjects`](crate::Error::TooManyObjects), [`Corrupt`](crate::Error::Corrupt), and
/// [`Timeout`](crate::Error::Timeout) if another process has been at making an object for 10 seconds (it may be stopped).
///
/// # Bytes
/// 399, and those of the capacity. Each message takes its bytes, rounded up to 8, and 8 more: short ones fill a queue before
/// their bytes add up to the capacity.
///
/// # Examples
/// ```
/// use commonhold::{Messages, Segment};
///
/// # fn main() -> commonhold::Result<()> {
/// let seg = Segment::anonymous(1 << 16)?;
/// let m = Messages::create(&seg, "log", 4096)?;
///
/// let reader = {
///     let m = m.clone();
///     std::thread::spawn(move || m.iter().map(|line| line.len()).collect::<Vec<_>>())
/// };
/// m.send(b"a line")?;
/// m.send(b"")?;
/// // Written where the receiver reads it.
/// m.send_with(1000, |bytes| bytes.fill(b'x'))?;
/// m.close();
/// assert_eq!(reader.join().unwrap(), [6, 0, 1000]);
/// # Ok(())
/// # }
/// ```
///
/// One vector for many messages, and none at all:
/// ```
/// # fn main() -> commonhold::Result<()> {
/// # let seg = commonhold::Segment::anonymous(1 << 16)?;
/// # let m = commonhold::Messages::create(&seg, "log", 4096)?;
/// # m.send(b"one")?;
/// # m.send(b"two")?;
/// let mut message = Vec::new();
/// assert_eq!(m.recv(&mut message)?, 3);
/// assert_eq!(message, b"one");
/// let sum: u32 = m.recv_with(|bytes| bytes.iter().map(|b| u32::from(*b)).sum())?;
/// assert_eq!(sum, 346);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Messages {
    frames: Frames,
}

impl Messages {
    /// Makes a queue in which any message of up to `capacity` bytes has room, in 399 bytes more.
    pub fn create(segment: &Segment, name: &str, capacity: usize) -> Result<Self> {
        let frames = Frames::create::<u8>(segment, name, Kind::Messages, capacity)?;
        Ok(Messages { frames })
    }

    /// Finds the queue of that name, whatever its capacity.
    pub fn open(segment: &Segment, name: &str) -> Result<Self> {
        let frames = Frames::open::<u8>(segment, name, Kind::Messages)?;
        Ok(Messages { frames })
    }

    /// Finds the queue of that name, or makes it. One of another capacity is a [`TypeMismatch`](crate::Error::TypeMismatch).
    pub fn open_or_create(segment: &Segment, name: &str, capacity: usize) -> Result<Self> {
        let frames = Frames::open_or_create::<u8>(segment, name, Kind::Messages, capacity)?;
        Ok(Messages { frames })
    }

    /// Sends `message`, waiting for room as long as it takes.
    #[inline]
    pub fn send(&self, message: &[u8]) -> Result<()> {
        self.frames.send(Deadline::NEVER, message)
    }

    /// Sends `message` if there is room; [`Full`](crate::Error::Full) otherwise. Waits at most a millisecond for others that are sending;
    /// if they take longer (stopped, preempted, in the closure of a `send_with`), it is `Full`, too.
    #[inline]
    pub fn try_send(&self, message: &[u8]) -> Result<()> {
        self.frames.send(Deadline::PASSED, message)
    }

    /// Sends `message`, waiting for room at most `timeout`.
    pub fn send_timeout(&self, message: &[u8], timeout: Duration) -> Result<()> {
        self.frames.send(Deadline::after(timeout), message)
    }

    /// Sends a message of `len` bytes, which `write` writes [in place](Self#in-place), waiting for room as long as it takes; and
    /// returns what `write` returns.
    ///
    /// `write` runs once there is room, at most once; the bytes hold anything before it. If it panics, nothing is sent.
    pub fn send_with<R>(&self, len: usize, write: impl FnOnce(&mut [u8]) -> R) -> Result<R> {
        self.frames.send_with(Deadline::NEVER, len, write)
    }

    /// As [`send_with`](Self::send_with) if there is room; [`Full`](crate::Error::Full) otherwise, as with [`try_send`](Self::try_send).
    pub fn try_send_with<R>(&self, len: usize, write: impl FnOnce(&mut [u8]) -> R) -> Result<R> {
        self.frames.send_with(Deadline::PASSED, len, write)
    }

    /// As [`send_with`](Self::send_with), waiting for room at most `timeout`.
    pub fn send_with_timeout<R>(
        &self,
        len: usize,
        timeout: Duration,
        write: impl FnOnce(&mut [u8]) -> R,
    ) -> Result<R> {
        self.frames.send_with(Deadline::after(timeout), len, write)
    }

    /// Receives a message, waiting for one as long as it takes: it takes the place of what `message` holds. Returns its length.
    ///
    /// A vector that is used again and again soon needs no new memory. After an error it is empty.
    #[inline]
    pub fn recv(&self, message: &mut Vec<u8>) -> Result<usize> {
        self.frames.recv(Deadline::NEVER, message)
    }

    /// As [`recv`](Self::recv) if there is a message; [`Empty`](crate::Error::Empty) otherwise. Waits at most a millisecond for others
    /// that are receiving; if they take longer (stopped, preempted, in the closure of a `recv_with`), it is `Empty`, too.
    #[inline]
    pub fn try_recv(&self, message: &mut Vec<u8>) -> Result<usize> {
        self.frames.recv(Deadline::PASSED, message)
    }

    /// As [`recv`](Self::recv), waiting for a message at most `timeout`.
    pub fn recv_timeout(&self, message: &mut Vec<u8>, timeout: Duration) -> Result<usize> {
        self.frames.recv(Deadline::after(timeout), message)
    }

    /// Receives a message, which `read` reads [in place](Self#in-place), waiting for one as long as it takes; and returns what `read`
    /// returns.
    ///
    /// `read` runs once there is a message, at most once. The message is received when it returns: if it panics, the message stays,
    /// and goes to the next who receives.
    pub fn recv_with<R>(&self, read: impl FnOnce(&[u8]) -> R) -> Result<R> {
        self.frames.recv_with(Deadline::NEVER, read)
    }

    /// As [`recv_with`](Self::recv_with) if there is a message; [`Empty`](crate::Error::Empty) otherwise, as with
    /// [`try_recv`](Self::try_recv).
    pub fn try_recv_with<R>(&self, read: impl FnOnce(&[u8]) -> R) -> Result<R> {
        self.frames.recv_with(Deadline::PASSED, read)
    }

    /// As [`recv_with`](Self::recv_with), waiting for a message at most `timeout`.
    pub fn recv_with_timeout<R>(
        &self,
        timeout: Duration,
        read: impl FnOnce(&[u8]) -> R,
    ) -> Result<R> {
        self.frames.recv_with(Deadline::after(timeout), read)
    }

    /// Receives, one after another, until the queue is closed and drained: each message in a vector of its own.
    ///
    /// It ends at any other error, too; to see which, loop over [`recv`](Self::recv).
    pub fn iter(&self) -> MessagesIter<'_> {
        MessagesIter { messages: self }
    }

    /// As [`send`](Self::send), without a thread that waits: a future for any runtime. Dropped before it is ready, it has sent nothing.
    ///
    /// What holds for all futures is said at [`Queue::recv_async`](crate::Queue::recv_async).
    #[cfg(feature = "async")]
    pub fn send_async<'a>(
        &'a self,
        message: &'a [u8],
    ) -> impl Future<Output = Result<()>> + Send + 'a {
        self.frames.send_async(message)
    }

    /// As [`recv`](Self::recv), without a thread that waits: a future for any runtime. Dropped before it is ready, it has received
    /// nothing; `message` may be empty then.
    ///
    /// What holds for all futures is said at [`Queue::recv_async`](crate::Queue::recv_async).
    #[cfg(feature = "async")]
    pub fn recv_async<'a>(
        &'a self,
        message: &'a mut Vec<u8>,
    ) -> impl Future<Output = Result<usize>> + Send + 'a {
        let wanted = || Wanted::signal(self.arrival(), Serves::One);
        Until::new(wanted, move || self.try_recv(message))
    }

    /// What a [`Select`](crate::Select) waits for with a message of `len` bytes: `select.send(&messages.room_for(100)?)`.
    /// [`TooLarge`](crate::Error::TooLarge) if there never is.
    pub fn room_for(&self, len: usize) -> Result<MessageRoom> {
        self.frames.room_for(len)
    }

    /// Whether there was no message a moment ago. What was sent before the call, by anybody, and not received, counts.
    ///
    /// How many there are, nobody counts: see [`used`](Self::used).
    pub fn is_empty(&self) -> bool {
        self.used() == 0
    }

    /// How many bytes the messages took that were in the queue a moment ago: for each its own, rounded up to 8, and 8 more.
    pub fn used(&self) -> usize {
        self.frames.used()
    }

    /// How many bytes the longest message can have.
    pub fn capacity(&self) -> usize {
        self.frames.capacity()
    }

    /// Ends the sending, for all; when it returns, no send succeeds any more. Waits for a send that is under way.
    pub fn close(&self) {
        self.frames.close();
    }

    /// Whether the queue is closed. There may still be messages in it.
    pub fn is_closed(&self) -> bool {
        self.frames.is_closed()
    }
}

impl Receives for Messages {
    fn arrival(&self) -> Awaited {
        self.frames.arrival()
    }
}

travels!([] Messages, frames.placed);

impl std::fmt::Debug for Messages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Messages").field(&self.frames).finish()
    }
}

/// Receives until the queue is closed and drained; see [`Messages::iter`].
#[derive(Debug)]
pub struct MessagesIter<'a> {
    messages: &'a Messages,
}

impl Iterator for MessagesIter<'_> {
    type Item = Vec<u8>;
    fn next(&mut self) -> Option<Vec<u8>> {
        let mut message = Vec::new();
        self.messages.recv(&mut message).ok().map(|_| message)
    }
}

impl<'a> IntoIterator for &'a Messages {
    type Item = Vec<u8>;
    type IntoIter = MessagesIter<'a>;
    fn into_iter(self) -> MessagesIter<'a> {
        self.iter()
    }
}
