//! The locks that users hold.

mod condvar;
mod guard;
mod mutex;

pub use condvar::{Condvar, WaitTimeoutResult};
pub use guard::MutexGuard;
pub use mutex::Mutex;

pub(crate) use guard::Locker;
