//! A condition variable, with the mutex's pair as the condition.

use super::mutex;
use crate::case::{Case, LONG, Look, SHORT, Subject, leak, tire};
use commonhold::{Condvar, Error, Mutex, Segment};
use std::time::Duration;

fn open(seg: &Segment) -> &'static Condvar {
    leak(Condvar::open(seg, "condvar").unwrap())
}

fn open_tired(seg: &Segment) -> &'static Condvar {
    let (m, c) = (mutex::open(seg), open(seg));
    tire(|d| drop(c.wait_timeout(m.lock().unwrap(), d).unwrap()));
    c
}

fn make(seg: &Segment) {
    mutex::make(seg);
    Condvar::create(seg, "condvar").unwrap();
}

fn mend(seg: &Segment) {
    mutex::mend(seg);
    open(seg).notify_all();
}

fn judge(seg: &Segment, look: Look) -> u32 {
    let progress = mutex::judge(seg, look);
    let m = Mutex::<[u64; 2]>::open(seg, "mutex").unwrap();
    let c = Condvar::open(seg, "condvar").unwrap();
    c.notify_one();
    c.notify_all();
    let guard = m.lock_timeout(LONG).unwrap();
    let (guard, result) = c
        .wait_timeout_while(guard, Duration::from_millis(1), |_| true)
        .unwrap();
    assert!(result.timed_out());
    assert_eq!(guard[0], guard[1]);
    progress
}

/// Takes the pair one further, and tells; unless somebody did: then the sleepers find out without being told again.
fn step_and_notify(seg: &Segment) {
    let mut pair = match mutex::open(seg).lock() {
        Err(Error::Poisoned) => mutex::open(seg).recover().unwrap(),
        other => other.unwrap(),
    };
    if pair[1] != 0 {
        return;
    }
    *pair = [1; 2];
    drop(pair);
    open(seg).notify_all();
}

/// Waits until the pair has moved.
fn wait_for_a_step(seg: &Segment) {
    let m = mutex::open(seg);
    let c = open(seg);
    let guard = m.lock_timeout(LONG).unwrap();
    match c.wait_timeout_while(guard, LONG, |pair| pair[0] == 0) {
        Ok((_, result)) => assert!(!result.timed_out()),
        // The one who was to step died while it did.
        Err(e) => assert!(matches!(e, Error::Poisoned), "{e}"),
    }
}

pub fn subject() -> Subject {
    Subject::new("Condvar", make, mend, judge)
        .case(
            Case::new("wait, notified; a step", 4, |seg| {
                let (m, c) = (mutex::open(seg), open_tired(seg));
                Box::new(|| {
                    let guard = m.lock().unwrap();
                    let mut guard = c.wait_while(guard, |pair| pair[0] == 0).unwrap();
                    mutex::step(&mut guard);
                })
            })
            .woken_by(|seg| {
                let seg = seg.clone();
                Box::new(move || step_and_notify(&seg))
            }),
        )
        .case(Case::new("wait_timeout that passes; a step", 2, |seg| {
            let (m, c) = (mutex::open(seg), open_tired(seg));
            Box::new(|| {
                let guard = m.lock().unwrap();
                let (mut guard, _) = c.wait_timeout(guard, SHORT).unwrap();
                mutex::step(&mut guard);
            })
        }))
        .case(Case::new(
            "notify_one and notify_all, nobody waits",
            0,
            |seg| {
                let c = open(seg);
                Box::new(|| {
                    c.notify_one();
                    c.notify_all();
                })
            },
        ))
        .case(
            Case::new("a step, notify_one with a waiter", 2, |seg| {
                let (m, c) = (mutex::open(seg), open(seg));
                Box::new(|| {
                    mutex::step(&mut m.lock().unwrap());
                    c.notify_one();
                })
            })
            .peer(wait_for_a_step)
            .released_by(step_and_notify),
        )
        .case(
            Case::new("a step, notify_all with two waiters", 2, |seg| {
                let (m, c) = (mutex::open(seg), open(seg));
                Box::new(|| {
                    mutex::step(&mut m.lock().unwrap());
                    c.notify_all();
                })
            })
            .peer(wait_for_a_step)
            .peer(wait_for_a_step)
            .released_by(step_and_notify),
        )
}
