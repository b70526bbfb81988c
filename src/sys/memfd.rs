//! Files without a name, which are gone with their last descriptor.

use super::shm::{effective_user, file_size_limit};
use crate::error::{Error, Place, Result};
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::{FileExt, MetadataExt};

/// A new, empty one.
pub(crate) fn create(name: &CStr) -> io::Result<File> {
    // SAFETY: the name is a C string; the flag is the kernel's.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us this descriptor.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Whether a file is such a one (or another without a name, in memory), and of this process's user.
pub(crate) fn is_own(file: &File) -> io::Result<bool> {
    // SAFETY: the descriptor is open; the command takes no argument. Files that are not in memory give EINVAL.
    let is_in_memory = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) } >= 0;
    let status = file.metadata()?;
    Ok(is_in_memory && status.nlink() == 0 && status.uid() == effective_user())
}

/// Writes all of it there. An error where plain writing would be answered by a signal that kills (SIGXFSZ).
pub(crate) fn write_at(file: &File, bytes: &[u8], at: u64) -> Result<()> {
    let (end, limit) = (at.saturating_add(bytes.len() as u64), file_size_limit());
    if end > limit {
        return Err(Error::OutOfSpace {
            requested: end,
            available: limit,
            place: Place::FileSizeLimit,
        });
    }
    Ok(file.write_all_at(bytes, at)?)
}

/// Reads so many bytes from there. `Corrupt`: the file does not hold so many; what it says of its length alone is not believed, since a file
/// can be long without holding anything.
pub(crate) fn read_at(file: &File, len: u64, at: u64) -> Result<Vec<u8>> {
    const BLOCK: u64 = 512;
    let status = file.metadata()?;
    let end = at.checked_add(len).ok_or_else(|| Error::Corrupt)?;
    let held = status.blocks().saturating_mul(BLOCK);
    if end > status.size() || len > held {
        return Err(Error::Corrupt);
    }
    let len = usize::try_from(len).map_err(|_| Error::Corrupt)?;
    let mut bytes = Vec::new();
    bytes
        .try_reserve_exact(len)
        .map_err(|_| Error::no_memory(len))?;
    bytes.resize(len, 0);
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

/// Where what the file holds ends that begins at `at`: there is memory for all that lies before. `at`, if it holds nothing there.
pub(crate) fn data_end(file: &File, at: u64) -> Result<u64> {
    let at = libc::off64_t::try_from(at).map_err(|_| Error::Corrupt)?;
    // SAFETY: plain system call. It moves the file's own position, which nobody uses.
    let end = unsafe { libc::lseek64(file.as_raw_fd(), at, libc::SEEK_HOLE) };
    if end >= 0 {
        return Ok(end as u64);
    }
    match io::Error::last_os_error() {
        // Behind its end.
        e if e.raw_os_error() == Some(libc::ENXIO) => Ok(at as u64),
        e => Err(e.into()),
    }
}

/// Gives the memory of a range back: it reads as zeros then.
pub(crate) fn punch(file: &File, at: u64, len: u64) -> io::Result<()> {
    let off = |n: u64| libc::off64_t::try_from(n).map_err(|_| io::ErrorKind::InvalidInput);
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: plain system call.
    match unsafe { libc::fallocate64(file.as_raw_fd(), mode, off(at)?, off(len)?) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Another description of the same file, which can only be read by.
pub(crate) fn reopen_for_reading(file: &File) -> io::Result<File> {
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}
