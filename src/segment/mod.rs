//! Segments: named shared memory, its members and its objects.

mod attach;
mod dying;
mod info;
mod objects;
mod open;
mod options;
#[cfg(feature = "process")]
mod registry;
mod shape;
mod sweep;
#[cfg(feature = "process")]
pub(crate) mod travel;

pub use info::{Member, Object};
pub use options::SegmentOptions;

pub(crate) use objects::Placed;
pub(crate) use shape::Shape;
#[cfg(feature = "async")]
pub(crate) use sweep::Watch;

use crate::error::{Error, Result};
use crate::layout::header::{Geometry, SHARED_AT, Shared};
use crate::raw::MemberId;
use crate::sys::fork::{self, ForkPage};
use crate::sys::map::Map;
use crate::sys::shm::SegmentFile;
use crate::sys::truncation::TruncationGuard;
use dying::Dying;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Makes a handle a serde value: `travels!([generics] Type, field)`, where the field (`a.b` is one, too) is its [`Placed`], and the type has
/// an `open(&Segment, &str)`.
#[cfg(feature = "process")]
macro_rules! travels {
    ([$($generics:tt)*] $handle:ty, $($placed:ident).+) => {
        impl<$($generics)*> ::serde::Serialize for $handle {
            /// Writes where the object is, for another process of this machine; see
            /// [`Segment`](crate::Segment#sending-it-to-another-process).
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                crate::segment::travel::send(&self.$($placed).+, serializer)
            }
        }

        impl<'de, $($generics)*> ::serde::Deserialize<'de> for $handle {
            /// Attaches the segment, and opens the object; see [`Segment`](crate::Segment#sending-it-to-another-process).
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                crate::segment::travel::receive(deserializer, Self::open)
            }
        }
    };
}
#[cfg(not(feature = "process"))]
macro_rules! travels {
    ($($_:tt)*) => {};
}
pub(crate) use travels;

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
/// # Sending it to another process
/// With the feature `process`, a segment, and each handle of an object in one, is a serde value: an argument or a result of a process, a
/// part of what a `Channel` carries, alone or within structs, vectors and options. Where it arrives, the segment is attached and the
/// object opened. A process attaches a segment once, however many of its handles arrive and in whatever way it got the first; in the
/// process that sent it, it is the mapping that is there. (Guards, and the ends of rings, pipes and broadcasts, stay where they are.)
///
/// What is written is where to find it: by its name, in whatever directory, or, if it has none (any more), by way of the sender's descriptor. So a segment
/// without a name must stay attached in the sender until it has arrived, and the receiver must be allowed to look into the sender: a process of
/// the same user, in the same pid namespace, that has not made itself undumpable (by `setuid`, say). A segment that has taken the name meanwhile is not mistaken for it.
/// The bytes mean something only to processes of this machine, built with the same version of this crate.
///
/// A segment that its sender [guards against truncation](SegmentOptions::guard_truncation) arrives guarded. Whom to trust is the receiver's
/// own decision: another user's segment is refused, unless its size is sealed (that of an [anonymous](Self::anonymous) one is), or the receiver has attached it
/// before, with [`allow_other_users`](SegmentOptions::allow_other_users). Receive handles only from whom you trust with every segment that you
/// may attach yourself: `docs/security.md` says what others can do with them.
///
/// A handle that can't be attached is an error of serde's, whose text says why, and what to do about it; for a `Channel` that is the reason in
/// [`NotDecodable`](crate::Error::NotDecodable).
///
/// ```
/// # #[cfg(feature = "process")]
/// # fn main() -> commonhold::Result<()> {
/// use commonhold::{Array, Channel, Segment};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Sum {
///     of: Array<u64>,
///     answer: Channel<u64>,
/// }
///
/// let seg = Segment::anonymous(1 << 16)?;
/// let requests = Channel::<Sum>::create(&seg, "requests", 4096)?;
/// let answer = Channel::create(&seg, "answer", 64)?;
/// let of = Array::from_slice(&Segment::anonymous(1 << 16)?, "numbers", &[1, 2, 3])?;
/// requests.send(&Sum { of: of.clone(), answer: answer.clone() })?;
///
/// // In any other process:
/// let request = requests.recv()?;
/// request.answer.send(&request.of.to_vec()?.iter().sum())?;
///
/// assert_eq!(answer.recv()?, 6);
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "process"))]
/// # fn main() {}
/// ```
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
    dying: Dying,
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

    /// As [`as_fd`](AsFd::as_fd). `None`: that was closed behind our back, and the number may be another file's by now.
    #[cfg(feature = "process")]
    pub(crate) fn fd_if_open(&self) -> Option<BorrowedFd<'_>> {
        self.inner.file.descriptor().map(|_| self.as_fd())
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

    /// Whether both are attachments of one segment.
    pub(crate) fn is_same_segment(&self, other: &Inner) -> bool {
        std::ptr::eq(self, other) || self.file.is_same(&other.file)
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

    #[cfg(feature = "process")]
    fn is_guarded(&self) -> bool {
        self.truncation.is_some()
    }

    /// Whether this process is (still) the member `id`: not in a child that was forked from it.
    #[inline]
    pub(crate) fn is_me(&self, id: MemberId) -> bool {
        self.me_if_attached() == Some(id)
    }
}
