//! Descriptors on their way into another process.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// The first after those of standard input, output and error.
pub(crate) const FIRST: i32 = 3;

/// Another descriptor of the same file, above those of standard input, output and error.
pub(crate) fn duplicate(file: &impl AsRawFd) -> io::Result<OwnedFd> {
    // SAFETY: the descriptor is open.
    let fd = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_DUPFD_CLOEXEC, FIRST) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes a descriptor that this process was started with, and keeps it from those that it starts in turn. None: it is not open.
///
/// # Safety
/// Nobody else in this process may own it.
pub(crate) unsafe fn inherited(fd: i32) -> Option<OwnedFd> {
    if fd < 0 {
        return None;
    }
    // SAFETY: plain system call; a descriptor that is not open is an error.
    if unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } != 0 {
        return None;
    }
    // SAFETY: it is open, and the caller vouches that it is ours.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A pipe: what is written to the second is read from the first.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [-1; 2];
    // SAFETY: two numbers may be written there.
    if unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us these descriptors.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}
