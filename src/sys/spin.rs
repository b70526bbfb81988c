//! Spinning before sleeping: how long, and how.
//!
//! A futex wake across cores costs 25 to 50 µs, so spinning about that long pays while the peer runs, and is waste
//! while it does not. [`Adaptive`] learns which from the last waits; it lives in the handle, in private memory, so
//! that waiting shares no cache line with anybody.

#[cfg(not(commonhold_loom))]
pub(crate) use real::Adaptive;

#[cfg(commonhold_loom)]
pub(crate) use modelled::Adaptive;

#[cfg(not(commonhold_loom))]
mod real {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::{Duration, Instant};

    /// The longest spin.
    const LONGEST: Duration = Duration::from_micros(40);
    /// What remains of the longest spin, at the least, when spinning never pays: one part in this many.
    const LEAST_SHARE: u32 = 32;
    /// How many times the longest spin looks, when it looks away in between.
    const LOOKS: u32 = 50;
    /// One wait in this many spins to the full, to find out whether it pays again.
    const PROBE: u32 = 16;

    /// How many pauses the longest spin takes on this machine; 0 where there is only one CPU.
    fn longest() -> u32 {
        // Not a OnceLock: a child forked while another thread measures would wait for that thread for ever. Two that
        // measure at once do no harm.
        static LONGEST_PAUSES: AtomicU32 = AtomicU32::new(u32::MAX);
        let known = LONGEST_PAUSES.load(Ordering::Relaxed);
        if known != u32::MAX {
            return known;
        }
        let measured = measure();
        LONGEST_PAUSES.store(measured, Ordering::Relaxed);
        measured
    }

    #[cold]
    fn measure() -> u32 {
        // How many are online, not how many this thread may run on: whom we wait for runs on another.
        // SAFETY: the call has no preconditions.
        if unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) } == 1 {
            return 0;
        }
        // The fastest of a few short runs: an interruption makes one longer, nothing makes one shorter.
        const RUN: u32 = 64;
        let run = || {
            let start = Instant::now();
            (0..RUN).for_each(|_| std::hint::spin_loop());
            start.elapsed()
        };
        let fastest = (0..5).map(|_| run()).min().unwrap_or(LONGEST);
        let pauses = LONGEST.as_nanos() * u128::from(RUN) / fastest.as_nanos().max(1);
        pauses.clamp(64, 20_000) as u32
    }

    /// What a handle has learned about spinning.
    #[derive(Debug)]
    pub(crate) struct Adaptive {
        /// Pauses that the next wait may spend; `u32::MAX` stands for "as many as are allowed".
        budget: AtomicU32,
        waits: AtomicU32,
    }

    impl Adaptive {
        pub(crate) const fn new() -> Adaptive {
            Adaptive {
                budget: AtomicU32::new(u32::MAX),
                waits: AtomicU32::new(0),
            }
        }

        /// Begins a wait.
        pub(crate) fn begin(&self) -> Spin<'_> {
            let most = longest();
            let n = self.waits.load(Ordering::Relaxed).wrapping_add(1);
            self.waits.store(n, Ordering::Relaxed);
            let budget = self.budget.load(Ordering::Relaxed).min(most);
            let budget = if n % PROBE == 0 { most } else { budget };
            Spin {
                learned: self,
                left: budget,
                spent: 0,
                step: 1,
            }
        }
    }

    impl Clone for Adaptive {
        fn clone(&self) -> Self {
            Adaptive {
                budget: AtomicU32::new(self.budget.load(Ordering::Relaxed)),
                waits: AtomicU32::new(0),
            }
        }
    }

    /// The spinning part of one wait.
    #[derive(Debug)]
    pub(crate) struct Spin<'a> {
        learned: &'a Adaptive,
        left: u32,
        spent: u32,
        step: u32,
    }

    impl Spin<'_> {
        /// Pauses, each time longer up to `longest_step` pauses; `false` when it is time to sleep.
        #[inline]
        pub(crate) fn pause(&mut self, longest_step: u32) -> bool {
            if self.left == 0 {
                return false;
            }
            let step = self.step.min(self.left);
            (0..step).for_each(|_| std::hint::spin_loop());
            self.left -= step;
            self.spent += step;
            self.step = (self.step * 2).min(longest_step);
            true
        }

        /// Pauses for about 0.8 µs: time for a peer that works to get well ahead, so that the two do not take turns over
        /// every item. `false` when it is time to sleep.
        #[inline]
        pub(crate) fn look_away(&mut self) -> bool {
            self.step = (longest() / LOOKS).max(1);
            self.pause(self.step)
        }

        /// What was waited for came while spinning: give the next wait as much again, and then some.
        pub(crate) fn paid(&self) {
            let next = self.spent.saturating_mul(4).max(longest() / LEAST_SHARE);
            let now = self.learned.budget.load(Ordering::Relaxed);
            if next > now {
                self.learned.budget.store(next, Ordering::Relaxed);
            }
        }

        /// It did not come: give the next wait less.
        pub(crate) fn was_in_vain(&self) {
            let most = longest();
            let now = self.learned.budget.load(Ordering::Relaxed).min(most);
            let next = (now - now / 4).max(most / LEAST_SHARE);
            self.learned.budget.store(next, Ordering::Relaxed);
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn spinning_in_vain_shrinks_the_budget_and_a_probe_restores_it() {
            if longest() == 0 {
                return;
            }
            let a = Adaptive::new();
            let spend = |a: &Adaptive| {
                let mut s = a.begin();
                while s.pause(64) {}
                s.was_in_vain();
                s.spent
            };
            let first = spend(&a);
            assert_eq!(first, longest());
            let all: Vec<u32> = (0..64).map(|_| spend(&a)).collect();
            assert!(all.iter().any(|&n| n <= longest() / LEAST_SHARE + 1));
            assert!(all.iter().filter(|&&n| n == longest()).count() >= 64 / PROBE as usize);
            let mut s = a.begin();
            while s.pause(64) {}
            s.paid();
            assert!(a.budget.load(Ordering::Relaxed) > longest() / LEAST_SHARE);
        }
    }
}

/// Under loom nobody spins: each look costs a branch, and a sleep has the same meaning.
#[cfg(commonhold_loom)]
mod modelled {
    #[derive(Clone, Debug)]
    pub(crate) struct Adaptive;

    impl Adaptive {
        pub(crate) const fn new() -> Adaptive {
            Adaptive
        }
        pub(crate) fn begin(&self) -> Spin {
            Spin
        }
    }

    #[derive(Debug)]
    pub(crate) struct Spin;

    impl Spin {
        pub(crate) fn pause(&mut self, _longest_step: u32) -> bool {
            false
        }
        pub(crate) fn look_away(&mut self) -> bool {
            false
        }
        pub(crate) fn paid(&self) {}
        pub(crate) fn was_in_vain(&self) {}
    }
}
