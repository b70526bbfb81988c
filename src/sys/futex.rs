//! The kernel's wait and wake on a 32-bit word, shared between processes.

use super::atomic::AtomicU32;
use super::deadline::Deadline;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// A waker chose this waiter.
    Woken,
    /// A waker of the watched word chose this waiter, and perhaps one of the other word too ([`wait_either`] only).
    Watched,
    /// The word did not hold the expected value, or a signal came, or the kernel cannot read the word: look again.
    Again,
    /// The deadline passed.
    TimedOut,
}

/// Sleeps while `word` holds `expected`, until `deadline`.
pub(crate) fn wait(word: &AtomicU32, expected: u32, deadline: Deadline) -> Wake {
    let at = deadline.at().map(timespec);
    let at_ptr = at.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `word` is a live, aligned u32 and `at_ptr` null or what this system call takes for a timespec;
    // FUTEX_WAIT_BITSET reads no other argument.
    let r = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT_BITSET,
            expected,
            at_ptr,
            std::ptr::null::<u32>(),
            libc::FUTEX_BITSET_MATCH_ANY,
        )
    };
    outcome(r)
}

/// Whether `futex_waitv` is there, as far as we know.
static HAS_WAITV: AtomicBool = AtomicBool::new(true);

/// Sleeps while `word` holds `expected` and `watch` holds `watched`, until `deadline`.
///
/// Where the kernel has no `futex_waitv` (before 5.16, or under a filter) it watches `word` alone and returns
/// [`Wake::TimedOut`] after `patience_without_watch` at the latest.
pub(crate) fn wait_either(
    word: &AtomicU32,
    expected: u32,
    watch: &AtomicU32,
    watched: u32,
    deadline: Deadline,
    patience_without_watch: Duration,
) -> Wake {
    if HAS_WAITV.load(Ordering::Relaxed) {
        let waiters = [Waitv::new(word, expected), Waitv::new(watch, watched)];
        let at = deadline.at().map(|d| KernelTimespec {
            tv_sec: d.as_secs() as i64,
            tv_nsec: d.subsec_nanos() as i64,
        });
        let at_ptr = at.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: `waiters` is an array of two `struct futex_waitv`, and `at_ptr` null or a __kernel_timespec.
        let r = unsafe {
            libc::syscall(
                libc::SYS_futex_waitv,
                waiters.as_ptr(),
                2 as libc::c_uint,
                0 as libc::c_uint,
                at_ptr,
                libc::CLOCK_MONOTONIC,
            )
        };
        if r == 0 {
            return Wake::Woken;
        }
        if r == 1 {
            return Wake::Watched;
        }
        match errno() {
            libc::EAGAIN | libc::EINTR | libc::ETIMEDOUT => return outcome(r),
            libc::ENOSYS | libc::EPERM => HAS_WAITV.store(false, Ordering::Relaxed),
            // Out of memory, say: the plain wait below needs less.
            _ => {}
        }
    }
    wait(
        word,
        expected,
        deadline.min(Deadline::after(patience_without_watch)),
    )
}

/// Wakes at most `count` of those that sleep on `word`; returns how many.
pub(crate) fn wake(word: &AtomicU32, count: u32) -> u32 {
    // SAFETY: `word` is a live, aligned u32; FUTEX_WAKE reads no further argument.
    let r = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAKE,
            count.min(i32::MAX as u32),
        )
    };
    r.max(0) as u32
}

/// `struct futex_waitv` of <linux/futex.h>.
#[repr(C)]
struct Waitv {
    val: u64,
    uaddr: u64,
    flags: u32,
    reserved: u32,
}

impl Waitv {
    fn new(word: &AtomicU32, expected: u32) -> Waitv {
        const FUTEX2_SIZE_U32: u32 = 2;
        Waitv {
            val: expected as u64,
            uaddr: word.as_ptr() as usize as u64,
            flags: FUTEX2_SIZE_U32,
            reserved: 0,
        }
    }
}

/// `struct __kernel_timespec`: 64 bits on every machine.
#[repr(C)]
struct KernelTimespec {
    tv_sec: i64,
    tv_nsec: i64,
}

/// What SYS_futex takes: two registers wide on every machine, whatever the C library's `timespec` is by now.
#[repr(C)]
struct FutexTimespec {
    tv_sec: libc::c_long,
    tv_nsec: libc::c_long,
}

fn timespec(d: Duration) -> FutexTimespec {
    FutexTimespec {
        // With 32 bits, a deadline that the clock can't reach in 68 years of uptime is cut to that: a negative number would
        // be refused, and the wait become a spin.
        tv_sec: libc::c_long::try_from(d.as_secs()).unwrap_or(libc::c_long::MAX),
        tv_nsec: d.subsec_nanos() as libc::c_long,
    }
}

fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

fn outcome(r: libc::c_long) -> Wake {
    if r >= 0 {
        return Wake::Woken;
    }
    match errno() {
        libc::ETIMEDOUT => Wake::TimedOut,
        _ => Wake::Again,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a second word can be watched here; if not, says so.
    fn has_waitv() -> bool {
        let word = AtomicU32::new(0);
        wait_either(&word, 1, &word, 1, Deadline::PASSED, Duration::ZERO);
        let has = HAS_WAITV.load(Ordering::Relaxed);
        if !has {
            eprintln!("SKIPPED in part: no futex_waitv here");
        }
        has
    }

    #[test]
    fn a_changed_word_ends_the_wait_at_once() {
        let word = AtomicU32::new(1);
        let watch = AtomicU32::new(2);
        assert_eq!(wait(&word, 0, Deadline::NEVER), Wake::Again);
        let far = Duration::from_secs(1000);
        assert_eq!(
            wait_either(&word, 0, &watch, 2, Deadline::NEVER, far),
            Wake::Again
        );
        if has_waitv() {
            assert_eq!(
                wait_either(&word, 1, &watch, 3, Deadline::after(far), far),
                Wake::Again
            );
        }
    }

    #[test]
    fn a_wait_ends_at_its_deadline_and_not_before() {
        let word = AtomicU32::new(0);
        let watch = AtomicU32::new(0);
        let d = Duration::from_millis(20);
        let start = std::time::Instant::now();
        assert_eq!(wait(&word, 0, Deadline::after(d)), Wake::TimedOut);
        assert!(start.elapsed() >= d);
        let start = std::time::Instant::now();
        let far = Duration::from_secs(1000);
        assert_eq!(
            wait_either(&word, 0, &watch, 0, Deadline::after(d), far),
            Wake::TimedOut
        );
        assert!(start.elapsed() >= d);
    }

    #[test]
    fn a_deadline_beyond_this_machine_s_clock_is_waited_for() {
        let word = AtomicU32::new(0);
        let far = Deadline::after(Duration::from_secs(99 * 366 * 86_400));
        std::thread::scope(|s| {
            let t = s.spawn(|| wait(&word, 0, far));
            while wake(&word, 1) == 0 {
                assert!(!t.is_finished(), "it did not sleep");
                std::thread::yield_now();
            }
            assert_eq!(t.join().unwrap(), Wake::Woken);
        });
    }

    #[test]
    fn a_wake_on_either_word_ends_the_wait() {
        let words = [AtomicU32::new(0), AtomicU32::new(0)];
        let watched = has_waitv().then_some((1, Wake::Watched));
        for (i, want) in [(0, Wake::Woken)].into_iter().chain(watched) {
            std::thread::scope(|s| {
                let t = s.spawn(|| {
                    let far = Duration::from_secs(1000);
                    wait_either(&words[0], 0, &words[1], 0, Deadline::after(far), far)
                });
                while wake(&words[i], 1) == 0 {
                    std::thread::yield_now();
                }
                assert_eq!(t.join().unwrap(), want);
            });
        }
    }
}
