//! The file of a segment, as somebody else has it who keeps no protocol.

use crate::patch::{ENTRIES_AT, ENTRY_BYTES, Number, OFFSET, SHARED_AT};
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;

/// The file of a segment, looked at and written from outside.
pub struct Outside {
    pub file: File,
    len: u64,
}

impl Outside {
    pub fn new(bytes: &[u8]) -> Outside {
        // SAFETY: the name is a C string; the kernel gives a new descriptor, which is ours.
        let file = unsafe {
            let fd = libc::memfd_create(c"fuzz".as_ptr(), libc::MFD_CLOEXEC);
            assert!(fd >= 0, "{}", std::io::Error::last_os_error());
            File::from_raw_fd(fd)
        };
        file.write_all_at(bytes, 0).unwrap();
        Outside {
            file,
            len: bytes.len() as u64,
        }
    }

    pub fn len(&self) -> u64 {
        self.len
    }

    /// Makes the file longer or shorter: before anybody maps it, for a shorter file is SIGBUS to who has.
    pub fn resize(&mut self, by: i16) {
        self.len = self.len.saturating_add_signed(by.into());
        self.file.set_len(self.len).unwrap();
    }

    /// Writes what fits into the file: it never grows.
    pub fn write(&self, at: u64, bytes: &[u8]) {
        let room = self.len().saturating_sub(at).min(bytes.len() as u64);
        self.file.write_all_at(&bytes[..room as usize], at).unwrap();
    }

    pub fn write_number(&self, at: u64, width: usize, number: Number) {
        self.write(at, &number.get().to_ne_bytes()[..width]);
    }

    /// So many bytes; zero where the file has none.
    pub fn read<const N: usize>(&self, at: u64) -> [u8; N] {
        let mut bytes = [0; N];
        let _ = self.file.read_exact_at(&mut bytes, at);
        bytes
    }

    pub fn read_u32(&self, at: u64) -> u32 {
        u32::from_ne_bytes(self.read(at))
    }

    pub fn read_u64(&self, at: u64) -> u64 {
        u64::from_ne_bytes(self.read(at))
    }

    /// Whether the lock word at `at` names a member for which the kernel vouches.
    pub fn is_held_by_the_living(&self, at: u64) -> bool {
        let word = self.read_u32(at) & ((1 << 30) - 1);
        // SAFETY: zero bytes are a valid flock, and the command reads and writes one.
        unsafe {
            let mut lock: libc::flock = std::mem::zeroed();
            lock.l_type = libc::F_RDLCK as libc::c_short;
            lock.l_start = (1 << 61) + (i64::from(word % 1024) << 32) + i64::from(word >> 10);
            lock.l_len = 1;
            let r = libc::fcntl(self.file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock);
            r != 0 || lock.l_type != libc::F_UNLCK as libc::c_short
        }
    }

    /// Whether making an object would wait for a living member (that is, for this process).
    pub fn directory_is_held(&self) -> bool {
        self.is_held_by_the_living(SHARED_AT)
    }

    /// Whether any object's first word, where a queue has its senders' lock, names a living member.
    pub fn any_object_is_held(&self) -> bool {
        (0..16).any(|i| {
            let at = self.read_u64(ENTRIES_AT + i * ENTRY_BYTES + OFFSET);
            self.is_held_by_the_living(at % self.len().max(1))
        })
    }
}
