//! Locks that are **not robust**, for systems that the rest of the crate does not know: a process that dies with one leaves it
//! locked for ever. Feature `raw-sync`.
//!
//! On Linux use [`Mutex`](crate::Mutex) and the others at the crate's root instead: this module has nothing that they lack. It is for
//! programs that must also run elsewhere (macOS, Windows), with the same verbs in the same forms and the same [`Error`](crate::Error). It
//! stands on the crate raw_sync: the mutexes and condition variables of pthreads, the mutexes and events of
//! Windows. Every use of it is a compiler warning, so that nobody comes here by mistake; who means it says
//! `#[allow(deprecated)]`.
//!
//! ```compile_fail
//! #![deny(deprecated)]
//! use commonhold::not_robust::Mutex;
//! ```
//!
//! What else is missing here
//! - The processes must trust each other: bytes that one scribbles into a region may do anything to the others, since the system's
//!   locks believe them. A region opens only for the user who made it.
//! - They must be programs for the same processor and C library; a region says which, and is refused as
//!   [`VersionMismatch`](crate::Error::VersionMismatch) by others.
//! - A region whose file is made shorter, or whose disk fails, ends whoever touches it with a signal.
//! - Objects are never taken away, and there are at most 64 of them in a region.
//! - Deadlines are kept, to the monotonic clock. But if the system's time of day is set back while somebody waits, that wait may
//!   outlast its deadline by as much.
//!
//! # Which systems
//! Linux has run it: it passes the same conformance tests as the robust locks, less those on death. For macOS and Windows it is
//! only compiled. raw_sync itself needs a system with pthreads, or Windows; elsewhere it is raw_sync that does not compile.

mod directory;
mod event;
mod mutex;
mod object;
mod os;
mod region;
mod rwlock;

pub use event::Event;
pub use mutex::{Mutex, MutexGuard};
pub use region::Region;
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
