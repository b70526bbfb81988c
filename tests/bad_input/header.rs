//! The first 4,096 bytes: each field that never changes, and each word that members change.

use crate::support::*;
use commonhold::{Error, Mutex, Queue, Segment, Value};
use std::fs::File;
use std::time::Duration;

/// The header's checksum: FNV-1a of the 120 bytes before it.
fn mend_checksum(file: &File) {
    let sum = take::<120>(file, 0)
        .iter()
        .fold(0xcbf2_9ce4_8422_2325u64, |h, &b| {
            (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
        });
    put(file, 120, &sum.to_ne_bytes());
}

/// Offset, width and name of the fields of the 128 bytes that never change.
const FIELDS: [(u64, usize, &str); 19] = [
    (0, 8, "magic"),
    (8, 4, "version"),
    (12, 4, "byte_order"),
    (16, 4, "header_bytes"),
    (20, 4, "slot_bytes"),
    (24, 4, "entry_bytes"),
    (28, 4, "max_members"),
    (32, 4, "max_objects"),
    (36, 4, "reserved"),
    (40, 8, "slots_at"),
    (48, 8, "entries_at"),
    (56, 8, "data_at"),
    (64, 8, "capacity"),
    (72, 8, "file_bytes"),
    (80, 8, "id"),
    (96, 8, "unused, the beginning"),
    (104, 8, "unused, the middle"),
    (112, 8, "unused, the end"),
    (120, 8, "checksum"),
];

#[track_caller]
fn opening_is_refused_for(field: &str, name: &str, context: &str) {
    let opened = Segment::open(name);
    match field {
        "magic" => {
            refused!(
                opened,
                Error::NotASegment,
                NOT_A_SEGMENT,
                "{field} {context}"
            )
        }
        "version" | "byte_order" => {
            refused!(opened, Error::VersionMismatch, VERSION, "{field} {context}")
        }
        _ => refused!(opened, Error::Corrupt, CORRUPT, "{field} {context}"),
    }
}

#[test]
fn each_corrupted_field_of_the_header_is_refused_with_its_own_error() {
    let name = Name::new();
    drop(Segment::create(&name, 1 << 16).unwrap());
    let file = name.file();
    let good = take::<128>(&file, 0);
    for (at, width, field) in FIELDS {
        let here = &good[at as usize..][..width];
        let number = |bytes: &[u8]| {
            let mut all = [0; 8];
            all[..width].copy_from_slice(bytes);
            u64::from_ne_bytes(all)
        };
        let now = number(here);
        for bad in [
            0,
            1,
            2,
            4095,
            u64::MAX,
            u64::MAX / 2,
            now.wrapping_add(1),
            now.wrapping_sub(1),
            now.wrapping_mul(2),
            now.swap_bytes(),
            now ^ 1 << 31,
            !now,
        ] {
            let bytes = &bad.to_ne_bytes()[..width];
            if bytes == here {
                continue;
            }
            put(&file, at, bytes);
            opening_is_refused_for(field, &name, &format!("= {bad:#x}"));
            // The checksum alone makes nothing true. (But with one slot or entry less, or another id, and a checksum that says so, nothing
            // else moves: that is a header that this crate could have made.)
            let possible = field == "id" || field.starts_with("max_") && bad == now - 1;
            if field != "checksum" && !possible {
                mend_checksum(&file);
                opening_is_refused_for(field, &name, &format!("= {bad:#x}, checksum mended"));
            }
            put(&file, 0, &good);
        }
    }
    Segment::open(&name).expect("the header is good again");
}

#[test]
fn each_corrupted_byte_of_the_header_is_refused() {
    let name = Name::new();
    drop(Segment::create(&name, 4096).unwrap());
    let file = name.file();
    for at in 0..128 {
        let [good] = take(&file, at);
        let field = match at {
            0..8 => "magic",
            8..16 => "version",
            _ => "another",
        };
        for bad in [!good, good ^ 1, good ^ 0x80] {
            put(&file, at, &[bad]);
            opening_is_refused_for(field, &name, &format!("byte {at} = {bad:#x}"));
        }
        put(&file, at, &[good]);
    }
    Segment::open(&name).expect("the header is good again");
}

#[test]
fn a_segment_of_another_version_is_refused_but_can_be_unlinked() {
    let name = Name::new();
    drop(Segment::create(&name, 4096).unwrap());
    let file = name.file();
    put(&file, 8, &2u32.to_ne_bytes());
    mend_checksum(&file);
    refused!(Segment::open(&name), Error::VersionMismatch, VERSION);
    refused!(
        Segment::open_or_create(&name, 4096),
        Error::VersionMismatch,
        VERSION
    );
    refused!(
        Segment::create(&name, 4096),
        Error::AlreadyExists,
        ALREADY_EXISTS
    );
    Segment::unlink(&name).unwrap();
    assert!(!name.exists());
}

#[test]
fn a_segment_of_another_byte_order_is_refused() {
    let name = Name::new();
    drop(Segment::create(&name, 4096).unwrap());
    let file = name.file();
    put(&file, 12, &0x0102_0304u32.swap_bytes().to_ne_bytes());
    mend_checksum(&file);
    refused!(Segment::open(&name), Error::VersionMismatch, VERSION);
}

/// The words of the header that members change, as `docs/layout.md` has them: where in the file, and whose.
fn shared_words() -> Vec<(u64, String)> {
    let doc = include_str!("../../docs/layout.md");
    let (_, table) = doc.split_once("<!-- table: Shared -->").unwrap();
    let rows = table.lines().skip(3).take_while(|l| l.starts_with('|'));
    let mut words = Vec::new();
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let number = |cell: usize| cells[cell].parse::<u64>().unwrap();
        let (offset, bytes, field) = (number(1), number(2), cells[3]);
        if !field.starts_with("reserved") {
            let word = |n| (128 + offset + 4 * n, format!("{field} {n}"));
            words.extend((0..bytes / 4).map(word));
        }
    }
    assert!(words.len() > 8, "{words:?}");
    words
}

/// The same numbers in each run (xorshift64).
fn numbers(seed: u64) -> impl Iterator<Item = u64> {
    std::iter::successors(Some(seed), |&x| {
        let x = x ^ x << 13;
        let x = x ^ x >> 7;
        Some(x ^ x << 17)
    })
    .skip(3)
}

#[test]
fn a_segment_whose_shared_words_are_all_ones_works_as_before() {
    alone(|| {
        for (at, word) in shared_words() {
            let name = Name::new();
            let seg = Segment::create(&name, 1 << 16).unwrap();
            let objects = Objects::create(&seg);
            let available = seg.available();
            put(&name.file(), at, &[0xFF; 4]);

            objects.work().unwrap_or_else(|e| panic!("{word}: {e}"));
            let other = Segment::open(&name).unwrap_or_else(|e| panic!("{word}: {e}"));
            Value::create(&other, "new", 1u64).unwrap_or_else(|e| panic!("{word}: {e}"));
            let there = Objects::open(&other).unwrap_or_else(|e| panic!("{word}: {e}"));
            there.work().unwrap_or_else(|e| panic!("{word}: {e}"));
            assert_eq!(seg.members().len(), 2, "{word}");
            assert_eq!(seg.objects().len(), 7, "{word}");
            let taken = available - seg.available();
            assert!((1..256).contains(&taken), "{word}: {taken}");
        }
    });
}

#[test]
fn a_segment_whose_shared_words_are_anything_works_or_says_why_not() {
    alone(|| {
        for (at, word) in shared_words() {
            let name = Name::new();
            let seg = Segment::create(&name, 1 << 20).unwrap();
            let objects = Objects::create(&seg);
            let mut works = 0;
            let tries = 24;
            for (i, number) in numbers(at).take(tries).enumerate() {
                put(&name.file(), at, &(number as u32).to_ne_bytes());
                let used = objects.work().and_then(|()| {
                    let other = Segment::open(&name)?;
                    drop(Mutex::create(&other, &format!("new {i}"), 1u64)?.lock()?);
                    Objects::open(&other)?.work()
                });
                match used {
                    Ok(()) => works += 1,
                    Err(e) => assert!(!e.to_string().is_empty(), "{word}: {e:?}"),
                }
            }
            // None of these numbers is a plausible one, so each is seen through.
            assert_eq!(works, tries, "{word}");
        }
    });
}

#[test]
fn scribbling_on_the_shared_words_does_not_disturb_those_who_wait() {
    alone(|| {
        let name = Name::new();
        let seg = Segment::create(&name, 1 << 16).unwrap();
        let objects = Objects::create(&seg);
        let file = name.file();
        let (there, back) = (
            &objects.queue,
            &Queue::<u64>::create(&seg, "back", 1).unwrap(),
        );
        std::thread::scope(|s| {
            let words = shared_words();
            let echo = s.spawn(|| {
                while let Ok(n) = there.recv_timeout(Duration::from_secs(20)) {
                    back.send_timeout(n, Duration::from_secs(20)).unwrap();
                }
            });
            for (i, number) in numbers(1).take(300).enumerate() {
                let at = words[i % words.len()].0;
                put(&file, at, &(number as u32).to_ne_bytes());
                there.send_timeout(number, Duration::from_secs(20)).unwrap();
                let got = back.recv_timeout(Duration::from_secs(20)).unwrap();
                assert_eq!(got, number);
            }
            there.close();
            echo.join().unwrap();
        });
    });
}

#[test]
fn a_new_object_is_never_put_upon_another_whatever_the_shared_words_say() {
    let name = Name::new();
    let seg = Segment::create(&name, 1 << 20).unwrap();
    let objects = Objects::create(&seg);
    // Also those that nothing uses: a number that says where the room begins must stand nowhere.
    for (at, number) in (128..384)
        .step_by(4)
        .zip([0u32, 1, 128, 1024].into_iter().cycle())
    {
        if at == 128 {
            // The lock; what it says is tried in the tests above.
            continue;
        }
        put(&name.file(), at, &number.to_ne_bytes());
        let new = Queue::create(&seg, &format!("new {at}"), 100).unwrap();
        new.try_send_all(&[u64::MAX; 100]).unwrap();
        objects.work().unwrap();
    }
}
