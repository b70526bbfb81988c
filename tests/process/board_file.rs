//! The task board of a pool as an outsider has it: by its segment's file, and by docs/layout.md, not by the crate's code. Also for the fuzzers.

use std::fs::{File, read_dir, read_link};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

/// The segment's file, and where in it the board is.
pub(crate) struct BoardFile {
    file: File,
    inode: u64,
    /// Of the board, in the file.
    pub(crate) offset: u64,
    pub(crate) slots: u64,
    pub(crate) slot_bytes: u64,
}

const TASK_BOARD: u64 = 19;
/// Where the slots begin, in the board.
pub(crate) const SLOTS: u64 = 17_024;

impl BoardFile {
    /// That of this process's only pool, or of the pool whose worker this process is; `None` as long as there are two.
    pub(crate) fn only() -> Option<BoardFile> {
        let mut all = BoardFile::all();
        let (one, others) = all.split_first().expect("there is a pool");
        let is_only = others.iter().all(|other| other.inode == one.inode);
        is_only.then(|| all.swap_remove(0))
    }

    fn all() -> Vec<BoardFile> {
        let fds = read_dir("/proc/self/fd").expect("/proc is there");
        // All are listed before the first is opened: each opened file is one more in the list.
        let paths: Vec<PathBuf> = fds.map_while(|fd| Some(fd.ok()?.path())).collect();
        let open = |path: PathBuf| {
            if read_link(&path).ok()?.to_str()? != "/memfd:commonhold (deleted)" {
                return None;
            }
            BoardFile::of(File::options().read(true).write(true).open(path).ok()?)
        };
        paths.into_iter().filter_map(open).collect()
    }

    fn of(file: File) -> Option<BoardFile> {
        let entry = long(&file, 48);
        if long(&file, entry + 8) % (1 << 32) != TASK_BOARD {
            return None;
        }
        let [offset, slots, slot_bytes] = [16, 32, 40].map(|at| long(&file, entry + at));
        Some(BoardFile {
            inode: file.metadata().ok()?.ino(),
            file,
            offset,
            slots,
            slot_bytes,
        })
    }

    /// The parent's half of a slot, in the board.
    pub(crate) fn task(&self, slot: u64) -> u64 {
        SLOTS + slot * self.slot_bytes
    }

    /// The worker's half of a slot, in the board.
    pub(crate) fn outcome(&self, slot: u64) -> u64 {
        self.task(slot) + self.slot_bytes / 2
    }

    /// The word at that byte of the segment.
    pub(crate) fn segment_get(&self, at: u64) -> u64 {
        long(&self.file, at)
    }

    /// Writes at that byte of the segment.
    pub(crate) fn segment_put(&self, at: u64, bytes: &[u8]) {
        let written = self.file.write_all_at(bytes, at);
        written.expect("the file has a size that stays");
    }
}

fn long(file: &File, at: u64) -> u64 {
    let mut bytes = [0; 8];
    let read = file.read_exact_at(&mut bytes, at);
    read.expect("the file is so long");
    u64::from_ne_bytes(bytes)
}
