//! Segments that this user may not use.

use crate::support::*;
use commonhold::{Error, Segment, SegmentOptions, Value};
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// Makes this process, all its threads, one of user and group 65534 and of no other.
fn become_nobody() {
    // SAFETY: the list has no members; the calls change nothing but this process.
    let done = unsafe {
        libc::setgroups(0, std::ptr::null()) == 0
            && libc::setgid(65534) == 0
            && libc::setuid(65534) == 0
    };
    assert!(done, "{}", std::io::Error::last_os_error());
}

#[test]
fn a_segment_that_the_mode_does_not_open_to_this_user_is_denied() {
    if !is_root() {
        skip!("only root can become another user");
    }
    alone(|| {
        let modes = [0o600, 0o644, 0o060, 0o002, 0o004];
        let segments = modes.map(|mode| {
            let name = Name::new();
            let seg = SegmentOptions::new().mode(mode).create(&name).unwrap();
            let found = name.path().metadata().unwrap().permissions().mode();
            assert_eq!(found & 0o777, mode);
            (name, seg)
        });
        let dir = Dir::new();
        let hidden = SegmentOptions::new().directory(&dir.0);
        fs::set_permissions(&dir.0, fs::Permissions::from_mode(0o700)).unwrap();
        // A child of its own, so that this process can still remove the names.
        let status = forked(|| {
            become_nobody();
            for (name, _) in &segments {
                let open = SegmentOptions::new().allow_other_users(true);
                refused!(open.open(name), Error::PermissionDenied, DENIED);
                refused!(open.open_or_create(name), Error::PermissionDenied, DENIED);
                refused!(open.unlink(name), Error::PermissionDenied, DENIED);
            }
            refused!(hidden.create("x"), Error::PermissionDenied, DENIED);
            refused!(hidden.open("x"), Error::PermissionDenied, DENIED);
        });
        assert_eq!(status, 0);
        assert!(segments.iter().all(|(name, _)| name.exists()));
    });
}

#[test]
fn a_segment_of_another_user_is_denied_unless_it_was_asked_for() {
    if !is_root() {
        skip!("only root can become another user");
    }
    alone(|| {
        let name = Name::new();
        let seg = SegmentOptions::new().mode(0o666).create(&name).unwrap();
        let objects = Objects::create(&seg);
        let status = forked(|| {
            become_nobody();
            refused!(Segment::open(&name), Error::PermissionDenied, DENIED);
            refused!(
                Segment::open_or_create(&name, 4096),
                Error::PermissionDenied,
                DENIED
            );
            let options = SegmentOptions::new().allow_other_users(true);
            let seg = options.open(&name).unwrap();
            Objects::open(&seg).unwrap().work().unwrap();
            Value::create(&seg, "from nobody", 3u64).unwrap();
            // The directory is sticky: the name belongs to who made it.
            refused!(Segment::unlink(&name), Error::PermissionDenied, DENIED);
        });
        assert_eq!(status, 0);
        objects.work().unwrap();
        let there = Value::<u64>::open(&seg, "from nobody").unwrap();
        assert_eq!(there.get().unwrap(), 3);

        // The other way round: what nobody made, root refuses too.
        std::os::unix::fs::chown(name.path(), Some(65534), Some(65534)).unwrap();
        refused!(Segment::open(&name), Error::PermissionDenied, DENIED);
        refused!(
            Segment::from_fd(name.file().into()),
            Error::PermissionDenied,
            DENIED
        );
        let options = SegmentOptions::new().allow_other_users(true);
        Objects::open(&options.open(&name).unwrap()).unwrap();
    });
}
