//! No room: in the file system, under the process's limits, in the tables, in the segment.

use crate::support::*;
use commonhold::{
    Array, Atomics, Condvar, Error, Mutex, Place, Queue, Segment, SegmentOptions, Value,
};
use memmap2::MmapMut;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::AtomicU64;

/// Mounts a small tmpfs at `dir`, for this process only; it goes with the process. `Err` says why not.
fn mount_small(dir: &Path, size: &str) -> std::io::Result<()> {
    let path = std::ffi::CString::new(dir.as_os_str().as_encoded_bytes()).unwrap();
    let options = std::ffi::CString::new(format!("size={size}")).unwrap();
    // SAFETY: all strings are C strings; the mounts are made private first, so nobody else sees the new one.
    let done = unsafe {
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(
                c"none".as_ptr(),
                c"/".as_ptr(),
                std::ptr::null(),
                libc::MS_REC | libc::MS_PRIVATE,
                std::ptr::null(),
            ) == 0
            && libc::mount(
                c"tmpfs".as_ptr(),
                path.as_ptr(),
                c"tmpfs".as_ptr(),
                0,
                options.as_ptr().cast(),
            ) == 0
    };
    if done {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error())
    }
}

#[test]
fn a_file_system_without_room_for_a_segment_is_said_at_its_creation_and_nothing_is_left() {
    alone(|| {
        let dir = Dir::new();
        if let Err(e) = mount_small(&dir.0, "64k") {
            skip!("no tmpfs can be mounted: {e}");
        }
        let options = SegmentOptions::new().directory(&dir.0);
        let large = options.clone().max_objects(1024);
        for result in [large.create("x"), large.open_or_create("x")] {
            refused!(
                result,
                Error::OutOfSpace { requested, available, place: Place::FileSystem }
                    if *requested > 256 << 10 && *available <= 64 << 10,
                NO_ROOM_IN_FILE_SYSTEM
            );
            assert!(dir.is_empty());
        }
        // The room was given back: a small one fits, however large its capacity.
        let seg = options.clone().capacity(1 << 30).create("x").unwrap();
        let value = Value::create(&seg, "value", 5u64).unwrap();
        assert_eq!(value.get().unwrap(), 5);
        refused!(
            options.create("y"),
            Error::OutOfSpace {
                place: Place::FileSystem,
                ..
            },
            NO_ROOM_IN_FILE_SYSTEM
        );
        assert_eq!(fs::read_dir(&dir.0).unwrap().count(), 1);
        // The mount belongs to this thread's namespace; without it the directory can be removed.
        drop((value, seg));
        unmount(&dir.0);
    });
}

fn unmount(dir: &Path) {
    let path = std::ffi::CString::new(dir.as_os_str().as_encoded_bytes()).unwrap();
    // SAFETY: the path is a C string.
    let r = unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
    assert_eq!(r, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn a_file_system_without_room_for_an_object_is_said_at_its_creation_and_nothing_is_lost() {
    alone(|| {
        let dir = Dir::new();
        if let Err(e) = mount_small(&dir.0, "128k") {
            skip!("no tmpfs can be mounted: {e}");
        }
        let options = SegmentOptions::new().directory(&dir.0).capacity(1 << 20);
        let seg = options.create("x").unwrap();
        let objects = Objects::create(&seg);
        // Two pages, of which nothing has been touched but the control block.
        let untouched = Queue::<[u64; 64]>::create(&seg, "untouched", 15).unwrap();
        let available = seg.available();
        for result in [
            Array::create(&seg, "large", 256 << 10, 0u8).map(drop),
            Array::open_or_create(&seg, "large", 256 << 10, 0u8).map(drop),
            Queue::<u64>::create(&seg, "large", 32 << 10).map(drop),
            Atomics::<AtomicU64>::create(&seg, "large", 32 << 10).map(drop),
            Value::create(&seg, "large", [0u8; 128 << 10]).map(drop),
            Mutex::create(&seg, "large", [0u8; 256 << 10]).map(drop),
        ] {
            refused!(
                result,
                Error::OutOfSpace { requested, available, place: Place::FileSystem }
                    if *requested >= 256 << 10 && *available < 128 << 10,
                NO_ROOM_IN_FILE_SYSTEM
            );
            assert_eq!(seg.available(), available);
            assert_eq!(seg.objects().len(), 7);
        }
        // Not one page more: whatever was created can be used to its last byte, and attached.
        let filler = File::create(dir.0.join("filler")).unwrap();
        let full = loop {
            match (&filler).write(&[1; 4096]) {
                Ok(n) => assert!(n > 0),
                Err(e) => break e,
            }
        };
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
        let other = options.open("x").unwrap();
        for n in 0..15 {
            untouched.try_send([n; 64]).unwrap();
        }
        for n in 0..15 {
            assert_eq!(untouched.try_recv().unwrap(), [n; 64]);
        }
        Objects::open(&other).unwrap().work().unwrap();
        refused!(
            Array::create(&other, "small", 8192, 0u8),
            Error::OutOfSpace {
                place: Place::FileSystem,
                ..
            },
            NO_ROOM_IN_FILE_SYSTEM
        );
        // And as soon as there is room again, there is room.
        fs::remove_file(dir.0.join("filler")).unwrap();
        drop(filler);
        let array = Array::create(&other, "small", 8192, 7u8).unwrap();
        assert_eq!(array.to_vec().unwrap(), [7; 8192]);
        objects.work().unwrap();
        unmount(&dir.0);
    });
}

fn limit(what: libc::__rlimit_resource_t, most: u64) {
    let mut limit = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is an rlimit64, which the first call fills and the second one reads.
    let done = unsafe {
        libc::getrlimit64(what, &raw mut limit) == 0 && {
            limit.rlim_cur = most;
            libc::setrlimit64(what, &raw const limit) == 0
        }
    };
    assert!(done, "{}", std::io::Error::last_os_error());
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_and_not_a_signal() {
    alone(|| {
        let large = Name::new();
        drop(Segment::create(&large, 4 << 20).unwrap());
        limit(libc::RLIMIT_FSIZE, 1 << 20);
        let name = Name::new();
        for result in [
            Segment::create(&name, 2 << 20),
            Segment::open_or_create(&name, 2 << 20),
            Segment::anonymous(2 << 20),
        ] {
            refused!(
                result,
                Error::OutOfSpace { requested, available: 0x10_0000, place: Place::FileSizeLimit }
                    if *requested > 2 << 20,
                ["RLIMIT_FSIZE allows 1048576", "ulimit -f"]
            );
            assert!(!name.exists());
        }
        Segment::create(&name, 512 << 10).unwrap();
        // A file that has its length already does not grow: all of it can be used.
        let seg = Segment::open(&large).unwrap();
        let array = Array::create(&seg, "array", 3 << 20, 1u8).unwrap();
        assert_eq!(array.get((3 << 20) - 1).unwrap(), 1);
    });
}

#[test]
fn a_lack_of_address_space_is_said_when_a_segment_is_opened() {
    alone(|| {
        let name = Name::new();
        drop(Segment::create(&name, 1 << 30).unwrap());
        limit(libc::RLIMIT_AS, 1 << 30);
        // qemu's user mode keeps no such limit.
        if MmapMut::map_anon(1 << 30).is_ok() {
            eprintln!("SKIPPED: the limit on address space is not kept here");
            return;
        }
        refused!(
            Segment::open(&name),
            Error::OutOfSpace { requested, place: Place::AddressSpace, .. }
                if *requested > 1 << 30,
            ["this process can map", "a smaller capacity"]
        );
    });
}

#[test]
fn a_segment_too_large_to_be_mapped_leaves_no_name() {
    let name = Name::new();
    #[cfg(target_pointer_width = "64")]
    let capacities = [1 << 50, 1 << 56];
    // No file system is too small for these, and no 32-bit program can map them.
    #[cfg(target_pointer_width = "32")]
    let capacities = [1 << 31, usize::MAX];
    for capacity in capacities {
        refused!(
            Segment::create(&name, capacity),
            Error::OutOfSpace { requested, .. } if *requested > capacity as u64,
            ["out of space"],
            "{capacity:#x}"
        );
        assert!(!name.exists(), "{capacity:#x}");
        refused!(
            Segment::open_or_create(&name, capacity),
            Error::OutOfSpace { .. },
            ["out of space"],
            "{capacity:#x}"
        );
        assert!(!name.exists(), "{capacity:#x}");
        refused!(
            Segment::anonymous(capacity),
            Error::OutOfSpace { .. },
            ["out of space"],
            "{capacity:#x}"
        );
    }
}

/// Another process that has the segment attached until it is told to end, or is killed.
struct Holder(std::process::Child);

const HOLD: &str = "COMMONHOLD_BAD_INPUT_HOLD";

impl Holder {
    fn start(name: &str) -> Holder {
        let mut child = this_program()
            .args(["room::holder", "--exact", "--nocapture"])
            .env(HOLD, name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        let ready = lines.map_while(|l| l.ok()).any(|l| l.ends_with("attached"));
        assert!(ready, "the holder did not attach");
        Holder(child)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The body of a [`Holder`]; as a test of its own it does nothing.
#[test]
fn holder() {
    let Ok(name) = std::env::var(HOLD) else {
        return;
    };
    let _seg = Segment::open(&name).unwrap();
    println!("\nattached");
    // Ends with the parent, at the latest.
    let _ = std::io::stdin().read_line(&mut String::new());
}

#[test]
fn a_segment_whose_member_slots_are_all_taken_refuses_more_until_one_dies() {
    let name = Name::new();
    let seg = SegmentOptions::new().max_members(2).create(&name).unwrap();
    let objects = Objects::create(&seg);
    let holder = Holder::start(&name);
    // Wherever the search begins: `next_slot` is anybody's to write.
    for next_slot in [0, 1, 2, u32::MAX] {
        put(&name.file(), 132, &next_slot.to_ne_bytes());
        for result in [Segment::open(&name), Segment::open_or_create(&name, 4096)] {
            refused!(
                result,
                Error::TooManyMembers,
                ["every member slot", "living process", "max_members"]
            );
        }
    }
    let fd = seg.as_fd().try_clone_to_owned().unwrap();
    refused!(
        Segment::from_fd(fd),
        Error::TooManyMembers,
        ["every member slot", "living process", "max_members"]
    );
    assert_eq!(seg.members().iter().filter(|m| m.alive).count(), 2);
    objects.work().unwrap();
    drop(holder);
    Objects::open(&Segment::open(&name).unwrap())
        .unwrap()
        .work()
        .unwrap();
}

#[test]
fn a_segment_whose_object_slots_are_all_taken_refuses_more() {
    let seg = SegmentOptions::new()
        .capacity(1 << 16)
        .max_objects(2)
        .anonymous()
        .unwrap();
    Value::create(&seg, "a", 1u64).unwrap();
    Queue::<u8>::create(&seg, "b", 1).unwrap();
    let available = seg.available();
    for o in &OPENERS {
        for result in [(o.create)(&seg, "c"), (o.open_or_create)(&seg, "c")] {
            refused!(
                result,
                Error::TooManyObjects,
                ["every object slot", "larger max_objects"],
                "{}",
                o.kind
            );
        }
        refused!((o.open)(&seg, "c"), Error::NotFound, NOT_FOUND);
    }
    refused!(
        Value::create(&seg, "a", 1u64),
        Error::AlreadyExists,
        ALREADY_EXISTS
    );
    assert_eq!(
        Value::<u64>::open_or_create(&seg, "a", 2)
            .unwrap()
            .get()
            .unwrap(),
        1
    );
    assert_eq!(seg.available(), available);
}

#[test]
fn an_object_beyond_the_capacity_is_refused_with_both_numbers() {
    let seg = Segment::anonymous(8192).unwrap();
    let objects = Objects::create(&seg);
    let available = seg.available();
    refused!(
        Array::create(&seg, "a", available, 0u8),
        Error::OutOfSpace { requested, available: a, place: Place::Segment }
            if *requested == available as u64 + 64 && *a == available as u64,
        [
            &format!("{} bytes were needed", available + 64)[..],
            &format!("the segment has {available}"),
            "create the segment with a larger capacity",
        ]
    );
    refused!(
        Queue::<u64>::open_or_create(&seg, "a", 1024),
        Error::OutOfSpace {
            place: Place::Segment,
            ..
        },
        NO_ROOM_IN_SEGMENT
    );
    assert_eq!(seg.available(), available);
    assert_eq!(seg.objects().len(), 6);
    objects.work().unwrap();
}

#[test]
fn the_room_that_is_said_to_be_there_can_be_had_to_the_last_byte() {
    let seg = Segment::anonymous(8192).unwrap();
    let objects = Objects::create(&seg);
    let available = seg.available();
    Array::create(&seg, "a", available - 64, 0u8).unwrap();
    assert_eq!(seg.available(), 0);
    refused!(
        Condvar::create(&seg, "b"),
        Error::OutOfSpace {
            requested: 4,
            available: 0,
            place: Place::Segment
        },
        NO_ROOM_IN_SEGMENT
    );
    objects.work().unwrap();
}

#[test]
fn a_process_without_descriptors_to_attach_a_new_segment_leaves_no_name() {
    alone(|| {
        let name = Name::new();
        let next = File::open("/dev/null").unwrap().as_raw_fd();
        // One more is allowed: for the file, and none for the lock that vouches for the member.
        limit(libc::RLIMIT_NOFILE, next as u64 + 1);
        refused!(
            Segment::create(&name, 4096),
            Error::Io(e) if e.raw_os_error() == Some(libc::EMFILE),
            ["the operating system refused", "Too many open files"]
        );
        assert!(!name.exists());
    });
}
