//! Pools: what comes together seldom.

use crate::pool::{Fussy, LONG, counters, event, square};
use crate::support::{Child, Forked, forks_are_noticed};
use commonhold::process::{Pool, as_completed};
use commonhold::{Atomics, Error, Event};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

fn wait(event: Event) -> bool {
    event.wait().is_ok()
}

#[test]
fn a_deadline_that_no_clock_reaches_is_none() {
    let pool = Pool::builder().workers(1).deadline(Duration::MAX);
    let pool = pool.build().unwrap();
    let held = event();
    let task = pool.submit(wait, held.clone()).unwrap();
    let early = task.get_timeout(Duration::from_millis(50));
    assert!(matches!(early, Err(Error::Timeout)), "{early:?}");
    held.set();
    assert!(task.get_timeout(LONG).unwrap());
}

/// Takes its time.
struct Slow;

impl Wake for Slow {
    fn wake(self: Arc<Self>) {
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_deadline_is_kept_while_results_come_faster_than_they_are_passed_on() {
    let limit = Duration::from_millis(50);
    let pool = Pool::builder().workers(2).deadline(limit).build().unwrap();
    let too_long = pool.submit(wait, event()).unwrap();
    let start = Instant::now();
    while !too_long.is_ready() {
        assert!(start.elapsed() < LONG, "it runs on");
        let mut task = pool.submit(square, 1).unwrap();
        let waker = Waker::from(Arc::new(Slow));
        let _ = pin!(&mut task).poll(&mut Context::from_waker(&waker));
        // Some hundreds wait: there are always more, and they have an end.
        thread::sleep(Duration::from_micros(500));
    }
    assert!(matches!(too_long.get(), Err(Error::TookTooLong { .. })));
    pool.terminate();
}

#[test]
fn in_a_forked_child_no_task_is_waited_for() {
    if !forks_are_noticed() {
        return;
    }
    let pool = Pool::new(1).unwrap();
    let held = event();
    let submit = || pool.submit(wait, held.clone()).unwrap();
    let mut begun = as_completed([submit(), submit()]);
    let others = Cell::new(Some([submit(), submit()]));
    let child = Forked::start(|| {
        let refused = |task: commonhold::process::Task<bool>| {
            matches!(task.get(), Err(Error::InvalidArgument(_)))
        };
        assert_eq!(
            begun
                .by_ref()
                .filter_map(|t| refused(t).then_some(()))
                .count(),
            2
        );
        let others = as_completed(others.take().unwrap());
        assert_eq!(others.filter_map(|t| refused(t).then_some(())).count(), 2);
    });
    child.finish();
    held.set();
    assert_eq!(begun.filter_map(|t| t.get().ok()).count(), 2);
}

/// Has the last handle of a pool.
struct LastOwner(Mutex<Option<(Pool, Sender<()>)>>);

impl Wake for LastOwner {
    fn wake(self: Arc<Self>) {
        let (pool, told) = self.0.lock().unwrap().take().unwrap();
        pool.close();
        assert!(matches!(pool.join(), Err(Error::InvalidArgument(_))));
        drop(pool);
        told.send(()).unwrap();
    }
}

#[test]
fn a_waker_may_drop_the_pool() {
    let pool = Pool::new(1).unwrap();
    let (held, other) = (event(), event());
    let mut task = pool.submit(wait, held.clone()).unwrap();
    let last = pool.submit(wait, other.clone()).unwrap();
    let (told, hears) = channel();
    let waker = Waker::from(Arc::new(LastOwner(Mutex::new(Some((pool, told))))));
    assert!(
        pin!(&mut task)
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    drop(waker);
    held.set();
    hears.recv_timeout(LONG).unwrap();
    // What was submitted is run all the same.
    other.set();
    assert!(last.get_timeout(LONG).unwrap());
}

#[test]
fn an_item_that_cannot_be_written_before_an_input_that_panics_is_no_wait_for_ever() {
    let pool = Pool::new(2).unwrap();
    for unordered in [false, true] {
        let input = (0..).map(|n| match n {
            20 => Fussy(1),
            21 => panic!("no more"),
            _ => Fussy(0),
        });
        let mut results = match unordered {
            true => pool.imap_unordered(|f: Fussy| f.0, input),
            false => pool.imap(|f: Fussy| f.0, input),
        }
        .chunk_size(5);
        let mut given = 0;
        for _ in 0..2 {
            let all = AssertUnwindSafe(|| {
                while let Some(next) = results.next_timeout(LONG) {
                    assert!(!matches!(next, Err(Error::Timeout)), "it waits for ever");
                    given += 1;
                }
            });
            let _ = catch_unwind(all);
        }
        assert!(given <= 21, "{given}");
        assert!(results.next_timeout(LONG).is_none());
    }
}

/// In a child: results that the limit leaves no room for.
pub(crate) fn have_short_files(_: &[String]) {
    let limit = libc::rlimit {
        rlim_cur: 1 << 30,
        rlim_max: 1 << 30,
    };
    // SAFETY: plain system call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &limit) }, 0);
    let pool = Pool::new(1).unwrap();
    let runs = counters(1);
    let long = |(runs, n): (Atomics<AtomicU64>, usize)| {
        runs[0].fetch_add(1, Ordering::Relaxed);
        "x".repeat(n)
    };
    // They fill their slot to the last byte, or nearly.
    let items = (0..3000).map(|n| (runs.clone(), 300 + n % 7));
    let mut refused = 0;
    for result in pool.imap(long, items).chunk_size(50) {
        match result {
            Ok(text) => assert!(text.len() < 310),
            Err(Error::InitializerFailed(why)) => panic!("the pool is over: {why}"),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 0);
    assert_eq!(runs[0].load(Ordering::Relaxed), 3000);
    assert_eq!(pool.apply(square, 3).unwrap(), 9);
}

#[test]
fn results_without_room_cost_their_items_and_not_the_pool() {
    Child::start("have_short_files", &[]).finish();
}
