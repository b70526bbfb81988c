//! Where an end of the ring stands.

/// A position, and the cell that it means: in private memory. Going on is one store, but for the last cell: what is stored for each item
/// beside the item takes room in the processor's store buffer, which is what bounds a producer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor {
    /// Counts all items there ever were.
    at: u64,
    /// Where it last came to the first cell: at most `capacity - 1` behind `at`.
    lap: u64,
    capacity: u64,
}

impl Cursor {
    pub(super) fn new(at: u64, capacity: u64) -> Cursor {
        Cursor {
            at,
            lap: at.wrapping_sub(at % capacity),
            capacity,
        }
    }

    #[inline]
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    #[inline]
    pub(super) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// The cell's index.
    #[inline]
    pub(super) fn index(&self) -> u64 {
        self.at.wrapping_sub(self.lap)
    }

    /// Goes on by at most `capacity` cells.
    #[inline]
    pub(super) fn advance(&mut self, count: u64) {
        self.at = self.at.wrapping_add(count);
        if self.index() >= self.capacity {
            self.lap = self.lap.wrapping_add(self.capacity);
        }
    }
}

#[cfg(all(test, not(commonhold_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_index_is_the_position_modulo_the_capacity() {
        for capacity in [1, 3, 8, 1000] {
            let mut cursor = Cursor::new(12345, capacity);
            for count in [0, 1, capacity - 1, capacity, 1, 1, capacity / 2, capacity] {
                cursor.advance(count);
                assert_eq!(
                    cursor.index(),
                    cursor.at() % capacity,
                    "of {capacity}, by {count}"
                );
                assert_eq!(Cursor::new(cursor.at(), capacity).index(), cursor.index());
            }
        }
    }

    #[test]
    fn a_position_that_wraps_goes_from_cell_to_cell() {
        let mut cursor = Cursor::new(u64::MAX - 1, 3);
        let mut last = cursor.index();
        for _ in 0..9 {
            cursor.advance(1);
            assert_eq!(cursor.index(), (last + 1) % 3);
            last = cursor.index();
        }
    }
}
