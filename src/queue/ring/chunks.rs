//! Several items of a ring, written and read in place.

use super::{Consumer, Producer};
use crate::error::{Error, Result};
use crate::plain::InPlace;

/// Room for several items, to be filled in place. Lent by [`Producer::write_chunk`]; dropping it sends nothing.
///
/// What stands there at first is what was there before: zeros, or items of long ago. It lends the bytes of the segment themselves: a peer that breaks the
/// protocol and writes them meanwhile is undefined behaviour by Rust's rules, as with a [`MutexGuard`](crate::MutexGuard). With a peer that you
/// do not trust, use the forms that copy. One that a forked child inherited is the parent's: the child must not use what it lends.
#[must_use = "if it is not committed, nothing is sent"]
#[derive(Debug)]
pub struct WriteChunk<'a, T: InPlace> {
    producer: &'a mut Producer<T>,
    /// So much room is known to be there.
    len: usize,
}

impl<'a, T: InPlace> WriteChunk<'a, T> {
    /// The producer has found that much room.
    pub(super) fn of(producer: &'a mut Producer<T>, len: usize) -> Self {
        WriteChunk { producer, len }
    }

    /// The places, in order. The second slice is empty unless they go beyond the end of the ring's memory.
    pub fn as_mut_slices(&mut self) -> (&mut [T], &mut [T]) {
        let (first, second) = split(
            self.len,
            self.producer.end.index() as usize,
            self.producer.capacity(),
        );
        // SAFETY: these are places of a T, aligned, by the object's shape; any bytes are a T; among members that keep the protocol only the
        // one producer, which is borrowed, has access to those that are free; and the two do not overlap, since `len` is at most the capacity.
        unsafe {
            (
                std::slice::from_raw_parts_mut(self.producer.place().cast(), first),
                std::slice::from_raw_parts_mut(self.producer.first_place().cast(), second),
            )
        }
    }

    /// How many items there is room for.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it is for no item.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sends the first `items`. [`InvalidArgument`](Error::InvalidArgument) if the chunk has not so many.
    pub fn commit(self, items: usize) -> Result<()> {
        check_count(items, self.len)?;
        self.producer.check_mine()?;
        self.producer.advance(items as u64)
    }

    /// Sends all.
    pub fn commit_all(self) -> Result<()> {
        let all = self.len;
        self.commit(all)
    }
}

/// Several items, to be read in place. Lent by [`Consumer::read_chunk`]; dropping it takes nothing: they are received again.
///
/// It lends the bytes of the segment themselves: a peer that breaks the protocol and writes them meanwhile is undefined behaviour by Rust's rules,
/// as with a [`MutexGuard`](crate::MutexGuard). With a peer that you do not trust, use the forms that copy. If the segment is
/// lost meanwhile (see [`SegmentOptions::guard_truncation`](crate::SegmentOptions::guard_truncation)) it shows zeros, and its commit is
/// [`Corrupt`](Error::Corrupt). One that a forked child inherited is the parent's: the child must not use what it lends.
#[must_use = "if it is not committed, nothing is taken"]
#[derive(Debug)]
pub struct ReadChunk<'a, T: InPlace> {
    consumer: &'a mut Consumer<T>,
    /// So many items are known to be there.
    len: usize,
}

impl<'a, T: InPlace> ReadChunk<'a, T> {
    /// The consumer has found that many items.
    pub(super) fn of(consumer: &'a mut Consumer<T>, len: usize) -> Result<Self> {
        consumer.check_mine()?;
        Ok(ReadChunk { consumer, len })
    }

    /// The items, in order. The second slice is empty unless they go beyond the end of the ring's memory.
    pub fn as_slices(&self) -> (&[T], &[T]) {
        let (first, second) = split(
            self.len,
            self.consumer.end.index() as usize,
            self.consumer.capacity(),
        );
        // SAFETY: these are places of a T, aligned, by the object's shape; any bytes are a T; and among members that keep the protocol nobody
        // writes those that are filled.
        unsafe {
            (
                std::slice::from_raw_parts(self.consumer.place().cast(), first),
                std::slice::from_raw_parts(self.consumer.first_place().cast(), second),
            )
        }
    }

    /// How many items there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes the first `items`: they are received, and their places free. [`InvalidArgument`](Error::InvalidArgument) if the chunk has not so many.
    pub fn commit(self, items: usize) -> Result<()> {
        check_count(items, self.len)?;
        self.consumer.check_mine()?;
        if items > 0 {
            self.consumer.advance(items as u64);
        }
        Ok(())
    }

    /// Takes all.
    pub fn commit_all(self) -> Result<()> {
        let all = self.len;
        self.commit(all)
    }
}

/// How many of `len` places stand from `index` to the end of the ring's memory, and how many from its beginning.
fn split(len: usize, index: usize, capacity: usize) -> (usize, usize) {
    let first = len.min(capacity - index);
    (first, len - first)
}

fn check_count(items: usize, len: usize) -> Result<()> {
    if items > len {
        return Err(Error::InvalidArgument(
            "a chunk can't commit more items than it has",
        ));
    }
    Ok(())
}
