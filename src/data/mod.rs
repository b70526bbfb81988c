//! Values and arrays.

mod array;
mod atomics;
mod value;

pub use array::Array;
pub use atomics::{AtomicCell, Atomics};
pub use value::Value;

#[cfg(test)]
pub(crate) use array::ArrayControl;
