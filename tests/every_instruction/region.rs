//! The bytes of a segment, as they stand between two instructions of a process that works on it.

use crate::support::Name;
use memmap2::MmapRaw;
use std::collections::hash_map::DefaultHasher;
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

/// An operation may make, open and unlink a second segment: the first one's name with this behind it.
pub const SECOND: &str = "-second";

const SUFFIXES: [&str; 2] = ["", SECOND];

/// The segment `name` and perhaps its second, looked at from outside.
pub struct Region {
    base: String,
    files: [Option<MmapRaw>; 2],
}

/// Their bytes at one moment.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Snapshot([Option<Vec<u64>>; 2]);

impl Region {
    pub fn of(name: &str) -> Region {
        let mut region = Region {
            base: name.to_owned(),
            files: [None, None],
        };
        region.look_for_files();
        region
    }

    /// Files come and go by system calls only: to be called after each.
    pub fn look_for_files(&mut self) {
        for (suffix, file) in SUFFIXES.iter().zip(&mut self.files) {
            let path = format!("/dev/shm/{}{suffix}", self.base);
            match File::open(path) {
                // One name never stands for two files in one operation.
                Ok(found) if file.is_none() => {
                    let map = memmap2::MmapOptions::new().map_raw_read_only(&found);
                    *file = Some(map.unwrap());
                }
                Ok(_) => {}
                Err(_) => *file = None,
            }
        }
    }

    fn words(&self, file: usize) -> Option<impl Iterator<Item = u64> + '_> {
        let map = self.files[file].as_ref()?;
        Some((0..map.len() / 8).map(move |i| {
            // SAFETY: inside the mapping, which starts on a page; who writes there in the meantime writes atomically, or
            // stands stopped.
            let word = unsafe { &*map.as_ptr().cast::<AtomicU64>().add(i) };
            word.load(Ordering::Acquire)
        }))
    }

    /// Whether the bytes are others than in `snapshot`.
    pub fn differs(&self, snapshot: &Snapshot) -> bool {
        (0..SUFFIXES.len()).any(|i| match (self.words(i), &snapshot.0[i]) {
            (Some(now), Some(then)) => !now.eq(then.iter().copied()),
            (None, None) => false,
            _ => true,
        })
    }

    /// The bytes at one moment, also if other processes than the stopped one are at work: two looks in succession that
    /// saw the same.
    pub fn snapshot(&self) -> Snapshot {
        let look = || Snapshot([0, 1].map(|i| self.words(i).map(Iterator::collect)));
        let mut last = look();
        while self.differs(&last) {
            last = look();
        }
        last
    }
}

impl Snapshot {
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }

    /// Segments with these bytes. Nobody vouches for a member of theirs: all are dead.
    pub fn revive(&self) -> Names {
        let names = Names::new();
        for (suffix, words) in SUFFIXES.iter().zip(&self.0) {
            if let Some(words) = words {
                let path = format!("/dev/shm/{}{suffix}", &*names);
                std::fs::write(path, bytemuck::cast_slice(words)).unwrap();
            }
        }
        names
    }
}

/// The name of a segment, and of its second; both are removed when this is dropped.
pub struct Names(Name);

impl Names {
    pub fn new() -> Names {
        Names(Name::new("every"))
    }
}

impl std::ops::Deref for Names {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(format!("/dev/shm/{}{SECOND}", &*self.0));
    }
}
