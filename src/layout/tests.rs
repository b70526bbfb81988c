//! `docs/layout.md` against the types: every documented field stands where its table says, and no byte is left out.

use crate::data::ArrayControl;
use crate::layout::directory::{Entry, Record};
use crate::layout::header::{Geometry, Shared};
use crate::layout::members::Slot;
use crate::queue::BlockHandle;
use crate::raw::barrier::{Arrivals, RawBarrier};
use crate::raw::blocks::{BlockWord, RawBlocks};
use crate::raw::broadcast::{Publishers, RawBroadcast, Stream, Subscription};
use crate::raw::condvar::RawCondvar;
use crate::raw::event::RawEvent;
use crate::raw::leases::LeaseWord;
use crate::raw::mutex::RawMutex;
use crate::raw::once::RawOnce;
use crate::raw::pipe::{Ends, Lane, RawPipe, Signals};
use crate::raw::queue::{End, Idle, Kept, RawQueue};
use crate::raw::reentrant::RawReentrant;
use crate::raw::ring::{RawRing, RingEnd, RingIdle};
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
        id,
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
    check!(true, Slot, claim, identity, reserved);
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
    check!(true, RawVersioned, writer, changed, reserved, version);
    check!(true, RawMutex, word, freed);
    check!(true, ArrayControl, lock, reserved);
    check!(false, RawRwLock, gate, doubt, left, seen);
    check!(true, ReaderLine, tally, solo, reserved);
    check!(true, RawCondvar, signal);
    check!(true, RawReentrant, lock, depth, reserved, holder);
    check!(true, RawEvent, state, changed);
    check!(true, RawOnce, lock, state, completed);
    check!(true, RawQueue, senders, receivers, idle);
    check!(false, End, lock, position, other, kept);
    check!(true, Kept, cursor, since, returned);
    check!(true, LeaseWord, word);
    check!(false, Idle, not_empty, not_full, closed, drained);
    check!(true, RawRing, producer, consumer, idle);
    check!(false, RingEnd, position, claim);
    check!(false, RingIdle, not_empty, not_full, end, closed);
    check!(true, RawBroadcast, publishers, stream, idle);
    check!(false, Publishers, lock, used, floor);
    check!(false, Stream, tail, claimed);
    check!(true, Subscription, cursor, claim, reserved);
    check!(true, BlockHandle, pool, len, index, sequence);
    check!(true, RawBlocks, returned, reserved, last);
    check!(true, BlockWord, word);
    check!(
        true,
        RawSemaphore,
        lock,
        released,
        reserved,
        total,
        available
    );
    check!(true, RawBarrier, lock, moved, arrived, phase);
    check!(true, Arrivals, count, id, reserved);
    check!(true, RawPipe, to_right, to_left, ends);
    check!(true, Lane, tail, head);
    check!(false, Ends, lock, left, right, to_right, to_left);
    check!(true, Signals, filled, drained);
}

#[cfg(feature = "process")]
#[test]
fn the_documented_layout_of_a_task_board_is_the_one_in_the_code() {
    use crate::raw::board::{BoardIdle, BoardResults, OutcomeHead, RawBoard, TaskHead};
    check!(true, RawBoard, idle, tail, head, results, todo);
    check!(false, BoardIdle, work, closed);
    check!(false, BoardResults, results, reserved, finished);
    check!(
        true,
        TaskHead,
        state,
        function,
        items,
        input_bytes,
        timed,
        reserved
    );
    check!(true, OutcomeHead, progress, started);
}
