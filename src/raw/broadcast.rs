//! The broadcast: a ring that publishers write, and that each subscriber reads for itself.
//!
//! Publishers take turns by one lock. A publisher says in `claimed` which cells it is going to write, writes them, and publishes
//! them by one store of `tail`. A subscriber copies the cell of its next item, and then looks whether `claimed` says that a later
//! item may have come into it meanwhile (a sequence lock whose version is the position). So to read takes no lock and no store.
//!
//! A *lossless* subscriber has a record besides, in which publishers see how far it is, and wait for it. They keep the least of these
//! cursors in `floor`, and look at the records only when that says "full". A *lossy* one has nothing in the region.
//!
//! # Points of death
//!
//! | a member dies | the others see | who mends it |
//! |---|---|---|
//! | publishing, before the store of `claimed` | nothing | the next publisher takes the lock over |
//! | publishing, after it and before the store of `tail` | nothing new; a lossy subscriber has lost as many of the oldest items | the same |
//! | publishing, after that | the items | the same; the sweep wakes who is to be woken |
//! | subscribing, before the store of the claim | nothing | the same |
//! | subscribed | a record that bears its name | a publisher without room asks after it, and frees the record; so does a subscriber that finds no free one |
//! | receiving, before / after the store of its cursor | as subscribed | the same |
//! | unsubscribing, before / after the exchange of its claim | as subscribed / a free record | the same; the sweep wakes who is to be woken |
//! | freeing a dead one's record | it is freed or not: one store | the next publisher takes the lock over |
//! | closing, before / after the store of `closed` | an open broadcast / a closed one | the same; the sweep |
//!
//! # Nobody sleeps while there is room
//!
//! A publisher that goes to sleep has registered with `not_full`, then read `tail`, made a full fence, and found a record with a cursor of
//! `tail - capacity`. Whoever moves that cursor (or gives the record up) makes a full fence, and then sees the registration. It sees a
//! `floor` that is no less than the cursor it left, too: no `tail` is stored before a `floor` of at least `tail - capacity`, and the
//! sleeper read that `tail` before its fence. So it is one of the slowest, and notifies; all others need not. One sleeper is woken for any
//! number of items: who has sent looks, after a full fence, whether others sleep and there is room left, and wakes the next.

use super::member::{Call, MemberId, Membership, owner_is_alive};
use super::mutex::{Heir, RawMutex, Took, UnlockOnDrop};
use super::queue::Idle;
use super::wait::{Look, wait_for, wait_for_items};
use crate::error::{Error, Result};
use crate::sys::atomic::{AtomicU32, AtomicU64, LoadOwn, Ordering, fence, fence_after_rmw};
use std::cell::Cell;

/// All zero is an open broadcast to which nothing was sent, and nobody has subscribed.
#[repr(C, align(128))]
#[derive(Debug)]
pub(crate) struct RawBroadcast {
    pub(crate) publishers: Publishers,
    pub(crate) stream: Stream,
    pub(crate) idle: Idle,
}

/// What publishers use, and subscribers only when they come, go, or find a publisher asleep.
#[repr(C, align(128))]
#[derive(Debug)]
pub(crate) struct Publishers {
    pub(crate) lock: RawMutex,
    /// Records from this one on are free. Stored only by holders of `lock`.
    pub(crate) used: AtomicU32,
    /// At most the least cursor of a claimed record; `tail` is at most this and the capacity. Stored only by holders of `lock`.
    pub(crate) floor: AtomicU64,
}

/// What each subscriber looks at for each item.
///
/// Positions count items since the beginning and never wrap. `tail <= claimed <= tail + capacity` always, and `claimed` never goes back; a
/// peer that breaks it causes `Err(Corrupt)`.
#[repr(C, align(128))]
#[derive(Debug)]
pub(crate) struct Stream {
    /// Items published: the next one stands at this position. Stored only by holders of the lock.
    pub(crate) tail: AtomicU64,
    /// Cells of positions before this one may have been written. Stored only by holders of the lock.
    pub(crate) claimed: AtomicU64,
}

/// The record of a lossless subscriber.
///
/// | claim | cursor | meaning |
/// |---|---|---|
/// | 0 | any | free |
/// | a living member's id | from `tail - capacity` to `tail` | a subscriber that has received all before it: publishers wait for it |
/// | the same | another | scribbled: nobody waits for it |
/// | a dead one's id, or bits that no member bore | any | free, as soon as somebody asks |
///
/// Bits 30 and 31 of the claim are 0.
#[repr(C, align(64))]
#[derive(Debug)]
pub(crate) struct Subscription {
    /// The position of the item to receive next. Stored by the subscriber, and before it is one by whoever makes it one.
    pub(crate) cursor: AtomicU64,
    /// The id of the member that has subscribed. Only a holder of the lock makes it another than 0.
    pub(crate) claim: AtomicU32,
    pub(crate) reserved: [u32; 13],
}

/// What a look for items found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Nothing,
    /// So many were read, from the position that was asked for.
    Items(u64),
    /// The item at that position is gone; the oldest that may still be there has this one.
    Overtaken(u64),
}

impl RawBroadcast {
    #[cfg(commonhold_loom)]
    pub(crate) fn new() -> RawBroadcast {
        let zero = || AtomicU64::new(0);
        RawBroadcast {
            publishers: Publishers {
                lock: RawMutex::new(),
                used: AtomicU32::new(0),
                floor: zero(),
            },
            stream: Stream {
                tail: zero(),
                claimed: zero(),
            },
            idle: Idle::new(),
        }
    }

    /// Sends 1 to `wanted` items, waiting for room until the deadline: `write` gets the position of the first and their number, and
    /// fills their cells. Says how many.
    #[inline]
    pub(crate) fn send<M: Membership>(
        &self,
        records: &[Subscription],
        capacity: u64,
        call: &Call<'_, M>,
        wanted: u64,
        mut write: impl FnMut(u64, u64),
    ) -> Result<u64> {
        let mut sent = 0;
        wait_for(
            call,
            &self.idle.not_full,
            |look| {
                let asks = look == Look::AskingAfterOwners;
                sent = self.send_now(records, capacity, call, wanted, asks, &mut write)?;
                Ok(sent != 0)
            },
            || self.is_closed() || self.has_room(records, capacity),
        )?;
        Ok(sent)
    }

    /// As [`send`](Self::send), at once: `Err(Full)` if there is no room. Asks after those who are in the way, so that one who only ever
    /// tries finds out about a death too.
    #[inline]
    pub(crate) fn try_send<M: Membership>(
        &self,
        records: &[Subscription],
        capacity: u64,
        call: &Call<'_, M>,
        wanted: u64,
        write: impl FnMut(u64, u64),
    ) -> Result<u64> {
        match self.send_now(records, capacity, call, wanted, true, write) {
            Ok(0) | Err(Error::Timeout | Error::WouldBlock) => Err(Error::Full),
            other => other,
        }
    }

    /// One attempt: 0 if there is no room. With `asks`, subscribers that leave none are asked after.
    #[inline]
    fn send_now<M: Membership>(
        &self,
        records: &[Subscription],
        capacity: u64,
        call: &Call<'_, M>,
        wanted: u64,
        asks: bool,
        mut write: impl FnMut(u64, u64),
    ) -> Result<u64> {
        let held = self.lock(call)?;
        if self.is_closed() {
            return Err(Error::Closed);
        }
        let tail = self.stream.tail.load_own();
        let claimed = self.stream.claimed.load_own();
        // What publishers that died had claimed and not published.
        let begun = claimed.wrapping_sub(tail);
        if begun > capacity {
            return Err(Error::Corrupt);
        }
        let wanted = wanted.min(most_at_once(capacity));
        let mut used = tail.wrapping_sub(self.publishers.floor.load_own());
        if used > capacity || capacity - used < wanted {
            used = self.longest_backlog(records, capacity, tail, asks.then_some(call.members));
        }
        let count = wanted.min(capacity - used);
        if count == 0 {
            return Ok(0);
        }
        let end = tail.wrapping_add(count);
        if count > begun {
            // Release: pairs with the Acquire in `oldest`, so that who sees it sees the `tail` that it goes with.
            self.stream.claimed.store(end, Ordering::Release);
        }
        // Pairs with the fence in `look`: the cells are claimed before they are touched.
        fence(Ordering::Release);
        write(tail, count);
        // Release: pairs with the Acquire in `look` and `has_room`; this store is the publication.
        self.stream.tail.store(end, Ordering::Release);
        drop(held);
        // The unlock made a light fence: who waits looks twice.
        self.idle.not_empty.notify(u32::MAX);
        if self.idle.not_full.is_awaited() && self.has_room(records, capacity) {
            // Whoever gave us room woke one publisher, whatever the room.
            self.idle.not_full.notify(1);
        }
        Ok(count)
    }

    /// The backlog of the slowest subscriber. By a holder of the lock. With `members`, those that leave no room are asked after, and
    /// the records of the dead freed.
    #[cold]
    fn longest_backlog<M: Membership>(
        &self,
        records: &[Subscription],
        capacity: u64,
        tail: u64,
        members: Option<&M>,
    ) -> u64 {
        let (mut longest, mut used) = (0, 0);
        for (record, number) in self.used(records).iter().zip(1..) {
            // Acquire: pairs with the Release of the exchange that frees it: who had it is done with the cells.
            let claim = record.claim.load(Ordering::Acquire);
            if claim == 0 {
                continue;
            }
            // Acquire: pairs with the Release in `advance`: the subscriber is done with the cells before it.
            let backlog = tail.wrapping_sub(record.cursor.load(Ordering::Acquire));
            if backlog == capacity && members.is_some_and(|m| !owner_is_alive(claim, m)) {
                record.claim.store(0, Ordering::Relaxed);
                continue;
            }
            used = number;
            if backlog <= capacity {
                longest = longest.max(backlog);
            }
        }
        // Relaxed, both: holders of the lock are ordered by it, and who looks without it is told by a fence.
        self.publishers.used.store(used, Ordering::Relaxed);
        let floor = tail.wrapping_sub(longest);
        self.publishers.floor.store(floor, Ordering::Relaxed);
        longest
    }

    /// Whether a publisher may find room.
    fn has_room(&self, records: &[Subscription], capacity: u64) -> bool {
        // Acquire: pairs with the Release in `send_now`, so that whoever sees our fence sees the `floor` that this `tail` goes with.
        let tail = self.stream.tail.load(Ordering::Acquire);
        // Pairs with the fence in `moved_on`: we see its cursor (or claim), or it sees the `floor`, and that somebody waits.
        fence(Ordering::SeqCst);
        !self.used(records).iter().any(|record| {
            // Acquire: pairs with the Release in `subscribe`: a new owner's claim, and not the last one's cursor.
            record.claim.load(Ordering::Acquire) != 0
                && tail.wrapping_sub(record.cursor.load(Ordering::Relaxed)) == capacity
        })
    }

    fn used<'r>(&self, records: &'r [Subscription]) -> &'r [Subscription] {
        let used = self.publishers.used.load(Ordering::Relaxed) as usize;
        &records[..used.min(records.len())]
    }

    /// Where a subscriber begins that has no record.
    pub(crate) fn end(&self) -> u64 {
        // Acquire: what was sent before is not received.
        self.stream.tail.load(Ordering::Acquire)
    }

    /// Claims a record: publishers wait for the subscriber from here on. Says which, and where the subscriber begins.
    pub(crate) fn subscribe<M: Membership>(
        &self,
        records: &[Subscription],
        call: &Call<'_, M>,
    ) -> Result<(usize, u64)> {
        let held = self.lock(call)?;
        // Acquire: as in `longest_backlog`: the cursor that the last owner stored comes before ours.
        let is_free = |r: &Subscription| r.claim.load(Ordering::Acquire) == 0;
        let is_dead =
            |r: &Subscription| !owner_is_alive(r.claim.load(Ordering::Relaxed), call.members);
        let free = records.iter().position(is_free);
        let index = free
            .or_else(|| records.iter().position(is_dead))
            .ok_or_else(|| Error::TooManySubscribers)?;
        let tail = self.stream.tail.load_own();
        let used = self.publishers.used.load_own();
        // Relaxed: the claim publishes it.
        records[index].cursor.store(tail, Ordering::Relaxed);
        if used as usize <= index {
            // Relaxed: for holders of the lock; who looks without it may overlook us, and then finds no room.
            let used = index as u32 + 1;
            self.publishers.used.store(used, Ordering::Relaxed);
        }
        // Release: pairs with the Acquire in `longest_backlog`. By this store we are a subscriber.
        records[index]
            .claim
            .store(call.me.bits(), Ordering::Release);
        drop(held);
        if free.is_none() {
            // The dead one may have left no room, and publishers may sleep. Pairs with the fence in `register`.
            fence(Ordering::SeqCst);
            self.idle.not_full.notify(1);
        }
        Ok((index, tail))
    }

    /// Gives up the record of a subscriber that is at `cursor`.
    pub(crate) fn unsubscribe(&self, record: &Subscription, me: MemberId, cursor: u64) {
        // Release: pairs with the Acquire in `longest_backlog` and `subscribe`: we are done with the cells, and the cursor. An exchange, so
        // that what a peer scribbled there is not freed in our name.
        let freed =
            record
                .claim
                .compare_exchange(me.bits(), 0, Ordering::AcqRel, Ordering::Relaxed);
        if freed.is_ok() {
            self.moved_on(cursor);
        }
    }

    /// A subscriber has received all from `from` to `to`.
    #[inline]
    pub(crate) fn advance(&self, record: &Subscription, from: u64, to: u64) {
        // Release: pairs with the Acquire in `longest_backlog`: we are done with the cells. (AcqRel: a compiler may make an exchange of which
        // nobody wants the result, and that acquires nothing, a store.)
        record.cursor.swap(to, Ordering::AcqRel);
        self.moved_on(from);
    }

    /// Tells a publisher, if one waits for the subscriber that was at `from`. The caller has just made a read-modify-write.
    #[inline]
    fn moved_on(&self, from: u64) {
        // Pairs with the fences in `register` and `has_room`.
        fence_after_rmw();
        if !self.idle.not_full.is_awaited() {
            return;
        }
        // Relaxed: the fence. It is less than `from` if others are slower: they let the publisher on.
        let floor = self.publishers.floor.load(Ordering::Relaxed);
        if from.wrapping_sub(floor) as i64 > 0 {
            return;
        }
        self.idle.not_full.notify(1);
    }

    /// A subscriber that is at `at` has received all: stores that again, if somebody scribbled there. Otherwise publishers might wait for it,
    /// and it for them.
    #[inline]
    pub(crate) fn mend(&self, record: &Subscription, at: u64) {
        let says = record.cursor.load(Ordering::Relaxed);
        if says != at {
            self.advance(record, says, at);
        }
    }

    /// Reads 1 to `wanted` items from `at` on, waiting for the first until the deadline. `read` gets the position of the first and their number,
    /// copies some of them (at least one) by relaxed atomic loads, and says how many; what it copied counts only if this is
    /// [`Found::Items`]. The subscriber's `record`, if it is a lossless one, is at `at`, too.
    #[inline]
    pub(crate) fn recv<M: Membership>(
        &self,
        record: Option<&Subscription>,
        capacity: u64,
        call: &Call<'_, M>,
        at: u64,
        wanted: u64,
        mut read: impl FnMut(u64, u64) -> u64,
    ) -> Result<Found> {
        let found = Cell::new(Found::Nothing);
        // Acquire: as in `look`.
        let tail = || self.stream.tail.load(Ordering::Acquire);
        wait_for_items(
            call,
            &self.idle.not_empty,
            |_| {
                found.set(self.look(capacity, at, wanted, &mut read)?);
                if let (Found::Nothing, Some(record)) = (found.get(), record) {
                    self.mend(record, at);
                }
                Ok(found.get() != Found::Nothing)
            },
            || self.is_closed() || tail() != at,
            || found.get() != Found::Items(tail().wrapping_sub(at)),
        )?;
        Ok(found.get())
    }

    /// As [`recv`](Self::recv), without waiting.
    #[inline]
    pub(crate) fn look(
        &self,
        capacity: u64,
        at: u64,
        wanted: u64,
        read: impl FnOnce(u64, u64) -> u64,
    ) -> Result<Found> {
        // Acquire: pairs with the publishers' Release of `tail`: the cells before it are filled.
        let mut there = self.stream.tail.load(Ordering::Acquire).wrapping_sub(at);
        if there == 0 && self.is_closed() {
            // No send is under way once `closed` is seen, so this look is the last word.
            there = self.stream.tail.load(Ordering::Acquire).wrapping_sub(at);
            if there == 0 {
                return Err(Error::Closed);
            }
        }
        if there == 0 {
            return Ok(Found::Nothing);
        }
        if there <= capacity {
            let wanted = wanted.min(there);
            let count = read(at, wanted).min(wanted);
            // Pairs with the Release fence in `send_now`: if `read` saw a byte of a later item, then the load below sees that its cell was
            // claimed.
            fence(Ordering::Acquire);
            if self.is_untouched(capacity, at) {
                return Ok(Found::Items(count));
            }
        }
        self.oldest(capacity).map(Found::Overtaken)
    }

    /// Whether no later item has come into the cell of the one at `at`, nor begun to.
    #[inline]
    fn is_untouched(&self, capacity: u64, at: u64) -> bool {
        let claimed = self.stream.claimed.load(Ordering::Relaxed);
        claimed.wrapping_sub(at) <= capacity
    }

    /// The position of the oldest item that may still be there; that of the next one to come if none is.
    #[cold]
    fn oldest(&self, capacity: u64) -> Result<u64> {
        // Acquire, and `claimed` first: it is never more than the capacity ahead of the `tail` that is read after it.
        let claimed = self.stream.claimed.load(Ordering::Acquire);
        let tail = self.stream.tail.load(Ordering::Acquire);
        let oldest = claimed.wrapping_sub(capacity);
        // `tail` may have gone on; it cannot be before the oldest.
        if tail.wrapping_sub(oldest) as i64 >= 0 {
            return Ok(oldest);
        }
        Err(Error::Corrupt)
    }

    /// Closes: once this returns, no send succeeds any more.
    pub(crate) fn close<M: Membership>(&self, call: &Call<'_, M>) -> Result<()> {
        self.idle.close(&self.publishers.lock, call)
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.idle.is_closed()
    }

    /// How many lossless subscribers there are that live. Asks the kernel.
    pub(crate) fn subscribers<M: Membership>(
        &self,
        records: &[Subscription],
        members: &M,
    ) -> usize {
        let lives = |r: &&Subscription| owner_is_alive(r.claim.load(Ordering::Relaxed), members);
        records.iter().filter(lives).count()
    }

    /// How many items there are from `at` on.
    pub(crate) fn len(&self, capacity: u64, at: u64) -> u64 {
        self.end().wrapping_sub(at).min(capacity)
    }

    #[inline]
    fn lock<'a, M: Membership>(&'a self, call: &'a Call<'_, M>) -> Result<UnlockOnDrop<'a, M>> {
        let lock = &self.publishers.lock;
        // Whether its last holder died makes no difference: each store it made left a valid state.
        let _: Took = lock.lock_inside(call, Heir::Inherits)?;
        Ok(UnlockOnDrop(lock, call))
    }
}

/// How many items are claimed, and published, at once: most of the ring stays as it is, so that lossy subscribers have something to
/// read meanwhile, and a publisher that dies takes little from them.
fn most_at_once(capacity: u64) -> u64 {
    capacity.div_ceil(4)
}

#[cfg(commonhold_loom)]
impl Subscription {
    pub(crate) fn new() -> Subscription {
        Subscription {
            cursor: AtomicU64::new(0),
            claim: AtomicU32::new(0),
            reserved: [0; 13],
        }
    }
}

#[cfg(all(test, not(commonhold_loom)))]
mod tests;
