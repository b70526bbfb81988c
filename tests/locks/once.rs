use crate::is_a_handle;
use crate::support::{
    self, Child, Forked, LIMIT, Name, eventually, tell, wait_to_be_killed, waits_on_a_futex,
    within_the_limit,
};
use commonhold::{Array, Atomics, Error, Once, Segment, Value};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

struct Stage {
    once: Once,
    /// How many closures were begun.
    begun: Atomics<AtomicU64>,
    /// How many were told that another was left off.
    told: Value<u64>,
}

impl Stage {
    fn new(seg: &Segment) -> Stage {
        Stage {
            once: Once::open_or_create(seg, "once").unwrap(),
            begun: Atomics::open_or_create(seg, "begun", 1).unwrap(),
            told: Value::open_or_create(seg, "told", 0).unwrap(),
        }
    }

    fn open(name: &str) -> Stage {
        Stage::new(&Segment::open(name).unwrap())
    }

    fn begin(&self) {
        self.begun[0].fetch_add(1, Ordering::Relaxed);
    }

    fn begun(&self) -> u64 {
        self.begun[0].load(Ordering::Relaxed)
    }
}

#[test]
fn what_is_done_is_not_done_again() {
    let seg = Segment::anonymous(1 << 12).unwrap();
    let s = Stage::new(&seg);
    is_a_handle(&s.once);
    assert!(!s.once.is_completed());
    let waited = s.once.wait_timeout(Duration::from_millis(5));
    assert!(matches!(waited, Err(Error::Timeout)));
    s.once
        .call_once_force(|state| {
            assert!(!state.is_poisoned());
            s.begin();
            assert!(!s.once.is_completed());
        })
        .unwrap();
    assert!(s.once.is_completed());
    s.once.call_once(|| s.begin()).unwrap();
    s.once.try_call_once(|| s.begin()).unwrap();
    s.once.call_once_timeout(LIMIT, || s.begin()).unwrap();
    s.once.try_call_once_force(|_| s.begin()).unwrap();
    s.once
        .call_once_force_timeout(LIMIT, |_| s.begin())
        .unwrap();
    s.once.wait().unwrap();
    s.once.wait_timeout(Duration::ZERO).unwrap();
    assert_eq!(s.begun(), 1);
    let found = Once::open(&seg, "once").unwrap();
    assert!(found.is_completed());
    assert!(matches!(
        Once::create(&seg, "once"),
        Err(Error::AlreadyExists)
    ));
}

#[test]
fn a_panic_leaves_it_to_the_next_who_is_told() {
    let seg = Segment::anonymous(1 << 12).unwrap();
    let s = Stage::new(&seg);
    for n in 0..2 {
        let panics = AssertUnwindSafe(|| {
            s.once.call_once_force(|state| {
                assert_eq!(state.is_poisoned(), n != 0);
                std::panic::resume_unwind(Box::new("on purpose"))
            })
        });
        assert!(catch_unwind(panics).is_err());
        assert!(!s.once.is_completed());
    }
    s.once
        .try_call_once_force(|state| assert!(state.is_poisoned()))
        .unwrap();
    assert!(s.once.is_completed());
}

#[test]
fn a_closure_that_calls_its_own_once_waits_until_its_deadline() {
    let seg = Segment::anonymous(1 << 12).unwrap();
    let once = Stage::new(&seg).once;
    once.call_once(|| {
        let tried = once.try_call_once(|| unreachable!());
        assert!(matches!(tried, Err(Error::WouldBlock)));
        let (start, d) = (Instant::now(), Duration::from_millis(30));
        let waited = once.call_once_timeout(d, || unreachable!());
        assert!(matches!(waited, Err(Error::Timeout)));
        let took = start.elapsed();
        assert!(d <= took && took < d + LIMIT, "{took:?}");
    })
    .unwrap();
    assert!(once.is_completed());
}

const ITEMS: usize = 1000;

pub(crate) fn count_once(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let s = Stage::new(&seg);
    let table = Array::<u64>::open(&seg, "table").unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                s.once
                    .call_once(|| {
                        s.begin();
                        (0..ITEMS).for_each(|i| table.set(i, i as u64 + 1).unwrap());
                    })
                    .unwrap();
                // What was done is seen.
                let sum: u64 = table.to_vec().unwrap().iter().sum();
                assert_eq!(sum, (1..=ITEMS as u64).sum());
            });
        }
    });
}

#[test]
fn of_many_threads_and_processes_one_does_it_and_all_see_it() {
    for _ in 0..5 {
        let name = Name::new("once");
        let seg = Segment::create(&name, 1 << 16).unwrap();
        let s = Stage::new(&seg);
        Array::create(&seg, "table", ITEMS, 0u64).unwrap();
        let children: Vec<_> = (0..3)
            .map(|_| Child::start("count_once", &[&name]))
            .collect();
        s.once.wait_timeout(LIMIT).unwrap();
        children.into_iter().for_each(Child::finish);
        assert_eq!(s.begun(), 1);
    }
}

pub(crate) fn run_for_ever(args: &[String]) {
    let s = Stage::open(&args[0]);
    let _ = s.once.call_once(|| {
        s.begin();
        tell("begun");
        wait_to_be_killed();
    });
}

pub(crate) fn count_once_as_heir(args: &[String]) {
    let s = Stage::open(&args[0]);
    tell("calls");
    let call = s.once.call_once_force(|state| {
        s.begin();
        s.told
            .update(|n| *n += u64::from(state.is_poisoned()))
            .unwrap();
    });
    call.unwrap();
    tell("done");
}

pub(crate) fn wait_for_completion(args: &[String]) {
    let s = Stage::open(&args[0]);
    tell("waits");
    s.once.wait().unwrap();
    assert!(s.once.is_completed());
}

#[test]
fn who_waits_for_one_that_is_killed_does_it_instead() {
    let name = Name::new("killed");
    let seg = Segment::create(&name, 1 << 16).unwrap();
    let s = Stage::new(&seg);
    let mut runner = Child::start("run_for_ever", &[&name]);
    runner.expect("begun");
    let tried = s.once.try_call_once(|| unreachable!());
    assert!(matches!(tried, Err(Error::WouldBlock)));
    let waited = s
        .once
        .call_once_timeout(Duration::from_millis(20), || unreachable!());
    assert!(matches!(waited, Err(Error::Timeout)));
    let mut heirs: Vec<_> = (0..2)
        .map(|_| Child::start("count_once_as_heir", &[&name]))
        .collect();
    let mut waiter = Child::start("wait_for_completion", &[&name]);
    waiter.expect("waits");
    for child in &mut heirs {
        child.expect("calls");
    }
    for child in heirs.iter().chain([&waiter]) {
        eventually(LIMIT, "it sleeps", || waits_on_a_futex(child.pid()));
    }
    runner.kill();
    within_the_limit(|| {
        heirs.iter_mut().for_each(|h| h.expect("done"));
        waiter.finish();
    });
    assert_eq!((s.begun(), s.told.get().unwrap()), (2, 1));
    assert!(s.once.is_completed());
}

#[test]
fn one_who_waits_and_does_nothing_waits_on_over_a_death() {
    let name = Name::new("over");
    let seg = Segment::create(&name, 1 << 16).unwrap();
    let s = Stage::new(&seg);
    let mut waiter = Child::start("wait_for_completion", &[&name]);
    waiter.expect("waits");
    let mut runner = Child::start("run_for_ever", &[&name]);
    runner.expect("begun");
    eventually(LIMIT, "it sleeps", || waits_on_a_futex(waiter.pid()));
    runner.kill();
    // One who only ever tries meets the death, too.
    assert!(matches!(
        s.once.wait_timeout(Duration::from_millis(50)),
        Err(Error::Timeout)
    ));
    assert!(waiter.has_ended().is_none());
    within_the_limit(|| {
        s.once
            .try_call_once_force(|state| assert!(state.is_poisoned()))
            .unwrap();
        waiter.finish();
    });
}

#[test]
fn what_a_closure_forks_leaves_it_to_the_parent() {
    if !support::forks_are_noticed() {
        return;
    }
    let seg = Segment::anonymous(1 << 12).unwrap();
    let s = Stage::new(&seg);
    let parent = std::process::id();
    let mut child = 0;
    let called = s.once.call_once(|| {
        s.begin();
        // SAFETY: the child goes on in this test, and ends below.
        child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child != 0 {
            let limit = Instant::now() + LIMIT;
            // Until the child has left the closure.
            while s.told.get().unwrap() == 0 {
                assert!(Instant::now() < limit, "the child does not come");
                std::thread::yield_now();
            }
        }
    });
    if std::process::id() != parent {
        let in_child = || {
            let error = called.unwrap_err();
            assert!(matches!(error, Error::InvalidArgument(_)), "{error:?}");
            assert!(!s.once.is_completed());
            let tried = s.once.try_call_once(|| unreachable!());
            assert!(matches!(tried, Err(Error::WouldBlock)));
            s.told.set(1).unwrap();
            s.once.call_once(|| unreachable!()).unwrap();
        };
        let ok = catch_unwind(AssertUnwindSafe(in_child)).is_ok();
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(i32::from(!ok)) };
    }
    called.unwrap();
    assert!(s.once.is_completed());
    Forked(child).finish();
    assert_eq!(s.begun(), 1);
}
