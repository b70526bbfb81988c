//! What the pool knows of its tasks: which wait, which are on the board, and what becomes of them.
//!
//! It knows no threads, processes or memory: who calls it holds the lock, tells it what happened, moves the bytes and delivers the
//! results.
//!
//! | a chunk | is in | until |
//! |---|---|---|
//! | waits | `pending` | the board has a free slot: [`next`](State::next), then [`publish`](State::publish) |
//! | is in flight | `slots`, and the board | its worker finished or died, or nobody had begun it when it was cancelled |
//!
//! An item is run again only after a death that it is charged with, and at most `retries` times; those after it in its chunk, which
//! nobody had begun, go into a new chunk.

use super::job::{Chunk, Failure, Job, Piece};
use crate::error::Error;
use crate::raw::board::Place;
use crate::sys::pidfd::Exit;
use std::collections::VecDeque;
use std::sync::Arc;

/// What is to be handed to whom, once the lock is left.
pub(super) type Deliveries = Vec<(Arc<Job>, Piece)>;

/// Where a chunk is on the board.
pub(super) trait At: Copy + Eq {
    /// Which slot that is.
    fn slot(self) -> usize;
}

impl At for Place {
    fn slot(self) -> usize {
        self.index as usize
    }
}

#[derive(Debug)]
pub(super) struct State<P> {
    pending: VecDeque<Chunk>,
    /// What each slot of the board holds.
    slots: Vec<Option<(P, Chunk)>>,
    in_flight: usize,
    retries: u32,
    calls: Calls,
    /// Why nothing is run any more.
    ended: Option<Failure>,
}

/// What is taken on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Calls {
    Open,
    /// No new ones; those that were begun send their items.
    Closed,
    /// Nothing: all is done, and the workers go.
    Over,
}

/// Why a worker left a chunk before its end.
#[derive(Clone, Debug)]
pub(super) enum Left<P> {
    /// It died.
    Died(Exit),
    /// It said why it can't go on: of a panic it died, since this program's panics abort; or there is no room for the item's outcome.
    Panicked(Arc<Error>),
    /// It was killed because this item (counted from 0) of the chunk there ran for too long.
    TooLong(P, u32),
    /// It is done with it; if there are more items, it had run as many as it may, and did not begin the next.
    Done,
}

impl<P: At> State<P> {
    pub(super) fn new(slots: usize, retries: u32) -> State<P> {
        State {
            pending: VecDeque::new(),
            slots: (0..slots).map(|_| None).collect(),
            in_flight: 0,
            retries,
            calls: Calls::Open,
            ended: None,
        }
    }

    /// Whether a new call may begin.
    pub(super) fn admits(&self) -> Result<(), Failure> {
        match (&self.ended, self.calls) {
            (Some(why), _) => Err(why.clone()),
            (None, Calls::Open) => Ok(()),
            (None, _) => Err(Failure::Closed),
        }
    }

    /// No new calls.
    pub(super) fn close(&mut self) {
        if self.calls == Calls::Open {
            self.calls = Calls::Closed;
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.calls != Calls::Open || self.ended.is_some()
    }

    /// Why nothing is run any more.
    pub(super) fn ended(&self) -> Option<&Failure> {
        self.ended.as_ref()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// Whether all that was submitted has come to its end. If nothing more may come either, then nothing will.
    pub(super) fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.in_flight == 0
    }

    /// How many chunks are on the board.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Nothing is taken on any more. The caller has seen that it [is idle](Self::is_idle).
    pub(super) fn seal(&mut self) {
        self.calls = Calls::Over;
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.calls == Calls::Over
    }

    /// Takes a chunk on. `false`: nothing is run any more, and it failed.
    pub(super) fn submit(&mut self, chunk: Chunk, deliveries: &mut Deliveries) -> bool {
        let why = match (&self.ended, self.calls) {
            (Some(why), _) => why,
            (None, Calls::Over) => &Failure::Closed,
            (None, _) => {
                self.pending.push_back(chunk);
                return true;
            }
        };
        fail(chunk, why, deliveries);
        false
    }

    /// The next chunk for the board, which has a free slot.
    pub(super) fn next(&mut self) -> Option<Chunk> {
        loop {
            let chunk = self.pending.pop_front()?;
            if !chunk.job.is_cancelled() {
                return Some(chunk);
            }
        }
    }

    /// The board holds the chunk there.
    pub(super) fn publish(&mut self, at: P, chunk: Chunk) {
        self.slots[at.slot()] = Some((at, chunk));
        self.in_flight += 1;
    }

    /// The chunk could not be put on the board.
    pub(super) fn refuse(&mut self, chunk: Chunk, why: &Failure, deliveries: &mut Deliveries) {
        fail(chunk, why, deliveries);
    }

    /// The worker has left the slot after `done` items, whose outcomes these are.
    pub(super) fn left(
        &mut self,
        at: P,
        done: u32,
        outcomes: Result<Vec<u8>, Failure>,
        how: Left<P>,
        deliveries: &mut Deliveries,
    ) {
        let Some(chunk) = self.take(at) else {
            return;
        };
        let done = done.min(chunk.count());
        if done > 0 {
            settle(&chunk, done, outcomes, deliveries);
        }
        let Some(mut rest) = chunk.after(done) else {
            return;
        };
        let charge = match how {
            Left::Died(exit) => Failure::Died(exit),
            Left::Panicked(why) => Failure::Other(why),
            Left::TooLong(there, item) if (there, item) == (at, done) => Failure::TooLong,
            // The one that ran too long ended after all, before the kill; the next one is not to blame.
            Left::TooLong(..) => return self.again(rest),
            Left::Done if done > 0 => return self.again(rest),
            // Nobody takes up a chunk and leaves it as it is.
            Left::Done => Failure::Corrupt,
        };
        if rest.count() > 1 {
            let others = rest.split_off(1);
            self.again(others);
        }
        rest.deaths += 1;
        if rest.deaths > self.retries || !matches!(charge, Failure::Died(_)) {
            fail(rest, &charge, deliveries);
        } else {
            self.again(rest);
        }
    }

    /// It goes before all that waits: it was submitted before.
    fn again(&mut self, chunk: Chunk) {
        if !chunk.job.is_cancelled() {
            self.pending.push_front(chunk);
        }
    }

    /// Nothing of the job is begun any more. `take_back` takes a chunk back from the board, if nobody has begun it.
    pub(super) fn abandon(&mut self, job: &Arc<Job>, take_back: &mut dyn FnMut(P) -> bool) {
        job.set_cancelled();
        for slot in 0..self.slots.len() {
            if let Some(at) = self.is_in(slot, job) {
                if take_back(at) {
                    self.take(at);
                }
            }
        }
    }

    /// As [`abandon`](Self::abandon), for a job of one item. `false`: it runs or has run, and goes on as if nothing had been said.
    /// `true`: it will not run, and the caller says so to those who wait for it.
    pub(super) fn cancel(&mut self, job: &Arc<Job>, take_back: &mut dyn FnMut(P) -> bool) -> bool {
        if job.is_settled() || job.is_cancelled() {
            return false;
        }
        if let Some(at) = (0..self.slots.len()).find_map(|slot| self.is_in(slot, job)) {
            if !take_back(at) {
                return false;
            }
            self.take(at);
        }
        job.set_cancelled();
        true
    }

    /// Where the job is, if that slot holds some of it.
    fn is_in(&self, slot: usize, job: &Arc<Job>) -> Option<P> {
        let (at, chunk) = self.slots[slot].as_ref()?;
        Arc::ptr_eq(&chunk.job, job).then_some(*at)
    }

    fn take(&mut self, at: P) -> Option<Chunk> {
        let held = self.slots.get_mut(at.slot())?;
        let (_, chunk) = held.take_if(|(held, _)| *held == at)?;
        self.in_flight -= 1;
        Some(chunk)
    }

    /// Nothing is run any more: all that has not come to its end fails for this reason. The first reason stays.
    pub(super) fn end(&mut self, why: Failure, deliveries: &mut Deliveries) {
        let why = self.ended.get_or_insert(why);
        let in_flight = self.slots.iter_mut().filter_map(Option::take);
        for chunk in in_flight
            .map(|(_, chunk)| chunk)
            .chain(self.pending.drain(..))
        {
            if !chunk.job.is_cancelled() {
                fail(chunk, why, deliveries);
            }
        }
        self.in_flight = 0;
    }
}

fn fail(chunk: Chunk, why: &Failure, deliveries: &mut Deliveries) {
    settle(&chunk, chunk.count(), Err(why.clone()), deliveries);
}

/// That became of the first `count` items of the chunk.
fn settle(
    chunk: &Chunk,
    count: u32,
    outcomes: Result<Vec<u8>, Failure>,
    deliveries: &mut Deliveries,
) {
    chunk.job.set_settled();
    let piece = Piece {
        first: chunk.first,
        count,
        outcomes,
    };
    deliveries.push((chunk.job.clone(), piece));
}

#[cfg(test)]
mod tests;
