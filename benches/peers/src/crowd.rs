//! More than two: many members and one lock, or two that send and two that receive. Processes that are forked, or threads for
//! those who can't do better; each bound to one of the two CPUs in turn.

use crate::arena::{Arena, Line};
use crate::context::Context;
use crate::job::Who;
use crate::locks::{Lock, with_lock};
use crate::machine::{error, pin, work};
use crate::queue::{END, Item};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What they share. All zero at first.
#[repr(C)]
pub(crate) struct Crowd {
    ready: Line<AtomicU32>,
    phase: Line<AtomicU32>,
    /// What was done, in sum.
    done: Line<AtomicU64>,
    /// What was sent and not yet received.
    owed: Line<AtomicU64>,
    /// The same of the items' numbers.
    owed_numbers: Line<AtomicU64>,
}

const WAIT: u32 = 0;
const GO: u32 = 1;
const STOP: u32 = 2;

impl Crowd {
    fn begin(&self) {
        self.ready.0.fetch_add(1, Ordering::AcqRel);
        while self.phase.0.load(Ordering::Acquire) == WAIT {
            std::thread::yield_now();
        }
    }

    #[inline]
    fn goes_on(&self) -> bool {
        self.phase.0.load(Ordering::Relaxed) == GO
    }

    /// Lets `members` do their part for that long. How long it was.
    fn conduct(&self, members: usize, duration: Duration) -> Duration {
        while self.ready.0.load(Ordering::Acquire) < members as u32 {
            std::thread::yield_now();
        }
        let start = Instant::now();
        self.phase.0.store(GO, Ordering::Release);
        std::thread::sleep(duration);
        self.phase.0.store(STOP, Ordering::Release);
        start.elapsed()
    }

    fn reset(&self) {
        self.ready.0.store(0, Ordering::Relaxed);
        self.done.0.store(0, Ordering::Relaxed);
        self.phase.0.store(WAIT, Ordering::Release);
    }
}

/// Each of so many does its part. How long they had.
fn gather(
    cx: &Context,
    members: usize,
    in_threads: bool,
    part: impl Fn(&Arena, usize) + Sync,
) -> Duration {
    let (arena, cpus, duration) = (&cx.arena, cx.cpus, cx.options.pair());
    arena.crowd.reset();
    let part = |member: usize| {
        if let Some(cpus) = cpus {
            pin(cpus[member % 2]);
        }
        part(arena, member);
    };
    if in_threads {
        return std::thread::scope(|s| {
            let part = &part;
            (0..members).for_each(|member| {
                s.spawn(move || part(member));
            });
            arena.crowd.conduct(members, duration)
        });
    }
    let children: Vec<_> = (0..members).map(|member| fork(|| part(member))).collect();
    let time = arena.crowd.conduct(members, duration);
    for child in children {
        let mut status = 0;
        // SAFETY: waits for a child of ours.
        let waited = unsafe { libc::waitpid(child, &mut status, 0) };
        assert_eq!((waited, status), (child, 0), "a member failed");
    }
    time
}

/// Does it in a child, which ends with us.
pub(crate) fn fork(part: impl FnOnce()) -> libc::pid_t {
    let parent = std::process::id();
    // SAFETY: there is no other thread that could hold what the child needs: pools are started after all that forks.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork: {}", error());
    if pid == 0 {
        // SAFETY: sets what happens when the parent dies.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        let alone = std::os::unix::process::parent_id() != parent;
        let done = !alone && catch_unwind(AssertUnwindSafe(part)).is_ok();
        // SAFETY: it may be called anywhere; nothing of the parent's is dropped here.
        unsafe { libc::_exit(i32::from(!done)) };
    }
    pid
}

/// Members that all use one lock, with so many steps of work inside. Operations a second, all together.
pub(crate) fn contend(cx: &Context, who: Who, members: usize, steps: u32) -> f64 {
    let arena = &cx.arena;
    with_lock!(who, arena, |lock| lock.with(|cell| *cell = [0; 8]));
    let time = gather(cx, members, who.in_threads(), |arena, _| {
        with_lock!(who, arena, |lock| {
            let crowd = &arena.crowd;
            crowd.begin();
            let mut ops = 0;
            while crowd.goes_on() {
                lock.with(|cell| {
                    cell[0] += 1;
                    work(steps);
                });
                ops += 1;
            }
            crowd.done.0.fetch_add(ops, Ordering::AcqRel);
        });
    });
    let done = arena.crowd.done.0.load(Ordering::Acquire);
    let counted = with_lock!(who, arena, |lock| lock.with(|cell| cell[0]));
    assert_eq!(counted, done, "the lock let two in at once");
    done as f64 / time.as_secs_f64()
}

/// Two that send and two that receive. Items a second.
pub(crate) fn two_and_two<T: Item>(
    cx: &Context,
    in_threads: bool,
    (send, recv): (impl Fn(T) + Sync, impl Fn() -> T + Sync),
) -> f64 {
    let time = gather(cx, 4, in_threads, |arena, member| {
        let crowd = &arena.crowd;
        let (mut items, mut numbers) = (0, 0);
        crowd.begin();
        if member < 2 {
            while crowd.goes_on() {
                send(T::new(items));
                numbers += items;
                items += 1;
            }
            // One for each that receives: the last of all comes after all items.
            send(T::new(END));
            crowd.owed.0.fetch_add(items, Ordering::AcqRel);
            crowd.owed_numbers.0.fetch_add(numbers, Ordering::AcqRel);
        } else {
            loop {
                match recv().number() {
                    END => break,
                    n => numbers += n,
                }
                items += 1;
            }
            crowd.done.0.fetch_add(items, Ordering::AcqRel);
            crowd.owed.0.fetch_sub(items, Ordering::AcqRel);
            crowd.owed_numbers.0.fetch_sub(numbers, Ordering::AcqRel);
        }
    });
    let crowd = &cx.arena.crowd;
    let owed = [&crowd.owed, &crowd.owed_numbers].map(|word| word.0.load(Ordering::Acquire));
    assert_eq!(owed, [0, 0], "items were lost or came twice");
    crowd.done.0.load(Ordering::Acquire) as f64 / time.as_secs_f64()
}
