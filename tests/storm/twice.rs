//! A reentrant mutex, whose holders lock it again half-way; and what is done once, by one after another until one lives through it.

use crate::ledger::{Op, Token};
use crate::stage::{FIRSTS, Stage};
use crate::times::LIMIT;
use crate::worker::Worker;
use commonhold::{Error, ReentrantMutexGuard};
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

/// Words beside the reentrant mutex: its holder's name, a counter, and a copy of it, changed at the inner depth.
pub const TWICE: usize = 3;

impl Worker<'_> {
    /// A change under the reentrant mutex.
    pub fn lock_twice(&mut self) {
        let stage: &Stage = self.stage;
        self.operation(Op::Reenter, 1, |w| {
            let outer = w.hold_outer();
            let [holder, counter, copy] = [0, 1, 2].map(|i| &stage.twice[i]);
            let lent_to = Token(holder.load(SeqCst));
            assert_eq!(
                lent_to.0, 0,
                "the lock was lent to two: {lent_to} is inside"
            );
            let n = counter.load(SeqCst);
            assert_eq!(n, copy.load(SeqCst), "half-changed, and nobody was told");
            holder.store(w.token().0, SeqCst);
            counter.store(n + 1, SeqCst);
            w.peril();
            let inner = match w.random.below(3) {
                0 => stage.reentrant.try_lock(),
                1 => stage.reentrant.recover(),
                _ => stage.reentrant.lock(),
            };
            let inner = inner.expect("its holder may lock it again");
            copy.store(n + 1, SeqCst);
            let (first, last) = match w.random.below(2) {
                0 => (outer, inner),
                _ => (inner, outer),
            };
            drop(first);
            w.peril();
            let signed = Token(holder.swap(0, SeqCst));
            assert!(signed == w.token(), "{signed} came in while we were there");
            drop(last);
            1
        });
    }

    /// Locks in one of the ways, and mends what a dead holder left.
    pub fn hold_outer<'g>(&mut self) -> ReentrantMutexGuard<'g>
    where
        Self: 'g,
    {
        let stage: &Stage = self.stage;
        let lock = &stage.reentrant;
        loop {
            let got = match self.random.below(4) {
                0 => lock.try_lock(),
                1 => lock.lock_timeout(Duration::from_millis(self.random.below(30))),
                _ => lock.lock(),
            };
            match got {
                Err(Error::WouldBlock | Error::Timeout) => {}
                Err(Error::Poisoned) => {
                    let guard = lock.recover().unwrap();
                    let holder = Token(stage.twice[0].load(SeqCst));
                    assert!(
                        holder.0 == 0 || self.ledger().may_be_dead(holder),
                        "the lock was taken from a living holder: {holder}"
                    );
                    stage.twice[2].store(stage.twice[1].load(SeqCst), SeqCst);
                    stage.twice[0].store(0, SeqCst);
                    return guard;
                }
                other => return other.unwrap(),
            }
        }
    }

    /// What is not done yet is done now; what is done was begun, and is not begun again.
    pub fn settle_firsts(&mut self) {
        let stage: &Stage = self.stage;
        for (n, once) in stage.firsts.iter().enumerate() {
            let was_done = once.is_completed();
            assert!(
                was_done || stage.seen_done[n].load(SeqCst) == 0,
                "it was done"
            );
            let mut ran = false;
            once.call_once_timeout(LIMIT, || ran = true).unwrap();
            assert_eq!(ran, !was_done);
            assert!(ran || stage.begun[n].load(SeqCst) != 0);
        }
    }

    /// One of the things that are done once. It takes a while, so that some die over it.
    pub fn do_once(&mut self) {
        let stage: &Stage = self.stage;
        self.operation(Op::Once, 0, |w| {
            let n = w.random.below(FIRSTS as u64) as usize;
            let (once, begun, seen) = (&stage.firsts[n], &stage.begun[n], &stage.seen_done[n]);
            let was_done = once.is_completed();
            let called = once.call_once_force(|state| {
                assert!(!was_done && seen.load(SeqCst) == 0, "done again");
                let earlier = begun.fetch_add(1, SeqCst);
                assert!(earlier == 0 || state.is_poisoned(), "nobody was told");
                for _ in 0..3 {
                    std::thread::sleep(Duration::from_millis(w.random.below(3)));
                    w.peril();
                }
            });
            called.unwrap();
            assert!(once.is_completed() && begun.load(SeqCst) != 0);
            seen.store(1, SeqCst);
            0
        });
    }
}
