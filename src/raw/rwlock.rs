//! The readers-writer lock: readers count themselves on lines of their own, a writer locks a gate and waits until no line
//! counts a reader.
//!
//! A reader counts itself on its member's line, and only then looks whether the gate is open; a writer locks the gate, and
//! only then looks at the lines. Between the two steps stands a full fence, on both sides (Dekker's pattern), so that at least one
//! of the two sees the other: the reader steps back, or the writer waits. (The idea: Linux's big-reader locks.) A
//! reader that must sleep sleeps on the gate, as a writer would, and counts itself while it has it.
//!
//! A line has two words. Of all threads of a member one at a time may read *solo*: it takes that word by an exchange, so
//! nobody else stores to it until it leaves, which is a plain store. All others (a second thread, a second reading of the same thread) are
//! counted in the *tally*, which takes a read-modify-write also to leave.
//!
//! Who is the last to leave the tally makes a full fence before it looks whether a writer waits; who leaves solo makes a light one, and a
//! writer looks twice before it sleeps for long (`sys/asymmetric.rs`). What keeps readers and writers apart never hangs on that: only a wake-up does.
//!
//! Fairness: none among those that wait at the gate, where a running one may overtake one that was woken; but no stream of readers
//! holds up a writer that has it, and a reader that slept needs only its own turn at the gate.
//!
//! # Points of death
//!
//! | a member dies | the words say | who mends it |
//! |---|---|---|
//! | reading, or about to look at the gate | its line counts it | the next writer asks after it, at once and within each nap, and clears its line |
//! | after it took itself out, before the notify | nobody reads, a writer may sleep | that writer looks again after its nap |
//! | after it set its bit in `seen`, before it counted itself | a bit for a line that counts nobody | nobody need: bits stay |
//! | after it counted itself in the tally, before it put its name into `solo` | `solo` bears another's name, or none | the next of that slot that reads puts its own there |
//! | at the gate, not yet writing | the gate has its id, `doubt` is 0 | the next at the gate inherits it: nothing is in doubt |
//! | writing: from the store of 1 to that of 0 | the gate has its id, `doubt` is 1 | the next at the gate inherits it, and notes the doubt |
//! | after it found a doubt, before it noted it | the gate has its id, `doubt` is 1 | the same |
//! | mending: from the gate to the store of 0 | the gate has its id, `doubt` is 2 | the next at the gate: it is still in doubt |
//! | written: after the store of 0 | the gate has its id, `doubt` is 0 | the next at the gate inherits it: nothing is in doubt |
//! | turning from a writer into a reader, before the store of 0 | as writing, and its line counts it | as writing; the line as reading |

mod line;

pub(crate) use self::line::{ReaderLine, Reading};

use super::looking_twice::looking_twice;
use super::member::{Call, MemberId, Membership};
use super::mutex::{Heir, LOST_AT_ONCE, Naps, RawMutex};
use super::signal::{Ended, RawSignal};
use super::tally::Counted;
use crate::error::{Error, Result};
use crate::sys::asymmetric::light_fence;
use crate::sys::atomic::{AtomicU32, AtomicU64, Ordering, fence_after_rmw};
use crate::sys::deadline::Deadline;
use std::cell::Cell;
use std::sync::atomic::compiler_fence;

/// The words that all members share. All zero is free and sound.
///
/// `doubt`, which only the holder of the gate stores:
///
/// | doubt | gate | meaning |
/// |---|---|---|
/// | 0 | free | sound; readers come and go |
/// | 0 | held | sound; the holder is about to write and waits for readers to leave, or lets itself in, or has written |
/// | 1 | held | being written; if the holder is dead, in doubt |
/// | 2 | free | in doubt, and somebody knows |
/// | 2 | held | the same; the holder mends it, or is about to leave with an error |
/// | 1 | free | left by nobody; taken for 2, as is any other number |
#[repr(C, align(64))]
#[derive(Debug)]
pub(crate) struct RawRwLock {
    pub(crate) gate: RawMutex,
    pub(crate) doubt: AtomicU32,
    /// Here the holder of the gate waits for readers to leave.
    pub(crate) left: RawSignal,
    /// A bit for each member slot: whether a member there ever counted itself. Never cleared, and set before a line first bears a
    /// name, so a line whose bit a writer does not see counts nobody.
    pub(crate) seen: [AtomicU64; (MemberId::SLOTS / 64) as usize],
}

const SOUND: u32 = 0;
const BEING_WRITTEN: u32 = 1;
const IN_DOUBT: u32 = 2;

#[cfg(not(commonhold_loom))]
const _: () = assert!(size_of::<RawRwLock>() == 192);

/// How far a writer came that did not get through at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    BeforeTheGate,
    /// It holds the gate.
    BehindTheGate,
}

impl RawRwLock {
    #[cfg(commonhold_loom)]
    pub(crate) fn new() -> RawRwLock {
        RawRwLock {
            gate: RawMutex::new(),
            doubt: AtomicU32::new(SOUND),
            left: RawSignal::new(),
            seen: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// Lets a reader in if nobody has the gate, nothing is in doubt, nobody of this member reads solo, and its line bears its name already.
    #[inline]
    pub(crate) fn read_solo_at_once(&self, line: &ReaderLine, me: MemberId) -> bool {
        self.read_if(|| line.begin_solo(me), || self.leave_solo(line, me))
    }

    /// As [`read_solo_at_once`](Self::read_solo_at_once), for one that can't read solo.
    pub(crate) fn read_beside_at_once(&self, line: &ReaderLine, me: MemberId) -> bool {
        self.read_if(|| line.begin_beside(me), || self.leave_tally(line))
    }

    /// As the one of the two that succeeds.
    pub(crate) fn read_at_once(&self, line: &ReaderLine, me: MemberId) -> Option<Reading> {
        if self.read_solo_at_once(line, me) {
            return Some(Reading::Solo);
        }
        self.read_beside_at_once(line, me)
            .then_some(Reading::InTheTally)
    }

    /// Lets a reader in if the gate is open and `begin` counts it, by a read-modify-write; `leave` takes it out again.
    #[inline]
    fn read_if(&self, begin: impl FnOnce() -> bool, leave: impl FnOnce()) -> bool {
        // Who counts itself at a closed gate steps back, but the writer behind it may meet the count: of many threads that try again and
        // again one would always be there, and the line that they share never be empty.
        if self.gate.word.load(Ordering::Relaxed) != RawMutex::FREE || !begin() {
            return false;
        }
        self.stay_if_open(leave)
    }

    /// The next step of one who has just counted itself, by a read-modify-write: it stays, or `leave` takes it out again.
    #[inline]
    fn stay_if_open(&self, leave: impl FnOnce()) -> bool {
        // Pairs with the fence in `write_at_once` and `write_behind_the_gate`: either the writer sees our count, or we see its gate.
        fence_after_rmw();
        let open = self.is_open();
        if !open {
            leave();
        }
        open
    }

    /// Lets a reader in, waiting until the call's deadline.
    #[cfg(commonhold_loom)]
    pub(crate) fn read<M: Membership>(
        &self,
        line: &ReaderLine,
        call: &Call<'_, M>,
    ) -> Result<Reading> {
        match self.read_at_once(line, call.me) {
            Some(reading) => Ok(reading),
            None => self.read_contended(line, call),
        }
    }

    /// Lets a reader in, waiting until the call's deadline, after [`read_at_once`](Self::read_at_once) failed.
    #[cold]
    pub(crate) fn read_contended<M: Membership>(
        &self,
        line: &ReaderLine,
        call: &Call<'_, M>,
    ) -> Result<Reading> {
        // While it spins it comes in past the gate, whenever that is open: were each to take the gate, each would find another there.
        let past_the_gate = || self.read_past_the_gate(line, call.me, call.deadline);
        if self
            .gate
            .lock_unless(call, Heir::Inherits, past_the_gate)?
            .is_some()
        {
            self.read_behind_the_gate(line, call.me, call.deadline)?;
        }
        Ok(Reading::InTheTally)
    }

    /// Lets a reader in if no living member has the gate; otherwise `Err(WouldBlock)`.
    pub(crate) fn try_read<M: Membership>(
        &self,
        line: &ReaderLine,
        members: &M,
        me: MemberId,
    ) -> Result<Reading> {
        if let Some(reading) = self.read_at_once(line, me) {
            return Ok(reading);
        }
        let result = match self.read_past_the_gate(line, me, Deadline::PASSED) {
            Ok(false) => self
                .gate
                .try_lock(members, me, Heir::Inherits)
                .and_then(|_| self.read_behind_the_gate(line, me, Deadline::PASSED)),
            other => other.map(drop),
        };
        match result {
            Ok(()) => Ok(Reading::InTheTally),
            // The tally did not stand still.
            Err(Error::Timeout) => Err(Error::WouldBlock),
            Err(e) => Err(e),
        }
    }

    fn read_past_the_gate(
        &self,
        line: &ReaderLine,
        me: MemberId,
        deadline: Deadline,
    ) -> Result<bool> {
        // As in `read_if`.
        if !self.is_open() {
            return Ok(false);
        }
        self.count(line, me, deadline)?;
        Ok(self.stay_if_open(|| self.leave_tally(line)))
    }

    /// Counts a reader in while it has the gate, and leaves the gate.
    fn read_behind_the_gate(
        &self,
        line: &ReaderLine,
        me: MemberId,
        deadline: Deadline,
    ) -> Result<()> {
        let result = self
            .look_for_doubt()
            .and_then(|()| self.count(line, me, deadline));
        // All: other readers may be among them, and they can all come in. No fence is needed: who has the gate next sees the count.
        self.gate.unlock_all();
        result
    }

    /// Adds one to the number of readings that the member has, and sees to it that its line bears its name.
    fn count(&self, line: &ReaderLine, me: MemberId, deadline: Deadline) -> Result<()> {
        let tally = &line.tally.word;
        let mut word = tally.load(Ordering::Relaxed);
        let mut lost = 0;
        loop {
            let counted = Counted::of(word);
            if counted.by(me) == u32::MAX {
                return Err(Error::TooLarge {
                    requested: 1 << 32,
                    limit: u32::MAX.into(),
                });
            }
            if counted.owner != Some(me) {
                let (index, bit) = bit_of(me);
                // Relaxed: the fence behind our count, or the gate that we have, makes it known together with the count.
                self.seen[index].fetch_or(bit, Ordering::Relaxed);
            }
            // Acquire: as in `begin_solo`. Release: for those of our threads that find the name there.
            match tally.compare_exchange(
                word,
                Counted::word(me, counted.by(me) + 1),
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => break,
                Err(now) => word = now,
            }
            lost += 1;
            if lost % LOST_AT_ONCE == 0 && deadline.has_passed() {
                return Err(Error::Timeout);
            }
        }
        line.put_name(me);
        Ok(())
    }

    #[inline]
    fn is_open(&self) -> bool {
        // Acquire: pairs with the Release of the last writer's unlock of the gate, so that what it wrote is seen, and the doubt that
        // it left.
        let gate = self.gate.word.load(Ordering::Acquire);
        gate == RawMutex::FREE && self.doubt.load(Ordering::Relaxed) == SOUND
    }

    /// Takes a reader out that `reading` let in, as `me`.
    #[inline]
    pub(crate) fn unlock_read(&self, line: &ReaderLine, me: MemberId, reading: Reading) {
        match reading {
            Reading::Solo => self.leave_solo(line, me),
            Reading::InTheTally => self.leave_tally(line),
        }
    }

    #[inline]
    fn leave_solo(&self, line: &ReaderLine, me: MemberId) {
        line.end_solo(me);
        // Light: a writer that we do not see looks twice, see the head of this file.
        light_fence();
        self.left.notify(u32::MAX);
    }

    #[inline(never)]
    fn leave_tally(&self, line: &ReaderLine) {
        if line.end_beside() {
            // Pairs with the fence in `register`: either the writer sees that we left, or we see that it waits.
            fence_after_rmw();
            self.left.notify(u32::MAX);
        }
    }

    /// Lets a writer in if nobody has the gate, nobody reads, and nothing is in doubt.
    #[inline]
    pub(crate) fn write_at_once(&self, lines: &[ReaderLine], me: MemberId) -> Result<(), Stopped> {
        if !self.gate.lock_at_once(me) {
            return Err(Stopped::BeforeTheGate);
        }
        // Pairs with the fence in `stay_if_open`: either we see a reader's count, or it sees our gate.
        fence_after_rmw();
        if self.doubt.load(Ordering::Relaxed) != SOUND || self.reader_from(0, lines).is_some() {
            return Err(Stopped::BehindTheGate);
        }
        self.begin_to_write();
        Ok(())
    }

    /// Lets a writer in, waiting until the call's deadline.
    #[cfg(commonhold_loom)]
    pub(crate) fn write<M: Membership>(
        &self,
        lines: &[ReaderLine],
        call: &Call<'_, M>,
    ) -> Result<()> {
        match self.write_at_once(lines, call.me) {
            Ok(()) => Ok(()),
            Err(stopped) => self.write_contended(lines, call, stopped),
        }
    }

    /// Lets a writer in, waiting until the call's deadline, after [`write_at_once`](Self::write_at_once) failed.
    #[cold]
    pub(crate) fn write_contended<M: Membership>(
        &self,
        lines: &[ReaderLine],
        call: &Call<'_, M>,
        stopped: Stopped,
    ) -> Result<()> {
        if stopped == Stopped::BeforeTheGate {
            self.gate.lock(call, Heir::Inherits)?;
        }
        self.write_behind_the_gate(|| {
            self.look_for_doubt()?;
            self.wait_for_readers(lines, call)
        })?;
        self.begin_to_write();
        Ok(())
    }

    /// Lets a writer in if no living member reads or has the gate; otherwise `Err(WouldBlock)`.
    pub(crate) fn try_write<M: Membership>(
        &self,
        lines: &[ReaderLine],
        members: &M,
        me: MemberId,
    ) -> Result<()> {
        match self.write_at_once(lines, me) {
            Ok(()) => return Ok(()),
            Err(Stopped::BehindTheGate) => {}
            Err(Stopped::BeforeTheGate) => {
                self.gate.try_lock(members, me, Heir::Inherits).map(drop)?
            }
        }
        self.write_behind_the_gate(|| {
            self.look_for_doubt()?;
            if self.is_read_by_the_living(lines, members) {
                return Err(Error::WouldBlock);
            }
            Ok(())
        })?;
        self.begin_to_write();
        Ok(())
    }

    /// Lets a writer in, waiting until the call's deadline, also into what is in doubt: then it stays so until
    /// [`unlock_write`](Self::unlock_write).
    #[cold]
    pub(crate) fn recover<M: Membership>(
        &self,
        lines: &[ReaderLine],
        call: &Call<'_, M>,
    ) -> Result<()> {
        self.gate.lock(call, Heir::Inherits)?;
        let mut doubted = false;
        self.write_behind_the_gate(|| {
            doubted = self.look_for_doubt().is_err();
            // Also in doubt: one who was on its way in while the gate was open may still read the doubt that we end.
            self.wait_for_readers(lines, call)
        })?;
        if !doubted {
            self.begin_to_write();
        }
        Ok(())
    }

    /// Lets a writer in that can't wait here: `Ok(false)`, and it has the gate, if others read. `Err(WouldBlock)`: another has the gate.
    #[cfg(all(feature = "async", not(commonhold_loom)))]
    pub(crate) fn begin_to_enter<M: Membership>(
        &self,
        lines: &[ReaderLine],
        members: &M,
        me: MemberId,
    ) -> Result<bool> {
        self.gate.try_lock(members, me, Heir::Inherits)?;
        self.go_on_to_enter(lines, members)
    }

    /// As [`begin_to_enter`](Self::begin_to_enter), for one that has the gate; an error leaves it.
    #[cfg(all(feature = "async", not(commonhold_loom)))]
    pub(crate) fn go_on_to_enter<M: Membership>(
        &self,
        lines: &[ReaderLine],
        members: &M,
    ) -> Result<bool> {
        let mut is_read = false;
        self.write_behind_the_gate(|| {
            self.look_for_doubt()?;
            is_read = self.is_read_by_the_living(lines, members);
            Ok(())
        })?;
        if !is_read {
            self.begin_to_write();
        }
        Ok(!is_read)
    }

    /// Whether anybody reads that is not known to be dead. The caller has the gate.
    fn is_read_by_the_living<M: Membership>(&self, lines: &[ReaderLine], members: &M) -> bool {
        let mut from = 0;
        while let Some(slot) = self.reader_from(from, lines) {
            if !lines[slot].is_gone(slot, members) {
                return true;
            }
            from = slot + 1;
        }
        false
    }

    /// What a writer does when it has the gate and before it writes; if that fails, it leaves the gate.
    fn write_behind_the_gate(&self, prepare: impl FnOnce() -> Result<()>) -> Result<()> {
        // Taking the gate was a read-modify-write. As in `write_at_once`.
        fence_after_rmw();
        prepare().inspect_err(|e| {
            // Corrupt: we are not the member any more that took it. If the region is not lost, we are its forked child, and it has the gate.
            if !matches!(e, Error::Corrupt) {
                self.gate.unlock_all();
            }
        })
    }

    /// Whoever has the gate looks here before it goes on: `Err(Poisoned)`, and all can know it, if a writer died or panicked.
    fn look_for_doubt(&self) -> Result<()> {
        // Relaxed, also below: the gate orders it.
        match self.doubt.load(Ordering::Relaxed) {
            SOUND => Ok(()),
            IN_DOUBT => Err(Error::Poisoned),
            _ => {
                self.doubt.store(IN_DOUBT, Ordering::Relaxed);
                Err(Error::Poisoned)
            }
        }
    }

    #[inline]
    fn begin_to_write(&self) {
        self.doubt.store(BEING_WRITTEN, Ordering::Relaxed);
        // A death comes between two instructions, and none of those before it is undone: so it is enough that the compiler makes the
        // store before all that the caller does.
        compiler_fence(Ordering::SeqCst);
    }

    /// The first slot from `from` on whose line counts readers.
    #[inline]
    fn reader_from(&self, from: usize, lines: &[ReaderLine]) -> Option<usize> {
        for index in from / 64..lines.len().div_ceil(64) {
            let mut seen = self.seen[index].load(Ordering::Relaxed);
            if index == from / 64 {
                seen &= u64::MAX << (from % 64);
            }
            while seen != 0 {
                let slot = index * 64 + seen.trailing_zeros() as usize;
                seen &= seen - 1;
                // A bit beyond the last slot is scribbled.
                if lines.get(slot).is_some_and(ReaderLine::counts) {
                    return Some(slot);
                }
            }
        }
        None
    }

    /// Waits until nobody reads. The caller has the gate, so a line that once said so says so for good: who counts itself from
    /// now on steps back.
    fn wait_for_readers<M: Membership>(
        &self,
        lines: &[ReaderLine],
        call: &Call<'_, M>,
    ) -> Result<()> {
        let Some(mut slot) = self.reader_from(0, lines) else {
            return Ok(());
        };
        let mut spin = call.spin.begin();
        while spin.back_off() {
            match self.reader_from(slot, lines) {
                Some(next) => slot = next,
                None => {
                    spin.paid();
                    return Ok(());
                }
            }
        }
        spin.was_in_vain();
        // Up to here nobody reads.
        let from = Cell::new(slot);
        let nobody_reads = || self.reader_from(from.get(), lines).is_none();
        looking_twice(call, &nobody_reads, |call| {
            match self.sleep_until_readers_left(&from, lines, call) {
                // The last may have left without a notify: it died before it, or saw no need of it.
                Err(Error::Timeout) if nobody_reads() => Ok(()),
                other => other,
            }
        })
    }

    /// As [`wait_for_readers`](Self::wait_for_readers), of the slots from `from` on; it says there how far it came.
    fn sleep_until_readers_left<M: Membership>(
        &self,
        from: &Cell<usize>,
        lines: &[ReaderLine],
        call: &Call<'_, M>,
    ) -> Result<()> {
        let mut naps = Naps::new();
        // The slot whose reader was alive when we last asked, and how many deaths were known by then. Each is asked after before
        // we sleep, and again when a nap ran out or a death was found.
        let mut asked = None;
        loop {
            let ticket = self.left.register(call.members);
            let Some(slot) = self.reader_from(from.get(), lines) else {
                return Ok(());
            };
            from.set(slot);
            let now = Some((slot, ticket.deaths));
            if asked != now {
                if lines[slot].is_gone(slot, call.members) {
                    from.set(slot + 1);
                    continue;
                }
                asked = now;
            }
            match self.left.wait(&ticket, call, naps.next()) {
                Ended::Notified | Ended::Told | Ended::Death => {}
                Ended::Bound => asked = None,
                Ended::TimedOut => return Err(Error::Timeout),
                Ended::Lost => return Err(Error::Corrupt),
            }
            // A wait that ends by a notify has not looked: and they may come again and again, for nothing.
            if call.deadline.has_passed() {
                return Err(Error::Timeout);
            }
        }
    }

    /// Takes a writer out: what it leaves is sound.
    #[inline]
    pub(crate) fn unlock_write(&self) {
        // Release: all that the holder wrote comes before it, so that one that dies after it leaves it whole.
        self.doubt.store(SOUND, Ordering::Release);
        // One is enough: if it is a reader, it wakes the others.
        self.gate.unlock();
    }

    /// Takes a writer out that leaves the state in doubt.
    #[cold]
    pub(crate) fn unlock_poisoned(&self) {
        self.doubt.store(IN_DOUBT, Ordering::Relaxed);
        self.gate.unlock_all();
    }

    /// Makes a writer a reader: what it leaves is sound, and no other writer comes in between. An error leaves it a writer.
    pub(crate) fn downgrade(&self, line: &ReaderLine, me: MemberId) -> Result<Reading> {
        self.count(line, me, Deadline::NEVER)?;
        // As in `unlock_write`.
        self.doubt.store(SOUND, Ordering::Release);
        // As in `read_behind_the_gate`.
        self.gate.unlock_all();
        Ok(Reading::InTheTally)
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.doubt.load(Ordering::Relaxed) == IN_DOUBT
    }
}

/// The word of `seen` that has the member's bit, and the bit.
fn bit_of(me: MemberId) -> (usize, u64) {
    (me.slot() as usize / 64, 1 << (me.slot() % 64))
}

#[cfg(all(test, not(commonhold_loom)))]
mod tests;
