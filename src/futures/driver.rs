//! The thread that sleeps for all futures of a process.
//!
//! A future that must wait leaves its waker in the table, and the driver sleeps on the words of all of them at once. Of those that wait
//! for one word, a notify serves one: the driver *chooses* the one that has waited longest, and calls its waker. Whoever was chosen
//! looks, and if there is more than it took (or if it goes away and takes nothing), it passes the turn on, to the next in the table or, if
//! there is none, to those that sleep elsewhere. So between a notify and the moment in which nothing is left, somebody always
//! has the turn. One that has the turn and is not polled for [`PATIENCE`] is passed over.
//!
//! Before the driver chooses, it registers anew with the signal: what is sent from then on comes with a notify, and what
//! was sent before is seen by the one who was chosen.
//!
//! # Points of death
//!
//! The driver is to others a thread that waits: what they find when its process dies is said in `signal.rs` and `mutex.rs`. Deaths
//! that it finds end all waits in that segment: each future looks for itself.

use super::table::{Added, Entry, Key, Serves, Table, Thing};
use crate::error::Result;
use crate::segment::{Inner, Watch};
use crate::sys::atomic::AtomicU32;
use crate::sys::deadline::{Deadline, now};
use crate::sys::fork::this_process;
use crate::sys::futex::{self, MOST_WORDS, Wait};
use crate::sys::thread::spawn_quietly;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

/// How long one that was chosen may leave the others waiting.
pub(super) const PATIENCE: Duration = Duration::from_millis(20);
/// How long the driver sleeps with nothing to wait for, before it ends.
const LINGERS: Duration = Duration::from_secs(1);
/// A wait that is shorter than this takes no part in the watch over deaths.
const SHORT: Duration = Duration::from_millis(20);
/// The shortest and the longest sleep where the kernel does not wait for several words.
const NAPS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));

/// The driver of a process, or one of several, if it waits for more words than the kernel does.
///
/// It is never freed: a child that was forked from its process leaves it as it is, whatever state that is.
#[derive(Debug)]
pub(super) struct Driver {
    process: (u32, u32),
    table: Mutex<Table>,
    /// Counts the changes of the table that the driver must not sleep through. It sleeps on it, too.
    changes: AtomicU32,
    next: AtomicPtr<Driver>,
}

static FIRST: AtomicPtr<Driver> = AtomicPtr::new(ptr::null_mut());

impl Driver {
    /// The one whose address stands at `at`; if that is none of this process, a new one.
    fn at(at: &AtomicPtr<Driver>) -> &'static Driver {
        // Acquire: pairs with the Release below.
        let found = at.load(Ordering::Acquire);
        // SAFETY: null, or a driver, which is never freed.
        if let Some(driver) = unsafe { found.as_ref() } {
            if driver.is_ours() {
                return driver;
            }
        }
        let new = Box::into_raw(Box::new(Driver {
            process: this_process(),
            table: Mutex::default(),
            changes: AtomicU32::new(0),
            next: AtomicPtr::new(ptr::null_mut()),
        }));
        match at.compare_exchange(found, new, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: made above, and never freed from here on.
            Ok(_) => unsafe { &*new },
            Err(theirs) => {
                // SAFETY: made above, and nobody else knows of it.
                drop(unsafe { Box::from_raw(new) });
                // SAFETY: put there by another thread of this process, and never freed.
                unsafe { &*theirs }
            }
        }
    }

    /// Whether it is this process's, and not the one's that it was forked from.
    pub(super) fn is_ours(&self) -> bool {
        self.process == this_process()
    }

    /// Leaves a waker with a driver that has room. `None`: what is waited for has changed since the caller looked.
    pub(super) fn add(
        thing: &Thing,
        serves: Serves,
        waker: &Waker,
        doubtful: bool,
    ) -> Result<Option<(&'static Driver, Key)>> {
        let mut driver = Driver::at(&FIRST);
        let mut entry = Entry {
            waker: waker.clone(),
            serves,
        };
        loop {
            let mut table = driver.lock();
            if !table.runs {
                // First: without a thread, nobody would take out of the table what is in it.
                spawn_quietly("commonhold-async", move || driver.run())?;
                table.runs = true;
            }
            match table.add(thing, entry, doubtful) {
                Added::At(key, is_known) => {
                    if table.asleep && !is_known {
                        driver.ring();
                    }
                    return Ok(Some((driver, key)));
                }
                Added::Changed(not_added) => {
                    drop(table);
                    drop(not_added);
                    return Ok(None);
                }
                Added::NoRoom(not_added) => {
                    drop(table);
                    entry = not_added;
                    driver = Driver::at(&driver.next);
                }
            }
        }
    }

    /// Whether the entry still waits; then it has `waker` from here on. Otherwise it was chosen, and its turn is the caller's.
    pub(super) fn still_waits(&self, thing: &Thing, key: Key, waker: &Waker) -> bool {
        let fresh = waker.clone();
        let mut table = self.lock();
        let old = match table.entry(thing, key) {
            Some(entry) if entry.waker.will_wake(waker) => None,
            Some(entry) => Some(std::mem::replace(&mut entry.waker, fresh)),
            None => {
                table.settle(thing);
                return false;
            }
        };
        // A waker may be the last to know its task, which may hold other futures: never dropped while the table is locked.
        drop(table);
        drop(old);
        true
    }

    /// Takes the entry out. `false`: it was chosen, and its turn is the caller's.
    pub(super) fn remove(&self, thing: &Thing, key: Key) -> bool {
        let mut table = self.lock();
        let removed = table.remove(thing, key);
        match &removed {
            None => table.settle(thing),
            // The last: the driver is to let go of the segment.
            Some((_, true)) if table.asleep => self.ring(),
            Some(_) => {}
        }
        drop(table);
        removed.is_some()
    }

    /// Whoever has the turn gives it to the next, here or elsewhere.
    pub(super) fn pass_on(&self, thing: &Thing) {
        let mut table = self.lock();
        let next = table.choose(thing);
        if table.asleep && next.as_ref().is_some_and(|(_, is_timed)| !is_timed) {
            // It is to see to it that the turn is used.
            self.ring();
        }
        drop(table);
        match next {
            Some((waker, _)) => call(waker),
            None => thing.wake_another(),
        }
    }

    fn ring(&self) {
        // Release: pairs with nothing but the table's lock; the kernel compares.
        self.changes.fetch_add(1, Ordering::Release);
        futex::wake(&self.changes, 1);
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Nothing that may panic runs while it is held.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread: until nothing has been waited for a while.
    fn run(&self) {
        let mut nap = NAPS.0;
        let mut idle_since = None;
        loop {
            let mut table = self.lock();
            table.asleep = false;
            let look = table.look(now());
            if table.is_empty() {
                let since = *idle_since.get_or_insert_with(now);
                if now() >= since + LINGERS {
                    table.runs = false;
                    return;
                }
            } else {
                idle_since = None;
            }
            let changes = self.changes.load(Ordering::Relaxed);
            table.asleep = look.chosen.is_empty() && !look.again;
            let asleep = table.asleep;
            drop(table);
            drop(look.gone);
            for waker in look.chosen {
                nap = NAPS.0;
                call(waker);
            }
            if asleep {
                self.sleep(&look.sleeps, look.until, changes, idle_since, nap);
                nap = (nap * 2).min(NAPS.1);
            }
        }
    }

    fn sleep(
        &self,
        sleeps: &[super::table::Bed],
        until: Deadline,
        changes: u32,
        idle_since: Option<Duration>,
        nap: Duration,
    ) {
        let mut until = until;
        if idle_since.is_some() {
            until = until.min(Deadline::after(LINGERS));
        }
        let mut words = vec![Wait::on(&self.changes, changes)];
        for bed in sleeps {
            words.push(Wait::on(bed.thing.word(), bed.expected));
        }
        let own = words.len();
        // Each segment once, and as of the first of its words: no death since then is missed.
        let mut segments: Vec<(&Inner, u32, bool)> = Vec::new();
        let late = now().saturating_sub(SHORT);
        for bed in sleeps {
            let members = bed.thing.members();
            let long = bed.since <= late;
            match segments.iter_mut().find(|s| ptr::eq(s.0, members)) {
                Some(segment) => segment.2 |= long,
                None => segments.push((members, bed.deaths, long)),
            }
        }
        let mut watches: Vec<Watch<'_>> = Vec::new();
        for (members, deaths, long) in segments {
            if long {
                let watch = members.begin_to_watch();
                until = until.min(watch.until());
                watches.push(watch);
                words.push(Wait::on(members.deaths_word(), deaths));
            } else {
                until = until.min(Deadline::after(SHORT));
            }
        }
        debug_assert!(words.len() <= MOST_WORDS);
        futex::wait_any(&words, own, until, nap);
        // As long as anybody waits it is about to sleep again.
        watches.into_iter().for_each(|w| w.end(true));
    }
}

/// It is the runtime's: whatever it does, the other wakers are to be called, and whoever passes a turn on keeps what it has received.
fn call(waker: Waker) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
        // Its drop may panic, too.
        std::mem::forget(panic);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::futures::table::BOUND;
    use crate::raw::select::Source;
    use crate::raw::signal::RawSignal;
    use crate::raw::wait::Look;
    use crate::select::Receives;
    use crate::sys::asymmetric::ARRIVAL;
    use crate::{Queue, Segment};
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    /// One that takes what it was chosen for passes its turn on; the driver may have gone to sleep just before, when nobody had a turn.
    #[test]
    fn a_turn_that_is_passed_on_while_the_driver_sleeps_is_watched_over() {
        let seg = Segment::anonymous(1 << 16).unwrap();
        let queue = Queue::<u64>::create(&seg, "queue", 1).unwrap();
        let source = queue.arrival().source;
        let ticket = source.signal().register(source.members());
        let thing = Thing::Signal(source, ticket);
        // Without its thread, whose part the test plays.
        let driver = Driver {
            process: this_process(),
            table: Mutex::default(),
            changes: AtomicU32::new(0),
            next: AtomicPtr::new(ptr::null_mut()),
        };
        for _ in 0..3 {
            let entry = Entry {
                waker: Waker::noop().clone(),
                serves: Serves::One,
            };
            let added = driver.lock().add(&thing, entry, false);
            assert!(matches!(added, Added::At(..)));
        }
        let soon = || Deadline::after(PATIENCE);
        let go_to_sleep = || {
            let mut table = driver.lock();
            table.asleep = true;
            table.look(now()).until
        };
        let rung = || driver.changes.load(Ordering::Relaxed);
        // The look that follows a registration is over.
        assert!(driver.lock().look(now() + ARRIVAL).chosen.is_empty());

        let until = go_to_sleep();
        assert_ne!(until.min(soon()), until, "nobody has a turn");
        driver.pass_on(&thing);
        assert_eq!(rung(), 1);
        // Now it sees it in time by itself.
        let until = go_to_sleep();
        assert_eq!(until.min(soon()), until);
        driver.pass_on(&thing);
        assert_eq!(rung(), 1);
    }

    /// What comes to be there without a notify, for a notifier that has not seen the registration.
    struct Missed {
        segment: Segment,
        signal: RawSignal,
        is_there: AtomicBool,
    }

    impl Source<Inner> for Missed {
        fn members(&self) -> &Inner {
            self.segment.inner()
        }

        fn signal(&self) -> &RawSignal {
            &self.signal
        }

        fn is_ready(&self, _: Look) -> bool {
            self.is_there.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn what_is_there_without_a_notify_is_found_a_while_after_each_registration() {
        let missed = Arc::new(Missed {
            segment: Segment::anonymous(1 << 16).unwrap(),
            signal: RawSignal::new(),
            is_there: AtomicBool::new(false),
        });
        let ticket = missed.signal.register(missed.members());
        let thing = Thing::Signal(missed.clone(), ticket);
        let (mut table, woken) = (Table::default(), Arc::new(Woken(AtomicU32::new(0))));
        let add = |table: &mut Table| {
            let entry = Entry {
                waker: woken.clone().into(),
                serves: Serves::All,
            };
            match table.add(&thing, entry, false) {
                Added::At(_, is_known) => is_known,
                _ => panic!("nothing has changed"),
            }
        };
        // How many it wakes; and whether it looks again long before all are to.
        let look = |table: &mut Table, at: Duration| {
            let look = table.look(at);
            let wakers = look.chosen.len() as u32;
            look.chosen.into_iter().for_each(Waker::wake);
            assert_eq!(woken.0.swap(0, Ordering::Relaxed), wakers);
            (
                wakers,
                look.until.min(Deadline::after(BOUND / 2)) == look.until,
            )
        };
        let before = now();
        assert!(!add(&mut table), "the driver does not know of it");
        assert_eq!(look(&mut table, before), (0, true));
        // Another lies down on the same registration: the look that is to come is enough.
        assert!(add(&mut table));
        assert_eq!(look(&mut table, now() + ARRIVAL), (0, false));
        // By now each notifier sees it.
        missed.is_there.store(true, Ordering::Relaxed);
        assert_eq!(look(&mut table, now() + ARRIVAL), (0, false));
        missed.is_there.store(false, Ordering::Relaxed);
        // And anew behind each notify: two are woken, and one comes again.
        missed.signal.notify(1);
        assert_eq!(look(&mut table, now()).0, 2);
        let ticket = missed.signal.register(missed.members());
        let thing = Thing::Signal(missed.clone(), ticket);
        let entry = Entry {
            waker: woken.clone().into(),
            serves: Serves::All,
        };
        assert!(matches!(table.add(&thing, entry, false), Added::At(..)));
        assert_eq!(look(&mut table, now()), (0, true));
        missed.is_there.store(true, Ordering::Relaxed);
        assert_eq!(look(&mut table, now() + ARRIVAL).0, 1);
    }

    struct Woken(AtomicU32);

    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}
