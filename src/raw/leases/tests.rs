//! What loom does not meet: numbers that come round, and words that a peer scribbled.

use super::word::{GAP, Says};
use super::*;
use crate::raw::MemberId;
use crate::raw::oracles::Awake;
use crate::sys::deadline::Deadline;
use crate::sys::spin::Adaptive;
use std::time::Duration;

const CAPACITY: u64 = 4;

struct Jobs {
    raw: RawQueue,
    words: [LeaseWord; CAPACITY as usize],
    items: [AtomicU64; CAPACITY as usize],
    asked: LastDone,
    spin: Adaptive,
}

fn id(slot: u32) -> MemberId {
    MemberId::new(slot, 7).unwrap()
}

impl Cells for Jobs {
    fn words(&self) -> &[LeaseWord] {
        &self.words
    }

    fn copy(&self, from: u64, to: u64) {
        self.item(to)
            .store(self.item(from).load(Ordering::Relaxed), Ordering::Relaxed);
    }

    fn asked(&self) -> &LastDone {
        &self.asked
    }

    fn member_slots(&self) -> usize {
        2
    }
}

impl Jobs {
    /// Items from `head` to `tail`, each its position; those before `cursor` are kept, as `kept` says.
    fn of(head: u64, cursor: u64, tail: u64, kept: &[Says]) -> Jobs {
        // SAFETY: all zero is an open, empty queue of which nothing is kept.
        let (raw, words): (RawQueue, [LeaseWord; 4]) = unsafe { std::mem::zeroed() };
        let jobs = Jobs {
            raw,
            words,
            items: Default::default(),
            asked: LastDone::never(),
            spin: Adaptive::new(),
        };
        let end = &jobs.raw.receivers;
        end.position.store(head, Ordering::Relaxed);
        end.kept.cursor.store(cursor, Ordering::Relaxed);
        jobs.raw.senders.position.store(tail, Ordering::Relaxed);
        for (at, says) in (head..).zip(kept) {
            jobs.leases().word(at).store(says.0, Ordering::Relaxed);
        }
        for n in 0..CAPACITY {
            let at = head.wrapping_add(n);
            jobs.item(at).store(at, Ordering::Relaxed);
        }
        jobs
    }

    fn leases(&self) -> Leases<'_, Jobs> {
        Leases {
            raw: &self.raw,
            capacity: CAPACITY,
            cells: self,
        }
    }

    fn item(&self, at: u64) -> &AtomicU64 {
        &self.items[(at % CAPACITY) as usize]
    }

    fn call(&self, deadline: Deadline) -> Call<'_, Awake> {
        Call {
            members: &Awake,
            me: id(1),
            spin: &self.spin,
            deadline,
        }
    }

    fn lease(&self) -> Result<(u64, Leased)> {
        let mut item = 0;
        let leased = self
            .leases()
            .try_lease(&self.call(Deadline::PASSED), |at| {
                item = self.item(at).load(Ordering::Relaxed);
                true
            })?;
        Ok((item, leased))
    }

    fn recv(&self) -> Result<u64> {
        let mut item = 0;
        let deadline = Deadline::after(Duration::from_millis(5));
        self.leases().recv(&self.call(deadline), 1, |at, _| {
            item = self.item(at).load(Ordering::Relaxed);
            1
        })?;
        Ok(item)
    }

    fn complete(&self, lease: Leased) -> Result<()> {
        self.leases().complete(&self.call(Deadline::NEVER), lease)
    }

    fn says(&self, at: u64) -> Says {
        Says(self.leases().word(at).load(Ordering::Relaxed))
    }

    fn count_returned(&self, count: u64) {
        let returned = &self.raw.receivers.kept.returned;
        returned.store(count, Ordering::Relaxed);
    }

    /// And the lock is left.
    fn is_corrupt<T>(&self, got: Result<T>) {
        assert!(matches!(got, Err(Error::Corrupt)));
        assert!(self.raw.receivers.lock.lock_at_once(id(0)));
        self.raw.receivers.lock.unlock();
    }
}

#[test]
fn a_number_that_comes_round_is_not_given_twice() {
    let round = 1 << 32;
    // Leased 2^32 items ago, and moved on and on.
    let old = Says::leased(id(1), 3);
    let jobs = Jobs::of(round + 2, round + 3, round + 5, &[old]);
    let old = Leased {
        at: 3,
        number: 3,
        redelivered: false,
    };
    jobs.raw.receivers.kept.since.store(3, Ordering::Relaxed);
    let (item, new) = jobs.lease().unwrap();
    assert_eq!(item, round + 3);
    assert_ne!(new.number, 3);
    let (item, newer) = jobs.lease().unwrap();
    assert_eq!((item, newer.number), (round + 4, 4));
    jobs.complete(new).unwrap();
    assert_eq!(jobs.leases().leased(), 2);
    // What is left of them are the other two.
    jobs.complete(old).unwrap();
    jobs.complete(newer).unwrap();
    assert!(jobs.leases().is_drained());
    jobs.is_corrupt(jobs.complete(new));
}

#[test]
fn positions_that_contradict_each_other_are_an_error() {
    const END: u64 = u64::MAX;
    for (head, cursor, tail) in [(1, 6, 3), (1, END, 3), (1, 5, 3), (END - 1, END, 2)] {
        let jobs = Jobs::of(head, cursor, tail, &[]);
        jobs.is_corrupt(jobs.lease());
        jobs.is_corrupt(jobs.recv());
        assert!(jobs.leases().len() <= CAPACITY && jobs.leases().leased() <= CAPACITY);
    }
}

#[test]
fn a_count_of_what_came_back_that_is_wrong_is_put_right() {
    let mine = Says::leased(id(1), 1);
    for count in [1, u64::MAX] {
        let jobs = Jobs::of(1, 2, 2, &[mine]);
        jobs.count_returned(count);
        assert!(matches!(jobs.recv(), Err(Error::Timeout)));
        assert_eq!(
            (jobs.leases().len(), jobs.leases().leased()),
            (0, 1),
            "{count}"
        );
    }
}

#[test]
fn a_gap_that_nobody_is_about_to_close_is_waited_for_by_nobody() {
    let mine = Says::leased(id(1), 2);
    for (kept, tail, left) in [(&[Says(GAP)][..], 2, 0), (&[mine, Says(GAP)], 3, 1)] {
        let jobs = Jobs::of(1, tail, tail, kept);
        jobs.raw.idle.close_without_lock();
        let closed = matches!(jobs.recv(), Err(Error::Closed));
        assert_eq!(closed, left == 0);
        // Its room is free.
        assert_eq!(jobs.raw.difference(), left);
        assert_eq!(jobs.leases().leased(), left);
    }
}

#[test]
fn what_came_back_and_is_not_counted_is_found_by_one_who_waits() {
    let returned = Says::leased(id(1), 1).returned();
    let jobs = Jobs::of(1, 2, 2, &[returned]);
    assert_eq!(jobs.recv().unwrap(), 1);
    assert!(jobs.leases().is_drained());
}

#[test]
fn what_is_kept_is_not_received_at_once() {
    let jobs = Jobs::of(5, 6, 7, &[]);
    let at_once = || {
        jobs.leases()
            .recv_at_once(id(1), &Adaptive::new(), |at| panic!("{at} is read"))
    };
    assert!(!at_once());
    // Nor is the lock kept.
    assert!(jobs.raw.receivers.lock.lock_at_once(id(2)));
    assert!(!at_once());
}

#[test]
fn a_lease_of_nobody_comes_back() {
    // No member ever bore this name.
    let nobody = Says(Says::leased(id(1), 1).0 & !(u64::from(MemberId::MASK) << 32) | 5 << 32);
    let jobs = Jobs::of(1, 3, 3, &[Says::leased(id(1), 2), nobody]);
    let (item, leased) = jobs.lease().unwrap();
    assert!(item == 2 && leased.redelivered);
    jobs.complete(leased).unwrap();
    assert!(jobs.says(2).is_lease_of(id(1), 2), "it was moved");
}

#[test]
fn what_is_no_value_is_an_error_and_taken_out() {
    let returned = Says::leased(id(1), 1).returned();
    for kept in [&[][..], &[returned], &[Says::leased(id(1), 1)]] {
        let jobs = Jobs::of(1, 1 + kept.len() as u64, 4, kept);
        jobs.count_returned(u64::from(kept == [returned]));
        let before = jobs.leases().len();
        let got = jobs
            .leases()
            .try_lease(&jobs.call(Deadline::PASSED), |_| false);
        jobs.is_corrupt(got);
        assert_eq!(jobs.leases().len(), before - 1);
        let (next, _) = jobs.lease().unwrap();
        assert_eq!(
            next,
            if kept.len() == 1 && kept[0] != returned {
                3
            } else {
                2
            }
        );
    }
}

#[test]
fn a_lock_that_is_never_left_does_not_outlast_a_deadline() {
    let jobs = Jobs::of(1, 2, 2, &[Says::leased(id(1), 1)]);
    assert!(jobs.raw.receivers.lock.lock_at_once(id(0)));
    assert!(matches!(jobs.recv(), Err(Error::Timeout)));
    assert!(matches!(jobs.lease(), Err(Error::Empty)));
}
