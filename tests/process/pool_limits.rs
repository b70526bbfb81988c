//! Pools: deadlines, workers that are replaced, initializers.

use crate::pool::{LONG, counters, event, pid, square};
use crate::support::Child;
use commonhold::process::Pool;
use commonhold::{Atomics, Error, Event};
use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

fn wait_or_not(event: Option<Event>) -> u32 {
    if let Some(event) = event {
        event.wait().unwrap();
    }
    std::process::id()
}

#[test]
fn a_task_beyond_its_deadline_is_ended_and_charges_no_other() {
    let limit = Duration::from_millis(200);
    let pool = Pool::builder()
        .workers(2)
        .retries(3)
        .deadline(limit)
        .build()
        .unwrap();
    let event = event();
    let mut items = vec![None; 30];
    items[7] = Some(event.clone());
    items[8] = Some(event.clone());
    let start = Instant::now();
    for (n, result) in (0..).zip(pool.imap(wait_or_not, items).chunk_size(10)) {
        match result {
            Err(Error::TookTooLong { task }) => assert!(task == n && (n == 7 || n == 8)),
            other => assert!(other.is_ok() && n != 7 && n != 8, "{n}: {other:?}"),
        }
    }
    // Not retried: two deadlines, one after another.
    assert!(start.elapsed() >= 2 * limit);
    let text = pool
        .apply(wait_or_not, Some(event.clone()))
        .unwrap_err()
        .to_string();
    assert!(text.contains("deadline"), "{text}");
}

#[test]
fn a_deadline_counts_from_the_tasks_own_begin() {
    let limit = Duration::from_secs(1);
    let pool = Pool::builder().workers(1).deadline(limit).build().unwrap();
    // Together they take longer, and those that wait have not begun.
    let slow = |_: u64| std::thread::sleep(Duration::from_millis(30));
    pool.for_each(slow, 0..40).unwrap();
    let tasks: Vec<_> = (0..40).map(|n| pool.submit(slow, n).unwrap()).collect();
    for task in tasks {
        task.get().unwrap();
    }
}

#[test]
fn a_stopped_worker_is_beyond_its_deadline_too() {
    fn stop(_: ()) {
        // SAFETY: plain system call.
        unsafe { libc::raise(libc::SIGSTOP) };
    }
    let limit = Duration::from_millis(100);
    let pool = Pool::builder().workers(1).deadline(limit).build().unwrap();
    let task = pool.submit(stop, ()).unwrap();
    assert!(matches!(
        task.get_timeout(LONG),
        Err(Error::TookTooLong { task: 0 })
    ));
    assert_eq!(pool.apply(square, 2).unwrap(), 4);
}

#[test]
fn a_worker_ends_after_its_tasks_and_another_takes_its_place() {
    let pool = Pool::builder()
        .workers(2)
        .max_tasks_per_worker(3)
        .build()
        .unwrap();
    let mut tasks_of = HashMap::new();
    for result in pool.imap(pid, 0..60) {
        *tasks_of.entry(result.unwrap()).or_insert(0) += 1;
    }
    for n in 0..6 {
        *tasks_of.entry(pool.apply(pid, n).unwrap()).or_insert(0) += 1;
    }
    assert!(tasks_of.values().all(|n| *n <= 3), "{tasks_of:?}");
    assert!(tasks_of.len() >= 22);
}

#[test]
fn a_group_is_shared_among_workers_that_end_within_it() {
    let pool = Pool::builder()
        .workers(1)
        .max_tasks_per_worker(4)
        .build()
        .unwrap();
    let mut tasks_of = HashMap::new();
    for result in pool.imap(pid, 0..120).chunk_size(3) {
        *tasks_of.entry(result.unwrap()).or_insert(0) += 1;
    }
    assert!(
        tasks_of.len() == 30 && tasks_of.values().all(|n| *n == 4),
        "{tasks_of:?}"
    );
}

#[test]
fn an_exit_in_a_task_is_no_workers_regular_end() {
    fn exit(runs: Atomics<AtomicU64>) {
        runs[0].fetch_add(1, Ordering::Relaxed);
        std::process::exit(0);
    }
    let pool = Pool::builder()
        .workers(1)
        .max_tasks_per_worker(5)
        .build()
        .unwrap();
    let runs = counters(1);
    let ended = pool.apply(exit, runs.clone());
    assert!(matches!(ended, Err(Error::WorkerDied { signal: None, .. })));
    assert_eq!(runs[0].load(Ordering::Relaxed), 1);
}

static BEGUN: OnceLock<u32> = OnceLock::new();
static COUNTERS: OnceLock<Atomics<AtomicU64>> = OnceLock::new();

fn begin() {
    BEGUN.set(std::process::id()).expect("once in each worker");
}

fn begin_with((counters, add): (Atomics<AtomicU64>, u64)) {
    counters[0].fetch_add(add, Ordering::Relaxed);
    COUNTERS.set(counters).expect("once in each worker");
}

#[test]
fn the_initializer_runs_in_each_worker_before_its_first_task() {
    let pool = Pool::builder()
        .workers(2)
        .initializer(begin)
        .build()
        .unwrap();
    let has_begun = |_: u64| BEGUN.get() == Some(&std::process::id());
    assert!(pool.map(has_begun, 0..50).unwrap().into_iter().all(|b| b));
    assert!(BEGUN.get().is_none());
}

#[test]
fn an_initializer_has_an_argument_and_runs_in_those_that_come_later_too() {
    let counters = counters(2);
    let pool = Pool::builder()
        .workers(1)
        .max_tasks_per_worker(1)
        .initializer_with(begin_with, (counters.clone(), 5))
        .build()
        .unwrap();
    let add = |n: u64| {
        COUNTERS.get().unwrap()[1].fetch_add(n, Ordering::Relaxed);
    };
    pool.for_each(add, 0..4).unwrap();
    drop(pool);
    assert_eq!(counters[1].load(Ordering::Relaxed), 6);
    // Four that ran a task; and one that came after, or none.
    let begun = counters[0].load(Ordering::Relaxed) / 5;
    assert!((4..=5).contains(&begun), "{begun}");
}

fn fail_to_begin(counters: Atomics<AtomicU64>) {
    counters[0].fetch_add(1, Ordering::Relaxed);
    panic!("no licence");
}

#[test]
fn an_initializer_that_fails_ends_the_pool_and_says_why() {
    let counters = counters(1);
    let pool = Pool::builder()
        .workers(3)
        .initializer_with(fail_to_begin, counters.clone())
        .build()
        .unwrap();
    let is_why = |e: Error| {
        let Error::InitializerFailed(why) = &e else {
            panic!("{e:?}");
        };
        assert!(matches!(**why, Error::Panicked { .. }));
        assert!(e.to_string().contains("no licence"), "{e}");
    };
    // Submitted before or after it is known.
    match pool.submit(square, 1) {
        Ok(task) => is_why(task.get_timeout(LONG).unwrap_err()),
        Err(e) => is_why(e),
    }
    is_why(pool.map(square, 0..10).unwrap_err());
    is_why(pool.apply(square, 1).unwrap_err());
    pool.close();
    is_why(pool.join().unwrap_err());
    assert!(pool.pids().is_empty());
    assert!(counters[0].load(Ordering::Relaxed) <= 6);
}

fn exit_at_begin(counters: Atomics<AtomicU64>) {
    counters[0].fetch_add(1, Ordering::Relaxed);
    std::process::exit(3);
}

#[test]
fn workers_that_die_before_they_are_ready_are_not_replaced_for_ever() {
    let counters = counters(1);
    let pool = Pool::builder()
        .workers(2)
        .initializer_with(exit_at_begin, counters.clone())
        .build()
        .unwrap();
    let failed = pool
        .submit(square, 1)
        .and_then(|task| task.get_timeout(LONG));
    let Err(Error::InitializerFailed(why)) = failed else {
        panic!("{failed:?}");
    };
    assert!(
        matches!(*why, Error::Exited { code: Some(3), .. }),
        "{why:?}"
    );
    drop(pool);
    let begun = counters[0].load(Ordering::Relaxed);
    assert!((15..=20).contains(&begun), "{begun}");
}

#[test]
fn a_worker_that_came_later_has_what_the_first_ones_have() {
    fn state(_: u64) -> (String, String) {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let blocked = status.lines().find(|line| line.starts_with("SigBlk"));
        let stdin = std::io::read_to_string(std::io::stdin()).unwrap();
        (blocked.unwrap().to_owned(), stdin)
    }
    let pool = Pool::builder()
        .workers(1)
        .max_tasks_per_worker(1)
        .build()
        .unwrap();
    let states = pool.map(state, 0..4).unwrap();
    assert!(states.iter().all(|state| *state == states[0]), "{states:?}");
    assert_eq!(states[0].1, "");
}

/// In a child: a pool of more workers than it may have descriptors for.
pub(crate) fn have_no_descriptors(_: &[String]) {
    let few = libc::rlimit {
        rlim_cur: 40,
        rlim_max: 40,
    };
    // SAFETY: plain system call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &few) }, 0);
    let refused = Pool::new(100).map(drop).unwrap_err();
    assert!(matches!(refused, Error::Io(_)), "{refused:?}");
    assert!(commonhold::process::active_children().is_empty());
    assert_eq!(Pool::new(2).unwrap().apply(square, 3).unwrap(), 9);
}

#[test]
fn a_pool_for_which_there_is_no_room_is_an_error_and_leaves_no_worker() {
    Child::start("have_no_descriptors", &[]).finish();
}

#[test]
fn a_pool_of_no_number_has_a_worker_for_each_core() {
    let pool = Pool::builder().build().unwrap();
    let cores = std::thread::available_parallelism().unwrap().get();
    assert_eq!((pool.workers(), pool.pids().len()), (cores, cores));
}

#[test]
fn a_pool_of_nothing_is_an_error() {
    for builder in [
        Pool::builder().workers(0),
        Pool::builder().workers(1001),
        Pool::builder().workers(1).max_tasks_per_worker(0),
        Pool::builder().workers(1).deadline(Duration::ZERO),
    ] {
        assert!(matches!(builder.build(), Err(Error::InvalidArgument(_))));
    }
}
