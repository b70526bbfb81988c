//! The versioned value: readings are whole, writes are not lost, and a dead writer leaves the old value or the new one.

use super::{Fate, call, explore};
use crate::raw::signal::Ended;
use crate::raw::versioned::{RawVersioned, copy_of};
use crate::raw::{Membership, Nap};
use crate::sys::atomic::{AtomicU64, Ordering::Relaxed};
use crate::sys::model::Oracle;
use loom::sync::Arc;
use loom::thread;

/// A value of two words that are always equal, in two copies.
struct Pair {
    raw: RawVersioned,
    copies: [[AtomicU64; 2]; 2],
}

impl Pair {
    fn new() -> Arc<Pair> {
        let zero = || AtomicU64::new(0);
        Arc::new(Pair {
            raw: RawVersioned::new(),
            copies: [[zero(), zero()], [zero(), zero()]],
        })
    }

    fn copy(&self, which: usize) -> (u64, u64) {
        let [a, b] = &self.copies[which];
        (a.load(Relaxed), b.load(Relaxed))
    }

    fn try_read(&self) -> Option<u64> {
        let (a, b) = self.raw.try_read(|version| self.copy(copy_of(version)))?;
        assert_eq!(a, b, "torn");
        Some(a)
    }

    fn add(&self, index: usize, n: u64) {
        let write = |current, spare: usize| {
            let (a, b) = self.copy(current);
            assert_eq!(a, b, "torn");
            let [x, y] = &self.copies[spare];
            x.store(a + n, Relaxed);
            y.store(b + n, Relaxed);
            Ok(())
        };
        self.raw.write(&call(index), write).unwrap();
    }
}

#[test]
fn readings_are_whole_while_two_write_and_one_dies() {
    explore(&[1], 2, |fate: Fate| {
        let p = Pair::new();
        let writers: Vec<_> = [1, 2]
            .map(|i| {
                let p = p.clone();
                thread::spawn(move || fate.live(i, || p.add(i, 1 << (8 * i))).is_some())
            })
            .into_iter()
            .collect();
        if let Some(seen) = p.try_read() {
            assert_eq!(seen & !0x01_0100, 0);
        }
        let lived: Vec<bool> = writers.into_iter().map(|t| t.join().unwrap()).collect();
        let last = p.try_read().expect("nobody writes");
        assert_eq!(last & 0x01_0000, 0x01_0000, "a write was lost");
        if lived[0] {
            assert_eq!(last, 0x01_0100);
        }
    });
}

#[test]
fn a_reader_is_not_misled_by_two_writes_in_a_row() {
    explore(&[1], 3, |fate: Fate| {
        let p = Pair::new();
        let writer = {
            let p = p.clone();
            thread::spawn(move || {
                fate.live(1, || {
                    p.add(1, 1);
                    p.add(1, 1);
                })
            })
        };
        if let Some(seen) = p.try_read() {
            assert!(seen <= 2);
        }
        let lived = writer.join().unwrap().is_some();
        let last = p.try_read().unwrap();
        assert!(if lived { last == 2 } else { last <= 2 });
    });
}

#[test]
fn one_who_waits_for_a_change_hears_of_it_or_of_the_death() {
    explore(&[1], 3, |fate: Fate| {
        let p = Pair::new();
        let writer = {
            let p = p.clone();
            thread::spawn(move || fate.live(1, || p.add(1, 7)))
        };
        let call = call(0);
        let seen = loop {
            let ticket = p.raw.changed.register(&Oracle);
            match p.try_read() {
                Some(v) if v != 0 => break v,
                _ if Oracle.deaths() > 0 => break 0,
                _ => {}
            }
            let ended = p.raw.changed.wait(&ticket, &call, Nap::UntilDeath);
            assert_ne!(ended, Ended::TimedOut);
        };
        let lived = writer.join().unwrap().is_some();
        assert!(seen == 7 || !lived && seen == 0);
    });
}

#[test]
fn a_reader_is_not_misled_by_the_second_of_two_writers() {
    explore(&[], 3, |_| {
        let p = Pair::new();
        let reader = {
            let p = p.clone();
            thread::spawn(move || p.try_read())
        };
        let writer = {
            let p = p.clone();
            thread::spawn(move || p.add(1, 1))
        };
        p.add(2, 1);
        writer.join().unwrap();
        assert!(reader.join().unwrap().is_none_or(|seen| seen <= 2));
        assert_eq!(p.try_read(), Some(2));
    });
}
