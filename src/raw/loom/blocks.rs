//! Pools of blocks: each block has one holder, what was sent arrives, and nothing is lost to the dead.

use super::{Fate, call, call_until, explore, explore_deeper, explore_under, id};
use crate::error::{Error, Result};
use crate::raw::Call;
use crate::raw::blocks::{BlockId, BlockWord, RawBlocks, Search};
use crate::raw::leases::{Cells, LeaseWord, Leases};
use crate::raw::queue::RawQueue;
use crate::sys::deadline::{Deadline, LastDone};
use crate::sys::model::{self, Oracle, Sleep};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

/// Where the queue of these models stands.
const PLACE: u32 = 5;

/// A pool of `N` blocks, each of one number, and a queue of `Q` handles.
struct Pool<const N: usize, const Q: usize> {
    raw: RawBlocks,
    words: [BlockWord; N],
    blocks: [UnsafeCell<u64>; N],
    queue: RawQueue,
    lease_words: [LeaseWord; Q],
    cells: [UnsafeCell<BlockId>; Q],
}

impl<const N: usize, const Q: usize> Pool<N, Q> {
    fn new() -> Arc<Pool<N, Q>> {
        Arc::new(Pool {
            raw: RawBlocks::new(),
            words: std::array::from_fn(|_| BlockWord::new()),
            blocks: std::array::from_fn(|_| UnsafeCell::new(0)),
            queue: RawQueue::new(),
            lease_words: std::array::from_fn(|_| LeaseWord::new()),
            cells: std::array::from_fn(|_| {
                UnsafeCell::new(BlockId {
                    index: u32::MAX,
                    sequence: 0,
                })
            }),
        })
    }

    fn loan(&self, call: &Call<'_, Oracle>) -> Result<BlockId> {
        let lost = || false;
        self.raw.loan(&self.words, call, &Search::new(), lost)
    }

    fn try_loan(&self, index: usize) -> Result<BlockId> {
        let (call, lost) = (call_until(index, Deadline::PASSED), || false);
        self.raw.try_loan(&self.words, &call, &Search::new(), lost)
    }

    fn give_back(&self, index: usize, block: BlockId) {
        self.raw.give_back(&self.words, id(index), block);
    }

    fn write(&self, block: BlockId, value: u64) {
        // SAFETY: loom checks that nobody else has access now.
        self.blocks[block.index as usize].with_mut(|b| unsafe { *b = value });
    }

    fn read(&self, block: BlockId) -> u64 {
        // SAFETY: loom checks that nobody writes now.
        self.blocks[block.index as usize].with(|b| unsafe { *b })
    }

    /// Has a block for itself, as whoever loans one does.
    fn use_one(&self, index: usize) {
        let block = self.loan(&call(index)).unwrap();
        self.write(block, index as u64);
        self.give_back(index, block);
    }

    fn send(&self, index: usize, block: BlockId) {
        let publish = || {
            let write = |at, _| {
                // SAFETY: loom checks that nobody else has access now.
                self.cells[at as usize % Q].with_mut(|c| unsafe { *c = block });
            };
            self.queue.send(Q as u64, &call(index), 1, write).map(drop)
        };
        block.send(&self.words, id(index), PLACE, publish).unwrap();
    }

    fn handle_at(&self, position: u64) -> BlockId {
        // SAFETY: loom checks that nobody writes now.
        self.cells[position as usize % Q].with(|c| unsafe { *c })
    }

    /// The queue's receiving side.
    fn leases(&self) -> Leases<'_, Self> {
        Leases {
            raw: &self.queue,
            capacity: Q as u64,
            cells: self,
        }
    }

    /// The next handle's block, if it serves.
    fn receive(&self, call: &Call<'_, Oracle>) -> Result<Option<BlockId>> {
        let mut block = None;
        let take = |at, _| {
            block = self.handle_at(at).receive(&self.words, call);
            1
        };
        self.leases().recv(call, 1, take)?;
        Ok(block)
    }

    /// Receives until the queue is closed and drained, and gives all back: what was in the blocks.
    fn drain(&self, index: usize) -> Vec<u64> {
        let mut got = Vec::new();
        loop {
            match self.receive(&call(index)) {
                Ok(Some(block)) => {
                    got.push(self.read(block));
                    self.give_back(index, block);
                }
                Ok(None) => {}
                Err(Error::Closed) => return got,
                Err(e) => panic!("{e}"),
            }
        }
    }

    fn free_lost(&self, index: usize) -> bool {
        let call = call(index);
        let look = |see: &mut dyn FnMut(BlockId)| {
            let look = |at| see(self.handle_at(at));
            self.leases().look_through(&call, look)
        };
        self.raw.free_lost(&self.words, PLACE, look).unwrap()
    }

    /// Nobody is at work, and the queue is empty: each block can be had.
    fn all_are_there(&self, index: usize) {
        let got = [(); N].map(|()| self.try_loan(index).expect("a block is lost"));
        for (i, block) in got.iter().enumerate() {
            assert!(got[..i].iter().all(|b| b.index != block.index));
        }
        assert!(matches!(self.try_loan(index), Err(Error::WouldBlock)));
        assert_eq!(self.raw.available(&self.words), 0);
    }
}

/// Nothing is leased here.
impl<const N: usize, const Q: usize> Cells for Pool<N, Q> {
    fn words(&self) -> &[LeaseWord] {
        &self.lease_words
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
fn a_block_has_one_holder_and_comes_back_from_the_dead() {
    explore_deeper(&[1], 2, 2, |fate: Fate| {
        let p = Pool::<1, 1>::new();
        let user = {
            let p = p.clone();
            thread::spawn(move || fate.live(1, || p.use_one(1)))
        };
        p.use_one(0);
        user.join().unwrap();
        p.all_are_there(2);
    });
}

#[test]
fn each_of_two_who_wait_is_woken_for_a_block_of_its_own() {
    explore(&[], 1, |_| {
        let p = Pool::<2, 1>::new();
        let held = [0; 2].map(|i| p.loan(&call(i)).unwrap());
        let users = [1, 2].map(|i| {
            let p = p.clone();
            // And keeps it.
            thread::spawn(move || p.loan(&call(i)).unwrap())
        });
        held.into_iter().for_each(|block| p.give_back(0, block));
        let [a, b] = users.map(|u| u.join().unwrap());
        assert_ne!(a.index, b.index);
    });
}

#[test]
fn one_that_gives_up_leaves_its_wake_up_to_another() {
    explore(&[], 1, |_| {
        let p = Pool::<1, 1>::new();
        let held = p.loan(&call(0)).unwrap();
        let impatient = {
            let p = p.clone();
            thread::spawn(move || {
                if let Ok(block) = p.loan(&call_until(1, Deadline::SOON)) {
                    p.give_back(1, block);
                }
            })
        };
        let patient = {
            let p = p.clone();
            thread::spawn(move || p.use_one(2))
        };
        p.give_back(0, held);
        model::pass_time();
        impatient.join().unwrap();
        patient.join().unwrap();
    });
}

#[test]
fn one_who_dies_freeing_the_blocks_of_the_dead_loses_none() {
    explore(&[1], 1, |fate: Fate| {
        let p = Pool::<2, 1>::new();
        for _ in 0..2 {
            p.loan(&call(2)).unwrap();
        }
        model::bury(id(2));
        let mender = {
            let p = p.clone();
            thread::spawn(move || fate.live(1, || p.use_one(1)))
        };
        p.use_one(0);
        mender.join().unwrap();
        p.all_are_there(0);
    });
}

#[test]
fn what_was_sent_arrives_whole_and_what_a_dead_sender_had_comes_back() {
    explore_deeper(&[1], 2, 2, |fate: Fate| {
        let p = Pool::<1, 1>::new();
        let sender = {
            let p = p.clone();
            thread::spawn(move || {
                let done = fate.live(1, || {
                    let block = p.loan(&call(1)).unwrap();
                    p.write(block, 7);
                    p.send(1, block);
                });
                p.queue.close(&call(2)).unwrap();
                done.is_some()
            })
        };
        let got = p.drain(0);
        let lived = sender.join().unwrap();
        assert!([7].starts_with(&got), "{got:?}");
        assert!(!lived || got == [7]);
        p.all_are_there(2);
    });
}

#[test]
fn what_was_sent_outlives_its_sender() {
    loom::model(|| {
        let p = Pool::<1, 1>::new();
        let block = p.loan(&call(1)).unwrap();
        p.write(block, 7);
        p.send(1, block);
        model::bury(id(1));
        assert!(matches!(p.try_loan(2), Err(Error::WouldBlock)));
        p.queue.close(&call(0)).unwrap();
        assert_eq!(p.drain(0), [7]);
        p.all_are_there(2);
    });
}

#[test]
fn a_dead_sender_s_block_is_received_or_loaned_and_never_both() {
    explore(&[1], 1, |fate: Fate| {
        let p = Pool::<1, 1>::new();
        let block = p.loan(&call(1)).unwrap();
        p.write(block, 7);
        let sender = {
            let p = p.clone();
            thread::spawn(move || {
                let done = fate.live(1, || p.send(1, block));
                p.queue.close(&call(2)).unwrap();
                done.is_some()
            })
        };
        let loaner = {
            let p = p.clone();
            thread::spawn(move || {
                if let Ok(block) = p.try_loan(3) {
                    p.write(block, 9);
                    p.give_back(3, block);
                }
            })
        };
        let got = p.drain(0);
        loaner.join().unwrap();
        let lived = sender.join().unwrap();
        assert!([7].starts_with(&got), "{got:?}");
        assert!(!lived || got == [7]);
        p.all_are_there(2);
    });
}

#[test]
fn an_old_handle_does_not_serve_for_what_the_next_holder_died_with() {
    explore(&[1], 1, |fate: Fate| {
        let p = Pool::<1, 1>::new();
        let block = p.loan(&call(1)).unwrap();
        p.write(block, 7);
        fate.live(1, || p.send(1, block));
        p.queue.close(&call(2)).unwrap();
        // If the block came back from the dead, its handle may still stand in the queue.
        let loaned = p.try_loan(3).ok();
        if let Some(block) = loaned {
            p.write(block, 9);
            model::bury(id(3));
        }
        let got = p.drain(0);
        let sent: &[u64] = if loaned.is_some() { &[] } else { &[7] };
        assert_eq!(got, sent);
        p.all_are_there(2);
    });
}

#[test]
fn a_receiver_that_dies_takes_at_most_the_block_in_its_hand() {
    explore(&[1], 1, |fate: Fate| {
        let p = Pool::<2, 2>::new();
        for value in [7, 8] {
            let block = p.loan(&call(0)).unwrap();
            p.write(block, value);
            p.send(0, block);
        }
        p.queue.close(&call(0)).unwrap();
        let receiver = {
            let p = p.clone();
            thread::spawn(move || {
                fate.live(1, || {
                    let block = p.receive(&call(1)).ok()??;
                    let value = p.read(block);
                    p.give_back(1, block);
                    Some(value)
                })
            })
        };
        let loaner = {
            let p = p.clone();
            thread::spawn(move || {
                if let Ok(block) = p.try_loan(3) {
                    p.write(block, 9);
                    p.give_back(3, block);
                }
            })
        };
        let mut got = p.drain(0);
        loaner.join().unwrap();
        let lived = match receiver.join().unwrap() {
            Some(value) => {
                got.extend(value);
                true
            }
            None => false,
        };
        got.sort_unstable();
        let in_hand = usize::from(!lived);
        assert!(got.len() + in_hand >= 2, "lost: {got:?}");
        assert!(got.len() <= 2 && got.iter().all(|v| [7, 8].contains(v)));
        assert!(!lived || got == [7, 8]);
        p.all_are_there(2);
    });
}

#[test]
fn one_that_dies_with_the_handle_still_in_the_queue_leaves_the_block_to_the_next_receiver() {
    let p = || {
        let p = Pool::<1, 1>::new();
        let block = p.loan(&call(0)).unwrap();
        p.write(block, 7);
        p.send(0, block);
        p.queue.close(&call(0)).unwrap();
        // The word is exchanged, and the handle is not taken out.
        assert!(p.handle_at(0).receive(&p.words, &call(1)).is_some());
        p
    };
    loom::model(move || {
        let p = p();
        // While it lives, the handle serves nobody else.
        assert!(p.handle_at(0).receive(&p.words, &call(0)).is_none());
        model::bury(id(1));
        assert_eq!(p.drain(0), [7]);
        p.all_are_there(2);
    });
}

#[test]
fn only_a_block_whose_handle_is_lost_is_freed_as_such() {
    explore_under(Sleep::UntilWoken, &[1, 2], 1, 1, |fate: Fate| {
        let p = Pool::<2, 2>::new();
        let lost = p.loan(&call(0)).unwrap();
        p.send(0, lost);
        // Its handle is taken out by one who does not take the block.
        p.leases().recv(&call(0), 1, |_, _| 1).unwrap();
        let sender = {
            let p = p.clone();
            thread::spawn(move || {
                let done = fate.live(1, || {
                    let block = p.loan(&call(1)).unwrap();
                    p.write(block, 7);
                    p.send(1, block);
                });
                p.queue.close(&call(3)).unwrap();
                done.is_some()
            })
        };
        let finder = {
            let p = p.clone();
            thread::spawn(move || fate.live(2, || p.free_lost(2)))
        };
        let got = p.drain(0);
        finder.join().unwrap();
        let lived = sender.join().unwrap();
        assert!(!lived || got == [7], "{got:?}");
        p.free_lost(0);
        p.all_are_there(3);
    });
}
