//! Segments: named shared memory, its members and its objects.

mod attach;
mod info;
mod objects;
mod open;
mod options;
mod sweep;

pub use info::{Member, Object};
pub use options::SegmentOptions;

pub(crate) use objects::{Placed, Shape};

use crate::error::{Error, Result};
use crate::layout::header::{Geometry, SHARED_AT, Shared};
use crate::raw::MemberId;
use crate::sys::fork::{self, ForkPage};
use crate::sys::map::Map;
use crate::sys::shm::SegmentFile;
use crate::sys::truncation::TruncationGuard;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A region of shared memory, named or anonymous, that processes attach and keep typed objects in.
///
/// A handle is cheap to clone, and `Send` and `Sync`; the memory stays mapped until the last handle to it, or to an
/// object in it, is dropped. Drop order never matters. The name stays until [`Segment::unlink`], the memory until
/// the name and the last process that has it are gone.
///
/// # When a member dies
/// A process that opens a segment becomes a *member* of it; the kernel vouches for its life, also across pid and mount
/// namespaces. (Opening a segment twice makes two members.) When it is killed, at whatever instruction, each object is left as its own page says. A process that
/// dies while it creates a segment or an object leaves nothing: neither the name nor the room is taken. (On a file system
/// without `O_TMPFILE` a hidden file `.commonhold-…` may stay.)
///
/// # Forks
/// A forked child may go on using all handles: it becomes a member of its own at its first operation. Guards that it
/// inherited belong to the parent: dropping them in the child does nothing.
///
/// # Errors
/// [`NotFound`](crate::Error::NotFound), [`AlreadyExists`](crate::Error::AlreadyExists),
/// [`InvalidName`](crate::Error::InvalidName), [`NotASegment`](crate::Error::NotASegment),
/// [`VersionMismatch`](crate::Error::VersionMismatch), [`Corrupt`](crate::Error::Corrupt),
/// [`PermissionDenied`](crate::Error::PermissionDenied), [`OutOfSpace`](crate::Error::OutOfSpace),
/// [`TooManyMembers`](crate::Error::TooManyMembers), [`Io`](crate::Error::Io) for what else the system refuses (a directory on an
/// overlay file system, say); for the options also [`TooLarge`](crate::Error::TooLarge) and
/// [`InvalidArgument`](crate::Error::InvalidArgument).
///
/// # Examples
/// ```
/// use commonhold::{Segment, Value};
///
/// # fn main() -> commonhold::Result<()> {
/// # let name = &format!("doc-segment-{}", std::process::id());
/// let seg = Segment::create(name, 1 << 20)?;
/// let hits = Value::create(&seg, "hits", 0u64)?;
///
/// // In any other process:
/// let seg = Segment::open(name)?;
/// let hits_there = Value::<u64>::open(&seg, "hits")?;
/// hits_there.update(|n| *n += 1)?;
///
/// assert_eq!(hits.get()?, 1);
/// Segment::unlink(name)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Segment {
    inner: Arc<Inner>,
}

/// One mapping of one segment, and this process's membership through it.
#[derive(Debug)]
pub(crate) struct Inner {
    map: Map,
    file: SegmentFile,
    geometry: Geometry,
    name: String,
    page: ForkPage,
    /// For those who asked for it.
    truncation: Option<TruncationGuard>,
}

impl Segment {
    /// Makes a new segment in `/dev/shm` with room for `capacity` bytes of objects, readable and writable by this user
    /// only. See [`SegmentOptions`] for the rest.
    ///
    /// The capacity is rounded up to whole pages. It is address space: memory is taken when an object is
    /// created, so a generous capacity costs nothing.
    pub fn create(name: &str, capacity: usize) -> Result<Segment> {
        SegmentOptions::new().capacity(capacity).create(name)
    }

    /// Attaches the segment of that name in `/dev/shm`.
    pub fn open(name: &str) -> Result<Segment> {
        SegmentOptions::new().open(name)
    }

    /// Attaches the segment of that name, whatever its capacity, or makes it. Of several processes that do so at once, one
    /// makes it and the others attach it.
    pub fn open_or_create(name: &str, capacity: usize) -> Result<Segment> {
        SegmentOptions::new()
            .capacity(capacity)
            .open_or_create(name)
    }

    /// Makes a segment without a name: for children that fork, or to be handed on as a file descriptor
    /// ([`as_fd`](AsFd::as_fd), [`from_fd`](Self::from_fd)). Its size is sealed, so no peer can truncate it.
    pub fn anonymous(capacity: usize) -> Result<Segment> {
        SegmentOptions::new().capacity(capacity).anonymous()
    }

    /// Attaches the segment that a descriptor refers to, as received over a socket or inherited.
    ///
    /// A segment of another user is refused, unless its size is sealed.
    pub fn from_fd(fd: OwnedFd) -> Result<Segment> {
        SegmentOptions::new().from_fd(fd)
    }

    /// Removes the name from `/dev/shm`. Members go on; the memory goes with the last of them.
    ///
    /// Refuses, with [`NotASegment`](crate::Error::NotASegment), to remove a file that is none. A damaged segment, and one of
    /// another version, can be removed.
    pub fn unlink(name: &str) -> Result<()> {
        SegmentOptions::new().unlink(name)
    }

    /// The name that the segment was opened by; empty for an anonymous one.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Bytes for objects, all in all.
    pub fn capacity(&self) -> usize {
        self.inner.geometry.capacity as usize
    }

    /// Bytes that no object has taken yet. Each object begins at a multiple of 128 bytes.
    pub fn available(&self) -> usize {
        self.inner.available() as usize
    }

    /// Who has the segment attached, dead members that nobody has met yet included.
    pub fn members(&self) -> Vec<Member> {
        self.inner.members()
    }

    /// What the segment holds, in no particular order. Entries that have been scribbled on are left out; opening one is
    /// [`Corrupt`](crate::Error::Corrupt).
    pub fn objects(&self) -> Vec<Object> {
        self.inner.objects()
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }
}

impl AsFd for Segment {
    /// The descriptor of the segment's file (close-on-exec). Closing it behind the segment's back (as daemons do that
    /// close all they have) is survived by named segments; an anonymous one can then no longer find deaths.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.file.file().as_fd()
    }
}

impl Inner {
    fn shared(&self) -> &Shared {
        // The geometry was checked against the mapping's length, which never changes.
        self.map.get(SHARED_AT).expect("the header is mapped")
    }

    /// This process's name in claims. A forked child is made a member here, at its first operation.
    #[inline]
    pub(crate) fn me(&self) -> Result<MemberId> {
        self.me_at(&self.page.get().member)
    }

    /// As [`me`](Self::me), for those who have kept where the name stands.
    #[inline]
    pub(crate) fn me_at(&self, member: &AtomicU32) -> Result<MemberId> {
        // Relaxed: the id alone is used; nothing else is read by way of it.
        match MemberId::from_private(member.load(Ordering::Relaxed)) {
            Some(id) => Ok(id),
            None => self.attach(),
        }
    }

    /// Has the file's loss noticed, from here on.
    fn guard_truncation(&mut self) -> Result<()> {
        let no_forks = fork::keep_forks_out();
        let (start, len) = (self.map.bytes(0, 0, 1)?, self.map.len());
        let page = self.page.get();
        // SAFETY: mapping and page live as long as `self`, whose drop ends the guard first; the mapping is `self`'s alone, and
        // `check_whole` stands behind each reading of it.
        let guard = unsafe { TruncationGuard::new(start, len, page, &no_forks)? };
        self.truncation = Some(guard);
        Ok(())
    }

    /// `Err(Corrupt)` if the file was cut short: what was read before this call is then nobody's word.
    pub(crate) fn check_whole(&self) -> Result<()> {
        match &self.truncation {
            Some(guard) if guard.is_lost() => Err(Error::Corrupt),
            _ => Ok(()),
        }
    }

    /// Whether this process is (still) the member `id`: not in a child that was forked from it.
    #[inline]
    pub(crate) fn is_me(&self, id: MemberId) -> bool {
        self.me_if_attached() == Some(id)
    }
}
