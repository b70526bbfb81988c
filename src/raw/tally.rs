//! A number of claims by one member: how many read locks, permits, arrivals it has, and who it is, in one word.

use super::member::{MemberId, Membership};
use crate::sys::atomic::{AtomicU64, Ordering};

/// The word of one member slot.
///
/// | id (32..62) | count (0..32) | meaning |
/// |---|---|---|
/// | 0 | 0 | the slot's members never claimed anything |
/// | id | 0 | the member `id` claims nothing now |
/// | id | n | the member `id` has n claims; if it is dead, none |
/// | 0, or bits that no member bore | n | scribbled: nobody's, so none |
///
/// Bits 62 and 63 are 0. A slot has one living member at a time, so whoever finds another's name in its own slot's word may
/// write over it: that other is dead, or has left.
#[repr(transparent)]
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) word: AtomicU64,
}

/// What a tally said at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    /// `None`: nobody, or bits that name nobody.
    pub(crate) owner: Option<MemberId>,
    pub(crate) count: u32,
}

impl Counted {
    pub(crate) fn of(word: u64) -> Counted {
        Counted {
            owner: MemberId::from_bits((word >> 32) as u32),
            count: word as u32,
        }
    }

    pub(crate) fn word(owner: MemberId, count: u32) -> u64 {
        u64::from(owner.bits()) << 32 | u64::from(count)
    }

    /// How many claims of the member `id` these are.
    pub(crate) fn by(self, id: MemberId) -> u32 {
        if self.owner == Some(id) {
            self.count
        } else {
            0
        }
    }

    /// Whether these are claims that count: some, and by a member that lives. Asks the kernel.
    pub(crate) fn stand<M: Membership>(self, members: &M) -> bool {
        self.count != 0 && self.owner.is_some_and(|owner| members.is_alive(owner))
    }
}

impl Tally {
    #[cfg(commonhold_loom)]
    pub(crate) fn new() -> Tally {
        Tally {
            word: AtomicU64::new(0),
        }
    }

    #[inline]
    pub(crate) fn load(&self, order: Ordering) -> Counted {
        Counted::of(self.word.load(order))
    }
}

#[cfg(all(test, not(commonhold_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_tally_tells_whose_it_is_and_how_many() {
        for (slot, generation, count) in [(0, 1, 0), (1023, (1 << 20) - 1, u32::MAX), (7, 5, 3)] {
            let id = MemberId::new(slot, generation).unwrap();
            let counted = Counted::of(Counted::word(id, count));
            assert_eq!(
                counted,
                Counted {
                    owner: Some(id),
                    count
                }
            );
            assert_eq!(counted.by(id), count);
            assert_eq!(Counted::word(id, count) >> 62, 0);
        }
        let other = MemberId::new(7, 6).unwrap();
        assert_eq!(
            Counted::of(Counted::word(other, 9)).by(MemberId::new(7, 5).unwrap()),
            0
        );
        assert_eq!(Counted::of(9).owner, None);
    }
}
