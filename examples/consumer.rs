//! Receives what the `producer` example sends, and prints a summary when that has closed the queue.
//!
//! ```text
//! cargo run --example consumer        # in one terminal (or in several: each reading goes to one of them)
//! cargo run --example producer        # in another; either may be first
//! ```
//!
//! What happens when one of them is killed stands in the producer.

use bytemuck::{Pod, Zeroable};
use commonhold::{Error, Queue, Segment};

/// What goes through the queue: the same type, by name, size and alignment, in both programs.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Reading {
    number: u32,
    celsius: f32,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = std::env::args().nth(1).unwrap_or("thermometer".into());
    let seg = Segment::open_or_create(&name, 1 << 16)?;
    let readings = Queue::<Reading>::open_or_create(&seg, "readings", 8)?;
    let (mut received, mut sum) = (0u32, 0.0);
    loop {
        match readings.recv() {
            Ok(Reading { number, celsius }) => {
                println!("received {number:>2}: {celsius:.1} °C");
                received += 1;
                sum += f64::from(celsius);
            }
            Err(Error::Closed) => break,
            Err(e) => return Err(e.into()),
        }
    }
    match received {
        0 => println!("no readings"),
        n => println!("{n} readings, {:.2} °C on average", sum / f64::from(n)),
    }
    // A queue stays closed, so the next run needs a new one. Another consumer may have removed this one already.
    match Segment::unlink(&name) {
        Ok(()) | Err(Error::NotFound) => Ok(()),
        Err(e) => Err(e.into()),
    }
}
