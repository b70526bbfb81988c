//! What is scribbled on a segment: chosen fields with chosen numbers, and any bytes anywhere.

use crate::outside::Outside;
use arbitrary::Arbitrary;

#[derive(Arbitrary, Debug)]
pub enum Patch<'a> {
    /// Any bytes anywhere (modulo the file's length).
    Bytes { at: u16, bytes: &'a [u8] },
    /// A field of the 128 bytes that are checked at attach, with the checksum made good again or not.
    Geometry {
        field: u8,
        number: Number,
        mend_checksum: bool,
    },
    /// One of the words that members share.
    Shared { word: u8, number: Number },
    /// A member's claim.
    Slot { slot: u8, claim: Number },
    /// A field of an object's entry.
    Entry {
        index: u8,
        field: u8,
        number: Number,
    },
    /// One byte of an entry: its names, too.
    EntryByte { index: u8, at: u8, byte: u8 },
    /// The name of an object, or of its type: bytes, and how many they say they are.
    Text {
        index: u8,
        of_the_type: bool,
        bytes: &'a [u8],
        length: Option<u16>,
    },
    /// A number of items, with the size that goes with it: only the place can tell that it is wrong.
    Items { index: u8, len: Number },
    /// One entry over another: two names for one place, or two entries of one name.
    CopyEntry {
        from: u8,
        to: u8,
        but_for_the_name: bool,
    },
    /// A word among an object's first 512 bytes: its locks, positions, counts.
    Object { index: u8, at: u8, number: Number },
}

/// A number that is worth trying.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Number {
    Zero,
    Max,
    Small(u8),
    Bit(u8),
    BelowBit(u8),
    Any(u64),
    /// A lock word or claim with this generation and slot, and these flags above.
    Member {
        generation: u8,
        slot: u8,
        flags: u8,
    },
}

impl Number {
    pub fn get(self) -> u64 {
        match self {
            Number::Zero => 0,
            Number::Max => u64::MAX,
            Number::Small(n) => n.into(),
            Number::Bit(n) => 1 << (n % 64),
            Number::BelowBit(n) => (1 << (n % 64)) - 1,
            Number::Any(n) => n,
            Number::Member {
                generation,
                slot,
                flags,
            } => {
                (u64::from(flags) << 30)
                    | ((u64::from(generation) % 8) << 10)
                    | (u64::from(slot) % MEMBERS)
            }
        }
    }
}

// The layout, as docs/layout.md gives it. If it changes, the fuzzer still runs, but reaches less.
pub const MEMBERS: u64 = 4;
pub const SHARED_AT: u64 = 128;
const SLOTS_AT: u64 = 4096;
const SLOT_BYTES: u64 = 64;
pub const ENTRIES_AT: u64 = SLOTS_AT + MEMBERS * SLOT_BYTES;
pub const ENTRY_BYTES: u64 = 256;
/// Offset and width of each field of the geometry.
const GEOMETRY: [(u64, usize); 17] = [
    (0, 8),
    (8, 4),
    (12, 4),
    (16, 4),
    (20, 4),
    (24, 4),
    (28, 4),
    (32, 4),
    (36, 4),
    (40, 8),
    (48, 8),
    (56, 8),
    (64, 8),
    (72, 8),
    (80, 8),
    (96, 8),
    (120, 8),
];
/// The words of the header that members change.
const SHARED: [(u64, usize); 15] = [
    (0, 4),
    (4, 4),
    (8, 8),
    (128, 4),
    (132, 4),
    (136, 4),
    (140, 4),
    // The roles.
    (144, 4),
    (148, 4),
    (152, 4),
    (156, 4),
    (160, 4),
    (164, 4),
    (168, 4),
    (172, 4),
];
/// The numbers of an entry.
const ENTRY: [(u64, usize); 11] = [
    (0, 4),
    (4, 4),
    (8, 4),
    (12, 4),
    (16, 8),
    (24, 8),
    (32, 8),
    (40, 8),
    (48, 2),
    (50, 2),
    (52, 4),
];
// Where an entry has what the larger patches change.
const KIND: u64 = 8;
pub const OFFSET: u64 = 16;
const SIZE: u64 = 24;
const LEN: u64 = 32;
const TYPE_SIZE: u64 = 40;
const NAME_LENGTH: u64 = 48;
const TYPE_NAME_LENGTH: u64 = 50;
const NAME: u64 = 56;
const TYPE_NAME: u64 = 152;

fn checksum(head: &[u8]) -> u64 {
    head.iter().fold(0xcbf2_9ce4_8422_2325, |h, &b| {
        (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    })
}

impl Patch<'_> {
    pub fn apply(&self, file: &Outside) {
        let len = file.len().max(1);
        let entry = |index: u8| ENTRIES_AT + u64::from(index % 16) * ENTRY_BYTES;
        match *self {
            Patch::Bytes { at, bytes } => file.write(u64::from(at) % len, bytes),
            Patch::Geometry {
                field,
                number,
                mend_checksum,
            } => {
                let (at, width) = GEOMETRY[usize::from(field) % GEOMETRY.len()];
                file.write_number(at, width, number);
                if mend_checksum {
                    file.write(120, &checksum(&file.read::<120>(0)).to_ne_bytes());
                }
            }
            Patch::Shared { word, number } => {
                let (at, width) = SHARED[usize::from(word) % SHARED.len()];
                file.write_number(SHARED_AT + at, width, number);
            }
            Patch::Slot { slot, claim } => {
                let at = SLOTS_AT + u64::from(slot) % MEMBERS * SLOT_BYTES;
                file.write_number(at, 8, claim);
            }
            Patch::Entry {
                index,
                field,
                number,
            } => {
                let (at, width) = ENTRY[usize::from(field) % ENTRY.len()];
                file.write_number(entry(index) + at, width, number);
            }
            Patch::EntryByte { index, at, byte } => {
                file.write(entry(index) + u64::from(at), &[byte])
            }
            Patch::Text {
                index,
                of_the_type,
                bytes,
                length,
            } => {
                let (at, length_at) = if of_the_type {
                    (TYPE_NAME, TYPE_NAME_LENGTH)
                } else {
                    (NAME, NAME_LENGTH)
                };
                let bytes = &bytes[..bytes.len().min(96)];
                file.write(entry(index) + at, bytes);
                let length = length.unwrap_or(bytes.len() as u16);
                file.write(entry(index) + length_at, &length.to_ne_bytes());
            }
            Patch::Items { index, len } => {
                let at = entry(index);
                let each = file.read_u64(at + TYPE_SIZE);
                // Before the items, and each of them, by the kind: see docs/layout.md.
                let (head, each) = match file.read_u32(at + KIND) {
                    2 => (64, each),
                    3 => (0, each),
                    6 => (384, each.checked_next_multiple_of(8).unwrap_or(0)),
                    _ => (0, 0),
                };
                let mut size = len.get().wrapping_mul(each).wrapping_add(head);
                if file.read_u32(at + KIND) == 6 {
                    let words = len.get().wrapping_mul(8);
                    size = size
                        .checked_next_multiple_of(64)
                        .unwrap_or(0)
                        .wrapping_add(words);
                }
                file.write(at + LEN, &len.get().to_ne_bytes());
                file.write(at + SIZE, &size.to_ne_bytes());
            }
            Patch::CopyEntry {
                from,
                to,
                but_for_the_name,
            } => {
                let copied = if but_for_the_name {
                    NAME_LENGTH
                } else {
                    ENTRY_BYTES
                };
                let bytes = file.read::<{ ENTRY_BYTES as usize }>(entry(from));
                file.write(entry(to), &bytes[..copied as usize]);
            }
            Patch::Object { index, at, number } => {
                let object = file.read_u64(entry(index) + OFFSET);
                file.write_number(
                    object.saturating_add(u64::from(at) % 128 * 4) % len,
                    4,
                    number,
                );
            }
        }
    }
}
