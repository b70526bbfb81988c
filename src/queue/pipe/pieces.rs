//! Pieces of messages in a lane: a header word, and bytes.

use crate::queue::words::Words;
use std::sync::atomic::Ordering::Relaxed;

/// A piece of a message: all of it, mostly.
///
/// Its header:
///
/// | bits | |
/// |---|---|
/// | 0..48 | bytes in this piece; they follow, filled up with zeros to whole words |
/// | 48 | LAST: the message ends with it |
/// | 49 | FIRST: the message begins with it |
/// | 50..64 | 0x2b5d, in 14 bits: a header, and not something else |
///
/// FIRST with an incomplete message before it: its sender gave up, and it counts for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) len: usize,
    pub(super) first: bool,
    pub(super) last: bool,
}

const LAST: u64 = 1 << 48;
const FIRST: u64 = 1 << 49;
const MARK: u64 = 0x2b5d << 50;

impl Piece {
    pub(super) fn whole(len: usize) -> Piece {
        Piece {
            len,
            first: true,
            last: true,
        }
    }

    /// How many words it takes in a lane, with its header.
    pub(super) fn words(self) -> u64 {
        1 + (self.len as u64).div_ceil(8)
    }

    fn header(self) -> u64 {
        let flag = |set: bool, bit: u64| if set { bit } else { 0 };
        // No region has 2^48 bytes.
        MARK | self.len as u64 | flag(self.first, FIRST) | flag(self.last, LAST)
    }

    /// The piece that begins with this header, if it is one, and its words are among the `filled` ones that have arrived.
    fn of(header: u64, filled: u64) -> Option<Piece> {
        let len = header & (LAST - 1);
        if header & !(FIRST | LAST | (LAST - 1)) != MARK || 1 + len.div_ceil(8) > filled {
            return None;
        }
        Some(Piece {
            // No more than what is mapped.
            len: len as usize,
            first: header & FIRST != 0,
            last: header & LAST != 0,
        })
    }
}

/// In the words of a lane.
impl Words {
    /// The piece that begins at `position`, where `filled` words have arrived; `None`: somebody scribbled.
    #[inline]
    pub(super) fn piece(&self, position: u64, filled: u64) -> Option<Piece> {
        Piece::of(self.at(position).word().load(Relaxed), filled)
    }

    /// Writes a piece and its bytes, from `position` on: no more words than there are.
    #[inline]
    pub(super) fn write_piece(&self, position: u64, piece: Piece, bytes: &[u8]) {
        assert!(piece.words() <= self.len() && bytes.len() == piece.len);
        let at = self.at(position);
        at.word().store(piece.header(), Relaxed);
        at.store_behind(bytes);
    }

    /// Appends the bytes of the piece at `position`, as [`piece`](Self::piece) found it, to a vector that has room for them.
    #[inline]
    pub(super) fn read_piece(&self, position: u64, piece: Piece, to: &mut Vec<u8>) {
        assert!(piece.words() <= self.len());
        let room = &mut to.spare_capacity_mut()[..piece.len];
        self.at(position).load_behind(room);
        // SAFETY: the capacity is as much, and all of it was filled.
        unsafe { to.set_len(to.len() + piece.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ptr::NonNull;

    #[test]
    fn a_header_says_what_the_piece_is_and_anything_else_is_none() {
        for len in [0, 1, 7, 8, 9, 4096] {
            for (first, last) in [(true, true), (true, false), (false, false), (false, true)] {
                let piece = Piece { len, first, last };
                let words = piece.words();
                assert_eq!(Piece::of(piece.header(), words), Some(piece));
                assert_eq!(Piece::of(piece.header(), words - 1), None);
                for bit in 50..64 {
                    assert_eq!(Piece::of(piece.header() ^ 1 << bit, u64::MAX), None);
                }
            }
        }
        assert_eq!(Piece::of(0, u64::MAX), None);
        assert_eq!(Piece::of(u64::MAX, u64::MAX), None);
    }

    #[test]
    fn a_piece_survives_the_trip_wherever_it_begins_and_stays_in_its_lane() {
        for len in [2u64, 3, 8, 9] {
            let mut room = vec![u64::MAX; len as usize + 2];
            let at = NonNull::new(room.as_mut_ptr()).unwrap();
            // SAFETY: the room is longer by a word on each side.
            let lane = unsafe { Words::new(at.add(1), len) };
            for position in 0..2 * len {
                for n in 0..=(len as usize - 1) * 8 {
                    let bytes: Vec<u8> = (0..n as u8).map(|b| b ^ 0x5a).collect();
                    let piece = Piece::whole(n);
                    lane.write_piece(position, piece, &bytes);
                    assert_eq!(lane.piece(position, len), Some(piece));
                    let mut got = vec![7];
                    got.reserve(n);
                    lane.read_piece(position, piece, &mut got);
                    assert_eq!(got[1..], bytes);
                }
            }
            assert_eq!((room[0], room[len as usize + 1]), (u64::MAX, u64::MAX));
        }
    }
}
