//! A member's line: how many readings it has, in two words. Which of the two a reading uses, and why, is said in `rwlock.rs`.

use crate::raw::tally::{Counted, Tally};
use crate::raw::{MemberId, Membership};
use crate::sys::atomic::Ordering;

/// How many readings the members in one slot have: those in both words.
#[repr(C, align(64))]
#[derive(Debug)]
pub(crate) struct ReaderLine {
    pub(crate) tally: Tally,
    /// Counts 0 or 1. While it counts 1, and bears the name of a living member, only the one who reads so stores to it.
    pub(crate) solo: Tally,
    pub(crate) reserved: [u32; 12],
}

#[cfg(not(commonhold_loom))]
const _: () = assert!(size_of::<ReaderLine>() == 64);

/// Where a reading is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    Solo,
    InTheTally,
}

/// The bits of a [`Tally`] that count.
const COUNT: u64 = u32::MAX as u64;

impl ReaderLine {
    /// Whether it counts anybody.
    #[inline]
    pub(super) fn counts(&self) -> bool {
        // Acquire: pairs with the Release in `end_solo` and `end_beside`.
        let counts = |tally: &Tally| tally.load(Ordering::Acquire).count != 0;
        counts(&self.solo) || counts(&self.tally)
    }

    /// Counts a reading in `solo`, if it bears the member's name and counts none. `true`: that was a read-modify-write.
    #[inline]
    pub(super) fn begin_solo(&self, me: MemberId) -> bool {
        let (solo, idle) = (&self.solo.word, Counted::word(me, 0));
        // A look first costs next to nothing, and an exchange that fails as much as one that does not.
        if solo.load(Ordering::Relaxed) != idle {
            return false;
        }
        // Acquire: pairs with the Release in `put_name`, so that the bit in `seen` is known together with the count.
        solo.compare_exchange(idle, idle + 1, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// Counts a reading in the tally, if both words bear the member's name, and there is room. `true`: that was a read-modify-write.
    #[inline]
    pub(super) fn begin_beside(&self, me: MemberId) -> bool {
        let tally = &self.tally.word;
        let word = tally.load(Ordering::Relaxed);
        // On the slow way a name is put where none is, also for those that can then read solo.
        if !is_named(word, me)
            || !is_named(self.solo.word.load(Ordering::Relaxed), me)
            || word as u32 == u32::MAX
        {
            return false;
        }
        // Acquire: as in `begin_solo`, with the Release in `RawRwLock::count`.
        tally
            .compare_exchange(word, word + 1, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// Takes out the reading that `solo` counts.
    #[inline]
    pub(super) fn end_solo(&self, me: MemberId) {
        // Release: pairs with the Acquire of a writer's look in `counts`: our reading is over before it writes.
        self.solo
            .word
            .store(Counted::word(me, 0), Ordering::Release);
    }

    /// Takes a reading out of the tally. Whether it was the last one there.
    #[inline]
    pub(super) fn end_beside(&self) -> bool {
        // Release: as in `end_solo`.
        //
        // Without a look first, which would take half as long again. If the count was scribbled down to 0, the word now bears another name,
        // which counts for nobody, and which our next reading in the tally replaces, or a writer clears.
        self.tally.word.fetch_sub(1, Ordering::Release) as u32 == 1
    }

    /// From here on the member can read solo. Its tally bears its name, so its bit in `seen` is set.
    pub(super) fn put_name(&self, me: MemberId) {
        let word = self.solo.word.load(Ordering::Relaxed);
        // If it counts us, one of our threads reads so, whatever else was scribbled there; its end makes the word good.
        if !is_named(word, me) && Counted::of(word).by(me) == 0 {
            // Release: for those of our threads that find the name there. If it fails, another of them was first, or a writer has cleared
            // what the last one in this slot left when it died: the next that comes by the slow way puts it there.
            let _ = self.solo.word.compare_exchange(
                word,
                Counted::word(me, 0),
                Ordering::Release,
                Ordering::Relaxed,
            );
        }
    }

    /// Whether none of those that it counts lives; then it is cleared, so that the next writer need not ask again. It is the line of
    /// `slot`, and the caller has the gate.
    #[cold]
    pub(super) fn is_gone<M: Membership>(&self, slot: usize, members: &M) -> bool {
        [&self.solo, &self.tally].into_iter().all(|tally| {
            let word = tally.word.load(Ordering::Acquire);
            let counted = Counted::of(word);
            if counted.count == 0 {
                return true;
            }
            // A name of another slot is scribbled.
            let in_its_slot = counted.owner.is_some_and(|o| o.slot() as usize == slot);
            if in_its_slot && counted.stand(members) {
                return false;
            }
            // Relaxed: the dead read nothing any more, which the kernel told us. If the word has changed, a new member in that slot
            // counted itself, and as the caller has the gate, it steps back.
            let _ = tally
                .word
                .compare_exchange(word, 0, Ordering::Relaxed, Ordering::Relaxed);
            true
        })
    }
}

/// Whether the word of a [`Tally`] bears the member's name, and nothing else but a count.
fn is_named(word: u64, me: MemberId) -> bool {
    word & !COUNT == Counted::word(me, 0)
}
