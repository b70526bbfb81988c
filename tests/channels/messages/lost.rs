//! Messages in a region that was scribbled on or cut short, and for which there is no memory.

use super::*;

/// Where the ring of the only object of a segment begins, by docs/layout.md.
fn ring_of(file: &std::fs::File) -> u64 {
    let mut data_at = [0; 8];
    file.read_exact_at(&mut data_at, 56).unwrap();
    u64::from_ne_bytes(data_at) + 384
}

#[test]
fn a_length_that_was_scribbled_on_costs_what_is_there_and_no_more() {
    let name = Name::new("scribbled");
    let seg = named(&name);
    let m = Messages::create(&seg, "m", 64).unwrap();
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(name.path());
    let file = file.unwrap();
    let ring = ring_of(&file);
    let header = |position: u64, len: u64| {
        let mixed = (position ^ len.rotate_left(32) ^ 0xF3A5).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed >> 48 << 48 | len
    };
    // Each pair of messages begins at another word of the nine.
    let mut at = 0;
    // What lies: a length of more than is filled, than the ring has, than there is memory. What is none: that of another length, of
    // another place, nothing at all.
    let bad: [&dyn Fn(u64) -> u64; 7] = [
        &|at| header(at, 25),
        &|at| header(at, 65),
        &|at| header(at, 1 << 47),
        &|at| header(at, 5) ^ 1,
        &|at| header(at + 9, 5),
        &|_| 0,
        &|_| u64::MAX,
    ];
    for (i, bad) in bad.iter().enumerate() {
        for in_place in [false, true] {
            m.send(b"first").unwrap();
            m.send(b"second").unwrap();
            let place = ring + at % 9 * 8;
            let mut word = [0; 8];
            file.read_exact_at(&mut word, place).unwrap();
            assert_eq!(u64::from_ne_bytes(word), header(at, 5));
            file.write_all_at(&bad(at).to_ne_bytes(), place).unwrap();
            let mut got = vec![1];
            let lost = if in_place {
                m.recv_with(|_| panic!("it is none"))
            } else {
                m.recv(&mut got).map(drop)
            };
            assert!(matches!(lost, Err(Error::Corrupt)), "{i}: {lost:?}");
            assert!(in_place || got.is_empty());
            assert!(is_drained(&m), "{i}");
            m.send(b"third").unwrap();
            assert_eq!(next(&m), b"third");
            at += 6;
        }
    }
}

#[test]
fn a_message_for_which_there_is_no_memory_stays() {
    const LONG: usize = 64 << 20;
    let seg = Segment::anonymous(LONG + (1 << 16)).unwrap();
    let m = Messages::create(&seg, "m", LONG).unwrap();
    m.send_with(LONG, |bytes| bytes[LONG - 1] = 7).unwrap();
    Forked::start(|| {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: libc::rlim_t = pages.split(' ').next().unwrap().parse().unwrap();
        let most = (pages << 12) + (16 << 20);
        let limit = libc::rlimit {
            rlim_cur: most,
            rlim_max: most,
        };
        // SAFETY: plain system call.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
        match m.try_recv(&mut Vec::new()) {
            Err(Error::OutOfSpace { requested, .. }) => assert_eq!(requested, LONG as u64),
            other => panic!("{other:?}"),
        }
        assert!(!m.is_empty());
        // In place it needs none.
        let last = m.recv_with(|bytes| bytes[LONG - 1]).unwrap();
        assert_eq!(last, 7);
    })
    .finish();
    assert!(m.is_empty());
    m.send(b"next").unwrap();
    assert_eq!(next(&m), b"next");
}

/// [segment, which]: the first to meet the loss of the segment.
pub(crate) fn lose_messages(args: &[String]) {
    let seg = SegmentOptions::new().guard_truncation(true);
    let m = Messages::open(&seg.open(&args[0]).unwrap(), "m").unwrap();
    tell("ready");
    listen();
    let mut got = Vec::new();
    let vec = std::cell::RefCell::new(&mut got);
    let ops: [&dyn Fn() -> Result<()>; 8] = [
        &|| m.recv(&mut vec.borrow_mut()).map(drop),
        &|| m.send(b"1"),
        &|| m.try_recv(&mut vec.borrow_mut()).map(drop),
        &|| m.send_timeout(&[1; 64], SOON),
        &|| m.recv_with(|_| ()),
        &|| m.send_with(3, |bytes| bytes.fill(1)),
        &|| m.recv_timeout(&mut vec.borrow_mut(), SOON).map(drop),
        &|| m.try_send(b""),
    ];
    let first: usize = args[1].parse().unwrap();
    for i in 0..ops.len() {
        let which = (first + i) % ops.len();
        let got = ops[which]();
        // The first to write may not have met it when it was done.
        let unmet = i == 0 && which % 2 == 1 && got.is_ok();
        assert!(
            unmet || matches!(got, Err(Error::Corrupt)),
            "{which}: {got:?}"
        );
        assert!(vec.borrow().is_empty());
    }
}

#[test]
fn messages_of_a_segment_that_is_cut_short_are_lost() {
    for first in 0..8 {
        let name = Name::new("cut");
        let m = Messages::create(&named(&name), "m", 64).unwrap();
        m.send(b"one").unwrap();
        drop(m);
        let mut child = Child::start("lose_messages", &[&name, &first.to_string()]);
        child.expect("ready");
        let file = std::fs::File::options().write(true).open(name.path());
        file.unwrap().set_len(0).unwrap();
        child.say("cut");
        child.finish();
    }
}
