//! The file behind a segment: made so that it appears complete or not at all.

use crate::error::{Error, Place, Result};
use std::ffi::CString;
use std::fs::{File, Metadata};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

#[cfg(feature = "process")]
mod elsewhere;
#[cfg(feature = "process")]
pub(crate) use elsewhere::Sought;

/// Where named segments live unless the user says otherwise.
pub(crate) const DEFAULT_DIRECTORY: &str = "/dev/shm";

/// What a new file is to hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan<'a> {
    /// Its length for ever.
    pub(crate) len: u64,
    /// How many of its first bytes get their storage now.
    pub(crate) allocated: u64,
    /// What those begin with.
    pub(crate) head: &'a [u8],
    /// Its permission bits.
    pub(crate) mode: u32,
}

/// An open segment file, and how to open it again.
#[derive(Debug)]
pub(crate) struct SegmentFile {
    file: ManuallyDrop<File>,
    identity: (u64, u64),
    /// Of when it was opened, in one look with the identity: who it belongs to, and its length.
    owner: u32,
    len_then: u64,
    path: Option<PathBuf>,
    /// Not yet at its place: `path` is a temporary name, removed on drop.
    temporary: bool,
}

impl Drop for SegmentFile {
    fn drop(&mut self) {
        if let (true, Some(path)) = (self.temporary, &self.path) {
            // It is ours alone, by O_EXCL; if it can't be removed, the first error is still the one to tell.
            let _ = std::fs::remove_file(path);
        }
        // Closed behind our back, the number may be somebody else's descriptor by now: not ours to close.
        if self.is_this(&self.file) {
            // SAFETY: dropped once, here.
            unsafe { ManuallyDrop::drop(&mut self.file) };
        }
    }
}

impl SegmentFile {
    /// Makes a file that is complete but for its name, which [`publish`](Self::publish) gives it. In between the caller
    /// does all that can fail, so that a failure leaves no name behind. `None`: not to be had in this way.
    pub(crate) fn draft(path: &Path, plan: &Plan<'_>, named: bool) -> Result<Option<SegmentFile>> {
        // Only to fail early, before room is taken: what decides is `publish`.
        if path.symlink_metadata().is_ok() {
            return Err(Error::AlreadyExists);
        }
        let made = if named {
            let (temporary, file) = temporary_file(path)?;
            let mut made = SegmentFile::adopt(file, Some(temporary))?;
            made.temporary = true;
            made
        } else {
            match unnamed_file(path)? {
                // Without /proc it could neither be named nor opened again.
                Some(file) if fd_link(&file).symlink_metadata().is_ok() => {
                    SegmentFile::adopt(file, None)?
                }
                _ => return Ok(None),
            }
        };
        plan.carry_out(&made.file)?;
        Ok(Some(made))
    }

    /// Gives the file its name; `AlreadyExists` if that is taken, `Ok(false)` where a draft without a name can't get one.
    pub(crate) fn publish(&mut self, path: &Path) -> Result<bool> {
        if self.temporary {
            let temporary = self.path.as_ref().expect("a temporary name");
            rename_if_free(temporary, path)?;
        } else if !link(&self.file, path)? {
            return Ok(false);
        }
        self.temporary = false;
        self.path = Some(path.to_path_buf());
        Ok(true)
    }

    /// A file without a name (a memfd), sealed so that nobody can change its length.
    pub(crate) fn anonymous(plan: &Plan<'_>) -> Result<SegmentFile> {
        // SAFETY: the name is a C string; the flags are the kernel's.
        let fd = unsafe {
            libc::memfd_create(
                c"commonhold".as_ptr(),
                libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING,
            )
        };
        if fd < 0 {
            return Err(io::Error::last_os_error().into());
        }
        // SAFETY: the kernel just gave us this descriptor.
        let file = unsafe { File::from_raw_fd(fd) };
        plan.carry_out(&file)?;
        let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
        // SAFETY: the descriptor is open; the command takes an int.
        if unsafe { libc::fcntl(fd, libc::F_ADD_SEALS, seals) } != 0 {
            return Err(io::Error::last_os_error().into());
        }
        SegmentFile::adopt(file, None)
    }

    /// Opens what stands at `path`. A link is not followed: in a sticky directory it is how one user misleads another.
    pub(crate) fn open(path: &Path) -> Result<SegmentFile> {
        loop {
            let flags = libc::O_RDWR | libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NONBLOCK;
            let file = match open_at(path, flags, 0) {
                Ok(file) => file,
                Err(e) => {
                    return Err(match e.raw_os_error() {
                        Some(libc::ELOOP | libc::EISDIR | libc::ENXIO | libc::ENODEV) => {
                            Error::NotASegment
                        }
                        Some(libc::ENOTDIR) => Error::NotFound,
                        Some(libc::ENAMETOOLONG) => Error::InvalidName,
                        // A read-only file or file system: what is missing is the permission to write.
                        Some(libc::EROFS | libc::EPERM) => Error::PermissionDenied,
                        _ => e.into(),
                    });
                }
            };
            let seen = file.metadata()?;
            let opened = SegmentFile::of(file, &seen, Some(path.to_path_buf()))?;
            // Unlinked between the open and here: look whether another has taken its place.
            if seen.nlink() != 0 {
                return Ok(opened);
            }
        }
    }

    /// Takes a file that is open already.
    pub(crate) fn adopt(file: File, path: Option<PathBuf>) -> Result<SegmentFile> {
        let seen = file.metadata()?;
        SegmentFile::of(file, &seen, path)
    }

    fn of(file: File, seen: &Metadata, path: Option<PathBuf>) -> Result<SegmentFile> {
        if !seen.is_file() {
            return Err(Error::NotASegment);
        }
        Ok(SegmentFile {
            identity: (seen.dev(), seen.ino()),
            owner: seen.uid(),
            len_then: seen.len(),
            file: ManuallyDrop::new(file),
            path,
            temporary: false,
        })
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Whose file it was when it was opened.
    pub(crate) fn owner(&self) -> u32 {
        self.owner
    }

    /// How long it was when it was opened.
    pub(crate) fn len_then(&self) -> u64 {
        self.len_then
    }

    /// Whether nobody, whatever he may do to the file, can make it shorter.
    pub(crate) fn is_sealed(&self) -> bool {
        // SAFETY: the descriptor is open; the command takes no argument. Files that can't be sealed give EINVAL.
        let seals = unsafe { libc::fcntl(self.file.as_raw_fd(), libc::F_GET_SEALS) };
        seals >= 0 && seals & libc::F_SEAL_SHRINK != 0
    }

    /// Runs `f` on a descriptor of this file. The program may have closed ours behind our back, as daemons do that
    /// close all they have: then, as long as the file has a name, it is opened again.
    pub(crate) fn with_file<R>(&self, f: impl FnOnce(&File) -> io::Result<R>) -> io::Result<R> {
        if self.is_this(&self.file) {
            return f(&self.file);
        }
        f(&self.open_by_path()?)
    }

    /// A new open file description of this file.
    ///
    /// By its name, if it still has one. The other way, by `/proc`, makes the kernel keep directory entries for this process there, and
    /// whoever reaps it when it is dead may spend tens of milliseconds of a processor in taking them away (Linux 6.18, many
    /// members, a busy machine).
    pub(crate) fn reopen(&self) -> io::Result<File> {
        let by_name = self.open_by_path();
        if by_name.is_ok() || !self.is_this(&self.file) {
            return by_name;
        }
        let file = open_at(&fd_link(&self.file), libc::O_RDWR | libc::O_CLOEXEC, 0)?;
        if self.is_this(&file) {
            Ok(file)
        } else {
            by_name
        }
    }

    fn open_by_path(&self) -> io::Result<File> {
        let lost = || io::Error::from_raw_os_error(libc::EBADF);
        let path = self.path.as_ref().ok_or_else(lost)?;
        let file = open_at(
            path,
            libc::O_RDWR | libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NONBLOCK,
            0,
        )?;
        if self.is_this(&file) {
            Ok(file)
        } else {
            Err(lost())
        }
    }

    fn is_this(&self, file: &File) -> bool {
        file.metadata()
            .is_ok_and(|m| (m.dev(), m.ino()) == self.identity)
    }

    /// Whether both are one file.
    pub(crate) fn is_same(&self, other: &SegmentFile) -> bool {
        self.identity == other.identity
    }

    /// Gives storage to `len` bytes at `offset`, which nobody uses yet, so that touching them can't fail later.
    pub(crate) fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        self.with_file(|file| Ok(allocate(file, offset, len)))?
    }

    /// How long the file is now.
    pub(crate) fn len(&self) -> io::Result<u64> {
        self.with_file(|file| Ok(file.metadata()?.len()))
    }
}

impl Plan<'_> {
    fn carry_out(&self, file: &File) -> Result<()> {
        // Beyond this limit `ftruncate` does not fail, it kills (SIGXFSZ).
        let limit = file_size_limit();
        if self.len > limit {
            return Err(Error::OutOfSpace {
                requested: self.len,
                available: limit,
                place: Place::FileSizeLimit,
            });
        }
        // SAFETY: the descriptor is open. (std's set_permissions does the same, but by way of a struct.)
        if unsafe { libc::fchmod(file.as_raw_fd(), self.mode as libc::mode_t) } != 0 {
            return Err(io::Error::last_os_error().into());
        }
        file.set_len(self.len).map_err(|e| match e.raw_os_error() {
            Some(libc::EFBIG | libc::EINVAL | libc::ENOSPC) => no_space(file, self.len),
            _ => e.into(),
        })?;
        allocate(file, 0, self.allocated)?;
        file.write_all_at(self.head, 0)?;
        Ok(())
    }
}

fn allocate(file: &File, offset: u64, len: u64) -> Result<()> {
    if len == 0 {
        // fallocate would refuse.
        return Ok(());
    }
    loop {
        // Linux's own fallocate, not posix_fallocate: where a file system has none, glibc would write into each block.
        // SAFETY: the descriptor is open.
        let r = unsafe {
            libc::fallocate64(
                file.as_raw_fd(),
                // The file has its length. If somebody has cut it short, a longer one would hide that, with zeros.
                libc::FALLOC_FL_KEEP_SIZE,
                offset as libc::off64_t,
                len as libc::off64_t,
            )
        };
        if r == 0 {
            return Ok(());
        }
        let e = io::Error::last_os_error();
        match e.raw_os_error() {
            Some(libc::EINTR) => {}
            Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG) => return Err(no_space(file, len)),
            Some(libc::EOPNOTSUPP | libc::ENOSYS) => return write_zeros(file, offset, len),
            _ => return Err(e.into()),
        }
    }
}

/// The slow way to get storage, for file systems without fallocate.
fn write_zeros(file: &File, mut offset: u64, len: u64) -> Result<()> {
    static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
    let end = offset + len;
    let limit = file_size_limit();
    if end > limit {
        // Writing there would not fail, it would kill (SIGXFSZ).
        return Err(Error::OutOfSpace {
            requested: end,
            available: limit,
            place: Place::FileSizeLimit,
        });
    }
    while offset < end {
        let n = (end - offset).min(ZEROS.len() as u64) as usize;
        match file.write_all_at(&ZEROS[..n], offset) {
            Ok(()) => offset += n as u64,
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT)) => {
                return Err(no_space(file, len));
            }
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

fn no_space(file: &File, requested: u64) -> Error {
    // SAFETY: zero bytes are a valid statvfs64, and the call fills it.
    let mut s: libc::statvfs64 = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open, `s` is a statvfs64.
    let known = unsafe { libc::fstatvfs64(file.as_raw_fd(), &mut s) } == 0;
    // The types differ from machine to machine.
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast)]
    let free = (s.f_bavail as u64).saturating_mul(s.f_frsize as u64);
    Error::OutOfSpace {
        requested,
        available: if known { free } else { 0 },
        place: Place::FileSystem,
    }
}

/// Whose files are this process's own.
pub(crate) fn effective_user() -> u32 {
    // SAFETY: the call has no preconditions, and cannot fail.
    unsafe { libc::geteuid() }
}

pub(super) fn file_size_limit() -> u64 {
    // No limit is the largest number, and no file is longer than this.
    let most = i64::MAX as u64;
    let mut limit = libc::rlimit64 {
        rlim_cur: most,
        rlim_max: most,
    };
    // SAFETY: `limit` is an rlimit64 that the call fills.
    unsafe { libc::getrlimit64(libc::RLIMIT_FSIZE, &mut limit) };
    limit.rlim_cur.min(most)
}

fn open_at(path: &Path, flags: i32, mode: u32) -> io::Result<File> {
    let path = c_string(path)?;
    // Without it a 32-bit process can't open a file of 2 GiB or more, not even to say that it has no room for it. The C
    // library adds the flag where it is needed and not a number of its own (0).
    let flags = flags | libc::O_LARGEFILE;
    loop {
        // SAFETY: `path` is a C string.
        let fd = unsafe { libc::open(path.as_ptr(), flags, mode as libc::c_uint) };
        if fd >= 0 {
            // SAFETY: the kernel just gave us this descriptor.
            return Ok(unsafe { File::from_raw_fd(fd) });
        }
        let e = io::Error::last_os_error();
        if e.raw_os_error() != Some(libc::EINTR) {
            return Err(e);
        }
    }
}

fn c_string(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

fn directory_of(path: &Path) -> &Path {
    path.parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// A file that has no name yet; `None` where the file system can't make one.
fn unnamed_file(path: &Path) -> Result<Option<File>> {
    let flags = libc::O_TMPFILE | libc::O_RDWR | libc::O_CLOEXEC;
    match open_at(directory_of(path), flags, 0o600) {
        Ok(file) => Ok(Some(file)),
        Err(e) => match e.raw_os_error() {
            Some(libc::EOPNOTSUPP | libc::EISDIR | libc::EINVAL) => Ok(None),
            Some(libc::ENOTDIR) => Err(Error::NotFound),
            Some(libc::EROFS) => Err(Error::PermissionDenied),
            Some(libc::ENOSPC | libc::EDQUOT) => Err(Error::OutOfSpace {
                requested: 1,
                available: 0,
                place: Place::FileSystem,
            }),
            _ => Err(e.into()),
        },
    }
}

/// Gives an unnamed file its name; `Ok(false)` where that can't be done by way of /proc.
fn link(file: &File, path: &Path) -> Result<bool> {
    let from = c_string(&fd_link(file))?;
    let to = c_string(path)?;
    // SAFETY: both are C strings.
    let r = unsafe {
        libc::linkat(
            libc::AT_FDCWD,
            from.as_ptr(),
            libc::AT_FDCWD,
            to.as_ptr(),
            libc::AT_SYMLINK_FOLLOW,
        )
    };
    if r == 0 {
        return Ok(true);
    }
    let e = io::Error::last_os_error();
    match e.raw_os_error() {
        Some(libc::ENOENT | libc::EXDEV | libc::EOPNOTSUPP) => Ok(false),
        Some(libc::ENAMETOOLONG) => Err(Error::InvalidName),
        _ => Err(e.into()),
    }
}

/// Of the calling thread's table, not the process's: `/proc/self/fd` is empty once the main thread has ended.
fn fd_link(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/thread-self/fd/{}", file.as_raw_fd()))
}

fn temporary_file(path: &Path) -> Result<(PathBuf, File)> {
    let mut n = super::deadline::now().as_nanos();
    loop {
        let name = format!(".commonhold-{}-{n:x}", std::process::id());
        let temporary = directory_of(path).join(name);
        let flags = libc::O_CREAT | libc::O_EXCL | libc::O_RDWR | libc::O_CLOEXEC;
        match open_at(&temporary, flags, 0o600) {
            Ok(file) => return Ok((temporary, file)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => n += 1,
            Err(e) => return Err(e.into()),
        }
    }
}

/// Renames, unless `to` exists.
fn rename_if_free(from: &Path, to: &Path) -> Result<()> {
    let (f, t) = (c_string(from)?, c_string(to)?);
    // SAFETY: both are C strings.
    let r = unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            libc::AT_FDCWD,
            f.as_ptr(),
            libc::AT_FDCWD,
            t.as_ptr(),
            libc::RENAME_NOREPLACE,
        )
    };
    if r == 0 {
        return Ok(());
    }
    let e = io::Error::last_os_error();
    match e.raw_os_error() {
        // Where rename can't refuse to replace, a second name and the removal of the first do the same.
        Some(libc::EINVAL | libc::ENOSYS) => {
            std::fs::hard_link(from, to)?;
            std::fs::remove_file(from)?;
            Ok(())
        }
        Some(libc::ENAMETOOLONG) => Err(Error::InvalidName),
        _ => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(head: &[u8]) -> Plan<'_> {
        Plan {
            len: 8192,
            allocated: 4096,
            head,
            mode: 0o600,
        }
    }

    fn by_rename(path: &Path, plan: &Plan<'_>) -> Result<SegmentFile> {
        let mut made = SegmentFile::draft(path, plan, true)?.unwrap();
        made.publish(path).map(|_| made)
    }

    #[test]
    fn the_way_without_o_tmpfile_makes_the_same_file_and_leaves_nothing_else() {
        let dir = std::env::temp_dir().join(format!("commonhold-shm-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let path = dir.join("a");
        let made = by_rename(&path, &plan(b"head")).unwrap();
        assert_eq!(made.file().metadata().unwrap().len(), 8192);
        assert_eq!(&std::fs::read(&path).unwrap()[..4], b"head");
        assert!(matches!(
            by_rename(&path, &plan(b"other")),
            Err(Error::AlreadyExists)
        ));
        assert_eq!(&std::fs::read(&path).unwrap()[..4], b"head");
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn storage_makes_no_file_longer_that_was_cut_short() {
        let path = std::env::temp_dir().join(format!("commonhold-cut-{}", std::process::id()));
        let made = by_rename(&path, &plan(b"head")).unwrap();
        std::fs::remove_file(&path).unwrap();
        made.file().set_len(0).unwrap();
        made.allocate(4096, 4096).unwrap();
        assert_eq!(made.len().unwrap(), 0);
    }

    #[test]
    fn storage_is_given_the_slow_way_too_and_only_where_asked() {
        let made = SegmentFile::anonymous(&plan(b"head")).unwrap();
        made.file().write_all_at(&[7; 8192], 0).unwrap();
        write_zeros(made.file(), 100, 50).unwrap();
        let mut bytes = [0; 8192];
        made.file().read_exact_at(&mut bytes, 0).unwrap();
        let zeros = (100..150).all(|i| bytes[i] == 0);
        let rest = (0..100).chain(150..8192).all(|i| bytes[i] == 7);
        assert!(zeros && rest);
        assert!(made.is_sealed());
        assert!(made.file().set_len(1).is_err());
    }
}
