//! Where a process's standard input, output and error lead.

use crate::error::{Error, Result};
use crate::sys::descriptor::{FIRST, duplicate, pipe};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

/// Where a process's standard input, output or error leads: for [`Builder::stdin`](super::Builder::stdin) and its like.
///
/// It is made as [`std::process::Stdio`] is, and of whatever owns a descriptor: a file, a socket, the end of a pipe, or what another process's
/// [`take_stdout`](super::Process::take_stdout) gave.
#[derive(Debug)]
pub struct Stdio(Lead);

#[derive(Debug)]
enum Lead {
    Inherit,
    Null,
    Piped,
    To(OwnedFd),
}

impl Stdio {
    /// To where this process's own leads. So it is if nothing is said.
    pub fn inherit() -> Stdio {
        Stdio(Lead::Inherit)
    }

    /// To nowhere: nothing is there to be read, and what is written is gone.
    pub fn null() -> Stdio {
        Stdio(Lead::Null)
    }

    /// To this process, through a pipe, whose end the [`Process`](super::Process) has. Read what comes: a process that writes into a full pipe
    /// waits, and who joins it waits with it.
    pub fn piped() -> Stdio {
        Stdio(Lead::Piped)
    }

    /// The new process's descriptor (None: as ours), and our end of the pipe.
    pub(super) fn open(self, is_input: bool) -> Result<(Option<OwnedFd>, Option<OwnedFd>)> {
        let (theirs, ours) = match self.0 {
            Lead::Inherit => return Ok((None, None)),
            Lead::Null => {
                let opened = File::options().read(true).write(true).open(NULL);
                let null = opened.map_err(|e| refused(Path::new(NULL), e))?;
                (null.into(), None)
            }
            Lead::To(fd) => (fd, None),
            Lead::Piped => {
                let (reads, writes) = pipe()?;
                if is_input {
                    (reads, Some(writes))
                } else {
                    (writes, Some(reads))
                }
            }
        };
        // Otherwise one could be overwritten by the other before it is used.
        let theirs = if theirs.as_raw_fd() < FIRST {
            duplicate(&theirs)?
        } else {
            theirs
        };
        Ok((Some(theirs), ours))
    }
}

const NULL: &str = "/dev/null";

/// That this file is not to be had.
pub(super) fn refused(path: &Path, e: io::Error) -> Error {
    Error::Io(io::Error::new(e.kind(), format!("{}: {e}", path.display())))
}

impl<T: Into<OwnedFd>> From<T> for Stdio {
    fn from(fd: T) -> Stdio {
        Stdio(Lead::To(fd.into()))
    }
}
