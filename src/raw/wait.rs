//! Waiting until an attempt succeeds: spin while that pays, register with the signal, look once more, sleep, and again.

use super::member::{Call, Membership, Nap};
use super::signal::{Ended, FIRST_NAP, RawSignal};
use crate::error::{Error, Result};

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

/// How a wait spins before it sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// Looks away for long: one of many items is waited for, and the other side is to get ahead.
    Aside,
    /// Looks again and again: what is waited for comes once, and is wanted at once.
    Closely,
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
    pace: Pace,
    call: &Call<'_, M>,
    signal: &RawSignal,
    mut attempt: impl FnMut(Look) -> Result<bool>,
    worth_it: impl Fn() -> bool,
) -> Result<()> {
    if attempt(Look::AtOnce)? {
        return Ok(());
    }
    let mut notified = false;
    let result = wait_slowly(pace, call, signal, &mut attempt, &worth_it, &mut notified);
    if matches!(result, Err(Error::Timeout)) && notified && worth_it() {
        // A wake-up chose us, and we go away without having used it: pass it on.
        signal.notify(1);
    }
    result
}

#[cold]
fn wait_slowly<M: Membership>(
    pace: Pace,
    call: &Call<'_, M>,
    signal: &RawSignal,
    attempt: &mut dyn FnMut(Look) -> Result<bool>,
    worth_it: &dyn Fn() -> bool,
    notified: &mut bool,
) -> Result<()> {
    let mut spin = call.spin.begin();
    let mut slept = false;
    let mut nap = FIRST_NAP;
    let mut asked = None;
    loop {
        // Not even the first look without a pause: the two sides would take turns over each item, many times slower.
        while !slept
            && match pace {
                Pace::Aside => spin.look_away(),
                Pace::Closely => spin.pause(CLOSE_LOOK),
            }
        {
            if worth_it() && attempt(Look::AtOnce)? {
                spin.paid();
                return Ok(());
            }
        }
        if !slept {
            spin.was_in_vain();
            slept = true;
        }
        let ticket = signal.register(call.members);
        if worth_it() {
            if attempt(Look::AtOnce)? {
                return Ok(());
            }
            if call.deadline.has_passed() {
                return Err(Error::Timeout);
            }
            continue;
        }
        // Once the first nap was in vain, and again for each death that was found; after the registration, so that the next one ends
        // the wait.
        if nap == Nap::UntilDeath && asked != Some(ticket.deaths) {
            asked = Some(ticket.deaths);
            if attempt(Look::AskingAfterOwners)? {
                return Ok(());
            }
        }
        let mut look = Look::AtOnce;
        match signal.wait(&ticket, call, nap) {
            Ended::Notified => *notified = true,
            Ended::Death | Ended::Bound => {
                nap = Nap::UntilDeath;
                look = Look::Idly;
            }
            // A notifier may have died before it notified: look once more.
            Ended::TimedOut => {
                return if attempt(Look::AskingAfterOwners)? {
                    Ok(())
                } else {
                    Err(Error::Timeout)
                };
            }
            Ended::Lost => return Err(Error::Corrupt),
        }
        if attempt(look)? {
            return Ok(());
        }
        // A wait that ends by a notify has not looked: and they may come again and again, for nothing.
        if call.deadline.has_passed() {
            return Err(Error::Timeout);
        }
    }
}

/// The longest run of pauses between two looks of [`Pace::Closely`].
const CLOSE_LOOK: u32 = 8;

#[cfg(all(test, not(commonhold_loom)))]
mod tests {
    use super::*;
    use crate::raw::MemberId;
    use crate::raw::oracles::Awake;
    use crate::sys::deadline::Deadline;
    use crate::sys::spin::Adaptive;
    use std::time::Duration;

    #[test]
    fn who_waits_for_long_asks_after_owners_once_and_then_looks_idly() {
        // SAFETY: as below.
        let signal: RawSignal = unsafe { std::mem::zeroed() };
        let call = Call {
            members: &Awake,
            me: MemberId::new(5, 1).unwrap(),
            spin: &Adaptive::new(),
            deadline: Deadline::NEVER,
        };
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
        // SAFETY: all zero is a signal that nobody waits for.
        let signal: RawSignal = unsafe { std::mem::zeroed() };
        let call = Call {
            members: &Awake,
            me: MemberId::new(5, 1).unwrap(),
            spin: &Adaptive::new(),
            deadline: Deadline::after(Duration::from_millis(5)),
        };
        // Each time between the registration and the sleep.
        let worth_it = || {
            signal.notify(1);
            false
        };
        let waited = wait_for(&call, &signal, |_| Ok(false), worth_it);
        assert!(matches!(waited, Err(Error::Timeout)));
    }
}
