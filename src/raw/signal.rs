//! Waiting for something that has no owner: "look again" as a word (an event count).
//!
//! The waiter registers, looks at its condition, and only then waits; the notifier changes the condition, and only then
//! looks whether anybody is registered. Between the change and the look stands a full fence, on both sides (Dekker's
//! pattern), so that at least one of the two sees the other. (The idea: Dmitry Vyukov's event count.) Where a notifier makes none, as most do,
//! the waiter makes up for it (`sys/asymmetric.rs`).
//!
//! # Points of death
//!
//! | a member dies | lost | who mends it |
//! |---|---|---|
//! | a notifier, before its bump or its wake | a wake-up | the sweep finds the death and ends all waits |
//! | a waiter that a wake chose | a wake-up | the same |
//! | a waiter, registered or asleep | nothing | the bits are too many: one notify works in vain and clears them |

use super::member::{Call, Membership, Nap};
use crate::sys::atomic::{AtomicU32, Ordering, fence};
use crate::sys::futex;
use std::time::Duration;

/// The signal word.
///
/// | SLEEPERS (1) | WAITERS (0) | meaning |
/// |---|---|---|
/// | 0 | 0 | nobody waits, or the one that [`hand_on`](RawSignal::hand_on) woke has not put the bits back yet: a notify is one load |
/// | 0 | 1 | somebody may be registered, and looks at the word by itself: a notify bumps the count |
/// | 1 | 1 | somebody may be asleep in the kernel: a notify bumps the count and makes the wake call |
/// | 1 | 0 | left by nobody; a notify takes it for "nobody waits", a waiter mends it |
///
/// Bits 2..32 count the notifies that met a waiter. A count that comes round between a registration and the sleep
/// (2^30 notifies) is cured by the bound on every sleep.
#[repr(transparent)]
#[derive(Debug)]
pub(crate) struct RawSignal {
    word: AtomicU32,
}

const WAITERS: u32 = 1;
const SLEEPERS: u32 = 2;
const STEP: u32 = 4;
const COUNT: u32 = !(STEP - 1);

/// How long a wait lasts before it takes part in the watch over deaths. Short waits are the rule, and cost least so.
pub(crate) const FIRST_NAP: Nap = Nap::AtMost(Duration::from_millis(20));

/// What the word said when its bearer registered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    count: u32,
    pub(crate) deaths: u32,
}

impl Ticket {
    /// Whether no notify came between the two registrations.
    #[cfg(feature = "async")]
    pub(crate) fn is_as_of(&self, other: &Ticket) -> bool {
        self.count == other.count
    }
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Somebody notified after the registration.
    Notified,
    /// What is waited for seems to be there, by a last look before the sleep: look at the condition again.
    Told,
    /// A member died since the registration, and may have taken a wake-up with it: look at the condition again.
    Death,
    /// The bound on every sleep: look at the condition again.
    Bound,
    /// The deadline passed.
    TimedOut,
    /// The caller is not the member any more that it was: the region is lost, or this is a child that was forked meanwhile.
    Lost,
}

impl RawSignal {
    pub(crate) fn new() -> RawSignal {
        RawSignal {
            word: AtomicU32::new(0),
        }
    }

    /// Announces a wait. The caller looks at its condition after this and before [`wait`](Self::wait).
    pub(crate) fn register<M: Membership>(&self, members: &M) -> Ticket {
        self.announce(members, WAITERS)
    }

    /// As [`register`](Self::register), for one whom [`hand_on`](Self::hand_on) may have woken: others may sleep on, and the word says so again.
    pub(crate) fn register_woken<M: Membership>(&self, members: &M) -> Ticket {
        self.announce(members, WAITERS | SLEEPERS)
    }

    fn announce<M: Membership>(&self, members: &M, bits: u32) -> Ticket {
        // Before the condition is looked at: a death after this ends the wait.
        let deaths = members.deaths();
        // Acquire: with a notify's Release, so that a waiter who missed the bump sees what was changed before it.
        let word = self.word.fetch_or(bits, Ordering::AcqRel);
        // Pairs with the notifier's fence: either it sees WAITERS, or we see its change.
        fence(Ordering::SeqCst);
        Ticket {
            count: word & COUNT,
            deaths,
        }
    }

    /// Waits until a notify that came after the ticket's registration. `nap` is [`FIRST_NAP`] in the first wait for a thing, and
    /// [`Nap::UntilDeath`] in those after it.
    pub(crate) fn wait<M: Membership>(
        &self,
        ticket: &Ticket,
        call: &Call<'_, M>,
        nap: Nap,
    ) -> Ended {
        if self.has_moved(ticket) {
            return Ended::Notified;
        }
        if call.members.is_there_already(ticket.count) {
            return Ended::Told;
        }
        let Some(asleep) = self.say_asleep(ticket) else {
            return Ended::Notified;
        };
        if call.deadline.has_passed() {
            return Ended::TimedOut;
        }
        call.members
            .park(&self.word, asleep, ticket.deaths, nap, call.deadline);
        if !call.members.is_still(call.me) {
            return Ended::Lost;
        }
        if self.has_moved(ticket) {
            return Ended::Notified;
        }
        if call.members.deaths() != ticket.deaths {
            return Ended::Death;
        }
        if call.deadline.has_passed() {
            return Ended::TimedOut;
        }
        Ended::Bound
    }

    /// Says in the word that somebody is about to sleep on it; the word as it is then, for the kernel to compare. `None`: a notify
    /// came after the registration.
    pub(crate) fn say_asleep(&self, ticket: &Ticket) -> Option<u32> {
        // Acquire: pairs with the Release of the bump.
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            if word & COUNT != ticket.count {
                return None;
            }
            let asleep = word | WAITERS | SLEEPERS;
            if word == asleep {
                return Some(asleep);
            }
            match self
                .word
                .compare_exchange(word, asleep, Ordering::Relaxed, Ordering::Acquire)
            {
                Ok(_) => return Some(asleep),
                Err(now) => word = now,
            }
        }
    }

    /// The word to sleep on.
    pub(crate) fn word(&self) -> &AtomicU32 {
        &self.word
    }

    /// Looks whether a notify came after the registration, without sleeping.
    pub(crate) fn has_moved(&self, ticket: &Ticket) -> bool {
        // Acquire: as in `wait`.
        self.word.load(Ordering::Acquire) & COUNT != ticket.count
    }

    /// Whether somebody may be registered. Stands where [`notify`](Self::notify) may, and tells it whether to.
    #[inline]
    pub(super) fn is_awaited(&self) -> bool {
        self.word.load(Ordering::Relaxed) & WAITERS != 0
    }

    /// Whether somebody may be asleep.
    pub(crate) fn has_sleepers(&self) -> bool {
        self.word.load(Ordering::Relaxed) & SLEEPERS != 0
    }

    /// The count that a word bears: as long as it stays, so does WAITERS.
    pub(super) fn count_of(word: u32) -> u32 {
        word & COUNT
    }

    /// Ends the wait of `count` sleepers (`u32::MAX`: of all) and of everyone who is registered but awake.
    ///
    /// Between the change that the waiters wait for and this call the caller puts a full fence, or knows
    /// that the waiters registered before the change (a condition variable does), or that they look twice (`looking_twice.rs`).
    #[inline]
    pub(crate) fn notify(&self, count: u32) {
        if self.is_awaited() {
            self.notify_waiters(count);
        }
    }

    /// As `notify(1)`, of what one has at a time and then hands on in turn: the bits go with the wake, and the one that is woken puts
    /// them back ([`register_woken`](Self::register_woken)). So until that one runs, nobody makes another wake.
    #[inline]
    pub(super) fn hand_on(&self) {
        if self.is_awaited() {
            self.wake_next();
        }
    }

    #[cold]
    fn wake_next(&self) {
        if self.bump(0).is_some() {
            futex::wake(&self.word, 1);
        }
    }

    /// Tells those who are awake by the count. Of the bits those in `keep` stay if somebody may be asleep; then it is the word as it is
    /// from there on.
    fn bump(&self, keep: u32) -> Option<u32> {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if word & WAITERS == 0 {
                return None;
            }
            let asleep = word & SLEEPERS != 0;
            let next = (word & COUNT).wrapping_add(STEP) | if asleep { keep } else { 0 };
            // Release: pairs with the waiters' Acquire.
            match self
                .word
                .compare_exchange(word, next, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => return asleep.then_some(next),
                Err(now) => word = now,
            }
        }
    }

    #[cold]
    fn notify_waiters(&self, count: u32) {
        // Only if some may sleep on do the bits stay.
        let keep = if count == u32::MAX {
            0
        } else {
            WAITERS | SLEEPERS
        };
        let Some(bumped) = self.bump(keep) else {
            return;
        };
        if futex::wake(&self.word, count) >= count || count == u32::MAX {
            return;
        }
        // Fewer slept than were to be woken: nobody sleeps, so the next notify need not call the kernel. One who went to
        // sleep between that wake and this exchange would be forgotten, so wake once more after it.
        if self
            .word
            .compare_exchange(
                bumped,
                bumped & !SLEEPERS,
                Ordering::Relaxed,
                Ordering::Relaxed,
            )
            .is_ok()
        {
            futex::wake(&self.word, u32::MAX);
        }
    }
}
