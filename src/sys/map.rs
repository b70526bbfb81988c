//! The segment's bytes in this process's address space.

use super::atomic::{AtomicU32, AtomicU64};
use crate::error::{Error, Place, Result};
use memmap2::{MmapOptions, MmapRaw};
use std::fs::File;

/// The whole segment, mapped shared, read and write. Its length is private and never changes.
#[derive(Debug)]
pub(crate) struct Map(MmapRaw);

/// A type that may be lent as a reference straight into the region: every byte pattern is a value of it, and it
/// changes only through atomics.
///
/// # Safety
/// As said, and the type is `repr(C)` or `repr(transparent)`.
pub(crate) unsafe trait InRegion {}

// SAFETY: an atomic integer.
unsafe impl InRegion for AtomicU32 {}
// SAFETY: an atomic integer.
unsafe impl InRegion for AtomicU64 {}

impl Map {
    pub(crate) fn new(file: &File, len: usize) -> Result<Map> {
        // memmap2 refuses lengths over isize::MAX, and the kernel those beyond the address space.
        match MmapOptions::new().len(len).map_raw(file) {
            Ok(map) => Ok(Map(map)),
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOMEM)) => Err(Error::OutOfSpace {
                requested: len as u64,
                available: 0,
                place: Place::AddressSpace,
            }),
            Err(e) => Err(e.into()),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The address of `len` bytes at `offset`, aligned to `align`; `Corrupt` if they are not all inside.
    pub(crate) fn bytes(&self, offset: u64, len: u64, align: usize) -> Result<*mut u8> {
        let end = offset.checked_add(len).ok_or_else(|| Error::Corrupt)?;
        if end > self.len() as u64 || offset % align as u64 != 0 {
            return Err(Error::Corrupt);
        }
        // SAFETY: offset <= end <= len, so the pointer stays inside the mapping or one past its end.
        Ok(unsafe { self.0.as_mut_ptr().add(offset as usize) })
    }

    /// A `T` at `offset`.
    pub(crate) fn get<T: InRegion>(&self, offset: u64) -> Result<&T> {
        let at = self.bytes(offset, size_of::<T>() as u64, align_of::<T>())?;
        // SAFETY: in bounds and aligned (just checked; the mapping itself starts on a page), any bytes are a T, and a T
        // changes only through atomics.
        Ok(unsafe { &*at.cast::<T>() })
    }
}
