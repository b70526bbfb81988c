//! Handles as serde values: what is written of one, and how it is attached where it arrives.
//!
//! A segment is written as the identity of its file and the ways to it: its name, and its number among the sender's descriptors. What a
//! message says is not believed: a file is opened only if it is a regular one with the identity that was said, and attached only if it is a
//! segment that this process might have opened by its name. An object is written as its segment and its name, and its type's own `open` finds it.

use super::registry::{self, Identity};
use super::{Inner, Placed, Segment, open};
use crate::encoding::reasons;
use crate::error::Result;
use crate::layout::BLOCK;
use crate::sys::map::InRegion;
use crate::sys::shm::{SegmentFile, Sought};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use std::cell::RefCell;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::Arc;

#[cfg(test)]
mod tests;

/// Of a segment's file: the header, the member table and the directory, and a page of objects. What the kernel shows of itself as files
/// (proc, sysfs) is shorter.
const LEAST_BYTES: u64 = 3 * BLOCK;

/// Where a segment is found by another process of this machine.
#[derive(Clone, Debug, PartialEq)]
struct Address {
    identity: Identity,
    /// Its full path, if it has one.
    path: Option<PathBuf>,
    /// A process that has it open, as that process sees itself, and the number of its descriptor there.
    pid: u32,
    fd: Option<u32>,
    /// Whether that process guards against truncation.
    guarded: bool,
}

/// An [`Address`] in serde's types.
type Written = (u64, u64, [u8; 16], Option<Vec<u8>>, u32, Option<u32>, bool);

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (dev, ino) = self.identity.file;
        let path = self.path.as_ref().map(|p| p.as_os_str().as_bytes());
        let (id, pid, fd) = (self.identity.id, self.pid, self.fd);
        (dev, ino, id, path, pid, fd, self.guarded).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (dev, ino, id, path, pid, fd, guarded) = Written::deserialize(deserializer)?;
        Ok(Address {
            identity: Identity {
                file: (dev, ino),
                id,
            },
            path: path.map(|bytes| OsString::from_vec(bytes).into()),
            pid,
            fd,
            guarded,
        })
    }
}

impl Address {
    /// `None`: nobody else can find it.
    fn of(inner: &Inner) -> Option<Address> {
        let path = inner.file.full_path();
        let fd = inner.file.descriptor();
        if path.is_none() && fd.is_none() {
            return None;
        }
        Some(Address {
            identity: inner.identity(),
            path,
            pid: std::process::id(),
            fd: fd.and_then(|fd| u32::try_from(fd).ok()),
            guarded: inner.is_guarded(),
        })
    }

    /// The segment, attached: once in a process, however often it arrives.
    fn attach(&self) -> Result<Segment, String> {
        let known = || registry::find(&self.identity, self.guarded);
        if let Some(segment) = known() {
            return Ok(segment);
        }
        let attached = self.attach_anew();
        // Another thread may have been quicker, and have taken the last member slot. All take the first one's.
        known().map_or(attached, Ok)
    }

    fn attach_anew(&self) -> Result<Segment, String> {
        let mut refused = None;
        for way in [Address::by_name, Address::by_descriptor, Address::inherited] {
            match way(self) {
                Ok(Some(file)) => match self.attach_file(file) {
                    Ok(Some(segment)) => return Ok(segment),
                    // As if it were not there.
                    Ok(None) => {}
                    Err(e) => return Err(format!("{} can't be attached: {e}", self.what())),
                },
                Ok(None) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => refused = refused.or(Some(e)),
            }
        }
        Err(self.unreachable(refused))
    }

    fn sought(&self) -> Sought {
        Sought {
            identity: self.identity.file,
            least: LEAST_BYTES,
        }
    }

    fn by_name(&self) -> io::Result<Option<SegmentFile>> {
        let Some(path) = self.path.as_deref().filter(|p| p.is_absolute()) else {
            return Ok(None);
        };
        SegmentFile::find_by_name(path, &self.sought()).map(Some)
    }

    fn by_descriptor(&self) -> io::Result<Option<SegmentFile>> {
        let found = |fd| SegmentFile::find_by_descriptor(self.pid, fd, &self.sought());
        self.fd.map(found).transpose()
    }

    fn inherited(&self) -> io::Result<Option<SegmentFile>> {
        let found = |fd| SegmentFile::find_inherited(fd, &self.sought());
        self.fd.map(found).transpose()
    }

    /// `None`: it is a file that another segment's has become.
    fn attach_file(&self, file: SegmentFile) -> Result<Option<Segment>> {
        // As for any descriptor that was received: whoever sent it decides nothing about whom this process trusts.
        open::refuse_other_users(&file, file.is_sealed())?;
        let geometry = open::read_geometry_anew(&file)?;
        if geometry.id != self.identity.id {
            return Ok(None);
        }
        let name = file.name().unwrap_or_default().to_owned();
        open::attach(file, geometry, &name, self.guarded).map(Some)
    }

    fn what(&self) -> String {
        match &self.path {
            // Escaped: a sender chose it.
            Some(path) => format!("segment {path:?}"),
            None => "the segment (it has no name)".to_owned(),
        }
    }

    fn unreachable(&self, refused: Option<io::Error>) -> String {
        let (name, remedy) = match self.path {
            Some(_) => (
                "its name was removed, or is another segment's by now, and ",
                "while it has its name, or while the sender has it attached",
            ),
            None => (
                "",
                "while the sender has it attached, or use a segment that has a name",
            ),
        };
        let (what, pid) = (self.what(), self.pid);
        let refused = refused.map_or(String::new(), |e| format!(": {e}"));
        format!(
            "{what} is not to be found: {name}process {pid}, which sent it, has dropped it, has ended, or can't be looked into \
             (another user's, not dumpable, or in another pid namespace{refused}); let it arrive {remedy}"
        )
    }
}

/// Says it also to those whose format has no room for it.
fn not_sent<E: ser::Error>(why: String) -> E {
    reasons::say(why.clone());
    E::custom(why)
}

fn not_attached<E: de::Error>(why: String) -> E {
    reasons::say(why.clone());
    E::custom(why)
}

impl Serialize for Segment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        address(self)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Segment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Address::deserialize(deserializer)?
            .attach()
            .map_err(not_attached)
    }
}

thread_local! {
    /// The segments that were written since somebody began to ask.
    static WRITTEN: RefCell<Option<Vec<Segment>>> = const { RefCell::new(None) };
}

/// What `f` returns, and the segments that it wrote, itself or by a handle, each once. While they are attached here, they arrive.
pub(crate) fn noting_segments<R>(f: impl FnOnce() -> R) -> (R, Vec<Segment>) {
    /// Values within values, and `f` may panic: what was noted outside is noted on.
    struct Before(Option<Vec<Segment>>);
    impl Drop for Before {
        fn drop(&mut self) {
            WRITTEN.set(self.0.take());
        }
    }
    let _before = Before(WRITTEN.replace(Some(Vec::new())));
    let result = f();
    (result, WRITTEN.take().unwrap_or_default())
}

fn note(segment: &Segment) {
    // A thread that ends notes nothing any more.
    let _ = WRITTEN.try_with(|written| {
        let mut written = written.borrow_mut();
        if let Some(list) = written.as_mut() {
            if !list.iter().any(|s| Arc::ptr_eq(&s.inner, &segment.inner)) {
                list.push(segment.clone());
            }
        }
    });
}

fn address<E: ser::Error>(segment: &Segment) -> Result<Address, E> {
    note(segment);
    Address::of(segment.inner()).ok_or_else(|| {
        not_sent(
            "the segment has no name, and this process has closed its descriptor: no other process can find it; don't close \
             descriptors that are not yours, or use a segment that has a name"
                .to_owned(),
        )
    })
}

/// Writes a handle, as its segment and its name there.
pub(crate) fn send<R: InRegion, S: Serializer>(
    object: &Placed<R>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let address = address(object.segment())?;
    let name = object
        .name()
        .map_err(|e| not_sent(format!("the object's name can't be read: {e}")))?;
    (address, name).serialize(serializer)
}

/// Reads what [`send`] wrote, and opens the object by its type's own `open`.
pub(crate) fn receive<'de, D: Deserializer<'de>, H>(
    deserializer: D,
    open: impl FnOnce(&Segment, &str) -> Result<H>,
) -> Result<H, D::Error> {
    let (address, name) = <(Address, String)>::deserialize(deserializer)?;
    let segment = address.attach().map_err(not_attached)?;
    open(&segment, &name).map_err(|e| {
        let what = address.what();
        not_attached(format!("object {name:?} of {what} can't be opened: {e}"))
    })
}
