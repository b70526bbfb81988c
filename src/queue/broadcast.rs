//! The broadcast: each subscriber receives every item.

use super::cells::{cell, cells};
use super::subscriber::Subscriber;
use crate::error::{Error, Result};
use crate::layout::fingerprint::Kind;
use crate::plain::Plain;
use crate::raw::broadcast::{RawBroadcast, Subscription};
use crate::segment::{Placed, Segment, Shape, travels};
use crate::sys::copy;
use crate::sys::deadline::Deadline;
use crate::sys::map::InRegion;
use std::marker::PhantomData;
use std::time::Duration;

// SAFETY: atomics of which every pattern has a meaning, and padding that nobody reads; `repr(C)`.
unsafe impl InRegion for RawBroadcast {}
// SAFETY: as above.
unsafe impl InRegion for Subscription {}

/// Items that each of any number of subscribers receives, from one or many publishers, in any processes.
///
/// A subscriber receives every item that was sent after it subscribed, in one order that is the same for all. What is sent while nobody
/// is subscribed, nobody receives. Subscribers are of two kinds, side by side:
/// - [`subscribe`](Self::subscribe): a *lossless* one misses nothing. Publishers wait for it, when it is a capacity behind. There can be as
///   many as the segment has room for members; one process can have several.
/// - [`subscribe_lossy`](Self::subscribe_lossy): publishers never wait for a *lossy* one. If it is too slow, items are overwritten
///   before it receives them: it is told how many, by [`Lagged`](Error::Lagged). There can be any number.
///
/// A [`Select`](crate::Select) waits for what a subscriber receives beside other objects; with the feature `async`,
/// `Subscriber::recv_async` is a future. (For sending there is neither.)
///
/// With the feature `process`, a handle is a serde value that [travels to other processes](crate::Segment#sending-it-to-another-process); a
/// publisher and a subscriber do not.
///
/// # When a member dies
/// At any instruction of a publisher or a subscriber: nothing happens to the others. An item is there whole or not at all, and for all
/// subscribers. Publishers do not wait for a dead subscriber: one that stands still finds it out within about 50 ms (with more than 64
/// members, within a second). A publisher that dies while it sends can take from lossy subscribers that are nearly a capacity
/// behind the oldest of what they have not received yet, up to a quarter of the capacity (rounded up): they are `Lagged`.
///
/// # Fairness
/// None among publishers. A lossy subscriber that publishers overtake again and again gives up some more of what is still there, so that it
/// gets ahead of them.
///
/// # Closing
/// [`close`](Self::close) ends the sending: sends get [`Closed`](Error::Closed), and so does each subscriber once it has received
/// what was sent. A broadcast stays closed.
///
/// # Errors
/// [`Closed`](Error::Closed); [`Full`](Error::Full), [`Empty`](Error::Empty) and [`WouldBlock`](Error::WouldBlock) from the `try_` forms;
/// [`Timeout`](Error::Timeout) from the timed ones; [`Lagged`](Error::Lagged) from a lossy subscriber that missed items;
/// [`TooManySubscribers`](Error::TooManySubscribers) from `subscribe`; [`Corrupt`](Error::Corrupt): a peer scribbled on an item (that
/// item is gone, the next one is fine) or on the broadcast's positions; [`OutOfSpace`](Error::OutOfSpace) from the forms that
/// receive many, if there is no memory for as many as were asked for or the broadcast can hold.
///
/// Making and finding: [`AlreadyExists`](crate::Error::AlreadyExists), [`NotFound`](crate::Error::NotFound),
/// [`TypeMismatch`](crate::Error::TypeMismatch), [`InvalidName`](crate::Error::InvalidName),
/// [`OutOfSpace`](crate::Error::OutOfSpace), [`TooManyObjects`](crate::Error::TooManyObjects),
/// [`Corrupt`](crate::Error::Corrupt), and [`Timeout`](crate::Error::Timeout) if another process has been at making an object for
/// 10 seconds (it may be stopped).
///
/// # Bytes
/// 384, and those of an item for each (rounded up to 8 if more than 4, to a power of two if less); and from the next multiple of 64 on
/// 64 for each member that the segment has room for.
///
/// # Examples
/// ```
/// use commonhold::{Broadcast, Error, Segment};
///
/// # fn main() -> commonhold::Result<()> {
/// let seg = Segment::anonymous(1 << 16)?;
/// let prices = Broadcast::<u32>::create(&seg, "prices", 4)?;
/// let publisher = prices.publisher()?;
/// let mut every = prices.subscribe()?;
/// let mut some = prices.subscribe_lossy()?;
///
/// publisher.send_all(&[1, 2, 3, 4])?;
/// assert!(matches!(publisher.try_send(5), Err(Error::Full)));
/// assert_eq!((every.recv()?, every.recv()?), (1, 2));
/// publisher.send_all(&[5, 6])?;
/// publisher.close();
///
/// assert_eq!(every.iter().collect::<Vec<_>>(), [3, 4, 5, 6]);
/// assert!(matches!(some.recv(), Err(Error::Lagged(2))));
/// assert_eq!(some.recv()?, 3);
/// # Ok(())
/// # }
/// ```
pub struct Broadcast<T> {
    pub(super) placed: Placed<RawBroadcast>,
    _items: PhantomData<T>,
}

const _: () = assert!(size_of::<RawBroadcast>() == 384 && size_of::<Subscription>() == 64);

// SAFETY: items are only ever copied in and out, and `T: Send`.
unsafe impl<T: Plain> Send for Broadcast<T> {}
// SAFETY: as above.
unsafe impl<T: Plain> Sync for Broadcast<T> {}

impl<T: Plain> Broadcast<T> {
    const SHAPE: Shape = Shape::new::<RawBroadcast>(
        Kind::Broadcast,
        copy::cell_size::<T>(),
        copy::cell_align::<T>(),
    )
    .and_for_each_member::<Subscription>();

    /// Makes a broadcast that keeps the last `capacity` items, in 384 bytes, and those of an item for each (rounded up to 8 if more than 4,
    /// to a power of two if less); and from the next multiple of 64 on 64 for each member that the segment has room for.
    pub fn create(segment: &Segment, name: &str, capacity: usize) -> Result<Self> {
        check_capacity(capacity)?;
        let placed = Placed::create::<T>(segment, name, Self::SHAPE, capacity, |_| {})?;
        Self::of(placed)
    }

    /// Finds the broadcast of that name, whatever its capacity.
    pub fn open(segment: &Segment, name: &str) -> Result<Self> {
        let placed = Placed::open::<T>(segment, name, Self::SHAPE, None)?;
        Self::of(placed)
    }

    /// Finds the broadcast of that name, or makes it. One of another capacity is a [`TypeMismatch`](Error::TypeMismatch).
    pub fn open_or_create(segment: &Segment, name: &str, capacity: usize) -> Result<Self> {
        check_capacity(capacity)?;
        let placed = Placed::open_or_create::<T>(segment, name, Self::SHAPE, capacity, |_| {})?;
        Self::of(placed)
    }

    fn of(placed: Placed<RawBroadcast>) -> Result<Self> {
        // No broadcast is made without room; one that says so was scribbled on.
        if placed.len() == 0 {
            return Err(Error::Corrupt);
        }
        Ok(Broadcast {
            placed,
            _items: PhantomData,
        })
    }

    /// Makes a publisher. There can be any number; it takes no room.
    pub fn publisher(&self) -> Result<Publisher<T>> {
        // In a forked child, which becomes a member by it, there may be no room for one.
        self.placed.call(Deadline::NEVER)?;
        Ok(Publisher { of: self.clone() })
    }

    /// Makes a lossless subscriber: it receives every item that is sent from here on, and publishers wait for it.
    ///
    /// Waits for publishers that are just sending, as long as it takes: if one of them is stopped (SIGSTOP) in these few instructions,
    /// until it goes on.
    pub fn subscribe(&self) -> Result<Subscriber<T>> {
        self.subscribe_by(Deadline::NEVER)
    }

    /// As [`subscribe`](Self::subscribe); [`WouldBlock`](Error::WouldBlock) if a publisher takes longer than a millisecond.
    pub fn try_subscribe(&self) -> Result<Subscriber<T>> {
        match self.subscribe_by(Deadline::PASSED) {
            Err(Error::Timeout) => Err(Error::WouldBlock),
            other => other,
        }
    }

    /// As [`subscribe`](Self::subscribe), waiting at most `timeout`.
    pub fn subscribe_timeout(&self, timeout: Duration) -> Result<Subscriber<T>> {
        self.subscribe_by(Deadline::after(timeout))
    }

    fn subscribe_by(&self, deadline: Deadline) -> Result<Subscriber<T>> {
        let call = self.placed.call(deadline)?;
        let claim = self.raw().subscribe(self.placed.of_members(), &call);
        self.placed.check_whole()?;
        let (record, cursor) = claim?;
        Ok(Subscriber::new(self.clone(), call.me, Some(record), cursor))
    }

    /// Makes a lossy subscriber: it receives the items that are sent from here on, as long as it keeps up.
    pub fn subscribe_lossy(&self) -> Result<Subscriber<T>> {
        let call = self.placed.call(Deadline::NEVER)?;
        let cursor = self.raw().end();
        self.placed.check_whole()?;
        Ok(Subscriber::new(self.clone(), call.me, None, cursor))
    }

    /// How many lossless subscribers there are, in all processes that live. Lossy ones leave no trace.
    pub fn subscribers(&self) -> usize {
        let records = self.placed.of_members();
        self.raw().subscribers(records, self.placed.inner())
    }

    /// How far, in items, a lossless subscriber can be behind before publishers wait for it, and a lossy one before it misses any.
    pub fn capacity(&self) -> usize {
        self.placed.len()
    }

    /// Ends the sending, for all; when it returns, no send succeeds any more. Waits for a send that is under way.
    pub fn close(&self) {
        let raw = self.raw();
        let closed = self
            .placed
            .call(Deadline::NEVER)
            .and_then(|call| raw.close(&call));
        if closed.is_err() {
            // Only a forked child for which no member slot is left comes here.
            raw.idle.close_without_lock();
        }
    }

    /// Whether the broadcast is closed. Subscribers may still have items to receive.
    pub fn is_closed(&self) -> bool {
        self.raw().is_closed()
    }

    #[inline]
    pub(super) fn raw(&self) -> &RawBroadcast {
        self.placed.control()
    }

    /// The capacity, as the machine below counts.
    #[inline]
    pub(super) fn slots(&self) -> u64 {
        self.placed.len() as u64
    }

    #[inline]
    pub(super) fn load(&self, position: u64) -> T::Bits {
        // SAFETY: a cell of a T, by the object's shape.
        unsafe { copy::load::<T>(cell::<T, _>(&self.placed, position)) }
    }

    #[inline]
    fn write(&self, position: u64, items: &[T]) {
        for (item, cell) in items.iter().zip(cells::<T, _>(&self.placed, position)) {
            // SAFETY: a cell of a T, by the object's shape.
            unsafe { copy::store(cell, item) }
        }
    }
}

fn check_capacity(capacity: usize) -> Result<()> {
    if capacity == 0 {
        return Err(Error::InvalidArgument(
            "a broadcast's capacity must be at least 1",
        ));
    }
    Ok(())
}

/// Sends to all subscribers of a [`Broadcast`].
///
/// Made by [`Broadcast::publisher`], and by cloning. It claims nothing: a broadcast does not end with its publishers, but when
/// somebody [closes](Self::close) it.
pub struct Publisher<T> {
    of: Broadcast<T>,
}

impl<T: Plain> Publisher<T> {
    /// Sends `item`, waiting for lossless subscribers that are a capacity behind as long as it takes.
    ///
    /// A thread that has such a subscriber itself, and does not receive meanwhile, waits for itself.
    #[inline]
    pub fn send(&self, item: T) -> Result<()> {
        self.send_by(Deadline::NEVER, &[item]).map(drop)
    }

    /// Sends `item` if there is room; [`Full`](Error::Full) otherwise. Waits at most a millisecond for others that are sending;
    /// if they take longer (stopped, preempted), it is `Full`, too.
    #[inline]
    pub fn try_send(&self, item: T) -> Result<()> {
        self.try_send_some(&[item]).map(drop)
    }

    /// Sends `item`, waiting for room at most `timeout`.
    pub fn send_timeout(&self, item: T, timeout: Duration) -> Result<()> {
        self.send_by(Deadline::after(timeout), &[item]).map(drop)
    }

    /// Sends all `items` in order, waiting for room as long as it takes. Items of other publishers may come in between.
    ///
    /// If the broadcast is closed meanwhile, the items that were sent before stay sent.
    pub fn send_all(&self, mut items: &[T]) -> Result<()> {
        while !items.is_empty() {
            let sent = self.send_by(Deadline::NEVER, items)?;
            items = &items[sent..];
        }
        Ok(())
    }

    /// Sends as many of the first `items` as there is room for, and says how many; [`Full`](Error::Full) if none.
    ///
    /// Where there are no lossless subscribers, these are all of them.
    pub fn try_send_all(&self, items: &[T]) -> Result<usize> {
        send_some(items, |items| self.try_send_some(items))
    }

    /// Sends `items` in order, waiting for room at most `timeout` in all, and says how many were sent;
    /// [`Timeout`](Error::Timeout) if none.
    pub fn send_all_timeout(&self, items: &[T], timeout: Duration) -> Result<usize> {
        let deadline = Deadline::after(timeout);
        let all = items.len();
        let mut left = None;
        send_some(items, |items| {
            if items.len() == all || !deadline.has_passed() {
                return self.send_by(deadline, items);
            }
            // A wait succeeds for whom room is made while it spins, however late it is: late ones must not begin. What there is room
            // for goes all the same; a send claims only a part of it.
            let left = left.get_or_insert_with(|| match self.of.subscribers() {
                0 => usize::MAX,
                _ => self.of.capacity(),
            });
            if *left == 0 {
                return Err(Error::Timeout);
            }
            let sent = self.try_send_some(&items[..items.len().min(*left)])?;
            *left -= sent;
            Ok(sent)
        })
    }

    /// The broadcast that it sends to.
    pub fn broadcast(&self) -> &Broadcast<T> {
        &self.of
    }

    /// As [`Broadcast::close`].
    pub fn close(&self) {
        self.of.close();
    }

    /// Sends one or more of `items`.
    #[inline]
    fn send_by(&self, deadline: Deadline, items: &[T]) -> Result<usize> {
        let of = &self.of;
        let call = of.placed.call(deadline)?;
        let sent = of.raw().send(
            of.placed.of_members(),
            of.slots(),
            &call,
            items.len() as u64,
            |at, n| of.write(at, &items[..n as usize]),
        );
        // Before the error, too: that there was room, or none, means nothing in a region that was cut off.
        of.placed.check_whole()?;
        Ok(sent? as usize)
    }

    /// As [`send_by`](Self::send_by), if there is room.
    #[inline]
    fn try_send_some(&self, items: &[T]) -> Result<usize> {
        let of = &self.of;
        let call = of.placed.call(Deadline::PASSED)?;
        let sent = of.raw().try_send(
            of.placed.of_members(),
            of.slots(),
            &call,
            items.len() as u64,
            |at, n| of.write(at, &items[..n as usize]),
        );
        // As in `send_by`.
        of.placed.check_whole()?;
        Ok(sent? as usize)
    }
}

/// Sends by one step after another, until all are sent or a step fails. Its error counts only if nothing was sent.
fn send_some<T>(items: &[T], mut step: impl FnMut(&[T]) -> Result<usize>) -> Result<usize> {
    let mut sent = 0;
    while sent < items.len() {
        match step(&items[sent..]) {
            Ok(n) => sent += n,
            Err(_) if sent > 0 => break,
            Err(e) => return Err(e),
        }
    }
    Ok(sent)
}

impl<T> Clone for Broadcast<T> {
    fn clone(&self) -> Self {
        Broadcast {
            placed: self.placed.clone(),
            _items: PhantomData,
        }
    }
}

impl<T> Clone for Publisher<T> {
    fn clone(&self) -> Self {
        Publisher {
            of: self.of.clone(),
        }
    }
}

travels!([T: Plain] Broadcast<T>, placed);

impl<T> std::fmt::Debug for Broadcast<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Broadcast").field(&self.placed).finish()
    }
}

impl<T> std::fmt::Debug for Publisher<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Publisher").field(&self.of.placed).finish()
    }
}
