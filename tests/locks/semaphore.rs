//! `Semaphore`.

use crate::support::{
    Child, Forked, LIMIT, Name, eventually, forks_are_noticed, listen, tell, two_have_one_each,
    waits_on_a_futex, within_the_limit,
};
use crate::{cut_short, is_a_handle};
use commonhold::{Atomics, Error, Result, Segment, SegmentOptions, Semaphore};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

fn segment(name: &str) -> Segment {
    Segment::create(name, 1 << 16).unwrap()
}

fn would_block<T>(result: Result<T>) -> bool {
    matches!(result, Err(Error::WouldBlock))
}

#[test]
fn permits_are_taken_given_back_added_and_forgotten() {
    let seg = Segment::anonymous(1 << 16).unwrap();
    let s = Semaphore::create(&seg, "s", 2).unwrap();
    let (a, b) = (s.acquire().unwrap(), s.try_acquire().unwrap());
    assert_eq!(s.available(), 0);
    assert!(would_block(s.try_acquire()));
    let start = Instant::now();
    let d = Duration::from_millis(20);
    assert!(matches!(s.acquire_timeout(d), Err(Error::Timeout)));
    assert!(start.elapsed() >= d);
    drop(a);
    assert_eq!(s.available(), 1);
    b.forget();
    assert_eq!(s.available(), 1);
    let c = s.acquire_timeout(LIMIT).unwrap();
    assert!(would_block(s.try_acquire()));
    s.add_permits(2).unwrap();
    assert_eq!(s.available(), 2);
    drop(c);
    assert_eq!(s.available(), 3);
    s.add_permits(0).unwrap();
    assert_eq!(s.available(), 3);
}

#[test]
fn there_is_a_limit_to_the_permits() {
    let seg = Segment::anonymous(1 << 16).unwrap();
    let most = Semaphore::MAX_PERMITS;
    let too_large = |r: Result<()>, asked: u64| match r {
        Err(Error::TooLarge { requested, limit }) => {
            assert_eq!((requested, limit), (asked, most as u64));
        }
        other => panic!("{other:?}"),
    };
    let all = Semaphore::create(&seg, "all", most).unwrap();
    too_large(all.add_permits(1), most as u64 + 1);
    assert_eq!(all.available(), most);
    let one = all.acquire().unwrap();
    too_large(all.add_permits(1), most as u64 + 1);
    one.forget();
    all.add_permits(1).unwrap();
    let none = Semaphore::create(&seg, "none", 0).unwrap();
    assert!(would_block(none.try_acquire()));
    if let Some(more) = most.checked_add(1) {
        too_large(Semaphore::create(&seg, "more", more).map(drop), more as u64);
        too_large(none.add_permits(usize::MAX), u64::MAX);
    }
    none.add_permits(most).unwrap();
    assert_eq!(none.available(), most);
}

#[test]
fn a_semaphore_is_found_by_its_name_whatever_its_permits() {
    let seg = Segment::anonymous(1 << 16).unwrap();
    assert!(matches!(Semaphore::open(&seg, "s"), Err(Error::NotFound)));
    let made = Semaphore::open_or_create(&seg, "s", 3).unwrap();
    assert!(matches!(
        Semaphore::create(&seg, "s", 3),
        Err(Error::AlreadyExists)
    ));
    let found = Semaphore::open_or_create(&seg, "s", 7).unwrap();
    assert_eq!(found.available(), 3);
    let permit = found.acquire().unwrap();
    assert_eq!(made.available(), 2);
    assert_eq!(Semaphore::open(&seg, "s").unwrap().available(), 2);
    drop(permit);
    assert_eq!(made.available(), 3);
    assert!(format!("{made:?}").contains("Semaphore"));
    is_a_handle(&made);
}

#[test]
fn a_permit_may_be_dropped_by_another_thread() {
    let seg = Segment::anonymous(1 << 16).unwrap();
    let s = Semaphore::create(&seg, "s", 1).unwrap();
    let permit = s.acquire().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || drop(permit));
    });
    assert_eq!(s.available(), 1);
}

/// [segment, rounds]: by two threads.
pub(crate) fn take_turns(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let rounds: u64 = args[1].parse().unwrap();
    use_it(&seg, rounds);
}

/// At most three may be inside at once.
const PERMITS: usize = 3;

fn use_it(seg: &Segment, rounds: u64) {
    let s = Semaphore::open(seg, "s").unwrap();
    let books = Atomics::<AtomicU64>::open(seg, "books").unwrap();
    let one = |round: u64| {
        let permit = match round % 3 {
            0 => s.acquire().unwrap(),
            1 => s.acquire_timeout(Duration::from_secs(60)).unwrap(),
            _ => loop {
                match s.try_acquire() {
                    Ok(permit) => break permit,
                    Err(Error::WouldBlock) => std::thread::yield_now(),
                    Err(e) => panic!("{e}"),
                }
            },
        };
        let inside = books[0].fetch_add(1, SeqCst) + 1;
        assert!(inside <= PERMITS as u64, "{inside} are inside");
        books[1].fetch_max(inside, SeqCst);
        if round % 5 == 0 {
            std::thread::yield_now();
        }
        books[0].fetch_sub(1, SeqCst);
        if round % 7 == 0 {
            // Handed over to ourselves.
            permit.forget();
            s.add_permits(1).unwrap();
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..rounds).for_each(one));
        }
    });
}

#[test]
fn threads_and_processes_are_never_more_inside_than_there_are_permits() {
    let name = Name::new("turns");
    let seg = segment(&name);
    let s = Semaphore::create(&seg, "s", PERMITS).unwrap();
    let books = Atomics::<AtomicU64>::create(&seg, "books", 2).unwrap();
    let children = [(); 2].map(|()| Child::start("take_turns", &[&name, "20000"]));
    use_it(&seg, 20_000);
    children.into_iter().for_each(Child::finish);
    assert_eq!(books[0].load(SeqCst), 0);
    assert!(books[1].load(SeqCst) > 1, "they never met");
    assert_eq!(s.available(), PERMITS);
}

/// [segment, permits]: holds so many until it is killed.
pub(crate) fn hold_permits(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let s = Semaphore::open(&seg, "s").unwrap();
    let permits: usize = args[1].parse().unwrap();
    let held: Vec<_> = (0..permits).map(|_| s.acquire().unwrap()).collect();
    tell("ready");
    listen();
    held.into_iter().next().unwrap().forget();
    tell("forgot one");
    listen();
}

#[test]
fn permits_of_a_killed_holder_come_back_to_those_who_wait() {
    let name = Name::new("permits");
    let seg = segment(&name);
    let s = Semaphore::create(&seg, "s", 3).unwrap();
    let mut holder = Child::start("hold_permits", &[&name, "3"]);
    holder.expect("ready");
    std::thread::scope(|scope| {
        let waiters: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| s.acquire().map(std::mem::forget)))
            .collect();
        // Past the first naps, so that only the watch over deaths finds it.
        assert!(matches!(
            s.acquire_timeout(Duration::from_millis(100)),
            Err(Error::Timeout)
        ));
        assert!(waiters.iter().all(|w| !w.is_finished()));
        holder.kill();
        within_the_limit(|| {
            for w in waiters {
                w.join().unwrap().unwrap();
            }
        });
    });
    // All three are ours now.
    assert!(would_block(s.try_acquire()));
}

#[test]
fn permits_of_a_killed_holder_come_back_however_short_each_wait_is() {
    let name = Name::new("short");
    let seg = segment(&name);
    let s = Semaphore::create(&seg, "s", 2).unwrap();
    let mut holder = Child::start("hold_permits", &[&name, "1"]);
    holder.expect("ready");
    assert!(two_have_one_each(holder, || s.acquire().unwrap()));
    assert_eq!(s.available(), 2);
}

#[test]
fn one_who_only_tries_finds_the_death_too() {
    let name = Name::new("tries");
    let seg = segment(&name);
    let s = Semaphore::create(&seg, "s", 2).unwrap();
    let mut holder = Child::start("hold_permits", &[&name, "2"]);
    holder.expect("ready");
    assert!(would_block(s.try_acquire()));
    holder.kill();
    // Nobody has found out.
    assert_eq!(s.available(), 0);
    let permit = s.try_acquire().unwrap();
    assert_eq!(s.available(), 1);
    drop(permit);
    assert_eq!(s.available(), 2);
}

#[test]
fn a_forgotten_permit_outlives_its_holder_as_nobody_s() {
    let name = Name::new("forgotten");
    let seg = segment(&name);
    let s = Semaphore::create(&seg, "s", 2).unwrap();
    let mut holder = Child::start("hold_permits", &[&name, "2"]);
    holder.expect("ready");
    holder.say("go on");
    holder.expect("forgot one");
    holder.kill();
    let one = s.try_acquire().unwrap();
    assert!(would_block(s.try_acquire()));
    s.add_permits(1).unwrap();
    let two = s.try_acquire().unwrap();
    drop((one, two));
    assert_eq!(s.available(), 2);
}

#[test]
fn the_next_member_in_the_slot_of_the_dead_gives_its_permits_back() {
    let name = Name::new("slot");
    let seg = commonhold::SegmentOptions::new()
        .capacity(1 << 16)
        .max_members(2)
        .create(&name)
        .unwrap();
    let s = Semaphore::create(&seg, "s", 5).unwrap();
    for _ in 0..3 {
        // The second slot is the only one there is.
        let mut holder = Child::start("hold_permits", &[&name, "4"]);
        holder.expect("ready");
        assert_eq!(s.available(), 1);
        holder.kill();
    }
    let mut holder = Child::start("hold_permits", &[&name, "5"]);
    holder.expect("ready");
    assert!(would_block(s.try_acquire()));
    holder.kill();
    assert!(s.try_acquire().is_ok());
}

/// [segment]
pub(crate) fn wait_for_a_permit(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let s = Semaphore::open(&seg, "s").unwrap();
    tell("ready");
    let permit = s.acquire();
    tell("got one");
    listen();
    drop(permit);
}

#[test]
fn a_killed_waiter_takes_no_wake_up_with_it() {
    let name = Name::new("waiter");
    let seg = segment(&name);
    let s = Semaphore::create(&seg, "s", 1).unwrap();
    for _ in 0..5 {
        let permit = s.acquire().unwrap();
        let mut waiters = [(); 2].map(|()| Child::start("wait_for_a_permit", &[&name]));
        for w in &mut waiters {
            w.expect("ready");
            eventually(LIMIT, "it sleeps", || waits_on_a_futex(w.pid()));
        }
        let [mut first, mut second] = waiters;
        // The first is woken and killed at one stroke: it may have got the permit, or the wake-up only.
        first.kill_only();
        drop(permit);
        within_the_limit(|| second.expect("got one"));
        first.kill();
        second.say("end");
        second.finish();
        assert_eq!(s.available(), 1);
    }
}

#[test]
fn an_inherited_permit_is_inert_and_a_forked_child_takes_its_own() {
    if !forks_are_noticed() {
        return;
    }
    let seg = Segment::anonymous(1 << 16).unwrap();
    let s = Semaphore::create(&seg, "s", 2).unwrap();
    let (dropped, forgotten) = (s.acquire().unwrap(), s.acquire().unwrap());
    let (dropped_too, forgotten_too) = (&dropped, &forgotten);
    Forked::start(|| {
        // SAFETY: copies that this process alone has, and uses once.
        let (d, f) = unsafe { (std::ptr::read(dropped_too), std::ptr::read(forgotten_too)) };
        drop(d);
        f.forget();
        assert_eq!(s.available(), 0);
        assert!(would_block(s.try_acquire()));
    })
    .finish();
    assert_eq!(s.available(), 0);
    drop(dropped);
    assert_eq!(s.available(), 1);
    Forked::start(|| {
        // Dies with it.
        std::mem::forget(s.acquire().unwrap());
    })
    .finish();
    assert_eq!(s.available(), 0);
    drop(s.try_acquire().unwrap());
    drop(forgotten);
    assert_eq!(s.available(), 2);
}

#[test]
fn what_a_member_held_comes_back_when_it_detaches() {
    let name = Name::new("detach");
    let seg = segment(&name);
    let s = Semaphore::create(&seg, "s", 1).unwrap();
    Forked::start(|| {
        let seg = Segment::open(&name).unwrap();
        let s = Semaphore::open(&seg, "s").unwrap();
        std::mem::forget(s.acquire().unwrap());
        drop((s, seg));
        tell("detached");
    })
    .finish();
    assert!(s.try_acquire().is_ok());
}

/// [segment, which]: the first to meet the loss of the segment.
pub(crate) fn lose_permits(args: &[String]) {
    let seg = SegmentOptions::new().guard_truncation(true);
    let seg = seg.open(&args[0]).unwrap();
    let s = Semaphore::open(&seg, "s").unwrap();
    let (dropped, forgotten) = (s.acquire().unwrap(), s.acquire().unwrap());
    tell("ready");
    listen();
    let ops: [&dyn Fn() -> Result<()>; 4] = [
        &|| s.acquire().map(drop),
        &|| s.try_acquire().map(drop),
        &|| s.acquire_timeout(Duration::from_millis(1)).map(drop),
        &|| s.add_permits(1),
    ];
    let first: usize = args[1].parse().unwrap();
    for i in 0..ops.len() {
        let which = (first + i) % ops.len();
        let got = ops[which]();
        assert!(matches!(got, Err(Error::Corrupt)), "{which}: {got:?}");
    }
    drop(dropped);
    forgotten.forget();
}

#[test]
fn permits_of_a_segment_that_is_cut_short_are_lost() {
    for first in 0..4 {
        let name = Name::new("cut");
        drop(Semaphore::create(&segment(&name), "s", 3).unwrap());
        let mut child = Child::start("lose_permits", &[&name, &first.to_string()]);
        child.expect("ready");
        cut_short(&name);
        child.say("cut");
        child.finish();
    }
}
