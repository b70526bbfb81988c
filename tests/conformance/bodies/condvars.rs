//! Condition variables, with whatever lock they go with.

use super::{Behind, MutexLike, Waits};
use crate::stage::{LIMIT, LONG, Own, Working, ms, tell, theirs, timed};
use crate::support::eventually;
use commonhold::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A condition variable and the lock to wait with; the number behind it is what conditions are about.
pub(crate) trait CondvarLike: Waits {
    type Lock: MutexLike;
    fn mutex(&self) -> &Self::Lock;
    fn wait_with<'a>(&self, guard: Held<'a, Self>) -> Result<Held<'a, Self>>;
    /// Beside the guard: whether the time was up.
    fn wait_with_timeout<'a>(
        &self,
        guard: Held<'a, Self>,
        timeout: Duration,
    ) -> Result<(Held<'a, Self>, bool)>;
    fn wait_while<'a>(
        &self,
        guard: Held<'a, Self>,
        condition: impl FnMut(u64) -> bool,
    ) -> Result<Held<'a, Self>>;
    fn wait_timeout_while<'a>(
        &self,
        guard: Held<'a, Self>,
        timeout: Duration,
        condition: impl FnMut(u64) -> bool,
    ) -> Result<(Held<'a, Self>, bool)>;
    fn notify_one(&self);
    fn notify_all(&self);
}

pub(crate) type Held<'a, A> = <<A as CondvarLike>::Lock as MutexLike>::Guard<'a>;

/// Threads that each wait for the number not to be zero, and take one of it.
fn takers<A: CondvarLike>(own: &Own<A>, count: u32, served: &Arc<AtomicU32>) -> Vec<Working<()>> {
    let takers: Vec<_> = (0..count)
        .map(|_| {
            let (it, served) = (own.it.clone(), served.clone());
            Working::start(move || {
                let guard = it.mutex().lock().unwrap();
                let mut guard = it.wait_while(guard, |n| n == 0).unwrap();
                let n = guard.read();
                guard.write(n - 1);
                served.fetch_add(1, Ordering::Relaxed);
            })
        })
        .collect();
    takers.into_iter().map(Working::sleeps).collect()
}

fn put<A: CondvarLike>(it: &A, n: u64) {
    let mut guard = it.mutex().lock().unwrap();
    let there = guard.read();
    guard.write(there + n);
}

fn served_are(served: &AtomicU32, count: u32) {
    eventually(LIMIT, "those that were notified go on", || {
        served.load(Ordering::Relaxed) == count
    });
}

pub(crate) fn one_notify_wakes_one_and_the_next_another<A: CondvarLike>() {
    let own = Own::<A>::new();
    let served = Arc::new(AtomicU32::new(0));
    let takers = takers(&own, 4, &served);
    for count in 1..=4 {
        put(&own.it, 1);
        own.it.notify_one();
        served_are(&served, count);
    }
    takers.into_iter().for_each(Working::done);
}

pub(crate) fn notify_all_wakes_all<A: CondvarLike>() {
    let own = Own::<A>::new();
    let served = Arc::new(AtomicU32::new(0));
    let first = takers(&own, 4, &served);
    put(&own.it, 4);
    own.it.notify_all();
    served_are(&served, 4);
    // And again: nothing is left of the first time.
    let second = takers(&own, 3, &served);
    assert_eq!(served.load(Ordering::Relaxed), 4);
    put(&own.it, 3);
    own.it.notify_all();
    served_are(&served, 7);
    first.into_iter().chain(second).for_each(Working::done);
}

pub(crate) fn a_notify_that_nobody_waits_for_is_lost<A: CondvarLike>() {
    let own = Own::<A>::new();
    own.it.notify_one();
    own.it.notify_all();
    let it = own.it.clone();
    // A wait may end for nothing now and then, and not each time.
    let waiter = Working::start(move || {
        (0..5).any(|_| {
            let guard = it.mutex().lock().unwrap();
            let (_guard, timed_out) = it.wait_with_timeout(guard, ms(20)).unwrap();
            timed_out
        })
    });
    assert!(waiter.done());
}

pub(crate) fn a_wait_unlocks_and_returns_with_the_lock_held<A: CondvarLike>() {
    let own = Own::<A>::new();
    let (it, go_on) = (own.it.clone(), Arc::new(AtomicU32::new(0)));
    let may_end = go_on.clone();
    let waiter = Working::start(move || {
        let mut guard = it.mutex().lock().unwrap();
        while guard.read() == 0 {
            guard = it.wait_with(guard).unwrap();
        }
        may_end.store(1, Ordering::Relaxed);
        eventually(LIMIT, "somebody looks", || {
            may_end.load(Ordering::Relaxed) == 2
        });
        guard.write(2);
    })
    .sleeps();
    // It waits, and so it has unlocked.
    own.it.mutex().try_lock().unwrap().write(1);
    own.it.notify_one();
    eventually(LIMIT, "it returns", || go_on.load(Ordering::Relaxed) == 1);
    let it = own.it.clone();
    let tried = Working::start(move || matches!(it.mutex().try_lock(), Err(Error::WouldBlock)));
    assert!(tried.done(), "it returned without the lock");
    go_on.store(2, Ordering::Relaxed);
    waiter.done();
    assert_eq!(own.it.mutex().lock().unwrap().read(), 2);
}

pub(crate) fn a_notify_under_the_lock_is_not_lost<A: CondvarLike>() {
    let own = Own::<A>::new();
    for _ in 0..200 {
        let it = own.it.clone();
        // The waiter is anywhere: before its lock, at it, asleep.
        let waiter = Working::start(move || {
            let guard = it.mutex().lock().unwrap();
            let mut guard = it.wait_while(guard, |n| n == 0).unwrap();
            guard.write(0);
        });
        let mut guard = own.it.mutex().lock().unwrap();
        guard.write(1);
        own.it.notify_one();
        drop(guard);
        waiter.done();
    }
}

pub(crate) fn a_wait_for_a_condition_ends_only_when_it_holds<A: CondvarLike>() {
    let own = Own::<A>::new();
    let it = own.it.clone();
    let waiter = Working::start(move || {
        let guard = it.mutex().lock().unwrap();
        it.wait_while(guard, |n| n < 5).unwrap().read()
    })
    .sleeps();
    for n in 1..=5 {
        assert!(waiter.is_done().is_none(), "it ended at {}", n - 1);
        put(&own.it, 1);
        own.it.notify_all();
    }
    assert_eq!(waiter.done(), 5);
    // One that holds already is not waited for.
    let guard = own.it.mutex().lock().unwrap();
    assert_eq!(own.it.wait_while(guard, |n| n < 5).unwrap().read(), 5);
}

pub(crate) fn a_timed_wait_says_whether_the_time_was_up<A: CondvarLike>() {
    let own = Own::<A>::new();
    let it = &own.it;
    let asked = ms(60);
    let (timed_out, took) = timed(|| {
        let guard = it.mutex().lock().unwrap();
        let (_guard, timed_out) = it.wait_timeout_while(guard, asked, |n| n == 0).unwrap();
        timed_out
    });
    assert!(timed_out && took >= asked, "{timed_out} after {took:?}");
    put(it, 1);
    let guard = it.mutex().lock().unwrap();
    let (guard, timed_out) = it
        .wait_timeout_while(guard, Duration::ZERO, |n| n == 0)
        .unwrap();
    assert!(!timed_out, "what holds already was not waited for");
    drop(guard);
    let other = own.it.clone();
    let waiter = Working::start(move || {
        let guard = other.mutex().lock().unwrap();
        let (_guard, timed_out) = other.wait_timeout_while(guard, LONG, |n| n < 2).unwrap();
        timed_out
    })
    .sleeps();
    put(it, 1);
    it.notify_all();
    assert!(!waiter.done());
}

const TURNS: u64 = 120;
const PLAYERS: u64 = 3;

/// Waits for each of its turns, and passes on to the next.
fn take_turns<A: CondvarLike>(it: &A, player: u64) {
    for turn in (0..TURNS).filter(|turn| turn % PLAYERS == player) {
        let guard = it.mutex().lock().unwrap();
        let mut guard = it.wait_while(guard, |n| n != turn).unwrap();
        guard.write(turn + 1);
        drop(guard);
        it.notify_all();
    }
}

pub(crate) fn threads_and_processes_take_turns<A: CondvarLike>() {
    let own = Own::<A>::new();
    let mut child = own.child("condvars", &["2"]);
    let threads = [0, 1].map(|player| {
        let it = own.it.clone();
        Working::start(move || take_turns(&it, player))
    });
    threads.into_iter().for_each(Working::done);
    child.expect("done");
    child.finish();
    assert_eq!(own.it.mutex().lock().unwrap().read(), TURNS);
}

pub(crate) fn child<A: CondvarLike>(args: &[String]) {
    take_turns(&theirs::<A>(&args[0]), args[1].parse().unwrap());
    tell("done");
}
