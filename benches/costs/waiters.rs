//! How waking grows with those who wait.

use crate::table::{Table, nanos, size};
use commonhold::process::Process;
use commonhold::{Atomics, Event, SegmentOptions, Semaphore};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// So many processes.
const CROWDS: [usize; 4] = [1, 4, 16, 64];

/// What each of them waits for, and where it counts that it went on.
type Waited = (Event, Event, Semaphore, Atomics<AtomicU64>);

pub(crate) fn tell(table: &mut Table, quick: bool) {
    let rounds = if quick { 1 } else { 11 };
    table.grow(
        rounds,
        "set an event, until the last of so many processes goes on, µs",
        CROWDS.map(|n| all(n, quick)).into(),
    );
    table.grow(
        rounds,
        "add a permit, until one of so many processes goes on, µs",
        CROWDS.map(|n| one(n, quick)).into(),
    );
}

/// Processes that do nothing else.
struct Crowd {
    waited: Waited,
    children: Vec<Process<()>>,
    settle: Duration,
}

impl Crowd {
    fn new(n: usize, quick: bool, wait: fn(Waited)) -> Crowd {
        let segment = SegmentOptions::new().max_members(128).anonymous();
        let segment = segment.expect("memory");
        let waited = (
            Event::create(&segment, "there").expect("there is room"),
            Event::create(&segment, "back").expect("there is room"),
            Semaphore::create(&segment, "permits", 0).expect("there is room"),
            Atomics::create(&segment, "count", 1).expect("there is room"),
        );
        let start = |_| {
            let child = Process::builder(wait, waited.clone()).daemon(true);
            child.spawn().expect("this program, again")
        };
        let children = (0..n).map(start).collect();
        Crowd {
            waited,
            children,
            // On few processors they spin one after another before they sleep.
            settle: Duration::from_millis(if quick { 20 } else { 100 }),
        }
    }

    /// µs from before `wake` until so many more have counted.
    fn time(&self, wake: impl FnOnce(), more: usize) -> f64 {
        std::thread::sleep(self.settle);
        let count = &self.waited.3[0];
        let before = count.load(Ordering::Acquire);
        let start = Instant::now();
        wake();
        while count.load(Ordering::Acquire) < before + more as u64 {
            std::thread::yield_now();
        }
        nanos(start.elapsed()) / 1e3
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for child in self.children.drain(..) {
            child.kill().expect("it is ours");
            let _ = child.join();
        }
    }
}

/// Two events in turn, each cleared when all are past it.
fn all(n: usize, quick: bool) -> crate::table::Size<'static> {
    let crowd = Crowd::new(n, quick, |(there, back, _, count)| {
        loop {
            for event in [&there, &back] {
                event.wait().expect("nobody dies meanwhile");
                count[0].fetch_add(1, Ordering::AcqRel);
            }
        }
    });
    size(n.to_string(), move || {
        let (there, back, ..) = &crowd.waited;
        back.clear();
        let time = crowd.time(|| there.set(), n);
        there.clear();
        let time_back = crowd.time(|| back.set(), n);
        (time + time_back) / 2.0
    })
}

fn one(n: usize, quick: bool) -> crate::table::Size<'static> {
    let crowd = Crowd::new(n, quick, |(_, _, permits, count)| {
        loop {
            let permit = permits.acquire().expect("nobody dies meanwhile");
            permit.forget();
            count[0].fetch_add(1, Ordering::AcqRel);
        }
    });
    size(n.to_string(), move || {
        let add = || crowd.waited.2.add_permits(1).expect("there is room");
        crowd.time(add, 1)
    })
}
