//! Messages, each of which follows from its number; sent and received in order, by copies and in place. A `Channel` is made of the same.

use crate::case::{Case, LONG, Look, SHORT, Subject, leak, tire};
use commonhold::{Error, Messages, Segment};
use std::hint::black_box;

/// Two messages of 16 bytes have room, and no third: the second of two that follow three lies across the ring's end.
const CAPACITY: usize = 40;
/// Sent by those who only look whether it works.
const PROBE: u64 = 1000;

fn message(n: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&n.to_le_bytes());
    bytes[8..].copy_from_slice(&(!n).to_le_bytes());
    bytes
}

fn number(bytes: &[u8]) -> u64 {
    let n = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    assert_eq!(bytes, message(n), "torn");
    n
}

fn open(seg: &Segment) -> &'static Messages {
    leak(Messages::open(seg, "messages").unwrap())
}

/// A handle that does not spin for long when there is nothing.
fn open_tired(seg: &Segment) -> &'static Messages {
    let m = open(seg);
    let mut got = Vec::new();
    tire(|d| assert!(matches!(m.recv_timeout(&mut got, d), Err(Error::Timeout))));
    m
}

/// A handle that does not spin for long when there is no room.
fn open_tired_sender(seg: &Segment) -> &'static Messages {
    let m = open(seg);
    tire(|d| {
        assert!(matches!(
            m.send_timeout(&message(9), d),
            Err(Error::Timeout)
        ))
    });
    m
}

fn make(seg: &Segment) {
    Messages::create(seg, "messages", CAPACITY).unwrap();
}

/// Sends the numbers from `from` to `to`.
fn fill(seg: &Segment, from: u64, to: u64) {
    let m = open(seg);
    (from..to).for_each(|n| m.send(&message(n)).unwrap());
}

fn fill_up(seg: &Segment) {
    fill(seg, 0, 2);
}

/// The next message lies across the ring's end, which has six words.
fn go_on(seg: &Segment) {
    let m = open(seg);
    m.send(&[0; 24]).unwrap();
    m.recv(&mut Vec::new()).unwrap();
}

/// What there is to be received: whole, in order, without a gap; then probes go through.
fn drain(seg: &Segment) -> Vec<u64> {
    let m = Messages::open(seg, "messages").unwrap();
    let mut numbers = Vec::new();
    let mut bytes = Vec::new();
    let got_all = loop {
        match m.try_recv(&mut bytes) {
            Ok(_) => numbers.push(number(&bytes)),
            Err(e) => break e,
        }
    };
    let real: Vec<u64> = numbers.iter().copied().filter(|n| *n < PROBE).collect();
    for pair in real.windows(2) {
        assert_eq!(pair[0] + 1, pair[1], "lost, or twice, or out of order");
    }
    assert!(m.is_empty());
    if m.is_closed() {
        assert!(matches!(got_all, Error::Closed), "{got_all}");
        assert!(matches!(m.try_send(b""), Err(Error::Closed)));
        return real;
    }
    assert!(matches!(got_all, Error::Empty), "{got_all}");
    for n in [PROBE, PROBE + 1] {
        m.send_timeout(&message(n), LONG).unwrap();
    }
    assert!(matches!(m.try_send(b""), Err(Error::Full)));
    for n in [PROBE, PROBE + 1] {
        assert_eq!(m.recv_with_timeout(LONG, number).unwrap(), n);
    }
    real
}

/// How many numbers came, from 0 on.
fn sent(seg: &Segment, look: Look) -> u32 {
    let got = drain(seg);
    assert!(look == Look::Later || got.first().is_none_or(|n| *n == 0));
    got.len() as u32
}

/// How many of 2 numbers are gone.
fn received(seg: &Segment, look: Look) -> u32 {
    let got = drain(seg);
    assert!(look == Look::Later || got.last().is_none_or(|n| *n == 1));
    2u32.saturating_sub(got.len() as u32)
}

/// Both ends, as the next ones do.
fn mend(seg: &Segment) {
    let m = open(seg);
    let _ = m.try_recv(&mut Vec::new());
    match m.try_send(&message(PROBE)) {
        Ok(()) | Err(Error::Closed | Error::Full) => {}
        Err(e) => panic!("{e}"),
    }
}

/// Receives into a vector that is large enough.
fn expect(n: u64, m: &Messages) {
    let mut bytes = Vec::with_capacity(64);
    assert_eq!(m.recv(&mut bytes).unwrap(), 16);
    assert_eq!(number(&bytes), n);
}

fn write(m: &Messages, n: u64) {
    m.send_with(16, |bytes| bytes.copy_from_slice(black_box(&message(n))))
        .unwrap();
}

fn take_one(seg: &Segment) {
    open(seg).recv_with_timeout(LONG, number).unwrap();
}

/// Unless the victim sent one: then the sleeper finds it without being told again.
fn put_one_if_need_be(seg: &Segment) {
    if open(seg).is_empty() {
        open(seg).send_timeout(&message(PROBE), LONG).unwrap();
    }
}

/// Unless the victim took one: then the sleeper finds the room without being told again.
fn take_one_if_need_be(seg: &Segment) {
    if open(seg).used() == 48 {
        let _ = open(seg).try_recv(&mut Vec::new());
    }
}

pub fn subject() -> Subject {
    Subject::new("Messages", make, mend, sent)
        .case(Case::new("send, twice", 2, |seg| {
            let m = open(seg);
            Box::new(|| (0..2).for_each(|n| m.send(black_box(&message(n))).unwrap()))
        }))
        .case(Case::new("send_with, twice", 2, |seg| {
            let m = open(seg);
            Box::new(|| (0..2).for_each(|n| write(m, n)))
        }))
        .case(
            Case::new("send and send_with, across the ring's end", 2, |seg| {
                let m = open(seg);
                Box::new(|| {
                    m.send(black_box(&message(0))).unwrap();
                    write(m, 1);
                })
            })
            .before(go_on),
        )
        .case(
            Case::new("send_with, across the ring's end", 1, |seg| {
                let m = open(seg);
                Box::new(|| write(m, 0))
            })
            .before(go_on),
        )
        .case(
            Case::new("send without room, woken by a receiver", 1, |seg| {
                let m = open_tired_sender(seg);
                Box::new(|| m.send(&message(2)).unwrap())
            })
            .before(fill_up)
            .woken_by(|seg| {
                let m = open(seg);
                Box::new(|| expect(0, m))
            })
            .judged_by(|seg, _| drain(seg).last().map_or(0, |last| *last as u32 - 1)),
        )
        .case(
            Case::new("try_send and send_timeout without room", 0, |seg| {
                let m = open_tired_sender(seg);
                Box::new(|| {
                    assert!(matches!(m.try_send(b""), Err(Error::Full)));
                    assert!(matches!(m.send_timeout(b"", SHORT), Err(Error::Timeout)));
                })
            })
            .before(fill_up)
            .judged_by(|seg, _| 2 - drain(seg).len() as u32),
        )
        .case(
            Case::new("send that wakes a receiver", 1, |seg| {
                let m = open(seg);
                Box::new(|| m.send(&message(0)).unwrap())
            })
            .peer(take_one)
            .released_by(put_one_if_need_be),
        )
        .case(
            Case::new("recv, twice", 2, |seg| {
                let m = open(seg);
                Box::new(|| (0..2).for_each(|n| expect(n, m)))
            })
            .before(fill_up)
            .judged_by(received),
        )
        .case(
            Case::new("recv, into a vector that must grow", 1, |seg| {
                let m = open(seg);
                Box::new(|| assert_eq!(m.recv(&mut Vec::new()).unwrap(), 16))
            })
            .before(fill_up)
            .judged_by(received),
        )
        .case(
            Case::new("recv_with, twice, across the ring's end", 2, |seg| {
                let m = open(seg);
                Box::new(|| (0..2).for_each(|n| assert_eq!(m.recv_with(number).unwrap(), n)))
            })
            .before(|seg| {
                go_on(seg);
                fill_up(seg);
            })
            .judged_by(received),
        )
        .case(
            Case::new("recv of nothing, woken by a sender", 1, |seg| {
                let m = open_tired(seg);
                Box::new(|| expect(0, m))
            })
            .woken_by(|seg| {
                let m = open(seg);
                // And one that stays, to tell that the first is gone.
                Box::new(|| (0..2).for_each(|n| m.send(&message(n)).unwrap()))
            })
            .judged_by(|seg, _| (drain(seg).first() == Some(&1)).into()),
        )
        .case(
            Case::new("recv that wakes a sender", 1, |seg| {
                let m = open(seg);
                Box::new(|| expect(0, m))
            })
            .before(fill_up)
            .peer(|seg| open(seg).send_timeout(&message(2), LONG).unwrap())
            .released_by(take_one_if_need_be)
            .judged_by(|seg, _| drain(seg).len() as u32),
        )
        .case(
            Case::new("close", 1, |seg| {
                let m = open(seg);
                Box::new(|| m.close())
            })
            .judged_by(|seg, _| {
                drain(seg);
                open(seg).is_closed().into()
            }),
        )
}
