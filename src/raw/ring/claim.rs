//! The claims of a ring's ends.

use crate::error::{Error, Result};
use crate::raw::member::owner_is_alive;
use crate::raw::mutex::LOST_AT_ONCE;
use crate::raw::{MemberId, Membership};
use crate::sys::atomic::{AtomicU32, Ordering, fence};
use crate::sys::membarrier::Light;

/// Who holds an end.
///
/// | FENCES (30) | owner (0..30) | meaning |
/// |---|---|---|
/// | any | 0, or one who is dead | free |
/// | 0 | alive | held, by a process that is registered for others' heavy fences |
/// | 1 | alive | held, by a process that makes full fences itself |
#[repr(transparent)]
#[derive(Debug)]
pub(crate) struct Claim {
    pub(super) word: AtomicU32,
}

pub(super) const FENCES: u32 = 1 << 30;

impl Claim {
    /// Takes the end; `Err(Busy)` while its holder lives, this process included.
    pub(super) fn take<M: Membership>(&self, members: &M, me: MemberId) -> Result<Light> {
        // First: who finds the claim relies on it.
        let light = Light::register();
        let mine = match light {
            Light::Registered => me.bits(),
            Light::Fences => me.bits() | FENCES,
        };
        let mut word = self.word.load(Ordering::Relaxed);
        for _ in 0..LOST_AT_ONCE {
            if owner_is_alive(word, members) {
                break;
            }
            // Acquire: pairs with the Release of `give_up`; what the dead did is ordered by the kernel's word that they are.
            match self
                .word
                .compare_exchange(word, mine, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => {
                    // Pairs with the fences of those who registered, or closed, before: their bits are seen from here on.
                    fence(Ordering::SeqCst);
                    return Ok(light);
                }
                Err(now) => word = now,
            }
        }
        Err(Error::Busy)
    }

    /// The caller holds the end.
    pub(super) fn give_up(&self, me: MemberId) {
        let mut word = self.word.load(Ordering::Relaxed);
        // Twice: the bit is as it was when we claimed, unless somebody scribbled.
        for _ in 0..2 {
            if word & MemberId::MASK != me.bits() {
                return;
            }
            // Release: pairs with the Acquire in `take`: the position that we leave is seen.
            match self
                .word
                .compare_exchange(word, 0, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(now) => word = now,
            }
        }
    }

    /// Whether somebody alive holds the end. Asks the kernel.
    pub(crate) fn is_held<M: Membership>(&self, members: &M) -> bool {
        owner_is_alive(self.word.load(Ordering::Relaxed), members)
    }

    /// Whether its holder, if there is one, relies on the heavy fences of others. Asked before the last look at what the holder
    /// stores: one who is seen to be gone has left all its stores to be seen.
    pub(super) fn is_light(&self) -> bool {
        // Acquire: pairs with the Release of `give_up`, also through the claims that came after it.
        let word = self.word.load(Ordering::Acquire);
        word & MemberId::MASK != 0 && word & FENCES == 0
    }
}
