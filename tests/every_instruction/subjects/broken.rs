//! Primitives as others build them, each with a fault that a death brings out: what the proof must find.

use crate::case::{Case, LIMIT, Subject, leak};
use crate::tracer::Op;
use commonhold::{Atomics, Segment};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Instant;

fn words(seg: &Segment) -> &'static Atomics<AtomicU64> {
    leak(Atomics::open(seg, "words").unwrap())
}

fn make(seg: &Segment) {
    Atomics::<AtomicU64>::create(seg, "words", 4).unwrap();
}

fn op(seg: &Segment, op: fn(&Atomics<AtomicU64>)) -> Op {
    let words = words(seg);
    Box::new(move || op(words))
}

/// A lock that says that it is held, and not by whom.
pub fn anonymous_lock() -> Subject {
    fn lock(words: &Atomics<AtomicU64>) {
        let start = Instant::now();
        while words[0].swap(1, SeqCst) != 0 {
            assert!(start.elapsed() < LIMIT / 12, "held for ever");
        }
    }
    fn step(words: &Atomics<AtomicU64>) {
        lock(words);
        words[1].fetch_add(1, SeqCst);
        words[0].store(0, SeqCst);
    }
    Subject::new(
        "a lock without an owner",
        make,
        |seg| step(words(seg)),
        |seg, _| {
            step(words(seg));
            words(seg)[1].load(SeqCst) as u32 - 1
        },
    )
    .case(Case::new("lock, unlock", 1, |seg| op(seg, step)))
}

/// A change in two stores, where one would have had to do.
pub fn two_stores() -> Subject {
    fn judge(seg: &Segment, _: crate::case::Look) -> u32 {
        let words = words(seg);
        assert_eq!(words[0].load(SeqCst), words[1].load(SeqCst), "torn");
        words[0].load(SeqCst) as u32
    }
    Subject::new("a pair in two stores", make, |_| {}, judge).case(Case::new("set", 1, |seg| {
        op(seg, |words| {
            words[0].store(1, SeqCst);
            words[1].store(black_box(1), SeqCst);
        })
    }))
}

/// What was committed is taken back.
pub fn taken_back() -> Subject {
    Subject::new(
        "a counter that is cleared first",
        make,
        |_| {},
        |seg, _| words(seg)[0].load(SeqCst) as u32,
    )
    .case(Case::new("add, clear, set", 2, |seg| {
        op(seg, |words| {
            for n in [1, 0, 2] {
                words[0].store(black_box(n), SeqCst);
            }
        })
    }))
}

/// Sound in itself; but who mends it can die too, and leaves what nobody mends.
pub fn fragile_mender() -> Subject {
    fn judge(seg: &Segment, _: crate::case::Look) -> u32 {
        let words = words(seg);
        assert_eq!(words[2].load(SeqCst), 0, "somebody mends, for ever");
        words[0].load(SeqCst) as u32
    }
    fn mend(seg: &Segment) {
        let words = words(seg);
        words[2].store(black_box(1), SeqCst);
        words[2].store(black_box(0), SeqCst);
    }
    Subject::new("a mender who must not die", make, mend, judge).case(Case::new("set", 1, |seg| {
        op(seg, |words| words[0].store(1, SeqCst))
    }))
}

/// Its state is right at each instruction; but a sleeper hangs if the one who was to wake it dies before it does.
pub fn lost_wake() -> Subject {
    fn futex(word: &AtomicU64, call: i32, value: u32) {
        let none = std::ptr::null::<libc::timespec>();
        // SAFETY: the word is mapped; little-endian, its low half is the futex.
        unsafe { libc::syscall(libc::SYS_futex, std::ptr::from_ref(word), call, value, none) };
    }
    fn set_and_wake(words: &Atomics<AtomicU64>) {
        words[0].store(1, SeqCst);
        futex(&words[0], libc::FUTEX_WAKE, 1);
    }
    fn wait(seg: &Segment) {
        let words = words(seg);
        // SAFETY: plain system call: who hangs is killed, and fails.
        unsafe { libc::alarm(3) };
        while words[0].load(SeqCst) == 0 {
            futex(&words[0], libc::FUTEX_WAIT, 0);
        }
    }
    Subject::new("a sleeper who trusts its waker", make, |_| {}, |_, _| 0).case(
        Case::new("set, wake", 0, |seg| op(seg, set_and_wake))
            .peer(wait)
            // Whoever comes next only sets what is not yet set.
            .released_by(|seg| {
                if words(seg)[0].swap(1, SeqCst) == 0 {
                    futex(&words(seg)[0], libc::FUTEX_WAKE, 1);
                }
            }),
    )
}
