//! From the SIGKILL of an owner to the waiter going on.

use crate::arena::Cell;
use crate::context::Context;
use crate::crowd::fork;
use crate::locks::PthreadCell;
use crate::machine::{error, pin};
use crate::report::quartiles;
use commonhold::{Barrier, Error, Mutex, Once, Queue, ReentrantMutex, RwLock, Segment, Semaphore};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Something that its owner may die with.
pub(crate) trait Mortal: Sync {
    /// Takes it, calls `held`, which does not return, and never gives it back.
    fn keep(&self, held: impl FnOnce());
    /// Waits until its owner is dead, and makes it sound again. When it heard of the death.
    fn inherit(&self) -> Instant;
}

impl<M: Mortal> Mortal for &M {
    fn keep(&self, held: impl FnOnce()) {
        (**self).keep(held);
    }
    fn inherit(&self) -> Instant {
        (**self).inherit()
    }
}

/// When we heard of it: now. It had to be told as `expected`.
fn told<T>(told: commonhold::Result<T>, expected: fn(&Error) -> bool) -> Instant {
    let now = Instant::now();
    assert!(told.is_err_and(|e| expected(&e)), "the owner is not dead");
    now
}

fn poisoned(e: &Error) -> bool {
    matches!(e, Error::Poisoned)
}

macro_rules! exclusive {
    ($($lock:ty),*) => {$(
        impl Mortal for $lock {
            fn keep(&self, held: impl FnOnce()) {
                let _guard = self.lock().expect("it is sound");
                held();
            }
            fn inherit(&self) -> Instant {
                let now = told(self.lock().map(drop), poisoned);
                drop(self.recover().expect("it is ours to mend"));
                now
            }
        }
    )*};
}
exclusive!(Mutex<Cell>, ReentrantMutex);

/// Its owner writes, and the waiter reads.
impl Mortal for RwLock<Cell> {
    fn keep(&self, held: impl FnOnce()) {
        let _guard = self.write().expect("it is sound");
        held();
    }
    fn inherit(&self) -> Instant {
        let now = told(self.read().map(drop), poisoned);
        drop(self.recover().expect("it is ours to mend"));
        now
    }
}

/// Its owner reads, and the waiter writes.
pub(crate) struct Read(pub(crate) RwLock<Cell>);

impl Mortal for Read {
    fn keep(&self, held: impl FnOnce()) {
        let _guard = self.0.read().expect("it is sound");
        held();
    }
    fn inherit(&self) -> Instant {
        let _guard = self.0.write().expect("a reader leaves nothing in doubt");
        Instant::now()
    }
}

/// Its owner has the one permit.
impl Mortal for Semaphore {
    fn keep(&self, held: impl FnOnce()) {
        let _permit = self.acquire().expect("it is free");
        held();
    }
    fn inherit(&self) -> Instant {
        let _permit = self.acquire().expect("it comes back");
        Instant::now()
    }
}

/// Its owner is inside.
impl Mortal for Once {
    fn keep(&self, held: impl FnOnce()) {
        self.call_once(held).expect("nobody was there before");
    }
    fn inherit(&self) -> Instant {
        let mut now = None;
        self.call_once(|| now = Some(Instant::now()))
            .expect("the next may");
        now.expect("the owner did not end it")
    }
}

/// For three: its owner has arrived, the waiter has, and nobody else comes.
impl Mortal for Barrier {
    fn keep(&self, held: impl FnOnce()) {
        std::thread::scope(|s| {
            s.spawn(|| self.wait());
            while self.waiting() == 0 {
                std::thread::yield_now();
            }
            held();
        });
    }
    fn inherit(&self) -> Instant {
        let now = told(self.wait(), |e| matches!(e, Error::Broken));
        self.reset().expect("it is ours to mend");
        now
    }
}

/// Its owner has leased the one item.
impl Mortal for Queue<u64> {
    fn keep(&self, held: impl FnOnce()) {
        self.send(7).expect("there is room");
        let _lease = self.lease().expect("it is there");
        held();
    }
    fn inherit(&self) -> Instant {
        let lease = self.lease().expect("it comes back");
        let now = Instant::now();
        assert!(lease.redelivered(), "the owner did not have it");
        lease.complete().expect("it is ours");
        now
    }
}

impl Mortal for PthreadCell {
    fn keep(&self, held: impl FnOnce()) {
        self.lock_for_ever();
        held();
    }
    fn inherit(&self) -> Instant {
        let (told, now) = (self.is_inherited(), Instant::now());
        assert!(told, "the owner is not dead");
        now
    }
}

/// Makes one in a segment of its own.
pub(crate) fn alone<M>(create: impl Fn(&Segment) -> commonhold::Result<M>) -> impl Fn() -> M {
    move || {
        let segment = Segment::anonymous(1 << 16).expect("memory");
        create(&segment).expect("there is room")
    }
}

/// In what state an owner is killed.
#[derive(Clone, Copy)]
pub(crate) struct End {
    /// It has so many bytes of memory in use.
    pub(crate) bytes: usize,
    /// The waiter has waited for so long, or up to 10 ms longer.
    pub(crate) after: Duration,
}

/// How long it takes until a waiter has what one owned that was killed. ms.
pub(crate) fn after_kill<M: Mortal>(cx: &Context, make: impl Fn() -> M, end: End) -> f64 {
    // Only these take hardly any time to make, and to wait for.
    let is_brief = end.bytes == 0 && end.after < Duration::from_millis(100);
    let times = if is_brief && !cx.options.quick { 5 } else { 1 };
    let all: Vec<f64> = (0..times).map(|_| once(cx, &make(), end)).collect();
    quartiles(&all)[1]
}

fn once(cx: &Context, lock: &impl Mortal, end: End) -> f64 {
    let ready: &AtomicU64 = &cx.arena.ping.0;
    ready.store(0, Ordering::Release);
    let other_cpu = cx.cpus.map(|[_, cpu]| cpu);
    let owner = fork(|| {
        other_cpu.into_iter().for_each(pin);
        let memory = vec![1u8; end.bytes];
        lock.keep(|| {
            ready.store(1, Ordering::Release);
            loop {
                // SAFETY: waits for a signal.
                unsafe { libc::pause() };
                std::hint::black_box(&memory);
            }
        });
    });
    while ready.load(Ordering::Acquire) == 0 {
        std::thread::yield_now();
    }
    let wait = end.after + spread();
    let (killed, inherited) = std::thread::scope(|s| {
        let killer = s.spawn(move || {
            other_cpu.into_iter().for_each(pin);
            // The waiter is asleep by then.
            std::thread::sleep(wait);
            let now = Instant::now();
            // SAFETY: a child of ours that nobody has waited for.
            let r = unsafe { libc::kill(owner, libc::SIGKILL) };
            assert_eq!(r, 0, "kill: {}", error());
            now
        });
        let inherited = lock.inherit();
        (killer.join().expect("it kills"), inherited)
    });
    // SAFETY: waits for a child of ours.
    let waited = unsafe { libc::waitpid(owner, std::ptr::null_mut(), 0) };
    assert_eq!(waited, owner, "waitpid: {}", error());
    inherited.duration_since(killed).as_secs_f64() * 1e3
}

/// Up to 10 ms, evenly: a waiter looks at certain moments, and a death must not always come at the same distance from one.
fn spread() -> Duration {
    static DEATHS: AtomicU32 = AtomicU32::new(0);
    let n = f64::from(DEATHS.fetch_add(1, Ordering::Relaxed));
    // The golden ratio's multiples.
    Duration::from_secs_f64(0.010 * (n * 0.618_033_988_75).fract())
}
