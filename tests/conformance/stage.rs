//! What the bodies stand on: a place for objects, threads that are watched, and processes.

use crate::support::{self, Child, Name, eventually};
use commonhold::{Atomics, Error, Result, Segment};
use std::os::unix::thread::JoinHandleExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::AtomicU8;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A deadline that no test lives to see.
pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Where the objects of a backend live: a named region.
pub(crate) trait Home: Clone + Send + Sync + 'static {
    fn create(name: &str) -> Result<Self>;
    fn open(name: &str) -> Result<Self>;
    fn remove(name: &str);
    /// Makes something under that name that none of the adapters makes.
    fn put_something_else(&self, name: &str);
}

impl Home for Segment {
    fn create(name: &str) -> Result<Segment> {
        Segment::create(name, 1 << 17)
    }
    fn open(name: &str) -> Result<Segment> {
        Segment::open(name)
    }
    fn remove(name: &str) {
        Segment::unlink(name).unwrap();
    }
    fn put_something_else(&self, name: &str) {
        Atomics::<AtomicU8>::create(self, name, 3).unwrap();
    }
}

/// What all primitives have: a name in a home, and three verbs.
pub(crate) trait Object: Clone + Send + Sync + 'static {
    type Home: Home;
    fn create(home: &Self::Home, name: &str) -> Result<Self>;
    fn open(home: &Self::Home, name: &str) -> Result<Self>;
    fn open_or_create(home: &Self::Home, name: &str) -> Result<Self>;
}

/// A home of a test's own, gone with it.
pub(crate) struct Place<H: Home> {
    pub(crate) home: H,
    name: Name,
}

impl<H: Home> Place<H> {
    pub(crate) fn new() -> Place<H> {
        let name = Name::new("conformance");
        let home = H::create(&name).unwrap();
        Place { home, name }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

impl<H: Home> Drop for Place<H> {
    fn drop(&mut self) {
        H::remove(&self.name);
    }
}

/// An object of a test's own.
pub(crate) struct Own<A: Object> {
    pub(crate) place: Place<A::Home>,
    pub(crate) it: A,
}

impl<A: Object> Own<A> {
    pub(crate) fn new() -> Own<A> {
        let place = Place::new();
        let it = A::create(&place.home, "it").unwrap();
        Own { place, it }
    }

    /// A second handle, by way of the name, as another process gets it.
    pub(crate) fn again(&self) -> A {
        let home = A::Home::open(self.place.name()).unwrap();
        A::open(&home, "it").unwrap()
    }

    /// Starts a process that runs the suite's `child` for this adapter; it gets `args`, and the object by [`theirs`].
    pub(crate) fn child(&self, suite: &str, args: &[&str]) -> Child {
        let mut all = vec![suite, std::any::type_name::<A>(), self.place.name()];
        all.extend(args);
        Child::start("conform", &all)
    }
}

/// In a child of [`Own::child`]: the object in the home of that name.
pub(crate) fn theirs<A: Object>(home: &str) -> A {
    A::open(&A::Home::open(home).unwrap(), "it").unwrap()
}

/// A thread at work, which may wait for ever: then the test fails, and the thread is left behind.
pub(crate) struct Working<R> {
    thread: i32,
    handle: JoinHandle<()>,
    result: mpsc::Receiver<std::thread::Result<R>>,
}

impl<R: Send + 'static> Working<R> {
    pub(crate) fn start(work: impl FnOnce() -> R + Send + 'static) -> Working<R> {
        let (began, begun) = mpsc::channel();
        let (done, result) = mpsc::channel();
        let handle = std::thread::spawn(move || {
            // SAFETY: plain system call.
            began.send(unsafe { libc::gettid() }).unwrap();
            let _ = done.send(catch_unwind(AssertUnwindSafe(work)));
        });
        let thread = begun.recv().unwrap();
        Working {
            thread,
            handle,
            result,
        }
    }

    /// Returns once it sleeps in the kernel, in its wait.
    pub(crate) fn sleeps(self) -> Self {
        eventually(LIMIT, "a thread that waits sleeps", || self.is_asleep());
        self
    }

    pub(crate) fn is_asleep(&self) -> bool {
        sleeps(std::process::id(), self.thread)
    }

    /// Interrupts what it does with a signal, if it has not ended.
    pub(crate) fn signal(&self, signal: i32) {
        // SAFETY: the thread is not joined, nor detached while its handle lives.
        unsafe { libc::pthread_kill(self.handle.as_pthread_t(), signal) };
    }

    pub(crate) fn is_done(&self) -> Option<R> {
        Some(unwrap(self.result.try_recv().ok()?))
    }

    /// What came of it.
    pub(crate) fn done(self) -> R {
        match self.result.recv_timeout(LIMIT) {
            Ok(result) => unwrap(result),
            Err(_) => panic!("not within {LIMIT:?}: a thread waits for ever"),
        }
    }
}

fn unwrap<R>(result: std::thread::Result<R>) -> R {
    result.unwrap_or_else(|panic| resume_unwind(panic))
}

/// The system calls in which what is built on futexes, or naps, waits.
/// The last two are what 32-bit programs use, by numbers that mean nothing else on any machine.
const WAITS: [libc::c_long; 6] = [
    libc::SYS_futex,
    libc::SYS_futex_waitv,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    FUTEX_TIME64,
    CLOCK_NANOSLEEP_TIME64,
];
const FUTEX_TIME64: libc::c_long = 422;
const CLOCK_NANOSLEEP_TIME64: libc::c_long = 407;

/// Whether a process waits, with all its threads.
pub(crate) fn all_sleep(pid: u32) -> bool {
    support::waits_in(pid, &WAITS)
}

/// Whether a thread of a process does.
fn sleeps(pid: u32, thread: i32) -> bool {
    let path = format!("/proc/{pid}/task/{thread}/syscall");
    let now = std::fs::read_to_string(path).unwrap_or_default();
    let number = now.split(' ').next().and_then(|n| n.parse().ok());
    number.is_some_and(|n| WAITS.contains(&n))
}

/// Runs `f` and says how long it took.
pub(crate) fn timed<R>(f: impl FnOnce() -> R) -> (R, Duration) {
    let start = Instant::now();
    let r = f();
    (r, start.elapsed())
}

/// Asserts that the deadline was kept: not early, and not for ever.
#[track_caller]
pub(crate) fn kept<R: std::fmt::Debug>(result: &Result<R>, asked: Duration, took: Duration) {
    assert!(matches!(result, Err(Error::Timeout)), "{result:?}");
    assert!(took >= asked, "early: {took:?} of {asked:?}");
    assert!(took < asked + LIMIT, "late: {took:?} of {asked:?}");
}

pub(crate) use support::{LIMIT, SHORT_OF_A_NAP, listen, tell};
