//! Waiting until an attempt succeeds: spin while that pays, register with the signal, look once more, sleep, and again.

use super::looking_twice::looking_twice;
use super::member::{Call, Membership, Nap};
use super::signal::{Ended, FIRST_NAP, RawSignal};
use crate::error::{Error, Result};
use crate::sys::deadline::LastDone;
use std::time::Duration;

/// What an attempt is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// To see whether it succeeds as things are.
    AtOnce,
    /// As that, when a nap has ended by itself: nothing speaks for it. Idle waiters make no others, and so these must cost next to
    /// nothing.
    Idly,
    /// As that; and a member may have died, or the time is up: whoever is in the way is asked after.
    AskingAfterOwners,
}

/// How long a handle whose waits are short leaves off asking after the members that may be in the way: as the sweep does, it asks
/// after 32 of them in 20 ms.
pub(super) fn between_asks(members: usize) -> Duration {
    Duration::from_millis(20) * members.div_ceil(32) as u32
}

/// How long owners are not asked after by one who finds no time to sleep because he is notified, or something is ready, again and again.
pub(crate) const ASK_EVERY: Duration = Duration::from_millis(100);

/// How a wait spins before it sleeps.
#[derive(Clone, Copy)]
enum Pace<'a> {
    /// Looks away for long: one of many items is waited for, and the other side is to get ahead.
    Aside,
    /// Looks again and again: what is waited for comes once, and is wanted at once.
    Closely,
    /// As one or the other, whichever served better lately: after a wait, this says whether more was there than what was waited for,
    /// if the caller does not tell the handle himself.
    Learned(Option<&'a dyn Fn() -> bool>),
}

/// Tries `attempt` until it is `Ok(true)`; in between waits for `signal`, or until `worth_it` says that an attempt may succeed.
#[inline]
pub(crate) fn wait_for<M: Membership>(
    call: &Call<'_, M>,
    signal: &RawSignal,
    attempt: impl FnMut(Look) -> Result<bool>,
    worth_it: impl Fn() -> bool,
) -> Result<()> {
    wait_at(Pace::Aside, call, signal, attempt, worth_it)
}

/// As [`wait_for`], for one of many items, which may come one by one: the handle learns whether there are `more` where one was found. Where
/// there are not, looking away gains nothing, and costs the time until the next look.
#[inline]
pub(crate) fn wait_for_items<M: Membership>(
    call: &Call<'_, M>,
    signal: &RawSignal,
    attempt: impl FnMut(Look) -> Result<bool>,
    worth_it: impl Fn() -> bool,
    more: impl Fn() -> bool,
) -> Result<()> {
    wait_at(Pace::Learned(Some(&more)), call, signal, attempt, worth_it)
}

/// As [`wait_for_items`], for one who knows only later whether there are more, and tells [`Adaptive::found`] then.
///
/// [`Adaptive::found`]: crate::sys::spin::Adaptive::found
#[inline]
pub(crate) fn wait_for_frames<M: Membership>(
    call: &Call<'_, M>,
    signal: &RawSignal,
    attempt: impl FnMut(Look) -> Result<bool>,
    worth_it: impl Fn() -> bool,
) -> Result<()> {
    wait_at(Pace::Learned(None), call, signal, attempt, worth_it)
}

/// As [`wait_for`], for what is not one of many items: it is seen as soon as it is there.
#[inline]
pub(crate) fn wait_closely_for<M: Membership>(
    call: &Call<'_, M>,
    signal: &RawSignal,
    attempt: impl FnMut(Look) -> Result<bool>,
    worth_it: impl Fn() -> bool,
) -> Result<()> {
    wait_at(Pace::Closely, call, signal, attempt, worth_it)
}

#[inline]
fn wait_at<M: Membership>(
    pace: Pace<'_>,
    call: &Call<'_, M>,
    signal: &RawSignal,
    mut attempt: impl FnMut(Look) -> Result<bool>,
    worth_it: impl Fn() -> bool,
) -> Result<()> {
    if attempt(Look::AtOnce)? {
        return Ok(());
    }
    let mut notified = false;
    // No notifier need make a fence.
    let result = looking_twice(call, &worth_it, |call| {
        wait_slowly(pace, call, signal, &mut attempt, &worth_it, &mut notified)
    });
    if matches!(result, Err(Error::Timeout)) && notified && worth_it() {
        // A wake-up chose us, and we go away without having used it: pass it on.
        signal.notify(1);
    }
    result
}

#[cold]
fn wait_slowly<M: Membership>(
    pace: Pace<'_>,
    call: &Call<'_, M>,
    signal: &RawSignal,
    attempt: &mut dyn FnMut(Look) -> Result<bool>,
    worth_it: &dyn Fn() -> bool,
    notified: &mut bool,
) -> Result<()> {
    let mut spin = call.spin.begin();
    let closely = match pace {
        Pace::Aside => false,
        Pace::Closely => true,
        Pace::Learned(_) => call.spin.is_close(),
    };
    let mut slept = false;
    let mut nap = FIRST_NAP;
    let mut asked = None;
    // When owners were last asked after, or notifies began to end each sleep.
    let mut restless_since: Option<LastDone> = None;
    loop {
        // Not even the first look without a pause: the two sides would take turns over each item, many times slower.
        while !slept
            && match closely {
                false => spin.look_away(),
                true => spin.look_closely(),
            }
        {
            if worth_it() && attempt(Look::AtOnce)? {
                spin.paid();
                if let Pace::Learned(Some(more)) = pace {
                    call.spin.found(more());
                }
                return Ok(());
            }
        }
        if !slept {
            spin.was_in_vain();
            slept = true;
        }
        let ticket = signal.register(call.members);
        // An attempt in vain is no reason not to sleep, whatever `worth_it` says: it was made after the registration.
        if worth_it() && attempt(Look::AtOnce)? {
            return Ok(());
        }
        // Once the first nap was in vain, and again for each death that was found; now and then, if there is no nap that would find one.
        // After the registration, so that the next one ends the wait.
        if nap == Nap::UntilDeath && asked != Some(ticket.deaths)
            || restless_since.as_ref().is_some_and(|s| s.is_due(ASK_EVERY))
        {
            asked = Some(ticket.deaths);
            if attempt(Look::AskingAfterOwners)? {
                return Ok(());
            }
        }
        let look = match signal.wait(&ticket, call, nap) {
            ended @ (Ended::Notified | Ended::Told) => {
                // Who was told had not slept yet: no wake-up chose it.
                *notified |= ended == Ended::Notified;
                restless_since.get_or_insert_with(LastDone::now);
                Look::AtOnce
            }
            Ended::Death | Ended::Bound => {
                nap = Nap::UntilDeath;
                restless_since = None;
                Look::Idly
            }
            // A notifier may have died before it notified: look once more.
            Ended::TimedOut => Look::AskingAfterOwners,
            Ended::Lost => return Err(Error::Corrupt),
        };
        if attempt(look)? {
            return Ok(());
        }
        // Also when it ended by a notify: they may come again and again, for nothing.
        if call.deadline.has_passed() {
            return Err(Error::Timeout);
        }
    }
}

#[cfg(all(test, not(commonhold_loom)))]
mod tests {
    use super::*;
    use crate::raw::MemberId;
    use crate::raw::oracles::Awake;
    use crate::sys::atomic::AtomicU32;
    use crate::sys::deadline::{Deadline, now};
    use crate::sys::futex::Wake;
    use crate::sys::spin::Adaptive;
    use std::cell::Cell;

    const ASKING: Look = Look::AskingAfterOwners;
    const LONG: Duration = Duration::from_secs(2);

    fn call(deadline: Deadline) -> Call<'static, Awake> {
        static SPIN: Adaptive = Adaptive::new();
        Call {
            members: &Awake,
            me: MemberId::new(5, 1).unwrap(),
            spin: &SPIN,
            deadline,
        }
    }

    #[test]
    fn who_waits_for_long_asks_after_owners_once_and_then_looks_idly() {
        let signal = RawSignal::new();
        let call = call(Deadline::NEVER);
        let mut looks = Vec::new();
        let attempt = |look| {
            looks.push(look);
            Ok(looks.len() == 6)
        };
        wait_for(&call, &signal, attempt, || false).unwrap();
        use Look::*;
        assert_eq!(looks, [AtOnce, Idly, AskingAfterOwners, Idly, Idly, Idly]);
    }

    #[test]
    fn notifies_without_end_and_for_nothing_do_not_outlast_a_deadline() {
        let signal = RawSignal::new();
        let call = call(Deadline::after(Duration::from_millis(5)));
        // Each time between the registration and the sleep.
        let worth_it = || {
            signal.notify(1);
            false
        };
        let waited = wait_for(&call, &signal, |_| Ok(false), worth_it);
        assert!(matches!(waited, Err(Error::Timeout)));
    }

    #[test]
    fn notifies_without_end_and_for_nothing_do_not_hide_a_death() {
        let signal = RawSignal::new();
        let call = call(Deadline::after(LONG));
        let worth_it = || {
            signal.notify(1);
            false
        };
        let start = now();
        wait_for(&call, &signal, |look| Ok(look == ASKING), worth_it).unwrap();
        assert!(now() - start >= ASK_EVERY, "more often than they are worth");
    }

    #[test]
    fn attempts_that_seem_to_be_worth_it_and_are_not_keep_nobody_awake() {
        let signal = RawSignal::new();
        let members = Naps(Cell::new(0));
        let Call {
            me, spin, deadline, ..
        } = call(Deadline::after(LONG));
        let call = Call {
            members: &members,
            me,
            spin,
            deadline,
        };
        let mut looks = Vec::new();
        let attempt = |look| {
            looks.push((look, members.0.get()));
            Ok(look == ASKING)
        };
        let worth_it = || true;
        wait_for(&call, &signal, attempt, worth_it).unwrap();
        // Owners are asked after when a nap was in vain; who is told to look has not taken one.
        let end = [(Look::Idly, 1), (Look::AtOnce, 1), (ASKING, 1)];
        assert_eq!(looks[looks.len() - 3..], end);
    }

    /// Everybody lives; naps are counted, and end at once.
    struct Naps(Cell<u32>);

    impl Membership for Naps {
        fn is_alive(&self, _: MemberId) -> bool {
            true
        }

        fn deaths(&self) -> u32 {
            0
        }

        fn park(&self, _: &AtomicU32, _: u32, _: u32, _: Nap, _: Deadline) -> Wake {
            self.0.set(self.0.get() + 1);
            Wake::Again
        }
    }
}
