//! `docs/layout.md` against the types: every documented field stands where its table says, and no byte is left out.

use crate::data::ArrayControl;
use crate::layout::directory::{Entry, Record};
use crate::layout::header::{Geometry, Shared};
use crate::layout::members::Slot;
use crate::raw::barrier::{Arrivals, RawBarrier};
use crate::raw::condvar::RawCondvar;
use crate::raw::event::RawEvent;
use crate::raw::mutex::RawMutex;
use crate::raw::once::RawOnce;
use crate::raw::queue::{End, Idle, RawQueue};
use crate::raw::reentrant::RawReentrant;
use crate::raw::rwlock::{RawRwLock, ReaderLine};
use crate::raw::semaphore::RawSemaphore;
use crate::raw::versioned::RawVersioned;

/// The rows of the table marked `name`: offset, bytes, field.
fn table(name: &str) -> Vec<(usize, usize, String)> {
    let doc = include_str!("../../docs/layout.md");
    let mark = format!("<!-- table: {name} -->");
    let (_, rest) = doc.split_once(&mark).expect("the table is there");
    rest.lines()
        .skip(3)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let number = |s: &str| s.replace(',', "").parse().expect("a number");
            (number(cells[1]), number(cells[2]), cells[3].to_owned())
        })
        .collect()
}

/// Compares a table with the fields of a type, named in order; with `whole`, no byte may be undocumented.
fn compare(name: &str, size: usize, fields: &[(&str, usize)], whole: bool) {
    let rows = table(name);
    let documented: Vec<(&str, usize)> = rows.iter().map(|r| (r.2.as_str(), r.0)).collect();
    assert_eq!(documented, fields, "{name}");
    let mut at = 0;
    for (offset, bytes, field) in &rows {
        assert!(
            if whole { *offset == at } else { *offset >= at },
            "{name}.{field}"
        );
        at = offset + bytes;
    }
    assert!(
        if whole { at == size } else { at <= size },
        "{name}: {at} of {size}"
    );
}

macro_rules! check {
    ($whole:expr, $type:ident, $($field:ident),*) => {
        compare(
            stringify!($type),
            size_of::<$type>(),
            &[$((stringify!($field), std::mem::offset_of!($type, $field))),*],
            $whole,
        )
    };
}

#[test]
fn the_documented_layout_is_the_one_in_the_code() {
    check!(
        true,
        Geometry,
        magic,
        version,
        byte_order,
        header_bytes,
        slot_bytes,
        entry_bytes,
        max_members,
        max_objects,
        reserved,
        slots_at,
        entries_at,
        data_at,
        capacity,
        file_bytes,
        unused,
        checksum
    );
    check!(
        true,
        Shared,
        directory,
        next_slot,
        reserved,
        deaths,
        swept_at,
        sweep_from,
        reserved_too,
        roles,
        reserved_three
    );
    check!(true, Slot, claim, reserved);
    check!(true, Entry, state, reserved, record);
    check!(
        true,
        Record,
        kind,
        type_align,
        offset,
        size,
        len,
        type_size,
        name_len,
        type_name_len,
        reserved,
        name,
        type_name,
        unused
    );
    check!(true, RawVersioned, writer, changed, version);
    check!(true, RawMutex, word);
    check!(true, ArrayControl, lock, reserved);
    check!(false, RawRwLock, gate, doubt, left, reserved, seen);
    check!(true, ReaderLine, tally, reserved);
    check!(true, RawCondvar, signal);
    check!(true, RawReentrant, lock, depth, holder);
    check!(true, RawEvent, state, changed);
    check!(true, RawOnce, lock, state, completed);
    check!(true, RawQueue, senders, receivers, idle);
    check!(false, End, lock, position, other);
    check!(false, Idle, not_empty, not_full, closed);
    check!(true, RawSemaphore, lock, released, total, available);
    check!(true, RawBarrier, lock, moved, arrived, reserved, phase);
    check!(true, Arrivals, count, id, reserved);
}
