//! Messages that are written and read in place, by closures that panic, fork, and die.

use super::*;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

/// Places in a ring from which a payload of 40 bytes of 64 does not reach the end, and does.
fn at_each_place(test: impl Fn(&Messages)) {
    let seg = anonymous();
    let m = Messages::create(&seg, "m", 64).unwrap();
    for _ in 0..9 {
        test(&m);
        assert!(is_drained(&m));
        // One word further.
        m.send(b"").unwrap();
        next(&m);
    }
}

fn panics(f: impl FnOnce()) {
    assert!(catch_unwind(AssertUnwindSafe(f)).is_err());
}

#[test]
fn a_closure_that_panics_sends_nothing() {
    at_each_place(|m| {
        panics(|| {
            let write = |bytes: &mut [u8]| {
                bytes.fill(1);
                panic!("half-written");
            };
            let _: Result<()> = m.send_with(40, write);
        });
        assert!(is_drained(m));
        m.try_send(b"after it").unwrap();
        assert_eq!(next(m), b"after it");
    });
}

#[test]
fn a_closure_that_panics_leaves_the_message_to_the_next() {
    at_each_place(|m| {
        let sent = message(1, 40);
        m.send(&sent).unwrap();
        panics(|| {
            let _: Result<()> = m.recv_with(|_| panic!("half-read"));
        });
        assert_eq!(next(m), sent);
    });
}

#[test]
fn a_message_that_a_panic_leaves_is_told_to_another_who_waits() {
    let seg = anonymous();
    let m = Messages::create(&seg, "m", 64).unwrap();
    for _ in 0..5 {
        let (m, seen) = (&m, &AtomicU32::new(0));
        within_the_limit(|| {
            std::thread::scope(|scope| {
                let receivers = [(); 2].map(|()| {
                    scope.spawn(move || {
                        // The first to see it leaves it, and goes away.
                        let read = |_: &[u8]| assert_ne!(seen.fetch_add(1, SeqCst), 0);
                        catch_unwind(AssertUnwindSafe(|| m.recv_with(read).unwrap())).is_ok()
                    })
                });
                m.send(b"for the second").unwrap();
                let got = receivers.map(|r| r.join().unwrap());
                assert_ne!(got[0], got[1]);
            });
        });
        assert!(is_drained(m));
    }
}

#[test]
fn a_child_that_a_closure_forks_leaves_the_message_to_its_parent() {
    if !forks_are_noticed() {
        return;
    }
    at_each_place(|m| {
        let inert = |r: Result<()>| match r {
            Err(Error::InvalidArgument(why)) => assert!(why.contains("forked"), "{why}"),
            other => panic!("{other:?}"),
        };
        // The child comes back out of the same closures, by a flag that only its own copy of the memory has.
        let mut child = None;
        let sent = m.send_with(40, |bytes| {
            bytes.fill(5);
            child = Some(fork());
        });
        if child == Some(0) {
            end_child(|| inert(sent));
        }
        sent.unwrap();
        reap(child.unwrap());
        let mut child = None;
        let received = m.recv_with(|bytes| {
            assert_eq!(bytes, [5; 40]);
            child = Some(fork());
        });
        if child == Some(0) {
            end_child(|| {
                inert(received);
                // What the parent holds, others wait for.
                assert!(matches!(m.try_recv(&mut Vec::new()), Err(Error::Empty)));
                // The other end is free.
                m.try_send(b"").unwrap();
            });
        }
        // The child ended while we held the end: see the closure.
        received.unwrap();
        reap(child.unwrap());
        m.recv_timeout(&mut Vec::new(), LIMIT).unwrap();
    });
}

#[test]
fn a_forked_child_that_comes_late_out_of_a_closure_writes_nothing_into_the_ring() {
    if !forks_are_noticed() {
        return;
    }
    at_each_place(|m| {
        let (mut parents, childs) = UnixStream::pair().unwrap();
        let mut child = None;
        let sent = m.send_with(40, |bytes| {
            bytes.fill(5);
            child = Some(fork());
            if child == Some(0) {
                (&childs).read_exact(&mut [0]).unwrap();
            }
        });
        if child == Some(0) {
            end_child(|| assert!(matches!(sent, Err(Error::InvalidArgument(_)))));
        }
        sent.unwrap();
        assert_eq!(next(m), [5; 40]);
        // By now others' bytes stand in all of the ring.
        m.send(&[7; 64]).unwrap();
        parents.write_all(&[0]).unwrap();
        reap(child.unwrap());
        assert_eq!(next(m), [7; 64]);
    });
}

fn fork() -> i32 {
    // SAFETY: the child ends in `end_child`, without unwinding into the test harness.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    pid
}

fn end_child(f: impl FnOnce()) -> ! {
    let ok = catch_unwind(AssertUnwindSafe(f)).is_ok();
    // SAFETY: ends the child at once.
    unsafe { libc::_exit(if ok { 0 } else { 101 }) }
}

fn reap(pid: i32) {
    Forked(pid).finish();
}

/// [segment, what it does]: dies in the middle of it.
pub(crate) fn die_in_a_closure(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let m = Messages::open(&seg, "m").unwrap();
    match &*args[1] {
        "sends" => m.send_with(40, |bytes| {
            bytes[..20].fill(1);
            tell("in the middle");
            wait_to_be_killed()
        }),
        _ => m.recv_with(|bytes| {
            assert_eq!(bytes, message(3, 40));
            tell("in the middle");
            wait_to_be_killed()
        }),
    }
    .unwrap()
}

#[test]
fn one_who_dies_in_a_closure_has_sent_nothing_and_received_nothing() {
    for place in 0..9 {
        let name = Name::new("closure");
        let seg = named(&name);
        let m = Messages::create(&seg, "m", 64).unwrap();
        for _ in 0..place {
            m.send(b"").unwrap();
            next(&m);
        }
        let mut sender = Child::start("die_in_a_closure", &[&name, "sends"]);
        sender.expect("in the middle");
        // The other end is free, and nothing is there.
        assert!(is_drained(&m));
        assert!(matches!(m.try_send(b""), Err(Error::Full)));
        sender.kill();
        within_the_limit(|| m.send(&message(3, 40)).unwrap());
        let mut receiver = Child::start("die_in_a_closure", &[&name, "receives"]);
        receiver.expect("in the middle");
        assert!(matches!(m.try_recv(&mut Vec::new()), Err(Error::Empty)));
        m.try_send(b"").unwrap();
        receiver.kill();
        within_the_limit(|| assert_eq!(m.recv_with(<[u8]>::to_vec).unwrap(), message(3, 40)));
        assert_eq!(next(&m), b"");
        assert!(is_drained(&m));
    }
}
