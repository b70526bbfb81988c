//! Queues: many senders, many receivers.

use super::Object;
use crate::stage::{Home, LONG, Own, Place, Working, ms, tell, theirs, timed};
use commonhold::{Error, Result};
use std::collections::HashMap;
use std::time::Duration;

/// A queue of numbers, which as an [`Object`] holds [`CAPACITY`].
pub(crate) trait QueueLike: Object {
    fn create_of(home: &Self::Home, name: &str, capacity: usize) -> Result<Self>;
    fn send(&self, n: u64) -> Result<()>;
    fn try_send(&self, n: u64) -> Result<()>;
    fn send_timeout(&self, n: u64, timeout: Duration) -> Result<()>;
    fn send_all(&self, ns: &[u64]) -> Result<()>;
    fn recv(&self) -> Result<u64>;
    fn try_recv(&self) -> Result<u64>;
    fn recv_timeout(&self, timeout: Duration) -> Result<u64>;
    fn recv_many(&self, ns: &mut Vec<u64>, max: usize) -> Result<usize>;
    fn len(&self) -> usize;
    fn is_empty(&self) -> bool;
    fn is_full(&self) -> bool;
    fn close(&self);
    fn is_closed(&self) -> bool;
    fn iter(&self) -> impl Iterator<Item = u64>;
}

pub(crate) const CAPACITY: usize = 4;

const ITEMS: u64 = 1_000;

/// Sends the numbers of a sender, one by one and in batches.
fn send_mine<A: QueueLike>(it: &A, sender: u64) {
    let mine: Vec<u64> = (0..ITEMS).map(|n| sender << 32 | n).collect();
    let (singly, batches) = mine.split_at(mine.len() / 2);
    for n in singly {
        it.send(*n).unwrap();
    }
    for batch in batches.chunks(7) {
        it.send_all(batch).unwrap();
    }
}

/// Receives until the queue is closed and drained, one by one and in batches. What one sender sent comes in order.
fn receive_much<A: QueueLike>(it: &A) -> Vec<u64> {
    let mut got = Vec::new();
    loop {
        let result = match got.len() % 3 {
            0 => it.recv_many(&mut got, 3).map(drop),
            1 => it.recv().map(|n| got.push(n)),
            _ => it.recv_timeout(LONG).map(|n| got.push(n)),
        };
        match result {
            Ok(()) => {}
            Err(Error::Closed) => break,
            Err(other) => panic!("{other:?}"),
        }
    }
    let mut last = HashMap::new();
    for n in &got {
        let before = last.insert(n >> 32, n);
        assert!(before.is_none_or(|before| before < n), "out of order");
    }
    got
}

pub(crate) fn of_threads_and_processes_nothing_is_lost_and_nothing_twice<A: QueueLike>() {
    let own = Own::<A>::new();
    let mut receiving = own.child("queues", &["receive"]);
    let sending = own.child("queues", &["send", "2"]);
    let receivers = [(), ()].map(|()| {
        let it = own.it.clone();
        Working::start(move || receive_much(&it))
    });
    let senders = [0, 1].map(|sender| {
        let it = own.it.clone();
        Working::start(move || send_mine(&it, sender))
    });
    senders.into_iter().for_each(Working::done);
    sending.finish();
    own.it.close();
    let mut all: Vec<u64> = receivers.into_iter().flat_map(Working::done).collect();
    let told = receiving.hear();
    all.extend(told.split_whitespace().map(|n| n.parse::<u64>().unwrap()));
    receiving.finish();
    all.sort_unstable();
    let sent: Vec<u64> = (0..3)
        .flat_map(|sender| (0..ITEMS).map(move |n| sender << 32 | n))
        .collect();
    assert_eq!(all, sent);
}

pub(crate) fn a_full_queue_and_an_empty_one_say_so<A: QueueLike>() {
    let own = Own::<A>::new();
    let it = &own.it;
    for round in 0..3 {
        assert!(it.is_empty() && !it.is_full());
        assert!(matches!(it.try_recv(), Err(Error::Empty)));
        assert!(matches!(
            it.recv_timeout(Duration::ZERO),
            Err(Error::Timeout)
        ));
        for n in 0..CAPACITY {
            assert_eq!((it.len(), it.is_full()), (n, false));
            it.try_send(round * 10 + n as u64).unwrap();
        }
        assert_eq!((it.len(), it.is_full()), (CAPACITY, true));
        assert!(matches!(it.try_send(99), Err(Error::Full)));
        let (result, took) = timed(|| it.send_timeout(99, ms(15)));
        assert!(matches!(result, Err(Error::Timeout)) && took >= ms(15));
        for n in 0..CAPACITY {
            assert_eq!(it.try_recv().unwrap(), round * 10 + n as u64);
        }
    }
}

pub(crate) fn a_closed_queue_takes_nothing_and_gives_what_it_has<A: QueueLike>() {
    let own = Own::<A>::new();
    let it = &own.it;
    it.send(1).unwrap();
    it.send(2).unwrap();
    assert!(!it.is_closed());
    own.again().close();
    assert!(it.is_closed());
    assert!(matches!(it.send(3), Err(Error::Closed)));
    assert!(matches!(it.try_send(3), Err(Error::Closed)));
    assert!(matches!(it.send_timeout(3, LONG), Err(Error::Closed)));
    assert!(matches!(it.send_all(&[3, 4]), Err(Error::Closed)));
    assert_eq!(it.recv().unwrap(), 1);
    assert_eq!(it.recv_timeout(LONG).unwrap(), 2);
    for _ in 0..2 {
        assert!(matches!(it.recv(), Err(Error::Closed)));
        assert!(matches!(it.try_recv(), Err(Error::Closed)));
        assert!(matches!(it.recv_timeout(LONG), Err(Error::Closed)));
        assert!(matches!(
            it.recv_many(&mut Vec::new(), 3),
            Err(Error::Closed)
        ));
        // A second time changes nothing.
        it.close();
    }
}

pub(crate) fn closing_wakes_all_that_wait<A: QueueLike>() {
    let empty = Own::<A>::new();
    let full = Own::<A>::new();
    full.it.send_all(&[0; CAPACITY]).unwrap();
    let mut processes = [
        empty.child("queues", &["receive"]),
        full.child("queues", &["send_one"]),
    ];
    let waiters: Vec<_> = (0..3)
        .flat_map(|_| {
            let (empty, full) = (empty.it.clone(), full.it.clone());
            [
                Working::start(move || empty.recv().map(drop)),
                Working::start(move || full.send(1)),
            ]
        })
        .collect();
    let waiters: Vec<_> = waiters.into_iter().map(Working::sleeps).collect();
    for process in &mut processes[1..] {
        process.expect("sending");
    }
    empty.it.close();
    full.it.close();
    for waiter in waiters {
        assert!(matches!(waiter.done(), Err(Error::Closed)));
    }
    processes[0].expect("");
    processes[1].expect("Err(Closed)");
    processes.into_iter().for_each(|process| process.finish());
}

pub(crate) fn a_receive_lets_a_waiting_sender_in<A: QueueLike>() {
    let own = Own::<A>::new();
    own.it.send_all(&[0; CAPACITY]).unwrap();
    let mut process = own.child("queues", &["send_one"]);
    process.expect("sending");
    let it = own.it.clone();
    let thread = Working::start(move || it.send(8)).sleeps();
    assert!(thread.is_done().is_none());
    own.it.recv().unwrap();
    own.it.recv().unwrap();
    thread.done().unwrap();
    process.expect("Ok(())");
    process.finish();
    let mut rest = Vec::new();
    while own
        .it
        .recv_many(&mut rest, 1)
        .is_ok_and(|_| !own.it.is_empty())
    {}
    rest.sort_unstable();
    assert_eq!(rest, [0, 0, 8, 9]);
}

pub(crate) fn a_batch_larger_than_the_queue_arrives_whole_and_in_order<A: QueueLike>() {
    let own = Own::<A>::new();
    let sent: Vec<u64> = (0..50 * CAPACITY as u64 + 1).collect();
    let (it, batch) = (own.it.clone(), sent.clone());
    let sender = Working::start(move || it.send_all(&batch));
    let mut got = Vec::new();
    while got.len() < sent.len() {
        own.it.recv_many(&mut got, 3).unwrap();
    }
    sender.done().unwrap();
    assert_eq!(got, sent);
}

pub(crate) fn a_batch_is_received_up_to_what_was_asked_for<A: QueueLike>() {
    let own = Own::<A>::new();
    let it = &own.it;
    it.send_all(&[1, 2, 3]).unwrap();
    let mut got = vec![0];
    assert_eq!(it.recv_many(&mut got, 2).unwrap(), 2);
    assert_eq!(it.recv_many(&mut got, 100).unwrap(), 1);
    assert_eq!(got, [0, 1, 2, 3]);
    assert_eq!(it.recv_many(&mut got, 0).unwrap(), 0);
    it.send_all(&[]).unwrap();
    assert!(it.is_empty());
}

pub(crate) fn what_was_sent_is_there_for_anyone_who_looks<A: QueueLike>() {
    let place = Place::<A::Home>::new();
    let it = A::create_of(&place.home, "of one", 1).unwrap();
    let elsewhere = A::open(&A::Home::open(place.name()).unwrap(), "of one").unwrap();
    for n in 0..500 {
        it.send(n).unwrap();
        assert!(elsewhere.is_full() && !elsewhere.is_empty());
        assert_eq!(elsewhere.try_recv().unwrap(), n);
        assert!(it.is_empty());
    }
}

pub(crate) fn the_items_end_when_the_queue_is_closed_and_drained<A: QueueLike>() {
    let own = Own::<A>::new();
    let it = own.it.clone();
    let receiver = Working::start(move || it.iter().collect::<Vec<_>>());
    for n in 0..10 {
        own.it.send(n).unwrap();
    }
    own.it.close();
    assert_eq!(receiver.done(), (0..10).collect::<Vec<_>>());
}

pub(crate) fn child<A: QueueLike>(args: &[String]) {
    let it = theirs::<A>(&args[0]);
    match args[1].as_str() {
        "send" => send_mine(&it, args[2].parse().unwrap()),
        "send_one" => {
            tell("sending");
            tell(&format!("{:?}", it.send(9)));
        }
        "receive" => {
            let got = receive_much(&it);
            let words: Vec<String> = got.iter().map(u64::to_string).collect();
            tell(&words.join(" "));
        }
        other => panic!("no role {other}"),
    }
}
