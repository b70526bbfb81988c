//! State machines over atomic words: no values, no mapping, no system call of their own.
//!
//! Each takes a [`Membership`], so that loom and the tests can bring their own oracle of life and death. Each word's
//! truth table stands beside it, and each machine's loom models in `loom/`.

mod answers;
mod apart;
pub(crate) mod barrier;
pub(crate) mod blocks;
#[cfg(any(feature = "process", commonhold_loom))]
pub(crate) mod board;
pub(crate) mod broadcast;
pub(crate) mod condvar;
pub(crate) mod event;
pub(crate) mod leases;
pub(crate) mod looking_twice;
pub(crate) mod member;
pub(crate) mod mutex;
pub(crate) mod once;
pub(crate) mod pipe;
pub(crate) mod queue;
pub(crate) mod reentrant;
pub(crate) mod ring;
pub(crate) mod rwlock;
pub(crate) mod select;
pub(crate) mod semaphore;
pub(crate) mod signal;
pub(crate) mod tally;
pub(crate) mod versioned;
pub(crate) mod wait;

pub(crate) use member::{Call, MemberId, Membership, Nap};

#[cfg(all(test, commonhold_loom))]
mod loom;
#[cfg(all(test, not(commonhold_loom)))]
mod oracles;
