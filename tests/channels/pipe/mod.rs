//! `Pipe`.

mod deaths;

use crate::support::{
    Child, Forked, LIMIT, Name, Random, eventually, forks_are_noticed, listen, tell,
    wait_to_be_killed, waits_on_a_futex, within_the_limit,
};
use commonhold::{Error, Pipe, PipeEnd, Result, Segment, SegmentOptions};
pub(crate) use deaths::{
    pipe_hold, pipe_lose, pipe_receive_what_is_cut, pipe_send_for_ever, pipe_send_large,
};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

const NONE: Duration = Duration::ZERO;
const MIB: usize = 1 << 20;

fn segment(name: &str) -> Segment {
    Segment::create(name, MIB).unwrap()
}

fn pair(bytes: usize) -> (PipeEnd, PipeEnd) {
    let seg = Segment::anonymous(MIB).unwrap();
    let pipe = Pipe::create(&seg, "p", bytes).unwrap();
    (pipe.left().unwrap(), pipe.right().unwrap())
}

/// A message of `len` bytes that no other of these tests equals.
fn message(seed: usize, len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| (i ^ i >> 8 ^ seed.wrapping_mul(31)) as u8)
        .collect()
}

fn recv(end: &PipeEnd) -> Result<Vec<u8>> {
    let mut got = Vec::new();
    let len = end.recv(&mut got)?;
    assert_eq!(len, got.len());
    Ok(got)
}

fn closed<T>(result: Result<T>) -> bool {
    matches!(result, Err(Error::Closed))
}

/// [segment]: answers each message, reversed, until the peer is gone.
pub(crate) fn pipe_echo(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let end = Pipe::open(&seg, "p").unwrap().right().unwrap();
    for mut request in &end {
        request.reverse();
        end.send(&request).unwrap();
    }
    assert!(end.is_closed());
    assert!(closed(end.send(b"too late")));
}

#[test]
fn messages_of_all_lengths_keep_their_boundaries() {
    for bytes in [1, 7, 8, 9, 24, 64, 1000] {
        let (left, right) = pair(bytes);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for len in (0..200).chain([4096, 0, 10_000]) {
                    left.send(&message(len, len)).unwrap();
                }
            });
            let mut got = vec![1; 5];
            for len in (0..200).chain([4096, 0, 10_000]) {
                assert_eq!(right.recv(&mut got).unwrap(), len);
                assert!(got == message(len, len), "{len} bytes by way of {bytes}");
            }
        });
    }
}

#[test]
fn a_process_answers_another() {
    let name = Name::new("echo");
    let seg = segment(&name);
    let end = Pipe::create(&seg, "p", 256).unwrap().left().unwrap();
    let child = Child::start("pipe_echo", &[&name]);
    for round in 0..500 {
        let request = message(round, round * 7 % 1000);
        end.send(&request).unwrap();
        let mut answer = recv(&end).unwrap();
        answer.reverse();
        assert_eq!(answer, request);
    }
    drop(end);
    child.finish();
}

#[test]
fn any_message_up_to_the_capacity_fits_at_once() {
    for bytes in [1, 8, 9, 4096] {
        let (left, right) = pair(bytes);
        for round in 0..20 {
            let sent = message(round, bytes);
            left.try_send(&sent).unwrap();
            assert!(matches!(left.try_send(&[1]), Err(Error::Full)) || bytes > 8);
            let start = Instant::now();
            let d = Duration::from_millis(2);
            assert!(matches!(left.send_timeout(&sent, d), Err(Error::Timeout)));
            assert!(start.elapsed() >= d);
            assert_eq!(recv(&right).unwrap(), sent);
        }
        match left.try_send(&vec![0; bytes + 8]) {
            Err(Error::TooLarge { requested, limit }) => {
                assert_eq!((requested, limit), (bytes as u64 + 8, bytes as u64));
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(right.try_recv(&mut Vec::new()), Err(Error::Empty)));
    }
}

#[test]
fn nothing_is_received_before_its_time_and_no_deadline_is_early() {
    let (left, right) = pair(64);
    let mut got = b"as it was".to_vec();
    assert!(matches!(right.try_recv(&mut got), Err(Error::Empty)));
    let start = Instant::now();
    let d = Duration::from_millis(30);
    assert!(matches!(
        right.recv_timeout(&mut got, d),
        Err(Error::Timeout)
    ));
    assert!(start.elapsed() >= d);
    assert_eq!(got, b"as it was");
    assert!(!right.poll(NONE).unwrap());
    assert!(!right.poll(d).unwrap());
    assert!(start.elapsed() >= 2 * d);
    left.send(b"").unwrap();
    assert!(right.poll(NONE).unwrap() && right.poll(LIMIT).unwrap());
    assert_eq!(right.recv_timeout(&mut got, LIMIT).unwrap(), 0);
    assert_eq!(got, b"");
}

#[test]
fn sixteen_mebibytes_go_both_ways_at_once_through_a_smaller_pipe() {
    let (left, right) = pair(64 << 10);
    let (there, back) = (message(1, 16 * MIB), message(2, 16 * MIB + 3));
    std::thread::scope(|scope| {
        for (end, sends, receives) in [(&left, &there, &back), (&right, &back, &there)] {
            scope.spawn(|| end.send(sends).unwrap());
            scope.spawn(|| {
                assert!(recv(end).unwrap() == *receives);
            });
        }
    });
}

#[test]
fn large_messages_of_several_threads_do_not_mix() {
    let (left, right) = pair(256);
    std::thread::scope(|scope| {
        for thread in 1..=3u8 {
            let left = &left;
            scope.spawn(move || {
                for n in 0..200 {
                    let sent = vec![thread; if n % 3 == 0 { 20 } else { 3000 + n }];
                    match n % 2 {
                        0 => left.send(&sent).unwrap(),
                        _ => left.send_timeout(&sent, LIMIT).unwrap(),
                    }
                }
            });
        }
        let receivers = [(); 2].map(|()| {
            scope.spawn(|| {
                let mut bytes = [0; 4];
                for _ in 0..300 {
                    let got = recv(&right).unwrap();
                    assert!(got.iter().all(|b| *b == got[0]), "mixed");
                    bytes[usize::from(got[0])] += got.len();
                }
                bytes
            })
        });
        let [a, b] = receivers.map(|r| r.join().unwrap());
        let each: usize = (0..200)
            .map(|n| if n % 3 == 0 { 20 } else { 3000 + n })
            .sum();
        assert_eq!([1, 2, 3].map(|i| a[i] + b[i]), [each; 3]);
    });
    assert!(!right.poll(NONE).unwrap());
}

#[test]
fn of_a_message_whose_sender_gave_up_nothing_is_received() {
    let (left, right) = pair(64);
    for round in 0..10 {
        let d = Duration::from_millis(1 + round % 3);
        let given_up = left.send_timeout(&vec![9; 1000], d);
        assert!(matches!(given_up, Err(Error::Timeout)));
        // There is a part of it, and no message.
        assert!(!right.poll(NONE).unwrap());
        assert!(matches!(right.try_recv(&mut Vec::new()), Err(Error::Empty)));
        let sent = message(7, round as usize * 20);
        std::thread::scope(|scope| {
            scope.spawn(|| left.send(&sent).unwrap());
            assert_eq!(recv(&right).unwrap(), sent);
        });
    }
    let given_up = left.send_timeout(&[9; 1000], Duration::from_millis(1));
    assert!(matches!(given_up, Err(Error::Timeout)));
    drop(left);
    assert!(closed(recv(&right)));
}

#[test]
fn a_deadline_that_passes_in_mid_message_is_kept_also_where_there_is_room() {
    let (left, right) = pair(1024);
    // There is room for several pieces, and only the first one goes.
    let given_up = left.send_timeout(&[9; 5000], Duration::from_nanos(1));
    assert!(matches!(given_up, Err(Error::Timeout)));
    let sent = message(3, 700);
    left.try_send(&sent).unwrap();
    assert_eq!(recv(&right).unwrap(), sent);
}

#[test]
fn a_receiver_that_gives_up_midway_loses_nothing() {
    let (left, right) = pair(64);
    let sent = message(5, 10_000);
    std::thread::scope(|scope| {
        scope.spawn(|| left.send(&sent).unwrap());
        let mut got = Vec::new();
        let mut gave_up = [0; 3];
        loop {
            // Each takes a part of it, as much as the pipe holds, or twice as much.
            match right.try_recv(&mut got) {
                Ok(_) => break,
                Err(Error::Empty) => gave_up[0] += 1,
                Err(e) => panic!("{e}"),
            }
            match right.recv_timeout(&mut got, Duration::from_nanos(1)) {
                Ok(_) => break,
                Err(Error::Timeout) => gave_up[1] += 1,
                Err(e) => panic!("{e}"),
            }
            if right.poll(NONE).unwrap() {
                assert!(right.poll(LIMIT).unwrap());
                right.try_recv(&mut got).unwrap();
                break;
            }
            gave_up[2] += 1;
        }
        assert!(got == sent);
        assert!(gave_up.iter().all(|n| *n > 5), "{gave_up:?}");
    });
    assert!(!right.poll(NONE).unwrap());
}

#[test]
fn messages_above_a_limit_are_not_received_and_those_after_them_are() {
    let (left, right) = pair(64);
    right.limit_messages(50);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for len in [50, 51, 64, 20, 1000, 30] {
                left.send(&message(len, len)).unwrap();
            }
        });
        for len in [50, 51, 64, 20, 1000, 30] {
            match recv(&right) {
                Ok(got) => assert!(len <= 50 && got == message(len, len)),
                Err(Error::TooLarge { requested, limit }) => {
                    assert!(len > 50 && requested > 50 && requested <= len as u64);
                    assert_eq!(limit, 50);
                }
                Err(e) => panic!("{e}"),
            }
        }
        assert!(!right.poll(NONE).unwrap());
    });
}

#[test]
fn a_message_that_one_thread_polled_is_there_for_another_that_waits() {
    let (left, right) = pair(64);
    let sent = message(3, 500);
    for _ in 0..200 {
        let received = AtomicBool::new(false);
        std::thread::scope(|scope| {
            // In all orders: it takes the pieces out, and goes away.
            scope.spawn(|| {
                while !received.load(SeqCst) && !right.poll(NONE).unwrap() {
                    std::thread::yield_now();
                }
            });
            scope.spawn(|| left.send(&sent).unwrap());
            within_the_limit(|| assert_eq!(recv(&right).unwrap(), sent));
            received.store(true, SeqCst);
        });
    }
}

#[test]
fn an_end_has_one_holder_at_a_time() {
    let seg = Segment::anonymous(MIB).unwrap();
    let pipe = Pipe::create(&seg, "p", 64).unwrap();
    let busy = |r: Result<PipeEnd>| matches!(r, Err(Error::Busy));
    let left = pipe.left().unwrap();
    assert!(busy(pipe.left()));
    let right = pipe.clone().right().unwrap();
    assert!(busy(pipe.right()));
    assert!(!left.is_closed() && !right.is_closed());
    left.send(b"one").unwrap();
    left.send(b"two").unwrap();
    right.send(b"never received").unwrap();
    drop(left);
    // The right end's peer is gone for ever, though the end is free.
    assert!(right.is_closed());
    assert!(closed(pipe.left()));
    assert!(right.poll(NONE).unwrap());
    assert_eq!(recv(&right).unwrap(), b"one");
    assert!(closed(right.send(b"x")) && closed(right.try_send(b"x")));
    assert!(closed(right.send_timeout(&[0; 1000], LIMIT)));
    assert_eq!(right.iter().collect::<Vec<_>>(), [b"two"]);
    assert!(right.poll(NONE).unwrap() && right.poll(LIMIT).unwrap());
    assert!(closed(recv(&right)) && closed(right.try_recv(&mut Vec::new())));
    assert!(closed(pipe.left()));
    drop(right);
    // Both anew: nothing is left of the old session.
    let left = pipe.left().unwrap();
    let right = pipe.right().unwrap();
    assert!(matches!(left.try_recv(&mut Vec::new()), Err(Error::Empty)));
    right.send(b"new").unwrap();
    assert_eq!(recv(&left).unwrap(), b"new");
}

#[test]
fn who_comes_late_finds_what_it_was_sent() {
    let seg = Segment::anonymous(MIB).unwrap();
    let pipe = Pipe::create(&seg, "p", 64).unwrap();
    let left = pipe.left().unwrap();
    left.send(b"for the first who comes").unwrap();
    assert!(!left.is_closed());
    drop(left);
    let right = pipe.right().unwrap();
    assert_eq!(recv(&right).unwrap(), b"for the first who comes");
    assert!(closed(recv(&right)));
    drop(right);
    // Taken anew before anybody came, the end finds the pipe empty, and so does the peer.
    pipe.left().unwrap().send(b"to nobody").unwrap();
    let left = pipe.left().unwrap();
    let right = pipe.right().unwrap();
    left.send(b"to somebody").unwrap();
    assert_eq!(recv(&right).unwrap(), b"to somebody");
}

#[test]
fn those_who_race_for_an_end_get_it_one_after_another() {
    let seg = Segment::anonymous(MIB).unwrap();
    let pipe = Pipe::create(&seg, "p", 64).unwrap();
    let held = [const { AtomicBool::new(false) }; 2];
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (pipe, held) = (&pipe, &held);
            scope.spawn(move || {
                let side = thread % 2;
                let mut got = 0;
                while got < 300 {
                    match if side == 0 { pipe.left() } else { pipe.right() } {
                        Ok(end) => {
                            assert!(!held[side].swap(true, SeqCst), "held twice");
                            let _ = end.try_send(&[side as u8]);
                            let mut message = Vec::new();
                            if end.try_recv(&mut message).is_ok() {
                                assert_eq!(message, [1 - side as u8]);
                            }
                            held[side].store(false, SeqCst);
                            got += 1;
                        }
                        Err(Error::Busy | Error::Closed) => std::thread::yield_now(),
                        Err(e) => panic!("{e}"),
                    }
                }
            });
        }
    });
    assert!(pipe.left().is_ok() && pipe.right().is_ok());
}

#[test]
fn a_pipe_is_found_by_its_name() {
    let seg = Segment::anonymous(MIB).unwrap();
    assert!(matches!(Pipe::open(&seg, "p"), Err(Error::NotFound)));
    assert!(matches!(
        Pipe::create(&seg, "p", 0),
        Err(Error::InvalidArgument(_))
    ));
    assert!(matches!(
        Pipe::create(&seg, "p", 2 * MIB),
        Err(Error::OutOfSpace { .. })
    ));
    assert!(matches!(
        Pipe::create(&seg, "p", usize::MAX),
        Err(Error::OutOfSpace { .. })
    ));
    let made = Pipe::open_or_create(&seg, "p", 100).unwrap();
    assert!(matches!(
        Pipe::create(&seg, "p", 100),
        Err(Error::AlreadyExists)
    ));
    assert!(matches!(
        Pipe::open_or_create(&seg, "p", 99),
        Err(Error::TypeMismatch { .. })
    ));
    let found = Pipe::open(&seg, "p").unwrap();
    assert_eq!((made.capacity(), found.capacity()), (100, 100));
    let (left, right) = (made.left().unwrap(), found.right().unwrap());
    left.send(b"found").unwrap();
    assert_eq!(recv(&right).unwrap(), b"found");
    assert!(format!("{made:?} {left:?}").contains("Left"));
    fn is_a_handle<T: Clone + Send + Sync + 'static>(_: &T) {}
    fn is_shared_by_threads<T: Send + Sync + 'static>(_: &T) {}
    is_a_handle(&made);
    is_shared_by_threads(&left);
}
