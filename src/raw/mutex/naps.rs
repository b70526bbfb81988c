//! How long one sleeps who waits for a lock, whose owner can be asked after.

use crate::raw::Nap;
use std::time::Duration;

/// How long to sleep, one sleep after another: short ones at first, after each of which the owner is asked after, then
/// long ones that end when the sweep finds a death.
pub(crate) struct Naps {
    taken: u32,
    /// How many of those who keep watch come before all others.
    watch: u32,
}

impl Naps {
    const SHORT_ONES: u32 = 8;
    const FIRST: Duration = Duration::from_millis(1);
    const LONGEST: Duration = Duration::from_millis(20);
    /// One who keeps watch takes so many of these first.
    const WATCH: u32 = 20;
    const WATCHING: Duration = Duration::from_micros(800);

    pub(crate) fn new() -> Naps {
        Naps { taken: 0, watch: 0 }
    }

    /// Nobody is known to sleep who would ask after the owner: so this one does, again and again, for a while. If all did, a crowd would keep
    /// the processors busy with it.
    pub(crate) fn keep_watch(&mut self) {
        self.watch = Self::WATCH;
    }

    /// The one to be taken now.
    pub(crate) fn now(&self) -> Nap {
        if self.watch > 0 {
            return Nap::AtMost(Self::WATCHING);
        }
        if self.taken == Self::SHORT_ONES {
            return Nap::UntilDeath;
        }
        Nap::AtMost((Self::FIRST * (1 << self.taken)).min(Self::LONGEST))
    }

    /// The one to be taken now, which then is taken.
    pub(crate) fn next(&mut self) -> Nap {
        let nap = self.now();
        if self.watch > 0 {
            self.watch -= 1;
        } else if self.taken < Self::SHORT_ONES {
            self.taken += 1;
        }
        nap
    }
}

#[cfg(all(test, not(commonhold_loom)))]
mod tests {
    use super::*;

    #[test]
    fn naps_double_to_their_limit_and_then_rely_on_the_sweep() {
        let mut naps = Naps::new();
        let ms = |n| Nap::AtMost(Duration::from_millis(n));
        let got: Vec<Nap> = (0..10).map(|_| naps.next()).collect();
        let want = [1, 2, 4, 8, 16, 20, 20, 20].map(ms);
        assert_eq!(got[..8], want);
        assert_eq!(got[8..], [Nap::UntilDeath; 2]);
    }

    #[test]
    fn who_keeps_watch_takes_many_shorter_naps_before_all_others() {
        let mut naps = Naps::new();
        naps.keep_watch();
        let mut others = Naps::new();
        for _ in 0..20 {
            assert_eq!(naps.next(), Nap::AtMost(Duration::from_micros(800)));
        }
        for _ in 0..10 {
            assert_eq!(naps.next(), others.next());
        }
    }
}
