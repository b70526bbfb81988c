//! Somebody is killed who holds a lock, or waits for it. Only for what is robust.

use super::{Behind, MutexLike};
use crate::stage::{LIMIT, Own, SHORT_OF_A_NAP, Working, all_sleep, tell, theirs, timed};
use crate::support::{eventually, wait_to_be_killed};
use commonhold::Error;

pub(crate) fn a_killed_holder_poisons_it_until_somebody_recovers<A: MutexLike>() {
    let own = Own::<A>::new();
    let mut holder = own.child("death_of_a_holder", &["hold"]);
    holder.expect("holds");
    let waiters = [A::lock, A::lock_for_long].map(|lock| {
        let it = own.it.clone();
        Working::start(move || timed(|| lock(&it).map(drop))).sleeps()
    });
    let (_, took) = timed(|| {
        holder.kill();
        for waiter in waiters {
            assert!(matches!(waiter.done().0, Err(Error::Poisoned)));
        }
    });
    assert!(took < SHORT_OF_A_NAP, "they waited {took:?}");
    assert!(matches!(own.it.try_lock(), Err(Error::Poisoned)));
    let (guard, took) = timed(|| own.it.recover());
    let mut guard = guard.unwrap();
    assert!(took < SHORT_OF_A_NAP, "recovering took {took:?}");
    assert_eq!(guard.read(), 13, "what the dead wrote is there");
    guard.write(0);
    drop(guard);
    assert_eq!(own.it.lock().unwrap().read(), 0);
}

pub(crate) fn a_killed_waiter_leaves_nothing_behind<A: MutexLike>() {
    let own = Own::<A>::new();
    let guard = own.it.lock().unwrap();
    let mut waiter = own.child("death_of_a_holder", &["lock"]);
    waiter.expect("locking");
    eventually(LIMIT, "the child sleeps", || all_sleep(waiter.pid()));
    let it = own.it.clone();
    let other = Working::start(move || it.lock_for_long().map(drop)).sleeps();
    waiter.kill();
    drop(guard);
    other.done().unwrap();
    assert!(own.it.try_lock().is_ok());
}

pub(crate) fn child<A: MutexLike>(args: &[String]) {
    let it = theirs::<A>(&args[0]);
    if args[1] == "lock" {
        tell("locking");
    }
    let mut guard = it.lock().unwrap();
    guard.write(13);
    tell("holds");
    wait_to_be_killed();
}
