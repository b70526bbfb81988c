//! The one error type.

use std::fmt;

/// What a fallible call of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong, in one type for the whole crate.
///
/// It is `'static`, `Send` and `Sync`, and works with `?`. The message of each variant says what was found and what
/// to do about it. New variants may be added in minor versions.
#[non_exhaustive]
#[derive(Debug)]
pub enum Error {
    /// No segment, or no object, of that name exists.
    NotFound,
    /// A segment, or an object, of that name exists already.
    AlreadyExists,
    /// The name of the segment or object is not one that can be used.
    InvalidName,
    /// An argument is outside what the call accepts; the text says what it accepts.
    InvalidArgument(&'static str),
    /// An index is beyond the end.
    OutOfBounds {
        /// The index that was asked for.
        index: usize,
        /// How many items there are.
        len: usize,
    },
    /// The file is there, but it is not a segment of this crate (or it is empty).
    NotASegment,
    /// The segment was made with another layout version or byte order than this build reads.
    VersionMismatch,
    /// Bytes in the segment contradict each other: it was damaged, truncated, or scribbled on by a member.
    Corrupt,
    /// The object exists, but it is of another kind, type (by its name without the path, size and alignment) or length than
    /// the caller asked for.
    TypeMismatch {
        /// The name of the object.
        name: String,
        /// What the caller asked for.
        expected: String,
        /// What the segment holds.
        found: String,
    },
    /// There is no room for what was asked.
    OutOfSpace {
        /// Bytes that were needed.
        requested: u64,
        /// Bytes that were left.
        available: u64,
        /// Where the room ran out.
        place: Place,
    },
    /// Every member slot of the segment is held by a living process.
    TooManyMembers,
    /// Every place for a lossless subscriber of a broadcast is held by a living process.
    TooManySubscribers,
    /// Every object slot of the segment is taken.
    TooManyObjects,
    /// The system does not let this process use the segment, or it belongs to another user.
    PermissionDenied,
    /// The state behind the lock may be half-changed: its holder died or panicked.
    Poisoned,
    /// Nothing is there to be received.
    Empty,
    /// There is no room for what is to be sent.
    Full,
    /// It can't be had at once: somebody else holds it, or it has not happened yet.
    WouldBlock,
    /// The deadline passed.
    Timeout,
    /// The other side has ended: the queue is closed (and, for a receiver, drained).
    Closed,
    /// A party of the barrier died or gave up.
    Broken,
    /// What was asked is beyond a fixed limit.
    TooLarge {
        /// What was asked.
        requested: u64,
        /// The limit.
        limit: u64,
    },
    /// The value can't be written as bytes, for a [`Channel`](crate::Kind::Channel) or another process: nothing was sent.
    NotEncodable {
        /// The name of its type, without the path.
        type_name: String,
        /// Why, in the encoder's words.
        reason: String,
    },
    /// The bytes that arrived are no value of that type. A message of a [`Channel`](crate::Kind::Channel) is gone then, and the next one
    /// is fine.
    NotDecodable {
        /// The name of the type, without the path.
        type_name: String,
        /// Why, in the decoder's words.
        reason: String,
    },
    /// The endpoint is held by a living member: this process, perhaps.
    Busy,
    /// The subscriber was too slow, and this many items were overwritten before it read them.
    Lagged(u64),
    /// A function that ran in another process panicked.
    Panicked {
        /// What it said, and where.
        message: String,
        /// The calls that led there. Empty if that process has `RUST_BACKTRACE=0`.
        backtrace: RemoteBacktrace,
    },
    /// A signal ended a process before its function had a result.
    Killed {
        /// The number of the signal: 9 is SIGKILL, which also comes when memory runs out.
        signal: i32,
    },
    /// A process ended by itself before its function had a result.
    Exited {
        /// Its exit code. None: somebody else in this program took it (by waiting for any child, or by ignoring SIGCHLD).
        code: Option<i32>,
        /// Whether it had come as far as `commonhold::process::init`.
        began: bool,
    },
    /// The worker of a pool that ran this task died with it.
    WorkerDied {
        /// Which task: of one that was submitted, its id; of an item of a `map`, its place, counted from 0.
        task: u64,
        /// The signal that ended the worker. None: it ended by itself.
        signal: Option<i32>,
    },
    /// A task of a pool ran for longer than the pool's deadline, and its worker was killed.
    TookTooLong {
        /// Which task: of one that was submitted, its id; of an item of a `map`, its place, counted from 0.
        task: u64,
    },
    /// The task was cancelled before it had begun, or its pool was terminated before it was done.
    Cancelled,
    /// The workers of a pool do not come as far as their first task: the pool is of no use any more.
    InitializerFailed(std::sync::Arc<Error>),
    /// `commonhold::process::init` was not called in this program.
    NotInitialised,
    /// A function is not part of the program's executable.
    NotInExecutable,
    /// A process was started from another executable than the one that sent it its function.
    OtherExecutable,
    /// The operating system refused a call in a way that no other variant describes.
    Io(std::io::Error),
}

/// Where room ran out, for [`Error::OutOfSpace`].
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The segment's own capacity.
    Segment,
    /// The file system that holds the segment.
    FileSystem,
    /// The process's limit on the size of a file (`RLIMIT_FSIZE`).
    FileSizeLimit,
    /// The address space of this process.
    AddressSpace,
}

/// The calls that led to a panic in another process, as text: it derefs to a `str`, and is printed over several lines.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RemoteBacktrace(Box<str>);

impl RemoteBacktrace {
    #[cfg(all(
        feature = "process",
        target_os = "linux",
        target_has_atomic = "64",
        not(commonhold_loom)
    ))]
    pub(crate) fn new(text: String) -> RemoteBacktrace {
        RemoteBacktrace(text.into())
    }
}

impl std::ops::Deref for RemoteBacktrace {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RemoteBacktrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// As it is displayed, since `unwrap` shows this.
impl fmt::Debug for RemoteBacktrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        write!(f, "\n{}", self.0)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Error::NotFound => {
                "no segment or object of that name exists: check the name (and the directory), or create it first, \
                 or use open_or_create"
            }
            Error::AlreadyExists => {
                "a segment or object of that name exists already: open it, use open_or_create, or choose another name \
                 (Segment::unlink removes the name of a segment that is no longer wanted)"
            }
            Error::InvalidName => {
                "the name cannot be used: a segment's name is 1 to 255 bytes without '/' or NUL, and neither \".\" nor \
                 \"..\"; an object's name is 1 to 96 bytes without NUL"
            }
            Error::InvalidArgument(what) => return write!(f, "invalid argument: {what}"),
            Error::OutOfBounds { index, len } => {
                return write!(
                    f,
                    "index {index} is out of bounds: there are {len} items, counted from 0"
                );
            }
            Error::NotASegment => {
                "the file is not a commonhold segment (it is empty, or a link, a directory or another special file, or does \
                 not begin with the magic): choose another name or directory, or remove the file if nothing else needs it"
            }
            Error::VersionMismatch => {
                return write!(
                    f,
                    "the segment was made with another layout version or byte order than this build's (version {}): \
                     link all its processes with one version of commonhold, or unlink it and create it anew",
                    crate::LAYOUT_VERSION
                );
            }
            Error::Corrupt => {
                "the segment's bytes contradict each other (it was damaged, truncated or overwritten): stop its members, \
                 unlink it and create it anew"
            }
            Error::TypeMismatch {
                name,
                expected,
                found,
            } => {
                return write!(
                    f,
                    "object {name:?} is {found}, but {expected} was asked for: open it with the type it was created \
                     with, or use another name"
                );
            }
            Error::OutOfSpace {
                requested,
                available,
                place,
            } => {
                let (whose, remedy) = match place {
                    Place::Segment => (
                        "the segment has",
                        "create the segment with a larger capacity",
                    ),
                    Place::FileSystem => (
                        "the file system has",
                        "free some room there (in a container, give /dev/shm more), or choose another directory",
                    ),
                    Place::FileSizeLimit => {
                        ("this process's RLIMIT_FSIZE allows", "raise it (ulimit -f)")
                    }
                    Place::AddressSpace => ("this process can map", "ask for a smaller capacity"),
                };
                return write!(
                    f,
                    "out of space: {requested} bytes were needed, {whose} {available}: {remedy}"
                );
            }
            Error::TooManyMembers => {
                "every member slot of the segment is held by a living process: end one, or create the segment with a \
                 larger max_members"
            }
            Error::TooManySubscribers => {
                "every place for a lossless subscriber is held by a living process: drop a subscriber, use subscribe_lossy, or \
                 create the segment with a larger max_members"
            }
            Error::TooManyObjects => {
                "every object slot of the segment is taken: create the segment with a larger max_objects"
            }
            Error::PermissionDenied => {
                "permission denied: the segment belongs to another user, or its mode does not let this process read and \
                 write it; if sharing is meant, create it with a wider mode and open it with allow_other_users"
            }
            Error::Poisoned => {
                "poisoned: a holder of the lock died or panicked, so the state behind it may be half-changed; call \
                 recover(), mend the state, and drop the guard"
            }
            Error::Empty => {
                "empty: there is nothing to be received yet; receive later, or use a blocking form"
            }
            Error::Full => "full: there is no room yet; send later, or use a blocking form",
            Error::WouldBlock => {
                "that would mean to wait, for another thread or process: try later, or use a blocking form"
            }
            Error::Timeout => {
                "the deadline passed before the operation could be done; nothing was changed"
            }
            Error::Closed => {
                "closed: the other side has ended, or somebody has closed it; nothing more can be sent (what is still there can be \
                 received)"
            }
            Error::Broken => {
                "broken: a party of the barrier died or gave up; call reset() to use it again"
            }
            Error::TooLarge { requested, limit } => {
                return write!(
                    f,
                    "too large: {requested} was asked for, and the limit is {limit}: ask for less"
                );
            }
            Error::NotEncodable { type_name, reason } => {
                return write!(
                    f,
                    "the value cannot be written as a {type_name}: {reason}; nothing was sent (see its Serialize)"
                );
            }
            Error::NotDecodable { type_name, reason } => {
                return write!(
                    f,
                    "the bytes that arrived cannot be read as a {type_name}: {reason}; what comes after them is not harmed (are all \
                     programs built with the same definition of {type_name}, and does it read what it writes?)"
                );
            }
            Error::Busy => {
                "the endpoint is held by a living member (this process, perhaps): wait until it is dropped"
            }
            Error::Lagged(n) => {
                return write!(
                    f,
                    "the subscriber was too slow and missed {n} items; the next receive goes on after them"
                );
            }
            Error::Panicked { message, .. } => {
                return write!(f, "a function in another process panicked: {message}");
            }
            Error::Killed { signal } => {
                return write!(
                    f,
                    "signal {signal} ended the process before its function had a result{}",
                    match signal {
                        9 => " (SIGKILL: somebody's kill, or the kernel had no memory left)",
                        6 => " (SIGABRT: it aborted itself, and its standard error should say why)",
                        11 => " (SIGSEGV: unsound code, or a stack that overflowed)",
                        _ => "",
                    }
                );
            }
            Error::Exited { code, began } => {
                match code {
                    Some(code) => write!(f, "the process ended with exit code {code} ")?,
                    None => write!(
                        f,
                        "the process ended (how, somebody else was told: SIGCHLD is ignored, or other code waits for any child) "
                    )?,
                }
                return f.write_str(if *began {
                    "before its function had a result: something called exit"
                } else {
                    "before it came to commonhold::process::init(): make that the first line of main; its standard error may \
                     say more"
                });
            }
            Error::WorkerDied { task, signal } => {
                write!(f, "the worker that ran task {task} ")?;
                match signal {
                    Some(signal) => write!(f, "was ended by signal {signal}")?,
                    None => f.write_str("ended itself")?,
                }
                return f.write_str(
                    "; it was replaced, and the other tasks go on: submit the task again if it may run twice, or build the pool with retries",
                );
            }
            Error::TookTooLong { task } => {
                return write!(
                    f,
                    "task {task} ran for longer than the pool's deadline, and was ended: give it less to do, or the pool a longer deadline"
                );
            }
            Error::Cancelled => {
                "the task was cancelled, or its pool terminated, before it was done"
            }
            Error::InitializerFailed(e) => {
                return write!(
                    f,
                    "the pool's workers cannot be initialised, so it runs no tasks: {e}"
                );
            }
            Error::NotInitialised => {
                "this program cannot start itself again: call commonhold::process::init() as the first line of main (in a test: \
                 commonhold::init_before_main!(); beside its functions)"
            }
            Error::NotInExecutable => {
                "the function is not part of this program's executable, so a new process of it could not find it: link statically \
                 what defines it (a shared library or plugin can't start processes), and start the program directly, not by way \
                 of a loader"
            }
            Error::OtherExecutable => {
                "the new process does not run the executable of its parent, or a changed one: leave the file of a running program \
                 alone (replace it by a new file)"
            }
            Error::Io(e) => return write!(f, "the operating system refused: {e}"),
        };
        f.write_str(text)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io(e) => Some(e),
            Error::InitializerFailed(e) => Some(&**e),
            _ => None,
        }
    }
}

impl Error {
    /// This process can't have `bytes` of private memory, for a copy of what a segment holds.
    pub(crate) fn no_memory(bytes: usize) -> Error {
        Error::OutOfSpace {
            requested: bytes as u64,
            available: 0,
            place: Place::AddressSpace,
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(e: std::io::Error) -> Self {
        match e.kind() {
            std::io::ErrorKind::NotFound => Error::NotFound,
            std::io::ErrorKind::AlreadyExists => Error::AlreadyExists,
            std::io::ErrorKind::PermissionDenied => Error::PermissionDenied,
            _ => Error::Io(e),
        }
    }
}

// `Result<()>` of the hot paths travels in registers only while the error is small.
const _: () = assert!(size_of::<Error>() <= 72);
