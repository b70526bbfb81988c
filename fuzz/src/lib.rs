//! What the fuzz targets share.

mod end;
mod item;
mod panics;

pub use end::{AT_ONCE, SOON, apart, check, told};
pub use item::{Item, LentItem, Type, Wide};
pub use panics::{catch, panic_on_purpose};

use commonhold::{Result, Segment};
use std::os::fd::AsFd;

/// Attaches once more what stands behind a descriptor: a member of its own.
pub fn attach(file: impl AsFd) -> Result<Segment> {
    Segment::from_fd(file.as_fd().try_clone_to_owned().expect("a descriptor"))
}
