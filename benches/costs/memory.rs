//! The bytes of the region that each kind of object takes.

use crate::table::Table;
use commonhold::{
    Array, Barrier, BlockPool, Broadcast, Condvar, Event, Messages, Mutex, Once, Pipe, Queue, Ring,
    RwLock, Segment, SegmentOptions, Semaphore, Value,
};
use std::fs::{File, Metadata};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

/// How many items the objects have that have items.
const ITEMS: usize = 1000;

pub(crate) fn tell(table: &mut Table) {
    let empty = SegmentOptions::new().anonymous().expect("memory");
    let mut row = |what: &str, bytes: u64| table.row([what.into(), bytes.to_string()]);
    row("empty segment, before its data", before_data(&empty));
    row("empty segment, resident", 512 * file(&empty).blocks());
    let with = |members, objects| {
        let options = SegmentOptions::new().max_members(members);
        let segment = options.max_objects(objects).anonymous();
        before_data(&segment.expect("memory"))
    };
    // Beyond a page, so that rounding up does not tell.
    let each = |most: u64, least: u64, more: u64| (most - least) / more;
    row(
        "each member that can be there",
        each(with(1024, 128), with(512, 128), 512),
    );
    row(
        "each object that can be there",
        each(with(64, 1024), with(64, 512), 512),
    );
    let mut object = |what: &str, create: Create| row(what, taken(create));
    object("Mutex<u64>", |s, n| Mutex::create(s, n, 0u64).map(drop));
    object("RwLock<u64>", |s, n| RwLock::create(s, n, 0u64).map(drop));
    object("Condvar", |s, n| Condvar::create(s, n).map(drop));
    object("Semaphore", |s, n| Semaphore::create(s, n, 1).map(drop));
    object("Event", |s, n| Event::create(s, n).map(drop));
    object("Barrier", |s, n| Barrier::create(s, n, 2).map(drop));
    object("Once", |s, n| Once::create(s, n).map(drop));
    object("Value<u64>", |s, n| Value::create(s, n, 0u64).map(drop));
    object("Array<u64> of 1,000", |s, n| {
        Array::create(s, n, ITEMS, 0u64).map(drop)
    });
    object("Queue<u64> of 1,000", |s, n| {
        Queue::<u64>::create(s, n, ITEMS).map(drop)
    });
    object("Ring<u64> of 1,000", |s, n| {
        Ring::<u64>::create(s, n, ITEMS).map(drop)
    });
    object("Broadcast<u64> of 1,000", |s, n| {
        Broadcast::<u64>::create(s, n, ITEMS).map(drop)
    });
    object("Messages of 64 KiB", |s, n| {
        Messages::create(s, n, 1 << 16).map(drop)
    });
    object("Pipe of 64 KiB", |s, n| {
        Pipe::create(s, n, 1 << 16).map(drop)
    });
    object("BlockPool of 16 x 4 KiB", |s, n| {
        BlockPool::create(s, n, 16, 4096).map(drop)
    });
}

type Create = fn(&Segment, &str) -> commonhold::Result<()>;

/// The mean of two, since each begins where a line does.
fn taken(create: Create) -> u64 {
    let segment = Segment::anonymous(1 << 24).expect("memory");
    let before = segment.available();
    for name in ["one", "two"] {
        create(&segment, name).expect("there is room");
    }
    (before - segment.available()) as u64 / 2
}

fn file(segment: &Segment) -> Metadata {
    let fd = segment.as_fd().try_clone_to_owned();
    let file = File::from(fd.expect("a descriptor"));
    file.metadata().expect("a file")
}

fn before_data(segment: &Segment) -> u64 {
    file(segment).len() - segment.capacity() as u64
}
