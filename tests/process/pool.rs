//! Pools: what each call gives.

use commonhold::process::{Pool, as_completed};
use commonhold::{Atomics, Error, Event, Queue, Segment, SegmentOptions};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) fn square(n: u64) -> u64 {
    n * n
}

pub(crate) fn pid(_: u64) -> u32 {
    std::process::id()
}

/// What the tests' own handles are in. A worker attaches it as long as the test has one of them.
fn segment() -> Segment {
    let options = SegmentOptions::new().capacity(1 << 20).max_members(256);
    options.anonymous().unwrap()
}

/// Words that all processes count in.
pub(crate) fn counters(n: usize) -> Atomics<AtomicU64> {
    Atomics::create(&segment(), "counters", n).unwrap()
}

/// An event that many processes can wait for.
pub(crate) fn event() -> Event {
    Event::create(&segment(), "event").unwrap()
}

fn count((counters, n): (Atomics<AtomicU64>, u64)) {
    counters[n as usize].fetch_add(1, Ordering::Relaxed);
}

#[test]
fn map_gives_all_results_in_the_order_of_the_items() {
    let pool = Pool::new(2).unwrap();
    // More than there are slots, and of every size of group.
    for n in [1, 2, 65, 100_000] {
        let squares = pool.map(square, 0..n).unwrap();
        assert!(squares.into_iter().eq((0..n).map(square)));
    }
}

#[test]
fn no_items_give_no_results() {
    let pool = Pool::new(1).unwrap();
    assert_eq!(pool.map(square, []).unwrap(), []);
    assert!(pool.imap(square, []).next().is_none());
    assert!(pool.imap_unordered(square, []).next().is_none());
    pool.for_each(|_: u64| unreachable!("there is none"), [])
        .unwrap();
}

#[test]
fn starmap_takes_functions_of_several_arguments() {
    fn join4(a: u8, b: char, c: bool, d: u16) -> String {
        format!("{a}{b}{c}{d}")
    }
    let pool = Pool::new(2).unwrap();
    assert_eq!(pool.starmap(u64::pow, [(2, 3), (3, 2)]).unwrap(), [8, 9]);
    let sums = pool.starmap3(|a: u8, b: u8, c: u8| a + b + c, [(1, 2, 3)]);
    assert_eq!(sums.unwrap(), [6]);
    let joined = pool.starmap4(join4, [(1, 'b', true, 4)]);
    assert_eq!(joined.unwrap(), ["1btrue4"]);
    let sums = pool.starmap5(
        |a: u8, b: u8, c: u8, d: u8, e: u8| a + b + c + d + e,
        [(1, 2, 3, 4, 5)],
    );
    assert_eq!(sums.unwrap(), [15]);
    let last = pool.starmap6(
        |_: (), _: (), _: (), _: (), _: (), f: String| f,
        [((), (), (), (), (), "f".into())],
    );
    assert_eq!(last.unwrap(), ["f"]);
}

#[test]
fn for_each_runs_each_item_once() {
    let pool = Pool::new(2).unwrap();
    let counters = counters(500);
    let items = (0..500).map(|n| (counters.clone(), n));
    pool.for_each(count, items).unwrap();
    assert!(counters.iter().all(|c| c.load(Ordering::Relaxed) == 1));
}

#[test]
fn map_runs_all_items_and_says_which_error_is_the_first() {
    fn odd((counters, n): (Atomics<AtomicU64>, u64)) {
        count((counters, n));
        assert!(n % 2 == 0, "{n} is odd");
    }
    let pool = Pool::new(2).unwrap();
    let counters = counters(10);
    let items = || (0..10).map(|n| (counters.clone(), n));
    for failed in [
        pool.map(odd, items()).map(drop),
        pool.for_each(odd, items()),
    ] {
        let Err(Error::Panicked { message, .. }) = failed else {
            panic!("{failed:?}");
        };
        assert!(message.contains("1 is odd"), "{message}");
    }
    assert!(counters.iter().all(|c| c.load(Ordering::Relaxed) == 2));
}

#[test]
fn imap_gives_the_results_in_order_and_each_item_its_own_error() {
    let pool = Pool::new(2).unwrap();
    let mut results = pool.imap(|n: u64| 10 / n.checked_sub(3).expect("at least 3"), 0..6);
    for n in 0..3u64 {
        assert!(
            matches!(results.next(), Some(Err(Error::Panicked { .. }))),
            "{n}"
        );
    }
    assert!(matches!(results.next(), Some(Err(Error::Panicked { .. }))));
    assert_eq!(results.next().unwrap().unwrap(), 10);
    assert_eq!(results.next().unwrap().unwrap(), 5);
    assert!(results.next().is_none());
    assert!(results.next().is_none());
}

#[test]
fn an_item_that_takes_long_holds_up_no_other_in_imap_unordered() {
    fn wait_for(event: Option<Event>) -> bool {
        event.map(|event| event.wait().unwrap()).is_some()
    }
    let pool = Pool::new(2).unwrap();
    let event = event();
    let mut items = vec![None; 200];
    items[0] = Some(event.clone());
    let mut results = pool.imap_unordered(wait_for, items);
    for _ in 0..199 {
        assert!(!results.next().unwrap().unwrap());
    }
    event.set();
    assert!(results.next().unwrap().unwrap());
    assert!(results.next().is_none());
}

#[test]
fn an_endless_input_is_drawn_as_far_as_the_workers_need() {
    let pool = Pool::new(2).unwrap();
    for unordered in [false, true] {
        let drawn = Cell::new(0u64);
        let input = std::iter::from_fn(|| {
            drawn.set(drawn.get() + 1);
            Some(drawn.get())
        });
        let results = match unordered {
            true => pool.imap_unordered(square, input),
            false => pool.imap(square, input),
        };
        assert_eq!(drawn.get(), 0);
        let mut given = 0;
        for result in results.chunk_size(1).take(5000) {
            result.unwrap();
            given += 1;
            assert!(
                drawn.get() <= given + 256,
                "{} drawn, {given} given",
                drawn.get()
            );
        }
    }
}

#[test]
fn of_long_items_few_are_drawn_ahead() {
    let pool = Pool::new(2).unwrap();
    let event = event();
    let drawn = Cell::new(0);
    let input = std::iter::repeat_with(|| {
        drawn.set(drawn.get() + 1);
        event.clone()
    });
    let mut results = pool.imap(|event: Event| event.wait().unwrap(), input);
    let early = results.next_timeout(Duration::from_millis(50));
    assert!(matches!(early, Some(Err(Error::Timeout))));
    assert_eq!(drawn.get(), 4);
    event.set();
    // What did not come in time comes later.
    results.next().unwrap().unwrap();
}

#[test]
fn what_is_left_of_a_dropped_imap_does_not_run() {
    fn count_when((event, counters): (Event, Atomics<AtomicU64>)) {
        event.wait().unwrap();
        counters[0].fetch_add(1, Ordering::Relaxed);
    }
    let pool = Pool::new(1).unwrap();
    let (event, counters) = (event(), counters(1));
    let items = std::iter::repeat_n((event.clone(), counters.clone()), 1000);
    let mut results = pool.imap(count_when, items);
    assert!(results.next_timeout(Duration::from_millis(50)).is_some());
    drop(results);
    event.set();
    drop(pool);
    // Only what the worker had begun.
    assert_eq!(counters[0].load(Ordering::Relaxed), 1);
}

#[test]
fn an_input_that_panics_harms_neither_the_pool_nor_what_was_drawn() {
    let pool = Pool::new(2).unwrap();
    let input = (0..100).inspect(|n| assert!(*n != 50, "no more"));
    let mut results = pool.imap(square, input).chunk_size(1);
    let mut sum = 0;
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        for result in results.by_ref() {
            sum += result.unwrap();
        }
    }));
    assert!(panicked.is_err());
    assert!(results.next().is_none_or(|r| r.is_ok()));
    drop(results);
    assert_eq!(pool.apply(square, 3).unwrap(), 9);
}

/// 1 can't be written, 2 can't be read.
#[derive(Debug, PartialEq)]
pub(crate) struct Fussy(pub(crate) u8);

impl Serialize for Fussy {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            1 => Err(serde::ser::Error::custom("one")),
            n => n.serialize(s),
        }
    }
}

impl<'de> Deserialize<'de> for Fussy {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Fussy, D::Error> {
        match u8::deserialize(d)? {
            2 => Err(serde::de::Error::custom("two")),
            n => Ok(Fussy(n)),
        }
    }
}

#[test]
fn what_cannot_be_written_or_read_costs_that_item_alone() {
    let pool = Pool::new(2).unwrap();
    let as_arguments = pool.imap(|f: Fussy| f.0, (0..5).map(Fussy)).chunk_size(5);
    let as_results = pool.imap(Fussy, 0..5).chunk_size(5);
    let arguments: Vec<_> = as_arguments.collect();
    let results: Vec<_> = as_results.map(|r| r.map(|f| f.0)).collect();
    for outcomes in [arguments, results] {
        assert!(
            matches!(
                &outcomes[..],
                [
                    Ok(0),
                    Err(Error::NotEncodable { .. }),
                    Err(Error::NotDecodable { .. }),
                    Ok(3),
                    Ok(4)
                ]
            ),
            "{outcomes:?}"
        );
    }
    assert!(matches!(
        pool.submit(|f: Fussy| f.0, Fussy(1)),
        Err(Error::NotEncodable { .. })
    ));
}

#[test]
fn a_panic_is_that_tasks_error_and_its_worker_goes_on() {
    let pool = Pool::new(1).unwrap();
    let before = pool.apply(pid, 0).unwrap();
    let panicked = pool.apply(|n: u64| -> u64 { panic!("no {n}") }, 7);
    let Err(Error::Panicked { message, backtrace }) = panicked else {
        panic!("{panicked:?}");
    };
    assert!(message.contains("no 7"), "{message}");
    assert!(message.contains("pool.rs"), "{message}");
    let wanted = std::env::var_os("RUST_BACKTRACE").is_none_or(|b| b != "0");
    assert!(
        !wanted || backtrace.to_string().contains("pool"),
        "{backtrace}"
    );
    assert_eq!(pool.apply(pid, 0).unwrap(), before);
}

#[test]
fn arguments_and_results_of_50_mb_arrive() {
    const MANY: usize = 50_000_000;
    let pool = Pool::new(2).unwrap();
    let long = "0123456789".repeat(MANY / 10);
    let same = pool.apply(
        |text: String| text == "0123456789".repeat(text.len() / 10),
        long.clone(),
    );
    assert!(same.unwrap());
    let echoed = pool
        .apply(|n: usize| "0123456789".repeat(n / 10), MANY)
        .unwrap();
    assert!(echoed == long);
    // Short and long ones in one group.
    let lens: Vec<usize> = (0..40)
        .map(|n| if n % 7 == 3 { 100_000 } else { n })
        .collect();
    let strings = pool.imap(|n: usize| "x".repeat(n), lens.clone());
    for (string, len) in strings.chunk_size(10).zip(lens) {
        assert_eq!(string.unwrap().len(), len);
    }
}

#[test]
fn a_task_is_asked_in_four_ways() {
    let pool = Pool::new(1).unwrap();
    let event = event();
    let task = pool
        .submit(|e: Event| e.wait().is_ok(), event.clone())
        .unwrap();
    assert!(!task.is_ready());
    assert!(matches!(task.try_get(), Err(Error::WouldBlock)));
    let early = task.get_timeout(Duration::from_millis(20));
    assert!(matches!(early, Err(Error::Timeout)));
    event.set();
    assert!(task.get_timeout(LONG).unwrap());
    assert!(task.is_ready() && task.try_get().unwrap() && task.get().unwrap());
    let next = pool.submit(square, 5).unwrap();
    assert_eq!((task.id(), next.id()), (0, 1));
}

/// Runs a future in this thread.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

#[test]
fn a_task_is_a_future() {
    let pool = Pool::new(2).unwrap();
    let (held, opener) = (event(), event());
    let task = pool
        .submit(|e: Event| e.wait().is_ok(), held.clone())
        .unwrap();
    let other = pool
        .submit(|e: Event| e.wait().is_ok(), opener.clone())
        .unwrap();
    thread::scope(|s| {
        let waits = s.spawn(|| block_on(task));
        opener.set();
        assert!(block_on(other).unwrap());
        held.set();
        assert!(waits.join().unwrap().unwrap());
    });
    let failed = block_on(pool.submit(|_: ()| -> u8 { panic!("no") }, ()).unwrap());
    assert!(matches!(failed, Err(Error::Panicked { .. })));
}

#[test]
fn tasks_come_as_they_are_completed() {
    let pool = Pool::new(2).unwrap();
    let held = event();
    let wait_or_not = |e: Option<Event>| e.map(|e| e.wait().unwrap()).is_some();
    let slow = pool.submit(wait_or_not, Some(held.clone())).unwrap();
    let mut tasks = vec![slow];
    tasks.extend((0..100).map(|_| pool.submit(wait_or_not, None).unwrap()));
    let mut completed = as_completed(tasks);
    assert_eq!(completed.len(), 101);
    for task in completed.by_ref().take(100) {
        assert!(task.is_ready() && !task.get().unwrap());
    }
    let early = completed.next_timeout(Duration::from_millis(20));
    assert!(matches!(early, Some(Err(Error::Timeout))));
    held.set();
    assert!(
        completed
            .next_timeout(LONG)
            .unwrap()
            .unwrap()
            .get()
            .unwrap()
    );
    assert!(completed.next_timeout(LONG).is_none() && completed.next().is_none());
}

#[test]
fn many_threads_use_one_pool() {
    let pool = Pool::new(2).unwrap();
    thread::scope(|s| {
        for thread in 0..8u64 {
            let pool = &pool;
            s.spawn(move || match thread % 4 {
                0 => assert!(
                    pool.map(square, 0..2000)
                        .unwrap()
                        .into_iter()
                        .eq((0..2000).map(square))
                ),
                1 => {
                    let tasks: Vec<_> = (0..500).map(|n| pool.submit(square, n).unwrap()).collect();
                    for (n, task) in (0..).zip(&tasks) {
                        assert_eq!(task.get().unwrap(), square(n));
                    }
                }
                2 => {
                    let sum: u64 = pool
                        .imap_unordered(square, 0..2000)
                        .map(Result::unwrap)
                        .sum();
                    assert_eq!(sum, (0..2000).map(square).sum());
                }
                _ => (0..100).for_each(|n| assert_eq!(pool.apply(square, n).unwrap(), square(n))),
            });
        }
    });
}

#[test]
fn handles_travel_as_arguments() {
    let queue = Queue::<u64>::create(&segment(), "queue", 100).unwrap();
    let pool = Pool::new(2).unwrap();
    let items = (0..50).map(|n| (queue.clone(), n));
    pool.for_each(
        |(queue, n): (Queue<u64>, u64)| queue.send(n).unwrap(),
        items,
    )
    .unwrap();
    let mut sent: Vec<u64> = (0..50).map(|_| queue.try_recv().unwrap()).collect();
    sent.sort_unstable();
    assert!(sent.into_iter().eq(0..50));
}

#[test]
fn a_segment_of_which_the_caller_keeps_no_handle_lasts_until_its_task_is_over() {
    fn set(event: Event) -> bool {
        event.set();
        event.is_set()
    }
    let pool = Pool::new(1).unwrap();
    assert!(pool.apply(set, event()).unwrap());
    assert!(
        pool.imap(set, (0..100).map(|_| event()))
            .all(|r| r.unwrap())
    );
}

#[test]
fn a_task_may_have_a_pool_of_its_own() {
    fn sum_of_squares(n: u64) -> u64 {
        let pool = Pool::new(2).unwrap();
        pool.map(square, 0..n).unwrap().into_iter().sum()
    }
    let pool = Pool::new(2).unwrap();
    assert_eq!(pool.map(sum_of_squares, [3, 4]).unwrap(), [5, 14]);
}

#[test]
fn two_maps_at_a_time_both_get_on() {
    let pool = Pool::new(1).unwrap();
    let mut first = pool.imap(square, 0..).chunk_size(1);
    first.next().unwrap().unwrap();
    // The endless one has its tasks before those of this one, but not all.
    assert_eq!(pool.map(square, 0..200).unwrap().len(), 200);
    first.next().unwrap().unwrap();
}

#[test]
fn submitting_takes_a_moment_also_when_all_workers_are_busy() {
    let pool = Pool::new(1).unwrap();
    let event = event();
    let first = pool
        .submit(|e: Event| e.wait().is_ok(), event.clone())
        .unwrap();
    let start = Instant::now();
    let tasks: Vec<_> = (0..10_000)
        .map(|n| pool.submit(square, n).unwrap())
        .collect();
    assert!(start.elapsed() < LONG);
    assert!(!first.is_ready() && tasks.iter().all(|t| !t.is_ready()));
    event.set();
    for (n, task) in (0..).zip(&tasks) {
        assert_eq!(task.get().unwrap(), square(n));
    }
}
