//! The ring: a queue for one producer and one consumer, without a lock, and wait-free as long as neither end waits for the other and it is open.
//!
//! Each end is claimed by one word that names its holder's process. The holder knows its own position, and a former value of the other's,
//! in private memory; in the region it stores its position, and reads it back only to see, before it waits, whether somebody scribbled there. An item is written, then published by one store of the
//! producer's position (*tail*); it is read, then given up by one store of the consumer's (*head*). Who takes an end over from the
//! dead, or from one who dropped it, goes on from the position in the region.
//!
//! After such a store each side looks at the idle line: does the other wait, is the ring closed? Between the store and the look stands
//! a *light* fence; a waiter, which has registered with a full one, looks a second time before it sleeps for long (`sys/asymmetric.rs`). So
//! at least one of the two sees the other, and neither pays for it with each item.
//!
//! **Closing** has two steps, because no lock keeps a send from being under way. `closed` is stored; and then it is settled, by one
//! exchange of `end`, which tail was the last: whoever sees `closed` (the closer before it returns, either end at its next look) makes a
//! full fence, outlasts what the ends have under way, reads the tail, and exchanges. The producer looks at `closed` after each publication: if it sees it, what it just
//! published counts only if `end` says so, else it takes it back and reports `Closed`. If it does not see it, it looked before the fence of whoever
//! settles, who therefore outlasts the publication, and reads this tail or a later one. The consumer looks at `closed` after it
//! has read a tail: if it does not see it, that tail was visible before any such fence, and so is not behind the end.
//!
//! # Points of death
//!
//! | a member dies | the others see |
//! |---|---|
//! | holding an end | a claim of the dead: the next who asks for that end takes it |
//! | claiming an end, before / after the exchange | nothing / the same |
//! | sending, before the store of `tail` | nothing: cells beyond `tail` do not exist |
//! | sending, after it | the items; a consumer that was to be woken is woken by the sweep |
//! | sending, after it, into a closed ring | nothing: what is behind `end` does not exist |
//! | receiving, before the store of `head` | the items: the next consumer gets them |
//! | receiving, after it | they went to the dead; a producer that was to be woken is woken by the sweep |
//! | dropping an end, before / after the claim is freed | a claim of the dead / a free end |
//! | closing, before the store of `closed` | an open ring |
//! | closing, after it | a closed one: whoever sees it settles the end; sleepers are woken by the sweep |

mod claim;
mod consuming;
mod cursor;
mod producing;

pub(crate) use self::claim::Claim;
pub(crate) use self::consuming::Consuming;
pub(crate) use self::producing::Producing;

use super::signal::RawSignal;
use crate::sys::asymmetric::outlast;
use crate::sys::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// All zero is an open, empty ring whose ends nobody holds.
///
/// Positions count items since the beginning and never wrap. `head <= tail <= head + capacity` always, but that beyond the end of a
/// closed ring `tail` means nothing; a peer that breaks it causes `Err(Corrupt)`.
#[repr(C, align(128))]
#[derive(Debug)]
pub(crate) struct RawRing {
    pub(crate) producer: RingEnd,
    pub(crate) consumer: RingEnd,
    pub(crate) idle: RingIdle,
}

/// One end, on a line that only its holder writes.
#[repr(C, align(128))]
#[derive(Debug)]
pub(crate) struct RingEnd {
    /// The producer's: `tail`, the next cell to write. The consumer's: `head`, the next to read.
    pub(crate) position: AtomicU64,
    pub(crate) claim: Claim,
}

/// What is written only when an end waits or the ring closes; both ends read it after each operation.
#[repr(C, align(128))]
#[derive(Debug)]
pub(crate) struct RingIdle {
    pub(crate) not_empty: RawSignal,
    pub(crate) not_full: RawSignal,
    /// 0: not settled. Anything else: one more than the last tail of a closed ring. Stored once.
    pub(crate) end: AtomicU64,
    /// 0: open. Anything else: closed.
    pub(crate) closed: AtomicU32,
}

impl RawRing {
    #[cfg(commonhold_loom)]
    pub(crate) fn new() -> RawRing {
        let end = || RingEnd {
            position: AtomicU64::new(0),
            claim: Claim {
                word: AtomicU32::new(0),
            },
        };
        RawRing {
            producer: end(),
            consumer: end(),
            idle: RingIdle {
                not_empty: RawSignal::new(),
                not_full: RawSignal::new(),
                end: AtomicU64::new(0),
                closed: AtomicU32::new(0),
            },
        }
    }

    /// Closes: once this returns, nothing that is sent later is accepted, and what was accepted is there for the consumer.
    pub(crate) fn close(&self) {
        // Release: pairs with the Acquire in `is_closed`.
        self.idle.closed.store(1, Ordering::Release);
        // Pairs with the one in `register`.
        fence(Ordering::SeqCst);
        // First: whoever is woken settles by himself, whatever becomes of us.
        self.idle.not_empty.notify(u32::MAX);
        self.idle.not_full.notify(u32::MAX);
        self.settle();
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        // Acquire: pairs with the Release in `close`.
        self.idle.closed.load(Ordering::Acquire) != 0
    }

    /// The last tail of a ring that the caller saw closed.
    #[cold]
    fn settle(&self) -> u64 {
        if let Some(end) = self.settled() {
            return end;
        }
        // For the light fences of both ends, see the head of this file: behind it all is seen that either did before it could see that the
        // ring is closed.
        fence(Ordering::SeqCst);
        outlast();
        // Acquire: pairs with the Release of the publication; AcqRel passes it on to those who read `end`.
        let tail = self.producer.position.load(Ordering::Acquire);
        match self.idle.end.compare_exchange(
            0,
            tail.wrapping_add(1),
            Ordering::AcqRel,
            Ordering::Acquire,
        ) {
            Ok(_) => tail,
            Err(end) => end.wrapping_sub(1),
        }
    }

    /// Whether an attempt to receive may succeed, or find that none will: for those who hold no end. What is wrong in the region the
    /// attempt finds.
    pub(crate) fn is_worth_receiving(&self) -> bool {
        // Relaxed: who receives looks again.
        let [head, tail] =
            [&self.consumer, &self.producer].map(|end| end.position.load(Ordering::Relaxed));
        head != tail || self.is_closed()
    }

    /// Whether an attempt to send may succeed, or find that none will; as [`is_worth_receiving`](Self::is_worth_receiving).
    pub(crate) fn is_worth_sending(&self, capacity: u64) -> bool {
        let [head, tail] =
            [&self.consumer, &self.producer].map(|end| end.position.load(Ordering::Relaxed));
        tail.wrapping_sub(head) != capacity || self.is_closed()
    }

    fn settled(&self) -> Option<u64> {
        // Acquire: pairs with the exchange in `settle`.
        match self.idle.end.load(Ordering::Acquire) {
            0 => None,
            end => Some(end.wrapping_sub(1)),
        }
    }

    /// How many items there were a moment ago.
    pub(crate) fn len(&self, capacity: u64) -> u64 {
        // Acquire, and `head` first: it never passes the `tail` that is read after it.
        let head = self.consumer.position.load(Ordering::Acquire);
        let tail = self.producer.position.load(Ordering::Acquire);
        let tail = self.settled().unwrap_or(tail);
        tail.wrapping_sub(head).min(capacity)
    }
}
