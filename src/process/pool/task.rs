//! One submitted task.

use super::core::Core;
use super::job::{Failure, Job, Piece};
use crate::error::{Error, Result};
use crate::sys::deadline::Deadline;
use serde::de::DeserializeOwned;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// A call that a [`Pool`](super::Pool) was given by [`submit`](super::Pool::submit), and its result.
///
/// It is also a future, for any runtime. Dropping it does not stop the call: it runs, and its result is dropped. Each
/// [`get`](Self::get) decodes a value of its own, so that several threads may ask.
///
/// # When a worker dies
/// With this call in hand: it is run again, as often as the pool's [`retries`](super::PoolBuilder::retries) allow, and then it is an
/// [`Err(WorkerDied)`](crate::Error::WorkerDied). With another: nothing.
///
/// # Errors
/// [`Panicked`](crate::Error::Panicked), [`WorkerDied`](crate::Error::WorkerDied), [`TookTooLong`](crate::Error::TookTooLong) (the pool's
/// [deadline](super::PoolBuilder::deadline)), [`Timeout`](crate::Error::Timeout) (this call's time), [`Cancelled`](crate::Error::Cancelled),
/// [`InitializerFailed`](crate::Error::InitializerFailed), and [`NotEncodable`](crate::Error::NotEncodable) or
/// [`NotDecodable`](crate::Error::NotDecodable) of an argument or result that serde can't write or read.
///
/// # Examples
/// ```
/// # commonhold::init_before_main!();
/// use commonhold::process::Pool;
///
/// let pool = Pool::new(2)?;
/// let nine = pool.submit(|n: u64| n * n, 3)?;
/// let sixteen = pool.submit(|n: u64| n * n, 4)?;
/// assert_eq!(nine.get()? + sixteen.get()?, 25);
/// # Ok::<(), commonhold::Error>(())
/// ```
pub struct Task<R> {
    job: Arc<Job>,
    id: u64,
    pool: Weak<Core>,
    _result: PhantomData<fn() -> R>,
}

impl<R> Task<R> {
    pub(super) fn new(job: Arc<Job>, id: u64, pool: Weak<Core>) -> Task<R> {
        Task {
            job,
            id,
            pool,
            _result: PhantomData,
        }
    }

    /// Its number: how many were submitted to the pool before it.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Whether it has come to its end, in whatever way: [`get`](Self::get) does not wait.
    pub fn is_ready(&self) -> bool {
        self.job.try_result().is_some()
    }

    /// In a forked child it does not end.
    fn check_is_ours(&self) -> Result<()> {
        // Without a pool it is over.
        self.pool
            .upgrade()
            .map_or(Ok(()), |pool| pool.check_is_ours())
    }

    /// Whether this is the process that submitted it.
    pub(super) fn is_ours(&self) -> bool {
        self.check_is_ours().is_ok()
    }

    /// Whether it has come to its end; if not, the waker is woken then.
    pub(super) fn is_ready_or_wakes(&self, waker: &Waker) -> bool {
        self.job.poll_result(waker).is_some()
    }

    /// Keeps it from running: `true`, and it is an [`Err(Cancelled)`](crate::Error::Cancelled). `false`: a worker has begun
    /// it, or it is over, and nothing changes.
    pub fn cancel(&self) -> bool {
        let cancelled = self
            .pool
            .upgrade()
            .is_some_and(|pool| pool.cancel(&self.job));
        if cancelled {
            self.job.deliver(Piece {
                first: self.id,
                count: 1,
                outcomes: Err(Failure::Cancelled),
            });
        }
        cancelled
    }
}

impl<R: DeserializeOwned> Task<R> {
    /// Its result, once it is there.
    pub fn get(&self) -> Result<R> {
        self.get_by(Deadline::NEVER, Error::Timeout)
    }

    /// Its result if it is there; [`WouldBlock`](crate::Error::WouldBlock) otherwise.
    pub fn try_get(&self) -> Result<R> {
        self.get_by(Deadline::PASSED, Error::WouldBlock)
    }

    /// Its result, if it is there within `timeout`; [`Timeout`](crate::Error::Timeout) otherwise, and the task goes on.
    pub fn get_timeout(&self, timeout: Duration) -> Result<R> {
        self.get_by(Deadline::after(timeout), Error::Timeout)
    }

    fn get_by(&self, deadline: Deadline, too_late: Error) -> Result<R> {
        if !self.is_ready() {
            self.check_is_ours()?;
        }
        match self.job.result(deadline) {
            Some(piece) => piece.only(),
            None => Err(too_late),
        }
    }
}

impl<R: DeserializeOwned> Future for Task<R> {
    type Output = Result<R>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<R>> {
        if !self.is_ready() {
            self.check_is_ours()?;
        }
        match self.job.poll_result(cx.waker()) {
            Some(piece) => Poll::Ready(piece.only()),
            None => Poll::Pending,
        }
    }
}

impl<R> fmt::Debug for Task<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("id", &self.id)
            .field("is_ready", &self.is_ready())
            .finish()
    }
}
