//! The pipe: two ends, a lane each way, and who holds the ends.
//!
//! Each lane has one member that sends and one that receives, so it needs no lock in the region: what is sent is written, then
//! published by one store of `tail`; it is read, then given up by one store of `head`. Each side believes only its own copy of its
//! own position (see [`Cursor`]). Threads that share an end take turns by a lock of their process's own, which is not seen here.
//!
//! The ends make *sessions*: in one session each end is held at most once, so that "the peer is gone" is true for ever in it. A new
//! session begins when an end is taken again that was held before, and nobody living holds the other: both lanes are emptied,
//! and the other end can be taken anew.
//!
//! # Points of death
//!
//! | a member dies | the others see |
//! |---|---|
//! | sending, before the store of `tail` | nothing of what it was sending, and that it is gone |
//! | sending, after it | what it sent, and then that it is gone; a sleeper that was to be woken is woken by the sweep |
//! | receiving, before or after the store of `head` | that it is gone: nobody else receives in this session |
//! | leaving, before the exchange / after it | that it is gone, after what it sent |
//! | taking an end that nobody has held, before the store of the claim / after it | an end that nobody has held / one whose holder is gone |
//! | beginning a session, before a store of a `head` | the old session, which is over |
//! | beginning a session, after it | the old session, which is over; what one was sent in it who never came is gone |
//! | beginning a session, after the other end was made new | a session whose first end is gone: who takes the other end finds nothing, and who takes this one begins anew |
//! | beginning a session, after the store of the claim | a new session, whose first end is gone |

use super::apart::apart;
use super::member::{Call, MemberId, Membership};
use super::mutex::{Heir, RawMutex, UnlockOnDrop};
use super::signal::RawSignal;
use super::wait::{Look, wait_for, wait_for_items};
use crate::error::{Error, Result};
use crate::sys::asymmetric::light_fence;
use crate::sys::atomic::{AtomicU32, AtomicU64, LoadOwn, Ordering, fence_after_rmw};

/// One of the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Left,
    Right,
}

impl Side {
    pub(crate) fn other(self) -> Side {
        match self {
            Side::Left => Side::Right,
            Side::Right => Side::Left,
        }
    }
}

/// All zero is a pipe of whose ends nobody has held any.
#[repr(C, align(128))]
#[derive(Debug)]
pub(crate) struct RawPipe {
    pub(crate) to_right: Lane,
    pub(crate) to_left: Lane,
    pub(crate) ends: Ends,
}

/// One direction: how far its sender and its receiver have come, in words since the pipe was made. Positions never wrap;
/// `head <= tail <= head + words` always; a peer that breaks it causes `Err(Corrupt)`.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Lane {
    /// The next word to write. Stored by the holder of the end that sends.
    pub(crate) tail: Position,
    /// The next word to read. Stored by the holder of the end that receives; between two sessions, by who begins the next.
    pub(crate) head: Position,
}

/// On lines of its own.
#[repr(C, align(128))]
#[derive(Debug)]
pub(crate) struct Position {
    pub(crate) words: AtomicU64,
}

/// Who holds the ends; and what is written only when somebody waits.
///
/// | claim | meaning |
/// |---|---|
/// | 0 | nobody has held this end in this session |
/// | id | the member `id` holds it; if it is dead, as over |
/// | anything else (1: an id that no member ever bore) | over: its holder gave it up, or died |
///
/// | mine | the other | who takes mine |
/// |---|---|---|
/// | 0 | any | joins the session: what the other end was sent to it, also by one who is gone, is there |
/// | a living member's | any | is refused: `Busy` |
/// | over | a living member's | is refused: `Closed`, until that one is gone, too |
/// | over | over, or 0 | begins a session |
#[repr(C, align(128))]
#[derive(Debug)]
pub(crate) struct Ends {
    /// Held while an end is taken.
    pub(crate) lock: RawMutex,
    /// Stored by who holds `lock` and takes an end; exchanged for "over" by its holder, and by a peer that found its holder dead.
    pub(crate) left: AtomicU32,
    pub(crate) right: AtomicU32,
    pub(crate) to_right: Signals,
    pub(crate) to_left: Signals,
}

/// Of one lane.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Signals {
    /// Something was sent, or its sender has left.
    pub(crate) filled: RawSignal,
    /// Something was received, or its receiver has left.
    pub(crate) drained: RawSignal,
}

const NOBODY_YET: u32 = 0;
const OVER: u32 = 1;

/// How an end is held, by its claim.
enum Holder {
    NobodyYet,
    Member(MemberId),
    Over,
}

impl Holder {
    fn of(claim: u32) -> Holder {
        match MemberId::from_bits(claim) {
            _ if claim == NOBODY_YET => Holder::NobodyYet,
            Some(id) if id.bits() == claim => Holder::Member(id),
            _ => Holder::Over,
        }
    }

    /// Whether somebody holds the end who lives. Asks the kernel.
    fn lives<M: Membership>(&self, members: &M) -> bool {
        matches!(*self, Holder::Member(id) if members.is_alive(id))
    }
}

/// What the holder of an end knows of one lane: in private memory, where nobody else writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor {
    /// Its own position.
    pub(crate) own: u64,
    /// A former value of the other side's.
    other: u64,
}

/// What the holder of an end begins with.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) out: Cursor,
    pub(crate) arriving: Cursor,
}

impl RawPipe {
    #[cfg(commonhold_loom)]
    pub(crate) fn new() -> RawPipe {
        let position = || Position {
            words: AtomicU64::new(0),
        };
        let lane = || Lane {
            tail: position(),
            head: position(),
        };
        let signals = || Signals {
            filled: RawSignal::new(),
            drained: RawSignal::new(),
        };
        RawPipe {
            to_right: lane(),
            to_left: lane(),
            ends: Ends {
                lock: RawMutex::new(),
                left: AtomicU32::new(NOBODY_YET),
                right: AtomicU32::new(NOBODY_YET),
                to_right: signals(),
                to_left: signals(),
            },
        }
    }

    /// Takes an end: `Err(Busy)` if a living member holds it, `Err(Closed)` if it was held, and the other end still is.
    pub(crate) fn take<M: Membership>(&self, side: Side, call: &Call<'_, M>) -> Result<Taken> {
        // Whether its last holder died makes no difference: each store it made left a valid state.
        self.ends.lock.lock(call, Heir::Inherits)?;
        let _unlock = UnlockOnDrop(&self.ends.lock, call);
        let (mine, other) = (self.claim(side), self.claim(side.other()));
        // Acquire, here and below: pairs with the Release of `leave` and of `peer_is_gone`: what the last holder stored is seen.
        match Holder::of(mine.load(Ordering::Acquire)) {
            Holder::NobodyYet => {}
            holder if holder.lives(call.members) => return Err(Error::Busy),
            _ => {
                if Holder::of(other.load(Ordering::Acquire)).lives(call.members) {
                    return Err(Error::Closed);
                }
                self.to_right.empty();
                self.to_left.empty();
                // Relaxed, here and below: nobody holds an end who would see it, and whoever takes one has the lock first.
                other.store(NOBODY_YET, Ordering::Relaxed);
            }
        }
        let (out, _) = self.lane_from(side);
        let (arriving, _) = self.lane_from(side.other());
        let head = arriving.head.words.load_own();
        let taken = Taken {
            out: Cursor {
                own: out.tail.words.load_own(),
                // Acquire: as in `has_room`.
                other: out.head.words.load(Ordering::Acquire),
            },
            arriving: Cursor {
                own: head,
                other: head,
            },
        };
        // Last: from here on the end is held.
        mine.store(call.me.bits(), Ordering::Relaxed);
        Ok(taken)
    }

    /// Gives up the end that `me` holds: it sends and receives no more.
    pub(crate) fn leave(&self, side: Side, me: MemberId) {
        // Release: pairs with the Acquire in `peer_is_gone` and `take`: who sees it sees every `tail` stored before it. (The fence behind
        // each of these stores would do, too, so no model misses it.)
        // Another claim was scribbled: let it stand.
        let _ = self.claim(side).compare_exchange(
            me.bits(),
            OVER,
            Ordering::Release,
            Ordering::Relaxed,
        );
        // Pairs with the fence in `register`.
        fence_after_rmw();
        self.lane_from(side).1.filled.notify(u32::MAX);
        self.lane_from(side.other()).1.drained.notify(u32::MAX);
    }

    /// Whether the peer of `side` gave its end up, or died: then it is so for ever in this session, and what it has sent is all that it
    /// will have sent. If `look` says so, asks the kernel after it.
    pub(crate) fn peer_is_gone<M: Membership>(
        &self,
        side: Side,
        call: &Call<'_, M>,
        look: Look,
    ) -> bool {
        let claim = self.claim(side.other());
        // Acquire: pairs with the Release of `leave`, and of the exchange below.
        let says = claim.load(Ordering::Acquire);
        match Holder::of(says) {
            Holder::NobodyYet => false,
            Holder::Over => true,
            Holder::Member(id) if look != Look::AskingAfterOwners || call.members.is_alive(id) => {
                false
            }
            // For all threads to see without asking. Nobody takes the end while we hold the other.
            // Release: what the dead one stored, which the kernel's answer has ordered before this, is seen by who sees this.
            Holder::Member(_) => {
                let _ = claim.compare_exchange(says, OVER, Ordering::Release, Ordering::Relaxed);
                true
            }
        }
    }

    /// Whether there is room for `need` words in the lane from `side`; `Err(Closed)` if the peer is gone.
    #[inline]
    pub(crate) fn has_room<M: Membership>(
        &self,
        side: Side,
        words: u64,
        at: &mut Cursor,
        need: u64,
        call: &Call<'_, M>,
        look: Look,
    ) -> Result<bool> {
        if self.peer_is_gone(side, call, Look::AtOnce) {
            return Err(Error::Closed);
        }
        let mut used = at.own.wrapping_sub(at.other);
        if used > words || words - used < need {
            let (lane, _) = self.lane_from(side);
            // Acquire: pairs with the Release in `give_back`: the receiver is done with the words before it.
            at.other = lane.head.words.load(Ordering::Acquire);
            used = at.own.wrapping_sub(at.other);
            if used > words {
                // The receiver may have followed a scribbled tail.
                self.mend_tail(side, at);
                return Err(Error::Corrupt);
            }
        }
        if words - used >= need {
            return Ok(true);
        }
        self.mend_tail(side, at);
        if self.peer_is_gone(side, call, look) {
            return Err(Error::Closed);
        }
        Ok(false)
    }

    /// Publishes the next `count` words, which the caller has written.
    #[inline]
    pub(crate) fn publish(&self, side: Side, at: &mut Cursor, count: u64) {
        let (lane, signals) = self.lane_from(side);
        at.own = at.own.wrapping_add(count);
        // Release: pairs with the Acquire in `arrived`; this is the publication.
        lane.tail.words.store(at.own, Ordering::Release);
        // Light: who waits looks twice.
        light_fence();
        signals.filled.notify(u32::MAX);
    }

    /// How many words have arrived at `side` and were not given back; 0 if there may be some later, `Err(Closed)` if there will be none.
    #[inline]
    pub(crate) fn arrived<M: Membership>(
        &self,
        side: Side,
        words: u64,
        at: &mut Cursor,
        call: &Call<'_, M>,
        look: Look,
    ) -> Result<u64> {
        let mut filled = at.other.wrapping_sub(at.own);
        if filled == 0 {
            filled = self.look_at_tail(side, words, at)?;
        }
        if filled != 0 {
            return Ok(filled);
        }
        self.mend_head(side, at);
        if self.peer_is_gone(side, call, look) {
            // Who is gone sends nothing more, so this look is the last word.
            filled = self.look_at_tail(side, words, at)?;
            if filled == 0 {
                return Err(Error::Closed);
            }
        }
        Ok(filled)
    }

    #[inline]
    fn look_at_tail(&self, side: Side, words: u64, at: &mut Cursor) -> Result<u64> {
        let (lane, _) = self.lane_from(side.other());
        // Acquire: pairs with the Release in `publish`: the words before it are written.
        at.other = lane.tail.words.load(Ordering::Acquire);
        let filled = at.other.wrapping_sub(at.own);
        if filled > words {
            self.skip(side, at);
            return Err(Error::Corrupt);
        }
        Ok(filled)
    }

    /// Gives back the first `count` words that have arrived, which the caller has read.
    #[inline]
    pub(crate) fn give_back(&self, side: Side, at: &mut Cursor, count: u64) {
        let (lane, signals) = self.lane_from(side.other());
        at.own = at.own.wrapping_add(count);
        // Release: pairs with the Acquire in `has_room`: we are done with the words.
        lane.head.words.store(at.own, Ordering::Release);
        // As in `publish`.
        light_fence();
        signals.drained.notify(u32::MAX);
    }

    /// Stores our own position again, if somebody scribbled there. Otherwise a wait, which looks at the words in the region, might think
    /// for ever that there is something, and the other side that there is nothing.
    #[inline]
    fn mend_tail(&self, side: Side, at: &mut Cursor) {
        if self.lane_from(side).0.tail.words.load_own() != at.own {
            self.publish(side, at, 0);
        }
    }

    /// As [`mend_tail`](Self::mend_tail), of the lane to `side`.
    #[inline]
    fn mend_head(&self, side: Side, at: &mut Cursor) {
        if self.lane_from(side.other()).0.head.words.load_own() != at.own {
            self.give_back(side, at, 0);
        }
    }

    /// Gives back all that has arrived, unread.
    #[cold]
    pub(crate) fn skip(&self, side: Side, at: &mut Cursor) {
        self.give_back(side, at, at.other.wrapping_sub(at.own));
    }

    /// Tries `attempt` until it is `Ok(true)`; in between waits for room for `need` words in the lane from `side`, or for the peer to go.
    #[inline]
    pub(crate) fn wait_for_room<M: Membership>(
        &self,
        side: Side,
        words: u64,
        need: u64,
        call: &Call<'_, M>,
        attempt: impl FnMut(Look) -> Result<bool>,
    ) -> Result<()> {
        let worth_it = || self.is_worth_sending(side, words, need, call, Look::AtOnce);
        wait_for(call, self.drained(side), attempt, worth_it)
    }

    /// Whether an attempt to send so many words may succeed, or find that none will.
    pub(crate) fn is_worth_sending<M: Membership>(
        &self,
        side: Side,
        words: u64,
        need: u64,
        call: &Call<'_, M>,
        look: Look,
    ) -> bool {
        let used = self.lane_from(side).0.filled();
        used > words || words - used >= need || self.peer_is_gone(side, call, look)
    }

    /// Whether an attempt to receive finds something in the lane, or that the peer is gone.
    pub(crate) fn is_worth_receiving<M: Membership>(
        &self,
        side: Side,
        call: &Call<'_, M>,
        look: Look,
    ) -> bool {
        self.lane_from(side.other()).0.filled() != 0 || self.peer_is_gone(side, call, look)
    }

    /// What `side` waits for when it has sent too much.
    pub(crate) fn drained(&self, side: Side) -> &RawSignal {
        &self.lane_from(side).1.drained
    }

    /// What `side` waits for when it has received all.
    pub(crate) fn filled(&self, side: Side) -> &RawSignal {
        &self.lane_from(side.other()).1.filled
    }

    /// Tries `attempt` until it is `Ok(true)`; in between waits for something to arrive at `side`, or for the peer to go, or until there
    /// is something `besides`, which another thread of this process put there before it gave words back.
    #[inline]
    pub(crate) fn wait_for_arrival<M: Membership>(
        &self,
        side: Side,
        call: &Call<'_, M>,
        attempt: impl FnMut(Look) -> Result<bool>,
        besides: impl Fn() -> bool,
    ) -> Result<()> {
        let worth_it = || {
            // In this order: see `filled` of the lane.
            self.is_worth_receiving(side, call, Look::AtOnce) || besides()
        };
        let more = || self.lane_from(side.other()).0.filled() != 0;
        wait_for_items(call, self.filled(side), attempt, worth_it, more)
    }

    fn claim(&self, side: Side) -> &AtomicU32 {
        match side {
            Side::Left => &self.ends.left,
            Side::Right => &self.ends.right,
        }
    }

    /// The lane on which `side` sends.
    #[inline]
    fn lane_from(&self, side: Side) -> (&Lane, &Signals) {
        match side {
            Side::Left => (&self.to_right, &self.ends.to_right),
            Side::Right => (&self.to_left, &self.ends.to_left),
        }
    }
}

impl Lane {
    /// Between two sessions.
    fn empty(&self) {
        let tail = self.tail.words.load_own();
        // Relaxed: whoever takes an end has the lock first.
        self.head.words.store(tail, Ordering::Relaxed);
    }

    /// How many words there were a moment ago; see [`apart`]. What another thread of ours put by before it gave words back is seen.
    #[inline]
    fn filled(&self) -> u64 {
        apart(&self.head.words, &self.tail.words)
    }
}
