//! The first 4,096 bytes: what the segment is, and the words that all its members share.

use super::BLOCK;
use super::directory::Entry;
use super::members::Slot;
use crate::error::{Error, Result};
use crate::raw::MemberId;
use crate::raw::mutex::RawMutex;
use crate::sys::atomic::AtomicU32;
use crate::sys::map::InRegion;
use bytemuck::{Pod, Zeroable};

/// The version of the layout that this build makes and reads. A segment of another version is refused
/// with [`Error::VersionMismatch`].
pub const LAYOUT_VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"comnhold";
const BYTE_ORDER: u32 = 0x0102_0304;

/// More objects than this make a directory of over 16 MiB.
pub(crate) const MOST_OBJECTS: u32 = 65_536;

/// Bytes 0..128: written before the segment has a name, and never again. Everybody copies them at attach, checks the copy,
/// and believes the copy only.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(super) magic: [u8; 8],
    pub(super) version: u32,
    pub(super) byte_order: u32,
    pub(super) header_bytes: u32,
    pub(super) slot_bytes: u32,
    pub(super) entry_bytes: u32,
    pub(crate) max_members: u32,
    pub(crate) max_objects: u32,
    pub(super) reserved: u32,
    pub(crate) slots_at: u64,
    pub(crate) entries_at: u64,
    pub(crate) data_at: u64,
    /// Bytes for objects, from `data_at`.
    pub(crate) capacity: u64,
    /// Of the whole file.
    pub(crate) file_bytes: u64,
    /// No other segment's: by it a segment is known again where it was sent, which a file's inode number does not tell (ext4 gives it to the
    /// next file at once).
    pub(crate) id: [u8; 16],
    pub(super) unused: [u8; 24],
    pub(super) checksum: u64,
}

// SAFETY: integers and bytes only, and zero is a value of each.
unsafe impl Zeroable for Geometry {}
// SAFETY: `repr(C)`, integers and bytes only, no padding (the sizes add up to the asserted 128).
unsafe impl Pod for Geometry {}

impl Geometry {
    pub(crate) fn new(
        capacity: u64,
        max_members: u32,
        max_objects: u32,
        id: [u8; 16],
    ) -> Result<Geometry> {
        if max_members == 0 || max_objects == 0 {
            return Err(Error::InvalidArgument(
                "max_members and max_objects must be at least 1",
            ));
        }
        limit(max_members.into(), MemberId::SLOTS.into())?;
        limit(max_objects.into(), MOST_OBJECTS.into())?;
        // Far beyond any machine, and far from overflow.
        limit(capacity, 1 << 56)?;
        let capacity = capacity.max(1).next_multiple_of(BLOCK);
        let slots_at = BLOCK;
        let slots = u64::from(max_members) * size_of::<Slot>() as u64;
        let entries_at = (slots_at + slots).next_multiple_of(super::OBJECT_ALIGN);
        let entries = u64::from(max_objects) * size_of::<Entry>() as u64;
        let data_at = (entries_at + entries).next_multiple_of(BLOCK);
        let mut g = Geometry {
            magic: MAGIC,
            version: LAYOUT_VERSION,
            byte_order: BYTE_ORDER,
            header_bytes: BLOCK as u32,
            slot_bytes: size_of::<Slot>() as u32,
            entry_bytes: size_of::<Entry>() as u32,
            max_members,
            max_objects,
            reserved: 0,
            slots_at,
            entries_at,
            data_at,
            capacity,
            file_bytes: data_at + capacity,
            id,
            unused: [0; 24],
            checksum: 0,
        };
        g.checksum = g.sum();
        Ok(g)
    }

    fn sum(&self) -> u64 {
        let bytes = bytemuck::bytes_of(self);
        super::hash(&bytes[..std::mem::offset_of!(Geometry, checksum)])
    }

    /// Judges the first bytes of a file that is `file_bytes` long.
    pub(crate) fn check(head: &[u8], file_bytes: u64) -> Result<Geometry> {
        let Some(head) = head.get(..size_of::<Geometry>()) else {
            return Err(Error::NotASegment);
        };
        let g: Geometry = bytemuck::pod_read_unaligned(head);
        if g.magic != MAGIC {
            return Err(Error::NotASegment);
        }
        if g.version != LAYOUT_VERSION || g.byte_order != BYTE_ORDER {
            return Err(Error::VersionMismatch);
        }
        // What remains follows from three numbers and the id: anything else is damage, whatever the checksum says.
        let expected = Geometry::new(g.capacity, g.max_members, g.max_objects, g.id);
        if expected.ok() != Some(g) || g.file_bytes != file_bytes {
            return Err(Error::Corrupt);
        }
        Ok(g)
    }

    /// Whether the bytes begin like a segment of any version.
    pub(crate) fn has_magic(head: &[u8]) -> bool {
        head.starts_with(&MAGIC)
    }

    pub(crate) fn slot_at(&self, slot: u32) -> u64 {
        self.slots_at + u64::from(slot) * size_of::<Slot>() as u64
    }

    pub(crate) fn entry_at(&self, index: u32) -> u64 {
        self.entries_at + u64::from(index) * size_of::<Entry>() as u64
    }
}

fn limit(requested: u64, limit: u64) -> Result<()> {
    if requested > limit {
        return Err(Error::TooLarge { requested, limit });
    }
    Ok(())
}

/// Bytes 128..384: the words that members change, each group on lines of its own.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Shared {
    /// Guards the making of entries in the directory.
    pub(crate) directory: RawMutex,
    /// The slot where the next member begins its search, so that a slot is not taken again too soon.
    pub(crate) next_slot: AtomicU32,
    pub(super) reserved: [u32; 29],
    /// Changes with each death or departure that somebody noticed. A futex word.
    pub(crate) deaths: AtomicU32,
    /// When the last sweep was, in milliseconds of CLOCK_MONOTONIC, modulo 2^32.
    pub(crate) swept_at: AtomicU32,
    /// The slot where the next sweep begins.
    pub(crate) sweep_from: AtomicU32,
    pub(super) reserved_too: u32,
    /// The members one of whose threads watches over the others' sleep: the first one sweeps, the second is its deputy,
    /// six more are in reserve. 0: nobody.
    pub(crate) roles: [AtomicU32; ROLES],
    pub(super) reserved_three: [u64; 10],
}

/// How many of the waiters do not sleep long.
pub(crate) const ROLES: usize = 8;

// SAFETY: atomics, and reserved bytes that nobody reads; `repr(C)`.
unsafe impl InRegion for Shared {}

pub(crate) const SHARED_AT: u64 = size_of::<Geometry>() as u64;

const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<Geometry>() == 128);
    assert!(size_of::<Shared>() == 256);
    assert!(offset_of!(Shared, deaths) == 128);
};

#[cfg(test)]
mod tests {
    use super::*;

    const ID: [u8; 16] = *b"a segment's name";

    fn bytes() -> (Vec<u8>, u64) {
        let g = Geometry::new(10_000, 7, 9, ID).unwrap();
        (bytemuck::bytes_of(&g).to_vec(), g.file_bytes)
    }

    #[test]
    fn a_geometry_survives_the_trip() {
        let (head, len) = bytes();
        let g = Geometry::check(&head, len).unwrap();
        assert_eq!((g.max_members, g.max_objects, g.capacity), (7, 9, 12_288));
    }

    #[test]
    fn every_changed_bit_is_noticed() {
        let (head, len) = bytes();
        for bit in 0..head.len() * 8 {
            let mut bad = head.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let e = Geometry::check(&bad, len).expect_err("a changed bit");
            match bit / 8 {
                0..8 => assert!(matches!(e, Error::NotASegment), "{bit}: {e}"),
                8..16 => assert!(matches!(e, Error::VersionMismatch), "{bit}: {e}"),
                _ => assert!(matches!(e, Error::Corrupt), "{bit}: {e}"),
            }
        }
    }

    #[test]
    fn a_short_file_is_refused() {
        let (head, len) = bytes();
        for n in 0..head.len() {
            assert!(matches!(
                Geometry::check(&head[..n], n as u64),
                Err(Error::NotASegment)
            ));
        }
        for other in [0, len - 1, len + 1] {
            assert!(matches!(Geometry::check(&head, other), Err(Error::Corrupt)));
        }
    }

    #[test]
    fn limits_are_kept() {
        assert!(matches!(
            Geometry::new(1, 0, 1, ID),
            Err(Error::InvalidArgument(_))
        ));
        assert!(matches!(
            Geometry::new(1, 1025, 1, ID),
            Err(Error::TooLarge { limit: 1024, .. })
        ));
        assert!(matches!(
            Geometry::new(u64::MAX, 1, 1, ID),
            Err(Error::TooLarge { .. })
        ));
        assert!(Geometry::new(1 << 56, 1024, MOST_OBJECTS, ID).is_ok());
    }
}
