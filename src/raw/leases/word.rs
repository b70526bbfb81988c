//! What the word of a cell says.

use crate::raw::MemberId;
use crate::sys::atomic::AtomicU64;

/// The word of one cell. It means something only while the cell is kept: between `head` and `cursor`.
///
/// | KEPT (63) | AGAIN (62) | owner (32..62) | number (0..32) | meaning |
/// |---|---|---|---|---|
/// | 0 | | | | a gap: what was here is gone. A holder of the lock closes it before it unlocks |
/// | 1 | 0 | id | n | leased, for the first time |
/// | 1 | 1 | id | n | leased, after it came back |
/// | 1 | 1 | 0 | n | came back, and waits to be delivered again |
/// | 1 | 0 | 0 | n | left by nobody; as above |
///
/// An owner that no member ever bore (scribbled) is dead. No two that are kept have the same number: it is the low half of the
/// position where the item was first leased, unless somebody keeps a lease while 2^32 items pass.
#[repr(transparent)]
#[derive(Debug)]
pub(crate) struct LeaseWord {
    pub(crate) word: AtomicU64,
}

const KEPT: u64 = 1 << 63;
const AGAIN: u64 = 1 << 62;
pub(super) const GAP: u64 = 0;

impl LeaseWord {
    #[cfg(commonhold_loom)]
    pub(crate) fn new() -> LeaseWord {
        LeaseWord {
            word: AtomicU64::new(GAP),
        }
    }
}

/// What a lease word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Says(pub(super) u64);

impl Says {
    pub(super) fn leased(owner: MemberId, number: u32) -> Says {
        Says(KEPT | u64::from(owner.bits()) << 32 | u64::from(number))
    }

    /// As this one, but it came back.
    pub(super) fn returned(self) -> Says {
        Says(KEPT | AGAIN | u64::from(self.number()))
    }

    /// As this one, which came back, but leased to `owner`.
    pub(super) fn leased_again(self, owner: MemberId) -> Says {
        Says(Says::leased(owner, self.number()).0 | AGAIN)
    }

    pub(super) fn is_gap(self) -> bool {
        self.0 & KEPT == 0
    }

    pub(super) fn owner_bits(self) -> u32 {
        (self.0 >> 32) as u32 & MemberId::MASK
    }

    pub(super) fn number(self) -> u32 {
        self.0 as u32
    }

    /// Whether it came back.
    pub(super) fn was_delivered(self) -> bool {
        self.0 & AGAIN != 0
    }

    pub(super) fn waits(self) -> bool {
        !self.is_gap() && self.owner_bits() == 0
    }

    pub(super) fn is_leased(self) -> bool {
        !self.is_gap() && self.owner_bits() != 0
    }

    /// Whether it is the lease of that owner and number, for the first time or not.
    pub(super) fn is_lease_of(self, owner: MemberId, number: u32) -> bool {
        self.0 & !AGAIN == Says::leased(owner, number).0
    }
}
