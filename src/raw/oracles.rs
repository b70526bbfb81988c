//! Memberships for unit tests, in which everybody lives.

use super::{MemberId, Membership, Nap};
use crate::sys::atomic::AtomicU32;
use crate::sys::deadline::Deadline;
use crate::sys::futex::{self, Wake};

/// Everybody lives.
pub(crate) struct Immortals;

impl Membership for Immortals {
    fn is_alive(&self, _: MemberId) -> bool {
        true
    }

    fn deaths(&self) -> u32 {
        0
    }

    fn park(&self, word: &AtomicU32, expected: u32, _: u32, _: Nap, until: Deadline) -> Wake {
        futex::wait(word, expected, until)
    }
}

/// Everybody lives, and nobody sleeps: whatever is waited for has changed already.
pub(crate) struct Awake;

impl Membership for Awake {
    fn is_alive(&self, _: MemberId) -> bool {
        true
    }

    fn deaths(&self) -> u32 {
        0
    }

    fn park(&self, _: &AtomicU32, _: u32, _: u32, _: Nap, _: Deadline) -> Wake {
        Wake::Again
    }
}
