//! Operation lists on a ring whose ends are taken and given up by two members, against a `VecDeque`: each result must be the model's.
//!
//! All happens on one thread, so what would wait for ever is not called.

#![no_main]

use arbitrary::Arbitrary;
use commonhold::{Consumer, Error, Producer, Result, Ring, Segment};
use commonhold_fuzz::{AT_ONCE, attach, check};
use libfuzzer_sys::fuzz_target;
use std::collections::VecDeque;

#[derive(Arbitrary, Debug)]
struct Input {
    capacity: u8,
    ops: Vec<Op>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum How {
    Wait,
    Try,
    Timeout,
}

#[derive(Arbitrary, Debug)]
enum Op {
    /// Asks for an end, by either member.
    TakeProducer(bool),
    TakeConsumer(bool),
    DropProducer,
    DropConsumer,
    Send(How),
    SendAll(How, u8),
    /// Asks for so many, and commits so many.
    Write(How, u8, u8),
    Lazy(u8),
    Flush,
    Recv(How),
    RecvMany(How, u8),
    Read(How, u8, u8),
    Iterate(u8),
    Close,
    CloseByProducer,
    Reopen(bool),
}

/// What the ring must be.
struct Model {
    items: VecDeque<u64>,
    /// Sent, and not yet visible.
    pending: Vec<u64>,
    every: usize,
    capacity: usize,
    closed: bool,
    made: u64,
}

impl Model {
    fn make(&mut self, count: usize) -> Vec<u64> {
        let first = self.made;
        self.made += count as u64;
        (first..self.made).collect()
    }

    fn room(&self) -> usize {
        self.capacity - self.items.len() - self.pending.len()
    }

    fn publish(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let sent = std::mem::take(&mut self.pending);
        if self.closed {
            return Err(Error::Closed);
        }
        self.items.extend(sent);
        Ok(())
    }

    /// Finds room for so many: what the ring says of it depends on what the producer knows, so only where it is all used up.
    fn find_room(&mut self, least: usize, not_now: Error) -> Result<()> {
        if self.room() >= least {
            return Ok(());
        }
        self.publish()?;
        Err(if self.closed { Error::Closed } else { not_now })
    }

    fn send(&mut self, items: &[u64]) -> Result<usize> {
        self.pending.extend(items);
        if self.pending.len() >= self.every {
            self.publish()?;
        }
        Ok(items.len())
    }

    fn find_items(&self, least: usize, not_now: Error) -> Result<()> {
        match self.items.len() >= least {
            true => Ok(()),
            false if self.closed => Err(Error::Closed),
            false => Err(not_now),
        }
    }
}

struct World {
    rings: [Ring<u64>; 2],
    segments: [Segment; 2],
    producer: Option<Producer<u64>>,
    consumer: Option<Consumer<u64>>,
    model: Model,
}

impl World {
    fn step(&mut self, op: &Op) {
        let model = &mut self.model;
        match *op {
            Op::TakeProducer(which) => match self.rings[usize::from(which)].producer() {
                Ok(p) => {
                    assert!(self.producer.replace(p).is_none());
                    model.every = 1;
                }
                Err(e) => assert!(matches!(e, Error::Busy) && self.producer.is_some()),
            },
            Op::TakeConsumer(which) => match self.rings[usize::from(which)].consumer() {
                Ok(c) => assert!(self.consumer.replace(c).is_none()),
                Err(e) => assert!(matches!(e, Error::Busy) && self.consumer.is_some()),
            },
            Op::DropProducer => {
                if self.producer.take().is_some() {
                    let _ = model.publish();
                }
            }
            Op::DropConsumer => drop(self.consumer.take()),
            Op::Close => {
                self.rings[0].close();
                model.closed = true;
            }
            Op::Reopen(which) => {
                let which = usize::from(which);
                self.rings[which] = Ring::open(&self.segments[which], "r").unwrap();
            }
            Op::Send(_)
            | Op::SendAll(..)
            | Op::Write(..)
            | Op::Lazy(_)
            | Op::Flush
            | Op::CloseByProducer => {
                if let Some(p) = &mut self.producer {
                    produce(p, model, op);
                }
            }
            Op::Recv(_) | Op::RecvMany(..) | Op::Read(..) | Op::Iterate(_) => {
                if let Some(c) = &mut self.consumer {
                    consume(c, model, op);
                }
            }
        }
        for r in &self.rings {
            assert_eq!(r.len(), self.model.items.len());
            assert_eq!(r.is_empty(), self.model.items.is_empty());
            assert_eq!(r.is_closed(), self.model.closed);
        }
        let free = |p: &Producer<u64>| p.is_abandoned() == self.consumer.is_none();
        assert!(self.producer.as_ref().is_none_or(free));
        let free = |c: &Consumer<u64>| c.is_abandoned() == self.producer.is_none();
        assert!(self.consumer.as_ref().is_none_or(free));
    }
}

fn produce(p: &mut Producer<u64>, model: &mut Model, op: &Op) {
    match *op {
        Op::Send(how) => {
            let n = model.make(1);
            let fits = model.room() > 0;
            let (got, not_now) = match how {
                How::Wait if fits => (p.send(n[0]), Error::Full),
                How::Timeout => (p.send_timeout(n[0], AT_ONCE), Error::Timeout),
                _ => (p.try_send(n[0]), Error::Full),
            };
            let want = model.find_room(1, not_now).and_then(|()| model.send(&n));
            check(got, want.map(drop));
        }
        Op::SendAll(how, count) => {
            let items = model.make(usize::from(count % 12));
            let fits = model.room() >= items.len().min(model.capacity);
            let count = items.len().min(model.room());
            // Sent in pieces it depends on what the producer knows how many become visible: so only in one.
            if items.is_empty() || count == 0 || !fits {
                let got = p.try_send_all(&items);
                if items.is_empty() {
                    return check(got, Ok(0));
                }
                if count == 0 {
                    let want = model.find_room(1, Error::Full).map(|()| 0);
                    return check(got, want);
                }
                // More than fits: what was pending became visible first.
                let want = model.publish().and_then(|()| {
                    if model.closed {
                        Err(Error::Closed)
                    } else {
                        model.send(&items[..count])
                    }
                });
                return check(got, want);
            }
            let got = match how {
                How::Wait | How::Timeout if p.try_write_chunk(count).is_err() => {
                    unreachable!("it fits")
                }
                // The rest would be waited for.
                _ if items.len() > count => p.try_send_all(&items),
                How::Wait => p.send_all(&items).map(|()| count),
                How::Timeout => p.send_all_timeout(&items, AT_ONCE),
                How::Try => p.try_send_all(&items),
            };
            check(got, model.send(&items[..count]));
        }
        Op::Write(how, asked, committed) => {
            let asked = usize::from(asked % 12);
            let committed = usize::from(committed) % (asked + 1);
            let items = model.make(committed);
            if asked > model.capacity {
                let got = p.try_write_chunk(asked).map(drop);
                let limit = model.capacity as u64;
                let want = Err(Error::TooLarge {
                    requested: asked as u64,
                    limit,
                });
                return check(got, want);
            }
            let fits = model.room() >= asked;
            let (got, not_now) = match how {
                How::Wait if fits => (p.write_chunk(asked), Error::Full),
                How::Timeout => (p.write_chunk_timeout(asked, AT_ONCE), Error::Timeout),
                _ => (p.try_write_chunk(asked), Error::Full),
            };
            let got = got.and_then(|mut chunk| {
                let (first, second) = chunk.as_mut_slices();
                assert_eq!(first.len() + second.len(), asked);
                let places = first.iter_mut().chain(second);
                items.iter().zip(places).for_each(|(n, place)| *place = *n);
                chunk.commit(committed)
            });
            let want = model
                .find_room(asked, not_now)
                .and_then(|()| model.send(&items));
            check(got, want.map(drop));
        }
        Op::Lazy(every) => {
            p.lazy(every.into());
            model.every = usize::from(every).max(1);
        }
        Op::Flush => check(p.flush(), model.publish()),
        Op::CloseByProducer => {
            p.close();
            let _ = model.publish();
            model.closed = true;
        }
        _ => unreachable!("not the producer's"),
    }
}

fn consume(c: &mut Consumer<u64>, model: &mut Model, op: &Op) {
    match *op {
        Op::Recv(how) => {
            let there = !model.items.is_empty() || model.closed;
            let (got, not_now) = match how {
                How::Wait if there => (c.recv(), Error::Empty),
                How::Timeout => (c.recv_timeout(AT_ONCE), Error::Timeout),
                _ => (c.try_recv(), Error::Empty),
            };
            let want = model.find_items(1, not_now);
            check(got, want.map(|()| model.items.pop_front().unwrap()));
        }
        Op::RecvMany(how, max) => {
            let there = !model.items.is_empty() || model.closed;
            let max = usize::from(max);
            // The vector already holds something: receiving appends.
            let mut items = vec![u64::MAX];
            let (got, not_now) = match how {
                How::Wait if there => (c.recv_many(&mut items, max), Error::Empty),
                How::Timeout => (
                    c.recv_many_timeout(&mut items, max, AT_ONCE),
                    Error::Timeout,
                ),
                _ => (c.try_recv_many(&mut items, max), Error::Empty),
            };
            let want = match max {
                0 => Ok(Vec::new()),
                _ => model.find_items(1, not_now).map(|()| {
                    let count = max.min(model.items.len());
                    model.items.drain(..count).collect::<Vec<_>>()
                }),
            };
            assert_eq!(items[0], u64::MAX);
            check(
                got.map(|n| {
                    assert_eq!(n, items.len() - 1);
                    items[1..].to_vec()
                }),
                want,
            );
        }
        Op::Read(how, asked, committed) => {
            let asked = usize::from(asked % 12).min(model.capacity);
            let committed = usize::from(committed) % (asked + 1);
            let there = model.items.len() >= asked || model.closed;
            let (got, not_now) = match how {
                How::Wait if there => (c.read_chunk(asked), Error::Empty),
                How::Timeout => (c.read_chunk_timeout(asked, AT_ONCE), Error::Timeout),
                _ => (c.try_read_chunk(asked), Error::Empty),
            };
            let got = got.and_then(|chunk| {
                let (first, second) = chunk.as_slices();
                assert_eq!(chunk.len(), asked);
                let items: Vec<u64> = first.iter().chain(second).copied().collect();
                chunk.commit(committed).map(|()| items)
            });
            let want = model.find_items(asked, not_now).map(|()| {
                let items = model.items.iter().take(asked).copied().collect::<Vec<_>>();
                model.items.drain(..committed);
                items
            });
            check(got, want);
        }
        Op::Iterate(n) => {
            // To the end only when there is one.
            let max = match model.closed {
                true => usize::MAX,
                false => usize::from(n).min(model.items.len()),
            };
            let got: Vec<u64> = c.iter().take(max).collect();
            let want: Vec<u64> = model.items.drain(..max.min(model.items.len())).collect();
            assert_eq!(got, want);
        }
        _ => unreachable!("not the consumer's"),
    }
}

fuzz_target!(|input: Input| {
    let capacity = usize::from(input.capacity % 9) + 1;
    let first = Segment::anonymous(4096).unwrap();
    let segments = [attach(&first).unwrap(), first];
    let made = Ring::create(&segments[1], "r", capacity).unwrap();
    let mut world = World {
        rings: [Ring::open(&segments[0], "r").unwrap(), made],
        segments,
        producer: None,
        consumer: None,
        model: Model {
            items: VecDeque::new(),
            pending: Vec::new(),
            every: 1,
            capacity,
            closed: false,
            made: 0,
        },
    };
    for op in input.ops.iter().take(200) {
        world.step(op);
    }
});
