//! How much room objects and segments take, as docs/layout.md says.

use crate::things::Spec;
use commonhold::Kind;

/// Objects begin at a multiple of this.
pub const LINE: u64 = 128;
pub const PAGE: u64 = 4096;

/// Where the data area begins.
pub fn data_at(members: u32, objects: u32) -> u64 {
    let directory_at = (PAGE + u64::from(members) * 64).next_multiple_of(LINE);
    (directory_at + u64::from(objects) * 256).next_multiple_of(PAGE)
}

/// A cell of a value that is copied: its bytes, and what it is aligned to.
fn cell(size: u64, align: u64) -> (u64, u64) {
    match size {
        // Of no bytes: one, so that each has a place.
        0 => (align, align),
        1..=4 => (size.next_power_of_two(), size.next_power_of_two()),
        _ => (size.next_multiple_of(align.max(8)), align.max(8)),
    }
}

/// What an object is made of.
pub struct Plan {
    /// Where its items begin.
    head: u64,
    each: u64,
    /// Behind them, from the next line on: so many bytes for each.
    words: u64,
    align: u64,
}

impl Plan {
    pub fn of(spec: &Spec) -> Plan {
        let (size, align) = (spec.size as u64, spec.align as u64);
        let (cell_size, cell_align) = cell(size, align);
        let (head, each, align) = match spec.kind {
            Kind::Value => (24, 2 * cell_size, cell_align),
            Kind::Array => (64, size, align),
            Kind::Atomics => (0, size, align),
            Kind::Mutex => (8, size, align),
            Kind::Condvar => (4, 0, 1),
            Kind::Queue => (384, cell_size, cell_align),
            other => unreachable!("{other} is no kind that is made here"),
        };
        Plan {
            head: u64::next_multiple_of(head, align),
            each,
            words: if spec.kind == Kind::Queue { 8 } else { 0 },
            align: align.max(LINE),
        }
    }

    /// Bytes of an object of so many items; `None`: more than can be counted.
    pub fn size(&self, len: u64) -> Option<u64> {
        let mut size = u128::from(self.each) * u128::from(len) + u128::from(self.head);
        if self.words != 0 {
            size = size.next_multiple_of(64) + u128::from(self.words) * u128::from(len);
        }
        u64::try_from(size).ok().filter(|&n| n <= i64::MAX as u64)
    }

    /// Where it begins, if `taken` bytes are taken, counted from the data area.
    pub fn place(&self, taken: u64) -> u64 {
        taken.next_multiple_of(self.align)
    }

    /// How many items at the most find room.
    pub fn most(&self, taken: u64, capacity: u64) -> u64 {
        let rest = capacity
            .saturating_sub(self.place(taken))
            .saturating_sub(self.head);
        let most = rest.checked_div(self.each + self.words).unwrap_or(1);
        // What lies between the items and their words may cost a few.
        (0..=most)
            .rev()
            .find(|&len| {
                self.size(len)
                    .is_some_and(|size| size <= self.head.saturating_add(rest))
            })
            .unwrap_or(0)
    }
}
