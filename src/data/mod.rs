//! Values and arrays.

mod array;
mod atomics;
mod value;
mod watch;

pub use array::Array;
pub use atomics::{AtomicCell, Atomics};
pub use value::Value;
pub use watch::{Changes, Watch};

#[cfg(test)]
pub(crate) use array::ArrayControl;
