//! Where the results of one call arrive, and who waits for them.

use super::items::Items;
use crate::error::{Error, Result};
use crate::process::outcome::take_outcome;
use crate::sys::deadline::Deadline;
use crate::sys::pidfd::Exit;
use serde::de::DeserializeOwned;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;

/// Why a task has no result.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// The workers that ran it died, as often as the retries allow; the last one so.
    Died(Exit),
    /// It ran for longer than the pool's deadline.
    TooLong,
    /// It was cancelled before it ran, or the pool was terminated.
    Cancelled,
    /// It came after the pool was closed.
    Closed,
    /// Why the pool's workers can't begin.
    NotInitialised(Arc<Error>),
    /// The region was scribbled on.
    Corrupt,
    /// It could not be handed to a worker, or its result could not be handed back.
    Other(Arc<Error>),
}

impl Failure {
    /// Of the task of that number.
    pub(super) fn error(&self, task: u64) -> Error {
        match self {
            Failure::Died(exit) => Error::WorkerDied {
                task,
                signal: match exit {
                    Exit::Signal(signal) => Some(*signal),
                    Exit::Code(_) | Exit::Unknown => None,
                },
            },
            Failure::TooLong => Error::TookTooLong { task },
            Failure::Cancelled => Error::Cancelled,
            Failure::Closed => Error::Closed,
            Failure::NotInitialised(why) => Error::InitializerFailed(why.clone()),
            Failure::Corrupt => Error::Corrupt,
            Failure::Other(why) => again(why),
        }
    }
}

/// The same error once more, as far as errors can be copied.
fn again(error: &Error) -> Error {
    match error {
        Error::Panicked { message, backtrace } => Error::Panicked {
            message: message.clone(),
            backtrace: backtrace.clone(),
        },
        Error::NotEncodable { type_name, reason } => Error::NotEncodable {
            type_name: type_name.clone(),
            reason: reason.clone(),
        },
        Error::OutOfSpace {
            requested,
            available,
            place,
        } => Error::OutOfSpace {
            requested: *requested,
            available: *available,
            place: *place,
        },
        Error::TooLarge { requested, limit } => Error::TooLarge {
            requested: *requested,
            limit: *limit,
        },
        Error::Corrupt => Error::Corrupt,
        Error::Io(e) => match e.raw_os_error() {
            Some(number) => std::io::Error::from_raw_os_error(number).into(),
            None => Error::Io(std::io::Error::new(e.kind(), e.to_string())),
        },
        other => Error::Io(std::io::Error::other(other.to_string())),
    }
}

/// What became of some items in a row.
#[derive(Debug)]
pub(super) struct Piece {
    /// The first item's place in its call.
    pub(super) first: u64,
    pub(super) count: u32,
    /// The outcomes, one after another, as the worker wrote them; or why there are none.
    pub(super) outcomes: Result<Vec<u8>, Failure>,
}

/// Some items of one call, which a worker runs one after another.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) job: Arc<Job>,
    pub(super) function: u32,
    /// The first item's place in its call.
    pub(super) first: u64,
    pub(super) items: Items,
    /// How many workers died with the first item.
    pub(super) deaths: u32,
}

impl Chunk {
    pub(super) fn count(&self) -> u32 {
        self.items.count()
    }

    /// Keeps the first `count` items, and gives those after them, which nobody began.
    pub(super) fn split_off(&mut self, count: u32) -> Chunk {
        let items = self.items.split_off(count);
        Chunk {
            job: self.job.clone(),
            function: self.function,
            first: self.first + u64::from(self.count()),
            items,
            deaths: 0,
        }
    }

    /// Without its first `count` items; `None` if there are no others.
    pub(super) fn after(mut self, count: u32) -> Option<Chunk> {
        if count == 0 {
            return Some(self);
        }
        (count < self.count()).then(|| self.split_off(count))
    }
}

/// One call of the pool's user: a task, or all items of a map.
#[derive(Debug)]
pub(super) struct Job {
    /// What became of a task; a stream's pieces go into the inbox.
    result: Option<OnceLock<Piece>>,
    inbox: Mutex<Inbox>,
    arrived: Condvar,
    cancelled: AtomicBool,
    settled: AtomicBool,
}

#[derive(Debug, Default)]
struct Inbox {
    pieces: Vec<Piece>,
    /// Somebody may be asleep that was not woken since.
    asleep: bool,
    waker: Option<Waker>,
}

impl Job {
    /// A call with one result, which stays.
    pub(super) fn task() -> Job {
        Job::with(Some(OnceLock::new()))
    }

    /// A call with many results, which are taken as they come.
    pub(super) fn stream() -> Job {
        Job::with(None)
    }

    fn with(result: Option<OnceLock<Piece>>) -> Job {
        Job {
            result,
            inbox: Mutex::default(),
            arrived: Condvar::new(),
            cancelled: AtomicBool::new(false),
            settled: AtomicBool::new(false),
        }
    }

    /// Nothing more of it is to be begun.
    pub(super) fn set_cancelled(&self) {
        // Relaxed: the state's lock is held here and where it is read.
        self.cancelled.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Some of it has come to its end, and is delivered soon.
    pub(super) fn set_settled(&self) {
        // Relaxed: as above.
        self.settled.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Relaxed)
    }

    /// Hands over what became of some items, and wakes who waits for it.
    pub(super) fn deliver(&self, piece: Piece) {
        let mut inbox = self.inbox();
        match &self.result {
            // A task has one result, and the first stays.
            Some(result) => drop(result.set(piece)),
            None => inbox.pieces.push(piece),
        }
        let waker = inbox.waker.take();
        // Without this look each result would cost a system call, and so would those that come before a sleeper is awake.
        let asleep = std::mem::take(&mut inbox.asleep);
        drop(inbox);
        if asleep {
            self.arrived.notify_all();
        }
        if let Some(waker) = waker {
            // It is the user's code, and this may be the thread that all results come through. A panic has been reported.
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
                // A payload is any value, and its drop may panic in turn.
                std::mem::forget(payload);
            }
        }
    }

    /// Takes all that has arrived, once there is something; `false`: not before the deadline.
    pub(super) fn take(&self, pieces: &mut Vec<Piece>, deadline: Deadline) -> bool {
        let Some(mut inbox) = self.wait_for_some(deadline) else {
            return false;
        };
        if pieces.is_empty() {
            std::mem::swap(pieces, &mut inbox.pieces);
        } else {
            pieces.append(&mut inbox.pieces);
        }
        true
    }

    /// What became of the task, once it is known; `None`: not before the deadline.
    pub(super) fn result(&self, deadline: Deadline) -> Option<&Piece> {
        if self.try_result().is_none() {
            drop(self.wait_for_some(deadline)?);
        }
        self.try_result()
    }

    /// What became of the task, if it is known.
    pub(super) fn try_result(&self) -> Option<&Piece> {
        self.result.as_ref()?.get()
    }

    /// As [`try_result`](Self::try_result), or has `waker` woken when it is known.
    pub(super) fn poll_result(&self, waker: &Waker) -> Option<&Piece> {
        let mut inbox = self.inbox();
        if !self.has_arrived(&inbox) {
            match &mut inbox.waker {
                Some(kept) => kept.clone_from(waker),
                none => *none = Some(waker.clone()),
            }
        }
        self.try_result()
    }

    fn has_arrived(&self, inbox: &Inbox) -> bool {
        !inbox.pieces.is_empty() || self.try_result().is_some()
    }

    fn wait_for_some(&self, deadline: Deadline) -> Option<MutexGuard<'_, Inbox>> {
        let mut inbox = self.inbox();
        while !self.has_arrived(&inbox) {
            if deadline.has_passed() {
                return None;
            }
            inbox.asleep = true;
            inbox = deadline.wait(&self.arrived, inbox);
        }
        Some(inbox)
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        // Nothing in the lock can panic half-way through a change.
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The results of a piece, one after another.
#[derive(Debug)]
pub(super) struct Results {
    piece: Piece,
    given: u32,
    at: usize,
}

impl Results {
    pub(super) fn of(piece: Piece) -> Results {
        Results {
            piece,
            given: 0,
            at: 0,
        }
    }

    /// The next result; `None` after the last.
    #[inline]
    pub(super) fn next<R: DeserializeOwned>(&mut self) -> Option<Result<R>> {
        if self.given == self.piece.count {
            return None;
        }
        let item = self.piece.first + u64::from(self.given);
        self.given += 1;
        let bytes = match &self.piece.outcomes {
            Ok(bytes) => bytes,
            Err(why) => return Some(Err(why.error(item))),
        };
        let mut rest = &bytes[self.at..];
        let result = take_outcome(&mut rest);
        self.at = bytes.len() - rest.len();
        Some(result)
    }
}

impl Piece {
    /// The result of the only item.
    pub(super) fn only<R: DeserializeOwned>(&self) -> Result<R> {
        match &self.outcomes {
            Ok(bytes) => take_outcome(&mut &bytes[..]),
            Err(why) => Err(why.error(self.first)),
        }
    }
}
