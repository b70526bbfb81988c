//! The semaphore: no more permits are out than there are, none is lost, and those of the dead come back.

use super::{Fate, call, call_until, explore, explore_deeper, id};
use crate::error::{Error, Result};
use crate::raw::Call;
use crate::raw::semaphore::RawSemaphore;
use crate::raw::tally::Tally;
use crate::sys::atomic::Ordering::Relaxed;
use crate::sys::deadline::{Deadline, LastDone};
use crate::sys::model::{self, Oracle};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

const MEMBERS: usize = 3;

struct Pool {
    raw: RawSemaphore,
    tallies: [Tally; MEMBERS],
    /// Touched only by who has the one permit.
    alone: UnsafeCell<u32>,
}

impl Pool {
    fn of(permits: u64) -> Arc<Pool> {
        Arc::new(Pool {
            raw: RawSemaphore::new(permits),
            tallies: std::array::from_fn(|_| Tally::new()),
            alone: UnsafeCell::new(0),
        })
    }

    fn acquire(&self, call: &Call<'_, Oracle>) -> Result<()> {
        self.raw.acquire(&self.tallies, call, &LastDone::never())
    }

    fn try_acquire(&self, index: usize) -> Result<()> {
        self.raw
            .try_acquire(&self.tallies, &call_until(index, Deadline::PASSED))
    }

    fn release(&self, index: usize) {
        self.raw.release(&self.tallies, &call(index)).unwrap();
    }

    fn add(&self, index: usize, count: u64) {
        self.raw.add(&self.tallies, &call(index), count).unwrap();
    }

    fn forget(&self, index: usize) {
        self.raw.forget(&self.tallies, &call(index)).unwrap();
    }

    fn alone(&self) {
        // SAFETY: loom checks that nobody else has access now.
        self.alone.with_mut(|n| unsafe { *n += 1 });
    }

    /// Nobody is at work: how many permits member `index` can get, all of them.
    fn drain(&self, index: usize) -> u64 {
        let mut got = 0;
        loop {
            match self.try_acquire(index) {
                Ok(()) => got += 1,
                Err(Error::WouldBlock) => break,
                Err(e) => panic!("{e}"),
            }
        }
        let mine = self.tallies[index].load(Relaxed).by(id(index));
        assert_eq!(self.raw.total.load(Relaxed), u64::from(mine));
        assert_eq!(self.raw.available(), 0);
        got
    }
}

#[test]
fn one_permit_lets_one_in_at_a_time_and_comes_back_from_the_dead() {
    explore_deeper(&[1], 2, 2, |fate: Fate| {
        let p = Pool::of(1);
        let user = {
            let p = p.clone();
            thread::spawn(move || {
                fate.live(1, || {
                    p.acquire(&call(1)).unwrap();
                    p.alone();
                    p.release(1);
                });
            })
        };
        p.acquire(&call(0)).unwrap();
        p.alone();
        p.release(0);
        user.join().unwrap();
        assert_eq!(p.drain(2), 1);
    });
}

#[test]
fn a_release_wakes_one_for_each_permit() {
    explore(&[], 2, |_| {
        let p = Pool::of(0);
        let takers = [1, 2].map(|i| {
            let p = p.clone();
            thread::spawn(move || p.acquire(&call(i)).unwrap())
        });
        p.add(0, 2);
        takers.into_iter().for_each(|t| t.join().unwrap());
        assert_eq!((p.raw.available(), p.raw.total.load(Relaxed)), (0, 2));
    });
}

#[test]
fn one_who_dies_adding_has_added_all_or_nothing() {
    explore(&[1], 2, |fate: Fate| {
        let p = Pool::of(0);
        let adder = {
            let p = p.clone();
            thread::spawn(move || {
                let lived = fate.live(1, || p.add(1, 2)).is_some();
                if !lived {
                    model::pass_time();
                }
                lived
            })
        };
        let got = u64::from(p.acquire(&call_until(0, Deadline::SOON)).is_ok());
        let lived = adder.join().unwrap();
        let all = got + p.drain(0);
        assert!(all == 2 || !lived && all == 0, "{all}");
    });
}

#[test]
fn a_permit_that_is_forgotten_is_gone_or_its_dead_holder_s_came_back() {
    explore(&[1], 2, |fate: Fate| {
        let p = Pool::of(1);
        p.acquire(&call(1)).unwrap();
        let holder = {
            let p = p.clone();
            thread::spawn(move || fate.live(1, || p.forget(1)).is_some())
        };
        let got = p.try_acquire(0);
        if !matches!(got, Ok(()) | Err(Error::WouldBlock)) {
            panic!("{got:?}");
        }
        let lived = holder.join().unwrap();
        let all = u64::from(got.is_ok()) + p.drain(0);
        assert!(all == 0 || !lived && all == 1, "{all}");
    });
}

#[test]
fn one_that_gives_up_leaves_its_wake_up_to_another() {
    explore(&[], 2, |_| {
        let p = Pool::of(0);
        let impatient = {
            let p = p.clone();
            thread::spawn(move || p.acquire(&call_until(1, Deadline::SOON)).is_ok())
        };
        let patient = {
            let p = p.clone();
            thread::spawn(move || p.acquire(&call(2)).unwrap())
        };
        p.add(0, 1);
        model::pass_time();
        if impatient.join().unwrap() {
            p.add(0, 1);
        }
        patient.join().unwrap();
    });
}

#[test]
fn one_who_dies_taking_back_the_permits_of_the_dead_loses_none() {
    explore(&[1], 2, |fate: Fate| {
        let p = Pool::of(1);
        p.acquire(&call(2)).unwrap();
        model::bury(id(2));
        let mender = {
            let p = p.clone();
            thread::spawn(move || {
                fate.live(1, || {
                    p.acquire(&call(1)).unwrap();
                    p.alone();
                    p.release(1);
                });
            })
        };
        p.acquire(&call(0)).unwrap();
        p.alone();
        p.release(0);
        mender.join().unwrap();
        assert_eq!(p.drain(0), 1);
    });
}
