//! The claims of a ring's ends.

use crate::error::{Error, Result};
use crate::raw::member::owner_is_alive;
use crate::raw::mutex::LOST_AT_ONCE;
use crate::raw::{MemberId, Membership};
use crate::sys::atomic::{AtomicU32, Ordering, fence};

/// Who holds an end.
///
/// | owner (0..30) | meaning |
/// |---|---|
/// | 0, or one who is dead | free |
/// | alive | held |
#[repr(transparent)]
#[derive(Debug)]
pub(crate) struct Claim {
    pub(super) word: AtomicU32,
}

impl Claim {
    /// Takes the end; `Err(Busy)` while its holder lives, this process included.
    pub(super) fn take<M: Membership>(&self, members: &M, me: MemberId) -> Result<()> {
        let mut word = self.word.load(Ordering::Relaxed);
        for _ in 0..LOST_AT_ONCE {
            if owner_is_alive(word, members) {
                break;
            }
            // Acquire: pairs with the Release of `give_up`; what the dead did is ordered by the kernel's word that they are.
            match self
                .word
                .compare_exchange(word, me.bits(), Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => {
                    // Pairs with the fences of those who registered, or closed, before: their bits are seen from here on.
                    fence(Ordering::SeqCst);
                    return Ok(());
                }
                Err(now) => word = now,
            }
        }
        Err(Error::Busy)
    }

    /// The caller holds the end.
    pub(super) fn give_up(&self, me: MemberId) {
        let mut word = self.word.load(Ordering::Relaxed);
        // Twice: the two bits above the owner are zero, unless somebody scribbled.
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
}
