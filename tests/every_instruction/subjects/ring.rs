//! A ring of numbers, each with its complement; sent and received in order, by whoever holds the ends.

use crate::case::{Case, LIMIT, LONG, Look, SHORT, Subject, leak, tire};
use crate::support::{Forked, eventually};
use commonhold::{Consumer, Error, Producer, Result, Ring, Segment};
use std::hint::black_box;

type Item = [u64; 2];

const CAPACITY: usize = 4;
/// Sent by those who only look whether the ring works.
const PROBE: u64 = 1000;

fn item(n: u64) -> Item {
    [n, !n]
}

fn open(seg: &Segment) -> &'static Ring<Item> {
    leak(Ring::open(seg, "ring").unwrap())
}

/// An end, once the kernel has let go of a holder that was killed.
fn take<E>(end: impl Fn() -> Result<E>) -> E {
    let mut taken = None;
    eventually(LIMIT, "the end is free", || match end() {
        Ok(end) => {
            taken = Some(end);
            true
        }
        Err(Error::Busy) => false,
        Err(e) => panic!("{e}"),
    });
    taken.unwrap()
}

fn producer(seg: &Segment) -> Producer<Item> {
    take(|| open(seg).producer())
}

fn consumer(seg: &Segment) -> Consumer<Item> {
    take(|| open(seg).consumer())
}

/// For a victim, which holds it until it dies.
fn held<E>(end: E) -> &'static mut E {
    Box::leak(Box::new(end))
}

/// An end that does not spin for long when the ring is empty.
fn tired_consumer(seg: &Segment) -> &'static mut Consumer<Item> {
    let mut c = consumer(seg);
    tire(|d| assert!(matches!(c.recv_timeout(d), Err(Error::Timeout))));
    held(c)
}

/// An end that does not spin for long when the ring is full.
fn tired_producer(seg: &Segment) -> &'static mut Producer<Item> {
    let mut p = producer(seg);
    tire(|d| assert!(matches!(p.send_timeout(item(9), d), Err(Error::Timeout))));
    held(p)
}

fn make(seg: &Segment) {
    Ring::<Item>::create(seg, "ring", CAPACITY).unwrap();
}

/// Sends the numbers from `from` to `to`.
fn fill(seg: &Segment, from: u64, to: u64) {
    let mut p = producer(seg);
    (from..to).for_each(|n| p.send(item(n)).unwrap());
}

fn fill_three(seg: &Segment) {
    fill(seg, 0, 3);
}

fn fill_up(seg: &Segment) {
    fill(seg, 0, 4);
}

/// Leaves the next place to write, and to read, the last one.
fn go_on_to_the_last_place(seg: &Segment) {
    fill(seg, 0, 3);
    let mut c = consumer(seg);
    (0..3).for_each(|n| expect(n, c.recv()));
}

/// Leaves 3 items whose places lie across the ring's end.
fn fill_across(seg: &Segment) {
    go_on_to_the_last_place(seg);
    fill(seg, 3, 6);
}

/// What there is to be received: whole, in order, without a gap; then a probe goes through.
fn drain(seg: &Segment) -> Vec<u64> {
    let r = Ring::<Item>::open(seg, "ring").unwrap();
    let mut c = take(|| r.consumer());
    let mut numbers = Vec::new();
    let got_all = loop {
        match c.try_recv() {
            Ok(got) => {
                assert_eq!(got, item(got[0]), "torn");
                numbers.push(got[0]);
            }
            Err(e) => break e,
        }
    };
    let real: Vec<u64> = numbers.iter().copied().filter(|n| *n < PROBE).collect();
    for pair in real.windows(2) {
        assert_eq!(pair[0] + 1, pair[1], "lost, or twice, or out of order");
    }
    assert!(r.is_empty());
    let mut p = take(|| r.producer());
    if r.is_closed() {
        assert!(matches!(got_all, Error::Closed), "{got_all}");
        assert!(matches!(p.try_send(item(PROBE)), Err(Error::Closed)));
        assert!(matches!(c.try_recv(), Err(Error::Closed)));
        return real;
    }
    assert!(matches!(got_all, Error::Empty), "{got_all}");
    for n in 0..CAPACITY as u64 {
        p.send_timeout(item(PROBE + n), LONG).unwrap();
    }
    assert!(matches!(p.try_send(item(PROBE)), Err(Error::Full)));
    let mut probes = Vec::new();
    while probes.len() < CAPACITY {
        c.recv_many_timeout(&mut probes, CAPACITY, LONG).unwrap();
    }
    assert!((0..CAPACITY).all(|n| probes[n] == item(PROBE + n as u64)));
    real
}

/// How many numbers came, from 0 on.
fn sent(seg: &Segment, look: Look) -> u32 {
    let got = drain(seg);
    assert!(look == Look::Later || got.first().is_none_or(|n| *n == 0));
    got.len() as u32
}

fn came(seg: &Segment, _: Look) -> u32 {
    drain(seg).len() as u32
}

/// How many of 3 numbers are gone.
fn received(seg: &Segment, look: Look) -> u32 {
    let got = drain(seg);
    assert!(look == Look::Later || got.last().is_none_or(|n| *n == 2));
    3u32.saturating_sub(got.len() as u32)
}

/// Both ends, as the next ones do.
fn mend(seg: &Segment) {
    let _ = consumer(seg).try_recv();
    match producer(seg).try_send(item(PROBE)) {
        Ok(()) | Err(Error::Closed | Error::Full) => {}
        Err(e) => panic!("{e}"),
    }
}

fn expect(n: u64, got: Result<Item>) {
    assert_eq!(got.unwrap(), item(n));
}

/// Leaves both ends with the dead.
fn die_with_both_ends(seg: &Segment) {
    Forked::start(|| std::mem::forget((producer(seg), consumer(seg)))).finish();
}

/// Leaves a ring that is closed, but whose last item nobody has settled: by a kill.
fn die_closing(seg: &Segment) {
    use crate::tracer::Victim;
    use crate::walk::{Event, Walk};
    fill(seg, 0, 3);
    let mut victim = Victim::start(|| {
        let r = open(&Segment::open(seg.name()).unwrap());
        Box::new(move || r.close())
    });
    let mut walk = Walk::new(&mut victim, seg.name(), |_| {});
    while walk.next().expect("it changes the region").event != Event::Change {}
    drop(walk);
    victim.kill();
}

fn take_one(seg: &Segment) {
    let got = consumer(seg).recv_timeout(LONG).unwrap();
    assert_eq!(got, item(got[0]));
}

/// Unless the victim sent one: then the sleeper finds it without being told again.
fn put_one_if_need_be(seg: &Segment) {
    if open(seg).is_empty() {
        producer(seg).send_timeout(item(PROBE), LONG).unwrap();
    }
}

/// Unless the victim took one: then the sleeper finds the room without being told again.
fn take_one_if_need_be(seg: &Segment) {
    if open(seg).is_full() {
        let _ = consumer(seg).try_recv();
    }
}

fn until_closed(seg: &Segment) {
    let got = consumer(seg).recv_timeout(LONG);
    assert!(matches!(got, Err(Error::Closed)));
}

/// Unless the victim closed it: then the sleeper finds out without being told again.
fn close_if_need_be(seg: &Segment) {
    if !open(seg).is_closed() {
        open(seg).close();
    }
}

fn closed(seg: &Segment, _: Look) -> u32 {
    drain(seg);
    open(seg).is_closed().into()
}

pub fn subject() -> Subject {
    let subject = Subject::new("Ring", make, mend, sent);
    closing(receiving(sending(subject)))
        .case(Case::new(
            "producer and consumer, and their drops",
            0,
            |seg| {
                let r = open(seg);
                Box::new(|| drop((r.producer().unwrap(), r.consumer().unwrap())))
            },
        ))
        .case(
            Case::new("the ends of the dead, and their drops", 0, |seg| {
                let r = open(seg);
                Box::new(|| drop((r.producer().unwrap(), r.consumer().unwrap())))
            })
            .before(die_with_both_ends),
        )
}

fn sending(subject: Subject) -> Subject {
    subject
        .case(Case::new("send, three times", 3, |seg| {
            let p = held(producer(seg));
            Box::new(|| (0..3).for_each(|n| p.send(black_box(item(n))).unwrap()))
        }))
        .case(Case::new("send, lazily, and the drop", 3, |seg| {
            let mut p = producer(seg);
            Box::new(move || {
                p.lazy(2);
                (0..3).for_each(|n| p.send(black_box(item(n))).unwrap());
            })
        }))
        .case(
            Case::new("send_all, across the ring's end", 3, |seg| {
                let p = held(producer(seg));
                Box::new(|| p.send_all(&[item(3), item(4), item(5)]).unwrap())
            })
            .before(go_on_to_the_last_place)
            .judged_by(came),
        )
        .case(
            Case::new("write_chunk, across the ring's end", 3, |seg| {
                let p = held(producer(seg));
                Box::new(|| {
                    let mut chunk = p.write_chunk(3).unwrap();
                    let (first, second) = chunk.as_mut_slices();
                    let places = first.iter_mut().chain(second);
                    (3..).zip(places).for_each(|(n, place)| *place = item(n));
                    chunk.commit_all().unwrap();
                })
            })
            .before(go_on_to_the_last_place)
            .judged_by(came),
        )
        .case(
            Case::new("send to a full ring, woken by a receiver", 1, |seg| {
                let p = tired_producer(seg);
                Box::new(|| p.send(item(4)).unwrap())
            })
            .before(fill_up)
            .woken_by(|seg| {
                let r = open(seg);
                Box::new(|| expect(0, take(|| r.consumer()).recv()))
            })
            .judged_by(|seg, _| drain(seg).last().map_or(0, |last| *last as u32 - 3)),
        )
        .case(
            Case::new("try_send and send_timeout to a full ring", 0, |seg| {
                let p = tired_producer(seg);
                Box::new(|| {
                    assert!(matches!(p.try_send(item(4)), Err(Error::Full)));
                    let got = p.send_timeout(item(4), SHORT);
                    assert!(matches!(got, Err(Error::Timeout)));
                })
            })
            .before(fill_up)
            .judged_by(|seg, _| 4 - drain(seg).len() as u32),
        )
        .case(
            Case::new("send that wakes a receiver", 1, |seg| {
                let p = held(producer(seg));
                Box::new(|| p.send(item(0)).unwrap())
            })
            .peer(take_one)
            .released_by(put_one_if_need_be),
        )
}

fn receiving(subject: Subject) -> Subject {
    subject
        .case(
            Case::new("recv, three times", 3, |seg| {
                let c = held(consumer(seg));
                Box::new(|| (0..3).for_each(|n| expect(n, c.recv())))
            })
            .before(fill_three)
            .judged_by(received),
        )
        .case(
            Case::new("recv_many, across the ring's end", 3, |seg| {
                let c = held(consumer(seg));
                Box::new(|| {
                    let mut items = Vec::with_capacity(8);
                    assert_eq!(c.recv_many(&mut items, 8).unwrap(), 3);
                    assert_eq!(items, [item(3), item(4), item(5)]);
                })
            })
            .before(fill_across)
            .judged_by(|seg, _| 3 - drain(seg).len() as u32),
        )
        .case(
            Case::new("read_chunk, across the ring's end", 3, |seg| {
                let c = held(consumer(seg));
                Box::new(|| {
                    let chunk = c.read_chunk(3).unwrap();
                    let (first, second) = chunk.as_slices();
                    assert_eq!((first, second), (&[item(3)][..], &[item(4), item(5)][..]));
                    chunk.commit_all().unwrap();
                })
            })
            .before(fill_across)
            .judged_by(|seg, _| 3 - drain(seg).len() as u32),
        )
        .case(
            Case::new("recv from an empty ring, woken by a sender", 1, |seg| {
                let c = tired_consumer(seg);
                Box::new(|| expect(0, c.recv()))
            })
            .woken_by(|seg| {
                let r = open(seg);
                // And one that stays, to tell that the first is gone.
                Box::new(|| take(|| r.producer()).send_all(&[item(0), item(1)]).unwrap())
            })
            .judged_by(|seg, _| (drain(seg).first() == Some(&1)).into()),
        )
        .case(Case::new("try_recv and recv_timeout, empty", 0, |seg| {
            let c = tired_consumer(seg);
            Box::new(|| {
                assert!(matches!(c.try_recv(), Err(Error::Empty)));
                let got = c.recv_timeout(SHORT);
                assert!(matches!(got, Err(Error::Timeout)));
            })
        }))
        .case(
            Case::new("recv that wakes a sender", 1, |seg| {
                let c = held(consumer(seg));
                Box::new(|| expect(0, c.recv()))
            })
            .before(fill_up)
            .peer(|seg| producer(seg).send_timeout(item(4), LONG).unwrap())
            .released_by(take_one_if_need_be)
            .judged_by(came),
        )
}

fn closing(subject: Subject) -> Subject {
    subject
        .case(
            Case::new("close", 1, |seg| {
                let r = open(seg);
                Box::new(|| r.close())
            })
            .judged_by(closed),
        )
        .case(
            Case::new("close that wakes a receiver", 1, |seg| {
                let r = open(seg);
                Box::new(|| r.close())
            })
            .peer(until_closed)
            .released_by(close_if_need_be),
        )
        .case(
            Case::new("recv after a closer died in the middle", 3, |seg| {
                let c = held(consumer(seg));
                Box::new(|| {
                    (0..3).for_each(|n| expect(n, c.recv()));
                    assert!(matches!(c.recv(), Err(Error::Closed)));
                })
            })
            .before(die_closing)
            .judged_by(received),
        )
        .case(
            Case::new("send after a closer died in the middle", 1, |seg| {
                let p = held(producer(seg));
                Box::new(|| {
                    // The first settles the end behind itself.
                    p.send(item(3)).unwrap();
                    assert!(matches!(p.send(item(4)), Err(Error::Closed)));
                })
            })
            .before(die_closing)
            .judged_by(|seg, _| drain(seg).len() as u32 - 3),
        )
}
