//! The bounded queue: a ring with a lock for each end.
//!
//! Senders share one lock and receivers another, so the ends run apart; each end keeps on its own cache line a copy of the
//! other's position, and looks at the real one only when the copy says "full" or "empty". An item is written,
//! then published by one store of `tail`; it is read, then given up by one store of `head`. The locks inherit
//! themselves from the dead, since every state that they protect is valid.
//!
//! A [`Queue`](crate::Queue) receives by way of `leases.rs`: what is leased stands between the receivers' position and the items that
//! were never delivered. Frames of several units, which are not leased, go through `queue/frames.rs`.
//!
//! # Points of death
//!
//! | a member dies | the others see |
//! |---|---|
//! | sending, before the store of `tail` | nothing: the cells beyond `tail` do not exist |
//! | sending, after it | the item; a sleeper that was to be woken for it is woken by the sweep |
//! | receiving, before the store of `head` | the item: the next receiver gets it |
//! | receiving, after it | the item went to the dead; a sender that was to be woken is woken by the sweep |
//! | closing, before the store of `closed` / after it | an open queue / a closed one |

pub(crate) mod frames;

use super::apart::apart;
use super::member::{Call, MemberId, Membership};
use super::mutex::{Heir, RawMutex, Took};
use super::signal::RawSignal;
use super::wait::wait_for;
use crate::error::{Error, Result};
use crate::sys::atomic::{AtomicU32, AtomicU64, LoadOwn, Ordering, fence};
use crate::sys::spin::Adaptive;

/// One end: its lock, its position, and its copy of the other end's.
///
/// Positions count items since the beginning and never wrap. `head <= tail <= head + capacity` always; a peer that
/// breaks it causes `Err(Corrupt)`.
#[repr(C, align(128))]
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) lock: RawMutex,
    /// Stored only by holders of `lock`. Senders: `tail`, the next cell to write. Receivers: `head`, the next to read.
    pub(crate) position: AtomicU64,
    /// A former value of the other end's position. Read and stored only by holders of `lock`.
    pub(crate) other: AtomicU64,
    /// Of receivers whose items can be leased. All others' is 0.
    pub(crate) kept: Kept,
}

/// What leases need to know beside the words of the cells; see `leases.rs`. Stored only by holders of the receivers' lock.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Kept {
    /// The next item that was never delivered, if that is beyond `head`: all from `head` up to it are kept. Otherwise nothing is kept,
    /// and the next item is at `head`.
    pub(crate) cursor: AtomicU64,
    /// All that is kept was first leased at this position or beyond it.
    pub(crate) since: AtomicU64,
    /// How many of those that are kept wait to be delivered again.
    pub(crate) returned: AtomicU64,
}

/// All zero is an open, empty queue.
#[repr(C, align(128))]
#[derive(Debug)]
pub(crate) struct RawQueue {
    pub(crate) senders: End,
    pub(crate) receivers: End,
    pub(crate) idle: Idle,
}

/// What is written only when an end waits or the queue closes; both ends read it after each operation.
#[repr(C, align(128))]
#[derive(Debug)]
pub(crate) struct Idle {
    pub(crate) not_empty: RawSignal,
    pub(crate) not_full: RawSignal,
    /// 0: open. Anything else: closed. Stored by a holder of the senders' lock, so that no send is under way.
    pub(crate) closed: AtomicU32,
    /// All that was sent has been received, and all that was leased completed.
    pub(crate) drained: RawSignal,
}

impl RawQueue {
    #[cfg(commonhold_loom)]
    pub(crate) fn new() -> RawQueue {
        let end = || End {
            lock: RawMutex::new(),
            position: AtomicU64::new(0),
            other: AtomicU64::new(0),
            kept: Kept {
                cursor: AtomicU64::new(0),
                since: AtomicU64::new(0),
                returned: AtomicU64::new(0),
            },
        };
        RawQueue {
            senders: end(),
            receivers: end(),
            idle: Idle::new(),
        }
    }

    /// Sends 1 to `wanted` items, waiting for room for the first until the deadline: `write` gets the position of the
    /// first and their number, and fills their cells.
    #[inline]
    pub(crate) fn send<M: Membership>(
        &self,
        capacity: u64,
        call: &Call<'_, M>,
        wanted: u64,
        mut write: impl FnMut(u64, u64),
    ) -> Result<u64> {
        let mut sent = 0;
        wait_for(
            call,
            &self.idle.not_full,
            |_| {
                sent = self.send_now(capacity, call, wanted, &mut write)?;
                Ok(sent != 0)
            },
            || self.is_worth_sending(capacity, 1),
        )?;
        Ok(sent)
    }

    /// Whether an attempt to send so many would not be told to wait.
    #[inline]
    pub(crate) fn is_worth_sending(&self, capacity: u64, least: u64) -> bool {
        // At one moment: a Select tells its user of room by this. A difference that is none is for the attempt to report.
        let used = self.used();
        self.is_closed() || used > capacity || capacity - used >= least
    }

    /// As [`send`](Self::send), at once: `Err(Full)` if there is no room.
    #[inline]
    pub(crate) fn try_send<M: Membership>(
        &self,
        capacity: u64,
        call: &Call<'_, M>,
        wanted: u64,
        write: impl FnMut(u64, u64),
    ) -> Result<u64> {
        match self.send_now(capacity, call, wanted, write) {
            Ok(0) | Err(Error::Timeout | Error::WouldBlock) => Err(Error::Full),
            other => other,
        }
    }

    /// Sends one item, if the lock is free, the queue is open, and it has room. `false`: not, or the receivers are near, or something is
    /// wrong: then [`send`](Self::send) is called.
    ///
    /// What it needs comes in registers: a `Call` and its closures would have to be written to memory before the lock, and a locked
    /// instruction waits for all earlier stores.
    #[inline]
    pub(crate) fn send_at_once(
        &self,
        capacity: u64,
        me: MemberId,
        spin: &Adaptive,
        mut write: impl FnMut(u64),
    ) -> bool {
        if !self.senders.lock.lock_at_once(me) {
            return false;
        }
        let held = Held(&self.senders.lock);
        let looks = self.known_room(capacity) == 0;
        if looks && spin.is_near() {
            return false;
        }
        let sent = matches!(self.send_held(held, capacity, 1, |at, _| write(at)), Ok(1));
        if looks && sent {
            spin.looked(1 + self.known_room(capacity), capacity);
        }
        sent
    }

    /// For how many items there is room, as far as senders know without a look at the other end; to who does not hold the lock, a hint.
    #[inline]
    pub(crate) fn known_room(&self, capacity: u64) -> u64 {
        let [tail, head] =
            [&self.senders.position, &self.senders.other].map(|p| p.load(Ordering::Relaxed));
        capacity.saturating_sub(tail.wrapping_sub(head))
    }

    /// How many items there are, as far as receivers know; as [`known_room`](Self::known_room).
    #[inline]
    pub(crate) fn known_items(&self) -> u64 {
        let [head, tail] =
            [&self.receivers.position, &self.receivers.other].map(|p| p.load(Ordering::Relaxed));
        tail.wrapping_sub(head)
    }

    /// One attempt: 0 if the queue is full.
    #[inline]
    fn send_now<M: Membership>(
        &self,
        capacity: u64,
        call: &Call<'_, M>,
        wanted: u64,
        write: impl FnMut(u64, u64),
    ) -> Result<u64> {
        let held = self.senders.lock(call)?;
        self.send_held(held, capacity, wanted, write)
    }

    /// The rest of an attempt, whose maker holds the senders' lock.
    #[inline]
    fn send_held(
        &self,
        held: Held<'_>,
        capacity: u64,
        wanted: u64,
        mut write: impl FnMut(u64, u64),
    ) -> Result<u64> {
        let end = &self.senders;
        if self.is_closed() {
            return Err(Error::Closed);
        }
        let tail = end.position.load_own();
        let count = self.room_behind(tail, wanted, capacity)?.min(wanted);
        if count == 0 {
            return Ok(0);
        }
        write(tail, count);
        // Release: pairs with the Acquire in `refresh_tail`; this store is the publication.
        end.position
            .store(tail.wrapping_add(count), Ordering::Release);
        drop(held);
        // The unlock made a light fence: who waits looks twice.
        self.idle.not_empty.notify(clamp(count));
        Ok(count)
    }

    /// For a holder of the senders' lock: for how many items there is room behind `tail`; by the receivers' own word if it seems to be
    /// for fewer than `wanted`.
    #[inline]
    fn room_behind(&self, tail: u64, wanted: u64, capacity: u64) -> Result<u64> {
        let end = &self.senders;
        let used = tail.wrapping_sub(end.other.load_own());
        if used <= capacity && capacity - used >= wanted {
            return Ok(capacity - used);
        }
        // Acquire: pairs with the receivers' Release of `head`: they are done with the cells before it.
        let head = self.receivers.position.load(Ordering::Acquire);
        // Relaxed: for holders of the lock only.
        end.other.store(head, Ordering::Relaxed);
        capacity
            .checked_sub(tail.wrapping_sub(head))
            .ok_or_else(|| Error::Corrupt)
    }

    /// The rest of an attempt, whose maker holds the receivers' lock and knows `head`.
    #[inline]
    pub(super) fn recv_held(
        &self,
        held: Held<'_>,
        head: u64,
        capacity: u64,
        wanted: u64,
        mut read: impl FnMut(u64, u64) -> u64,
    ) -> Result<u64> {
        let end = &self.receivers;
        let filled = self.filled_behind(head, wanted, capacity)?;
        if filled == 0 {
            return Ok(0);
        }
        let count = read(head, filled.min(wanted)).min(filled);
        let next = head.wrapping_add(count);
        // Release: pairs with the Acquire in `room_behind`: we are done with the cells.
        end.position.store(next, Ordering::Release);
        // The copy of `tail`: if that has gone on, then to more that is not received.
        let drained = next == end.other.load_own();
        drop(held);
        // The unlock made a light fence: who waits looks twice.
        self.idle.not_full.notify(clamp(count));
        if drained {
            self.idle.drained.notify(u32::MAX);
        }
        Ok(count)
    }

    /// For a holder of the receivers' lock: how many items stand behind `head`; all of them if fewer than `wanted` do. `Err(Closed)`
    /// if none does, and none will.
    #[inline]
    pub(super) fn filled_behind(&self, head: u64, wanted: u64, capacity: u64) -> Result<u64> {
        let mut filled = self.receivers.other.load_own().wrapping_sub(head);
        if filled < wanted || filled > capacity {
            filled = self.refresh_tail(head, capacity)?;
            if filled == 0 && self.is_closed() {
                // No send is under way once `closed` is seen, so this look is the last word.
                filled = self.refresh_tail(head, capacity)?;
                if filled == 0 {
                    return Err(Error::Closed);
                }
            }
        }
        Ok(filled)
    }

    /// How many items stand behind `head`, by the senders' own word.
    #[inline]
    fn refresh_tail(&self, head: u64, capacity: u64) -> Result<u64> {
        // Acquire: pairs with the senders' Release of `tail`: the cells before it are filled.
        let tail = self.senders.position.load(Ordering::Acquire);
        // Relaxed: for holders of the lock only.
        self.receivers.other.store(tail, Ordering::Relaxed);
        let filled = tail.wrapping_sub(head);
        if filled > capacity {
            return Err(Error::Corrupt);
        }
        Ok(filled)
    }

    /// Closes: once this returns, no send succeeds any more.
    pub(crate) fn close<M: Membership>(&self, call: &Call<'_, M>) -> Result<()> {
        self.idle.close(&self.senders.lock, call)
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.idle.is_closed()
    }

    /// How many items there were a moment ago.
    pub(crate) fn len(&self, capacity: u64) -> u64 {
        self.used().min(capacity)
    }

    /// As [`apart`], so also more than the capacity.
    fn used(&self) -> u64 {
        apart(&self.receivers.position, &self.senders.position)
    }

    /// How far the ends are apart: more than the capacity if they moved while we looked, or were scribbled on.
    #[inline]
    pub(super) fn difference(&self) -> u64 {
        // Acquire, and `head` first: it never passes the `tail` that is read after it.
        let head = self.receivers.position.load(Ordering::Acquire);
        let tail = self.senders.position.load(Ordering::Acquire);
        tail.wrapping_sub(head)
    }
}

impl Idle {
    #[cfg(commonhold_loom)]
    pub(super) fn new() -> Idle {
        Idle {
            not_empty: RawSignal::new(),
            not_full: RawSignal::new(),
            closed: AtomicU32::new(0),
            drained: RawSignal::new(),
        }
    }

    /// Closes what `lock` is the senders' lock of.
    pub(super) fn close<M: Membership>(&self, lock: &RawMutex, call: &Call<'_, M>) -> Result<()> {
        // As in `End::lock`.
        let _: Took = lock.lock_inside(call, Heir::Inherits)?;
        self.say_closed();
        lock.unlock();
        self.notify_closed();
        Ok(())
    }

    /// Closes without the senders' lock, for a process that can't take one: a send that is under way may yet succeed.
    pub(crate) fn close_without_lock(&self) {
        self.say_closed();
        self.notify_closed();
    }

    fn say_closed(&self) {
        // Release: pairs with the Acquire in `is_closed`: who sees it sees every `tail` stored before it.
        self.closed.store(1, Ordering::Release);
    }

    fn notify_closed(&self) {
        // Pairs with the fence in `register`.
        fence(Ordering::SeqCst);
        self.not_empty.notify(u32::MAX);
        self.not_full.notify(u32::MAX);
    }

    #[inline]
    pub(super) fn is_closed(&self) -> bool {
        // Acquire: pairs with the Release in `say_closed`.
        self.closed.load(Ordering::Acquire) != 0
    }
}

impl End {
    #[inline]
    fn lock<M: Membership>(&self, call: &Call<'_, M>) -> Result<Held<'_>> {
        // Whether its last holder died makes no difference: each store it made left a valid state.
        let _: Took = self.lock.lock_inside(call, Heir::Inherits)?;
        Ok(Held(&self.lock))
    }
}

pub(super) struct Held<'a>(pub(super) &'a RawMutex);

impl Drop for Held<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.unlock();
    }
}

/// A number of items as a number of sleepers to wake: never the number that means all.
#[inline]
pub(super) fn clamp(count: u64) -> u32 {
    count.min(u64::from(u32::MAX - 1)) as u32
}
