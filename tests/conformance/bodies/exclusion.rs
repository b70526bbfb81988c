//! Mutual exclusion.

use super::{Behind, MutexLike};
use crate::stage::{LIMIT, Own, Working, ms, tell, theirs};
use commonhold::Error;
use std::time::{Duration, Instant};

const PROCESSES: u64 = 2;
const THREADS: u64 = 2;
const ROUNDS: u64 = 2_000;

/// Adds one, in two steps, between which now and then another thread has its turn.
fn add<A: MutexLike>(it: &A, round: u64) {
    let mut guard = it.lock().unwrap();
    let n = guard.read();
    if round % 64 == 0 {
        std::thread::yield_now();
    }
    guard.write(n + 1);
}

/// Adds in several threads at once.
fn add_much<A: MutexLike>(it: &A) {
    std::thread::scope(|s| {
        for _ in 0..THREADS {
            s.spawn(|| (0..ROUNDS).for_each(|round| add(it, round)));
        }
    });
}

pub(crate) fn of_threads_and_processes_one_at_a_time_holds_it<A: MutexLike>() {
    let own = Own::<A>::new();
    let children: Vec<_> = (0..PROCESSES)
        .map(|_| own.child("exclusion", &["add"]))
        .collect();
    add_much(&own.it);
    children.into_iter().for_each(|child| child.finish());
    assert_eq!(
        own.it.lock().unwrap().read(),
        (PROCESSES + 1) * THREADS * ROUNDS
    );
}

/// Tries in a thread of its own; whether it would have blocked.
fn is_held<A: MutexLike>(it: &A) -> bool {
    std::thread::scope(|s| s.spawn(|| would_block(it)).join().unwrap())
}

fn would_block<A: MutexLike>(it: &A) -> bool {
    match it.try_lock() {
        Ok(_) => false,
        Err(Error::WouldBlock) => true,
        Err(other) => panic!("{other:?}"),
    }
}

pub(crate) fn a_held_lock_would_block_whoever_tries<A: MutexLike>() {
    let own = Own::<A>::new();
    let (it, again) = (&own.it, own.again());
    let mut child = own.child("exclusion", &["try"]);
    child.expect("false");
    for take in [A::lock, A::try_lock, A::lock_for_long] {
        let guard = take(it).unwrap();
        assert!(is_held(it), "by another thread");
        assert!(is_held(&again), "by another handle");
        assert_eq!(
            would_block(it),
            !A::REENTRANT,
            "by the thread that holds it"
        );
        child.say("try");
        child.expect("true");
        drop(guard);
        assert!(!is_held(it) && !is_held(&again) && !would_block(it));
    }
    child.say("end");
    child.finish();
}

pub(crate) fn a_lock_that_is_dropped_is_free_for_a_thread_and_a_process<A: MutexLike>() {
    let own = Own::<A>::new();
    let mut child = own.child("exclusion", &["try"]);
    child.expect("false");
    for round in 1..=20 {
        let mut guard = own.it.lock().unwrap();
        guard.write(round);
        drop(guard);
        child.say("try");
        child.expect("false");
        let it = own.it.clone();
        assert_eq!(
            Working::start(move || it.lock().unwrap().read()).done(),
            round
        );
    }
    child.say("end");
    child.finish();
}

const TURNS: u64 = 200;

/// Makes odd numbers even, or even ones odd.
fn take_turns<A: MutexLike>(it: &A, parity: u64) {
    let start = Instant::now();
    loop {
        let mut guard = it.lock().unwrap();
        let n = guard.read();
        if n >= TURNS {
            return;
        }
        if n % 2 == parity {
            guard.write(n + 1);
        }
        drop(guard);
        std::thread::yield_now();
        assert!(start.elapsed() < LIMIT, "the other has no turn: {n}");
    }
}

pub(crate) fn two_processes_hand_it_to_each_other<A: MutexLike>() {
    let own = Own::<A>::new();
    let child = own.child("exclusion", &["take_turns"]);
    take_turns(&own.it, 0);
    child.finish();
    assert_eq!(own.it.lock().unwrap().read(), TURNS);
}

pub(crate) fn many_that_wait_are_all_served<A: MutexLike>() {
    let own = Own::<A>::new();
    let guard = own.it.lock().unwrap();
    let waiters: Vec<_> = (0..8)
        .map(|round| {
            let it = own.it.clone();
            Working::start(move || add(&it, round))
        })
        .collect();
    let waiters: Vec<_> = waiters.into_iter().map(Working::sleeps).collect();
    assert_eq!(guard.read(), 0, "somebody was served while it was held");
    drop(guard);
    waiters.into_iter().for_each(Working::done);
    assert_eq!(own.it.lock().unwrap().read(), 8);
}

pub(crate) fn those_that_give_up_lose_no_unlock<A: MutexLike>() {
    let own = Own::<A>::new();
    let patient: Vec<_> = (0..2)
        .map(|_| {
            let it = own.it.clone();
            Working::start(move || (0..ROUNDS).for_each(|round| add(&it, round)))
        })
        .collect();
    let hasty: Vec<_> = (0..3)
        .map(|i| {
            let it = own.it.clone();
            Working::start(move || {
                let mut added = 0;
                for round in 0..ROUNDS {
                    match it.lock_timeout(Duration::from_micros(round % (20 * (i + 1)))) {
                        Ok(mut guard) => {
                            let n = guard.read();
                            guard.write(n + 1);
                            added += 1;
                        }
                        Err(Error::Timeout) => {}
                        Err(other) => panic!("{other:?}"),
                    }
                }
                added
            })
        })
        .collect();
    let added: u64 = hasty.into_iter().map(Working::done).sum();
    patient.into_iter().for_each(Working::done);
    assert_eq!(own.it.lock().unwrap().read(), 2 * ROUNDS + added);
    assert!(!is_held(&own.it));
}

pub(crate) fn a_timed_lock_gets_what_is_unlocked_in_time<A: MutexLike>() {
    let own = Own::<A>::new();
    let mut guard = own.it.lock().unwrap();
    guard.write(7);
    let it = own.it.clone();
    let waiter = Working::start(move || it.lock_for_long().map(|g| g.read())).sleeps();
    drop(guard);
    assert_eq!(waiter.done().unwrap(), 7);
    assert_eq!(own.it.lock_timeout(Duration::ZERO).unwrap().read(), 7);
}

pub(crate) fn a_clone_and_an_opened_handle_are_the_same_lock<A: MutexLike>() {
    let own = Own::<A>::new();
    let (clone, again) = (own.it.clone(), own.again());
    for holder in [&own.it, &clone, &again] {
        let mut guard = holder.lock().unwrap();
        let n = guard.read();
        guard.write(n + 1);
        for other in [&own.it, &clone, &again] {
            assert!(is_held(other));
        }
    }
    assert_eq!(again.lock().unwrap().read(), 3);
    drop(clone);
    assert!(!is_held(&own.it));
}

pub(crate) fn another_lock_is_another_lock<A: MutexLike>() {
    let own = Own::<A>::new();
    let other = A::create(&own.place.home, "other").unwrap();
    let mut guard = own.it.lock().unwrap();
    guard.write(1);
    assert!(!is_held(&other));
    let mut second = other.lock().unwrap();
    assert_eq!(second.read(), 0);
    second.write(2);
    // Dropped in the order in which they were locked, as scopes do not.
    drop(guard);
    assert!(!is_held(&own.it));
    assert!(is_held(&other));
    drop(second);
    assert_eq!(own.it.lock().unwrap().read(), 1);
    assert_eq!(other.lock().unwrap().read(), 2);
}

/// Runs `f` in a thread that panics in the end, quietly.
fn panics(f: impl FnOnce() + Send) {
    std::thread::scope(|s| {
        let thread = s.spawn(|| {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f));
            assert!(result.is_err(), "it was to panic");
        });
        thread.join().unwrap();
    });
}

fn is_poisoned<R>(result: Result<R, Error>) -> bool {
    matches!(result, Err(Error::Poisoned))
}

pub(crate) fn a_guard_that_a_panic_drops_poisons<A: MutexLike>() {
    let own = Own::<A>::new();
    let it = &own.it;
    panics(|| {
        let mut guard = it.lock().unwrap();
        guard.write(3);
        std::panic::resume_unwind(Box::new("on purpose"));
    });
    if !A::POISONS {
        assert_eq!(it.try_lock().unwrap().read(), 3);
        return;
    }
    assert!(is_poisoned(it.lock()));
    assert!(is_poisoned(it.try_lock()));
    assert!(is_poisoned(it.lock_for_long()));
    assert!(is_poisoned(own.again().lock()));
    let mut guard = it.recover().unwrap();
    assert_eq!(guard.read(), 3);
    guard.write(0);
    drop(guard);
    assert_eq!(it.try_lock().unwrap().read(), 0);
    // Who recovers what is sound gets it, too.
    it.recover().unwrap();
}

pub(crate) fn a_panic_that_was_under_way_poisons_nothing<A: MutexLike>() {
    struct AtDrop<'a, A: MutexLike>(&'a A);
    impl<A: MutexLike> Drop for AtDrop<'_, A> {
        fn drop(&mut self) {
            let mut guard = self.0.lock().unwrap();
            guard.write(5);
        }
    }
    let own = Own::<A>::new();
    let it = &own.it;
    panics(|| {
        let _at_drop = AtDrop(it);
        std::panic::resume_unwind(Box::new("on purpose"));
    });
    assert_eq!(it.lock_timeout(ms(100)).unwrap().read(), 5);
}

pub(crate) fn child<A: MutexLike>(args: &[String]) {
    let it = theirs::<A>(&args[0]);
    match args[1].as_str() {
        "add" => add_much(&it),
        "take_turns" => take_turns(&it, 1),
        "try" => loop {
            tell(&would_block(&it).to_string());
            if crate::stage::listen() == "end" {
                return;
            }
        },
        other => panic!("no role {other}"),
    }
}
