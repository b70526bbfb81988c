//! Waiting, with a deadline and without: what every wait has in common.

use super::Waits;
use crate::stage::{LIMIT, LONG, Own, Working, all_sleep, kept, listen, ms, tell, theirs, timed};
use crate::support::eventually;
use commonhold::{Error, Result};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub(crate) fn a_deadline_is_kept_and_never_early<A: Waits>() {
    // Some above, some below, and one across whatever second it is.
    for asked in [ms(1), Duration::from_micros(20_500), ms(130), ms(999)] {
        let own = Own::<A>::new();
        let obstacle = own.it.obstruct();
        let it = own.it.clone();
        let waiter = Working::start(move || timed(|| it.wait_timeout(asked)));
        let (result, took) = waiter.done();
        kept(&result, asked, took);
        own.it.let_through(obstacle);
    }
}

pub(crate) fn no_time_at_all_is_a_try<A: Waits>() {
    let own = Own::<A>::new();
    let obstacle = own.it.obstruct();
    let it = own.it.clone();
    let (result, took) = Working::start(move || timed(|| it.wait_timeout(Duration::ZERO))).done();
    kept(&result, Duration::ZERO, took);
    own.it.let_through(obstacle);
}

pub(crate) fn what_happens_in_time_ends_a_timed_wait<A: Waits>() {
    is_let_through::<A>(|it| it.wait_timeout(LONG));
}

pub(crate) fn the_longest_time_is_for_ever_and_ends_when_it_happens<A: Waits>() {
    is_let_through::<A>(|it| it.wait_timeout(Duration::MAX));
    is_let_through::<A>(|it| it.wait_timeout(Duration::from_secs(i64::MAX as u64)));
}

pub(crate) fn a_wait_without_a_deadline_ends_when_it_happens<A: Waits>() {
    is_let_through::<A>(|it| it.wait());
}

/// Once while the waiter sleeps, and once at any moment.
fn is_let_through<A: Waits>(wait: fn(&A) -> Result<()>) {
    for asleep in [true, false] {
        let own = Own::<A>::new();
        let obstacle = own.it.obstruct();
        let it = own.it.clone();
        let mut waiter = Working::start(move || wait(&it));
        if asleep {
            waiter = waiter.sleeps();
            assert!(waiter.is_done().is_none(), "it did not wait");
        }
        own.it.let_through(obstacle);
        waiter.done().unwrap();
    }
}

pub(crate) fn another_process_is_let_through<A: Waits>() {
    for role in ["wait", "wait_for_long"] {
        let own = Own::<A>::new();
        let obstacle = own.it.obstruct();
        let mut child = own.child("waits", &[role]);
        child.expect("waiting");
        eventually(LIMIT, "the child sleeps", || all_sleep(child.pid()));
        own.it.let_through(obstacle);
        child.expect("Ok");
        child.say("end");
        child.finish();
    }
}

static INTERRUPTED: AtomicU32 = AtomicU32::new(0);

/// Interrupts system calls: set without SA_RESTART.
fn count_interruptions() {
    extern "C" fn count(_: i32) {
        INTERRUPTED.fetch_add(1, Ordering::Relaxed);
    }
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the handler touches one atomic; zero bytes are a sigaction without flags.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = count as extern "C" fn(i32) as usize;
            assert_eq!(
                libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()),
                0
            );
        }
    });
}

/// Disturbs a wait until it ends, about a thousand times a second.
fn disturb<R: Send + 'static>(waiter: &Working<R>) -> R {
    let before = INTERRUPTED.load(Ordering::Relaxed);
    let start = Instant::now();
    loop {
        waiter.signal(libc::SIGUSR1);
        std::thread::sleep(ms(1));
        if let Some(result) = waiter.is_done() {
            let times = INTERRUPTED.load(Ordering::Relaxed) - before;
            assert!(times > 3, "it was hardly disturbed: {times} times");
            return result;
        }
        assert!(start.elapsed() < LIMIT, "signals lengthen the wait");
    }
}

pub(crate) fn signals_neither_end_nor_shorten_nor_lengthen_a_wait<A: Waits>() {
    count_interruptions();
    let asked = ms(150);
    let own = Own::<A>::new();
    let obstacle = own.it.obstruct();
    let it = own.it.clone();
    let waiter = Working::start(move || timed(|| it.wait_timeout(asked)));
    let (result, took) = disturb(&waiter);
    kept(&result, asked, took);
    own.it.let_through(obstacle);
}

pub(crate) fn signals_do_not_keep_from_what_happens<A: Waits>() {
    count_interruptions();
    let own = Own::<A>::new();
    let obstacle = own.it.obstruct();
    let it = own.it.clone();
    let waiter = Working::start(move || it.wait()).sleeps();
    for _ in 0..20 {
        waiter.signal(libc::SIGUSR1);
        std::thread::sleep(ms(1));
        assert!(waiter.is_done().is_none(), "a signal ended the wait");
    }
    own.it.let_through(obstacle);
    waiter.done().unwrap();
}

/// What a stopped process waits, and what it may take on when it goes on: less, or it would have waited anew.
const STOPPED: (Duration, Duration) = (ms(2000), ms(1800));

pub(crate) fn a_stopped_process_finds_its_deadline_passed<A: Waits>() {
    // One that waits anew does so each time; a slow machine takes so long only now and then.
    let mut took = (0..5).map(|_| goes_on_after_its_deadline::<A>());
    let soon = took.find(|late| *late < STOPPED.1);
    assert!(soon.is_some(), "it waits anew");
}

/// How long it takes one that was stopped beyond its deadline to find that out.
fn goes_on_after_its_deadline<A: Waits>() -> Duration {
    let own = Own::<A>::new();
    let obstacle = own.it.obstruct();
    let mut child = own.child("waits", &["wait_a_while"]);
    child.expect("waiting");
    let waiting = Instant::now();
    eventually(LIMIT, "the child sleeps", || all_sleep(child.pid()));
    child.signal(libc::SIGSTOP);
    std::thread::sleep(STOPPED.0.saturating_sub(waiting.elapsed()));
    child.signal(libc::SIGCONT);
    let (said, late) = timed(|| child.hear());
    assert_eq!(said, "Timeout");
    own.it.let_through(obstacle);
    child.say("end");
    child.finish();
    late
}

pub(crate) fn child<A: Waits>(args: &[String]) {
    let it = theirs::<A>(&args[0]);
    tell("waiting");
    let (result, took) = timed(|| match args[1].as_str() {
        "wait" => it.wait(),
        "wait_for_long" => it.wait_timeout(LONG),
        "wait_a_while" => it.wait_timeout(STOPPED.0),
        other => panic!("no role {other}"),
    });
    match result {
        Ok(()) => tell("Ok"),
        Err(Error::Timeout) if took >= STOPPED.0 => tell("Timeout"),
        other => panic!("{other:?} after {took:?}"),
    }
    // The membership ends with the process; what was let through is not to be undone by it.
    listen();
}
