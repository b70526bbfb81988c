//! Operation lists on segments and objects, named and anonymous, against a plain model: a map of names, and for each segment
//! a list of objects, with the exact rule for room. Each object is written to and read again by whatever handles there
//! are, so that two that overlap are found.
//!
//! Named segments are made in `/dev/shm`, under names that bear the process's id and are removed after each input. (A
//! crash leaves them.)

#![no_main]

mod model;
mod objects;
mod room;
mod segments;
mod things;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    ops: Vec<Op>,
}

#[derive(Arbitrary, Debug)]
enum Op {
    Segment { at: u8, op: SegmentOp },
    Object { segment: u8, at: u8, op: ObjectOp },
}

/// What happens to a segment's handle: most put a new one in its place.
#[derive(Arbitrary, Debug)]
enum SegmentOp {
    Create(Name, Options),
    Open(Name, Options),
    OpenOrCreate(Name, Options),
    Anonymous(Options),
    /// By the descriptor of another handle.
    FromFd(u8),
    Clone(u8),
    Drop,
    Unlink(Name, Options),
    /// Puts a file there that is no segment.
    Litter(Name, u8),
    Members,
}

#[derive(Arbitrary, Debug)]
enum Name {
    Good(u8),
    Bad(u8),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct Options {
    capacity: Capacity,
    members: Count,
    objects: Count,
    mode: u16,
    /// In a directory that does not exist.
    nowhere: bool,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Capacity {
    Bytes(u16),
    Sparse,
    /// More than can be mapped.
    Unmappable,
    TooLarge,
    Most,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Count {
    /// 1 to 8.
    Few(u8),
    None,
    TooMany,
    Most,
}

/// What happens to an object's handle.
#[derive(Arbitrary, Debug)]
enum ObjectOp {
    Make {
        how: things::How,
        name: ObjectName,
        kind: u8,
        len: Len,
        number: u8,
    },
    Write(u8),
    Read,
    Drop,
}

#[derive(Arbitrary, Debug)]
enum ObjectName {
    Numbered(u8),
    /// One that the segment has.
    Existing(u8),
    /// This many bytes.
    Long(u8),
    Text(String),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Len {
    Few(u8),
    Many(u16),
    /// So many that it just fits, or does not.
    Rest(i8),
    /// Around where numbers end.
    Edge(u8, i8),
}

fuzz_target!(|input: Input| {
    let mut world = segments::World::new();
    for op in input.ops.iter().take(60) {
        match op {
            Op::Segment { at, op } => world.segment(*at, op),
            Op::Object { segment, at, op } => world.object(*segment, *at, op),
        }
    }
    world.read_all();
});
