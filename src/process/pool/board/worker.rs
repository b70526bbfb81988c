//! A worker at the board.

use super::{Board, NOT_OURS, READY};
use crate::error::{Error, Result};
use crate::process::pool::spill::Stream;
use crate::raw::MemberId;
use crate::raw::board::{
    Claim, MAX_ITEMS, MAX_OUTCOME_BYTES, OutcomeHead, Progress, Slots, WORKERS,
};
use crate::sys::deadline::{Deadline, now};
use std::sync::atomic::Ordering;

/// The worker of one index. The parent has one at a time: it starts the next when the one before is dead.
#[derive(Debug)]
pub(crate) struct Worker {
    board: Board,
    index: u32,
    me: MemberId,
    /// What is written next, in whole words.
    pub(super) words: Vec<u8>,
}

/// A task that this worker has.
#[derive(Debug)]
pub(crate) struct Claimed<'a> {
    worker: &'a mut Worker,
    claim: Claim,
    progress: Progress,
    /// What the last word of the outcomes in the slot holds already.
    begun: [u8; 8],
}

impl Worker {
    pub(crate) fn new(board: Board, index: u32) -> Result<Worker> {
        if index >= WORKERS || board.note(index).is_none() {
            return Err(Error::InvalidArgument("the board has no such worker"));
        }
        Ok(Worker {
            me: board.placed.inner().me()?,
            index,
            words: Vec::new(),
            board,
        })
    }

    /// Notes that this worker is ready for tasks.
    pub(crate) fn note_ready(&self) {
        if let Some(note) = self.board.note(self.index) {
            note.store(READY, Ordering::Relaxed);
        }
    }

    /// Takes the next task, waiting for one until the deadline. `Err(Closed)`: there is none, and no more come.
    pub(crate) fn claim(&mut self, deadline: Deadline) -> Result<Claimed<'_>> {
        self.check_is_ours()?;
        let board = &self.board;
        let call = board.placed.call(deadline)?;
        let claim = board.raw().claim(board, &call, self.index)?;
        if claim.timed {
            board.outcome(claim.index as usize).begin(clock());
        }
        Ok(Claimed {
            worker: self,
            claim,
            progress: Progress::NONE,
            begun: [0; 8],
        })
    }

    /// A child that a task's function forked is no worker.
    fn check_is_ours(&self) -> Result<()> {
        if self.board.placed.inner().is_me(self.me) {
            Ok(())
        } else {
            Err(NOT_OURS)
        }
    }
}

impl Claimed<'_> {
    /// Index in the file of functions.
    pub(crate) fn function(&self) -> u32 {
        self.claim.function
    }

    /// How many items the input has, as it says.
    pub(crate) fn items(&self) -> u32 {
        self.claim.items
    }

    /// Reads the input into `bytes`. `Err(Corrupt)`: it is not as long as it says.
    pub(crate) fn input(&self, bytes: &mut Vec<u8>) -> Result<()> {
        let (index, len) = (self.claim.index, self.claim.input_bytes);
        self.worker.board.read(index, Stream::Input, len, bytes)
    }

    /// Accounts for the next item, whose outcome is `outcome`; with the last one the parent is told. An error changes nothing: another outcome
    /// can be appended instead.
    pub(crate) fn append(&mut self, outcome: &[u8]) -> Result<()> {
        self.worker.check_is_ours()?;
        if !self.is_mine() {
            return Err(Error::Corrupt);
        }
        let most = self.claim.items.min(MAX_ITEMS);
        if self.progress.items >= most || self.progress.is_last {
            return Err(Error::Corrupt);
        }
        let (at, len) = (self.progress.bytes, outcome.len() as u64);
        let end = at.saturating_add(len);
        if end > MAX_OUTCOME_BYTES {
            return Err(Error::TooLarge {
                requested: end,
                limit: MAX_OUTCOME_BYTES,
            });
        }
        self.write(outcome)?;
        let items = self.progress.items + 1;
        self.account(Progress {
            items,
            bytes: end,
            is_last: items == self.claim.items,
        });
        Ok(())
    }

    /// Whether the slot still says so. If not, somebody scribbled.
    pub(crate) fn is_mine(&self) -> bool {
        let board = &self.worker.board;
        board.task(self.claim.index as usize).is_still(&self.claim)
    }

    /// Is done with the task: the items that are not accounted for, if there are any, are left to others.
    pub(crate) fn leave(mut self) {
        if self.progress.is_last || self.worker.check_is_ours().is_err() {
            return;
        }
        if self.is_mine() {
            self.account(Progress {
                is_last: true,
                ..self.progress
            });
        } else {
            let board = &self.worker.board;
            board.task(self.claim.index as usize).renounce(&self.claim);
        }
    }

    fn head(&self) -> &OutcomeHead {
        self.worker.board.outcome(self.claim.index as usize)
    }

    fn account(&mut self, progress: Progress) {
        if self.claim.timed && !progress.is_last {
            self.head().begin(clock());
        }
        self.head().account(progress);
        self.progress = progress;
        if progress.is_last {
            self.worker.board.raw().finish(self.claim.index);
        }
    }

    /// Writes behind the outcomes: into the slot what it has room for, and what is left into the spill.
    pub(super) fn write(&mut self, outcome: &[u8]) -> Result<()> {
        let Worker { board, words, .. } = &mut *self.worker;
        let (index, room) = (self.claim.index, board.room(Stream::Outcomes));
        // Below a terabyte; and where a usize is shorter, the spill refuses.
        let at = self.progress.bytes;
        let in_slot = room.saturating_sub(usize::try_from(at).unwrap_or(usize::MAX));
        let (first, rest) = outcome.split_at(in_slot.min(outcome.len()));
        if !rest.is_empty() {
            let from = (at + first.len() as u64) - room as u64;
            board.spill.write(index, Stream::Outcomes, from, rest)?;
        }
        if first.is_empty() {
            return Ok(());
        }
        // From a word's begin on, with what it holds already: to write that again changes nothing.
        let (at, begun) = (at as usize, at as usize % 8);
        words.clear();
        words.extend_from_slice(&self.begun[..begun]);
        words.extend_from_slice(first);
        board.store(index as usize, Stream::Outcomes, at - begun, words);
        let last = words.len() % 8;
        self.begun[..last].copy_from_slice(&words[words.len() - last..]);
        Ok(())
    }
}

/// Nanoseconds of CLOCK_MONOTONIC; never 0.
fn clock() -> u64 {
    (now().as_nanos() as u64).max(1)
}
