//! What is in a segment, for people and tools.

use super::Inner;
use crate::layout::fingerprint::Kind;
use crate::raw::Membership;

/// A process that has the segment attached; see [`Segment::members`](super::Segment::members).
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its process id, as the process itself sees it: in another pid namespace it may name somebody else.
    pub pid: u32,
    /// Whether it may still act, as the kernel says. A dead member is listed until somebody meets its remains.
    pub alive: bool,
    /// Whether it is this process, by this handle.
    pub is_me: bool,
}

/// An object in the segment; see [`Segment::objects`](super::Segment::objects).
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// The short name of the type of its items.
    pub type_name: String,
    /// How many items it holds, or can hold; for a barrier, its parties.
    pub len: usize,
    /// Bytes that it takes in the segment.
    pub size: usize,
}

impl Inner {
    pub(super) fn members(&self) -> Vec<Member> {
        (0..self.geometry.max_members)
            .filter_map(|slot| {
                let claim = self.claim(slot);
                let id = claim.owner(slot)?;
                Some(Member {
                    pid: claim.pid(),
                    alive: self.is_alive(id),
                    is_me: self.is_me(id),
                })
            })
            .collect()
    }

    pub(super) fn objects(&self) -> Vec<Object> {
        (0..self.geometry.max_objects)
            .filter_map(|index| self.entry(index).read().ok().flatten())
            .filter(|d| self.check_place(d).is_ok())
            .map(|d| Object {
                name: d.name,
                kind: d.fingerprint.kind,
                type_name: d.fingerprint.type_name,
                len: d.fingerprint.len as usize,
                size: d.size as usize,
            })
            .collect()
    }
}
