//! What the bytes of a segment mean. No system calls, and nothing read is trusted.
//!
//! The same on every machine that a segment can be shared on: fixed-width integers, `repr(C)`, offsets instead of
//! addresses. `docs/layout.md` has the tables, and `tests/layout.rs` compares them with these types.

pub(crate) mod directory;
pub(crate) mod fingerprint;
pub(crate) mod header;
pub(crate) mod members;

#[cfg(test)]
mod tests;

/// The unit in which a segment is laid out, on every machine: pages may be larger, never smaller.
pub(crate) const BLOCK: u64 = 4096;
/// Each object begins on a line of its own; two, because processors fetch lines in pairs.
pub(crate) const OBJECT_ALIGN: u64 = 128;

/// A 64-bit hash (FNV-1a): finds damage and spreads names. No defence against forgery, which no hash in
/// memory that the forger can write would be.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, &b| {
        (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    })
}
