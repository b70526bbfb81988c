//! Pools: somebody scribbles on the board. A task may cost an error, or have a wrong result; none waits for ever, and once nobody scribbles any
//! more, the pool serves again.
//!
//! Where the words are is by docs/layout.md, and not by the crate's code.

use crate::board_file::{BoardFile, SLOTS};
use crate::pool::{LONG, event};
use crate::support::{Child, Random, eventually};
use commonhold::process::Pool;
use commonhold::{Error, Event, Result};
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The board of this process's only pool, or of the pool whose worker this process is.
struct Board(BoardFile);

const TAIL: u64 = 128;
const HEAD: u64 = 256;
const CLOSED: u64 = 4;
const SIGNALS: [u64; 2] = [0, 384];
const FINISHED: u64 = 384 + 8;
const TODO: u64 = 640;
/// In a slot; the last two from its middle on.
const STATE: u64 = 0;
const FUNCTION: u64 = 8;
const ITEMS: u64 = 12;
const INPUT_BYTES: u64 = 16;
const TIMED: u64 = 24;
const PROGRESS: u64 = 0;
const STARTED: u64 = 8;

impl Deref for Board {
    type Target = BoardFile;

    fn deref(&self) -> &BoardFile {
        &self.0
    }
}

impl Board {
    fn find() -> Board {
        let mut only = None;
        // The one before is there until its manager's thread has ended.
        eventually(LONG, "there is one pool", || {
            only = BoardFile::only();
            only.is_some()
        });
        only.map(Board).expect("just found")
    }

    fn get(&self, at: u64) -> u64 {
        self.segment_get(self.offset + at)
    }

    fn put(&self, at: u64, n: u64) {
        self.segment_put(self.offset + at, &n.to_ne_bytes());
    }

    /// Words of 4 bytes.
    fn put_half(&self, at: u64, n: u32) {
        self.segment_put(self.offset + at, &n.to_ne_bytes());
    }

    fn each_state(&self, change: impl Fn(u64) -> u64) {
        for at in (0..self.slots).map(|slot| self.task(slot) + STATE) {
            // Of those that were never used, too; a free slot is nobody's business.
            self.put(at, change(self.get(at)));
        }
    }

    /// Writes a word somewhere: of those that mean something.
    fn strike(&self, random: &mut Random) {
        // Most tasks are in the same few slots.
        let slot = random.below(8);
        let at = match random.below(16) {
            0 => SIGNALS[0],
            1 => SIGNALS[1],
            2 => TAIL,
            3 => HEAD,
            4 => FINISHED + 8 * random.below(16),
            5 => TODO + 8 * random.below(2 * self.slots),
            6..=10 => self.task(slot) + 8 * random.below(4),
            11..=14 => self.outcome(slot) + 8 * random.below(2),
            // The notes that workers are ready.
            _ => self.task(self.slots) + 8 * random.below(2),
        };
        let old = self.get(at);
        let new = match random.below(8) {
            0 => random.below(1 << 32) << 32 | random.below(1 << 32),
            1 => 0,
            2 => u64::MAX,
            3 => old ^ 1 << random.below(64),
            4 => old.wrapping_add(random.below(5)).wrapping_sub(2),
            // A state of this turn.
            5 => old >> 32 << 32 | random.below(16),
            6 => random.below(2) << 63 | random.below(4) << 39 | random.below(100),
            _ => 1 << random.below(64),
        };
        self.put(at, new);
    }

    /// Writes some bytes anywhere before the slots, or at their begin: into the header of the segment, the members, the directory.
    fn strike_anywhere(&self, random: &mut Random) {
        let end = self.offset + SLOTS + 1000;
        let at = match random.below(4) {
            0 => random.below(512),
            1 => 4096 + 8 * random.below(64),
            _ => random.below(end),
        };
        let bytes = (random.below(1 << 32) << random.below(33)).to_ne_bytes();
        self.segment_put(at, &bytes[..1 + random.below(8) as usize]);
    }
}

fn die(_: ()) {
    std::process::abort();
}

/// Its argument may be another's.
fn square(n: u64) -> u64 {
    n.wrapping_mul(n)
}

fn wait(event: Event) {
    event.wait().unwrap();
}

/// Ends well, or in an error, and soon.
fn comes_to_an_end<R>(what: &str, result: Result<R>) -> Option<R> {
    assert!(!matches!(result, Err(Error::Timeout)), "{what} hangs");
    result.ok()
}

fn serves(pool: &Pool) -> bool {
    (0..10).all(|n| {
        let result = pool
            .submit(square, n)
            .and_then(|task| task.get_timeout(LONG));
        comes_to_an_end("a task after the strike", result) == Some(n * n)
    })
}

/// Strikes once while two tasks run and two wait, and again while the two workers are at nothing.
fn survives(what: &str, strike: &dyn Fn(&Board)) {
    let pool = Pool::new(2).unwrap();
    pool.map(square, 0..4).unwrap();
    let board = Board::find();
    let held = event();
    let running = [(); 2].map(|()| pool.submit(wait, held.clone()).unwrap());
    let runs = |slot| {
        board.get(board.task(slot) + STATE) & 3 == 2
            && board.get(board.outcome(slot) + PROGRESS) >> 63 == 0
    };
    eventually(LONG, "both are begun", || {
        (0..board.slots).filter(|slot| runs(*slot)).count() == 2
    });
    let ready = [3, 4].map(|n| pool.submit(square, n).unwrap());
    strike(&board);
    held.set();
    for task in running {
        comes_to_an_end(what, task.get_timeout(LONG));
    }
    for task in ready {
        comes_to_an_end(what, task.get_timeout(LONG));
    }
    eventually(LONG, what, || serves(&pool));
    strike(&board);
    eventually(LONG, what, || serves(&pool));
    eventually(LONG, "workers no longer come and go", || {
        let before = pool.pids();
        serves(&pool) && serves(&pool) && before.len() == 2 && pool.pids() == before
    });
    pool.close();
    pool.join().unwrap();
}

/// In a child, which has no other pool.
pub(crate) fn is_struck_once(_: &[String]) {
    let state = |low: u64| move |board: &Board| board.each_state(|word| word >> 32 << 32 | low);
    let [zero, one] = [0u64, 1].map(|worker| worker << 2 | 2);
    let states = [
        ("free", 0),
        ("ready", 1),
        ("scribbled", 3),
        ("the first worker's", zero),
        ("the second worker's", one),
        ("nobody's", 900 << 2 | 2),
        ("strange", 1 << 30 | 1),
    ];
    for (what, low) in states {
        survives(what, &state(low));
    }
    survives("of other turns", &|board| {
        board.each_state(|word| word ^ 1 << 40)
    });
    for n in [0, 1, u32::MAX] {
        for word in [FUNCTION, ITEMS, TIMED] {
            survives(&format!("{word} of a task is {n}"), &|board| {
                (0..board.slots).for_each(|slot| board.put_half(board.task(slot) + word, n));
            });
        }
    }
    for n in [0, 1, 1 << 63, 1 << 63 | 1 << 39 | 8, 1 << 39 | 8, u64::MAX] {
        survives(&format!("progress is {n:x}"), &|board| {
            (0..board.slots).for_each(|slot| board.put(board.outcome(slot) + PROGRESS, n));
        });
        survives(&format!("input_bytes is {n:x}"), &|board| {
            (0..board.slots).for_each(|slot| board.put(board.task(slot) + INPUT_BYTES, n));
        });
        survives(&format!("started is {n:x}"), &|board| {
            (0..board.slots).for_each(|slot| board.put(board.outcome(slot) + STARTED, n));
        });
        survives(&format!("todo is {n:x}"), &|board| {
            (0..2 * board.slots).for_each(|cell| board.put(TODO + 8 * cell, n));
        });
        survives(&format!("finished is {n:x}"), &|board| {
            (0..16).for_each(|i| board.put(FINISHED + 8 * i, n));
        });
        survives(&format!("tail and head are {n:x}"), &|board| {
            board.put(TAIL, n);
            board.put(HEAD, n);
        });
        survives(&format!("signals and closed are {n:x}"), &|board| {
            SIGNALS.into_iter().for_each(|at| board.put(at, n));
            board.put_half(CLOSED, n as u32);
        });
    }
}

#[test]
fn no_word_of_the_board_hangs_a_task_or_ends_the_pool() {
    Child::start("is_struck_once", &[]).finish();
}

/// In a child: the board is opened again when the workers were to go.
pub(crate) fn is_struck_open(_: &[String]) {
    let pool = Pool::new(1).unwrap();
    pool.apply(square, 1).unwrap();
    let board = Board::find();
    let worker = pool.pids()[0] as i32;
    // SAFETY: plain system calls, here and below: our own child, which is not reaped as long as the pool is.
    unsafe { libc::kill(worker, libc::SIGSTOP) };
    pool.close();
    let pool = Arc::new(pool);
    let other = pool.clone();
    let joined = std::thread::spawn(move || other.join().unwrap());
    eventually(LONG, "the workers are to go", || {
        board.get(CLOSED & !7) >> 32 != 0
    });
    board.put_half(CLOSED, 0);
    // SAFETY: as above.
    unsafe { libc::kill(worker, libc::SIGCONT) };
    eventually(LONG, "they have gone", || joined.is_finished());
    assert!(pool.pids().is_empty());
}

#[test]
fn a_board_that_is_scribbled_open_again_does_not_keep_its_workers() {
    Child::start("is_struck_open", &[]).finish();
}

/// Says of its own slot, and of all that run, that they are ready.
fn strike_ready(n: u64) -> u64 {
    let board = Board::find();
    board.each_state(|word| match word & 3 {
        2 => word >> 32 << 32 | 1,
        _ => word,
    });
    n
}

/// In a child: a task that makes itself ready again each time it is run.
pub(crate) fn is_made_ready(_: &[String]) {
    for workers in [1, 2] {
        let pool = Pool::new(workers).unwrap();
        let items = pool.imap(strike_ready, 0..6).chunk_size(2);
        let tasks = [1, 2].map(|n| pool.submit(strike_ready, n).unwrap());
        for task in tasks {
            comes_to_an_end("a task", task.get_timeout(LONG));
        }
        for item in items {
            comes_to_an_end("an item", item);
        }
        assert!(serves(&pool));
        pool.close();
        pool.join().unwrap();
    }
}

#[test]
fn a_task_that_says_it_was_never_begun_is_not_run_for_ever() {
    Child::start("is_made_ready", &[]).finish();
}

/// Strikes from within a worker.
fn strike((seed, n): (u64, u64)) -> u64 {
    let mut random = Random::from(seed);
    let board = Board::find();
    for _ in 0..random.below(8) {
        board.strike(&mut random);
    }
    square(n)
}

/// In a child: strikes by this process and by the workers, at any moment.
pub(crate) fn is_struck_often(args: &[String]) {
    let seed: u64 = args[0].parse().unwrap();
    let mut random = Random::from(seed);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        let builder = Pool::builder()
            .workers(1 + random.below(3) as usize)
            .retries(random.below(2) as u32);
        let pool = match random.below(2) {
            0 => builder.build(),
            _ => builder.deadline(Duration::from_millis(300)).build(),
        }
        .unwrap();
        let board = Board::find();
        for _ in 0..20 {
            let tasks: Vec<_> = (0..random.below(6))
                .map(|n| match random.below(3) {
                    0 => pool.submit(strike, (random.below(1 << 60), n)),
                    _ => pool.submit(square, n),
                })
                .collect();
            for _ in 0..random.below(3) {
                board.strike(&mut random);
            }
            if random.below(3) == 0 {
                let seeds = random.below(1 << 60);
                let mut results = pool
                    .imap(strike, (0..10).map(|n| (seeds + n, n)))
                    .chunk_size(3);
                let mut count = 0;
                while let Some(result) = results.next_timeout(LONG) {
                    comes_to_an_end("a group", result);
                    count += 1;
                }
                assert!(count == 10 || count == 1, "{count}");
            }
            for task in tasks.into_iter().flatten() {
                if random.below(4) == 0 {
                    task.cancel();
                }
                comes_to_an_end("a task", task.get_timeout(LONG));
            }
        }
        eventually(LONG, "the pool serves again", || serves(&pool));
        pool.close();
        pool.join().unwrap();
    }
}

#[test]
fn workers_and_parents_that_scribble_cost_results_and_hang_nothing() {
    let seed = Random::seed();
    eprintln!("SEED={seed}");
    Child::start("is_struck_often", &[&seed.to_string()]).finish();
}

/// In a child: the lock of the directory is held by somebody who lives, the parent or the worker, when a new worker comes.
pub(crate) fn is_locked_out(_: &[String]) {
    for slot in 0..3 {
        let pool = Pool::new(2).unwrap();
        pool.map(square, 0..4).unwrap();
        let board = Board::find();
        let generation = board.segment_get(4096 + 64 * slot) >> 1 & 0xf_ffff;
        let lock = (generation << 10 | slot) as u32;
        board.segment_put(128, &lock.to_ne_bytes());
        let killed = pool.submit(die, ()).and_then(|t| t.get_timeout(LONG));
        assert!(matches!(killed, Err(Error::WorkerDied { .. })));
        eventually(LONG, "two workers live", || pool.pids().len() == 2);
        assert!(serves(&pool));
        pool.close();
        pool.join().unwrap();
    }
}

#[test]
fn a_lock_in_false_hands_keeps_no_worker_out() {
    Child::start("is_locked_out", &[]).finish();
}

/// In a child: strikes at the whole segment, which may end the pool.
pub(crate) fn is_struck_anywhere(args: &[String]) {
    let mut random = Random::from(args[0].parse().unwrap());
    let begun = Instant::now();
    let (mut served, mut ended) = (0, 0);
    while begun.elapsed() < Duration::from_secs(3) {
        let pool = Pool::new(2).unwrap();
        let board = Board::find();
        let few = random.below(20);
        for n in 0..50 {
            let task = pool.submit(square, n);
            if n < few {
                board.strike_anywhere(&mut random);
            }
            if random.below(10) == 0 {
                // One that is hired meets what was struck.
                let killed = pool.submit(die, ()).and_then(|t| t.get_timeout(LONG));
                comes_to_an_end("one that dies", killed);
            }
            comes_to_an_end("a task", task.and_then(|t| t.get_timeout(LONG)));
        }
        match pool.submit(square, 7).and_then(|t| t.get_timeout(LONG)) {
            Ok(_) => served += 1,
            Err(_) => ended += 1,
        }
        let pool = Arc::new(pool);
        let other = pool.clone();
        let joined = std::thread::spawn(move || {
            other.close();
            let _ = other.join();
        });
        eventually(LONG, "all have gone", || joined.is_finished());
    }
    eprintln!("{served} pools served to the end, {ended} did not");
}

#[test]
fn a_segment_that_is_struck_anywhere_ends_its_pool_at_the_worst() {
    let seed = Random::seed();
    eprintln!("SEED={seed}");
    Child::start("is_struck_anywhere", &[&seed.to_string()]).finish();
}
