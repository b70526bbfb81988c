//! The condition variable: no notify is lost, also when a waiter that was woken dies, and waiting leaves the mutex.

use super::{Fate, call, call_until, explore};
use crate::error::Error;
use crate::raw::Call;
use crate::raw::condvar::RawCondvar;
use crate::raw::mutex::{Heir, RawMutex};
use crate::sys::deadline::Deadline;
use crate::sys::model::{self, Oracle};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

struct Tokens {
    mutex: RawMutex,
    ready: RawCondvar,
    tokens: UnsafeCell<Count>,
}

#[derive(Clone, Copy, Default)]
struct Count {
    given: u32,
    taken: u32,
}

impl Tokens {
    fn new() -> Arc<Tokens> {
        Arc::new(Tokens {
            mutex: RawMutex::new(),
            ready: RawCondvar::new(),
            tokens: UnsafeCell::new(Count::default()),
        })
    }

    /// As a robust program does: whatever state the dead left, it is good.
    fn lock(&self, call: &Call<'_, Oracle>) {
        self.mutex.lock(call, Heir::Recovers).unwrap();
    }

    fn with<R>(&self, f: impl FnOnce(&mut Count) -> R) -> R {
        // SAFETY: loom checks that nobody else has access now.
        self.tokens.with_mut(|c| f(unsafe { &mut *c }))
    }

    /// Takes a token, or gives up when the call's time has passed and there is none.
    fn take(&self, call: &Call<'_, Oracle>) -> bool {
        let relock = super::call_until(0, Deadline::NEVER);
        let relock = Call {
            me: call.me,
            ..relock
        };
        self.lock(&relock);
        let mut late = false;
        loop {
            let got = self.with(|c| {
                let any = c.given > c.taken;
                c.taken += u32::from(any);
                any
            });
            if got || late {
                self.mutex.unlock();
                return got;
            }
            match self.ready.wait(&self.mutex, call, &relock) {
                Ok(timed_out) => late = timed_out,
                Err(Error::Poisoned) => self.lock(&relock),
                Err(e) => panic!("{e}"),
            }
        }
    }

    fn give(&self, call: &Call<'_, Oracle>) {
        self.lock(call);
        self.with(|c| c.given += 1);
        self.mutex.unlock();
        self.ready.notify_one();
    }
}

/// A patient user's call, who gives up only when the time has passed.
fn patient(index: usize) -> Call<'static, Oracle> {
    call_until(index, Deadline::SOON)
}

#[test]
fn a_notify_reaches_a_waiter_and_a_dead_notifier_leaves_the_deadline_in_force() {
    explore(&[1], 3, |fate: Fate| {
        let t = Tokens::new();
        let giver = {
            let t = t.clone();
            thread::spawn(move || {
                let lived = fate.live(1, || t.give(&call(1))).is_some();
                if !lived {
                    model::pass_time();
                }
                lived
            })
        };
        let got = t.take(&patient(0));
        let lived = giver.join().unwrap();
        assert!(got || !lived);
    });
}

#[test]
fn each_of_two_waiters_gets_its_token_unless_it_dies() {
    explore(&[1], 2, |fate: Fate| {
        let t = Tokens::new();
        let takers: Vec<_> = (1..3)
            .map(|i| {
                let t = t.clone();
                thread::spawn(move || fate.live(i, || t.take(&call(i))))
            })
            .collect();
        t.give(&call(0));
        t.give(&call(0));
        let got: Vec<_> = takers.into_iter().map(|t| t.join().unwrap()).collect();
        // Two were given, so the survivor's was there, whatever the dead one did or was woken for.
        assert_eq!(got[1], Some(true));
        assert!(got[0] == Some(true) || !fate.nobody_dies());
    });
}

#[test]
fn notify_all_reaches_all_whatever_they_are_doing() {
    explore(&[0], 2, |fate: Fate| {
        let t = Tokens::new();
        let takers: Vec<_> = (1..3)
            .map(|i| {
                let t = t.clone();
                thread::spawn(move || t.take(&patient(i)))
            })
            .collect();
        let giver = fate.live(0, || {
            t.lock(&call(0));
            t.with(|c| c.given += 2);
            t.mutex.unlock();
            t.ready.notify_all();
        });
        if giver.is_none() {
            model::pass_time();
        }
        let got: Vec<_> = takers.into_iter().map(|t| t.join().unwrap()).collect();
        if giver.is_some() {
            assert_eq!(got, [true, true]);
        }
    });
}
