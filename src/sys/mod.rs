//! Everything that touches the operating system, and the atomics facade.
//!
//! Nothing above this module names `libc`. Under `--cfg commonhold_loom` only the atomics and the futex exist, both
//! modelled (see `model.rs`).

pub(crate) mod atomic;
pub(crate) mod deadline;
pub(crate) mod spin;

#[cfg(not(commonhold_loom))]
pub(crate) mod copy;
#[cfg(not(commonhold_loom))]
pub(crate) mod fork;
#[cfg(not(commonhold_loom))]
pub(crate) mod futex;
#[cfg(not(commonhold_loom))]
pub(crate) mod liveness;
#[cfg(not(commonhold_loom))]
pub(crate) mod map;
#[cfg(not(commonhold_loom))]
pub(crate) mod shm;
#[cfg(not(commonhold_loom))]
pub(crate) mod truncation;

#[cfg(commonhold_loom)]
pub(crate) mod model;
#[cfg(commonhold_loom)]
pub(crate) use model::futex;
