//! Everything that touches the operating system, and the atomics facade.
//!
//! Nothing above this module names `libc`. Under `--cfg commonhold_loom` only the atomics, the fences and the futex exist, all
//! modelled (see `model.rs`).

pub(crate) mod asymmetric;
pub(crate) mod atomic;
pub(crate) mod deadline;
pub(crate) mod spin;

#[cfg(not(commonhold_loom))]
pub(crate) mod copy;
#[cfg(all(feature = "process", not(commonhold_loom)))]
pub(crate) mod descriptor;
#[cfg(not(commonhold_loom))]
pub(crate) mod distance;
#[cfg(not(commonhold_loom))]
pub(crate) mod exiting;
#[cfg(not(commonhold_loom))]
pub(crate) mod fork;
#[cfg(not(commonhold_loom))]
pub(crate) mod futex;
#[cfg(all(feature = "process", not(commonhold_loom)))]
pub(crate) mod image;
#[cfg(not(commonhold_loom))]
pub(crate) mod liveness;
#[cfg(not(commonhold_loom))]
pub(crate) mod map;
#[cfg(all(feature = "process", not(commonhold_loom)))]
pub(crate) mod memfd;
#[cfg(all(feature = "process", not(commonhold_loom)))]
pub(crate) mod own;
#[cfg(all(feature = "process", not(commonhold_loom)))]
pub(crate) mod pidfd;
#[cfg(not(commonhold_loom))]
pub(crate) mod random;
#[cfg(not(commonhold_loom))]
pub(crate) mod shm;
#[cfg(all(feature = "process", not(commonhold_loom)))]
pub(crate) mod spawn;
#[cfg(all(any(feature = "async", feature = "process"), not(commonhold_loom)))]
pub(crate) mod thread;
#[cfg(not(commonhold_loom))]
pub(crate) mod truncation;

#[cfg(commonhold_loom)]
pub(crate) mod model;
#[cfg(commonhold_loom)]
pub(crate) use model::futex;
