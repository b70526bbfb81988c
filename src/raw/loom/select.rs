//! Waiting for any of several signals: what comes first is seen, and whoever only looked leaves no other asleep.

use super::{Fate, SPIN, call, call_until, explore, id};
use crate::error::{Error, Result};
use crate::raw::MemberId;
use crate::raw::event::{RawEvent, Reset};
use crate::raw::select::{Any, Source};
use crate::raw::signal::RawSignal;
use crate::raw::wait::Look;
use crate::sys::deadline::{Deadline, LastDone};
use crate::sys::model::{self, Oracle};
use loom::sync::Arc;
use loom::thread;

/// An automatic event: only one of those who wait gets it.
struct Turn(Arc<RawEvent>);

impl Source<Oracle> for Turn {
    fn members(&self) -> &Oracle {
        &Oracle
    }

    fn signal(&self) -> &RawSignal {
        &self.0.changed
    }

    fn is_ready(&self, _: Look) -> bool {
        self.0.is_set(Reset::Automatic)
    }
}

fn two() -> [Arc<RawEvent>; 2] {
    [(); 2].map(|()| Arc::new(RawEvent::new()))
}

/// Which of the two is set. Takes nothing.
fn select(
    events: &[Arc<RawEvent>; 2],
    index: usize,
    from: usize,
    deadline: Deadline,
) -> Result<usize> {
    let sources: Vec<(std::sync::Arc<Turn>, MemberId)> = events
        .iter()
        .map(|e| (std::sync::Arc::new(Turn(e.clone())), id(index)))
        .collect();
    Any {
        sources: &sources,
        from,
        spin: &SPIN,
        asked: &LastDone::never(),
        deadline,
    }
    .wait()
}

/// Sets the event; if that one dies, another does it for it.
fn set_by(fate: Fate, index: usize, event: &RawEvent) {
    let set = || event.set(Reset::Automatic);
    if fate.live(index, set).is_none() && !event.is_set(Reset::Automatic) {
        event.set(Reset::Automatic);
    }
}

#[test]
fn either_signal_ends_the_wait_also_if_the_notifier_died() {
    for which in [0, 1] {
        let run = [first as fn(Fate), second][which];
        explore(&[1], 2, run);
    }
    fn first(fate: Fate) {
        one(fate, 0);
    }
    fn second(fate: Fate) {
        one(fate, 1);
    }
    fn one(fate: Fate, which: usize) {
        let events = two();
        let setter = {
            let event = events[which].clone();
            thread::spawn(move || set_by(fate, 1, &event))
        };
        assert_eq!(select(&events, 0, 0, Deadline::NEVER).unwrap(), which);
        setter.join().unwrap();
    }
}

/// The selecter sleeps on both; both are set; it goes away with one, and never takes the other, for which somebody waits.
#[test]
fn who_goes_elsewhere_leaves_no_other_waiter_asleep() {
    explore(&[1], 2, |fate: Fate| {
        let events = two();
        let selecter = {
            let events = events.clone();
            thread::spawn(move || {
                // Looks at the other one first, so that both ways out are tried.
                let chosen = fate.live(1, || select(&events, 1, 1, Deadline::NEVER).unwrap());
                chosen.is_some()
            })
        };
        let waiter = {
            let event = events[0].clone();
            thread::spawn(move || event.wait(&call(2), Reset::Automatic).unwrap())
        };
        events[1].set(Reset::Automatic);
        events[0].set(Reset::Automatic);
        waiter.join().unwrap();
        let lived = selecter.join().unwrap();
        assert!(lived || !fate.nobody_dies());
    });
}

#[test]
fn who_gives_up_leaves_no_other_waiter_asleep() {
    explore(&[], 2, |_| {
        let events = two();
        let impatient = {
            let events = events.clone();
            thread::spawn(move || match select(&events, 1, 0, Deadline::SOON) {
                Ok(0) | Err(Error::Timeout) => {}
                other => panic!("{other:?}"),
            })
        };
        let waiter = {
            let event = events[0].clone();
            thread::spawn(move || event.wait(&call_until(2, Deadline::NEVER), Reset::Automatic))
        };
        events[0].set(Reset::Automatic);
        model::pass_time();
        impatient.join().unwrap();
        waiter.join().unwrap().unwrap();
    });
}

/// Two that look and then take: one set serves one, the other is served by the next.
#[test]
fn two_who_select_and_take_share_what_comes() {
    explore(&[], 2, |_| {
        let events = two();
        let takers = [1, 2].map(|index| {
            let events = events.clone();
            thread::spawn(move || {
                loop {
                    let chosen = select(&events, index, index, Deadline::NEVER).unwrap();
                    if events[chosen].try_wait(Reset::Automatic) {
                        return chosen;
                    }
                }
            })
        });
        events[0].set(Reset::Automatic);
        events[1].set(Reset::Automatic);
        let mut took = takers.map(|t| t.join().unwrap());
        took.sort_unstable();
        assert_eq!(took, [0, 1]);
    });
}
