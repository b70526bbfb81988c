//! What the crate says to input that is wrong: damaged files, wrong names, types, permissions and sizes, and no room.
//! Each test looks at the variant of the error and at its message: what was found, and what to do.
//!
//! Tests that change their process (user, limits, mounts), and those in which a bug would be a hang, run in a process of
//! their own: this binary again, with one test to run and an alarm set.

#[macro_use]
mod support;

mod files;
mod header;
mod names;
mod objects;
mod permissions;
mod room;
mod sizes;
