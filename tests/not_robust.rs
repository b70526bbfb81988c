//! The locks of the feature `raw-sync`, where they are not like the others: their files, and what they do not survive. What they
//! have in common with the others is in `tests/conformance`.
#![cfg(feature = "raw-sync")]
#![allow(deprecated)]

mod support;

use commonhold::not_robust::{Event, Mutex, Region, RwLock};
use commonhold::{Error, Place};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;
use support::{Child, Forked, Name, tell, wait_to_be_killed};

support::roles!(hold, make);

/// Before the objects: a header of 4,096 bytes and 64 entries of 256.
const DATA_AT: u64 = 4096 + 64 * 256;
const FIRST_ENTRY: u64 = 4096;

/// A directory of a test's own.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Dir {
        let path = std::env::temp_dir().join(&*Name::new("not-robust"));
        fs::create_dir(&path).unwrap();
        Dir(path)
    }

    fn path(&self) -> PathBuf {
        self.0.join("region")
    }

    /// Changes bytes of the region behind the crate's back.
    fn put(&self, at: u64, bytes: &[u8]) {
        let file = OpenOptions::new().write(true).open(self.path()).unwrap();
        file.write_all_at(bytes, at).unwrap();
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn names_in(path: &Path) -> Vec<String> {
    fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

macro_rules! refused {
    ($result:expr, $pattern:pat) => {{
        let result = $result.map(drop);
        assert!(matches!(result, Err($pattern)), "{result:?}");
    }};
}

#[test]
fn a_file_that_is_no_region_is_refused() {
    let dir = Dir::new();
    for bytes in [&b""[..], b"short", &[7; 1 << 16]] {
        fs::write(dir.path(), bytes).unwrap();
        refused!(Region::open_at(dir.path()), Error::NotASegment);
        refused!(Region::create_at(dir.path(), 1 << 16), Error::AlreadyExists);
        refused!(
            Region::open_or_create_at(dir.path(), 1 << 16),
            Error::NotASegment
        );
    }
    fs::remove_file(dir.path()).unwrap();
    refused!(Region::open_at(dir.path()), Error::NotFound);
    refused!(Region::open_at(&dir.0), Error::NotASegment);
    let real = dir.0.join("real");
    Region::create_at(&real, 0).unwrap();
    symlink(&real, dir.path()).unwrap();
    refused!(Region::open_at(dir.path()), Error::NotASegment);
}

#[test]
fn a_region_of_another_version_or_of_other_locks_is_refused() {
    let dir = Dir::new();
    for (at, byte) in [(8, 99), (12, 99), (24, b'X'), (127, 1)] {
        Region::create_at(dir.path(), 1 << 12).unwrap();
        dir.put(at, &[byte]);
        refused!(Region::open_at(dir.path()), Error::VersionMismatch);
        fs::remove_file(dir.path()).unwrap();
    }
}

#[test]
fn a_region_of_another_length_is_refused() {
    let dir = Dir::new();
    Region::create_at(dir.path(), 1 << 12).unwrap();
    let file = OpenOptions::new().write(true).open(dir.path()).unwrap();
    for len in [DATA_AT, DATA_AT + 4095, DATA_AT + 4097, 4096, 128] {
        file.set_len(len).unwrap();
        refused!(Region::open_at(dir.path()), Error::Corrupt);
    }
    file.set_len(127).unwrap();
    refused!(Region::open_at(dir.path()), Error::NotASegment);
}

#[test]
fn entries_that_can_not_be_are_corrupt_and_one_that_is_being_made_is_not_there() {
    let dir = Dir::new();
    let region = Region::create_at(dir.path(), 1 << 12).unwrap();
    Mutex::create(&region, "m", 1u64).unwrap();
    let open = || Mutex::<u64>::open(&region, "m");
    let create = || Mutex::create(&region, "n", 1u64);
    open().unwrap();
    let offset_at = FIRST_ENTRY + 32 + 16;
    for offset in [0, DATA_AT - 64, DATA_AT + 4096, u64::MAX - 8, u64::MAX] {
        dir.put(offset_at, &offset.to_ne_bytes());
        refused!(open(), Error::Corrupt);
        refused!(create(), Error::Corrupt);
    }
    dir.put(offset_at, &(DATA_AT + 8).to_ne_bytes());
    refused!(open(), Error::Corrupt);
    dir.put(offset_at, &DATA_AT.to_ne_bytes());
    open().unwrap();
    // Being made.
    dir.put(FIRST_ENTRY, &1u32.to_ne_bytes());
    refused!(open(), Error::NotFound);
    dir.put(FIRST_ENTRY, &77u32.to_ne_bytes());
    refused!(open(), Error::NotFound);
    refused!(create(), Error::Corrupt);
    dir.put(FIRST_ENTRY, &2u32.to_ne_bytes());
    open().unwrap();
}

#[test]
fn an_object_is_opened_only_as_what_it_is() {
    let dir = Dir::new();
    let region = Region::create_at(dir.path(), 1 << 12).unwrap();
    Mutex::create(&region, "m", 1u64).unwrap();
    Event::create_auto_reset(&region, "e").unwrap();
    for result in [
        Mutex::<i64>::open(&region, "m").map(drop),
        Mutex::<[u64; 2]>::open(&region, "m").map(drop),
        RwLock::<u64>::open(&region, "m").map(drop),
        Event::open(&region, "m").map(drop),
        Mutex::<u64>::open(&region, "e").map(drop),
        Event::open_or_create(&region, "e").map(drop),
    ] {
        let Err(Error::TypeMismatch {
            expected, found, ..
        }) = result
        else {
            panic!("{result:?}")
        };
        assert_ne!(expected, found);
    }
    assert!(Event::open(&region, "e").unwrap().is_auto_reset());
}

#[test]
fn names_that_can_not_be_files_are_invalid() {
    let long = "n".repeat(300);
    for name in [
        "", ".", "..", ".hidden", "a/b", "a\\b", "a\0b", "c:d", &long,
    ] {
        refused!(Region::create(name, 0), Error::InvalidName);
        refused!(Region::open(name), Error::InvalidName);
        refused!(Region::unlink(name), Error::InvalidName);
    }
    let dir = Dir::new();
    let region = Region::create_at(dir.path(), 1 << 12).unwrap();
    for name in ["", "a\0b", &"n".repeat(97)] {
        refused!(Mutex::create(&region, name, 0u8), Error::InvalidName);
        refused!(Mutex::<u8>::open(&region, name), Error::InvalidName);
    }
    Mutex::create(&region, &"n".repeat(96), 0u8).unwrap();
}

#[test]
fn room_is_limited_and_a_refusal_takes_none() {
    let dir = Dir::new();
    let region = Region::create_at(dir.path(), 4096).unwrap();
    refused!(
        Mutex::create(&region, "large", [0u8; 4096]),
        Error::OutOfSpace {
            place: Place::Segment,
            ..
        }
    );
    Mutex::create(&region, "small", [0u8; 3000]).unwrap();
    refused!(
        Region::create_at(dir.0.join("larger"), usize::MAX),
        Error::TooLarge { .. }
    );
    let many = Region::create_at(dir.0.join("many"), 1 << 20).unwrap();
    for i in 0..64 {
        Event::create(&many, &i.to_string()).unwrap();
    }
    refused!(Event::create(&many, "64"), Error::TooManyObjects);
    refused!(Event::open(&many, "64"), Error::NotFound);
    Event::open(&many, "63").unwrap();
}

#[test]
fn values_of_any_size_and_alignment_stand_where_they_must() {
    #[repr(C, align(512))]
    #[derive(Clone, Copy, bytemuck::Zeroable)]
    struct Aligned([u8; 512]);
    // SAFETY: bytes, and as many of them as it is aligned to.
    unsafe impl bytemuck::Pod for Aligned {}

    let dir = Dir::new();
    let region = Region::create_at(dir.path(), 1 << 14).unwrap();
    let byte = Mutex::create(&region, "byte", 7u8).unwrap();
    let nothing = RwLock::create(&region, "nothing", [0u64; 0]).unwrap();
    let aligned = RwLock::create(&region, "aligned", Aligned([9; 512])).unwrap();
    let again = Region::open_at(dir.path()).unwrap();
    let there = RwLock::<Aligned>::open(&again, "aligned").unwrap();
    aligned.write().unwrap().0[511] = 1;
    let guard = there.read().unwrap();
    assert_eq!((&raw const *guard).addr() % 512, 0);
    assert_eq!((guard.0[0], guard.0[511]), (9, 1));
    assert_eq!(nothing.read().unwrap().len(), 0);
    assert_eq!(*byte.lock().unwrap(), 7);
}

#[test]
fn a_region_is_its_makers_alone_and_nothing_else_is_left_beside_it() {
    let dir = Dir::new();
    let region = Region::create_at(dir.path(), 1 << 12).unwrap();
    let found = fs::metadata(dir.path()).unwrap();
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    assert_eq!(found.nlink(), 1);
    refused!(Region::create_at(dir.path(), 1 << 12), Error::AlreadyExists);
    assert_eq!(names_in(&dir.0), ["region"]);
    drop(region);
    // SAFETY: the call has no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        return;
    }
    std::os::unix::fs::chown(dir.path(), Some(65534), None).unwrap();
    refused!(Region::open_at(dir.path()), Error::PermissionDenied);
}

fn make(args: &[String]) {
    let region = Region::open_or_create_at(&args[0], 1 << 12).unwrap();
    *Mutex::open_or_create(&region, "m", 0u64)
        .unwrap()
        .lock()
        .unwrap() += 1;
}

#[test]
fn of_racing_processes_all_get_the_same_region() {
    for _ in 0..5 {
        let dir = Dir::new();
        let path = dir.path().into_os_string().into_string().unwrap();
        let makers: Vec<_> = (0..4).map(|_| Child::start("make", &[&path])).collect();
        makers.into_iter().for_each(Child::finish);
        let region = Region::open_at(&path).unwrap();
        assert_eq!(
            *Mutex::<u64>::open(&region, "m").unwrap().lock().unwrap(),
            4
        );
        assert_eq!(names_in(&dir.0), ["region"]);
    }
}

fn hold(args: &[String]) {
    let region = Region::open_at(&args[0]).unwrap();
    let mutex = Mutex::<u64>::open(&region, "m").unwrap();
    let rwlock = RwLock::<u64>::open(&region, "r").unwrap();
    let _guards = (mutex.lock().unwrap(), rwlock.read().unwrap());
    tell("holds");
    wait_to_be_killed();
}

/// What the module is named for. That the timed forms return nevertheless is all that is left.
#[test]
fn a_killed_holder_leaves_it_locked_for_ever() {
    const WHILE: Duration = Duration::from_millis(300);
    let dir = Dir::new();
    let region = Region::create_at(dir.path(), 1 << 12).unwrap();
    let mutex = Mutex::create(&region, "m", 0u64).unwrap();
    let rwlock = RwLock::create(&region, "r", 0u64).unwrap();
    let path = dir.path().into_os_string().into_string().unwrap();
    let mut holder = Child::start("hold", &[&path]);
    holder.expect("holds");
    holder.kill();
    refused!(mutex.try_lock(), Error::WouldBlock);
    refused!(mutex.lock_timeout(WHILE), Error::Timeout);
    refused!(mutex.recover_timeout(WHILE), Error::Timeout);
    refused!(rwlock.write_timeout(WHILE), Error::Timeout);
    assert_eq!(*rwlock.read_timeout(WHILE).unwrap(), 0);
}

#[test]
fn guards_that_a_forked_child_inherited_are_inert() {
    let dir = Dir::new();
    let region = Region::create_at(dir.path(), 1 << 12).unwrap();
    let mutex = Mutex::create(&region, "m", 0u64).unwrap();
    let rwlock = RwLock::create(&region, "r", 0u64).unwrap();
    let mut guard = Some(mutex.lock().unwrap());
    let mut writes = Some(rwlock.write().unwrap());
    Forked::start(|| {
        drop(guard.take());
        drop(writes.take());
        refused!(mutex.try_lock(), Error::WouldBlock);
        refused!(rwlock.try_read(), Error::WouldBlock);
    })
    .finish();
    refused!(mutex.try_lock(), Error::WouldBlock);
    refused!(rwlock.try_read(), Error::WouldBlock);
    drop((guard, writes));
    let reads = rwlock.read().unwrap();
    let child = Forked::start(|| {
        // The child locks in its own name.
        *mutex.lock().unwrap() += 1;
        assert_eq!(*rwlock.read().unwrap(), 0);
    });
    child.finish();
    assert_eq!(*mutex.lock().unwrap(), 1);
    refused!(rwlock.try_write(), Error::WouldBlock);
    drop(reads);
    rwlock.try_write().map(drop).unwrap();
}
