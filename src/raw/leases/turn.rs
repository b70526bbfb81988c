//! What a holder of the receivers' lock does.

use super::word::{GAP, Says};
use super::{Cells, Leased, Leases};
use crate::error::{Error, Result};
use crate::raw::mutex::{Heir, Took};
use crate::raw::queue::clamp;
use crate::raw::{Call, MemberId, Membership};
use crate::sys::atomic::{LoadOwn, Ordering, fence};

/// How many items that came back are received at once. Each costs a look through all that is kept, while others wait for the lock.
const MOST_RETURNED: u64 = 64;

/// Who holds the receivers' lock. Letting go of it wakes whom the changes concern.
pub(super) struct Turn<'a, C> {
    of: &'a Leases<'a, C>,
    /// `head`.
    pub(super) head: u64,
    /// Where what is kept ends: at least `head`.
    pub(super) cursor: u64,
    /// Room that was made.
    freed: u64,
    /// Items that came back.
    returned: u64,
    /// What is kept had to be put in order: whoever left it so may have told nobody of what it did.
    mended: bool,
}

impl<'a, C: Cells> Turn<'a, C> {
    pub(super) fn of<M: Membership>(of: &'a Leases<'a, C>, call: &Call<'_, M>) -> Result<Self> {
        let took = of.raw.receivers.lock.lock_inside(call, Heir::Inherits)?;
        Turn::after(of, took)
    }

    /// The caller has got the lock so.
    pub(super) fn after(of: &'a Leases<'a, C>, took: Took) -> Result<Self> {
        let end = &of.raw.receivers;
        let head = end.position.load_own();
        let mut turn = Turn {
            of,
            head,
            cursor: end.kept.cursor.load_own().max(head),
            freed: 0,
            returned: 0,
            mended: false,
        };
        // No queue comes so far, and so nothing below overflows.
        let too_far = turn.cursor > i64::MAX as u64;
        if too_far || turn.cursor - head > of.capacity {
            return Err(Error::Corrupt);
        }
        if took == Took::FromTheDead {
            turn.mend();
        }
        Ok(turn)
    }

    /// Takes 1 to `wanted` items, as [`Leases::recv`] says. No others once it has taken [`MOST_RETURNED`] that came back.
    pub(super) fn take(
        &mut self,
        wanted: u64,
        read: &mut dyn FnMut(u64, u64) -> u64,
    ) -> Result<Option<u64>> {
        let mut taken = 0;
        while let Some(at) = self.oldest_that_waits() {
            if read(at, 1) == 0 {
                return Ok(Some(taken));
            }
            self.let_go(at);
            self.count_returned(|n| n.saturating_sub(1));
            taken += 1;
            if taken == wanted.min(MOST_RETURNED) {
                return Ok(Some(taken));
            }
        }
        let is_kept = self.cursor != self.head;
        let filled = match self.never_delivered(wanted - taken) {
            // What was taken is taken; and what is kept may come back.
            Err(_) if taken != 0 => 0,
            Err(Error::Closed) if is_kept => 0,
            other => other?,
        };
        if filled != 0 {
            let count = read(self.cursor, filled.min(wanted - taken)).min(filled);
            if is_kept {
                self.take_past_kept(count);
            } else {
                self.pass(count);
            }
            taken += count;
        }
        Ok(Some(taken).filter(|n| *n != 0))
    }

    /// The `count` items at the cursor have been read.
    fn take_past_kept(&mut self, count: u64) {
        let new = self.cursor..self.cursor + count;
        for at in new.clone() {
            self.of.word(at).store(GAP, Ordering::Relaxed);
        }
        self.move_cursor(new.end);
        self.close_gaps(new.end, count);
    }

    pub(super) fn lease(
        &mut self,
        me: MemberId,
        read: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Option<Leased>> {
        if let Some(at) = self.oldest_that_waits() {
            let is_a_value = read(at);
            let says = self.says(at).leased_again(me);
            if is_a_value {
                // This store takes it. Relaxed: only holders of the lock believe it.
                self.of.word(at).store(says.0, Ordering::Relaxed);
            } else {
                self.let_go(at);
            }
            self.count_returned(|n| n.saturating_sub(1));
            return leased(is_a_value, at, says);
        }
        let kept = self.cursor != self.head;
        match self.never_delivered(1) {
            Ok(0) => return Ok(None),
            Err(Error::Closed) if kept => return Ok(None),
            other => other?,
        };
        let at = self.cursor;
        if !read(at) {
            self.take_past_kept(1);
            return Err(Error::Corrupt);
        }
        if !kept {
            self.of
                .raw
                .receivers
                .kept
                .since
                .store(at, Ordering::Relaxed);
        }
        let says = Says::leased(me, self.number_for(at)?);
        self.of.word(at).store(says.0, Ordering::Relaxed);
        // This store takes it.
        self.move_cursor(at + 1);
        leased(true, at, says)
    }

    /// A number for the item at `at` that nothing has that is kept.
    fn number_for(&self, at: u64) -> Result<u32> {
        let since = self.of.raw.receivers.kept.since.load_own();
        let number = at as u32;
        if at.wrapping_sub(since) <= u64::from(u32::MAX) {
            return Ok(number);
        }
        // Somebody has kept a lease for so long that its number comes round. Far apart, so that a run of such is left at once.
        let taken = |n| (self.head..at).any(|p| self.says(p).number() == n);
        (0..8)
            .map(|i: u32| number.wrapping_add(i.wrapping_mul(0x9e37_79b9)))
            .find(|n| !taken(*n))
            .ok_or_else(|| Error::Corrupt)
    }

    /// As `RawQueue::filled_behind`; and `Err(Closed)` says nothing of what is kept.
    fn never_delivered(&self, wanted: u64) -> Result<u64> {
        let capacity = self.of.capacity;
        self.of.raw.filled_behind(self.cursor, wanted, capacity)
    }

    /// Where the lease is now.
    pub(super) fn find(&self, me: MemberId, lease: Leased) -> Result<u64> {
        let is_it = |at: &u64| self.says(*at).is_lease_of(me, lease.number);
        let mut kept = self.head..self.cursor;
        if kept.contains(&lease.at) && is_it(&lease.at) {
            return Ok(lease.at);
        }
        // Nobody takes a lease from one who lives.
        kept.find(is_it).ok_or_else(|| Error::Corrupt)
    }

    /// The one that waits to be delivered again and was first leased before all others.
    fn oldest_that_waits(&mut self) -> Option<u64> {
        if self.of.raw.receivers.kept.returned.load_own() == 0 {
            return None;
        }
        let now = self.cursor as u32;
        let oldest = (self.head..self.cursor)
            .filter(|at| self.says(*at).waits())
            .max_by_key(|at| now.wrapping_sub(self.says(*at).number()));
        if oldest.is_none() {
            // Somebody scribbled.
            self.count_returned(|_| 0);
        }
        oldest
    }

    /// Makes the item at `at` one that waits to be delivered again.
    pub(super) fn take_back(&mut self, at: u64) {
        let says = self.says(at).returned();
        // This store gives it back. Relaxed, as the one in `lease`.
        self.of.word(at).store(says.0, Ordering::Relaxed);
        self.count_returned(|n| n.saturating_add(1));
        self.returned += 1;
    }

    fn count_returned(&self, change: impl FnOnce(u64) -> u64) {
        let returned = &self.of.raw.receivers.kept.returned;
        // Relaxed, and so are all stores of it: an heir counts anew, and one who waits is told by the signal.
        returned.store(change(returned.load_own()), Ordering::Relaxed);
    }

    /// Makes what is kept at `at` be gone.
    pub(super) fn let_go(&mut self, at: u64) {
        // This store ends it. Relaxed: the fence in `close_gaps` stands behind it.
        self.of.word(at).store(GAP, Ordering::Relaxed);
        self.close_gaps(at + 1, 1);
    }

    /// Moves the lowest of what is kept into the gaps, of which there are so many, all of them below `end`.
    fn close_gaps(&mut self, end: u64, gaps: u64) {
        // What made the gaps comes before they are written to, also for the heir of one who dies here.
        fence(Ordering::Release);
        let mut top = end;
        for _ in 0..gaps {
            if self.head == self.cursor {
                return;
            }
            let says = self.says(self.head);
            if !says.is_gap() {
                let Some(gap) = (self.head + 1..top).rfind(|at| self.says(*at).is_gap()) else {
                    return;
                };
                self.of.cells.copy(self.head, gap);
                // Release: the copy comes before, also for an heir. It is in both places from here on.
                self.of.word(gap).store(says.0, Ordering::Release);
                top = gap;
            }
            self.pass(1);
        }
    }

    /// Gives the lowest `count` cells to the senders.
    fn pass(&mut self, count: u64) {
        self.head = self.head.wrapping_add(count);
        self.cursor = self.cursor.max(self.head);
        self.freed = self.freed.wrapping_add(count);
        // Release: pairs with the Acquire in `room_behind`: we are done with the cells; and with the one in `is_drained`.
        self.of
            .raw
            .receivers
            .position
            .store(self.head, Ordering::Release);
    }

    fn move_cursor(&mut self, to: u64) {
        self.cursor = to;
        // Release: the words before it are written, also for an heir.
        let cursor = &self.of.raw.receivers.kept.cursor;
        cursor.store(to, Ordering::Release);
    }

    /// For one who does not inherit: no holder that lives leaves anything to mend, but a peer that scribbles does.
    pub(super) fn mend_unless_sound(&mut self) {
        let has_gaps = (self.head..self.cursor).any(|at| self.says(at).is_gap());
        if has_gaps || self.waiting() != self.of.raw.receivers.kept.returned.load_own() {
            self.mend();
        }
    }

    /// Puts what is kept in order.
    #[cold]
    fn mend(&mut self) {
        self.mended = true;
        let is_gap = |turn: &Self, at| turn.says(at).is_gap();
        while self.head != self.cursor && is_gap(self, self.head) {
            self.pass(1);
        }
        if self.head != self.cursor {
            let lowest = self.says(self.head);
            if (self.head + 1..self.cursor).any(|at| self.says(at) == lowest) {
                // It had been moved.
                self.pass(1);
            }
        }
        let gaps = (self.head..self.cursor).filter(|at| is_gap(self, *at));
        self.close_gaps(self.cursor, gaps.count() as u64);
        let waiting = self.waiting();
        self.count_returned(|_| waiting);
    }

    /// How many of those that are kept wait to be delivered again.
    fn waiting(&self) -> u64 {
        let waiting = (self.head..self.cursor).filter(|at| self.says(*at).waits());
        waiting.count() as u64
    }

    pub(super) fn says(&self, at: u64) -> Says {
        Says(self.of.word(at).load_own())
    }
}

/// The outcome of leasing the item at `at`.
fn leased(is_a_value: bool, at: u64, says: Says) -> Result<Option<Leased>> {
    if !is_a_value {
        return Err(Error::Corrupt);
    }
    Ok(Some(Leased {
        at,
        number: says.number(),
        redelivered: says.was_delivered(),
    }))
}

impl<C> Drop for Turn<'_, C> {
    fn drop(&mut self) {
        let end = &self.of.raw.receivers;
        // The copy of `tail`: if that has gone on, then to more that is not received.
        let drained = self.freed != 0 && self.head == end.other.load_own();
        end.lock.unlock();
        if self.mended {
            return self.tell_everybody();
        }
        // The unlock made a light fence: who waits looks twice.
        let idle = &self.of.raw.idle;
        if self.freed != 0 {
            idle.not_full.notify(clamp(self.freed));
        }
        if drained {
            idle.drained.notify(u32::MAX);
            if self.of.raw.is_closed() {
                // Who waited for what was leased will get nothing.
                idle.not_empty.notify(u32::MAX);
            }
        }
        if self.returned != 0 {
            idle.not_empty.notify(clamp(self.returned));
        }
    }
}

impl<C> Turn<'_, C> {
    #[cold]
    fn tell_everybody(&self) {
        let idle = &self.of.raw.idle;
        for signal in [&idle.not_full, &idle.drained, &idle.not_empty] {
            signal.notify(u32::MAX);
        }
    }
}
