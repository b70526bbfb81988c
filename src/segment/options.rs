//! How to make or open a segment.

use super::Segment;
use super::open;
use crate::error::{Error, Result};
use crate::layout::header::Geometry;
use crate::sys::random;
use crate::sys::shm::{DEFAULT_DIRECTORY, SegmentFile};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// How to make or open a [`Segment`]: a builder, in the manner of [`std::fs::OpenOptions`].
///
/// ```
/// use commonhold::SegmentOptions;
///
/// # fn main() -> commonhold::Result<()> {
/// # let dir = "/dev/shm";
/// # let name = &format!("doc-options-{}", std::process::id());
/// let options = SegmentOptions::new()
///     .capacity(16 << 20)
///     .max_members(200)
///     .directory(dir);
/// let seg = options.create(name)?;
/// assert_eq!(seg.capacity(), 16 << 20);
/// options.unlink(name)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing until create, open, open_or_create, anonymous, from_fd or unlink is called"]
pub struct SegmentOptions {
    capacity: u64,
    mode: u32,
    max_members: u32,
    max_objects: u32,
    directory: PathBuf,
    allow_other_users: bool,
    guard_truncation: bool,
}

impl Default for SegmentOptions {
    fn default() -> Self {
        SegmentOptions {
            capacity: 1 << 20,
            mode: 0o600,
            max_members: 64,
            max_objects: 128,
            directory: PathBuf::from(DEFAULT_DIRECTORY),
            allow_other_users: false,
            guard_truncation: false,
        }
    }
}

impl SegmentOptions {
    /// 1 MiB, mode 0600, 64 members, 128 objects, in `/dev/shm`.
    pub fn new() -> SegmentOptions {
        SegmentOptions::default()
    }

    /// Bytes for objects; rounded up to whole pages. Address space, not memory: see [`Segment::create`].
    pub fn capacity(mut self, bytes: usize) -> Self {
        self.capacity = bytes as u64;
        self
    }

    /// Permission bits of a segment that is created, whatever the umask. To share with another user, widen them, and
    /// have that user open with [`allow_other_users`](Self::allow_other_users). An anonymous segment is open to
    /// whoever is given its descriptor.
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode & 0o777;
        self
    }

    /// How many processes can have a segment that is created attached at once: 1 to 1,024. Each takes 64 bytes.
    pub fn max_members(mut self, members: u32) -> Self {
        self.max_members = members;
        self
    }

    /// How many objects a segment that is created can hold: 1 to 65,536. Each takes 256 bytes, beside its own.
    ///
    /// Objects are found by a hash of their names, at once while a quarter of these is free; the last of many that fill it takes a look at each
    /// of them, some 100 ns each.
    pub fn max_objects(mut self, objects: u32) -> Self {
        self.max_objects = objects;
        self
    }

    /// Where the name is: a directory on tmpfs or a disk (ext4, xfs, btrfs). The default is `/dev/shm`.
    ///
    /// An overlay file system, as containers have for their root, won't do: it drops the locks by which members know of
    /// each other's life, and making or opening a segment there is an error that says so. Mount a volume or a tmpfs.
    ///
    /// On a disk the kernel writes changes back as it sees fit; the segment does not outlive the machine in a
    /// promised state.
    pub fn directory(mut self, path: impl AsRef<Path>) -> Self {
        self.directory = path.as_ref().to_path_buf();
        self
    }

    /// Open segments of other users too. Whoever can write a segment can send its members any values, make them wait
    /// until their deadlines, and (unless it is an anonymous one, or they [guard](Self::guard_truncation) against it)
    /// crash them by truncating the file. A handle that is [sent](Segment#sending-it-to-another-process) does not take this leave along.
    pub fn allow_other_users(mut self, allow: bool) -> Self {
        self.allow_other_users = allow;
        self
    }

    /// Lets this process survive that the segment's file is cut short (`truncate`, by mistake or malice): otherwise the next
    /// access to what is gone ends it with SIGBUS. Then every call that can fail is
    /// [`Corrupt`](Error::Corrupt): who waits finds out within 0.2 s, and what a call had read when the file was cut is not returned
    /// (a write that was under way then may still be `Ok`). A guard of a lock that is held meanwhile, [`Atomics`](crate::Atomics), and
    /// calls that can't fail, such as `len`, show zeros. To the others this process is dead: what it held can be recovered, as far
    /// as it is left. To go on, open (or make) a segment anew.
    ///
    /// The guard is a SIGBUS handler for the whole process, installed when the first such segment is attached; a SIGBUS that
    /// is none of a guarded segment's goes to the handler that was there before. A handler that the program installs later
    /// takes ours away, unless it passes on what is not its own. The kernel ends a process all the same if the thread that makes
    /// the access blocks SIGBUS, or if there is no leave for as much private memory as the segment is long (`RLIMIT_DATA`, strict
    /// overcommit).
    ///
    /// A file that is cut short and grown again, and the rest of a page in whose middle it ends, read as zero without any
    /// signal: as if somebody had scribbled there. An [anonymous](Segment::anonymous) segment can't be cut short.
    ///
    /// A handle that is [sent](Segment#sending-it-to-another-process) to another process is guarded there, too.
    pub fn guard_truncation(mut self, guard: bool) -> Self {
        self.guard_truncation = guard;
        self
    }

    /// Makes a new segment; [`AlreadyExists`](Error::AlreadyExists) if the name is taken.
    pub fn create(&self, name: &str) -> Result<Segment> {
        let path = self.path(name)?;
        let geometry = self.geometry()?;
        let plan = open::plan(&geometry, self.mode);
        // Without a name first; with a temporary one for file systems without O_TMPFILE, and for systems without /proc.
        for named in [false, true] {
            if let Some(draft) = SegmentFile::draft(&path, &plan, named)? {
                if let Some(made) =
                    open::attach_and_publish(draft, geometry, name, self.guard_truncation, &path)?
                {
                    return Ok(made);
                }
            }
        }
        Err(Error::Io(std::io::ErrorKind::Unsupported.into()))
    }

    /// Attaches an existing segment.
    pub fn open(&self, name: &str) -> Result<Segment> {
        let file = SegmentFile::open(&self.path(name)?)?;
        open::refuse_other_users(&file, self.allow_other_users)?;
        let geometry = open::read_geometry(&file)?;
        open::attach(file, geometry, name, self.guard_truncation)
    }

    /// Attaches the segment of that name, or makes it.
    pub fn open_or_create(&self, name: &str) -> Result<Segment> {
        loop {
            match self.open(name) {
                Err(Error::NotFound) => {}
                other => return other,
            }
            match self.create(name) {
                // Somebody was quicker. Open theirs; if it is gone again by then, try once more.
                Err(Error::AlreadyExists) => {}
                other => return other,
            }
        }
    }

    /// Makes a segment without a name; see [`Segment::anonymous`].
    pub fn anonymous(&self) -> Result<Segment> {
        let geometry = self.geometry()?;
        // Whoever has the descriptor may use it, whoever he is; nobody else can reach the file.
        let file = SegmentFile::anonymous(&open::plan(&geometry, 0o666))?;
        open::attach(file, geometry, "", self.guard_truncation)
    }

    /// Attaches the segment behind a descriptor; see [`Segment::from_fd`].
    pub fn from_fd(&self, fd: OwnedFd) -> Result<Segment> {
        let file = SegmentFile::adopt(fd.into(), None)?;
        open::refuse_other_users(&file, self.allow_other_users || file.is_sealed())?;
        let geometry = open::read_geometry_anew(&file)?;
        open::attach(file, geometry, "", self.guard_truncation)
    }

    /// Removes the name from the directory; see [`Segment::unlink`].
    pub fn unlink(&self, name: &str) -> Result<()> {
        let path = self.path(name)?;
        let file = SegmentFile::open(&path)?;
        if !open::has_magic(&file)? {
            return Err(Error::NotASegment);
        }
        Ok(std::fs::remove_file(path)?)
    }

    fn geometry(&self) -> Result<Geometry> {
        Geometry::new(
            self.capacity,
            self.max_members,
            self.max_objects,
            random::unique(),
        )
    }

    fn path(&self, name: &str) -> Result<PathBuf> {
        if name.is_empty()
            || name.len() > 255
            || name == "."
            || name == ".."
            || name.contains(['/', '\0'])
        {
            return Err(Error::InvalidName);
        }
        Ok(self.directory.join(name))
    }
}
