//! Counting primes on all cores: in this thread, in threads, and in processes.
//!
//! Python's threads take turns, so that its users must take processes for this. Rust's do not: who wants only the cores takes threads.
//! Processes are for what must not share a fate: each may crash, be killed or leak, and the others go on.
//!
//! ```text
//! cargo run --release --example mp_count [UP_TO]
//! ```

use commonhold::process::{self, Pool};
use std::ops::Range;
use std::time::{Duration, Instant};

fn primes(range: Range<u64>) -> usize {
    range
        .filter(|&n| n > 1 && (2..).take_while(|d| d * d <= n).all(|d| n % d != 0))
        .count()
}

fn parts(up_to: u64, of: u64) -> impl Iterator<Item = Range<u64>> {
    (0..of).map(move |part| up_to * part / of..up_to * (part + 1) / of)
}

fn timed(what: &str, f: impl FnOnce() -> usize) -> (usize, Duration) {
    let start = Instant::now();
    let found = f();
    let took = start.elapsed();
    println!("{what:<24} {found} primes in {took:.2?}");
    (found, took)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    process::init();

    let up_to = std::env::args()
        .nth(1)
        .map_or(Ok(2_000_000), |arg| arg.parse())?;
    let cores = std::thread::available_parallelism()?.get();
    let pool = Pool::new(cores)?;

    let (one, alone) = timed("one thread", || primes(0..up_to));
    let (two, _) = timed(&format!("{cores} threads"), || {
        std::thread::scope(|s| {
            let threads: Vec<_> = parts(up_to, cores as u64)
                .map(|part| s.spawn(|| primes(part)))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("no panic"))
                .sum()
        })
    });
    // Small parts: who is done takes the next one.
    let (three, pooled) = timed(&format!("{cores} processes"), || {
        let counts = pool
            .map(primes, parts(up_to, 200))
            .expect("nobody was killed");
        counts.into_iter().sum()
    });
    assert!(one == two && two == three);
    println!(
        "processes: {:.2} times as fast as one thread",
        alone.as_secs_f64() / pooled.as_secs_f64()
    );
    Ok(())
}
