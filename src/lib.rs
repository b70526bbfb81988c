#![doc = include_str!("../README.md")]
// Under loom only the raw machines and their models are built; what only the rest uses looks unused.
#![cfg_attr(commonhold_loom, allow(dead_code, unused_imports))]
// Elsewhere this sentence is the only error: nothing else is built, also where there is no standard library.
#![cfg_attr(
    not(any(
        all(target_os = "linux", target_has_atomic = "64"),
        feature = "raw-sync"
    )),
    no_std
)]
#[cfg(not(any(
    all(target_os = "linux", target_has_atomic = "64"),
    feature = "raw-sync"
)))]
compile_error!(
    "commonhold needs Linux on a processor with 64-bit atomics: its locks are futexes, and the kernel's record locks vouch for its members. \
     Elsewhere, its feature `raw-sync` has locks that are not robust"
);

#[cfg(any(
    all(target_os = "linux", target_has_atomic = "64"),
    feature = "raw-sync"
))]
mod error;
#[cfg(all(target_os = "linux", target_has_atomic = "64"))]
mod raw;
#[cfg(all(target_os = "linux", target_has_atomic = "64"))]
mod sys;

#[cfg(all(target_os = "linux", target_has_atomic = "64", not(commonhold_loom)))]
mod data;
#[cfg(all(
    feature = "serde",
    target_os = "linux",
    target_has_atomic = "64",
    not(commonhold_loom)
))]
mod encoding;
#[cfg(all(
    feature = "async",
    target_os = "linux",
    target_has_atomic = "64",
    not(commonhold_loom)
))]
mod futures;
#[cfg(all(target_os = "linux", target_has_atomic = "64", not(commonhold_loom)))]
mod layout;
#[cfg(all(
    any(
        all(target_os = "linux", target_has_atomic = "64"),
        feature = "raw-sync"
    ),
    not(commonhold_loom)
))]
mod plain;
#[cfg(all(
    feature = "process",
    target_os = "linux",
    target_has_atomic = "64",
    not(commonhold_loom)
))]
pub mod process;
#[cfg(all(target_os = "linux", target_has_atomic = "64", not(commonhold_loom)))]
mod queue;
#[cfg(all(target_os = "linux", target_has_atomic = "64", not(commonhold_loom)))]
mod segment;
#[cfg(all(target_os = "linux", target_has_atomic = "64", not(commonhold_loom)))]
mod select;
#[cfg(all(target_os = "linux", target_has_atomic = "64", not(commonhold_loom)))]
mod sync;

#[cfg(any(
    all(target_os = "linux", target_has_atomic = "64"),
    feature = "raw-sync"
))]
pub use error::{Error, Place, RemoteBacktrace, Result};

#[cfg(all(
    any(
        all(target_os = "linux", target_has_atomic = "64"),
        feature = "raw-sync"
    ),
    not(commonhold_loom)
))]
pub use plain::{InPlace, Plain};

#[cfg(all(target_os = "linux", target_has_atomic = "64", not(commonhold_loom)))]
pub use {
    data::{Array, AtomicCell, Atomics, Changes, Value, Watch},
    layout::fingerprint::Kind,
    layout::header::LAYOUT_VERSION,
    queue::{
        Block, BlockHandle, BlockPool, BlockSendError, Broadcast, Consumer, ConsumerIter, Iter,
        Lease, MessageRoom, Messages, MessagesIter, Pipe, PipeEnd, PipeIter, PipeRoom, Producer,
        Publisher, Queue, ReadChunk, Received, Ring, Subscriber, WriteChunk,
    },
    segment::{Member, Object, Segment, SegmentOptions},
    select::{Receives, Select, Sends},
    sync::{
        Barrier, BarrierWaitResult, Condvar, Event, Mutex, MutexGuard, Once, OnceState, Permit,
        ReentrantMutex, ReentrantMutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, Semaphore,
        WaitTimeoutResult,
    },
};

#[cfg(all(
    feature = "serde",
    target_os = "linux",
    target_has_atomic = "64",
    not(commonhold_loom)
))]
pub use queue::{Channel, ChannelIter};

// What runs the unit tests stands outside of the module.
#[cfg(all(feature = "raw-sync", not(commonhold_loom)))]
#[cfg_attr(
    not(test),
    deprecated(
        note = "not robust: a process that dies with one of these locks leaves it locked for ever. On Linux use those at the \
                crate's root; who must do with these says #[allow(deprecated)]"
    )
)]
pub mod not_robust;

/// The crate whose traits say which types may live in a segment. For `#[derive]`, name it in your own Cargo.toml:
/// `bytemuck = { version = "1", features = ["derive"] }`.
#[cfg(any(
    all(target_os = "linux", target_has_atomic = "64"),
    feature = "raw-sync"
))]
pub use bytemuck;

/// Under loom there is no layout.
#[cfg(commonhold_loom)]
pub const LAYOUT_VERSION: u32 = 0;

/// Where there are no segments, an error about a version is about the format of these.
#[cfg(all(
    feature = "raw-sync",
    not(all(target_os = "linux", target_has_atomic = "64"))
))]
const LAYOUT_VERSION: u32 = 1;
