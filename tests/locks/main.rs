//! The locks that stand beside the mutex: between threads and processes, killed, forked, and in panics.

mod rwlock;
#[path = "../support/mod.rs"]
mod support;

use rwlock::{
    add_while_told, mend_for_ever, read_for_ever, wait_to_read, wait_to_write, write_half,
};
use std::time::{Duration, Instant};

support::roles!(
    add_while_told,
    mend_for_ever,
    read_for_ever,
    wait_to_read,
    wait_to_write,
    write_half,
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
