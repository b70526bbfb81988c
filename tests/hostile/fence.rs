//! Pages on both sides of a segment's mapping that nobody may touch: an access just outside is then a signal and not a
//! quiet look at whatever lies beside it.

use crate::region::Region;
use std::ptr::null_mut;

const PAGE: usize = 4096;

/// A hole of a given length between two pages of no access, into which the kernel puts the next mapping of that length.
pub(crate) struct Fence {
    at: *mut u8,
    len: usize,
    /// Holes that the kernel would have filled first, because they are higher up, and by chance long enough: they are filled.
    plugs: Vec<*mut u8>,
}

impl Fence {
    /// For the mapping of the whole of `region`'s file that is made next.
    pub(crate) fn around_the_next(region: &Region) -> Fence {
        let len = region.len() as usize;
        let at = reserve(len + 2 * PAGE);
        // SAFETY: a part of that mapping, which nobody uses.
        let hole = unsafe {
            let hole = at.add(PAGE);
            assert_eq!(libc::munmap(hole.cast(), len), 0);
            hole
        };
        let mut plugs = Vec::new();
        // Not for ever: another thread may have filled the hole.
        while plugs.len() < 100 {
            let next = reserve(len);
            if next == hole {
                // SAFETY: that mapping, which nobody uses.
                assert_eq!(unsafe { libc::munmap(hole.cast(), len) }, 0);
                break;
            }
            plugs.push(next);
        }
        Fence { at, len, plugs }
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
        // SAFETY: the two pages and the plugs are ours; what lies between the pages is not touched.
        unsafe {
            libc::munmap(self.at.cast(), PAGE);
            libc::munmap(self.at.add(PAGE + self.len).cast(), PAGE);
            for plug in &self.plugs {
                libc::munmap(plug.cast(), self.len);
            }
        }
    }
}

/// A new mapping of no access, where the kernel puts it.
fn reserve(len: usize) -> *mut u8 {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping, that nothing else is at.
    let at = unsafe { libc::mmap(null_mut(), len, libc::PROT_NONE, flags, -1, 0) };
    assert_ne!(at, libc::MAP_FAILED);
    at.cast()
}

/// In a process of its own, where nobody else maps anything: [name of a file].
pub(crate) fn fence_beside_a_hole(args: &[String]) {
    let region = Region::open(&args[0]);
    let len = region.len() as usize;
    // As high up as it can be, and exactly as long.
    let hole = reserve(len + PAGE).wrapping_add(PAGE);
    // SAFETY: the upper part of that mapping, which nobody uses.
    assert_eq!(unsafe { libc::munmap(hole.cast(), len) }, 0);
    let fence = Fence::around_the_next(&region);
    let _next = Region::open(&args[0]);
    assert!(fence.is_filled(&args[0]));
}
