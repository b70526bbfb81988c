//! Frames in a queue: whole or not at all, each told to somebody, and room told to all who wait for it.

use super::{Fate, call as call_from_afar, explore, explore_deeper};
use crate::error::{Error, Result};
use crate::raw::Call;
use crate::raw::queue::RawQueue;
use crate::raw::queue::frames::Frame;
use crate::sys::model::Oracle;
use crate::sys::spin::Adaptive;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

/// Each unit of a frame of n holds its number in the frame, the frame's name, and n.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unit {
    name: u64,
    units: u64,
    index: u64,
}

struct Ring<const N: usize> {
    raw: RawQueue,
    cells: [UnsafeCell<Unit>; N],
}

/// By one who is near the other side: his attempts at once are those that are known to do. All others are made twice, at once and by the
/// wait, which many models have no time for.
fn call(index: usize) -> Call<'static, Oracle> {
    static NEAR: Adaptive = Adaptive::near();
    Call {
        spin: &NEAR,
        ..call_from_afar(index)
    }
}

impl<const N: usize> Ring<N> {
    fn new() -> Arc<Ring<N>> {
        let unit = Unit {
            name: 0,
            units: 0,
            index: 0,
        };
        Arc::new(Ring {
            raw: RawQueue::new(),
            cells: std::array::from_fn(|_| UnsafeCell::new(unit)),
        })
    }

    fn send(&self, call: &Call<'_, Oracle>, name: u64, units: u64) -> Result<()> {
        let room = self.raw.reserve(N as u64, call, units)?;
        for index in 0..units {
            let cell = &self.cells[(room.position() + index) as usize % N];
            // SAFETY: loom checks that nobody else has access now.
            cell.with_mut(|c| unsafe { *c = Unit { name, units, index } });
        }
        room.publish()
    }

    fn unit(&self, position: u64) -> Unit {
        // SAFETY: loom checks that nobody writes now.
        self.cells[position as usize % N].with(|c| unsafe { *c })
    }

    fn next_frame<'a>(&'a self, call: &'a Call<'a, Oracle>) -> Result<Frame<'a, Oracle>> {
        match self.raw.next_frame_at_once(N as u64, call) {
            Some((frame, _)) => Ok(frame),
            None => self
                .raw
                .next_frame_later(N as u64, call)
                .map(|(frame, _)| frame),
        }
    }

    fn recv(&self, call: &Call<'_, Oracle>) -> Result<u64> {
        let frame = self.next_frame(call)?;
        let first = self.unit(frame.position());
        assert!(first.units <= frame.filled(), "half a frame");
        for index in 0..first.units {
            let unit = self.unit(frame.position() + index);
            assert_eq!(unit, Unit { index, ..first }, "torn");
        }
        frame.take(first.units)?;
        Ok(first.name)
    }

    /// Receives until the queue is closed and drained.
    fn drain(&self, call: &Call<'_, Oracle>) -> Vec<u64> {
        let mut got = Vec::new();
        loop {
            match self.recv(call) {
                Ok(name) => got.push(name),
                Err(Error::Closed) => return got,
                Err(e) => panic!("{e}"),
            }
        }
    }
}

#[test]
fn what_a_sender_committed_arrives_whole_and_in_order() {
    explore_deeper(&[1], 2, 1, |fate: Fate| {
        let q = Ring::<3>::new();
        let sender = {
            let q = q.clone();
            thread::spawn(move || {
                let done = fate.live(1, || {
                    q.send(&call(1), 1, 2).unwrap();
                    // There is room for it only when the first is gone, and then it lies across the ring's end.
                    q.send(&call(1), 2, 3).unwrap();
                });
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
fn a_receiver_that_dies_takes_at_most_the_frame_in_its_hand() {
    explore(&[1], 1, |fate: Fate| {
        let q = Ring::<3>::new();
        let receiver = {
            let q = q.clone();
            thread::spawn(move || {
                let mut got = Vec::new();
                let lived = fate.live(1, || {
                    if let Ok(name) = q.recv(&call(1)) {
                        got.push(name);
                    }
                });
                (lived.is_some(), got)
            })
        };
        let other = {
            let q = q.clone();
            thread::spawn(move || q.drain(&call(2)))
        };
        q.send(&call(0), 1, 1).unwrap();
        q.send(&call(0), 2, 2).unwrap();
        q.raw.close(&call(0)).unwrap();
        let (lived, mut all) = receiver.join().unwrap();
        let rest = other.join().unwrap();
        assert!(rest.is_sorted());
        all.extend(rest);
        all.sort_unstable();
        assert!(all.len() + usize::from(!lived) >= 2, "lost: {all:?}");
        all.dedup();
        assert!(all.len() <= 2 && all.iter().all(|i| [1, 2].contains(i)));
        assert!(!lived || all == [1, 2]);
    });
}

#[test]
fn one_that_leaves_a_frame_tells_another() {
    explore_deeper(&[1], 2, 1, |fate: Fate| {
        let q = Ring::<2>::new();
        let leaver = {
            let q = q.clone();
            thread::spawn(move || {
                fate.live(1, || match q.next_frame(&call_from_afar(1)) {
                    Ok(frame) => assert_eq!(q.unit(frame.position()).name, 1),
                    Err(e) => assert!(matches!(e, Error::Closed)),
                });
            })
        };
        let receiver = {
            let q = q.clone();
            thread::spawn(move || q.recv(&call_from_afar(2)).unwrap())
        };
        q.send(&call_from_afar(0), 1, 2).unwrap();
        assert_eq!(receiver.join().unwrap(), 1);
        q.raw.close(&call_from_afar(0)).unwrap();
        leaver.join().unwrap();
    });
}

#[test]
fn room_is_told_to_the_one_for_whom_it_is_enough() {
    explore(&[], 2, |_| {
        let q = Ring::<2>::new();
        q.send(&call(0), 1, 1).unwrap();
        q.send(&call(0), 2, 1).unwrap();
        let wants_much = {
            let q = q.clone();
            thread::spawn(move || q.send(&call(1), 4, 2).unwrap())
        };
        let wants_little = {
            let q = q.clone();
            thread::spawn(move || q.send(&call(2), 3, 1).unwrap())
        };
        assert_eq!(q.recv(&call(0)).unwrap(), 1);
        // Nobody makes more room before it is in, whoever of the two was woken first.
        wants_little.join().unwrap();
        for name in 2..=4 {
            assert_eq!(q.recv(&call(0)).unwrap(), name);
        }
        wants_much.join().unwrap();
    });
}

#[test]
fn a_receiver_that_dies_does_not_strand_a_sender_without_room() {
    explore_deeper(&[1], 2, 1, |fate: Fate| {
        let q = Ring::<3>::new();
        q.send(&call(0), 1, 2).unwrap();
        let receiver = {
            let q = q.clone();
            thread::spawn(move || fate.live(1, || q.recv(&call(1)).unwrap()))
        };
        let sender = {
            let q = q.clone();
            thread::spawn(move || q.send(&call(2), 2, 2).unwrap())
        };
        // A second receiver comes when the first is gone, as a restarted worker does.
        if receiver.join().unwrap().is_none() && q.recv(&call(0)).unwrap() == 2 {
            // The dead one had taken the first.
            return sender.join().unwrap();
        }
        assert_eq!(q.recv(&call(0)).unwrap(), 2);
        sender.join().unwrap();
    });
}

#[test]
fn a_close_frees_one_who_waits_for_room() {
    explore(&[], 2, |_| {
        let q = Ring::<2>::new();
        q.send(&call(0), 1, 1).unwrap();
        let sender = {
            let q = q.clone();
            thread::spawn(move || q.send(&call(1), 2, 2))
        };
        q.raw.close(&call(0)).unwrap();
        assert!(matches!(sender.join().unwrap(), Err(Error::Closed)));
        assert_eq!(q.drain(&call(0)), [1]);
    });
}
