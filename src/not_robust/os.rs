//! raw_sync's mutex and event, and the contracts that they lack.
//!
//! What raw_sync 0.1.5 does, read in its source, and what is done about it here:
//!
//! | raw_sync | here |
//! |---|---|
//! | a timed call adds the nanoseconds to those of the clock, and does not carry: once they are a second or more, the system refuses, and the call fails at once (elast0ny/raw_sync-rs#39) | no slice of a wait reaches into another second; one that fails at once is followed by a nap |
//! | a time-out and a failure are the same error, a text | only the clock says whether a deadline has passed |
//! | timed calls go by the time of day, which may be set | a wait is cut into slices, between which the monotonic clock is asked; only what is left of one slice can be wrong |
//! | on Windows a time is cut to whole milliseconds, and a long one to 32 bits, of which all set is "for ever" | slices are short; one cut to nothing is followed by a nap |
//! | on macOS a timed lock polls, and compares seconds and nanoseconds apart | the same by our own naps |
//! | a guard that fails to unlock panics, while it is dropped | its guards are forgotten, and the lock is released by hand |
//! | on Windows a lock whose holder died panics | the panic is caught: [`Poisoned`](Error::Poisoned) (not where panics abort) |
//! | on Windows the thread that holds a mutex locks it again at once | a word beside the mutex says that it is held |
//! | an event can't be asked, and those that wait for it are waked for nothing or not at all if it is cleared soon | it only wakes: what is waited for stands in words of our own, and is looked at between slices |
//! | no RwLock on Windows; one on macOS that can't be linked | our own, on the event |

use crate::error::{Error, Result};
use raw_sync::Timeout;
use raw_sync::events::{Event, EventImpl, EventInit, EventState};
use raw_sync::locks::{LockGuard, LockImpl, LockInit, Mutex};
use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::time::{Duration, Instant, SystemTime};

/// Longest slice of a wait that the system wakes.
const SLICE: Duration = Duration::from_millis(100);

/// Longest slice of a wait whose wake-up may be lost.
const SHORT_SLICE: Duration = Duration::from_millis(20);

/// What is slept where the system can't be asked to wait.
const NAP: Duration = Duration::from_millis(1);

/// The moment after which a wait gives up, or never.
#[derive(Clone, Copy)]
pub(super) struct Deadline(Option<Instant>);

impl Deadline {
    pub(super) const NEVER: Deadline = Deadline(None);

    /// `timeout` from now. A time so long that the clock cannot count it is never.
    pub(super) fn after(timeout: Duration) -> Deadline {
        Deadline(Instant::now().checked_add(timeout))
    }

    /// What is left: `None` if it has passed, and at most `most`.
    fn left(self, most: Duration) -> Option<Duration> {
        let Some(at) = self.0 else { return Some(most) };
        let left = at.saturating_duration_since(Instant::now());
        (!left.is_zero()).then(|| left.min(most))
    }
}

/// Waits once, for at most `most`, by `wait`, which says whether it was worth it.
fn wait_a_slice(most: Duration, wait: impl FnOnce(Timeout) -> bool) -> bool {
    let left = to_the_next_second();
    if left <= NAP {
        // No nanoseconds are left to be added.
        std::thread::sleep(left.min(most));
        return false;
    }
    let begin = Instant::now();
    let slice = most.min(left - NAP);
    let done = wait(Timeout::Val(slice));
    if !done && begin.elapsed() < slice {
        // It failed, and would fail again as quickly.
        std::thread::sleep(NAP.min(most));
    }
    done
}

fn to_the_next_second() -> Duration {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    Duration::from_secs(1) - Duration::from_nanos(now.subsec_nanos().into())
}

/// What raw_sync says, in words only.
fn refused(e: Box<dyn std::error::Error>) -> Error {
    Error::Io(std::io::Error::other(e.to_string()))
}

/// Room for one of raw_sync's locks or events, wherever it begins: what it aligns it may add.
const fn with_padding(bytes: usize) -> usize {
    (bytes + 32).next_multiple_of(16)
}

/// raw_sync's mutex. Shared by all threads of this process; each process has its own.
pub(super) struct OsMutex(Box<dyn LockImpl>);

// SAFETY: it consists of a pointer to, or a handle of, a lock that is made to be shared, and of a data pointer that we leave alone.
unsafe impl Send for OsMutex {}
// SAFETY: as above.
unsafe impl Sync for OsMutex {}

/// How an attempt to lock ended.
enum Attempt {
    Got,
    Not(Error),
    /// Got, and given back; its holder had died.
    Abandoned,
}

impl OsMutex {
    pub(super) fn room() -> usize {
        with_padding(Mutex::size_of(None))
    }

    /// # Safety
    /// `at` has [`room`](Self::room), aligned to 16, zeroed, that nobody else knows of, and that outlives the result.
    pub(super) unsafe fn create(at: *mut u8) -> Result<OsMutex> {
        // SAFETY: the caller's.
        let made = unsafe { Mutex::new(at, std::ptr::null_mut()) };
        made.map(|(lock, _)| OsMutex(lock)).map_err(refused)
    }

    /// # Safety
    /// At `at`, in memory that outlives the result, somebody [created](Self::create) one.
    pub(super) unsafe fn open(at: *mut u8) -> Result<OsMutex> {
        // SAFETY: the caller's.
        let found = unsafe { Mutex::from_existing(at, std::ptr::null_mut()) };
        found.map(|(lock, _)| OsMutex(lock)).map_err(refused)
    }

    fn attempt(&self, timeout: Timeout) -> Attempt {
        // Where a new second begins within the call, raw_sync waits on for most of it there.
        while cfg!(target_os = "macos") && to_the_next_second() < Duration::from_micros(100) {
            std::hint::spin_loop();
        }
        let lock = || {
            let guard: std::result::Result<LockGuard<'_>, _> = self.0.try_lock(timeout);
            // Its drop may panic.
            guard.map(std::mem::forget).map_err(refused)
        };
        if !cfg!(windows) {
            return match lock() {
                Ok(()) => Attempt::Got,
                Err(e) => Attempt::Not(e),
            };
        }
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(lock)) {
            Ok(Ok(())) => Attempt::Got,
            Ok(Err(e)) => Attempt::Not(e),
            Err(_) => {
                self.unlock();
                Attempt::Abandoned
            }
        }
    }

    /// Locks; [`Timeout`](Error::Timeout) if that can't be done in time, [`Poisoned`](Error::Poisoned) if it is known that the
    /// holder has died. `held` stands beside the lock, zero in the beginning.
    pub(super) fn lock(&self, held: &AtomicU32, deadline: Deadline) -> Result<()> {
        // Even if no time is left.
        match self.attempt(Timeout::Val(Duration::ZERO)) {
            Attempt::Got if self.is_new(held) => return Ok(()),
            Attempt::Abandoned => return self.was_abandoned(held),
            Attempt::Got | Attempt::Not(_) => {}
        }
        loop {
            let most = deadline.left(SLICE).ok_or(Error::Timeout)?;
            let mut ended = Attempt::Not(Error::Timeout);
            if deadline.0.is_none() {
                ended = self.attempt(Timeout::Infinite);
                if let Attempt::Not(e) = ended {
                    return Err(e);
                }
            } else if cfg!(target_os = "macos") {
                std::thread::sleep(NAP.min(most));
                ended = self.attempt(Timeout::Val(Duration::ZERO));
            } else {
                wait_a_slice(most, |timeout| {
                    ended = self.attempt(timeout);
                    !matches!(ended, Attempt::Not(_))
                });
            }
            match ended {
                Attempt::Got if self.is_new(held) => return Ok(()),
                Attempt::Got => std::thread::sleep(NAP.min(most)),
                Attempt::Abandoned => return self.was_abandoned(held),
                Attempt::Not(_) => {}
            }
        }
    }

    /// The system gave us the lock. Whether that is not only a second time; if it is, gives it back.
    fn is_new(&self, held: &AtomicU32) -> bool {
        let new = held.swap(1, Ordering::Relaxed) == 0;
        if !new {
            self.unlock();
        }
        new
    }

    fn was_abandoned(&self, held: &AtomicU32) -> Result<()> {
        held.store(0, Ordering::Relaxed);
        Err(Error::Poisoned)
    }

    /// The end of a [`lock`](Self::lock).
    pub(super) fn release(&self, held: &AtomicU32) {
        held.store(0, Ordering::Relaxed);
        self.unlock();
    }

    fn unlock(&self) {
        // It fails only if the bytes are no mutex any more, and then there is nothing to be done.
        let _ = self.0.release();
    }
}

/// raw_sync's event, used to wake those that wait for words of ours to change.
pub(super) struct Signal {
    event: Box<dyn EventImpl>,
}

// SAFETY: it consists of a pointer to, or a handle of, an event that is made to be shared.
unsafe impl Send for Signal {}
// SAFETY: as above.
unsafe impl Sync for Signal {}

impl Signal {
    pub(super) fn room() -> usize {
        with_padding(Event::size_of(None))
    }

    /// # Safety
    /// As [`OsMutex::create`].
    pub(super) unsafe fn create(at: *mut u8) -> Result<Signal> {
        // SAFETY: the caller's.
        let made = unsafe { Event::new(at, false) };
        made.map(|(event, _)| Signal { event }).map_err(refused)
    }

    /// # Safety
    /// As [`OsMutex::open`].
    pub(super) unsafe fn open(at: *mut u8) -> Result<Signal> {
        // SAFETY: the caller's.
        let found = unsafe { Event::from_existing(at) };
        found.map(|(event, _)| Signal { event }).map_err(refused)
    }

    /// Waits until `attempt` gives something, at most until `deadline`; looks at least once. `waiters` counts those that wait.
    pub(super) fn wait<R>(
        &self,
        waiters: &AtomicU32,
        deadline: Deadline,
        mut attempt: impl FnMut() -> Option<R>,
    ) -> Result<R> {
        if let Some(r) = attempt() {
            return Ok(r);
        }
        waiters.fetch_add(1, Ordering::Relaxed);
        let result = loop {
            // From here on a wake-up is kept for us, unless another waiter clears it, too.
            let _ = self.event.set(EventState::Clear);
            // Pairs with the fence in `wake`: either we see what was changed, or it sees that we wait.
            fence(Ordering::SeqCst);
            if let Some(r) = attempt() {
                break Ok(r);
            }
            let Some(most) = deadline.left(SHORT_SLICE) else {
                break Err(Error::Timeout);
            };
            wait_a_slice(most, |timeout| self.event.wait(timeout).is_ok());
        };
        waiters.fetch_sub(1, Ordering::Relaxed);
        result
    }

    /// Wakes those that wait, after a change. Who died waiting is counted for ever, and costs no more than a call.
    pub(super) fn wake(&self, waiters: &AtomicU32) {
        // Pairs with the fence in `wait`.
        fence(Ordering::SeqCst);
        if waiters.load(Ordering::Relaxed) != 0 {
            let _ = self.event.set(EventState::Signaled);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Room for a mutex, aligned.
    #[repr(align(16))]
    struct Room([u8; 256]);

    #[test]
    fn no_slice_reaches_into_the_next_second() {
        let mut slices = 0;
        let end = Instant::now() + Duration::from_millis(1100);
        while Instant::now() < end {
            let before = SystemTime::UNIX_EPOCH.elapsed().unwrap();
            wait_a_slice(Duration::from_millis(300), |timeout| {
                let Timeout::Val(slice) = timeout else {
                    panic!("for ever")
                };
                slices += 1;
                let until = before.subsec_nanos() + slice.subsec_nanos();
                assert!(slice.as_secs() == 0 && until < 1_000_000_000);
                std::thread::sleep(Duration::from_millis(10));
                true
            });
        }
        assert!(slices > 10, "{slices}");
    }

    #[test]
    fn a_mutex_that_the_system_gives_a_second_time_is_held_nevertheless() {
        let mut room = Room([0; 256]);
        assert!(OsMutex::room() <= 256);
        let held = AtomicU32::new(0);
        // SAFETY: room of our own, that lives longer.
        let mutex = unsafe { OsMutex::create(room.0.as_mut_ptr()) }.unwrap();
        // The system's mutex is free, as Windows' is to its holder.
        held.store(1, Ordering::Relaxed);
        let timeout = Duration::from_millis(20);
        let begin = Instant::now();
        let locked = mutex.lock(&held, Deadline::after(timeout));
        assert!(matches!(locked, Err(Error::Timeout)));
        assert!(begin.elapsed() >= timeout);
        held.store(0, Ordering::Relaxed);
        mutex.lock(&held, Deadline::NEVER).unwrap();
        assert_eq!(held.load(Ordering::Relaxed), 1);
        mutex.release(&held);
        mutex.lock(&held, Deadline::after(Duration::ZERO)).unwrap();
        mutex.release(&held);
    }
}
