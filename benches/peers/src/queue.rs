//! Queues of items of one type: one party sends numbered items, the other sees that they come complete and in order.

use crate::arena::{Arena, Cell, Plain};
use crate::job::{Side, Who};
use crate::meeting::Rounds;
use crate::tally::{Tally, fill};
use std::io::{Read, Write};
use std::time::{Duration, Instant};

/// What is sent: a number, and perhaps more.
pub(crate) trait Item: bytemuck::Pod + Send + Sync {
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
pub(crate) const END: u64 = u64::MAX;
/// How many items are sent between two looks at the clock.
const STRETCH: u64 = 1024;

/// One that items are given to, one by one.
pub(crate) trait Sends<T> {
    fn send(&mut self, item: T);

    /// After the last one.
    fn flush(&mut self) {}
}

impl<T, F: FnMut(T)> Sends<T> for F {
    #[inline]
    fn send(&mut self, item: T) {
        self(item);
    }
}

/// Sends one by one until the time is up. Items a second.
pub(crate) fn send_each<T: Item>(
    plain: &Plain,
    duration: Duration,
    mut sender: impl Sends<T>,
) -> f64 {
    plain.arrive();
    let start = Instant::now();
    let mut sent = 0;
    loop {
        let is_over = sent % STRETCH == 0 && start.elapsed() >= duration;
        let number = if is_over { END } else { sent };
        // The one place that calls it: so the compiler makes it a part of the loop, long or short, as it does in a user's.
        sender.send(T::new(number));
        if is_over {
            break;
        }
        sent += 1;
    }
    sender.flush();
    finish(plain, start, sent)
}

/// Sends in batches until the time is up. Items a second.
pub(crate) fn send_batches<T: Item>(
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

/// What the receiver has seen so far.
#[derive(Default)]
pub(crate) struct Seen {
    expected: u64,
    ended: bool,
}

impl Seen {
    #[inline]
    pub(crate) fn note<T: Item>(&mut self, item: T) {
        match item.number() {
            END => self.ended = true,
            n => {
                assert_eq!(n, self.expected, "out of order");
                self.expected += 1;
            }
        }
    }
}

/// Receives until the last, some at a time.
pub(crate) fn receive(plain: &Plain, mut receive: impl FnMut(&mut Seen)) {
    plain.arrive();
    let mut seen = Seen::default();
    while !seen.ended {
        receive(&mut seen);
    }
    plain.report(seen.expected);
}

/// Receives one by one until the last.
pub(crate) fn receive_each<T: Item>(plain: &Plain, mut one: impl FnMut() -> T) {
    receive(plain, |seen| seen.note(one()));
}

/// Receives in batches until the last.
pub(crate) fn receive_batches<T: Item>(
    plain: &Plain,
    batch: usize,
    mut some: impl FnMut(&mut Vec<T>),
) {
    let mut items = Vec::with_capacity(batch);
    receive(plain, |seen| {
        items.clear();
        some(&mut items);
        items.iter().for_each(|&item| seen.note(item));
    });
}

/// An item there and back, over and over. ns for a round trip.
pub(crate) fn trips<T: Item>(
    plain: &Plain,
    side: Side,
    mut send: impl FnMut(T),
    mut recv: impl FnMut() -> T,
) -> f64 {
    let mut rounds = Rounds::begin(plain, side);
    let (mut trips, mut item) = (0, None);
    if rounds.first {
        rounds.next();
        item = Some(T::new(0));
    }
    loop {
        // One place calls it, and one `recv`, as in `send_each`: the first's rounds end with `recv`, the second's with `send`.
        if let Some(item) = item {
            send(item);
        }
        if !rounds.first && !rounds.next() {
            break;
        }
        let received = recv();
        item = Some(received);
        if rounds.first {
            assert_eq!(received.number(), trips, "not what was sent");
            trips += 1;
            item = Some(T::new(trips));
            if !rounds.next() {
                break;
            }
        }
    }
    rounds.end()
}

/// Sends items of which each byte is another, and says what became of them.
pub(crate) fn check<T: Item>(plain: &Plain, mut send: impl FnMut(T)) -> Result<(), String> {
    // Several times around.
    const ITEMS: u64 = 10 * crate::arena::CAPACITY as u64 + 7;
    let mut sent = Tally::default();
    plain.arrive();
    for number in 0..ITEMS {
        let mut item = T::zeroed();
        fill(
            bytemuck::cast_slice_mut(std::slice::from_mut(&mut item)),
            number,
        );
        sent.note(bytemuck::bytes_of(&item));
        send(item);
    }
    send(T::new(END));
    let items = plain.await_report();
    let sum = plain.reported_sum();
    sent.compare(Tally { items, sum })
}

/// The other side of [`check`].
pub(crate) fn be_checked<T: Item>(plain: &Plain, mut recv: impl FnMut() -> T) {
    let mut received = Tally::default();
    let last = T::new(END);
    plain.arrive();
    loop {
        let item = recv();
        if bytemuck::bytes_of(&item) == bytemuck::bytes_of(&last) {
            break;
        }
        received.note(bytemuck::bytes_of(&item));
    }
    plain.report_sum(received.items, received.sum);
}

/// One side of sending, for the contestants that work between processes.
pub(crate) fn take_part(arena: &Arena, who: Who, words: u32, batch: usize, side: Side) -> f64 {
    let objects = &arena.objects;
    match (who, words) {
        (Who::Queue, 1) => queue(arena, &objects.narrow_queues[0], batch, side),
        (Who::Queue, _) => queue(arena, &objects.wide_queues[0], batch, side),
        (Who::Ring | Who::LazyRing, 1) => ring(arena, &objects.narrow_rings[0], who, batch, side),
        (Who::Ring | Who::LazyRing, _) => ring(arena, &objects.wide_rings[0], who, batch, side),
        (Who::Pipe, 1) => pipe::<u64>(arena, batch, side),
        (Who::Pipe, _) => pipe::<Cell>(arena, batch, side),
        (other, _) => unreachable!("{other:?} is no queue between processes"),
    }
}

/// One side of sending there and back.
pub(crate) fn there_and_back(arena: &Arena, who: Who, words: u32, side: Side) -> f64 {
    let objects = &arena.objects;
    match (who, words) {
        (Who::Queue, 1) => queue_trips(arena, &objects.narrow_queues, side),
        (Who::Queue, _) => queue_trips(arena, &objects.wide_queues, side),
        (Who::Ring, 1) => ring_trips(arena, &objects.narrow_rings, side),
        (Who::Ring, _) => ring_trips(arena, &objects.wide_rings, side),
        (other, _) => unreachable!("{other:?} is no queue between processes"),
    }
}

fn queue_trips<T: Item + commonhold::Plain>(
    plain: &Plain,
    [there, back]: &[commonhold::Queue<T>; 2],
    side: Side,
) -> f64 {
    let (out, into) = match side {
        Side::First(_) => (there, back),
        Side::Second => (back, there),
    };
    let send = |item| out.send(item).expect("it is open");
    trips(plain, side, send, || into.recv().expect("it is open"))
}

fn ring_trips<T: Item + commonhold::Plain>(
    plain: &Plain,
    [there, back]: &[commonhold::Ring<T>; 2],
    side: Side,
) -> f64 {
    let (out, into) = match side {
        Side::First(_) => (there, back),
        Side::Second => (back, there),
    };
    let mut tx = out.producer().expect("one of us");
    let mut rx = into.consumer().expect("one of us");
    let send = |item| tx.send(item).expect("nobody dies here");
    trips(plain, side, send, || rx.recv().expect("nobody dies here"))
}

fn queue<T: Item + commonhold::Plain>(
    plain: &Plain,
    queue: &commonhold::Queue<T>,
    batch: usize,
    side: Side,
) -> f64 {
    match side {
        Side::First(duration) if batch == 1 => send_each(plain, duration, |item: T| {
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

struct RingSender<T: commonhold::Plain>(commonhold::Producer<T>);

impl<T: commonhold::Plain> Sends<T> for RingSender<T> {
    #[inline]
    fn send(&mut self, item: T) {
        self.0.send(item).expect("nobody dies here");
    }

    fn flush(&mut self) {
        self.0.flush().expect("nobody dies here");
    }
}

fn ring<T: Item + commonhold::Plain>(
    plain: &Plain,
    ring: &commonhold::Ring<T>,
    who: Who,
    batch: usize,
    side: Side,
) -> f64 {
    match side {
        Side::First(duration) => {
            let mut tx = ring.producer().expect("one of us");
            if who == Who::LazyRing {
                tx.lazy(32);
            }
            if batch > 1 {
                return send_batches(plain, duration, batch, |items| {
                    tx.send_all(items).expect("nobody dies here");
                });
            }
            send_each(plain, duration, RingSender(tx))
        }
        Side::Second => {
            let mut rx = ring.consumer().expect("one of us");
            if batch == 1 {
                receive_each(plain, || rx.recv().expect("nobody dies here"));
            } else {
                receive_batches(plain, batch, |items| {
                    rx.recv_many(items, batch).expect("nobody dies here");
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
            let [_, mut pipe] = arena.ends.pipe();
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
            let [mut pipe, _] = arena.ends.pipe();
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
