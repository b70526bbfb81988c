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
use crate::sys::asymmetric::{ARRIVAL, TAKES_TIME, linger};
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
        // All words, as they have been for long enough that each notifier has seen us.
        let mut seen: Vec<u32> = Vec::new();
        loop {
            tickets.clear();
            for (source, _) in self.sources {
                tickets.push(source.signal().register(source.members()));
            }
            // What a notifier does before it sees a registration may be seen only after ARRIVAL: it need make no fence.
            linger();
            // After the registration, so that the next death ends the wait.
            let look = if asks {
                Look::AskingAfterOwners
            } else {
                Look::AtOnce
            };
            let ready = self.first_ready(look);
            // A notifier may have died before it notified: the last look was after the time was up.
            let time_is_up = self.deadline.has_passed();
            if ready.is_some() || time_is_up && asks {
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
            // Nobody clears WAITERS, by which notifiers go, without changing the count.
            let brief = TAKES_TIME && !seen.iter().eq(sleeps.iter().map(|s| &s.expected));
            if sleeps.len() == tickets.len() && !time_is_up {
                let nap = if brief { Nap::AtMost(ARRIVAL) } else { nap };
                let wake = M::park_on_any(&sleeps, nap, patience, self.deadline);
                patience = (patience * 2).min(PATIENCE.1);
                if brief && wake == Wake::TimedOut {
                    seen.clear();
                    seen.extend(sleeps.iter().map(|s| s.expected));
                }
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
                || !moved && !brief && nap == FIRST_NAP
                || self.asked.is_due(ASK_EVERY);
            if !moved && !brief {
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

#[cfg(all(test, not(commonhold_loom)))]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const BRIEF: Nap = Nap::AtMost(ARRIVAL);
    const LONG: Nap = Nap::UntilDeath;

    type Park = fn(&RawSignal) -> Wake;

    /// One whose notifiers make no fence. It becomes ready when all that is said of its naps has come to pass; of each it is written down how
    /// long it was to be.
    struct Late<'a> {
        signal: &'a RawSignal,
        parks: &'a [Park],
        /// When it is asked after deaths so many times, somebody notifies: 0 and 2 are the first two registrations.
        notified_at: usize,
        asked: AtomicUsize,
        naps: Mutex<Vec<Nap>>,
    }

    impl Membership for Late<'_> {
        fn is_alive(&self, _: MemberId) -> bool {
            true
        }

        fn deaths(&self) -> u32 {
            if self.asked.fetch_add(1, Ordering::Relaxed) == self.notified_at {
                self.signal.notify(1);
            }
            0
        }

        fn park(&self, _: &AtomicU32, _: u32, _: u32, _: Nap, _: Deadline) -> Wake {
            unreachable!("a select sleeps on all words");
        }
    }

    impl Sleeper for Late<'_> {
        fn park_on_any(sleeps: &[Sleep<'_, Self>], nap: Nap, _: Duration, _: Deadline) -> Wake {
            let this = sleeps[0].members;
            let park = this.parks[this.naps.lock().unwrap().len()];
            this.naps.lock().unwrap().push(nap);
            park(this.signal)
        }
    }

    impl<'a> Source<Late<'a>> for Late<'a> {
        fn members(&self) -> &Late<'a> {
            self
        }

        fn signal(&self) -> &RawSignal {
            self.signal
        }

        fn is_ready(&self, _: Look) -> bool {
            self.naps.lock().unwrap().len() == self.parks.len()
        }
    }

    const TIME_IS_UP: Park = |_| Wake::TimedOut;
    const INTERRUPTED: Park = |_| Wake::Again;
    const NOTIFIED: Park = |signal| {
        signal.notify(1);
        Wake::Woken
    };

    fn naps(parks: &[Park], notified_at: usize) -> Vec<Nap> {
        let signal = RawSignal::new();
        let late = Arc::new(Late {
            signal: &signal,
            parks,
            notified_at,
            asked: AtomicUsize::new(0),
            naps: Mutex::default(),
        });
        let sources = [(late.clone(), MemberId::new(5, 1).unwrap())];
        let any = Any {
            sources: &sources,
            from: 0,
            spin: &Adaptive::new(),
            asked: &LastDone::now(),
            deadline: Deadline::NEVER,
        };
        assert_eq!(any.wait().unwrap(), 0);
        late.naps.lock().unwrap().clone()
    }

    #[test]
    fn nobody_sleeps_for_long_upon_a_notifier_that_may_have_missed_the_bits() {
        let parks = [
            INTERRUPTED,
            TIME_IS_UP,
            TIME_IS_UP,
            NOTIFIED,
            TIME_IS_UP,
            TIME_IS_UP,
        ];
        let expected = [BRIEF, BRIEF, FIRST_NAP, LONG, BRIEF, LONG];
        assert_eq!(naps(&parks, usize::MAX), expected);
    }

    #[test]
    fn nor_when_the_word_moves_before_it_registers_anew() {
        assert_eq!(naps(&[TIME_IS_UP; 3], 2), [BRIEF, BRIEF, FIRST_NAP]);
    }
}
