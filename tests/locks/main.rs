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
use commonhold::{Atomics, Barrier, Condvar, Event, Segment};
use event::{answer, wait_in_threads, wait_then_tell};
use once::{count_once, count_once_as_heir, run_for_ever, wait_for_completion};
use reentrant::{count_up, hold_thrice, mend_for_ever};
use rwlock::{
    add_while_told, read_for_ever, recover_for_ever, wait_to_read, wait_to_write, write_half,
};
use semaphore::{hold_permits, lose_permits, take_turns, wait_for_a_permit};
use std::sync::atomic::{AtomicU32, Ordering};

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

fn is_a_handle<T: Clone + Send + Sync + 'static>(_: &T) {}

/// The death of one who is no member is found by nobody, and with it the wake-up that it did not make.
#[test]
fn a_forked_child_that_does_nothing_but_wake_others_is_a_member() {
    if !support::forks_are_noticed() {
        return;
    }
    let seg = Segment::anonymous(1 << 16).unwrap();
    let event = Event::create(&seg, "event").unwrap();
    let barrier = Barrier::create(&seg, "barrier", 2).unwrap();
    let condvar = Condvar::create(&seg, "condvar").unwrap();
    let done = Atomics::<AtomicU32>::create(&seg, "done", 1).unwrap();
    let wakes: [&dyn Fn(); 4] = [
        &|| event.set(),
        &|| barrier.abort(),
        &|| condvar.notify_one(),
        &|| condvar.notify_all(),
    ];
    for (n, wake) in (1..).zip(wakes) {
        let child = support::Forked::start(|| {
            wake();
            done[0].store(n, Ordering::Release);
            // SAFETY: plain system call; the parent kills us.
            unsafe { libc::pause() };
        });
        support::eventually(support::LIMIT, "the child woke whoever waits", || {
            done[0].load(Ordering::Acquire) == n
        });
        let is_member = |pid| seg.members().iter().any(|m| m.alive && m.pid == pid);
        assert!(is_member(child.0 as u32), "number {n}");
        child.kill();
    }
}

/// Nobody who does not guard it may have it open.
fn cut_short(name: &support::Name) {
    let file = std::fs::OpenOptions::new().write(true).open(name.path());
    file.unwrap().set_len(0).unwrap();
}
