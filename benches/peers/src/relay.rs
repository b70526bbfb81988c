//! What two processes do with a link: messages one way, there and back, and a check before.

use crate::arena::Plain;
use crate::job::Side;
use crate::links::Link;
use crate::meeting::rounds;
use crate::tally::{Tally, fill};
use std::time::{Duration, Instant};

/// The number of the message after the last.
const END: u64 = u64::MAX;

/// Says which message it is, at both of its ends.
fn stamp(message: &mut [u64], number: u64) {
    if let [first, ..] = message {
        *first = number;
    }
    if let [.., last] = message {
        *last = number;
    }
}

/// Which message it is, if it is whole.
fn number(message: &[u8], len: usize) -> u64 {
    assert_eq!(message.len(), len, "half a message");
    let number = u64::from_ne_bytes(*message.first_chunk().expect("a word at least"));
    let last = u64::from_ne_bytes(*message.last_chunk().expect("a word at least"));
    assert_eq!(last, number, "half a message");
    number
}

/// Waits until both ends are there and connected.
fn connect(plain: &Plain, link: &mut impl Link) {
    plain.arrive();
    link.connect();
    plain.arrive();
}

/// Messages of `len` bytes, from the first party to the second, until the time is up. So many a second.
pub(crate) fn one_way(plain: &Plain, link: &mut impl Link, len: usize, side: Side) -> f64 {
    connect(plain, link);
    match side {
        Side::First(duration) => {
            let mut message = vec![0u64; len / 8];
            let stretch = ((64 << 10) / len).clamp(1, 256);
            let start = Instant::now();
            let mut sent = 0;
            while start.elapsed() < duration {
                for _ in 0..stretch {
                    stamp(&mut message, sent);
                    link.send(bytemuck::cast_slice(&message));
                    sent += 1;
                }
            }
            stamp(&mut message, END);
            link.send(bytemuck::cast_slice(&message));
            let received = plain.await_report();
            let time = start.elapsed();
            assert_eq!(sent, received, "messages were lost");
            sent as f64 / time.as_secs_f64()
        }
        Side::Second => {
            let mut expected = 0;
            loop {
                match number(link.recv(), len) {
                    END => break,
                    n => assert_eq!(n, expected, "out of order"),
                }
                expected += 1;
            }
            plain.report(expected);
            0.0
        }
    }
}

/// A message there and back, over and over. ns for a round trip.
pub(crate) fn echo(plain: &Plain, link: &mut impl Link, len: usize, side: Side) -> f64 {
    let mut message = vec![0u64; len / 8];
    let mut trips = 0;
    connect(plain, link);
    rounds(plain, side, 1.0, |first| {
        trip(link, &mut message, len, first, &mut trips);
    })
}

/// How long each round trip took, in ns.
pub(crate) fn trips(
    plain: &Plain,
    link: &mut impl Link,
    len: usize,
    duration: Duration,
) -> Vec<f64> {
    let mut message = vec![0u64; len / 8];
    let mut trips = 0;
    let mut times = Vec::with_capacity(1 << 20);
    connect(plain, link);
    rounds(plain, Side::First(duration), 1.0, |first| {
        let start = Instant::now();
        trip(link, &mut message, len, first, &mut trips);
        times.push(start.elapsed().as_nanos() as f64);
    });
    times
}

#[inline]
fn trip(link: &mut impl Link, message: &mut [u64], len: usize, first: bool, trips: &mut u64) {
    if first {
        stamp(message, *trips);
        link.send(bytemuck::cast_slice(message));
        assert_eq!(number(link.recv(), len), *trips, "not what was sent");
        *trips += 1;
    } else {
        bytemuck::cast_slice_mut(message).copy_from_slice(link.recv());
        link.send(bytemuck::cast_slice(message));
    }
}

/// Sends messages of which every byte is another, and says what became of them.
pub(crate) fn check(plain: &Plain, link: &mut impl Link, len: usize) -> Result<(), String> {
    let messages = ((16 << 20) / len as u64).clamp(64, 8192);
    let mut message = vec![0u64; len / 8];
    let mut sent = Tally::default();
    connect(plain, link);
    for number in 0..messages {
        fill(&mut message, number);
        sent.note(bytemuck::cast_slice(&message));
        link.send(bytemuck::cast_slice(&message));
    }
    stamp(&mut message, END);
    link.send(bytemuck::cast_slice(&message));
    let items = plain.await_report();
    let sum = plain.reported_sum();
    sent.compare(Tally { items, sum })
}

/// The other side of [`check`].
pub(crate) fn be_checked(plain: &Plain, link: &mut impl Link) {
    let mut received = Tally::default();
    connect(plain, link);
    loop {
        let message = link.recv();
        if message.first_chunk() == Some(&END.to_ne_bytes()) {
            break;
        }
        received.note(message);
    }
    plain.report_sum(received.items, received.sum);
}
