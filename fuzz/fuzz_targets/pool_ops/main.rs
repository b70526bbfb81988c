//! Lists of calls of a pool, whose workers are killed, and on whose board somebody scribbles, between any two of them.
//!
//! Without a scribble each task has its own result, or its worker was killed. With one it may have another's, or none; but it comes to an end,
//! and once nobody scribbles any more, the pool serves again or says why it does not. A pool is kept for the next input as long as it serves.

#![no_main]

mod board;

use arbitrary::Arbitrary;
use board::{Board, Change, Word};
use commonhold::process::{Pool, Task};
use commonhold::{Error, Result};
use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;
use std::time::{Duration, Instant};

commonhold::init_before_main!();

#[derive(Arbitrary, Debug)]
enum Op {
    Submit(u8),
    /// A task whose input and result are longer than a slot.
    SubmitLong(u16),
    /// So many items, in chunks of so many.
    Map(u8, u8),
    Get(u8),
    Cancel(u8),
    /// Lets go of a task's handle.
    Forget(u8),
    Kill(u8),
    Strike(Word, Change),
}

/// Longer than any mend takes.
const LONG: Duration = Duration::from_secs(8);
const WORKERS: usize = 2;

thread_local! {
    static KEPT: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// Another's argument may be given to it.
fn negate(n: u64) -> u64 {
    !n
}

fn reverse(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.reverse();
    bytes
}

enum Expected {
    Short(Task<u64>, u64),
    Long(Task<Vec<u8>>, Vec<u8>),
}

struct World {
    pool: Pool,
    board: Board,
    tasks: Vec<Expected>,
    /// Since it last served.
    killed: bool,
    struck: bool,
    /// What is read by those only who come: it serves no longer than until the next worker is needed.
    is_undermined: bool,
}

impl World {
    fn new() -> World {
        let pool = Pool::builder().workers(WORKERS).retries(1).build();
        World {
            pool: pool.expect("there is room for a pool"),
            board: Board::find(),
            tasks: Vec::new(),
            killed: false,
            struck: false,
            is_undermined: false,
        }
    }

    fn step(&mut self, op: &Op) {
        match *op {
            Op::Submit(n) => {
                if let Some(task) = self.expect(self.pool.submit(negate, n.into())) {
                    self.tasks.push(Expected::Short(task, !u64::from(n)));
                }
            }
            Op::SubmitLong(len) => {
                let mut bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
                if let Some(task) = self.expect(self.pool.submit(reverse, bytes.clone())) {
                    bytes.reverse();
                    self.tasks.push(Expected::Long(task, bytes));
                }
            }
            Op::Map(count, size) => self.map(count.into(), usize::from(size) + 1),
            Op::Get(which) => {
                if let Some(task) = self.take(which) {
                    self.get(task);
                }
            }
            Op::Cancel(which) => {
                if let Some(task) = self.take(which) {
                    let cancelled = match &task {
                        Expected::Short(task, _) => task.cancel(),
                        Expected::Long(task, _) => task.cancel(),
                    };
                    if !cancelled {
                        self.get(task);
                    }
                }
            }
            Op::Forget(which) => drop(self.take(which)),
            Op::Kill(which) => {
                let pids = self.pool.pids();
                if let Some(pid) = pids.get(usize::from(which) % WORKERS) {
                    // SAFETY: plain system call. It may be reaped by now; its number is not given again so soon.
                    unsafe { libc::kill(*pid as i32, libc::SIGKILL) };
                    self.killed = true;
                }
            }
            Op::Strike(word, change) => {
                self.board.strike(word, change);
                self.struck = true;
                self.is_undermined |= matches!(word, Word::Any(_));
            }
        }
    }

    fn take(&mut self, which: u8) -> Option<Expected> {
        match self.tasks.len() {
            0 => None,
            n => Some(self.tasks.swap_remove(usize::from(which) % n)),
        }
    }

    fn get(&self, task: Expected) {
        match task {
            Expected::Short(task, want) => {
                let got = self.expect(task.get_timeout(LONG));
                assert!(self.struck || got.is_none_or(|got| got == want));
            }
            Expected::Long(task, want) => {
                let got = self.expect(task.get_timeout(LONG));
                assert!(self.struck || got.is_none_or(|got| got == want));
            }
        }
    }

    fn map(&self, count: u64, size: usize) {
        let mut results = self.pool.imap(negate, 0..count).chunk_size(size);
        let mut given = 0;
        while let Some(result) = results.next_timeout(LONG) {
            let got = self.expect(result);
            assert!(self.struck || got.is_none_or(|got| got == !given));
            given += 1;
        }
        // A pool that has ended says so once.
        assert!(given == count || self.struck || self.killed);
    }

    /// What may be: in the end nobody waits in vain.
    fn expect<R>(&self, result: Result<R>) -> Option<R> {
        match result {
            Ok(value) => Some(value),
            Err(e) => {
                assert!(!matches!(e, Error::Timeout), "a task has no end");
                assert!(!e.to_string().is_empty());
                // Many that are killed before they are ready end a pool.
                let by_death = matches!(e, Error::WorkerDied { .. } | Error::InitializerFailed(_));
                assert!(self.struck || self.killed && by_death, "{e:?}");
                None
            }
        }
    }

    /// All ends, and then all is as before. `None`: the pool has ended, or will.
    fn settle(mut self) -> Option<World> {
        for task in std::mem::take(&mut self.tasks) {
            self.get(task);
        }
        let begun = Instant::now();
        let mut in_a_row = 0;
        while in_a_row < 8 {
            let n = begun.elapsed().as_nanos() as u64;
            let served = self.pool.submit(negate, n);
            let task = self.expect(served)?;
            in_a_row = match self.expect(task.get_timeout(LONG)) {
                Some(got) if got == !n => in_a_row + 1,
                _ => 0,
            };
            assert!(begun.elapsed() < LONG, "it does not serve again");
        }
        (self.killed, self.struck) = (false, false);
        (!self.is_undermined).then_some(self)
    }
}

fuzz_target!(|ops: Vec<Op>| {
    KEPT.with_borrow_mut(|kept| {
        let mut world = kept.take().unwrap_or_else(World::new);
        ops.iter().take(40).for_each(|op| world.step(op));
        *kept = world.settle();
    });
});
