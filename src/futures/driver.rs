//! The thread that sleeps for all futures of a process.
//!
//! A future that must wait leaves its waker in the table, and the driver sleeps on the words of all of them at once. Of those that wait
//! for one word, a notify serves one: the driver *chooses* the one that has waited longest, and calls its waker. Whoever was chosen
//! looks, and if there is more than it took (or if it goes away and takes nothing), it passes the turn on, to the next in the table or, if
//! there is none, to those that sleep elsewhere. So between a notify and the moment in which nothing is left, somebody always
//! has the turn. One that has the turn and is not polled for [`PATIENCE`] is passed over.
//!
//! Before the driver chooses, it registers anew with the signal: what is sent from then on comes with a notify, and what
//! was sent before is seen by the one who was chosen; or, since who notifies makes no fence, by those who look a second time, a millisecond
//! after the registration.
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
        for _ in 0..4 {
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
        // One looks a while after the registration, as always, and is done with it.
        assert_eq!(driver.lock().look(now() + ARRIVAL).chosen.len(), 1);
        driver.lock().settle(&thing);

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

    /// A signal that nobody notifies but the test.
    struct Quiet {
        segment: Segment,
        signal: RawSignal,
    }

    impl Source<Inner> for Quiet {
        fn members(&self) -> &Inner {
            self.segment.inner()
        }

        fn signal(&self) -> &RawSignal {
            &self.signal
        }

        fn is_ready(&self, _: Look) -> bool {
            false
        }
    }

    /// A driver's table, without its driver, of those who wait for one signal.
    struct Bench {
        source: Arc<Quiet>,
        table: Table,
        woken: Arc<Woken>,
    }

    impl Bench {
        fn new() -> Bench {
            let source = Arc::new(Quiet {
                segment: Segment::anonymous(1 << 16).unwrap(),
                signal: RawSignal::new(),
            });
            Bench {
                source,
                table: Table::default(),
                woken: Arc::new(Woken(AtomicU32::new(0))),
            }
        }

        /// One registers, and waits. Whether the driver, if it sleeps, need not be told.
        fn wait(&mut self, serves: Serves) -> bool {
            let ticket = self.source.signal.register(self.source.members());
            let thing = Thing::Signal(self.source.clone(), ticket);
            let waker = self.woken.clone().into();
            match self.table.add(&thing, Entry { waker, serves }, false) {
                Added::At(_, is_known) => is_known,
                _ => panic!("nothing has changed"),
            }
        }

        /// How many the driver wakes; and whether it looks again long before it would for no reason.
        fn look(&mut self, at: Duration) -> (u32, bool) {
            let look = self.table.look(at);
            look.chosen.into_iter().for_each(Waker::wake);
            let soon = look.until.min(Deadline::after(BOUND / 2)) == look.until;
            (self.woken.0.swap(0, Ordering::Relaxed), soon)
        }

        fn settle(&mut self) {
            let ticket = self.source.signal.register(self.source.members());
            self.table
                .settle(&Thing::Signal(self.source.clone(), ticket));
        }
    }

    /// Who notifies makes no fence, and may not see those who lay down just then.
    #[test]
    fn all_who_may_not_have_been_seen_look_a_second_time_and_then_no_more() {
        let mut bench = Bench::new();
        let before = now();
        assert!(!bench.wait(Serves::All), "the driver does not know of it");
        assert_eq!(bench.look(before), (0, true));
        // Another lies down on the same registration: it may wait for something else, and looks for itself.
        assert!(bench.wait(Serves::All));
        let second = now() + ARRIVAL;
        assert_eq!(bench.look(second).0, 2);
        assert_eq!(bench.look(second), (0, true), "it is remembered");
        // They looked in vain, and by now each notifier sees them.
        assert!(!bench.wait(Serves::All));
        assert!(!bench.wait(Serves::All));
        assert_eq!(bench.look(second), (0, false));
        // And anew behind a notify.
        bench.source.signal.notify(1);
        let before = now();
        assert_eq!(bench.look(before).0, 2);
        assert!(!bench.wait(Serves::All));
        assert_eq!(bench.look(before), (0, true));
        assert_eq!(bench.look(now() + ARRIVAL).0, 1);
    }

    #[test]
    fn one_who_comes_again_late_looks_a_second_time_too() {
        let mut bench = Bench::new();
        let before = now();
        bench.wait(Serves::All);
        // By a death, say: before the second look.
        bench.source.signal.notify(1);
        assert_eq!(bench.look(before).0, 1);
        assert_eq!(bench.look(now() + ARRIVAL).0, 0);
        bench.wait(Serves::All);
        assert_eq!(bench.look(now() + ARRIVAL).0, 1);
    }

    #[test]
    fn one_who_comes_behind_a_notify_that_nobody_waited_for_looks_a_second_time_too() {
        let mut bench = Bench::new();
        bench.wait(Serves::All);
        assert_eq!(bench.look(now() + ARRIVAL).0, 1);
        bench.source.signal.notify(1);
        bench.wait(Serves::All);
        assert_eq!(bench.look(now() + ARRIVAL).0, 1);
    }

    #[test]
    fn of_those_whom_a_notify_serves_one_by_one_one_looks_a_second_time() {
        let mut bench = Bench::new();
        let before = now();
        for _ in 0..3 {
            bench.wait(Serves::One);
        }
        assert_eq!(bench.look(before), (0, true));
        let second = now() + ARRIVAL;
        assert_eq!(bench.look(second).0, 1);
        bench.settle();
        bench.wait(Serves::One);
        assert_eq!(bench.look(second), (0, false));
        // The driver registers anew behind a notify, however late it is by its clock.
        bench.source.signal.notify(1);
        let before = now();
        assert_eq!(bench.look(before - 2 * ARRIVAL).0, 1);
        bench.settle();
        assert_eq!(bench.look(before), (0, true), "too early");
        assert_eq!(bench.look(now() + ARRIVAL).0, 1);
    }

    #[test]
    fn what_nobody_waits_for_is_let_go_of() {
        let mut bench = Bench::new();
        bench.wait(Serves::All);
        let woken_at = now() + ARRIVAL;
        assert_eq!(bench.look(woken_at), (1, true));
        assert_eq!(bench.look(woken_at + PATIENCE / 2), (0, true));
        assert_eq!(Arc::strong_count(&bench.source), 2);
        assert_eq!(bench.look(woken_at + PATIENCE), (0, false));
        assert_eq!(Arc::strong_count(&bench.source), 1);
        // Also if all were to look, and nobody is there.
        bench.wait(Serves::All);
        let woken_at = now() + ARRIVAL;
        assert_eq!(bench.look(woken_at).0, 1);
        bench.table.look(woken_at + BOUND);
        assert_eq!(Arc::strong_count(&bench.source), 1);
    }

    #[test]
    fn what_is_only_remembered_takes_no_room() {
        let segment = Segment::anonymous(1 << 16).unwrap();
        let mut table = Table::default();
        // When each second look is due, and nothing is forgotten yet.
        let later = now() + BOUND / 2;
        for _ in 0..2 * MOST_WORDS {
            let source = Arc::new(Quiet {
                segment: segment.clone(),
                signal: RawSignal::new(),
            });
            let ticket = source.signal.register(source.members());
            let thing = Thing::Signal(source, ticket);
            let entry = Entry {
                waker: Waker::noop().clone(),
                serves: Serves::All,
            };
            let added = table.add(&thing, entry, false);
            assert!(matches!(added, Added::At(..)));
            assert_eq!(table.look(later).chosen.len(), 1);
        }
    }

    #[test]
    fn a_second_look_that_the_driver_does_not_know_of_is_told_to_it() {
        let mut bench = Bench::new();
        bench.wait(Serves::One);
        bench.wait(Serves::One);
        // One has the turn, and the driver sleeps for the other, who gets it from the one.
        assert_eq!(bench.look(now() + ARRIVAL).0, 1);
        let ticket = bench.source.signal.register(bench.source.members());
        let thing = Thing::Signal(bench.source.clone(), ticket);
        assert!(bench.table.choose(&thing).is_some());
        bench.settle();
        bench.settle();
        bench.source.signal.notify(1);
        assert!(!bench.wait(Serves::One));
    }

    struct Woken(AtomicU32);

    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}
