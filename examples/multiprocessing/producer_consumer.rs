//! A producer and a consumer with a queue between them; the consumer is killed once, and nothing is lost.
//!
//! Python's `JoinableQueue`, whose `join` hangs when a consumer dies.
//!
//! ```text
//! cargo run --release --example mp_producer_consumer
//! ```

use commonhold::process::{self, Process};
use commonhold::{Atomics, Error, Queue, Segment};
use std::sync::atomic::{AtomicU64, Ordering};

const ITEMS: u64 = 20_000;

fn produce(queue: Queue<u64>) {
    for n in 1..=ITEMS {
        queue.send(n).expect("the queue is open");
    }
}

/// An item that is leased is completed, or given to somebody else. Adding it and completing it are two steps: a sum that must be
/// exact whatever happens keeps one word an item, and not one for all.
fn consume((queue, done): (Queue<u64>, Atomics<AtomicU64>)) {
    loop {
        let item = match queue.lease() {
            Ok(item) => item,
            Err(Error::Closed) => return,
            Err(e) => panic!("{e}"),
        };
        done[(*item - 1) as usize].store(*item, Ordering::Relaxed);
        item.complete().expect("it is ours");
    }
}

fn main() -> commonhold::Result<()> {
    process::init();

    let seg = Segment::anonymous(1 << 20)?;
    let queue = Queue::<u64>::create(&seg, "jobs", 100)?;
    let done = Atomics::<AtomicU64>::create(&seg, "done", ITEMS as usize)?;

    let start = |f| {
        Process::builder(f, (queue.clone(), done.clone()))
            .daemon(true)
            .spawn()
    };
    let victim = start(consume)?;
    let producer = Process::spawn(produce, queue.clone())?;
    while done[ITEMS as usize / 4].load(Ordering::Relaxed) == 0 {
        std::thread::yield_now();
    }
    victim.kill()?;
    println!("the consumer was killed: {}", victim.join().unwrap_err());
    let heir = start(consume)?;

    producer.join()?;
    // Until all that was sent has been received and completed.
    queue.join()?;
    queue.close();
    heir.join()?;
    let sum: u64 = done.iter().map(|n| n.load(Ordering::Relaxed)).sum();
    println!("sum {sum}");
    assert_eq!(sum, ITEMS * (ITEMS + 1) / 2);
    Ok(())
}
