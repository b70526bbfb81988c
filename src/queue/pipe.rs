//! The pipe: two ends that send each other messages.

mod end;
mod pieces;

pub use end::{PipeEnd, PipeIter, PipeRoom};

use super::words::Words;
use crate::error::{Error, Result};
use crate::layout::fingerprint::Kind;
use crate::raw::pipe::{RawPipe, Side};
use crate::segment::{Placed, Segment, Shape, travels};
use crate::sys::deadline::Deadline;
use crate::sys::map::InRegion;
use std::time::Duration;

/// How long one who takes an end waits for another that is taking one: it may be stopped, and then it is alive for ever.
const TAKER_PATIENCE: Duration = Duration::from_secs(1);

// SAFETY: atomics of which every pattern has a meaning, and padding that nobody reads; `repr(C)`.
unsafe impl InRegion for RawPipe {}

/// Two ends, left and right, that send each other messages of any length, both ways at once.
///
/// Boundaries are kept: each [`recv`](PipeEnd::recv) gets what one [`send`](PipeEnd::send) sent, be it empty, or larger than the pipe.
/// One process takes the [`left`](Self::left) end and another the [`right`](Self::right) one (or one process both); who comes
/// first may send before the other has come. A handle of the pipe itself only serves to take an end.
///
/// A [`Select`](crate::Select) waits for what arrives, or for [room](PipeEnd::room_for), beside other objects; with the feature `async`, `send_async` and `recv_async` are
/// futures.
///
/// With the feature `process`, a handle is a serde value that [travels to other processes](crate::Segment#sending-it-to-another-process); an
/// end does not.
///
/// # When a member dies
/// Its peer's `recv` gets all messages that were sent whole, and then [`Closed`](Error::Closed), as after the drop of the end; what was
/// sent in part is never seen. Who waits finds out within about 50 ms (with more than 64 members, within a second); a `send` that has
/// room succeeds until somebody has found out. A peer that is gone stays gone: the pipe can be used again when *both* ends are
/// given up or their holders dead, by taking both anew, see [`left`](Self::left).
///
/// # Fairness
/// None among the threads that send by one end, nor among those that receive by it.
///
/// # Errors
/// [`Closed`](Error::Closed): the peer is gone, and all that it sent was received (sending: at once), or, of `left` and `right`, see there;
/// [`Busy`](Error::Busy): a living member holds the end; [`Full`](Error::Full) and [`Empty`](Error::Empty) from the `try_` forms;
/// [`Timeout`](Error::Timeout) from the timed ones (and see [`left`](Self::left)); [`TooLarge`](Error::TooLarge): a message that is larger than the pipe can't be sent by
/// `try_send`, and one that is larger than [`PipeEnd::limit_messages`] said is not received; [`Corrupt`](Error::Corrupt): a peer scribbled on the pipe (what was in it on its way here is gone, the next message is
/// fine); [`OutOfSpace`](Error::OutOfSpace): this process has no memory for the message (one that is larger than the pipe is gone, any
/// other stays); [`InvalidArgument`](Error::InvalidArgument): the end was inherited across a fork.
///
/// Making and finding: [`AlreadyExists`](crate::Error::AlreadyExists), [`NotFound`](crate::Error::NotFound),
/// [`TypeMismatch`](crate::Error::TypeMismatch), [`InvalidName`](crate::Error::InvalidName),
/// [`OutOfSpace`](crate::Error::OutOfSpace), [`TooManyObjects`](crate::Error::TooManyObjects),
/// [`Corrupt`](crate::Error::Corrupt), and [`Timeout`](crate::Error::Timeout) if another process has been at making an object for
/// 10 seconds (it may be stopped).
///
/// # Bytes
/// 672, and two for each byte of its capacity: one each way.
///
/// # Examples
/// ```
/// use commonhold::{Error, Pipe, Segment};
///
/// # fn main() -> commonhold::Result<()> {
/// let seg = Segment::anonymous(1 << 20)?;
/// let pipe = Pipe::create(&seg, "p", 4096)?;
/// let parent = pipe.left()?;
///
/// // In a child, mostly.
/// let worker = std::thread::spawn(move || -> commonhold::Result<()> {
///     let child = pipe.right()?;
///     for request in &child {
///         child.send(&request.to_ascii_uppercase())?;
///     }
///     Ok(())
/// });
///
/// let mut answer = Vec::new();
/// parent.send(b"hello")?;
/// parent.recv(&mut answer)?;
/// assert_eq!(answer, b"HELLO");
///
/// // A message may be larger than the pipe.
/// parent.send(&vec![b'x'; 1 << 20])?;
/// assert_eq!(parent.recv(&mut answer)?, 1 << 20);
///
/// drop(parent);
/// worker.join().unwrap()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Pipe {
    placed: Placed<RawPipe>,
}

impl Pipe {
    /// Two bytes for each of the capacity, and behind them two headers, and what rounds each lane up to words.
    const SHAPE: Shape = Shape::new::<RawPipe>(Kind::Pipe, 2, 8).and_behind(32);

    /// Makes a pipe of a capacity of `bytes` each way, in 672 bytes and twice that many. Any message of up to so many fits into an
    /// empty pipe; one that is larger goes in pieces.
    pub fn create(segment: &Segment, name: &str, bytes: usize) -> Result<Pipe> {
        check_capacity(bytes)?;
        Self::of(Placed::create::<u8>(
            segment,
            name,
            Self::SHAPE,
            bytes,
            |_| {},
        )?)
    }

    /// Finds the pipe of that name, whatever its capacity.
    pub fn open(segment: &Segment, name: &str) -> Result<Pipe> {
        Self::of(Placed::open::<u8>(segment, name, Self::SHAPE, None)?)
    }

    /// Finds the pipe of that name, or makes it. One of another capacity is a [`TypeMismatch`](Error::TypeMismatch).
    pub fn open_or_create(segment: &Segment, name: &str, bytes: usize) -> Result<Pipe> {
        check_capacity(bytes)?;
        Self::of(Placed::open_or_create::<u8>(
            segment,
            name,
            Self::SHAPE,
            bytes,
            |_| {},
        )?)
    }

    fn of(placed: Placed<RawPipe>) -> Result<Pipe> {
        // No pipe is made without room; one that says so was scribbled on.
        if placed.len() == 0 {
            return Err(Error::Corrupt);
        }
        Ok(Pipe { placed })
    }

    /// Takes the left end, until it is dropped or this process dies.
    ///
    /// [`Busy`](Error::Busy) if a living member (this process, perhaps) holds it. [`Closed`](Error::Closed) if it was held before, and
    /// a living member still holds the other end, who has seen, or will see, this one close: that end must be given up, too;
    /// then both can be taken anew, and find the pipe empty. (If nobody has ever held the other, this one can be taken anew at once; what
    /// was sent to nobody is gone, too.)
    ///
    /// An end that nobody has held since the pipe was made, or taken anew, finds what it was sent, also by a peer that is gone by now. (To use
    /// the pipe after that, drop the end and take it anew.)
    ///
    /// [`Timeout`](Error::Timeout) if another process has been at taking an end for a second (it may be stopped).
    pub fn left(&self) -> Result<PipeEnd> {
        self.take(Side::Left)
    }

    /// Takes the right end, as [`left`](Self::left) takes the left one.
    pub fn right(&self) -> Result<PipeEnd> {
        self.take(Side::Right)
    }

    /// How large a message can be that an empty pipe takes in one piece.
    pub fn capacity(&self) -> usize {
        self.placed.len()
    }

    fn take(&self, side: Side) -> Result<PipeEnd> {
        let call = self.placed.call(Deadline::after(TAKER_PATIENCE))?;
        let taken = self.placed.control().take(side, &call);
        // Before the error, too: it may come of a region that is lost.
        self.placed.check_whole()?;
        let from = self.lane(side);
        let to = self.lane(side.other());
        Ok(PipeEnd::new(
            self.placed.clone(),
            side,
            call.me,
            taken?,
            from,
            to,
        ))
    }

    /// The words of the lane on which `side` sends.
    fn lane(&self, side: Side) -> Words {
        let words = self.placed.len().div_ceil(8) + 1;
        let index = match side {
            Side::Left => 0,
            Side::Right => words,
        };
        // SAFETY: the object has 2 * len + 32 bytes here, aligned to 8, and two lanes take no more: 16 * (len / 8, rounded up) + 16.
        // The end that uses them keeps them mapped.
        unsafe {
            let at = self.placed.data().cast::<u64>().add(index);
            Words::new(at, words as u64)
        }
    }
}

fn check_capacity(bytes: usize) -> Result<()> {
    if bytes == 0 {
        return Err(Error::InvalidArgument(
            "a pipe's capacity must be at least 1 byte",
        ));
    }
    Ok(())
}

travels!([] Pipe, placed);

impl std::fmt::Debug for Pipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Pipe").field(&self.placed).finish()
    }
}
