//! How many instructions an operation takes that nobody contends for and nobody waits for.
//!
//! By itself this only runs each operation, and so checks that it can. `.ci/instructions` runs it under valgrind's callgrind,
//! which counts, and compares with `limits.txt`: a count, unlike a time, is the same in each run and on a busy machine.

mod bytes;
mod data;
mod items;
mod locks;
mod meter;
mod segments;

use commonhold::SegmentOptions;
use meter::Meter;

fn main() {
    let segment = SegmentOptions::new()
        .capacity(4 << 20)
        .anonymous()
        .expect("shared memory");
    let names = std::env::args().any(|arg| arg == "--names");
    let meter = Meter::new(names);
    meter.each("nothing", || ());
    locks::all(&meter, &segment);
    data::all(&meter, &segment);
    items::all(&meter, &segment);
    bytes::all(&meter, &segment);
    segments::all(&meter, &segment);
    if !names {
        let operations = meter.operations();
        println!("{operations} operations run; .ci/instructions counts what each of them takes");
    }
}
