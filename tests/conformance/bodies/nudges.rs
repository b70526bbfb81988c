//! Waits that are woken for nothing.

use super::Nudged;
use crate::stage::{LIMIT, Own, Working, kept, ms, timed};
use std::time::Instant;

pub(crate) fn a_deadline_is_kept_by_one_that_is_woken_for_nothing_again_and_again<A: Nudged>() {
    let asked = ms(150);
    let own = Own::<A>::new();
    let obstacle = own.it.obstruct();
    let it = own.it.clone();
    let waiter = Working::start(move || timed(|| it.wait_timeout(asked)));
    let start = Instant::now();
    let (result, took) = loop {
        own.it.nudge();
        if let Some(done) = waiter.is_done() {
            break done;
        }
        assert!(start.elapsed() < LIMIT, "it waits for ever");
    };
    kept(&result, asked, took);
    own.it.let_through(obstacle);
}
