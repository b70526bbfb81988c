//! Events that are set and cleared at once. Not each event promises anything then.

use super::events::{EventLike, waiters};
use crate::stage::{Own, Working};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

/// As Python's `threading` has it (gh-57711): who waits when it is set goes on, even if it is cleared before
/// he can look.
pub(crate) fn those_that_wait_go_on_even_if_it_is_cleared_at_once<A: EventLike>() {
    for _ in 0..20 {
        let own = Own::<A>::new();
        let through = Arc::new(AtomicU32::new(0));
        let waiters = waiters(&own, 4, &through);
        own.it.set();
        own.it.clear();
        waiters.into_iter().for_each(Working::done);
        assert!(!own.it.is_set());
    }
}
