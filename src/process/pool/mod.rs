//! Pools of worker processes.

mod begun;
mod board;
mod builder;
mod completed;
mod core;
mod crew;
mod functions;
mod imap;
mod items;
mod job;
mod manager;
mod pace;
mod spill;
mod state;
mod stream;
mod task;
mod worker;

pub use builder::PoolBuilder;
pub use completed::{AsCompleted, as_completed};
pub use imap::Imap;
pub use task::Task;

use self::core::Core;
use crate::error::{Error, Result};
use crate::process::call::Call;
use crate::process::function::Function;
use crate::sys::deadline::Deadline;
use items::Items;
use job::Failure;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use stream::{Order, Stream};

/// Processes that run functions for this one: what a pool of threads is for, and a crash of one costs only what it was at.
///
/// A task is [a function of this program and an argument](super#what-can-be-run) that serde can write; what it returns comes back in the same way. The workers
/// are this program started again, so [`init`](fn@super::init) is the first line of `main`. They have this process's environment, standard
/// output and standard error; their standard input is empty.
///
/// | | gives | order |
/// |---|---|---|
/// | [`map`](Self::map), [`starmap`](Self::starmap) | all results, in a `Vec` | of the items |
/// | [`imap`](Self::imap) | one result after another | of the items |
/// | [`imap_unordered`](Self::imap_unordered) | one result after another | as they come |
/// | [`for_each`](Self::for_each) | nothing | |
/// | [`apply`](Self::apply) | one result | |
/// | [`submit`](Self::submit) | a [`Task`], which is a future, too | |
///
/// All may be called by any number of threads at a time.
///
/// # When a process dies
/// A worker, at any instruction: the task that it was at is run again, as often as [`retries`](PoolBuilder::retries) allow, and then is
/// an [`Err(WorkerDied)`](crate::Error::WorkerDied) with its number (of a [`Task`] its [`id`](Task::id), of an item of a `map` its place,
/// from 0). Nothing else fails, and no result comes twice. Another worker takes its place.
///
/// The process that has the pool, in whatever way: its workers are killed, and nothing of the pool is left.
///
/// # Fairness
/// Tasks are begun in the order in which they were submitted; those that are run again go first. Of two `map`s at a time both get on.
///
/// # The end
/// [`close`](Self::close) refuses new calls, [`join`](Self::join) waits for what was begun, [`join_timeout`](Self::join_timeout) so long;
/// [`terminate`](Self::terminate) kills. Dropping the pool is `close` and `join`: it waits for all that was submitted. While a panic unwinds, it is
/// `terminate` and `join`. Ended by [`std::process::exit`], the program waits for nothing: the workers die with it.
///
/// # Errors
/// Of a task: [`Panicked`](crate::Error::Panicked), with the message and the backtrace; [`WorkerDied`](crate::Error::WorkerDied);
/// [`TookTooLong`](crate::Error::TookTooLong); [`NotEncodable`](crate::Error::NotEncodable) and
/// [`NotDecodable`](crate::Error::NotDecodable) of arguments and results; [`Cancelled`](crate::Error::Cancelled). Of a pool:
/// [`Closed`](crate::Error::Closed); [`InitializerFailed`](crate::Error::InitializerFailed), which is also what comes if worker after worker dies
/// before it is ready.
///
/// # Examples
/// ```
/// use commonhold::process::{self, Pool};
///
/// fn is_prime(n: u64) -> bool {
///     n > 1 && (2..).take_while(|d| d * d <= n).all(|d| n % d != 0)
/// }
///
/// fn main() -> commonhold::Result<()> {
///     process::init();
///     let pool = Pool::new(4)?;
///     let primes = pool.map(is_prime, 0..1000)?;
///     assert_eq!(primes.iter().filter(|p| **p).count(), 168);
///
///     // A worker that crashes costs its own task.
///     let crash = pool.submit(|_: ()| -> () { std::process::abort() }, ())?;
///     println!("{}", crash.get().unwrap_err());
///     assert!(pool.apply(is_prime, 97)?);
///     Ok(())
/// }
/// ```
pub struct Pool {
    core: Arc<Core>,
}

impl Pool {
    /// A pool of so many workers, 1 to 1,000.
    pub fn new(workers: usize) -> Result<Pool> {
        Pool::builder().workers(workers).build()
    }

    /// A pool with more settings.
    pub fn builder() -> PoolBuilder {
        PoolBuilder::new()
    }

    /// How many workers it has. One that died counts: another takes its place.
    pub fn workers(&self) -> usize {
        self.core.settings.workers
    }

    /// The processes that are its workers as things are.
    pub fn pids(&self) -> Vec<u32> {
        if !self.core.is_ours() {
            return Vec::new();
        }
        let locked = self.core.lock();
        locked
            .crew
            .iter()
            .map(|worker| worker.child.pid())
            .collect()
    }

    /// Runs `f` on each item; the results in the order of the items.
    ///
    /// All items are run, also when one fails: then the error is the first one, in the order of the items. [`imap`](Self::imap) gives each
    /// item's own.
    pub fn map<A, R>(&self, f: fn(A) -> R, items: impl IntoIterator<Item = A>) -> Result<Vec<R>>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        self.results_of(f, items)
    }

    /// As [`map`](Self::map), of a function without a result.
    pub fn for_each<A>(&self, f: fn(A), items: impl IntoIterator<Item = A>) -> Result<()>
    where
        A: Serialize + DeserializeOwned + 'static,
    {
        let mut first = Ok(());
        for done in self.stream(f, items, Order::AsGiven) {
            first = first.and(done);
        }
        first
    }

    /// Runs `f` on each item; the results one after another, in the order of the items.
    ///
    /// The input may be endless: see [`Imap`].
    pub fn imap<A, R, I>(&self, f: fn(A) -> R, items: I) -> Imap<'_, I::IntoIter, R>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = A>,
    {
        self.stream(f, items, Order::AsGiven)
    }

    /// Runs `f` on each item; the results one after another, as they come: one that takes long holds up no other.
    pub fn imap_unordered<A, R, I>(&self, f: fn(A) -> R, items: I) -> Imap<'_, I::IntoIter, R>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = A>,
    {
        self.stream(f, items, Order::AsReady)
    }

    /// Runs `f`, and waits for its result. Several arguments are a tuple.
    pub fn apply<A, R>(&self, f: fn(A) -> R, args: A) -> Result<R>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        self.submit(f, args)?.get()
    }

    /// Has `f` run, and does not wait. Several arguments are a tuple.
    pub fn submit<A, R>(&self, f: fn(A) -> R, args: A) -> Result<Task<R>>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        let function = Function::of(f)?;
        let mut items = Items::default();
        items.write(|items| items.encode(&args))?;
        let (job, id) = self.core.submit_task(function, items)?;
        Ok(Task::new(job, id, Arc::downgrade(&self.core)))
    }

    /// Refuses new calls from here on: they get [`Closed`](crate::Error::Closed). Those that were begun go on.
    pub fn close(&self) {
        if self.core.is_ours() {
            self.core.close();
        }
    }

    /// Waits until all that was submitted is over and the workers have ended, after [`close`](Self::close) or
    /// [`terminate`](Self::terminate); before them it is an error.
    ///
    /// An iterator that has not drawn all its items by then draws no more: it gives [`Closed`](crate::Error::Closed).
    ///
    /// # Errors
    /// [`InitializerFailed`](crate::Error::InitializerFailed) if that ended the pool.
    pub fn join(&self) -> Result<()> {
        self.core.join(Deadline::NEVER, Error::Timeout)
    }

    /// As [`join`](Self::join), at once: [`WouldBlock`](crate::Error::WouldBlock) if something is under way.
    pub fn try_join(&self) -> Result<()> {
        self.core.join(Deadline::PASSED, Error::WouldBlock)
    }

    /// As [`join`](Self::join), waiting at most `timeout`: [`Timeout`](crate::Error::Timeout), and what is under way goes on.
    pub fn join_timeout(&self, timeout: Duration) -> Result<()> {
        self.core.join(Deadline::after(timeout), Error::Timeout)
    }

    /// Kills the workers. What is not over by now is [`Cancelled`](crate::Error::Cancelled), and so is what is asked for later.
    pub fn terminate(&self) {
        if self.core.is_ours() {
            self.core.end(Failure::Cancelled);
        }
    }

    fn stream<C, I>(&self, f: C, items: I, order: Order) -> Imap<'_, I::IntoIter, C::Output>
    where
        C: Call,
        C::Args: Serialize + DeserializeOwned,
        C::Output: Serialize + DeserializeOwned,
        I: IntoIterator<Item = C::Args>,
    {
        let function = Function::of(f);
        Imap::new(Stream::new(&self.core, function, items.into_iter(), order))
    }

    fn results_of<C, I>(&self, f: C, items: I) -> Result<Vec<C::Output>>
    where
        C: Call,
        C::Args: Serialize + DeserializeOwned,
        C::Output: Serialize + DeserializeOwned,
        I: IntoIterator<Item = C::Args>,
    {
        let mut results = Vec::new();
        let mut failed = None;
        for result in self.stream(f, items, Order::AsGiven) {
            match result {
                Ok(result) if failed.is_none() => results.push(result),
                Ok(_) => {}
                Err(e) => {
                    failed.get_or_insert(e);
                }
            }
        }
        failed.map_or(Ok(results), Err)
    }
}

macro_rules! starmap {
    ($($name:ident, $count:literal, ($($type:ident),*);)*) => {
        impl Pool {
            $(
                #[doc = concat!("As [`map`](Self::map), of a function of ", $count, " arguments: each item is a tuple of these.")]
                pub fn $name<$($type,)* R>(
                    &self,
                    f: fn($($type),*) -> R,
                    items: impl IntoIterator<Item = ($($type),*)>,
                ) -> Result<Vec<R>>
                where
                    $($type: Serialize + DeserializeOwned + 'static,)*
                    R: Serialize + DeserializeOwned + 'static,
                {
                    self.results_of(f, items)
                }
            )*
        }
    };
}

starmap! {
    starmap, "two", (A, B);
    starmap3, "three", (A, B, C);
    starmap4, "four", (A, B, C, D);
    starmap5, "five", (A, B, C, D, E);
    starmap6, "six", (A, B, C, D, E, F);
}

impl Drop for Pool {
    fn drop(&mut self) {
        if !self.core.is_ours() {
            return;
        }
        if std::thread::panicking() {
            self.core.end(Failure::Cancelled);
        }
        self.core.close();
        // What ended it was told to those who waited for results.
        let _ = self.core.join(Deadline::NEVER, Error::Timeout);
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = &self.core.settings;
        f.debug_struct("Pool")
            .field("name", &settings.name)
            .field("workers", &settings.workers)
            .field("retries", &settings.retries)
            .field("deadline", &settings.deadline)
            .finish_non_exhaustive()
    }
}
