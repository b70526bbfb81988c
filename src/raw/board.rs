//! The task board: one parent publishes tasks into slots, workers claim and carry them out, and the parent collects.
//!
//! A slot's state word says whose the slot is: the parent's, anybody's who claims it, or one worker's. A claim is one exchange that
//! names the worker by its index. A worker accounts for each finished item by one store of the slot's progress word, after the item's bytes. There are no locks.
//! The parent takes a slot back from a worker only after the kernel said that the worker is dead.
//!
//! Where to look is written apart, and nobody relies on it: `todo`, a ring of the published slots in order, and `finished`, a bit for each
//! slot whose worker is done with it.
//!
//! # Points of death
//!
//! | a worker dies | the slot | who mends it |
//! |---|---|---|
//! | before it exchanged the state word | is ready: another claims it. A wake-up that chose the dead is made again | the parent, told of the death |
//! | after that, before it moved `head` | is the dead one's: the next line. Others look at one entry more | the same |
//! | having written an item's bytes, before it stored the progress | is the dead one's, without that item; the items before it stand | the same |
//! | having stored the last progress, before it set the bit | is the dead one's, with all items | the same |
//! | having set the bit, before it woke the parent | is complete | the parent, told of the death |
//!
//! The parent's death ends all: its workers die with it, and nobody else has the board.

mod parent;

#[cfg(all(test, not(commonhold_loom)))]
mod tests;

pub(crate) use parent::{Books, Place, Running, Task, Waiter, Woken};

use super::member::{Call, Membership};
use super::signal::RawSignal;
use super::wait::{Look, wait_for};
use crate::error::{Error, Result};
use crate::sys::atomic::{AtomicU32, AtomicU64, Ordering, fence_after_rmw};
use std::cell::Cell;

/// So many slots at most.
#[cfg(not(commonhold_loom))]
pub(crate) const MAX_SLOTS: usize = 1024;
/// Each atomic costs a model time.
#[cfg(commonhold_loom)]
pub(crate) const MAX_SLOTS: usize = 2;

/// Entries that `todo` has for each slot. With two, each entry that has to be moved out of the way for a new one stands for one that
/// was taken back since.
const ENTRIES_PER_SLOT: usize = 2;

/// So many items at most are in one slot.
pub(crate) const MAX_ITEMS: u32 = (1 << 24) - 1;
/// So many bytes at most are one slot's outcomes.
pub(crate) const MAX_OUTCOME_BYTES: u64 = (1 << 39) - 1;

/// All zero is a board with nothing on it.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct RawBoard {
    /// Read by all workers, written when somebody waits, and at the end.
    pub(crate) idle: BoardIdle,
    /// The next entry of `todo` to write. Stored by the parent.
    pub(crate) tail: Position,
    /// All entries before it are of no use any more. A hint, which workers move.
    pub(crate) head: Position,
    pub(crate) results: BoardResults,
    /// The published slots in order: entries as [`entry`] makes them. Of its cells those of twice the number of slots are used.
    pub(crate) todo: [AtomicU64; ENTRIES_PER_SLOT * MAX_SLOTS],
}

/// On lines of its own.
#[repr(C, align(128))]
#[derive(Debug)]
pub(crate) struct BoardIdle {
    /// A task was published, or the board was closed.
    pub(crate) work: RawSignal,
    /// 0: open. Anything else: no more tasks come.
    pub(crate) closed: AtomicU32,
}

/// On lines of its own.
#[repr(C, align(128))]
#[derive(Debug)]
pub(crate) struct Position {
    pub(crate) entries: AtomicU64,
}

/// What workers tell the parent.
#[repr(C, align(128))]
#[derive(Debug)]
pub(crate) struct BoardResults {
    /// A worker is done with a slot, or a thread of the parent wants its manager.
    pub(crate) results: RawSignal,
    pub(crate) reserved: AtomicU32,
    /// A bit for each slot, set when its worker is done with it. A hint, which the parent clears.
    pub(crate) finished: [AtomicU64; MAX_SLOTS.div_ceil(64)],
}

/// What the parent says of a task. The input stands right behind it.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct TaskHead {
    pub(crate) state: TaskWord,
    /// Index in the file of functions.
    pub(crate) function: AtomicU32,
    /// How many there are in the input.
    pub(crate) items: AtomicU32,
    pub(crate) input_bytes: AtomicU64,
    /// 0: no. Anything else: the worker notes when it begins an item.
    pub(crate) timed: AtomicU32,
    pub(crate) reserved: AtomicU32,
}

/// What the worker says of it. The outcomes stand right behind it.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct OutcomeHead {
    pub(crate) progress: AtomicU64,
    /// When the item was begun that is not accounted for: nanoseconds of CLOCK_MONOTONIC. 0: not said.
    pub(crate) started: AtomicU64,
}

/// Whose a slot is.
///
/// | state (0..2) | worker (2..18) | meaning |
/// |---|---|---|
/// | 0 | any | free: the parent's |
/// | 1 | any | ready: who exchanges the word has it |
/// | 2 | w | running: worker w's, until its progress says that it is done, or the parent learns that w is dead |
/// | 3 | any | scribbled: the parent's. Stored by a worker that was said to be at it, and is not; or by the one that is, when it says ready |
///
/// Bits 32..64 are the turn, counted up whenever the slot is published: of another than the one in hand, the word is scribbled.
#[repr(transparent)]
#[derive(Debug)]
pub(crate) struct TaskWord {
    pub(crate) word: AtomicU64,
}

const FREE: u64 = 0;
const READY: u64 = 1;
const RUNNING: u64 = 2;
const SCRIBBLED: u64 = 3;

/// The indexes that a word can name.
pub(crate) const WORKERS: u32 = 1 << 16;

const fn word_of(turn: u32, worker: u32, state: u64) -> u64 {
    (turn as u64) << 32 | ((worker % WORKERS) as u64) << 2 | state
}

/// The worker that the word says to be at it in this turn.
fn runner(word: u64, turn: u32) -> Option<u32> {
    let worker = (word >> 2) as u32 % WORKERS;
    (word == word_of(turn, worker, RUNNING)).then_some(worker)
}

/// An entry of `todo`: which slot, and which of its turns. Once that turn is not ready any more, the entry is of no use, for ever.
const fn entry(index: u32, turn: u32) -> u64 {
    (turn as u64) << 32 | index as u64
}

/// How far the worker is with a slot.
///
/// | bits | |
/// |---|---|
/// | 0..39 | bytes of the outcomes |
/// | 39..63 | items accounted for |
/// | 63 | 1: the worker is done with the slot, and does not touch it again; if there are more items, it leaves them to others |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) items: u32,
    pub(crate) bytes: u64,
    pub(crate) is_last: bool,
}

impl Progress {
    pub(crate) const NONE: Progress = Progress {
        items: 0,
        bytes: 0,
        is_last: false,
    };

    fn of(word: u64) -> Progress {
        Progress {
            items: (word >> 39) as u32 & MAX_ITEMS,
            bytes: word & MAX_OUTCOME_BYTES,
            is_last: word >> 63 != 0,
        }
    }

    fn word(self) -> u64 {
        u64::from(self.is_last) << 63 | u64::from(self.items) << 39 | self.bytes
    }
}

impl OutcomeHead {
    #[cfg(commonhold_loom)]
    pub(crate) fn new() -> OutcomeHead {
        OutcomeHead {
            progress: AtomicU64::new(0),
            started: AtomicU64::new(0),
        }
    }

    /// More items are accounted for, if not all: their bytes stand behind those before.
    #[inline]
    pub(crate) fn account(&self, progress: Progress) {
        // Release: pairs with the Acquire in `progress`: the bytes are there.
        self.progress.store(progress.word(), Ordering::Release);
    }

    /// The worker begins an item now. Before the progress of the item before it is stored: with that, this is seen.
    #[inline]
    pub(crate) fn begin(&self, now: u64) {
        self.started.store(now, Ordering::Relaxed);
    }

    pub(crate) fn progress(&self) -> Progress {
        // Acquire: pairs with the Release in `account`.
        Progress::of(self.progress.load(Ordering::Acquire))
    }
}

/// Where the slots are.
pub(crate) trait Slots {
    /// 1 to [`MAX_SLOTS`], and always the same.
    fn count(&self) -> usize;
    fn task(&self, index: usize) -> &TaskHead;
    fn outcome(&self, index: usize) -> &OutcomeHead;
}

/// A slot that a worker claimed, and what its head said then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    pub(crate) index: u32,
    turn: u32,
    worker: u32,
    pub(crate) function: u32,
    pub(crate) items: u32,
    pub(crate) input_bytes: u64,
    pub(crate) timed: bool,
}

impl RawBoard {
    #[cfg(commonhold_loom)]
    pub(crate) fn new() -> RawBoard {
        let signal = RawSignal::new;
        let position = || Position {
            entries: AtomicU64::new(0),
        };
        RawBoard {
            idle: BoardIdle {
                work: signal(),
                closed: AtomicU32::new(0),
            },
            tail: position(),
            head: position(),
            results: BoardResults {
                results: signal(),
                reserved: AtomicU32::new(0),
                finished: std::array::from_fn(|_| AtomicU64::new(0)),
            },
            todo: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// Claims the first task that is ready, for the worker of this index, waiting for one until the deadline. `Err(Closed)`: there is none,
    /// and no more come.
    #[inline]
    pub(crate) fn claim<M: Membership>(
        &self,
        slots: &impl Slots,
        call: &Call<'_, M>,
        worker: u32,
    ) -> Result<Claim> {
        let (mut claimed, seen) = (None, Cell::new(0));
        let attempt = |look| {
            // Before the look at what is ready: what was published before it was closed is found.
            let closed = self.is_closed();
            claimed = self.claim_now(slots, worker, &seen, look == Look::AskingAfterOwners);
            if claimed.is_none() && matches!(look, Look::AskingAfterOwners | Look::Idly) {
                (0..slots.count()).for_each(|i| slots.task(i).disown(slots.outcome(i), worker));
            }
            if claimed.is_none() && closed {
                return Err(Error::Closed);
            }
            Ok(claimed.is_some())
        };
        // Acquire: as in `claim_now`.
        let worth_it =
            || self.tail.entries.load(Ordering::Acquire) != seen.get() || self.is_closed();
        wait_for(call, &self.idle.work, attempt, worth_it)?;
        claimed.ok_or_else(|| Error::Timeout)
    }

    fn is_closed(&self) -> bool {
        // Acquire: pairs with the Release in `close`.
        self.idle.closed.load(Ordering::Acquire) != 0
    }

    /// `seen` becomes what `tail` said before the look. With `all`, `head` is not believed.
    #[inline]
    fn claim_now(
        &self,
        slots: &impl Slots,
        worker: u32,
        seen: &Cell<u64>,
        all: bool,
    ) -> Option<Claim> {
        let cells = (ENTRIES_PER_SLOT * slots.count()) as u64;
        // Acquire: pairs with the Release in `move_head`: what is loaded from `tail` next is not less.
        let head = self.head.entries.load(Ordering::Acquire);
        // Acquire: pairs with the Release in `append`: the entries, and that their slots are ready.
        let tail = self.tail.entries.load(Ordering::Acquire);
        seen.set(tail);
        // Entries before these have been written over; and a scribbled `head` is no reason to overlook any.
        let left = match tail.wrapping_sub(head) {
            left if left <= cells && !all => left,
            _ => cells,
        };
        for left in (1..=left).rev() {
            let at = tail.wrapping_sub(left);
            // Relaxed: `tail` ordered it. It may be of a later time than `tail` was: then it stands in the ring again, behind `tail`.
            let entry = self.todo[(at % cells) as usize].load(Ordering::Relaxed);
            let (index, turn) = (entry as u32, (entry >> 32) as u32);
            if index as usize >= slots.count() {
                continue;
            }
            let task = slots.task(index as usize);
            if task.claim(turn, worker) {
                self.move_head(head, at.wrapping_add(1));
                return Some(task.claimed(index, turn, worker));
            }
        }
        if left != 0 {
            self.move_head(head, tail);
        }
        None
    }

    /// Others need not look at what lies before `to`. If another moved it meanwhile, that will do.
    #[inline]
    fn move_head(&self, from: u64, to: u64) {
        // Release: pairs with the Acquire in `claim_now`.
        let _ = self
            .head
            .entries
            .compare_exchange(from, to, Ordering::Release, Ordering::Relaxed);
    }

    /// The worker that claimed the slot has stored the last progress: tells the parent.
    #[inline]
    pub(crate) fn finish(&self, index: u32) {
        let bit = 1 << (index % 64);
        // Release: pairs with the Acquire in `collect`: the progress is there.
        // It must be a read-modify-write whoever looks at what it returns: pairs, with the fence, with the one in `register`.
        self.results.finished[index as usize / 64].fetch_or(bit, Ordering::AcqRel);
        fence_after_rmw();
        self.results.results.notify(1);
    }
}

impl TaskHead {
    #[cfg(commonhold_loom)]
    pub(crate) fn new() -> TaskHead {
        TaskHead {
            state: TaskWord {
                word: AtomicU64::new(0),
            },
            function: AtomicU32::new(0),
            items: AtomicU32::new(0),
            input_bytes: AtomicU64::new(0),
            timed: AtomicU32::new(0),
            reserved: AtomicU32::new(0),
        }
    }

    /// Takes the task if it is ready in this turn.
    #[inline]
    fn claim(&self, turn: u32, worker: u32) -> bool {
        let ready = word_of(turn, 0, READY);
        let running = word_of(turn, worker, RUNNING);
        // Acquire: pairs with the Release in `publish`: the task is there.
        // The load first: most entries that are of no use belong to others who are at work.
        self.state.word.load(Ordering::Relaxed) == ready
            && self
                .state
                .word
                .compare_exchange(ready, running, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
    }

    /// Whether the slot is the worker's, as when it was claimed. If not, somebody scribbled: another may have it, for another task, and is not to
    /// be disturbed.
    #[inline]
    pub(crate) fn is_still(&self, claim: &Claim) -> bool {
        let running = word_of(claim.turn, claim.worker, RUNNING);
        self.state.word.load(Ordering::Relaxed) == running
    }

    /// By the worker that claimed the slot, and to whom it says no more that it is his: if it says that it is ready, in the same turn, says that it is
    /// not. Else the task would be run again, and again if it is the task that scribbles so. The parent finds that when it looks at all.
    pub(crate) fn renounce(&self, claim: &Claim) {
        let ready = word_of(claim.turn, 0, READY);
        let _ = self.state.word.compare_exchange(
            ready,
            SCRIBBLED,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
    }

    /// By a worker that is at nothing: if the slot says that it is at this, says that it is not. The parent finds that when it looks at all.
    fn disown(&self, outcome: &OutcomeHead, worker: u32) {
        let word = self.state.word.load(Ordering::Relaxed);
        if runner(word, (word >> 32) as u32) == Some(worker) && !outcome.progress().is_last {
            // If it is not the same any more, the parent has published another.
            let _ = self.state.word.compare_exchange(
                word,
                SCRIBBLED,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
    }

    /// What it says, read once.
    fn claimed(&self, index: u32, turn: u32, worker: u32) -> Claim {
        // Relaxed, all: the claim's Acquire ordered them.
        Claim {
            index,
            turn,
            worker,
            function: self.function.load(Ordering::Relaxed),
            items: self.items.load(Ordering::Relaxed),
            input_bytes: self.input_bytes.load(Ordering::Relaxed),
            timed: self.timed.load(Ordering::Relaxed) != 0,
        }
    }
}
