//! Tasks in the order in which they end.

use super::task::Task;
use crate::error::{Error, Result};
use crate::sys::deadline::Deadline;
use crate::sys::fork::forks;
use std::collections::VecDeque;
use std::fmt;
use std::iter::FusedIterator;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Wake, Waker};
use std::time::Duration;

/// The tasks, each as soon as it has come to its end, in whatever way: its [`get`](Task::get) does not wait. They may be of several pools.
///
/// It begins with those that have ended already. In a forked child it waits for none, and each task says why.
///
/// # Examples
/// ```
/// # commonhold::init_before_main!();
/// use commonhold::process::{Pool, as_completed};
///
/// let pool = Pool::new(2)?;
/// let tasks: Vec<_> = (0..10).map(|n| pool.submit(|n: u64| n * n, n)).collect::<Result<_, _>>()?;
/// let mut sum = 0;
/// for task in as_completed(tasks) {
///     sum += task.get()?;
/// }
/// assert_eq!(sum, 285);
/// # Ok::<(), commonhold::Error>(())
/// ```
pub fn as_completed<R>(tasks: impl IntoIterator<Item = Task<R>>) -> AsCompleted<R> {
    let ended = Arc::new(Ended::default());
    let wait = |(index, task): (usize, Task<R>)| {
        let end = Arc::new(End {
            index,
            ended: ended.clone(),
        });
        // In a forked child none ends: each says so.
        if !task.is_ours() || task.is_ready_or_wakes(&Waker::from(end)) {
            ended.say(index);
        }
        Some(task)
    };
    let tasks: Vec<_> = tasks.into_iter().enumerate().map(wait).collect();
    AsCompleted {
        forks: forks(),
        left: tasks.len(),
        tasks,
        ended,
    }
}

/// See [`as_completed`].
#[must_use = "nothing is waited for before the first task is asked for"]
pub struct AsCompleted<R> {
    /// `None`: was given.
    tasks: Vec<Option<Task<R>>>,
    left: usize,
    ended: Arc<Ended>,
    /// Where it was made.
    forks: u32,
}

/// Which tasks have ended and were not given.
#[derive(Debug, Default)]
struct Ended {
    indexes: Mutex<VecDeque<usize>>,
    one_more: Condvar,
}

/// Told when the task of that index ends.
struct End {
    index: usize,
    ended: Arc<Ended>,
}

impl Wake for End {
    fn wake(self: Arc<Self>) {
        self.ended.say(self.index);
    }
}

impl Ended {
    fn say(&self, index: usize) {
        let mut indexes = self.indexes.lock().unwrap_or_else(PoisonError::into_inner);
        indexes.push_back(index);
        self.one_more.notify_one();
    }

    fn next(&self, deadline: Deadline) -> Option<usize> {
        let mut indexes = self.indexes.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(index) = indexes.pop_front() {
                return Some(index);
            }
            if deadline.has_passed() {
                return None;
            }
            indexes = deadline.wait(&self.one_more, indexes);
        }
    }
}

impl<R> AsCompleted<R> {
    /// The next task that ends, if one does within `timeout`; otherwise `Some(Err(Timeout))`, and it comes later. `None`: all were given.
    pub fn next_timeout(&mut self, timeout: Duration) -> Option<Result<Task<R>>> {
        self.next_by(Deadline::after(timeout))
    }

    fn next_by(&mut self, deadline: Deadline) -> Option<Result<Task<R>>> {
        if self.forks != forks() {
            // Here none ends any more, and who held the lock is not here.
            let task = self.tasks.iter_mut().find_map(Option::take)?;
            self.left -= 1;
            return Some(Ok(task));
        }
        while self.left > 0 {
            let Some(index) = self.ended.next(deadline) else {
                return Some(Err(Error::Timeout));
            };
            if let Some(task) = self.tasks[index].take() {
                self.left -= 1;
                return Some(Ok(task));
            }
        }
        None
    }
}

impl<R> Iterator for AsCompleted<R> {
    type Item = Task<R>;

    fn next(&mut self) -> Option<Task<R>> {
        self.next_by(Deadline::NEVER)?.ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<R> ExactSizeIterator for AsCompleted<R> {}

impl<R> FusedIterator for AsCompleted<R> {}

impl<R> fmt::Debug for AsCompleted<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsCompleted")
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}
