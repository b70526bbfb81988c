//! Queues.

mod bounded;

pub use bounded::{Iter, Queue};
