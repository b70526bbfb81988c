//! The kernel's wait and wake on a 32-bit word, shared between processes.

use super::atomic::AtomicU32;
use super::deadline::Deadline;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// A waker chose this waiter.
    Woken,
    /// A waker of a watched word chose this waiter, and perhaps one of its own words too ([`wait_either`] and [`wait_any`] only).
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
    let words = [Wait::on(word, expected), Wait::on(watch, watched)];
    wait_any(&words, 1, deadline, patience_without_watch)
}

/// How many words the kernel waits for at once (FUTEX_WAITV_MAX).
pub(crate) const MOST_WORDS: usize = 128;

/// Sleeps while each of the words holds what is expected of it, until `deadline`. The first `own` of them (at least one) are the
/// caller's; a wake on another is [`Wake::Watched`].
///
/// Words beyond the first [`MOST_WORDS`] are not watched, and where the kernel has no `futex_waitv`, only the first is: then it
/// returns [`Wake::TimedOut`] after `patience` at the latest.
pub(crate) fn wait_any(
    words: &[Wait<'_>],
    own: usize,
    deadline: Deadline,
    patience: Duration,
) -> Wake {
    debug_assert!(own >= 1 && own <= words.len());
    if HAS_WAITV.load(Ordering::Relaxed) {
        let watched = &words[..words.len().min(MOST_WORDS)];
        let until = if watched.len() == words.len() {
            deadline
        } else {
            deadline.min(Deadline::after(patience))
        };
        let at = until.at().map(|d| KernelTimespec {
            tv_sec: d.as_secs() as i64,
            tv_nsec: d.subsec_nanos() as i64,
        });
        let at_ptr = at.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: `watched` is an array of so many `struct futex_waitv`, whose words are borrowed, and `at_ptr` null or a
        // __kernel_timespec.
        let r = unsafe {
            libc::syscall(
                libc::SYS_futex_waitv,
                watched.as_ptr(),
                watched.len() as libc::c_uint,
                0 as libc::c_uint,
                at_ptr,
                libc::CLOCK_MONOTONIC,
            )
        };
        if r >= 0 {
            return if (r as usize) < own {
                Wake::Woken
            } else {
                Wake::Watched
            };
        }
        match errno() {
            libc::EAGAIN | libc::EINTR | libc::ETIMEDOUT => return outcome(r),
            libc::ENOSYS | libc::EPERM => HAS_WAITV.store(false, Ordering::Relaxed),
            // Out of memory, say: the plain wait below needs less.
            _ => {}
        }
    }
    // Who never gets to sleep must not miss that another word has changed already.
    if words.iter().any(|w| !w.holds()) {
        return Wake::Again;
    }
    let first = &words[0];
    wait(
        first.word(),
        first.val as u32,
        deadline.min(Deadline::after(patience)),
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

/// A word to sleep on, and what is expected of it: `struct futex_waitv` of <linux/futex.h>.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Wait<'a> {
    val: u64,
    uaddr: u64,
    flags: u32,
    reserved: u32,
    word: PhantomData<&'a AtomicU32>,
}

impl<'a> Wait<'a> {
    pub(crate) fn on(word: &'a AtomicU32, expected: u32) -> Wait<'a> {
        const FUTEX2_SIZE_U32: u32 = 2;
        Wait {
            val: expected as u64,
            uaddr: word.as_ptr().expose_provenance() as u64,
            flags: FUTEX2_SIZE_U32,
            reserved: 0,
            word: PhantomData,
        }
    }

    fn word(&self) -> &'a AtomicU32 {
        // SAFETY: made of such a reference, which is still borrowed.
        unsafe { &*std::ptr::with_exposed_provenance(self.uaddr as usize) }
    }

    fn holds(&self) -> bool {
        self.word().load(Ordering::Relaxed) == self.val as u32
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
    fn any_of_many_words_ends_the_wait_and_more_than_the_kernel_takes_are_looked_at_now_and_then() {
        if !has_waitv() {
            return;
        }
        let words: Vec<AtomicU32> = (0..MOST_WORDS as u32 + 2).map(AtomicU32::new).collect();
        let waits = |n: usize| -> Vec<Wait<'_>> {
            (0..)
                .zip(&words[..n])
                .map(|(i, w)| Wait::on(w, i))
                .collect()
        };
        let far = Duration::from_secs(1000);
        std::thread::scope(|s| {
            let t = s.spawn(|| wait_any(&waits(MOST_WORDS), 127, Deadline::after(far), far));
            while wake(&words[126], 1) == 0 {
                std::thread::yield_now();
            }
            assert_eq!(t.join().unwrap(), Wake::Woken);
            let t = s.spawn(|| wait_any(&waits(MOST_WORDS), 127, Deadline::after(far), far));
            while wake(&words[127], 1) == 0 {
                std::thread::yield_now();
            }
            assert_eq!(t.join().unwrap(), Wake::Watched);
        });
        let many = waits(MOST_WORDS + 2);
        let short = Duration::from_millis(1);
        assert_eq!(wait_any(&many, 130, Deadline::NEVER, short), Wake::TimedOut);
        words[5].store(0, Ordering::Relaxed);
        assert_eq!(wait_any(&many, 130, Deadline::NEVER, far), Wake::Again);
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
