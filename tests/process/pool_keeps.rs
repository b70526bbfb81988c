//! What a pool keeps: nothing. Each test runs in a process of its own, where nobody else opens or allocates anything.

use crate::pool::{LONG, event, square};
use crate::support::{Child, eventually};
use commonhold::Event;
use commonhold::process::Pool;
use std::os::unix::fs::MetadataExt;

/// Open descriptors.
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// MiB of memory that a process has, without what it shares.
fn mib(pid: u32) -> usize {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    let mut pages = statm
        .split(' ')
        .skip(1)
        .map(|n| n.parse::<usize>().unwrap());
    let (resident, shared) = (pages.next().unwrap(), pages.next().unwrap());
    (resident - shared) / 256
}

/// Blocks that the pool's file for long values takes.
fn spilled() -> u64 {
    let is_spill = |path: &std::path::Path| {
        let file = std::fs::read_link(path).unwrap_or_default();
        file.to_string_lossy().contains("commonhold-spill")
    };
    let all = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let spills = all.map(|fd| fd.path()).filter(|path| is_spill(path));
    spills
        .map(|path| std::fs::metadata(path).unwrap().blocks())
        .sum()
}

pub(crate) fn keep_no_tasks(_: &[String]) {
    let pool = Pool::new(2).unwrap();
    let state = || {
        let workers: usize = pool.pids().into_iter().map(mib).sum();
        (descriptors(), mib(std::process::id()), workers)
    };
    let run = |n| {
        for result in pool.imap_unordered(square, 0..n).chunk_size(1) {
            result.unwrap();
        }
        for n in 0..n / 10 {
            pool.submit(square, n).unwrap();
        }
        pool.apply(square, 1).unwrap();
    };
    run(10_000);
    let before = state();
    run(100_000);
    let after = state();
    assert_eq!(before.0, after.0, "descriptors");
    assert!(
        after.1 <= before.1 + 8,
        "here: {} and {} MiB",
        before.1,
        after.1
    );
    assert!(
        after.2 <= before.2 + 8,
        "in the workers: {} and {} MiB",
        before.2,
        after.2
    );
}

#[test]
fn a_hundred_thousand_tasks_leave_no_descriptor_and_no_memory() {
    Child::start("keep_no_tasks", &[]).finish();
}

pub(crate) fn keep_no_long_values(_: &[String]) {
    const LENGTH: usize = 4 << 20;
    let pool = Pool::new(2).unwrap();
    for _ in 0..30 {
        let echoed = pool.apply(|text: String| text, "x".repeat(LENGTH)).unwrap();
        assert_eq!(echoed.len(), LENGTH);
    }
    // The result is given before its slot is released.
    eventually(LONG, "the room is given back", || spilled() == 0);
    assert!(mib(std::process::id()) < 60);
}

#[test]
fn the_room_that_long_values_took_is_given_back() {
    Child::start("keep_no_long_values", &[]).finish();
}

pub(crate) fn keep_no_workers(_: &[String]) {
    drop(Pool::new(1).unwrap());
    let before = descriptors();
    for _ in 0..20 {
        let pool = Pool::new(3).unwrap();
        let pids = pool.pids();
        pool.map(square, 0..10).unwrap();
        drop(pool);
        for pid in pids {
            assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
        }
    }
    // The threads that saw to the last pool may still be at their end.
    eventually(LONG, "as many descriptors", || descriptors() <= before);
}

#[test]
fn a_dropped_pool_leaves_no_worker_no_zombie_and_no_descriptor() {
    Child::start("keep_no_workers", &[]).finish();
}

/// As many descriptors for each worker, whatever is queued.
pub(crate) fn keep_few_descriptors(_: &[String]) {
    let event = event();
    let before = descriptors();
    let pool = Pool::new(10).unwrap();
    let held: Vec<_> = (0..5000)
        .map(|_| {
            pool.submit(|e: Event| e.wait().is_ok(), event.clone())
                .unwrap()
        })
        .collect();
    let most = before + 10 * 3 + 10;
    assert!(descriptors() <= most, "{before}, then {}", descriptors());
    event.set();
    assert!(held.iter().all(|task| task.get().unwrap()));
}

#[test]
fn the_descriptors_are_as_many_as_the_workers_not_as_the_tasks() {
    Child::start("keep_few_descriptors", &[]).finish();
}
