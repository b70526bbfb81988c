//! The locks that users hold.

mod barrier;
mod condvar;
mod guard;
mod mutex;
mod semaphore;

pub use barrier::{Barrier, BarrierWaitResult};
pub use condvar::{Condvar, WaitTimeoutResult};
pub use guard::MutexGuard;
pub use mutex::Mutex;
pub use semaphore::{Permit, Semaphore};

pub(crate) use guard::Locker;
