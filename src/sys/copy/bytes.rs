//! Runs of bytes into the region and out of it, in the widest moves that the processor has.
//!
//! No library's copy: Rust calls it a data race if a peer that breaks the protocol writes meanwhile. On x86-64 the moves are
//! inline assembly, which the compiler takes to be what it could be: relaxed atomic accesses to each byte. (The processor moves at
//! least each aligned word at once.) Elsewhere, and for what is short, they are relaxed atomic accesses to words.
//!
//! The processor's own copy of a string (`rep movsb`) is slower than these for less than half a MiB, and on some (Zen 3) many times
//! slower if the destination is not aligned as it likes.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::mem::MaybeUninit;

const WORD: usize = 8;

/// Writes `bytes` into the words from `to` on. The last word is filled up with zeros.
///
/// # Safety
/// `to` is aligned to 8 and valid for `bytes.len()`, rounded up to 8, bytes of shared memory.
// Always: a call takes longer than a few words.
#[inline(always)]
pub(crate) unsafe fn store_bytes(to: *mut u8, bytes: &[u8]) {
    let (from, len) = (bytes.as_ptr(), bytes.len());
    let whole = len / WORD * WORD;
    // SAFETY: what is read is within `bytes`; what is written as the caller promises, and aligned, since all steps are of whole words.
    unsafe {
        copy_words(to, from, whole, |to, from| {
            let word = from.cast::<u64>().read_unaligned();
            AtomicU64::from_ptr(to.cast()).store(word, Relaxed);
        });
        if whole < len {
            let last = last_word(from, len);
            AtomicU64::from_ptr(to.add(whole).cast()).store(last, Relaxed);
        }
    }
}

/// Reads bytes into all of `bytes` from the words from `from` on.
///
/// # Safety
/// `from` is aligned to 8 and valid for `bytes.len()`, rounded up to 8, bytes of shared memory.
// Always: a call takes longer than a few words.
#[inline(always)]
pub(crate) unsafe fn load_bytes(from: *mut u8, bytes: &mut [MaybeUninit<u8>]) {
    let (to, len) = (bytes.as_mut_ptr().cast::<u8>(), bytes.len());
    let whole = len / WORD * WORD;
    // SAFETY: what is written is within `bytes`; what is read as the caller promises, and aligned, since all steps are of whole words.
    unsafe {
        copy_words(to, from, whole, |to, from| {
            let word = AtomicU64::from_ptr(from.cast_mut().cast()).load(Relaxed);
            to.cast::<u64>().write_unaligned(word);
        });
        if whole < len {
            let last = AtomicU64::from_ptr(from.add(whole).cast()).load(Relaxed);
            put_last_word(to, len, last);
        }
    }
}

/// The bytes behind the last whole word, if there are some, of the `len` at `from`; and zeros.
///
/// # Safety
/// `from` is valid for `len` bytes.
// Apart: inline it would take the registers of all who have none.
#[inline(never)]
unsafe fn last_word(from: *const u8, len: usize) -> u64 {
    let rest = len % WORD;
    // SAFETY: all within the bytes.
    unsafe {
        if len > WORD {
            // No library is called for a few bytes: those before them are shifted out.
            let word = from.add(len - WORD).cast::<u64>().read_unaligned();
            return (u64::from_le(word) >> (64 - rest * 8)).to_le();
        }
        let mut last = [0u8; WORD];
        copy_rest(last.as_mut_ptr(), from, rest);
        u64::from_ne_bytes(last)
    }
}

/// Writes so much of `last` behind the last whole word that the bytes at `to` are `len`. Those before them are there.
///
/// # Safety
/// `to` is valid for `len` bytes, which are no whole words.
// Apart: inline it would take the registers of all who have none.
#[inline(never)]
unsafe fn put_last_word(to: *mut u8, len: usize, last: u64) {
    let rest = len % WORD;
    // SAFETY: all within the bytes.
    unsafe {
        if len > WORD {
            // As in `last_word`: with those that were there before them.
            let end = to.add(len - rest);
            let before = u64::from_le(end.sub(WORD).cast::<u64>().read_unaligned());
            let word = before >> (rest * 8) | u64::from_le(last) << (64 - rest * 8);
            let at = to.add(len - WORD).cast::<u64>();
            return at.write_unaligned(word.to_le());
        }
        copy_rest(to, last.to_ne_bytes().as_ptr(), rest);
    }
}

/// Copies fewer bytes than a word, in private memory.
///
/// # Safety
/// Both are valid for so many bytes, and do not overlap.
#[inline]
unsafe fn copy_rest(to: *mut u8, from: *const u8, rest: usize) {
    let mut at = 0;
    for run in [4, 2, 1] {
        if rest & run != 0 {
            // SAFETY: the runs that are copied are together as long as the rest.
            unsafe { std::ptr::copy_nonoverlapping(from.add(at), to.add(at), run) };
            at += run;
        }
    }
}

/// Copies `len` bytes, which are whole words, by `word`, or in wider moves.
///
/// # Safety
/// `to` and `from` are valid for so many bytes and do not overlap. One is shared memory, and aligned to 8; the other is private. `word`
/// copies one word between them, as relaxed as the shared one needs it.
#[inline(always)]
unsafe fn copy_words(to: *mut u8, from: *const u8, len: usize, word: impl Fn(*mut u8, *const u8)) {
    #[cfg(target_arch = "x86_64")]
    if len >= wide::LEAST {
        // SAFETY: as the caller promises.
        if unsafe { wide::copy(to, from, len) } {
            return;
        }
    }
    for at in (0..len).step_by(WORD) {
        word(to.wrapping_add(at), from.wrapping_add(at));
    }
}

/// Moves of 16 and 32 bytes.
///
/// A run's last moves reach back from its end over what was copied already, so that no rest needs steps of its own.
#[cfg(target_arch = "x86_64")]
mod wide {
    use std::arch::asm;

    /// The fewest bytes that are worth it.
    pub(super) const LEAST: usize = 32;
    /// Up to here no loop is needed.
    const SHORT: usize = 128;

    /// Copies `len` bytes, at least [`LEAST`]; `false` if this processor has no moves for so many.
    ///
    /// # Safety
    /// Both are valid for so many bytes, and do not overlap.
    #[inline(always)]
    pub(super) unsafe fn copy(to: *mut u8, from: *const u8, len: usize) -> bool {
        // SAFETY: as the caller promises; what the processor has is asked.
        unsafe {
            if len <= 2 * LEAST {
                both_ends(to, from, len);
            } else if len <= SHORT {
                both_ends(to, from, 2 * LEAST);
                both_ends(
                    to.add(len - 2 * LEAST),
                    from.add(len - 2 * LEAST),
                    2 * LEAST,
                );
            } else if std::is_x86_feature_detected!("avx2") {
                long(to, from, len);
            } else {
                return false;
            }
        }
        true
    }

    /// The first 32 bytes and the last 32, of at least as many and at most 64: all of them. These moves each x86-64 has.
    ///
    /// # Safety
    /// As for [`copy`].
    #[inline]
    unsafe fn both_ends(to: *mut u8, from: *const u8, len: usize) {
        // SAFETY: all within the two, and nothing else is touched.
        unsafe {
            asm!(
                "movups {a}, [{from}]",
                "movups {b}, [{from} + 16]",
                "movups {c}, [{from} + {len} - 32]",
                "movups {d}, [{from} + {len} - 16]",
                "movups [{to}], {a}",
                "movups [{to} + 16], {b}",
                "movups [{to} + {len} - 32], {c}",
                "movups [{to} + {len} - 16], {d}",
                from = in(reg) from,
                to = in(reg) to,
                len = in(reg) len,
                a = out(xmm_reg) _,
                b = out(xmm_reg) _,
                c = out(xmm_reg) _,
                d = out(xmm_reg) _,
                options(nostack, preserves_flags),
            );
        }
    }

    /// More than [`SHORT`] bytes: after the first 32, moves to where it is aligned to 32, and the last 128.
    ///
    /// # Safety
    /// As for [`copy`], and the processor has AVX2.
    #[target_feature(enable = "avx2")]
    unsafe fn long(to: *mut u8, from: *const u8, len: usize) {
        // SAFETY: all within the two: what the loop moves from `rdi` on ends before `last + 128`, which is the end.
        unsafe {
            asm!(
                "vmovdqu ymm0, [rdi + {from}]",
                "vmovdqu [rdi], ymm0",
                "add rdi, 32",
                "and rdi, -32",
                "cmp rdi, {last}",
                "jae 3f",
                "2:",
                "vmovdqu ymm0, [rdi + {from}]",
                "vmovdqu ymm1, [rdi + {from} + 32]",
                "vmovdqu ymm2, [rdi + {from} + 64]",
                "vmovdqu ymm3, [rdi + {from} + 96]",
                "vmovdqa [rdi], ymm0",
                "vmovdqa [rdi + 32], ymm1",
                "vmovdqa [rdi + 64], ymm2",
                "vmovdqa [rdi + 96], ymm3",
                "sub rdi, -128",
                "cmp rdi, {last}",
                "jb 2b",
                "3:",
                "vmovdqu ymm0, [{last} + {from}]",
                "vmovdqu ymm1, [{last} + {from} + 32]",
                "vmovdqu ymm2, [{last} + {from} + 64]",
                "vmovdqu ymm3, [{last} + {from} + 96]",
                "vmovdqu [{last}], ymm0",
                "vmovdqu [{last} + 32], ymm1",
                "vmovdqu [{last} + 64], ymm2",
                "vmovdqu [{last} + 96], ymm3",
                // Else the moves of 16 bytes that others make would be slow.
                "vzeroupper",
                inout("rdi") to => _,
                // From where a byte goes to where it comes from.
                from = in(reg) (from as usize).wrapping_sub(to as usize),
                last = in(reg) to.add(len - SHORT),
                // All vectors: of each the upper half is gone.
                clobber_abi("sysv64"),
                options(nostack),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each length up to where all kinds of moves have had their turn, from wherever: between it and the bytes around it nothing spills.
    #[test]
    fn bytes_of_every_length_survive_the_trip_and_stay_in_their_words() {
        #[repr(C, align(64))]
        struct Room([u8; 1024]);
        const MARGIN: usize = 64;
        let bytes: Vec<u8> = (0..1024u32).map(|i| (i * 7 + i / 256 + 1) as u8).collect();
        for len in 0..700 {
            // The words begin anywhere, the bytes do, too.
            let (word, odd) = (len % 5 * WORD, 1 + len % 31);
            let mut room = Room([0xA5; 1024]);
            let sent = &bytes[odd..][..len];
            let mut back = vec![MaybeUninit::new(0x5A); odd + len + MARGIN];
            // SAFETY: the room is aligned to 64 and larger than any of these lengths and what is before it.
            unsafe {
                let at = room.0.as_mut_ptr().add(MARGIN + word);
                store_bytes(at, sent);
                load_bytes(at, &mut back[odd..][..len]);
            }
            // SAFETY: all were filled, at first.
            let back: Vec<u8> = back
                .into_iter()
                .map(|b| unsafe { b.assume_init() })
                .collect();
            assert_eq!(back[odd..][..len], *sent, "{len}");
            let is = |bytes: &[u8], all: u8| bytes.iter().all(|&b| b == all);
            assert!(is(&back[..odd], 0x5A) && is(&back[odd + len..], 0x5A));
            let (before, room) = room.0.split_at(MARGIN + word);
            assert_eq!(room[..len], *sent, "{len}");
            let end = len.next_multiple_of(WORD);
            assert!(is(&room[len..end], 0), "not filled up: {len}");
            assert!(is(before, 0xA5) && is(&room[end..], 0xA5), "spilt: {len}");
        }
    }
}
