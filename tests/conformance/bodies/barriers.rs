//! Barriers.

use super::Object;
use crate::stage::{LONG, Own, Place, Working, kept, ms, tell, theirs, timed};
use commonhold::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A place where parties wait for each other; as an [`Object`], two of them.
pub(crate) trait BarrierLike: Object {
    fn create_of(home: &Self::Home, name: &str, parties: usize) -> Result<Self>;
    /// Whether this party is the one that leads.
    fn wait(&self) -> Result<bool>;
    fn wait_timeout(&self, timeout: Duration) -> Result<bool>;
    fn reset(&self) -> Result<()>;
    fn abort(&self);
    fn is_broken(&self) -> bool;
}

const PARTIES: u32 = 4;
const PHASES: u32 = 200;

pub(crate) fn all_leave_when_all_have_arrived_and_one_leads<A: BarrierLike>() {
    let place = Place::<A::Home>::new();
    let it = A::create_of(&place.home, "it", PARTIES as usize).unwrap();
    let (arrived, led) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let parties: Vec<_> = (0..PARTIES)
        .map(|_| {
            let (it, arrived, led) = (it.clone(), arrived.clone(), led.clone());
            Working::start(move || {
                for phase in 1..=PHASES {
                    arrived.fetch_add(1, Ordering::SeqCst);
                    let leads = it.wait().unwrap();
                    let now = arrived.load(Ordering::SeqCst);
                    assert!(now >= phase * PARTIES, "{now} had arrived in phase {phase}");
                    led.fetch_add(leads.into(), Ordering::SeqCst);
                }
            })
        })
        .collect();
    parties.into_iter().for_each(Working::done);
    assert_eq!(led.load(Ordering::SeqCst), PHASES);
}

pub(crate) fn one_party_alone_never_waits<A: BarrierLike>() {
    let place = Place::<A::Home>::new();
    let it = A::create_of(&place.home, "it", 1).unwrap();
    for _ in 0..3 {
        assert!(it.wait().unwrap());
        assert!(it.wait_timeout(Duration::ZERO).unwrap());
    }
}

pub(crate) fn two_processes_meet_again_and_again<A: BarrierLike>() {
    let own = Own::<A>::new();
    let mut child = own.child("barriers", &[]);
    let mut led = 0;
    for _ in 0..PHASES {
        led += u32::from(own.it.wait_timeout(LONG).unwrap());
    }
    let theirs: u32 = child.hear().parse().unwrap();
    assert_eq!(led + theirs, PHASES);
    child.finish();
}

/// `others` wait; what breaks it is told to them, and to those who come later, until it is reset.
fn breaks<A: BarrierLike>(break_it: impl FnOnce(&A)) {
    let own = Own::<A>::new();
    let it = own.it.clone();
    let waiter = Working::start(move || it.wait()).sleeps();
    assert!(!own.it.is_broken());
    break_it(&own.it);
    assert!(matches!(waiter.done(), Err(Error::Broken)));
    assert!(own.again().is_broken());
    assert!(matches!(own.it.wait(), Err(Error::Broken)));
    assert!(matches!(own.it.wait_timeout(LONG), Err(Error::Broken)));
    own.it.reset().unwrap();
    assert!(!own.it.is_broken());
    let it = own.it.clone();
    let other = Working::start(move || it.wait());
    let leads = own.it.wait().unwrap();
    assert_ne!(other.done().unwrap(), leads);
}

pub(crate) fn it_is_broken_by_an_abort_until_it_is_reset<A: BarrierLike>() {
    breaks::<A>(|it| it.abort());
}

pub(crate) fn it_is_broken_by_one_that_gives_up<A: BarrierLike>() {
    let place = Place::<A::Home>::new();
    let it = A::create_of(&place.home, "it", 3).unwrap();
    let other = it.clone();
    let waiter = Working::start(move || other.wait()).sleeps();
    let (result, took) = timed(|| it.wait_timeout(ms(20)));
    kept(&result, ms(20), took);
    assert!(matches!(waiter.done(), Err(Error::Broken)));
    assert!(it.is_broken());
}

pub(crate) fn a_reset_sends_those_that_wait_away<A: BarrierLike>() {
    let own = Own::<A>::new();
    let it = own.it.clone();
    let waiter = Working::start(move || it.wait()).sleeps();
    own.it.reset().unwrap();
    assert!(matches!(waiter.done(), Err(Error::Broken)));
    assert!(!own.it.is_broken());
}

pub(crate) fn child<A: BarrierLike>(args: &[String]) {
    let it = theirs::<A>(&args[0]);
    let led = (0..PHASES).filter(|_| it.wait_timeout(LONG).unwrap());
    tell(&led.count().to_string());
}
