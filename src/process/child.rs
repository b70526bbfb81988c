//! A child as its parent has it.

use super::letter::{HasBegun, Letter};
use crate::error::{Error, Result};
use crate::sys::deadline::Deadline;
use crate::sys::fork::this_process;
use crate::sys::pidfd::{self, Exit};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

/// A process that this one started, and what became of it. Whoever looks first takes the kernel's answer for all.
#[derive(Debug)]
pub(crate) struct Life {
    pid: u32,
    name: String,
    /// None: it was gone before it could be had.
    pidfd: Option<OwnedFd>,
    exit: Mutex<Option<Exit>>,
    /// Whose child it is: a forked child of this process inherits this record, but not the child.
    parent: (u32, u32),
}

impl Life {
    /// Of a child that was just started. An error ends it.
    pub(super) fn of(pid: u32, name: String) -> io::Result<Arc<Life>> {
        let pidfd = pidfd::open(pid).inspect_err(|_| pidfd::kill_and_reap(pid))?;
        Ok(Arc::new(Life {
            pid,
            name,
            exit: Mutex::new(pidfd.is_none().then_some(Exit::Unknown)),
            pidfd,
            parent: this_process(),
        }))
    }

    /// What its handles show: which process it is, and nothing of how we keep it.
    pub(super) fn show(&self, kind: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(kind)
            .field("name", &self.name)
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// How it ended; None: it has not.
    pub(crate) fn exit(&self) -> Option<Exit> {
        let Some(pidfd) = &self.pidfd else {
            return Some(Exit::Unknown);
        };
        if self.parent != this_process() {
            // The lock may have been held by a thread that was not forked.
            return pidfd::has_ended(pidfd.as_fd()).then_some(Exit::Unknown);
        }
        let mut exit = self.exit.lock().unwrap_or_else(PoisonError::into_inner);
        if exit.is_none() {
            *exit = pidfd::reap(pidfd);
        }
        *exit
    }

    /// What becomes ready when it ends. None: it has.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(OwnedFd::as_fd)
    }

    /// Waits for its end. None: the time is up.
    pub(crate) fn wait(&self, deadline: Deadline) -> Option<Exit> {
        wait_for_any(&[self], deadline);
        self.exit()
    }

    /// Its exit code, or the number of the signal that ended it, negative.
    pub(crate) fn exit_code(&self) -> Option<i32> {
        match self.exit()? {
            Exit::Code(code) => Some(code),
            Exit::Signal(signal) => Some(-signal),
            Exit::Unknown => None,
        }
    }

    /// Sends a signal. One that has ended gets none, and that is no error.
    pub(crate) fn signal(&self, signal: i32) -> Result<()> {
        match &self.pidfd {
            Some(pidfd) => Ok(pidfd::send_signal(pidfd, signal)?),
            None => Ok(()),
        }
    }
}

/// Waits until one of them has ended: the indexes of those that have. Empty: the time is up, or there is nobody to wait for.
pub(super) fn wait_for_any(lives: &[&Life], deadline: Deadline) -> Vec<usize> {
    loop {
        let mut ended: Vec<usize> = (0..lives.len()).collect();
        ended.retain(|i| lives[*i].exit().is_some());
        if !ended.is_empty() || lives.is_empty() || deadline.has_passed() {
            return ended;
        }
        let descriptors: Vec<_> = lives.iter().filter_map(|life| life.descriptor()).collect();
        let mut is_ready = false;
        pidfd::sleep_until_ready(&descriptors, deadline, |_| is_ready = true);
        if is_ready && lives.iter().all(|life| life.exit().is_none()) {
            // What has ended is first for a debugger.
            pidfd::nap(deadline);
        }
    }
}

/// A child and its letter.
#[derive(Debug)]
pub(crate) struct Child {
    life: Arc<Life>,
    letter: Letter,
}

impl Child {
    pub(super) fn new(life: Arc<Life>, letter: Letter) -> Child {
        Child { life, letter }
    }

    pub(crate) fn life(&self) -> &Arc<Life> {
        &self.life
    }

    pub(crate) fn pid(&self) -> u32 {
        self.life.pid
    }

    /// Sends a signal. One that has ended gets none, and that is no error.
    pub(crate) fn signal(&self, signal: i32) -> Result<()> {
        self.life.signal(signal)
    }

    /// How it ended; None: it has not.
    pub(crate) fn exit(&self) -> Option<Exit> {
        self.life.exit()
    }

    /// Waits for its end. None: the time is up.
    pub(crate) fn wait(&self, deadline: Deadline) -> Option<Exit> {
        self.life.wait(deadline)
    }

    /// What became of its function, when it has ended in this way: bytes for [`take_outcome`](super::outcome::take_outcome), or why there
    /// are none.
    pub(crate) fn outcome(&self, exit: Exit) -> Result<Vec<u8>> {
        let HasBegun(began) = match self.letter.outcome()? {
            Ok(outcome) => return Ok(outcome),
            Err(begun) => begun,
        };
        Err(match exit {
            Exit::Signal(signal) => Error::Killed { signal },
            Exit::Code(code) => Error::Exited {
                code: Some(code),
                began,
            },
            Exit::Unknown => Error::Exited { code: None, began },
        })
    }
}
