//! Waiting for what the other side changes behind a light fence.

use super::RawRing;
use super::claim::Claim;
use crate::error::Result;
use crate::raw::{Call, MemberId, Membership, Nap};
use crate::sys::atomic::AtomicU32;
use crate::sys::deadline::Deadline;
use crate::sys::futex::Wake;
use crate::sys::membarrier::heavy_fence;
use std::time::Duration;

/// How long one sleeps, at the most, who can't make the heavy fence that the other side relies on: it may have missed us. What is
/// in a processor's store buffer is long out of it by then.
const WITHOUT_FENCE: Duration = Duration::from_millis(1);

impl RawRing {
    /// A full fence, also for the ends: where one can't be made for them, what comes to the same. For those, too, who register with a signal
    /// and look, otherwise than by `wait_fenced`: pairs with the light fences between the ends' stores and their looks at the signals.
    pub(crate) fn fence_for_both(&self) {
        if !heavy_fence() && (self.producer.claim.is_light() || self.consumer.claim.is_light()) {
            std::thread::sleep(WITHOUT_FENCE);
        }
    }
}

/// Calls `wait` with members who know that what is waited for changes behind a light fence of the holder of `peer`.
pub(super) fn fenced<M: Membership, W: Fn() -> bool>(
    call: &Call<'_, M>,
    peer: &Claim,
    worth_it: &W,
    wait: impl FnOnce(&Call<'_, FencesFirst<'_, M, &W>>) -> Result<()>,
) -> Result<()> {
    let members = FencesFirst {
        members: call.members,
        peer,
        worth_it,
    };
    wait(&Call {
        members: &members,
        me: call.me,
        spin: call.spin,
        deadline: call.deadline,
    })
}

/// Members who, before they sleep, make the heavy fence and look once more.
pub(super) struct FencesFirst<'a, M, W> {
    members: &'a M,
    peer: &'a Claim,
    worth_it: W,
}

impl<M: Membership, W: Fn() -> bool> Membership for FencesFirst<'_, M, W> {
    fn is_alive(&self, id: MemberId) -> bool {
        self.members.is_alive(id)
    }

    fn is_still(&self, id: MemberId) -> bool {
        self.members.is_still(id)
    }

    fn deaths(&self) -> u32 {
        self.members.deaths()
    }

    fn park(
        &self,
        word: &AtomicU32,
        expected: u32,
        deaths: u32,
        nap: Nap,
        deadline: Deadline,
    ) -> Wake {
        match self.nap_behind(heavy_fence(), nap) {
            Some(nap) => self.members.park(word, expected, deaths, nap, deadline),
            None => Wake::Again,
        }
    }
}

impl<M, W: Fn() -> bool> FencesFirst<'_, M, W> {
    /// How long to sleep behind the fence, which was a heavy one or (`!fenced`) our own; `None`: not at all.
    fn nap_behind(&self, fenced: bool, nap: Nap) -> Option<Nap> {
        // The signal's bits are set. The fence pairs with the light one between the other side's store and its look at them: it sees them,
        // or we see the store. A claim that is taken later is taken with a full fence, and its holder sees the bits.
        let missed_by_light = !fenced && self.peer.is_light();
        if (self.worth_it)() {
            return None;
        }
        if missed_by_light {
            return Some(Nap::AtMost(WITHOUT_FENCE));
        }
        Some(nap)
    }
}

#[cfg(all(test, not(commonhold_loom)))]
mod tests {
    use super::*;
    use crate::raw::oracles::Awake;
    use crate::raw::ring::claim::FENCES;

    const LONG: Nap = Nap::UntilDeath;
    const BRIEF: Nap = Nap::AtMost(WITHOUT_FENCE);

    fn held(bits: u32) -> Claim {
        Claim {
            word: AtomicU32::new(bits),
        }
    }

    fn nap(peer: &Claim, fenced: bool, worth_it: impl Fn() -> bool) -> Option<Nap> {
        let members = FencesFirst {
            members: &Awake,
            peer,
            worth_it,
        };
        members.nap_behind(fenced, LONG)
    }

    fn holder() -> u32 {
        MemberId::new(3, 7).unwrap().bits()
    }

    #[test]
    fn who_can_make_no_heavy_fence_sleeps_briefly_while_the_other_side_relies_on_one() {
        let light = held(holder());
        assert_eq!(nap(&light, false, || false), Some(BRIEF));
        assert_eq!(nap(&light, true, || false), Some(LONG));
        let fences = held(holder() | FENCES);
        assert_eq!(nap(&fences, false, || false), Some(LONG));
        assert_eq!(nap(&held(0), false, || false), Some(LONG));
        assert_eq!(nap(&light, false, || true), None);
    }

    #[test]
    fn one_who_relies_on_a_heavy_fence_and_leaves_during_the_last_look_is_not_slept_upon() {
        let light = held(holder());
        // It stored and looked for sleepers too early, and leaves; of the store this look has seen nothing yet.
        let worth_it = || {
            light.give_up(MemberId::from_bits(holder()).unwrap());
            false
        };
        assert_eq!(nap(&light, false, worth_it), Some(BRIEF));
        assert!(!light.is_light());
    }
}
