//! The semaphore: a number of permits, and for each member how many of them it holds.
//!
//! What is true are `total` and the tallies; `available` is their difference, kept so that nobody has to add up. They change under
//! a lock, and each change has one store that makes it. The lock inherits itself from the dead: its heir adds up anew.
//! Fairness: none; a running acquirer may overtake a woken one.
//!
//! # Points of death
//!
//! | a member dies | the permits | who mends it |
//! |---|---|---|
//! | holding permits | are its own until somebody finds out: one who waits, or tries, in vain, or the next member in its slot | that one sets its tally to 0, which gives them back |
//! | acquiring, before the store of its tally | are as before | the next to lock adds up |
//! | acquiring, after it | the new one is its own: as above | as above; the next to lock adds up |
//! | releasing, before the store of its tally | are its own: as above | as above |
//! | releasing, after it | are as released | the next to lock adds up; the sweep wakes who is to be woken |
//! | forgetting, before the store of its tally | are its own: as above | as above |
//! | forgetting, after it and before the store of `total` | as released: the dead one's came back, and it forgot none | the next to lock adds up |
//! | adding, before / after the store of `total` | are as before / as added | the next to lock adds up; the sweep wakes |
//! | mending | are returned, one member's after another's, each by one store | the next who waits or tries in vain |
//!
//! To forget takes two stores. The tally's is the first: were it `total`'s, the heir of one that died in between might add up
//! more permits in hands than there are.

use super::member::{Call, MemberId, Membership};
use super::mutex::{Heir, RawMutex, Took};
use super::signal::RawSignal;
use super::tally::{Counted, Tally};
use super::wait::{Look, between_asks, wait_for_items};
use crate::error::{Error, Result};
use crate::sys::atomic::{AtomicU64, LoadOwn, Ordering};
use crate::sys::deadline::LastDone;

/// All zero is a semaphore without permits.
///
/// `total` is at least the sum of the tallies; a peer that breaks it causes `Err(Corrupt)`.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct RawSemaphore {
    pub(crate) lock: RawMutex,
    /// Permits were given back, or added.
    pub(crate) released: RawSignal,
    pub(crate) reserved: u32,
    /// The permits that exist: at most [`MOST`](Self::MOST). Stored only by holders of `lock`.
    pub(crate) total: AtomicU64,
    /// `total` less the sum of the tallies, as far as deaths are known. Stored only by holders of `lock`.
    pub(crate) available: AtomicU64,
}

/// Who holds the lock. Letting go of it wakes as many as permits have become available.
struct Turn<'a> {
    of: &'a RawSemaphore,
    tallies: &'a [Tally],
    /// Added up with saturation: where a peer scribbles it can be any number.
    freed: u64,
}

impl RawSemaphore {
    /// Permits that can exist at once: any member's tally can count them.
    pub(crate) const MOST: u64 = u32::MAX as u64;

    #[cfg(commonhold_loom)]
    pub(crate) fn new(permits: u64) -> RawSemaphore {
        RawSemaphore {
            lock: RawMutex::new(),
            released: RawSignal::new(),
            reserved: 0,
            total: AtomicU64::new(permits),
            available: AtomicU64::new(permits),
        }
    }

    /// Takes a permit, waiting for one until the deadline.
    ///
    /// `asked` is when the caller's handle last asked the kernel after those who hold permits. While permits come and go each wait may
    /// be too short to ask, and those of the dead would be missing for ever: so one attempt in vain asks, now and then.
    pub(crate) fn acquire<M: Membership>(
        &self,
        tallies: &[Tally],
        call: &Call<'_, M>,
        asked: &LastDone,
    ) -> Result<()> {
        if self.acquire_at_once(tallies, call.me) {
            return Ok(());
        }
        let attempt = |look| {
            let asks = || match look {
                Look::AskingAfterOwners => true,
                Look::AtOnce => asked.is_due(between_asks(tallies.len())),
                Look::Idly => false,
            };
            self.acquire_now(tallies, call, asks)
        };
        let is_there = || self.available() != 0;
        wait_for_items(call, &self.released, attempt, is_there, is_there)
    }

    /// As [`acquire`](Self::acquire), if a permit is there, nobody is at work, and the member's slot was its own before. `false`: it has none.
    #[inline]
    pub(crate) fn acquire_at_once(&self, tallies: &[Tally], me: MemberId) -> bool {
        self.available() != 0
            && self.change_own(tallies, me, |counted, available, total| {
                let mine = counted.checked_add(1)?;
                Some((
                    mine,
                    available.checked_sub(1).filter(|_| available <= total)?,
                ))
            })
    }

    /// As [`release`](Self::release), if nobody is at work. `false`: nothing was done.
    #[inline]
    pub(crate) fn release_at_once(&self, tallies: &[Tally], me: MemberId) -> bool {
        let released = self.change_own(tallies, me, |counted, available, total| {
            let mine = counted.checked_sub(1)?;
            Some((mine, available.checked_add(1).filter(|n| *n <= total)?))
        });
        if released {
            self.tell(1);
        }
        released
    }

    /// Under the lock, if it is free: what of the member's count, `available` and `total` is to become the first two of them.
    #[inline]
    fn change_own(
        &self,
        tallies: &[Tally],
        me: MemberId,
        change: impl FnOnce(u32, u64, u64) -> Option<(u32, u64)>,
    ) -> bool {
        if !self.lock.lock_at_once(me) {
            return false;
        }
        let tally = &tallies[me.slot() as usize];
        let word = tally.word.load_own();
        let own = Some(word as u32).filter(|count| Counted::word(me, *count) == word);
        let (available, total) = (self.available.load_own(), self.total.load_own());
        let changed = own.and_then(|count| change(count, available, total));
        if let Some((mine, available)) = changed {
            // This store takes the permit, or gives it back. Relaxed: the lock orders what only its holders store.
            tally.word.store(Counted::word(me, mine), Ordering::Relaxed);
            self.available.store(available, Ordering::Relaxed);
        }
        self.lock.unlock();
        changed.is_some()
    }

    /// The lock was left just now, and so many permits became available.
    #[inline]
    fn tell(&self, freed: u64) {
        // The unlock made a light fence: who waits looks twice.
        self.released
            .notify(u32::try_from(freed).unwrap_or(u32::MAX));
    }

    /// As [`acquire`](Self::acquire), at once: `Err(WouldBlock)` if there is none. Asks the kernel after those who hold them, so
    /// that one who only ever tries finds out about a death too.
    pub(crate) fn try_acquire<M: Membership>(
        &self,
        tallies: &[Tally],
        call: &Call<'_, M>,
    ) -> Result<()> {
        match self.acquire_now(tallies, call, || true) {
            Ok(true) => Ok(()),
            Ok(false) | Err(Error::Timeout) => Err(Error::WouldBlock),
            Err(e) => Err(e),
        }
    }

    /// One attempt, which asks after those who hold permits if there is none and `asks` says so.
    fn acquire_now<M: Membership>(
        &self,
        tallies: &[Tally],
        call: &Call<'_, M>,
        asks: impl FnOnce() -> bool,
    ) -> Result<bool> {
        let mut turn = self.turn(tallies, call)?;
        if turn.take(call.me)? {
            return Ok(true);
        }
        // Without the lock: many may wait, and ask, at once.
        drop(turn);
        if !asks() {
            return Ok(false);
        }
        if !self.are_held_by_the_dead(tallies, call.members) {
            return Ok(false);
        }
        turn = self.turn(tallies, call)?;
        turn.take_back_from_the_dead(call.members)?;
        turn.take(call.me)
    }

    /// Whether an attempt in vain would find permits to take back. Asks the kernel.
    pub(crate) fn are_held_by_the_dead<M: Membership>(
        &self,
        tallies: &[Tally],
        members: &M,
    ) -> bool {
        tallies.iter().any(|t| {
            // Relaxed, and no claim is made on it: it is looked at again under the lock.
            let counted = t.load(Ordering::Relaxed);
            counted.count != 0 && !counted.stand(members)
        })
    }

    /// Gives one of the caller's permits back.
    pub(crate) fn release<M: Membership>(
        &self,
        tallies: &[Tally],
        call: &Call<'_, M>,
    ) -> Result<()> {
        if self.release_at_once(tallies, call.me) {
            return Ok(());
        }
        let mut turn = self.turn(tallies, call)?;
        turn.let_go(call.me)?;
        turn.make_available(1)
    }

    /// Makes one of the caller's permits cease to exist.
    pub(crate) fn forget<M: Membership>(
        &self,
        tallies: &[Tally],
        call: &Call<'_, M>,
    ) -> Result<()> {
        let turn = self.turn(tallies, call)?;
        let total = self
            .total
            .load_own()
            .checked_sub(1)
            .ok_or_else(|| Error::Corrupt)?;
        turn.let_go(call.me)?;
        // Relaxed, here and below: the lock orders what only its holders store.
        self.total.store(total, Ordering::Relaxed);
        Ok(())
    }

    /// Makes `count` more permits.
    pub(crate) fn add<M: Membership>(
        &self,
        tallies: &[Tally],
        call: &Call<'_, M>,
        count: u64,
    ) -> Result<()> {
        let mut turn = self.turn(tallies, call)?;
        let total = self.total.load_own().saturating_add(count);
        if total > Self::MOST {
            return Err(Error::TooLarge {
                requested: total,
                limit: Self::MOST,
            });
        }
        self.total.store(total, Ordering::Relaxed);
        turn.make_available(count)
    }

    /// How many permits there were to be had a moment ago. Those of the dead count once somebody has found out.
    #[inline]
    pub(crate) fn available(&self) -> u64 {
        self.available.load(Ordering::Relaxed)
    }

    fn turn<'a, M: Membership>(
        &'a self,
        tallies: &'a [Tally],
        call: &Call<'_, M>,
    ) -> Result<Turn<'a>> {
        let took = self.lock.lock_inside(call, Heir::Inherits)?;
        let mut turn = Turn {
            of: self,
            tallies,
            freed: 0,
        };
        if took == Took::FromTheDead {
            turn.add_up()?;
        }
        Ok(turn)
    }
}

impl Turn<'_> {
    /// Takes a permit if there is any; those of a dead one that had the member's slot before are there.
    fn take(&mut self, me: MemberId) -> Result<bool> {
        let tally = &self.tallies[me.slot() as usize];
        let counted = Counted::of(tally.word.load_own());
        let (mine, others) = (counted.by(me), held(counted) - counted.by(me));
        let available = self
            .of
            .available
            .load_own()
            .checked_add(u64::from(others))
            .filter(|n| *n <= self.of.total.load_own())
            .ok_or_else(|| Error::Corrupt)?;
        if available == 0 {
            return Ok(false);
        }
        let mine = mine.checked_add(1).ok_or_else(|| Error::Corrupt)?;
        // This store takes the permit, and gives the dead one's back.
        tally.word.store(Counted::word(me, mine), Ordering::Relaxed);
        self.of.available.store(available - 1, Ordering::Relaxed);
        self.freed = self.freed.saturating_add(u64::from(others));
        Ok(true)
    }

    /// Takes a permit out of the member's hands.
    fn let_go(&self, me: MemberId) -> Result<()> {
        let tally = &self.tallies[me.slot() as usize];
        let mine = Counted::of(tally.word.load_own()).by(me);
        let left = mine.checked_sub(1).ok_or_else(|| Error::Corrupt)?;
        tally.word.store(Counted::word(me, left), Ordering::Relaxed);
        Ok(())
    }

    fn make_available(&mut self, count: u64) -> Result<()> {
        let available = self
            .of
            .available
            .load_own()
            .checked_add(count)
            .ok_or_else(|| Error::Corrupt)?;
        // Relaxed: a waiter that looks without the lock is told by the signal, see `drop`.
        self.of.available.store(available, Ordering::Relaxed);
        self.freed = self.freed.saturating_add(count);
        Ok(())
    }

    #[cold]
    fn take_back_from_the_dead<M: Membership>(&mut self, members: &M) -> Result<()> {
        for tally in self.tallies {
            let counted = Counted::of(tally.word.load_own());
            if counted.count != 0 && !counted.stand(members) {
                // This store gives them back.
                tally.word.store(0, Ordering::Relaxed);
                self.make_available(u64::from(held(counted)))?;
            }
        }
        Ok(())
    }

    /// For the heir of a holder that died: it may have changed what is true, and not `available`.
    #[cold]
    fn add_up(&mut self) -> Result<()> {
        let mut available = self.of.total.load_own();
        for tally in self.tallies {
            let counted = Counted::of(tally.word.load_own());
            available = available
                .checked_sub(u64::from(held(counted)))
                .ok_or_else(|| Error::Corrupt)?;
        }
        let before = self.of.available.load_own();
        self.of.available.store(available, Ordering::Relaxed);
        // And the dead one told nobody.
        self.freed = self.freed.saturating_add(available.saturating_sub(before));
        Ok(())
    }
}

/// How many permits a tally takes out of the pool: those that bear nobody's name are not out.
fn held(counted: Counted) -> u32 {
    counted.owner.map_or(0, |_| counted.count)
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.of.lock.unlock();
        if self.freed != 0 {
            self.of.tell(self.freed);
        }
    }
}

#[cfg(all(test, not(commonhold_loom)))]
mod tests {
    use super::*;
    use crate::raw::Nap;
    use crate::raw::oracles::Awake;
    use crate::sys::atomic::AtomicU32;
    use crate::sys::deadline::Deadline;
    use crate::sys::futex::Wake;
    use crate::sys::spin::Adaptive;
    use std::cell::Cell;
    use std::time::Duration;

    struct Pool {
        raw: RawSemaphore,
        tallies: [Tally; 2],
        spin: Adaptive,
    }

    impl Pool {
        fn of(total: u64, available: u64, tallies: [u64; 2]) -> Pool {
            Pool {
                raw: RawSemaphore {
                    lock: RawMutex::new(),
                    reserved: 0,
                    released: RawSignal::new(),
                    total: AtomicU64::new(total),
                    available: AtomicU64::new(available),
                },
                tallies: tallies.map(|word| Tally {
                    word: AtomicU64::new(word),
                }),
                spin: Adaptive::new(),
            }
        }

        fn call(&self, deadline: Deadline) -> Call<'_, Awake> {
            Call {
                members: &Awake,
                me: id(1, 7),
                spin: &self.spin,
                deadline,
            }
        }

        fn acquire(&self) -> Result<()> {
            let soon = Deadline::after(Duration::from_millis(5));
            let asked = LastDone::never();
            self.raw.acquire(&self.tallies, &self.call(soon), &asked)
        }

        fn release(&self) -> Result<()> {
            let call = self.call(Deadline::NEVER);
            self.raw.release(&self.tallies, &call)
        }
    }

    fn id(slot: u32, generation: u32) -> MemberId {
        MemberId::new(slot, generation).unwrap()
    }

    #[test]
    fn the_next_member_in_a_slot_gives_the_permits_of_the_dead_back() {
        let pool = Pool::of(5, 0, [0, Counted::word(id(1, 6), 5)]);
        pool.acquire().unwrap();
        assert_eq!(pool.raw.available(), 4);
        let mine = pool.tallies[1].load(Ordering::Relaxed);
        assert_eq!(mine.by(id(1, 7)), 1);
        pool.release().unwrap();
        assert_eq!(pool.raw.available(), 5);
    }

    #[test]
    fn numbers_that_contradict_each_other_are_an_error() {
        let [mine, others] = [id(1, 7), id(1, 6)].map(|id| Counted::word(id, u32::MAX));
        let corrupt = |pool: Pool| {
            assert!(matches!(pool.acquire(), Err(Error::Corrupt)));
            // And the lock is left.
            assert!(pool.raw.lock.lock_at_once(id(0, 1)));
        };
        corrupt(Pool::of(3, 4, [0; 2]));
        corrupt(Pool::of(3, u64::MAX, [0, others]));
        corrupt(Pool::of(u64::MAX, 1, [0, mine]));
        // What the dead holder of the lock left does not add up.
        let pool = Pool::of(3, 0, [Counted::word(id(0, 1), 4), 0]);
        // No member ever bore this name.
        pool.raw.lock.word.store(5, Ordering::Relaxed);
        corrupt(pool);
        let nothing_held = Pool::of(3, 3, [0; 2]);
        assert!(matches!(nothing_held.release(), Err(Error::Corrupt)));
        let full = Pool::of(3, u64::MAX, [0, Counted::word(id(1, 7), 1)]);
        assert!(matches!(full.release(), Err(Error::Corrupt)));
    }

    #[test]
    fn a_lock_that_is_never_left_does_not_outlast_a_deadline() {
        let pool = Pool::of(3, 3, [0; 2]);
        assert!(pool.raw.lock.lock_at_once(id(0, 1)));
        assert!(matches!(pool.acquire(), Err(Error::Timeout)));
        let tried = pool
            .raw
            .try_acquire(&pool.tallies, &pool.call(Deadline::PASSED));
        assert!(matches!(tried, Err(Error::WouldBlock)));
    }

    /// A semaphore of three slots, the last of which is ours; while a member of another is asked after, a peer scribbles.
    struct Scribbled {
        raw: RawSemaphore,
        tallies: [Tally; 3],
        scribble: fn(&Scribbled, asked: u32),
        asked: Cell<u32>,
    }

    impl Membership for Scribbled {
        fn is_alive(&self, id: MemberId) -> bool {
            let asked = self.asked.get();
            self.asked.set(asked + 1);
            (self.scribble)(self, asked);
            id.slot() == 2
        }

        fn deaths(&self) -> u32 {
            0
        }

        fn park(&self, _: &AtomicU32, _: u32, _: u32, _: Nap, _: Deadline) -> Wake {
            Wake::Again
        }
    }

    #[test]
    fn permits_without_end_that_come_back_are_too_many_and_no_panic() {
        let s = Scribbled {
            // SAFETY: all zero is a semaphore without permits.
            raw: unsafe { std::mem::zeroed() },
            // SAFETY: all zero are tallies of nobody.
            tallies: unsafe { std::mem::zeroed() },
            scribble: |s, asked| match asked {
                // Looking for the dead: more permits than there can be, and a dead one has the lock.
                0 => {
                    s.raw.total.store(u64::MAX, Ordering::Relaxed);
                    assert!(s.raw.lock.lock_at_once(id(0, 1)));
                }
                // Asking after the lock's holder.
                1 => {}
                // Taking back, after all was added up.
                2 => {
                    let all = Counted::word(id(1, 1), u32::MAX);
                    s.tallies[1].word.store(all, Ordering::Relaxed);
                    s.raw.available.store(0, Ordering::Relaxed);
                }
                _ => {}
            },
            asked: Cell::new(0),
        };
        let one = Counted::word(id(0, 1), 1);
        s.tallies[0].word.store(one, Ordering::Relaxed);
        let call = Call {
            members: &s,
            me: id(2, 1),
            spin: &Adaptive::new(),
            deadline: Deadline::PASSED,
        };
        s.raw.try_acquire(&s.tallies, &call).unwrap();
        assert_eq!(s.asked.get(), 4);
        assert_eq!(s.raw.available(), u64::from(u32::MAX));
    }
}
