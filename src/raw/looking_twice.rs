//! Waiting for what the other side changes behind a light fence (`sys/asymmetric.rs`).

use super::signal::RawSignal;
use super::{Call, MemberId, Membership, Nap};
use crate::error::Result;
use crate::sys::asymmetric::{ARRIVAL, TAKES_TIME, linger};
use crate::sys::atomic::AtomicU32;
use crate::sys::deadline::Deadline;
use crate::sys::futex::Wake;
use std::cell::Cell;

/// Calls `wait` with members who know that what is waited for changes behind a light fence.
pub(crate) fn looking_twice<M: Membership, W: Fn() -> bool, R>(
    call: &Call<'_, M>,
    worth_it: &W,
    wait: impl FnOnce(&Call<'_, LooksTwice<'_, M, &W>>) -> Result<R>,
) -> Result<R> {
    let members = LooksTwice {
        members: call.members,
        worth_it,
        told: Cell::new(None),
        seen: Cell::new(None),
    };
    wait(&Call {
        members: &members,
        me: call.me,
        spin: call.spin,
        deadline: call.deadline,
    })
}

/// Members who, before they sleep for long, look twice.
pub(crate) struct LooksTwice<'a, M, W> {
    members: &'a M,
    worth_it: W,
    /// The signal's count, as it was at the last look that was made before a sleep.
    told: Cell<Option<u32>>,
    /// The signal's count, as it has been for long enough that the other side has seen it, and WAITERS with it.
    seen: Cell<Option<u32>>,
}

impl<M: Membership, W: Fn() -> bool> Membership for LooksTwice<'_, M, W> {
    fn is_alive(&self, id: MemberId) -> bool {
        self.members.is_alive(id)
    }

    fn seems_alive(&self, id: MemberId) -> bool {
        self.members.seems_alive(id)
    }

    fn is_still(&self, id: MemberId) -> bool {
        self.members.is_still(id)
    }

    fn deaths(&self) -> u32 {
        self.members.deaths()
    }

    fn is_there_already(&self, count: u32) -> bool {
        let count = Some(count);
        // Once: if it was in vain, it is no reason not to sleep.
        if !TAKES_TIME || self.seen.get() == count || self.told.replace(count) == count {
            return false;
        }
        linger();
        (self.worth_it)()
    }

    fn park(
        &self,
        word: &AtomicU32,
        expected: u32,
        deaths: u32,
        nap: Nap,
        deadline: Deadline,
    ) -> Wake {
        let park = |nap| self.members.park(word, expected, deaths, nap, deadline);
        let count = Some(RawSignal::count_of(expected));
        if TAKES_TIME && self.seen.get() != count {
            let brief = match nap {
                Nap::AtMost(length) => length.min(ARRIVAL),
                Nap::UntilDeath => ARRIVAL,
            };
            let wake = park(Nap::AtMost(brief));
            if wake != Wake::TimedOut || deadline.has_passed() {
                return wake;
            }
            if brief == ARRIVAL {
                self.seen.set(count);
            }
            // The caller's first naps may be no longer, and then it looks for itself.
            if (self.worth_it)() || nap == Nap::AtMost(brief) {
                return wake;
            }
        }
        park(nap)
    }
}

#[cfg(all(test, not(commonhold_loom)))]
mod tests {
    use super::*;
    use crate::raw::signal::Ended;
    use crate::sys::spin::Adaptive;
    use std::cell::RefCell;

    const BRIEF: Nap = Nap::AtMost(ARRIVAL);
    const LONG: Nap = Nap::UntilDeath;

    /// Everybody lives; of each nap it is written down how long it was to be, and it ends as was said.
    struct Naps<'a> {
        taken: &'a RefCell<Vec<Nap>>,
        end: Wake,
    }

    impl Membership for Naps<'_> {
        fn is_alive(&self, _: MemberId) -> bool {
            true
        }

        fn deaths(&self) -> u32 {
            0
        }

        fn park(&self, _: &AtomicU32, _: u32, _: u32, nap: Nap, _: Deadline) -> Wake {
            self.taken.borrow_mut().push(nap);
            self.end
        }
    }

    /// Parks on each of `words` in turn, and says which naps were taken.
    fn naps(words: &[u32], end: Wake, worth_it: impl Fn() -> bool) -> Vec<Nap> {
        let taken = RefCell::default();
        let members = LooksTwice {
            members: &Naps { taken: &taken, end },
            worth_it,
            told: Cell::new(None),
            seen: Cell::new(None),
        };
        for word in words {
            if members.is_there_already(RawSignal::count_of(*word)) {
                continue;
            }
            members.park(&AtomicU32::new(*word), *word, 0, LONG, Deadline::NEVER);
        }
        taken.into_inner()
    }

    #[test]
    fn nobody_sleeps_for_long_while_the_other_side_may_have_missed_the_bits() {
        let never = || false;
        let of = |words: &[u32]| naps(words, Wake::TimedOut, never);
        assert_eq!(of(&[3]), [BRIEF, LONG]);
        assert_eq!(of(&[3, 3]), [BRIEF, LONG, LONG]);
        assert_eq!(of(&[3, 7, 7]), [BRIEF, LONG, BRIEF, LONG, LONG], "anew");
        // A nap that something else ended was perhaps too short.
        let of = |words: &[u32]| naps(words, Wake::Again, never);
        assert_eq!(of(&[3, 3]), [BRIEF, BRIEF]);
        assert_eq!(naps(&[3], Wake::TimedOut, || true), []);
    }

    #[test]
    fn what_seems_to_be_there_and_is_not_keeps_nobody_awake() {
        let always = || true;
        let taken = naps(&[3, 3, 3, 3], Wake::TimedOut, always);
        assert_eq!(taken, [BRIEF, LONG, LONG]);
    }

    #[test]
    fn who_is_told_before_the_sleep_does_not_say_that_he_sleeps() {
        let taken = RefCell::default();
        let end = Wake::TimedOut;
        let members = LooksTwice {
            members: &Naps { taken: &taken, end },
            worth_it: || true,
            told: Cell::new(None),
            seen: Cell::new(None),
        };
        let call = Call {
            members: &members,
            me: MemberId::new(5, 1).unwrap(),
            spin: &Adaptive::new(),
            deadline: Deadline::NEVER,
        };
        let signal = RawSignal::new();
        let ticket = signal.register(&members);
        assert_eq!(signal.wait(&ticket, &call, LONG), Ended::Told);
        assert!(!signal.has_sleepers());
        assert_eq!(signal.wait(&ticket, &call, LONG), Ended::Bound);
        assert_eq!(taken.into_inner(), [BRIEF]);
    }

    #[test]
    fn what_arrives_during_the_brief_nap_is_seen() {
        let looks = Cell::new(0);
        let at_the_second = || looks.replace(looks.get() + 1) == 1;
        let taken = naps(&[3], Wake::TimedOut, at_the_second);
        assert_eq!((taken, looks.get()), (vec![BRIEF], 2));
    }
}
