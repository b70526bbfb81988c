//! The producer's end of a ring.

use super::chunks::WriteChunk;
use super::{check_chunk, check_mine, close, is_mine, is_small, len};
use crate::error::{Error, Result};
use crate::plain::{InPlace, Plain};
use crate::raw::Call;
use crate::raw::ring::{Producing, RawRing};
use crate::segment::Placed;
use crate::sys::copy;
use crate::sys::deadline::Deadline;
use std::marker::PhantomData;
use std::time::Duration;

/// The end of a [`Ring`](super::Ring) by which items are sent. There is one at a time; dropping it gives it up.
///
/// It can be sent to another thread, and outlives the `Ring` that it was taken from. One that a forked child inherited is inert: it is the parent's, its
/// operations are [`InvalidArgument`](Error::InvalidArgument), and closing or dropping it does nothing. One that is leaked
/// stays held until this process detaches or dies.
#[must_use = "if unused, the end is given up at once"]
pub struct Producer<T> {
    pub(super) placed: Placed<RawRing>,
    pub(super) end: Producing,
    _items: PhantomData<T>,
}

impl<T> Producer<T> {
    pub(super) fn of(placed: Placed<RawRing>, end: Producing) -> Self {
        Producer {
            placed,
            end,
            _items: PhantomData,
        }
    }

    /// From here on, what is sent becomes visible to the consumer only every `items` items (with 0 or 1, which is the beginning, each at once),
    /// at [`flush`](Self::flush), before this end waits for room or finds none, and when it is dropped or [closed](Self::close). The two ends then take
    /// the position's cache line from each other less often, where items follow closely on each other.
    ///
    /// If this process dies, or the ring is closed by somebody else, what is not visible by then was not sent: the send that would make
    /// it visible is `Closed`.
    pub fn lazy(&mut self, items: usize) {
        self.end.publish_every(items as u64);
    }

    /// Makes visible what is not yet. [`Closed`](Error::Closed): it was not sent.
    pub fn flush(&mut self) -> Result<()> {
        self.check_mine()?;
        self.end.publish(self.placed.control())
    }

    /// Whether nobody alive holds the consumer's end. Another may take it at any time. Asks the kernel.
    pub fn is_abandoned(&self) -> bool {
        let raw = self.placed.control();
        !raw.consumer.claim.is_held(self.placed.inner())
    }

    /// How many items there were a moment ago. Those that are not visible yet do not count.
    pub fn len(&self) -> usize {
        len(&self.placed)
    }

    /// Whether there was none a moment ago.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there was no room a moment ago, but for what is not visible yet.
    pub fn is_full(&self) -> bool {
        self.len() == self.capacity()
    }

    /// How many items the ring can hold.
    pub fn capacity(&self) -> usize {
        self.placed.len()
    }

    /// Makes visible what is not yet, and ends the sending for ever, also for those who hold this end later.
    pub fn close(&mut self) {
        // A wrapper's drop may do this in a forked child, too.
        if self.check_mine().is_ok() {
            // An error: it is closed already.
            let _ = self.flush();
            close(&self.placed);
        }
    }

    /// Whether the ring is closed.
    pub fn is_closed(&self) -> bool {
        self.placed.control().is_closed()
    }

    #[inline]
    pub(super) fn check_mine(&self) -> Result<()> {
        check_mine(&self.placed, self.end.me())
    }

    /// The place of the next item to write; the places behind it follow up to the last one, and then from the first.
    #[inline]
    pub(super) fn place(&self) -> *mut u8 {
        // SAFETY: the index is less than the capacity, and the object has so many places of a T.
        unsafe {
            let data = self.placed.data().as_ptr();
            data.add(self.end.index() as usize * size_of::<T>())
        }
    }

    /// Where the places begin.
    #[inline]
    pub(super) fn first_place(&self) -> *mut u8 {
        self.placed.data().as_ptr()
    }

    /// The next `items` are written.
    #[inline]
    pub(super) fn advance(&mut self, items: u64) -> Result<()> {
        self.end.advance(self.placed.control(), items)
    }

    /// Whether there is known to be room for an item, and the end is ours.
    #[inline]
    fn has_room(&self) -> bool {
        is_mine(&self.placed, self.end.me()) && self.end.room() != 0
    }

    /// Finds room for `least` items without waiting; `Err(Full)` if there is none.
    fn find_room(&mut self, least: u64) -> Result<()> {
        self.check_mine()?;
        if self.end.room() >= least {
            return Ok(());
        }
        self.look_for_room(least)
    }

    fn look_for_room(&mut self, least: u64) -> Result<()> {
        let looked = self.end.look_for_room(self.placed.control(), least);
        // What a region says that is lost means nothing.
        self.check_mine()?;
        if looked? { Ok(()) } else { Err(Error::Full) }
    }

    /// Finds room for `least` items, waiting for it until the deadline.
    fn wait_for_room(&mut self, least: u64, deadline: impl FnOnce() -> Deadline) -> Result<()> {
        self.check_mine()?;
        if self.end.room() >= least {
            return Ok(());
        }
        match self.look_for_room(least) {
            Err(Error::Full) => self.wait_for_room_until(least, deadline()),
            other => other,
        }
    }

    #[cold]
    fn wait_for_room_until(&mut self, least: u64, deadline: Deadline) -> Result<()> {
        let call = Call {
            members: self.placed.inner(),
            me: self.end.me(),
            spin: &self.placed.spin,
            deadline,
        };
        let waited = self.end.wait_for_room(self.placed.control(), least, &call);
        self.check_mine()?;
        waited
    }
}

impl<T: Plain> Producer<T> {
    /// Sends `item`, waiting for room as long as it takes.
    #[inline(always)]
    pub fn send(&mut self, item: T) -> Result<()> {
        if is_small::<T>() && self.has_room() {
            return self.put(&item);
        }
        self.send_slowly(item)
    }

    // Apart: what calls for it is small enough to be inlined, and a small item is never in the caller's memory.
    #[inline(never)]
    fn send_slowly(&mut self, item: T) -> Result<()> {
        self.wait_for_room(1, || Deadline::NEVER)?;
        self.put(&item)
    }

    /// Sends `item` if there is room; [`Full`](Error::Full) otherwise.
    #[inline(always)]
    pub fn try_send(&mut self, item: T) -> Result<()> {
        if is_small::<T>() && self.has_room() {
            return self.put(&item);
        }
        self.try_send_slowly(item)
    }

    // As `send_slowly`.
    #[inline(never)]
    fn try_send_slowly(&mut self, item: T) -> Result<()> {
        self.find_room(1)?;
        self.put(&item)
    }

    /// Sends `item`, waiting for room at most `timeout`.
    #[inline]
    pub fn send_timeout(&mut self, item: T, timeout: Duration) -> Result<()> {
        self.wait_for_room(1, || Deadline::after(timeout))?;
        self.put(&item)
    }

    /// Sends all `items` in order, waiting for room as long as it takes.
    ///
    /// If the ring is closed meanwhile, the items that were sent before stay sent.
    pub fn send_all(&mut self, items: &[T]) -> Result<()> {
        let mut sent = 0;
        while sent < items.len() {
            self.wait_for_room(1, || Deadline::NEVER)?;
            sent += self.put_some(&items[sent..])?;
        }
        Ok(())
    }

    /// Sends as many of the first `items` as there is room for, and says how many; [`Full`](Error::Full) if none.
    pub fn try_send_all(&mut self, items: &[T]) -> Result<usize> {
        if items.is_empty() {
            return Ok(0);
        }
        // A look only if not all fit by what is known; then what there is will do.
        match self.find_room(check_chunk(
            items.len().min(self.capacity()),
            self.capacity(),
        )?) {
            Err(Error::Full) if self.end.room() > 0 => {}
            found => found?,
        }
        self.put_some(items)
    }

    /// Sends `items` in order, waiting for room at most `timeout` in all, and says how many were sent;
    /// [`Timeout`](Error::Timeout) if none.
    pub fn send_all_timeout(&mut self, items: &[T], timeout: Duration) -> Result<usize> {
        let deadline = Deadline::after(timeout);
        let mut sent = 0;
        while sent < items.len() {
            let found = match self.find_room(1) {
                // What was made room for in time is sent; a wait that begins late would be one too many.
                Err(Error::Full) if sent == 0 || !deadline.has_passed() => {
                    self.wait_for_room_until(1, deadline)
                }
                found => found,
            };
            match found.and_then(|()| self.put_some(&items[sent..])) {
                Ok(n) => sent += n,
                Err(_) if sent > 0 => break,
                Err(e) => return Err(e),
            }
        }
        Ok(sent)
    }

    /// There is room for it.
    #[inline(always)]
    fn put(&mut self, item: &T) -> Result<()> {
        // SAFETY: the place of a T, packed, by the object's shape.
        unsafe { copy::store_packed(self.place(), item) };
        self.advance(1)
    }

    /// Sends as many of `items` as there is known to be room for, and says how many.
    fn put_some(&mut self, items: &[T]) -> Result<usize> {
        let room = self.end.room().min(items.len() as u64) as usize;
        let to_the_end = self.capacity() - self.end.index() as usize;
        let (first, second) = items[..room].split_at(room.min(to_the_end));
        for (at, items) in [(self.place(), first), (self.first_place(), second)] {
            // SAFETY: places of Ts, packed, by the object's shape: `first` ends at the last place at the latest.
            unsafe { copy::store_run(at, items) };
        }
        self.advance(room as u64)?;
        Ok(room)
    }
}

impl<T: InPlace> Producer<T> {
    /// Lends room for `items` items, to be filled in place, waiting for it as long as it takes. [`TooLarge`](Error::TooLarge) for more than the
    /// ring can hold.
    ///
    /// # Examples
    /// ```
    /// # use commonhold::{Ring, Segment};
    /// # fn main() -> commonhold::Result<()> {
    /// # let seg = Segment::anonymous(1 << 16)?;
    /// let ring = Ring::<u32>::create(&seg, "ring", 8)?;
    /// let (mut producer, mut consumer) = (ring.producer()?, ring.consumer()?);
    ///
    /// let mut chunk = producer.write_chunk(3)?;
    /// let (first, second) = chunk.as_mut_slices();
    /// for (place, n) in first.iter_mut().chain(second).zip(1..) {
    ///     *place = n;
    /// }
    /// chunk.commit(2)?;
    /// assert_eq!(consumer.recv()?, 1);
    /// assert_eq!(consumer.recv()?, 2);
    /// assert!(consumer.try_recv().is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn write_chunk(&mut self, items: usize) -> Result<WriteChunk<'_, T>> {
        let least = check_chunk(items, self.capacity())?;
        self.wait_for_room(least, || Deadline::NEVER)?;
        Ok(WriteChunk::of(self, items))
    }

    /// As [`write_chunk`](Self::write_chunk), without waiting; [`Full`](Error::Full) if there is not room for all of them.
    pub fn try_write_chunk(&mut self, items: usize) -> Result<WriteChunk<'_, T>> {
        let least = check_chunk(items, self.capacity())?;
        self.find_room(least)?;
        Ok(WriteChunk::of(self, items))
    }

    /// As [`write_chunk`](Self::write_chunk), waiting at most `timeout`.
    pub fn write_chunk_timeout(
        &mut self,
        items: usize,
        timeout: Duration,
    ) -> Result<WriteChunk<'_, T>> {
        let least = check_chunk(items, self.capacity())?;
        self.wait_for_room(least, || Deadline::after(timeout))?;
        Ok(WriteChunk::of(self, items))
    }
}

impl<T> Drop for Producer<T> {
    fn drop(&mut self) {
        if is_mine(&self.placed, self.end.me()) {
            self.end.give_up(self.placed.control());
        }
    }
}

impl<T> std::fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Producer").field(&self.placed).finish()
    }
}
