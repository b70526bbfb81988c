//! The consumer's end of a ring.

use super::chunks::ReadChunk;
use super::{check_chunk, check_mine, close, is_mine, is_small, len};
use crate::error::{Error, Result};
use crate::plain::{InPlace, Plain};
use crate::raw::Call;
use crate::raw::ring::{Consuming, RawRing};
use crate::segment::Placed;
use crate::sys::copy;
use crate::sys::deadline::Deadline;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::time::Duration;

/// The end of a [`Ring`](super::Ring) by which items are received. There is one at a time; dropping it gives it up.
///
/// It can be sent to another thread, and outlives the `Ring` that it was taken from. One that a forked child inherited is inert: it is the parent's, its
/// operations are [`InvalidArgument`](Error::InvalidArgument), and closing or dropping it does nothing. One that is leaked
/// stays held until this process detaches or dies.
#[must_use = "if unused, the end is given up at once"]
pub struct Consumer<T> {
    pub(super) placed: Placed<RawRing>,
    pub(super) end: Consuming,
    _items: PhantomData<T>,
}

impl<T> Consumer<T> {
    pub(super) fn of(placed: Placed<RawRing>, end: Consuming) -> Self {
        Consumer {
            placed,
            end,
            _items: PhantomData,
        }
    }

    /// Whether nobody alive holds the producer's end. Another may take it at any time, unless the ring is closed. Asks the kernel.
    ///
    /// What the last holder sent may still be there: receive until it is empty.
    pub fn is_abandoned(&self) -> bool {
        let raw = self.placed.control();
        !raw.producer.claim.is_held(self.placed.inner())
    }

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

    /// How many items the ring can hold.
    pub fn capacity(&self) -> usize {
        self.placed.len()
    }

    /// Ends the sending for ever, as [`Ring::close`](super::Ring::close). What was sent can still be received.
    pub fn close(&mut self) {
        // A wrapper's drop may do this in a forked child, too.
        if self.check_mine().is_ok() {
            close(&self.placed);
        }
    }

    /// Whether the ring is closed. There may still be items in it.
    pub fn is_closed(&self) -> bool {
        self.placed.control().is_closed()
    }

    #[inline]
    pub(super) fn check_mine(&self) -> Result<()> {
        check_mine(&self.placed, self.end.me())
    }

    /// The place of the next item to read; the places behind it follow up to the last one, and then from the first.
    #[inline]
    pub(super) fn place(&self) -> *const u8 {
        // SAFETY: the index is less than the capacity, and the object has so many places of a T.
        unsafe {
            let data = self.placed.data().as_ptr();
            data.add(self.end.index() as usize * size_of::<T>())
        }
    }

    /// Where the places begin.
    #[inline]
    pub(super) fn first_place(&self) -> *const u8 {
        self.placed.data().as_ptr()
    }

    /// The next `items` are read.
    #[inline]
    pub(super) fn advance(&mut self, items: u64) {
        self.end.advance(self.placed.control(), items);
    }

    /// Finds `least` items without waiting; `Err(Empty)` if there are fewer.
    #[inline]
    fn find_items(&mut self, least: u64) -> Result<()> {
        if self.end.filled() >= least {
            return Ok(());
        }
        self.look_for_items(least)
    }

    /// Apart from those that call it, which are small enough to be inlined without it.
    #[inline(never)]
    fn look_for_items(&mut self, least: u64) -> Result<()> {
        self.look(least)
    }

    #[inline]
    fn look(&mut self, least: u64) -> Result<()> {
        // The look may store our position.
        self.check_mine()?;
        let looked = self.end.look_for_items(self.placed.control(), least);
        // Before the error, too: an empty ring may be one that was cut off.
        self.check_mine()?;
        if looked? { Ok(()) } else { Err(Error::Empty) }
    }

    /// Finds `least` items, waiting for them until the deadline.
    #[inline]
    fn wait_for_items(&mut self, least: u64, deadline: impl FnOnce() -> Deadline) -> Result<()> {
        if self.end.filled() >= least {
            return Ok(());
        }
        match self.look_from_afar(least) {
            Err(Error::Empty) => self.wait_for_items_until(least, deadline()),
            other => other,
        }
    }

    /// As [`look_for_items`](Self::look_for_items), by one who has the time to look out for a single item first, or to let the producer get
    /// ahead.
    #[inline(never)]
    fn look_from_afar(&mut self, least: u64) -> Result<()> {
        let (raw, spin) = (self.placed.control(), &self.placed.spin);
        if spin.look_out(|| self.end.is_worth_a_look(raw, least)) {
            self.look(least)?;
            self.placed.spin.found(self.end.filled() > least);
            return Ok(());
        }
        spin.keep_distance(|| true);
        self.look(least)?;
        let (found, capacity) = (self.end.filled(), self.capacity() as u64);
        self.placed.spin.looked(found, capacity);
        Ok(())
    }

    #[cold]
    fn wait_for_items_until(&mut self, least: u64, deadline: Deadline) -> Result<()> {
        let call = Call {
            members: self.placed.inner(),
            me: self.end.me(),
            spin: &self.placed.spin,
            deadline,
        };
        let waited = self.end.wait_for_items(self.placed.control(), least, &call);
        self.check_mine()?;
        waited
    }
}

impl<T: Plain> Consumer<T> {
    /// Receives an item, waiting for one as long as it takes. If nobody holds the producer's end, it waits for one who will; see
    /// [`is_abandoned`](Self::is_abandoned).
    #[inline(always)]
    pub fn recv(&mut self) -> Result<T> {
        if is_small::<T>() && self.end.filled() != 0 {
            return self.take();
        }
        self.recv_slowly()
    }

    // Apart: what calls for it is small enough to be inlined.
    #[inline(never)]
    fn recv_slowly(&mut self) -> Result<T> {
        self.wait_for_items(1, || Deadline::NEVER)?;
        self.take()
    }

    /// Receives an item if there is one; [`Empty`](Error::Empty) otherwise.
    #[inline(always)]
    pub fn try_recv(&mut self) -> Result<T> {
        if is_small::<T>() && self.end.filled() != 0 {
            return self.take();
        }
        self.try_recv_slowly()
    }

    // As `recv_slowly`.
    #[inline(never)]
    fn try_recv_slowly(&mut self) -> Result<T> {
        self.find_items(1)?;
        self.take()
    }

    /// Receives an item, waiting for one at most `timeout`.
    #[inline]
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<T> {
        self.wait_for_items(1, || Deadline::after(timeout))?;
        self.take()
    }

    /// Waits for an item as long as it takes, then receives up to `max` of those that are there, appends them to `items`,
    /// and says how many.
    pub fn recv_many(&mut self, items: &mut Vec<T>, max: usize) -> Result<usize> {
        self.recv_many_by(items, max, |this| {
            this.wait_for_items(1, || Deadline::NEVER)
        })
    }

    /// As [`recv_many`](Self::recv_many), without waiting; [`Empty`](Error::Empty) if there is nothing.
    pub fn try_recv_many(&mut self, items: &mut Vec<T>, max: usize) -> Result<usize> {
        self.recv_many_by(items, max, |this| this.find_items(1))
    }

    /// As [`recv_many`](Self::recv_many), waiting for the first item at most `timeout`.
    pub fn recv_many_timeout(
        &mut self,
        items: &mut Vec<T>,
        max: usize,
        timeout: Duration,
    ) -> Result<usize> {
        self.recv_many_by(items, max, |this| {
            this.wait_for_items(1, || Deadline::after(timeout))
        })
    }

    /// Receives, one after another, until the ring is closed and drained.
    ///
    /// It ends at any other error, too; to see which, loop over [`recv`](Self::recv).
    pub fn iter(&mut self) -> ConsumerIter<'_, T> {
        ConsumerIter { consumer: self }
    }

    /// There is one.
    #[inline(always)]
    fn take(&mut self) -> Result<T> {
        // SAFETY: the place of a T, packed, by the object's shape.
        let bits = unsafe { copy::load_packed::<T>(self.place()) };
        self.check_mine()?;
        self.advance(1);
        copy::judge(&bits).ok_or_else(|| Error::Corrupt)
    }

    fn recv_many_by(
        &mut self,
        items: &mut Vec<T>,
        max: usize,
        find: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<usize> {
        let max = max.min(self.capacity());
        if max == 0 {
            return Ok(0);
        }
        let known = self.end.filled();
        find(self)?;
        if known != 0 && self.end.filled() < max as u64 {
            // An error (the ring is closed with fewer) takes nothing from those that are known to be there.
            let _ = self.look_for_items(max as u64);
        }
        let count = self.end.filled().min(max as u64) as usize;
        // What the capacity is, the ring's maker said, and there need not be as much memory.
        items
            .try_reserve(count)
            .map_err(|_| Error::no_memory(count * size_of::<T>()))?;
        let room = &mut items.spare_capacity_mut()[..count];
        // SAFETY: `CheckedBitPattern` promises that a T and its bits have one layout.
        let room = unsafe { &mut *(std::ptr::from_mut(room) as *mut [MaybeUninit<T::Bits>]) };
        let to_the_end = self.capacity() - self.end.index() as usize;
        let (first, second) = room.split_at_mut(count.min(to_the_end));
        // SAFETY: places of Ts, packed, by the object's shape: `first` ends at the last place at the latest.
        unsafe {
            copy::load_run::<T>(self.place(), first);
            copy::load_run::<T>(self.first_place(), second);
        }
        // SAFETY: these filled the room.
        let bits = room.iter().map(|bits| unsafe { bits.assume_init_ref() });
        let valid = bits
            .take_while(|bits| T::is_valid_bit_pattern(bits))
            .count();
        self.check_mine()?;
        // One that is not valid ends this batch; the next one begins with it, and is an error that takes it out.
        // (There is none where a peer scribbled on its position.)
        self.advance(valid.max(1).min(count) as u64);
        // SAFETY: so many are Ts.
        unsafe { items.set_len(items.len() + valid) };
        match valid {
            0 => Err(Error::Corrupt),
            n => Ok(n),
        }
    }
}

impl<T: InPlace> Consumer<T> {
    /// Lends the next `items` items in place, waiting for all of them as long as it takes. [`TooLarge`](Error::TooLarge) for more than the ring can
    /// hold; [`Closed`](Error::Closed) if the ring is closed with fewer in it (they can be had by a smaller chunk).
    ///
    /// # Examples
    /// ```
    /// # use commonhold::{Ring, Segment};
    /// # fn main() -> commonhold::Result<()> {
    /// # let seg = Segment::anonymous(1 << 16)?;
    /// let ring = Ring::<u32>::create(&seg, "ring", 8)?;
    /// let (mut producer, mut consumer) = (ring.producer()?, ring.consumer()?);
    ///
    /// producer.send_all(&[1, 2, 3])?;
    /// let chunk = consumer.read_chunk(3)?;
    /// let (first, second) = chunk.as_slices();
    /// assert_eq!(first.iter().chain(second).sum::<u32>(), 6);
    /// chunk.commit(2)?;
    /// assert_eq!(consumer.recv()?, 3);
    /// # Ok(())
    /// # }
    /// ```
    pub fn read_chunk(&mut self, items: usize) -> Result<ReadChunk<'_, T>> {
        let least = check_chunk(items, self.capacity())?;
        self.wait_for_items(least, || Deadline::NEVER)?;
        ReadChunk::of(self, items)
    }

    /// As [`read_chunk`](Self::read_chunk), without waiting; [`Empty`](Error::Empty) if there are fewer.
    pub fn try_read_chunk(&mut self, items: usize) -> Result<ReadChunk<'_, T>> {
        let least = check_chunk(items, self.capacity())?;
        self.find_items(least)?;
        ReadChunk::of(self, items)
    }

    /// As [`read_chunk`](Self::read_chunk), waiting at most `timeout`.
    pub fn read_chunk_timeout(
        &mut self,
        items: usize,
        timeout: Duration,
    ) -> Result<ReadChunk<'_, T>> {
        let least = check_chunk(items, self.capacity())?;
        self.wait_for_items(least, || Deadline::after(timeout))?;
        ReadChunk::of(self, items)
    }
}

/// Receives until the ring is closed and drained; see [`Consumer::iter`].
#[derive(Debug)]
pub struct ConsumerIter<'a, T> {
    consumer: &'a mut Consumer<T>,
}

impl<T: Plain> Iterator for ConsumerIter<'_, T> {
    type Item = T;
    fn next(&mut self) -> Option<T> {
        self.consumer.recv().ok()
    }
}

impl<'a, T: Plain> IntoIterator for &'a mut Consumer<T> {
    type Item = T;
    type IntoIter = ConsumerIter<'a, T>;
    fn into_iter(self) -> ConsumerIter<'a, T> {
        self.iter()
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        if is_mine(&self.placed, self.end.me()) {
            self.end.give_up(self.placed.control());
        }
    }
}

impl<T> std::fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Consumer").field(&self.placed).finish()
    }
}

#[cfg(all(test, not(commonhold_loom)))]
mod tests {
    use crate::{Error, Ring, Segment};
    use std::sync::atomic::Ordering::Relaxed;

    #[test]
    fn a_position_that_goes_back_behind_known_items_takes_nothing_and_is_mended_by_the_next_send() {
        let seg = Segment::anonymous(1 << 16).unwrap();
        let ring = Ring::<u64>::create(&seg, "ring", 8).unwrap();
        let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
        producer.send_all(&[1, 2, 3]).unwrap();
        assert_eq!(consumer.recv().unwrap(), 1);
        let raw = ring.placed.control();
        raw.producer.position.store(1, Relaxed);
        let mut items = Vec::new();
        let received = consumer.try_recv_many(&mut items, 8);
        assert!(matches!(received, Err(Error::Corrupt)), "{received:?}");
        assert_eq!(raw.consumer.position.load(Relaxed), 1);
        producer.send(4).unwrap();
        assert_eq!(consumer.try_recv_many(&mut items, 8).unwrap(), 3);
        assert_eq!(items, [2, 3, 4]);
    }
}
