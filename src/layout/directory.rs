//! The directory: a table of named objects, open-addressed by the hash of the name. Entries are made and never removed.

use super::fingerprint::{Fingerprint, Kind};
use crate::error::{Error, Result};
use crate::plain::TYPE_NAME_BYTES;
use crate::sys::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sys::copy;
use crate::sys::map::InRegion;
use bytemuck::{Pod, Zeroable};

/// Longest name of an object, in bytes.
pub(crate) const NAME_BYTES: usize = 96;

/// One entry. `state` is stored last, and says that the rest is there.
///
/// | state | meaning |
/// |---|---|
/// | 0 | free: the rest means nothing |
/// | 1 | an object, for ever |
/// | other | damage |
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Entry {
    pub(super) state: AtomicU32,
    pub(super) reserved: AtomicU32,
    /// A [`Record`], in words.
    pub(super) record: [AtomicU64; RECORD_WORDS],
}

const RECORD_WORDS: usize = size_of::<Record>() / 8;

// SAFETY: atomics only, any bytes are a value; `repr(C)`.
unsafe impl InRegion for Entry {}

const FREE: u32 = 0;
const READY: u32 = 1;

/// What an entry says.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(super) kind: u32,
    pub(super) type_align: u32,
    /// From the beginning of the segment.
    pub(super) offset: u64,
    /// Bytes.
    pub(super) size: u64,
    pub(super) len: u64,
    pub(super) type_size: u64,
    pub(super) name_len: u16,
    pub(super) type_name_len: u16,
    pub(super) reserved: u32,
    pub(super) name: [u8; NAME_BYTES],
    pub(super) type_name: [u8; TYPE_NAME_BYTES],
    pub(super) unused: [u8; 8],
}

// SAFETY: integers and bytes only, and zero is a value of each.
unsafe impl Zeroable for Record {}
// SAFETY: `repr(C)`, integers and bytes only, no padding (the sizes add up to the asserted 248).
unsafe impl Pod for Record {}

const _: () = {
    assert!(size_of::<Record>() == 248);
    assert!(size_of::<Entry>() == 256);
    assert!(std::mem::offset_of!(Entry, record) == 8);
};

/// An entry, read and judged by itself. Whether the object's place is inside the segment is for the caller to check.
#[derive(Clone, Debug)]
pub(crate) struct Described {
    pub(crate) name: String,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) offset: u64,
    pub(crate) size: u64,
}

impl Entry {
    /// Where the entry's object ends, if it says that there is one: without a look at the rest.
    pub(crate) fn end(&self) -> Option<u64> {
        // Acquire: as in `read`.
        if self.state.load(Ordering::Acquire) == FREE {
            return None;
        }
        let word = |at: usize| self.record[at / 8].load(Ordering::Relaxed);
        word(std::mem::offset_of!(Record, offset))
            .checked_add(word(std::mem::offset_of!(Record, size)))
    }

    /// `None`: the entry is free.
    pub(crate) fn read(&self) -> Result<Option<Described>> {
        // Acquire: pairs with the Release in `publish`.
        match self.state.load(Ordering::Acquire) {
            FREE => return Ok(None),
            READY => {}
            _ => return Err(Error::Corrupt),
        }
        // SAFETY: `record` is a cell of a Record: 8-aligned, and as long.
        let r: Record = unsafe { copy::load::<Record>(self.record.as_ptr().cast()) };
        let text = |bytes: &[u8], len: u16| {
            let bytes = bytes
                .get(..usize::from(len))
                .ok_or_else(|| Error::Corrupt)?;
            let text = std::str::from_utf8(bytes).map_err(|_| Error::Corrupt)?;
            Ok::<_, Error>(text.to_owned())
        };
        Ok(Some(Described {
            name: text(&r.name, r.name_len)?,
            fingerprint: Fingerprint {
                kind: Kind::from_code(r.kind).ok_or_else(|| Error::Corrupt)?,
                type_name: text(&r.type_name, r.type_name_len)?,
                type_size: r.type_size,
                type_align: r.type_align,
                len: r.len,
            },
            offset: r.offset,
            size: r.size,
        }))
    }

    /// Makes a free entry say `d`. Under the directory's lock.
    pub(crate) fn publish(&self, d: &Described) {
        let f = &d.fingerprint;
        let mut r = Record {
            kind: f.kind.code(),
            type_align: f.type_align,
            offset: d.offset,
            size: d.size,
            len: f.len,
            type_size: f.type_size,
            name_len: d.name.len() as u16,
            type_name_len: f.type_name.len() as u16,
            ..Record::zeroed()
        };
        r.name[..d.name.len()].copy_from_slice(d.name.as_bytes());
        r.type_name[..f.type_name.len()].copy_from_slice(f.type_name.as_bytes());
        // SAFETY: as in `read`.
        unsafe { copy::store(self.record.as_ptr().cast_mut().cast(), &r) };
        // Release: pairs with the Acquire in `read`. This store is the publication of the entry, and of the object, which
        // was initialised before.
        self.state.store(READY, Ordering::Release);
    }
}

/// A name that an object may have.
pub(crate) fn check_name(name: &str) -> Result<()> {
    if name.is_empty() || name.len() > NAME_BYTES || name.contains('\0') {
        return Err(Error::InvalidName);
    }
    Ok(())
}

/// The entries at which `name` may stand, in order: all of them, beginning where its hash says.
pub(crate) fn probe(name: &str, max_objects: u32) -> impl Iterator<Item = u32> {
    let start = (super::hash(name.as_bytes()) % u64::from(max_objects)) as u32;
    (start..max_objects).chain(0..start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_visits_each_entry_once() {
        for max in [1, 2, 7, 64] {
            let mut seen: Vec<u32> = probe("name", max).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..max).collect::<Vec<_>>());
        }
    }

    #[test]
    fn names_are_checked() {
        assert!(check_name("a/b c").is_ok());
        assert!(check_name(&"x".repeat(96)).is_ok());
        for bad in ["", "a\0b", &"x".repeat(97)] {
            assert!(matches!(check_name(bad), Err(Error::InvalidName)));
        }
    }
}
