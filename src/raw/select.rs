//! Waiting for several signals at once, also of several segments.
//!
//! Who waits registers with all signals, looks at all conditions, and sleeps on all words. It takes nothing: it says which condition
//! holds, and its caller tries what it wanted. So a notify that chose it may be wasted, and it passes on each that came while it was
//! registered and whose condition holds still. What is passed on wakes one sleeper, which looks, and passes it on in turn only if it
//! goes away; one that finds nothing sleeps again. So no wake-up is lost, and none goes round for ever.
//!
//! Fairness: the look begins where the caller says, one further each time.
//!
//! # Points of death
//!
//! | a member dies | lost | who mends it |
//! |---|---|---|
//! | registered or asleep | nothing | the bits are too many: one notify of each signal works in vain and clears them |
//! | chosen by a notify, before it passed it on | a wake-up | the sweep finds the death and ends all waits |
//! | after it passed it on | nothing | – |

use super::member::{MemberId, Membership, Nap};
use super::signal::{FIRST_NAP, RawSignal, Ticket};
use super::wait::{ASK_EVERY, Look};
use crate::error::{Error, Result};
use crate::sys::atomic::AtomicU32;
use crate::sys::deadline::{Deadline, LastDone};
use crate::sys::futex::Wake;
use crate::sys::spin::Adaptive;
use std::sync::Arc;
use std::time::Duration;

/// A condition that can be waited for: a signal, and a look at what it tells of.
pub(crate) trait Source<M: Membership> {
    /// The segment that it stands in.
    fn members(&self) -> &M;

    /// What is notified whenever the condition may have come to hold.
    fn signal(&self) -> &RawSignal;

    /// Whether the call that takes it would not be told to wait. It takes nothing, and asks after owners only when `look` says so.
    fn is_ready(&self, look: Look) -> bool;

    /// Is called between each registration and the look after it, for those whose notifiers make no fence.
    fn has_registered(&self) {}

    /// Is called when the caller is told that it is ready.
    fn is_named(&self) {}
}

/// One of several words to sleep on.
#[derive(Debug)]
pub(crate) struct Sleep<'a, M> {
    pub(crate) members: &'a M,
    pub(crate) word: &'a AtomicU32,
    pub(crate) expected: u32,
    pub(crate) deaths: u32,
}

/// A membership whose members can sleep on several words at once.
pub(crate) trait Sleeper: Membership + Sized {
    /// As [`Membership::park`], while each word holds what is expected of it. Where not all can be slept on, at most for `patience`.
    fn park_on_any(
        sleeps: &[Sleep<'_, Self>],
        nap: Nap,
        patience: Duration,
        deadline: Deadline,
    ) -> Wake;
}

/// One who waits, and for what: as `me` in each segment.
#[derive(Debug)]
pub(crate) struct Any<'a, S: ?Sized> {
    pub(crate) sources: &'a [(Arc<S>, MemberId)],
    /// The source to look at first.
    pub(crate) from: usize,
    pub(crate) spin: &'a Adaptive,
    /// When owners were last asked after for no other reason.
    pub(crate) asked: &'a LastDone,
    pub(crate) deadline: Deadline,
}

/// How long a sleep on fewer words than all lasts: the first one, and the longest.
const PATIENCE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));

impl<S: ?Sized> Any<'_, S> {
    /// Waits until a source is ready, and says which.
    pub(crate) fn wait<M: Sleeper>(&self) -> Result<usize>
    where
        S: Source<M>,
    {
        let mut spin = self.spin.begin();
        while spin.look_away() {
            if let Some(index) = self.first_ready(Look::AtOnce) {
                spin.paid();
                return Ok(index);
            }
        }
        spin.was_in_vain();
        let mut tickets = Vec::with_capacity(self.sources.len());
        let mut sleeps = Vec::with_capacity(self.sources.len());
        let (mut nap, mut patience) = (FIRST_NAP, PATIENCE.0);
        let mut asks = false;
        loop {
            tickets.clear();
            for (source, _) in self.sources {
                tickets.push(source.signal().register(source.members()));
                source.has_registered();
            }
            // After the registration, so that the next death ends the wait.
            let look = if asks {
                Look::AskingAfterOwners
            } else {
                Look::AtOnce
            };
            let ready = self.first_ready(look);
            // A notifier may have died before it notified: the last look was after the time was up.
            let late = self.deadline.has_passed();
            if ready.is_some() || late && asks {
                self.pass_on(&tickets);
                return ready.ok_or_else(|| Error::Timeout);
            }
            sleeps.clear();
            for ((source, _), ticket) in self.sources.iter().zip(&tickets) {
                sleeps.extend(source.signal().say_asleep(ticket).map(|expected| Sleep {
                    members: source.members(),
                    word: source.signal().word(),
                    expected,
                    deaths: ticket.deaths,
                }));
            }
            if sleeps.len() == tickets.len() && !late {
                M::park_on_any(&sleeps, nap, patience, self.deadline);
                patience = (patience * 2).min(PATIENCE.1);
            }
            if let Some(index) = self.first_ready(Look::AtOnce) {
                self.pass_on(&tickets);
                return Ok(index);
            }
            let mut moved = false;
            let mut death = false;
            for ((source, _), ticket) in self.sources.iter().zip(&tickets) {
                moved |= source.signal().has_moved(ticket);
                death |= source.members().deaths() != ticket.deaths;
            }
            // The first nap was in vain; or somebody died; or the time is up.
            asks = self.deadline.has_passed()
                || death
                || !moved && nap == FIRST_NAP
                || self.asked.is_due(ASK_EVERY);
            if !moved {
                nap = Nap::UntilDeath;
            }
        }
    }

    /// The first source that is ready. One in a region that is lost is: the caller's call says so.
    pub(crate) fn first_ready<M: Sleeper>(&self, look: Look) -> Option<usize>
    where
        S: Source<M>,
    {
        let n = self.sources.len();
        (0..n).map(|i| (self.from + i) % n).find(|&i| {
            let (source, me) = &self.sources[i];
            source.is_ready(look) || !source.members().is_still(*me)
        })
    }

    /// We go away, and take nothing: a notify that may have chosen us is another's.
    #[cold]
    fn pass_on<M: Sleeper>(&self, tickets: &[Ticket])
    where
        S: Source<M>,
    {
        for ((source, _), ticket) in self.sources.iter().zip(tickets) {
            if source.signal().has_moved(ticket) && source.is_ready(Look::AtOnce) {
                source.signal().notify(1);
            }
        }
    }
}
