//! How a process is started.

use super::function::Function;
use super::handle::Process;
use super::nursery::{self, Start};
use super::stdio::{Stdio, refused};
use crate::encoding::encode;
use crate::error::{Error, Result};
use crate::segment::Segment;
use crate::segment::travel::noting_segments;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// How a process is started: see [`Process::builder`].
#[must_use = "nothing is started before `spawn`"]
#[derive(Debug)]
pub struct Builder<A, R> {
    f: fn(A) -> R,
    args: A,
    name: Option<String>,
    daemon: bool,
    /// What is done to the environment, in this order.
    environment: Vec<Change>,
    stdio: [Stdio; 3],
    directory: Option<PathBuf>,
    passed: Vec<Segment>,
}

#[derive(Debug)]
enum Change {
    Clear,
    Set(OsString, OsString),
    Remove(OsString),
}

impl<A, R> Builder<A, R>
where
    A: Serialize + DeserializeOwned + 'static,
    R: Serialize + DeserializeOwned + 'static,
{
    pub(super) fn new(f: fn(A) -> R, args: A) -> Builder<A, R> {
        Builder {
            f,
            args,
            name: None,
            daemon: false,
            environment: Vec::new(),
            stdio: [Stdio::inherit(), Stdio::inherit(), Stdio::inherit()],
            directory: None,
            passed: Vec::new(),
        }
    }

    /// What it is called: in [`current_process`](super::current_process), as the second argument that `ps` shows, and as its main thread. By default
    /// it is `Process-1`, `Process-2` and so on; the first that `Process-2` starts is `Process-2:1`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Whether it dies with this process, however that ends: it gets SIGKILL then. Otherwise (by default, also if this process is a daemon itself) it
    /// runs on. (So does a daemon that changes its user or group by itself: the kernel takes that for a reason to spare it.)
    pub fn daemon(mut self, daemon: bool) -> Self {
        self.daemon = daemon;
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        let (name, value) = (name.as_ref().to_owned(), value.as_ref().to_owned());
        self.environment.push(Change::Set(name, value));
        self
    }

    /// Removes an environment variable.
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        let name = name.as_ref().to_owned();
        self.environment.push(Change::Remove(name));
        self
    }

    /// Removes all environment variables that were inherited or set so far.
    pub fn env_clear(mut self) -> Self {
        self.environment.push(Change::Clear);
        self
    }

    /// Where it reads from.
    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Self {
        self.stdio[0] = stdin.into();
        self
    }

    /// Where it prints to.
    pub fn stdout(mut self, stdout: impl Into<Stdio>) -> Self {
        self.stdio[1] = stdout.into();
        self
    }

    /// Where its errors and panics go.
    pub fn stderr(mut self, stderr: impl Into<Stdio>) -> Self {
        self.stdio[2] = stderr.into();
        self
    }

    /// The directory that it runs in.
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// A segment that the process is to reach, though it is not among the arguments: handles of it that arrive by other ways (a
    /// [`Channel`](crate::Channel), say) attach it, also if it has no name, and whatever this process has dropped by then. Segments and handles
    /// among the arguments need no such word.
    pub fn pass(mut self, segment: &Segment) -> Self {
        self.passed.push(segment.clone());
        self
    }

    /// Starts the process. When it returns, the process exists; it has not yet come as far as `main`.
    ///
    /// # Errors
    /// [`NotInitialised`](crate::Error::NotInitialised), [`NotInExecutable`](crate::Error::NotInExecutable),
    /// [`NotEncodable`](crate::Error::NotEncodable) arguments, an [`InvalidArgument`](crate::Error::InvalidArgument), or the operating system's,
    /// which has no descriptor, process or memory left.
    pub fn spawn(self) -> Result<Process<R>> {
        let function = Function::of(self.f)?;
        let mut bytes = Vec::new();
        let (encoded, written) = noting_segments(|| encode(&self.args, &mut bytes));
        encoded?;
        let mut start = Start::new(String::new(), function, bytes);
        start.name = match self.name {
            Some(name) => name,
            None => format!("Process-{}", start.lineage),
        };
        start.daemon = self.daemon;
        start.environment = changed(start.environment, self.environment)?;
        start.directory = self.directory;
        start.passed = self.passed;
        start.passed.extend(written);
        if let Some(directory) = &start.directory {
            let found = std::fs::metadata(directory);
            if !found.map_err(|e| refused(directory, e))?.is_dir() {
                return Err(Error::InvalidArgument(
                    "what a process is to run in must be a directory",
                ));
            }
        }
        let mut ours = [None, None, None];
        for (i, stdio) in self.stdio.into_iter().enumerate() {
            (start.stdio[i], ours[i]) = stdio.open(i == 0)?;
        }
        let child = nursery::start(start, Box::new(|_| ()))?;
        Ok(Process::new(child, ours))
    }
}

fn changed(
    mut environment: Vec<(OsString, OsString)>,
    changes: Vec<Change>,
) -> Result<Vec<(OsString, OsString)>> {
    for change in changes {
        match change {
            Change::Clear => environment.clear(),
            Change::Remove(name) => environment.retain(|(n, _)| *n != name),
            Change::Set(name, value) => {
                let has = |s: &OsStr, byte| s.as_bytes().contains(&byte);
                if name.is_empty() || has(&name, b'=') || has(&name, 0) || has(&value, 0) {
                    return Err(Error::InvalidArgument(
                        "an environment variable's name must be without '=' and NUL and not empty, and its value without NUL",
                    ));
                }
                environment.retain(|(n, _)| *n != name);
                environment.push((name, value));
            }
        }
    }
    Ok(environment)
}
