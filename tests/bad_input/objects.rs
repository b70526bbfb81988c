//! Objects that are there already, or are something else, and a damaged directory.

use crate::support::*;
use commonhold::{Array, Atomics, Error, Mutex, Queue, Result, Segment, Value};
use std::fs::File;
use std::sync::atomic::{AtomicI8, AtomicU16};
use std::time::Duration;

#[test]
fn what_exists_already_is_not_made_again() {
    let name = Name::new();
    let seg = Segment::create(&name, 1 << 16).unwrap();
    refused!(
        Segment::create(&name, 4096),
        Error::AlreadyExists,
        ALREADY_EXISTS
    );
    let objects = Objects::create(&seg);
    for object in ["value", "array", "atomics", "mutex", "condvar", "queue"] {
        refused!(
            Value::create(&seg, object, 0u64),
            Error::AlreadyExists,
            ALREADY_EXISTS,
            "{object}"
        );
        refused!(
            Queue::<u8>::create(&seg, object, 1),
            Error::AlreadyExists,
            ALREADY_EXISTS,
            "{object}"
        );
    }
    objects.work().unwrap();
}

/// The error says both: what was asked for, and what is there.
#[track_caller]
fn is_mismatch(result: Result<()>, object: &str, asked: &str, there: &str) {
    refused!(
        result,
        Error::TypeMismatch { name, expected, found }
            if name == object && expected.starts_with(asked) && found.starts_with(there),
        [
            &format!("object {object:?} is {there}")[..],
            &format!("but {asked}"),
            "was asked for: open it with the type it was created with, or use another name",
        ],
        "{asked} asked for, {there} there"
    );
}

#[test]
fn an_object_opened_as_another_kind_is_refused_with_both_kinds() {
    let seg = Segment::anonymous(1 << 16).unwrap();
    for made in &OPENERS {
        let object = format!("made as {}", made.kind);
        (made.create)(&seg, &object).unwrap();
        (made.open)(&seg, &object).unwrap();
        (made.open_or_create)(&seg, &object).unwrap();
        for asked in OPENERS.iter().filter(|o| o.kind != made.kind) {
            let opened = (asked.open)(&seg, &object);
            is_mismatch(opened, &object, asked.described, made.described);
            let opened = (asked.open_or_create)(&seg, &object);
            is_mismatch(opened, &object, asked.described, made.described);
        }
    }
    assert_eq!(seg.objects().len(), OPENERS.len());
}

mod wide {
    #[repr(C)]
    #[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
    pub(super) struct State(pub(super) [u32; 6]);
}

mod narrow {
    #[repr(C)]
    #[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
    pub(super) struct State(pub(super) [u32; 3]);
}

#[test]
fn an_object_opened_with_another_type_is_refused_with_both_types() {
    let seg = Segment::anonymous(1 << 16).unwrap();
    Value::create(&seg, "v", 0u32).unwrap();
    let (there, asked) = (
        "a Value<u32> (4 bytes each, aligned to 4)",
        "a Value<i32> (4 bytes each, aligned to 4)",
    );
    is_mismatch(Value::<i32>::open(&seg, "v").map(drop), "v", asked, there);
    let asked = "a Value<[u8; 4]> (4 bytes each, aligned to 1)";
    let opened = Value::<[u8; 4]>::open_or_create(&seg, "v", [0; 4]).map(drop);
    is_mismatch(opened, "v", asked, there);

    Mutex::create(&seg, "state", wide::State([0; 6])).unwrap();
    let (there, asked) = (
        "a Mutex<State> (24 bytes each, aligned to 4)",
        "a Mutex<State> (12 bytes each, aligned to 4)",
    );
    let opened = Mutex::<narrow::State>::open(&seg, "state").map(drop);
    is_mismatch(opened, "state", asked, there);
    let opened = Mutex::open_or_create(&seg, "state", narrow::State([0; 3])).map(drop);
    is_mismatch(opened, "state", asked, there);

    Array::create(&seg, "a", 3, 0u16).unwrap();
    is_mismatch(
        Array::<i16>::open(&seg, "a").map(drop),
        "a",
        "an Array<i16> (2 bytes each, aligned to 2)",
        "an Array<u16> of 3 (2 bytes each, aligned to 2)",
    );
    Queue::<bool>::create(&seg, "q", 3).unwrap();
    is_mismatch(
        Queue::<u8>::open(&seg, "q").map(drop),
        "q",
        "a Queue<u8> (1 bytes each, aligned to 1)",
        "a Queue<bool> of 3 (1 bytes each, aligned to 1)",
    );
    Atomics::<AtomicI8>::create(&seg, "x", 3).unwrap();
    is_mismatch(
        Atomics::<AtomicU16>::open(&seg, "x").map(drop),
        "x",
        "an Atomics<AtomicU16> (2 bytes each, aligned to 2)",
        "an Atomics<AtomicI8> of 3 (1 bytes each, aligned to 1)",
    );
}

#[test]
fn an_object_of_another_length_is_refused_with_both_lengths_where_a_length_was_asked_for() {
    let seg = Segment::anonymous(1 << 16).unwrap();
    Array::create(&seg, "a", 3, 0u16).unwrap();
    is_mismatch(
        Array::open_or_create(&seg, "a", 4, 0u16).map(drop),
        "a",
        "an Array<u16> of 4 ",
        "an Array<u16> of 3 ",
    );
    assert_eq!(Array::<u16>::open(&seg, "a").unwrap().len(), 3);
    Atomics::<AtomicI8>::create(&seg, "x", 3).unwrap();
    is_mismatch(
        Atomics::<AtomicI8>::open_or_create(&seg, "x", 0).map(drop),
        "x",
        "an Atomics<AtomicI8> of 0 ",
        "an Atomics<AtomicI8> of 3 ",
    );
    assert_eq!(Atomics::<AtomicI8>::open(&seg, "x").unwrap().len(), 3);
    Queue::<bool>::create(&seg, "q", 3).unwrap();
    is_mismatch(
        Queue::<bool>::open_or_create(&seg, "q", 2).map(drop),
        "q",
        "a Queue<bool> of 2 ",
        "a Queue<bool> of 3 ",
    );
    assert_eq!(Queue::<bool>::open(&seg, "q").unwrap().capacity(), 3);
}

/// Where the entry of an object stands in a file made with the default options.
fn entry_of(file: &File, object: &str) -> u64 {
    let entries_at = u64::from_ne_bytes(take(file, 48));
    let mut padded = [0; 96];
    padded[..object.len()].copy_from_slice(object.as_bytes());
    (0..128)
        .map(|i| entries_at + i * 256)
        .find(|&at| take::<96>(file, at + 56) == padded)
        .expect("the object has an entry")
}

#[test]
fn each_corrupted_byte_of_a_directory_entry_is_noticed_or_harmless() {
    alone(|| {
        let name = Name::new();
        let seg = Segment::create(&name, 1 << 16).unwrap();
        let objects = Objects::create(&seg);
        let file = name.file();
        // The last object, so that another place is free room (and nobody else's).
        let object = "the last one";
        Queue::<u64>::create(&seg, object, 5).unwrap();
        let entry = entry_of(&file, object);
        let good = take::<256>(&file, entry);
        for at in 0..256 {
            for bits in [0xFF, 1, 2, 0x80] {
                put(&file, entry + at, &[good[at as usize] ^ bits]);
                let opened = Queue::<u64>::open(&seg, object);
                let context = format!("byte {at} ^ {bits:#x}");
                match at {
                    // The state, if it is not 0 by chance; the size, and the length that must fit it.
                    0 if bits == 1 => {
                        refused!(opened, Error::NotFound, NOT_FOUND, "{context}")
                    }
                    0..4 | 24..40 => refused!(opened, Error::Corrupt, CORRUPT, "{context}"),
                    // The kind: another one, or none.
                    8..12 => refused!(
                        opened,
                        Error::Corrupt | Error::TypeMismatch { .. },
                        [""],
                        "{context}"
                    ),
                    // Alignment and size of the type.
                    12..16 | 40..48 => refused!(
                        opened,
                        Error::TypeMismatch { .. },
                        ["a Queue<u64>"],
                        "{context}"
                    ),
                    // The offset: some other place in the segment is a queue of any state.
                    16..24 => {
                        if let Ok(q) = opened {
                            let _ = q.try_send(1);
                            let _ = q.recv_timeout(Duration::ZERO);
                            assert!(q.len() <= 5, "{context}");
                        } else {
                            refused!(opened, Error::Corrupt, CORRUPT, "{context}");
                        }
                    }
                    // The names and their lengths, as far as they matter.
                    48..50 => {
                        refused!(opened, Error::NotFound | Error::Corrupt, [""], "{context}")
                    }
                    56..68 => {
                        refused!(opened, Error::NotFound | Error::Corrupt, [""], "{context}")
                    }
                    50..52 | 152..155 => refused!(
                        opened,
                        Error::TypeMismatch { .. } | Error::Corrupt,
                        [""],
                        "{context}"
                    ),
                    // Reserved, or behind the end of a name.
                    _ => assert!(opened.is_ok(), "{context}: {opened:?}"),
                }
                // The damaged entry is listed or not; the others are.
                let listed = seg.objects().len();
                assert!((6..=7).contains(&listed), "{context}: {listed}");
                put(&file, entry, &good);
            }
        }
        Queue::<u64>::open(&seg, object).expect("the entry is good again");
        objects.work().unwrap();
    });
}

#[test]
fn a_directory_full_of_ones_is_corrupt_and_living_handles_go_on() {
    let name = Name::new();
    let seg = Segment::create(&name, 1 << 16).unwrap();
    let objects = Objects::create(&seg);
    let file = name.file();
    let entries_at = u64::from_ne_bytes(take(&file, 48));
    put(&file, entries_at, &[0xFF; 128 * 256]);
    assert_eq!(seg.objects(), []);
    refused!(Value::<u64>::open(&seg, "value"), Error::Corrupt, CORRUPT);
    refused!(Value::create(&seg, "new", 1u64), Error::Corrupt, CORRUPT);
    refused!(
        Queue::<u64>::open_or_create(&seg, "queue", 5),
        Error::Corrupt,
        CORRUPT
    );
    objects.work().unwrap();
    drop(Segment::open(&name).expect("the header is sound"));
}

#[test]
fn an_object_that_says_it_stands_outside_the_data_is_corrupt() {
    let name = Name::new();
    let seg = Segment::create(&name, 1 << 16).unwrap();
    let objects = Objects::create(&seg);
    let file = name.file();
    let entries_at = u64::from_ne_bytes(take(&file, 48));
    let data_at = u64::from_ne_bytes(take(&file, 56));
    let end = data_at + seg.capacity() as u64;
    let entry = entry_of(&file, "value");
    let good = take::<8>(&file, entry + 16);
    for offset in [
        0,
        128,
        4096,
        entries_at,
        data_at - 128,
        u64::from_ne_bytes(good) + 8,
        end,
        end - 8,
        end + 4096,
        u64::MAX - 127,
        u64::MAX,
        1 << 63,
    ] {
        put(&file, entry + 16, &offset.to_ne_bytes());
        refused!(
            Value::<u64>::open(&seg, "value"),
            Error::Corrupt,
            CORRUPT,
            "offset {offset:#x}"
        );
        let listed = seg.objects();
        assert!(
            listed.iter().all(|o| o.name != "value"),
            "offset {offset:#x}"
        );
        Mutex::<u64>::open(&seg, "mutex").expect("the others are as they were");
    }
    put(&file, entry + 16, &good);
    Objects::open(&seg).unwrap().work().unwrap();
    objects.work().unwrap();
}
