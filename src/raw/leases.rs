//! Receiving from a queue whose items can be leased: an item that is leased stays in its cell, which bears its holder's name, until it is
//! completed.
//!
//! What is *kept* stands in the cells from `head` up to `cursor`: each is leased, or was given back and waits to be delivered again. What
//! was never delivered stands behind them, up to `tail`. Senders see `head` alone, so the capacity bounds what was sent and is not
//! completed.
//!
//! There are no gaps among what is kept. Where an item leaves from the midst of it, the lowest one moves into its cell, and `head` goes on
//! by one: so one lease that lasts holds up nobody, and to complete costs one copy at the most. A holder finds its cell again by a number
//! that goes with the item.
//!
//! All of it happens under the receivers' lock. While nothing is kept a receive is what it is in `queue.rs`.
//!
//! # Points of death
//!
//! | a member dies | the item | who mends it |
//! |---|---|---|
//! | leasing a new item, before the store of `cursor` | was never delivered; the cell's word stands where nobody looks | nobody needs to |
//! | leasing one that came back, before the store of its word | waits to be delivered again | nobody needs to |
//! | holding a lease, also after these stores | is its own until somebody finds out: one who waits, or tries, in vain, or one who leases or receives, now and then | that one stores a word without an owner: it waits to be delivered again |
//! | giving back, before the store of the word / after it | is its own, as above / waits to be delivered again | the next to lock counts what came back |
//! | completing, or receiving one that came back, before the word is cleared | is its own, as above / waits | nobody needs to |
//! | after it | is gone, and leaves a gap | the next to lock closes it |
//! | receiving new ones past what is kept, before the store of `cursor` / after it | were never delivered / are gone to the dead, and leave gaps | the next to lock closes them |
//! | moving one into a gap, before the word of its new cell / after it | is in its old cell / in both | the next to lock moves it / lets `head` pass the lower one |
//! | having let `head` pass, or given back, before the notify | | the next to lock tells everybody; the sweep |
//! | mending | | the next to lock mends |

#[cfg(all(test, not(commonhold_loom)))]
mod tests;
mod turn;
mod word;

use self::turn::Turn;
use self::word::Says;
use super::answers::Answers;
use super::member::{Call, MemberId, Membership};
use super::mutex::{Heir, LOST_AT_ONCE, Took};
use super::queue::{Held, RawQueue};
use super::wait::{Look, between_asks, wait_for, wait_for_items};
use crate::error::{Error, Result};
use crate::sys::atomic::{AtomicU64, LoadOwn, Ordering};
use crate::sys::deadline::LastDone;
use crate::sys::spin::Adaptive;

pub(crate) use self::word::LeaseWord;

/// A lease, as its holder knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leased {
    /// Where it was when it was got; it may have moved.
    at: u64,
    number: u32,
    /// Whether the item had been delivered before.
    pub(crate) redelivered: bool,
}

/// What stands around the machine. Nothing of it is needed while nothing is kept.
pub(crate) trait Cells {
    /// One for each cell.
    fn words(&self) -> &[LeaseWord];

    /// Copies the item at the position `from` over the cell of `to`.
    fn copy(&self, from: u64, to: u64);

    /// When the caller's handle last asked after those who hold leases.
    fn asked(&self) -> &LastDone;

    /// How many member slots there are.
    fn member_slots(&self) -> usize;
}

/// A queue, for those who receive from it.
#[derive(Debug)]
pub(crate) struct Leases<'a, C> {
    pub(crate) raw: &'a RawQueue,
    pub(crate) capacity: u64,
    pub(crate) cells: &'a C,
}

impl<C: Cells> Leases<'_, C> {
    /// Receives 1 to `wanted` items, waiting for the first until the deadline. `read` gets the position of the first of some and how
    /// many there are, copies them, and says how many it takes: at least one if it has taken none before.
    #[inline]
    pub(crate) fn recv<M: Membership>(
        &self,
        call: &Call<'_, M>,
        wanted: u64,
        mut read: impl FnMut(u64, u64) -> u64,
    ) -> Result<u64> {
        let mut received = 0;
        wait_for_items(
            call,
            &self.raw.idle.not_empty,
            |look| {
                received = self.recv_now(call, look, wanted, &mut read)?;
                Ok(received != 0)
            },
            || self.may_succeed(),
            || self.may_succeed(),
        )?;
        Ok(received)
    }

    /// Receives one item, if the lock is free, nothing is kept, and an item is there. `false`: not, or the senders are near, or something
    /// is wrong: then [`recv`](Self::recv) is called. (As [`send_at_once`](RawQueue::send_at_once).)
    #[inline]
    pub(crate) fn recv_at_once(
        &self,
        me: MemberId,
        spin: &Adaptive,
        mut read: impl FnMut(u64),
    ) -> bool {
        let end = &self.raw.receivers;
        if !end.lock.lock_at_once(me) {
            return false;
        }
        let held = Held(&end.lock);
        let head = end.position.load_own();
        let looks = self.raw.known_items() == 0;
        if looks && spin.is_near() || end.kept.cursor.load_own() > head {
            return false;
        }
        let read = |at, _| {
            read(at);
            1
        };
        let received = matches!(
            self.raw.recv_held(held, head, self.capacity, 1, read),
            Ok(1)
        );
        if looks && received {
            spin.looked(self.raw.known_items().saturating_add(1), self.capacity);
        }
        received
    }

    /// As [`recv`](Self::recv), at once: `Err(Empty)` if there is nothing. Asks the kernel after those who hold leases, so that one
    /// who only ever tries finds out about a death too.
    #[inline]
    pub(crate) fn try_recv<M: Membership>(
        &self,
        call: &Call<'_, M>,
        wanted: u64,
        mut read: impl FnMut(u64, u64) -> u64,
    ) -> Result<u64> {
        match self.recv_now(call, Look::AskingAfterOwners, wanted, &mut read) {
            Ok(0) | Err(Error::Timeout | Error::WouldBlock) => Err(Error::Empty),
            other => other,
        }
    }

    /// One attempt: 0 if there is nothing.
    #[inline]
    fn recv_now<M: Membership>(
        &self,
        call: &Call<'_, M>,
        look: Look,
        wanted: u64,
        read: &mut impl FnMut(u64, u64) -> u64,
    ) -> Result<u64> {
        let end = &self.raw.receivers;
        let took = end.lock.lock_inside(call, Heir::Inherits)?;
        let head = end.position.load_own();
        if took == Took::FromTheDead || end.kept.cursor.load_own() > head {
            return self.recv_beside_kept(call, look, took, wanted, read);
        }
        let held = Held(&end.lock);
        self.raw.recv_held(held, head, self.capacity, wanted, read)
    }

    /// Goes on with an attempt whose maker has got the lock.
    #[cold]
    fn recv_beside_kept<M: Membership>(
        &self,
        call: &Call<'_, M>,
        look: Look,
        took: Took,
        wanted: u64,
        read: &mut dyn FnMut(u64, u64) -> u64,
    ) -> Result<u64> {
        let turn = Turn::after(self, took)?;
        let take = |turn: &mut Turn<'_, C>| turn.take(wanted, read);
        Ok(self.attempt(call, look, turn, take)?.unwrap_or(0))
    }

    /// Leases an item, waiting for one until the deadline. `read` gets its position, copies it, and says whether it is a value: what
    /// is none is taken out, and `Err(Corrupt)`.
    pub(crate) fn lease<M: Membership>(
        &self,
        call: &Call<'_, M>,
        mut read: impl FnMut(u64) -> bool,
    ) -> Result<Leased> {
        let mut leased = None;
        wait_for_items(
            call,
            &self.raw.idle.not_empty,
            |look| {
                leased = self.lease_now(call, look, &mut read)?;
                Ok(leased.is_some())
            },
            || self.may_succeed(),
            || self.may_succeed(),
        )?;
        leased.ok_or_else(|| Error::Corrupt)
    }

    /// As [`lease`](Self::lease), at once: `Err(Empty)` if there is nothing. Asks as [`try_recv`](Self::try_recv) does.
    pub(crate) fn try_lease<M: Membership>(
        &self,
        call: &Call<'_, M>,
        mut read: impl FnMut(u64) -> bool,
    ) -> Result<Leased> {
        match self.lease_now(call, Look::AskingAfterOwners, &mut read) {
            Ok(Some(leased)) => Ok(leased),
            Ok(None) | Err(Error::Timeout | Error::WouldBlock) => Err(Error::Empty),
            Err(e) => Err(e),
        }
    }

    fn lease_now<M: Membership>(
        &self,
        call: &Call<'_, M>,
        look: Look,
        read: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Option<Leased>> {
        let turn = Turn::of(self, call)?;
        let take = |turn: &mut Turn<'_, C>| turn.lease(call.me, read);
        self.attempt(call, look, turn, take)
    }

    /// Ends the lease: the item is done with.
    pub(crate) fn complete<M: Membership>(&self, call: &Call<'_, M>, lease: Leased) -> Result<()> {
        let mut turn = Turn::of(self, call)?;
        let at = turn.find(call.me, lease)?;
        turn.let_go(at);
        Ok(())
    }

    /// Ends the lease: the item waits to be delivered again.
    pub(crate) fn give_back<M: Membership>(&self, call: &Call<'_, M>, lease: Leased) -> Result<()> {
        let mut turn = Turn::of(self, call)?;
        let at = turn.find(call.me, lease)?;
        turn.take_back(at);
        Ok(())
    }

    /// Shows `look` the position of each item that is in the queue, also of those that are leased, while nobody receives.
    #[cold]
    pub(crate) fn look_through<M: Membership>(
        &self,
        call: &Call<'_, M>,
        look: impl FnMut(u64),
    ) -> Result<()> {
        let turn = Turn::of(self, call)?;
        let all = match self.raw.filled_behind(turn.head, u64::MAX, self.capacity) {
            Err(Error::Closed) => 0,
            other => other?,
        };
        (0..all).map(|i| turn.head.wrapping_add(i)).for_each(look);
        Ok(())
    }

    /// Waits until the deadline for a moment in which all that was sent is received, and all that was leased completed.
    pub(crate) fn join<M: Membership>(&self, call: &Call<'_, M>) -> Result<()> {
        wait_for(
            call,
            &self.raw.idle.drained,
            |look| match look {
                Look::AskingAfterOwners => self.try_join(call),
                Look::AtOnce | Look::Idly => Ok(self.is_drained()),
            },
            || self.is_drained(),
        )
    }

    /// Whether there is nothing to wait for. Asks the kernel after who holds the lock: it may have died when it had completed the last
    /// lease and not yet let `head` pass, and nobody else may come.
    pub(crate) fn try_join<M: Membership>(&self, call: &Call<'_, M>) -> Result<bool> {
        if self.is_drained() {
            return Ok(true);
        }
        self.mend_after_the_dead(call)?;
        Ok(self.is_drained())
    }

    /// Whether all that was sent is received, and all that was leased completed. What was done before is seen.
    fn is_drained(&self) -> bool {
        // `head` is read before `tail`, never passes it, and never goes back: if they are equal they were so in the moment in which
        // `tail` was read. Acquire, of `head`: pairs with the Release in `pass`, and each who completes takes the lock from the one before.
        self.raw.difference() == 0
    }

    /// How many items wait to be delivered, for the first time or again.
    pub(crate) fn len(&self) -> u64 {
        let (new, _, returned) = self.at_one_moment();
        new.saturating_add(returned).min(self.capacity)
    }

    /// How many items are leased; those of the dead too, until somebody has found out.
    pub(crate) fn leased(&self) -> u64 {
        let (_, kept, returned) = self.at_one_moment();
        (kept - returned).min(self.capacity)
    }

    /// As [`by_now`](Self::by_now), and how many wait to be delivered again; of one moment, unless the queue never stands still.
    fn at_one_moment(&self) -> (u64, u64, u64) {
        let mut seen = self.kept_by_now();
        let mut all = (0, 0, 0);
        for _ in 0..LOST_AT_ONCE {
            let (head, cursor) = seen;
            let kept = cursor - head;
            let tail = self.raw.senders.position.load(Ordering::Acquire);
            all = (tail.wrapping_sub(cursor), kept, self.returned_of(kept));
            // Both only ever grow.
            let now = self.kept_by_now();
            if now == seen {
                break;
            }
            seen = now;
        }
        all
    }

    /// How many items were never delivered (nonsense if somebody scribbled), and how many are kept.
    fn by_now(&self) -> (u64, u64) {
        // These first: they never pass the `tail` that is read after them.
        let (head, cursor) = self.kept_by_now();
        let tail = self.raw.senders.position.load(Ordering::Acquire);
        (tail.wrapping_sub(cursor), cursor - head)
    }

    /// From where to where items are kept.
    fn kept_by_now(&self) -> (u64, u64) {
        let end = &self.raw.receivers;
        // Acquire: pairs with the Release of `head` in `pass`, so that the words are seen in which what was moved stands now.
        let head = end.position.load(Ordering::Acquire);
        // Acquire: pairs with the Release of `cursor`: the words before it are seen.
        (head, end.kept.cursor.load(Ordering::Acquire).max(head))
    }

    /// How many of so many that are kept wait to be delivered again.
    fn returned_of(&self, kept: u64) -> u64 {
        self.raw
            .receivers
            .kept
            .returned
            .load(Ordering::Relaxed)
            .min(kept)
    }

    /// Whether an attempt to receive or to lease may succeed, or find that none will. Where this is wrong for long, an attempt puts
    /// right what it is wrong by, or fails.
    fn may_succeed(&self) -> bool {
        let (new, kept) = self.by_now();
        new != 0
            || kept != 0 && self.returned_of(kept) != 0
            || self.raw.is_closed() && self.is_drained()
    }

    /// As [`may_succeed`](Self::may_succeed); asks after those who hold leases if `look` says so.
    pub(crate) fn is_worth_receiving<M: Membership>(&self, call: &Call<'_, M>, look: Look) -> bool {
        if self.may_succeed() {
            return true;
        }
        if look != Look::AskingAfterOwners {
            return false;
        }
        let asked = || -> Result<bool> {
            self.mend_after_the_dead(call)?;
            Ok(self.may_succeed() || self.take_back_from_the_dead(call)? && self.may_succeed())
        };
        // An error is for the attempt to report.
        asked().unwrap_or(true)
    }

    /// What one who died with the lock had not told yet is told, as an attempt would find it.
    fn mend_after_the_dead<M: Membership>(&self, call: &Call<'_, M>) -> Result<()> {
        if self.raw.receivers.lock.is_held_by_the_dead(call.members) {
            drop(Turn::of(self, call)?);
        }
        Ok(())
    }

    /// One attempt. If it is in vain, or a while after the last time, those who hold leases are asked after.
    fn attempt<M: Membership, R>(
        &self,
        call: &Call<'_, M>,
        look: Look,
        mut turn: Turn<'_, C>,
        mut take: impl FnMut(&mut Turn<'_, C>) -> Result<Option<R>>,
    ) -> Result<Option<R>> {
        let took = take(&mut turn)?;
        let is_kept = turn.cursor != turn.head;
        drop(turn);
        if !is_kept {
            return Ok(took);
        }
        let is_due = || {
            let pause = between_asks(self.cells.member_slots());
            self.cells.asked().is_due(pause)
        };
        if took.is_some() {
            // Else, as long as new items come, nobody would ask.
            if is_due() {
                // An error: the time is up, or the region lost. The item was got before.
                let _ = self.take_back_from_the_dead(call);
            }
            return Ok(took);
        }
        let asks = match look {
            Look::AskingAfterOwners => true,
            Look::AtOnce => is_due(),
            Look::Idly => false,
        };
        if !asks || !self.take_back_from_the_dead(call)? {
            return Ok(None);
        }
        take(&mut Turn::of(self, call)?)
    }

    /// Whether there was anything to take back, or to mend.
    ///
    /// What is kept without an owner is found by the count of what came back, and a gap is closed by who made it. A peer that scribbles
    /// can make one be missed: nobody would come for it, so who asks mends that, too.
    #[cold]
    fn take_back_from_the_dead<M: Membership>(&self, call: &Call<'_, M>) -> Result<bool> {
        let mut answers = Answers::none(call.me);
        // Without the lock: many may wait, and ask, at once. Relaxed: no claim is made on it, and it is looked at again under the lock.
        let (head, cursor) = self.kept_by_now();
        let none_returned = self.returned_of(cursor - head) == 0;
        let is_missed = |says: Says| says.is_gap() || none_returned && says.waits();
        let mut is_of_the_dead =
            |says: Says| says.is_leased() && answers.is_dead(says.owner_bits(), call.members);
        let load = |at| Says(self.word(at).load(Ordering::Relaxed));
        let mut is_for_us = |says| is_missed(says) || is_of_the_dead(says);
        // If it is more than the capacity, others got on between the looks at `head` and at `cursor`, or somebody scribbled: the lock
        // tells which.
        let fits = cursor - head <= self.capacity;
        if fits && !(head..cursor).any(|at| is_for_us(load(at))) {
            return Ok(false);
        }
        let mut turn = Turn::of(self, call)?;
        for at in turn.head..turn.cursor {
            if is_of_the_dead(turn.says(at)) {
                turn.take_back(at);
            }
        }
        turn.mend_unless_sound();
        Ok(true)
    }

    #[inline]
    fn word(&self, at: u64) -> &AtomicU64 {
        let words = self.cells.words();
        &words[(at % words.len() as u64) as usize].word
    }
}
