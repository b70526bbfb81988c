#![doc = include_str!("../README.md")]
// Under loom only the raw machines and their models are built; what only the rest uses looks unused.
#![cfg_attr(commonhold_loom, allow(dead_code, unused_imports))]

#[cfg(not(target_os = "linux"))]
compile_error!(
    "commonhold needs Linux: its locks are futexes, and the kernel's record locks vouch for its members"
);

mod error;
mod raw;
mod sys;

#[cfg(not(commonhold_loom))]
mod data;
#[cfg(not(commonhold_loom))]
mod layout;
#[cfg(not(commonhold_loom))]
mod plain;
#[cfg(not(commonhold_loom))]
mod queue;
#[cfg(not(commonhold_loom))]
mod segment;
#[cfg(not(commonhold_loom))]
mod sync;

pub use error::{Error, Place, Result};

#[cfg(not(commonhold_loom))]
pub use {
    data::{Array, AtomicCell, Atomics, Value},
    layout::fingerprint::Kind,
    layout::header::LAYOUT_VERSION,
    plain::{InPlace, Plain},
    queue::{Iter, Queue},
    segment::{Member, Object, Segment, SegmentOptions},
    sync::{Condvar, Mutex, MutexGuard, WaitTimeoutResult},
};

/// The crate whose traits say which types may live in a segment. For `#[derive]`, name it in your own Cargo.toml:
/// `bytemuck = { version = "1", features = ["derive"] }`.
pub use bytemuck;

/// Under loom there is no layout.
#[cfg(commonhold_loom)]
pub const LAYOUT_VERSION: u32 = 0;
