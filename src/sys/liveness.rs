//! Whether a member lives: a record lock that its address space holds, and that the kernel drops with it.
//!
//! The lock is an open-file-description (OFD) lock on one byte of the segment's file. Its description is kept by a
//! single PROT_NONE, MADV_DONTFORK page and by nothing else, so that neither a forked child nor `close_range` nor the
//! end of a thread matters: the lock ends exactly when the address space does (death, `exec`) or the page is unmapped.
//! No byte is ever read or written through it, so locks may lie far beyond the end of the file.

use super::fork::NoForks;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// A new description of the segment's file, mapped, on which locks are being tried.
#[derive(Debug)]
pub(crate) struct Candidate<'a> {
    file: File,
    page: *mut libc::c_void,
    _no_forks: &'a NoForks,
}

/// Only one byte of the page matters, and the kernel rounds it up.
const PAGE: usize = 1;

impl<'a> Candidate<'a> {
    /// `file` must be a description of its own: not the one that maps the data.
    pub(crate) fn new(file: File, no_forks: &'a NoForks) -> io::Result<Candidate<'a>> {
        // SAFETY: a new mapping, placed by the kernel, that nobody can read or write.
        let page = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                PAGE,
                libc::PROT_NONE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let candidate = Candidate {
            file,
            page,
            _no_forks: no_forks,
        };
        // SAFETY: the mapping was made above.
        if unsafe { libc::madvise(page, PAGE, libc::MADV_DONTFORK) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(candidate)
    }

    /// Takes the lock at `offset`; `false` if another description holds it.
    pub(crate) fn lock(&self, offset: i64) -> io::Result<bool> {
        match control(&self.file, libc::F_OFD_SETLK, libc::F_WRLCK, offset) {
            Ok(_) => Ok(true),
            Err(e) if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
            Err(e) => Err(e),
        }
    }

    pub(crate) fn unlock(&self, offset: i64) -> io::Result<()> {
        control(&self.file, libc::F_OFD_SETLK, libc::F_UNLCK, offset).map(drop)
    }

    /// Closes the descriptor; the page alone holds the locks from here on. [`release`] ends it.
    pub(crate) fn hold(self) -> *mut libc::c_void {
        let page = self.page;
        let this = std::mem::ManuallyDrop::new(self);
        // SAFETY: `this` is never used or dropped again, so the file is moved out of it once.
        drop(unsafe { std::ptr::read(&this.file) });
        page
    }
}

impl Drop for Candidate<'_> {
    fn drop(&mut self) {
        // SAFETY: the page was mapped by `new` and is not handed out (`hold` forgets `self`).
        unsafe { release(self.page) };
    }
}

/// Unmaps a page that [`Candidate::hold`] returned; the kernel drops its locks.
///
/// # Safety
/// `page` came from `hold` in this process (not in one that it was forked from), and is released once.
pub(crate) unsafe fn release(page: *mut libc::c_void) {
    // SAFETY: as the caller promises.
    unsafe { libc::munmap(page, PAGE) };
}

/// Whether any description but `file`'s own holds the lock at `offset`.
pub(crate) fn is_held(file: &File, offset: i64) -> io::Result<bool> {
    // A read lock conflicts with the members' write locks, and not with the read locks of those who watch.
    let found = control(file, libc::F_OFD_GETLK, libc::F_RDLCK, offset)?;
    Ok(found != libc::F_UNLCK as libc::c_short)
}

fn control(file: &File, command: i32, kind: i32, offset: i64) -> io::Result<libc::c_short> {
    // SAFETY: zero bytes are a valid flock; l_pid must be zero for OFD commands.
    let mut lock: Flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock.l_start = offset;
    lock.l_len = 1;
    // SAFETY: the descriptor is open, and the commands read and write one flock.
    if unsafe { fcntl(file.as_raw_fd(), command, &raw mut lock) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(lock.l_type)
}

/// `struct flock` with 64-bit offsets.
#[cfg(target_pointer_width = "64")]
type Flock = libc::flock;
#[cfg(not(target_pointer_width = "64"))]
type Flock = libc::flock64;

#[cfg(target_pointer_width = "64")]
unsafe fn fcntl(fd: i32, command: i32, lock: *mut Flock) -> i32 {
    // SAFETY: as the caller promises.
    unsafe { libc::fcntl(fd, command, lock) }
}

/// The kernel itself, which takes 64-bit offsets for OFD commands on every machine: 32-bit glibc's `fcntl` expects 32-bit
/// ones even there, and would take the upper half of our offset for a length.
#[cfg(not(target_pointer_width = "64"))]
unsafe fn fcntl(fd: i32, command: i32, lock: *mut Flock) -> i32 {
    // SAFETY: as the caller promises.
    unsafe { libc::syscall(libc::SYS_fcntl64, fd, command, lock) as i32 }
}
