//! Futures on a runtime (tokio's): many on few threads, cancelled, killed, forked.
#![cfg(feature = "async")]

mod cancelled;
mod channels;
mod deaths;
mod rwlock;
#[path = "../support/mod.rs"]
mod support;

use channels::hold_channels;
use commonhold::{Error, Event, Mutex, Queue, Segment, SegmentOptions, Semaphore, Value};
use deaths::{
    come_to_rest, hold_permits, lock_and_wait, serve_after_a_fork,
    serve_after_a_fork_into_a_namespace, wait_without_a_driver,
};
use rwlock::read_or_write;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use support::{LIMIT, SHORT_OF_A_NAP};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

support::roles!(
    come_to_rest,
    hold_channels,
    hold_permits,
    lock_and_wait,
    serve_after_a_fork,
    serve_after_a_fork_into_a_namespace,
    read_or_write,
    wait_without_a_driver,
);

/// What all that a test does may take.
const LONG: Duration = LIMIT.saturating_mul(4);

/// The test's own thread does it all.
fn alone() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

fn in_two_threads() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).enable_time().build().unwrap()
}

/// On both kinds of runtime.
fn on_each(f: impl Fn(&Runtime)) {
    f(&alone());
    f(&in_two_threads());
}

async fn within<R>(limit: Duration, f: impl Future<Output = R>) -> R {
    tokio::time::timeout(limit, f).await.expect("too late")
}

/// Nobody is forgotten over it.
async fn in_time<R>(f: impl Future<Output = R>) -> R {
    within(SHORT_OF_A_NAP, f).await
}

fn anonymous() -> Segment {
    Segment::anonymous(1 << 20).unwrap()
}

/// Tells the number of polls.
struct Counted<F>(F, Arc<AtomicUsize>);

impl<F: Future + Unpin> Future for Counted<F> {
    type Output = F::Output;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.0).poll(cx)
    }
}

/// Whether this process has a thread that waits for its futures.
fn has_driver() -> bool {
    driver(std::process::id()).is_some()
}

/// The directory in /proc of a process's thread that waits for its futures.
fn driver(pid: u32) -> Option<std::path::PathBuf> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.flatten().map(|t| t.path()).find(|path| {
        // The kernel keeps 15 bytes of a name.
        let name = std::fs::read_to_string(path.join("comm"));
        name.is_ok_and(|n| n.trim_end() == "commonhold-asyn")
    })
}

#[test]
fn what_is_there_is_had_at_once_and_what_is_not_when_it_comes() {
    on_each(|runtime| {
        let seg = anonymous();
        let queue = Queue::create(&seg, "queue", 1).unwrap();
        let semaphore = Semaphore::create(&seg, "semaphore", 1).unwrap();
        let mutex = Mutex::create(&seg, "mutex", 0u64).unwrap();
        let value = Value::create(&seg, "value", 0u64).unwrap();
        let auto = Event::create_auto_reset(&seg, "auto").unwrap();
        runtime.block_on(within(LONG, async {
            // At once.
            queue.send_async(1).await.unwrap();
            assert_eq!(queue.recv_async().await.unwrap(), 1);
            let permit = semaphore.acquire_async().await.unwrap();
            auto.set();
            auto.wait_async().await.unwrap();
            assert!(!auto.is_set());
            *mutex.lock_async().await.unwrap() += 1;
            assert_eq!(value.wait_until_async(|n| *n == 0).await.unwrap(), 0);

            // Each waits for the one before.
            for _ in 0..100 {
                queue.send_async(2).await.unwrap();
                let (a, b, c, d, e) = tokio::join!(
                    async {
                        queue.send_async(3).await.unwrap();
                        value.update(|n| *n += 1).unwrap();
                    },
                    async {
                        let before = value.get().unwrap();
                        value.wait_until_async(|n| *n != before).await.unwrap();
                        auto.set();
                    },
                    async {
                        auto.wait_async().await.unwrap();
                        assert_eq!(queue.recv_async().await.unwrap(), 3);
                    },
                    async {
                        tokio::task::yield_now().await;
                        assert_eq!(queue.recv_async().await.unwrap(), 2);
                    },
                    async {
                        drop(tokio::time::timeout(Duration::ZERO, semaphore.acquire_async()).await)
                    },
                );
                let _: ((), (), (), (), ()) = (a, b, c, d, e);
            }
            drop(permit);
            drop(semaphore.acquire_async().await.unwrap());
        }));
    });
}

#[test]
fn who_waits_goes_on_though_the_event_is_cleared_at_once() {
    on_each(|runtime| {
        let seg = anonymous();
        let event = Event::create(&seg, "event").unwrap();
        runtime.block_on(async {
            for _ in 0..20 {
                let polls = Arc::new(AtomicUsize::new(0));
                let waits: Vec<_> = (0..10)
                    .map(|_| {
                        let (event, polls) = (event.clone(), polls.clone());
                        tokio::spawn(async move {
                            let mut wait = std::pin::pin!(event.wait_async());
                            let first =
                                std::future::poll_fn(|cx| Poll::Ready(wait.as_mut().poll(cx)))
                                    .await;
                            assert!(first.is_pending());
                            polls.fetch_add(1, Ordering::Relaxed);
                            wait.await
                        })
                    })
                    .collect();
                while polls.load(Ordering::Relaxed) < 10 {
                    tokio::task::yield_now().await;
                }
                event.set();
                event.clear();
                for wait in waits {
                    in_time(wait).await.unwrap().unwrap();
                }
            }
        });
    });
}

#[test]
fn a_thousand_that_wait_take_one_thread_and_one_item_wakes_one() {
    let seg = anonymous();
    let queue = Queue::create(&seg, "queue", 16).unwrap();
    on_each(|runtime| {
        const MANY: usize = 1000;
        let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
        let polls = Arc::new(AtomicUsize::new(0));
        runtime.block_on(async {
            let before = threads();
            let mut tasks = JoinSet::new();
            for _ in 0..MANY {
                let (queue, polls) = (queue.clone(), polls.clone());
                tasks.spawn(async move { Counted(queue.recv_async(), polls).await });
            }
            while polls.load(Ordering::Relaxed) < MANY {
                tokio::task::yield_now().await;
            }
            // Other tests of this process may start some, too.
            assert!(threads() < before + 50, "{} threads", threads());
            assert!(has_driver());
            let start = Instant::now();
            for n in 0..MANY {
                queue.send_async(n).await.unwrap();
            }
            let mut got = within(LONG, tasks.join_all()).await;
            eprintln!("{MANY} items to as many futures: {:?}", start.elapsed());
            got.sort_by_key(|r| *r.as_ref().unwrap());
            assert!(got.into_iter().map(Result::unwrap).eq(0..MANY));
            // The first poll, the one that succeeds, and now and then one that finds another was quicker, more often on a machine that lets those who are woken
            // wait.
            let polls = polls.load(Ordering::Relaxed);
            assert!(polls < 20 * MANY, "{polls} polls");
        });
    });
}

#[test]
fn threads_and_tasks_take_turns_with_a_lock() {
    let seg = anonymous();
    let mutex = Mutex::create(&seg, "mutex", [0u64; 2]).unwrap();
    const EACH: u64 = 2_000;
    let add = |m: &mut [u64; 2]| {
        m[0] += 1;
        std::hint::spin_loop();
        m[1] += 1;
        assert_eq!(m[0], m[1]);
    };
    let runtime = in_two_threads();
    let start = Instant::now();
    std::thread::scope(|s| {
        s.spawn(|| (0..EACH).for_each(|_| add(&mut mutex.lock().unwrap())));
        let mutex = mutex.clone();
        runtime.block_on(async move {
            let mut tasks = JoinSet::new();
            for _ in 0..20 {
                let mutex = mutex.clone();
                tasks.spawn(async move {
                    for n in 0..EACH / 20 {
                        add(&mut mutex.lock_async().await.unwrap());
                        if n % 8 == 0 {
                            tokio::task::yield_now().await;
                        }
                    }
                });
            }
            within(LONG, tasks.join_all()).await;
        });
    });
    eprintln!("{} locks: {:?}", 2 * EACH, start.elapsed());
    assert_eq!(mutex.lock().unwrap()[0], 2 * EACH);
}

#[test]
fn a_held_lock_is_had_when_it_is_left() {
    let seg = anonymous();
    let mutex = Mutex::create(&seg, "mutex", 0u64).unwrap();
    on_each(|runtime| {
        for _ in 0..20 {
            let held = mutex.lock().unwrap();
            let polls = Arc::new(AtomicUsize::new(0));
            let waits: Vec<_> = (0..10)
                .map(|_| {
                    let (mutex, polls) = (mutex.clone(), polls.clone());
                    runtime.spawn(async move {
                        let mut lock = std::pin::pin!(mutex.lock_async());
                        let counted = std::future::poll_fn(|cx| {
                            polls.fetch_add(1, Ordering::Relaxed);
                            lock.as_mut().poll(cx)
                        });
                        *counted.await.unwrap() += 1;
                    })
                })
                .collect();
            runtime.block_on(async {
                while polls.load(Ordering::Relaxed) < 10 {
                    tokio::task::yield_now().await;
                }
                drop(held);
                for wait in waits {
                    in_time(wait).await.unwrap();
                }
            });
        }
    });
    assert_eq!(*mutex.lock().unwrap(), 2 * 20 * 10);
}

#[test]
fn a_close_reaches_all() {
    on_each(|runtime| {
        let seg = anonymous();
        let queue = Queue::<u64>::create(&seg, "queue", 1).unwrap();
        runtime.block_on(async {
            let polls = Arc::new(AtomicUsize::new(0));
            let mut tasks = JoinSet::new();
            for _ in 0..100 {
                let (queue, polls) = (queue.clone(), polls.clone());
                tasks.spawn(async move { Counted(queue.recv_async(), polls).await.map(drop) });
            }
            while polls.load(Ordering::Relaxed) < 100 {
                tokio::task::yield_now().await;
            }
            queue.close();
            for result in in_time(tasks.join_all()).await {
                assert!(matches!(result, Err(Error::Closed)));
            }
            assert!(matches!(queue.send_async(1).await, Err(Error::Closed)));
        });
    });
}

#[test]
fn more_words_than_the_kernel_waits_for_are_waited_for() {
    let seg = SegmentOptions::new().capacity(1 << 20).max_objects(200);
    let seg = seg.anonymous().unwrap();
    let events: Vec<Event> = (0..60)
        .map(|i| Event::create(&seg, &format!("{i}")).unwrap())
        .collect();
    let queues: Vec<Queue<u64>> = (0..100)
        .map(|i| Queue::create(&seg, &format!("q{i}"), 1).unwrap())
        .collect();
    on_each(|runtime| {
        runtime.block_on(async {
            let mut tasks = JoinSet::new();
            for event in &events {
                let event = event.clone();
                tasks.spawn(async move { event.wait_async().await.unwrap() });
            }
            for queue in &queues {
                let queue = queue.clone();
                tasks.spawn(async move { assert_eq!(queue.recv_async().await.unwrap(), 7) });
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            queues.iter().for_each(|q| q.try_send(7).unwrap());
            events.iter().for_each(Event::set);
            in_time(tasks.join_all()).await;
            events.iter().for_each(Event::clear);
        });
    });
}
