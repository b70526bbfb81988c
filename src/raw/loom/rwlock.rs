//! The readers-writer lock: readers and a writer keep each other out, nobody is forgotten, the dead hold up nobody, and doubt is
//! left by writers alone.

use super::{Fate, call, call_until, explore, explore_deeper, explore_under};
use crate::error::{Error, Result};
use crate::raw::Call;
use crate::raw::rwlock::{RawRwLock, ReaderLine, Reading};
use crate::raw::tally::Tally;
use crate::sys::atomic::{AtomicU32, Ordering::Relaxed};
use crate::sys::deadline::Deadline;
use crate::sys::model::{self, Oracle, Sleep};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

struct Guarded {
    raw: RawRwLock,
    lines: [ReaderLine; 4],
    count: UnsafeCell<u32>,
    /// What a writer does between its two changes: here it can die.
    between: AtomicU32,
    copy: UnsafeCell<u32>,
}

impl Guarded {
    fn new() -> Arc<Guarded> {
        Arc::new(Guarded {
            raw: RawRwLock::new(),
            lines: std::array::from_fn(|_| ReaderLine {
                tally: Tally::new(),
                solo: Tally::new(),
                reserved: [0; 12],
            }),
            count: UnsafeCell::new(0),
            between: AtomicU32::new(0),
            copy: UnsafeCell::new(0),
        })
    }

    /// Members that have read before: from here on they read solo when they can.
    fn known_to(members: &[usize]) -> Arc<Guarded> {
        let g = Guarded::new();
        for member in members {
            g.read(&call(*member)).unwrap();
        }
        g
    }

    fn line(&self, call: &Call<'_, Oracle>) -> &ReaderLine {
        &self.lines[call.me.slot() as usize]
    }

    /// Reads and leaves. The cell tells loom of any write that is not ordered with this.
    fn read(&self, call: &Call<'_, Oracle>) -> Result<u32> {
        let reading = self.raw.read(self.line(call), call)?;
        let seen = self.look();
        self.raw.unlock_read(self.line(call), call.me, reading);
        Ok(seen)
    }

    /// As [`read`](Self::read), if that is possible at once.
    fn try_to_read(&self, call: &Call<'_, Oracle>) -> Option<u32> {
        let line = self.line(call);
        let reading = self.raw.try_read(line, &Oracle, call.me).ok()?;
        let seen = self.look();
        self.raw.unlock_read(line, call.me, reading);
        Some(seen)
    }

    /// Counts and leaves.
    fn write(&self, call: &Call<'_, Oracle>) -> Result<()> {
        self.raw.write(&self.lines, call)?;
        self.increment();
        self.raw.unlock_write();
        Ok(())
    }

    fn look(&self) -> u32 {
        // SAFETY: loom checks that nobody writes now.
        let [count, copy] = [&self.count, &self.copy].map(|c| c.with(|c| unsafe { *c }));
        assert_eq!(count, copy, "half-written, and nobody was told");
        count
    }

    fn increment(&self) {
        // SAFETY: loom checks that nobody else has access now.
        self.count.with_mut(|c| unsafe { *c += 1 });
        self.between.load(Relaxed);
        self.copy();
    }

    /// Ends what a writer that died may have left half-done.
    fn copy(&self) {
        // SAFETY: as above.
        let count = self.count.with(|c| unsafe { *c });
        // SAFETY: as above.
        self.copy.with_mut(|c| unsafe { *c = count });
    }
}

#[test]
fn a_reader_and_a_writer_keep_each_other_out_and_both_get_on() {
    explore_deeper(&[1, 2], 3, 1, |fate: Fate| {
        let g = Guarded::new();
        let reader = {
            let g = g.clone();
            thread::spawn(move || fate.live(1, || [g.read(&call(1)), g.read(&call(1))]))
        };
        let wrote = fate.live(2, || g.write(&call(2)));
        let read = reader.join().unwrap();
        match wrote {
            Some(Ok(())) => {
                let seen = read.map(|both| both.map(|r| r.unwrap()));
                assert!(seen.is_none_or(|seen| seen[0] <= seen[1] && seen[1] <= 1));
                assert_eq!(g.read(&call(0)).unwrap(), 1);
                assert!(!g.raw.is_poisoned());
            }
            // It died, and if it was writing then, each that comes later is told.
            None => {
                let [first, second] = read.expect("the other one died");
                match (first, second, g.read(&call(0))) {
                    (Ok(0), Ok(0), Ok(0)) => assert!(!g.raw.is_poisoned()),
                    (Ok(a), Ok(b), Ok(1)) => assert!(a <= b && b <= 1),
                    (_, _, Err(Error::Poisoned)) => assert!(g.raw.is_poisoned()),
                    other => panic!("{other:?}"),
                }
            }
            Some(Err(e)) => panic!("{e}"),
        }
    });
}

#[test]
fn two_readers_and_a_writer_keep_each_other_out() {
    // One of the readers does not wait, and under the other futex none of the three: they had too many orders.
    explore_under(Sleep::UntilWoken, &[1], 2, 1, |fate: Fate| {
        let g = Guarded::new();
        let readers = [1, 2].map(|i| {
            let g = g.clone();
            let reads = move || match i {
                1 => g.read(&call(1)).unwrap(),
                _ => g.try_to_read(&call(i)).unwrap_or(0),
            };
            thread::spawn(move || fate.live(i, reads))
        });
        g.write(&call(0)).unwrap();
        for r in readers {
            assert!(r.join().unwrap().is_none_or(|seen| seen <= 1));
        }
        assert_eq!(g.read(&call(3)).unwrap(), 1);
    });
}

#[test]
fn two_threads_of_one_member_are_counted_both() {
    // Both come by the slow way: at 2 preemptions there are five times as many orders as below.
    explore(&[], 1, |_| two_threads_of_one_member(&Guarded::new()));
}

#[test]
fn two_threads_of_one_member_are_counted_both_when_one_reads_solo() {
    explore(&[], 2, |_| {
        two_threads_of_one_member(&Guarded::known_to(&[1]))
    });
}

fn two_threads_of_one_member(g: &Arc<Guarded>) {
    let readers = [1, 1].map(|i| {
        let g = g.clone();
        thread::spawn(move || g.read(&call(i)).unwrap())
    });
    g.write(&call(0)).unwrap();
    for r in readers {
        assert!(r.join().unwrap() <= 1);
    }
}

#[test]
fn a_second_reading_beside_one_solo_keeps_writers_out_when_that_ends() {
    explore_deeper(&[1], 2, 1, |fate: Fate| {
        let g = Guarded::known_to(&[1]);
        let reader = {
            let g = g.clone();
            thread::spawn(move || {
                fate.live(1, || {
                    let (line, me) = (&g.lines[1], call(1).me);
                    let Ok(solo) = g.raw.try_read(line, &Oracle, me) else {
                        return;
                    };
                    let beside = g.raw.try_read(line, &Oracle, me);
                    assert!(solo != Reading::Solo || !matches!(beside, Ok(Reading::Solo)));
                    g.raw.unlock_read(line, me, solo);
                    if let Ok(beside) = beside {
                        g.look();
                        g.raw.unlock_read(line, me, beside);
                    }
                });
            })
        };
        g.write(&call(0)).unwrap();
        reader.join().unwrap();
        assert_eq!(g.read(&call(3)).unwrap(), 1);
    });
}

#[test]
fn one_who_reads_solo_and_a_writer_keep_each_other_out_and_both_get_on() {
    explore_deeper(&[1, 2], 3, 2, |fate: Fate| {
        let g = Guarded::known_to(&[1]);
        let reader = {
            let g = g.clone();
            thread::spawn(move || fate.live(1, || g.read(&call(1))))
        };
        let wrote = fate.live(2, || g.write(&call(2)));
        let read = reader.join().unwrap();
        match wrote {
            Some(Ok(())) => {
                assert!(read.is_none_or(|seen| seen.unwrap() <= 1));
                assert_eq!(g.read(&call(1)).unwrap(), 1);
            }
            Some(Err(e)) => panic!("{e}"),
            None => match (read.expect("the other one died"), g.read(&call(0))) {
                (Ok(a), Ok(b)) => assert!(a <= b && b <= 1),
                (_, Err(Error::Poisoned)) => assert!(g.raw.is_poisoned()),
                other => panic!("{other:?}"),
            },
        }
    });
}

#[test]
fn a_writer_that_dies_leaves_doubt_until_somebody_recovers() {
    explore_deeper(&[1], 2, 2, |fate: Fate| {
        let g = Guarded::new();
        let writer = {
            let g = g.clone();
            thread::spawn(move || fate.live(1, || g.write(&call(1)).unwrap()).is_some())
        };
        let early = g.read(&call(0));
        let lived = writer.join().unwrap();
        let doubted = match g.write(&call(2)) {
            Ok(()) => false,
            Err(Error::Poisoned) => true,
            Err(e) => panic!("{e}"),
        };
        assert!(!lived || !doubted);
        assert!(doubted || early.is_ok());
        assert_eq!(g.raw.is_poisoned(), doubted);
        g.raw.recover(&g.lines, &call(0)).unwrap();
        // Until it is mended.
        assert_eq!(g.raw.is_poisoned(), doubted);
        g.increment();
        g.raw.unlock_write();
        assert!(!g.raw.is_poisoned());
        g.read(&call(0)).unwrap();
    });
}

#[test]
fn one_that_recovers_keeps_readers_out_and_dies_in_doubt() {
    explore_deeper(&[1], 2, 2, |fate: Fate| {
        // It may be on its way in, past the gate, when the other takes that.
        let g = Guarded::known_to(&[2]);
        g.raw.write(&g.lines, &call(0)).unwrap();
        g.raw.unlock_poisoned();
        let mender = {
            let g = g.clone();
            thread::spawn(move || {
                fate.live(1, || {
                    g.raw.recover(&g.lines, &call(1)).unwrap();
                    g.increment();
                    g.raw.unlock_write();
                })
                .is_some()
            })
        };
        match g.read(&call(2)) {
            Ok(seen) => assert_eq!(seen, 1),
            Err(e) => assert!(matches!(e, Error::Poisoned)),
        }
        let lived = mender.join().unwrap();
        match g.read(&call(2)) {
            Ok(seen) => assert_eq!(seen, 1),
            Err(e) => assert!(!lived && matches!(e, Error::Poisoned)),
        }
    });
}

#[test]
fn a_writer_that_panics_tells_all_who_wait() {
    explore(&[], 2, |_| {
        let g = Guarded::new();
        g.raw.write(&g.lines, &call(0)).unwrap();
        let reader = {
            let g = g.clone();
            thread::spawn(move || g.read(&call(1)).map(drop))
        };
        let writer = {
            let g = g.clone();
            thread::spawn(move || g.write(&call(2)))
        };
        g.raw.unlock_poisoned();
        for told in [reader.join().unwrap(), writer.join().unwrap()] {
            assert!(matches!(told, Err(Error::Poisoned)));
        }
    });
}

#[test]
fn no_writer_comes_between_the_writer_and_the_reader_it_becomes() {
    explore_deeper(&[1], 2, 1, |fate: Fate| {
        let g = Guarded::new();
        let turns = {
            let g = g.clone();
            thread::spawn(move || {
                fate.live(1, || {
                    let (line, me) = (&g.lines[1], call(1).me);
                    g.raw.write(&g.lines, &call(1)).unwrap();
                    g.increment();
                    let wrote = g.look();
                    let reading = g.raw.downgrade(line, me).unwrap();
                    assert_eq!(g.look(), wrote);
                    g.raw.unlock_read(line, me, reading);
                })
                .is_some()
            })
        };
        let reader = {
            let g = g.clone();
            thread::spawn(move || g.read(&call(2)))
        };
        let wrote = g.write(&call(0));
        let read = reader.join().unwrap();
        let lived = turns.join().unwrap();
        for e in [wrote.err(), read.err()].into_iter().flatten() {
            assert!(!lived && matches!(e, Error::Poisoned));
        }
        if lived {
            assert_eq!(g.read(&call(3)).unwrap(), 2);
        }
    });
}

#[test]
fn readers_that_slept_all_come_in_and_one_that_gives_up_strands_nobody() {
    explore(&[], 2, |_| {
        let g = Guarded::new();
        g.raw.write(&g.lines, &call(0)).unwrap();
        let patient = {
            let g = g.clone();
            thread::spawn(move || g.read(&call(1)).unwrap())
        };
        let impatient = {
            let g = g.clone();
            thread::spawn(move || match g.read(&call_until(2, Deadline::SOON)) {
                Ok(_) => {}
                Err(e) => assert!(matches!(e, Error::Timeout)),
            })
        };
        model::pass_time();
        g.raw.unlock_write();
        patient.join().unwrap();
        impatient.join().unwrap();
    });
}

#[test]
fn a_writer_that_gives_up_lets_the_others_in() {
    explore(&[], 2, |_| {
        let g = Guarded::new();
        let (line, me) = (&g.lines[0], call(0).me);
        let reading = g.raw.read(line, &call(0)).unwrap();
        let writer = {
            let g = g.clone();
            thread::spawn(move || match g.write(&call_until(1, Deadline::SOON)) {
                Ok(()) => {}
                Err(e) => assert!(matches!(e, Error::Timeout)),
            })
        };
        let reader = {
            let g = g.clone();
            thread::spawn(move || g.read(&call(2)).unwrap())
        };
        // The one stays in until the other has given up: only the time ends its wait.
        model::pass_time();
        reader.join().unwrap();
        g.raw.unlock_read(line, me, reading);
        writer.join().unwrap();
    });
}

#[test]
fn trying_finds_the_dead_too() {
    explore(&[1, 2], 2, |fate: Fate| {
        let g = Guarded::known_to(&[1]);
        let reader = {
            let g = g.clone();
            thread::spawn(move || fate.live(1, || g.read(&call(1)).map(drop)))
        };
        let writer = {
            let g = g.clone();
            thread::spawn(move || {
                fate.live(2, || {
                    g.raw.try_write(&g.lines, &Oracle, call(2).me).map(|()| {
                        g.increment();
                        g.raw.unlock_write();
                    })
                })
            })
        };
        let tries = |result: Result<()>| match result {
            Ok(()) => true,
            Err(Error::WouldBlock) => false,
            Err(e) => panic!("{e}"),
        };
        if let Some(Err(e)) = reader.join().unwrap() {
            assert!(fate.victim.is_some() && matches!(e, Error::Poisoned));
        }
        let wrote = writer.join().unwrap().map(tries);
        // Nobody is there any more.
        let me = call(0).me;
        match g.raw.try_write(&g.lines, &Oracle, me) {
            Ok(()) => {
                assert!(wrote.is_none_or(|wrote| g.look() == u32::from(wrote)));
                g.raw.unlock_write();
                assert!(tries(g.raw.try_read(&g.lines[0], &Oracle, me).map(drop)));
            }
            Err(Error::Poisoned) => assert!(wrote.is_none()),
            Err(e) => panic!("{e}"),
        }
    });
}
