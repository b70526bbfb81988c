//! Who this process is to those that it was started by and that it starts.

use super::child::Life;
use super::letter::Text;
use super::nursery;
use super::wait::{Ending, Ends};
use crate::error::{Error, Result};
use crate::sys::deadline::Deadline;
use crate::sys::own;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// What the letter said.
#[derive(Debug)]
struct Origin {
    /// A child that is forked from this process is another one, and was not started by us.
    pid: u32,
    name: String,
    lineage: String,
    parent: u32,
    parent_name: String,
}

static ORIGIN: OnceLock<Origin> = OnceLock::new();

/// The name of a program that we did not start.
const MAIN: &str = "MainProcess";

/// By a child, as it begins.
pub(super) fn begin(parent: u32, text: &Text) {
    let _ = ORIGIN.set(Origin {
        pid: std::process::id(),
        name: text.name.clone(),
        lineage: text.lineage.clone(),
        parent,
        parent_name: text.parent_name.clone(),
    });
}

fn origin() -> Option<&'static Origin> {
    ORIGIN.get().filter(|o| o.pid == std::process::id())
}

/// Which child of which child the next one is: "2", or "2:1" if this process is itself the second child of its parent.
pub(super) fn next_lineage() -> String {
    static CHILDREN: AtomicU32 = AtomicU32::new(0);
    let n = CHILDREN.fetch_add(1, Ordering::Relaxed) + 1;
    match origin() {
        Some(origin) => format!("{}:{n}", origin.lineage),
        None => n.to_string(),
    }
}

/// This process, or the one that started it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessInfo {
    pid: u32,
    name: String,
}

impl ProcessInfo {
    /// Its number. After its end the system may give it to another process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Its name: what its parent called it, or "MainProcess" for a program that was not started by this crate.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is running. Of a parent that stands in another pid namespace nobody can tell: then it is taken to be.
    pub fn is_alive(&self) -> bool {
        let parent = own::parent();
        self.pid == std::process::id() || self.pid == parent || parent == 0
    }
}

/// This process.
///
/// ```
/// let me = commonhold::process::current_process();
/// assert_eq!(me.pid(), std::process::id());
/// assert_eq!(me.name(), "MainProcess");
/// ```
pub fn current_process() -> ProcessInfo {
    ProcessInfo {
        pid: std::process::id(),
        name: origin().map_or(MAIN, |origin| &origin.name).to_owned(),
    }
}

/// The process that started this one by [`Process`](super::Process) or for a pool. None: somebody else started it (or it is a forked child).
pub fn parent_process() -> Option<ProcessInfo> {
    origin().map(|origin| ProcessInfo {
        pid: origin.parent,
        name: origin.parent_name.clone(),
    })
}

/// The processes that this one started and that are running: also the workers of its pools, and those whose [`Process`](super::Process) was
/// dropped.
pub fn active_children() -> Vec<ChildProcess> {
    nursery::living().into_iter().map(ChildProcess).collect()
}

/// A process that this one started, whatever its function returns; see [`active_children`].
#[derive(Clone)]
pub struct ChildProcess(Arc<Life>);

impl ChildProcess {
    /// Its number. After its end the system may give it to another process.
    pub fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// Whether it is running.
    pub fn is_alive(&self) -> bool {
        self.0.exit().is_none()
    }

    /// As [`Process::exit_code`](super::Process::exit_code).
    pub fn exit_code(&self) -> Option<i32> {
        self.0.exit_code()
    }

    /// Asks it to end (SIGTERM). To one that has ended it does nothing.
    pub fn terminate(&self) -> Result<()> {
        self.0.signal(own::TERMINATE)
    }

    /// Ends it (SIGKILL). To one that has ended it does nothing.
    pub fn kill(&self) -> Result<()> {
        self.0.signal(own::KILL)
    }

    /// Waits for its end.
    pub fn wait(&self) {
        self.0.wait(Deadline::NEVER);
    }

    /// Waits for its end at most so long: [`Timeout`](crate::Error::Timeout).
    pub fn wait_timeout(&self, timeout: Duration) -> Result<()> {
        let ended = self.0.wait(Deadline::after(timeout));
        ended.map(|_| ()).ok_or(Error::Timeout)
    }
}

impl Ends for ChildProcess {
    fn ending(&self) -> Ending<'_> {
        Ending(&self.0)
    }
}

impl fmt::Debug for ChildProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.show("ChildProcess", f)
    }
}
