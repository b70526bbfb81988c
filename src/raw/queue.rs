//! The bounded queue: a ring with a lock for each end.
//!
//! Senders share one lock and receivers another, so the ends run apart; each end keeps on its own cache line a copy of the
//! other's position, and looks at the real one only when the copy says "full" or "empty". An item is written,
//! then published by one store of `tail`; it is read, then given up by one store of `head`. The locks inherit
//! themselves from the dead, since every state that they protect is valid.
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

use super::member::{Call, Membership};
use super::mutex::{Heir, RawMutex, Took};
use super::signal::RawSignal;
use super::wait::wait_for;
use crate::error::{Error, Result};
use crate::sys::atomic::{AtomicU32, AtomicU64, LoadOwn, Ordering, fence_after_rmw};

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
}

impl RawQueue {
    #[cfg(commonhold_loom)]
    pub(crate) fn new() -> RawQueue {
        let end = || End {
            lock: RawMutex::new(),
            position: AtomicU64::new(0),
            other: AtomicU64::new(0),
        };
        RawQueue {
            senders: end(),
            receivers: end(),
            idle: Idle {
                not_empty: RawSignal::new(),
                not_full: RawSignal::new(),
                closed: AtomicU32::new(0),
            },
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
            || self.is_closed() || self.difference() != capacity,
        )?;
        Ok(sent)
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

    /// Receives 1 to `wanted` items, waiting for the first until the deadline: `read` gets the position of the first and
    /// how many to read, copies some of them, and says how many (at least one).
    #[inline]
    pub(crate) fn recv<M: Membership>(
        &self,
        capacity: u64,
        call: &Call<'_, M>,
        wanted: u64,
        mut read: impl FnMut(u64, u64) -> u64,
    ) -> Result<u64> {
        let mut received = 0;
        wait_for(
            call,
            &self.idle.not_empty,
            |_| {
                received = self.recv_now(capacity, call, wanted, &mut read)?;
                Ok(received != 0)
            },
            || self.is_closed() || self.difference() != 0,
        )?;
        Ok(received)
    }

    /// As [`recv`](Self::recv), at once: `Err(Empty)` if there is nothing.
    #[inline]
    pub(crate) fn try_recv<M: Membership>(
        &self,
        capacity: u64,
        call: &Call<'_, M>,
        wanted: u64,
        read: impl FnMut(u64, u64) -> u64,
    ) -> Result<u64> {
        match self.recv_now(capacity, call, wanted, read) {
            Ok(0) | Err(Error::Timeout | Error::WouldBlock) => Err(Error::Empty),
            other => other,
        }
    }

    /// One attempt: 0 if the queue is full.
    #[inline]
    fn send_now<M: Membership>(
        &self,
        capacity: u64,
        call: &Call<'_, M>,
        wanted: u64,
        mut write: impl FnMut(u64, u64),
    ) -> Result<u64> {
        let end = &self.senders;
        let held = end.lock(call)?;
        if self.is_closed() {
            return Err(Error::Closed);
        }
        let tail = end.position.load_own();
        let mut used = tail.wrapping_sub(end.other.load_own());
        if used > capacity || capacity - used < wanted {
            // Acquire: pairs with the receivers' Release of `head`: they are done with the cells before it.
            let head = self.receivers.position.load(Ordering::Acquire);
            // Relaxed: for holders of the lock only.
            end.other.store(head, Ordering::Relaxed);
            used = tail.wrapping_sub(head);
            if used > capacity {
                return Err(Error::Corrupt);
            }
        }
        let count = wanted.min(capacity - used);
        if count == 0 {
            return Ok(0);
        }
        write(tail, count);
        // Release: pairs with the Acquire in `recv_now`; this store is the publication.
        end.position
            .store(tail.wrapping_add(count), Ordering::Release);
        drop(held);
        // The unlock was a read-modify-write. Pairs with the fence in `register`.
        fence_after_rmw();
        self.idle.not_empty.notify(clamp(count));
        Ok(count)
    }

    /// One attempt: 0 if the queue is empty.
    #[inline]
    fn recv_now<M: Membership>(
        &self,
        capacity: u64,
        call: &Call<'_, M>,
        wanted: u64,
        mut read: impl FnMut(u64, u64) -> u64,
    ) -> Result<u64> {
        let end = &self.receivers;
        let held = end.lock(call)?;
        let head = end.position.load_own();
        let mut filled = end.other.load_own().wrapping_sub(head);
        if filled < wanted || filled > capacity {
            filled = self.refresh_tail(head, capacity)?;
            if filled == 0 && self.is_closed() {
                // No send is under way once `closed` is seen, so this look is the last word.
                filled = self.refresh_tail(head, capacity)?;
                if filled == 0 {
                    return Err(Error::Closed);
                }
            }
            if filled == 0 {
                return Ok(0);
            }
        }
        let count = read(head, filled.min(wanted)).min(filled);
        // Release: pairs with the Acquire in `send_now`: we are done with the cells.
        end.position
            .store(head.wrapping_add(count), Ordering::Release);
        drop(held);
        // The unlock was a read-modify-write. Pairs with the fence in `register`.
        fence_after_rmw();
        self.idle.not_full.notify(clamp(count));
        Ok(count)
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
        let held = self.senders.lock(call)?;
        self.close_unlocked();
        drop(held);
        self.notify_closed();
        Ok(())
    }

    /// Closes without the senders' lock, for a process that can't take one: a send that is under way may yet succeed.
    pub(crate) fn close_without_lock(&self) {
        self.close_unlocked();
        self.notify_closed();
    }

    fn close_unlocked(&self) {
        // Release: pairs with the Acquire in `is_closed`: who sees it sees every `tail` stored before it.
        self.idle.closed.store(1, Ordering::Release);
    }

    fn notify_closed(&self) {
        // Pairs with the fence in `register`.
        crate::sys::atomic::fence(Ordering::SeqCst);
        self.idle.not_empty.notify(u32::MAX);
        self.idle.not_full.notify(u32::MAX);
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.idle.closed.load(Ordering::Acquire) != 0
    }

    /// How many items there were a moment ago.
    pub(crate) fn len(&self, capacity: u64) -> u64 {
        self.difference().min(capacity)
    }

    /// How far the ends are apart: more than the capacity if they moved while we looked, or were scribbled on.
    #[inline]
    fn difference(&self) -> u64 {
        // Acquire, and `head` first: it never passes the `tail` that is read after it.
        let head = self.receivers.position.load(Ordering::Acquire);
        let tail = self.senders.position.load(Ordering::Acquire);
        tail.wrapping_sub(head)
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

struct Held<'a>(&'a RawMutex);

impl Drop for Held<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.unlock();
    }
}

/// A number of items as a number of sleepers to wake: never the number that means all.
fn clamp(count: u64) -> u32 {
    count.min(u64::from(u32::MAX - 1)) as u32
}
