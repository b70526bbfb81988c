//! Arbitrary bytes as a segment, and then every public operation on whatever opens. Nothing may panic, crash or hang;
//! errors and wrong values of a valid type are fine.
//!
//! Most inputs begin with a valid segment that holds an object of each kind, scribble on it, open it, use it,
//! scribble again while it is open, and use it again: by the handles from before, and by new ones. The forms that wait
//! for ever are used only where the lock was seen free: a scribbled lock word that names a living member (this process)
//! is a lock that is held, and waiting for it is what these calls are for.
//!
//! | who reads bytes of the region | what gives it bad ones | what calls it |
//! |---|---|---|
//! | `Geometry::check`, and the file's length | `Raw`, `resize`, `Patch::Geometry`, with a checksum that is right or not | `from_fd`, and `open` by a name |
//! | `Geometry::has_magic` | `Raw` | `unlink` |
//! | the copy of the geometry that a handle keeps | `Patch::Geometry` after it was opened: nothing may change | each use |
//! | `Claim` | `Patch::Slot` | attaching, `members`, whoever asks after an owner, the sweep |
//! | `Entry::read` and `Entry::end`; `Fingerprint` | `Patch::Entry`, `EntryByte`, `Text`, `CopyEntry` | `objects`, `available`, each open and create; messages of a `TypeMismatch` |
//! | `check_place`, `Shape::size`, what an object says of its length | `Patch::Items`, `Entry`, `CopyEntry` | each open and create; each use of what opened |
//! | lock words, signals, versions, positions, `closed` | `Patch::Object` | each use |
//! | the directory's lock, `next_slot`, `deaths`, the sweep's words | `Patch::Shared` | attaching, creating, each wait |
//! | values, by `CheckedBitPattern` | `Patch::Object`, `Bytes` | `Value::get` and `update`, `Queue::recv` |

#![no_main]

mod outside;
mod patch;
mod shapes;
mod uses;

use arbitrary::Arbitrary;
use commonhold::{Kind, Segment, SegmentOptions};
use commonhold_fuzz::{attach, told};
use libfuzzer_sys::fuzz_target;
use outside::Outside;
use patch::Patch;
use uses::{Turn, Used, create_some, open_all};

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    /// The whole file.
    Raw(&'a [u8]),
    /// A valid segment, and what is scribbled on it: before it is opened, and each time between two uses.
    Scribbled {
        shape: u8,
        /// Bytes to add to the file's length, or to take from it.
        resize: Option<i16>,
        before: Vec<Patch<'a>>,
        during: Vec<Vec<Patch<'a>>>,
        same_handles: bool,
        /// Which forms that may wait are used first; each time the next ones.
        turn: u8,
    },
}

/// Uses all that opens, and gives the handles.
fn use_all(seg: &Segment, file: &Outside, turn: Turn) -> Vec<Box<dyn Used>> {
    assert!(seg.available() <= seg.capacity());
    assert!(seg.members().len() <= 1024);
    let objects = seg.objects();
    let mut names: Vec<(&str, Option<Kind>)> = Vec::new();
    for object in &objects {
        assert!(object.size <= seg.capacity());
        names.push((&object.name, Some(object.kind)));
    }
    for name in shapes::NAMES {
        if objects.iter().all(|o| o.name != name) {
            names.push((name, None));
        }
    }
    let mut opened = Vec::new();
    for (name, kind) in names {
        for handle in open_all(seg, name, kind) {
            // Closing waits for whoever holds the senders' lock. Asking takes long, so only where it matters.
            let may_be_queue = kind.is_none_or(|k| k == Kind::Queue);
            let close = turn.close && may_be_queue && !file.any_object_is_held();
            handle.use_it(Turn { close, ..turn });
            opened.push(handle);
        }
    }
    create_some(seg, file);
    opened
}

fn open(file: &Outside) -> Option<Segment> {
    told(attach(&file.file))
}

/// The same bytes under a name, for the calls that take one.
fn raw(bytes: &[u8]) {
    let name = format!("commonhold-fuzz-{}-raw", std::process::id());
    let path = format!("/dev/shm/{name}");
    std::fs::write(&path, bytes).unwrap();
    told(SegmentOptions::new().open(&name));
    let unlinked = told(SegmentOptions::new().unlink(&name)).is_some();
    assert_eq!(unlinked, std::fs::remove_file(&path).is_err());

    let file = Outside::new(bytes);
    if let Some(seg) = open(&file) {
        let turn = Turn {
            number: 0,
            close: true,
        };
        use_all(&seg, &file, turn);
    }
}

fuzz_target!(|input: Input<'_>| {
    match input {
        Input::Raw(bytes) => raw(bytes),
        Input::Scribbled {
            shape,
            resize,
            before,
            during,
            same_handles,
            turn,
        } => {
            let mut file = Outside::new(shapes::valid(shape));
            if let Some(by) = resize {
                file.resize(by);
            }
            for patch in &before {
                patch.apply(&file);
            }
            let Some(mut seg) = open(&file) else { return };
            let other = open(&file);
            let mut turn = Turn {
                number: turn,
                close: during.is_empty(),
            };
            let old = use_all(&seg, &file, turn);
            let capacity = seg.capacity();
            for (i, patches) in during.iter().take(2).enumerate() {
                for patch in patches {
                    patch.apply(&file);
                }
                // Their objects' entries may say other things by now.
                for handle in &old {
                    handle.use_it(Turn {
                        close: false,
                        ..turn
                    });
                }
                assert_eq!(seg.capacity(), capacity);
                if !same_handles {
                    match open(&file) {
                        Some(new) => seg = new,
                        None => return,
                    }
                }
                turn.number = turn.number.wrapping_add(1);
                turn.close = i + 1 == during.len();
                use_all(&seg, &file, turn);
            }
            if let Some(other) = other {
                turn.close = false;
                use_all(&other, &file, turn);
            }
        }
    }
});
