//! The bounded queue of many senders and many receivers.

use super::cells::{cell, cells};
use crate::error::{Error, Result};
#[cfg(feature = "async")]
use crate::futures::{Serves, Until, Wanted};
use crate::layout::fingerprint::Kind;
use crate::plain::Plain;
use crate::raw::Call;
use crate::raw::leases::{Cells, LeaseWord, Leases};
use crate::raw::queue::RawQueue;
use crate::raw::select::Source;
use crate::raw::signal::RawSignal;
use crate::raw::wait::Look;
use crate::segment::{Inner, Placed, Segment, Shape, travels};
use crate::select::{Awaited, Receives, Sends};
use crate::sys::copy;
use crate::sys::deadline::{Deadline, LastDone};
use crate::sys::map::InRegion;
use std::marker::PhantomData;
use std::time::Duration;

// SAFETY: atomics of which every pattern has a meaning, and padding that nobody reads; `repr(C)`.
unsafe impl InRegion for RawQueue {}
// SAFETY: one atomic word of which every pattern has a meaning; `repr(transparent)`.
unsafe impl InRegion for LeaseWord {}

/// A first-in, first-out queue of a fixed capacity, for any number of senders and receivers in any processes.
///
/// What one sender sent arrives in the order in which it was sent; each item goes to one receiver.
///
/// A [`Select`](crate::Select) waits for items, or for room, beside other objects; with the feature `async`, `send_async`, `recv_async` and
/// `lease_async` are futures.
///
/// With the feature `process`, a handle is a serde value that [travels to other processes](crate::Segment#sending-it-to-another-process).
///
/// # When a member dies
/// At any instruction of a send or a receive: nothing happens to the others. An item is in the queue whole or not at all; what
/// was sent is received once. An item whose receive was done went to the dead receiver; one that it had only
/// [leased](Self::lease) is delivered again. A member that dies while it waits
/// takes nothing with it. A wake-up that a dead member should have passed on comes within about 50 ms (with more than 64
/// members, within a second).
///
/// # Fairness
/// None among senders, and none among receivers.
///
/// # Closing
/// [`close`](Self::close) ends the sending: sends get [`Closed`](Error::Closed), and so do receives once the queue
/// is drained: nothing waits, and nothing is leased, which might come back. A queue stays closed.
///
/// # Work that must not be lost
/// What a process [receives](Self::recv) is gone if it dies before it is done with it. What it [leases](Self::lease) stays in the queue until
/// it says that it is [done](crate::Lease::complete), and is delivered to another if it dies. [`join`](Self::join) waits until all is done. Both
/// ways go together; to receive is to lease and complete at once. The capacity bounds what waits and what is leased, together.
///
/// # Errors
/// [`Closed`](Error::Closed); [`Full`](Error::Full) and [`Empty`](Error::Empty) from the `try_` forms;
/// [`WouldBlock`](Error::WouldBlock) from `try_join`; [`Timeout`](Error::Timeout) from the timed ones; [`Corrupt`](Error::Corrupt): a peer scribbled on an item (that
/// item is gone, the next one is fine) or on the queue's positions; [`OutOfSpace`](Error::OutOfSpace) from the forms that
/// receive many, if there is no memory for as many as were asked for or the queue can hold.
///
/// Making and finding: [`AlreadyExists`](crate::Error::AlreadyExists), [`NotFound`](crate::Error::NotFound),
/// [`TypeMismatch`](crate::Error::TypeMismatch), [`InvalidName`](crate::Error::InvalidName),
/// [`OutOfSpace`](crate::Error::OutOfSpace), [`TooManyObjects`](crate::Error::TooManyObjects),
/// [`Corrupt`](crate::Error::Corrupt), and [`Timeout`](crate::Error::Timeout) if another process has been at making an object for
/// 10 seconds (it may be stopped).
///
/// # Bytes
/// 384, and those of an item for each (rounded up to 8 if more than 4, to a power of two if less); and from the next multiple of 64 on 8
/// for each, which say who leases it.
///
/// # Examples
/// ```
/// use commonhold::{Queue, Segment};
///
/// # fn main() -> commonhold::Result<()> {
/// let seg = Segment::anonymous(1 << 16)?;
/// let jobs = Queue::<u32>::create(&seg, "jobs", 100)?;
///
/// let worker = {
///     let jobs = jobs.clone();
///     std::thread::spawn(move || jobs.iter().sum::<u32>())
/// };
/// jobs.send(1)?;
/// jobs.send_all(&[2, 3, 4])?;
/// jobs.close();
/// assert_eq!(worker.join().unwrap(), 10);
/// # Ok(())
/// # }
/// ```
pub struct Queue<T> {
    pub(super) placed: Placed<RawQueue>,
    /// When a call of this handle last asked after those who hold leases.
    asked: LastDone,
    _items: PhantomData<T>,
}

const _: () = assert!(size_of::<RawQueue>() == 384);

// SAFETY: items are only ever copied in and out, and `T: Send`.
unsafe impl<T: Plain> Send for Queue<T> {}
// SAFETY: as above.
unsafe impl<T: Plain> Sync for Queue<T> {}

impl<T: Plain> Queue<T> {
    pub(super) const SHAPE: Shape =
        Shape::new::<RawQueue>(Kind::Queue, copy::cell_size::<T>(), copy::cell_align::<T>())
            .and_for_each_item::<LeaseWord>();

    /// Makes a queue that holds up to `capacity` items, in 384 bytes, and those of an item for each (rounded up to 8 if more than 4, to
    /// a power of two if less); and from the next multiple of 64 on 8 for each.
    pub fn create(segment: &Segment, name: &str, capacity: usize) -> Result<Self> {
        check_capacity(capacity)?;
        let placed = Placed::create::<T>(segment, name, Self::SHAPE, capacity, |_| {})?;
        Self::of(placed)
    }

    /// Finds the queue of that name, whatever its capacity.
    pub fn open(segment: &Segment, name: &str) -> Result<Self> {
        let placed = Placed::open::<T>(segment, name, Self::SHAPE, None)?;
        Self::of(placed)
    }

    /// Finds the queue of that name, or makes it. One of another capacity is a [`TypeMismatch`](Error::TypeMismatch).
    pub fn open_or_create(segment: &Segment, name: &str, capacity: usize) -> Result<Self> {
        check_capacity(capacity)?;
        let placed = Placed::open_or_create::<T>(segment, name, Self::SHAPE, capacity, |_| {})?;
        Self::of(placed)
    }

    pub(super) fn of(placed: Placed<RawQueue>) -> Result<Self> {
        // No queue is made without room; one that says so was scribbled on.
        if placed.len() == 0 {
            return Err(Error::Corrupt);
        }
        Ok(Queue {
            placed,
            asked: LastDone::never(),
            _items: PhantomData,
        })
    }

    /// Sends `item`, waiting for room as long as it takes.
    #[inline]
    pub fn send(&self, item: T) -> Result<()> {
        let me = self.placed.me()?;
        // SAFETY: a cell of a T, by the object's shape.
        let write = |at| unsafe { copy::store(cell::<T, _>(&self.placed, at), &item) };
        let (raw, spin) = (self.placed.control(), &self.placed.spin);
        if raw.send_at_once(self.slots(), me, spin, write) {
            return Ok(());
        }
        self.send_slowly(item)
    }

    #[cold]
    fn send_slowly(&self, item: T) -> Result<()> {
        self.send_by(Deadline::NEVER, &[item]).map(drop)
    }

    /// Sends `item` if there is room; [`Full`](Error::Full) otherwise. Waits at most a millisecond for others that are sending;
    /// if they take longer (stopped, preempted), it is `Full`, too.
    #[inline]
    pub fn try_send(&self, item: T) -> Result<()> {
        self.try_send_all(&[item]).map(drop)
    }

    /// Sends `item`, waiting for room at most `timeout`.
    pub fn send_timeout(&self, item: T, timeout: Duration) -> Result<()> {
        self.send_by(Deadline::after(timeout), &[item]).map(drop)
    }

    /// Sends all `items` in order, waiting for room as long as it takes. Items of other senders may come in between.
    ///
    /// If the queue is closed meanwhile, the items that were sent before stay sent.
    pub fn send_all(&self, mut items: &[T]) -> Result<()> {
        while !items.is_empty() {
            let sent = self.send_by(Deadline::NEVER, items)?;
            items = &items[sent..];
        }
        Ok(())
    }

    /// Sends as many of the first `items` as there is room for, and says how many; [`Full`](Error::Full) if none.
    pub fn try_send_all(&self, items: &[T]) -> Result<usize> {
        if items.is_empty() {
            return Ok(0);
        }
        let call = self.placed.call(Deadline::PASSED)?;
        let sent =
            self.placed
                .control()
                .try_send(self.slots(), &call, items.len() as u64, |at, n| {
                    self.write(at, &items[..n as usize])
                })?;
        Ok(sent as usize)
    }

    /// Sends `items` in order, waiting for room at most `timeout` in all, and says how many were sent;
    /// [`Timeout`](Error::Timeout) if none.
    pub fn send_all_timeout(&self, items: &[T], timeout: Duration) -> Result<usize> {
        let deadline = Deadline::after(timeout);
        let mut sent = 0;
        // A wait succeeds for whom room is made while it spins, however late it is: late ones must not begin.
        while sent < items.len() && (sent == 0 || !deadline.has_passed()) {
            match self.send_by(deadline, &items[sent..]) {
                Ok(n) => sent += n,
                Err(_) if sent > 0 => break,
                Err(e) => return Err(e),
            }
        }
        Ok(sent)
    }

    /// Receives an item, waiting for one as long as it takes. If this process dies before it is done with it, the item is gone; see
    /// [`lease`](Self::lease).
    #[inline]
    pub fn recv(&self) -> Result<T> {
        let me = self.placed.me()?;
        let mut item = None;
        let read = |at| item = copy::judge(&self.load(at));
        if !self.leases().recv_at_once(me, &self.placed.spin, read) {
            return self.recv_slowly();
        }
        // As in `try_recv`.
        self.placed.check_whole()?;
        item.ok_or_else(|| Error::Corrupt)
    }

    #[cold]
    fn recv_slowly(&self) -> Result<T> {
        self.recv_by(Deadline::NEVER)
    }

    /// Receives an item if there is one; [`Empty`](Error::Empty) otherwise. Waits at most a millisecond for others that are
    /// receiving; if they take longer (stopped, preempted), it is `Empty`, too.
    #[inline]
    pub fn try_recv(&self) -> Result<T> {
        let call = self.placed.call(Deadline::PASSED)?;
        let mut item = None;
        let take = |at, _| {
            item = copy::judge(&self.load(at));
            1
        };
        let received = self.leases().try_recv(&call, 1, take);
        // Before the error, too: an empty queue may be one that was cut off.
        self.placed.check_whole()?;
        received?;
        item.ok_or_else(|| Error::Corrupt)
    }

    /// Receives an item, waiting for one at most `timeout`.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T> {
        self.recv_by(Deadline::after(timeout))
    }

    /// Waits for an item as long as it takes, then receives up to `max` of those that are there, appends them to `items`,
    /// and says how many. It may be fewer than there are: of items whose leases were given back, one call receives at most 64.
    pub fn recv_many(&self, items: &mut Vec<T>, max: usize) -> Result<usize> {
        let call = self.placed.call(Deadline::NEVER)?;
        self.recv_many_by(items, max, |max, take| self.receive(&call, max, take))
    }

    /// As [`recv_many`](Self::recv_many), without waiting; [`Empty`](Error::Empty) if there is nothing.
    pub fn try_recv_many(&self, items: &mut Vec<T>, max: usize) -> Result<usize> {
        let call = self.placed.call(Deadline::PASSED)?;
        self.recv_many_by(items, max, |max, take| {
            self.leases().try_recv(&call, max, take)
        })
    }

    /// As [`recv_many`](Self::recv_many), waiting for the first item at most `timeout`.
    pub fn recv_many_timeout(
        &self,
        items: &mut Vec<T>,
        max: usize,
        timeout: Duration,
    ) -> Result<usize> {
        let call = self.placed.call(Deadline::after(timeout))?;
        self.recv_many_by(items, max, |max, take| self.receive(&call, max, take))
    }

    /// Receives, one after another, until the queue is closed and drained.
    ///
    /// It ends at any other error, too; to see which, loop over [`recv`](Self::recv).
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { queue: self }
    }

    /// As [`send`](Self::send), without a thread that waits: a future for any runtime. Dropped before it is ready, it has sent nothing.
    ///
    /// What holds for all futures is said at [`recv_async`](Self::recv_async).
    #[cfg(feature = "async")]
    pub fn send_async(&self, item: T) -> impl Future<Output = Result<()>> + Send + '_ {
        let wanted = || Wanted::signal(self.room(), Serves::One);
        Until::new(wanted, move || self.try_send(item))
    }

    /// As [`recv`](Self::recv), without a thread that waits: a future for any runtime. Dropped before it is ready, it has received
    /// nothing, and a wake-up that was meant for it goes to another. A deadline is the runtime's to keep (tokio's `timeout`, say).
    ///
    /// As for all futures of this crate: a thread of the process (`commonhold-async`; one as long as the objects that are waited for,
    /// and their segments, are together at most 127) sleeps for all that wait. It starts when the first has to, keeps a segment mapped
    /// while one waits in it (and up to 20 ms longer), and ends a second after the last. Of the futures of one process the one that has
    /// waited longest is woken first; one that is woken and not polled is passed over after 20 ms. Polling may wait for a millisecond
    /// where a try-form does.
    ///
    /// In a forked child a future that it inherited may be dropped, which does nothing, or polled, by a runtime that was started there.
    ///
    /// # Examples
    /// ```
    /// # use commonhold::{Queue, Segment};
    /// # async fn work(n: u32) {}
    /// async fn serve(jobs: Queue<u32>) -> commonhold::Result<()> {
    ///     loop {
    ///         work(jobs.recv_async().await?).await;
    ///     }
    /// }
    /// ```
    #[cfg(feature = "async")]
    pub fn recv_async(&self) -> impl Future<Output = Result<T>> + Send + '_ {
        let wanted = || Wanted::signal(self.arrival(), Serves::One);
        Until::new(wanted, || self.try_recv())
    }

    /// How many items waited to be received a moment ago. Those that are leased do not; those that came back do.
    pub fn len(&self) -> usize {
        self.leases().len() as usize
    }

    /// Whether there was none a moment ago. What was sent before the call, by anybody, and neither received nor leased, counts.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there was no room a moment ago. Items that are leased take up room.
    pub fn is_full(&self) -> bool {
        self.placed.control().len(self.slots()) == self.slots()
    }

    /// How many items it can hold.
    pub fn capacity(&self) -> usize {
        self.placed.len()
    }

    /// Ends the sending, for all; when it returns, no send succeeds any more. Waits for a send that is under way.
    pub fn close(&self) {
        let raw = self.placed.control();
        let closed = self
            .placed
            .call(Deadline::NEVER)
            .and_then(|call| raw.close(&call));
        if closed.is_err() {
            // Only a forked child for which no member slot is left comes here.
            raw.idle.close_without_lock();
        }
    }

    /// Whether the queue is closed. There may still be items in it.
    pub fn is_closed(&self) -> bool {
        self.placed.control().is_closed()
    }

    /// The capacity, as the machine below counts.
    #[inline]
    pub(super) fn slots(&self) -> u64 {
        self.placed.len() as u64
    }

    /// The queue's receiving side.
    #[inline]
    pub(super) fn leases(&self) -> Leases<'_, Self> {
        Leases {
            raw: self.placed.control(),
            capacity: self.slots(),
            cells: self,
        }
    }

    /// Sends one or more of `items`.
    #[inline]
    pub(super) fn send_by(&self, deadline: Deadline, items: &[T]) -> Result<usize> {
        let call: Call<'_, Inner> = self.placed.call(deadline)?;
        let (raw, slots) = (self.placed.control(), self.slots());
        let spin = &self.placed.spin;
        let looks = spin.keep_distance(|| raw.known_room(slots) < items.len() as u64);
        let sent = raw.send(slots, &call, items.len() as u64, |at, n| {
            self.write(at, &items[..n as usize])
        })?;
        if looks {
            let found = sent.saturating_add(raw.known_room(slots));
            spin.looked(found, slots);
        }
        Ok(sent as usize)
    }

    #[inline]
    fn recv_by(&self, deadline: Deadline) -> Result<T> {
        let call = self.placed.call(deadline)?;
        let mut item = None;
        let take = |at, _| {
            item = copy::judge(&self.load(at));
            1
        };
        let received = self.receive(&call, 1, take);
        // As in `try_recv`.
        self.placed.check_whole()?;
        received?;
        item.ok_or_else(|| Error::Corrupt)
    }

    #[inline]
    fn receive(
        &self,
        call: &Call<'_, Inner>,
        wanted: u64,
        take: impl FnMut(u64, u64) -> u64,
    ) -> Result<u64> {
        let (raw, spin) = (self.placed.control(), &self.placed.spin);
        let looks = spin.keep_distance(|| raw.known_items() < wanted);
        let received = self.leases().recv(call, wanted, take)?;
        if looks {
            spin.looked(received.saturating_add(raw.known_items()), self.slots());
        }
        Ok(received)
    }

    fn recv_many_by(
        &self,
        items: &mut Vec<T>,
        max: usize,
        recv: impl FnOnce(u64, &mut dyn FnMut(u64, u64) -> u64) -> Result<u64>,
    ) -> Result<usize> {
        let max = max.min(self.capacity());
        if max == 0 {
            return Ok(0);
        }
        // Before any lock is taken: this may allocate. What the capacity is, the queue's maker said, and there need not be as
        // much memory.
        items
            .try_reserve(max)
            .map_err(|_| Error::no_memory(max * size_of::<T>()))?;
        let before = items.len();
        let mut ended = false;
        let mut take = |at: u64, n: u64| {
            for (i, cell) in (0..n).zip(cells::<T, _>(&self.placed, at)) {
                // What came back is shown one by one.
                if ended {
                    return i;
                }
                // SAFETY: a cell of a T, by the object's shape.
                match copy::judge(&unsafe { copy::load::<T>(cell) }) {
                    Some(item) => items.push(item),
                    // It ends this batch; the next one begins with it, and is an error that takes it out.
                    None => {
                        ended = true;
                        return if items.len() > before { i } else { 1 };
                    }
                }
            }
            n
        };
        let received = recv(max as u64, &mut take);
        // As in `try_recv`.
        if let Err(e) = self.placed.check_whole() {
            items.truncate(before);
            return Err(e);
        }
        received?;
        match items.len() - before {
            0 => Err(Error::Corrupt),
            n => Ok(n),
        }
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
            unsafe { copy::store(cell, item) };
        }
    }
}

impl<T: Plain> Cells for Queue<T> {
    fn words(&self) -> &[LeaseWord] {
        self.placed.of_items()
    }

    fn copy(&self, from: u64, to: u64) {
        // SAFETY: cells of a T, by the object's shape.
        unsafe {
            copy::copy::<T>(
                cell::<T, _>(&self.placed, from),
                cell::<T, _>(&self.placed, to),
            )
        }
    }

    fn asked(&self) -> &LastDone {
        &self.asked
    }

    fn member_slots(&self) -> usize {
        self.placed.member_slots()
    }
}

fn check_capacity(capacity: usize) -> Result<()> {
    if capacity == 0 {
        return Err(Error::InvalidArgument(
            "a queue's capacity must be at least 1",
        ));
    }
    Ok(())
}

/// Receives until the queue is closed and drained; see [`Queue::iter`].
#[derive(Debug)]
pub struct Iter<'a, T> {
    queue: &'a Queue<T>,
}

impl<T: Plain> Iterator for Iter<'_, T> {
    type Item = T;
    fn next(&mut self) -> Option<T> {
        self.queue.recv().ok()
    }
}

impl<'a, T: Plain> IntoIterator for &'a Queue<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;
    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T: Plain> Receives for Queue<T> {
    fn arrival(&self) -> Awaited {
        Awaited::of(Arrival(self.clone()))
    }
}

/// That something can be received or leased, or never again.
struct Arrival<T>(Queue<T>);

impl<T: Plain> Source<Inner> for Arrival<T> {
    fn members(&self) -> &Inner {
        self.0.placed.inner()
    }

    fn signal(&self) -> &RawSignal {
        &self.0.placed.control().idle.not_empty
    }

    fn is_ready(&self, look: Look) -> bool {
        match self.0.placed.call(Deadline::PASSED) {
            Ok(call) => self.0.leases().is_worth_receiving(&call, look),
            // The call that receives will say what is wrong.
            Err(_) => true,
        }
    }
}

impl<T: Plain> Sends for Queue<T> {
    fn room(&self) -> Awaited {
        let ready = |placed: &Placed<RawQueue>, _| {
            let slots = placed.len() as u64;
            placed.control().is_worth_sending(slots, 1)
        };
        Awaited::new(&self.placed, |raw| &raw.idle.not_full, ready)
    }
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Queue {
            placed: self.placed.clone(),
            asked: self.asked.clone(),
            _items: PhantomData,
        }
    }
}

travels!([T: Plain] Queue<T>, placed);

impl<T> std::fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Queue").field(&self.placed).finish()
    }
}
