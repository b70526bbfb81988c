//! `Messages`.

mod closures;
mod lost;
mod many;

use crate::support::{
    Child, Forked, LIMIT, Name, Random, forks_are_noticed, listen, tell, wait_to_be_killed,
    within_the_limit,
};
pub(crate) use closures::die_in_a_closure;
use commonhold::{Error, Messages, Queue, Result, Segment, SegmentOptions};
pub(crate) use lost::lose_messages;
pub(crate) use many::{receive_numbered, send_numbered};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

const SOON: Duration = Duration::from_millis(5);

fn anonymous() -> Segment {
    Segment::anonymous(1 << 16).unwrap()
}

fn named(name: &str) -> Segment {
    Segment::create(name, 1 << 16).unwrap()
}

/// Bytes that tell where they belong.
fn message(number: usize, len: usize) -> Vec<u8> {
    (0..len).map(|i| (number * 31 + i * 7) as u8).collect()
}

fn next(m: &Messages) -> Vec<u8> {
    let mut got = Vec::new();
    assert_eq!(m.try_recv(&mut got).unwrap(), got.len());
    got
}

fn is_drained(m: &Messages) -> bool {
    m.is_empty() && matches!(m.try_recv(&mut Vec::new()), Err(Error::Empty))
}

#[test]
fn messages_of_every_length_arrive_as_they_were_sent() {
    let seg = anonymous();
    for capacity in [1, 7, 8, 9, 64, 100] {
        let m = Messages::create(&seg, &capacity.to_string(), capacity).unwrap();
        assert_eq!(m.capacity(), capacity);
        // Each length at each place of the ring, and in each way.
        for number in 0..40 * (capacity + 1) {
            let sent = message(number, number % (capacity + 1));
            match number % 2 {
                0 => m.try_send(&sent).unwrap(),
                _ => {
                    let write = |bytes: &mut [u8]| {
                        bytes.copy_from_slice(&sent);
                        number
                    };
                    assert_eq!(m.try_send_with(sent.len(), write).unwrap(), number);
                }
            }
            assert_eq!(m.used(), sent.len().next_multiple_of(8) + 8);
            let got = match number / 2 % 2 {
                0 => next(&m),
                _ => m.try_recv_with(<[u8]>::to_vec).unwrap(),
            };
            assert_eq!(got, sent, "number {number} of {capacity}");
            assert!(is_drained(&m));
        }
    }
}

#[test]
fn messages_come_in_the_order_in_which_they_were_sent() {
    let seg = anonymous();
    let m = Messages::create(&seg, "m", 100).unwrap();
    let mut random = Random::new();
    let (mut sent, mut received) = (0, 0);
    let length = |number: usize| number * 13 % 40;
    for _ in 0..5_000 {
        if random.below(2) == 0 {
            match m.try_send(&message(sent, length(sent))) {
                Ok(()) => sent += 1,
                Err(Error::Full) => assert!(m.used() + length(sent).next_multiple_of(8) + 8 > 112),
                Err(e) => panic!("{e}"),
            }
        } else if received < sent {
            assert_eq!(next(&m), message(received, length(received)));
            received += 1;
        } else {
            assert!(is_drained(&m));
        }
    }
    assert!(received > 1000);
}

#[test]
fn what_does_not_fit_says_so_at_once() {
    let seg = anonymous();
    let m = Messages::create(&seg, "m", 20).unwrap();
    let too_large = |r: Result<()>| match r {
        Err(Error::TooLarge { requested, limit }) => assert_eq!((requested, limit), (21, 20)),
        other => panic!("{other:?}"),
    };
    let closure = |_: &mut [u8]| panic!("it has no room");
    let refused = || {
        too_large(m.send(&[0; 21]));
        too_large(m.try_send(&[0; 21]));
        too_large(m.send_timeout(&[0; 21], LIMIT));
        too_large(m.send_with(21, closure));
        too_large(m.try_send_with(21, closure));
        too_large(m.send_with_timeout(21, LIMIT, closure));
    };
    refused();
    m.send(&[1; 20]).unwrap();
    refused();
    assert!(matches!(m.try_send(b""), Err(Error::Full)));
    assert!(matches!(m.try_send_with(0, closure), Err(Error::Full)));
    assert!(matches!(m.send_timeout(b"", SOON), Err(Error::Timeout)));
    let timed = m.send_with_timeout(1, SOON, closure);
    assert!(matches!(timed, Err(Error::Timeout)));
    m.close();
    refused();
    assert!(matches!(m.try_send(b""), Err(Error::Closed)));
    assert!(matches!(m.send_with(0, closure), Err(Error::Closed)));
}

#[test]
fn a_message_takes_the_place_of_what_the_vector_held() {
    let seg = anonymous();
    let m = Messages::create(&seg, "m", 100).unwrap();
    let mut vec = vec![9; 50];
    m.send(b"short").unwrap();
    assert_eq!(m.recv(&mut vec).unwrap(), 5);
    assert_eq!(vec, b"short");
    m.send(&[7; 100]).unwrap();
    assert_eq!(m.recv_timeout(&mut vec, LIMIT).unwrap(), 100);
    assert_eq!(vec, [7; 100]);
    assert!(matches!(
        m.recv_timeout(&mut vec, SOON),
        Err(Error::Timeout)
    ));
    assert!(vec.is_empty());
    vec.push(1);
    assert!(matches!(m.try_recv(&mut vec), Err(Error::Empty)));
    assert!(vec.is_empty());
    let closure = |_: &[u8]| panic!("there is none");
    assert!(matches!(m.try_recv_with(closure), Err(Error::Empty)));
    let timed = m.recv_with_timeout(SOON, closure);
    assert!(matches!(timed, Err(Error::Timeout)));
    m.close();
    assert!(matches!(m.recv(&mut vec), Err(Error::Closed)));
    assert!(matches!(m.recv_with(closure), Err(Error::Closed)));
}

#[test]
fn it_is_found_by_its_name_and_capacity_and_nothing_else() {
    let seg = anonymous();
    assert!(matches!(Messages::open(&seg, "m"), Err(Error::NotFound)));
    let none = Messages::create(&seg, "m", 0);
    assert!(matches!(none, Err(Error::InvalidArgument(_))));
    let made = Messages::open_or_create(&seg, "m", 50).unwrap();
    let again = Messages::create(&seg, "m", 50);
    assert!(matches!(again, Err(Error::AlreadyExists)));
    made.send(b"found").unwrap();
    assert_eq!(next(&Messages::open(&seg, "m").unwrap()), b"found");
    let same = Messages::open_or_create(&seg, "m", 50).unwrap();
    same.clone().send(b"same").unwrap();
    assert_eq!(next(&made), b"same");
    let said = |r: Result<Messages>| r.unwrap_err().to_string();
    let other = said(Messages::open_or_create(&seg, "m", 51));
    assert!(
        other.contains("a Messages of 50 bytes, but a Messages of 51 bytes"),
        "{other}"
    );
    Queue::<u8>::create(&seg, "queue", 50).unwrap();
    let queue = said(Messages::open(&seg, "queue"));
    assert!(queue.contains("a Queue<u8> of 50"), "{queue}");
    assert!(format!("{made:?}").contains("Messages"));
    fn is_a_handle<T: Clone + Send + Sync + 'static>(_: &T) {}
    is_a_handle(&made);
}

#[test]
fn the_messages_end_when_the_queue_is_closed_and_drained() {
    let seg = anonymous();
    let m = Messages::create(&seg, "m", 100).unwrap();
    m.send(b"one").unwrap();
    m.send(b"").unwrap();
    assert!(!m.is_closed());
    m.close();
    assert!(m.is_closed() && !m.is_empty());
    let got: Vec<Vec<u8>> = (&m).into_iter().collect();
    assert_eq!(got, [b"one".to_vec(), Vec::new()]);
    assert!(m.is_empty());
}

#[test]
fn a_forked_child_joins_in_with_the_handle_that_it_inherited() {
    let seg = anonymous();
    let m = Messages::create(&seg, "m", 64).unwrap();
    m.send(b"from the parent").unwrap();
    Forked::start(|| {
        assert_eq!(next(&m), b"from the parent");
        m.send(b"from the child").unwrap();
    })
    .finish();
    assert_eq!(next(&m), b"from the child");
}
