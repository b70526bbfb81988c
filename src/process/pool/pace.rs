//! How many items go into a chunk, and how far ahead of its reader a stream works: as few as keep the workers busy.
//!
//! A chunk costs its way through the board once, however many items it has; but its items wait for each other, and for one worker. So
//! short items come in chunks of some 200 us, and long ones each alone. How long they take, nobody measures by itself: so many results
//! in so much time, from so many workers.

use std::time::Duration;

/// What a chunk should take a worker.
const CHUNK: Duration = Duration::from_micros(200);
/// So long is looked at a time: long enough for the clock, and short enough to find the pace soon.
const LOOK: Duration = Duration::from_micros(100);
/// How fast the size may follow.
const STEP: u32 = 4;
/// Chunks that each worker has before it, of items that take long.
const AHEAD: usize = 2;

/// The pace of one call.
#[derive(Debug)]
pub(super) struct Pace {
    workers: u32,
    /// Chunks that the board has room for.
    slots: usize,
    most: u32,
    size: u32,
    given: bool,
    /// How long a chunk of the present size took lately; none: not known yet.
    lasts: Option<Duration>,
    since: Option<Duration>,
    items: u64,
    /// Bytes that a slot has room for, of outcomes; and how many items' outcomes that are, as far as is known.
    room: usize,
    fit: u32,
}

impl Pace {
    /// `given`: the size that the user wants. `most`: how many items a chunk may have. `room`: how many bytes their outcomes may have without
    /// taking longer.
    pub(super) fn new(
        workers: usize,
        slots: usize,
        given: Option<u32>,
        most: u32,
        room: usize,
    ) -> Pace {
        Pace {
            room,
            fit: u32::MAX,
            workers: workers.max(1) as u32,
            slots,
            most: most.max(1),
            size: given.unwrap_or(1).clamp(1, most.max(1)),
            given: given.is_some(),
            lasts: None,
            since: None,
            items: 0,
        }
    }

    /// So many results arrived, at this time.
    pub(super) fn arrived(&mut self, items: u64, now: Duration) {
        // What came first had to wait for the workers to start.
        let Some(since) = self.since else {
            self.since = Some(now);
            return;
        };
        self.items += items;
        let elapsed = now.saturating_sub(since);
        if self.items == 0 || elapsed < LOOK {
            return;
        }
        let each = elapsed.as_nanos() as f64 * f64::from(self.workers) / self.items as f64;
        if !self.given {
            let wanted = (CHUNK.as_nanos() as f64 / each) as u32;
            let slowly = (self.size / STEP, self.size.saturating_mul(STEP));
            self.size = wanted.clamp(slowly.0, slowly.1).clamp(1, self.most);
        }
        self.lasts = Some(Duration::from_nanos((each * f64::from(self.size)) as u64));
        self.since = Some(now);
        self.items = 0;
    }

    /// The outcomes of so many items had so many bytes. Those of the next ones may be longer: an eighth more is allowed for. A few long ones
    /// among many make chunks not much shorter.
    pub(super) fn took(&mut self, bytes: usize, items: u64) {
        if items == 0 {
            return;
        }
        let each = (bytes.saturating_add(bytes / 8) as u64)
            .div_ceil(items)
            .max(1);
        let fit = u32::try_from(self.room as u64 / each).unwrap_or(u32::MAX);
        self.fit = fit.max(self.fit.min(self.most) / STEP).max(1);
    }

    /// How many items the next chunk has, if at least `left` are to come.
    pub(super) fn size(&self, left: usize) -> u32 {
        if self.given {
            return self.size;
        }
        // Towards the end in smaller and smaller ones, so that the workers end together.
        let share = left / (2 * self.workers as usize);
        let share = share.clamp(1, u32::MAX as usize) as u32;
        self.size.min(share).min(self.fit)
    }

    /// How many items a stream may have drawn that its reader has not got.
    pub(super) fn window(&self) -> u64 {
        let few = AHEAD * self.workers as usize;
        let chunks = match self.lasts {
            Some(lasts) if lasts < CHUNK / 2 => self.slots,
            _ => few,
        };
        chunks as u64 * u64::from(self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKERS: usize = 2;
    const SLOTS: usize = 64;
    const ROOM: usize = 8000;

    /// Two workers, each of which needs `each` for an item.
    fn after(pace: &mut Pace, each: Duration, results: u64) {
        let mut now = Duration::from_secs(1);
        pace.arrived(1, now);
        for _ in 0..results {
            now += each / WORKERS as u32;
            pace.arrived(1, now);
        }
    }

    fn pace() -> Pace {
        Pace::new(WORKERS, SLOTS, None, 1000, ROOM)
    }

    #[test]
    fn the_first_chunks_are_of_one_item() {
        assert_eq!(pace().size(1_000_000), 1);
        assert_eq!(pace().window(), 4);
    }

    #[test]
    fn long_items_go_one_by_one_and_few_ahead() {
        let mut pace = pace();
        after(&mut pace, Duration::from_millis(10), 100);
        assert_eq!(pace.size(1_000_000), 1);
        assert_eq!(pace.window(), 4);
    }

    #[test]
    fn short_items_go_in_chunks_of_some_200_us() {
        let mut pace = pace();
        after(&mut pace, Duration::from_micros(2), 10_000);
        let size = pace.size(1_000_000);
        assert!((95..=105).contains(&size), "{size}");
    }

    #[test]
    fn the_shortest_items_fill_the_board_with_the_largest_chunks() {
        let mut pace = pace();
        after(&mut pace, Duration::from_nanos(20), 1_000_000);
        assert_eq!(pace.size(1_000_000), 1000);
        assert_eq!(pace.window(), 64 * 1000);
    }

    #[test]
    fn the_size_grows_and_shrinks_step_by_step() {
        let mut pace = pace();
        let us = Duration::from_micros;
        pace.arrived(1, us(0));
        for (now, size) in [(100, 4), (200, 16), (300, 64)] {
            pace.arrived(1_000, us(now));
            assert_eq!(pace.size(usize::MAX), size);
        }
        for (now, size) in [(100_300, 16), (200_300, 4), (300_300, 1)] {
            pace.arrived(1, us(now));
            assert_eq!(pace.size(usize::MAX), size);
        }
    }

    #[test]
    fn the_last_items_are_shared_out_among_the_workers() {
        let mut pace = pace();
        after(&mut pace, Duration::from_nanos(20), 1_000_000);
        assert_eq!(pace.size(400), 100);
        assert_eq!(pace.size(7), 1);
        assert_eq!(pace.size(0), 1);
    }

    #[test]
    fn the_first_results_say_nothing_since_the_workers_were_starting() {
        let mut pace = pace();
        pace.arrived(1, Duration::from_secs(1));
        pace.arrived(100, Duration::from_secs(1) + LOOK);
        assert_eq!(pace.size(usize::MAX), 4);
    }

    #[test]
    fn a_chunk_has_no_more_items_than_outcomes_fit_into_its_slot() {
        let mut pace = pace();
        after(&mut pace, Duration::from_nanos(20), 1_000_000);
        pace.took(500 * 16, 500);
        assert_eq!(pace.size(1_000_000), 8000 / 18);
        pace.took(0, 0);
        assert_eq!(pace.size(1_000_000), 8000 / 18, "nothing is known of them");
        // One long outcome after the other, and then short ones.
        for size in [111, 27, 6, 1, 1] {
            pace.took(2 * 8000, 2);
            assert_eq!(pace.size(1_000_000), size);
        }
        pace.took(0, 1000);
        assert_eq!(pace.size(1_000_000), 1000);
    }

    #[test]
    fn a_size_that_is_given_stays() {
        let mut pace = Pace::new(WORKERS, SLOTS, Some(7), 1000, ROOM);
        after(&mut pace, Duration::from_nanos(20), 1_000_000);
        assert_eq!((pace.size(1_000_000), pace.size(1)), (7, 7));
        assert_eq!(pace.window(), 64 * 7);
    }
}
