//! `Process`: a function that runs in a process of its own.

use super::builder::Builder;
use super::child::Child;
use super::outcome::take_outcome;
use super::wait::{Ending, Ends};
use crate::error::{Error, Result};
use crate::sys::deadline::Deadline;
use crate::sys::own;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::process::{ChildStderr, ChildStdin, ChildStdout};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A function that runs in a process of its own.
///
/// The process is this program's executable, started again: nothing of this process is copied, and no lock, thread or open file of it is there. The
/// function is a plain one (a `fn`, or a closure that takes nothing from around it); its argument and its result travel as
/// [serde](https://serde.rs) values of any size. Several arguments are a tuple ([more of that](super#what-can-be-run)). Every handle of a segment is such
/// a value, and is attached on arrival; one that is a result, too, if its segment has a name or this process has it attached: one without a name that the
/// function made is gone with its process.
///
/// One thread of this crate, which the first `spawn` makes, starts all processes: what the system keeps for each thread (the processors that it may
/// run on, its priority, capabilities, namespaces, filters of system calls), each process has as the thread had it that was the first to spawn. The
/// signals that are blocked are those of the thread that spawns it.
///
/// The program calls [`init`](fn@super::init) in the first line of its `main`.
///
/// Dropping a `Process` neither ends the process nor waits for it. One that nobody joins leaves no zombie.
///
/// # When it dies
/// [`join`](Self::join) says how: a panic with its message and backtrace ([`Panicked`](crate::Error::Panicked)), a signal
/// ([`Killed`](crate::Error::Killed)), or an exit before the function had a result ([`Exited`](crate::Error::Exited)), also before `main`. It
/// never waits for a process that is not there. A process that dies after its function returned, in what runs at exit, has a result all the same.
///
/// When *this* process dies, a [daemon](Builder::daemon) dies with it, whatever killed it, and any other process runs on.
///
/// # Errors
/// [`spawn`](Self::spawn): see [`Builder::spawn`].
///
/// # Examples
/// ```standalone_crate
/// use commonhold::process::{self, Process};
///
/// fn count(text: String) -> usize {
///     text.split_whitespace().count()
/// }
///
/// fn main() -> Result<(), commonhold::Error> {
///     process::init();
///     let p = Process::spawn(count, "to be or not to be".to_owned())?;
///     assert_eq!(p.join()?, 6);
///
///     let p = Process::spawn(|(a, b): (u32, u32)| a / b, (1, 0))?;
///     match p.join() {
///         Err(commonhold::Error::Panicked { message, .. }) => assert!(message.contains("divide by zero")),
///         other => panic!("{other:?}"),
///     }
///     Ok(())
/// }
/// ```
#[must_use = "a process that nobody joins runs on, and what becomes of it is not told"]
pub struct Process<R> {
    child: Child,
    /// Our ends of the pipes.
    streams: Mutex<Streams>,
    _result: PhantomData<fn() -> R>,
}

#[derive(Debug)]
struct Streams {
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
}

impl<R: Serialize + DeserializeOwned + 'static> Process<R> {
    /// Starts a process that runs `f(args)`.
    pub fn spawn<A>(f: fn(A) -> R, args: A) -> Result<Process<R>>
    where
        A: Serialize + DeserializeOwned + 'static,
    {
        Self::builder(f, args).spawn()
    }

    /// The same, with more to be said.
    ///
    /// ```
    /// # commonhold::init_before_main!();
    /// use commonhold::process::{Process, Stdio, current_process};
    ///
    /// let p = Process::builder(|_: ()| println!("I am {}", current_process().name()), ())
    ///     .name("printer")
    ///     .daemon(true)
    ///     .stdout(Stdio::piped())
    ///     .spawn()?;
    /// let said = std::io::read_to_string(p.take_stdout().unwrap())?;
    /// assert_eq!(said, "I am printer\n");
    /// p.join()?;
    /// # Ok::<(), commonhold::Error>(())
    /// ```
    pub fn builder<A>(f: fn(A) -> R, args: A) -> Builder<A, R>
    where
        A: Serialize + DeserializeOwned + 'static,
    {
        Builder::new(f, args)
    }

    /// Waits for the end of the process: what the function returned. It can be called again, and says the same.
    ///
    /// Standard input, if it was [`piped`](super::Stdio::piped) and not taken, is closed first: a process that reads all of it would wait for its
    /// end.
    pub fn join(&self) -> Result<R> {
        self.join_by(Deadline::NEVER)
    }

    /// What the function returned, if the process has ended; [`WouldBlock`](crate::Error::WouldBlock) otherwise.
    pub fn try_join(&self) -> Result<R> {
        self.join_by(Deadline::PASSED).map_err(|e| match e {
            Error::Timeout => Error::WouldBlock,
            other => other,
        })
    }

    /// As [`join`](Self::join), waiting at most `timeout`.
    pub fn join_timeout(&self, timeout: Duration) -> Result<R> {
        self.join_by(Deadline::after(timeout))
    }

    fn join_by(&self, deadline: Deadline) -> Result<R> {
        if deadline != Deadline::PASSED {
            drop(self.take_stdin());
        }
        let exit = self.child.wait(deadline).ok_or(Error::Timeout)?;
        take_outcome(&mut &self.child.outcome(exit)?[..])
    }
}

impl<R> Process<R> {
    pub(super) fn new(child: Child, ours: [Option<OwnedFd>; 3]) -> Process<R> {
        let [stdin, stdout, stderr] = ours;
        Process {
            child,
            streams: Mutex::new(Streams {
                stdin: stdin.map(Into::into),
                stdout: stdout.map(Into::into),
                stderr: stderr.map(Into::into),
            }),
            _result: PhantomData,
        }
    }

    /// Its number. After its end the system may give it to another process; the calls of this handle never mean that one.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.child.life().name()
    }

    /// Whether it is running.
    pub fn is_alive(&self) -> bool {
        self.child.exit().is_none()
    }

    /// Its exit code, or the number of the signal that ended it, negative. 0: the function returned. 101: it panicked.
    ///
    /// None: the process is running, or nobody can tell any more, since other code of this program took the answer, by waiting for any child or
    /// by ignoring SIGCHLD. ([`join`](Self::join) knows the result all the same.)
    pub fn exit_code(&self) -> Option<i32> {
        self.child.life().exit_code()
    }

    /// Asks it to end (SIGTERM). To one that has ended it does nothing.
    pub fn terminate(&self) -> Result<()> {
        self.child.signal(own::TERMINATE)
    }

    /// Ends it (SIGKILL). To one that has ended it does nothing.
    pub fn kill(&self) -> Result<()> {
        self.child.signal(own::KILL)
    }

    /// Our end of its standard input, if that was [`piped`](super::Stdio::piped): once.
    pub fn take_stdin(&self) -> Option<ChildStdin> {
        self.streams().stdin.take()
    }

    /// Our end of its standard output, if that was [`piped`](super::Stdio::piped): once.
    pub fn take_stdout(&self) -> Option<ChildStdout> {
        self.streams().stdout.take()
    }

    /// Our end of its standard error, if that was [`piped`](super::Stdio::piped): once.
    pub fn take_stderr(&self) -> Option<ChildStderr> {
        self.streams().stderr.take()
    }

    fn streams(&self) -> std::sync::MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R> Ends for Process<R> {
    fn ending(&self) -> Ending<'_> {
        Ending(self.child.life())
    }
}

impl<R> fmt::Debug for Process<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.child.life().show("Process", f)
    }
}
