//! The locks that users hold.

mod condvar;
mod event;
mod guard;
mod mutex;
mod once;
mod reentrant;

pub use condvar::{Condvar, WaitTimeoutResult};
pub use event::Event;
pub use guard::MutexGuard;
pub use mutex::Mutex;
pub use once::{Once, OnceState};
pub use reentrant::{ReentrantMutex, ReentrantMutexGuard};

pub(crate) use guard::Locker;
