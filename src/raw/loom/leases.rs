//! Leases: what its holder did not complete is delivered again, what it completed never; nothing lost, nothing twice, nobody forgotten.

use super::{Fate, call, call_until, explore, explore_deeper, id};
use crate::error::{Error, Result};
use crate::raw::Call;
use crate::raw::leases::{Cells, LeaseWord, Leased, Leases};
use crate::raw::queue::RawQueue;
use crate::raw::wait::Look;
use crate::sys::deadline::{Deadline, LastDone};
use crate::sys::model::{self, Oracle};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

struct Jobs<const N: usize> {
    raw: RawQueue,
    words: [LeaseWord; N],
    cells: [UnsafeCell<u64>; N],
}

impl<const N: usize> Jobs<N> {
    /// With the items 1 to `count` in it.
    fn of(count: u64) -> Arc<Jobs<N>> {
        let jobs = Arc::new(Jobs {
            raw: RawQueue::new(),
            words: std::array::from_fn(|_| LeaseWord::new()),
            cells: std::array::from_fn(|_| UnsafeCell::new(0)),
        });
        (1..=count).for_each(|item| jobs.send(&call(0), item));
        jobs
    }

    fn leases(&self) -> Leases<'_, Self> {
        Leases {
            raw: &self.raw,
            capacity: N as u64,
            cells: self,
        }
    }

    fn read(&self, at: u64) -> u64 {
        // SAFETY: loom checks that nobody writes now.
        self.cells[at as usize % N].with(|c| unsafe { *c })
    }

    fn write(&self, at: u64, item: u64) {
        // SAFETY: loom checks that nobody else has access now.
        self.cells[at as usize % N].with_mut(|c| unsafe { *c = item });
    }

    fn send(&self, call: &Call<'_, Oracle>, item: u64) {
        let write = |at, _| self.write(at, item);
        self.raw.send(N as u64, call, 1, write).unwrap();
    }

    fn recv(&self, call: &Call<'_, Oracle>) -> Result<u64> {
        let mut item = 0;
        let read = |at, _| {
            item = self.read(at);
            1
        };
        self.leases().recv(call, 1, read)?;
        Ok(item)
    }

    fn lease(&self, call: &Call<'_, Oracle>) -> Result<(u64, Leased)> {
        let mut item = 0;
        let read = |at| {
            item = self.read(at);
            true
        };
        let leased = self.leases().lease(call, read)?;
        Ok((item, leased))
    }

    fn try_lease(&self, index: usize) -> Result<Leased> {
        let call = call_until(index, Deadline::PASSED);
        self.leases().try_lease(&call, |at| self.read(at) != 0)
    }

    fn complete(&self, index: usize, lease: Leased) {
        self.leases().complete(&call(index), lease).unwrap();
    }

    fn give_back(&self, index: usize, lease: Leased) {
        self.leases().give_back(&call(index), lease).unwrap();
    }

    /// Leases and completes until the queue is closed and nothing is left to do.
    fn work(&self, index: usize) -> Vec<u64> {
        let mut done = Vec::new();
        loop {
            match self.lease(&call(index)) {
                Ok((item, lease)) => {
                    done.push(item);
                    self.complete(index, lease);
                }
                Err(Error::Closed) => return done,
                Err(e) => panic!("{e}"),
            }
        }
    }

    /// Member 1, who receives an item unless it dies first.
    fn start_a_receiver(q: &Arc<Self>, fate: Fate) -> thread::JoinHandle<Vec<u64>> {
        let q = q.clone();
        thread::spawn(move || {
            let mut got = Vec::new();
            fate.live(1, || got.push(q.recv(&call(1)).unwrap()));
            got
        })
    }

    /// While member 1 receives an item, unless it dies first, member 0 leases one that came back and completes it: that one, and what
    /// member 1 got.
    fn redeliver_beside_a_receiver(q: &Arc<Self>, fate: Fate) -> (u64, Vec<u64>) {
        let receiver = Jobs::start_a_receiver(q, fate);
        let (item, lease) = q.lease(&call(0)).unwrap();
        assert!(lease.redelivered);
        q.complete(0, lease);
        (item, receiver.join().unwrap())
    }

    /// Nobody else is at work, or holds a lease and lives: what member `index` gets, until nothing is left.
    fn finish(&self, index: usize) -> Vec<u64> {
        self.raw.close(&call(index)).unwrap();
        let done = self.work(index);
        assert!(self.leases().try_join(&call(index)).unwrap());
        assert_eq!((self.leases().len(), self.leases().leased()), (0, 0));
        done
    }
}

impl<const N: usize> Cells for Jobs<N> {
    fn words(&self) -> &[LeaseWord] {
        &self.words
    }

    fn copy(&self, from: u64, to: u64) {
        let item = self.read(from);
        self.write(to, item);
    }

    fn asked(&self) -> &LastDone {
        static ASKED: LastDone = LastDone::never();
        &ASKED
    }

    fn member_slots(&self) -> usize {
        3
    }
}

/// All of `expected` are done, each once; one of those in doubt may be missing.
fn check_done(done: &[&[u64]], expected: &[u64], in_doubt: &[u64]) {
    let mut all = done.concat();
    all.sort_unstable();
    let mut with_doubt = all.clone();
    with_doubt.dedup();
    assert_eq!(all, with_doubt, "done twice: {done:?}");
    for item in expected {
        assert!(
            all.contains(item) || in_doubt.contains(item),
            "lost: {item} of {done:?}"
        );
    }
    assert!(all.iter().all(|i| expected.contains(i)), "{done:?}");
}

#[test]
fn what_a_dead_worker_leased_is_done_by_another() {
    explore_deeper(&[1], 2, 1, |fate: Fate| {
        let q = Jobs::<2>::of(2);
        q.raw.close(&call(0)).unwrap();
        let worker = {
            let q = q.clone();
            thread::spawn(move || {
                let (mut done, mut begun) = (Vec::new(), Vec::new());
                fate.live(1, || {
                    let Ok((item, lease)) = q.lease(&call(1)) else {
                        return;
                    };
                    begun.push(item);
                    q.complete(1, lease);
                    done.push(item);
                });
                (done, begun)
            })
        };
        let rest = q.work(0);
        let (done, begun) = worker.join().unwrap();
        // It died in `complete`: the item was completed, or came back.
        let doubt = if done.is_empty() { &begun[..] } else { &[] };
        check_done(&[&rest, &done], &[1, 2], doubt);
        assert!(q.finish(2).is_empty());
    });
}

#[test]
fn what_is_completed_in_the_midst_leaves_no_gap() {
    explore_deeper(&[1], 2, 1, |fate: Fate| {
        let q = Jobs::<3>::of(3);
        let (one, first) = q.lease(&call(0)).unwrap();
        let (two, second) = q.lease(&call(1)).unwrap();
        let (three, third) = q.lease(&call(0)).unwrap();
        assert_eq!([one, two, three], [1, 2, 3]);
        let middle = {
            let q = q.clone();
            thread::spawn(move || fate.live(1, || q.complete(1, second)).is_some())
        };
        let sender = {
            let q = q.clone();
            // There is room once anything is completed.
            thread::spawn(move || q.send(&call(2), 4))
        };
        q.complete(0, third);
        let lived = middle.join().unwrap();
        sender.join().unwrap();
        q.complete(0, first);
        let rest = q.finish(2);
        let mut done = vec![1, 3];
        done.extend(lived.then_some(2));
        check_done(&[&done, &rest], &[1, 2, 3, 4], &[2]);
        assert!(!lived || rest == [4]);
    });
}

#[test]
fn who_receives_past_what_is_kept_keeps_it_whole() {
    explore_deeper(&[1], 2, 1, |fate: Fate| {
        let q = Jobs::<3>::of(3);
        let (_, first) = q.lease(&call(0)).unwrap();
        let (_, second) = q.lease(&call(0)).unwrap();
        let receiver = Jobs::start_a_receiver(&q, fate);
        let sender = {
            let q = q.clone();
            thread::spawn(move || q.send(&call(2), 4))
        };
        q.complete(0, second);
        let got = receiver.join().unwrap();
        sender.join().unwrap();
        q.complete(0, first);
        let rest = q.finish(2);
        // What it received and did not tell went with it. Of 3 and 4 it gets the first.
        let doubt: &[u64] = if got.is_empty() { &[3] } else { &[] };
        check_done(&[&[1, 2], &got, &rest], &[1, 2, 3, 4], doubt);
    });
}

#[test]
fn what_is_given_back_goes_to_one_who_waits() {
    explore(&[1], 2, |fate: Fate| {
        let q = Jobs::<2>::of(1);
        let (_, lease) = q.lease(&call(1)).unwrap();
        let holder = {
            let q = q.clone();
            thread::spawn(move || {
                fate.live(1, || q.give_back(1, lease));
            })
        };
        let (item, lease) = q.lease(&call(0)).unwrap();
        assert!(item == 1 && lease.redelivered);
        q.complete(0, lease);
        holder.join().unwrap();
        assert!(q.finish(2).is_empty());
    });
}

#[test]
fn of_those_who_meet_what_came_back_one_gets_it() {
    explore(&[1], 2, |fate: Fate| {
        let q = Jobs::<2>::of(2);
        let (_, first) = q.lease(&call(0)).unwrap();
        let (_, second) = q.lease(&call(0)).unwrap();
        q.give_back(0, second);
        q.give_back(0, first);
        let (item, got) = Jobs::redeliver_beside_a_receiver(&q, fate);
        let rest = q.finish(2);
        let doubt: &[u64] = if got.is_empty() { &[1, 2] } else { &[] };
        check_done(&[&[item], &got, &rest], &[1, 2], doubt);
        // The oldest first, whoever came first.
        assert!(item == 1 || got.is_empty() || got == [1]);
    });
}

#[test]
fn a_join_ends_with_the_last_completion_and_sees_what_was_done() {
    explore_deeper(&[1], 2, 1, |fate: Fate| {
        let q = Jobs::<2>::of(1);
        let done = Arc::new(UnsafeCell::new(0));
        let (_, lease) = q.lease(&call(1)).unwrap();
        q.raw.close(&call(0)).unwrap();
        let worker = {
            let (q, done) = (q.clone(), done.clone());
            thread::spawn(move || {
                let lived = fate.live(1, || {
                    // SAFETY: loom checks that nobody else has access now.
                    done.with_mut(|d| unsafe { *d = 1 });
                    q.complete(1, lease);
                });
                if lived.is_some() {
                    return;
                }
                // Another is started in its stead.
                while let Ok((_, lease)) = q.lease(&call(2)) {
                    // SAFETY: as above.
                    done.with_mut(|d| unsafe { *d = 1 });
                    q.complete(2, lease);
                }
            })
        };
        q.leases().join(&call(0)).unwrap();
        // SAFETY: as above.
        assert_eq!(done.with(|d| unsafe { *d }), 1);
        worker.join().unwrap();
        assert!(q.finish(2).is_empty());
    });
}

#[test]
fn a_join_finds_by_itself_that_the_last_lease_was_completed() {
    explore(&[1], 2, |fate: Fate| {
        let q = Jobs::<2>::of(1);
        let (_, lease) = q.lease(&call(1)).unwrap();
        let worker = {
            let q = q.clone();
            thread::spawn(move || {
                fate.live(1, || q.complete(1, lease));
                model::pass_time();
            })
        };
        // Nobody else comes to the receivers' lock. One whose time passes at the very moment of the death need not have asked.
        let joined = q.leases().join(&call_until(0, Deadline::SOON));
        worker.join().unwrap();
        let done = match joined {
            Err(Error::Timeout) => q.leases().try_join(&call(0)).unwrap(),
            other => other.map(|()| true).unwrap(),
        };
        assert_eq!(q.finish(2).is_empty(), done);
    });
}

#[test]
fn who_waits_at_a_closed_queue_is_told_when_the_last_lease_ends() {
    explore_deeper(&[1], 2, 1, |fate: Fate| {
        let q = Jobs::<1>::of(1);
        let (_, lease) = q.lease(&call(1)).unwrap();
        let holder = {
            let q = q.clone();
            thread::spawn(move || fate.live(1, || q.complete(1, lease)).is_some())
        };
        let closer = {
            let q = q.clone();
            thread::spawn(move || q.raw.close(&call(2)).unwrap())
        };
        let rest = q.work(0);
        let lived = holder.join().unwrap();
        closer.join().unwrap();
        assert!(rest.is_empty() || !lived && rest == [1]);
        assert!(q.finish(2).is_empty());
    });
}

#[test]
fn one_who_dies_taking_back_the_leases_of_the_dead_loses_none() {
    explore(&[1], 1, |fate: Fate| {
        let q = Jobs::<2>::of(2);
        let _dead = [q.lease(&call(2)).unwrap(), q.lease(&call(2)).unwrap()];
        model::bury(id(2));
        let (item, got) = Jobs::redeliver_beside_a_receiver(&q, fate);
        let rest = q.finish(0);
        let doubt: &[u64] = if got.is_empty() { &[1, 2] } else { &[] };
        check_done(&[&[item], &got, &rest], &[1, 2], doubt);
    });
}

#[test]
fn one_that_gives_up_leaves_what_came_back_to_another() {
    explore(&[], 2, |_| {
        let q = Jobs::<1>::of(1);
        let (_, lease) = q.lease(&call(0)).unwrap();
        let impatient = {
            let q = q.clone();
            thread::spawn(move || q.recv(&call_until(1, Deadline::SOON)).is_ok())
        };
        let patient = {
            let q = q.clone();
            thread::spawn(move || q.recv(&call(2)).is_ok())
        };
        q.give_back(0, lease);
        model::pass_time();
        if impatient.join().unwrap() {
            q.raw.close(&call(0)).unwrap();
            assert!(!patient.join().unwrap());
        } else {
            assert!(patient.join().unwrap());
        }
    });
}

#[test]
fn who_tries_while_others_get_on_is_told_that_there_is_nothing() {
    explore(&[], 2, |_| {
        let q = Jobs::<1>::of(1);
        let (_, lease) = q.lease(&call(1)).unwrap();
        let worker = {
            let q = q.clone();
            thread::spawn(move || {
                q.complete(1, lease);
                q.send(&call(1), 2);
                let _until_the_end = q.try_lease(1);
            })
        };
        match q.try_lease(0) {
            Ok(_) | Err(Error::Empty) => {}
            Err(e) => panic!("{e}"),
        }
        worker.join().unwrap();
    });
}

#[test]
fn who_only_looks_finds_what_one_left_that_died_giving_back_or_completing() {
    fn ends(fate: Fate, end: fn(&Jobs<1>, Leased)) {
        let q = Jobs::<1>::of(1);
        let (_, lease) = q.lease(&call(1)).unwrap();
        q.raw.close(&call(0)).unwrap();
        fate.live(1, || end(&q, lease));
        // It came back, or the queue is drained: no call would wait.
        let look = Look::AskingAfterOwners;
        assert!(q.leases().is_worth_receiving(&call(0), look));
        assert!(q.finish(2).len() <= 1);
    }
    explore(&[1], 1, |fate| ends(fate, |q, lease| q.give_back(1, lease)));
    explore(&[1], 1, |fate| ends(fate, |q, lease| q.complete(1, lease)));
}

#[test]
fn no_more_is_counted_than_there_ever_was() {
    explore(&[], 2, |_| {
        let q = Jobs::<3>::of(1);
        let worker = {
            let q = q.clone();
            thread::spawn(move || {
                for item in 2..4 {
                    let lease = q.try_lease(1).unwrap();
                    q.complete(1, lease);
                    q.send(&call(1), item);
                }
            })
        };
        assert!(q.raw.len(3) <= 1, "in all");
        assert!(q.leases().len() <= 1, "waiting");
        assert!(q.leases().leased() <= 1, "leased");
        worker.join().unwrap();
    });
}
