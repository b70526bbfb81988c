//! The parent at the board. Who has it, has it alone: a pool keeps it under a lock.

use super::{Board, NOT_OURS};
use crate::error::Result;
use crate::process::pool::spill::Stream;
use crate::raw::MemberId;
use crate::raw::board::{Books, Place, Running, Task};

/// The one who publishes and collects.
#[derive(Debug)]
pub(crate) struct Parent {
    board: Board,
    books: Books,
    workers: u32,
    me: MemberId,
    /// For each slot: whether its input, and its outcomes, go on in the spill.
    spilled: Vec<[bool; 2]>,
}

/// What was found when a worker was done with a slot, or dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// How many of the task's items have an outcome: of the others, the first may have been begun if the worker died.
    pub(crate) items: u32,
    /// Whether the worker said that it is done with the slot: nobody was at the others.
    pub(crate) is_done: bool,
}

impl Parent {
    /// The parent of a new board.
    pub(crate) fn new(board: Board, workers: u32) -> Result<Parent> {
        let slots = board.placed.len();
        Ok(Parent {
            me: board.placed.inner().me()?,
            books: Books::new(slots),
            workers,
            spilled: vec![[false; 2]; slots],
            board,
        })
    }

    /// How many tasks can be published as things are.
    pub(crate) fn free(&self) -> usize {
        self.books.free()
    }

    /// Puts a task on the board and wakes a worker for it; its input is `input`, whose length stands in the task for it. `None`: no slot is free.
    pub(crate) fn publish(
        &mut self,
        function: u32,
        items: u32,
        timed: bool,
        input: &[u8],
    ) -> Result<Option<Place>> {
        self.check_is_ours()?;
        let task = Task {
            function,
            items,
            input_bytes: input.len() as u64,
            timed,
        };
        let (board, spilled) = (&self.board, &mut self.spilled);
        let in_slot = input.len().min(board.room(Stream::Input));
        let (first, rest) = input.split_at(in_slot);
        board.raw().publish(board, &mut self.books, &task, |index| {
            board.store(index as usize, Stream::Input, 0, first);
            if !rest.is_empty() {
                board.spill.write(index, Stream::Input, 0, rest)?;
            }
            spilled[index as usize] = [!rest.is_empty(), false];
            Ok(())
        })
    }

    /// Takes a task back that nobody has begun; the slot is free. `false`: somebody has.
    pub(crate) fn take_back(&mut self, place: Place) -> bool {
        let is_ours = self.check_is_ours().is_ok();
        let (board, books) = (&self.board, &mut self.books);
        let took = is_ours && board.raw().take_back(board, books, place);
        if took {
            self.clear(place);
        }
        took
    }

    /// Adds the slots that workers are done with, each once, to `ended`; with `all`, by a look at each, which also finds what
    /// was scribbled on.
    pub(crate) fn collect(&mut self, all: bool, ended: &mut Vec<Place>) {
        let (board, books) = (&self.board, &mut self.books);
        if all {
            board.raw().collect_all(board, books, self.workers, ended);
        } else {
            board.raw().collect(board, books, ended);
        }
    }

    /// Adds the slots of a worker to `ended` that is dead, as the kernel said: also one with all items.
    pub(crate) fn abandoned_by(&mut self, worker: u32, ended: &mut Vec<Place>) {
        let (board, books) = (&self.board, &mut self.books);
        let before = ended.len();
        board.raw().abandoned_by(board, books, worker, ended);
        for place in &ended[before..] {
            // It may have been at an outcome.
            self.spilled[place.index as usize][Stream::Outcomes as usize] = true;
        }
    }

    /// Reads the outcomes of a slot that has ended into `outcomes`. `Err(Corrupt)`: somebody scribbled.
    pub(crate) fn output(&mut self, place: Place, outcomes: &mut Vec<u8>) -> Result<Ended> {
        let board = &self.board;
        let progress = board.raw().progress(board, &mut self.books, place)?;
        if progress.bytes > board.room(Stream::Outcomes) as u64 {
            self.spilled[place.index as usize][Stream::Outcomes as usize] = true;
        }
        board.read(place.index, Stream::Outcomes, progress.bytes, outcomes)?;
        Ok(Ended {
            items: progress.items,
            is_done: progress.is_last,
        })
    }

    /// The slot is free for another task.
    pub(crate) fn release(&mut self, place: Place) {
        self.clear(place);
        self.books.release(place);
    }

    /// The tasks that workers are at.
    pub(crate) fn running(&self) -> impl Iterator<Item = Running> {
        self.board.raw().running(&self.board, &self.books)
    }

    /// Gives what the slot has in the spill back to the system.
    fn clear(&mut self, place: Place) {
        let spilled = &mut self.spilled[place.index as usize];
        for stream in [Stream::Input, Stream::Outcomes] {
            if std::mem::take(&mut spilled[stream as usize]) {
                self.board.spill.clear(place.index, stream);
            }
        }
    }

    fn check_is_ours(&self) -> Result<()> {
        if self.board.placed.inner().is_me(self.me) {
            Ok(())
        } else {
            Err(NOT_OURS)
        }
    }
}
