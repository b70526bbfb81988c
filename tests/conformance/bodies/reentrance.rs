//! Locks that their holder may lock again.

use super::MutexLike;
use crate::stage::{Own, Working};
use commonhold::Error;

fn is_held<A: MutexLike>(it: &A) -> bool {
    let it = it.clone();
    Working::start(move || matches!(it.try_lock(), Err(Error::WouldBlock))).done()
}

pub(crate) fn it_is_free_after_as_many_drops_as_locks<A: MutexLike>() {
    let own = Own::<A>::new();
    let it = &own.it;
    let mut guards = Vec::new();
    for take in [A::lock, A::try_lock, A::lock_for_long, A::recover] {
        guards.push(take(it).unwrap());
        assert!(is_held(it));
    }
    // In another order than they were taken in.
    while guards.len() > 1 {
        drop(guards.swap_remove(0));
        assert!(is_held(it));
    }
    drop(guards);
    assert!(!is_held(it));
}

pub(crate) fn another_thread_waits_for_the_last_drop<A: MutexLike>() {
    let own = Own::<A>::new();
    let (first, second) = (own.it.lock().unwrap(), own.it.lock().unwrap());
    let it = own.it.clone();
    let waiter = Working::start(move || it.lock().map(drop)).sleeps();
    drop(first);
    let waiter = waiter.sleeps();
    assert!(waiter.is_done().is_none());
    drop(second);
    waiter.done().unwrap();
    assert!(!is_held(&own.it));
}
