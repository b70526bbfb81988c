//! The results of many calls, one by one.

use super::stream::Stream;
use crate::error::Result;
use crate::sys::deadline::Deadline;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::iter::FusedIterator;
use std::time::Duration;

/// The results of [`Pool::imap`](super::Pool::imap) and [`Pool::imap_unordered`](super::Pool::imap_unordered), as they come.
///
/// The first [`next`](Iterator::next) begins the work. Items are drawn in the thread that asks for results, a few for each worker ahead
/// of it; many, if they are short. So the input may be endless, and what is held in memory stays bounded.
///
/// Each item has a result of its own: after an `Err` the others come. Dropped before its end, it draws nothing more,
/// and groups that no worker has begun do not run.
#[must_use = "nothing is run before the first result is asked for"]
pub struct Imap<'p, I: Iterator, R> {
    stream: Stream<'p, I, R>,
}

impl<'p, I, R> Imap<'p, I, R>
where
    I: Iterator,
    I::Item: Serialize,
    R: DeserializeOwned,
{
    pub(super) fn new(stream: Stream<'p, I, R>) -> Self {
        Imap { stream }
    }

    /// Sends items to the workers in groups of this size; 0 counts as 1.
    ///
    /// Without it the size follows from how long items take: long ones go alone, short ones in groups that take some
    /// 200 us. The items of a group run one after another, in one worker.
    pub fn chunk_size(mut self, items: usize) -> Self {
        self.stream.set_chunk(items);
        self
    }

    /// The next result, if it comes within `timeout`; otherwise `Some(Err(Timeout))`, and it comes later.
    pub fn next_timeout(&mut self, timeout: Duration) -> Option<Result<R>> {
        self.stream.next_by(Deadline::after(timeout))
    }
}

impl<I, R> Iterator for Imap<'_, I, R>
where
    I: Iterator,
    I::Item: Serialize,
    R: DeserializeOwned,
{
    type Item = Result<R>;

    fn next(&mut self) -> Option<Result<R>> {
        self.stream.next_by(Deadline::NEVER)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.stream.size_hint()
    }
}

// After the end of the input nothing is drawn from it again.
impl<I, R> FusedIterator for Imap<'_, I, R>
where
    I: Iterator,
    I::Item: Serialize,
    R: DeserializeOwned,
{
}

impl<I: Iterator, R> fmt::Debug for Imap<'_, I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Imap").field(&self.stream).finish()
    }
}
