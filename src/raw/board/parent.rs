//! The board as its parent uses it, who alone publishes and collects; and what the parent keeps for itself.

use super::{ENTRIES_PER_SLOT, FREE, Progress, READY, RawBoard, Slots, entry, runner, word_of};
use crate::error::{Error, Result};
use crate::raw::member::{Call, Membership};
use crate::raw::wait::{Look, wait_for};
use crate::sys::atomic::{AtomicU32, Ordering, fence, fence_after_rmw};
use crate::sys::deadline::LastDone;
use std::time::Duration;

/// What the parent knows without reading it from the board.
#[derive(Debug)]
pub(crate) struct Books {
    slots: Vec<SlotBook>,
    /// Indexes of the free slots.
    free: Vec<u32>,
    /// As in the board.
    todo: Vec<u64>,
    tail: u64,
    /// How often all slots were looked at.
    looks: u32,
}

#[derive(Clone, Copy, Debug)]
struct SlotBook {
    turn: u32,
    items: u32,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Free,
    /// Nobody has seen yet how it ends.
    Published,
    /// Its end was seen: whoever was told reads it, and releases it.
    Ended,
}

/// A slot in one of its turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) index: u32,
    turn: u32,
}

/// What is published.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Task {
    /// Index in the file of functions.
    pub(crate) function: u32,
    /// 1 to [`MAX_ITEMS`](super::MAX_ITEMS).
    pub(crate) items: u32,
    pub(crate) input_bytes: u64,
    /// Whether the worker is to note when it begins an item.
    pub(crate) timed: bool,
}

/// A task that a worker is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Running {
    pub(crate) place: Place,
    pub(crate) worker: u32,
    /// Items accounted for.
    pub(crate) items: u32,
    /// When the next one was begun: nanoseconds of CLOCK_MONOTONIC. `None`: not said (yet).
    pub(crate) started: Option<u64>,
}

/// What a parent's thread that waits for results needs beside the board.
#[derive(Debug)]
pub(crate) struct Waiter {
    /// 1: another thread wants it to look at something else.
    nudged: AtomicU32,
    looked: LastDone,
}

/// How often a parent that waits for results looks at all slots, and not only at those that it was told of: only where
/// somebody scribbles do they differ.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// At one in so many looks that find workers at work, and no task ready, those that sleep are woken.
const ROUSE_EVERY: u32 = 5;

/// Why a wait for results ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// Workers are done with some slots, or another thread asked for it.
    ByResults,
    /// As a precaution: time to look at all slots.
    ToLookAtAll,
}

impl Waiter {
    pub(crate) fn new() -> Waiter {
        Waiter {
            nudged: AtomicU32::new(0),
            looked: LastDone::never(),
        }
    }

    /// Whether it is time to look at all slots: then the caller does.
    pub(crate) fn is_to_look_at_all(&self) -> bool {
        self.looked.is_due(LOOK_EVERY)
    }
}

impl Books {
    /// Of a board with nothing on it.
    pub(crate) fn new(slots: usize) -> Books {
        let fresh = SlotBook {
            turn: 0,
            items: 0,
            stage: Stage::Free,
        };
        Books {
            slots: vec![fresh; slots],
            free: (0..slots as u32).rev().collect(),
            todo: vec![0; ENTRIES_PER_SLOT * slots],
            tail: 0,
            looks: 0,
        }
    }

    /// How many tasks can be published as things are.
    pub(crate) fn free(&self) -> usize {
        self.free.len()
    }

    fn of(&mut self, place: Place) -> Option<&mut SlotBook> {
        self.slots
            .get_mut(place.index as usize)
            .filter(|book| book.turn == place.turn && book.stage != Stage::Free)
    }

    /// How many items the task has that was published there. `None`: it was taken back, or released.
    pub(crate) fn items(&mut self, place: Place) -> Option<u32> {
        self.of(place).map(|book| book.items)
    }

    /// The slot is free for another task. The caller is done with its bytes.
    pub(crate) fn release(&mut self, place: Place) {
        if let Some(book) = self.of(place) {
            book.stage = Stage::Free;
            self.free.push(place.index);
        }
    }

    fn published(&self) -> impl Iterator<Item = Place> {
        let at = |(index, book): (usize, &SlotBook)| {
            let (index, turn) = (index as u32, book.turn);
            (book.stage == Stage::Published).then_some(Place { index, turn })
        };
        self.slots.iter().enumerate().filter_map(at)
    }
}

impl RawBoard {
    /// Puts a task into a free slot; `write` writes its input there, or fails, and then nothing is published. `None`: no slot is free.
    #[inline]
    pub(crate) fn publish(
        &self,
        slots: &impl Slots,
        books: &mut Books,
        task: &Task,
        write: impl FnOnce(u32) -> Result<()>,
    ) -> Result<Option<Place>> {
        let Some(index) = books.free.pop() else {
            return Ok(None);
        };
        if let Err(error) = write(index) {
            books.free.push(index);
            return Err(error);
        }
        let book = &mut books.slots[index as usize];
        *book = SlotBook {
            turn: book.turn.wrapping_add(1),
            items: task.items,
            stage: Stage::Published,
        };
        let turn = book.turn;
        let (head, outcome) = (slots.task(index as usize), slots.outcome(index as usize));
        // Relaxed: the Release below orders them.
        head.function.store(task.function, Ordering::Relaxed);
        head.items.store(task.items, Ordering::Relaxed);
        head.input_bytes.store(task.input_bytes, Ordering::Relaxed);
        head.timed.store(u32::from(task.timed), Ordering::Relaxed);
        outcome
            .progress
            .store(Progress::NONE.word(), Ordering::Relaxed);
        outcome.started.store(0, Ordering::Relaxed);
        // Release: pairs with the Acquire in `TaskHead::claim`.
        let ready = word_of(turn, 0, READY);
        head.state.word.store(ready, Ordering::Release);
        self.append(slots, books, entry(index, turn));
        self.idle.work.notify(1);
        Ok(Some(Place { index, turn }))
    }

    /// Puts an entry into `todo`, behind all others.
    ///
    /// The cell may hold the entry of a task that still waits, if many were taken back since: that one stays, and so stands at the end of the
    /// ring now. Half of the cells hold entries of no use, so one of them is found.
    fn append(&self, slots: &impl Slots, books: &mut Books, new: u64) {
        let cells = books.todo.len() as u64;
        loop {
            let cell = (books.tail % cells) as usize;
            books.tail = books.tail.wrapping_add(1);
            if !is_waiting(slots, books, books.todo[cell]) {
                books.todo[cell] = new;
                self.todo[cell].store(new, Ordering::Relaxed);
                break;
            }
        }
        // Release: pairs with the Acquire in `claim_now`. Acquire only because a swap that nobody looks at may be made a store, and
        // it must be a read-modify-write: pairs, with the fence, with the one in `register`.
        self.tail.entries.swap(books.tail, Ordering::AcqRel);
        fence_after_rmw();
    }

    /// Takes a task back that nobody has claimed; the slot is free. `false`: somebody has, or it has ended.
    pub(crate) fn take_back(&self, slots: &impl Slots, books: &mut Books, place: Place) -> bool {
        let is_published = |b: &&mut SlotBook| b.stage == Stage::Published;
        if books.of(place).filter(is_published).is_none() {
            return false;
        }
        let [ready, free] = [READY, FREE].map(|state| word_of(place.turn, 0, state));
        // Relaxed: nobody wrote anything that we want to see.
        let took = slots
            .task(place.index as usize)
            .state
            .word
            .compare_exchange(ready, free, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok();
        if took {
            books.release(place);
        }
        took
    }

    /// Adds the slots that workers are done with, each once, to `ended`.
    pub(crate) fn collect(&self, slots: &impl Slots, books: &mut Books, ended: &mut Vec<Place>) {
        for (i, finished) in self.results.finished.iter().enumerate() {
            if finished.load(Ordering::Relaxed) == 0 {
                continue;
            }
            // Acquire: pairs with the Release in `finish`.
            let mut bits = finished.swap(0, Ordering::AcqRel);
            while bits != 0 {
                let index = i * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                let Some(book) = books.slots.get_mut(index) else {
                    continue;
                };
                // The bit may be one that was set late: the slot had been collected without it, and was published again.
                if book.stage == Stage::Published && slots.outcome(index).progress().is_last {
                    book.stage = Stage::Ended;
                    ended.push(Place {
                        index: index as u32,
                        turn: book.turn,
                    });
                }
            }
        }
    }

    /// As [`collect`](Self::collect), by a look at all slots: those whose bits are lost, and those whose state words are scribbled, too. What is
    /// still to be done can be found again.
    #[cold]
    pub(crate) fn collect_all(
        &self,
        slots: &impl Slots,
        books: &mut Books,
        workers: u32,
        ended: &mut Vec<Place>,
    ) {
        books.looks = books.looks.wrapping_add(1);
        let (mut any_ready, mut any_runs) = (false, false);
        end_where(books, ended, |place| {
            let at = place.index as usize;
            let word = slots.task(at).state.word.load(Ordering::Relaxed);
            let runs = runner(word, place.turn).is_some_and(|worker| worker < workers);
            let is_ready = word == word_of(place.turn, 0, READY);
            any_ready |= is_ready;
            any_runs |= runs;
            !(runs || is_ready) || slots.outcome(at).progress().is_last
        });
        if any_ready {
            self.restore_todo(slots, books);
        } else if any_runs && books.looks % ROUSE_EVERY == 0 {
            // A worker that sleeps, and by its slot runs: one that is woken again and again for nothing looks, and says that it does not.
            self.idle.work.notify(u32::MAX);
        }
    }

    /// Writes down once more where to look, and wakes all for it: whoever sleeps while a task is ready was not led there.
    fn restore_todo(&self, slots: &impl Slots, books: &mut Books) {
        for (cell, &entry) in self.todo.iter().zip(&books.todo) {
            cell.store(entry, Ordering::Relaxed);
        }
        let mut listed = vec![false; books.slots.len()];
        for &entry in books.todo.iter().filter(|e| is_waiting(slots, books, **e)) {
            listed[entry as u32 as usize] = true;
        }
        let all: Vec<Place> = books.published().collect();
        for place in all {
            let new = entry(place.index, place.turn);
            // It did not look ready when its cell was wanted for another.
            if !listed[place.index as usize] && is_waiting(slots, books, new) {
                self.append(slots, books, new);
            }
        }
        // Release: pairs with the Acquires in `claim_now`.
        self.tail.entries.store(books.tail, Ordering::Release);
        let first = books.tail.wrapping_sub(books.todo.len() as u64);
        self.head.entries.store(first, Ordering::Release);
        // Pairs with the fence in `register`.
        fence(Ordering::SeqCst);
        self.idle.work.notify(u32::MAX);
    }

    /// Adds the slots that a worker had which is dead, as the kernel said, to `ended`: also those with all items.
    #[cold]
    pub(crate) fn abandoned_by(
        &self,
        slots: &impl Slots,
        books: &mut Books,
        worker: u32,
        ended: &mut Vec<Place>,
    ) {
        end_where(books, ended, |place| {
            // Relaxed: that the dead one's accesses come first follows from the kernel's word.
            let word = slots
                .task(place.index as usize)
                .state
                .word
                .load(Ordering::Relaxed);
            runner(word, place.turn) == Some(worker)
        });
        // It may have been chosen by a wake-up.
        self.idle.work.notify(u32::MAX);
    }

    /// How far the worker is, or was, with a slot. `Err(Corrupt)`: further than there is.
    pub(crate) fn progress(
        &self,
        slots: &impl Slots,
        books: &mut Books,
        place: Place,
    ) -> Result<Progress> {
        let items = books.items(place).ok_or_else(|| Error::Corrupt)?;
        let progress = slots.outcome(place.index as usize).progress();
        if progress.items > items {
            return Err(Error::Corrupt);
        }
        Ok(progress)
    }

    /// The tasks that workers are at.
    pub(crate) fn running(
        &self,
        slots: &impl Slots,
        books: &Books,
    ) -> impl Iterator<Item = Running> {
        books.published().filter_map(|place| {
            let at = place.index as usize;
            let word = slots.task(at).state.word.load(Ordering::Relaxed);
            let worker = runner(word, place.turn)?;
            let outcome = slots.outcome(at);
            // Before the time: the time that is seen is that of the next item, or of a later one.
            let items = outcome.progress().items;
            let started = outcome.started.load(Ordering::Relaxed);
            Some(Running {
                place,
                worker,
                items,
                started: (started != 0).then_some(started),
            })
        })
    }

    /// Waits until a worker is done with some slot, or another thread calls [`nudge`](Self::nudge).
    pub(crate) fn wait_for_results<M: Membership>(
        &self,
        slots: &impl Slots,
        call: &Call<'_, M>,
        waiter: &Waiter,
    ) -> Result<Woken> {
        // Also where results come so fast that it never sleeps.
        if waiter.is_to_look_at_all() {
            return Ok(Woken::ToLookAtAll);
        }
        let words = &self.results.finished[..slots.count().div_ceil(64)];
        let is_some = || {
            // Relaxed: who collects looks again.
            words.iter().any(|w| w.load(Ordering::Relaxed) != 0)
                || waiter.nudged.load(Ordering::Relaxed) != 0
        };
        let mut woken = Woken::ByResults;
        let attempt = |look| {
            // Acquire: pairs with the Release in `nudge`.
            let nudged = waiter.nudged.swap(0, Ordering::AcqRel) != 0;
            if nudged || is_some() {
                return Ok(true);
            }
            if look != Look::AtOnce && waiter.is_to_look_at_all() {
                woken = Woken::ToLookAtAll;
                return Ok(true);
            }
            Ok(false)
        };
        wait_for(call, &self.results.results, attempt, is_some)?;
        Ok(woken)
    }

    /// Ends the wait for results that is under way in another thread, or the next one.
    pub(crate) fn nudge(&self, waiter: &Waiter) {
        // AcqRel: Release pairs with the Acquire in `wait_for_results`; as in `append`, it must be a read-modify-write.
        waiter.nudged.swap(1, Ordering::AcqRel);
        fence_after_rmw();
        self.results.results.notify(u32::MAX);
    }

    /// More tasks come: what says otherwise was scribbled.
    pub(crate) fn reopen(&self) {
        self.idle.closed.store(0, Ordering::Relaxed);
    }

    /// No more tasks come: workers that find none ready end.
    pub(crate) fn close(&self) {
        // Release: pairs with the Acquire in `is_closed`: what was published before is seen.
        self.idle.closed.store(1, Ordering::Release);
        // Pairs with the fence in `register`.
        fence(Ordering::SeqCst);
        self.idle.work.notify(u32::MAX);
    }
}

/// Whether the task of an entry is ready, and was not claimed a moment ago.
fn is_waiting(slots: &impl Slots, books: &Books, entry: u64) -> bool {
    let (index, turn) = (entry as u32, (entry >> 32) as u32);
    let book = &books.slots[index as usize];
    book.stage == Stage::Published
        && book.turn == turn
        && slots
            .task(index as usize)
            .state
            .word
            .load(Ordering::Relaxed)
            == word_of(turn, 0, READY)
}

/// Ends the published slots of which `is_over` says so.
fn end_where(books: &mut Books, ended: &mut Vec<Place>, mut is_over: impl FnMut(Place) -> bool) {
    for (index, book) in books.slots.iter_mut().enumerate() {
        let place = Place {
            index: index as u32,
            turn: book.turn,
        };
        if book.stage == Stage::Published && is_over(place) {
            book.stage = Stage::Ended;
            ended.push(place);
        }
    }
}
