//! Events that let one through each time they are set.

use super::events::{EventLike, waiters};
use crate::stage::{LIMIT, Own, Working};
use crate::support::eventually;
use commonhold::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub(crate) fn each_set_lets_one_through<A: EventLike>() {
    let own = Own::<A>::new();
    let through = Arc::new(AtomicU32::new(0));
    let mut waiters = waiters(&own, 4, &through);
    for count in 1..=4 {
        own.it.set();
        eventually(LIMIT, "one is let through", || {
            through.load(Ordering::Relaxed) == count
        });
        // Those that are left sleep again, or still.
        eventually(LIMIT, "the others sleep", || {
            waiters.retain(|w| w.is_done().is_none());
            waiters.iter().all(Working::is_asleep)
        });
        assert_eq!(through.load(Ordering::Relaxed), count);
        assert!(!own.it.is_set());
    }
}

pub(crate) fn two_sets_before_anybody_waits_let_one_through<A: EventLike>() {
    let own = Own::<A>::new();
    own.it.set();
    own.it.set();
    own.it.wait().unwrap();
    assert!(matches!(own.it.try_wait(), Err(Error::WouldBlock)));
    assert!(matches!(
        own.it.wait_timeout(Duration::ZERO),
        Err(Error::Timeout)
    ));
}
