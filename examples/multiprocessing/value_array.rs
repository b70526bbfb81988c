//! Ten processes that count in one value and one array: no update is lost.
//!
//! Python's `num.value += 1` from two processes loses updates unless one takes its lock; `update` is one step.
//!
//! ```text
//! cargo run --release --example mp_value_array
//! ```

use commonhold::process::{self, Process};
use commonhold::{Array, Segment, Value};

const PROCESSES: usize = 10;
const ROUNDS: u64 = 1000;

fn count((which, hits, slots): (usize, Value<u64>, Array<f64>)) {
    for _ in 0..ROUNDS {
        hits.update(|n| *n += 1).expect("the value is there");
        slots.lock().expect("nobody died with it")[which] += 0.5;
    }
}

fn main() -> commonhold::Result<()> {
    process::init();

    let seg = Segment::anonymous(1 << 16)?;
    let hits = Value::create(&seg, "hits", 0u64)?;
    let slots = Array::create(&seg, "slots", PROCESSES, 0.0f64)?;
    let counters = (0..PROCESSES)
        .map(|which| Process::spawn(count, (which, hits.clone(), slots.clone())))
        .collect::<Result<Vec<_>, _>>()?;
    for counter in counters {
        counter.join()?;
    }
    println!("{} hits, {:?}", hits.get()?, slots.to_vec()?);
    assert_eq!(hits.get()?, PROCESSES as u64 * ROUNDS);
    assert_eq!(slots.to_vec()?, [ROUNDS as f64 / 2.0; PROCESSES]);
    Ok(())
}
