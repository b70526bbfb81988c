//! Where in the region the items of a queue or broadcast stand: position after position, around and around.

use crate::segment::Placed;
use crate::sys::copy;
use crate::sys::map::InRegion;

/// The cell of the item at `position`, in an object whose items are cells of a `T`, at least one.
#[inline]
pub(super) fn cell<T, R: InRegion>(placed: &Placed<R>, position: u64) -> *mut u8 {
    let index = index(placed.len(), position);
    // SAFETY: the object has so many cells, and the index is less.
    unsafe { placed.data().as_ptr().add(index * copy::cell_size::<T>()) }
}

/// That cell, and those of the items behind it, without end.
#[inline]
pub(super) fn cells<T, R: InRegion>(
    placed: &Placed<R>,
    position: u64,
) -> impl Iterator<Item = *mut u8> {
    let (slots, data) = (placed.len(), placed.data().as_ptr());
    let mut next = index(slots, position);
    std::iter::repeat_with(move || {
        // SAFETY: as in `cell`.
        let cell = unsafe { data.add(next * copy::cell_size::<T>()) };
        // A division for each item would cost more than most items.
        next = if next + 1 == slots { 0 } else { next + 1 };
        cell
    })
}

#[inline]
fn index(slots: usize, position: u64) -> usize {
    if slots.is_power_of_two() {
        position as usize & (slots - 1)
    } else {
        (position % slots as u64) as usize
    }
}
