//! How a pool is made.

use super::Pool;
use super::core::{Core, Settings};
use super::job::Failure;
use super::manager::Manager;
use super::worker::{self, Initializer, Orders};
use crate::encoding::encode;
use crate::error::{Error, Result};
use crate::process::call::Call;
use crate::process::function::Function;
use crate::raw::board::WORKERS;
use crate::segment::travel::noting_segments;
use crate::sys::thread::spawn_quietly;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;

/// A pool that is to be made; see [`Pool::builder`].
#[derive(Debug)]
#[must_use = "no pool is made before `build`"]
pub struct PoolBuilder {
    name: String,
    workers: Option<usize>,
    retries: u32,
    deadline: Option<Duration>,
    max_tasks: Option<u64>,
    initializer: Option<Result<Initializer>>,
}

impl PoolBuilder {
    pub(super) fn new() -> PoolBuilder {
        PoolBuilder {
            name: "Pool".to_owned(),
            workers: None,
            retries: 0,
            deadline: None,
            max_tasks: None,
            initializer: None,
        }
    }

    /// How many processes run tasks: 1 to 1,000. Without it, as many as this process has cores to run on.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// What the workers are called: this, `-`, and a number. Without it, `Pool`.
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// How often a task is run again after its worker died with it; 0 without this. One that panics is not run again.
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// How long a task may run, from its begin. The worker of one that runs for longer is killed, and the task is an
    /// [`Err(TookTooLong)`](crate::Error::TookTooLong): it is not run again.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// After how many tasks a worker ends and another takes its place: for functions that leak. Each item of a `map` counts.
    pub fn max_tasks_per_worker(mut self, tasks: u64) -> Self {
        self.max_tasks = Some(tasks);
        self
    }

    /// What each worker runs before its first task. If it panics, the pool is of no use: all tasks are
    /// [`Err(InitializerFailed)`](crate::Error::InitializerFailed), with what it said.
    pub fn initializer(self, f: fn()) -> Self {
        self.begin_with(f, &())
    }

    /// As [`initializer`](Self::initializer), with an argument.
    pub fn initializer_with<A>(self, f: fn(A), args: A) -> Self
    where
        A: Serialize + DeserializeOwned + 'static,
    {
        self.begin_with(f, &args)
    }

    fn begin_with<C: Call<Output = ()>>(mut self, f: C, args: &C::Args) -> Self
    where
        C::Args: Serialize + DeserializeOwned,
    {
        let initializer = Function::of(f).and_then(|function| {
            let mut bytes = Vec::new();
            let (encoded, segments) = noting_segments(|| encode(args, &mut bytes));
            encoded?;
            Ok(Initializer {
                function,
                args: bytes,
                segments,
            })
        });
        self.initializer = Some(initializer);
        self
    }

    /// Starts the workers. It does not wait until they are ready: what is submitted meanwhile waits for them.
    ///
    /// # Errors
    /// [`NotInitialised`](crate::Error::NotInitialised): `commonhold::process::init` is to be the first line of `main`.
    /// [`InvalidArgument`](crate::Error::InvalidArgument) for 0 of anything. What the system says when it has no room for so many processes.
    pub fn build(self) -> Result<Pool> {
        let workers = match self.workers {
            Some(workers) => workers,
            None => std::thread::available_parallelism().map_or(1, usize::from),
        };
        if workers == 0 || workers > MOST {
            return Err(Error::InvalidArgument("a pool has 1 to 1,000 workers"));
        }
        if self.max_tasks == Some(0) {
            return Err(Error::InvalidArgument("each worker runs at least one task"));
        }
        if self.deadline == Some(Duration::ZERO) {
            return Err(Error::InvalidArgument("no task runs within no time"));
        }
        let core = Arc::new(Core::new(Settings {
            name: self.name,
            workers,
            retries: self.retries,
            deadline: self.deadline,
            orders: Orders {
                max_tasks: self.max_tasks,
                initializer: self.initializer.transpose()?,
            },
        })?);
        let started = (0..workers).try_for_each(|seat| worker::hire(&core, seat));
        let manager = Manager::new(core.clone());
        if let Err(e) = spawn_quietly("commonhold-pool", || manager.run()) {
            core.end(Failure::Cancelled);
            return Err(e.into());
        }
        // From here on its drop ends what was started.
        let pool = Pool { core };
        if let Err(e) = started {
            pool.terminate();
            return Err(e);
        }
        Ok(pool)
    }
}

/// A member table has 1,024 places: for these, their parent, and some of the dead.
const MOST: usize = 1000;
const _: () = assert!(MOST <= WORKERS as usize);
