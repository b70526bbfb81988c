//! Names of segments and of objects.

use crate::support::*;
use commonhold::{Error, Segment, Value};

#[test]
fn bad_names_of_segments_are_refused_by_every_verb() {
    let long = "x".repeat(256);
    let longer = "x".repeat(300);
    let wide = "ü".repeat(128);
    for bad in [
        "",
        ".",
        "..",
        "/",
        "a/b",
        "/dev/shm/x",
        "../x",
        "x/",
        "a\0b",
        "\0",
        &long,
        &longer,
        &wide,
    ] {
        refused!(
            Segment::create(bad, 4096),
            Error::InvalidName,
            INVALID_NAME,
            "{bad:?}"
        );
        refused!(
            Segment::open(bad),
            Error::InvalidName,
            INVALID_NAME,
            "{bad:?}"
        );
        refused!(
            Segment::open_or_create(bad, 4096),
            Error::InvalidName,
            INVALID_NAME,
            "{bad:?}"
        );
        refused!(
            Segment::unlink(bad),
            Error::InvalidName,
            INVALID_NAME,
            "{bad:?}"
        );
    }
}

#[test]
fn unusual_names_of_segments_are_fine() {
    let plain = Name::new();
    for (before, after) in [
        ("", " größe 数 🦀"),
        (".", ""),
        ("...", ""),
        ("-", "\n\\\"%s"),
        ("", &"x".repeat(255 - plain.len())),
    ] {
        let name = Name(format!("{before}{}{after}", &*plain));
        let seg = Segment::create(&name, 4096).unwrap();
        assert!(name.exists());
        assert_eq!(seg.name(), &*name);
        Segment::open(&name).unwrap();
        Segment::unlink(&name).unwrap();
        assert!(!name.exists());
    }
}

#[test]
fn bad_names_of_objects_are_refused_by_every_verb_of_every_kind() {
    let seg = Segment::anonymous(1 << 16).unwrap();
    let (long, longer, wide) = ("x".repeat(97), "x".repeat(300), "ü".repeat(49));
    for bad in ["", "a\0b", "\0", &long, &longer, &wide] {
        for o in &OPENERS {
            for result in [
                (o.create)(&seg, bad),
                (o.open)(&seg, bad),
                (o.open_or_create)(&seg, bad),
            ] {
                refused!(
                    result,
                    Error::InvalidName,
                    INVALID_NAME,
                    "{} {bad:?}",
                    o.kind
                );
            }
        }
    }
    assert!(seg.objects().is_empty());
}

#[test]
fn unusual_names_of_objects_are_fine() {
    let seg = Segment::anonymous(1 << 16).unwrap();
    let long = "x".repeat(96);
    let wide = "ü".repeat(48);
    let names = ["/", ".", "..", "a/b", "größe 数 🦀", " ", &long, &wide];
    for name in names {
        Value::create(&seg, name, 1u8).unwrap();
        Value::<u8>::open(&seg, name).unwrap();
        refused!(
            Value::create(&seg, name, 1u8),
            Error::AlreadyExists,
            ALREADY_EXISTS
        );
    }
    assert_eq!(seg.objects().len(), names.len());
}
