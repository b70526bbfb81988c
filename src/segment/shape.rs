//! How an object's bytes are laid out, of which kind it is and what it holds.

use crate::layout::fingerprint::Kind;

/// How objects of one kind, holding one type of item, are laid out: a control block, then the items (and what stands behind
/// them), then what each item has of its own, then what each member slot has of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) kind: Kind,
    /// Where the items begin.
    pub(crate) data_at: usize,
    /// Bytes for each item.
    pub(crate) stride: usize,
    /// Bytes behind the items, whatever their number.
    behind: usize,
    /// Of the whole object.
    pub(crate) align: usize,
    /// Bytes for each item, behind the items.
    pub(super) per_item: usize,
    /// Bytes for each member slot, behind all that.
    pub(super) per_member: usize,
}

/// Where the part of the items' words, and the members' part, begin: on a line of their own.
const PART_ALIGN: u64 = 64;

impl Shape {
    /// A control block `R`, and behind it items of `stride` bytes that are aligned to `align`.
    pub(crate) const fn new<R>(kind: Kind, stride: usize, align: usize) -> Shape {
        // A segment is mapped at a page, and no page is smaller than this.
        assert!(
            align <= 4096 && align_of::<R>() <= 4096,
            "types aligned to more than 4096 bytes cannot live in a segment"
        );
        Shape {
            kind,
            data_at: size_of::<R>().next_multiple_of(align),
            stride,
            align: if align > align_of::<R>() {
                align
            } else {
                align_of::<R>()
            },
            behind: 0,
            per_item: 0,
            per_member: 0,
        }
    }

    /// And so many bytes right behind the items.
    pub(crate) const fn and_behind(mut self, bytes: usize) -> Shape {
        self.behind = bytes;
        self
    }

    /// And behind the items a `W` for each of them.
    pub(crate) const fn and_for_each_item<W>(mut self) -> Shape {
        self.per_item = size_of::<W>();
        self.aligned_for::<W>()
    }

    /// And behind the items a `W` for each member slot of the segment.
    pub(crate) const fn and_for_each_member<W>(mut self) -> Shape {
        self.per_member = size_of::<W>();
        self.aligned_for::<W>()
    }

    const fn aligned_for<W>(mut self) -> Shape {
        assert!(align_of::<W>() as u64 <= PART_ALIGN);
        if self.align < align_of::<W>() {
            self.align = align_of::<W>();
        }
        self
    }

    /// Bytes of an object of `len` items, in a segment of so many member slots.
    pub(super) fn size(&self, len: u64, members: u32) -> Option<u64> {
        let members = u64::from(members) * self.per_member as u64;
        self.members_at(len)?
            .checked_add(members)
            .filter(|&n| n <= isize::MAX as u64)
    }

    /// Where the items' words begin; the end of the items if they have none.
    pub(super) fn of_items_at(&self, len: u64) -> Option<u64> {
        let end = len
            .checked_mul(self.stride as u64)?
            .checked_add((self.data_at + self.behind) as u64)?;
        part_at(end, self.per_item)
    }

    /// Where the members' part begins; the end of what comes before if there is none.
    pub(super) fn members_at(&self, len: u64) -> Option<u64> {
        let words = len.checked_mul(self.per_item as u64)?;
        part_at(self.of_items_at(len)?.checked_add(words)?, self.per_member)
    }
}

/// Where a part of so many bytes for each begins.
fn part_at(end: u64, each: usize) -> Option<u64> {
    match each {
        0 => Some(end),
        _ => end.checked_next_multiple_of(PART_ALIGN),
    }
}
