//! The bounded queue of many senders and many receivers.

use crate::error::{Error, Result};
use crate::layout::fingerprint::Kind;
use crate::plain::Plain;
use crate::raw::Call;
use crate::raw::queue::RawQueue;
use crate::segment::{Inner, Placed, Segment, Shape};
use crate::sys::copy;
use crate::sys::deadline::Deadline;
use crate::sys::map::InRegion;
use std::marker::PhantomData;
use std::time::Duration;

// SAFETY: atomics of which every pattern has a meaning, and padding that nobody reads; `repr(C)`.
unsafe impl InRegion for RawQueue {}

/// A first-in, first-out queue of a fixed capacity, for any number of senders and receivers in any processes.
///
/// What one sender sent arrives in the order in which it was sent; each item goes to one receiver.
///
/// # When a member dies
/// At any instruction of a send or a receive: nothing happens to the others. An item is in the queue whole or not at all; what
/// was sent is received once. An item whose receive was done went to the dead receiver. A member that dies while it waits
/// takes nothing with it. A wake-up that a dead member should have passed on comes within about 50 ms (with more than 64
/// members, within a second).
///
/// # Fairness
/// None among senders, and none among receivers.
///
/// # Closing
/// [`close`](Self::close) ends the sending: sends get [`Closed`](Error::Closed), and so do receives once the queue
/// is drained. A queue stays closed.
///
/// # Errors
/// [`Closed`](Error::Closed); [`Full`](Error::Full) and [`Empty`](Error::Empty) from the `try_` forms;
/// [`Timeout`](Error::Timeout) from the timed ones; [`Corrupt`](Error::Corrupt): a peer scribbled on an item (that
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
/// 384, and those of an item for each (rounded up to 8 if more than 4, to a power of two if less).
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
    placed: Placed<RawQueue>,
    _items: PhantomData<T>,
}

const _: () = assert!(size_of::<RawQueue>() == 384);

// SAFETY: items are only ever copied in and out, and `T: Send`.
unsafe impl<T: Plain> Send for Queue<T> {}
// SAFETY: as above.
unsafe impl<T: Plain> Sync for Queue<T> {}

impl<T: Plain> Queue<T> {
    const SHAPE: Shape =
        Shape::new::<RawQueue>(Kind::Queue, copy::cell_size::<T>(), copy::cell_align::<T>());

    /// Makes a queue that holds up to `capacity` items, in 384 bytes, and those of an item for each (rounded up to 8 if more than 4, to
    /// a power of two if less).
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

    fn of(placed: Placed<RawQueue>) -> Result<Self> {
        // No queue is made without room; one that says so was scribbled on.
        if placed.len() == 0 {
            return Err(Error::Corrupt);
        }
        Ok(Queue {
            placed,
            _items: PhantomData,
        })
    }

    /// Sends `item`, waiting for room as long as it takes.
    #[inline]
    pub fn send(&self, item: T) -> Result<()> {
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
        while sent < items.len() {
            match self.send_by(deadline, &items[sent..]) {
                Ok(n) => sent += n,
                Err(_) if sent > 0 => break,
                Err(e) => return Err(e),
            }
        }
        Ok(sent)
    }

    /// Receives an item, waiting for one as long as it takes.
    #[inline]
    pub fn recv(&self) -> Result<T> {
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
        let received = self.placed.control().try_recv(self.slots(), &call, 1, take);
        // Before the error, too: an empty queue may be one that was cut off.
        self.placed.check_whole()?;
        received?;
        item.ok_or(Error::Corrupt)
    }

    /// Receives an item, waiting for one at most `timeout`.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T> {
        self.recv_by(Deadline::after(timeout))
    }

    /// Waits for an item as long as it takes, then receives up to `max` of those that are there, appends them to `items`,
    /// and says how many.
    pub fn recv_many(&self, items: &mut Vec<T>, max: usize) -> Result<usize> {
        let call = self.placed.call(Deadline::NEVER)?;
        self.recv_many_by(items, max, |max, take| {
            self.placed.control().recv(self.slots(), &call, max, take)
        })
    }

    /// As [`recv_many`](Self::recv_many), without waiting; [`Empty`](Error::Empty) if there is nothing.
    pub fn try_recv_many(&self, items: &mut Vec<T>, max: usize) -> Result<usize> {
        let call = self.placed.call(Deadline::PASSED)?;
        self.recv_many_by(items, max, |max, take| {
            self.placed
                .control()
                .try_recv(self.slots(), &call, max, take)
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
        self.recv_many_by(items, max, |max, take| {
            self.placed.control().recv(self.slots(), &call, max, take)
        })
    }

    /// Receives, one after another, until the queue is closed and drained.
    ///
    /// It ends at any other error, too; to see which, loop over [`recv`](Self::recv).
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { queue: self }
    }

    /// How many items there were a moment ago.
    pub fn len(&self) -> usize {
        self.placed.control().len(self.slots()) as usize
    }

    /// Whether there was none a moment ago. What was sent before the call, by anybody, and not received, counts.
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

    /// Ends the sending, for all; when it returns, no send succeeds any more. Waits for a send that is under way.
    pub fn close(&self) {
        let raw = self.placed.control();
        let closed = self
            .placed
            .call(Deadline::NEVER)
            .and_then(|call| raw.close(&call));
        if closed.is_err() {
            // Only a forked child for which no member slot is left comes here.
            raw.close_without_lock();
        }
    }

    /// Whether the queue is closed. There may still be items in it.
    pub fn is_closed(&self) -> bool {
        self.placed.control().is_closed()
    }

    /// The capacity, as the machine below counts.
    #[inline]
    fn slots(&self) -> u64 {
        self.placed.len() as u64
    }

    /// Sends one or more of `items`.
    #[inline]
    fn send_by(&self, deadline: Deadline, items: &[T]) -> Result<usize> {
        let call: Call<'_, Inner> = self.placed.call(deadline)?;
        let sent =
            self.placed
                .control()
                .send(self.slots(), &call, items.len() as u64, |at, n| {
                    self.write(at, &items[..n as usize])
                })?;
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
        let received = self.placed.control().recv(self.slots(), &call, 1, take);
        // As in `try_recv`.
        self.placed.check_whole()?;
        received?;
        item.ok_or(Error::Corrupt)
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
        let mut take = |at: u64, n: u64| {
            for i in 0..n {
                match copy::judge(&self.load(at.wrapping_add(i))) {
                    Some(item) => items.push(item),
                    // It ends this batch; the next one begins with it, and is an error that takes it out.
                    None => return i.max(1),
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

    /// The cell of the item at `position`.
    #[inline]
    fn cell(&self, position: u64) -> *mut u8 {
        let slots = self.slots();
        let index = if slots.is_power_of_two() {
            position & (slots - 1)
        } else {
            position % slots
        };
        // SAFETY: the object has `slots` cells, and the index is less.
        unsafe {
            let data = self.placed.data().as_ptr();
            data.add(index as usize * copy::cell_size::<T>())
        }
    }

    #[inline]
    fn load(&self, position: u64) -> T::Bits {
        // SAFETY: a cell of a T, by the object's shape.
        unsafe { copy::load::<T>(self.cell(position)) }
    }

    #[inline]
    fn write(&self, position: u64, items: &[T]) {
        for (i, item) in items.iter().enumerate() {
            // SAFETY: a cell of a T, by the object's shape.
            unsafe { copy::store(self.cell(position.wrapping_add(i as u64)), item) }
        }
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

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Queue {
            placed: self.placed.clone(),
            _items: PhantomData,
        }
    }
}

impl<T> std::fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Queue").field(&self.placed).finish()
    }
}
