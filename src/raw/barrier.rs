//! The barrier: parties wait until all have arrived.
//!
//! Arrivals are made under a lock; a phase ends by one exchange of the phase word, by the last to arrive, or without the lock by
//! whoever breaks it. What is written of an arrival bears the number of its phase, so that one exchange empties the barrier.
//! Fairness: if there are more threads than parties, whichever come first make up the phase.
//!
//! # Points of death
//!
//! | a member dies | the others see | who mends it |
//! |---|---|---|
//! | arriving, before its arrival is stored | nothing: who has not arrived is not known | – |
//! | the same, holding the lock while others wait | a broken barrier | the next to arrive or to reset, or a waiter: the heir of the lock |
//! | arrived, before the phase ended | a broken barrier, once a waiter has found out | a waiter, or the next member in its slot |
//! | arriving as the last, before / after the exchange of `phase` | as arrived / all are released | the same / the sweep ends the waits |
//! | resetting, before / after the exchange of `phase` | nothing, or as the second line / the barrier is whole | the heir of the lock counts the arrivals anew |
//! | breaking, before / after the exchange of `phase` | nothing / a broken barrier | the sweep ends the waits |

use super::member::{Call, MemberId, Membership, Nap};
use super::mutex::{Heir, LOST_AT_ONCE, RawMutex, Took};
use super::signal::{Ended, FIRST_NAP, RawSignal};
use crate::error::{Error, Result};
use crate::sys::atomic::{AtomicU32, AtomicU64, Ordering, fence_after_rmw};

/// All zero is a whole barrier at which nobody has arrived. All that a crossing touches is on one line.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct RawBarrier {
    pub(crate) lock: RawMutex,
    /// A phase has ended.
    pub(crate) moved: RawSignal,
    /// The arrivals in the current phase, or, where it is broken, anything. Stored only by holders of `lock`.
    pub(crate) arrived: AtomicU32,
    /// See [`Phase`].
    pub(crate) phase: AtomicU64,
}

/// The phase word.
///
/// | number (32..64) | BROKEN (31) | run (7..31) | history (0..7) | meaning |
/// |---|---|---|---|---|
/// | n | 0 | r | h | phase n is under way: parties may arrive |
/// | n | 1 | 0 | h, bit 0 set | phase n - 1 was broken, and phase n begins with a reset: nobody may arrive |
/// | n | 1 | r | h, another | left by nobody; the same |
///
/// Bit k of the history: phase n - 1 - k was broken; otherwise its parties were released. In the last r phases all were released (and
/// perhaps before).
///
/// With as many threads as parties none is late by more than one phase in which others were released, whatever broke in between.
/// With more, others make up phases in its place. One for whom neither history nor run tells is told that its phase was broken, with
/// which it can do no harm; for that, more than seven phases ended after its own with a break among them, or 16,777,215. One that is
/// late by 2^32 phases, to the number, takes another phase for its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Phase(u64);

const BROKEN: u64 = 1 << 31;
const HISTORY: u64 = (1 << REMEMBERED) - 1;
/// Phases whose ends the history tells.
const REMEMBERED: u32 = 7;
const LONGEST_RUN: u64 = (1 << (31 - REMEMBERED)) - 1;

/// How a phase ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Released,
    Broken,
}

impl End {
    /// What its parties are told.
    fn told(self) -> Result<()> {
        match self {
            End::Released => Ok(()),
            End::Broken => Err(Error::Broken),
        }
    }
}

impl Phase {
    fn number(self) -> u32 {
        (self.0 >> 32) as u32
    }

    fn is_broken(self) -> bool {
        self.0 & BROKEN != 0
    }

    /// How many phases in a row were released last, at the least.
    fn run(self) -> u64 {
        self.0 >> REMEMBERED & LONGEST_RUN
    }

    /// After the end of this phase.
    fn next(self, end: End) -> Phase {
        let number = u64::from(self.number().wrapping_add(1));
        let history = self.0 << 1 & HISTORY;
        let (run, broken) = match end {
            End::Released => ((self.run() + 1).min(LONGEST_RUN), 0),
            End::Broken => (0, 1),
        };
        Phase(number << 32 | run << REMEMBERED | history | broken)
    }

    fn broken(self) -> Phase {
        Phase(self.next(End::Broken).0 | BROKEN)
    }

    /// How the phase of that number ended, if it has.
    fn end_of(self, number: u32) -> Option<End> {
        let late = self.number().wrapping_sub(number);
        match late {
            0 => None,
            1..=REMEMBERED if self.0 & 1 << (late - 1) != 0 => Some(End::Broken),
            1..=REMEMBERED => Some(End::Released),
            _ if u64::from(late) <= self.run() => Some(End::Released),
            _ => Some(End::Broken),
        }
    }
}

/// The arrivals of one member slot. On a line of its own: it is written at each arrival.
#[repr(C, align(64))]
#[derive(Debug)]
pub(crate) struct Arrivals {
    /// Bits 32..64: the phase; bits 0..32: how many threads have arrived in it. It counts nothing in another phase (but in one whose
    /// number is the same, 2^32 phases later, when it can break a phase for nothing). The store of this is the arrival.
    pub(crate) count: AtomicU64,
    /// Who they are: the member's id. Stored before `count`; not changed while `count` is of the current phase.
    pub(crate) id: AtomicU32,
    pub(crate) reserved: [u32; 13],
}

impl RawBarrier {
    #[cfg(commonhold_loom)]
    pub(crate) fn new() -> RawBarrier {
        RawBarrier {
            lock: RawMutex::new(),
            moved: RawSignal::new(),
            arrived: AtomicU32::new(0),
            phase: AtomicU64::new(0),
        }
    }

    /// Arrives, and waits until the phase ends: `Ok(true)` for the last to arrive. Whoever gets `Err(Timeout)` has broken the
    /// barrier.
    #[inline]
    pub(crate) fn wait<M: Membership>(
        &self,
        parties: u32,
        all: &[Arrivals],
        call: &Call<'_, M>,
    ) -> Result<bool> {
        let leads = match self.arrive(parties, all, call) {
            Ok(None) => Ok(true),
            Ok(Some(number)) => self.wait_for_end(number, all, call).map(|()| false),
            Err(Error::Timeout) => {
                // Before it arrived, and it will not come any more.
                self.abort();
                Err(Error::Timeout)
            }
            Err(e) => Err(e),
        };
        // What was seen in a region that is lost means nothing, be it a release or a break.
        if !call.members.is_still(call.me) {
            return Err(Error::Corrupt);
        }
        leads
    }

    /// Makes the barrier whole and empty; those that wait get `Err(Broken)`.
    pub(crate) fn reset<M: Membership>(&self, all: &[Arrivals], call: &Call<'_, M>) -> Result<()> {
        let took = self.lock.lock_inside(call, Heir::Inherits)?;
        let turn = Turn(self);
        let pending = match took {
            Took::InOrder => self.arrived.load(Ordering::Relaxed),
            Took::FromTheDead => count(all, self.load().number()),
        };
        let ended = self.exchange(|now| {
            if now.is_broken() {
                Some(Phase(now.0 & !BROKEN))
            } else {
                (pending != 0).then(|| now.next(End::Broken))
            }
        });
        self.arrived.store(0, Ordering::Relaxed);
        drop(turn);
        if ended {
            self.notify_all();
        }
        Ok(())
    }

    /// Breaks the barrier, unless it is broken: those that wait, and those that come, get `Err(Broken)`.
    pub(crate) fn abort(&self) {
        if self.exchange(|now| (!now.is_broken()).then(|| now.broken())) {
            self.notify_all();
        }
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.load().is_broken()
    }

    /// How many had arrived in the current phase a moment ago.
    pub(crate) fn waiting(&self) -> u32 {
        match self.is_broken() {
            true => 0,
            false => self.arrived.load(Ordering::Relaxed),
        }
    }

    #[inline]
    fn load(&self) -> Phase {
        // Acquire: pairs with the Release of the exchange that ended a phase, so that what the parties did before they arrived is
        // seen by those that go on. (That the last saw it follows from the lock.)
        Phase(self.phase.load(Ordering::Acquire))
    }

    /// Arrives. The number of the phase, or `None` for the last, which has ended it.
    #[inline]
    fn arrive<M: Membership>(
        &self,
        parties: u32,
        all: &[Arrivals],
        call: &Call<'_, M>,
    ) -> Result<Option<u32>> {
        if self.is_broken() {
            return Err(Error::Broken);
        }
        let took = self.lock.lock_soon(call, Heir::Inherits)?;
        let turn = Turn(self);
        let now = self.load();
        if now.is_broken() {
            return Err(Error::Broken);
        }
        let number = now.number();
        let mine = &all[call.me.slot() as usize];
        if took == Took::FromTheDead && !self.inherit(all, number)
            || mine.count(number) != 0 && mine.id.load(Ordering::Relaxed) != call.me.bits()
        {
            // The dead was a party, or was ending the phase; or one that had our slot before was.
            // Before the lock is left: who dies in between is inherited from in its turn.
            self.break_phase(number);
            return Err(Error::Broken);
        }
        // Relaxed, here and below: the lock orders what only its holders store.
        let arrived = self.arrived.load(Ordering::Relaxed);
        if arrived >= parties {
            return Err(Error::Corrupt);
        }
        if arrived + 1 == parties {
            // Release: pairs with the Acquire in `load`; this exchange is the release of all.
            let released = self.phase.compare_exchange(
                now.0,
                now.next(End::Released).0,
                Ordering::Release,
                Ordering::Relaxed,
            );
            if released.is_err() {
                return Err(Error::Broken);
            }
            self.arrived.store(0, Ordering::Relaxed);
            drop(turn);
            self.notify_all();
            return Ok(None);
        }
        let count = mine
            .count(number)
            .checked_add(1)
            .ok_or_else(|| Error::Corrupt)?;
        mine.id.store(call.me.bits(), Ordering::Relaxed);
        // Release: pairs with the Acquire in `count`, so that who counts the arrival sees whose it is.
        mine.count.store(
            u64::from(number) << 32 | u64::from(count),
            Ordering::Release,
        );
        self.arrived.store(arrived + 1, Ordering::Relaxed);
        drop(turn);
        Ok(Some(number))
    }

    /// For the heir of a holder that died: whether the phase can go on, because nobody has arrived in it.
    #[cold]
    fn inherit(&self, all: &[Arrivals], number: u32) -> bool {
        let pending = count(all, number);
        self.arrived.store(pending, Ordering::Relaxed);
        pending == 0
    }

    #[inline]
    fn wait_for_end<M: Membership>(
        &self,
        number: u32,
        all: &[Arrivals],
        call: &Call<'_, M>,
    ) -> Result<()> {
        let mut spin = call.spin.begin();
        while spin.look_closely() {
            if let Some(end) = self.load().end_of(number) {
                spin.paid();
                return end.told();
            }
        }
        spin.was_in_vain();
        self.sleep_until_end(number, all, call)
    }

    #[cold]
    fn sleep_until_end<M: Membership>(
        &self,
        number: u32,
        all: &[Arrivals],
        call: &Call<'_, M>,
    ) -> Result<()> {
        let mut nap = FIRST_NAP;
        let mut asked = None;
        loop {
            let ticket = self.moved.register(call.members);
            if let Some(end) = self.load().end_of(number) {
                return end.told();
            }
            // Once, and again after each death that was found: there may be a thousand parties to ask after.
            if nap == Nap::UntilDeath && asked != Some(ticket.deaths) {
                asked = Some(ticket.deaths);
                if self.has_lost_a_party(number, all, call) {
                    // Which notifies us too.
                    self.break_phase(number);
                }
            }
            match self.moved.wait(&ticket, call, nap) {
                // By another phase's end, or for nothing, again and again.
                Ended::Notified if call.deadline.has_passed() => return self.give_up(number),
                Ended::Notified | Ended::Told => {}
                Ended::Death | Ended::Bound => nap = Nap::UntilDeath,
                Ended::TimedOut => return self.give_up(number),
                Ended::Lost => return Err(Error::Corrupt),
            }
        }
    }

    /// Whether one that had arrived is dead; or one that was arriving, or ending the phase: it holds the lock.
    fn has_lost_a_party<M: Membership>(
        &self,
        number: u32,
        all: &[Arrivals],
        call: &Call<'_, M>,
    ) -> bool {
        let is_dead = |a: &Arrivals| {
            a.count(number) != 0
                && MemberId::from_bits(a.id.load(Ordering::Relaxed))
                    .is_none_or(|id| id != call.me && !call.members.is_alive(id))
        };
        self.lock.is_held_by_the_dead(call.members) || all.iter().any(is_dead)
    }

    /// The deadline has passed: the phase is broken for the others, unless it has ended.
    #[cold]
    fn give_up(&self, number: u32) -> Result<()> {
        if self.break_phase(number) {
            return Err(Error::Timeout);
        }
        // Still under way only if somebody scribbles.
        self.load()
            .end_of(number)
            .map_or(Err(Error::Timeout), End::told)
    }

    /// Breaks the phase of that number, if it is still under way. Without the lock: its holder may be stopped.
    #[cold]
    fn break_phase(&self, number: u32) -> bool {
        let broke = self.exchange(|now| {
            let goes_on = now.number() == number && !now.is_broken();
            goes_on.then(|| now.broken())
        });
        if broke {
            self.notify_all();
        }
        broke
    }

    /// Changes the phase word to what `next` says, unless that is nothing.
    fn exchange(&self, next: impl Fn(Phase) -> Option<Phase>) -> bool {
        let mut now = self.load();
        // It changes once a phase; to lose so many times in a row takes a scribbler.
        for _ in 0..LOST_AT_ONCE {
            let Some(next) = next(now) else {
                return false;
            };
            // Release: as in `arrive`, for those that look at what was done before an abort. Acquire: as in `load`.
            match self
                .phase
                .compare_exchange(now.0, next.0, Ordering::Release, Ordering::Acquire)
            {
                Ok(_) => return true,
                Err(word) => now = Phase(word),
            }
        }
        false
    }

    /// After an exchange of the phase word.
    #[inline]
    fn notify_all(&self) {
        // The exchange was a read-modify-write. Pairs with the fence in `register`.
        fence_after_rmw();
        self.moved.notify(u32::MAX);
    }
}

impl Arrivals {
    #[cfg(commonhold_loom)]
    pub(crate) fn new() -> Arrivals {
        Arrivals {
            count: AtomicU64::new(0),
            id: AtomicU32::new(0),
            reserved: [0; 13],
        }
    }

    /// How many there are in the phase of that number.
    #[inline]
    fn count(&self, number: u32) -> u32 {
        // Acquire: pairs with the Release in `arrive`.
        let word = self.count.load(Ordering::Acquire);
        match (word >> 32) as u32 == number {
            true => word as u32,
            false => 0,
        }
    }
}

/// How many have arrived in the phase of that number.
fn count(all: &[Arrivals], number: u32) -> u32 {
    all.iter()
        .fold(0, |sum, a| sum.saturating_add(a.count(number)))
}

/// Who holds the lock.
struct Turn<'a>(&'a RawBarrier);

impl Drop for Turn<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.lock.unlock();
    }
}

#[cfg(all(test, not(commonhold_loom)))]
mod tests {
    use super::*;
    use crate::raw::oracles::Awake;
    use crate::sys::deadline::Deadline;
    use crate::sys::spin::Adaptive;
    use std::time::Duration;

    #[test]
    fn a_waiter_learns_how_its_own_phase_ended_however_late() {
        use End::*;
        let ends = [
            Released, Broken, Broken, Released, Released, Broken, Released,
        ];
        let after = |ends: &[End]| ends.iter().fold(Phase(0), |now, end| now.next(*end));
        for upto in 0..=ends.len() {
            let now = after(&ends[..upto]);
            assert!(!now.is_broken());
            for (number, end) in ends[..upto].iter().enumerate() {
                assert_eq!(now.end_of(number as u32), Some(*end));
            }
            assert_eq!(now.end_of(upto as u32), None);
        }
        let mut now = after(&ends).broken();
        assert!(now.is_broken());
        let first = now.number();
        assert_eq!(now.end_of(first - 1), Some(Broken));
        for late in 1..1000 {
            now = now.next(Released);
            assert_eq!(now.end_of(first), Some(Released), "{late}");
        }
        // Before the run, and before the history, nobody knows; and a release is not made up.
        assert_eq!(now.end_of(first - 2), Some(Broken));
    }

    #[test]
    fn numbers_and_runs_come_to_their_ends() {
        let last = Phase(u64::from(u32::MAX) << 32 | (BROKEN - 1) & !HISTORY);
        assert_eq!(last.run(), LONGEST_RUN);
        let now = last.next(End::Released);
        assert_eq!((now.number(), now.run()), (0, LONGEST_RUN));
        assert_eq!(now.end_of(u32::MAX), Some(End::Released));
        assert_eq!(now.broken().end_of(0), Some(End::Broken));
    }

    fn call(slot: u32, deadline: Deadline, spin: &Adaptive) -> Call<'_, Awake> {
        Call {
            members: &Awake,
            me: MemberId::new(slot, 1).unwrap(),
            spin,
            deadline,
        }
    }

    #[test]
    fn a_lock_that_is_never_left_does_not_outlast_a_deadline_and_breaks_the_barrier() {
        // SAFETY: all zero is a whole barrier at which nobody has arrived.
        let raw: RawBarrier = unsafe { std::mem::zeroed() };
        // SAFETY: all zero are no arrivals.
        let all: [Arrivals; 2] = unsafe { std::mem::zeroed() };
        let spin = Adaptive::new();
        assert!(raw.lock.lock_at_once(MemberId::new(0, 1).unwrap()));
        let soon = Deadline::after(Duration::from_millis(5));
        let waited = raw.wait(2, &all, &call(1, soon, &spin));
        assert!(matches!(waited, Err(Error::Timeout)));
        assert!(raw.is_broken());
    }

    #[test]
    fn numbers_that_contradict_each_other_are_an_error() {
        let spin = Adaptive::new();
        for arrived in [2, 3, u32::MAX] {
            // SAFETY: as above.
            let raw: RawBarrier = unsafe { std::mem::zeroed() };
            // SAFETY: as above.
            let all: [Arrivals; 2] = unsafe { std::mem::zeroed() };
            raw.arrived.store(arrived, Ordering::Relaxed);
            let waited = raw.wait(2, &all, &call(1, Deadline::NEVER, &spin));
            assert!(matches!(waited, Err(Error::Corrupt)));
        }
    }
}
