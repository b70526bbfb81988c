//! Who is who: the name that a claim bears, and what a machine may ask about it.

use crate::sys::atomic::AtomicU32;
use crate::sys::deadline::Deadline;
use crate::sys::futex::Wake;
use crate::sys::spin::Adaptive;
use std::num::NonZeroU32;
use std::time::Duration;

/// One member of a segment: slot and generation, in 30 bits, never 0.
///
/// | bits | |
/// |---|---|
/// | 0..10 | slot: which entry of the member table |
/// | 10..30 | generation, never 0: how often the slot has been taken (it wraps after 1,048,575 times) |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemberId(NonZeroU32);

impl MemberId {
    pub(crate) const BITS: u32 = 30;
    pub(crate) const MASK: u32 = (1 << Self::BITS) - 1;
    const SLOT_BITS: u32 = 10;
    /// Slots that an id can name.
    pub(crate) const SLOTS: u32 = 1 << Self::SLOT_BITS;
    const GENERATIONS: u32 = 1 << (Self::BITS - Self::SLOT_BITS);

    pub(crate) const fn new(slot: u32, generation: u32) -> Option<MemberId> {
        if slot >= Self::SLOTS || generation == 0 || generation >= Self::GENERATIONS {
            return None;
        }
        match NonZeroU32::new(generation << Self::SLOT_BITS | slot) {
            Some(id) => Some(MemberId(id)),
            None => None,
        }
    }

    /// The id that the low 30 bits of a claim name. `None` for no claim, and for bits that no member ever bore.
    pub(crate) const fn from_bits(bits: u32) -> Option<MemberId> {
        let bits = bits & Self::MASK;
        MemberId::new(bits % Self::SLOTS, bits >> Self::SLOT_BITS)
    }

    /// The id that [`bits`](Self::bits) gave, kept where nobody else can write. `None` for 0, and for the mark of a region that is
    /// lost.
    #[cfg(not(commonhold_loom))]
    #[inline]
    pub(crate) fn from_private(bits: u32) -> Option<MemberId> {
        // The mark has the highest bit set, as no id has: one comparison, of signed numbers, tells both.
        if bits as i32 <= 0 {
            return None;
        }
        NonZeroU32::new(bits).map(MemberId)
    }

    pub(crate) const fn bits(self) -> u32 {
        self.0.get()
    }

    pub(crate) const fn slot(self) -> u32 {
        self.bits() % Self::SLOTS
    }

    pub(crate) const fn generation(self) -> u32 {
        self.bits() >> Self::SLOT_BITS
    }

    /// The generation after `generation`.
    pub(crate) const fn next_generation(generation: u32) -> u32 {
        let next = (generation + 1) % Self::GENERATIONS;
        if next == 0 { 1 } else { next }
    }
}

/// How long one sleep may last before its caller looks again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nap {
    /// This long: for a claim whose owner can be asked after.
    AtMost(Duration),
    /// Until a death is found among the members, or the bound that [`Membership::park`] sets itself.
    UntilDeath,
}

/// What a machine asks of the segment it stands in.
pub(crate) trait Membership {
    /// Whether the member may still act. `false` only when no thread of it can write any more, and then for ever.
    fn is_alive(&self, id: MemberId) -> bool;

    /// As [`is_alive`](Self::is_alive), for one who has not waited yet: at the least cost, a death that is a moment old may go unseen.
    fn seems_alive(&self, id: MemberId) -> bool {
        self.is_alive(id)
    }

    /// Whether this process is (still) the member `id`: not in a child that was forked since it became one, and not when the
    /// region is lost.
    fn is_still(&self, _id: MemberId) -> bool {
        true
    }

    /// A number that changes after each death (or departure) that anybody noticed.
    fn deaths(&self) -> u32;

    /// A last look before a sleep, for one who registered with a signal as of `count`: whether what is waited for seems to be there.
    fn is_there_already(&self, _count: u32) -> bool {
        false
    }

    /// Sleeps while `word` holds `expected`, not beyond `deadline`, and at most for `nap`.
    ///
    /// With [`Nap::UntilDeath`] it also ends when `deaths()` is no longer `deaths`.
    fn park(
        &self,
        word: &AtomicU32,
        expected: u32,
        deaths: u32,
        nap: Nap,
        deadline: Deadline,
    ) -> Wake;
}

/// What every blocking call of a machine needs to know.
#[derive(Debug)]
pub(crate) struct Call<'a, M: ?Sized> {
    pub(crate) members: &'a M,
    /// The member that calls: the name its claims bear.
    pub(crate) me: MemberId,
    pub(crate) spin: &'a Adaptive,
    pub(crate) deadline: Deadline,
}

/// Whether a claim names somebody who may still act, by its low 30 bits: bits that no member ever bore are of the dead. Asks the kernel.
pub(super) fn owner_is_alive<M: Membership>(claim: u32, members: &M) -> bool {
    MemberId::from_bits(claim).is_some_and(|owner| members.is_alive(owner))
}

#[cfg(all(test, not(commonhold_loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_its_slot_and_generation() {
        for (slot, generation) in [(0, 1), (1023, 1), (0, (1 << 20) - 1), (77, 12345)] {
            let id = MemberId::new(slot, generation).unwrap();
            assert_eq!((id.slot(), id.generation()), (slot, generation));
            assert_eq!(MemberId::from_bits(id.bits() | !MemberId::MASK), Some(id));
        }
    }

    #[test]
    fn bits_that_no_member_bore_name_nobody() {
        assert_eq!(MemberId::from_bits(0), None);
        assert_eq!(MemberId::from_bits(5), None);
        assert_eq!(MemberId::new(1024, 1), None);
        assert_eq!(MemberId::new(0, 1 << 20), None);
    }

    #[test]
    fn what_is_kept_in_the_place_of_an_id_names_nobody() {
        assert_eq!(MemberId::from_private(0), None);
        let lost = crate::sys::fork::NO_MEMBER_ANY_MORE;
        assert_eq!(MemberId::from_private(lost), None);
        let last = MemberId::new(1023, (1 << 20) - 1).unwrap();
        assert_eq!(MemberId::from_private(last.bits()), Some(last));
    }

    #[test]
    fn generations_wrap_past_zero() {
        assert_eq!(MemberId::next_generation(0), 1);
        assert_eq!(MemberId::next_generation((1 << 20) - 1), 1);
    }
}
