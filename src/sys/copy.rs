//! Values into the region and out of it, by atomic words, or, long ones, as runs of bytes.
//!
//! A peer that breaks the protocol may write while we read. Relaxed atomic accesses make that a torn value and not a
//! data race, and the value is judged (by bytemuck) in private memory, where nobody can change it between the check
//! and the use.
//!
//! A value stands in a *cell*: aligned to 8 and a multiple of 8 long, or, for values of 1, 2 and up to 4 bytes, just
//! that long. Or it stands *packed*, one right behind the other as in a slice, and goes by the largest unit that divides its size.

mod bytes;

pub(crate) use bytes::{load_bytes, store_bytes};

use bytemuck::{CheckedBitPattern, NoUninit};
use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::mem::MaybeUninit;

/// A value of as many bytes is copied as a run of them. Of 64 bytes, words were measured to be as quick, or quicker (they need not be written
/// to memory first); where between the two it turns was not.
const LONG: usize = 256;

/// Bytes from one cell of `T` to the next. A multiple of `align_of::<T>()`.
pub(crate) const fn cell_size<T>() -> usize {
    let size = size_of::<T>();
    if size <= 4 {
        // 0 -> 1, 1 -> 1, 2 -> 2, 3 and 4 -> 4
        return if size == 0 {
            align_of::<T>()
        } else {
            size.next_power_of_two()
        };
    }
    let unit = if align_of::<T>() > 8 {
        align_of::<T>()
    } else {
        8
    };
    size.next_multiple_of(unit)
}

/// The alignment of a cell of `T`.
pub(crate) const fn cell_align<T>() -> usize {
    let unit = if size_of::<T>() > 4 {
        8
    } else {
        cell_size::<T>()
    };
    if align_of::<T>() > unit {
        align_of::<T>()
    } else {
        unit
    }
}

/// Writes `value` into the cell at `cell`.
///
/// # Safety
/// `cell` is aligned to `cell_align::<T>()` and valid for `cell_size::<T>()` bytes of shared memory.
#[inline]
pub(crate) unsafe fn store<T: NoUninit>(cell: *mut u8, value: &T) {
    let size = size_of::<T>();
    let from = std::ptr::from_ref(value).cast::<u8>();
    // SAFETY: `T: NoUninit`, so all its `size` bytes may be read; the cell is as the caller promises, and each access
    // below is aligned because the cell is, and within `cell_size`, which is `size` rounded up to the unit.
    unsafe {
        match size {
            LONG.. => store_bytes(cell, std::slice::from_raw_parts(from, size)),
            0 => {}
            1 => AtomicU8::from_ptr(cell).store(from.read(), Relaxed),
            2 => {
                AtomicU16::from_ptr(cell.cast()).store(from.cast::<u16>().read_unaligned(), Relaxed)
            }
            3 | 4 => {
                let mut word = [0u8; 4];
                std::ptr::copy_nonoverlapping(from, word.as_mut_ptr(), size);
                AtomicU32::from_ptr(cell.cast()).store(u32::from_ne_bytes(word), Relaxed);
            }
            _ => {
                let whole = size / 8 * 8;
                let mut at = 0;
                while at < whole {
                    let word = from.add(at).cast::<u64>().read_unaligned();
                    AtomicU64::from_ptr(cell.add(at).cast()).store(word, Relaxed);
                    at += 8;
                }
                if at < size {
                    let mut word = [0u8; 8];
                    std::ptr::copy_nonoverlapping(from.add(at), word.as_mut_ptr(), size - at);
                    AtomicU64::from_ptr(cell.add(at).cast())
                        .store(u64::from_ne_bytes(word), Relaxed);
                }
            }
        }
    }
}

/// Reads the bytes of a `T` from the cell at `cell`, without judging them.
///
/// # Safety
/// As for [`store`].
#[inline]
pub(crate) unsafe fn load<T: CheckedBitPattern>(cell: *const u8) -> T::Bits {
    const { assert!(size_of::<T>() == size_of::<T::Bits>()) };
    let size = size_of::<T>();
    let cell = cell.cast_mut();
    let mut bits = MaybeUninit::<T::Bits>::uninit();
    let to = bits.as_mut_ptr().cast::<u8>();
    // SAFETY: the cell is as the caller promises and each access aligned and within it; the writes cover exactly the
    // `size` bytes of `bits`, whose type takes any bytes (`AnyBitPattern`).
    unsafe {
        match size {
            LONG.. => load_bytes(cell, std::slice::from_raw_parts_mut(to.cast(), size)),
            0 => {}
            1 => to.write(AtomicU8::from_ptr(cell).load(Relaxed)),
            2 => to
                .cast::<u16>()
                .write_unaligned(AtomicU16::from_ptr(cell.cast()).load(Relaxed)),
            3 | 4 => {
                let word = AtomicU32::from_ptr(cell.cast()).load(Relaxed).to_ne_bytes();
                std::ptr::copy_nonoverlapping(word.as_ptr(), to, size);
            }
            _ => {
                let whole = size / 8 * 8;
                let mut at = 0;
                while at < whole {
                    let word = AtomicU64::from_ptr(cell.add(at).cast()).load(Relaxed);
                    to.add(at).cast::<u64>().write_unaligned(word);
                    at += 8;
                }
                if at < size {
                    let word = AtomicU64::from_ptr(cell.add(at).cast())
                        .load(Relaxed)
                        .to_ne_bytes();
                    std::ptr::copy_nonoverlapping(word.as_ptr(), to.add(at), size - at);
                }
            }
        }
        bits.assume_init()
    }
}

/// Copies what is in the cell at `from` into the cell at `to`, without judging it.
///
/// # Safety
/// As for [`store`], for both.
#[inline]
pub(crate) unsafe fn copy<T>(from: *const u8, to: *mut u8) {
    let from = from.cast_mut();
    // SAFETY: the cells are as the caller promises, and each access aligned and within them: a cell of 8 bytes or more is
    // a multiple of 8 long and aligned to 8.
    unsafe {
        match cell_size::<T>() {
            _ if size_of::<T>() == 0 => {}
            1 => AtomicU8::from_ptr(to).store(AtomicU8::from_ptr(from).load(Relaxed), Relaxed),
            2 => AtomicU16::from_ptr(to.cast())
                .store(AtomicU16::from_ptr(from.cast()).load(Relaxed), Relaxed),
            4 => AtomicU32::from_ptr(to.cast())
                .store(AtomicU32::from_ptr(from.cast()).load(Relaxed), Relaxed),
            size => {
                for at in (0..size).step_by(8) {
                    let word = AtomicU64::from_ptr(from.add(at).cast()).load(Relaxed);
                    AtomicU64::from_ptr(to.add(at).cast()).store(word, Relaxed);
                }
            }
        }
    }
}

/// The alignment of the first of several packed values.
pub(crate) const fn packed_align<T>() -> usize {
    if align_of::<T>() > 8 {
        align_of::<T>()
    } else {
        8
    }
}

/// The largest unit of a single access that divides the size of a `T`: whoever stands behind any number of them is aligned to it.
const fn packed_unit<T>() -> usize {
    match size_of::<T>() % 8 {
        0 => 8,
        4 => 4,
        2 | 6 => 2,
        _ => 1,
    }
}

/// Writes `value` into its place among packed ones.
///
/// # Safety
/// `place` is a multiple of `size_of::<T>()` bytes from one that is aligned to [`packed_align`], and valid for
/// `size_of::<T>()` bytes of shared memory.
#[inline]
pub(crate) unsafe fn store_packed<T: NoUninit>(place: *mut u8, value: &T) {
    let from = std::ptr::from_ref(value).cast::<u8>();
    if size_of::<T>() >= LONG && packed_unit::<T>() == 8 {
        // SAFETY: as below; of whole words.
        return unsafe { store_bytes(place, std::slice::from_raw_parts(from, size_of::<T>())) };
    }
    let mut at = 0;
    while at < size_of::<T>() {
        // SAFETY: `T: NoUninit`, so all its bytes may be read; the place is as the caller promises, and so aligned to the unit, which
        // divides the size.
        unsafe {
            let (from, to) = (from.add(at), place.add(at));
            match packed_unit::<T>() {
                8 => AtomicU64::from_ptr(to.cast())
                    .store(from.cast::<u64>().read_unaligned(), Relaxed),
                4 => AtomicU32::from_ptr(to.cast())
                    .store(from.cast::<u32>().read_unaligned(), Relaxed),
                2 => AtomicU16::from_ptr(to.cast())
                    .store(from.cast::<u16>().read_unaligned(), Relaxed),
                _ => AtomicU8::from_ptr(to).store(from.read(), Relaxed),
            }
        }
        at += packed_unit::<T>();
    }
}

/// Reads the bytes of a `T` from its place among packed ones, without judging them.
///
/// # Safety
/// As for [`store_packed`].
#[inline]
pub(crate) unsafe fn load_packed<T: CheckedBitPattern>(place: *const u8) -> T::Bits {
    const { assert!(size_of::<T>() == size_of::<T::Bits>()) };
    let mut bits = MaybeUninit::<T::Bits>::uninit();
    let to = bits.as_mut_ptr().cast::<u8>();
    let place = place.cast_mut();
    if size_of::<T>() >= LONG && packed_unit::<T>() == 8 {
        // SAFETY: as below; of whole words.
        unsafe {
            load_bytes(
                place,
                std::slice::from_raw_parts_mut(to.cast(), size_of::<T>()),
            );
            return bits.assume_init();
        }
    }
    let mut at = 0;
    while at < size_of::<T>() {
        // SAFETY: the place is as the caller promises, and so aligned to the unit, which divides the size, also that of `bits`.
        unsafe {
            let (from, to) = (place.add(at), to.add(at));
            match packed_unit::<T>() {
                8 => to
                    .cast::<u64>()
                    .write_unaligned(AtomicU64::from_ptr(from.cast()).load(Relaxed)),
                4 => to
                    .cast::<u32>()
                    .write_unaligned(AtomicU32::from_ptr(from.cast()).load(Relaxed)),
                2 => to
                    .cast::<u16>()
                    .write_unaligned(AtomicU16::from_ptr(from.cast()).load(Relaxed)),
                _ => to.write(AtomicU8::from_ptr(from).load(Relaxed)),
            }
        }
        at += packed_unit::<T>();
    }
    // SAFETY: the writes above covered all bytes, and the type takes any (`AnyBitPattern`).
    unsafe { bits.assume_init() }
}

/// Writes `values` into consecutive places among packed ones, from `place` on.
///
/// # Safety
/// As for [`store_packed`], for as many places.
#[inline]
pub(crate) unsafe fn store_run<T: NoUninit>(place: *mut u8, values: &[T]) {
    // SAFETY: `T: NoUninit`, so all bytes may be read; the places are as the caller promises, and where the unit is 8 aligned to it, and of
    // whole words.
    unsafe {
        if packed_unit::<T>() == 8 {
            let bytes = std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values));
            return store_bytes(place, bytes);
        }
        for (i, value) in values.iter().enumerate() {
            store_packed(place.add(i * size_of::<T>()), value);
        }
    }
}

/// Reads the bytes of consecutive values among packed ones, from `place` on, without judging them. Fills all of `bits`.
///
/// # Safety
/// As for [`store_run`].
#[inline]
pub(crate) unsafe fn load_run<T: CheckedBitPattern>(
    place: *const u8,
    bits: &mut [MaybeUninit<T::Bits>],
) {
    const {
        assert!(size_of::<T>() == size_of::<T::Bits>());
        assert!(align_of::<T>() == align_of::<T::Bits>());
    }
    // SAFETY: as in `store_run`; any bytes are a `T::Bits` (`AnyBitPattern`).
    unsafe {
        if packed_unit::<T>() == 8 {
            let to = bits.as_mut_ptr().cast();
            let bytes = std::slice::from_raw_parts_mut(to, size_of_val(bits));
            return load_bytes(place.cast_mut(), bytes);
        }
        for (i, bits) in bits.iter_mut().enumerate() {
            bits.write(load_packed::<T>(place.add(i * size_of::<T>())));
        }
    }
}

/// The value that `bits` stand for, or `None` if they stand for none (a `bool` of 2, an enum without that variant).
#[inline]
pub(crate) fn judge<T: CheckedBitPattern>(bits: &T::Bits) -> Option<T> {
    if !T::is_valid_bit_pattern(bits) {
        return None;
    }
    // SAFETY: `CheckedBitPattern` promises that bits it finds valid are a `T` of the same size.
    Some(unsafe { std::mem::transmute_copy::<T::Bits, T>(bits) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C, align(64))]
    struct Room([u8; 2048]);

    fn round_trip<T: NoUninit + CheckedBitPattern + PartialEq + std::fmt::Debug>(value: T) {
        let mut room = Room([0xA5; 2048]);
        let cell = room.0.as_mut_ptr();
        // SAFETY: the room is aligned to 64 and larger than any value of these tests.
        unsafe {
            store(cell, &value);
            assert_eq!(judge::<T>(&load::<T>(cell)), Some(value));
            let other = cell.add(1024);
            copy::<T>(cell, other);
            assert_eq!(judge::<T>(&load::<T>(other)), Some(value));
        }
        let end = cell_size::<T>().max(size_of::<T>());
        for half in room.0.chunks(1024) {
            assert!(
                half[end..].iter().all(|&b| b == 0xA5),
                "wrote past the cell"
            );
        }
    }

    #[test]
    fn values_of_every_size_survive_the_trip_and_stay_in_their_cell() {
        round_trip(());
        round_trip(7u8);
        round_trip(true);
        round_trip(0x1234u16);
        round_trip([1u8, 2, 3]);
        round_trip('x');
        round_trip([1u8, 2, 3, 4, 5]);
        round_trip(0x0123_4567_89ab_cdefu64);
        round_trip([1u16, 2, 3, 4, 5]);
        round_trip(3.5f64);
        round_trip(u128::MAX - 5);
        round_trip([9u8; 33]);
        round_trip([7u64; 8]);
        round_trip(std::array::from_fn::<u64, 31, _>(|i| i as u64));
        round_trip(std::array::from_fn::<u64, 32, _>(|i| i as u64));
        round_trip(std::array::from_fn::<u8, 257, _>(|i| i as u8));
        round_trip(std::array::from_fn::<u8, 263, _>(|i| i as u8));
        round_trip(std::array::from_fn::<u128, 20, _>(|i| 1 << i));
    }

    fn packed_round_trip<T: NoUninit + CheckedBitPattern + PartialEq + std::fmt::Debug>(
        values: [T; 3],
    ) {
        let mut room = Room([0xA5; 2048]);
        let size = size_of::<T>();
        // SAFETY: the room is aligned to 64 and larger than three values of these tests.
        unsafe {
            for (i, value) in values.iter().enumerate() {
                store_packed(room.0.as_mut_ptr().add(i * size), value);
            }
            let all_there = |room: &Room| {
                let mut run = [const { MaybeUninit::uninit() }; 3];
                load_run::<T>(room.0.as_ptr(), &mut run);
                for (i, value) in values.iter().enumerate() {
                    let bits = load_packed::<T>(room.0.as_ptr().add(i * size));
                    assert_eq!(judge::<T>(&bits), Some(*value));
                    assert_eq!(judge::<T>(run[i].assume_init_ref()), Some(*value));
                }
            };
            all_there(&room);
            room.0[..3 * size].fill(0xA5);
            store_run(room.0.as_mut_ptr(), &values);
            all_there(&room);
            // As a slice of them stands in memory.
            let bytes = std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), 3 * size);
            assert_eq!(&room.0[..3 * size], bytes);
        }
        assert!(
            room.0[3 * size..].iter().all(|&b| b == 0xA5),
            "wrote past the place"
        );
    }

    #[test]
    fn packed_values_of_every_size_survive_the_trip_and_stand_as_in_a_slice() {
        packed_round_trip([(), (), ()]);
        packed_round_trip([1, 2, 3].map(|n| std::array::from_fn::<u64, 32, _>(|i| n + i as u64)));
        packed_round_trip([1, 2, 3].map(|n| std::array::from_fn::<u32, 65, _>(|i| n + i as u32)));
        packed_round_trip([7u8, 8, 9]);
        packed_round_trip([true, false, true]);
        packed_round_trip([0x1234u16, 0x5678, 0x9abc]);
        packed_round_trip([[1u8, 2, 3], [4, 5, 6], [7, 8, 9]]);
        packed_round_trip(['x', 'y', 'z']);
        packed_round_trip([[1u16, 2, 3], [4, 5, 6], [7, 8, 9]]);
        packed_round_trip([[1u32, 2, 3], [4, 5, 6], [7, 8, 9]]);
        packed_round_trip([1.5f64, 2.5, 3.5]);
        packed_round_trip([u128::MAX - 5, 6, 7]);
        packed_round_trip([[9u8; 33], [8; 33], [7; 33]]);
        packed_round_trip([[7u64; 8], [6; 8], [5; 8]]);
    }

    #[test]
    fn bytes_that_are_no_value_are_refused() {
        assert_eq!(judge::<bool>(&2), None);
        assert_eq!(judge::<char>(&0xD800), None);
    }

    #[test]
    fn cells_keep_their_type_aligned() {
        #[repr(C, align(32))]
        struct Wide([u8; 40]);
        assert_eq!((cell_size::<Wide>(), cell_align::<Wide>()), (64, 32));
        assert_eq!((cell_size::<[u8; 5]>(), cell_align::<[u8; 5]>()), (8, 8));
        assert_eq!((cell_size::<[u8; 3]>(), cell_align::<[u8; 3]>()), (4, 4));
        assert_eq!((cell_size::<u128>(), cell_align::<u128>()), (16, 16));
        assert_eq!((cell_size::<()>(), cell_align::<()>()), (1, 1));
    }
}
