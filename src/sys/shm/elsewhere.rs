//! How another process finds a segment's file, and how a file that another has named is opened, and no other.

use super::{SegmentFile, open_at};
use std::fs::Metadata;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What must be true of a file that another process has named, before it is opened: even opening a device or a pipe can have effects.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sought {
    /// Its device and inode number.
    pub(crate) identity: (u64, u64),
    /// It is at least so long.
    pub(crate) least: u64,
}

impl Sought {
    fn is(&self, m: &Metadata) -> bool {
        m.is_file() && m.len() >= self.least && (m.dev(), m.ino()) == self.identity
    }
}

impl SegmentFile {
    pub(crate) fn identity(&self) -> (u64, u64) {
        self.identity
    }

    /// Its name, in full, if that still leads here.
    pub(crate) fn full_path(&self) -> Option<PathBuf> {
        let path = std::path::absolute(self.path.as_ref()?).ok()?;
        let there = path.symlink_metadata().ok()?;
        ((there.dev(), there.ino()) == self.identity).then_some(path)
    }

    /// Its name in its directory.
    pub(crate) fn name(&self) -> Option<&str> {
        self.path.as_ref()?.file_name()?.to_str()
    }

    /// The number of its descriptor, unless that was closed behind our back.
    pub(crate) fn descriptor(&self) -> Option<RawFd> {
        self.is_this(&self.file).then(|| self.file.as_raw_fd())
    }

    /// Opens the file that is sought, if it stands at `path`. A link is not followed.
    pub(crate) fn find_by_name(path: &Path, sought: &Sought) -> io::Result<SegmentFile> {
        let seen = path.symlink_metadata()?;
        Self::find(path, libc::O_NOFOLLOW, &seen, sought, Some(path))
    }

    /// Opens the file that is sought, if a process has it open by that number, and we may look into that process.
    pub(crate) fn find_by_descriptor(
        pid: u32,
        fd: u32,
        sought: &Sought,
    ) -> io::Result<SegmentFile> {
        let link = PathBuf::from(format!("/proc/{pid}/fd/{fd}"));
        Self::find(&link, 0, &link.metadata()?, sought, None)
    }

    /// As [`find_by_descriptor`](Self::find_by_descriptor), in this process: which may have inherited it.
    pub(crate) fn find_inherited(fd: u32, sought: &Sought) -> io::Result<SegmentFile> {
        let link = PathBuf::from(format!("/proc/thread-self/fd/{fd}"));
        Self::find(&link, 0, &link.metadata()?, sought, None)
    }

    fn find(
        path: &Path,
        flags: i32,
        seen: &Metadata,
        sought: &Sought,
        name: Option<&Path>,
    ) -> io::Result<SegmentFile> {
        let another = || io::Error::new(io::ErrorKind::NotFound, "another file stands there");
        if !sought.is(seen) {
            return Err(another());
        }
        let flags = flags | libc::O_RDWR | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY;
        let file = open_at(path, flags, 0)?;
        // Again: it may have been changed for another.
        if !sought.is(&file.metadata()?) {
            return Err(another());
        }
        let name = name.map(Path::to_path_buf);
        SegmentFile::adopt(file, name).map_err(|_| another())
    }
}
