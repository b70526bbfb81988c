//! Sends readings of a thermometer to whoever runs the `consumer` example.
//!
//! ```text
//! cargo run --example producer        # in one terminal
//! cargo run --example consumer        # in another; either may be first
//! ```
//!
//! Both take the segment's name as an argument; the default is "thermometer".
//!
//! Kill the producer, also with `kill -9`: the consumer gets all that was sent, and waits for the next producer. Kill the
//! consumer: readings wait in the queue, and the producer waits when it is full; the next consumer goes on with
//! them. Only the reading that the dead consumer had in hand is gone.

use bytemuck::{Pod, Zeroable};
use commonhold::{Error, Queue, Segment};
use std::thread::sleep;
use std::time::Duration;

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
    for number in 1..=20 {
        let celsius = 20.0 + (number as f32 / 3.0).sin();
        match readings.send(Reading { number, celsius }) {
            Err(Error::Closed) => {
                return Err("an earlier producer has closed the queue: run the consumer".into());
            }
            sent => sent?,
        }
        println!("sent {number:>2}: {celsius:.1} °C");
        sleep(Duration::from_millis(100));
    }
    // Nothing more will come: the consumer ends when it has received what is still there.
    readings.close();
    Ok(())
}
