//! Queues: one party sends numbered items, the other checks that they come complete and in order.

use crate::arena::{Arena, CAPACITY, Cell, Plain};
use crate::job::{Side, Who};
use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// What is sent: a number, and perhaps more.
pub(crate) trait Item: bytemuck::Pod + Send {
    fn new(number: u64) -> Self;
    fn number(&self) -> u64;
}

impl Item for u64 {
    fn new(number: u64) -> u64 {
        number
    }
    fn number(&self) -> u64 {
        *self
    }
}

impl Item for Cell {
    fn new(number: u64) -> Cell {
        [number; 8]
    }
    fn number(&self) -> u64 {
        let [first, .., last] = *self;
        assert_eq!(first, last, "half an item");
        first
    }
}

/// The last item's number.
const END: u64 = u64::MAX;
/// How many items are sent between two looks at the clock.
const STRETCH: u64 = 1024;

/// Sends one by one until the time is up. Items a second.
fn send_each<T: Item>(plain: &Plain, duration: Duration, mut send: impl FnMut(T)) -> f64 {
    plain.arrive();
    let start = Instant::now();
    let mut sent = 0;
    while start.elapsed() < duration {
        for number in sent..sent + STRETCH {
            send(T::new(number));
        }
        sent += STRETCH;
    }
    send(T::new(END));
    finish(plain, start, sent)
}

/// Sends in batches until the time is up. Items a second.
fn send_batches<T: Item>(
    plain: &Plain,
    duration: Duration,
    batch: usize,
    mut send: impl FnMut(&[T]),
) -> f64 {
    let mut items = vec![T::new(0); batch];
    plain.arrive();
    let start = Instant::now();
    let mut sent = 0;
    while start.elapsed() < duration {
        for _ in 0..STRETCH / batch as u64 {
            for (number, item) in (sent..).zip(&mut items) {
                *item = T::new(number);
            }
            send(&items);
            sent += batch as u64;
        }
    }
    send(&[T::new(END)]);
    finish(plain, start, sent)
}

fn finish(plain: &Plain, start: Instant, sent: u64) -> f64 {
    let received = plain.await_report();
    let time = start.elapsed();
    assert_eq!(sent, received, "items were lost");
    sent as f64 / time.as_secs_f64()
}

/// Receives one by one until the last.
fn receive_each<T: Item>(plain: &Plain, mut receive: impl FnMut() -> T) {
    plain.arrive();
    let mut expected = 0;
    loop {
        match receive().number() {
            END => break,
            n => assert_eq!(n, expected, "out of order"),
        }
        expected += 1;
    }
    plain.report(expected);
}

/// Receives in batches until the last.
fn receive_batches<T: Item>(plain: &Plain, batch: usize, mut receive: impl FnMut(&mut Vec<T>)) {
    let mut items = Vec::with_capacity(batch);
    plain.arrive();
    let mut expected = 0;
    loop {
        items.clear();
        receive(&mut items);
        for item in &items {
            match item.number() {
                END => return plain.report(expected),
                n => assert_eq!(n, expected, "out of order"),
            }
            expected += 1;
        }
    }
}

/// One side of it, for the contestants that work between processes.
pub(crate) fn take_part(arena: &Arena, who: Who, words: u32, batch: usize, side: Side) -> f64 {
    match (who, words) {
        (Who::Commonhold, 1) => ours(arena, &arena.objects.narrow_queue, batch, side),
        (Who::Commonhold, _) => ours(arena, &arena.objects.wide_queue, batch, side),
        (Who::Pipe, 1) => pipe::<u64>(arena, batch, side),
        (Who::Pipe, _) => pipe::<Cell>(arena, batch, side),
        (other, _) => unreachable!("{other:?} is no queue between processes"),
    }
}

fn ours<T: Item + commonhold::Plain>(
    plain: &Plain,
    queue: &commonhold::Queue<T>,
    batch: usize,
    side: Side,
) -> f64 {
    match side {
        Side::First(duration) if batch == 1 => send_each(plain, duration, |item| {
            queue.send(item).expect("the queue is open");
        }),
        Side::First(duration) => send_batches(plain, duration, batch, |items| {
            queue.send_all(items).expect("the queue is open");
        }),
        Side::Second => {
            if batch == 1 {
                receive_each(plain, || queue.recv().expect("the queue is open"));
            } else {
                receive_batches(plain, batch, |items| {
                    queue.recv_many(items, batch).expect("the queue is open");
                });
            }
            0.0
        }
    }
}

fn pipe<T: Item>(arena: &Arena, batch: usize, side: Side) -> f64 {
    // Writes of up to PIPE_BUF bytes are never split, and so neither are the items.
    assert!(batch * size_of::<T>() <= libc::PIPE_BUF);
    match side {
        Side::First(duration) => {
            let mut pipe = arena.write_end.as_ref().expect("the sender's end");
            let mut send = |bytes: &[u8]| pipe.write_all(bytes).expect("the pipe is open");
            if batch == 1 {
                send_each(arena, duration, |item: T| send(bytemuck::bytes_of(&item)))
            } else {
                send_batches(arena, duration, batch, |items: &[T]| {
                    send(bytemuck::cast_slice(items));
                })
            }
        }
        Side::Second => {
            let mut pipe = arena.read_end.as_ref().expect("the receiver's end");
            if batch == 1 {
                receive_each(arena, || {
                    let mut item = T::zeroed();
                    pipe.read_exact(bytemuck::bytes_of_mut(&mut item))
                        .expect("the pipe is open");
                    item
                });
            } else {
                let mut room = vec![T::zeroed(); batch];
                receive_batches(arena, batch, |items: &mut Vec<T>| {
                    let n = pipe
                        .read(bytemuck::cast_slice_mut(&mut room))
                        .expect("the pipe is open");
                    assert!(n > 0 && n % size_of::<T>() == 0, "half an item");
                    items.extend_from_slice(&room[..n / size_of::<T>()]);
                });
            }
            0.0
        }
    }
}

/// The standard library's channel, between two threads: gives the two sides, to be run each in its thread.
pub(crate) fn channel<T: Item>(
    plain: &Plain,
    duration: Duration,
) -> (impl FnOnce() -> f64, impl FnOnce() + Send) {
    let (tx, rx): (SyncSender<T>, Receiver<T>) = sync_channel(CAPACITY);
    let first = move || {
        send_each(plain, duration, |item| {
            tx.send(item).expect("the receiver is there");
        })
    };
    let second = move || receive_each(plain, || rx.recv().expect("the sender is there"));
    (first, second)
}
