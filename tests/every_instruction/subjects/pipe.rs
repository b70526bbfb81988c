//! A pipe of nine words each way; messages of three words, each with its number.

use crate::case::{Case, LONG, Look, SHORT, Subject, leak, tire};
use crate::support::Forked;
use commonhold::{Error, Pipe, PipeEnd, Segment};
use std::hint::black_box;
use std::time::Duration;

const BYTES: usize = 64;
/// Fill it up.
const ALL: u8 = 3;
/// Sent by those who only look whether the pipe works.
const PROBE: u8 = 100;
/// Sent in a session that was over before.
const STALE: u8 = 50;

fn message(n: u8) -> [u8; 10] {
    [n; 10]
}

/// One that is larger than the pipe.
fn large() -> Vec<u8> {
    (0..200).collect()
}

fn open(seg: &Segment) -> &'static Pipe {
    leak(Pipe::open(seg, "pipe").unwrap())
}

fn left(seg: &Segment) -> &'static PipeEnd {
    leak(open(seg).left().unwrap())
}

fn right(seg: &Segment) -> &'static PipeEnd {
    leak(open(seg).right().unwrap())
}

/// An end that does not spin for long when nothing comes.
fn tired(end: &'static PipeEnd) -> &'static PipeEnd {
    let mut none = Vec::new();
    tire(|d| {
        assert!(matches!(
            end.recv_timeout(&mut none, d),
            Err(Error::Timeout)
        ))
    });
    end
}

/// A left end that has filled the pipe, and does not spin for long when there is no room.
fn full(seg: &Segment) -> &'static PipeEnd {
    let end = left(seg);
    send(end, 0, ALL);
    tire(|d| assert!(matches!(end.send_timeout(&[1], d), Err(Error::Timeout))));
    end
}

fn make(seg: &Segment) {
    Pipe::create(seg, "pipe", BYTES).unwrap();
}

/// The numbers from `from` to `to`.
fn send(end: &PipeEnd, from: u8, to: u8) {
    (from..to).for_each(|n| end.send(black_box(&message(n))).unwrap());
}

fn expect(end: &PipeEnd, n: u8) {
    let mut got = Vec::with_capacity(16);
    end.recv(&mut got).unwrap();
    assert_eq!(got, message(n));
}

/// Somebody sends by the left end, before anybody has the right one, and dies.
fn sent_by_a_dead_one(seg: &Segment) {
    Forked::start(|| send(left(seg), 0, ALL)).finish();
}

/// Of a session in which some went both ways and some were left, both ends died.
fn over(seg: &Segment) {
    Forked::start(|| {
        let (left, right) = (left(seg), right(seg));
        send(left, STALE, STALE + 2);
        expect(right, STALE);
        expect(right, STALE + 1);
        send(right, STALE, STALE + 3);
        send(left, STALE, STALE + 2);
    })
    .finish();
}

/// The numbers of the messages that are there.
fn drain(end: &PipeEnd) -> Vec<u8> {
    let mut numbers = Vec::new();
    let mut got = Vec::new();
    while end.try_recv(&mut got).is_ok() {
        assert_eq!(got, message(got[0]), "torn");
        numbers.push(got[0]);
    }
    numbers
}

/// Takes both ends anew, and sends both ways.
fn check(pipe: &Pipe) {
    let mut left = pipe.left().unwrap();
    if left.is_closed() {
        // Somebody had taken the other end for the new session, and is gone.
        drop(left);
        left = pipe.left().unwrap();
    }
    let right = pipe.right().unwrap();
    assert!(matches!(pipe.left(), Err(Error::Busy)));
    let nothing = Duration::ZERO;
    assert!(!left.poll(nothing).unwrap() && !right.poll(nothing).unwrap());
    for (from, to) in [(&left, &right), (&right, &left)] {
        (0..ALL).for_each(|n| from.try_send(&message(PROBE + n)).unwrap());
        assert!(matches!(from.try_send(&message(0)), Err(Error::Full)));
        (0..ALL).for_each(|n| expect(to, PROBE + n));
        assert!(matches!(to.try_recv(&mut Vec::new()), Err(Error::Empty)));
    }
    drop(left);
    assert!(right.is_closed());
    assert!(matches!(pipe.left(), Err(Error::Closed)));
}

/// How many messages the left end has sent, to nobody as yet.
fn sent(seg: &Segment, look: Look) -> u32 {
    let pipe = Pipe::open(seg, "pipe").unwrap();
    let got = drain(&pipe.right().unwrap());
    assert!(!got.contains(&STALE), "of the old session: {got:?}");
    let real: Vec<u8> = got.into_iter().filter(|n| *n < STALE).collect();
    for (i, n) in real.iter().enumerate() {
        assert_eq!(i, usize::from(*n), "lost, or twice, or out of order");
    }
    check(&pipe);
    if look == Look::Later {
        return 0;
    }
    real.len() as u32
}

/// Only whether all works: what was received went to the dead.
fn works(seg: &Segment, _: Look) -> u32 {
    sent(seg, Look::Later)
}

/// Both ends, as the next ones do.
fn mend(seg: &Segment) {
    let pipe = open(seg);
    let right = pipe.right().unwrap();
    let _ = right.try_recv(&mut Vec::with_capacity(64));
    drop(right);
    let _ = pipe.left().unwrap().try_send(&message(PROBE));
}

/// Receives what comes until it is told that the peer is gone.
fn receive_all(seg: &Segment) {
    let end = right(seg);
    let mut got = Vec::new();
    loop {
        match end.recv_timeout(&mut got, LONG) {
            Ok(_) => assert!(got == large() || got == message(got[0])),
            Err(Error::Closed) => return,
            Err(e) => panic!("{e}"),
        }
    }
}

pub fn subject() -> Subject {
    Subject::new("Pipe", make, mend, sent)
        .case(Case::new("send, three times", 3, |seg| {
            let end = left(seg);
            Box::new(|| send(end, 0, 3))
        }))
        .case(
            Case::new("send, three times, after a session", 3, |seg| {
                let end = left(seg);
                Box::new(|| send(end, 0, 3))
            })
            .before(over),
        )
        .case(
            Case::new("send that wakes a receiver, and drop", 0, |seg| {
                let end = open(seg).left().unwrap();
                Box::new(|| {
                    end.send(&message(0)).unwrap();
                    drop(end);
                })
            })
            .peer(receive_all),
        )
        .case(
            Case::new("send in pieces, and drop", 0, |seg| {
                let end = open(seg).left().unwrap();
                let large = leak(large());
                Box::new(|| {
                    end.send(large).unwrap();
                    drop(end);
                })
            })
            .peer(receive_all),
        )
        .case(
            Case::new("send to a full pipe, woken by a receiver", 0, |seg| {
                let end = full(seg);
                // The receiver does not stay.
                Box::new(|| match end.send(&message(ALL)) {
                    Ok(()) | Err(Error::Closed) => {}
                    Err(e) => panic!("{e}"),
                })
            })
            .woken_by(|seg| {
                let end = open(seg).right().unwrap();
                Box::new(move || expect(&end, 0))
            })
            .judged_by(works),
        )
        .case(
            Case::new("try_send and send_timeout to a full pipe", 0, |seg| {
                let end = full(seg);
                Box::new(|| {
                    assert!(matches!(end.try_send(&[1]), Err(Error::Full)));
                    let got = end.send_timeout(&[1], SHORT);
                    assert!(matches!(got, Err(Error::Timeout)));
                })
            })
            .judged_by(|seg, look| u32::from(ALL) - sent(seg, look)),
        )
        .case(
            Case::new("recv, three times, and closed", 0, |seg| {
                let end = right(seg);
                Box::new(|| {
                    (0..3).for_each(|n| expect(end, n));
                    assert!(matches!(end.recv(&mut Vec::new()), Err(Error::Closed)));
                })
            })
            .before(sent_by_a_dead_one)
            .judged_by(works),
        )
        .case(
            Case::new("recv in pieces", 0, |seg| {
                let end = right(seg);
                let mut got = Vec::with_capacity(1000);
                Box::new(move || {
                    end.recv(&mut got).unwrap();
                    assert_eq!(got, large());
                })
            })
            .peer(|seg| {
                let end = open(seg).left().unwrap();
                match end.send_timeout(&large(), LONG) {
                    Ok(()) | Err(Error::Closed) => {}
                    Err(e) => panic!("{e}"),
                }
            })
            .judged_by(works),
        )
        .case(
            Case::new("recv, empty, woken by a sender", 0, |seg| {
                let end = tired(right(seg));
                Box::new(|| expect(end, 0))
            })
            .woken_by(|seg| {
                let end = open(seg).left().unwrap();
                Box::new(move || send(&end, 0, 2))
            })
            .judged_by(works),
        )
        .case(
            Case::new("try_recv, poll and recv_timeout, empty", 0, |seg| {
                let end = tired(right(seg));
                let mut got = Vec::new();
                Box::new(move || {
                    assert!(matches!(end.try_recv(&mut got), Err(Error::Empty)));
                    assert!(!end.poll(Duration::ZERO).unwrap());
                    let waited = end.recv_timeout(&mut got, SHORT);
                    assert!(matches!(waited, Err(Error::Timeout)));
                })
            })
            .judged_by(works),
        )
        .case(
            Case::new("recv from a peer that died", 0, |seg| {
                let end = right(seg);
                let mut got = Vec::new();
                Box::new(move || assert!(matches!(end.recv(&mut got), Err(Error::Closed))))
            })
            .before(|seg| Forked::start(|| drop(left(seg).poll(Duration::ZERO))).finish())
            .judged_by(works),
        )
        .case(
            Case::new("drop", 0, |seg| {
                let end = open(seg).left().unwrap();
                send(&end, 0, 3);
                Box::new(|| drop(end))
            })
            .judged_by(|seg, look| 3 - sent(seg, look)),
        )
        .case(Case::new("left, and send", 1, |seg| {
            let pipe = open(seg);
            Box::new(|| {
                let end = leak(pipe.left().unwrap());
                send(end, 0, 1);
            })
        }))
        .case(
            Case::new("left that begins a session, and send", 1, |seg| {
                let pipe = open(seg);
                Box::new(|| {
                    let end = leak(pipe.left().unwrap());
                    send(end, 0, 1);
                })
            })
            .before(over),
        )
        .case(
            Case::new("right that begins a session", 0, |seg| {
                let pipe = open(seg);
                Box::new(|| {
                    leak(pipe.right().unwrap());
                })
            })
            .before(over)
            .judged_by(works),
        )
}
