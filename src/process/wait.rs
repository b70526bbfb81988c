//! Waiting for several processes.

use super::child::{Life, wait_for_any};
use crate::error::{Error, Result};
use crate::sys::deadline::Deadline;
use std::time::Duration;

/// What ends, for [`wait`]: a [`Process`](super::Process) of any result, or a [`ChildProcess`](super::ChildProcess).
///
/// Only this crate's types are such.
pub trait Ends {
    /// What is waited for.
    #[doc(hidden)]
    fn ending(&self) -> Ending<'_>;
}

/// The end of a process.
#[doc(hidden)]
#[derive(Debug)]
pub struct Ending<'a>(pub(crate) &'a Life);

/// Waits until one of the processes has ended: the indexes of all that have. Of none, it returns none at once.
///
/// ```
/// # commonhold::init_before_main!();
/// use commonhold::process::{Process, wait};
///
/// let quick = Process::spawn(|n: u32| n + 1, 1)?;
/// let slow = Process::spawn(|seconds: u64| std::thread::sleep(std::time::Duration::from_secs(seconds)), 1000)?;
/// assert_eq!(wait(&[&quick, &slow]), [0]);
/// slow.kill()?;
/// assert_eq!(wait(&[&slow]), [0]);
/// # Ok::<(), commonhold::Error>(())
/// ```
pub fn wait(processes: &[&dyn Ends]) -> Vec<usize> {
    wait_by(processes, Deadline::NEVER)
}

/// As [`wait`], at most so long: [`Timeout`](crate::Error::Timeout).
pub fn wait_timeout(processes: &[&dyn Ends], timeout: Duration) -> Result<Vec<usize>> {
    let ended = wait_by(processes, Deadline::after(timeout));
    if ended.is_empty() && !processes.is_empty() {
        return Err(Error::Timeout);
    }
    Ok(ended)
}

fn wait_by(processes: &[&dyn Ends], deadline: Deadline) -> Vec<usize> {
    let lives: Vec<&Life> = processes.iter().map(|p| p.ending().0).collect();
    wait_for_any(&lives, deadline)
}
