//! The locks that stand beside the mutex: between threads and processes, killed, forked, and in panics.

mod barrier;
mod event;
mod once;
mod reentrant;
mod rwlock;
mod semaphore;
#[path = "../support/mod.rs"]
mod support;

use barrier::{arrive, arrive_twice, cross, lose_a_barrier};
use event::{answer, wait_in_threads, wait_then_tell};
use once::{count_once, count_once_as_heir, run_for_ever, wait_for_completion};
use reentrant::{count_up, hold_thrice, mend_for_ever};
use rwlock::{
    add_while_told, read_for_ever, recover_for_ever, wait_to_read, wait_to_write, write_half,
};
use semaphore::{hold_permits, lose_permits, take_turns, wait_for_a_permit};
use std::time::{Duration, Instant};

support::roles!(
    arrive,
    arrive_twice,
    cross,
    lose_a_barrier,
    answer,
    wait_in_threads,
    wait_then_tell,
    count_once,
    count_once_as_heir,
    run_for_ever,
    wait_for_completion,
    count_up,
    hold_thrice,
    mend_for_ever,
    add_while_told,
    read_for_ever,
    recover_for_ever,
    wait_to_read,
    wait_to_write,
    write_half,
    hold_permits,
    lose_permits,
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

/// Nobody who does not guard it may have it open.
fn cut_short(name: &support::Name) {
    let file = std::fs::OpenOptions::new().write(true).open(name.path());
    file.unwrap().set_len(0).unwrap();
}
