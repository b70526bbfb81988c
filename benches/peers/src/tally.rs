//! Whether all that was sent arrives: once, in order, and as it was.

/// What one end saw go by. The two ends' are equal only if nothing was lost, repeated, mixed up or changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) items: u64,
    pub(crate) sum: u64,
}

impl Tally {
    /// Counts an item, and all of its bytes.
    pub(crate) fn note(&mut self, item: &[u8]) {
        self.items += 1;
        for word in item.chunks(8) {
            let mut bytes = [0; 8];
            bytes[..word.len()].copy_from_slice(word);
            let word = u64::from_ne_bytes(bytes);
            // A sum in which each word's place counts.
            self.sum = self
                .sum
                .wrapping_mul(0x5851_F42D_4C95_7F2D)
                .wrapping_add(word);
        }
    }

    /// What is wrong, if anything is, with what `received` saw of what this end sent.
    pub(crate) fn compare(self, received: Tally) -> Result<(), String> {
        if self.items != received.items {
            return Err(format!("{} items of {} came", received.items, self.items));
        }
        if self.sum != received.sum {
            return Err("not what was sent, or not in that order".into());
        }
        Ok(())
    }
}

/// Fills an item so that each word of each item is another.
pub(crate) fn fill(item: &mut [u64], number: u64) {
    for (place, word) in (1..).zip(item) {
        *word = number
            .wrapping_add(1)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .wrapping_mul(place | 1)
            ^ place;
    }
}
