//! What the holder of the producer's end does.

use super::RawRing;
use super::index_behind;
use super::looking_twice::looking_twice;
use crate::error::{Error, Result};
use crate::raw::wait::wait_for;
use crate::raw::{Call, MemberId, Membership};
use crate::sys::asymmetric::light_fence;
use crate::sys::atomic::{LoadOwn, Ordering};

/// The producer's end, as its holder knows it: in private memory, so no peer changes it.
#[derive(Debug)]
pub(crate) struct Producing {
    me: MemberId,
    capacity: u64,
    /// The next cell to write.
    tail: u64,
    /// The cell's index: `tail` modulo `capacity`.
    index: u64,
    /// The tail that the region shows.
    published: u64,
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
            capacity,
            tail,
            index: tail % capacity,
            published: tail,
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
        self.index
    }

    /// For how many items there is room, as far as is known without a look.
    #[inline]
    pub(crate) fn room(&self) -> u64 {
        self.limit.wrapping_sub(self.tail)
    }

    /// Looks whether there is room for `least` items; if not, publishes what is not yet.
    #[inline]
    pub(crate) fn look_for_room(&mut self, ring: &RawRing, least: u64) -> Result<bool> {
        // Acquire: pairs with the Release in `Consuming::advance`: the consumer is done with the cells before it.
        let head = ring.consumer.position.load(Ordering::Acquire);
        if self.tail.wrapping_sub(head) > self.capacity {
            return Err(Error::Corrupt);
        }
        self.limit = head.wrapping_add(self.capacity);
        if self.room() >= least {
            return Ok(true);
        }
        if ring.producer.position.load_own() != self.tail {
            // The other side can't make room by taking what it can't see: because it was not published yet, or somebody scribbled on our
            // position.
            self.publish_now(ring)?;
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
        let (tail, capacity) = (self.tail, self.capacity);
        let worth_it = || {
            let used = tail.wrapping_sub(ring.consumer.position.load(Ordering::Relaxed));
            // A difference that is none is for the attempt to report.
            used > capacity || capacity - used >= least || ring.is_closed()
        };
        looking_twice(call, &worth_it, |call| {
            let attempt = |_| self.look_for_room(ring, least);
            wait_for(call, &ring.idle.not_full, attempt, worth_it)
        })
    }

    /// The next `count` cells are written: publishes them, if it is time for that. `Err(Closed)`: neither these nor any others that
    /// were not published before were sent.
    #[inline]
    pub(crate) fn advance(&mut self, ring: &RawRing, count: u64) -> Result<()> {
        self.tail = self.tail.wrapping_add(count);
        self.index = index_behind(self.index + count, self.capacity);
        if self.tail.wrapping_sub(self.published) >= self.every {
            return self.publish_now(ring);
        }
        Ok(())
    }

    /// Makes all that was written visible.
    #[inline]
    pub(crate) fn publish(&mut self, ring: &RawRing) -> Result<()> {
        if self.tail == self.published {
            return Ok(());
        }
        self.publish_now(ring)
    }

    #[inline]
    fn publish_now(&mut self, ring: &RawRing) -> Result<()> {
        // Release: pairs with the Acquire in `look_for_items` and `settle`; this store is the publication.
        let tail = self.tail;
        ring.producer.position.store(tail, Ordering::Release);
        // For a consumer that is about to sleep, and for `settle`.
        light_fence();
        if ring.is_closed() {
            return self.publish_closed(ring);
        }
        self.published = tail;
        ring.idle.not_empty.notify(u32::MAX);
        Ok(())
    }

    /// Finds out whether what was just published came before the end.
    #[cold]
    fn publish_closed(&mut self, ring: &RawRing) -> Result<()> {
        if ring.settle() == self.tail {
            // Whoever closed may have woken the consumer before it could see this.
            ring.idle.not_empty.notify(u32::MAX);
            self.published = self.tail;
            return Ok(());
        }
        self.tail = self.published;
        self.index = self.tail % self.capacity;
        // A peer may have shown a position between the two.
        self.limit = self.tail;
        // Nobody believes it any more; but what is written next shall not be further and further away. Relaxed: it shows no cell.
        ring.producer.position.store(self.tail, Ordering::Relaxed);
        Err(Error::Closed)
    }
}
