//! The bodies, a file a suite. What an adapter must bring stands in front of those that use it.

pub(crate) mod automatic_events;
pub(crate) mod barriers;
pub(crate) mod condvars;
pub(crate) mod crowds;
pub(crate) mod death_of_a_holder;
pub(crate) mod death_of_a_waiter;
pub(crate) mod events;
pub(crate) mod exclusion;
pub(crate) mod finding;
pub(crate) mod manual_events;
pub(crate) mod nudges;
pub(crate) mod pulsed_events;
pub(crate) mod queues;
pub(crate) mod reentrance;
pub(crate) mod rwlocks;
pub(crate) mod semaphores;
pub(crate) mod waits;

use crate::stage::{LONG, Object};
use commonhold::Result;
use std::time::Duration;

/// A lock that one thread of one process at a time holds, and the number behind it.
pub(crate) trait MutexLike: Object {
    type Guard<'a>: Behind;
    /// Whether the thread that holds it may lock it again.
    const REENTRANT: bool = false;
    /// Whether a guard that a panic drops poisons the lock.
    const POISONS: bool = true;
    fn lock(&self) -> Result<Self::Guard<'_>>;
    fn try_lock(&self) -> Result<Self::Guard<'_>>;
    fn lock_timeout(&self, timeout: Duration) -> Result<Self::Guard<'_>>;
    fn lock_for_long(&self) -> Result<Self::Guard<'_>> {
        self.lock_timeout(LONG)
    }
    /// Only where it is poisoned: locks nevertheless.
    fn recover(&self) -> Result<Self::Guard<'_>> {
        unreachable!("only what poisons is recovered")
    }
}

/// What a guard gives access to. Reading and writing are two steps, so that two holders at once are noticed.
pub(crate) trait Behind {
    fn read(&self) -> u64;
    fn write(&mut self, n: u64);
}

/// Anything that waits for something, with and without a deadline. A wait that ends well leaves behind what is as if it had
/// not been: the lock it got is unlocked again.
pub(crate) trait Waits: Object {
    /// What keeps others waiting, as long as it is there.
    type Obstacle<'a>;
    /// Sees to it that waits wait.
    fn obstruct(&self) -> Self::Obstacle<'_>;
    /// Lets one wait through.
    fn let_through<'a>(&'a self, obstacle: Self::Obstacle<'a>);
    fn wait(&self) -> Result<()>;
    fn wait_timeout(&self, timeout: Duration) -> Result<()>;
}

/// Waits that can be woken without what they wait for.
pub(crate) trait Nudged: Waits {
    /// Wakes those that wait, for nothing.
    fn nudge(&self);
}
