//! The task board of this process's pool as an outsider has it: what strikes at it.

use arbitrary::Arbitrary;

#[path = "../../../tests/process/board_file.rs"]
mod board_file;
use board_file::{BoardFile, SLOTS};

pub struct Board(BoardFile);

/// Tasks are put into the first slots that are free.
const USED: u64 = 8;

/// A word that means something.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Word {
    Work,
    Results,
    Tail,
    Head,
    Finished(u8),
    Todo(u8),
    /// Of 4: the state, function and items, input's length, whether it is timed.
    Task(u8, u8),
    /// Of 2: the progress, and when it was begun.
    Outcome(u8, u8),
    Note(u8),
    /// Anything before the slots: the segment's header, its members and directory.
    Any(u16),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Change {
    To(u64),
    Flip(u8),
    Add(i8),
    /// The lower half only: of a state, the upper one is the turn.
    Low(u8),
    /// A progress.
    Done(bool, u8, u16),
}

impl Board {
    /// That of the only pool, once the one before is gone: its manager's thread ends a moment later.
    pub fn find() -> Board {
        loop {
            if let Some(only) = BoardFile::only() {
                return Board(only);
            }
            std::thread::yield_now();
        }
    }

    pub fn strike(&self, word: Word, change: Change) {
        let board = &self.0;
        let at = match word {
            Word::Work => 0,
            Word::Tail => 128,
            Word::Head => 256,
            Word::Results => 384,
            Word::Finished(i) => 392 + 8 * u64::from(i % 16),
            Word::Todo(i) => 640 + 8 * (u64::from(i) % (2 * board.slots)),
            Word::Task(slot, i) => board.task(u64::from(slot) % USED) + 8 * u64::from(i % 4),
            Word::Outcome(slot, i) => board.outcome(u64::from(slot) % USED) + 8 * u64::from(i % 2),
            Word::Note(i) => board.task(board.slots) + 8 * u64::from(i % 2),
            Word::Any(at) => {
                return self.change(u64::from(at) * 8 % (board.offset + SLOTS), change);
            }
        };
        self.change(board.offset + at, change);
    }

    fn change(&self, at: u64, change: Change) {
        let old = self.0.segment_get(at);
        let new = match change {
            Change::To(n) => n,
            Change::Flip(bit) => old ^ 1 << (bit % 64),
            Change::Add(n) => old.wrapping_add_signed(n.into()),
            Change::Low(n) => old >> 32 << 32 | u64::from(n),
            Change::Done(last, items, bytes) => {
                u64::from(last) << 63 | u64::from(items) << 39 | u64::from(bytes)
            }
        };
        self.0.segment_put(at, &new.to_ne_bytes());
    }
}
