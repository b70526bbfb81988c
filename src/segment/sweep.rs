//! Finding deaths that no lock's owner word betrays.
//!
//! A death can swallow a wake-up that was meant for the living. So whoever waits for something without an owner also waits
//! for the header's `deaths` word, and one of those waiters, the *sweeper*, wakes every 20 ms and asks after the members.
//! The *deputy* wakes every 40 ms and six more a few times a second, to see that the sweeper does its work. All others sleep for
//! seconds. The roles are only a matter of cost: whoever comes by when a sweep is due makes it, and a sweeper that is
//! stopped or dead loses the role to the next waiter that looks. Who has waited for less than 20 ms sleeps on its own word
//! alone and has no role, so that short waits disturb nobody.
//!
//! # Points of death
//!
//! | a sweeper dies | who mends it |
//! |---|---|
//! | asleep, as the sweeper | the deputy, when its sleep ends within 40 ms, sees that a sweep is due, and makes it |
//! | asleep, with several threads | as one: of a process's threads at most one is sweeper or deputy, and one in reserve |
//! | asleep, as the deputy | the sweep finds the death, frees the role, and wakes all, who take it |
//! | both at one stroke | one of the six more: within 400 ms |
//! | all eight at one stroke | the first of the others whose sleep ends: within 12 s |
//! | after it announced a death, before it freed the slot | the next sweep announces it again |
//! | leaving its role, before it woke its heir, or the heir was just leaving too | as asleep |
//! | and is replaced in its slot before a sweep finds the death | the next waiter that looks sees that the role's holder is no member |

use super::Inner;
use crate::layout::header::ROLES;
use crate::raw::select::{Sleep, Sleeper};
use crate::raw::{MemberId, Membership, Nap};
use crate::sys::atomic::{AtomicU32, Ordering};
use crate::sys::deadline::{Deadline, now};
use crate::sys::futex::{self, Wait, Wake};
use std::time::Duration;

/// How often a sweep is made while anybody waits, in milliseconds.
const EVERY: u32 = 20;
/// With no sweep for so long, in milliseconds, the sweeper is taken to be stopped or dead.
const OVERDUE: u32 = 100;
/// How many members one sweep asks after. Asking costs up to 6 µs each when there are a thousand.
const AT_ONCE: usize = 32;
/// How long the deputy sleeps, in milliseconds.
const DEPUTY: u32 = 2 * EVERY;
/// How long those with the other roles sleep, in milliseconds.
const RESERVES: u32 = 400;
/// How long those without a role sleep, in milliseconds, and how much longer at the most. A thousand of them wake 90 times a second.
const OTHERS: (u32, u32) = (10_000, 2000);
/// Those who sleep for longer wake in steps of it, the last one before their time. A thread that wakes alone takes 100 µs of a processor that
/// slept, itself cold, where one that wakes among others takes the half (measured with a thousand of 20 processes).
const TOGETHER: u32 = 200;
/// How long, at the most, those who guard against truncation sleep.
const GUARDED: u32 = 100;
/// How long everybody sleeps where the kernel can't wait for two words at once.
const WITHOUT_WATCH: Duration = Duration::from_millis(50);

/// A role that a waiting thread of this process has.
struct Role {
    index: usize,
    me: MemberId,
}

/// One waiter's part in the watch over a segment's deaths.
#[must_use = "a role that is not left is kept from others"]
pub(crate) struct Watch<'a> {
    of: &'a Inner,
    role: Option<Role>,
    until: Deadline,
}

impl Watch<'_> {
    /// When this waiter is to look again.
    pub(crate) fn until(&self) -> Deadline {
        self.until
    }

    /// Leaves the role. `stays`: this same thread is about to sleep again.
    pub(crate) fn end(self, stays: bool) {
        let Some(role) = self.role else {
            return;
        };
        self.of.free_role(role.index, role.me);
        if stays {
            // And to take a role again.
            self.of.sweep_if_due(milliseconds());
        } else {
            // It goes its way; let one of the others look, and take the role.
            futex::wake(self.of.deaths_word(), 1);
        }
    }
}

/// Whether one whose sleep ended so is about to sleep again.
fn stays(wake: Wake, deadline: Deadline) -> bool {
    wake == Wake::TimedOut && !deadline.has_passed() || wake == Wake::Watched
}

impl Membership for Inner {
    fn is_alive(&self, id: MemberId) -> bool {
        self.seems_alive(id) && !self.is_dying(id)
    }

    /// By the liveness lock alone: a look into `/proc` takes five times as long.
    fn seems_alive(&self, id: MemberId) -> bool {
        // Of a region that is lost nothing can be said; the waits find it out. Looked at last: who loses it takes its own name and
        // liveness away, after it has said so, and must not find itself dead then.
        self.is_me(id)
            || (id.slot() < self.geometry.max_members && self.is_held(id))
            || self.check_whole().is_err()
    }

    #[inline]
    fn is_still(&self, id: MemberId) -> bool {
        self.is_me(id)
    }

    fn deaths(&self) -> u32 {
        // Acquire: pairs with the Release in `announce_departure`.
        self.shared().deaths.load(Ordering::Acquire)
    }

    fn park(
        &self,
        word: &AtomicU32,
        expected: u32,
        deaths: u32,
        nap: Nap,
        deadline: Deadline,
    ) -> Wake {
        match nap {
            Nap::AtMost(time) => futex::wait(word, expected, deadline.min(Deadline::after(time))),
            Nap::UntilDeath => self.watch(word, expected, deaths, deadline),
        }
    }
}

impl Sleeper for Inner {
    fn park_on_any(
        sleeps: &[Sleep<'_, Inner>],
        nap: Nap,
        patience: Duration,
        deadline: Deadline,
    ) -> Wake {
        let mut words: Vec<Wait<'_>> = sleeps
            .iter()
            .map(|s| Wait::on(s.word, s.expected))
            .collect();
        let limit = match nap {
            Nap::AtMost(time) => {
                let until = deadline.min(Deadline::after(time));
                return futex::wait_any(&words, sleeps.len(), until, patience);
            }
            Nap::UntilDeath => deadline,
        };
        let mut watches: Vec<Watch<'_>> = Vec::new();
        for s in sleeps {
            if !watches.iter().any(|w| std::ptr::eq(w.of, s.members)) {
                watches.push(s.members.begin_to_watch());
                words.push(Wait::on(s.members.deaths_word(), s.deaths));
            }
        }
        let until = watches.iter().fold(limit, |until, w| until.min(w.until));
        let wake = futex::wait_any(&words, sleeps.len(), until, patience);
        let stays = stays(wake, deadline);
        watches.into_iter().for_each(|w| w.end(stays));
        wake
    }
}

impl Inner {
    fn watch(&self, word: &AtomicU32, expected: u32, deaths: u32, deadline: Deadline) -> Wake {
        let watch = self.begin_to_watch();
        let wake = futex::wait_either(
            word,
            expected,
            self.deaths_word(),
            deaths,
            deadline.min(watch.until()),
            WITHOUT_WATCH,
        );
        watch.end(stays(wake, deadline));
        wake
    }

    /// Where the deaths are counted: what every watcher sleeps on beside its own word.
    pub(crate) fn deaths_word(&self) -> &AtomicU32 {
        &self.shared().deaths
    }

    /// What a waiter does for all before it sleeps for long. It ends the watch when it has slept.
    pub(crate) fn begin_to_watch(&self) -> Watch<'_> {
        let time = milliseconds();
        // Who can't ask the kernel must not hold the role, nor put off the next sweep, of those who can.
        let able = self.can_ask();
        // The role first: a sweep makes it look well kept.
        let role = if able { self.take_role(time) } else { None };
        if able {
            self.sweep_if_due(time);
        }
        let bound = match role {
            Some(Role { index: 0, .. }) => EVERY,
            Some(Role { index: 1, .. }) => DEPUTY,
            Some(_) => RESERVES,
            // Spread, so that a thousand do not wake together.
            None => OTHERS.0 + now().subsec_nanos() % OTHERS.1,
        };
        // Nobody wakes those whose file was cut short.
        let bound = match self.truncation {
            Some(_) => bound.min(GUARDED),
            None => bound,
        };
        let step = if bound > TOGETHER { TOGETHER } else { EVERY };
        let until = Deadline::after(Duration::from_millis(bound.into()));
        Watch {
            of: self,
            role,
            // All in the sweeper's steps.
            until: until.in_steps_of(Duration::from_millis(step.into())),
        }
    }

    /// Takes the first role that nobody has; the sweeper's also if its holder does not do its work.
    fn take_role(&self, time: u32) -> Option<Role> {
        let me = self.me_if_attached()?;
        let shared = self.shared();
        let overdue = since(time, shared.swept_at.load(Ordering::Relaxed)) >= OVERDUE;
        // A process is stopped, and dies, as a whole: of its threads one may watch, and one be in reserve.
        let (watches, reserves) = shared.roles.split_at(2);
        let has =
            |roles: &[AtomicU32]| roles.iter().any(|r| r.load(Ordering::Relaxed) == me.bits());
        let (watching, in_reserve) = (has(watches), has(reserves));
        for (index, role) in shared.roles.iter().enumerate() {
            let holder = role.load(Ordering::Relaxed);
            let has_one = if index < 2 { watching } else { in_reserve };
            let free = !has_one && (holder == 0 || !self.has_its_slot(holder));
            let neglected = index == 0 && overdue;
            if !free && !neglected {
                continue;
            }
            // Relaxed, here and below: a role guards nothing.
            let taken =
                role.compare_exchange(holder, me.bits(), Ordering::Relaxed, Ordering::Relaxed);
            if taken.is_err() {
                continue;
            }
            // All wake at the same moments: another thread of ours may have taken the one before since we looked.
            let before = match index {
                0 | 1 => &watches[..index],
                _ => &reserves[..index - 2],
            };
            if has(before) {
                self.free_role(index, me);
                continue;
            }
            return Some(Role { index, me });
        }
        None
    }

    /// Whether the name in a role is that of a member, by the table: no system call.
    fn has_its_slot(&self, holder: u32) -> bool {
        MemberId::from_bits(holder).is_some_and(|id| {
            let slot = id.slot();
            id.bits() == holder
                && slot < self.geometry.max_members
                && self.claim(slot).owner(slot) == Some(id)
        })
    }

    fn free_role(&self, index: usize, holder: MemberId) {
        let _ = self.shared().roles[index].compare_exchange(
            holder.bits(),
            0,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
    }

    /// Sweeps, unless somebody did in this step of 20 ms. A time from the future (another time namespace's, or scribbled)
    /// is another step.
    fn sweep_if_due(&self, time: u32) {
        let swept_at = &self.shared().swept_at;
        let last = swept_at.load(Ordering::Relaxed);
        // Another thread may have looked at the clock just after us.
        if time / EVERY == last / EVERY || since(time, last) == 0 {
            return;
        }
        let won = swept_at.compare_exchange(last, time, Ordering::Relaxed, Ordering::Relaxed);
        if won.is_ok() {
            self.sweep();
        }
    }

    /// Asks after some members, the next ones each time; announces and frees those that are dead.
    fn sweep(&self) {
        let slots = self.geometry.max_members;
        let from = &self.shared().sweep_from;
        let start = from.load(Ordering::Relaxed) % slots;
        let mut asked = 0;
        let mut next = start;
        let mut dead = [None; AT_ONCE];
        for slot in (start..slots).chain(0..start) {
            if asked == dead.len() {
                break;
            }
            next = (slot + 1) % slots;
            let claim = self.claim(slot);
            let Some(owner) = claim.owner(slot) else {
                continue;
            };
            if self.is_me(owner) {
                continue;
            }
            asked += 1;
            if self.is_held(owner) {
                continue;
            }
            (0..ROLES).for_each(|role| self.free_role(role, owner));
            dead[asked - 1] = Some((slot, claim));
        }
        // All are known to be dead before any is announced: who is woken asks at once, and would find one that dies later alive; and
        // of a slot that is free nobody hears again.
        if dead.iter().any(Option::is_some) {
            self.announce_departure();
        }
        for (slot, claim) in dead.into_iter().flatten() {
            self.free_slot(slot, claim);
        }
        from.store(next, Ordering::Relaxed);
    }
}

/// Milliseconds since `then`; 0 if another thread's look at the clock was just after ours.
fn since(time: u32, then: u32) -> u32 {
    if then.wrapping_sub(time) < EVERY {
        0
    } else {
        time.wrapping_sub(then)
    }
}

fn milliseconds() -> u32 {
    now().as_millis() as u32
}
