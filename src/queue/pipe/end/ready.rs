//! An end of a pipe in a select.

use super::PipeEnd;
use crate::error::Result;
use crate::raw::pipe::{RawPipe, Side};
use crate::raw::select::Source;
use crate::raw::signal::RawSignal;
use crate::raw::wait::Look;
use crate::raw::{Call, MemberId};
use crate::segment::{Inner, Placed};
use crate::select::{Awaited, Receives, Sends};
use crate::sys::deadline::Deadline;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What an end waits for: that the attempt finds something to do, or that the peer is gone.
pub(super) struct Ready {
    placed: Placed<RawPipe>,
    side: Side,
    me: MemberId,
    what: What,
}

pub(super) enum What {
    /// A message, or a piece of one; or, as this says, one in several pieces that was taken out.
    Arrival(Arc<AtomicBool>),
    /// Room for `need` words in a lane of so many.
    Room { words: u64, need: u64 },
}

impl PipeEnd {
    /// What a [`Select`](crate::Select) waits for with a message of `len` bytes: `select.send(&end.room_for(100)?)`.
    /// [`TooLarge`](crate::Error::TooLarge) if the pipe never takes it in one piece.
    pub fn room_for(&self, len: usize) -> Result<PipeRoom> {
        let need = self.in_one_piece(len)?.words();
        let words = self.from.len();
        Ok(PipeRoom {
            awaited: self.awaits(What::Room { words, need }),
        })
    }

    pub(super) fn awaits(&self, what: What) -> Awaited {
        Awaited::of(Ready {
            placed: self.placed.clone(),
            side: self.side,
            me: self.me,
            what,
        })
    }
}

/// Room for a message of a certain length on its way from an end of a [`Pipe`](crate::Pipe), or that the peer is gone, for a
/// [`Select`](crate::Select) to wait for; made by [`PipeEnd::room_for`].
///
/// It reserves nothing: when it is there, `try_send` may still find that another thread was quicker.
#[derive(Clone)]
pub struct PipeRoom {
    awaited: Awaited,
}

impl Sends for PipeRoom {
    fn room(&self) -> Awaited {
        self.awaited.clone()
    }
}

impl std::fmt::Debug for PipeRoom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PipeRoom").finish_non_exhaustive()
    }
}

/// An end is ready when a message, or a piece of one that is larger than the pipe, is there, or its peer is gone.
/// [`try_recv`](PipeEnd::try_recv) takes pieces out, to make room for the next, and is [`Empty`](crate::Error::Empty) up to the last.
impl Receives for PipeEnd {
    fn arrival(&self) -> Awaited {
        self.awaits(What::Arrival(self.gathered.clone()))
    }
}

impl Source<Inner> for Ready {
    fn members(&self) -> &Inner {
        self.placed.inner()
    }

    fn signal(&self) -> &RawSignal {
        let raw = self.placed.control();
        match self.what {
            What::Arrival(_) => raw.filled(self.side),
            What::Room { .. } => raw.drained(self.side),
        }
    }

    fn is_ready(&self, look: Look) -> bool {
        if self.placed.member().load(Ordering::Relaxed) != self.me.bits() {
            // The call says what is wrong.
            return true;
        }
        let call = Call {
            members: self.placed.inner(),
            me: self.me,
            spin: &self.placed.spin,
            deadline: Deadline::PASSED,
        };
        let raw = self.placed.control();
        match &self.what {
            // In this order, and Relaxed: as in `PipeEnd::wait_for_arrival`.
            What::Arrival(gathered) => {
                raw.is_worth_receiving(self.side, &call, look) || gathered.load(Ordering::Relaxed)
            }
            What::Room { words, need } => {
                raw.is_worth_sending(self.side, *words, *need, &call, look)
            }
        }
    }
}
