//! The condition variable: a signal that is registered for before the mutex is left.
//!
//! Fairness: none; whichever sleeper the kernel has queued first is woken first, and those that still spin are all woken.

use super::member::{Call, Membership, Nap};
use super::mutex::{Heir, RawMutex};
use super::signal::{Ended, FIRST_NAP, RawSignal, Ticket};
use crate::error::Result;

/// The word is that of [`RawSignal`]; all zero is a condition variable that nobody waits on.
#[repr(transparent)]
#[derive(Debug)]
pub(crate) struct RawCondvar {
    pub(crate) signal: RawSignal,
}

impl RawCondvar {
    #[cfg(commonhold_loom)]
    pub(crate) fn new() -> RawCondvar {
        RawCondvar {
            signal: RawSignal::new(),
        }
    }

    /// Leaves the mutex, waits, and takes the mutex again. `Ok(true)`: the deadline passed before a notify came.
    ///
    /// An error means that the mutex was not taken again. It is waited for without a deadline, as everywhere.
    pub(crate) fn wait<M: Membership>(
        &self,
        mutex: &RawMutex,
        call: &Call<'_, M>,
        relock: &Call<'_, M>,
    ) -> Result<bool> {
        // While the mutex is held: a notifier that changes the state under the mutex comes after the registration,
        // and sees it.
        let ticket = self.signal.register(call.members);
        mutex.unlock();
        let timed_out = self.wait_for_notify(&ticket, call);
        mutex.lock(relock, Heir::Refuses)?;
        Ok(timed_out)
    }

    fn wait_for_notify<M: Membership>(&self, ticket: &Ticket, call: &Call<'_, M>) -> bool {
        let mut spin = call.spin.begin();
        while spin.look_closely() {
            if self.signal.has_moved(ticket) {
                spin.paid();
                return false;
            }
        }
        spin.was_in_vain();
        let mut nap = FIRST_NAP;
        loop {
            match self.signal.wait(ticket, call, nap) {
                Ended::Notified | Ended::Told => return false,
                // The dead may have been woken in our place: let the caller look.
                Ended::Death => return false,
                Ended::Bound => nap = Nap::UntilDeath,
                Ended::TimedOut => return true,
                // Taking the mutex will say so.
                Ended::Lost => return false,
            }
        }
    }

    /// Needs no fence: whoever changes what is waited for under the mutex comes after the waiters' registration, made
    /// under the same mutex.
    #[inline]
    pub(crate) fn notify_one(&self) {
        self.signal.notify(1);
    }

    #[inline]
    pub(crate) fn notify_all(&self) {
        self.signal.notify(u32::MAX);
    }
}
