//! How long operations took, not counting pauses: times in which somebody was stopped (alive, and perhaps holding what others
//! want), or in which the kernel took long to end one that was killed (it
//! vouches for it until then), or took long to begin, or in which the machine did not run us.

use crate::support::SHORT_OF_A_NAP;
use commonhold::{Atomics, Result, Segment};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::Duration;

/// What an operation of a survivor may take at most: deaths cost it some 50 ms, and 400 ms more when the sweeper and its
/// deputy die at one stroke (docs/crashes.md). The rest is left to a machine that is slow.
pub const LIMIT: Duration = SHORT_OF_A_NAP;
/// What an operation gives itself at most.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// Operations shorter than this are not looked up in the book of pauses.
const SHORT: u64 = 20_000;
const PAUSES: usize = 4096;
/// Four to an octave of microseconds.
pub const BUCKETS: usize = 4 * 40;

/// Microseconds of the machine's monotonic clock: the same for all processes.
pub fn now() -> u64 {
    let mut t = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes one timespec.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut t) };
    assert_eq!(result, 0);
    t.tv_sec as u64 * 1_000_000 + t.tv_nsec as u64 / 1000
}

/// The master writes down the pauses, one at a time; all write down what their operations took.
pub struct Times {
    /// How many pauses there were; then the begin and the end of each, the end 0 while it lasts.
    pauses: Atomics<AtomicU64>,
    buckets: Atomics<AtomicU64>,
}

impl Times {
    pub fn create(seg: &Segment) -> Result<Times> {
        Ok(Times {
            pauses: Atomics::create(seg, "pauses", 1 + 2 * PAUSES)?,
            buckets: Atomics::create(seg, "buckets", BUCKETS)?,
        })
    }

    pub fn open(seg: &Segment) -> Result<Times> {
        Ok(Times {
            pauses: Atomics::open(seg, "pauses")?,
            buckets: Atomics::open(seg, "buckets")?,
        })
    }

    /// Whether there is a pause. Only the master calls this, and what follows.
    fn is_paused(&self) -> bool {
        let n = self.pauses[0].load(Relaxed) as usize;
        n > 0 && self.pauses[2 * n].load(Relaxed) == 0
    }

    /// A pause began then, unless there is one.
    pub fn pause(&self, begin: u64) {
        if self.is_paused() {
            return;
        }
        let n = self.pauses[0].load(Relaxed) as usize;
        assert!(n < PAUSES, "the book of pauses is full");
        // No time is taken off twice.
        let begin = match n {
            0 => begin,
            _ => begin.max(self.pauses[2 * n].load(Relaxed)),
        };
        self.pauses[1 + 2 * n].store(begin, Relaxed);
        self.pauses[2 + 2 * n].store(0, Relaxed);
        self.pauses[0].store(n as u64 + 1, Release);
    }

    /// It ends. If it was as short as `at_most`, it was none.
    pub fn go_on(&self, at_most: u64) {
        if !self.is_paused() {
            return;
        }
        let (n, end) = (self.pauses[0].load(Relaxed), now());
        let took = end - self.pauses[2 * n as usize - 1].load(Relaxed);
        self.pauses[2 * n as usize].store(end, Relaxed);
        if took <= at_most {
            self.pauses[0].store(n - 1, Release);
        }
    }

    /// How much of the time since `begin` was no pause.
    pub fn since(&self, begin: u64) -> u64 {
        let end = now();
        let mut took = end.saturating_sub(begin);
        if took < SHORT {
            return took;
        }
        // Acquire: with the Release in `pause`.
        let n = self.pauses[0].load(Acquire) as usize;
        for pause in (0..n).rev() {
            let until = match self.pauses[2 + 2 * pause].load(Relaxed) {
                0 => end,
                until => until,
            };
            if until < begin {
                break;
            }
            let from = self.pauses[1 + 2 * pause].load(Relaxed).max(begin);
            took = took.saturating_sub(until.min(end).saturating_sub(from));
        }
        took
    }

    pub fn note(&self, took: u64) {
        self.buckets[bucket(took)].fetch_add(1, Relaxed);
    }

    pub fn counts(&self) -> Vec<u64> {
        self.buckets.iter().map(|n| n.load(Relaxed)).collect()
    }
}

fn bucket(took: u64) -> usize {
    let took = took.max(1);
    let octave = took.ilog2() as usize;
    let quarter = (took << 2 >> octave) as usize & 3;
    (4 * octave + quarter).min(BUCKETS - 1)
}

/// The number of microseconds at which a bucket ends.
pub fn end_of_bucket(bucket: usize) -> u64 {
    let (octave, quarter) = (bucket / 4, bucket as u64 % 4);
    ((5 + quarter) << octave).div_ceil(4)
}
