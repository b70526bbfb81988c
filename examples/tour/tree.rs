//! The files below a directory, read once.

use crate::Result;
use crate::counting::count_lines;
use crate::report::{Report, grouped};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where the walk stops, so that the tour stays short.
const MAX_BYTES: u64 = 1_000_000_000;
const MAX_FILES: usize = 100_000;
const MAX_TIME: Duration = Duration::from_secs(8);

/// How many kinds of files are counted each by itself; the last is all the rest.
pub(crate) const KINDS: usize = 7;

/// A regular file that is not empty.
pub(crate) struct FileEntry {
    pub(crate) path: PathBuf,
    /// How much of it counts: all, but for the last file before a limit.
    pub(crate) len: u64,
    /// Index into the kinds.
    pub(crate) kind: usize,
}

/// What the walk found.
pub(crate) struct Tree {
    /// Sorted by path.
    pub(crate) files: Vec<FileEntry>,
    pub(crate) kinds: Vec<String>,
    pub(crate) bytes: u64,
    /// The line feeds, as plain reads found them.
    pub(crate) lines: u64,
    /// Which limit ended the walk, if one did.
    pub(crate) limit: Option<String>,
    /// Files and directories that could not be read, or are on another file system.
    pub(crate) left_out: usize,
}

impl Tree {
    /// Walks `root`, on its own file system, in the order of paths, and reads each file once: that warms the page cache, so that the counts which
    /// follow are compared on equal terms, and is a count to compare them with.
    pub(crate) fn read(root: &Path, report: &Report) -> Result<Tree> {
        let step = report.step("reading all once, to warm the page cache", MAX_BYTES)?;
        let deadline = Instant::now() + MAX_TIME;
        let mut tree = Tree {
            files: Vec::new(),
            kinds: Vec::new(),
            bytes: 0,
            lines: 0,
            limit: None,
            left_out: 0,
        };
        let device = root.symlink_metadata()?.dev();
        let mut buffer = vec![0; 1 << 20];
        let mut ahead = vec![root.to_path_buf()];
        while let Some(path) = ahead.pop() {
            tree.limit = tree.limit_reached(deadline);
            if tree.limit.is_some() {
                break;
            }
            let visited = match path.symlink_metadata() {
                Ok(meta) if meta.dev() != device => Err(std::io::ErrorKind::CrossesDevices.into()),
                Ok(meta) if meta.is_dir() => push_entries(&path, &mut ahead),
                Ok(meta) if meta.is_file() && meta.len() > 0 => {
                    tree.read_file(path, meta.len(), deadline, &mut buffer)
                }
                other => other.map(drop),
            };
            tree.left_out += usize::from(visited.is_err());
            step.at(tree.bytes);
        }
        if tree.files.is_empty() {
            let what = format!(
                "nothing to count: no readable file with bytes in it at or below {}",
                root.display()
            );
            return Err(what.into());
        }
        tree.sort_into_kinds();
        Ok(tree)
    }

    fn limit_reached(&self, deadline: Instant) -> Option<String> {
        if self.bytes >= MAX_BYTES {
            Some(format!("{} MB", MAX_BYTES / 1_000_000))
        } else if self.files.len() >= MAX_FILES {
            Some(format!("{} files", grouped(MAX_FILES as u64)))
        } else if Instant::now() >= deadline {
            Some(format!("{} s of reading", MAX_TIME.as_secs()))
        } else {
            None
        }
    }

    /// Reads a file, or as much of it as the limits admit. One that ends before `size`, as those of /sys do, is an error.
    fn read_file(
        &mut self,
        path: PathBuf,
        size: u64,
        deadline: Instant,
        buffer: &mut [u8],
    ) -> std::io::Result<()> {
        let mut file = File::open(&path)?.take(size.min(MAX_BYTES - self.bytes));
        let (mut len, mut lines) = (0, 0);
        while file.limit() > 0 && (len == 0 || Instant::now() < deadline) {
            let read = file.read(buffer)?;
            if read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            len += read as u64;
            lines += count_lines(&buffer[..read]);
        }
        self.bytes += len;
        self.lines += lines;
        self.files.push(FileEntry { path, len, kind: 0 });
        Ok(())
    }

    /// The kinds are the extensions that have the most bytes, and all others together.
    fn sort_into_kinds(&mut self) {
        let mut bytes_of: HashMap<String, u64> = HashMap::new();
        for file in &self.files {
            *bytes_of.entry(extension(&file.path)).or_default() += file.len;
        }
        let mut kinds: Vec<(String, u64)> = bytes_of.into_iter().collect();
        kinds.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        kinds.truncate(KINDS - 1);
        self.kinds = kinds.into_iter().map(|(kind, _)| kind).collect();
        self.kinds.push("others".to_owned());
        for file in &mut self.files {
            let extension = extension(&file.path);
            let position = self.kinds.iter().position(|kind| *kind == extension);
            file.kind = position.unwrap_or(self.kinds.len() - 1);
        }
    }
}

/// Puts the entries of a directory on the stack, so that the first by name comes off first.
fn push_entries(directory: &Path, ahead: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let from = ahead.len();
    for entry in directory.read_dir()? {
        ahead.push(entry?.path());
    }
    ahead[from..].sort_unstable_by(|a, b| b.cmp(a));
    Ok(())
}

fn extension(path: &Path) -> String {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    match path.extension().and_then(OsStr::to_str) {
        // As in "libc.so.6".
        Some(_) if name.contains(".so.") => ".so".to_owned(),
        Some(extension) if extension.len() <= 12 => format!(".{}", extension.to_lowercase()),
        _ => "no extension".to_owned(),
    }
}
