//! The ends of a ring in a select.
//!
//! Each end's holder stores its position into the region, so both positions stand there, and a select needs nothing of the end itself. A
//! lazy producer has not shown all that it wrote: then there may seem to be room, and the attempt, in vain, shows the rest.

use super::{Consumer, Producer, is_mine};
use crate::raw::MemberId;
use crate::raw::ring::RawRing;
use crate::raw::select::Source;
use crate::raw::signal::RawSignal;
use crate::raw::wait::Look;
use crate::segment::{Inner, Placed};
use crate::select::{Awaited, Receives, Sends};

/// What an end waits for.
struct Ready {
    placed: Placed<RawRing>,
    /// Who holds the end.
    me: MemberId,
    what: What,
}

enum What {
    Items,
    Room,
}

impl Source<Inner> for Ready {
    fn members(&self) -> &Inner {
        self.placed.inner()
    }

    fn signal(&self) -> &RawSignal {
        let idle = &self.placed.control().idle;
        match self.what {
            What::Items => &idle.not_empty,
            What::Room => &idle.not_full,
        }
    }

    fn is_ready(&self, _: Look) -> bool {
        let raw = self.placed.control();
        let is_worth_it = match self.what {
            What::Items => raw.is_worth_receiving(),
            What::Room => raw.is_worth_sending(self.placed.len() as u64),
        };
        // Otherwise the call says what is wrong.
        is_worth_it || !is_mine(&self.placed, self.me)
    }
}

impl<T> Receives for Consumer<T> {
    fn arrival(&self) -> Awaited {
        Awaited::of(Ready {
            placed: self.placed.clone(),
            me: self.end.me(),
            what: What::Items,
        })
    }
}

impl<T> Sends for Producer<T> {
    fn room(&self) -> Awaited {
        Awaited::of(Ready {
            placed: self.placed.clone(),
            me: self.end.me(),
            what: What::Room,
        })
    }
}
