//! Meeting: ours and the peers' barriers behind one trait, and rounds that two parties do together.

use crate::arena::{Arena, Plain};
use crate::job::{Side, Who};
use crate::locks::ok;
use crate::report::quartiles;
use std::cell::UnsafeCell;
use std::sync::Barrier;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Where two parties wait for each other.
pub(crate) trait Meeting {
    fn meet(&self);
}

impl Meeting for commonhold::Barrier {
    #[inline]
    fn meet(&self) {
        self.wait().expect("nobody dies here");
    }
}

impl Meeting for Barrier {
    fn meet(&self) {
        self.wait();
    }
}

/// A pthread barrier that processes share.
#[repr(C)]
pub(crate) struct PthreadBarrier(UnsafeCell<libc::pthread_barrier_t>);

// SAFETY: it is made to be shared.
unsafe impl Sync for PthreadBarrier {}

impl PthreadBarrier {
    /// For two, before anybody else knows of it.
    pub(crate) fn init(&self) {
        // SAFETY: zero bytes will do for attributes that init overwrites; nobody uses it yet.
        unsafe {
            let mut attr: libc::pthread_barrierattr_t = std::mem::zeroed();
            ok(libc::pthread_barrierattr_init(&mut attr));
            let shared = libc::PTHREAD_PROCESS_SHARED;
            ok(libc::pthread_barrierattr_setpshared(&mut attr, shared));
            ok(libc::pthread_barrier_init(self.0.get(), &attr, 2));
            ok(libc::pthread_barrierattr_destroy(&mut attr));
        }
    }
}

impl Meeting for PthreadBarrier {
    fn meet(&self) {
        // SAFETY: initialised.
        let r = unsafe { libc::pthread_barrier_wait(self.0.get()) };
        assert!(r == 0 || r == libc::PTHREAD_BARRIER_SERIAL_THREAD);
    }
}

/// Meets again and again. ns for one meeting.
pub(crate) fn cross(arena: &Arena, who: Who, side: Side) -> f64 {
    // The standard library's, for two threads.
    static STD: std::sync::LazyLock<Barrier> = std::sync::LazyLock::new(|| Barrier::new(2));
    match who {
        Who::Commonhold => crossings(arena, &arena.objects.barrier, side),
        Who::Std => crossings(arena, &*STD, side),
        Who::Pshared => crossings(arena, &arena.barrier.0, side),
        other => unreachable!("{other:?} is no barrier"),
    }
}

/// How often the clock is read.
const STRETCH: u64 = 256;
/// Where a peer needs a system call for each.
const FEW: u64 = 16;

fn crossings(plain: &Plain, place: &impl Meeting, side: Side) -> f64 {
    rounds(plain, side, 1.0, |_| place.meet())
}

/// Both do their part of `round` equally often; each round begins with something that the second can't pass before the first. ns
/// for one of the `steps` of a round.
pub(crate) fn rounds(plain: &Plain, side: Side, steps: f64, mut round: impl FnMut(bool)) -> f64 {
    let mut rounds = Rounds::begin(plain, side);
    while rounds.next() {
        // The one place that calls it, as in `send_each`.
        round(rounds.first);
    }
    rounds.end() / steps
}

/// Rounds that two parties do together, as one of them counts them.
pub(crate) struct Rounds<'a> {
    plain: &'a Plain,
    pub(crate) first: bool,
    done: u64,
    /// Of the first: when the clock is read next.
    read_at: u64,
    /// How many there are to be, once the first knows.
    last: u64,
    duration: Duration,
    start: Instant,
    begin: Instant,
    stretch: u64,
    /// ns for a round, of each stretch.
    stretches: Vec<f64>,
}

impl Rounds<'_> {
    /// Waits for the other one.
    pub(crate) fn begin(plain: &Plain, side: Side) -> Rounds<'_> {
        let (first, duration) = match side {
            Side::First(duration) => (true, duration),
            Side::Second => (false, Duration::ZERO),
        };
        let stretches = Vec::with_capacity(if first { 4096 } else { 0 });
        plain.arrive();
        let now = Instant::now();
        Rounds {
            plain,
            first,
            done: 0,
            read_at: FEW,
            last: u64::MAX,
            duration,
            start: now,
            begin: now,
            stretch: FEW,
            stretches,
        }
    }

    /// Stands before each round. `false`: that was the last.
    #[inline]
    pub(crate) fn next(&mut self) -> bool {
        if self.first {
            if self.done == self.read_at {
                self.read_the_clock();
            }
        } else if self.done != 0 {
            self.last = self.plain.ping.0.load(Ordering::Acquire);
        }
        let goes_on = self.done != self.last;
        self.done += u64::from(goes_on);
        goes_on
    }

    #[cold]
    fn read_the_clock(&mut self) {
        let each = self.begin.elapsed().as_nanos() as f64 / self.stretch as f64;
        self.stretches.push(each);
        self.stretch = if each < 10_000.0 { STRETCH } else { FEW };
        self.read_at += self.stretch;
        if self.start.elapsed() >= self.duration {
            // Before the round that the second is to end with.
            self.last = self.done + 1;
            self.plain.ping.0.store(self.last, Ordering::Release);
            self.read_at = u64::MAX;
        }
        self.begin = Instant::now();
    }

    /// ns for a round, to the first.
    pub(crate) fn end(self) -> f64 {
        if !self.first {
            self.plain.report(self.done);
            return 0.0;
        }
        let second = self.plain.await_report();
        assert_eq!(second, self.done, "the two did not do the same");
        quartiles(&self.stretches)[1]
    }
}
