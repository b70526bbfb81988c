//! Types of item for the targets that compare with a model: of each size, and of each alignment that is a case of its own.

use arbitrary::Arbitrary;
use commonhold::bytemuck::{Pod, Zeroable};
use commonhold::{InPlace, Plain};
use std::fmt::Debug;

/// What can be numbered: item `n` of the model's is item `n` of the crate's.
pub trait Item: Plain + PartialEq + Debug {
    fn number(n: u64) -> Self;
}

/// The types that an input may choose among, each one an [`Item`].
#[derive(Arbitrary, Debug)]
pub enum Type {
    U8,
    U64,
    Bytes,
    Bool,
}

/// An [`Item`] that guards lend.
pub trait LentItem: Item + InPlace {}

impl<T: Item + InPlace> LentItem for T {}

/// Spreads a small number over all the bytes of a word.
fn spread(n: u64) -> u64 {
    n.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

macro_rules! integers {
    ($($t:ty),*) => {$(
        impl Item for $t {
            fn number(n: u64) -> $t {
                // The upper bits: the lower ones of a product tell little.
                (spread(n) >> (64 - 8 * size_of::<$t>())) as $t
            }
        }
    )*};
}

integers!(u8, u16, u32, i32, u64);

impl<const N: usize> Item for [u8; N]
where
    [u8; N]: Pod,
{
    fn number(n: u64) -> [u8; N] {
        std::array::from_fn(|i| spread(n.wrapping_add(i as u64)) as u8)
    }
}

impl Item for bool {
    fn number(n: u64) -> bool {
        n.count_ones() % 2 == 1
    }
}

impl Item for () {
    fn number(_: u64) {}
}

/// Aligned to more than objects are by themselves.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(256))]
pub struct Wide([u8; 256]);

// SAFETY: bytes only, and zero is a value of each.
unsafe impl Zeroable for Wide {}
// SAFETY: `repr(C)`, bytes only, as many as the alignment: no padding.
unsafe impl Pod for Wide {}

impl Item for Wide {
    fn number(n: u64) -> Wide {
        Wide(std::array::from_fn(|i| {
            spread(n.wrapping_add(i as u64)) as u8
        }))
    }
}
