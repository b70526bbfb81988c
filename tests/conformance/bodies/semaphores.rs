//! Semaphores. One of a single permit is also tested as a mutex, by `exclusion`.

use super::Object;
use crate::stage::{Home, LONG, Own, Place, Working, kept, listen, ms, tell, theirs, timed};
use commonhold::{Error, Result};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A number of permits.
pub(crate) trait SemaphoreLike: Object {
    type Permit<'a>;
    fn create_of(home: &Self::Home, name: &str, permits: usize) -> Result<Self>;
    fn acquire(&self) -> Result<Self::Permit<'_>>;
    fn try_acquire(&self) -> Result<Self::Permit<'_>>;
    fn acquire_timeout(&self, timeout: Duration) -> Result<Self::Permit<'_>>;
    /// Takes it away for good.
    fn forget(permit: Self::Permit<'_>);
    fn add_permits(&self, permits: usize) -> Result<()>;
    fn available(&self) -> usize;
}

fn of<A: SemaphoreLike>(permits: usize) -> (Place<A::Home>, A) {
    let place = Place::new();
    let it = A::create_of(&place.home, "it", permits).unwrap();
    (place, it)
}

pub(crate) fn there_are_as_many_permits_as_it_was_made_with<A: SemaphoreLike>() {
    for permits in [0, 1, 7] {
        let (_place, it) = of::<A>(permits);
        let taken: Vec<_> = (0..permits)
            .map(|n| {
                assert_eq!(it.available(), permits - n);
                it.try_acquire().unwrap()
            })
            .collect();
        assert_eq!(it.available(), 0);
        assert!(matches!(it.try_acquire().map(drop), Err(Error::WouldBlock)));
        let (result, took) = timed(|| it.acquire_timeout(ms(10)).map(drop));
        kept(&result, ms(10), took);
        drop(taken);
        assert_eq!(it.available(), permits);
    }
}

/// What the threads of CPython's `lock_tests` do: they take turns in groups, never more at once than there are permits.
pub(crate) fn never_more_at_once_than_there_are_permits<A: SemaphoreLike>() {
    const PERMITS: u32 = 3;
    let (_place, it) = of::<A>(PERMITS as usize);
    let (inside, most) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|s| {
        for _ in 0..6 {
            s.spawn(|| {
                for _ in 0..300 {
                    let permit = it.acquire_timeout(LONG).unwrap();
                    let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(now, Ordering::SeqCst);
                    std::thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(permit);
                }
            });
        }
    });
    let most = most.into_inner();
    assert!((1..=PERMITS).contains(&most), "{most} at once");
    assert_eq!(it.available(), PERMITS as usize);
}

pub(crate) fn permits_that_are_added_let_as_many_through<A: SemaphoreLike>() {
    let (place, it) = of::<A>(0);
    let waiters: Vec<_> = (0..4)
        .map(|_| {
            let it = it.clone();
            Working::start(move || it.acquire().map(A::forget)).sleeps()
        })
        .collect();
    let elsewhere = A::open(&A::Home::open(place.name()).unwrap(), "it").unwrap();
    elsewhere.add_permits(1).unwrap();
    elsewhere.add_permits(3).unwrap();
    for waiter in waiters {
        waiter.done().unwrap();
    }
    assert_eq!(it.available(), 0);
    it.add_permits(5).unwrap();
    assert_eq!(elsewhere.available(), 5);
}

pub(crate) fn a_permit_that_is_forgotten_is_handed_over<A: SemaphoreLike>() {
    let own = Own::<A>::new();
    let permits = own.it.available();
    assert_eq!(permits, 1);
    A::forget(own.it.acquire().unwrap());
    let mut child = own.child("semaphores", &[]);
    child.expect("waits");
    assert!(matches!(
        own.it.try_acquire().map(drop),
        Err(Error::WouldBlock)
    ));
    own.it.add_permits(1).unwrap();
    child.expect("has it");
    assert!(matches!(
        own.it.try_acquire().map(drop),
        Err(Error::WouldBlock)
    ));
    child.say("give it back");
    child.expect("gave it back");
    drop(own.it.acquire().unwrap());
    child.say("end");
    child.finish();
}

pub(crate) fn child<A: SemaphoreLike>(args: &[String]) {
    let it = theirs::<A>(&args[0]);
    tell("waits");
    let permit = it.acquire().unwrap();
    tell("has it");
    listen();
    drop(permit);
    tell("gave it back");
    listen();
}
