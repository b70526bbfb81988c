//! Asking after many owners, each of them once.

use crate::raw::{MemberId, Membership};

/// What the kernel said about those who were asked after: each is asked after once.
pub(super) struct Answers {
    me: MemberId,
    /// By slot: an id that is known, and DEAD if it is.
    known: [u32; MemberId::SLOTS as usize],
    left: u32,
}

const DEAD: u32 = 1 << 31;

impl Answers {
    pub(super) fn none(me: MemberId) -> Answers {
        Answers {
            me,
            known: [0; MemberId::SLOTS as usize],
            left: 2 * MemberId::SLOTS,
        }
    }

    /// Whether the owner of these bits is dead. Who has asked very often gets no for an answer: then the ids were scribbled, and
    /// what many dead had is less the next time.
    pub(super) fn is_dead<M: Membership>(&mut self, bits: u32, members: &M) -> bool {
        let Some(id) = MemberId::from_bits(bits) else {
            return true;
        };
        if id == self.me {
            return false;
        }
        let known = &mut self.known[id.slot() as usize];
        if *known & !DEAD != id.bits() {
            if self.left == 0 {
                return false;
            }
            self.left -= 1;
            let dead = !members.is_alive(id);
            *known = id.bits() | if dead { DEAD } else { 0 };
        }
        *known & DEAD != 0
    }
}
