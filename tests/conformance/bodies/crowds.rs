//! Several that wait for the same thing at once, each with a deadline of its own.

use super::Waits;
use crate::stage::{LONG, Own, Working, kept, ms, timed};
use commonhold::Error;
use std::time::Duration;

pub(crate) fn many_that_wait_keep_each_their_own_deadline<A: Waits>() {
    let own = Own::<A>::new();
    let obstacle = own.it.obstruct();
    let waiters: Vec<_> = (1..=8)
        .map(|i| {
            let (it, asked) = (own.it.clone(), ms(20 * i));
            (
                asked,
                Working::start(move || timed(|| it.wait_timeout(asked))),
            )
        })
        .collect();
    for (asked, waiter) in waiters {
        let (result, took) = waiter.done();
        kept(&result, asked, took);
    }
    own.it.let_through(obstacle);
}

/// One waits for long; beside it others give up, one after another, and one of them at the moment when it happens.
pub(crate) fn one_that_gives_up_does_not_take_what_comes_later<A: Waits>() {
    for round in 0..30 {
        let own = Own::<A>::new();
        let obstacle = own.it.obstruct();
        let (it, hasty) = (own.it.clone(), own.it.clone());
        let patient = Working::start(move || it.wait_timeout(LONG));
        let given_up =
            Working::start(move || hasty.wait_timeout(Duration::from_micros(100 * round)));
        if round % 2 == 0 {
            // It has given up by now.
            assert!(matches!(given_up.done(), Err(Error::Timeout)));
            own.it.let_through(obstacle);
        } else {
            own.it.let_through(obstacle);
            match given_up.done() {
                // If one only was let through, this was it.
                Ok(()) => own.it.let_through(own.it.obstruct()),
                Err(Error::Timeout) => {}
                other => panic!("{other:?}"),
            }
        }
        patient.done().unwrap();
    }
}
