//! Types of which not all bytes are a value, and a look at their bytes that no compiler can skip.

use bytemuck::{CheckedBitPattern, NoUninit};
use commonhold::Plain;

#[derive(Clone, Copy, Debug, PartialEq, NoUninit, CheckedBitPattern)]
#[repr(u8)]
pub(crate) enum Grade {
    Low = 1,
    Middle = 7,
    High = 200,
}

/// Eight bytes, most of which are wrong if they are random.
#[derive(Clone, Copy, Debug, PartialEq, NoUninit, CheckedBitPattern)]
#[repr(C)]
pub(crate) struct Mixed {
    pub(crate) letter: char,
    pub(crate) grade: Grade,
    pub(crate) flag: bool,
    pub(crate) number: u16,
}

pub(crate) const MIXED: Mixed = Mixed {
    letter: 'x',
    grade: Grade::High,
    flag: true,
    number: 77,
};

/// Longer than a reader takes between two writes.
pub(crate) type Long = [u64; 512];

pub(crate) trait Judged: Plain + PartialEq {
    /// Judges the bytes one by one, as if they came from outside.
    fn bytes_are_valid(bytes: &[u8]) -> bool;
}

/// Fails if what came out of the region is no value of its type.
pub(crate) fn check<T: Judged>(value: &T) {
    // What is an invalid value for the compiler must not reach an `if` as a value: by volatile reads it does as bytes.
    let at = std::ptr::from_ref(value).cast::<u8>();
    // SAFETY: `T: NoUninit`, all its bytes may be read.
    let bytes: Vec<u8> = (0..size_of::<T>())
        .map(|i| unsafe { at.add(i).read_volatile() })
        .collect();
    assert!(
        T::bytes_are_valid(&bytes),
        "not a {}: {bytes:x?}",
        std::any::type_name::<T>()
    );
}

fn is_char(bytes: &[u8]) -> bool {
    let n = u32::from_ne_bytes(bytes.try_into().unwrap());
    char::from_u32(n).is_some()
}

fn is_grade(byte: u8) -> bool {
    matches!(byte, 1 | 7 | 200)
}

impl Judged for bool {
    fn bytes_are_valid(bytes: &[u8]) -> bool {
        bytes[0] <= 1
    }
}

impl Judged for char {
    fn bytes_are_valid(bytes: &[u8]) -> bool {
        is_char(bytes)
    }
}

impl Judged for Grade {
    fn bytes_are_valid(bytes: &[u8]) -> bool {
        is_grade(bytes[0])
    }
}

impl Judged for Mixed {
    fn bytes_are_valid(bytes: &[u8]) -> bool {
        is_char(&bytes[..4]) && is_grade(bytes[4]) && bytes[5] <= 1
    }
}

impl Judged for u64 {
    fn bytes_are_valid(_: &[u8]) -> bool {
        true
    }
}

impl Judged for Long {
    fn bytes_are_valid(_: &[u8]) -> bool {
        true
    }
}
