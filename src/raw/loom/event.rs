//! The event: no set is lost, an automatic one lets one through, and who is let through sees what came before the set.

use super::{Fate, call, call_until, explore};
use crate::error::Error;
use crate::raw::event::{RawEvent, Reset};
use crate::sys::atomic::{
    AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
};
use crate::sys::deadline::Deadline;
use crate::sys::model;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

struct Announced {
    event: RawEvent,
    count: UnsafeCell<u32>,
}

impl Announced {
    fn new() -> Arc<Announced> {
        Arc::new(Announced {
            event: RawEvent::new(),
            count: UnsafeCell::new(0),
        })
    }

    fn add(&self) {
        // SAFETY: loom checks that nobody else has access now.
        self.count.with_mut(|c| unsafe { *c += 1 });
    }

    fn count(&self) -> u32 {
        // SAFETY: as above.
        self.count.with(|c| unsafe { *c })
    }

    /// Sets the event; if that one dies, another does it for it.
    fn set_by(&self, fate: Fate, index: usize, reset: Reset) {
        self.add();
        if fate.live(index, || self.event.set(reset)).is_none() && !self.event.is_set(reset) {
            self.event.set(reset);
        }
    }
}

fn one_waits(fate: Fate, reset: Reset) {
    let a = Announced::new();
    let setter = {
        let a = a.clone();
        thread::spawn(move || a.set_by(fate, 1, reset))
    };
    a.event.wait(&call(0), reset).unwrap();
    assert_eq!(a.count(), 1);
    setter.join().unwrap();
}

#[test]
fn a_set_ends_the_wait_also_of_one_whose_setter_died() {
    explore(&[1], 3, |fate| one_waits(fate, Reset::Manual));
    explore(&[1], 3, |fate| one_waits(fate, Reset::Automatic));
}

#[test]
fn a_manual_event_lets_all_through() {
    explore(&[1], 2, |fate: Fate| {
        let a = Announced::new();
        let threads = [1, 2].map(|i| {
            let a = a.clone();
            thread::spawn(move || {
                let waited = fate.live(i, || a.event.wait(&call(i), Reset::Manual));
                if let Some(waited) = waited {
                    assert!(waited.is_ok());
                    assert_eq!(a.count(), 1);
                }
            })
        });
        a.add();
        a.event.set(Reset::Manual);
        threads.into_iter().for_each(|t| t.join().unwrap());
        assert!(a.event.is_set(Reset::Manual));
    });
}

/// Who is let through lets the next one through: so the count belongs to one at a time, and the last one leaves the event set.
#[test]
fn an_automatic_event_lets_one_through_and_a_dead_waiter_takes_no_turn() {
    explore(&[1], 2, |fate: Fate| {
        let a = Announced::new();
        let threads = [1, 2].map(|i| {
            let a = a.clone();
            thread::spawn(move || {
                // Nothing comes between the access that takes the turn and the end of the wait: who dies has not taken it.
                let waited = fate.live(i, || a.event.wait(&call(i), Reset::Automatic));
                if let Some(waited) = &waited {
                    assert!(waited.is_ok());
                    a.add();
                    a.event.set(Reset::Automatic);
                }
                u32::from(waited.is_some())
            })
        });
        a.event.set(Reset::Automatic);
        let turns: u32 = threads.into_iter().map(|t| t.join().unwrap()).sum();
        assert!(turns == 2 || !fate.nobody_dies());
        assert!(a.event.try_wait(Reset::Automatic));
        assert_eq!(a.count(), turns);
        assert!(!a.event.try_wait(Reset::Automatic));
    });
}

#[test]
fn one_that_is_woken_and_gives_up_leaves_the_event_to_another() {
    explore(&[], 2, |_| {
        let a = Announced::new();
        let impatient = {
            let a = a.clone();
            thread::spawn(move || {
                let waited = a
                    .event
                    .wait(&call_until(1, Deadline::SOON), Reset::Automatic);
                match waited {
                    Ok(()) => a.event.set(Reset::Automatic),
                    Err(e) => assert!(matches!(e, Error::Timeout)),
                }
            })
        };
        let patient = {
            let a = a.clone();
            thread::spawn(move || a.event.wait(&call(2), Reset::Automatic).unwrap())
        };
        a.event.set(Reset::Automatic);
        model::pass_time();
        impatient.join().unwrap();
        patient.join().unwrap();
    });
}

/// The way to be told of work again and again: wait, clear, then look.
#[test]
fn who_clears_and_then_looks_misses_nothing() {
    explore(&[], 3, |_| {
        let a = Announced::new();
        let work = Arc::new(AtomicU32::new(0));
        // For something else, long ago.
        a.event.set(Reset::Manual);
        let setter = {
            let (a, work) = (a.clone(), work.clone());
            thread::spawn(move || {
                work.store(1, Relaxed);
                a.event.set(Reset::Manual);
            })
        };
        loop {
            a.event.wait(&call(0), Reset::Manual).unwrap();
            a.event.clear(Reset::Manual);
            if work.load(Relaxed) == 1 {
                break;
            }
        }
        setter.join().unwrap();
    });
}

/// A wait that began before the set ends, whatever is done after it.
#[test]
fn who_waits_goes_on_though_it_is_cleared_at_once() {
    explore(&[1], 3, |fate: Fate| {
        let a = Announced::new();
        let begun = Arc::new(AtomicU32::new(0));
        let waiter = {
            let (a, begun) = (a.clone(), begun.clone());
            thread::spawn(move || {
                let before = a.event.begin_to_wait();
                begun.store(1, Release);
                let waited = fate.live(1, || a.event.wait_from(before, &call(1)));
                assert!(waited.is_none_or(|w| w.is_ok()));
            })
        };
        if begun.load(Acquire) == 1 {
            a.event.set(Reset::Manual);
            a.event.clear(Reset::Manual);
            assert!(!a.event.is_set(Reset::Manual));
        } else {
            a.event.set(Reset::Manual);
        }
        waiter.join().unwrap();
    });
}
