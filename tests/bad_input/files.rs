//! Files that are no segments, or no longer whole ones.

use crate::support::*;
use commonhold::{Error, Queue, Segment, SegmentOptions, Value};
use std::fs::{self, File};
use std::os::unix::fs::symlink;

#[test]
fn a_truncated_file_is_refused_at_every_length() {
    // A file that is taken for longer than it is would be a SIGBUS.
    alone(|| {
        let whole = {
            let name = Name::new();
            let seg = SegmentOptions::new()
                .capacity(8192)
                .max_members(3)
                .max_objects(6)
                .create(&name)
                .unwrap();
            Objects::create(&seg);
            drop(seg);
            fs::read(name.path()).unwrap()
        };
        let length = whole.len();
        let entries_end = 4096 + 3 * 64 + 64 + 6 * 256;
        for len in [
            0,
            1,
            7,
            8,
            9,
            16,
            127,
            128,
            129,
            383,
            384,
            4095,
            4096,
            4096 + 3 * 64,
            entries_end,
            8192,
            8193,
            length - 4096,
            length - 1,
            length + 1,
            length + 4096,
        ] {
            let name = Name::new();
            let mut bytes = whole.clone();
            bytes.resize(len, 0);
            fs::write(name.path(), &bytes).unwrap();
            for opened in [Segment::open(&name), Segment::open_or_create(&name, 4096)] {
                if len < 128 {
                    refused!(opened, Error::NotASegment, NOT_A_SEGMENT, "length {len}");
                } else {
                    refused!(opened, Error::Corrupt, CORRUPT, "length {len}");
                }
            }
            refused!(
                Segment::create(&name, 4096),
                Error::AlreadyExists,
                ALREADY_EXISTS
            );
            assert_eq!(
                fs::read(name.path()).unwrap(),
                bytes,
                "the file was touched"
            );
            // Damage may be removed; what does not even begin like a segment may not.
            if len < 8 {
                refused!(
                    Segment::unlink(&name),
                    Error::NotASegment,
                    NOT_A_SEGMENT,
                    "length {len}"
                );
                assert!(name.exists());
            } else {
                Segment::unlink(&name).unwrap();
                assert!(!name.exists());
            }
        }
        let name = Name::new();
        fs::write(name.path(), &whole).unwrap();
        Objects::open(&Segment::open(&name).unwrap()).expect("the whole file is a segment");
    });
}

/// Whatever it is, it is no segment, and nothing makes it one or removes it.
#[track_caller]
fn is_no_segment(name: &Name) {
    let before = name.path().symlink_metadata().unwrap();
    refused!(Segment::open(name), Error::NotASegment, NOT_A_SEGMENT);
    refused!(
        Segment::open_or_create(name, 4096),
        Error::NotASegment,
        NOT_A_SEGMENT
    );
    refused!(
        Segment::create(name, 4096),
        Error::AlreadyExists,
        ALREADY_EXISTS
    );
    refused!(Segment::unlink(name), Error::NotASegment, NOT_A_SEGMENT);
    let after = name.path().symlink_metadata().unwrap();
    assert_eq!(
        (before.file_type(), before.len()),
        (after.file_type(), after.len())
    );
}

#[test]
fn files_that_are_no_segments_are_refused_and_not_unlinked() {
    for bytes in [
        &b""[..],
        b"x",
        b"comnhol",
        b"COMNHOLD and more",
        &[0; 128],
        &[0xFF; 8192],
    ] {
        let name = Name::new();
        fs::write(name.path(), bytes).unwrap();
        is_no_segment(&name);
    }
}

#[test]
fn a_directory_in_the_place_of_a_segment_is_refused() {
    let name = Name::new();
    fs::create_dir(name.path()).unwrap();
    is_no_segment(&name);
}

#[test]
fn a_fifo_in_the_place_of_a_segment_is_refused_and_not_waited_for() {
    alone(|| {
        let name = Name::new();
        let path = std::ffi::CString::new(name.path().into_os_string().into_encoded_bytes());
        let path = path.unwrap();
        // SAFETY: the path is a C string.
        let made = unsafe { libc::mkfifo(path.as_ptr(), 0o600) };
        assert_eq!(made, 0, "{}", std::io::Error::last_os_error());
        is_no_segment(&name);
    });
}

#[test]
fn a_socket_in_the_place_of_a_segment_is_refused() {
    let name = Name::new();
    let _socket = std::os::unix::net::UnixListener::bind(name.path()).unwrap();
    is_no_segment(&name);
}

#[test]
fn a_symbolic_link_is_not_followed_wherever_it_leads() {
    let target = Name::new();
    let _seg = Segment::create(&target, 4096).unwrap();
    let link = Name::new();
    symlink(target.path(), link.path()).unwrap();
    is_no_segment(&link);
    assert!(target.exists());

    let dangling = Name::new();
    symlink(Name::new().path(), dangling.path()).unwrap();
    is_no_segment(&dangling);
}

#[test]
fn descriptors_that_are_no_segments_are_refused() {
    let (reader, writer) = std::io::pipe().unwrap();
    refused!(
        Segment::from_fd(reader.into()),
        Error::NotASegment,
        NOT_A_SEGMENT
    );
    drop(writer);
    let directory = File::open("/dev/shm").unwrap();
    refused!(
        Segment::from_fd(directory.into()),
        Error::NotASegment,
        NOT_A_SEGMENT
    );
    let device = File::open("/dev/zero").unwrap();
    refused!(
        Segment::from_fd(device.into()),
        Error::NotASegment,
        NOT_A_SEGMENT
    );
    let name = Name::new();
    drop(Segment::create(&name, 4096).unwrap());
    let read_only = File::open(name.path()).unwrap();
    refused!(
        Segment::from_fd(read_only.into()),
        Error::PermissionDenied,
        DENIED
    );
}

#[test]
fn what_does_not_exist_is_not_found() {
    let name = Name::new();
    refused!(Segment::open(&name), Error::NotFound, NOT_FOUND);
    refused!(Segment::unlink(&name), Error::NotFound, NOT_FOUND);
    let file = Name::new();
    fs::write(file.path(), "no directory").unwrap();
    for directory in [name.path(), file.path()] {
        let options = SegmentOptions::new().directory(&directory);
        refused!(options.open("x"), Error::NotFound, NOT_FOUND);
        refused!(options.create("x"), Error::NotFound, NOT_FOUND);
        refused!(options.unlink("x"), Error::NotFound, NOT_FOUND);
    }
    let seg = Segment::anonymous(4096).unwrap();
    refused!(Value::<u64>::open(&seg, "none"), Error::NotFound, NOT_FOUND);
    refused!(Queue::<u64>::open(&seg, "none"), Error::NotFound, NOT_FOUND);
}
