//! The task board: each task is done, and each of its items counts, once; no wake-up is lost, and no task with a dead worker.

use super::{Fate, call, call_until, explore, explore_deeper};
use crate::error::{Error, Result};
use crate::raw::Call;
use crate::raw::board::{
    Books, Claim, OutcomeHead, Place, Progress, RawBoard, Slots, Task, TaskHead, Waiter,
};
use crate::sys::deadline::Deadline;
use crate::sys::model::{self, Oracle};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

/// A board of `N` slots, each with a number as its input, and for each of two items one as its outcome.
struct Board<const N: usize> {
    raw: RawBoard,
    tasks: [TaskHead; N],
    outcomes: [OutcomeHead; N],
    inputs: [UnsafeCell<u64>; N],
    results: [[UnsafeCell<u64>; 2]; N],
    waiter: Waiter,
    /// The kernel said that the worker is dead.
    reaped: AtomicBool,
}

impl<const N: usize> Slots for Board<N> {
    fn count(&self) -> usize {
        N
    }
    fn task(&self, index: usize) -> &TaskHead {
        &self.tasks[index]
    }
    fn outcome(&self, index: usize) -> &OutcomeHead {
        &self.outcomes[index]
    }
}

/// What the parent is, in these models, as a member.
const PARENT: usize = 0;

impl<const N: usize> Board<N> {
    fn new() -> (Arc<Board<N>>, Books) {
        let number = || UnsafeCell::new(0);
        let board = Board {
            raw: RawBoard::new(),
            tasks: std::array::from_fn(|_| TaskHead::new()),
            outcomes: std::array::from_fn(|_| OutcomeHead::new()),
            inputs: std::array::from_fn(|_| number()),
            results: std::array::from_fn(|_| [number(), number()]),
            waiter: Waiter::new(),
            reaped: AtomicBool::new(false),
        };
        (Arc::new(board), Books::new(N))
    }

    fn publish(&self, books: &mut Books, items: u32, input: u64) -> Place {
        let task = Task {
            function: input as u32,
            items,
            input_bytes: 8,
            timed: false,
        };
        let write = |index: u32| {
            // SAFETY: loom checks that nobody else has access now.
            self.inputs[index as usize].with_mut(|i| unsafe { *i = input });
            Ok(())
        };
        let place = self.raw.publish(self, books, &task, write).unwrap();
        place.expect("a slot is free")
    }

    fn claim(&self, call: &Call<'_, Oracle>) -> Result<Claim> {
        self.raw.claim(self, call, call.me.slot())
    }

    /// Does a task: to each item it gives what the input is, times its number from 1 on.
    fn carry_out(&self, claim: Claim) {
        let at = claim.index as usize;
        // SAFETY: loom checks that nobody writes now.
        let input = self.inputs[at].with(|i| unsafe { *i });
        assert_eq!(u64::from(claim.function), input, "a torn task");
        for items in 1..=claim.items {
            let result = input * u64::from(items);
            // SAFETY: loom checks that nobody else has access now.
            self.results[at][items as usize - 1].with_mut(|o| unsafe { *o = result });
            self.outcomes[at].account(Progress {
                items,
                bytes: 8 * u64::from(items),
                is_last: items == claim.items,
            });
        }
        self.raw.finish(claim.index);
    }

    /// Works until the board is closed.
    fn work(&self, index: usize) {
        loop {
            match self.claim(&call(index)) {
                Ok(claim) => self.carry_out(claim),
                Err(Error::Closed) => return,
                Err(e) => panic!("{e}"),
            }
        }
    }

    /// What the kernel does when a worker is gone, dead or not: the parent is told.
    fn report(&self, died: bool) {
        self.reaped.store(died, Ordering::Release);
        self.raw.nudge(&self.waiter);
    }

    /// The outcomes of a slot, which is free then.
    fn take(&self, books: &mut Books, place: Place) -> Vec<u64> {
        let progress = self.raw.progress(self, books, place).unwrap();
        assert_eq!(progress.bytes, 8 * u64::from(progress.items));
        let results = &self.results[place.index as usize][..progress.items as usize];
        // SAFETY: loom checks that nobody writes now.
        let got = results.iter().map(|r| r.with(|r| unsafe { *r })).collect();
        books.release(place);
        got
    }

    /// Waits for the next that has ended; with the outcomes of those that the worker `index` left, if it is dead.
    fn next(&self, books: &mut Books, index: usize) -> (Place, Vec<u64>) {
        let mut ended = Vec::new();
        loop {
            self.raw.collect(self, books, &mut ended);
            if ended.is_empty() && self.reaped.load(Ordering::Acquire) {
                let worker = index as u32;
                self.raw.abandoned_by(self, books, worker, &mut ended);
                if ended.is_empty() {
                    // Nobody else is there to claim it.
                    let claim = self.claim(&call_until(3, Deadline::PASSED));
                    self.carry_out(claim.expect("a task is lost"));
                    continue;
                }
            }
            if let Some(place) = ended.pop() {
                assert!(ended.is_empty());
                return (place, self.take(books, place));
            }
            self.raw
                .wait_for_results(self, &call(PARENT), &self.waiter)
                .unwrap();
        }
    }
}

#[test]
fn a_task_is_done_and_what_a_dead_worker_did_of_it_stands() {
    explore_deeper(&[1], 2, 2, |fate: Fate| {
        let (b, mut books) = Board::<1>::new();
        let worker = {
            let b = b.clone();
            thread::spawn(move || {
                let done = fate.live(1, || b.carry_out(b.claim(&call(1)).unwrap()));
                b.report(done.is_none());
            })
        };
        let place = b.publish(&mut books, 2, 7);
        let (ended, got) = b.next(&mut books, 1);
        assert_eq!(ended, place);
        assert!([7, 14].starts_with(&got), "{got:?}");
        assert!(fate.victim.is_some() || got == [7, 14]);
        worker.join().unwrap();
        if got.len() < 2 {
            // What is left is done by another: the slot serves again.
            let again = b.publish(&mut books, 2, 9);
            let claim = b.claim(&call_until(2, Deadline::PASSED)).unwrap();
            b.carry_out(claim);
            assert_eq!(b.next(&mut books, 1), (again, vec![9, 18]));
        }
        assert_eq!(books.free(), 1);
    });
}

#[test]
fn each_of_two_workers_that_wait_is_woken_for_a_task_of_its_own() {
    explore(&[], 1, |_| {
        let (b, mut books) = Board::<2>::new();
        let workers = [1, 2].map(|i| {
            let b = b.clone();
            thread::spawn(move || b.claim(&call(i)).unwrap().index)
        });
        for input in [7, 8] {
            b.publish(&mut books, 1, input);
        }
        let [one, other] = workers.map(|w| w.join().unwrap());
        assert_ne!(one, other);
    });
}

#[test]
fn a_worker_that_dies_takes_no_wake_up_with_it() {
    explore(&[1], 1, |fate: Fate| {
        let (b, mut books) = Board::<1>::new();
        let mortal = {
            let b = b.clone();
            thread::spawn(move || fate.live(1, || b.work(1)).is_none())
        };
        let other = {
            let b = b.clone();
            thread::spawn(move || b.work(2))
        };
        b.publish(&mut books, 1, 7);
        b.raw.close();
        let died = mortal.join().unwrap();
        other.join().unwrap();
        let mut ended = Vec::new();
        if died {
            b.raw.abandoned_by(&*b, &mut books, 1, &mut ended);
        }
        b.raw.collect(&*b, &mut books, &mut ended);
        // Closed, it was not left behind ready.
        let [place] = ended[..] else {
            panic!("{ended:?}")
        };
        let got = b.take(&mut books, place);
        assert!([7].starts_with(&got) && (died || got == [7]), "{got:?}");
    });
}

#[test]
fn a_task_is_taken_back_or_done_and_never_both() {
    explore_deeper(&[], 2, 1, |_| {
        let (b, mut books) = Board::<1>::new();
        let worker = {
            let b = b.clone();
            thread::spawn(move || b.work(1))
        };
        let mut expected = vec![7];
        let place = b.publish(&mut books, 1, 7);
        if b.raw.take_back(&*b, &mut books, place) {
            assert_eq!(books.free(), 1);
            b.publish(&mut books, 1, 9);
            expected = vec![9];
        }
        let (_, got) = b.next(&mut books, 1);
        assert_eq!(got, expected);
        b.raw.close();
        worker.join().unwrap();
    });
}

#[test]
fn one_that_waits_is_found_after_many_were_taken_back() {
    explore(&[], 2, |_| {
        let (b, mut books) = Board::<2>::new();
        b.publish(&mut books, 1, 7);
        let worker = {
            let b = b.clone();
            thread::spawn(move || {
                let claims = [(); 2].map(|()| b.claim(&call(1)).unwrap());
                claims.map(|c| c.function)
            })
        };
        let mut last = 7;
        // The last one's entry is wanted where that of the first stands.
        for input in 8..12 {
            let place = b.publish(&mut books, 1, input);
            last = u32::try_from(input).unwrap();
            if input < 11 && !b.raw.take_back(&*b, &mut books, place) {
                break;
            }
        }
        // Which of them first is not said: what is in the way of new entries is put behind others.
        let mut got = worker.join().unwrap();
        got.sort_unstable();
        assert_eq!(got, [7, last]);
    });
}

#[test]
fn a_claim_by_an_entry_of_a_later_time_gets_that_task_whole() {
    explore(&[], 2, |_| {
        let (b, mut books) = Board::<1>::new();
        let worker = {
            let b = b.clone();
            thread::spawn(move || b.carry_out(b.claim(&call(1)).unwrap()))
        };
        // The third stands in the cell of the first, which the worker may be about to look at.
        let mut last = 0;
        for input in 7..10 {
            last = input;
            let place = b.publish(&mut books, 1, input);
            if input < 9 && !b.raw.take_back(&*b, &mut books, place) {
                break;
            }
        }
        assert_eq!(b.next(&mut books, 1).1, [last]);
        worker.join().unwrap();
    });
}

#[test]
fn results_of_two_workers_are_each_collected_once() {
    explore(&[], 2, |_| {
        let (b, mut books) = Board::<2>::new();
        for input in [7, 8] {
            b.publish(&mut books, 1, input);
        }
        let workers = [1, 2].map(|i| {
            let b = b.clone();
            thread::spawn(move || b.carry_out(b.claim(&call(i)).unwrap()))
        });
        let mut got = Vec::new();
        let mut ended = Vec::new();
        while got.len() < 2 {
            b.raw
                .wait_for_results(&*b, &call(PARENT), &b.waiter)
                .unwrap();
            b.raw.collect(&*b, &mut books, &mut ended);
            for place in ended.drain(..) {
                got.extend(b.take(&mut books, place));
            }
        }
        for worker in workers {
            worker.join().unwrap();
        }
        got.sort_unstable();
        assert_eq!((got, books.free()), (vec![7, 8], 2));
    });
}

#[test]
fn a_look_at_all_finds_a_slot_before_its_bit_is_set_and_the_late_bit_ends_nothing() {
    explore(&[], 3, |_| {
        let (b, mut books) = Board::<1>::new();
        b.publish(&mut books, 1, 7);
        let worker = {
            let b = b.clone();
            thread::spawn(move || b.carry_out(b.claim(&call(1)).unwrap()))
        };
        let mut ended = Vec::new();
        b.raw.collect_all(&*b, &mut books, 2, &mut ended);
        let found = ended.pop();
        if let Some(place) = found {
            assert_eq!(b.take(&mut books, place), [7]);
            b.publish(&mut books, 1, 9);
            b.raw.collect(&*b, &mut books, &mut ended);
        }
        worker.join().unwrap();
        b.raw.collect(&*b, &mut books, &mut ended);
        assert_eq!(ended.len(), usize::from(found.is_none()));
    });
}

#[test]
fn one_that_gives_up_leaves_its_wake_up_to_another() {
    explore(&[], 1, |_| {
        let (b, mut books) = Board::<1>::new();
        let impatient = {
            let b = b.clone();
            thread::spawn(move || {
                if let Ok(claim) = b.claim(&call_until(1, Deadline::SOON)) {
                    b.carry_out(claim);
                }
            })
        };
        let patient = {
            let b = b.clone();
            thread::spawn(move || b.work(2))
        };
        b.publish(&mut books, 1, 7);
        model::pass_time();
        assert_eq!(b.next(&mut books, 1).1, [7]);
        b.raw.close();
        impatient.join().unwrap();
        patient.join().unwrap();
    });
}

#[test]
fn the_time_that_is_seen_is_that_of_the_item_that_is_seen_or_of_a_later_one() {
    explore(&[], 3, |_| {
        let (b, mut books) = Board::<1>::new();
        b.publish(&mut books, 2, 7);
        let claim = b.claim(&call(1)).unwrap();
        b.outcomes[0].begin(100);
        let worker = {
            let b = b.clone();
            thread::spawn(move || {
                b.outcomes[claim.index as usize].begin(101);
                b.outcomes[claim.index as usize].account(Progress {
                    items: 1,
                    bytes: 8,
                    is_last: false,
                });
            })
        };
        let running: Vec<_> = b.raw.running(&*b, &books).collect();
        let [running] = running[..] else {
            panic!("{running:?}")
        };
        assert_eq!(running.worker, 1);
        assert!(running.started.unwrap() >= 100 + u64::from(running.items));
        worker.join().unwrap();
    });
}
