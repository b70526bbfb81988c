//! The machine that loom's models run on: atomics before each of whose accesses a member may die, a modelled futex, and
//! an oracle of life and death.
//!
//! The futex comes in two kinds, see [`Sleep`]. A death ends every sleep, as the sweep does in the real thing; time passes
//! when a model calls [`pass_time`].

use crate::raw::signal::FIRST_NAP;
use crate::raw::{MemberId, Membership, Nap};
use crate::sys::deadline::Deadline;
use loom::sync::atomic as real;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};

/// How the modelled futex sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sleep {
    /// Until a wake, a death or the passing of time: finds lost wake-ups, as deadlocks.
    UntilWoken,
    /// Not at all: finds orderings that only the futex's own lock provided.
    Never,
}

/// Set by the harness before a model runs; all threads of all executions read it.
static SLEEPS: AtomicBool = AtomicBool::new(true);
/// Whether in any execution since the last [`begin`] somebody died.
static SOMEBODY_DIED: AtomicBool = AtomicBool::new(false);

pub(crate) fn begin(sleep: Sleep) {
    SLEEPS.store(sleep == Sleep::UntilWoken, Ordering::Relaxed);
    SOMEBODY_DIED.store(false, Ordering::Relaxed);
}

pub(crate) fn somebody_died() -> bool {
    SOMEBODY_DIED.load(Ordering::Relaxed)
}

/// Accesses that this thread has left to live.
struct Life {
    left: Cell<Option<usize>>,
    id: Cell<u32>,
    dead: Cell<bool>,
}

loom::thread_local! {
    static LIFE: Life = Life { left: Cell::new(None), id: Cell::new(0), dead: Cell::new(false) };
}

loom::lazy_static! {
    static ref KERNEL: Kernel = Kernel {
        table: loom::sync::Mutex::new(Vec::new()),
        turn: loom::sync::Condvar::new(),
        dead: real::AtomicU64::new(0),
        deaths: real::AtomicU32::new(0),
        late: real::AtomicBool::new(false),
    };
}

struct Kernel {
    table: loom::sync::Mutex<Vec<Sleeper>>,
    turn: loom::sync::Condvar,
    /// One bit for each member slot.
    dead: real::AtomicU64,
    deaths: real::AtomicU32,
    late: real::AtomicBool,
}

struct Sleeper {
    addresses: Vec<usize>,
    thread: loom::thread::ThreadId,
    deadline: Deadline,
    ended: Option<futex::Wake>,
}

/// The payload of the unwinding that stands for death.
struct Died;

/// Runs `f` as member `id`, which dies before its access number `left`, counted from 0. `None`: it died.
pub(crate) fn mortal<R>(id: MemberId, left: usize, f: impl FnOnce() -> R) -> Option<R> {
    LIFE.with(|l| {
        l.left.set(Some(left));
        l.id.set(id.bits());
    });
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f));
    // What this thread does from here on, somebody else does.
    LIFE.with(|l| {
        l.left.set(None);
        l.dead.set(false);
    });
    match result {
        Ok(r) => Some(r),
        Err(payload) if payload.is::<Died>() => None,
        Err(payload) => std::panic::resume_unwind(payload),
    }
}

/// Stands before every access: here a mortal member may die. `false`: this thread is dead already, and only unwinding.
fn point() -> bool {
    let (dies, dead, id) = LIFE.with(|l| {
        let dies = l.left.get() == Some(0);
        if dies {
            l.left.set(None);
            l.dead.set(true);
        } else if let Some(n) = l.left.get() {
            l.left.set(Some(n - 1));
        }
        (dies, l.dead.get(), l.id.get())
    });
    if dies {
        SOMEBODY_DIED.store(true, Ordering::Relaxed);
        bury(MemberId::from_bits(id).expect("a mortal has an id"));
        end_sleeps(|_| true, futex::Wake::TimedOut, usize::MAX);
        std::panic::resume_unwind(Box::new(Died));
    }
    !dead
}

/// The member is dead from here on: one of whom a model only needs what it left.
pub(crate) fn bury(id: MemberId) {
    // Release: the kernel drops a member's lock after its last instruction.
    KERNEL.dead.fetch_or(1 << id.slot(), Ordering::Release);
    KERNEL.deaths.fetch_add(1, Ordering::Release);
}

/// Lets every [`Deadline::SOON`] pass.
pub(crate) fn pass_time() {
    KERNEL.late.store(true, Ordering::Release);
    end_sleeps(
        |s| s.deadline.has_passed(),
        futex::Wake::TimedOut,
        usize::MAX,
    );
}

pub(crate) fn time_has_passed() -> bool {
    KERNEL.late.load(Ordering::Acquire)
}

fn end_sleeps(which: impl Fn(&Sleeper) -> bool, why: futex::Wake, most: usize) -> usize {
    let mut table = KERNEL.table.lock().unwrap();
    let mut n = 0;
    for s in table.iter_mut().filter(|s| s.ended.is_none() && which(s)) {
        if n == most {
            break;
        }
        s.ended = Some(why);
        n += 1;
    }
    drop(table);
    if n > 0 {
        KERNEL.turn.notify_all();
    }
    n
}

/// Members as the model has them.
#[derive(Debug)]
pub(crate) struct Oracle;

impl Membership for Oracle {
    fn is_alive(&self, id: MemberId) -> bool {
        // Acquire: asking the kernel orders the dead one's last writes before what we do next.
        KERNEL.dead.load(Ordering::Acquire) & 1 << id.slot() == 0
    }

    fn deaths(&self) -> u32 {
        KERNEL.deaths.load(Ordering::Acquire)
    }

    fn park(
        &self,
        word: &AtomicU32,
        expected: u32,
        deaths: u32,
        nap: Nap,
        deadline: Deadline,
    ) -> futex::Wake {
        sleep(&[(word, expected)], deaths, nap, deadline)
    }
}

impl crate::raw::select::Sleeper for Oracle {
    fn park_on_any(
        sleeps: &[crate::raw::select::Sleep<'_, Oracle>],
        nap: Nap,
        _: std::time::Duration,
        deadline: Deadline,
    ) -> futex::Wake {
        let words: Vec<_> = sleeps.iter().map(|s| (s.word, s.expected)).collect();
        sleep(&words, sleeps[0].deaths, nap, deadline)
    }
}

fn sleep(words: &[(&AtomicU32, u32)], deaths: u32, nap: Nap, deadline: Deadline) -> futex::Wake {
    if !point() {
        return futex::Wake::Again;
    }
    // Whoever died before the sleeper registered is found when its first nap runs out.
    if nap == FIRST_NAP && Oracle.deaths() != 0 {
        return futex::Wake::TimedOut;
    }
    if !SLEEPS.load(Ordering::Relaxed) {
        loom::thread::yield_now();
        return futex::Wake::TimedOut;
    }
    let me = loom::thread::current().id();
    let mut table = KERNEL.table.lock().unwrap();
    if words
        .iter()
        .any(|(word, expected)| word.cell.load(Ordering::Relaxed) != *expected)
    {
        return futex::Wake::Again;
    }
    if Oracle.deaths() != deaths || deadline.has_passed() {
        return futex::Wake::TimedOut;
    }
    table.push(Sleeper {
        addresses: words.iter().map(|(word, _)| word.address()).collect(),
        thread: me,
        deadline,
        ended: None,
    });
    loop {
        table = KERNEL.turn.wait(table).unwrap();
        let at = table.iter().position(|s| s.thread == me).expect("ours");
        if let Some(why) = table[at].ended {
            // In order, as the kernel's queue is.
            table.remove(at);
            return why;
        }
    }
}

pub(crate) mod futex {
    use super::{AtomicU32, Ordering, SLEEPS, end_sleeps, point};

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Wake {
        Woken,
        Again,
        TimedOut,
    }

    pub(crate) fn wake(word: &AtomicU32, count: u32) -> u32 {
        if !point() || !SLEEPS.load(Ordering::Relaxed) {
            return 0;
        }
        let address = word.address();
        end_sleeps(
            |s| s.addresses.contains(&address),
            Wake::Woken,
            count as usize,
        ) as u32
    }
}

pub(crate) fn fence(order: Ordering) {
    if point() {
        real::fence(order);
    }
}

/// Makes loom try both orders of any two loads of one atomic.
///
/// loom 0.7 asks, before a store, only whether the *last* access to that atomic was made by somebody else. A thread that loads and
/// then stores hides by its own load that others loaded before, and loom never tries the store before their loads: a
/// whole model can shrink to one execution. So each load also touches a reference count, whose decrements loom
/// does reorder, and which orders nothing else in memory (only its last decrement would, at the model's end).
#[derive(Debug)]
struct Looks(loom::sync::Arc<()>);

impl Looks {
    fn new() -> Looks {
        Looks(loom::sync::Arc::new(()))
    }

    fn one_more(&self) {
        drop(self.0.clone());
    }
}

macro_rules! atomic {
    ($name:ident, $int:ty) => {
        #[derive(Debug)]
        pub(crate) struct $name {
            cell: real::$name,
            looks: Looks,
        }

        // The dead do nothing, and nobody sees what they are told.
        #[allow(dead_code)]
        impl $name {
            pub(crate) fn new(v: $int) -> Self {
                Self {
                    cell: real::$name::new(v),
                    looks: Looks::new(),
                }
            }
            fn address(&self) -> usize {
                std::ptr::from_ref(self) as usize
            }
            pub(crate) fn load(&self, order: Ordering) -> $int {
                if !point() {
                    return 0;
                }
                self.looks.one_more();
                self.cell.load(order)
            }
            pub(crate) fn store(&self, v: $int, order: Ordering) {
                if point() {
                    self.cell.store(v, order);
                }
            }
            pub(crate) fn swap(&self, v: $int, order: Ordering) -> $int {
                if point() { self.cell.swap(v, order) } else { 0 }
            }
            pub(crate) fn fetch_or(&self, v: $int, order: Ordering) -> $int {
                if point() {
                    self.cell.fetch_or(v, order)
                } else {
                    0
                }
            }
            pub(crate) fn fetch_and(&self, v: $int, order: Ordering) -> $int {
                if point() {
                    self.cell.fetch_and(v, order)
                } else {
                    0
                }
            }
            pub(crate) fn fetch_sub(&self, v: $int, order: Ordering) -> $int {
                if point() {
                    self.cell.fetch_sub(v, order)
                } else {
                    0
                }
            }
            pub(crate) fn compare_exchange(
                &self,
                current: $int,
                new: $int,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$int, $int> {
                if point() {
                    self.cell.compare_exchange(current, new, success, failure)
                } else {
                    Ok(current)
                }
            }
        }

        impl super::atomic::LoadOwn<$int> for $name {
            fn load_own(&self) -> $int {
                if !point() {
                    return 0;
                }
                // SAFETY: loom fails the model if any store is not ordered with this.
                unsafe { self.cell.unsync_load() }
            }
        }
    };
}

atomic!(AtomicU32, u32);
atomic!(AtomicU64, u64);
