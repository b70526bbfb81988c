//! Absolute points of CLOCK_MONOTONIC, so that a wait that is interrupted or resumed does not become longer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The moment after which a wait gives up, or never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deadline(Option<Duration>);

impl Deadline {
    pub(crate) const NEVER: Deadline = Deadline(None);
    /// Has passed already: for the `try_` forms.
    pub(crate) const PASSED: Deadline = Deadline(Some(Duration::ZERO));

    /// The earlier of the two.
    #[cfg(not(commonhold_loom))]
    pub(crate) fn min(self, other: Deadline) -> Deadline {
        match (self.0, other.0) {
            (Some(a), Some(b)) => Deadline(Some(a.min(b))),
            (a, b) => Deadline(a.or(b)),
        }
    }

    /// Time since the clock's origin, or `None` for never.
    #[cfg(not(commonhold_loom))]
    pub(crate) fn at(self) -> Option<Duration> {
        self.0
    }

    /// Under loom time passes when the model says so.
    #[cfg(commonhold_loom)]
    pub(crate) const SOON: Deadline = Deadline(Some(Duration::from_secs(1)));

    #[cfg(commonhold_loom)]
    pub(crate) fn has_passed(self) -> bool {
        self == Deadline::PASSED || self == Deadline::SOON && super::model::time_has_passed()
    }
}

/// When something was last done that is to be done again now and then, by whichever thread comes by.
#[derive(Debug)]
pub(crate) struct LastDone {
    /// Microseconds of CLOCK_MONOTONIC; 0: never.
    at: AtomicU64,
}

impl Clone for LastDone {
    fn clone(&self) -> Self {
        LastDone {
            at: AtomicU64::new(self.at.load(Ordering::Relaxed)),
        }
    }
}

impl LastDone {
    pub(crate) const fn never() -> LastDone {
        LastDone {
            at: AtomicU64::new(0),
        }
    }

    /// Under loom the clock stands still.
    #[cfg(commonhold_loom)]
    pub(crate) fn now() -> LastDone {
        LastDone::never()
    }

    #[cfg(commonhold_loom)]
    pub(crate) fn is_due(&self, _every: Duration) -> bool {
        false
    }
}

#[cfg(not(commonhold_loom))]
mod clock {
    use super::{AtomicU64, Deadline, Duration, LastDone, Ordering};
    #[cfg(feature = "process")]
    use std::sync::{Condvar, MutexGuard, PoisonError};

    impl LastDone {
        /// As if it had just been done.
        pub(crate) fn now() -> LastDone {
            LastDone {
                at: AtomicU64::new(now().as_micros() as u64),
            }
        }

        /// Whether that was `every` or longer ago: then the caller does it.
        pub(crate) fn is_due(&self, every: Duration) -> bool {
            let now = now().as_micros() as u64;
            let last = self.at.load(Ordering::Relaxed);
            // Another thread may have looked at the clock just after us.
            u128::from(now.saturating_sub(last)) >= every.as_micros()
                && self
                    .at
                    .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok()
        }
    }

    impl Deadline {
        /// `timeout` from now. A time so long that the clock cannot count it is never.
        pub(crate) fn after(timeout: Duration) -> Deadline {
            // The kernel's own limit (KTIME_MAX) is 292 years; a hundred are never.
            const NEVER: Duration = Duration::from_secs(100 * 366 * 86_400);
            if timeout >= NEVER {
                return Deadline::NEVER;
            }
            Deadline(Some(now().saturating_add(timeout)))
        }

        /// The last multiple of `step`, as the clock counts, that is not later: who waits for such wakes together with others, and shares with
        /// them what waking takes.
        pub(crate) fn in_steps_of(self, step: Duration) -> Deadline {
            let floor =
                |at: Duration| at - Duration::from_nanos((at.as_nanos() % step.as_nanos()) as u64);
            Deadline(self.0.map(floor))
        }

        /// Sleeps until the condvar is notified, or not longer than this; as those, it may also wake by itself.
        #[cfg(feature = "process")]
        pub(crate) fn wait<'a, T>(
            self,
            condvar: &Condvar,
            guard: MutexGuard<'a, T>,
        ) -> MutexGuard<'a, T> {
            match self.0 {
                None => condvar.wait(guard).unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    condvar
                        .wait_timeout(guard, at.saturating_sub(now()))
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            }
        }

        pub(crate) fn has_passed(self) -> bool {
            match self.0 {
                None => false,
                Some(Duration::ZERO) => true,
                Some(at) => now() >= at,
            }
        }
    }

    /// Time since the origin of CLOCK_MONOTONIC.
    pub(crate) fn now() -> Duration {
        let mut t = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: `t` is a timespec that the kernel may fill.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut t) };
        Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
    }
}

#[cfg(not(commonhold_loom))]
pub(crate) use clock::now;

#[cfg(all(test, not(commonhold_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_too_far_to_count_is_never() {
        assert_eq!(Deadline::after(Duration::MAX), Deadline::NEVER);
        assert!(!Deadline::NEVER.has_passed());
        assert!(Deadline::PASSED.has_passed());
        assert!(Deadline::after(Duration::ZERO).has_passed());
    }

    #[test]
    fn what_is_done_now_and_then_is_due_once_in_a_while() {
        let last = LastDone::never();
        let hour = Duration::from_secs(3600);
        assert!(last.is_due(Duration::from_micros(1)));
        assert!(!last.is_due(hour));
        assert!(last.is_due(Duration::ZERO));
        let later = (now() + hour).as_micros() as u64;
        last.at.store(later, Ordering::Relaxed);
        assert!(!last.is_due(Duration::from_micros(1)));
        assert!(!LastDone::now().is_due(hour));
    }

    #[test]
    fn deadlines_in_steps_are_the_same_for_all_within_a_step() {
        let step = Duration::from_millis(20);
        let at = |millis| Deadline(Some(Duration::from_millis(millis)));
        assert_eq!(at(40).in_steps_of(step), at(40));
        assert_eq!(at(59).in_steps_of(step), at(40));
        assert_eq!(Deadline::NEVER.in_steps_of(step), Deadline::NEVER);
    }

    #[test]
    fn the_earlier_of_two_deadlines_wins() {
        let near = Deadline::after(Duration::from_secs(1));
        let far = Deadline::after(Duration::from_secs(100));
        assert_eq!(near.min(far), near);
        assert_eq!(far.min(near), near);
        assert_eq!(Deadline::NEVER.min(near), near);
        assert_eq!(near.min(Deadline::NEVER), near);
    }
}
