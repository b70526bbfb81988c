//! How each primitive does what the bodies ask for, a file a kind.

mod barriers;
mod beside;
mod blocks;
mod broadcasts;
mod condvars;
#[macro_use]
mod events;
mod messages;
mod mutexes;
mod onces;
mod pipes;
mod queues;
mod rings;
#[macro_use]
mod rwlocks;
#[cfg(feature = "async")]
mod futures;
#[cfg(feature = "raw-sync")]
mod not_robust;
mod selecting;
mod values;

pub(crate) use beside::Beside;
pub(crate) use blocks::ReceivingBlocks;
pub(crate) use broadcasts::Publishing;
pub(crate) use commonhold::{
    Array, Barrier, BlockPool, Mutex, Once, Pipe, Queue, ReentrantMutex, Ring, Semaphore, Value,
};
pub(crate) use condvars::Condvars;
pub(crate) use events::{AutoEvent, ManualEvent};
#[cfg(feature = "async")]
pub(crate) use futures::Awaited;
#[cfg(feature = "serde")]
pub(crate) use messages::Encoded;
pub(crate) use messages::Mail;
#[cfg(feature = "raw-sync")]
pub(crate) use not_robust::{OsAutoEvent, OsEvent, OsMutex, OsReading, OsRwLock};
pub(crate) use onces::Calling;
pub(crate) use pipes::{Arriving, Departing};
pub(crate) use queues::{Leasing, Receiving, Sending};
pub(crate) use rings::{Draining, Filling};
pub(crate) use rwlocks::{Reading, Rw};
pub(crate) use selecting::Selecting;

/// [`Waits`](crate::bodies::Waits) of a lock: what keeps others waiting is a guard.
macro_rules! waits_for_the_lock {
    ($lock:ty) => {
        impl crate::bodies::Waits for $lock {
            type Obstacle<'a> = <$lock as crate::bodies::MutexLike>::Guard<'a>;
            fn obstruct(&self) -> Self::Obstacle<'_> {
                crate::bodies::MutexLike::lock(self).unwrap()
            }
            fn let_through<'a>(&'a self, obstacle: Self::Obstacle<'a>) {
                drop(obstacle);
            }
            fn wait(&self) -> commonhold::Result<()> {
                crate::bodies::MutexLike::lock(self).map(drop)
            }
            fn wait_timeout(&self, timeout: std::time::Duration) -> commonhold::Result<()> {
                crate::bodies::MutexLike::lock_timeout(self, timeout).map(drop)
            }
        }
    };
}
use waits_for_the_lock;
