//! `Barrier`.

use crate::support::{
    Child, Forked, LIMIT, Name, eventually, forks_are_noticed, listen, tell, waits_on_a_futex,
    within_the_limit,
};
use crate::{cut_short, is_a_handle};
use commonhold::{Atomics, Barrier, Error, Result, Segment, SegmentOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

fn segment(name: &str) -> Segment {
    Segment::create(name, 1 << 16).unwrap()
}

fn broken<T>(result: Result<T>) -> bool {
    matches!(result, Err(Error::Broken))
}

/// Waits until so many wait.
fn when_waiting(b: &Barrier, parties: usize) {
    eventually(LIMIT, "they wait", || b.waiting() == parties);
}

#[test]
fn one_party_passes_at_once_and_leads() {
    let seg = Segment::anonymous(1 << 16).unwrap();
    let b = Barrier::create(&seg, "b", 1).unwrap();
    for _ in 0..100 {
        assert!(b.wait().unwrap().is_leader());
        assert!(b.wait_timeout(Duration::ZERO).unwrap().is_leader());
    }
    assert_eq!((b.parties(), b.waiting(), b.is_broken()), (1, 0, false));
}

#[test]
fn the_number_of_parties_is_a_part_of_what_a_barrier_is() {
    let seg = Segment::anonymous(1 << 16).unwrap();
    assert!(matches!(
        Barrier::create(&seg, "b", 0),
        Err(Error::InvalidArgument(_))
    ));
    assert!(matches!(
        Barrier::open_or_create(&seg, "b", 0),
        Err(Error::InvalidArgument(_))
    ));
    assert!(matches!(Barrier::open(&seg, "b"), Err(Error::NotFound)));
    let made = Barrier::open_or_create(&seg, "b", 3).unwrap();
    assert_eq!(Barrier::open(&seg, "b").unwrap().parties(), 3);
    assert_eq!(Barrier::open_or_create(&seg, "b", 3).unwrap().parties(), 3);
    let error = Barrier::open_or_create(&seg, "b", 4).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::TypeMismatch { .. }));
    assert!(text.contains("a Barrier of 3") && text.contains("a Barrier of 4"));
    assert!(matches!(
        Barrier::create(&seg, "b", 3),
        Err(Error::AlreadyExists)
    ));
    if let Some(more) = (u32::MAX as usize).checked_add(1) {
        assert!(matches!(
            Barrier::create(&seg, "more", more),
            Err(Error::TooLarge { .. })
        ));
    }
    assert!(format!("{made:?}").contains("Barrier"));
    is_a_handle(&made);
}

#[test]
fn a_time_that_is_up_breaks_the_barrier_until_a_reset() {
    let seg = Segment::anonymous(1 << 16).unwrap();
    let b = Barrier::create(&seg, "b", 3).unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| b.wait());
        when_waiting(&b, 1);
        let start = Instant::now();
        let d = Duration::from_millis(20);
        assert!(matches!(b.wait_timeout(d), Err(Error::Timeout)));
        assert!(start.elapsed() >= d);
        assert!(broken(waiter.join().unwrap()));
    });
    assert!(b.is_broken());
    assert_eq!(b.waiting(), 0);
    assert!(broken(b.wait()));
    assert!(broken(b.wait_timeout(LIMIT)));
    b.reset().unwrap();
    assert!(!b.is_broken());
    std::thread::scope(|scope| {
        let others = [(); 2].map(|()| scope.spawn(|| b.wait().unwrap().is_leader()));
        let mine = b.wait().unwrap().is_leader();
        let leaders = others.into_iter().map(|o| o.join().unwrap());
        assert_eq!(leaders.chain([mine]).filter(|leads| *leads).count(), 1);
    });
}

#[test]
fn a_reset_frees_those_who_wait_and_leaves_the_barrier_whole() {
    let seg = Segment::anonymous(1 << 16).unwrap();
    let b = Barrier::create(&seg, "b", 3).unwrap();
    std::thread::scope(|scope| {
        let waiters = [(); 2].map(|()| scope.spawn(|| b.wait()));
        when_waiting(&b, 2);
        b.reset().unwrap();
        assert!(!b.is_broken());
        for w in waiters {
            assert!(broken(w.join().unwrap()));
        }
    });
    assert_eq!(b.waiting(), 0);
    b.reset().unwrap();
    std::thread::scope(|scope| {
        let others = [(); 2].map(|()| scope.spawn(|| b.wait().is_ok()));
        assert!(b.wait().is_ok());
        assert!(others.into_iter().all(|o| o.join().unwrap()));
    });
}

#[test]
fn an_abort_breaks_the_barrier_for_all() {
    let seg = Segment::anonymous(1 << 16).unwrap();
    let b = Barrier::create(&seg, "b", 2).unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| b.wait());
        when_waiting(&b, 1);
        b.abort();
        assert!(broken(waiter.join().unwrap()));
    });
    assert!(b.is_broken() && broken(b.wait()));
    b.abort();
    b.reset().unwrap();
    assert!(!b.is_broken());
}

/// The parties of each phase: two threads of each process.
const PARTIES: u64 = 8;

/// [segment, phases]: two parties.
pub(crate) fn cross(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    run_phases(&seg, args[1].parse().unwrap());
}

fn run_phases(seg: &Segment, phases: u64) {
    let b = Barrier::open(seg, "b").unwrap();
    let books = Atomics::<AtomicU64>::open(seg, "books").unwrap();
    let party = || {
        for phase in 0..phases {
            // All of this phase, and none of the next, come before anybody goes on.
            books[0].fetch_add(1, SeqCst);
            if b.wait().unwrap().is_leader() {
                books[1].fetch_add(1, SeqCst);
            }
            assert_eq!(books[0].load(SeqCst), (phase + 1) * PARTIES);
            b.wait().unwrap();
            assert_eq!(
                books[1].load(SeqCst),
                phase + 1,
                "each phase has one leader"
            );
        }
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(party);
        party();
        other.join().unwrap();
    });
}

#[test]
fn thousands_of_phases_in_step() {
    let name = Name::new("phases");
    let seg = segment(&name);
    let phases = 5_000;
    let b = Barrier::create(&seg, "b", PARTIES as usize).unwrap();
    let books = Atomics::<AtomicU64>::create(&seg, "books", 2).unwrap();
    let children = [(); 3].map(|()| Child::start("cross", &[&name, &phases.to_string()]));
    run_phases(&seg, phases);
    children.into_iter().for_each(Child::finish);
    assert_eq!(books[1].load(SeqCst), phases);
    assert_eq!((b.waiting(), b.is_broken()), (0, false));
}

#[test]
fn more_threads_than_parties_make_up_phases_among_them() {
    let seg = Segment::anonymous(1 << 16).unwrap();
    let b = Barrier::create(&seg, "b", 2).unwrap();
    // Six threads, two in each phase, in whatever order they come.
    let leaders = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6)
            .map(|_| scope.spawn(|| (0..1000).filter(|_| b.wait().unwrap().is_leader()).count()))
            .collect();
        // Not all come out even: the last of one thread has nobody to wait with.
        let start = Instant::now();
        while threads.iter().any(|t| !t.is_finished()) {
            assert!(start.elapsed() < 4 * LIMIT, "stuck");
            if b.waiting() == 1 && threads.iter().filter(|t| !t.is_finished()).count() == 1 {
                let _ = b.wait();
            }
            std::thread::yield_now();
        }
        threads
            .into_iter()
            .map(|t| t.join().unwrap())
            .sum::<usize>()
    });
    assert!(leaders > 0 && leaders <= 3000, "{leaders}");
}

/// [segment]: arrives, and is killed there.
pub(crate) fn arrive(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let b = Barrier::open(&seg, "b").unwrap();
    tell("ready");
    let end = b.wait();
    tell(&format!("{:?}", end.map(|r| r.is_leader())));
    listen();
}

/// [segment]: arrives by two threads, and is killed there.
pub(crate) fn arrive_twice(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let b = Barrier::open(&seg, "b").unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| b.wait());
        scope.spawn(|| b.wait());
        tell("ready");
    });
    panic!("it was to be killed");
}

#[test]
fn a_party_that_is_killed_after_it_arrived_breaks_the_barrier_for_the_others() {
    let name = Name::new("killed");
    let seg = segment(&name);
    let b = Barrier::create(&seg, "b", 5).unwrap();
    for _ in 0..3 {
        let mut dies = Child::start("arrive_twice", &[&name]);
        let mut lives = Child::start("arrive", &[&name]);
        dies.expect("ready");
        lives.expect("ready");
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| b.wait());
            when_waiting(&b, 4);
            dies.kill();
            within_the_limit(|| {
                assert!(broken(waiter.join().unwrap()));
                lives.expect("Err(Broken)");
            });
        });
        assert!(b.is_broken() && broken(b.wait()));
        b.reset().unwrap();
        assert_eq!((b.is_broken(), b.waiting()), (false, 0));
    }
}

#[test]
fn one_that_died_before_we_came_is_found_out_about() {
    let name = Name::new("before");
    let seg = segment(&name);
    let b = Barrier::create(&seg, "b", 3).unwrap();
    let mut dies = Child::start("arrive", &[&name]);
    dies.expect("ready");
    when_waiting(&b, 1);
    dies.kill();
    // Its death is announced before we wait, so that we have no more than its arrival to go by.
    eventually(LIMIT, "the slot is freed", || {
        let other = Segment::open(&name).unwrap();
        other.members().iter().filter(|m| !m.alive).count() == 0 || free_the_dead(&seg)
    });
    assert!(within_the_limit(|| broken(b.wait())));
}

/// Waits for nothing until a sweep has been made.
fn free_the_dead(seg: &Segment) -> bool {
    let nothing = commonhold::Semaphore::open_or_create(seg, "nothing", 0).unwrap();
    let got = nothing.acquire_timeout(Duration::from_millis(60));
    assert!(matches!(got, Err(Error::Timeout)));
    false
}

#[test]
fn the_next_member_in_the_slot_of_a_party_that_died_breaks_the_barrier() {
    let name = Name::new("slot");
    let seg = commonhold::SegmentOptions::new()
        .capacity(1 << 16)
        .max_members(2)
        .create(&name)
        .unwrap();
    let b = Barrier::create(&seg, "b", 2).unwrap();
    let mut dies = Child::start("arrive", &[&name]);
    dies.expect("ready");
    when_waiting(&b, 1);
    dies.kill();
    // As the last to arrive, which looks at nobody else's arrival.
    let mut next = Child::start("arrive", &[&name]);
    next.expect("ready");
    next.expect("Err(Broken)");
    next.kill();
    assert!(b.is_broken());
}

#[test]
fn the_parent_of_a_forked_party_is_another_party() {
    if !forks_are_noticed() {
        return;
    }
    let seg = Segment::anonymous(1 << 16).unwrap();
    let b = Barrier::create(&seg, "b", 2).unwrap();
    let leaders = Atomics::<AtomicU64>::create(&seg, "leaders", 1).unwrap();
    let pass = || {
        for _ in 0..100 {
            leaders[0].fetch_add(u64::from(b.wait().unwrap().is_leader()), SeqCst);
        }
    };
    let child = Forked::start(pass);
    pass();
    child.finish();
    assert_eq!(leaders[0].load(SeqCst), 100);
    // One that ends while it is waited for.
    let child = Forked::start(|| drop(b.wait()));
    when_waiting(&b, 1);
    child.kill();
    let waited = b.wait_timeout(LIMIT);
    // The last to arrive: as if the child had died after the phase.
    assert!(waited.unwrap().is_leader());
}

#[test]
fn a_release_that_comes_as_the_time_is_up_is_for_all_or_for_none() {
    let seg = Segment::anonymous(1 << 16).unwrap();
    let b = Barrier::create(&seg, "b", 2).unwrap();
    let mut late = 0;
    for round in 0..2_000u64 {
        let (mine, other) = std::thread::scope(|scope| {
            let other = scope.spawn(|| b.wait());
            let mine = b.wait_timeout(Duration::from_micros(round % 100));
            (mine, other.join().unwrap())
        });
        match (mine, other) {
            (Ok(a), Ok(b)) => assert_ne!(a.is_leader(), b.is_leader()),
            (Err(Error::Timeout), Err(Error::Broken)) => {
                late += 1;
                b.reset().unwrap();
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(late > 0, "it was never too late");
    assert!(late < 2_000, "it was always too late");
}

/// [segment, which]: the first to meet the loss of the segment, by itself or asleep.
pub(crate) fn lose_a_barrier(args: &[String]) {
    let seg = SegmentOptions::new().guard_truncation(true);
    let seg = seg.open(&args[0]).unwrap();
    let b = Barrier::open(&seg, "b").unwrap();
    // Not in the first phase, whose number is what a lost region says.
    b.abort();
    b.reset().unwrap();
    let ops: [&dyn Fn() -> Result<()>; 4] = [
        &|| b.wait().map(drop),
        &|| b.wait_timeout(Duration::from_millis(1)).map(drop),
        &|| b.reset(),
        &|| b.wait_timeout(Duration::from_secs(60)).map(drop),
    ];
    let first: usize = args[1].parse().unwrap();
    tell("ready");
    if first != 3 {
        listen();
    }
    for i in 0..ops.len() {
        let which = (first + i) % ops.len();
        let got = ops[which]();
        assert!(matches!(got, Err(Error::Corrupt)), "{which}: {got:?}");
    }
    b.abort();
}

#[test]
fn the_parties_of_a_segment_that_is_cut_short_are_told() {
    for first in 0..4 {
        let name = Name::new("cut");
        let b = Barrier::create(&segment(&name), "b", 2).unwrap();
        let mut child = Child::start("lose_a_barrier", &[&name, &first.to_string()]);
        child.expect("ready");
        if first == 3 {
            when_waiting(&b, 1);
            eventually(LIMIT, "it sleeps", || waits_on_a_futex(child.pid()));
        }
        drop(b);
        cut_short(&name);
        if first != 3 {
            child.say("cut");
        }
        child.finish();
    }
}

#[test]
fn a_number_of_parties_that_nobody_can_have_asked_for_is_refused() {
    let seg = Segment::anonymous(1 << 16).unwrap();
    Barrier::create(&seg, "b", 2).unwrap();
    let file = std::fs::File::from(seg.as_fd().try_clone_to_owned().unwrap());
    let word = |at| {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, at).unwrap();
        u64::from_ne_bytes(bytes)
    };
    // By docs/layout.md. Any number of items of no bytes fits the object's size.
    let entries_at = word(48);
    let mut entries = (0..128).map(|i| entries_at + i * 256);
    let entry = entries.find(|at| word(*at) != 0).expect("it has an entry");
    for parties in [0, 1 << 32, u64::MAX >> 1] {
        file.write_all_at(&u64::to_ne_bytes(parties), entry + 32)
            .unwrap();
        assert!(matches!(Barrier::open(&seg, "b"), Err(Error::Corrupt)));
    }
    file.write_all_at(&u64::to_ne_bytes(2), entry + 32).unwrap();
    assert_eq!(Barrier::open(&seg, "b").unwrap().parties(), 2);
}
