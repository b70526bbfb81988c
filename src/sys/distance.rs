//! How far behind the other end of a queue to stay, while both are at work.
//!
//! Who looks how far the other end is takes its line away, and a moment later that takes it back. Where a look finds a few items (or
//! places) only, the line goes there and back for each few, and both ends are slow: a look that is made 0.4 µs later finds many. But
//! where the other end waits for what becomes of those few (requests, say, of which several are under way), looking later only makes
//! both wait. Nobody tells which it is: so both ways are tried, and the one by which more items went in its time is kept for a while.

use super::deadline::now;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

/// How many items a look must find at the least, for the other end not to be near.
const FEW: u64 = 32;
/// How many looks that find a few a trial lasts, and how many what came of it is kept.
const TRIAL: u32 = 64;
const WHILE: u32 = 4096;

/// What is tried, or kept.
const TRY_AT_ONCE: u32 = 0;
const TRY_FROM_AFAR: u32 = 1;
const AT_ONCE: u32 = 2;
const FROM_AFAR: u32 = 3;

/// What a handle has learned. Threads that share it, one that both sends and receives by it, and times in which nothing was to be done
/// confuse the numbers: then it looks a while in the worse of two ways.
#[derive(Debug)]
pub(crate) struct Distance {
    /// The last look found a few, and the next one is to be made from afar.
    is_near: AtomicBool,
    way: AtomicU32,
    /// In this trial or while: the looks that found a few, the items of all looks, and when it began, in nanoseconds.
    looks: AtomicU32,
    items: AtomicU64,
    since: AtomicU64,
    /// Of the last trial of looking at once: items in a millisecond.
    rate: AtomicU64,
}

impl Distance {
    pub(crate) const fn new() -> Distance {
        Distance {
            is_near: AtomicBool::new(false),
            // Until the other is shown to be better.
            way: AtomicU32::new(FROM_AFAR),
            looks: AtomicU32::new(0),
            items: AtomicU64::new(0),
            since: AtomicU64::new(0),
            rate: AtomicU64::new(0),
        }
    }

    /// Whether the next look had better be made from afar.
    #[inline]
    pub(crate) fn is_near(&self) -> bool {
        self.is_near.load(Relaxed)
    }

    /// What a look found, in a queue of so many.
    #[inline]
    pub(crate) fn looked(&self, found: u64, capacity: u64) {
        self.learn(found, capacity, || now().as_nanos() as u64);
    }

    #[inline]
    fn learn(&self, found: u64, capacity: u64, now: impl FnOnce() -> u64) {
        let items = self.items.load(Relaxed).saturating_add(found);
        self.items.store(items, Relaxed);
        // One alone comes from an end that sends one, and waits for an answer.
        if found < 2 || found >= FEW.min(capacity / 2) {
            self.is_near.store(false, Relaxed);
            return;
        }
        self.found_a_few(items, now);
    }

    fn found_a_few(&self, items: u64, now: impl FnOnce() -> u64) {
        let (way, looks) = (self.way.load(Relaxed), self.looks.load(Relaxed) + 1);
        self.looks.store(looks, Relaxed);
        let is_trial = way == TRY_AT_ONCE || way == TRY_FROM_AFAR;
        if looks >= if is_trial { TRIAL } else { WHILE } {
            self.judge(way, items, now());
        }
        let way = self.way.load(Relaxed);
        self.is_near
            .store(way == TRY_FROM_AFAR || way == FROM_AFAR, Relaxed);
    }

    /// A trial, or a while, is over.
    #[cold]
    fn judge(&self, way: u32, items: u64, now: u64) {
        let time = now.saturating_sub(self.since.load(Relaxed)).max(1);
        let rate = items.saturating_mul(1_000_000) / time;
        let next = match way {
            TRY_AT_ONCE => {
                self.rate.store(rate, Relaxed);
                TRY_FROM_AFAR
            }
            TRY_FROM_AFAR if rate > self.rate.load(Relaxed) => FROM_AFAR,
            TRY_FROM_AFAR => AT_ONCE,
            _ => TRY_AT_ONCE,
        };
        self.way.store(next, Relaxed);
        self.looks.store(0, Relaxed);
        self.items.store(0, Relaxed);
        self.since.store(now, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOMY: u64 = 1000;

    fn is_near(d: &Distance, found: u64, capacity: u64) -> bool {
        d.looked(found, capacity);
        d.is_near()
    }

    #[test]
    fn a_few_items_are_near_and_one_or_many_are_not() {
        let d = Distance::new();
        assert!([2, FEW - 1].map(|n| is_near(&d, n, ROOMY)) == [true; 2]);
        assert!([0, 1, FEW, u64::MAX].map(|n| is_near(&d, n, ROOMY)) == [false; 4]);
        // In a small queue there never are many.
        assert!([1, 2, 3].map(|capacity| is_near(&d, capacity, capacity)) == [false; 3]);
        assert!(is_near(&d, 3, 8) && !is_near(&d, 4, 8));
    }

    /// Where a look at once finds `at_once` items, and one from afar `from_afar`, which takes 400 ns longer than 100: how many of so many
    /// looks are made from afar.
    fn looks_from_afar(at_once: u64, from_afar: u64, looks: usize) -> usize {
        let d = Distance::new();
        let (mut time, mut count) = (1_000_000_000, 0);
        for _ in 0..looks {
            let waits = d.is_near();
            count += usize::from(waits);
            time += if waits { 500 } else { 100 };
            d.learn(if waits { from_afar } else { at_once }, ROOMY, || time);
        }
        count
    }

    #[test]
    fn what_moves_more_items_in_its_time_is_kept() {
        const LOOKS: usize = 20 * WHILE as usize;
        // A stream: four times as many a microsecond.
        assert!(looks_from_afar(2, 31, LOOKS) > LOOKS * 9 / 10);
        // Eight requests under way, and no more to be had by waiting: but for the first while and the trials.
        let few = looks_from_afar(8, 8, LOOKS);
        assert!((TRIAL as usize..LOOKS / 10).contains(&few), "{few}");
    }

    #[test]
    fn the_other_way_is_tried_again() {
        let d = Distance::new();
        let mut time = 1_000_000_000;
        let mut look = |found: &dyn Fn(bool) -> u64| {
            let waits = d.is_near();
            time += if waits { 500 } else { 100 };
            d.learn(found(waits), ROOMY, || time);
            d.way.load(Relaxed)
        };
        let mut until = |way: u32, found: &dyn Fn(bool) -> u64| {
            let looks = 4 * (WHILE + TRIAL);
            assert!((0..looks).any(|_| look(found) == way), "never {way}");
        };
        until(AT_ONCE, &|_| 8);
        until(FROM_AFAR, &|waits| if waits { 31 } else { 2 });
        until(AT_ONCE, &|_| 8);
    }

    #[test]
    fn clocks_and_numbers_that_make_no_sense_do_no_harm() {
        let d = Distance::new();
        for _ in 0..2 * WHILE {
            d.learn(u64::MAX, ROOMY, || 0);
            d.learn(2, ROOMY, || 0);
        }
    }
}
