//! The items of one call on their way through the pool, and their results on the way back.

use super::core::Core;
use super::items::Items;
use super::job::{Chunk, Failure, Job, Piece, Results};
use super::pace::Pace;
use crate::error::{Error, Result};
use crate::process::function::Function;
use crate::sys::deadline::{Deadline, now};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// Which result comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// That of the item after the last one.
    AsGiven,
    /// Any that is there.
    AsReady,
}

/// Draws items, and gives their results.
pub(super) struct Stream<'p, I: Iterator, R> {
    pool: &'p Arc<Core>,
    /// Its index in the pool's file; or why there is nothing to run, until that is told.
    function: Result<u32, Option<Error>>,
    order: Order,
    /// `None` when all were drawn.
    input: Option<I>,
    job: Arc<Job>,
    pace: Pace,
    /// How many items are on their way or were given.
    drawn: u64,
    /// How many results were given.
    given: u64,
    /// What has arrived, the oldest last.
    arrived: Vec<Piece>,
    /// What has arrived before its turn.
    early: BTreeMap<u64, Piece>,
    /// The piece that is being given.
    giving: Option<Results>,
    _result: PhantomData<fn() -> R>,
}

impl<'p, I, R> Stream<'p, I, R>
where
    I: Iterator,
    I::Item: Serialize,
    R: DeserializeOwned,
{
    pub(super) fn new(
        pool: &'p Arc<Core>,
        function: Result<Function>,
        input: I,
        order: Order,
    ) -> Self {
        let function = function.and_then(|f| pool.begin(f));
        Stream {
            pool,
            input: function.is_ok().then_some(input),
            function: function.map_err(Some),
            order,
            job: Arc::new(Job::stream()),
            pace: pool.pace(None),
            drawn: 0,
            given: 0,
            arrived: Vec::new(),
            early: BTreeMap::new(),
            giving: None,
            _result: PhantomData,
        }
    }

    pub(super) fn set_chunk(&mut self, size: usize) {
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        self.pace = self.pool.pace(Some(size));
    }

    /// The next result; `Err(Timeout)` if it does not come in time: it comes later.
    pub(super) fn next_by(&mut self, deadline: Deadline) -> Option<Result<R>> {
        if let Err(e) = self.pool.check_is_ours() {
            // In a forked child nothing comes any more. It says so once.
            let was_over = self.input.take().is_none() && self.given == self.drawn;
            self.given = self.drawn;
            return (!was_over).then_some(Err(e));
        }
        loop {
            if let Some(result) = self.giving.as_mut().and_then(Results::next) {
                self.given += 1;
                return Some(result);
            }
            self.draw();
            self.giving = self.next_piece().map(Results::of);
            if self.giving.is_some() {
                continue;
            }
            if self.given == self.drawn {
                return self.function.as_mut().err()?.take().map(Err);
            }
            if !self.await_pieces(deadline) {
                return Some(Err(Error::Timeout));
            }
        }
    }

    /// How many results are to come, at least and at most.
    pub(super) fn size_hint(&self) -> (usize, Option<usize>) {
        let ahead = (self.drawn - self.given) as usize;
        match &self.input {
            None => (ahead, Some(ahead + 1)),
            // An error may come instead of the rest.
            Some(input) => (
                ahead,
                input.size_hint().1.and_then(|n| n.checked_add(ahead + 1)),
            ),
        }
    }

    fn next_piece(&mut self) -> Option<Piece> {
        let turn = match self.order {
            Order::AsReady => self.arrived.pop()?,
            Order::AsGiven => loop {
                match self.arrived.pop() {
                    Some(piece) if piece.first == self.given => break piece,
                    Some(piece) => drop(self.early.insert(piece.first, piece)),
                    None => break self.early.remove(&self.given)?,
                }
            },
        };
        Some(turn)
    }

    fn await_pieces(&mut self, deadline: Deadline) -> bool {
        if !self.job.take(&mut self.arrived, deadline) {
            return false;
        }
        let items = self.arrived.iter().map(|piece| u64::from(piece.count));
        self.pace.arrived(items.sum(), now());
        let (mut bytes, mut items) = (0, 0);
        for piece in &self.arrived {
            if let Ok(outcomes) = &piece.outcomes {
                bytes += outcomes.len();
                items += u64::from(piece.count);
            }
        }
        self.pace.took(bytes, items);
        self.arrived.reverse();
        true
    }

    /// Sends more items on their way, as many as keep the workers busy.
    fn draw(&mut self) {
        let window = self.pace.window();
        // In gulps: each takes the pool's lock.
        if self.drawn - self.given > window - window.div_ceil(4) {
            return;
        }
        // If drawing an item panics, the others are not drawn either.
        let (Some(mut input), Ok(function)) = (self.input.take(), &self.function) else {
            return;
        };
        let function = *function;
        let (mut chunks, mut failed) = (Vec::new(), Vec::new());
        let mut drawn = self.drawn;
        let mut more = true;
        while more && drawn - self.given < window {
            let left = input.size_hint().1.unwrap_or(usize::MAX);
            let size = self.pace.size(left);
            let mut items = Items::default();
            let first = drawn;
            more = items.write(|items| self.fill(items, size, &mut input, &mut drawn, &mut failed));
            if items.count() > 0 {
                chunks.push(Chunk {
                    job: self.job.clone(),
                    function,
                    first,
                    items,
                    deaths: 0,
                });
            }
        }
        if more {
            self.input = Some(input);
        }
        self.drawn = drawn;
        // Only now that they count as drawn.
        for piece in failed {
            self.job.deliver(piece);
        }
        // What was drawn comes back with the reason; the rest is not drawn.
        if !self.pool.submit(chunks) {
            self.input = None;
        }
    }

    /// Draws up to `size` items into `items`; fewer, if they are large or one can't be encoded, which goes into `failed`. `false`: there are no more.
    fn fill(
        &self,
        items: &mut Items,
        size: u32,
        input: &mut I,
        drawn: &mut u64,
        failed: &mut Vec<Piece>,
    ) -> bool {
        // The next one is taken to be as long as the last: if it is longer, it goes on in the spill, which costs some system calls.
        let mut last = 0;
        while items.count() < size && items.bytes().len() + last <= self.pool.room() {
            let Some(item) = input.next() else {
                return false;
            };
            let before = items.bytes().len();
            let encoded = items.encode(&item);
            last = items.bytes().len() - before;
            *drawn += 1;
            if let Err(e) = encoded {
                failed.push(Piece {
                    first: *drawn - 1,
                    count: 1,
                    outcomes: Err(Failure::Other(Arc::new(e))),
                });
                break;
            }
        }
        true
    }
}

impl<I: Iterator, R> Drop for Stream<'_, I, R> {
    fn drop(&mut self) {
        if self.given < self.drawn {
            self.pool.abandon(&self.job);
        }
    }
}

impl<I: Iterator, R> fmt::Debug for Stream<'_, I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("order", &self.order)
            .field("drawn", &self.drawn)
            .field("given", &self.given)
            .finish_non_exhaustive()
    }
}
