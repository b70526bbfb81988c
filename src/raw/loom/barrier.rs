//! The barrier: all pass or none, one leads, and a death after an arrival breaks the phase rather than strand the others.

use super::{Fate, call, call_until, explore, explore_under, id};
use crate::error::{Error, Result};
use crate::raw::Call;
use crate::raw::MemberId;
use crate::raw::barrier::{Arrivals, RawBarrier};
use crate::sys::atomic::Ordering::Relaxed;
use crate::sys::deadline::Deadline;
use crate::sys::model::{self, Oracle, Sleep};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

const MEMBERS: usize = 3;

struct Gate {
    raw: RawBarrier,
    parties: u32,
    all: [Arrivals; MEMBERS],
    /// Each party writes its own before it arrives, and reads the others' after it passed.
    before: [UnsafeCell<u32>; MEMBERS],
}

impl Gate {
    fn of(parties: u32) -> Arc<Gate> {
        Arc::new(Gate {
            raw: RawBarrier::new(),
            parties,
            all: std::array::from_fn(|_| Arrivals::new()),
            before: std::array::from_fn(|_| UnsafeCell::new(0)),
        })
    }

    fn wait(&self, call: &Call<'_, Oracle>) -> Result<bool> {
        self.raw.wait(self.parties, &self.all, call)
    }

    fn reset(&self, index: usize) {
        self.raw.reset(&self.all, &call(index)).unwrap();
    }

    /// A phase of which `who` are the parties: what each did before it is seen by all after it.
    fn pass(&self, index: usize, who: &[usize], call: &Call<'_, Oracle>) -> Result<bool> {
        // SAFETY: loom checks that nobody else has access now.
        self.before[index].with_mut(|n| unsafe { *n += 1 });
        let leads = self.wait(call)?;
        for &other in who {
            // SAFETY: as above.
            assert!(self.before[other].with(|n| unsafe { *n }) > 0);
        }
        Ok(leads)
    }
}

fn outcome(result: Result<bool>) -> &'static str {
    match result {
        Ok(true) => "leads",
        Ok(false) => "follows",
        Err(Error::Broken) => "broken",
        Err(Error::Timeout) => "late",
        Err(e) => panic!("{e}"),
    }
}

#[test]
fn all_pass_and_one_leads() {
    explore_under(Sleep::UntilWoken, &[], 1, 1, |_| {
        let g = Gate::of(3);
        let others = [1, 2].map(|i| {
            let g = g.clone();
            thread::spawn(move || outcome(g.pass(i, &[0, 1, 2], &call(i))))
        });
        let mut got = vec![outcome(g.pass(0, &[0, 1, 2], &call(0)))];
        got.extend(others.into_iter().map(|t| t.join().unwrap()));
        got.sort_unstable();
        assert_eq!(got, ["follows", "follows", "leads"]);
        assert_eq!(g.raw.waiting(), 0);
    });
}

#[test]
fn phase_after_phase_in_step() {
    explore(&[], 2, |_| {
        let g = Gate::of(2);
        let other = {
            let g = g.clone();
            thread::spawn(move || [(); 3].map(|()| outcome(g.wait(&call(1)))))
        };
        let mine = [(); 3].map(|()| outcome(g.wait(&call(0))));
        let other = other.join().unwrap();
        for pair in mine.iter().zip(&other) {
            assert!(matches!(
                pair,
                (&"leads", &"follows") | (&"follows", &"leads")
            ));
        }
    });
}

#[test]
fn a_party_that_dies_leaves_a_barrier_that_is_released_or_broken() {
    explore(&[1], 3, |fate: Fate| {
        let g = Gate::of(2);
        let other = {
            let g = g.clone();
            thread::spawn(move || {
                let got = fate.live(1, || g.pass(1, &[0, 1], &call(1)));
                if got.is_none() {
                    // Who dies before it arrived is not known to have been coming.
                    model::pass_time();
                }
                got.map(outcome)
            })
        };
        let mine = outcome(g.pass(0, &[0, 1], &call_until(0, Deadline::SOON)));
        match other.join().unwrap() {
            Some(other) => assert!(matches!(
                (mine, other),
                ("leads", "follows") | ("follows", "leads")
            )),
            None => match mine {
                "leads" | "follows" => assert!(!g.raw.is_broken()),
                _ => assert!(g.raw.is_broken()),
            },
        }
        g.reset(0);
        assert!(!g.raw.is_broken());
        assert_eq!(g.raw.waiting(), 0);
    });
}

#[test]
fn one_that_was_seen_to_have_arrived_breaks_the_phase_without_a_deadline() {
    explore_under(Sleep::UntilWoken, &[1], 1, 1, |fate: Fate| {
        let g = Gate::of(3);
        // It has arrived, so whoever of the others waits finds out, however long it can wait.
        let other = {
            let g = g.clone();
            thread::spawn(move || fate.live(1, || g.wait(&call(1))).map(outcome))
        };
        while g.raw.waiting() == 0 && !g.raw.is_broken() && other_lives() {
            thread::yield_now();
        }
        let arrived = g.raw.waiting() != 0;
        if !arrived {
            other.join().unwrap();
            return;
        }
        let third = {
            let g = g.clone();
            thread::spawn(move || outcome(g.wait(&call(2))))
        };
        let mine = outcome(g.wait(&call(0)));
        let third = third.join().unwrap();
        match other.join().unwrap() {
            Some(_) => assert!(mine != "broken" && third != "broken"),
            None => assert!((mine == "broken") == (third == "broken")),
        }
    });
}

fn other_lives() -> bool {
    use crate::raw::Membership;
    Oracle.is_alive(id(1))
}

#[test]
fn the_last_that_dies_over_the_release_strands_nobody() {
    explore(&[1], 2, |fate: Fate| {
        let g = Gate::of(2);
        let last = {
            let g = g.clone();
            thread::spawn(move || {
                while g.raw.waiting() == 0 && !g.raw.is_broken() {
                    thread::yield_now();
                }
                let got = fate.live(1, || g.wait(&call(1)));
                let word = g.raw.lock.word.load(Relaxed);
                if got.is_none() && MemberId::from_bits(word) != Some(id(1)) {
                    // It did not come as far as to the lock, so nobody knows that it was coming.
                    model::pass_time();
                }
                got.map(outcome)
            })
        };
        let mine = outcome(g.wait(&call_until(0, Deadline::SOON)));
        match last.join().unwrap() {
            Some(last) => assert_eq!((mine, last), ("follows", "leads")),
            None => assert!(matches!(mine, "follows" | "broken" | "late")),
        }
    });
}

#[test]
fn a_death_in_a_former_phase_is_forgotten() {
    explore(&[], 2, |_| {
        let g = Gate::of(2);
        // It arrives, breaks the phase because its time is up, and dies.
        assert_eq!(outcome(g.wait(&call_until(1, Deadline::PASSED))), "late");
        model::bury(id(1));
        g.reset(0);
        let other = {
            let g = g.clone();
            thread::spawn(move || outcome(g.wait(&call(2))))
        };
        let mine = outcome(g.wait(&call(0)));
        let pair = (mine, other.join().unwrap());
        assert!(matches!(pair, ("leads", "follows") | ("follows", "leads")));
    });
}

#[test]
fn one_whose_time_is_up_breaks_the_phase_or_passes_with_the_others() {
    explore(&[], 3, |_| {
        let g = Gate::of(2);
        let impatient = {
            let g = g.clone();
            thread::spawn(move || outcome(g.wait(&call_until(1, Deadline::SOON))))
        };
        model::pass_time();
        let mine = outcome(g.wait(&call(0)));
        let other = impatient.join().unwrap();
        match other {
            "late" => assert_eq!(mine, "broken"),
            "follows" => assert_eq!(mine, "leads"),
            "leads" => assert_eq!(mine, "follows"),
            other => panic!("{other}"),
        }
        assert_eq!(g.raw.is_broken(), mine == "broken");
    });
}

#[test]
fn a_reset_frees_those_who_wait_and_one_that_dies_over_it_strands_nobody() {
    explore(&[2], 2, |fate: Fate| {
        let g = Gate::of(2);
        let waiter = {
            let g = g.clone();
            thread::spawn(move || outcome(g.wait(&call(1))))
        };
        let resetter = {
            let g = g.clone();
            thread::spawn(move || fate.live(2, || g.reset(2)))
        };
        resetter.join().unwrap();
        // The waiter waits in this phase, unless it was reset or broken under it: then we are alone.
        model::pass_time();
        let mine = outcome(g.wait(&call_until(0, Deadline::SOON)));
        let others = waiter.join().unwrap();
        assert!(matches!(
            (mine, others),
            ("leads", "follows") | ("follows", "leads") | ("late" | "broken", "broken")
        ));
    });
}

#[test]
fn an_abort_frees_those_who_wait_and_a_reset_lets_them_begin_anew() {
    explore(&[], 3, |_| {
        let g = Gate::of(2);
        let waiter = {
            let g = g.clone();
            thread::spawn(move || outcome(g.wait(&call(1))))
        };
        g.raw.abort();
        assert_eq!(waiter.join().unwrap(), "broken");
        assert_eq!(outcome(g.wait(&call(0))), "broken");
        g.reset(0);
        let other = {
            let g = g.clone();
            thread::spawn(move || outcome(g.wait(&call(1))))
        };
        assert_ne!(outcome(g.wait(&call(0))), "broken");
        assert_ne!(other.join().unwrap(), "broken");
    });
}
