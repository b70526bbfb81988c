use super::*;
use crate::encoding::{decode, encode};
use crate::{Atomics, Error, Queue, SegmentOptions, Value};
use serde::de::DeserializeOwned;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

fn bytes_of<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(value, &mut bytes).unwrap();
    bytes
}

/// Why these bytes are no `T`.
fn refusal<T: DeserializeOwned>(bytes: &[u8]) -> String {
    match decode::<T>(bytes) {
        Err(Error::NotDecodable { reason, .. }) => reason,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was attached"),
    }
}

/// A directory of our own, on the disk.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Directory {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("commonhold-travel-{}-{n}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Directory(path)
    }

    fn options(&self) -> SegmentOptions {
        SegmentOptions::new().directory(&self.0)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn is_same(a: &Segment, b: &Segment) -> bool {
    Arc::ptr_eq(&a.inner, &b.inner)
}

fn alive(segment: &Segment) -> usize {
    segment.members().iter().filter(|m| m.alive).count()
}

#[test]
fn where_it_came_from_a_handle_is_the_mapping_that_is_there() {
    let segment = Segment::anonymous(1 << 16).unwrap();
    let value = Value::create(&segment, "v", 1u64).unwrap();
    let bytes = bytes_of(&(&segment, [&value, &value]));
    let (again, values) = decode::<(Segment, [Value<u64>; 2])>(&bytes).unwrap();
    assert!(is_same(&segment, &again));
    values[1].set(7).unwrap();
    assert_eq!(value.get().unwrap(), 7);
    assert_eq!(segment.members().len(), 1);
}

#[test]
fn an_object_without_bytes_keeps_its_own_name() {
    let segment = Segment::anonymous(1 << 16).unwrap();
    // Both stand at one place.
    let none = Atomics::<AtomicU32>::create(&segment, "none", 0).unwrap();
    let some = Atomics::<AtomicU64>::create(&segment, "some", 3).unwrap();
    let (none, some): (Atomics<AtomicU32>, Atomics<AtomicU64>) =
        decode(&bytes_of(&(none, some))).unwrap();
    assert_eq!((none.len(), some.len()), (0, 3));
}

#[test]
fn another_type_is_refused_in_the_words_of_open() {
    let segment = Segment::anonymous(1 << 16).unwrap();
    let queue = Queue::<u64>::create(&segment, "jobs", 3).unwrap();
    let bytes = bytes_of(&queue);
    let why = refusal::<Queue<i64>>(&bytes);
    let expected = Queue::<i64>::open(&segment, "jobs").unwrap_err();
    assert!(matches!(expected, Error::TypeMismatch { .. }));
    assert!(why.ends_with(&expected.to_string()), "{why}");
    assert!(why.starts_with("object \"jobs\" of"), "{why}");
    assert_eq!(alive(&segment), 1);
}

#[test]
fn a_name_that_is_another_segments_by_now_is_not_taken_for_it() {
    let directory = Directory::new();
    let options = directory.options();
    let inode = || directory.0.join("a").metadata().unwrap().ino();
    // As often as it takes until the file system gives a successor its predecessor's number; most do at once, or never.
    for _ in 0..10 {
        let first = options.create("a").unwrap();
        let (bytes, before) = (bytes_of(&first), inode());
        drop(first);
        options.unlink("a").unwrap();
        let second = options.create("a").unwrap();
        let why = refusal::<Segment>(&bytes);
        assert!(why.contains("another segment's by now"), "{why}");
        assert_eq!(alive(&second), 1);
        options.unlink("a").unwrap();
        if inode_was_reused(before, &second) {
            return;
        }
    }
    eprintln!("SKIPPED, the reuse of inode numbers: this file system does not reuse them");
}

fn inode_was_reused(before: u64, second: &Segment) -> bool {
    second.inner.file.identity().1 == before
}

#[test]
fn a_name_that_another_has_does_not_hide_the_senders_descriptor() {
    let directory = Directory::new();
    let options = directory.options();
    let first = options.create("a").unwrap();
    let mut address = Address::of(&first.inner).unwrap();
    options.unlink("a").unwrap();
    let second = options.create("a").unwrap();
    let by_descriptor = address.attach_anew().unwrap();
    assert_eq!(by_descriptor.inner.identity(), first.inner.identity());
    assert_eq!((alive(&first), alive(&second)), (2, 1));
    // It was not opened by its name.
    assert_eq!(by_descriptor.name(), "");
    address.fd = None;
    assert!(address.attach_anew().is_err());
    // Unlinked, it has no name to send.
    assert_eq!(Address::of(&first.inner).unwrap().path, None);
}

#[test]
fn a_segment_that_is_gone_is_refused_with_advice() {
    let segment = Segment::anonymous(1 << 16).unwrap();
    let bytes = bytes_of(&segment);
    drop(segment);
    let why = refusal::<Segment>(&bytes);
    assert!(why.contains("use a segment that has a name"), "{why}");
    let me = format!("process {}, which sent it", std::process::id());
    assert!(why.contains(&me), "{why}");
}

#[test]
fn an_inherited_descriptor_is_found_when_the_sender_is_gone() {
    let segment = Segment::anonymous(1 << 16).unwrap();
    let mut address = Address::of(&segment.inner).unwrap();
    let inherited = segment.as_fd().try_clone_to_owned().unwrap();
    drop(segment);
    address.pid = u32::MAX;
    assert!(address.attach().is_err());
    address.fd = Some(inherited.as_raw_fd() as u32);
    let segment = address.attach().unwrap();
    assert_eq!(alive(&segment), 1);
}

#[test]
fn a_guard_against_truncation_travels_and_trust_does_not() {
    let directory = Directory::new();
    let plain = directory.options().create("a").unwrap();
    let address = Address::of(&plain.inner).unwrap();
    assert!(!address.guarded && is_same(&address.attach().unwrap(), &plain));

    let guarded = Address {
        guarded: true,
        ..address
    };
    let first = guarded.attach().unwrap();
    assert!(first.inner.is_guarded() && !is_same(&first, &plain));
    assert!(is_same(&guarded.attach().unwrap(), &first));
    assert!(is_same(&first, &decode(&bytes_of(&first)).unwrap()));

    // SAFETY: plain system call.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("SKIPPED, other users' segments: not root");
        return;
    }
    let path = directory.0.join("a");
    std::os::unix::fs::chown(&path, Some(12345), None).unwrap();
    let why = guarded.attach_anew().unwrap_err();
    assert!(why.contains("allow_other_users"), "{why}");
    // But one that the receiver itself has opened so is there already.
    drop((plain, first));
    let trusted = directory
        .options()
        .allow_other_users(true)
        .open("a")
        .unwrap();
    assert!(is_same(&address_of(&trusted).attach().unwrap(), &trusted));
}

fn address_of(segment: &Segment) -> Address {
    Address::of(&segment.inner).unwrap()
}

/// Counts how often a file is opened from here on.
struct Opens(File);

impl Opens {
    fn of(path: &Path) -> Opens {
        let path = std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap();
        // SAFETY: plain system calls; the path is a C string.
        let fd = unsafe {
            let fd = libc::inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK);
            assert!(fd >= 0);
            assert!(libc::inotify_add_watch(fd, path.as_ptr(), libc::IN_OPEN) >= 0);
            fd
        };
        // SAFETY: the kernel just gave us this descriptor.
        Opens(unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) })
    }

    fn any(&mut self) -> bool {
        let mut events = [0; 4096];
        std::io::Read::read(&mut self.0, &mut events).is_ok_and(|n| n > 0)
    }
}

/// The address of something that is no segment, as a hostile sender may write it.
fn pretended(path: &Path, fd: Option<u32>) -> Address {
    let m = path.metadata().unwrap();
    Address {
        identity: Identity {
            file: (m.dev(), m.ino()),
            id: [0; 16],
        },
        path: fd.is_none().then(|| path.to_owned()),
        pid: std::process::id(),
        fd,
        guarded: false,
    }
}

#[test]
fn what_can_be_no_segment_is_not_even_opened() {
    let directory = Directory::new();
    let at = |name| directory.0.join(name);
    let fifo = std::ffi::CString::new(at("fifo").as_os_str().as_bytes()).unwrap();
    // SAFETY: plain system call; the path is a C string.
    assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }, 0);
    std::fs::create_dir(at("directory")).unwrap();
    std::fs::write(at("short"), [0; 8192]).unwrap();
    drop(directory.options().create("segment").unwrap());
    symlink(at("segment"), at("link")).unwrap();
    for name in ["fifo", "directory", "short", "link"] {
        let mut opens = Opens::of(&at(name));
        let why = pretended(&at(name), None).attach().unwrap_err();
        assert!(why.contains("is not to be found"), "{why}");
        assert!(!opens.any(), "{name}");
    }
    // Nor by the number of a descriptor.
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(at("fifo"))
        .unwrap();
    let mut opens = Opens::of(&at("fifo"));
    let address = pretended(&at("fifo"), Some(file.as_raw_fd() as u32));
    assert!(address.attach().is_err());
    assert!(!opens.any());
    // What can be one is, and nothing else is done to it.
    std::fs::write(at("long"), [7; 1 << 16]).unwrap();
    let mut opens = Opens::of(&at("long"));
    let why = pretended(&at("long"), None).attach().unwrap_err();
    assert!(why.contains(&Error::NotASegment.to_string()), "{why}");
    assert!(opens.any());
    assert_eq!(std::fs::read(at("long")).unwrap(), [7; 1 << 16]);
}

#[test]
fn whatever_the_bytes_are_they_are_a_handle_or_an_error() {
    let directory = Directory::new();
    let segment = directory.options().create("a").unwrap();
    let queue = Queue::<u64>::create(&segment, "jobs", 3).unwrap();
    let good = bytes_of(&queue);
    let (mut fine, mut refused) = (0, 0);
    let mut judge = |bytes: &[u8]| match decode::<Queue<u64>>(bytes) {
        // The ways to it, mostly: it is attached already.
        Ok(_) => fine += 1,
        Err(Error::NotDecodable { .. }) => refused += 1,
        Err(other) => panic!("{other}"),
    };
    for cut in 0..good.len() {
        judge(&good[..cut]);
    }
    for at in 0..good.len() {
        for new in 0..=255 {
            let mut bad = good.clone();
            bad[at] = new;
            judge(&bad);
        }
    }
    assert!(fine > 0 && refused > 0);
    assert_eq!(alive(&segment), 1);
}

#[test]
fn any_address_is_attached_or_refused() {
    // Not attached here, so that every byte is looked at: through what the kernel shows of a process that has ended.
    let directory = Directory::new();
    let segment = directory.options().create("a").unwrap();
    let good = Address::of(&segment.inner).unwrap();
    drop(segment);
    let paths = [
        "",
        "/",
        ".",
        "a",
        "/dev/shm",
        "/proc/self/mem",
        "/dev/null",
        "/\0",
    ];
    for path in paths
        .map(PathBuf::from)
        .into_iter()
        .chain([directory.0.join("a/b")])
    {
        for fd in [None, Some(0), Some(u32::MAX)] {
            let address = Address {
                path: Some(path.clone()),
                fd,
                ..good.clone()
            };
            let why = address.attach().unwrap_err();
            assert!(why.contains("let it arrive"), "{why}");
        }
    }
    assert_eq!(alive(&good.attach().unwrap()), 1);
}
