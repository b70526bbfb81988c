//! Loom models of the raw machines, each run under both modelled futexes, without a death and with one member dying before
//! any one of its atomic accesses. The points of death are counted by running, so a new access is a new point.

mod barrier;
mod blocks;
mod board;
mod broadcast;
mod condvar;
mod event;
mod frames;
mod leases;
mod mutex;
mod once;
mod pipe;
mod queue;
mod reentrant;
mod ring;
mod rwlock;
mod select;
mod semaphore;
mod versioned;

use super::{Call, MemberId};
use crate::sys::deadline::Deadline;
use crate::sys::model::{self, Oracle, Sleep};
use crate::sys::spin::Adaptive;

/// One way through a model: who dies, and when.
#[derive(Clone, Copy, Debug)]
struct Fate {
    victim: Option<(usize, usize)>,
}

impl Fate {
    /// Runs `f` as member number `index`, who dies in it if fate says so.
    fn live<R>(self, index: usize, f: impl FnOnce() -> R) -> Option<R> {
        match self.victim {
            Some((victim, left)) if victim == index => model::mortal(id(index), left, f),
            _ => Some(f()),
        }
    }

    fn nobody_dies(self) -> bool {
        self.victim.is_none()
    }
}

fn id(index: usize) -> MemberId {
    MemberId::new(index as u32, 1).unwrap()
}

static SPIN: Adaptive = Adaptive::new();

fn call(index: usize) -> Call<'static, Oracle> {
    call_until(index, Deadline::NEVER)
}

fn call_until(index: usize, deadline: Deadline) -> Call<'static, Oracle> {
    Call {
        members: &Oracle,
        me: id(index),
        spin: &SPIN,
        deadline,
    }
}

/// Runs `run` for each futex, once without a death, and then for each of `victims` with a death before its first access,
/// its second, and so on until it has none left. Every order of accesses is tried that takes the processor from a thread
/// against its will at most `preemptions` times (one time fewer under the futex that never sleeps: it has many more).
fn explore(victims: &[usize], preemptions: usize, run: fn(Fate)) {
    explore_deeper(victims, preemptions, preemptions, run);
}

/// As [`explore`], with another limit for the runs without a death.
fn explore_deeper(victims: &[usize], without: usize, preemptions: usize, run: fn(Fate)) {
    let fewer = |n: usize| n.saturating_sub(1).max(1);
    for (sleep, without, preemptions) in [
        (Sleep::UntilWoken, without, preemptions),
        (Sleep::Never, fewer(without), fewer(preemptions)),
    ] {
        explore_under(sleep, victims, without, preemptions, run);
    }
}

/// As [`explore_deeper`], under one futex: three that never sleep, and wait for each other, look again in too many orders.
fn explore_under(
    sleep: Sleep,
    victims: &[usize],
    without: usize,
    preemptions: usize,
    run: fn(Fate),
) {
    check(sleep, without, Fate { victim: None }, run);
    for &victim in victims {
        let mut points = 0;
        loop {
            let fate = Fate {
                victim: Some((victim, points)),
            };
            if !check(sleep, preemptions, fate, run) {
                break;
            }
            points += 1;
        }
        eprintln!("{sleep:?}: member {victim} died at {points} points");
        assert!(points > 0, "the victim makes no access");
    }
}

/// One preemption fewer if `COMMONHOLD_LOOM_SHALLOW` says so: for the longest models in a short run, see `.ci/loom`.
fn depth(preemptions: usize) -> usize {
    match std::env::var_os("COMMONHOLD_LOOM_SHALLOW") {
        Some(_) => preemptions.saturating_sub(1).max(1),
        None => preemptions,
    }
}

/// Whether anybody died in any execution.
fn check(sleep: Sleep, preemptions: usize, fate: Fate, run: fn(Fate)) -> bool {
    // Models share the machine's switches, and the test runner has several threads.
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
    model::begin(sleep);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(depth(preemptions));
    builder.max_branches = 20_000;
    builder.check(move || run(fate));
    model::somebody_died()
}
