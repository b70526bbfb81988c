//! The locks that stand beside the mutex: between threads and processes, killed, forked, and in panics.

mod barrier;
mod semaphore;
#[path = "../support/mod.rs"]
mod support;

use barrier::{arrive, arrive_twice, cross};
use semaphore::{hold_permits, take_turns, wait_for_a_permit};
use std::time::{Duration, Instant};

support::roles!(
    arrive,
    arrive_twice,
    cross,
    hold_permits,
    take_turns,
    wait_for_a_permit,
);

/// What a survivor may have to wait at most.
const LIMIT: Duration = Duration::from_secs(1);

fn within_the_limit<R>(f: impl FnOnce() -> R) -> R {
    let start = Instant::now();
    let r = f();
    assert!(start.elapsed() < LIMIT, "{:?}", start.elapsed());
    r
}

fn is_a_handle<T: Clone + Send + Sync + 'static>(_: &T) {}
