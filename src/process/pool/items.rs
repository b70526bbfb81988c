//! Some items' bytes in a row, each behind its length, so that one that can't be read does not hide those after it.

use crate::encoding::encode;
use crate::error::Result;
use crate::segment::Segment;
use crate::segment::travel::noting_segments;
use serde::Serialize;

/// The length before each item: any length, at any place.
const PREFIX: usize = size_of::<u64>();
/// Most items are shorter, and there is room for one at once.
const SHORT: usize = 24;

/// Items that are being written one after another.
#[derive(Debug, Default)]
pub(super) struct Items {
    bytes: Vec<u8>,
    count: u32,
    /// Those whose handles are in the items: a worker can attach them while they are attached here.
    segments: Vec<Segment>,
}

impl Items {
    /// What `write` writes. Segments whose handles are among it are kept.
    pub(super) fn write<R>(&mut self, write: impl FnOnce(&mut Items) -> R) -> R {
        let (written, segments) = noting_segments(|| write(self));
        self.segments.extend(segments);
        written
    }

    /// Writes one more, within [`write`](Self::write).
    #[inline]
    pub(super) fn encode<T: Serialize>(&mut self, value: &T) -> Result<()> {
        self.push(|bytes| encode(value, bytes))
    }

    /// Writes one more; if that fails, there are as many as before.
    #[inline]
    fn push<E>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        let start = self.bytes.len();
        self.bytes.reserve(PREFIX + SHORT);
        self.bytes.extend_from_slice(&[0; PREFIX]);
        let written = write(&mut self.bytes);
        let (prefix, item) = self.bytes[start..].split_at_mut(PREFIX);
        prefix.copy_from_slice(&(item.len() as u64).to_ne_bytes());
        match &written {
            Ok(()) => self.count += 1,
            Err(_) => self.bytes.truncate(start),
        }
        written
    }

    #[inline]
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Keeps the first `count` items, and gives those after them.
    pub(super) fn split_off(&mut self, count: u32) -> Items {
        let mut rest = Each::of(&self.bytes);
        let kept = rest.by_ref().take(count as usize).count() as u32;
        let at = self.bytes.len() - rest.bytes.len();
        let rest = Items {
            bytes: self.bytes.split_off(at),
            count: self.count - kept,
            segments: self.segments.clone(),
        };
        self.count = kept;
        rest
    }
}

/// Gives item after item, as far as the lengths are true: others can write where these bytes came from.
#[derive(Clone, Debug)]
pub(super) struct Each<'a> {
    bytes: &'a [u8],
}

impl<'a> Each<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Each<'a> {
        Each { bytes }
    }
}

impl<'a> Iterator for Each<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let (len, rest) = self.bytes.split_first_chunk()?;
        let len = usize::try_from(u64::from_ne_bytes(*len)).ok()?;
        let (item, rest) = rest.split_at_checked(len)?;
        self.bytes = rest;
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(texts: &[&str]) -> Items {
        let mut items = Items::default();
        for text in texts {
            let written: Result<(), ()> = items.push(|bytes| {
                bytes.extend_from_slice(text.as_bytes());
                Ok(())
            });
            written.unwrap();
        }
        items
    }

    fn texts(items: &Items) -> Vec<&str> {
        Each::of(items.bytes())
            .map(|item| std::str::from_utf8(item).unwrap())
            .collect()
    }

    #[test]
    fn items_come_back_one_by_one_also_empty_ones() {
        let items = items(&["one", "", "three"]);
        assert_eq!(
            (items.count(), texts(&items)),
            (3, vec!["one", "", "three"])
        );
    }

    #[test]
    fn an_item_that_fails_half_written_is_not_there() {
        let mut items = items(&["one"]);
        let failed = items.push(|bytes| {
            bytes.extend_from_slice(b"half");
            Err("no more")
        });
        assert_eq!(failed, Err("no more"));
        assert_eq!((items.count(), texts(&items)), (1, vec!["one"]));
    }

    #[test]
    fn items_are_cut_anywhere() {
        for cut in 0..=3 {
            let all = ["one", "", "three"];
            let mut front = items(&all);
            let back = front.split_off(cut as u32);
            assert_eq!(
                (front.count(), texts(&front)),
                (cut as u32, all[..cut].to_vec())
            );
            assert_eq!(
                (back.count(), texts(&back)),
                (3 - cut as u32, all[cut..].to_vec())
            );
        }
    }

    #[test]
    fn a_length_that_is_too_long_ends_the_items() {
        let items = items(&["one", "two"]);
        for cut in 0..items.bytes().len() {
            assert!(Each::of(&items.bytes()[..cut]).count() < 2);
        }
        let mut bytes = items.bytes().to_vec();
        bytes[..8].fill(0xff);
        assert_eq!(Each::of(&bytes).next(), None);
    }
}
