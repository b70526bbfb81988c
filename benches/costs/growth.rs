//! How costs grow with objects, capacity, members, and the length of messages.

use crate::table::{Table, each, size};
use commonhold::{Messages, RwLock, Segment, SegmentOptions, Value};
use std::hint::black_box;
use std::os::fd::AsFd;

pub(crate) fn tell(table: &mut Table, quick: bool) {
    let (rounds, calls) = if quick { (1, 10) } else { (11, 200) };
    objects(table, rounds, calls);
    capacity(table, rounds, calls);
    members(table, rounds, calls);
    messages(table, rounds, calls);
}

/// One more member.
fn attach(segment: &Segment) -> Segment {
    let fd = segment.as_fd().try_clone_to_owned();
    Segment::from_fd(fd.expect("a descriptor")).expect("a segment, with room for a member")
}

/// µs for one more member to attach. The descriptor is made before.
fn attaching(segment: &Segment, calls: usize) -> f64 {
    let fd = || segment.as_fd().try_clone_to_owned().expect("a descriptor");
    let mut fds: Vec<_> = (0..calls).map(|_| fd()).collect();
    let attach = || Segment::from_fd(fds.pop().expect("one for each")).expect("a segment");
    each(calls, attach) / 1e3
}

/// With room for a third more.
fn with_objects(objects: usize) -> Segment {
    let segment = SegmentOptions::new()
        .capacity(1 << 26)
        .max_objects((objects + objects / 3 + 1) as u32)
        .anonymous()
        .expect("64 MiB of address space");
    for n in 0..objects {
        Value::create(&segment, &format!("value {n}"), n as u64).expect("there is room");
    }
    segment
}

fn objects(table: &mut Table, rounds: usize, calls: usize) {
    const OBJECTS: [(usize, &str); 3] = [
        (1, "with 1 object"),
        (100, "with 100 objects"),
        (10_000, "with 10,000 objects"),
    ];
    let segments = OBJECTS.map(|(n, name)| (n, name, with_objects(n)));
    let attach = segments
        .iter()
        .map(|(_, name, segment)| size(*name, || attaching(segment, calls)));
    table.grow(rounds, "attach a segment, µs", attach.collect());
    let open = segments.iter().map(|(n, size_name, segment)| {
        // From all over the directory: how far one lies from where its name's hash points is chance.
        let names: Vec<_> = (0..100).map(|i| format!("value {}", i * n / 100)).collect();
        let mut names = names.into_iter().cycle();
        let mut open = move || {
            let name = names.next().expect("they go round");
            Value::<u64>::open(segment, &name).expect("it is there")
        };
        size(*size_name, move || each(calls, &mut open))
    });
    table.grow(rounds, "open one of them, ns", open.collect());
}

/// Of so many MiB of address space.
fn capacity(table: &mut Table, rounds: usize, calls: usize) {
    const MIB: [(usize, &str); 4] = [
        (1, "1 MiB"),
        (64, "64 MiB"),
        (1 << 10, "1 GiB"),
        (1 << 16, "64 GiB"),
    ];
    let make = |mib: usize| Segment::anonymous(mib << 20).expect("address space");
    let create = MIB.map(|(mib, name)| size(name, move || each(calls, || make(mib)) / 1e3));
    table.grow(rounds, "create a segment, µs", create.into());
    let made = MIB.map(|(mib, name)| (make(mib), name));
    let attach = made
        .iter()
        .map(|(segment, name)| size(*name, || attaching(segment, calls)));
    table.grow(rounds, "attach a segment of it, µs", attach.collect());
}

/// That are there, and have read under the lock that is then written under.
fn members(table: &mut Table, rounds: usize, calls: usize) {
    let crowds = [2, 8, 64].map(|n| {
        let options = SegmentOptions::new().max_members(128);
        let first = options.anonymous().expect("memory");
        let lock = RwLock::create(&first, "lock", 0u64).expect("there is room");
        let others: Vec<Segment> = (1..n).map(|_| attach(&first)).collect();
        for other in &others {
            let lock = RwLock::<u64>::open(other, "lock").expect("it is there");
            black_box(*lock.read().expect("nobody died"));
        }
        (n, first, lock, others)
    });
    let attach = crowds.iter().map(|(n, first, ..)| {
        let sample = || attaching(first, calls);
        size(format!("{n} members"), sample)
    });
    table.grow(rounds, "attach a segment of them, µs", attach.collect());
    let write = crowds.iter().map(|(n, _, lock, _)| {
        const TIMES: usize = 100;
        let write = || (0..TIMES).for_each(|_| *lock.write().expect("nobody died") += 1);
        let sample = move || each(calls, write) / TIMES as f64;
        size(format!("{n} members have read"), sample)
    });
    table.grow(rounds, "RwLock: write and unlock, ns", write.collect());
}

/// Written, and read in place, by one process.
fn messages(table: &mut Table, rounds: usize, calls: usize) {
    const LENGTHS: [(usize, &str); 7] = [
        (8, "8 B"),
        (64, "64 B"),
        (512, "512 B"),
        (4 << 10, "4 KiB"),
        (64 << 10, "64 KiB"),
        (1 << 20, "1 MiB"),
        (16 << 20, "16 MiB"),
    ];
    let segment = Segment::anonymous(1 << 26).expect("64 MiB of address space");
    let messages = Messages::create(&segment, "messages", 32 << 20).expect("there is room");
    let message = vec![7u8; 16 << 20];
    let one = |(len, name): (usize, &str)| {
        let (messages, message) = (&messages, &message[..len]);
        let trip = move || {
            messages.send(black_box(message)).expect("there is room");
            let len = messages.recv_with(|m| m.len());
            len.expect("it is there")
        };
        // The time of a call, where it is too short for the clock, is that of many.
        let times = (4096 / len).max(1);
        let sample = move || {
            let many = || (0..times).for_each(|_| _ = black_box(trip()));
            each((calls * 4096 / len).clamp(3, calls), many) / times as f64 / 1e3
        };
        size(name, sample)
    };
    let what = "Messages: send, and receive in place, µs";
    table.grow(rounds, what, LENGTHS.map(one).into());
}
