//! The ring of one producer and one consumer.

mod chunks;
mod consumer;
mod producer;
mod ready;

pub use chunks::{ReadChunk, WriteChunk};
pub use consumer::{Consumer, ConsumerIter};
pub use producer::Producer;

use crate::error::{Error, Result};
use crate::layout::fingerprint::Kind;
use crate::plain::Plain;
use crate::raw::MemberId;
use crate::raw::ring::{Consuming, Producing, RawRing};
use crate::segment::{Placed, Segment, Shape, travels};
use crate::sys::copy;
use crate::sys::deadline::Deadline;
use crate::sys::map::InRegion;
use std::marker::PhantomData;
use std::sync::atomic::{Ordering, fence};

// SAFETY: atomics of which every pattern has a meaning, and padding that nobody reads; `repr(C)`.
unsafe impl InRegion for RawRing {}

/// A first-in, first-out ring of a fixed capacity, from one producer to one consumer.
///
/// A `Ring` is the handle by which the two ends are had: [`producer`](Self::producer) and [`consumer`](Self::consumer), one of each at a
/// time, in any processes or threads. An end that is dropped, or whose process dies, can be had again, and its next holder goes on where
/// the last one left off. Sending and receiving take no lock, and as long as neither end waits for the other, nor a select for one of them, no locked
/// instruction, and a bounded number of steps, whatever the other end does. A system call is made only to sleep, to wake one that sleeps, and
/// once, to settle what the last item of a closed ring is.
///
/// A [`Select`](crate::Select) waits for either end beside other objects. (There are no futures: an end that sends and receives this fast is
/// for a thread of its own.)
///
/// With the feature `process`, a handle is a serde value that [travels to other processes](crate::Segment#sending-it-to-another-process); an
/// end does not.
///
/// # When a member dies
/// At any instruction: the end that it held is free, to be had by [`producer`](Self::producer) or [`consumer`](Self::consumer) (as soon as the kernel has let go of
/// the dead process). What it had sent is there, whole; what a [lazy](Producer::lazy) producer had not published yet does not exist, nor does a
/// [chunk](Producer::write_chunk) that it had not committed. An item whose receive was done went to the dead consumer; the items of a [chunk](Consumer::read_chunk) that it
/// had not committed are received by the next. The other end waits for the next holder, as long as it said;
/// `is_abandoned` tells whether there is one. A member that dies while it waits takes nothing with it. A wake-up that a dead member should
/// have passed on comes within about 50 ms (with more than 64 members, within a second).
///
/// # Fairness
/// There is nobody to be unfair to. Of several who ask for a free end at once, one gets it.
///
/// # Closing
/// [`close`](Self::close) ends the sending: sends get [`Closed`](Error::Closed), and so do receives once the ring is drained. A ring
/// stays closed.
///
/// # Errors
/// [`Busy`](Error::Busy) from `producer` and `consumer` while somebody alive holds that end; [`Closed`](Error::Closed);
/// [`Full`](Error::Full) and [`Empty`](Error::Empty) from the `try_` forms; [`Timeout`](Error::Timeout) from the timed ones;
/// [`TooLarge`](Error::TooLarge) for a chunk of more items than the ring can hold; [`Corrupt`](Error::Corrupt): a peer scribbled on
/// an item (that item is gone, the next one is fine) or on the ring's positions; [`OutOfSpace`](Error::OutOfSpace) from the forms that
/// receive many, if there is no memory for as many as were asked for or the ring can hold;
/// [`InvalidArgument`](Error::InvalidArgument) from an end that a forked child inherited: it is the parent's.
///
/// Making and finding: [`AlreadyExists`](crate::Error::AlreadyExists), [`NotFound`](crate::Error::NotFound),
/// [`TypeMismatch`](crate::Error::TypeMismatch), [`InvalidName`](crate::Error::InvalidName),
/// [`OutOfSpace`](crate::Error::OutOfSpace), [`TooManyObjects`](crate::Error::TooManyObjects),
/// [`Corrupt`](crate::Error::Corrupt), and [`Timeout`](crate::Error::Timeout) if another process has been at making an object for
/// 10 seconds (it may be stopped).
///
/// # Bytes
/// 384, and `size_of::<T>()` for each item.
///
/// # Examples
/// ```
/// use commonhold::{Ring, Segment};
///
/// # fn main() -> commonhold::Result<()> {
/// let seg = Segment::anonymous(1 << 16)?;
/// let samples = Ring::<f32>::create(&seg, "samples", 1024)?;
///
/// let mut consumer = samples.consumer()?;
/// let sum = std::thread::spawn(move || consumer.iter().sum::<f32>());
///
/// let mut producer = samples.producer()?;
/// producer.send(0.5)?;
/// producer.send_all(&[1.0, 1.5])?;
///
/// // In place, without a copy:
/// let mut chunk = producer.write_chunk(2)?;
/// let (first, second) = chunk.as_mut_slices();
/// first.iter_mut().chain(second).for_each(|sample| *sample = 3.5);
/// chunk.commit_all()?;
///
/// producer.close();
/// assert_eq!(sum.join().unwrap(), 10.0);
/// # Ok(())
/// # }
/// ```
pub struct Ring<T> {
    placed: Placed<RawRing>,
    _items: PhantomData<T>,
}

const _: () = assert!(size_of::<RawRing>() == 384);

// SAFETY: the handle itself reaches no item; the ends, which do, are `Send` as `T` is.
unsafe impl<T: Plain> Send for Ring<T> {}
// SAFETY: as above.
unsafe impl<T: Plain> Sync for Ring<T> {}

impl<T: Plain> Ring<T> {
    const SHAPE: Shape =
        Shape::new::<RawRing>(Kind::Ring, size_of::<T>(), copy::packed_align::<T>());

    /// Makes a ring that holds up to `capacity` items, in 384 bytes, and `size_of::<T>()` for each.
    pub fn create(segment: &Segment, name: &str, capacity: usize) -> Result<Self> {
        check_capacity(capacity)?;
        let placed = Placed::create::<T>(segment, name, Self::SHAPE, capacity, |_| {})?;
        Self::of(placed)
    }

    /// Finds the ring of that name, whatever its capacity.
    pub fn open(segment: &Segment, name: &str) -> Result<Self> {
        let placed = Placed::open::<T>(segment, name, Self::SHAPE, None)?;
        Self::of(placed)
    }

    /// Finds the ring of that name, or makes it. One of another capacity is a [`TypeMismatch`](Error::TypeMismatch).
    pub fn open_or_create(segment: &Segment, name: &str, capacity: usize) -> Result<Self> {
        check_capacity(capacity)?;
        let placed = Placed::open_or_create::<T>(segment, name, Self::SHAPE, capacity, |_| {})?;
        Self::of(placed)
    }

    fn of(placed: Placed<RawRing>) -> Result<Self> {
        // No ring is made without room; one that says so was scribbled on.
        if placed.len() == 0 {
            return Err(Error::Corrupt);
        }
        Ok(Ring {
            placed,
            _items: PhantomData,
        })
    }

    /// Takes the producer's end; [`Busy`](Error::Busy) while somebody holds it whose process is alive.
    ///
    /// It asks the kernel after the last holder.
    pub fn producer(&self) -> Result<Producer<T>> {
        let call = self.placed.call(Deadline::NEVER)?;
        let raw = self.placed.control();
        let end = Producing::claim(raw, self.placed.len() as u64, call.members, call.me);
        // In a region that was lost meanwhile everything is free.
        check_mine(&self.placed, call.me)?;
        Ok(Producer::of(self.placed.clone(), end?))
    }

    /// Takes the consumer's end; as [`producer`](Self::producer).
    pub fn consumer(&self) -> Result<Consumer<T>> {
        let call = self.placed.call(Deadline::NEVER)?;
        let raw = self.placed.control();
        let end = Consuming::claim(raw, self.placed.len() as u64, call.members, call.me);
        // In a region that was lost meanwhile everything is free.
        check_mine(&self.placed, call.me)?;
        Ok(Consumer::of(self.placed.clone(), end?))
    }
}

impl<T> Ring<T> {
    /// How many items there were a moment ago.
    pub fn len(&self) -> usize {
        len(&self.placed)
    }

    /// Whether there was none a moment ago.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there was no room a moment ago.
    pub fn is_full(&self) -> bool {
        self.len() == self.capacity()
    }

    /// How many items it can hold.
    pub fn capacity(&self) -> usize {
        self.placed.len()
    }

    /// Ends the sending, for all. When it returns, no send that begins later succeeds; one that is under way is accepted and
    /// received, or `Closed`. What a [lazy](Producer::lazy) producer has not published by then is not sent. It takes a millisecond, until
    /// what a sender may have stored just then is seen (senders make no fence); so does the first call of either end that meets it meanwhile,
    /// also one that does not wait.
    pub fn close(&self) {
        close(&self.placed);
    }

    /// Whether the ring is closed. There may still be items in it.
    pub fn is_closed(&self) -> bool {
        self.placed.control().is_closed()
    }
}

fn check_capacity(capacity: usize) -> Result<()> {
    if capacity == 0 {
        return Err(Error::InvalidArgument(
            "a ring's capacity must be at least 1",
        ));
    }
    Ok(())
}

fn len(placed: &Placed<RawRing>) -> usize {
    placed.control().len(placed.len() as u64) as usize
}

fn close(placed: &Placed<RawRing>) {
    placed.become_member();
    placed.control().close();
}

/// Whether an item is to stay in registers on its way: sending and receiving are inlined. Longer ones are in memory, and each function that they pass
/// through may copy them, by a library's `memcpy` (which does 2.3 GB/s on a Zen 4, with 4 KiB at some alignments, and 26 to 95 at others).
const fn is_small<T>() -> bool {
    size_of::<T>() <= 128
}

/// Whether this process is still the member that claimed the end. All readings of the region that came before count only if it is.
#[inline]
fn is_mine(placed: &Placed<RawRing>, me: MemberId) -> bool {
    // The readings come before this look; see `TruncationGuard::is_lost`.
    fence(Ordering::Acquire);
    placed.member().load(Ordering::Relaxed) == me.bits()
}

#[inline]
fn check_mine(placed: &Placed<RawRing>, me: MemberId) -> Result<()> {
    if is_mine(placed, me) {
        return Ok(());
    }
    Err(why_not_mine(placed))
}

#[cold]
fn why_not_mine(placed: &Placed<RawRing>) -> Error {
    match placed.inner().check_whole() {
        Err(lost) => lost,
        Ok(()) => Error::InvalidArgument(
            "this end of the ring was inherited across a fork: it is the parent's",
        ),
    }
}

/// What a wait, or a look, for so many items of one chunk has to be.
fn check_chunk(items: usize, capacity: usize) -> Result<u64> {
    if items > capacity {
        return Err(Error::TooLarge {
            requested: items as u64,
            limit: capacity as u64,
        });
    }
    Ok(items as u64)
}

impl<T> Clone for Ring<T> {
    fn clone(&self) -> Self {
        Ring {
            placed: self.placed.clone(),
            _items: PhantomData,
        }
    }
}

travels!([T: Plain] Ring<T>, placed);

impl<T> std::fmt::Debug for Ring<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Ring").field(&self.placed).finish()
    }
}
