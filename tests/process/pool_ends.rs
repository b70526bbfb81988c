//! Pools: how they end.

use crate::pool::{LONG, counters, event, pid, square};
use crate::support::{Forked, eventually, forks_are_noticed};
use commonhold::process::Pool;
use commonhold::{Atomics, Error, Event};
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

fn wait_for((event, counters): (Event, Atomics<AtomicU64>)) {
    counters[0].fetch_add(1, Ordering::Relaxed);
    event.wait().unwrap();
    counters[1].fetch_add(1, Ordering::Relaxed);
}

#[test]
fn a_closed_pool_refuses_new_calls_and_ends_those_that_were_begun() {
    let pool = Pool::new(2).unwrap();
    let tasks: Vec<_> = (0..300).map(|n| pool.submit(square, n).unwrap()).collect();
    let mut begun = pool.imap(square, 0..1000).chunk_size(1);
    assert_eq!(begun.next().unwrap().unwrap(), 0);
    pool.close();
    pool.close();
    assert!(matches!(pool.submit(square, 1), Err(Error::Closed)));
    assert!(matches!(pool.apply(square, 1), Err(Error::Closed)));
    assert!(matches!(pool.map(square, [1]), Err(Error::Closed)));
    let mut refused = pool.imap(square, [1, 2]);
    assert!(matches!(refused.next(), Some(Err(Error::Closed))));
    assert!(refused.next().is_none());
    assert_eq!(begun.map(Result::unwrap).count(), 999);
    for (n, task) in (0..).zip(&tasks) {
        assert_eq!(task.get().unwrap(), square(n));
    }
    pool.join().unwrap();
}

#[test]
fn join_waits_for_all_that_was_submitted_and_the_results_stay() {
    let pool = Pool::new(2).unwrap();
    assert!(matches!(pool.join(), Err(Error::InvalidArgument(_))));
    let counters = counters(2);
    let opened = event();
    opened.set();
    for _ in 0..200 {
        pool.submit(wait_for, (opened.clone(), counters.clone()))
            .unwrap();
    }
    let kept = pool.submit(square, 11).unwrap();
    let mut rest = pool.imap(square, 0..).chunk_size(1);
    rest.next().unwrap().unwrap();
    pool.close();
    pool.join().unwrap();
    pool.join().unwrap();
    assert_eq!(counters[1].load(Ordering::Relaxed), 200);
    assert!(pool.pids().is_empty());
    assert_eq!(kept.get().unwrap(), 121);
    // It draws no more: what it had drawn is there, and then the reason.
    let closed = rest.position(|result| matches!(result, Err(Error::Closed)));
    assert!(closed.is_some_and(|n| n <= 256), "{closed:?}");
    drop(rest);
    drop(pool);
    assert!(kept.is_ready() && !kept.cancel());
}

#[test]
fn a_join_of_a_pool_without_patience_leaves_it_as_it_is() {
    let pool = Pool::new(1).unwrap();
    let brief = Duration::from_millis(50);
    let refused = pool.join_timeout(brief);
    assert!(matches!(refused, Err(Error::InvalidArgument(_))));
    let (opens, counters) = (event(), counters(2));
    let task = pool.submit(wait_for, (opens.clone(), counters.clone()));
    pool.close();
    assert!(matches!(pool.try_join(), Err(Error::WouldBlock)));
    let start = Instant::now();
    assert!(matches!(pool.join_timeout(brief), Err(Error::Timeout)));
    assert!(start.elapsed() >= brief);
    opens.set();
    task.unwrap().get_timeout(LONG).unwrap();
    assert_eq!(counters[1].load(Ordering::Relaxed), 1);
    pool.join_timeout(LONG).unwrap();
    pool.try_join().unwrap();
    assert!(pool.pids().is_empty());
}

#[test]
fn a_pool_that_is_dropped_waits_for_what_was_submitted() {
    let pool = Pool::new(2).unwrap();
    let (opened, counters) = (event(), counters(2));
    for _ in 0..100 {
        pool.submit(wait_for, (opened.clone(), counters.clone()))
            .unwrap();
    }
    std::thread::scope(|s| {
        let drops = s.spawn(|| drop(pool));
        eventually(LONG, "both are at work", || {
            counters[0].load(Ordering::Relaxed) == 2
        });
        assert!(!drops.is_finished());
        opened.set();
        drops.join().unwrap();
    });
    assert_eq!(counters[1].load(Ordering::Relaxed), 100);
}

#[test]
fn a_pool_that_is_dropped_by_a_panic_kills_its_workers() {
    let (never, counters) = (event(), counters(2));
    let start = Instant::now();
    let mut task = None;
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let pool = Pool::new(2).unwrap();
        task = Some(
            pool.submit(wait_for, (never.clone(), counters.clone()))
                .unwrap(),
        );
        eventually(LONG, "it runs", || counters[0].load(Ordering::Relaxed) == 1);
        panic!("on the way");
    }));
    assert!(panicked.is_err() && start.elapsed() < LONG);
    assert!(matches!(task.unwrap().get(), Err(Error::Cancelled)));
}

#[test]
fn ten_thousand_queued_tasks_are_terminated_at_once() {
    let pool = Pool::new(2).unwrap();
    let (never, counters) = (event(), counters(2));
    let tasks: Vec<_> = (0..10_000)
        .map(|_| {
            pool.submit(wait_for, (never.clone(), counters.clone()))
                .unwrap()
        })
        .collect();
    eventually(LONG, "they run", || {
        counters[0].load(Ordering::Relaxed) == 2
    });
    let pids = pool.pids();
    let start = Instant::now();
    pool.terminate();
    for task in &tasks {
        assert!(matches!(task.get(), Err(Error::Cancelled)));
    }
    pool.join().unwrap();
    let took = start.elapsed();
    assert!(took < LONG, "{took:?}");
    for pid in pids {
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
    assert!(matches!(pool.submit(square, 1), Err(Error::Cancelled)));
    assert_eq!(counters[0].load(Ordering::Relaxed), 2);
}

#[test]
fn terminate_ends_a_pool_of_dead_stopped_and_stubborn_workers() {
    let stubborn = |args| {
        // SAFETY: no handler is set.
        unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
        wait_for(args);
    };
    let pool = Pool::new(3).unwrap();
    let (never, counters) = (event(), counters(2));
    let submit = || pool.submit(stubborn, (never.clone(), counters.clone()));
    let tasks: Vec<_> = (0..5).map(|_| submit().unwrap()).collect();
    eventually(LONG, "they run", || {
        counters[0].load(Ordering::Relaxed) == 3
    });
    let pids = pool.pids();
    for (pid, signal) in pids.iter().zip([libc::SIGKILL, libc::SIGSTOP]) {
        // SAFETY: plain system call; the pool has not let go of its workers.
        assert_eq!(unsafe { libc::kill(*pid as libc::pid_t, signal) }, 0);
    }
    pool.terminate();
    for task in &tasks {
        match task.get_timeout(LONG) {
            // The death was found before the pool ended.
            Err(Error::WorkerDied { signal, .. }) => assert_eq!(signal, Some(libc::SIGKILL)),
            other => assert!(matches!(other, Err(Error::Cancelled)), "{other:?}"),
        }
    }
    pool.join().unwrap();
    for pid in pids {
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
    assert_eq!(counters[1].load(Ordering::Relaxed), 0);
}

#[test]
fn terminate_ends_the_iterators_of_other_threads() {
    let pool = Pool::new(2).unwrap();
    let counters = counters(2);
    std::thread::scope(|s| {
        let waits = s.spawn(|| {
            let items = std::iter::repeat((event(), counters.clone()));
            pool.for_each(wait_for, items)
        });
        eventually(LONG, "it runs", || counters[0].load(Ordering::Relaxed) > 0);
        pool.terminate();
        assert!(matches!(waits.join().unwrap(), Err(Error::Cancelled)));
    });
}

#[test]
fn a_task_that_waits_is_cancelled_and_one_that_runs_is_not() {
    let pool = Pool::new(1).unwrap();
    let (opened, counters) = (event(), counters(2));
    let runs = pool
        .submit(wait_for, (opened.clone(), counters.clone()))
        .unwrap();
    eventually(LONG, "it runs", || counters[0].load(Ordering::Relaxed) == 1);
    // Some are on the board, and some wait for room there.
    let queued: Vec<_> = (0..300)
        .map(|_| {
            pool.submit(wait_for, (opened.clone(), counters.clone()))
                .unwrap()
        })
        .collect();
    let last = pool.submit(square, 3).unwrap();
    assert!(!runs.cancel());
    for task in &queued {
        assert!(task.cancel() && task.is_ready());
        assert!(!task.cancel());
        assert!(matches!(task.get(), Err(Error::Cancelled)));
    }
    opened.set();
    assert_eq!(last.get().unwrap(), 9);
    runs.get().unwrap();
    assert!(!last.cancel() && !runs.cancel());
    drop(pool);
    assert_eq!(counters[1].load(Ordering::Relaxed), 1);
}

#[test]
fn two_hundred_workers_work_and_go() {
    let pool = Pool::new(200).unwrap();
    assert_eq!(pool.workers(), 200);
    let workers: HashSet<u32> = pool.pids().into_iter().collect();
    assert_eq!(workers.len(), 200);
    let counters = counters(2);
    let opened = event();
    // All at once: each worker has one.
    let tasks: Vec<_> = (0..200)
        .map(|_| {
            pool.submit(wait_for, (opened.clone(), counters.clone()))
                .unwrap()
        })
        .collect();
    eventually(LONG, "all are at work", || {
        counters[0].load(Ordering::Relaxed) == 200
    });
    opened.set();
    for task in &tasks {
        task.get().unwrap();
    }
    let worked: HashSet<u32> = pool.map(pid, 0..2000).unwrap().into_iter().collect();
    assert!(worked.is_subset(&workers));
    drop(pool);
    for pid in workers {
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
}

#[test]
fn a_forked_child_has_no_pool_and_can_make_one() {
    if !forks_are_noticed() {
        return;
    }
    let pool = Pool::new(1).unwrap();
    let held = event();
    let task = pool
        .submit(|e: Event| e.wait().is_ok(), held.clone())
        .unwrap();
    let mut squares = pool.imap(square, 0..);
    let child = Forked::start(|| {
        assert!(matches!(task.get(), Err(Error::InvalidArgument(_))));
        assert!(matches!(
            squares.next(),
            Some(Err(Error::InvalidArgument(_)))
        ));
        assert!(squares.next().is_none() && pool.pids().is_empty());
        assert!(matches!(
            pool.submit(square, 1),
            Err(Error::InvalidArgument(_))
        ));
        assert!(matches!(pool.join(), Err(Error::InvalidArgument(_))));
        pool.terminate();
        pool.close();
        assert!(!task.cancel());
        let own = Pool::new(1).unwrap();
        assert_eq!(own.apply(square, 4).unwrap(), 16);
    });
    child.finish();
    held.set();
    assert!(task.get().unwrap());
    assert_eq!(pool.apply(square, 5).unwrap(), 25);
}
