//! Bytes that nobody else has.

use std::hash::{BuildHasher, RandomState};

/// For a name that no other thing has. Not a secret.
pub(crate) fn unique() -> [u8; 16] {
    let mut bytes = [0; 16];
    // SAFETY: the kernel writes at most so many bytes, there. Without waiting: early at boot it has none, and says so.
    let n = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), libc::GRND_NONBLOCK) };
    if n == bytes.len() as isize {
        return bytes;
    }
    // Or in a sandbox. A forked child has its parent's keys: the pid and the time tell the two apart.
    let seen = (std::process::id(), super::deadline::now());
    let half = || RandomState::new().hash_one(seen).to_ne_bytes();
    bytes[..8].copy_from_slice(&half());
    bytes[8..].copy_from_slice(&half());
    bytes
}
