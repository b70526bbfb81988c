//! Who waits for which word, and whom a change of it serves.

use super::driver::PATIENCE;
use crate::raw::mutex::{Naps, RawMutex, is_free};
use crate::raw::signal::{RawSignal, Ticket};
use crate::raw::{Membership, Nap};
use crate::segment::Inner;
use crate::select::AnySource;
use crate::sys::asymmetric::ARRIVAL;
use crate::sys::atomic::AtomicU32;
use crate::sys::deadline::Deadline;
use crate::sys::futex::{self, MOST_WORDS};
use std::collections::BTreeMap;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::Duration;

/// How long no word is looked at without a reason: then all who wait for it look (see `signal.rs` for what that cures).
pub(super) const BOUND: Duration = Duration::from_secs(10);

/// A lock that futures wait for.
pub(crate) trait Lock: Send + Sync {
    fn members(&self) -> &Inner;
    fn raw(&self) -> &RawMutex;

    /// Whether who gets what it waited for has the lock: then its unlock serves the next. Otherwise the lock was only in its way.
    fn is_kept(&self) -> bool;
}

/// What is waited for. It keeps its segment mapped.
#[derive(Clone)]
pub(super) enum Thing {
    /// A signal, and the ticket of whoever registered with it.
    Signal(Arc<AnySource>, Ticket),
    /// A lock, and the ticket of whoever registered with its signal.
    Lock(Arc<dyn Lock>, Ticket),
}

impl Thing {
    pub(super) fn members(&self) -> &Inner {
        match self {
            Thing::Signal(source, _) => source.members(),
            Thing::Lock(lock, _) => lock.members(),
        }
    }

    fn signal(&self) -> &RawSignal {
        match self {
            Thing::Signal(source, _) => source.signal(),
            Thing::Lock(lock, _) => &lock.raw().freed,
        }
    }

    fn ticket(&self) -> &Ticket {
        let (Thing::Signal(_, ticket) | Thing::Lock(_, ticket)) = self;
        ticket
    }

    fn has_moved(&self) -> bool {
        self.signal().has_moved(self.ticket())
    }

    pub(super) fn word(&self) -> &AtomicU32 {
        self.signal().word()
    }

    /// Gives a turn to one who sleeps elsewhere.
    pub(super) fn wake_another(&self) {
        match self {
            Thing::Signal(source, _) => source.signal().notify(1),
            // Whether or not the signal says that somebody sleeps: who sleeps looks, and says it.
            Thing::Lock(lock, _) => drop(futex::wake(lock.raw().freed.word(), 1)),
        }
    }

    fn is_at(&self, other: &Thing) -> bool {
        ptr::eq(self.word(), other.word())
    }
}

/// How many of those who wait a change serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Serves {
    /// Whoever takes it first.
    One,
    /// Each of them.
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(u64);

pub(super) struct Entry {
    pub(super) waker: Waker,
    pub(super) serves: Serves,
}

pub(super) enum Added {
    /// And whether the driver, if it sleeps, sleeps on this very state of the word.
    At(Key, bool),
    /// It has changed since the caller looked.
    Changed(Entry),
    NoRoom(Entry),
}

#[derive(Default)]
pub(super) struct Table {
    words: Vec<Word>,
    next_key: u64,
    /// Whether there is a thread.
    pub(super) runs: bool,
    /// Whether it sleeps, or is about to: then it must be rung for what it is to know.
    pub(super) asleep: bool,
}

/// Those who wait for one word.
pub(super) struct Word {
    /// With the ticket as of which all of them have looked.
    thing: Thing,
    waiting: BTreeMap<Key, Entry>,
    /// Whether the driver sleeps on it, as it was at the ticket.
    slept_on: bool,
    deaths: u32,
    /// How many were chosen, one by one, and have not been heard of since; and when the last was.
    chosen: u32,
    chosen_at: Duration,
    /// Whether the driver wakes, at the latest, [`PATIENCE`] from now: it knew of a turn when it last looked, or was rung since.
    is_timed: bool,
    /// Since when there is somebody.
    since: Duration,
    /// When all last looked.
    all_at: Duration,
    /// A while after the registration: then those look who do upon a notify. Who notifies makes no fence, and may not have seen us.
    again_at: Option<Duration>,
    /// Until then it is remembered though nobody waits, and its segment stays mapped: those who were woken may come again, on the same
    /// registration, and then need no other second look. (One that is polled later than that, each time, is woken some 50 times a second.)
    kept_until: Duration,
    /// Of a lock: when its owner is asked after next, and whom that is.
    ask_at: Option<Duration>,
    owner: u32,
    naps: Naps,
}

/// What the driver sleeps on for one word.
pub(super) struct Bed {
    pub(super) thing: Thing,
    pub(super) expected: u32,
    pub(super) deaths: u32,
    pub(super) since: Duration,
}

/// What the driver does next.
pub(super) struct Look {
    pub(super) chosen: Vec<Waker>,
    /// Dropped when the table is no longer locked.
    pub(super) gone: Vec<Word>,
    pub(super) sleeps: Vec<Bed>,
    pub(super) until: Deadline,
    /// Something changed meanwhile.
    pub(super) again: bool,
    now: Duration,
}

impl Table {
    pub(super) fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    pub(super) fn add(&mut self, thing: &Thing, entry: Entry, doubtful: bool) -> Added {
        // A death, too: the driver may have found it just before it knew of us.
        if thing.has_moved() || thing.members().deaths() != thing.ticket().deaths {
            return Added::Changed(entry);
        }
        let now = crate::sys::deadline::now();
        let known = self.words.iter().position(|w| w.thing.is_at(thing));
        if !known.is_some_and(|i| self.words[i].is_awaited()) && !self.has_room_for(thing) {
            return Added::NoRoom(entry);
        }
        let index = match known {
            Some(index) => index,
            None => {
                self.words.push(Word::new(thing.clone(), now));
                self.words.len() - 1
            }
        };
        let word = &mut self.words[index];
        // The driver knows of no second look then.
        let mut is_renewed = false;
        if word.waiting.is_empty() {
            word.since = now;
            // If the driver has yet to look why its sleep ended, the wake may be another's: then it is to find that the word has moved.
            let ends_a_sleep = word.slept_on && word.thing.has_moved();
            is_renewed = word.chosen == 0 && !ends_a_sleep;
            if is_renewed {
                word.renew(thing.ticket(), now);
            }
        }
        if doubtful && word.chosen == 0 {
            // It seemed to be there, and could not be taken: as if one had been chosen, so that another is soon.
            word.chosen = 1;
            word.chosen_at = now;
        }
        let key = Key(self.next_key);
        self.next_key += 1;
        word.waiting.insert(key, entry);
        Added::At(key, word.is_slept_on() && !doubtful && !is_renewed)
    }

    /// Whether the driver can sleep on it, too. Beside the words that are waited for there are its own, and a word of deaths for each segment.
    fn has_room_for(&self, thing: &Thing) -> bool {
        // There are no more segments than words.
        if 2 * (self.words.len() + 1) < MOST_WORDS {
            return true;
        }
        let awaited = self.words.iter().filter(|w| w.is_awaited());
        let mut segments: Vec<*const Inner> = awaited
            .map(|w| &w.thing)
            .chain([thing])
            .map(|t| ptr::from_ref(t.members()))
            .collect();
        let words = segments.len();
        segments.sort_unstable();
        segments.dedup();
        1 + words + segments.len() <= MOST_WORDS
    }

    fn word(&mut self, thing: &Thing) -> Option<&mut Word> {
        self.words.iter_mut().find(|w| w.thing.is_at(thing))
    }

    pub(super) fn entry(&mut self, thing: &Thing, key: Key) -> Option<&mut Entry> {
        self.word(thing)?.waiting.get_mut(&key)
    }

    /// And whether it was the last.
    pub(super) fn remove(&mut self, thing: &Thing, key: Key) -> Option<(Entry, bool)> {
        let word = self.word(thing)?;
        let entry = word.waiting.remove(&key)?;
        Some((entry, word.waiting.is_empty()))
    }

    /// One that was chosen has been heard of.
    pub(super) fn settle(&mut self, thing: &Thing) {
        if let Some(word) = self.word(thing) {
            word.chosen = word.chosen.saturating_sub(1);
        }
    }

    /// Gives the turn to the next one here. And whether the driver, if it sleeps, wakes in time to see what became of it; if not, it is
    /// to be rung.
    pub(super) fn choose(&mut self, thing: &Thing) -> Option<(Waker, bool)> {
        let word = self.word(thing)?;
        let waker = word.choose_one(crate::sys::deadline::now())?;
        Some((waker, std::mem::replace(&mut word.is_timed, true)))
    }

    /// Looks at each word: whom a change serves, and what to sleep on.
    pub(super) fn look(&mut self, now: Duration) -> Look {
        let mut look = Look {
            chosen: Vec::new(),
            gone: Vec::new(),
            sleeps: Vec::new(),
            until: Deadline::NEVER,
            again: false,
            now,
        };
        for word in &mut self.words {
            word.look(&mut look);
        }
        let (stay, gone) = std::mem::take(&mut self.words)
            .into_iter()
            .partition(|w| w.is_needed(now));
        self.words = stay;
        look.gone = gone;
        look
    }
}

impl Look {
    fn not_beyond(&mut self, at: Duration) {
        let left = at.saturating_sub(self.now);
        self.until = self.until.min(Deadline::after(left));
    }
}

impl Word {
    fn new(thing: Thing, now: Duration) -> Word {
        Word {
            // As of the registration: the caller has looked since.
            deaths: thing.ticket().deaths,
            thing,
            waiting: BTreeMap::new(),
            slept_on: false,
            chosen: 0,
            chosen_at: now,
            is_timed: false,
            since: now,
            all_at: now,
            again_at: Some(now + ARRIVAL),
            kept_until: now,
            ask_at: None,
            owner: 0,
            naps: Naps::new(),
        }
    }

    /// Nobody waited any more, and now somebody does again.
    fn renew(&mut self, fresh: &Ticket, now: Duration) {
        if !self.thing.ticket().is_as_of(fresh) {
            self.again_at = Some(now + ARRIVAL);
        }
        self.deaths = fresh.deaths;
        self.all_at = now;
        let (Thing::Signal(_, ticket) | Thing::Lock(_, ticket)) = &mut self.thing;
        *ticket = *fresh;
    }

    /// Only then does the driver sleep on it.
    fn is_awaited(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn is_needed(&self, now: Duration) -> bool {
        self.is_awaited() || self.chosen != 0 || now < self.kept_until
    }

    /// Whether the driver sleeps on the word as it is.
    fn is_slept_on(&self) -> bool {
        self.slept_on && !self.thing.has_moved()
    }

    /// The one that has waited longest, of those that are served one by one.
    fn choose_one(&mut self, now: Duration) -> Option<Waker> {
        let one = |(_, e): &(&Key, &Entry)| e.serves == Serves::One;
        let key = *self.waiting.iter().find(one)?.0;
        self.chosen += 1;
        self.chosen_at = now;
        self.waiting.remove(&key).map(|e| e.waker)
    }

    fn choose_all(&mut self, look: &mut Look) {
        self.all_at = look.now;
        self.kept_until = look.now + PATIENCE;
        for (_, entry) in std::mem::take(&mut self.waiting) {
            if entry.serves == Serves::One {
                self.chosen += 1;
                self.chosen_at = look.now;
            }
            look.chosen.push(entry.waker);
        }
    }

    /// A change: all that it serves, and one of the others.
    fn choose(&mut self, look: &mut Look) {
        self.kept_until = look.now + PATIENCE;
        look.chosen.extend(self.choose_one(look.now));
        let all = |(_, e): &(&Key, &Entry)| e.serves == Serves::All;
        if self.waiting.iter().any(|e| all(&e)) {
            let (all, ones) = std::mem::take(&mut self.waiting)
                .into_iter()
                .partition(|(_, e)| e.serves == Serves::All);
            self.waiting = ones;
            let all: BTreeMap<Key, Entry> = all;
            look.chosen.extend(all.into_values().map(|e| e.waker));
        }
    }

    fn look(&mut self, look: &mut Look) {
        let slept_on = std::mem::take(&mut self.slept_on);
        let members = self.thing.members();
        let deaths = members.deaths();
        let all = !self.waiting.is_empty()
            && (deaths != self.deaths
                || look.now >= self.all_at + BOUND
                || members.check_whole().is_err());
        self.deaths = deaths;
        let is_late = self.chosen != 0 && look.now >= self.chosen_at + PATIENCE;
        if is_late {
            self.chosen = 0;
        }
        let moved = self.thing.has_moved();
        let registers = (moved || all) && !self.waiting.is_empty();
        // Not while those who were woken are on their way: their last look may have been too early.
        let again =
            !self.waiting.is_empty() && self.again_at.take_if(|at| look.now >= *at).is_some();
        let turn = match &mut self.thing {
            Thing::Signal(source, ticket) => {
                if registers {
                    // Before anybody is chosen, see above.
                    *ticket = source.signal().register(source.members());
                }
                moved || is_late || again
            }
            Thing::Lock(lock, ticket) => {
                if registers {
                    // The wake was one sleeper's: others may sleep elsewhere.
                    *ticket = lock.raw().freed.register_woken(lock.members());
                }
                let word = lock.raw().word.load(Ordering::Relaxed);
                let owner = word & crate::raw::MemberId::MASK;
                if owner != self.owner {
                    self.owner = owner;
                    self.naps = Naps::new();
                    self.ask_at = None;
                }
                if is_free(word) {
                    self.chosen == 0
                } else if self.ask_at.is_none_or(|at| look.now >= at) {
                    // The first time, and then at the end of each nap; after the short ones, deaths are announced.
                    self.ask_at = Some(match self.naps.next() {
                        Nap::AtMost(nap) => look.now + nap,
                        Nap::UntilDeath => Duration::MAX,
                    });
                    lock.raw().is_held_by_the_dead(lock.members()) && self.chosen == 0
                } else {
                    false
                }
            }
        };
        if registers {
            // By a clock that was read behind the registration.
            self.again_at = Some(crate::sys::deadline::now() + ARRIVAL);
        }
        if all {
            self.choose_all(look);
        } else if turn && !self.waiting.is_empty() {
            self.choose(look);
        } else if self.waiting.is_empty() {
            // A wake that came to the driver is another's; so is one that nobody here made use of. A lock may have been taken meanwhile,
            // by one who knows of no sleepers.
            let came = slept_on && (moved || matches!(self.thing, Thing::Lock(..)));
            if came || is_late {
                self.thing.wake_another();
            }
        }
        self.is_timed = self.chosen != 0;
        if self.is_timed {
            look.not_beyond(self.chosen_at + PATIENCE);
        }
        if !self.waiting.is_empty() {
            self.go_to_bed(look);
        } else if look.now < self.kept_until {
            look.not_beyond(self.kept_until);
        }
    }

    fn go_to_bed(&mut self, look: &mut Look) {
        let Some(expected) = self.thing.signal().say_asleep(self.thing.ticket()) else {
            look.again = true;
            return;
        };
        self.slept_on = true;
        look.not_beyond(self.all_at + BOUND);
        if let Some(at) = self.again_at {
            look.not_beyond(at);
        }
        if let Some(at) = self.ask_at.filter(|at| *at != Duration::MAX) {
            look.not_beyond(at);
        }
        look.sleeps.push(Bed {
            thing: self.thing.clone(),
            expected,
            deaths: self.deaths,
            since: self.since,
        });
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table")
            .field("words", &self.words.len())
            .field("runs", &self.runs)
            .finish_non_exhaustive()
    }
}
