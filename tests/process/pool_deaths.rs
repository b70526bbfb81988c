//! Pools: workers that die, in each way, at each moment.

use crate::pool::{LONG, counters, event, pid, square};
use crate::support::{Child, Random, eventually, tell, wait_to_be_killed};
use commonhold::process::Pool;
use commonhold::{Atomics, Error, Event};
use std::sync::atomic::{AtomicU64, Ordering};

/// Ends its process in this way.
fn die(how: u64) -> u64 {
    match how {
        0 => raise(libc::SIGKILL),
        1 => std::process::abort(),
        2 => std::process::exit(0),
        3 => std::process::exit(3),
        4 => overflow(&[0; 1000]),
        5 => out_of_memory(),
        6 => raise(libc::SIGSEGV),
        // SAFETY: nothing of this process goes on.
        7 => unsafe { libc::_exit(0) },
        _ => how,
    }
}

/// How many ways there are, and the signal of each.
const WAYS: [Option<i32>; 8] = [
    Some(libc::SIGKILL),
    Some(libc::SIGABRT),
    None,
    None,
    // What makes an abort of it is set up by main, which the harness has.
    Some(libc::SIGSEGV),
    Some(libc::SIGABRT),
    Some(libc::SIGSEGV),
    None,
];

fn raise(signal: i32) -> u64 {
    // SAFETY: the default action, which ends this process.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::kill(libc::getpid(), signal);
    }
    unreachable!("the signal ends it")
}

#[allow(unconditional_recursion)]
fn overflow(frame: &[u8; 1000]) -> u64 {
    let mut next = [1; 1000];
    next[0] = frame[1];
    overflow(std::hint::black_box(&next)) + u64::from(next[2])
}

fn out_of_memory() -> u64 {
    let limit = libc::rlimit {
        rlim_cur: 1 << 28,
        rlim_max: 1 << 28,
    };
    // SAFETY: plain system call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
    let all: Vec<Vec<u8>> = (0..1 << 20).map(|_| vec![1; 1 << 20]).collect();
    all.len() as u64
}

fn is_death(result: Result<u64, Error>, of: u64, by: Option<i32>) {
    match result {
        Err(Error::WorkerDied { task, signal }) => assert_eq!((task, signal), (of, by)),
        other => panic!("task {of}: {other:?}"),
    }
}

#[test]
fn a_worker_that_dies_in_whatever_way_costs_its_task_and_is_replaced() {
    let pool = Pool::new(2).unwrap();
    for (how, signal) in (0..).zip(WAYS) {
        let task = pool.submit(die, how).unwrap();
        is_death(task.get(), task.id(), signal);
        let text = task.get().unwrap_err().to_string();
        assert!(text.contains(&format!("task {}", task.id())), "{text}");
        assert_eq!(pool.map(square, 0..20).unwrap().len(), 20);
    }
    eventually(LONG, "the workers are replaced", || pool.pids().len() == 2);
}

fn count_and_die((runs, n, dies): (Atomics<AtomicU64>, u64, bool)) -> u64 {
    runs[n as usize].fetch_add(1, Ordering::Relaxed);
    if dies { die(0) } else { n }
}

#[test]
fn the_rest_of_a_group_runs_once_when_one_item_kills_its_worker() {
    let pool = Pool::new(2).unwrap();
    let runs = counters(300);
    let dies = |n| n % 50 == 33;
    let items = (0..300).map(|n| (runs.clone(), n, dies(n)));
    for (n, result) in (0..).zip(pool.imap(count_and_die, items).chunk_size(100)) {
        match dies(n) {
            true => is_death(result, n, Some(libc::SIGKILL)),
            false => assert_eq!(result.unwrap(), n),
        }
    }
    assert!(runs.iter().all(|n| n.load(Ordering::Relaxed) == 1));
}

fn die_at_first((runs, times): (Atomics<AtomicU64>, u64)) -> u64 {
    let run = runs[0].fetch_add(1, Ordering::SeqCst);
    if run < times { die(run % 4) } else { run }
}

#[test]
fn a_task_is_run_again_as_often_as_the_retries_allow() {
    let pool = Pool::builder().workers(2).retries(3).build().unwrap();
    let runs = counters(1);
    assert_eq!(pool.apply(die_at_first, (runs.clone(), 3)).unwrap(), 3);
    let runs = counters(1);
    let task = pool.submit(die_at_first, (runs.clone(), 99)).unwrap();
    // The fourth run exits with code 3.
    is_death(task.get(), task.id(), None);
    assert_eq!(runs[0].load(Ordering::SeqCst), 4);
}

#[test]
fn a_panic_is_not_run_again() {
    fn count_and_panic(runs: Atomics<AtomicU64>) {
        runs[0].fetch_add(1, Ordering::Relaxed);
        panic!("once");
    }
    let pool = Pool::builder().workers(1).retries(5).build().unwrap();
    let runs = counters(1);
    let panicked = pool.apply(count_and_panic, runs.clone());
    assert!(matches!(panicked, Err(Error::Panicked { .. })));
    assert_eq!(runs[0].load(Ordering::Relaxed), 1);
}

fn say_pid_and_wait((runs, event): (Atomics<AtomicU64>, Event)) -> bool {
    runs[0].store(std::process::id().into(), Ordering::SeqCst);
    event.wait().is_ok()
}

fn kill(pid: u32) {
    // SAFETY: plain system call, on a worker of ours.
    unsafe { libc::kill(pid as i32, libc::SIGKILL) };
}

#[test]
fn a_worker_that_is_killed_from_outside_costs_its_task_alone() {
    let pool = Pool::new(2).unwrap();
    let (at, held) = (counters(1), event());
    let task = pool.submit(say_pid_and_wait, (at.clone(), held)).unwrap();
    eventually(LONG, "it runs", || at[0].load(Ordering::SeqCst) != 0);
    let others: Vec<_> = (0..100).map(|n| pool.submit(square, n).unwrap()).collect();
    kill(at[0].load(Ordering::SeqCst) as u32);
    assert!(matches!(
        task.get_timeout(LONG),
        Err(Error::WorkerDied {
            signal: Some(9),
            ..
        })
    ));
    for (n, task) in (0..).zip(others) {
        assert_eq!(task.get().unwrap(), square(n));
    }
}

#[test]
fn idle_workers_that_are_killed_again_and_again_are_replaced() {
    let pool = Pool::new(2).unwrap();
    for _ in 0..20 {
        let before = pool.apply(pid, 0).unwrap();
        kill(before);
        eventually(LONG, "another has its place", || {
            let pids = pool.pids();
            pids.len() == 2 && !pids.contains(&before)
        });
    }
    assert_eq!(pool.map(square, 0..10).unwrap().len(), 10);
}

#[test]
fn a_worker_whose_task_exits_in_another_thread_is_replaced() {
    fn exit_aside(_: ()) {
        std::thread::spawn(|| std::process::exit(5)).join().unwrap();
    }
    let pool = Pool::new(1).unwrap();
    assert!(matches!(
        pool.apply(exit_aside, ()),
        Err(Error::WorkerDied { signal: None, .. })
    ));
    assert_eq!(pool.apply(square, 3).unwrap(), 9);
}

/// In a child: a pool whose tasks do not end.
pub(crate) fn have_a_pool(_: &[String]) {
    let pool = Pool::new(3).unwrap();
    let (at, held) = (counters(1), event());
    for _ in 0..10 {
        pool.submit(say_pid_and_wait, (at.clone(), held.clone()))
            .unwrap();
    }
    let pids: Vec<String> = pool.pids().iter().map(u32::to_string).collect();
    tell(&pids.join(" "));
    wait_to_be_killed();
}

#[test]
fn a_killed_parent_leaves_no_worker() {
    let mut parent = Child::start("have_a_pool", &[]);
    let told = parent.hear();
    let pids: Vec<u32> = told.split(' ').map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(pids.len(), 3);
    parent.kill();
    let lives = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // Whoever adopts it may take a while to bury it.
        !stat.is_empty() && !stat.contains(") Z ")
    };
    eventually(LONG, "no worker lives", || !pids.iter().any(lives));
}

#[test]
fn workers_killed_at_random_lose_nothing_and_double_nothing() {
    const TASKS: u64 = 100_000;
    let kills = std::env::var("STORM_KILLS").map_or(40, |n| n.parse().unwrap());
    let pool = Pool::builder().workers(3).retries(1000).build().unwrap();
    let mut random = Random::new();
    let mut killed = 0;
    let mut sum = 0;
    let mut given = 0;
    for result in pool.imap_unordered(|n: u64| n + 1, 0..TASKS).chunk_size(7) {
        sum += result.unwrap();
        given += 1;
        // Spread over all tasks.
        if given * kills > killed * TASKS && killed < kills {
            let pids = pool.pids();
            if !pids.is_empty() {
                kill(pids[random.below(pids.len() as u64) as usize]);
                killed += 1;
            }
        }
    }
    assert_eq!((given, sum), (TASKS, (1..=TASKS).sum()));
    assert_eq!(killed, kills);
}

#[test]
fn tasks_that_are_submitted_while_workers_are_killed_have_one_result_each() {
    let kills = std::env::var("STORM_KILLS").map_or(30, |n| n.parse().unwrap());
    let pool = Pool::builder().workers(3).build().unwrap();
    let mut random = Random::new();
    let mut died = 0;
    for round in 0..kills {
        let tasks: Vec<_> = (0..300).map(|n| pool.submit(square, n).unwrap()).collect();
        let pids = pool.pids();
        if let Some(pid) = pids.get(random.below(3) as usize) {
            kill(*pid);
        }
        for (n, task) in (0..).zip(&tasks) {
            match task.get_timeout(LONG) {
                Ok(squared) => assert_eq!(squared, square(n)),
                Err(Error::WorkerDied {
                    task: id,
                    signal: Some(9),
                }) => {
                    assert_eq!(id, task.id());
                    died += 1;
                }
                Err(e) => panic!("round {round}: {e}"),
            }
        }
    }
    // Each kill costs one task at most.
    assert!(died <= kills, "{died} of {kills}");
}
