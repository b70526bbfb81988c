//! The pipe: what was sent arrives, then it is closed; an end has one living holder; no session sees what another left.

use super::{Fate, call, explore, explore_deeper, id};
use crate::error::{Error, Result};
use crate::raw::Call;
use crate::raw::pipe::{Cursor, RawPipe, Side, Taken};
use crate::sys::atomic::Ordering::Relaxed;
use crate::sys::model::{self, Oracle};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

/// Items are one word each.
struct Pipe<const N: usize> {
    raw: RawPipe,
    to_right: [UnsafeCell<u64>; N],
    to_left: [UnsafeCell<u64>; N],
}

struct End<const N: usize> {
    of: Arc<Pipe<N>>,
    side: Side,
    out: Cursor,
    arriving: Cursor,
}

impl<const N: usize> Pipe<N> {
    fn new() -> Arc<Pipe<N>> {
        let cells = || std::array::from_fn(|_| UnsafeCell::new(0));
        Arc::new(Pipe {
            raw: RawPipe::new(),
            to_right: cells(),
            to_left: cells(),
        })
    }

    fn cells_from(&self, side: Side) -> &[UnsafeCell<u64>; N] {
        match side {
            Side::Left => &self.to_right,
            Side::Right => &self.to_left,
        }
    }
}

fn take<const N: usize>(p: &Arc<Pipe<N>>, side: Side, index: usize) -> Result<End<N>> {
    let Taken { out, arriving } = p.raw.take(side, &call(index))?;
    Ok(End {
        of: p.clone(),
        side,
        out,
        arriving,
    })
}

/// For one who died before it took the left end: another comes and goes, so that nobody waits for it for ever.
fn come_and_go_in_its_stead<const N: usize>(p: &Arc<Pipe<N>>, index: usize) {
    if p.raw.ends.left.load(Relaxed) == 0 {
        take(p, Side::Left, index).unwrap().leave(index);
    }
}

impl<const N: usize> End<N> {
    fn send(&mut self, call: &Call<'_, Oracle>, item: u64) -> Result<()> {
        let (raw, side, words) = (&self.of.raw, self.side, N as u64);
        let (cells, out) = (self.of.cells_from(side), &mut self.out);
        raw.wait_for_room(side, words, 1, call, |look| {
            if !raw.has_room(side, words, out, 1, call, look)? {
                return Ok(false);
            }
            // SAFETY: loom checks that nobody else has access now.
            cells[out.own as usize % N].with_mut(|c| unsafe { *c = item });
            raw.publish(side, out, 1);
            Ok(true)
        })
    }

    fn recv(&mut self, call: &Call<'_, Oracle>) -> Result<u64> {
        let (raw, side, words) = (&self.of.raw, self.side, N as u64);
        let (cells, at) = (self.of.cells_from(side.other()), &mut self.arriving);
        let mut item = 0;
        let attempt = |look| {
            if raw.arrived(side, words, at, call, look)? == 0 {
                return Ok(false);
            }
            // SAFETY: loom checks that nobody else has access now.
            item = cells[at.own as usize % N].with(|c| unsafe { *c });
            raw.give_back(side, at, 1);
            Ok(true)
        };
        raw.wait_for_arrival(side, call, attempt, || false)?;
        Ok(item)
    }

    fn drain(&mut self, call: &Call<'_, Oracle>) -> Vec<u64> {
        let mut got = Vec::new();
        loop {
            match self.recv(call) {
                Ok(item) => got.push(item),
                Err(Error::Closed) => return got,
                Err(e) => panic!("{e}"),
            }
        }
    }

    fn leave(self, index: usize) {
        self.of.raw.leave(self.side, id(index));
    }
}

#[test]
fn what_was_sent_arrives_in_order_before_the_pipe_is_closed() {
    explore_deeper(&[1], 2, 1, |fate: Fate| {
        let p = Pipe::<1>::new();
        let sender = {
            let p = p.clone();
            thread::spawn(move || {
                let mut sent = 0;
                let lived = fate.live(1, || {
                    let mut end = take(&p, Side::Left, 1).unwrap();
                    for item in [1, 2] {
                        end.send(&call(1), item).unwrap();
                        sent = item;
                    }
                    end.leave(1);
                });
                if lived.is_none() {
                    come_and_go_in_its_stead(&p, 2);
                }
                sent
            })
        };
        // It may come when the other is gone already.
        let mut end = take(&p, Side::Right, 0).unwrap();
        let got = end.drain(&call(0));
        let sent = sender.join().unwrap();
        assert!([1, 2].starts_with(&got), "{got:?}");
        assert!(got.len() as u64 >= sent, "lost: {got:?} of {sent}");
    });
}

#[test]
fn who_has_no_room_is_told_when_the_peer_is_gone() {
    explore_deeper(&[1], 2, 2, |fate: Fate| {
        let p = Pipe::<1>::new();
        let mut left = take(&p, Side::Left, 0).unwrap();
        let mut right = take(&p, Side::Right, 1).unwrap();
        left.send(&call(0), 1).unwrap();
        let receiver = thread::spawn(move || {
            fate.live(1, || {
                assert_eq!(right.recv(&call(1)).unwrap(), 1);
                right.leave(1);
            })
        });
        // There is room for one more at the most.
        let sent = [2, 3].map(|item| left.send(&call(0), item));
        assert!(matches!(sent[1], Err(Error::Closed)));
        assert!(matches!(sent[0], Ok(()) | Err(Error::Closed)));
        assert!(matches!(left.recv(&call(0)), Err(Error::Closed)));
        receiver.join().unwrap();
    });
}

#[test]
fn both_ways_go_on_at_once() {
    explore_deeper(&[], 2, 1, |_| {
        let p = Pipe::<1>::new();
        let other = {
            let p = p.clone();
            thread::spawn(move || {
                let mut end = take(&p, Side::Left, 1).unwrap();
                end.send(&call(1), 1).unwrap();
                assert_eq!(end.recv(&call(1)).unwrap(), 2);
                end.leave(1);
            })
        };
        let mut end = take(&p, Side::Right, 0).unwrap();
        end.send(&call(0), 2).unwrap();
        assert_eq!(end.recv(&call(0)).unwrap(), 1);
        assert!(matches!(end.recv(&call(0)), Err(Error::Closed)));
        other.join().unwrap();
    });
}

#[test]
fn of_two_who_take_an_end_one_gets_it() {
    explore(&[1], 2, |fate: Fate| {
        let p = Pipe::<1>::new();
        let rival = {
            let p = p.clone();
            thread::spawn(move || fate.live(1, || take(&p, Side::Left, 1).map(drop)))
        };
        let mine = take(&p, Side::Left, 0).map(drop);
        match (rival.join().unwrap(), &mine) {
            (Some(Ok(())), Err(Error::Busy)) | (Some(Err(Error::Busy)), Ok(())) => {}
            // Who met the dead one's claim took it over; who met the living one's was refused, and comes again.
            (None, Ok(())) => {}
            (None, Err(Error::Busy)) => drop(take(&p, Side::Left, 0).unwrap()),
            (rival, mine) => panic!("{rival:?}, {mine:?}"),
        }
        assert!(fate.victim.is_some() || p.raw.ends.right.load(Relaxed) == 0);
    });
}

#[test]
fn a_new_session_sees_nothing_of_the_old_one() {
    explore_deeper(&[1], 2, 1, |fate: Fate| {
        let p = Pipe::<1>::new();
        // Of the old session the left end died, and the right one was given up; a message each way was not received.
        take(&p, Side::Left, 3).unwrap().send(&call(3), 31).unwrap();
        let mut right = take(&p, Side::Right, 4).unwrap();
        right.send(&call(4), 41).unwrap();
        right.leave(4);
        model::bury(id(3));
        let left = {
            let p = p.clone();
            thread::spawn(move || {
                let lived = fate.live(1, || {
                    let mut end = take(&p, Side::Left, 1).unwrap();
                    end.send(&call(1), 1).unwrap();
                    end.leave(1);
                });
                if lived.is_none() {
                    // Somebody comes and goes, so that nobody waits for it for ever; refused if the dead one had come that far, and the other waits for it.
                    let _ = take(&p, Side::Left, 2).map(|end| end.leave(2));
                }
                lived.is_some()
            })
        };
        let mut right = take(&p, Side::Right, 0).unwrap();
        let got = right.drain(&call(0));
        assert!([1].starts_with(&got), "{got:?}");
        assert!(!left.join().unwrap() || got == [1]);
        assert!(matches!(take(&p, Side::Left, 2), Err(Error::Closed)));
        right.leave(0);
        // And another.
        let mut left = take(&p, Side::Left, 2).unwrap();
        let mut right = take(&p, Side::Right, 2).unwrap();
        left.send(&call(2), 5).unwrap();
        right.send(&call(2), 6).unwrap();
        assert_eq!(right.recv(&call(2)).unwrap(), 5);
        assert_eq!(left.recv(&call(2)).unwrap(), 6);
    });
}

#[test]
fn one_who_dies_beginning_a_session_shows_nobody_the_old_one() {
    explore(&[1], 1, |fate: Fate| {
        let p = Pipe::<1>::new();
        take(&p, Side::Left, 3).unwrap().send(&call(3), 31).unwrap();
        take(&p, Side::Right, 3)
            .unwrap()
            .send(&call(3), 41)
            .unwrap();
        model::bury(id(3));
        let beginner = {
            let p = p.clone();
            thread::spawn(move || {
                fate.live(1, || {
                    let mut end = take(&p, Side::Left, 1).unwrap();
                    end.send(&call(1), 1).unwrap();
                    end.leave(1);
                })
            })
        };
        // Alone: every death is met here in all that it left.
        let lived = beginner.join().unwrap().is_some();
        let mut right = take(&p, Side::Right, 0).unwrap();
        come_and_go_in_its_stead(&p, 2);
        let got = right.drain(&call(0));
        assert!([1].starts_with(&got), "{got:?}");
        assert!(!lived || got == [1]);
    });
}
