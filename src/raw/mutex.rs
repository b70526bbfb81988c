//! The lock: a word that names its owner, and a signal for those who wait.
//!
//! The owner's name stands in the word, so that a waiter can ask whether the owner lives. While it does, nobody else stores to the word: so
//! the unlock is a plain store. Whether somebody waits says the other word. Who unlocks looks at it behind a *light* fence, and who waits
//! looks at the lock twice before it sleeps for long (`sys/asymmetric.rs`). What keeps holders apart never hangs on that: only a wake-up does.
//!
//! An unlock wakes one sleeper and takes the bits away by which it knew of it (the wake and the turn are [handed on](RawSignal::hand_on)); that one
//! puts them back before it looks, because others may sleep on. So between the two no unlock makes another wake, and no
//! sleeper is forgotten: whoever was woken takes the lock, and unlocks it with the bits set, or sleeps again, with the bits set, or goes away, and
//! wakes another. (The idea: the third state of Drepper's mutex, "Futexes Are Tricky".)
//!
//! Fairness: none; a running locker may overtake a woken one.
//!
//! # Points of death
//!
//! | a member dies | the words say | who mends it |
//! |---|---|---|
//! | holding the lock | its id | the next locker or any waiter, within its nap: takes it over (see [`Heir`]) |
//! | after the unlocking store, before the wake | free, and somebody may sleep | a sleeper looks again after its nap |
//! | after it took the bits away, before the wake | free or another's | the same |
//! | woken, before it took the lock | free or another's | the other sleepers look again after their naps |
//! | after it registered, before it slept | the bits are too many | the next unlock bumps the count, or makes one wake, in vain |

mod naps;

pub(crate) use self::naps::Naps;

use super::looking_twice::looking_twice;
use super::member::{Call, MemberId, Membership, owner_is_alive};
use super::signal::{Ended, RawSignal};
use crate::error::{Error, Result};
use crate::sys::asymmetric::light_fence;
use crate::sys::atomic::{AtomicU32, Ordering, fence, fence_after_rmw};
use crate::sys::deadline::Deadline;
#[cfg(not(commonhold_loom))]
use std::time::Duration;

/// All zero is free and sound, and nobody waits.
///
/// `word`:
///
/// | POISONED (31) | 30 | owner (0..30) | meaning |
/// |---|---|---|---|
/// | 0 | 0 | 0 | free |
/// | 0 | 0 | id | held |
/// | 1 | 0 | 0 | free, the state behind it in doubt: only an heir that takes it in doubt may hold it |
/// | 1 | 0 | id | held by one who mends the state; sound again when that one unlocks |
/// | any | 1 | any | left by nobody; taken as without the bit |
///
/// An owner that no member ever bore (scribbled) is dead.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct RawMutex {
    pub(crate) word: AtomicU32,
    /// That the lock was left.
    pub(crate) freed: RawSignal,
}

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

    pub(crate) fn new() -> RawMutex {
        RawMutex {
            word: AtomicU32::new(Self::FREE),
            freed: RawSignal::new(),
        }
    }

    /// Locks if the lock is free and sound.
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
            Err(word) => self.try_lock_contended(members, me, heir, word),
        }
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

    /// As [`lock_inside`](Self::lock_inside), where whoever else comes at the same time holds it for a few stores: looks closely first.
    #[inline]
    pub(crate) fn lock_soon<M: Membership>(&self, call: &Call<'_, M>, heir: Heir) -> Result<Took> {
        if self.lock_at_once(call.me) {
            return Ok(Took::InOrder);
        }
        let mut spin = call.spin.begin();
        for _ in 0..CLOSE_LOOKS {
            if !spin.look_closely() {
                break;
            }
            // The load first: an exchange would take the line from the holder for nothing.
            if self.word.load(Ordering::Relaxed) == Self::FREE && self.lock_at_once(call.me) {
                return Ok(Took::InOrder);
            }
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
    ) -> Result<Took> {
        for _ in 0..LOST_AT_ONCE {
            let step = if is_free(word) {
                self.take_free(word, me, heir)
            } else if owner_is_alive(word, members) {
                return Err(Error::WouldBlock);
            } else {
                self.take_from_the_dead(word, me, heir)
            };
            match step {
                Ok(took) => return took,
                Err(now) => word = now,
            }
        }
        Err(Error::WouldBlock)
    }

    /// Unlocks a sound lock, or one whose state the holder has mended. It makes a light fence, and no other: behind it, all are told of what
    /// was stored before who look twice.
    #[inline]
    pub(crate) fn unlock(&self) {
        // Release: pairs with the Acquire of whoever locks next.
        self.word.store(Self::FREE, Ordering::Release);
        // Light: one who waits and whom we do not see looks twice.
        light_fence();
        self.freed.hand_on();
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
        self.word.store(left, Ordering::Release);
        // Pairs with the one in `register`: none of them need look twice.
        fence(Ordering::SeqCst);
        self.freed.notify(u32::MAX);
    }

    /// Whether the next to lock would take it from the dead. Asks the kernel.
    pub(crate) fn is_held_by_the_dead<M: Membership>(&self, members: &M) -> bool {
        let word = self.word.load(Ordering::Relaxed);
        !is_free(word) && !owner_is_alive(word, members)
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.word.load(Ordering::Relaxed) & POISONED != 0
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

    /// Locks, waiting until the call's deadline. Whenever it finds the lock free while it spins, it tries `instead` first: if
    /// that succeeds, it is `None`, and not locked.
    pub(crate) fn lock_unless<M: Membership>(
        &self,
        call: &Call<'_, M>,
        heir: Heir,
        mut instead: impl FnMut() -> Result<bool>,
    ) -> Result<Option<Took>> {
        let mut spin = call.spin.begin();
        let mut word = self.word.load(Ordering::Relaxed);
        let mut lost = 0;
        loop {
            if is_free(word) {
                if instead()? {
                    spin.paid();
                    return Ok(None);
                }
                match self.take_free(word, call.me, heir) {
                    Ok(took) => {
                        spin.paid();
                        return took.map(Some);
                    }
                    Err(now) => word = now,
                }
                lose(&mut lost, call.deadline)?;
                continue;
            }
            // With sleepers before us the lock is busy for long: spinning would only delay.
            if self.freed.has_sleepers() || !spin.back_off() {
                break;
            }
            word = self.word.load(Ordering::Relaxed);
        }
        spin.was_in_vain();
        self.lock_asleep(call, heir).map(Some)
    }

    /// The rest of [`lock_unless`](Self::lock_unless), for one who has spun for long enough, or had better not.
    fn lock_asleep<M: Membership>(&self, call: &Call<'_, M>, heir: Heir) -> Result<Took> {
        let is_left = || is_free(self.word.load(Ordering::Relaxed));
        looking_twice(call, &is_left, |call| self.lock_between_naps(call, heir))
    }

    fn lock_between_naps<M: Membership>(&self, call: &Call<'_, M>, heir: Heir) -> Result<Took> {
        let mut naps = Naps::new();
        if !self.freed.has_sleepers() {
            naps.keep_watch();
        }
        let mut slept = false;
        // The owner that was alive when we last asked. Each owner is asked after before we sleep, and again when a nap ran out or a
        // death was found.
        let mut asked = 0;
        // Whether a nap was in vain, so that it pays to ask more closely.
        let mut closely = false;
        let mut deaths = call.members.deaths();
        let mut lost = 0;
        loop {
            // Before the word is looked at, and its owner asked after: a death after this ends the nap, as an unlock does.
            let ticket = match slept {
                false => self.freed.register(call.members),
                true => self.freed.register_woken(call.members),
            };
            // Also if an unlock ended the nap: who died may have the lock again by now.
            if ticket.deaths != deaths {
                deaths = ticket.deaths;
                closely = true;
                asked = 0;
            }
            let word = self.word.load(Ordering::Relaxed);
            let step = if is_free(word) {
                Some(self.take_free(word, call.me, heir))
            } else if asked == word & MemberId::MASK {
                None
            } else {
                let lives = |owner| match closely {
                    true => call.members.is_alive(owner),
                    false => call.members.seems_alive(owner),
                };
                let lives = MemberId::from_bits(word).is_some_and(lives);
                (!lives).then(|| self.take_from_the_dead(word, call.me, heir))
            };
            match step {
                None => asked = word & MemberId::MASK,
                Some(Ok(took)) => {
                    if took.is_err() && slept {
                        // A wake may have chosen us, and whoever left the doubt may have known of no sleepers: then nobody else would
                        // wake the others.
                        self.freed.notify(u32::MAX);
                    }
                    return took;
                }
                Some(Err(_)) => {
                    lose(&mut lost, call.deadline).inspect_err(|_| self.give_up(slept))?;
                    continue;
                }
            }
            if call.deadline.has_passed() {
                self.give_up(slept);
                return Err(Error::Timeout);
            }
            let ended = self.freed.wait(&ticket, call, naps.now());
            if ended != Ended::Told {
                naps.next();
                slept = true;
            }
            match ended {
                // The region is lost, and with it whoever was to unlock; or we are a forked child.
                Ended::Lost => return Err(Error::Corrupt),
                Ended::Notified => closely = false,
                Ended::Told => {}
                Ended::Bound | Ended::TimedOut | Ended::Death => {
                    closely = true;
                    asked = 0;
                }
            }
        }
    }

    /// The caller goes away without the lock. If it slept, a wake may have chosen it: that is another's.
    #[cold]
    fn give_up(&self, slept: bool) {
        if slept {
            self.freed.hand_on();
        }
    }

    /// Takes a lock that `word` says nobody holds. The outer `Err` is the word as it is now: look again.
    fn take_free(&self, word: u32, me: MemberId, heir: Heir) -> Result<Result<Took>, u32> {
        let (next, took) = match (heir, word & POISONED) {
            (_, 0) => (me.bits(), Took::InOrder),
            (Heir::Refuses, _) => return Ok(Err(Error::Poisoned)),
            (Heir::Recovers, _) => (POISONED | me.bits(), Took::FromTheDead),
            (Heir::Inherits, _) => (me.bits(), Took::FromTheDead),
        };
        // Acquire: as in `lock`.
        self.word
            .compare_exchange(word, next, Ordering::Acquire, Ordering::Relaxed)
            .map(|_| Ok(took))
    }

    /// Takes over, or marks, a lock whose owner is dead. The outer `Err` is the word as it is now: look again.
    #[cold]
    fn take_from_the_dead(&self, word: u32, me: MemberId, heir: Heir) -> Result<Result<Took>, u32> {
        let (next, result) = match heir {
            Heir::Refuses => (POISONED, Err(Error::Poisoned)),
            Heir::Recovers => (POISONED | me.bits(), Ok(Took::FromTheDead)),
            Heir::Inherits => (me.bits(), Ok(Took::FromTheDead)),
        };
        // Acquire: the dead made no Release; that its last writes are seen follows from the kernel's having told us of
        // its death, which it does after its last instruction. AcqRel, so that those who see POISONED see them too.
        self.word
            .compare_exchange(word, next, Ordering::AcqRel, Ordering::Relaxed)?;
        if heir == Heir::Refuses {
            // Pairs with the one in `register`.
            fence_after_rmw();
            self.freed.notify(u32::MAX);
        }
        Ok(result)
    }
}

/// Counts an exchange that failed because the word had changed; now and then looks whether the deadline has passed.
#[cold]
fn lose(lost: &mut u32, deadline: Deadline) -> Result<()> {
    *lost += 1;
    if *lost % LOST_AT_ONCE == 0 && deadline.has_passed() {
        return Err(Error::Timeout);
    }
    Ok(())
}

/// How often [`RawMutex::lock_soon`] looks closely.
const CLOSE_LOOKS: u32 = 16;

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

#[cfg(all(test, not(commonhold_loom)))]
mod tests {
    use super::*;
    use crate::raw::Nap;
    use crate::sys::futex::Wake;
    use crate::sys::spin::Adaptive;

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

    /// Everybody is dead.
    struct Graves;

    impl Membership for Graves {
        fn is_alive(&self, _: MemberId) -> bool {
            false
        }

        fn deaths(&self) -> u32 {
            0
        }

        fn park(&self, _: &AtomicU32, _: u32, _: u32, _: Nap, _: Deadline) -> Wake {
            panic!("nobody need wait")
        }
    }

    /// No death is announced yet, and they would sleep on.
    #[test]
    fn who_finds_the_owner_dead_tells_those_who_wait() {
        let me = MemberId::new(5, 1).unwrap();
        let mutex = RawMutex::new();
        assert!(mutex.lock_at_once(MemberId::new(3, 1).unwrap()));
        let ticket = mutex.freed.register(&Graves);
        let tried = mutex.try_lock(&Graves, me, Heir::Refuses);
        assert!(matches!(tried, Err(Error::Poisoned)));
        assert!(mutex.freed.has_moved(&ticket));
    }

    #[test]
    fn a_word_that_never_stands_still_does_not_outlast_a_deadline() {
        let id = MemberId::new(3, 1).unwrap();
        let mutex = RawMutex::new();
        mutex.word.store(id.bits(), Ordering::Relaxed);
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
