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

    fn has_registered(&self) {
        self.placed.control().fence_for_both();
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

#[cfg(all(test, not(commonhold_loom)))]
mod tests {
    use super::*;
    use crate::{Ring, Segment};
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Of an end that goes on, and one that waits for it by a select, at least one sees the other.
    #[test]
    fn who_registers_sees_what_is_sent_or_is_seen() {
        const ROUNDS: u64 = 5_000;
        let seg = Segment::anonymous(1 << 16).unwrap();
        let ring = Ring::<u64>::create(&seg, "ring", 4).unwrap();
        let mut producer = ring.producer().unwrap();
        let mut consumer = ring.consumer().unwrap();
        let [begun, ended] = [(); 2].map(|()| AtomicU64::new(0));
        let missed = std::thread::scope(|s| {
            s.spawn(|| {
                for round in 1..=ROUNDS {
                    while begun.load(Ordering::Acquire) < round {
                        std::hint::spin_loop();
                    }
                    (0..round % 89).for_each(|_| std::hint::spin_loop());
                    producer.try_send(round).unwrap();
                    ended.store(round, Ordering::Release);
                }
            });
            let source = consumer.arrival().source;
            let mut missed = 0;
            for round in 1..=ROUNDS {
                begun.store(round, Ordering::Release);
                (0..round % 97).for_each(|_| std::hint::spin_loop());
                let ticket = source.signal().register(source.members());
                source.has_registered();
                let is_ready = source.is_ready(Look::AtOnce);
                while ended.load(Ordering::Acquire) < round {
                    std::hint::spin_loop();
                }
                missed += u64::from(!is_ready && !source.signal().has_moved(&ticket));
                assert_eq!(consumer.try_recv().unwrap(), round);
                // So that the bits are set anew.
                source.signal().notify(u32::MAX);
            }
            missed
        });
        assert_eq!(missed, 0);
    }
}
