//! The ring: each item once and in order, an end in one hand at a time, nobody forgotten, closed means drained.

use super::{Fate, call, call_until, explore, explore_deeper, id};
use crate::error::{Error, Result};
use crate::raw::ring::{Consuming, Producing, RawRing};
use crate::sys::deadline::Deadline;
use crate::sys::model::{self, Oracle};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

struct Ring<const N: usize> {
    raw: RawRing,
    cells: [UnsafeCell<u64>; N],
}

impl<const N: usize> Ring<N> {
    fn new() -> Arc<Ring<N>> {
        Arc::new(Ring {
            raw: RawRing::new(),
            cells: std::array::from_fn(|_| UnsafeCell::new(0)),
        })
    }

    fn producer(&self, index: usize) -> Result<Producer<'_, N>> {
        let end = Producing::claim(&self.raw, N as u64, &Oracle, id(index))?;
        Ok(Producer {
            ring: self,
            end,
            index,
        })
    }

    fn consumer(&self, index: usize) -> Result<Consumer<'_, N>> {
        let end = Consuming::claim(&self.raw, N as u64, &Oracle, id(index))?;
        Ok(Consumer {
            ring: self,
            end,
            index,
        })
    }
}

struct Producer<'a, const N: usize> {
    ring: &'a Ring<N>,
    end: Producing,
    index: usize,
}

impl<const N: usize> Producer<'_, N> {
    fn send(&mut self, item: u64) -> Result<()> {
        self.send_until(item, Deadline::NEVER)
    }

    fn send_until(&mut self, item: u64, deadline: Deadline) -> Result<()> {
        if self.end.room() < 1 {
            let call = call_until(self.index, deadline);
            self.end.wait_for_room(&self.ring.raw, 1, &call)?;
        }
        // SAFETY: loom checks that nobody else has access now.
        self.ring.cells[self.end.index() as usize].with_mut(|c| unsafe { *c = item });
        self.end.advance(&self.ring.raw, 1)
    }

    fn give_up(mut self) {
        self.end.give_up(&self.ring.raw);
    }
}

struct Consumer<'a, const N: usize> {
    ring: &'a Ring<N>,
    end: Consuming,
    index: usize,
}

impl<const N: usize> Consumer<'_, N> {
    fn recv(&mut self) -> Result<u64> {
        if self.end.filled() < 1 {
            self.end
                .wait_for_items(&self.ring.raw, 1, &call(self.index))?;
        }
        // SAFETY: loom checks that nobody else has access now.
        let item = self.ring.cells[self.end.index() as usize].with(|c| unsafe { *c });
        self.end.advance(&self.ring.raw, 1);
        Ok(item)
    }

    fn try_recv(&mut self) -> Option<u64> {
        if self.end.filled() < 1 && !self.end.look_for_items(&self.ring.raw, 1).unwrap() {
            return None;
        }
        Some(self.recv().unwrap())
    }

    /// Receives until the ring is closed and drained.
    fn drain(&mut self) -> Vec<u64> {
        let mut got = Vec::new();
        loop {
            match self.recv() {
                Ok(item) => got.push(item),
                Err(Error::Closed) => return got,
                Err(e) => panic!("{e}"),
            }
        }
    }

    fn give_up(mut self) {
        self.end.give_up(&self.ring.raw);
    }
}

#[test]
fn what_a_producer_published_arrives_once_and_in_order_and_another_goes_on() {
    explore_deeper(&[1], 2, 1, |fate: Fate| {
        let r = Ring::<1>::new();
        let producers = {
            let r = r.clone();
            thread::spawn(move || {
                let first = fate.live(1, || {
                    let mut p = r.producer(1).unwrap();
                    p.send(1).unwrap();
                    p.send(2).unwrap();
                    p.give_up();
                });
                let mut p = r.producer(2).unwrap();
                p.send(3).unwrap();
                p.give_up();
                r.raw.close();
                first.is_some()
            })
        };
        let got = r.consumer(0).unwrap().drain();
        let lived = producers.join().unwrap();
        let (last, before) = got.split_last().unwrap();
        assert_eq!(*last, 3);
        assert!([1, 2].starts_with(before), "{got:?}");
        assert!(!lived || got == [1, 2, 3]);
    });
}

#[test]
fn a_consumer_that_dies_takes_at_most_the_item_in_its_hand_and_strands_nobody() {
    explore_deeper(&[1], 2, 1, |fate: Fate| {
        let r = Ring::<1>::new();
        let consumers = {
            let r = r.clone();
            thread::spawn(move || {
                let mut got = Vec::new();
                let first = fate.live(1, || {
                    let mut c = r.consumer(1).unwrap();
                    got.push(c.recv().unwrap());
                    c.give_up();
                });
                got.extend(r.consumer(2).unwrap().drain());
                (first.is_some(), got)
            })
        };
        let mut p = r.producer(0).unwrap();
        for item in 1..=3 {
            p.send(item).unwrap();
        }
        p.give_up();
        r.raw.close();
        let (lived, mut got) = consumers.join().unwrap();
        if lived {
            assert_eq!(got, [1, 2, 3]);
            return;
        }
        // It may have died between giving the 1 up and telling us, or after it told us; or the next one got the 1.
        assert!(got.is_sorted() && got.ends_with(&[2, 3]), "{got:?}");
        got.dedup();
        assert!(got.len() <= 3);
    });
}

#[test]
fn both_ends_asleep_in_turn_are_woken() {
    explore(&[], 2, |_| {
        let r = Ring::<1>::new();
        let producer = {
            let r = r.clone();
            thread::spawn(move || {
                let mut p = r.producer(1).unwrap();
                (1..=3).for_each(|item| p.send(item).unwrap());
                p.give_up();
            })
        };
        let mut c = r.consumer(0).unwrap();
        let got: Vec<u64> = (0..3).map(|_| c.recv().unwrap()).collect();
        assert_eq!(got, [1, 2, 3]);
        producer.join().unwrap();
    });
}

#[test]
fn of_two_who_ask_for_an_end_one_gets_it_and_the_next_goes_on_behind_it() {
    explore(&[1], 2, |fate: Fate| {
        let r = Ring::<2>::new();
        let rival = {
            let r = r.clone();
            thread::spawn(move || {
                fate.live(1, || match r.producer(1) {
                    Ok(mut p) => {
                        p.send(1).unwrap();
                        p.give_up();
                        true
                    }
                    Err(Error::Busy) => false,
                    Err(e) => panic!("{e}"),
                })
            })
        };
        let got_it = match r.producer(0) {
            Ok(mut p) => {
                p.send(2).unwrap();
                p.give_up();
                true
            }
            Err(Error::Busy) => false,
            Err(e) => panic!("{e}"),
        };
        let rival = rival.join().unwrap();
        let mut c = r.consumer(2).unwrap();
        let mut got: Vec<u64> = std::iter::from_fn(|| c.try_recv()).collect();
        got.sort_unstable();
        match rival {
            Some(true) if got_it => assert_eq!(got, [1, 2]),
            Some(true) => assert_eq!(got, [1]),
            Some(false) => assert_eq!(got, [2]),
            None => assert!(got.ends_with(&[2][..usize::from(got_it)]), "{got:?}"),
        }
        assert!(rival.is_none() || got_it || rival == Some(true), "nobody");
        // Whatever became of them, the end is free.
        r.producer(2).unwrap().give_up();
    });
}

#[test]
fn an_end_that_was_given_up_is_had_by_the_next_as_it_was_left() {
    explore(&[1], 3, |fate: Fate| {
        let r = Ring::<1>::new();
        let mut p = r.producer(0).unwrap();
        p.send(1).unwrap();
        let next = {
            let r = r.clone();
            thread::spawn(move || {
                fate.live(1, || match r.consumer(1) {
                    Ok(mut c) => {
                        let got = c.try_recv();
                        c.give_up();
                        got
                    }
                    Err(Error::Busy) => None,
                    Err(e) => panic!("{e}"),
                })
            })
        };
        let mut mine = Vec::new();
        if let Ok(mut c) = r.consumer(0) {
            mine.extend(c.try_recv());
            c.give_up();
        }
        if let Some(theirs) = next.join().unwrap() {
            mine.extend(theirs);
            assert_eq!(mine, [1]);
        }
    });
}

#[test]
fn a_close_that_meets_a_send_loses_nothing_that_was_accepted() {
    explore_deeper(&[1], 2, 1, |fate: Fate| {
        let r = Ring::<2>::new();
        let producer = {
            let r = r.clone();
            thread::spawn(move || {
                fate.live(1, || {
                    let mut p = r.producer(1).unwrap();
                    let accepted = (1..=2).take_while(|&item| p.send(item).is_ok()).count();
                    assert!(accepted == 2 || matches!(p.send(9), Err(Error::Closed)));
                    p.give_up();
                    accepted
                })
            })
        };
        let closer = {
            let r = r.clone();
            thread::spawn(move || r.raw.close())
        };
        let mut c = r.consumer(0).unwrap();
        let got = c.drain();
        closer.join().unwrap();
        let accepted = producer.join().unwrap();
        assert!([1, 2].starts_with(&got), "{got:?}");
        assert!(
            accepted.is_none_or(|n| n == got.len()),
            "{got:?} {accepted:?}"
        );
        // Closed and drained is for ever.
        assert!(matches!(c.recv(), Err(Error::Closed)));
        assert_eq!(r.raw.len(2), 0);
    });
}

#[test]
fn nothing_is_accepted_after_a_close_and_a_closer_that_dies_leaves_it_open_or_closed() {
    explore(&[1], 2, |fate: Fate| {
        let r = Ring::<2>::new();
        let closer = {
            let r = r.clone();
            thread::spawn(move || fate.live(1, || r.raw.close()).is_some())
        };
        let consumer = {
            let r = r.clone();
            thread::spawn(move || {
                let mut c = r.consumer(2).unwrap();
                match c.recv() {
                    Ok(item) => Some(item),
                    Err(Error::Closed) => None,
                    Err(e) => panic!("{e}"),
                }
            })
        };
        let mut p = r.producer(0).unwrap();
        let first = p.send(1);
        let closed = closer.join().unwrap();
        let second = p.send(2);
        assert!(!closed || matches!(second, Err(Error::Closed)));
        if !closed {
            r.raw.close();
        }
        assert!(matches!(p.send(3), Err(Error::Closed)));
        let got = consumer.join().unwrap();
        match (first.is_ok(), second.is_ok()) {
            (true, _) => assert_eq!(got, Some(1)),
            (false, false) => assert_eq!(got, None),
            (false, true) => panic!("a closed ring took an item"),
        }
    });
}

#[test]
fn a_close_frees_both_ends() {
    explore(&[], 2, |_| {
        let full = Ring::<1>::new();
        let producer = {
            let r = full.clone();
            thread::spawn(move || {
                let mut p = r.producer(1).unwrap();
                p.send(1).and_then(|()| p.send(2))
            })
        };
        full.raw.close();
        assert!(matches!(producer.join().unwrap(), Err(Error::Closed)));
        let empty = Ring::<1>::new();
        let consumer = {
            let r = empty.clone();
            thread::spawn(move || r.consumer(1).unwrap().recv())
        };
        empty.raw.close();
        assert!(matches!(consumer.join().unwrap(), Err(Error::Closed)));
    });
}

#[test]
fn what_is_published_lazily_is_seen_before_its_producer_waits_and_when_it_goes() {
    explore_deeper(&[1], 2, 1, |fate: Fate| {
        let r = Ring::<2>::new();
        let producers = {
            let r = r.clone();
            thread::spawn(move || {
                let first = fate.live(1, || {
                    let mut p = r.producer(1).unwrap();
                    p.end.publish_every(10);
                    (1..=3).for_each(|item| p.send(item).unwrap());
                    p.give_up();
                });
                r.raw.close();
                first.is_some()
            })
        };
        let got = r.consumer(0).unwrap().drain();
        // Two fill the ring, and the third comes at the end; what a dead one has not published does not exist.
        if producers.join().unwrap() {
            assert_eq!(got, [1, 2, 3]);
        } else {
            assert!([0, 2, 3].contains(&got.len()) && [1, 2, 3].starts_with(&got));
        }
    });
}

#[test]
fn a_send_that_gives_up_leaves_no_item_behind() {
    explore(&[], 2, |_| {
        let r = Ring::<1>::new();
        let mut p = r.producer(0).unwrap();
        p.send(1).unwrap();
        let consumer = {
            let r = r.clone();
            thread::spawn(move || {
                model::pass_time();
                r.consumer(1).unwrap().drain()
            })
        };
        let second = p.send_until(2, Deadline::SOON);
        r.raw.close();
        let got = consumer.join().unwrap();
        match second {
            Ok(()) => assert_eq!(got, [1, 2]),
            Err(Error::Timeout) => assert_eq!(got, [1]),
            Err(e) => panic!("{e}"),
        }
    });
}
