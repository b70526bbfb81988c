//! Two events, one that is cleared by hand and one that clears itself, and a count of the turns taken.

use crate::case::{Case, LONG, Look, SHORT, Subject, leak, tire};
use commonhold::{Atomics, Error, Event, Segment};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

fn open(seg: &Segment, name: &str) -> &'static Event {
    leak(Event::open(seg, name).unwrap())
}

fn manual(seg: &Segment) -> &'static Event {
    open(seg, "manual")
}

fn auto(seg: &Segment) -> &'static Event {
    open(seg, "auto")
}

fn tired(e: &'static Event) -> &'static Event {
    tire(|d| assert!(matches!(e.wait_timeout(d), Err(Error::Timeout))));
    e
}

fn turns(seg: &Segment) -> &'static Atomics<AtomicU64> {
    leak(Atomics::open(seg, "turns").unwrap())
}

fn make(seg: &Segment) {
    Event::create(seg, "manual").unwrap();
    Event::create_auto_reset(seg, "auto").unwrap();
    Atomics::<AtomicU64>::create(seg, "turns", 1).unwrap();
}

fn mend(seg: &Segment) {
    for e in [manual(seg), auto(seg)] {
        let _ = e.try_wait();
        e.set();
    }
}

/// Whether it was set; and then that it works.
fn look_at(e: &Event) -> u32 {
    let was_set = e.is_set();
    assert_eq!(e.try_wait().is_ok(), was_set);
    e.clear();
    let soon = Duration::from_millis(1);
    assert!(matches!(e.wait_timeout(soon), Err(Error::Timeout)));
    e.set();
    e.wait_timeout(LONG).unwrap();
    assert_eq!(e.is_set(), !e.is_auto_reset());
    u32::from(was_set)
}

fn manual_is_set(seg: &Segment, _: Look) -> u32 {
    look_at(auto(seg));
    look_at(manual(seg))
}

fn auto_is_set(seg: &Segment, _: Look) -> u32 {
    look_at(manual(seg));
    look_at(auto(seg))
}

fn wait_for_manual(seg: &Segment) {
    manual(seg).wait_timeout(LONG).unwrap();
}

/// Waits for its turn, and gives the next one its own.
fn take_a_turn(seg: &Segment) {
    auto(seg).wait_timeout(LONG).unwrap();
    auto(seg).set();
}

/// Unless it is: then the sleepers find out without being told again.
fn set_manual_if_need_be(seg: &Segment) {
    let e = manual(seg);
    if !e.is_set() {
        e.set();
    }
}

fn set_auto_if_need_be(seg: &Segment) {
    let e = auto(seg);
    if !e.is_set() {
        e.set();
    }
}

pub fn subject() -> Subject {
    Subject::new("Event", make, mend, manual_is_set)
        .case(Case::new("set, nobody waits", 1, |seg| {
            let e = manual(seg);
            Box::new(|| e.set())
        }))
        .case(
            Case::new("set, when it is set", 0, |seg| {
                let e = manual(seg);
                Box::new(|| e.set())
            })
            .before(|seg| manual(seg).set())
            .judged_by(|seg, look| 1 - manual_is_set(seg, look)),
        )
        .case(
            Case::new("clear", 1, |seg| {
                let e = manual(seg);
                Box::new(|| e.clear())
            })
            .before(|seg| manual(seg).set())
            .judged_by(|seg, look| 1 - manual_is_set(seg, look)),
        )
        .case(
            Case::new("wait, set by another", 1, |seg| {
                let e = tired(manual(seg));
                Box::new(|| e.wait().unwrap())
            })
            .woken_by(|seg| {
                let e = manual(seg);
                Box::new(|| e.set())
            }),
        )
        .case(Case::new("wait_timeout that passes", 0, |seg| {
            let e = tired(manual(seg));
            Box::new(|| assert!(matches!(e.wait_timeout(SHORT), Err(Error::Timeout))))
        }))
        .case(
            Case::new("set with two waiters", 1, |seg| {
                let e = manual(seg);
                Box::new(|| e.set())
            })
            .peer(wait_for_manual)
            .peer(wait_for_manual)
            .released_by(set_manual_if_need_be),
        )
        .case(
            Case::new("automatic: set, nobody waits", 1, |seg| {
                let e = auto(seg);
                Box::new(|| e.set())
            })
            .judged_by(auto_is_set),
        )
        .case(
            Case::new("automatic: try_wait", 1, |seg| {
                let e = auto(seg);
                Box::new(|| e.try_wait().unwrap())
            })
            .before(|seg| auto(seg).set())
            .judged_by(|seg, look| 1 - auto_is_set(seg, look)),
        )
        .case(
            Case::new("automatic: wait, set by another; a count", 1, |seg| {
                let (e, turns) = (tired(auto(seg)), turns(seg));
                Box::new(|| {
                    e.wait().unwrap();
                    turns[0].fetch_add(1, Relaxed);
                })
            })
            .woken_by(|seg| {
                let e = auto(seg);
                Box::new(|| e.set())
            })
            .judged_by(|seg, look| {
                let turns = turns(seg)[0].load(Relaxed) as u32;
                let is_set = auto_is_set(seg, look);
                // A mender sets it, too.
                assert!(
                    look == Look::Later || is_set + turns <= 1,
                    "one set, two turns"
                );
                turns
            }),
        )
        .case(
            Case::new("automatic: set with two who take turns", 1, |seg| {
                let e = auto(seg);
                Box::new(|| e.set())
            })
            .peer(take_a_turn)
            .peer(take_a_turn)
            .released_by(set_auto_if_need_be)
            .judged_by(auto_is_set),
        )
}
