//! Futures whose peers are killed, that are forked, and that come to an end.

use crate::cancelled::{comes, flag};
use crate::support::{
    self, Child, Forked, LIMIT, Name, eventually, forbid, listen, tell, wait_to_be_killed,
};
use crate::{
    Counted, alone, anonymous, driver, has_driver, in_time, in_two_threads, on_each, within,
};
use commonhold::{Error, Event, Mutex, Queue, Segment, SegmentOptions, Semaphore};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

pub(crate) fn lock_and_wait(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let mutex = Mutex::<u64>::open(&seg, "mutex").unwrap();
    let _held = mutex.lock().unwrap();
    tell("held");
    wait_to_be_killed();
}

#[test]
fn a_killed_holder_is_found_by_all_who_wait_for_its_lock() {
    let name = Name::new("lock");
    let seg = Segment::create(&name, 1 << 16).unwrap();
    let mutex = Mutex::create(&seg, "mutex", 0u64).unwrap();
    on_each(|runtime| {
        // Soon, and when those who wait ask no more by themselves.
        for after in [0, 150] {
            let mut child = Child::start("lock_and_wait", &[&name]);
            child.expect("held");
            runtime.block_on(async {
                let mut tasks = JoinSet::new();
                for _ in 0..100 {
                    let mutex = mutex.clone();
                    tasks.spawn(async move { mutex.lock_async().await.map(drop) });
                }
                tokio::time::sleep(Duration::from_millis(after)).await;
                child.kill();
                for result in in_time(tasks.join_all()).await {
                    assert!(matches!(result, Err(Error::Poisoned)));
                }
            });
            drop(mutex.recover().unwrap());
        }
    });
}

pub(crate) fn hold_permits(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let semaphore = Semaphore::open(&seg, "semaphore").unwrap();
    let _permits = [(); 2].map(|()| semaphore.acquire().unwrap());
    tell("held");
    wait_to_be_killed();
}

#[test]
fn permits_of_the_dead_come_back() {
    let name = Name::new("permits");
    let seg = Segment::create(&name, 1 << 16).unwrap();
    let semaphore = Semaphore::create(&seg, "semaphore", 2).unwrap();
    on_each(|runtime| {
        let mut child = Child::start("hold_permits", &[&name]);
        child.expect("held");
        runtime.block_on(async {
            let mut tasks = JoinSet::new();
            for _ in 0..10 {
                let semaphore = semaphore.clone();
                tasks.spawn(async move { semaphore.acquire_async().await.map(drop) });
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            child.kill();
            for result in in_time(tasks.join_all()).await {
                result.unwrap();
            }
        });
    });
}

/// In a process of its own, where no other test's futures wait: at rest it uses no time, and at the end nothing is left.
pub(crate) fn come_to_rest(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let queue = Queue::<u64>::open(&seg, "queue").unwrap();
    let runtime = in_two_threads();
    let tasks = runtime.block_on(async {
        let mut tasks = JoinSet::new();
        let polls = Arc::new(AtomicUsize::new(0));
        for _ in 0..1000 {
            let (queue, polls) = (queue.clone(), polls.clone());
            tasks.spawn(async move { Counted(queue.recv_async(), polls).await });
        }
        while polls.load(Ordering::Relaxed) < 1000 {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        let at = driver(std::process::id()).expect("there is one");
        // Nanoseconds on a processor.
        let used = || {
            let stat = std::fs::read_to_string(at.join("schedstat")).unwrap();
            stat.split(' ').next().unwrap().parse::<u64>().unwrap()
        };
        let begin = Instant::now();
        let percent = loop {
            let (start, before) = (Instant::now(), used());
            tokio::time::sleep(Duration::from_millis(500)).await;
            let percent = (used() - before) as f64 / start.elapsed().as_nanos() as f64 * 100.0;
            // It comes to rest at last.
            if percent < AT_REST || begin.elapsed() > LIMIT {
                break percent;
            }
        };
        tell(&format!("{percent:.2}"));
        tasks
    });
    drop((queue, seg));
    drop(tasks);
    drop(runtime);
    tell("dropped");
    eventually(LIMIT, "the thread ends", || !has_driver());
    listen();
}

/// What a driver uses at the most that has nothing to do, in hundredths of a processor.
const AT_REST: f64 = 2.0;

#[test]
fn a_driver_at_rest_uses_no_time_and_leaves_nothing_behind() {
    // A slow machine may keep us from seeing it, but not each time.
    let found = (0..5).any(|_| a_driver_at_rest_gives_the_segment_up_before_it_ends());
    assert!(found, "the segment is given up when the thread ends");
}

fn a_driver_at_rest_gives_the_segment_up_before_it_ends() -> bool {
    let name = Name::new("rest");
    let seg = Segment::create(&name, 1 << 16).unwrap();
    let _queue = Queue::<u64>::create(&seg, "queue", 4).unwrap();
    let mut child = Child::start("come_to_rest", &[&name]);
    let percent: f64 = child.hear().parse().unwrap();
    eprintln!("the driver of 1,000 futures at rest: {percent} % of a core");
    assert!(percent < AT_REST, "{percent} %");
    child.expect("dropped");
    // Once no future is left, the segment is given up, also by the driver, which lingers.
    let mut lingers = true;
    eventually(LIMIT, "it is no member any more", || {
        lingers = driver(child.pid()).is_some();
        seg.members().len() == 1
    });
    child.say("go");
    child.finish();
    lingers
}

/// Where no thread can be started.
pub(crate) fn wait_without_a_driver(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let queue = Queue::<u64>::open(&seg, "queue").unwrap();
    if !forbid(libc::SYS_clone3, libc::ENOSYS) || !forbid(libc::SYS_clone, libc::EAGAIN) {
        eprintln!("SKIPPED: no filter for system calls here");
        return tell("skipped");
    }
    let mut cx = Context::from_waker(Waker::noop());
    let refused = Box::pin(queue.recv_async()).as_mut().poll(&mut cx);
    assert!(
        matches!(refused, Poll::Ready(Err(Error::Io(_)))),
        "{refused:?}"
    );
    drop((queue, seg));
    tell("dropped");
    listen();
}

#[test]
fn a_driver_that_can_not_be_started_keeps_no_segment() {
    let name = Name::new("no-driver");
    let seg = Segment::create(&name, 1 << 16).unwrap();
    let _queue = Queue::<u64>::create(&seg, "queue", 4).unwrap();
    let mut child = Child::start("wait_without_a_driver", &[&name]);
    if child.hear() == "dropped" {
        assert_eq!(seg.members().len(), 1);
        child.say("go");
    }
    child.finish();
}

pub(crate) fn serve_after_a_fork(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let queue = Queue::<u64>::open(&seg, "queue").unwrap();
    let mut inherited = Box::pin(queue.recv_async());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(inherited.as_mut().poll(&mut cx).is_pending());
    eventually(LIMIT, "the driver is there", has_driver);
    let child = Forked::start(|| {
        assert!(!has_driver());
        // To drop what it inherited does nothing; its own futures have a driver of their own.
        drop(inherited);
        let runtime = alone();
        let got = runtime.block_on(within(LIMIT, queue.recv_async()));
        assert_eq!(got.unwrap(), 5);
    });
    eventually(LIMIT, "the child has a driver, too", || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", child.0));
        tasks.is_ok_and(|t| t.count() == 2)
    });
    queue.send(5).unwrap();
    child.finish();
    tell("served");
}

#[test]
fn a_forked_child_has_a_driver_of_its_own() {
    if !support::forks_are_noticed() {
        return;
    }
    let name = Name::new("fork");
    let seg = Segment::create(&name, 1 << 16).unwrap();
    let _queue = Queue::<u64>::create(&seg, "queue", 4).unwrap();
    let mut child = Child::start("serve_after_a_fork", &[&name]);
    child.expect("served");
    child.finish();
}

/// The next child begins a pid namespace, and has the pid 1 there. Whether that is allowed.
fn into_a_new_namespace() -> bool {
    // SAFETY: plain system call.
    unsafe { libc::unshare(libc::CLONE_NEWPID) == 0 }
}

pub(crate) fn serve_after_a_fork_into_a_namespace(args: &[String]) {
    if !into_a_new_namespace() {
        return tell("not allowed");
    }
    let serve = || {
        let seg = Segment::open(&args[0]).unwrap();
        let queue = Queue::<u64>::open(&seg, "queue").unwrap();
        let mut inherited = Box::pin(queue.recv_async());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(inherited.as_mut().poll(&mut cx).is_pending());
        assert!(into_a_new_namespace());
        let both = std::process::id();
        let child = Forked::start(|| {
            assert_eq!(std::process::id(), both);
            drop(inherited);
            let (woken, waker) = flag();
            let mut wait = Box::pin(queue.recv_async());
            let mut cx = Context::from_waker(&waker);
            assert!(wait.as_mut().poll(&mut cx).is_pending());
            queue.send(5).unwrap();
            comes(&woken);
            assert!(matches!(wait.as_mut().poll(&mut cx), Poll::Ready(Ok(5))));
        });
        child.finish();
    };
    Forked::start(serve).finish();
    tell("served");
}

/// As the first process of a container has, which may start a container of its own.
#[test]
fn a_forked_child_with_the_same_pid_has_a_driver_of_its_own() {
    if !support::forks_are_noticed() {
        return;
    }
    let name = Name::new("namespace");
    let seg = Segment::create(&name, 1 << 16).unwrap();
    let _queue = Queue::<u64>::create(&seg, "queue", 4).unwrap();
    let mut child = Child::start("serve_after_a_fork_into_a_namespace", &[&name]);
    match child.hear().as_str() {
        "served" => {}
        said => eprintln!("SKIPPED: a new pid namespace is {said} here"),
    }
    child.finish();
}

#[test]
fn who_waits_in_a_region_that_is_lost_is_told() {
    let name = Name::new("lost");
    drop(Segment::create(&name, 1 << 16).unwrap());
    let seg = SegmentOptions::new()
        .guard_truncation(true)
        .open(&name)
        .unwrap();
    let queue = Queue::<u64>::create(&seg, "queue", 4).unwrap();
    let mutex = Mutex::create(&seg, "mutex", 0u64).unwrap();
    let event = Event::create(&anonymous(), "event").unwrap();
    alone().block_on(async {
        let held = mutex.lock().unwrap();
        let mut waits = Box::pin(async {
            tokio::join!(queue.recv_async(), async {
                mutex.lock_async().await.map(drop)
            })
        });
        let short = Duration::from_millis(30);
        assert!(tokio::time::timeout(short, &mut waits).await.is_err());
        let file = std::fs::OpenOptions::new().write(true).open(name.path());
        file.unwrap().set_len(0).unwrap();
        let (received, locked) = in_time(&mut waits).await;
        assert!(matches!(received, Err(Error::Corrupt)), "{received:?}");
        assert!(matches!(locked, Err(Error::Corrupt)), "{locked:?}");
        drop(held);
        // Others are not held up.
        event.set();
        in_time(event.wait_async()).await.unwrap();
    });
}
