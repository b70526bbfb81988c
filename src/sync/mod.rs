//! The locks that users hold.

mod barrier;
mod condvar;
mod event;
mod guard;
mod mutex;
mod once;
mod reentrant;
mod rwlock;
#[cfg(feature = "async")]
mod rwlock_async;
mod rwlock_guards;
mod semaphore;

pub use barrier::{Barrier, BarrierWaitResult};
pub use condvar::{Condvar, WaitTimeoutResult};
pub use event::Event;
pub use guard::MutexGuard;
pub use mutex::Mutex;
pub use once::{Once, OnceState};
pub use reentrant::{ReentrantMutex, ReentrantMutexGuard};
pub use rwlock::RwLock;
pub use rwlock_guards::{RwLockReadGuard, RwLockWriteGuard};
pub use semaphore::{Permit, Semaphore};

pub(crate) use guard::Locker;
