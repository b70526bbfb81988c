//! A broadcast of numbers, each with its complement. How far an operation came is read from the region, by docs/layout.md: what a
//! subscriber has received, it alone knows.

use crate::case::{Case, LONG, Look, SHORT, Subject, leak, tire};
use crate::support::Forked;
use commonhold::{Broadcast, Error, Publisher, Segment, Subscriber};
use std::hint::black_box;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

type Item = [u64; 2];

const CAPACITY: u64 = 8;
/// Sent by those who only look whether the broadcast works.
const PROBE: u64 = 1000;

fn item(n: u64) -> Item {
    [n, !n]
}

fn open(seg: &Segment) -> &'static Broadcast<Item> {
    leak(Broadcast::open(seg, "broadcast").unwrap())
}

fn publisher(seg: &Segment) -> &'static Publisher<Item> {
    leak(open(seg).publisher().unwrap())
}

fn subscriber(seg: &Segment) -> &'static mut Subscriber<Item> {
    Box::leak(Box::new(open(seg).subscribe().unwrap()))
}

fn make(seg: &Segment) {
    Broadcast::<Item>::create(seg, "broadcast", CAPACITY as usize).unwrap();
}

/// Sends the numbers from `from` to `to`.
fn fill(seg: &Segment, from: u64, to: u64) {
    let p = publisher(seg);
    (from..to).for_each(|n| p.send(item(n)).unwrap());
}

fn expect(n: u64, got: commonhold::Result<Item>) {
    assert_eq!(got.unwrap(), item(n));
}

/// The object's bytes: it is the only one.
struct Bytes(std::fs::File, u64);

impl Bytes {
    fn of(seg: &Segment) -> Bytes {
        let file = Bytes(seg.as_fd().try_clone_to_owned().unwrap().into(), 0);
        let data_at = file.get(56);
        Bytes(file.0, data_at)
    }

    fn get(&self, at: u64) -> u64 {
        let mut word = [0; 8];
        self.0.read_exact_at(&mut word, self.1 + at).unwrap();
        u64::from_ne_bytes(word)
    }

    fn tail(&self) -> u64 {
        self.get(128)
    }

    /// Of the first record.
    fn cursor(&self) -> u64 {
        self.get(384 + 16 * CAPACITY)
    }

    fn claims(&self) -> u32 {
        let claim = |i: u64| self.get(384 + 16 * CAPACITY + 64 * i + 8) as u32;
        (0..u64::from(crate::case::MEMBERS))
            .filter(|i| claim(*i) != 0)
            .count() as u32
    }
}

/// Whether what was published is whole; and then, whether all works, whoever is dead.
fn check(seg: &Segment, look: Look) {
    let b = Bytes::of(seg);
    let (tail, claimed) = (b.tail(), b.get(136));
    assert!((tail..=tail + CAPACITY).contains(&claimed));
    for p in claimed.saturating_sub(CAPACITY)..tail {
        let at = 384 + p % CAPACITY * 16;
        let found = [b.get(at), b.get(at + 8)];
        assert_eq!(found, item(found[0]), "torn");
        assert!(look == Look::Later || found == item(p));
    }
    let of = Broadcast::<Item>::open(seg, "broadcast").unwrap();
    let p = of.publisher().unwrap();
    let mut s = of.subscribe().unwrap();
    assert!(s.is_empty());
    if of.is_closed() {
        assert!(matches!(s.try_recv(), Err(Error::Closed)));
        assert!(matches!(p.try_send(item(PROBE)), Err(Error::Closed)));
        return;
    }
    assert!(matches!(s.try_recv(), Err(Error::Empty)));
    for n in 0..CAPACITY {
        p.send_timeout(item(PROBE + n), LONG).unwrap();
    }
    assert!(matches!(p.try_send(item(PROBE)), Err(Error::Full)));
    assert_eq!(of.subscribers(), 1);
    (0..CAPACITY).for_each(|n| expect(PROBE + n, s.recv_timeout(LONG)));
}

/// How many were sent.
fn sent(seg: &Segment, look: Look) -> u32 {
    let tail = Bytes::of(seg).tail();
    check(seg, look);
    tail as u32
}

/// How many were sent to a full one.
fn sent_more(seg: &Segment, look: Look) -> u32 {
    (sent(seg, look)).saturating_sub(CAPACITY as u32)
}

/// How many the first subscriber received.
fn received(seg: &Segment, look: Look) -> u32 {
    let cursor = Bytes::of(seg).cursor();
    check(seg, look);
    cursor as u32
}

fn subscribed(seg: &Segment, look: Look) -> u32 {
    let claims = Bytes::of(seg).claims();
    check(seg, look);
    claims
}

fn unsubscribed(seg: &Segment, look: Look) -> u32 {
    1 - subscribed(seg, look)
}

fn closed(seg: &Segment, look: Look) -> u32 {
    check(seg, look);
    open(seg).is_closed().into()
}

/// As the next ones do who come.
fn mend(seg: &Segment) {
    let of = open(seg);
    let s = of.subscribe().unwrap();
    match of.publisher().unwrap().try_send(item(PROBE)) {
        Ok(()) | Err(Error::Closed | Error::Full) => {}
        Err(e) => panic!("{e}"),
    }
    drop(s);
}

/// Leaves a full broadcast, whose slowest subscriber is dead.
fn die_subscribed(seg: &Segment) {
    let child = || {
        subscriber(seg);
        fill(seg, 0, CAPACITY);
    };
    Forked::start(child).finish();
}

/// Leaves no record that is not a dead one's.
fn die_in_all_places(seg: &Segment) {
    let child = || {
        for _ in 0..crate::case::MEMBERS {
            subscriber(seg);
        }
    };
    Forked::start(child).finish();
}

/// Leaves the publishers' lock with a dead one, cells that it claimed, and half an item in one of them.
fn die_sending(seg: &Segment) {
    use crate::tracer::Victim;
    use crate::walk::{Event, Walk};
    fill(seg, 0, CAPACITY);
    let mut victim = Victim::start(|| {
        let p = publisher(&Segment::open(seg.name()).unwrap());
        Box::new(|| p.send_all(&[item(77), item(78)]).unwrap())
    });
    let mut walk = Walk::new(&mut victim, seg.name(), |_| {});
    for _ in 0..3 {
        while walk.next().expect("it changes the region").event != Event::Change {}
    }
    drop(walk);
    victim.kill();
}

/// A subscriber, to a full broadcast, that receives one once the operation sleeps, and goes.
fn make_room(seg: &Segment) -> crate::tracer::Op {
    let mut s = open(seg).subscribe().unwrap();
    fill(seg, 0, CAPACITY);
    Box::new(move || expect(0, s.recv()))
}

fn take_one(seg: &Segment) {
    expect(0, open(seg).subscribe().unwrap().recv_timeout(LONG));
}

/// Unless the victim sent it: then the sleeper finds it without being told again.
fn send_it_if_need_be(seg: &Segment) {
    if Bytes::of(seg).tail() == 0 {
        publisher(seg).send_timeout(item(0), LONG).unwrap();
    }
}

fn until_closed(seg: &Segment) {
    let mut s = open(seg).subscribe_lossy().unwrap();
    assert!(matches!(s.recv_timeout(LONG), Err(Error::Closed)));
}

/// Unless the victim closed it: then the sleepers find out without being told again.
fn close_if_need_be(seg: &Segment) {
    if !open(seg).is_closed() {
        open(seg).close();
    }
}

pub fn subject() -> Subject {
    let subject = Subject::new("Broadcast", make, mend, sent);
    receiving(coming_and_going(sending(subject)))
}

fn sending(subject: Subject) -> Subject {
    subject
        .case(Case::new("send, three times", 3, |seg| {
            let p = publisher(seg);
            Box::new(|| (0..3).for_each(|n| p.send(black_box(item(n))).unwrap()))
        }))
        .case(
            Case::new("send_all, over what nobody waits for", 3, |seg| {
                let p = publisher(seg);
                Box::new(|| p.send_all(&[item(8), item(9), item(10)]).unwrap())
            })
            .before(|seg| fill(seg, 0, CAPACITY))
            .judged_by(sent_more),
        )
        .case(
            Case::new("send to a full one, woken by a subscriber", 1, |seg| {
                let p = publisher(seg);
                Box::new(|| p.send(item(CAPACITY)).unwrap())
            })
            .woken_by(make_room)
            .judged_by(sent_more),
        )
        .case(
            Case::new("try_send and send_timeout to a full one", 0, |seg| {
                let p = publisher(seg);
                subscriber(seg);
                fill(seg, 0, CAPACITY);
                tire(|d| assert!(p.send_timeout(item(9), d).is_err()));
                Box::new(|| {
                    assert!(matches!(p.try_send(item(9)), Err(Error::Full)));
                    let got = p.send_timeout(item(9), SHORT);
                    assert!(matches!(got, Err(Error::Timeout)));
                })
            })
            .judged_by(sent_more),
        )
        .case(
            Case::new("send to a full one whose subscriber died", 1, |seg| {
                let p = publisher(seg);
                Box::new(|| p.send(item(CAPACITY)).unwrap())
            })
            .before(die_subscribed)
            .judged_by(sent_more),
        )
        .case(
            Case::new("try_send to a full one whose subscriber died", 1, |seg| {
                let p = publisher(seg);
                Box::new(|| p.try_send(item(CAPACITY)).unwrap())
            })
            .before(die_subscribed)
            .judged_by(sent_more),
        )
        .case(
            Case::new("send that wakes two subscribers", 1, |seg| {
                let p = publisher(seg);
                Box::new(|| p.send(item(0)).unwrap())
            })
            .peer(take_one)
            .peer(take_one)
            .released_by(send_it_if_need_be),
        )
        .case(
            Case::new("send after a publisher died in the middle", 1, |seg| {
                let p = publisher(seg);
                Box::new(|| p.send(item(CAPACITY)).unwrap())
            })
            .before(die_sending)
            .judged_by(sent_more),
        )
        .case(
            Case::new("close", 1, |seg| {
                let of = open(seg);
                Box::new(|| of.close())
            })
            .judged_by(closed),
        )
        .case(
            (0..3).fold(
                Case::new("close that wakes three subscribers", 1, |seg| {
                    let of = open(seg);
                    Box::new(|| of.close())
                })
                .released_by(close_if_need_be)
                .judged_by(closed),
                |case, _| case.peer(until_closed),
            ),
        )
}

fn coming_and_going(subject: Subject) -> Subject {
    subject
        .case(
            Case::new("subscribe", 1, |seg| {
                let of = open(seg);
                Box::new(|| std::mem::forget(of.subscribe().unwrap()))
            })
            .judged_by(subscribed),
        )
        .case(
            Case::new("subscribe where all places are dead ones'", 0, |seg| {
                let of = open(seg);
                Box::new(|| std::mem::forget(of.subscribe().unwrap()))
            })
            .before(die_in_all_places),
        )
        .case(
            Case::new("drop of a subscriber", 1, |seg| {
                let s = open(seg).subscribe().unwrap();
                Box::new(|| drop(s))
            })
            .judged_by(unsubscribed),
        )
        .case(
            Case::new("drop of a subscriber that wakes a publisher", 0, |seg| {
                let s = open(seg).subscribe().unwrap();
                fill(seg, 0, CAPACITY);
                Box::new(|| drop(s))
            })
            .peer(|seg| publisher(seg).send_timeout(item(CAPACITY), LONG).unwrap())
            .judged_by(|seg, look| {
                check(seg, look);
                0
            }),
        )
}

fn receiving(subject: Subject) -> Subject {
    subject
        .case(
            Case::new("recv, three times", 3, |seg| {
                let s = subscriber(seg);
                fill(seg, 0, 3);
                Box::new(|| (0..3).for_each(|n| expect(n, s.recv())))
            })
            .judged_by(received),
        )
        .case(
            Case::new("recv_many", 6, |seg| {
                let s = subscriber(seg);
                fill(seg, 0, 6);
                Box::new(|| {
                    let mut items = Vec::with_capacity(8);
                    assert_eq!(s.recv_many(&mut items, 8).unwrap(), 6);
                    assert!((0..6).all(|n| items[n as usize] == item(n)));
                })
            })
            .judged_by(received),
        )
        .case(
            Case::new("recv from an empty one, woken by a publisher", 1, |seg| {
                let s = subscriber(seg);
                tire(|d| assert!(matches!(s.recv_timeout(d), Err(Error::Timeout))));
                Box::new(|| expect(0, s.recv()))
            })
            .woken_by(|seg| {
                let p = publisher(seg);
                Box::new(|| p.send(item(0)).unwrap())
            })
            .judged_by(received),
        )
        .case(Case::new("try_recv and recv_timeout, empty", 0, |seg| {
            let s = subscriber(seg);
            tire(|d| assert!(matches!(s.recv_timeout(d), Err(Error::Timeout))));
            Box::new(|| {
                assert!(matches!(s.try_recv(), Err(Error::Empty)));
                assert!(matches!(s.recv_timeout(SHORT), Err(Error::Timeout)));
            })
        }))
        .case(
            Case::new("recv that wakes a publisher", 1, |seg| {
                let s = subscriber(seg);
                fill(seg, 0, CAPACITY);
                Box::new(|| expect(0, s.recv()))
            })
            .peer(|seg| publisher(seg).send_timeout(item(CAPACITY), LONG).unwrap())
            .judged_by(received),
        )
        .case(
            Case::new("recv by a lossy one that lagged", 0, |seg| {
                let mut s = open(seg).subscribe_lossy().unwrap();
                fill(seg, 0, CAPACITY + 3);
                Box::new(move || {
                    assert!(matches!(s.recv(), Err(Error::Lagged(3))));
                    expect(3, s.recv());
                })
            })
            .judged_by(|seg, look| {
                check(seg, look);
                0
            }),
        )
}
