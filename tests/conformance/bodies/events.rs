//! Events of both kinds.

use crate::stage::{Home, LONG, Object, Own, Working, kept, ms, tell, theirs, timed};
use commonhold::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A flag to wait for.
pub(crate) trait EventLike: Object {
    /// Whether it lets one through each time it is set, and is clear again.
    const RESETS: bool;
    fn set(&self);
    fn clear(&self);
    fn is_set(&self) -> bool;
    fn wait(&self) -> Result<()>;
    fn try_wait(&self) -> Result<()>;
    fn wait_timeout(&self, timeout: Duration) -> Result<()>;
}

pub(crate) fn it_is_clear_until_it_is_set<A: EventLike>() {
    let own = Own::<A>::new();
    let it = &own.it;
    for _ in 0..3 {
        assert!(!it.is_set() && !own.again().is_set());
        assert!(matches!(it.try_wait(), Err(Error::WouldBlock)));
        let (result, took) = timed(|| it.wait_timeout(ms(10)));
        kept(&result, ms(10), took);
        own.again().set();
        assert!(it.is_set());
        it.clear();
        // Clear is clear, however often.
        it.clear();
    }
}

pub(crate) fn a_wait_for_one_that_is_set_returns_at_once<A: EventLike>() {
    let own = Own::<A>::new();
    let it = &own.it;
    for wait in [A::wait, A::try_wait, |it: &A| it.wait_timeout(LONG)] {
        it.set();
        it.set();
        wait(it).unwrap();
        assert_eq!(it.is_set(), !A::RESETS);
        it.clear();
        assert!(!it.is_set());
    }
}

/// Threads that wait; each counts itself once it is let through.
pub(crate) fn waiters<A: EventLike>(
    own: &Own<A>,
    count: u32,
    through: &Arc<AtomicU32>,
) -> Vec<Working<()>> {
    let waiters: Vec<_> = (0..count)
        .map(|_| {
            let (it, through) = (own.it.clone(), through.clone());
            Working::start(move || {
                it.wait_timeout(LONG).unwrap();
                through.fetch_add(1, Ordering::Relaxed);
            })
        })
        .collect();
    waiters.into_iter().map(Working::sleeps).collect()
}

const TURNS: u32 = 100;

/// What one of two does who wake each other: it clears what it was waked by, unless that clears itself.
fn ping_pong<A: EventLike>(mine: &A, theirs: &A) {
    for _ in 0..TURNS {
        mine.wait().unwrap();
        mine.clear();
        theirs.set();
    }
}

pub(crate) fn two_processes_wake_each_other<A: EventLike>() {
    let own = Own::<A>::new();
    let other = A::create(&own.place.home, "other").unwrap();
    let mut child = own.child("events", &[]);
    child.expect("ready");
    own.it.set();
    let it = own.it.clone();
    Working::start(move || ping_pong(&other, &it)).done();
    child.finish();
    assert!(own.it.is_set());
}

pub(crate) fn child<A: EventLike>(args: &[String]) {
    let mine = theirs::<A>(&args[0]);
    let other = A::open(&A::Home::open(&args[0]).unwrap(), "other").unwrap();
    tell("ready");
    ping_pong(&mine, &other);
}
