//! Ends whose holders are killed or forked, and pipes whose segment is lost.

use super::*;

/// [segment, length]: sends one whole message, and one of that length.
pub(crate) fn pipe_send_large(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let end = Pipe::open(&seg, "p").unwrap().right().unwrap();
    let large = message(1, args[1].parse().unwrap());
    end.send(b"whole").unwrap();
    tell("ready");
    let sent = end.send(&large);
    panic!("the parent does not receive it: {sent:?}");
}

#[test]
fn of_a_message_whose_sender_was_killed_midway_nothing_is_received() {
    let name = Name::new("midway");
    let seg = segment(&name);
    let pipe = Pipe::create(&seg, "p", 64 << 10).unwrap();
    // Each look takes out as much as the pipe holds.
    for looks in [0, 1, 40] {
        let end = pipe.left().unwrap();
        let len = 16 * MIB;
        let mut child = Child::start("pipe_send_large", &[&name, &len.to_string()]);
        child.expect("ready");
        assert_eq!(recv(&end).unwrap(), b"whole");
        eventually(LIMIT, "it has no room", || waits_on_a_futex(child.pid()));
        for _ in 0..looks {
            assert!(!end.poll(NONE).unwrap());
            eventually(LIMIT, "it has no room", || waits_on_a_futex(child.pid()));
        }
        child.kill();
        within_the_limit(|| assert!(closed(recv(&end))));
        assert!(closed(end.send(b"x")));
    }
}

/// [segment, seed]: sends message after message, each with its number, until it is killed.
pub(crate) fn pipe_send_for_ever(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let end = Pipe::open(&seg, "p").unwrap().right().unwrap();
    let mut random = Random::from(args[1].parse().unwrap());
    tell("ready");
    for n in 0.. {
        end.send(&message(n, random.below(3000) as usize)).unwrap();
    }
}

#[test]
fn wherever_a_sender_is_killed_its_peer_gets_whole_messages_and_then_the_end() {
    let name = Name::new("anywhere");
    let seg = segment(&name);
    let pipe = Pipe::create(&seg, "p", 1000).unwrap();
    let mut random = Random::new();
    for seed in 1..=10 {
        let end = pipe.left().unwrap();
        let mut child = Child::start("pipe_send_for_ever", &[&name, &seed.to_string()]);
        child.expect("ready");
        let stop = random.below(3000);
        let mut lengths = Random::from(seed);
        let mut n = 0;
        loop {
            if n == stop {
                child.kill_only();
            }
            match recv(&end) {
                Ok(got) => {
                    let want = message(n as usize, lengths.below(3000) as usize);
                    assert!(got == want, "number {n}");
                }
                Err(Error::Closed) => break,
                Err(e) => panic!("{e}"),
            }
            n += 1;
        }
        assert!(n >= stop);
        child.kill();
    }
}

/// [segment]: holds the right end until it is killed.
pub(crate) fn pipe_hold(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let end = Pipe::open(&seg, "p").unwrap().right().unwrap();
    end.send(b"here").unwrap();
    tell("ready");
    wait_to_be_killed();
}

#[test]
fn all_who_wait_are_told_when_the_peer_is_killed_or_leaves() {
    let name = Name::new("told");
    let seg = segment(&name);
    let pipe = Pipe::create(&seg, "p", 64).unwrap();
    for leaves in [false, true] {
        let end = pipe.left().unwrap();
        let mut peer = None;
        let mut child = None;
        if leaves {
            peer = Some(pipe.right().unwrap());
        } else {
            let mut c = Child::start("pipe_hold", &[&name]);
            c.expect("ready");
            assert_eq!(recv(&end).unwrap(), b"here");
            child = Some(c);
        }
        while end.try_send(&[1; 8]).is_ok() {}
        std::thread::scope(|scope| {
            let waiters = [
                scope.spawn(|| closed(recv(&end))),
                scope.spawn(|| closed(recv(&end))),
                scope.spawn(|| closed(end.send(b"no room"))),
                scope.spawn(|| closed(end.send(&[0; 1000]))),
                scope.spawn(|| end.poll(LIMIT).unwrap()),
                scope.spawn(|| closed(end.recv_timeout(&mut Vec::new(), LIMIT))),
            ];
            // Past the first naps, so that only the watch over deaths finds it.
            assert!(!end.poll(Duration::from_millis(100)).unwrap());
            assert!(waiters.iter().all(|w| !w.is_finished()));
            drop(peer);
            if let Some(child) = child {
                child.kill();
            }
            within_the_limit(|| {
                for w in waiters {
                    assert!(w.join().unwrap());
                }
            });
        });
    }
}

#[test]
fn one_who_only_tries_finds_the_death_at_once() {
    let name = Name::new("tries");
    let seg = segment(&name);
    let pipe = Pipe::create(&seg, "p", 64).unwrap();
    for which in 0..4 {
        let end = pipe.left().unwrap();
        let mut child = Child::start("pipe_hold", &[&name]);
        child.expect("ready");
        while end.try_send(&[1; 8]).is_ok() {}
        child.kill();
        // What it sent is there.
        assert_eq!(recv(&end).unwrap(), b"here");
        let found = match which {
            0 => closed(end.try_recv(&mut Vec::new())),
            1 => closed(end.try_send(&[1; 8])),
            2 => end.poll(NONE).unwrap(),
            _ => end.is_closed(),
        };
        assert!(found, "{which}");
        // From here on it is known without a look.
        assert!(closed(end.send(b"x")));
    }
}

#[test]
fn a_pipe_whose_ends_died_is_as_new() {
    let name = Name::new("anew");
    let seg = segment(&name);
    let pipe = Pipe::create(&seg, "p", 64).unwrap();
    for _ in 0..5 {
        let left = pipe.left().unwrap();
        left.send(b"never received").unwrap();
        let mut child = Child::start("pipe_hold", &[&name]);
        child.expect("ready");
        assert!(matches!(pipe.right(), Err(Error::Busy)));
        child.kill();
        assert!(closed(pipe.right()));
        drop(left);
        // By the other end this time.
        let right = pipe.right().unwrap();
        assert!(!right.poll(NONE).unwrap());
        let left = pipe.left().unwrap();
        assert!(!left.poll(NONE).unwrap());
        right.send(b"new").unwrap();
        assert_eq!(recv(&left).unwrap(), b"new");
    }
}

#[test]
fn an_end_that_a_child_inherited_is_inert_and_it_takes_its_own() {
    if !forks_are_noticed() {
        return;
    }
    let seg = Segment::anonymous(MIB).unwrap();
    let pipe = Pipe::create(&seg, "p", 64).unwrap();
    let left = pipe.left().unwrap();
    let inherited = &left;
    let child = Forked::start(|| {
        let inert = |r: Result<()>| matches!(r, Err(Error::InvalidArgument(_)));
        let mut got = Vec::new();
        assert!(inert(inherited.send(b"x")) && inert(inherited.try_send(b"x")));
        assert!(inert(inherited.send_timeout(b"x", NONE)));
        assert!(inert(inherited.send(&[0; 1000])));
        assert!(inert(inherited.recv(&mut got).map(drop)));
        assert!(inert(inherited.try_recv(&mut got).map(drop)));
        assert!(inert(inherited.recv_timeout(&mut got, NONE).map(drop)));
        assert!(inert(inherited.poll(NONE).map(drop)));
        assert!(inherited.is_closed());
        // SAFETY: a copy that this process alone has, and uses once.
        drop(unsafe { std::ptr::read(inherited) });
        assert!(matches!(pipe.left(), Err(Error::Busy)));
        let right = pipe.right().unwrap();
        assert_eq!(recv(&right).unwrap(), b"from the parent");
        right.send(b"from the child").unwrap();
        // It stays held until the child dies.
        std::mem::forget(right);
    });
    assert!(!left.is_closed());
    left.send(b"from the parent").unwrap();
    assert_eq!(recv(&left).unwrap(), b"from the child");
    within_the_limit(|| assert!(closed(recv(&left))));
    child.finish();
}

/// [segment, which]: the first to meet the loss of the segment.
pub(crate) fn pipe_lose(args: &[String]) {
    let seg = SegmentOptions::new().guard_truncation(true);
    let seg = seg.open(&args[0]).unwrap();
    let pipe = Pipe::open(&seg, "p").unwrap();
    let end = pipe.left().unwrap();
    tell("ready");
    listen();
    let d = Duration::from_millis(1);
    let got = std::cell::RefCell::new(Vec::new());
    let ops: [&dyn Fn() -> Result<()>; 10] = [
        &|| end.send(b"x"),
        &|| end.try_send(b"x"),
        &|| end.send_timeout(b"x", d),
        &|| end.send(&[0; 1000]),
        &|| end.recv(&mut got.borrow_mut()).map(drop),
        &|| end.try_recv(&mut got.borrow_mut()).map(drop),
        &|| end.recv_timeout(&mut got.borrow_mut(), d).map(drop),
        &|| end.poll(d).map(drop),
        &|| end.poll(NONE).map(drop),
        &|| pipe.right().map(drop),
    ];
    let first: usize = args[1].parse().unwrap();
    for i in 0..ops.len() {
        let which = (first + i) % ops.len();
        let got = ops[which]();
        assert!(matches!(got, Err(Error::Corrupt)), "{which}: {got:?}");
    }
    assert!(end.is_closed());
    drop(end);
}

#[test]
fn a_pipe_in_a_segment_that_is_cut_short_is_lost() {
    for first in 0..10 {
        let name = Name::new("cut");
        drop(Pipe::create(&segment(&name), "p", 64).unwrap());
        let mut child = Child::start("pipe_lose", &[&name, &first.to_string()]);
        child.expect("ready");
        // Nobody who does not guard it may have it open.
        let file = std::fs::OpenOptions::new().write(true).open(name.path());
        file.unwrap().set_len(0).unwrap();
        child.say("cut");
        child.finish();
    }
}

/// Makes pipes, each in a segment of its own, whose file it cuts short when a message is on its way.
pub(crate) fn pipe_receive_what_is_cut(_: &[String]) {
    let mut lost = 0;
    for pages in 0.. {
        let name = Name::new("torn");
        let seg = SegmentOptions::new()
            .capacity(128 << 10)
            .guard_truncation(true);
        let seg = seg.create(&name).unwrap();
        let pipe = Pipe::create(&seg, "p", 32 << 10).unwrap();
        let (left, right) = (pipe.left().unwrap(), pipe.right().unwrap());
        let sent = message(1, 24 << 10);
        left.send(&sent).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(name.path());
        let file = file.unwrap();
        let cut = pages * 4096;
        if cut >= file.metadata().unwrap().len() {
            break;
        }
        file.set_len(cut).unwrap();
        match recv(&right) {
            // The message stood before the cut.
            Ok(got) => assert!(got == sent, "{pages}"),
            Err(Error::Corrupt) => lost += 1,
            Err(e) => panic!("{e}"),
        }
    }
    assert!(lost > 6);
}

#[test]
fn of_a_message_in_a_file_that_is_cut_short_nothing_is_received() {
    Child::start("pipe_receive_what_is_cut", &[]).finish();
}
