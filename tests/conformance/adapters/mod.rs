//! How each primitive does what the bodies ask for, a file a kind.

mod barriers;
mod beside;
mod condvars;
#[macro_use]
mod events;
mod mutexes;
mod onces;
mod queues;
#[macro_use]
mod rwlocks;
#[cfg(feature = "raw-sync")]
mod not_robust;
mod values;

pub(crate) use beside::Beside;
pub(crate) use commonhold::{Array, Barrier, Mutex, Once, Queue, ReentrantMutex, Semaphore, Value};
pub(crate) use condvars::Condvars;
pub(crate) use events::{AutoEvent, ManualEvent};
#[cfg(feature = "raw-sync")]
pub(crate) use not_robust::{OsAutoEvent, OsEvent, OsMutex, OsReading, OsRwLock};
pub(crate) use onces::Calling;
pub(crate) use queues::{Receiving, Sending};
pub(crate) use rwlocks::{Reading, Rw};

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
