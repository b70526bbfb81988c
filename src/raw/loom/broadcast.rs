//! The broadcast: what a subscriber receives is whole and in order, a lossless one misses nothing, a lossy one knows what it missed,
//! and nobody waits for the dead.

use super::{Fate, call, call_until, check, explore, explore_deeper, id};
use crate::error::{Error, Result};
use crate::raw::Call;
use crate::raw::broadcast::{Found, RawBroadcast, Subscription};
use crate::sys::atomic::{AtomicU64, Ordering::Relaxed};
use crate::sys::deadline::Deadline;
use crate::sys::model::{self, Oracle, Sleep};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

/// A ring of items, each of which is its own position. To the lossless its cells are memory that nobody else touches meanwhile.
struct Ring<const N: usize> {
    raw: RawBroadcast,
    records: [Subscription; 2],
    cells: [UnsafeCell<u64>; N],
}

/// A lossless subscriber, and what it has received.
struct Subscriber<'a, const N: usize> {
    ring: &'a Ring<N>,
    index: usize,
    at: u64,
    got: Vec<u64>,
}

impl<const N: usize> Ring<N> {
    fn new() -> Arc<Ring<N>> {
        Arc::new(Ring {
            raw: RawBroadcast::new(),
            records: [Subscription::new(), Subscription::new()],
            cells: std::array::from_fn(|_| UnsafeCell::new(u64::MAX)),
        })
    }

    fn send(&self, call: &Call<'_, Oracle>) -> Result<()> {
        let write = |at: u64, _| {
            // SAFETY: loom checks that nobody else has access now.
            self.cells[at as usize % N].with_mut(|c| unsafe { *c = at });
        };
        self.raw
            .send(&self.records, N as u64, call, 1, write)
            .map(drop)
    }

    fn subscribe(&self, index: usize) -> Subscriber<'_, N> {
        let (index, at) = self.raw.subscribe(&self.records, &call(index)).unwrap();
        self.subscribed(index, at)
    }

    fn subscribed(&self, index: usize, at: u64) -> Subscriber<'_, N> {
        Subscriber {
            ring: self,
            index,
            at,
            got: Vec::new(),
        }
    }
}

impl<const N: usize> Subscriber<'_, N> {
    fn recv(&mut self, call: &Call<'_, Oracle>, most: u64) -> Result<()> {
        let ring = self.ring;
        let read = |at: u64, n| {
            for at in at..at + n {
                // SAFETY: as above.
                let item = ring.cells[at as usize % N].with(|c| unsafe { *c });
                assert_eq!(item, at);
                self.got.push(item);
            }
            n
        };
        let record = &ring.records[self.index];
        let found = ring
            .raw
            .recv(Some(record), N as u64, call, self.at, most, read)?;
        match found {
            Found::Items(n) => {
                ring.raw.advance(record, self.at, self.at + n);
                self.at += n;
                Ok(())
            }
            other => panic!("{other:?}"),
        }
    }

    /// Receives until the broadcast is closed and drained.
    fn drain(mut self, call: &Call<'_, Oracle>) -> Vec<u64> {
        loop {
            match self.recv(call, 1) {
                Ok(()) => {}
                Err(Error::Closed) => return self.got,
                Err(e) => panic!("{e}"),
            }
        }
    }

    fn leave(self, index: usize) {
        let record = &self.ring.records[self.index];
        self.ring.raw.unsubscribe(record, id(index), self.at);
    }
}

#[test]
fn what_a_publisher_committed_reaches_a_lossless_subscriber_in_order() {
    explore_deeper(&[1], 2, 1, |fate: Fate| {
        let ring = Ring::<1>::new();
        let subscriber = ring.subscribe(0);
        let publisher = {
            let ring = ring.clone();
            thread::spawn(move || {
                let done = fate.live(1, || {
                    ring.send(&call(1)).unwrap();
                    ring.send(&call(1)).unwrap();
                });
                ring.raw.close(&call(2)).unwrap();
                done.is_some()
            })
        };
        let got = subscriber.drain(&call(0));
        let lived = publisher.join().unwrap();
        assert!([0, 1].starts_with(&got), "{got:?}");
        assert!(!lived || got.len() == 2);
    });
}

#[test]
fn publishers_do_not_wait_for_a_subscriber_that_died() {
    explore_deeper(&[1], 2, 2, |fate: Fate| {
        let ring = Ring::<1>::new();
        let subscriber = {
            let ring = ring.clone();
            thread::spawn(move || {
                fate.live(1, || {
                    let mut subscriber = ring.subscribe(1);
                    if subscriber.at < 2 {
                        subscriber.recv(&call(1), 1).unwrap();
                    }
                    subscriber.leave(1);
                });
            })
        };
        for _ in 0..3 {
            ring.send(&call(0)).unwrap();
        }
        subscriber.join().unwrap();
        // Its record is free, or found to be.
        let (last, at) = ring.raw.subscribe(&ring.records, &call(0)).unwrap();
        assert!(last < 2 && at == 3);
    });
}

#[test]
fn the_slowest_of_two_subscribers_lets_a_publisher_on_also_by_dying() {
    explore_deeper(&[1], 2, 1, |fate: Fate| {
        let ring = Ring::<1>::new();
        let [first, second] = [1, 2].map(|i| ring.subscribe(i).index);
        ring.send(&call(0)).unwrap();
        let subscribers = [(1, first), (2, second)].map(|(i, index)| {
            let ring = ring.clone();
            thread::spawn(move || {
                fate.live(i, || {
                    let mut subscriber = ring.subscribed(index, 0);
                    subscriber.recv(&call(i), 1).unwrap();
                });
            })
        });
        ring.send(&call(0)).unwrap();
        subscribers.into_iter().for_each(|s| s.join().unwrap());
    });
}

#[test]
fn a_record_that_changes_hands_is_not_in_the_way() {
    explore_deeper(&[], 2, 2, |_| {
        let ring = Ring::<1>::new();
        let first = ring.subscribe(1);
        ring.send(&call(0)).unwrap();
        let publisher = {
            let ring = ring.clone();
            thread::spawn(move || ring.send(&call(0)).unwrap())
        };
        first.leave(1);
        // The same record, and nobody waits for its new owner.
        ring.subscribe(2);
        publisher.join().unwrap();
    });
}

#[test]
fn who_is_let_on_wakes_the_next_while_there_is_room() {
    explore_deeper(&[1], 2, 1, |fate: Fate| {
        let ring = Ring::<2>::new();
        let mut subscriber = ring.subscribe(0);
        (0..2).for_each(|_| ring.send(&call(0)).unwrap());
        let publishers = [1, 2].map(|i| {
            let ring = ring.clone();
            thread::spawn(move || fate.live(i, || ring.send(&call(i)).unwrap()).is_some())
        });
        // Room for two, by one store.
        subscriber.recv(&call(0), 2).unwrap();
        assert_eq!(subscriber.got, [0, 1]);
        let lived = publishers.map(|p| p.join().unwrap());
        let sent = ring.raw.end() as usize - 2;
        assert!(sent == 2 || fate.victim.is_some() && sent == 1);
        assert!(lived[1]);
    });
}

#[test]
fn one_that_is_woken_and_gives_up_passes_the_wake_on() {
    check(Sleep::UntilWoken, 2, Fate { victim: None }, |_| {
        let ring = Ring::<1>::new();
        let mut subscriber = ring.subscribe(0);
        ring.send(&call(0)).unwrap();
        let impatient = {
            let ring = ring.clone();
            thread::spawn(move || ring.send(&call_until(1, Deadline::SOON)).is_ok())
        };
        let patient = {
            let ring = ring.clone();
            thread::spawn(move || ring.send(&call(2)).unwrap())
        };
        subscriber.recv(&call(0), 1).unwrap();
        model::pass_time();
        if impatient.join().unwrap() {
            subscriber.recv(&call(0), 1).unwrap();
        }
        patient.join().unwrap();
    });
}

#[test]
fn one_who_subscribes_meanwhile_misses_nothing_from_there_on() {
    explore_deeper(&[1], 2, 1, |fate: Fate| {
        let ring = Ring::<1>::new();
        let publisher = {
            let ring = ring.clone();
            thread::spawn(move || {
                let sent = fate.live(1, || (0..2).for_each(|_| ring.send(&call(1)).unwrap()));
                ring.raw.close(&call(2)).unwrap();
                sent.is_some()
            })
        };
        let subscriber = ring.subscribe(0);
        let begin = subscriber.at;
        let got = subscriber.drain(&call(0));
        let lived = publisher.join().unwrap();
        assert!(got.iter().copied().eq(begin..ring.raw.end()));
        assert!(!lived || ring.raw.end() == 2);
    });
}

#[test]
fn a_close_frees_all_who_wait_for_room_or_for_items() {
    explore(&[], 2, |_| {
        let ring = Ring::<1>::new();
        let full = ring.subscribe(0);
        ring.send(&call(0)).unwrap();
        let publisher = {
            let ring = ring.clone();
            thread::spawn(move || ring.send(&call(1)))
        };
        let subscriber = {
            let ring = ring.clone();
            let at = ring.raw.end();
            thread::spawn(move || ring.subscribed(1, at).drain(&call(2)))
        };
        ring.raw.close(&call(0)).unwrap();
        assert!(matches!(publisher.join().unwrap(), Err(Error::Closed)));
        assert!(subscriber.join().unwrap().is_empty());
        drop(full);
    });
}

/// A ring whose items are two words, both of them the item's position, for subscribers that publishers overtake.
struct Pairs<const N: usize> {
    raw: RawBroadcast,
    cells: [[AtomicU64; 2]; N],
}

impl<const N: usize> Pairs<N> {
    fn new() -> Arc<Pairs<N>> {
        let zero = || AtomicU64::new(u64::MAX);
        Arc::new(Pairs {
            raw: RawBroadcast::new(),
            cells: std::array::from_fn(|_| [zero(), zero()]),
        })
    }

    fn send(&self, index: usize, wanted: u64) {
        let write = |at: u64, n| {
            for at in at..at + n {
                let [a, b] = &self.cells[at as usize % N];
                a.store(at, Relaxed);
                b.store(at, Relaxed);
            }
        };
        self.raw
            .send(&[], N as u64, &call(index), wanted, write)
            .unwrap();
    }

    /// Looks once. `true`: the item at `at` was there.
    fn look(&self, at: u64) -> Found {
        let mut pair = [0; 2];
        let read = |at: u64, _| {
            pair = std::array::from_fn(|i| self.cells[at as usize % N][i].load(Relaxed));
            1
        };
        let found = self.raw.look(N as u64, at, 1, read).unwrap();
        assert!(
            found != Found::Items(1) || pair == [at; 2],
            "torn: {pair:?}"
        );
        found
    }
}

#[test]
fn a_lossy_subscriber_receives_whole_items_and_knows_what_it_missed() {
    explore(&[1], 2, |fate: Fate| {
        let pairs = Pairs::<1>::new();
        let publisher = {
            let pairs = pairs.clone();
            thread::spawn(move || {
                fate.live(1, || (0..3).for_each(|_| pairs.send(1, 1)));
                // Whoever comes after one that died.
                pairs.send(2, 1);
            })
        };
        let (mut at, mut got, mut missed) = (0, 0, 0);
        let mut look = || {
            match pairs.look(at) {
                Found::Nothing => return false,
                Found::Items(n) => {
                    got += n;
                    at += n;
                }
                Found::Overtaken(oldest) => {
                    assert!(oldest > at);
                    missed += oldest - at;
                    at = oldest;
                }
            }
            true
        };
        look();
        look();
        publisher.join().unwrap();
        while look() {}
        assert_eq!(got + missed, pairs.raw.end());
        assert!(got >= 1, "the last is there");
    });
}

#[test]
fn what_a_dead_publisher_overwrote_is_not_taken_for_whole_when_the_next_one_sends_less() {
    explore(&[1], 2, |fate: Fate| {
        let pairs = Pairs::<8>::new();
        (0..4).for_each(|_| pairs.send(0, 2));
        let publisher = {
            let pairs = pairs.clone();
            thread::spawn(move || {
                fate.live(1, || pairs.send(1, 2));
                pairs.send(2, 1);
            })
        };
        for at in [1, 0, 2] {
            pairs.look(at);
        }
        publisher.join().unwrap();
        assert_eq!(pairs.look(pairs.raw.end() - 1), Found::Items(1));
    });
}
