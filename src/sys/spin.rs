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
    use crate::sys::distance::Distance;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::{Duration, Instant};

    /// The longest spin.
    const LONGEST: Duration = Duration::from_micros(40);
    /// What remains of the longest spin, at the least, when spinning never pays: one part in this many.
    const LEAST_SHARE: u32 = 32;
    /// How many times the longest spin looks, when it looks away in between: for 0.8 µs each time.
    const LOOKS: u32 = 50;
    /// And at a lock, at the last: for 2.5 µs. Each look takes the word's line away from its owner, who works with it.
    const LOCK_LOOKS: u32 = 16;
    /// As one part in this many of the longest spin, 0.6 µs, the first look away from a lock lasts: the owner gets several things done meanwhile.
    const FIRST_LOCK_LOOK: u32 = 64;
    /// And when it looks closely: every 25 ns. How long a pause takes differs by a factor of ten between processors.
    const CLOSE_LOOKS: u32 = 1600;
    /// As one part in this many of the longest spin, 2 µs, lasts a look-out.
    const LOOK_OUT: u32 = 20;
    /// One wait in this many spins to the full, to find out whether it pays again.
    const PROBE: u32 = 16;
    /// How many waits look closely after one that found a single item.
    const CLOSE_WAITS: u32 = 512;
    /// How many fewer, for each of them that finds more than that.
    const TOO_CLOSE: u32 = 64;

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
        /// So many waits for items look closely; then one looks away, to find out whether there are more at once.
        close: AtomicU32,
        distance: Distance,
    }

    impl Adaptive {
        pub(crate) const fn new() -> Adaptive {
            Adaptive {
                budget: AtomicU32::new(u32::MAX),
                waits: AtomicU32::new(0),
                close: AtomicU32::new(0),
                distance: Distance::new(),
            }
        }

        /// Whether the next wait for items had better look closely: the last that looked away found one item alone, so the other
        /// side does not run ahead, but sends one and waits for an answer, or is slow.
        pub(crate) fn is_close(&self) -> bool {
            self.close.load(Ordering::Relaxed) != 0
        }

        /// A wait has found an item; and whether there were more behind it.
        pub(crate) fn found(&self, more: bool) {
            let left = self.close.load(Ordering::Relaxed);
            let next = match (left, more) {
                (0, false) => CLOSE_WAITS,
                (_, false) => left - 1,
                (_, true) => left.saturating_sub(TOO_CLOSE),
            };
            self.close.store(next, Ordering::Relaxed);
        }

        /// Where waits [are close](Self::is_close), and spinning pays: before a wait begins, and all that it takes, looks closely for 2 µs
        /// whether it `is_there`.
        #[inline]
        pub(crate) fn look_out(&self, is_there: impl Fn() -> bool) -> bool {
            self.is_close() && self.look_out_closely(is_there)
        }

        fn look_out_closely(&self, is_there: impl Fn() -> bool) -> bool {
            let most = longest() / LOOK_OUT;
            if self.budget.load(Ordering::Relaxed) < most {
                return false;
            }
            let step = (longest() / CLOSE_LOOKS).max(1);
            (0..most / step).any(|_| {
                is_there() || {
                    (0..step).for_each(|_| std::hint::spin_loop());
                    false
                }
            })
        }

        /// Whether the next look at how far the other end of a queue is had better be made [from afar](Self::keep_distance).
        #[inline]
        pub(crate) fn is_near(&self) -> bool {
            self.distance.is_near()
        }

        /// Before such a look, if there will be one: pauses for about 0.4 µs if the other end [is near](Self::is_near). (Not where there is
        /// only one CPU.) Whether there will be one.
        #[inline]
        pub(crate) fn keep_distance(&self, looks: impl FnOnce() -> bool) -> bool {
            let looks = looks();
            if looks && self.is_near() {
                self.let_get_ahead();
            }
            looks
        }

        #[cold]
        fn let_get_ahead(&self) {
            (0..longest() / LOOKS / 2).for_each(|_| std::hint::spin_loop());
        }

        /// What such a look found, in a queue of so many.
        #[inline]
        pub(crate) fn looked(&self, found: u64, capacity: u64) {
            self.distance.looked(found, capacity);
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
                close: AtomicU32::new(0),
                distance: Distance::new(),
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
        /// Pauses, each time longer, from 0.6 up to 2.5 µs: so that those who contend get several things done in a row, each by itself. `false` when
        /// it is time to sleep.
        #[inline]
        pub(crate) fn back_off(&mut self) -> bool {
            self.step = self.step.max(longest() / FIRST_LOCK_LOOK);
            self.pause(longest() / LOCK_LOOKS)
        }

        /// As [`back_off`](Self::back_off), up to 0.8 µs: where it is no lock that is waited for.
        #[inline]
        pub(crate) fn look_again(&mut self) -> bool {
            self.pause(longest() / LOOKS)
        }

        /// As [`back_off`](Self::back_off), up to 25 ns: for what comes once, and is wanted at once.
        #[inline]
        pub(crate) fn look_closely(&mut self) -> bool {
            self.pause(longest() / CLOSE_LOOKS)
        }

        /// Pauses for about 0.8 µs: time for a peer that works to get well ahead, so that the two do not take turns over
        /// every item. `false` when it is time to sleep.
        #[inline]
        pub(crate) fn look_away(&mut self) -> bool {
            self.step = (longest() / LOOKS).max(1);
            self.pause(self.step)
        }

        #[inline]
        fn pause(&mut self, longest_step: u32) -> bool {
            if self.left == 0 {
                return false;
            }
            let step = self.step.min(self.left);
            (0..step).for_each(|_| std::hint::spin_loop());
            self.left -= step;
            self.spent += step;
            self.step = (self.step * 2).min(longest_step.max(1));
            true
        }

        /// What was waited for came while spinning: give the next wait as much again, and then some. At least a look-out.
        pub(crate) fn paid(&self) {
            let next = self.spent.saturating_mul(4).max(longest() / LOOK_OUT);
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
        fn one_item_alone_makes_the_next_waits_close_and_several_end_that() {
            let a = Adaptive::new();
            assert!(!a.is_close());
            a.found(true);
            assert!(!a.is_close());
            a.found(false);
            let close = (0..1000)
                .take_while(|_| a.is_close())
                .map(|_| a.found(false));
            assert_eq!(close.count(), CLOSE_WAITS as usize);
            // That was the look away in between.
            a.found(false);
            let close = (0..1000)
                .take_while(|_| a.is_close())
                .map(|_| a.found(true));
            assert_eq!(close.count(), (CLOSE_WAITS / TOO_CLOSE) as usize);
        }

        #[test]
        fn who_waits_for_single_items_looks_out_for_them_unless_that_is_in_vain() {
            if longest() == 0 {
                return;
            }
            let a = Adaptive::new();
            assert!(!a.look_out(|| unreachable!("nothing is known of single items")));
            a.found(false);
            let looks = std::cell::Cell::new(0);
            let count = || looks.replace(looks.get() + 1);
            assert!(a.look_out(|| count() == 2));
            assert_eq!(looks.take(), 3);
            assert!(!a.look_out(|| count() == u32::MAX));
            let all = longest() / LOOK_OUT;
            assert!((all / 100..=all).contains(&looks.get()), "and no longer");
            (0..100).for_each(|_| a.begin().was_in_vain());
            assert!(!a.look_out(|| unreachable!("it does not pay")));
            // A single short wait that pays is enough.
            let mut spin = a.begin();
            assert!(spin.look_closely());
            spin.paid();
            assert!(a.look_out(|| true));
        }

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
    pub(crate) struct Adaptive {
        is_near: bool,
    }

    impl Adaptive {
        pub(crate) const fn new() -> Adaptive {
            Adaptive { is_near: false }
        }
        pub(crate) const fn near() -> Adaptive {
            Adaptive { is_near: true }
        }
        pub(crate) fn begin(&self) -> Spin {
            Spin
        }
        pub(crate) fn is_close(&self) -> bool {
            false
        }
        pub(crate) fn found(&self, _more: bool) {}
        pub(crate) fn look_out(&self, _is_there: impl Fn() -> bool) -> bool {
            false
        }
        pub(crate) fn is_near(&self) -> bool {
            self.is_near
        }
        /// Nobody asks: the question would be one more thing to explore.
        pub(crate) fn keep_distance(&self, _looks: impl FnOnce() -> bool) -> bool {
            false
        }
        pub(crate) fn looked(&self, _found: u64, _capacity: u64) {}
    }

    #[derive(Debug)]
    pub(crate) struct Spin;

    impl Spin {
        pub(crate) fn back_off(&mut self) -> bool {
            false
        }
        pub(crate) fn look_closely(&mut self) -> bool {
            false
        }
        pub(crate) fn look_away(&mut self) -> bool {
            false
        }
        pub(crate) fn paid(&self) {}
        pub(crate) fn was_in_vain(&self) {}
    }
}
