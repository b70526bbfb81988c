//! What the holder of the consumer's end does.

use super::RawRing;
use super::cursor::Cursor;
use crate::error::{Error, Result};
use crate::raw::wait::wait_for_items;
use crate::raw::{Call, MemberId, Membership};
use crate::sys::asymmetric::light_fence;
use crate::sys::atomic::{LoadOwn, Ordering};

/// The consumer's end, as its holder knows it: in private memory, so no peer changes it.
#[derive(Debug)]
pub(crate) struct Consuming {
    me: MemberId,
    /// The next cell to read.
    head: Cursor,
    /// A former value of the producer's position. At most `capacity` ahead of `head`.
    tail: u64,
}

impl Consuming {
    /// Takes the consumer's end.
    pub(crate) fn claim<M: Membership>(
        ring: &RawRing,
        capacity: u64,
        members: &M,
        me: MemberId,
    ) -> Result<Consuming> {
        ring.consumer.claim.take(members, me)?;
        // As in `Producing::claim`.
        let head = ring.consumer.position.load_own();
        Ok(Consuming {
            me,
            head: Cursor::new(head, capacity),
            // Nothing is known of the producer: as if the ring were empty.
            tail: head,
        })
    }

    /// Gives the end up.
    pub(crate) fn give_up(&mut self, ring: &RawRing) {
        ring.consumer.claim.give_up(self.me);
    }

    pub(crate) fn me(&self) -> MemberId {
        self.me
    }

    /// The index of the next cell to read.
    #[inline]
    pub(crate) fn index(&self) -> u64 {
        self.head.index()
    }

    /// How many items there are, as far as is known without a look.
    #[inline]
    pub(crate) fn filled(&self) -> u64 {
        self.tail.wrapping_sub(self.head.at())
    }

    /// Whether a look may find `least` items, or that there never will be so many.
    #[inline]
    pub(crate) fn is_worth_a_look(&self, ring: &RawRing, least: u64) -> bool {
        // Relaxed: the look reads it again.
        let tail = ring.producer.position.load(Ordering::Relaxed);
        tail.wrapping_sub(self.head.at()) >= least || ring.is_closed()
    }

    /// Looks whether there are `least` items. `Err(Closed)`: not, and never will be. For the holder alone, not a forked child's copy.
    #[inline]
    pub(crate) fn look_for_items(&mut self, ring: &RawRing, least: u64) -> Result<bool> {
        // Acquire: pairs with the Release in `Producing::publish`: the cells before it are filled.
        let tail = ring.producer.position.load(Ordering::Acquire);
        // For `settle`: who does not see `closed` after this has seen no tail behind the end.
        light_fence();
        if ring.is_closed() {
            self.believe(ring.settle())?;
            if self.filled() < least {
                return Err(Error::Closed);
            }
            return Ok(true);
        }
        self.believe(tail)?;
        if self.filled() >= least {
            return Ok(true);
        }
        self.mend(ring);
        Ok(false)
    }

    /// Stores our position again, if somebody scribbled there. Otherwise the producer might wait for room for ever, and we for items.
    #[inline]
    fn mend(&mut self, ring: &RawRing) {
        if ring.consumer.position.load_own() != self.head.at() {
            self.advance(ring, 0);
        }
    }

    #[inline]
    fn believe(&mut self, tail: u64) -> Result<()> {
        if tail.wrapping_sub(self.head.at()) > self.head.capacity() {
            return Err(Error::Corrupt);
        }
        self.tail = tail;
        Ok(())
    }

    /// Waits for `least` items, at most the capacity, until the deadline.
    #[cold]
    pub(crate) fn wait_for_items<M: Membership>(
        &mut self,
        ring: &RawRing,
        least: u64,
        call: &Call<'_, M>,
    ) -> Result<()> {
        let head = self.head.at();
        let filled = || {
            let tail = ring.producer.position.load(Ordering::Relaxed);
            tail.wrapping_sub(head)
        };
        let worth_it = || filled() >= least || ring.is_closed();
        let attempt = |_| self.look_for_items(ring, least);
        // Nothing is taken yet.
        let more = || filled() > least;
        wait_for_items(call, &ring.idle.not_empty, attempt, worth_it, more)
    }

    /// The next `count` cells are read: gives them up.
    #[inline]
    pub(crate) fn advance(&mut self, ring: &RawRing, count: u64) {
        self.head.advance(count);
        // Release: pairs with the Acquire in `look_for_room`: we are done with the cells.
        let head = self.head.at();
        ring.consumer.position.store(head, Ordering::Release);
        // For a producer that is about to sleep.
        light_fence();
        ring.idle.not_full.notify(u32::MAX);
    }
}
