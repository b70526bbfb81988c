//! Meeting: ours and the peers' barriers behind one trait, and rounds that two parties do together.

use crate::arena::{Arena, Plain};
use crate::job::{Side, Who};
use crate::locks::ok;
use crate::report::quartiles;
use std::cell::UnsafeCell;
use std::sync::Barrier;
use std::sync::atomic::Ordering;
use std::time::Instant;

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
    let last = &plain.ping.0;
    let mut done = 0;
    plain.arrive();
    match side {
        Side::First(duration) => {
            let mut stretches = Vec::with_capacity(4096);
            let start = Instant::now();
            let mut stretch = FEW;
            while start.elapsed() < duration {
                let begin = Instant::now();
                (0..stretch).for_each(|_| round(true));
                done += stretch;
                let each = begin.elapsed().as_nanos() as f64 / stretch as f64;
                stretches.push(each);
                stretch = if each < 10_000.0 { STRETCH } else { FEW };
            }
            // Before the round that the second is to end with.
            last.store(done + 1, Ordering::Release);
            round(true);
            let second = plain.await_report();
            assert_eq!(second, done + 1, "the two did not do the same");
            quartiles(&stretches)[1] / steps
        }
        Side::Second => {
            while last.load(Ordering::Acquire) != done || done == 0 {
                round(false);
                done += 1;
            }
            plain.report(done);
            0.0
        }
    }
}
