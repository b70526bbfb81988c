//! The locks that users hold.

mod condvar;
mod guard;
mod mutex;
mod rwlock;
mod rwlock_guards;

pub use condvar::{Condvar, WaitTimeoutResult};
pub use guard::MutexGuard;
pub use mutex::Mutex;
pub use rwlock::RwLock;
pub use rwlock_guards::{RwLockReadGuard, RwLockWriteGuard};

pub(crate) use guard::Locker;
