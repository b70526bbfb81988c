//! A ring of words of 8 bytes, and bytes in it, copied by atomic words.
//!
//! A peer that breaks the protocol may write while we read, or read while we write: relaxed atomic accesses make that wrong bytes
//! and not a data race.

use crate::sys::copy;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

pub(super) const WORD: usize = 8;

/// The words of a ring. Position *p* is word *p* modulo their number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words {
    start: NonNull<u64>,
    len: u64,
    /// 2^64 divided by `len`: to find a position's place without a division, which takes longer than all the rest of sending a
    /// short message.
    inverse: u64,
}

// SAFETY: shared memory, reached only by atomic accesses, but for the bytes that a caller lends in place.
unsafe impl Send for Words {}
// SAFETY: as above.
unsafe impl Sync for Words {}

/// A word of a ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct At<'a> {
    words: &'a Words,
    word: *mut u64,
    /// Bytes between it and the ring's end.
    behind: usize,
}

impl Words {
    /// # Safety
    /// `start` is aligned, and valid for `len` words of shared memory whenever the value is used.
    pub(super) unsafe fn new(start: NonNull<u64>, len: u64) -> Words {
        // Else the quotient is no u64.
        assert!(len >= 2);
        Words {
            start,
            len,
            inverse: ((1u128 << 64) / u128::from(len)) as u64,
        }
    }

    #[inline]
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The word of that position, and what follows it.
    #[inline]
    pub(super) fn at(&self, position: u64) -> At<'_> {
        // The quotient, or one less: `inverse` is too small by less than 1, and the position less than 2^64.
        let quotient = ((u128::from(position) * u128::from(self.inverse)) >> 64) as u64;
        let mut index = position - quotient * self.len;
        if index >= self.len {
            index -= self.len;
        }
        // SAFETY: the ring has `len` words, and the index is less.
        let word = unsafe { self.start.as_ptr().add(index as usize) };
        At {
            words: self,
            word,
            behind: (self.len - index - 1) as usize * WORD,
        }
    }

    #[inline]
    fn bytes(&self) -> usize {
        self.len as usize * WORD
    }

    /// Writes behind a word of the ring, of which so many bytes are before its end, and from its beginning on.
    #[cold]
    fn store_across(&self, word: *mut u64, behind: usize, bytes: &[u8]) {
        let (first, rest) = bytes.split_at(behind);
        assert!(rest.len() <= self.bytes());
        // SAFETY: from behind the word to the ring's end there is room for the first part, in whole words, and from the ring's beginning
        // for the rest, which was checked.
        unsafe {
            copy::store_bytes(word.add(1).cast(), first);
            copy::store_bytes(self.start.as_ptr().cast(), rest);
        }
    }

    /// As [`store_across`](Self::store_across), reading.
    #[cold]
    fn load_across(&self, word: *mut u64, behind: usize, bytes: &mut [MaybeUninit<u8>]) {
        let (first, rest) = bytes.split_at_mut(behind);
        assert!(rest.len() <= self.bytes());
        // SAFETY: as in `store_across`.
        unsafe {
            copy::load_bytes(word.add(1).cast(), first);
            copy::load_bytes(self.start.as_ptr().cast(), rest);
        }
    }
}

impl<'a> At<'a> {
    #[inline]
    pub(super) fn word(self) -> &'a AtomicU64 {
        // SAFETY: one of the ring's words, aligned, and valid as `new` was promised.
        unsafe { AtomicU64::from_ptr(self.word) }
    }

    /// Where the `len` bytes behind the word are, if they lie in one piece.
    #[inline]
    pub(super) fn in_one_piece(self, len: usize) -> Option<*mut u8> {
        match self.behind {
            behind if len <= behind => Some(self.word.wrapping_add(1).cast()),
            // It is the last word: they begin where the ring does.
            0 if len <= self.words.bytes() => Some(self.words.start.as_ptr().cast()),
            _ => None,
        }
    }

    /// Writes behind the word: no more than the ring has.
    #[inline(always)]
    pub(super) fn store_behind(self, bytes: &[u8]) {
        match self.in_one_piece(bytes.len()) {
            // SAFETY: there is room for them, in whole words.
            Some(at) => unsafe { copy::store_bytes(at, bytes) },
            None => self.words.store_across(self.word, self.behind, bytes),
        }
    }

    /// Reads from behind the word: no more than the ring has.
    #[inline(always)]
    pub(super) fn load_behind(self, bytes: &mut [MaybeUninit<u8>]) {
        match self.in_one_piece(bytes.len()) {
            // SAFETY: as in `store_behind`.
            Some(at) => unsafe { copy::load_bytes(at, bytes) },
            None => self.words.load_across(self.word, self.behind, bytes),
        }
    }
}

#[cfg(all(test, not(commonhold_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_the_remainder_of_the_position() {
        for len in [2, 3, 4, 8, 126, 512, 1251] {
            let mut room = vec![0u64; len as usize];
            let start = NonNull::new(room.as_mut_ptr()).unwrap();
            // SAFETY: the room is as long.
            let words = unsafe { Words::new(start, len) };
            let check = |position: u64| {
                let at = words.at(position);
                let index = (at.word as usize - start.as_ptr() as usize) / WORD;
                assert_eq!(index as u64, position % len, "{position} of {len}");
                assert_eq!(at.behind, (len as usize - index - 1) * WORD);
            };
            (0..3 * len).for_each(check);
            // Where the quotient changes, and at the end of all numbers.
            for shift in 11..64 {
                let multiple = (1u64 << shift) / len * len;
                (multiple - 1..multiple + 2).for_each(check);
            }
            (u64::MAX - 3 * len..=u64::MAX).for_each(check);
        }
    }

    #[test]
    fn bytes_survive_the_trip_wherever_they_begin_and_stay_in_the_ring() {
        for len in [2u64, 3, 8, 9] {
            let mut room = vec![u64::MAX; len as usize + 2];
            let at = NonNull::new(room.as_mut_ptr()).unwrap();
            // SAFETY: the room is longer by a word on each side.
            let words = unsafe { Words::new(at.add(1), len) };
            for position in 0..2 * len {
                for n in 0..=len as usize * WORD {
                    let bytes: Vec<u8> = (0..n as u8).map(|b| b ^ 0x5a).collect();
                    words.at(position).store_behind(&bytes);
                    let mut got = vec![MaybeUninit::new(7); n];
                    words.at(position).load_behind(&mut got);
                    // SAFETY: all were filled, at first.
                    let is_kept =
                        |(g, b): (&MaybeUninit<u8>, &u8)| unsafe { g.assume_init() == *b };
                    assert!(got.iter().zip(&bytes).all(is_kept));
                }
            }
            assert_eq!((room[0], room[len as usize + 1]), (u64::MAX, u64::MAX));
        }
    }
}
