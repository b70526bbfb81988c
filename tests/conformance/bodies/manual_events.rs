//! Events that stay set until somebody clears them.

use super::events::{EventLike, waiters};
use crate::stage::{Own, Working};
use commonhold::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

pub(crate) fn one_that_stays_set_lets_all_through<A: EventLike>() {
    let own = Own::<A>::new();
    let through = Arc::new(AtomicU32::new(0));
    let waiters = waiters(&own, 4, &through);
    assert_eq!(through.load(Ordering::Relaxed), 0);
    own.it.set();
    waiters.into_iter().for_each(Working::done);
    // And all who come later.
    for _ in 0..3 {
        own.it.wait().unwrap();
        own.it.try_wait().unwrap();
    }
    own.it.clear();
    assert!(matches!(own.it.try_wait(), Err(Error::WouldBlock)));
}
