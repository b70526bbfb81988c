//! The segment's bytes as an outsider has them: the file of /dev/shm, mapped without the crate.

use crate::layout;
use memmap2::{MmapOptions, MmapRaw};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};

/// A mapping of the file, and what it held when it was opened.
pub(crate) struct Region {
    map: MmapRaw,
    /// Asks after locks: a description of its own, with which everybody's conflict.
    asks: File,
    /// Takes them.
    vouches: File,
    pub(crate) pristine: Vec<u8>,
}

impl Region {
    pub(crate) fn open(name: &str) -> Region {
        Region::beginning_of(name, None)
    }

    /// The first bytes of the file only, or all of them.
    pub(crate) fn beginning_of(name: &str, len: Option<usize>) -> Region {
        let path = std::path::Path::new("/dev/shm").join(name);
        let open = || File::options().read(true).write(true).open(&path);
        let asks = open().unwrap();
        let len = len.unwrap_or(asks.metadata().unwrap().len() as usize);
        let mut region = Region {
            map: MmapOptions::new().len(len).map_raw(&asks).unwrap(),
            asks,
            vouches: open().unwrap(),
            pristine: Vec::new(),
        };
        region.pristine = region.read(0, region.len());
        region
    }

    pub(crate) fn len(&self) -> u64 {
        self.map.len() as u64
    }

    fn at(&self, at: u64, width: u64) -> *mut u8 {
        assert!(at + width <= self.len() && at % width == 0);
        // SAFETY: within the mapping, as just checked.
        unsafe { self.map.as_mut_ptr().add(at as usize) }
    }

    pub(crate) fn word(&self, at: u64) -> &AtomicU32 {
        // SAFETY: in bounds and aligned (checked by `at`), mapped as long as `self`, and used by atomics alone.
        unsafe { AtomicU32::from_ptr(self.at(at, 4).cast()) }
    }

    fn long(&self, at: u64) -> &AtomicU64 {
        // SAFETY: as in `word`.
        unsafe { AtomicU64::from_ptr(self.at(at, 8).cast()) }
    }

    /// Relaxed, as all here: whoever scribbles keeps no order.
    pub(crate) fn get(&self, at: u64, width: u64) -> u64 {
        match width {
            4 => self.word(at).load(Relaxed).into(),
            _ => self.long(at).load(Relaxed),
        }
    }

    pub(crate) fn put(&self, at: u64, width: u64, n: u64) {
        match width {
            // SAFETY: as in `word`.
            2 => unsafe { AtomicU16::from_ptr(self.at(at, 2).cast()).store(n as u16, Relaxed) },
            4 => self.word(at).store(n as u32, Relaxed),
            _ => self.long(at).store(n, Relaxed),
        }
    }

    pub(crate) fn write(&self, at: u64, bytes: &[u8]) {
        for (at, byte) in (at..self.len()).zip(bytes) {
            // SAFETY: as in `word`.
            unsafe { AtomicU8::from_ptr(self.at(at, 1)).store(*byte, Relaxed) }
        }
    }

    pub(crate) fn read(&self, at: u64, len: u64) -> Vec<u8> {
        let end = (at + len).min(self.len());
        // SAFETY: as in `word`.
        let byte = |at| unsafe { AtomicU8::from_ptr(self.at(at, 1)).load(Relaxed) };
        (at..end).map(byte).collect()
    }

    /// Writes back what stood there at first.
    pub(crate) fn mend(&self, at: u64, len: u64) {
        let end = (at + len).min(self.len());
        self.write(at, &self.pristine[at as usize..end as usize]);
    }

    /// Writes back all that differs from what stood there at first.
    pub(crate) fn mend_all(&self) {
        for at in (0..self.len()).step_by(8) {
            let bytes = &self.pristine[at as usize..at as usize + 8];
            let was = u64::from_ne_bytes(bytes.try_into().unwrap());
            if self.long(at).load(Relaxed) != was {
                self.long(at).store(was, Relaxed);
            }
        }
    }

    /// Whether the lock word at `at` names somebody for whom the kernel vouches.
    pub(crate) fn is_held_by_the_living(&self, at: u64) -> bool {
        let owner = self.get(at, 4) as u32 & layout::OWNER;
        owner != 0 && lock(&self.asks, libc::F_OFD_GETLK, libc::F_RDLCK, owner)
    }

    /// Makes the kernel vouch for `owner`, whoever that is (`F_WRLCK`), or no longer (`F_UNLCK`).
    pub(crate) fn vouch(&self, kind: i32, owner: u32) {
        lock(&self.vouches, libc::F_OFD_SETLK, kind, owner);
    }

    /// A wake out of the blue.
    pub(crate) fn wake(&self, at: u64) {
        // SAFETY: a live, aligned word.
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                self.word(at).as_ptr(),
                libc::FUTEX_WAKE,
                i32::MAX,
            );
        }
    }

    /// Takes a page out of the file: it reads as zeros from here on.
    pub(crate) fn punch(&self, at: u64) {
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        // SAFETY: the descriptor is open, the length stays.
        unsafe { libc::fallocate(self.vouches.as_raw_fd(), mode, at as i64 & !4095, 4096) };
    }

    /// Lets those who sleep on one word sleep on another instead.
    pub(crate) fn requeue(&self, from: u64, to: u64) {
        // SAFETY: two live, aligned words.
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                self.word(from).as_ptr(),
                libc::FUTEX_REQUEUE,
                0,
                i32::MAX as usize,
                self.word(to).as_ptr(),
            );
        }
    }
}

/// Whether the command found a lock (to get), or could not be done (to set).
fn lock(file: &File, command: i32, kind: i32, owner: u32) -> bool {
    // SAFETY: zero bytes are a valid flock, and the command reads and writes one.
    unsafe {
        let mut lock: libc::flock = std::mem::zeroed();
        lock.l_type = kind as libc::c_short;
        lock.l_start = layout::liveness(owner);
        lock.l_len = 1;
        let r = libc::fcntl(file.as_raw_fd(), command, &raw mut lock);
        r != 0 || lock.l_type != libc::F_UNLCK as libc::c_short
    }
}
