//! What the holder of the producer's end does.

use super::RawRing;
use super::cursor::Cursor;
use crate::error::{Error, Result};
use crate::raw::wait::wait_for;
use crate::raw::{Call, MemberId, Membership};
use crate::sys::asymmetric::light_fence;
use crate::sys::atomic::{LoadOwn, Ordering};

/// The producer's end, as its holder knows it: in private memory, so no peer changes it.
#[derive(Debug)]
pub(crate) struct Producing {
    me: MemberId,
    /// The next cell to write.
    tail: Cursor,
    /// How many cells before it are written, and not published.
    pending: u64,
    /// How many items are published at a time.
    every: u64,
    /// As far as cells may be written: a former value of the consumer's position, and `capacity` more. At most so much ahead of `tail`.
    limit: u64,
}

impl Producing {
    /// Takes the producer's end.
    pub(crate) fn claim<M: Membership>(
        ring: &RawRing,
        capacity: u64,
        members: &M,
        me: MemberId,
    ) -> Result<Producing> {
        ring.producer.claim.take(members, me)?;
        // Whatever stands there is only compared with the other position.
        let tail = ring.producer.position.load_own();
        Ok(Producing {
            me,
            tail: Cursor::new(tail, capacity),
            pending: 0,
            every: 1,
            // Nothing is known of the consumer: as if the ring were full.
            limit: tail,
        })
    }

    /// Publishes what is not yet, and gives the end up.
    pub(crate) fn give_up(&mut self, ring: &RawRing) {
        // A closed ring takes nothing more.
        let _ = self.publish(ring);
        ring.producer.claim.give_up(self.me);
    }

    pub(crate) fn me(&self) -> MemberId {
        self.me
    }

    pub(crate) fn publish_every(&mut self, items: u64) {
        self.every = items.max(1);
    }

    /// The index of the next cell to write.
    #[inline]
    pub(crate) fn index(&self) -> u64 {
        self.tail.index()
    }

    /// For how many items there is room, as far as is known without a look.
    #[inline]
    pub(crate) fn room(&self) -> u64 {
        self.limit.wrapping_sub(self.tail.at())
    }

    /// Looks whether there is room for `least` items; if not, publishes what is not yet.
    #[inline]
    pub(crate) fn look_for_room(&mut self, ring: &RawRing, least: u64) -> Result<bool> {
        // Acquire: pairs with the Release in `Consuming::advance`: the consumer is done with the cells before it.
        let head = ring.consumer.position.load(Ordering::Acquire);
        if self.tail.at().wrapping_sub(head) > self.tail.capacity() {
            return Err(Error::Corrupt);
        }
        self.limit = head.wrapping_add(self.tail.capacity());
        if self.room() >= least {
            return Ok(true);
        }
        if ring.producer.position.load_own() != self.tail.at() {
            // The other side can't make room by taking what it can't see: because it was not published yet, or somebody scribbled on our
            // position.
            self.publish_now(ring, self.pending)?;
        }
        if ring.is_closed() {
            return Err(Error::Closed);
        }
        Ok(false)
    }

    /// Waits for room for `least` items, at most the capacity, until the deadline.
    #[cold]
    pub(crate) fn wait_for_room<M: Membership>(
        &mut self,
        ring: &RawRing,
        least: u64,
        call: &Call<'_, M>,
    ) -> Result<()> {
        let (tail, capacity) = (self.tail.at(), self.tail.capacity());
        let worth_it = || {
            let used = tail.wrapping_sub(ring.consumer.position.load(Ordering::Relaxed));
            // A difference that is none is for the attempt to report.
            used > capacity || capacity - used >= least || ring.is_closed()
        };
        let attempt = |_| self.look_for_room(ring, least);
        wait_for(call, &ring.idle.not_full, attempt, worth_it)
    }

    /// The next `count` cells are written: publishes them, if it is time for that. `Err(Closed)`: neither these nor any others that
    /// were not published before were sent.
    #[inline]
    pub(crate) fn advance(&mut self, ring: &RawRing, count: u64) -> Result<()> {
        self.tail.advance(count);
        let pending = self.pending + count;
        if pending >= self.every {
            return self.publish_now(ring, pending);
        }
        self.pending = pending;
        Ok(())
    }

    /// Makes all that was written visible.
    #[inline]
    pub(crate) fn publish(&mut self, ring: &RawRing) -> Result<()> {
        if self.pending == 0 {
            return Ok(());
        }
        self.publish_now(ring, self.pending)
    }

    /// Publishes the tail, and with it the `pending` cells before it.
    #[inline]
    fn publish_now(&mut self, ring: &RawRing, pending: u64) -> Result<()> {
        // Release: pairs with the Acquire in `look_for_items` and `settle`; this store is the publication.
        let tail = self.tail.at();
        ring.producer.position.store(tail, Ordering::Release);
        // For a consumer that is about to sleep, and for `settle`.
        light_fence();
        if ring.is_closed() {
            return self.publish_closed(ring, pending);
        }
        // One store less where each item is published.
        if self.pending != 0 {
            self.pending = 0;
        }
        ring.idle.not_empty.notify(u32::MAX);
        Ok(())
    }

    /// Finds out whether what was just published came before the end.
    #[cold]
    fn publish_closed(&mut self, ring: &RawRing, pending: u64) -> Result<()> {
        self.pending = 0;
        if ring.settle() == self.tail.at() {
            // Whoever closed may have woken the consumer before it could see this.
            ring.idle.not_empty.notify(u32::MAX);
            return Ok(());
        }
        let published = self.tail.at().wrapping_sub(pending);
        self.tail = Cursor::new(published, self.tail.capacity());
        // A peer may have shown a position between the two.
        self.limit = published;
        // Nobody believes it any more; but what is written next shall not be further and further away. Relaxed: it shows no cell.
        ring.producer.position.store(published, Ordering::Relaxed);
        Err(Error::Closed)
    }
}
