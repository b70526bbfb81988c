//! Handles, objects and whole segments. These take system calls, of which only what happens in this process is counted.

use crate::meter::Meter;
use commonhold::{Mutex, Segment};
use std::hint::black_box;

/// How often these are counted, which make and remove files.
const SEGMENTS: u32 = 50;

pub(crate) fn all(meter: &Meter, segment: &Segment) {
    let mutex = Mutex::create(segment, "found again", 0u64).expect("room");
    meter.each("handle: clone, drop", || drop(black_box(&mutex).clone()));
    meter.each("object: open, drop", || {
        drop(Mutex::<u64>::open(black_box(segment), "found again").expect("it is there"));
    });
    meter.times(SEGMENTS, "Segment: anonymous, drop", || {
        drop(Segment::anonymous(1 << 16).expect("memory"));
    });

    // The same length with each process number.
    let name = format!("commonhold-instructions-{:010}", std::process::id());
    let _unlinked = Unlinked(&name);
    let _first = Segment::create(&name, 1 << 16).expect("the name is free");
    meter.times(SEGMENTS, "Segment: open, drop", || {
        drop(Segment::open(black_box(&name)).expect("it is there"));
    });
}

/// A name that is removed whatever happens.
struct Unlinked<'a>(&'a str);

impl Drop for Unlinked<'_> {
    fn drop(&mut self) {
        let _ = Segment::unlink(self.0);
    }
}
