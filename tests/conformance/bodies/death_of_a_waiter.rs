//! Some are killed who wait; the others go on. Only for what is robust.

use super::Waits;
use crate::stage::{LIMIT, LONG, Own, SHORT_OF_A_NAP, Working, all_sleep, tell, theirs};
use crate::support::eventually;
use std::time::Instant;

pub(crate) fn a_killed_waiter_keeps_nobody_from_what_happens<A: Waits>() {
    let own = Own::<A>::new();
    let obstacle = own.it.obstruct();
    let mut children = [(), ()].map(|()| own.child("death_of_a_waiter", &[]));
    for child in &mut children {
        child.expect("waiting");
        eventually(LIMIT, "the child sleeps", || all_sleep(child.pid()));
    }
    let it = own.it.clone();
    let survivor = Working::start(move || it.wait_timeout(LONG)).sleeps();
    let [first, second] = children;
    first.kill();
    // The other one at the very moment when it happens.
    own.it.let_through(obstacle);
    second.kill();
    // It may have been let through, and keeps in death what it got: then it happens once more.
    let start = Instant::now();
    let result = loop {
        if let Some(result) = survivor.is_done() {
            break result;
        }
        assert!(
            start.elapsed() < SHORT_OF_A_NAP,
            "the survivor waits for ever"
        );
        own.it.let_through(own.it.obstruct());
    };
    result.unwrap();
}

pub(crate) fn child<A: Waits>(args: &[String]) {
    let it = theirs::<A>(&args[0]);
    tell("waiting");
    let _ = it.wait();
    // It may have been let through before it was killed.
    crate::support::wait_to_be_killed();
}
