//! The queue: each item once and in order, nobody forgotten, closed means drained.

use super::{Fate, call, call_until, check, explore, explore_deeper};
use crate::error::{Error, Result};
use crate::raw::Call;
use crate::raw::leases::{Cells, LeaseWord, Leases};
use crate::raw::queue::RawQueue;
use crate::sys::deadline::{Deadline, LastDone};
use crate::sys::model::{self, Oracle, Sleep};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

struct Ring<const N: usize> {
    raw: RawQueue,
    words: [LeaseWord; N],
    cells: [UnsafeCell<u64>; N],
}

impl<const N: usize> Ring<N> {
    fn new() -> Arc<Ring<N>> {
        Arc::new(Ring {
            raw: RawQueue::new(),
            words: std::array::from_fn(|_| LeaseWord::new()),
            cells: std::array::from_fn(|_| UnsafeCell::new(0)),
        })
    }

    fn send(&self, call: &Call<'_, Oracle>, item: u64) -> Result<()> {
        self.raw
            .send(N as u64, call, 1, |at, _| {
                // SAFETY: loom checks that nobody else has access now.
                self.cells[at as usize % N].with_mut(|c| unsafe { *c = item });
            })
            .map(drop)
    }

    fn recv(&self, call: &Call<'_, Oracle>) -> Result<u64> {
        let mut item = 0;
        self.leases().recv(call, 1, |at, _| {
            // SAFETY: loom checks that nobody else has access now.
            item = self.cells[at as usize % N].with(|c| unsafe { *c });
            1
        })?;
        Ok(item)
    }

    fn send_at_once(&self, call: &Call<'_, Oracle>, item: u64) -> bool {
        self.raw.send_at_once(N as u64, call.me, call.spin, |at| {
            // SAFETY: loom checks that nobody else has access now.
            self.cells[at as usize % N].with_mut(|c| unsafe { *c = item });
        })
    }

    fn recv_at_once(&self, call: &Call<'_, Oracle>) -> Option<u64> {
        let mut item = None;
        self.leases().recv_at_once(call.me, call.spin, |at| {
            // SAFETY: loom checks that nobody else has access now.
            item = Some(self.cells[at as usize % N].with(|c| unsafe { *c }));
        });
        item
    }

    /// The queue's receiving side.
    fn leases(&self) -> Leases<'_, Self> {
        Leases {
            raw: &self.raw,
            capacity: N as u64,
            cells: self,
        }
    }

    /// Receives until the queue is closed and drained.
    fn drain(&self, call: &Call<'_, Oracle>) -> Vec<u64> {
        let mut got = Vec::new();
        loop {
            match self.recv(call) {
                Ok(item) => got.push(item),
                Err(Error::Closed) => return got,
                Err(e) => panic!("{e}"),
            }
        }
    }
}

/// Nothing is leased here.
impl<const N: usize> Cells for Ring<N> {
    fn words(&self) -> &[LeaseWord] {
        &self.words
    }

    fn copy(&self, _: u64, _: u64) {
        unreachable!("nothing is kept")
    }

    fn asked(&self) -> &LastDone {
        static ASKED: LastDone = LastDone::never();
        &ASKED
    }

    fn member_slots(&self) -> usize {
        4
    }
}

#[test]
fn what_a_sender_committed_arrives_once_and_in_order() {
    explore_deeper(&[1], 2, 1, |fate: Fate| {
        let q = Ring::<1>::new();
        let sender = {
            let q = q.clone();
            thread::spawn(move || {
                let done = fate.live(1, || {
                    q.send(&call(1), 1).unwrap();
                    q.send(&call(1), 2).unwrap();
                });
                // Nobody else sends: whoever started the sender closes when it is gone.
                q.raw.close(&call(2)).unwrap();
                done.is_some()
            })
        };
        let got = q.drain(&call(0));
        let lived = sender.join().unwrap();
        assert!([1, 2].starts_with(&got), "{got:?}");
        assert!(!lived || got.len() == 2);
    });
}

#[test]
fn a_receiver_that_dies_takes_at_most_the_item_in_its_hand() {
    explore(&[1], 1, |fate: Fate| {
        let q = Ring::<2>::new();
        let receiver = {
            let q = q.clone();
            thread::spawn(move || {
                let mut got = Vec::new();
                let lived = fate.live(1, || {
                    if let Ok(item) = q.recv(&call(1)) {
                        got.push(item);
                    }
                });
                (lived.is_some(), got)
            })
        };
        let other = {
            let q = q.clone();
            thread::spawn(move || q.drain(&call(2)))
        };
        q.send(&call(0), 1).unwrap();
        q.send(&call(0), 2).unwrap();
        q.raw.close(&call(0)).unwrap();
        let (lived, mut all) = receiver.join().unwrap();
        let rest = other.join().unwrap();
        assert!(rest.is_sorted());
        all.extend(rest);
        all.sort_unstable();
        let in_hand = usize::from(!lived);
        assert!(all.len() + in_hand >= 2, "lost: {all:?}");
        all.dedup();
        assert!(all.len() <= 2 && all.iter().all(|i| [1, 2].contains(i)));
        assert!(!lived || all == [1, 2]);
    });
}

#[test]
fn a_receiver_that_dies_does_not_strand_a_sender_without_room() {
    explore_deeper(&[1], 2, 1, |fate: Fate| {
        let q = Ring::<1>::new();
        q.send(&call(0), 1).unwrap();
        let receiver = {
            let q = q.clone();
            thread::spawn(move || fate.live(1, || q.recv(&call(1)).unwrap()))
        };
        // A second receiver comes when the first is gone, as a restarted worker does.
        let sender = {
            let q = q.clone();
            thread::spawn(move || q.send(&call(2), 2).unwrap())
        };
        let first = receiver.join().unwrap();
        match first {
            Some(item) => assert_eq!(item, 1),
            None => {
                let item = q.recv(&call(0)).unwrap();
                if item == 2 {
                    // The dead one had taken the 1.
                    sender.join().unwrap();
                    return;
                }
                assert_eq!(item, 1);
            }
        }
        assert_eq!(q.recv(&call(0)).unwrap(), 2);
        sender.join().unwrap();
    });
}

#[test]
fn what_is_sent_at_once_wakes_who_waits_for_it() {
    explore(&[1], 2, |fate: Fate| {
        let q = Ring::<2>::new();
        let sender = {
            let q = q.clone();
            thread::spawn(move || {
                let sent = fate.live(1, || q.send_at_once(&call(1), 1));
                q.raw.close(&call(2)).unwrap();
                sent
            })
        };
        let got = q.drain(&call(0));
        match sender.join().unwrap() {
            Some(sent) => assert_eq!(got.len(), usize::from(sent)),
            // Before or after its store.
            None => assert!([1].starts_with(&got)),
        }
        // Nobody is left with the lock, and what is closed takes nothing.
        assert!(!q.send_at_once(&call(0), 2));
    });
}

#[test]
fn what_is_received_at_once_makes_room_for_who_waits_for_it() {
    explore(&[1], 1, |fate: Fate| {
        let q = Ring::<1>::new();
        q.send(&call(0), 1).unwrap();
        let receiver = {
            let q = q.clone();
            thread::spawn(move || fate.live(1, || q.recv_at_once(&call(1))))
        };
        let sender = {
            let q = q.clone();
            thread::spawn(move || q.send(&call(2), 2).unwrap())
        };
        let first = receiver.join().unwrap();
        if !matches!(first, Some(Some(1))) {
            // It died, or the lock was not free.
            let item = q.recv(&call(0)).unwrap();
            if item == 2 {
                assert_eq!(first, None, "only the dead can have taken the 1");
                return sender.join().unwrap();
            }
            assert_eq!(item, 1);
        }
        assert_eq!(q.recv(&call(0)).unwrap(), 2);
        sender.join().unwrap();
    });
}

#[test]
fn one_that_is_woken_and_gives_up_passes_the_wake_on() {
    // Of three that sleep two are woken. One holds the lock while the time passes; the other gives up waiting for that lock, and
    // its item is there for the third, who still sleeps. (Only under the futex that sleeps: the other has no sleepers.)
    check(Sleep::UntilWoken, 2, Fate { victim: None }, |_| {
        let q = Ring::<2>::new();
        let slow = {
            let q = q.clone();
            thread::spawn(move || {
                let read = |_, _| {
                    model::pass_time();
                    1
                };
                q.leases().recv(&call(1), 1, read).is_ok()
            })
        };
        let impatient = {
            let q = q.clone();
            thread::spawn(move || q.recv(&call_until(2, Deadline::SOON)).is_ok())
        };
        let patient = {
            let q = q.clone();
            thread::spawn(move || q.recv(&call(3)).is_ok())
        };
        q.send(&call(0), 1).unwrap();
        q.send(&call(0), 2).unwrap();
        let gave_up = !impatient.join().unwrap();
        if !gave_up {
            // One item for the two others.
            q.raw.close(&call(0)).unwrap();
        }
        let others = [slow, patient].map(|t| t.join().unwrap());
        assert_eq!(others.iter().all(|got| *got), gave_up);
    });
}

#[test]
fn a_batch_wakes_as_many_as_it_has_items_for() {
    explore(&[], 2, |_| {
        let q = Ring::<2>::new();
        let receivers = [1, 2].map(|i| {
            let q = q.clone();
            thread::spawn(move || q.recv(&call(i)).unwrap())
        });
        let mut sent = 0;
        while sent < 2 {
            sent += q
                .raw
                .send(2, &call(0), 2 - sent, |at, n| {
                    for i in at..at + n {
                        // SAFETY: loom checks that nobody else has access now.
                        q.cells[i as usize % 2].with_mut(|c| unsafe { *c = i });
                    }
                })
                .unwrap();
        }
        let mut got = receivers.map(|r| r.join().unwrap());
        got.sort_unstable();
        assert_eq!(got, [0, 1]);
    });
}

#[test]
fn a_close_frees_all_who_wait_for_room() {
    explore(&[], 2, |_| {
        let q = Ring::<1>::new();
        q.send(&call(0), 1).unwrap();
        let senders = [1, 2].map(|i| {
            let q = q.clone();
            thread::spawn(move || q.send(&call(i), 2))
        });
        q.raw.close(&call(0)).unwrap();
        for s in senders {
            assert!(matches!(s.join().unwrap(), Err(Error::Closed)));
        }
    });
}

#[test]
fn a_close_that_meets_a_send_loses_nothing_that_was_accepted() {
    explore_deeper(&[1], 2, 1, |fate: Fate| {
        let q = Ring::<1>::new();
        let sender = {
            let q = q.clone();
            thread::spawn(move || fate.live(1, || q.send(&call(1), 1).is_ok()))
        };
        let closer = {
            let q = q.clone();
            thread::spawn(move || q.raw.close(&call(2)).unwrap())
        };
        let got = q.drain(&call(0));
        closer.join().unwrap();
        match sender.join().unwrap() {
            Some(accepted) => assert_eq!(got.len(), usize::from(accepted)),
            None => assert!(got.len() <= 1),
        }
    });
}
