//! A stream of video frames, 6 MB each, from one process to two others, without a copy: through a pool of blocks and a queue of
//! their handles. Half-way one of the two is killed, and nothing is lost but the frame in its hands.
//!
//! ```text
//! cargo run --release --example frames            # some three seconds
//! cargo run --release --example frames -- --quick
//! ```

use commonhold::process::{self, Process};
use commonhold::{Atomics, BlockHandle, BlockPool, Error, Queue, Segment};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

type Anything = Box<dyn std::error::Error>;

/// 1920 × 1080 pixels of three bytes.
const FRAME: usize = 1920 * 1080 * 3;
const BLOCKS: usize = 8;
const CONSUMERS: usize = 2;

/// What all the processes share. It travels to each of them as an argument.
#[derive(Clone, Serialize, Deserialize)]
struct Studio {
    frames: BlockPool,
    to_show: Queue<BlockHandle>,
    /// Frames sent; then frames shown, by each consumer.
    counts: Atomics<AtomicU64>,
}

impl Studio {
    fn create() -> commonhold::Result<Studio> {
        let seg = Segment::anonymous(BLOCKS * (FRAME + 4096) + (1 << 16))?;
        Ok(Studio {
            frames: BlockPool::create(&seg, "frames", BLOCKS, FRAME)?,
            to_show: Queue::create(&seg, "to show", BLOCKS)?,
            counts: Atomics::create(&seg, "counts", 1 + CONSUMERS)?,
        })
    }
}

/// Draws a frame, all of whose bytes tell its number.
fn draw(frame: &mut [u8], number: u64) {
    for (i, pixels) in (number..).zip(frame.chunks_exact_mut(8)) {
        pixels.copy_from_slice(&i.to_le_bytes());
    }
}

/// Looks at each byte of a frame: its number, if it is whole.
fn look_at(frame: &[u8]) -> Option<u64> {
    let word = |pixels: &[u8]| u64::from_le_bytes(pixels.try_into().expect("eight"));
    let number = word(&frame[..8]);
    let differ = (number..)
        .zip(frame.chunks_exact(8))
        .fold(0, |differ, (i, pixels)| differ | (i ^ word(pixels)));
    (differ == 0).then_some(number)
}

/// In a process of its own: sends frames until its time is up.
fn produce((studio, time): (Studio, Duration)) {
    let start = Instant::now();
    let mut number = 0;
    while start.elapsed() < time {
        let mut frame = studio.frames.loan().expect("a block becomes free");
        draw(&mut frame, number << 32);
        frame.send(&studio.to_show).expect("the queue is open");
        number += 1;
        studio.counts[0].store(number, Relaxed);
    }
    studio.to_show.close();
}

/// In a process of its own: receives frames until there are no more.
fn consume((studio, which): (Studio, usize)) {
    loop {
        match studio.frames.receive(&studio.to_show) {
            Ok(frame) => {
                look_at(&frame).expect("the frame is whole");
                studio.counts[1 + which].fetch_add(1, Relaxed);
            }
            Err(Error::Closed) => return,
            Err(e) => panic!("{e}"),
        }
    }
}

fn direct(time: Duration) -> Result<(), Anything> {
    let studio = Studio::create()?;
    let blocks = studio.frames.count();
    println!("{blocks} blocks of {FRAME} bytes; one producer, {CONSUMERS} consumers");

    let count = |i: usize| studio.counts[i].load(Relaxed);
    let begun = Instant::now();
    // None of them outlives this.
    let consumer = |which| {
        Process::builder(consume, (studio.clone(), which))
            .daemon(true)
            .spawn()
    };
    let consumers = [consumer(0)?, consumer(1)?];
    let producer = Process::builder(produce, (studio.clone(), time))
        .daemon(true)
        .spawn()?;

    // Half-way, and not before both have had something to show.
    while begun.elapsed() < time / 2 || producer.is_alive() && count(1) * count(2) == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    consumers[0].kill()?;
    producer.join()?;
    consumers[1].join()?;
    let took = begun.elapsed();
    let (sent, shown) = (count(0), [count(1), count(2)]);
    // The dead one's block comes back to whoever wants one.
    let all: Vec<_> = (0..blocks)
        .map_while(|_| studio.frames.loan_timeout(Duration::from_secs(2)).ok())
        .collect();

    let total = shown[0] + shown[1];
    println!("frames sent                      {sent:>8}");
    println!("shown by the one that was killed {:>8}", shown[0]);
    println!("shown by the other               {:>8}", shown[1]);
    println!("gone with the dead               {:>8}", sent - total);
    println!(
        "blocks that are free again       {:>8} of {blocks}",
        all.len()
    );
    let bytes = (total * FRAME as u64) as f64;
    println!(
        "written once and read once       {:>8.1} GB/s",
        bytes / took.as_secs_f64() / 1e9
    );
    // In its hands, or shown and not yet counted.
    if sent - total > 1 || all.len() != blocks {
        return Err("that is not as it should be".into());
    }
    Ok(())
}

fn main() -> Result<(), Anything> {
    process::init();

    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => direct(Duration::from_secs(3)),
        ["--quick"] => direct(Duration::from_millis(500)),
        _ => Err("usage: frames [--quick]".into()),
    }
}
