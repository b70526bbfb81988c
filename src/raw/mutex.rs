//! The lock: one word that names its owner.
//!
//! The algorithm is the futex mutex of Drepper ("Futexes Are Tricky") with the owner's name in the word, so that a
//! waiter can ask whether the owner lives. Fairness: none; a running locker may overtake a woken one.
//!
//! # Points of death
//!
//! | a member dies | the word says | who mends it |
//! |---|---|---|
//! | holding the lock | its id | the next locker or any waiter, within its nap: takes it over (see [`Heir`]) |
//! | after the unlocking swap, before the wake | free | a sleeper looks again after its nap |
//! | woken, before it took the lock | free or another's | the other sleepers look again after their naps |
//! | after it set WAITERS, before it slept | WAITERS too many | the next unlock makes one wake in vain |

use super::member::{Call, MemberId, Membership, Nap, owner_is_alive};
use crate::error::{Error, Result};
use crate::sys::atomic::{AtomicU32, Ordering};
use crate::sys::deadline::Deadline;
use crate::sys::futex::{self, Wake};
use std::time::Duration;

/// The lock word.
///
/// | POISONED (31) | WAITERS (30) | owner (0..30) | meaning |
/// |---|---|---|---|
/// | 0 | 0 | 0 | free |
/// | 0 | 1 | 0 | free, and somebody may sleep: left by nobody, taken like free |
/// | 0 | 0 | id | held, nobody sleeps |
/// | 0 | 1 | id | held, somebody may sleep: the unlocker wakes one |
/// | 1 | 0 | 0 | free, the state behind it in doubt: only an heir that takes it in doubt may hold it |
/// | 1 | 1 | 0 | the same, and somebody may sleep |
/// | 1 | 0 | id | held by one who mends the state; sound again when that one unlocks |
/// | 1 | 1 | id | the same, and somebody may sleep |
///
/// An owner that no member ever bore (scribbled) is dead.
#[repr(transparent)]
#[derive(Debug)]
pub(crate) struct RawMutex {
    pub(crate) word: AtomicU32,
}

const WAITERS: u32 = 1 << 30;
const POISONED: u32 = 1 << 31;

/// What a locker does with a lock whose owner died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heir {
    /// Marks it poisoned and gets `Err(Poisoned)`.
    Refuses,
    /// Takes it, poisoned; its unlock makes it sound.
    Recovers,
    /// Takes it: every state behind the lock is valid.
    Inherits,
}

/// How a lock was got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Took {
    /// Its last holder left it in order.
    InOrder,
    /// Its last holder died with it.
    FromTheDead,
}

impl RawMutex {
    pub(crate) const FREE: u32 = 0;

    #[cfg(commonhold_loom)]
    pub(crate) fn new() -> RawMutex {
        RawMutex {
            word: AtomicU32::new(Self::FREE),
        }
    }

    /// Locks if the lock is free, sound, and nobody waits.
    #[inline]
    pub(crate) fn lock_at_once(&self, me: MemberId) -> bool {
        // Acquire: as in `lock`.
        self.word
            .compare_exchange(Self::FREE, me.bits(), Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// Locks, waiting until the call's deadline.
    #[inline]
    pub(crate) fn lock<M: Membership>(&self, call: &Call<'_, M>, heir: Heir) -> Result<Took> {
        // Acquire: pairs with the Release of `unlock`, so that what the last holder wrote is seen.
        match self.word.compare_exchange(
            Self::FREE,
            call.me.bits(),
            Ordering::Acquire,
            Ordering::Relaxed,
        ) {
            Ok(_) => Ok(Took::InOrder),
            Err(_) => self.lock_contended(call, heir),
        }
    }

    /// Locks if that is possible at once; otherwise `Err(WouldBlock)`. Asks the kernel after the owner, so that
    /// one who only ever tries finds out about a death too.
    #[inline]
    pub(crate) fn try_lock<M: Membership>(
        &self,
        members: &M,
        me: MemberId,
        heir: Heir,
    ) -> Result<Took> {
        // Acquire: as in `lock`.
        match self.word.compare_exchange(
            Self::FREE,
            me.bits(),
            Ordering::Acquire,
            Ordering::Relaxed,
        ) {
            Ok(_) => Ok(Took::InOrder),
            Err(word) => self.try_lock_contended(members, me, heir, word, 0),
        }
    }

    /// As [`try_lock`](Self::try_lock), for one that a wake has chosen (it slept by another's thread): others may still sleep, and the
    /// word goes on saying so.
    #[cfg(any(feature = "async", commonhold_loom))]
    pub(crate) fn try_lock_woken<M: Membership>(
        &self,
        members: &M,
        me: MemberId,
        heir: Heir,
    ) -> Result<Took> {
        let word = self.word.load(Ordering::Relaxed);
        let took = self.try_lock_contended(members, me, heir, word, WAITERS);
        if matches!(took, Err(Error::Poisoned)) {
            // As in `lock_unless`.
            futex::wake(&self.word, u32::MAX);
        }
        took
    }

    /// Says in the word, which was `word` a moment ago, that somebody is about to sleep on it; the word as it is then. `None`: it has
    /// changed: look again. It may be free: then whoever takes it wakes the sleeper when it leaves it.
    #[cfg(any(feature = "async", commonhold_loom))]
    pub(crate) fn say_asleep(&self, word: u32) -> Option<u32> {
        let asleep = word | WAITERS;
        // Relaxed: as in `lock_unless`.
        (word == asleep
            || self
                .word
                .compare_exchange(word, asleep, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok())
        .then_some(asleep)
    }

    /// Locks inside another machine's call, for a few stores or a copy. A `try_` form, whose deadline is [`Deadline::PASSED`], waits
    /// for the holder too, but only for [`TRY_PATIENCE`]: then `Err(WouldBlock)` or `Err(Timeout)`.
    #[inline]
    pub(crate) fn lock_inside<M: Membership>(
        &self,
        call: &Call<'_, M>,
        heir: Heir,
    ) -> Result<Took> {
        if self.lock_at_once(call.me) {
            return Ok(Took::InOrder);
        }
        self.lock_inside_contended(call, heir)
    }

    #[cold]
    fn lock_inside_contended<M: Membership>(&self, call: &Call<'_, M>, heir: Heir) -> Result<Took> {
        if call.deadline != Deadline::PASSED {
            return self.lock_contended(call, heir);
        }
        match self.try_lock(call.members, call.me, heir) {
            #[cfg(not(commonhold_loom))]
            Err(Error::WouldBlock) => self.lock(
                &Call {
                    deadline: Deadline::after(TRY_PATIENCE),
                    ..*call
                },
                heir,
            ),
            other => other,
        }
    }

    #[cold]
    fn try_lock_contended<M: Membership>(
        &self,
        members: &M,
        me: MemberId,
        heir: Heir,
        mut word: u32,
        waited: u32,
    ) -> Result<Took> {
        for _ in 0..LOST_AT_ONCE {
            let step = if is_free(word) {
                self.take_free(word, me, waited, heir)
            } else if owner_is_alive(word, members) {
                return Err(Error::WouldBlock);
            } else {
                self.take_from_the_dead(word, me, waited, heir)
            };
            match step {
                Ok(took) => return took,
                Err(now) => word = now,
            }
        }
        Err(Error::WouldBlock)
    }

    /// Unlocks a sound lock, or one whose state the holder has mended.
    #[inline]
    pub(crate) fn unlock(&self) {
        // Release: pairs with the Acquire of whoever locks next.
        if self.word.swap(Self::FREE, Ordering::Release) & WAITERS != 0 {
            self.wake_one();
        }
    }

    /// As [`unlock`](Self::unlock), and wakes all who sleep: for those that hold it so briefly that each can let the next in.
    #[cold]
    pub(crate) fn unlock_all(&self) {
        self.leave_to_all(Self::FREE);
    }

    /// Unlocks, leaving the state behind the lock in doubt.
    #[cold]
    pub(crate) fn unlock_poisoned(&self) {
        // All: each of them gets an error, so none would wake the next.
        self.leave_to_all(POISONED);
    }

    fn leave_to_all(&self, left: u32) {
        // Release: as in `unlock`.
        if self.word.swap(left, Ordering::Release) & WAITERS != 0 {
            futex::wake(&self.word, u32::MAX);
        }
    }

    /// Whether the next to lock would take it from the dead. Asks the kernel.
    pub(crate) fn is_held_by_the_dead<M: Membership>(&self, members: &M) -> bool {
        let word = self.word.load(Ordering::Relaxed);
        !is_free(word) && !owner_is_alive(word, members)
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.word.load(Ordering::Relaxed) & POISONED != 0
    }

    #[cold]
    fn wake_one(&self) {
        futex::wake(&self.word, 1);
    }

    /// As [`lock`](Self::lock), after [`lock_at_once`](Self::lock_at_once) failed.
    #[cold]
    pub(crate) fn lock_contended<M: Membership>(
        &self,
        call: &Call<'_, M>,
        heir: Heir,
    ) -> Result<Took> {
        self.lock_unless(call, heir, || Ok(false))
            .map(|took| took.expect("there is nothing else"))
    }

    /// Locks, waiting until the call's deadline. Whenever it finds the lock free before it has slept, it tries `instead` first: if
    /// that succeeds, it is `None`, and not locked.
    pub(crate) fn lock_unless<M: Membership>(
        &self,
        call: &Call<'_, M>,
        heir: Heir,
        mut instead: impl FnMut() -> Result<bool>,
    ) -> Result<Option<Took>> {
        let mut spin = call.spin.begin();
        let mut naps = Naps::new();
        // WAITERS once we have slept: we can't know whether others still do, so the word must go on saying it.
        let mut waited = 0;
        // Before the word: a death after this ends the nap.
        let mut deaths = call.members.deaths();
        let mut word = self.word.load(Ordering::Relaxed);
        // The owner that was alive when we last asked. Each owner is asked after before we sleep on its word, and again
        // when a nap ran out or a death was found.
        let mut asked = 0;
        // Whether a nap was in vain, so that it pays to ask more closely.
        let mut closely = false;
        let mut lost = 0;
        loop {
            if is_free(word) {
                if waited == 0 && instead()? {
                    spin.paid();
                    return Ok(None);
                }
                match self.take_free(word, call.me, waited, heir) {
                    Ok(took) => {
                        if took.is_err() && waited != 0 {
                            // A wake may have chosen us, and whoever left the doubt may have known of no sleepers: then
                            // nobody else would wake the others.
                            futex::wake(&self.word, u32::MAX);
                        }
                        if waited == 0 {
                            spin.paid();
                        }
                        return took.map(Some);
                    }
                    Err(now) => {
                        word = now;
                        self.lose(&mut lost, waited, call.deadline)?;
                        continue;
                    }
                }
            }
            // With sleepers before us the lock is busy for long: spinning would only delay.
            if waited == 0 && word & WAITERS == 0 && spin.back_off() {
                word = self.word.load(Ordering::Relaxed);
                continue;
            }
            if asked != word & MemberId::MASK {
                let lives = |owner| match closely {
                    true => call.members.is_alive(owner),
                    false => call.members.seems_alive(owner),
                };
                if !MemberId::from_bits(word).is_some_and(lives) {
                    match self.take_from_the_dead(word, call.me, waited, heir) {
                        Ok(took) => return took.map(Some),
                        Err(now) => {
                            word = now;
                            self.lose(&mut lost, waited, call.deadline)?;
                            continue;
                        }
                    }
                }
                asked = word & MemberId::MASK;
            }
            // Before the deadline is looked at: if an unlocker's wake chose us, the next unlock must wake another.
            if word & WAITERS == 0 {
                // Relaxed: the bit only asks for a wake; what the lock guards is ordered by taking and leaving it.
                if let Err(now) = self.word.compare_exchange(
                    word,
                    word | WAITERS,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                ) {
                    word = now;
                    self.lose(&mut lost, waited, call.deadline)?;
                    continue;
                }
                word |= WAITERS;
                if waited == 0 {
                    naps.keep_watch();
                }
            }
            if call.deadline.has_passed() {
                return Err(Error::Timeout);
            }
            if waited == 0 {
                spin.was_in_vain();
            }
            let wake = call
                .members
                .park(&self.word, word, deaths, naps.next(), call.deadline);
            waited = WAITERS;
            if !call.members.is_still(call.me) {
                // The region is lost, and with it whoever was to unlock.
                return Err(Error::Corrupt);
            }
            let now = call.members.deaths();
            closely = wake == Wake::TimedOut || now != deaths;
            if closely {
                asked = 0;
            }
            deaths = now;
            word = self.word.load(Ordering::Relaxed);
        }
    }

    /// Counts an exchange that failed because the word had changed; now and then looks whether the deadline has passed.
    #[cold]
    fn lose(&self, lost: &mut u32, waited: u32, deadline: Deadline) -> Result<()> {
        *lost += 1;
        if *lost < LOST_AT_ONCE {
            return Ok(());
        }
        *lost = 0;
        if !deadline.has_passed() {
            return Ok(());
        }
        if waited != 0 {
            // A wake may have chosen us, and we have not said in the word that others sleep: pass it on.
            futex::wake(&self.word, 1);
        }
        Err(Error::Timeout)
    }

    /// Takes a lock that `word` says nobody holds. The outer `Err` is the word as it is now: look again.
    fn take_free(
        &self,
        word: u32,
        me: MemberId,
        waited: u32,
        heir: Heir,
    ) -> Result<Result<Took>, u32> {
        let poisoned = word & POISONED;
        let keep = match heir {
            Heir::Refuses if poisoned != 0 => return Ok(Err(Error::Poisoned)),
            Heir::Refuses | Heir::Inherits => word & WAITERS,
            Heir::Recovers => word & (WAITERS | POISONED),
        };
        let took = if poisoned == 0 {
            Took::InOrder
        } else {
            Took::FromTheDead
        };
        // Acquire: as in `lock`.
        self.word
            .compare_exchange(
                word,
                keep | waited | me.bits(),
                Ordering::Acquire,
                Ordering::Relaxed,
            )
            .map(|_| Ok(took))
    }

    /// Takes over, or marks, a lock whose owner is dead. The outer `Err` is the word as it is now: look again.
    #[cold]
    fn take_from_the_dead(
        &self,
        word: u32,
        me: MemberId,
        waited: u32,
        heir: Heir,
    ) -> Result<Result<Took>, u32> {
        let waiters = word & WAITERS | waited;
        let (next, result) = match heir {
            Heir::Refuses => (POISONED, Err(Error::Poisoned)),
            Heir::Recovers => (POISONED | waiters | me.bits(), Ok(Took::FromTheDead)),
            Heir::Inherits => (waiters | me.bits(), Ok(Took::FromTheDead)),
        };
        // Acquire: the dead made no Release; that its last writes are seen follows from the kernel's having told us of
        // its death, which it does after its last instruction. AcqRel, so that those who see POISONED see them too.
        self.word
            .compare_exchange(word, next, Ordering::AcqRel, Ordering::Relaxed)?;
        if heir == Heir::Refuses && waiters != 0 {
            futex::wake(&self.word, u32::MAX);
        }
        Ok(result)
    }
}

/// How long a `try_` form waits for a lock inside a machine. It is held for the time of a copy, unless its holder is stopped or
/// preempted.
#[cfg(not(commonhold_loom))]
pub(super) const TRY_PATIENCE: Duration = Duration::from_millis(1);

/// Unlocks also when the caller's closure panics, where that leaves nothing in doubt.
/// In a child that was forked by the closure it is inert: the lock is the parent's.
pub(super) struct UnlockOnDrop<'a, M: Membership>(
    pub(super) &'a RawMutex,
    pub(super) &'a Call<'a, M>,
);

impl<M: Membership> Drop for UnlockOnDrop<'_, M> {
    #[inline]
    fn drop(&mut self) {
        if self.1.members.is_still(self.1.me) {
            self.0.unlock();
        }
    }
}

/// How many exchanges a call may lose before it looks whether its time is up. To members that keep the protocol one loses a
/// few, each to somebody who got on; to a scribbler that changes the word again and again, any number.
pub(crate) const LOST_AT_ONCE: u32 = 64;

pub(crate) fn is_free(word: u32) -> bool {
    word & MemberId::MASK == 0
}

/// How long to sleep, one sleep after another: short ones at first, after each of which the owner is asked after, then
/// long ones that end when the sweep finds a death.
pub(crate) struct Naps {
    taken: u32,
    /// How many of those who keep watch come before all others.
    watch: u32,
}

impl Naps {
    const SHORT_ONES: u32 = 8;
    const FIRST: Duration = Duration::from_millis(1);
    const LONGEST: Duration = Duration::from_millis(20);
    /// One who keeps watch takes so many of these first.
    const WATCH: u32 = 20;
    const WATCHING: Duration = Duration::from_micros(800);

    pub(crate) fn new() -> Naps {
        Naps { taken: 0, watch: 0 }
    }

    /// Nobody is known to sleep who would ask after the owner: so this one does, again and again, for a while. If all did, a crowd would keep
    /// the processors busy with it.
    pub(crate) fn keep_watch(&mut self) {
        self.watch = Self::WATCH;
    }

    pub(crate) fn next(&mut self) -> Nap {
        if self.watch > 0 {
            self.watch -= 1;
            return Nap::AtMost(Self::WATCHING);
        }
        if self.taken == Self::SHORT_ONES {
            return Nap::UntilDeath;
        }
        let nap = (Self::FIRST * (1 << self.taken)).min(Self::LONGEST);
        self.taken += 1;
        Nap::AtMost(nap)
    }
}

#[cfg(all(test, not(commonhold_loom)))]
mod tests {
    use super::*;
    use crate::sys::spin::Adaptive;

    #[test]
    fn naps_double_to_their_limit_and_then_rely_on_the_sweep() {
        let mut naps = Naps::new();
        let ms = |n| Nap::AtMost(Duration::from_millis(n));
        let got: Vec<Nap> = (0..10).map(|_| naps.next()).collect();
        let want = [1, 2, 4, 8, 16, 20, 20, 20].map(ms);
        assert_eq!(got[..8], want);
        assert_eq!(got[8..], [Nap::UntilDeath; 2]);
    }

    #[test]
    fn who_keeps_watch_takes_many_shorter_naps_before_all_others() {
        let mut naps = Naps::new();
        naps.keep_watch();
        let mut others = Naps::new();
        for _ in 0..20 {
            assert_eq!(naps.next(), Nap::AtMost(Duration::from_micros(800)));
        }
        for _ in 0..10 {
            assert_eq!(naps.next(), others.next());
        }
    }

    /// A hostile peer: whenever somebody asks after the owner, the word names another before the answer is there.
    struct Restless<'a> {
        mutex: &'a RawMutex,
        says: bool,
    }

    impl Membership for Restless<'_> {
        fn is_alive(&self, id: MemberId) -> bool {
            let next = MemberId::new(id.slot(), MemberId::next_generation(id.generation()));
            self.mutex
                .word
                .store(next.unwrap().bits(), Ordering::Relaxed);
            self.says
        }

        fn deaths(&self) -> u32 {
            0
        }

        fn park(&self, _: &AtomicU32, _: u32, _: u32, _: Nap, _: Deadline) -> Wake {
            Wake::Again
        }
    }

    #[test]
    fn a_word_that_never_stands_still_does_not_outlast_a_deadline() {
        let id = MemberId::new(3, 1).unwrap();
        let mutex = RawMutex {
            word: AtomicU32::new(id.bits()),
        };
        for says in [false, true] {
            let members = Restless {
                mutex: &mutex,
                says,
            };
            for heir in [Heir::Refuses, Heir::Recovers, Heir::Inherits] {
                let call = Call {
                    members: &members,
                    me: MemberId::new(5, 1).unwrap(),
                    spin: &Adaptive::new(),
                    deadline: Deadline::after(Duration::from_millis(5)),
                };
                assert!(matches!(mutex.lock(&call, heir), Err(Error::Timeout)));
                let tried = mutex.try_lock(&members, call.me, heir);
                assert!(matches!(tried, Err(Error::WouldBlock)));
            }
        }
    }
}
