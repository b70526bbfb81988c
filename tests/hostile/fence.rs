//! Pages on both sides of a segment's mapping that nobody may touch: an access just outside is then a signal and not a
//! quiet look at whatever lies beside it.

use crate::region::Region;
use std::ptr::null_mut;

const PAGE: usize = 4096;

/// A hole of a given length between two pages of no access. The kernel puts the next mapping of that length into it,
/// because it is the smallest that fits.
pub(crate) struct Fence {
    at: *mut u8,
    len: usize,
}

impl Fence {
    /// For the mapping of the whole of `region`'s file that is made next.
    pub(crate) fn around_the_next(region: &Region) -> Fence {
        let len = region.len() as usize;
        // SAFETY: a new mapping, placed by the kernel; then a part of it is given back.
        unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
            let at = libc::mmap(null_mut(), len + 2 * PAGE, libc::PROT_NONE, flags, -1, 0);
            assert_ne!(at, libc::MAP_FAILED);
            let at = at.cast::<u8>();
            assert_eq!(libc::munmap(at.add(PAGE).cast(), len), 0);
            Fence { at, len }
        }
    }

    /// Whether a mapping of the file fills the hole.
    pub(crate) fn is_filled(&self, name: &str) -> bool {
        let from = self.at as usize + PAGE;
        let range = format!("{from:x}-{:x} rw-s", from + self.len);
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let mut lines = maps.lines();
        lines.any(|line| line.starts_with(&range) && line.contains(name))
    }
}

impl Drop for Fence {
    fn drop(&mut self) {
        // SAFETY: the two pages are ours; what lies between them is not touched.
        unsafe {
            libc::munmap(self.at.cast(), PAGE);
            libc::munmap(self.at.add(PAGE + self.len).cast(), PAGE);
        }
    }
}
