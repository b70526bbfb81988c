//! Our own figures: what each operation costs alone, and between two processes, and what a death costs the others.
//!
//! ```text
//! cargo bench --bench figures                 all of them, in a few minutes
//! cargo bench --bench figures -- mutex        those whose name contains "mutex"
//! ```
//!
//! Each line is one operation: the fastest, the slowest, the median and the mean of its samples. Where it says "two processes", the other
//! party is this program started again. How these compare with other libraries is the business of `benches/peers`, and how they grow that of `benches/costs`.

mod alone;
mod recovered;
mod together;

use commonhold::{Queue, Segment};

fn main() {
    // The other parties begin, and end, here.
    commonhold::process::init();
    divan::main();
}

/// Room for whatever is measured.
fn segment() -> Segment {
    Segment::anonymous(1 << 26).expect("64 MiB of address space")
}

/// Of so many items, in a segment of its own.
fn queue<T: commonhold::Plain>(capacity: usize) -> Queue<T> {
    Queue::create(&segment(), "queue", capacity).expect("there is room")
}
