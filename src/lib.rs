#![doc = include_str!("../README.md")]
// Under loom only the raw machines and their models are built; what only the rest uses looks unused.
#![cfg_attr(commonhold_loom, allow(dead_code, unused_imports))]
// Elsewhere this sentence is the only error: nothing else is built, also where there is no standard library.
#![cfg_attr(not(all(target_os = "linux", target_has_atomic = "64")), no_std)]
#[cfg(not(all(target_os = "linux", target_has_atomic = "64")))]
compile_error!(
    "commonhold needs Linux on a processor with 64-bit atomics: its locks are futexes, and the kernel's record locks vouch for its members"
);

#[cfg(all(target_os = "linux", target_has_atomic = "64"))]
mod error;
#[cfg(all(target_os = "linux", target_has_atomic = "64"))]
mod raw;
#[cfg(all(target_os = "linux", target_has_atomic = "64"))]
mod sys;

#[cfg(all(target_os = "linux", target_has_atomic = "64", not(commonhold_loom)))]
mod data;
#[cfg(all(target_os = "linux", target_has_atomic = "64", not(commonhold_loom)))]
mod layout;
#[cfg(all(target_os = "linux", target_has_atomic = "64", not(commonhold_loom)))]
mod plain;
#[cfg(all(target_os = "linux", target_has_atomic = "64", not(commonhold_loom)))]
mod queue;
#[cfg(all(target_os = "linux", target_has_atomic = "64", not(commonhold_loom)))]
mod segment;
#[cfg(all(target_os = "linux", target_has_atomic = "64", not(commonhold_loom)))]
mod sync;

#[cfg(all(target_os = "linux", target_has_atomic = "64"))]
pub use error::{Error, Place, Result};

#[cfg(all(target_os = "linux", target_has_atomic = "64", not(commonhold_loom)))]
pub use {
    data::{Array, AtomicCell, Atomics, Value},
    layout::fingerprint::Kind,
    layout::header::LAYOUT_VERSION,
    plain::{InPlace, Plain},
    queue::{Iter, Queue},
    segment::{Member, Object, Segment, SegmentOptions},
    sync::{
        Barrier, BarrierWaitResult, Condvar, Event, Mutex, MutexGuard, Once, OnceState, Permit,
        ReentrantMutex, ReentrantMutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, Semaphore,
        WaitTimeoutResult,
    },
};

/// The crate whose traits say which types may live in a segment. For `#[derive]`, name it in your own Cargo.toml:
/// `bytemuck = { version = "1", features = ["derive"] }`.
#[cfg(all(target_os = "linux", target_has_atomic = "64"))]
pub use bytemuck;

/// Under loom there is no layout.
#[cfg(commonhold_loom)]
pub const LAYOUT_VERSION: u32 = 0;
