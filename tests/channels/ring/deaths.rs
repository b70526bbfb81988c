//! Ends whose holders are killed or forked, and rings whose segment is lost.

use super::*;

/// [segment]: sends 1, 2 and, lazily, 3; then holds on.
pub(crate) fn send_and_hold(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let mut p = Ring::<u64>::open(&seg, "r").unwrap().producer().unwrap();
    p.send_all(&[1, 2]).unwrap();
    p.lazy(100);
    p.send(3).unwrap();
    let mut chunk = p.write_chunk(2).unwrap();
    chunk.as_mut_slices().0.fill(4);
    tell("ready");
    wait_to_be_killed();
}

#[test]
fn a_killed_producer_leaves_what_it_sent_and_its_end() {
    let name = Name::new("killed-producer");
    let seg = segment(&name);
    let r = Ring::<u64>::create(&seg, "r", 8).unwrap();
    let mut child = Child::start("send_and_hold", &[&name]);
    child.expect("ready");
    assert!(is_busy(r.producer()));
    let mut c = r.consumer().unwrap();
    assert!(!c.is_abandoned());
    assert_eq!(c.recv().unwrap(), 1);
    child.kill();
    eventually(LIMIT, "it is abandoned", || c.is_abandoned());
    assert_eq!(c.recv().unwrap(), 2);
    assert!(is_empty(c.try_recv()));
    let mut p = next_producer(&r);
    assert!(!c.is_abandoned());
    p.send(5).unwrap();
    assert_eq!(c.recv().unwrap(), 5);
    assert!(is_empty(c.try_recv()));
}

/// [segment]: receives one, looks at a chunk of two; then holds on.
pub(crate) fn recv_and_hold(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let mut c = Ring::<u64>::open(&seg, "r").unwrap().consumer().unwrap();
    tell(&c.recv().unwrap().to_string());
    let chunk = c.read_chunk(2).unwrap();
    let (first, second) = chunk.as_slices();
    tell(&first.iter().chain(second).sum::<u64>().to_string());
    wait_to_be_killed();
}

#[test]
fn a_killed_consumer_leaves_what_it_had_not_committed() {
    let name = Name::new("killed-consumer");
    let seg = segment(&name);
    let r = Ring::<u64>::create(&seg, "r", 3).unwrap();
    let mut p = r.producer().unwrap();
    assert!(p.is_abandoned());
    let mut child = Child::start("recv_and_hold", &[&name]);
    p.send_all(&[1, 2, 3, 4]).unwrap();
    child.expect("1");
    child.expect("5");
    assert!(!p.is_abandoned() && is_busy(r.consumer()));
    assert!(is_full(p.try_send(5)));
    child.kill();
    eventually(LIMIT, "it is abandoned", || p.is_abandoned());
    let mut c = next_consumer(&r);
    assert_eq!(c.iter().take(3).collect::<Vec<_>>(), [2, 3, 4]);
}

/// [segment, first]: sends that and what comes after it, for ever.
pub(crate) fn count_for_ever(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let r = Ring::<u64>::open(&seg, "r").unwrap();
    let first: u64 = args[1].parse().unwrap();
    let mut p = next_producer(&r);
    tell("ready");
    (first..).try_for_each(|i| p.send(i)).unwrap();
}

#[test]
fn producers_killed_in_full_flight_lose_nothing_that_they_sent_and_repeat_nothing() {
    let name = Name::new("flight");
    let seg = segment(&name);
    let r = Ring::<u64>::create(&seg, "r", 16).unwrap();
    let mut c = r.consumer().unwrap();
    let mut next = 0;
    for round in 0..8 {
        let mut child = Child::start("count_for_ever", &[&name, &next.to_string()]);
        child.expect("ready");
        for _ in 0..2000 + 1500 * round {
            assert_eq!(c.recv_timeout(LIMIT).unwrap(), next);
            next += 1;
        }
        child.kill();
        // What it had sent, and no more.
        while let Ok(item) = c.try_recv() {
            assert_eq!(item, next);
            next += 1;
        }
    }
}

/// [segment]: receives for ever, and says nothing.
pub(crate) fn take_for_ever(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let mut c = next_consumer(&Ring::<u64>::open(&seg, "r").unwrap());
    tell("ready");
    c.iter().for_each(drop);
}

#[test]
fn consumers_killed_in_full_flight_leave_the_rest_to_the_next() {
    let name = Name::new("takers");
    let seg = segment(&name);
    let r = Ring::<u64>::create(&seg, "r", 16).unwrap();
    let mut p = r.producer().unwrap();
    let mut next = 0;
    for _ in 0..8 {
        let mut child = Child::start("take_for_ever", &[&name]);
        child.expect("ready");
        for _ in 0..3000 {
            p.send_timeout(next, LIMIT).unwrap();
            next += 1;
        }
        child.kill();
        let left = r.len() as u64;
        let mut c = next_consumer(&r);
        let rest: Vec<u64> = (0..left).map(|_| c.try_recv().unwrap()).collect();
        assert!(rest.into_iter().eq(next - left..next));
        assert!(is_empty(c.try_recv()));
    }
}

#[test]
fn a_forked_childs_copy_of_the_consumer_does_not_say_that_it_is_where_it_was() {
    if !forks_are_noticed() {
        return;
    }
    let r = private_ring(4);
    let (mut p, mut c) = (r.producer().unwrap(), r.consumer().unwrap());
    p.send_all(&[1, 2]).unwrap();
    assert_eq!(c.recv().unwrap(), 1);
    // As it is now: it knows of one more item.
    // SAFETY: only the child uses it, as its copy.
    let mut was = std::mem::ManuallyDrop::new(unsafe { (&raw const c).read() });
    assert_eq!(c.recv().unwrap(), 2);
    Forked::start(|| {
        let inert = |r: Result<()>| assert!(matches!(r, Err(Error::InvalidArgument(_))), "{r:?}");
        inert(was.recv_many(&mut Vec::new(), 4).map(drop));
        inert(was.try_recv_many(&mut Vec::new(), 4).map(drop));
        inert(was.read_chunk(2).map(drop));
        inert(was.try_recv().map(drop));
    })
    .finish();
    assert!(r.is_empty());
}

#[test]
fn ends_that_a_forked_child_inherited_are_inert_and_it_takes_its_own() {
    if !forks_are_noticed() {
        return;
    }
    let r = private_ring(4);
    let (mut p, mut c) = (r.producer().unwrap(), r.consumer().unwrap());
    p.lazy(10);
    p.send(1).unwrap();
    let (parents_p, parents_c) = (&raw const p, &raw const c);
    Forked::start(|| {
        // SAFETY: copies that this process alone has, and drops once.
        let (mut p, mut c) = unsafe { (parents_p.read(), parents_c.read()) };
        let inert = |r: Result<()>| assert!(matches!(r, Err(Error::InvalidArgument(_))), "{r:?}");
        for _ in 0..2 {
            inert(p.send(2));
            inert(p.try_send(2));
            inert(p.send_timeout(2, LIMIT));
            inert(p.send_all(&[2]));
            inert(p.try_send_all(&[2]).map(drop));
            inert(p.flush());
            inert(p.write_chunk(1).map(drop));
            inert(c.recv().map(drop));
            inert(c.try_recv().map(drop));
            inert(c.recv_timeout(LIMIT).map(drop));
            inert(c.recv_many(&mut Vec::new(), 3).map(drop));
            inert(c.read_chunk(1).map(drop));
            // Also once it is a member of its own.
            assert!(is_busy(r.producer()) && is_busy(r.consumer()));
        }
        p.close();
        c.close();
        drop((p, c));
        assert!(is_busy(r.producer()) && is_busy(r.consumer()));
    })
    .finish();
    assert!(r.is_empty() && !r.is_closed());
    p.send(2).unwrap();
    p.flush().unwrap();
    let mut chunk = p.write_chunk(1).unwrap();
    chunk.as_mut_slices().0.fill(9);
    let parents_chunk = &raw const chunk;
    Forked::start(|| {
        // SAFETY: as above.
        let chunk = unsafe { parents_chunk.read() };
        assert!(matches!(chunk.commit_all(), Err(Error::InvalidArgument(_))));
    })
    .finish();
    drop(chunk);
    assert_eq!(c.recv().unwrap(), 1);
    drop((p, c));
    Forked::start(|| {
        let (mut p, mut c) = (r.producer().unwrap(), r.consumer().unwrap());
        assert_eq!(c.recv().unwrap(), 2);
        p.send(3).unwrap();
        // Its ends die with it.
        std::mem::forget((p, c));
    })
    .finish();
    next_producer(&r).send(4).unwrap();
    assert_eq!(next_consumer(&r).iter().take(2).collect::<Vec<_>>(), [3, 4]);
}

/// [segment, which]: the first to meet the loss of the segment.
pub(crate) fn lose_a_ring(args: &[String]) {
    let seg = SegmentOptions::new().guard_truncation(true);
    let seg = seg.open(&args[0]).unwrap();
    let full = Ring::<u64>::open(&seg, "full").unwrap();
    let empty = Ring::<u64>::open(&seg, "empty").unwrap();
    let (p, c) = (full.producer().unwrap(), full.consumer().unwrap());
    let (p2, c2) = (empty.producer().unwrap(), empty.consumer().unwrap());
    let [p, p2] = [p, p2].map(RefCell::new);
    let [c, c2] = [c, c2].map(RefCell::new);
    p.borrow_mut().send_all(&[1, 2]).unwrap();
    assert!(is_full(p.borrow_mut().try_send(3)));
    assert!(c.borrow_mut().read_chunk(2).is_ok());
    tell("ready");
    listen();
    let short = Duration::from_millis(1);
    let ops: [&dyn Fn() -> Result<()>; 10] = [
        &|| p.borrow_mut().send(3),
        &|| c.borrow_mut().recv().map(drop),
        // A write that is under way may seem to have succeeded.
        &|| {
            p2.borrow_mut()
                .send(1)
                .and_then(|()| p2.borrow_mut().flush())
        },
        &|| c2.borrow_mut().recv().map(drop),
        &|| c2.borrow_mut().try_recv().map(drop),
        &|| c.borrow_mut().recv_many(&mut Vec::new(), 2).map(drop),
        &|| {
            c.borrow_mut().read_chunk(2).and_then(|chunk| {
                std::hint::black_box(chunk.as_slices().0[0]);
                chunk.commit_all()
            })
        },
        &|| full.producer().map(drop),
        &|| c2.borrow_mut().recv_timeout(short).map(drop),
        &|| p.borrow_mut().write_chunk_timeout(2, short).map(drop),
    ];
    let first: usize = args[1].parse().unwrap();
    for i in 0..ops.len() {
        let which = (first + i) % ops.len();
        let got = ops[which]();
        assert!(matches!(got, Err(Error::Corrupt)), "{which}: {got:?}");
    }
}

#[test]
fn a_ring_in_a_segment_that_is_cut_short_is_lost() {
    for first in 0..10 {
        let name = Name::new("cut");
        let seg = segment(&name);
        Ring::<u64>::create(&seg, "full", 2).unwrap();
        Ring::<u64>::create(&seg, "empty", 2).unwrap();
        drop(seg);
        let mut child = Child::start("lose_a_ring", &[&name, &first.to_string()]);
        child.expect("ready");
        std::fs::File::options()
            .write(true)
            .open(name.path())
            .and_then(|file| file.set_len(0))
            .unwrap();
        child.say("cut");
        child.finish();
    }
}
