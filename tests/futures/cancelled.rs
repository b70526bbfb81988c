//! Futures that are dropped, or left alone, before they are ready.

use crate::support::SHORT_OF_A_NAP;
use crate::{LONG, anonymous, in_time, in_two_threads, within};
use commonhold::{Error, Event, Mutex, Queue, RwLock, Semaphore};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Whether it was called.
pub(crate) struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

pub(crate) fn flag() -> (Arc<Flag>, Waker) {
    let flag = Arc::new(Flag(AtomicBool::new(false)));
    (flag.clone(), flag.into())
}

pub(crate) fn comes(flag: &Flag) {
    let start = Instant::now();
    while !flag.0.swap(false, Ordering::Acquire) {
        assert!(start.elapsed() < SHORT_OF_A_NAP, "nobody woke it");
        std::thread::yield_now();
    }
}

#[test]
fn the_turn_of_one_that_goes_away_is_the_next_one_s() {
    let seg = anonymous();
    let queue = Queue::create(&seg, "queue", 4).unwrap();
    let semaphore = Semaphore::create(&seg, "semaphore", 1).unwrap();
    let mutex = Mutex::create(&seg, "mutex", 0u64).unwrap();
    let wakers = [flag(), flag()];
    let contexts = || [0, 1].map(|i| Context::from_waker(&wakers[i].1));
    for round in 0..50 {
        let [mut one, mut other] = contexts();
        let (mut first, mut second) = (Box::pin(queue.recv_async()), Box::pin(queue.recv_async()));
        assert!(first.as_mut().poll(&mut one).is_pending());
        assert!(second.as_mut().poll(&mut other).is_pending());
        queue.send(round).unwrap();
        comes(&wakers[0].0);
        drop(first);
        comes(&wakers[1].0);
        assert!(matches!(second.as_mut().poll(&mut other), Poll::Ready(Ok(n)) if n == round));

        let permit = semaphore.acquire().unwrap();
        let (mut first, mut second) = (
            Box::pin(semaphore.acquire_async()),
            Box::pin(semaphore.acquire_async()),
        );
        assert!(first.as_mut().poll(&mut one).is_pending());
        assert!(second.as_mut().poll(&mut other).is_pending());
        drop(permit);
        comes(&wakers[0].0);
        drop(first);
        comes(&wakers[1].0);
        assert!(matches!(
            second.as_mut().poll(&mut other),
            Poll::Ready(Ok(_))
        ));

        let held = mutex.lock().unwrap();
        let (mut first, mut second) = (Box::pin(mutex.lock_async()), Box::pin(mutex.lock_async()));
        assert!(first.as_mut().poll(&mut one).is_pending());
        assert!(second.as_mut().poll(&mut other).is_pending());
        drop(held);
        comes(&wakers[0].0);
        drop(first);
        comes(&wakers[1].0);
        assert!(matches!(
            second.as_mut().poll(&mut other),
            Poll::Ready(Ok(_))
        ));
    }
}

/// Keeps the driver until it may go on.
struct Holds {
    woken: AtomicBool,
    may_go_on: AtomicBool,
}

impl Wake for Holds {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        let start = Instant::now();
        while !self.may_go_on.load(Ordering::Acquire) && start.elapsed() < SHORT_OF_A_NAP {
            std::thread::yield_now();
        }
    }
}

/// A future has the turn, finds that a running thread was quicker, and is dropped before the driver looks again: the thread that
/// sleeps in the lock is not forgotten.
#[test]
fn one_that_had_the_turn_in_vain_and_goes_away_leaves_no_thread_asleep() {
    let seg = anonymous();
    let stop = Event::create(&seg, "stop").unwrap();
    let mutex = Mutex::create(&seg, "mutex", 0u64).unwrap();
    let lock = RwLock::create(&seg, "lock", 0u64).unwrap();
    let (m, l) = (&mutex, &lock);
    let hold_it = || -> Box<dyn FnOnce()> {
        let held = m.lock().unwrap();
        Box::new(move || drop(held))
    };
    let take_it = || drop(m.lock().unwrap());
    let wait_for_it = || -> Waiting<'_> { Box::pin(async { m.lock_async().await.map(drop) }) };
    vain_turn(&stop, hold_it, take_it, wait_for_it);
    let hold_it = || -> Box<dyn FnOnce()> {
        let held = l.write().unwrap();
        Box::new(move || drop(held))
    };
    let take_it = || drop(l.write().unwrap());
    let wait_for_it = || -> Waiting<'_> { Box::pin(async { l.read_async().await.map(drop) }) };
    vain_turn(&stop, hold_it, take_it, wait_for_it);
    let wait_for_it = || -> Waiting<'_> { Box::pin(async { l.write_async().await.map(drop) }) };
    vain_turn(&stop, hold_it, take_it, wait_for_it);
}

type Waiting<'a> = std::pin::Pin<Box<dyn Future<Output = commonhold::Result<()>> + 'a>>;

fn vain_turn<'a>(
    stop: &Event,
    hold_it: impl Fn() -> Box<dyn FnOnce() + 'a>,
    take_it: impl Fn() + Sync,
    wait_for_it: impl Fn() -> Waiting<'a>,
) {
    stop.clear();
    let holds = Arc::new(Holds {
        woken: AtomicBool::new(false),
        may_go_on: AtomicBool::new(false),
    });
    let waker = holds.clone().into();
    let mut cx = Context::from_waker(&waker);
    let moment = || std::thread::park_timeout(Duration::from_millis(200));
    let took = std::thread::scope(|s| {
        // They watch over deaths, so that the others sleep for long.
        for _ in 0..2 {
            s.spawn(|| stop.wait().unwrap());
        }
        moment();
        let leave = hold_it();
        let mut future = wait_for_it();
        assert!(future.as_mut().poll(&mut cx).is_pending());
        // Each until its first, short naps are over: the driver is to be the one that has slept longest.
        moment();
        let sleeper = s.spawn(|| {
            take_it();
            Instant::now()
        });
        moment();
        leave();
        let start = Instant::now();
        while !holds.woken.load(Ordering::Acquire) {
            assert!(start.elapsed() < SHORT_OF_A_NAP);
            std::thread::yield_now();
        }
        let leave = hold_it();
        assert!(future.as_mut().poll(&mut cx).is_pending());
        drop(future);
        holds.may_go_on.store(true, Ordering::Release);
        let left = Instant::now();
        leave();
        let took = sleeper.join().unwrap() - left;
        stop.set();
        took
    });
    assert!(took < SHORT_OF_A_NAP, "{took:?}");
}

/// What a panic leaves can panic itself.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("as the test wants it, again");
        }
    }
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        std::panic::panic_any(Bomb);
    }
}

#[test]
fn a_waker_that_panics_does_harm_to_no_other_future() {
    let seg = anonymous();
    let queue = Queue::create(&seg, "queue", 4).unwrap();
    let (woken, waker) = flag();
    let mut cx = Context::from_waker(&waker);
    let panics = Arc::new(Panics).into();
    let mut panics = Context::from_waker(&panics);
    // It is called by another future that passes its turn on: that one has what it received.
    let (mut first, mut second) = (Box::pin(queue.recv_async()), Box::pin(queue.recv_async()));
    assert!(first.as_mut().poll(&mut cx).is_pending());
    assert!(second.as_mut().poll(&mut panics).is_pending());
    queue.send_all(&[1u64, 2]).unwrap();
    comes(&woken);
    assert!(matches!(first.as_mut().poll(&mut cx), Poll::Ready(Ok(1))));
    assert!(matches!(
        second.as_mut().poll(&mut panics),
        Poll::Ready(Ok(2))
    ));
    // By the driver: it goes on.
    assert!(second.as_mut().poll(&mut panics).is_pending());
    assert!(first.as_mut().poll(&mut cx).is_pending());
    queue.send(3).unwrap();
    comes(&woken);
    assert!(matches!(first.as_mut().poll(&mut cx), Poll::Ready(Ok(3))));
}

/// Ends those that receive, also when a test fails while they do.
struct Closes<'a>(&'a Queue<u64>);

impl Drop for Closes<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// One that has been woken and is not polled (its task does something else) does not keep what is there from others.
#[test]
fn one_that_is_woken_and_not_polled_is_passed_over() {
    let seg = anonymous();
    let queue = Queue::create(&seg, "queue", 4).unwrap();
    let mutex = Mutex::create(&seg, "mutex", 0u64).unwrap();
    let (woken, waker) = flag();
    let mut cx = Context::from_waker(&waker);
    let mut idle = Box::pin(queue.recv_async());
    assert!(idle.as_mut().poll(&mut cx).is_pending());
    let held = mutex.lock().unwrap();
    let mut idle_too = Box::pin(mutex.lock_async());
    assert!(idle_too.as_mut().poll(&mut cx).is_pending());
    // A future that waits behind it, for each.
    let (next, next_waker) = flag();
    let mut next_cx = Context::from_waker(&next_waker);
    let mut behind = Box::pin(queue.recv_async());
    assert!(behind.as_mut().poll(&mut next_cx).is_pending());
    queue.send(1u64).unwrap();
    comes(&woken);
    comes(&next);
    assert!(matches!(
        behind.as_mut().poll(&mut next_cx),
        Poll::Ready(Ok(1))
    ));
    let mut behind = Box::pin(mutex.lock_async());
    assert!(behind.as_mut().poll(&mut next_cx).is_pending());
    drop(held);
    comes(&woken);
    comes(&next);
    assert!(behind.as_mut().poll(&mut next_cx).is_ready());
    drop(behind);
    assert!(idle.as_mut().poll(&mut cx).is_pending());
    assert!(idle_too.as_mut().poll(&mut cx).is_ready());
}

/// Futures that give up after a moment, and threads that wait: each item is had once, and none lies there while somebody waits.
#[test]
fn cancelling_loses_no_item_and_no_wake() {
    let seg = anonymous();
    let queue = Queue::create(&seg, "queue", 4).unwrap();
    const ITEMS: u64 = 20_000;
    let sum = Arc::new(AtomicU64::new(0));
    let runtime = in_two_threads();
    let start = Instant::now();
    std::thread::scope(|s| {
        s.spawn(|| {
            for n in &queue {
                sum.fetch_add(n, Ordering::Relaxed);
            }
        });
        let closes = Closes(&queue);
        runtime.block_on(async {
            let mut tasks = JoinSet::new();
            for i in 0..20 {
                let (queue, sum) = (queue.clone(), sum.clone());
                tasks.spawn(async move {
                    let mut round = i;
                    loop {
                        round += 1;
                        let patience = Duration::from_micros(round % 7 * 200);
                        match tokio::time::timeout(patience, queue.recv_async()).await {
                            Ok(Ok(n)) => {
                                sum.fetch_add(n, Ordering::Relaxed);
                            }
                            Ok(Err(Error::Closed)) => return,
                            Ok(Err(e)) => panic!("{e}"),
                            Err(_) => {}
                        }
                    }
                });
            }
            for n in 1..=ITEMS {
                in_time(queue.send_async(n)).await.unwrap();
                if n % 500 == 0 {
                    // All let fall asleep.
                    while !queue.is_empty() {
                        assert!(start.elapsed() < LONG);
                        tokio::task::yield_now().await;
                    }
                    tokio::time::sleep(Duration::from_millis(3)).await;
                }
            }
            drop(closes);
            within(LONG, tasks.join_all()).await;
        });
    });
    eprintln!("{ITEMS} items: {:?}", start.elapsed());
    assert_eq!(sum.load(Ordering::Relaxed), ITEMS * (ITEMS + 1) / 2);
}
