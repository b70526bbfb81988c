//! The member table: who has a slot.

use crate::raw::MemberId;
use crate::sys::atomic::AtomicU64;
use crate::sys::map::InRegion;

/// One slot. Its word is the claim:
///
/// | bits | |
/// |---|---|
/// | 0 | taken |
/// | 1..21 | generation: of the member that has the slot, or of the last one that had it |
/// | 21..32 | 0 |
/// | 32..64 | the member's process id, as that process sees it: to tell people, and beside its identity to ask `/proc` by |
///
/// | taken | liveness lock of this generation | meaning |
/// |---|---|---|
/// | 0 | – | free; the next member takes the next generation |
/// | 1 | held | a living member, or one whose memory the kernel is taking apart |
/// | 1 | not held | a dead one: whoever finds it announces the death and frees the slot |
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) claim: AtomicU64,
    /// Which process the claim's process id means, an [`Identity`](crate::sys::exiting::Identity). Stored before the claim, by one who
    /// has the next generation's liveness lock and found the last one's claim unchanged under it: so it is the claim's, or that of one who came
    /// after its death.
    pub(crate) identity: AtomicU64,
    pub(super) reserved: [u64; 6],
}

// SAFETY: an atomic, and reserved bytes that nobody reads; `repr(C)`.
unsafe impl InRegion for Slot {}

const _: () = assert!(size_of::<Slot>() == 64);

/// A slot's word, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim(pub(crate) u64);

impl Claim {
    pub(crate) fn new(id: MemberId, pid: u32) -> Claim {
        Claim(u64::from(pid) << 32 | u64::from(id.generation()) << 1 | 1)
    }

    pub(crate) fn is_taken(self) -> bool {
        self.0 & 1 != 0
    }

    pub(crate) fn generation(self) -> u32 {
        (self.0 >> 1) as u32 & (MemberId::MASK >> 10)
    }

    pub(crate) fn pid(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The member that has taken slot number `slot`.
    pub(crate) fn owner(self, slot: u32) -> Option<MemberId> {
        if self.is_taken() {
            MemberId::new(slot, self.generation())
        } else {
            None
        }
    }

    /// The same slot, free.
    pub(crate) fn freed(self) -> Claim {
        Claim(u64::from(self.generation()) << 1)
    }
}

/// Where a member's liveness lock lies in the segment's file: slot *and* generation, so that who takes the slot next
/// vouches for nobody but itself. Far beyond any segment's end.
pub(crate) fn liveness_offset(id: MemberId) -> i64 {
    const BASE: i64 = 1 << 61;
    BASE + (i64::from(id.slot()) << 32) + i64::from(id.generation())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_tells_its_owner_and_pid() {
        let id = MemberId::new(5, (1 << 20) - 1).unwrap();
        let c = Claim::new(id, u32::MAX);
        assert_eq!((c.owner(5), c.pid()), (Some(id), u32::MAX));
        assert_eq!(c.freed().owner(5), None);
        assert_eq!(c.freed().generation(), id.generation());
    }

    #[test]
    fn no_two_members_share_a_liveness_offset() {
        let id = |slot, generation| liveness_offset(MemberId::new(slot, generation).unwrap());
        let all = [id(0, 1), id(0, 2), id(1, 1), id(1023, (1 << 20) - 1)];
        assert!(all.is_sorted_by(|a, b| a < b));
        assert!(all[3] < 1 << 62);
    }
}
