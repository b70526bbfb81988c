//! The once: it is done once, unless whoever does it dies; and who finds it done sees what was done.

use super::{Fate, call, call_until, explore};
use crate::error::{Error, Result};
use crate::raw::once::{Before, RawOnce};
use crate::sys::deadline::Deadline;
use crate::sys::model;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

struct Done {
    once: RawOnce,
    /// How often a closure was begun, and what the last one was told.
    count: UnsafeCell<(u32, Option<Before>)>,
}

impl Done {
    fn new() -> Arc<Done> {
        Arc::new(Done {
            once: RawOnce::new(),
            count: UnsafeCell::new((0, None)),
        })
    }

    fn note(&self, before: Before) {
        self.count.with_mut(|c| {
            // SAFETY: loom checks that nobody else has access now.
            let (count, told) = unsafe { &mut *c };
            assert_eq!(*count == 0, told.is_none());
            *count += 1;
            *told = Some(before);
        });
    }

    /// Runs, and sees that it is done.
    fn run(&self, index: usize) -> Result<()> {
        self.once.run(&call(index), |before| {
            self.note(before);
            Ok(())
        })
    }

    fn noted(&self) -> (u32, Option<Before>) {
        // SAFETY: as above.
        self.count.with(|c| unsafe { *c })
    }
}

#[test]
fn it_is_done_once_and_again_only_after_a_death() {
    explore(&[1], 2, |fate: Fate| {
        let d = Done::new();
        let threads = [1, 2].map(|i| {
            let d = d.clone();
            thread::spawn(move || {
                let ran = fate.live(i, || d.run(i));
                if let Some(ran) = ran {
                    ran.unwrap();
                    assert!(d.noted().0 >= 1);
                }
            })
        });
        d.run(0).unwrap();
        let (count, told) = d.noted();
        threads.into_iter().for_each(|t| t.join().unwrap());
        assert_eq!(d.noted(), (count, told), "after it was done");
        match told.unwrap() {
            Before::Untouched => assert_eq!(count, 1),
            // It died before it ran, or after.
            Before::Unfinished => assert!(!fate.nobody_dies() && count <= 2),
        }
        assert!(d.once.is_completed());
    });
}

#[test]
fn one_who_waits_sees_what_was_done_also_if_the_first_to_do_it_dies() {
    explore(&[1], 3, |fate: Fate| {
        let d = Done::new();
        let runner = {
            let d = d.clone();
            thread::spawn(move || {
                if fate.live(1, || d.run(1)).is_none() {
                    d.run(2).unwrap();
                }
            })
        };
        d.once.wait(&call(0)).unwrap();
        assert!(d.noted().0 >= 1);
        runner.join().unwrap();
    });
}

#[test]
fn one_that_fails_leaves_it_to_the_next_and_says_so() {
    explore(&[], 3, |_| {
        let d = Done::new();
        let fails = {
            let d = d.clone();
            thread::spawn(move || {
                d.once.run(&call(1), |before| {
                    d.note(before);
                    // As a panic does.
                    Err(Error::Broken)
                })
            })
        };
        d.run(0).unwrap();
        let (count, told) = d.noted();
        match fails.join().unwrap() {
            // It came too late.
            Ok(()) => assert_eq!((count, told), (1, Some(Before::Untouched))),
            Err(Error::Broken) => assert_eq!((count, told), (2, Some(Before::Unfinished))),
            Err(e) => panic!("{e}"),
        }
    });
}

#[test]
fn whoever_is_not_kept_waiting_finds_it_done() {
    explore(&[1], 2, |fate: Fate| {
        let d = Done::new();
        let runner = {
            let d = d.clone();
            thread::spawn(move || {
                fate.live(1, || d.run(1));
            })
        };
        let impatient = {
            let d = d.clone();
            thread::spawn(move || {
                let run = |before| {
                    d.note(before);
                    Ok(())
                };
                match d.once.run(&call_until(2, Deadline::SOON), run) {
                    Ok(()) => assert!(d.noted().0 >= 1),
                    Err(e) => assert!(matches!(e, Error::Timeout)),
                }
            })
        };
        model::pass_time();
        let tried = d.once.try_run(&call(0), |before| {
            d.note(before);
            Ok(())
        });
        match tried {
            Ok(()) => assert!(d.noted().0 >= 1),
            Err(e) => assert!(matches!(e, Error::WouldBlock)),
        }
        runner.join().unwrap();
        impatient.join().unwrap();
        // Nobody is left who could be in the way.
        let again = d.once.try_run(&call(0), |before| {
            d.note(before);
            Ok(())
        });
        assert!(again.is_ok() && d.noted().0 >= 1);
    });
}
