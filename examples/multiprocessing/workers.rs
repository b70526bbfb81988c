//! Five workers at once, each with a name and a number.
//!
//! Python's `[Process(target=worker, args=(i,)) for i in range(5)]`.
//!
//! ```text
//! cargo run --release --example mp_workers
//! ```

use commonhold::process::{self, Process};

fn work(number: u32) -> u32 {
    println!("{} works on {number}", process::current_process().name());
    number * number
}

fn main() -> commonhold::Result<()> {
    process::init();

    let workers = (0..5)
        .map(|n| {
            Process::builder(work, n)
                .name(format!("worker-{n}"))
                .spawn()
        })
        .collect::<Result<Vec<_>, _>>()?;
    println!("{} of them run", process::active_children().len());
    for (n, worker) in (0..).zip(workers) {
        let name = worker.name().to_string();
        let square = worker.join()?;
        assert_eq!(square, n * n);
        println!("{name} says {square}");
    }
    Ok(())
}
