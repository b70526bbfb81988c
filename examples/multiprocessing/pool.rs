//! A pool of workers: `map`, results as they come, single tasks, and one that kills its worker.
//!
//! Python's `Pool(4).map(f, range(10))`, which hangs when a worker is killed.
//!
//! ```text
//! cargo run --release --example mp_pool
//! ```

use commonhold::Error;
use commonhold::process::{self, Pool};

fn square(n: u64) -> u64 {
    n * n
}

fn dies_at_seven(n: u64) -> u64 {
    if n == 7 {
        std::process::abort();
    }
    n
}

fn main() -> commonhold::Result<()> {
    process::init();

    let pool = Pool::new(4)?;
    let squares = pool.map(square, 0..10)?;
    println!("{squares:?}");
    assert_eq!(squares, (0..10).map(square).collect::<Vec<_>>());

    // An endless input is drawn from as results are taken.
    let first: Vec<u64> = pool.imap(square, 0..).take(5).collect::<Result<_, _>>()?;
    println!("the first five of endlessly many: {first:?}");

    let task = pool.submit(square, 12)?;
    println!("12² = {}", task.get()?);

    // The task that kills its worker costs itself, and nothing else.
    let mut lost = 0;
    for (n, result) in pool.imap(dies_at_seven, 0..10).enumerate() {
        match result {
            Ok(m) => assert_eq!(m, n as u64),
            Err(e @ Error::WorkerDied { .. }) => {
                println!("number {n}: {e}");
                lost += 1;
            }
            Err(e) => return Err(e),
        }
    }
    assert_eq!(lost, 1);
    pool.close();
    pool.join()
}
