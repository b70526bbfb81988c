//! A named file, mapped by all that share it.

use super::directory::DIRECTORY_BYTES;
use crate::error::{Error, Place, Result};
use bytemuck::{Pod, Zeroable};
use memmap2::{MmapOptions, MmapRaw};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Which format this build makes and reads. Errors name it by the crate's number, of segments.
const FORMAT_VERSION: u32 = crate::LAYOUT_VERSION;

const MAGIC: [u8; 8] = *b"comnNotR";
const BYTE_ORDER: u32 = 0x0102_0304;

/// Bytes of the file before the directory.
const HEADER_BYTES: usize = 4096;
/// Bytes of the file before the objects.
pub(super) const DATA_AT: usize = HEADER_BYTES + DIRECTORY_BYTES;

/// The file begins with it. Written before the file has its name, and never again.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
struct Header {
    magic: [u8; 8],
    version: u32,
    byte_order: u32,
    /// Of the whole file.
    file_bytes: u64,
    /// Whose locks they are: system, processor and C library, which must be the same for all.
    locks: [u8; 104],
}

// SAFETY: integers and bytes only, and zero is a value of each.
unsafe impl Zeroable for Header {}
// SAFETY: `repr(C)`, integers and bytes only, no padding (the sizes add up to the asserted 128).
unsafe impl Pod for Header {}
const _: () = assert!(size_of::<Header>() == 128);

impl Header {
    fn new(file_bytes: u64) -> Header {
        Header {
            magic: MAGIC,
            version: FORMAT_VERSION,
            byte_order: BYTE_ORDER,
            file_bytes,
            locks: locks(),
        }
    }

    fn check(&self, file_bytes: u64) -> Result<()> {
        let expected = Header::new(file_bytes);
        if self.magic != expected.magic {
            return Err(Error::NotASegment);
        }
        if (self.version, self.byte_order, self.locks)
            != (expected.version, expected.byte_order, expected.locks)
        {
            return Err(Error::VersionMismatch);
        }
        if *self != expected || file_bytes < DATA_AT as u64 {
            return Err(Error::Corrupt);
        }
        Ok(())
    }
}

/// Whose locks this build makes.
fn locks() -> [u8; 104] {
    let library = match () {
        () if cfg!(target_env = "gnu") => "gnu",
        () if cfg!(target_env = "musl") => "musl",
        () if cfg!(target_env = "msvc") => "msvc",
        () => "",
    };
    let text = format!(
        "raw_sync 0.1, {} {} {library}, {} bits, mutex {}, event {}",
        std::env::consts::OS,
        std::env::consts::ARCH,
        usize::BITS,
        super::os::OsMutex::room(),
        super::os::Signal::room(),
    );
    let mut bytes = [0; 104];
    bytes
        .iter_mut()
        .zip(text.bytes())
        .for_each(|(to, byte)| *to = byte);
    bytes
}

/// Shared memory for locks that are not robust: a file, which the processes find by its name.
///
/// It lies in the directory for temporary files (`std::env::temp_dir()`), or where the forms with `_at` say. It exists
/// complete or not at all. It stays until it is [unlinked](Self::unlink), over a restart, too, if its directory does: unlink
/// what an earlier run left.
///
/// # When a member dies
/// Whatever lock it held stays locked for ever; see [the module](super).
///
/// # Errors
/// [`NotFound`](Error::NotFound), [`AlreadyExists`](Error::AlreadyExists), [`InvalidName`](Error::InvalidName),
/// [`NotASegment`](Error::NotASegment), [`VersionMismatch`](Error::VersionMismatch) (also for one made by a program for another
/// system, processor or C library, whose locks have another form), [`Corrupt`](Error::Corrupt),
/// [`PermissionDenied`](Error::PermissionDenied), [`OutOfSpace`](Error::OutOfSpace), and [`Io`](Error::Io) for what else the system
/// refuses (a file system without hard links, say).
///
/// # Bytes
/// Each object begins on a multiple of 64. The directory has room for 64 of them.
///
/// # Examples
/// ```
/// # #![allow(deprecated)]
/// use commonhold::not_robust::{Mutex, Region};
///
/// # fn main() -> commonhold::Result<()> {
/// # let name = &format!("doc-region-{}", std::process::id());
/// let region = Region::create(name, 1 << 16)?;
/// let hits = Mutex::create(&region, "hits", 0u64)?;
///
/// // In any other process:
/// let region = Region::open(name)?;
/// let hits_there = Mutex::<u64>::open(&region, "hits")?;
/// *hits_there.lock()? += 1;
///
/// assert_eq!(*hits.lock()?, 1);
/// Region::unlink(name)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Region {
    map: Arc<Map>,
}

/// The mapped file.
#[derive(Debug)]
pub(super) struct Map {
    raw: MmapRaw,
}

impl Region {
    /// Makes a region with room for `capacity` bytes of objects.
    pub fn create(name: &str, capacity: usize) -> Result<Region> {
        Region::create_at(path_of(name)?, capacity)
    }

    /// Finds the region of that name.
    pub fn open(name: &str) -> Result<Region> {
        Region::open_at(path_of(name)?)
    }

    /// Finds the region of that name, or makes it. One that is there has the capacity that it has.
    pub fn open_or_create(name: &str, capacity: usize) -> Result<Region> {
        Region::open_or_create_at(path_of(name)?, capacity)
    }

    /// Takes away the name; whoever has the region open keeps it.
    pub fn unlink(name: &str) -> Result<()> {
        std::fs::remove_file(path_of(name)?).map_err(Error::from)
    }

    /// As [`create`](Self::create), in a file of your choice. The directory must have hard links, and should be one that no other
    /// user can write to.
    pub fn create_at(path: impl AsRef<Path>, capacity: usize) -> Result<Region> {
        let path = path.as_ref();
        let file_bytes = DATA_AT
            .checked_add(capacity)
            .filter(|bytes| isize::try_from(*bytes).is_ok())
            .ok_or(Error::TooLarge {
                requested: capacity as u64,
                limit: (isize::MAX as usize - DATA_AT) as u64,
            })?;
        if path.symlink_metadata().is_ok() {
            return Err(Error::AlreadyExists);
        }
        let draft = Draft::new(path)?;
        draft.write(file_bytes)?;
        // The one step by which it appears; it fails if somebody else was quicker.
        std::fs::hard_link(&draft.path, path)?;
        drop(draft);
        Region::open_at(path)
    }

    /// As [`open`](Self::open), a file of your choice.
    pub fn open_at(path: impl AsRef<Path>) -> Result<Region> {
        let (mut file, file_bytes) = open_file(path.as_ref())?;
        let mut bytes = [0; size_of::<Header>()];
        match file.read_exact(&mut bytes) {
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Err(Error::NotASegment),
            other => other?,
        }
        bytemuck::cast::<_, Header>(bytes).check(file_bytes)?;
        let len = usize::try_from(file_bytes).map_err(|_| Error::no_memory(usize::MAX))?;
        let raw = MmapOptions::new()
            .len(len)
            .map_raw(&file)
            .map_err(|e| match e.kind() {
                ErrorKind::OutOfMemory => Error::no_memory(len),
                _ => e.into(),
            })?;
        Ok(Region {
            map: Arc::new(Map { raw }),
        })
    }

    /// As [`open_or_create`](Self::open_or_create), in a file of your choice.
    pub fn open_or_create_at(path: impl AsRef<Path>, capacity: usize) -> Result<Region> {
        let path = path.as_ref();
        loop {
            match Region::open_at(path) {
                Err(Error::NotFound) => {}
                other => return other,
            }
            match Region::create_at(path, capacity) {
                Err(Error::AlreadyExists) => {}
                other => return other,
            }
        }
    }

    pub(super) fn map(&self) -> &Arc<Map> {
        &self.map
    }
}

impl Map {
    pub(super) fn len(&self) -> usize {
        self.raw.len()
    }

    /// # Safety
    /// `offset` is less than the length.
    pub(super) unsafe fn at(&self, offset: usize) -> NonNull<u8> {
        debug_assert!(offset < self.raw.len());
        // SAFETY: within the mapping, by the caller.
        unsafe { NonNull::new_unchecked(self.raw.as_mut_ptr().add(offset)) }
    }
}

/// Where the region of that name lies.
fn path_of(name: &str) -> Result<PathBuf> {
    const ENDING: &str = ".commonhold";
    let bad = |c: char| c.is_control() || "/\\:*?\"<>|".contains(c);
    if name.is_empty()
        || name.len() > 255 - ENDING.len()
        || name.starts_with('.')
        || name.contains(bad)
    {
        return Err(Error::InvalidName);
    }
    Ok(std::env::temp_dir().join(format!("{name}{ENDING}")))
}

/// A file that is not yet what it is to be; gone when dropped.
struct Draft {
    path: PathBuf,
    file: File,
}

impl Draft {
    fn new(path: &Path) -> Result<Draft> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let directory = path.parent().unwrap_or(Path::new("."));
        loop {
            let n = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!(".commonhold-draft-{}-{n}", std::process::id());
            let path = directory.join(name);
            match options().create_new(true).open(&path) {
                Ok(file) => return Ok(Draft { path, file }),
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// All bytes, so that none of them can be missing later.
    fn write(&self, file_bytes: usize) -> Result<()> {
        static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
        let mut file = &self.file;
        let header = Header::new(file_bytes as u64);
        let mut rest = file_bytes - size_of::<Header>();
        let mut written = file.write_all(bytemuck::bytes_of(&header));
        while written.is_ok() && rest > 0 {
            let n = rest.min(ZEROS.len());
            written = file.write_all(&ZEROS[..n]);
            rest -= n;
        }
        written.map_err(|e| match e.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Error::OutOfSpace {
                requested: file_bytes as u64,
                available: (file_bytes - rest) as u64,
                place: Place::FileSystem,
            },
            _ => e.into(),
        })
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// For reading and writing, by this user only.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    }
    options
}

/// Opens a file that is nobody else's.
fn open_file(path: &Path) -> Result<(File, u64)> {
    let kind = path.symlink_metadata()?;
    if !kind.is_file() {
        return Err(Error::NotASegment);
    }
    let file = options().open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(Error::NotASegment);
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        // SAFETY: the call has no preconditions, and cannot fail.
        if found.uid() != unsafe { libc::geteuid() } {
            return Err(Error::PermissionDenied);
        }
    }
    Ok((file, found.len()))
}
