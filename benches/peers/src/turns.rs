//! Handing the turn over: ours and the peers', each behind one trait.

use crate::arena::{Arena, Line, Plain};
use crate::job::{Job, Side, Verb, Who};
use crate::locks::{Lock, PthreadCell, PthreadCond, ok};
use crate::machine::{error, work};
use crate::meeting::rounds;
use crate::report::quartiles;
use commonhold::Segment;
use raw_sync::Timeout;
use raw_sync::events::{Event, EventImpl, EventInit, EventState};
use std::cell::UnsafeCell;
use std::fs::File;
use std::io::{Read, Write};
use std::sync::atomic::Ordering;
use std::sync::{Condvar, Mutex};

/// Something that one party gives and the other takes, waiting for it.
pub(crate) trait Turn {
    fn give(&self);
    fn take(&self);
}

impl Turn for commonhold::Event {
    #[inline]
    fn give(&self) {
        self.set();
    }
    #[inline]
    fn take(&self) {
        self.wait().expect("nobody dies here");
    }
}

impl Turn for commonhold::Semaphore {
    #[inline]
    fn give(&self) {
        self.add_permits(1).expect("there is room for one more");
    }
    #[inline]
    fn take(&self) {
        self.acquire().expect("nobody dies here").forget();
    }
}

/// What std has for it: a condition variable and its mutex.
pub(crate) struct StdTurn {
    given: Mutex<bool>,
    changed: Condvar,
}

/// The standard library's, for two threads.
pub(crate) static STD_TURNS: [Line<StdTurn>; 2] = [const {
    Line(StdTurn {
        given: Mutex::new(false),
        changed: Condvar::new(),
    })
}; 2];

impl Turn for StdTurn {
    fn give(&self) {
        *self.given.lock().expect("nobody panics here") = true;
        self.changed.notify_one();
    }
    fn take(&self) {
        let given = self.given.lock().expect("nobody panics here");
        let given = self.changed.wait_while(given, |given| !*given);
        *given.expect("nobody panics here") = false;
    }
}

/// A POSIX semaphore that processes share.
#[repr(C)]
pub(crate) struct Sem(UnsafeCell<libc::sem_t>);

// SAFETY: it is made to be shared.
unsafe impl Sync for Sem {}

impl Sem {
    /// Before anybody else knows of it.
    pub(crate) fn init(&self, value: u32) {
        // SAFETY: nobody uses it yet.
        ok(unsafe { libc::sem_init(self.0.get(), 1, value) });
    }
}

impl Turn for Sem {
    #[inline]
    fn give(&self) {
        // SAFETY: initialised.
        ok(unsafe { libc::sem_post(self.0.get()) });
    }
    #[inline]
    fn take(&self) {
        // SAFETY: initialised.
        ok(unsafe { libc::sem_wait(self.0.get()) });
    }
}

/// Room for raw_sync's event.
#[repr(C, align(16))]
pub(crate) struct RawSyncEventRoom(UnsafeCell<[u8; 256]>);

// SAFETY: used only by raw_sync's event, which is made to be shared.
unsafe impl Sync for RawSyncEventRoom {}

/// raw_sync's event, as one process sees it.
pub(crate) struct RawSyncEvent(Box<dyn EventImpl>);

impl RawSyncEventRoom {
    /// Before anybody else knows of it.
    pub(crate) fn init(&self) {
        let at = self.0.get().cast::<u8>();
        assert!(Event::size_of(Some(at)) <= size_of::<Self>());
        // SAFETY: the room is long enough, and nobody uses it yet.
        let made = unsafe { Event::new(at, true) };
        made.expect("raw_sync makes an event");
    }

    pub(crate) fn open(&self) -> RawSyncEvent {
        // SAFETY: `init` made it.
        let found = unsafe { Event::from_existing(self.0.get().cast()) };
        RawSyncEvent(found.expect("raw_sync finds the event").0)
    }
}

impl Turn for RawSyncEvent {
    fn give(&self) {
        self.0.set(EventState::Signaled).expect("raw_sync sets");
    }
    fn take(&self) {
        self.0.wait(Timeout::Infinite).expect("raw_sync waits");
    }
}

/// Ours: a condition variable and its mutex.
pub(crate) struct OurTurn {
    given: commonhold::Mutex<u64>,
    changed: commonhold::Condvar,
}

impl OurTurn {
    pub(crate) fn create(segment: &Segment, name: &str) -> commonhold::Result<OurTurn> {
        Ok(OurTurn {
            given: commonhold::Mutex::create(segment, &format!("{name}, given"), 0)?,
            changed: commonhold::Condvar::create(segment, &format!("{name}, changed"))?,
        })
    }

    pub(crate) fn open(segment: &Segment, name: &str) -> commonhold::Result<OurTurn> {
        Ok(OurTurn {
            given: commonhold::Mutex::open(segment, &format!("{name}, given"))?,
            changed: commonhold::Condvar::open(segment, &format!("{name}, changed"))?,
        })
    }
}

impl Turn for OurTurn {
    fn give(&self) {
        *self.given.lock().expect("nobody dies here") = 1;
        self.changed.notify_one();
    }
    fn take(&self) {
        let given = self.given.lock().expect("nobody dies here");
        let given = self.changed.wait_while(given, |given| *given == 0);
        *given.expect("nobody dies here") = 0;
    }
}

/// The same of pthreads', shared by processes.
#[repr(C)]
pub(crate) struct PthreadTurn {
    given: PthreadCell,
    changed: PthreadCond,
}

impl PthreadTurn {
    /// Before anybody else knows of it.
    pub(crate) fn init(&self) {
        self.given.init(false);
        self.changed.init();
    }
}

impl Turn for PthreadTurn {
    fn give(&self) {
        self.given.with(|cell| cell[0] = 1);
        self.changed.signal();
    }
    fn take(&self) {
        self.given
            .with_when(&self.changed, |cell| cell[0] != 0, |cell| cell[0] = 0);
    }
}

/// A counter of the kernel's, which is read and written.
impl Turn for File {
    fn give(&self) {
        let mut file = self;
        file.write_all(&1u64.to_ne_bytes()).expect("it counts");
    }
    fn take(&self) {
        let mut count = [0; 8];
        let mut file = self;
        file.read_exact(&mut count).expect("it counts");
        assert_eq!(u64::from_ne_bytes(count), 1, "one turn at a time");
    }
}

/// Hands the turn over and back, each after `a` steps of work. ns for one hand-over: with the work, or from giving to going on.
pub(crate) fn hand_over(arena: &Arena, job: Job, side: Side) -> f64 {
    let objects = &arena.objects;
    match job.who {
        Who::Commonhold => turns(arena, objects.events.each_ref(), job, side),
        Who::Permits => turns(arena, objects.handed.each_ref(), job, side),
        Who::OurCondvar => turns(arena, objects.noticed.each_ref(), job, side),
        Who::Std => turns(arena, STD_TURNS.each_ref().map(|line| &line.0), job, side),
        Who::Sem => turns(arena, arena.sems.each_ref().map(|line| &line.0), job, side),
        Who::Pshared => {
            let both = arena.pthread_turns.each_ref();
            turns(arena, both.map(|line| &line.0), job, side)
        }
        Who::Eventfd => turns(arena, arena.ends.events(), job, side),
        Who::RawSync => {
            let rooms = arena.raw_sync_events.each_ref();
            let events = rooms.map(|line| line.0.open());
            turns(arena, events.each_ref(), job, side)
        }
        other => unreachable!("{other:?} hands nothing over"),
    }
}

fn turns(plain: &Plain, both: [&impl Turn; 2], job: Job, side: Side) -> f64 {
    if job.verb == Verb::WakeUp {
        return wake_ups(plain, both, job.a, side);
    }
    let [there, back] = both;
    rounds(plain, side, 2.0, |first| {
        if first {
            work(job.a);
            there.give();
            back.take();
        } else {
            there.take();
            work(job.a);
            back.give();
        }
    })
}

/// The first party's, each by itself; the median. Whoever takes has to be asleep when the other's work is done.
fn wake_ups(plain: &Plain, [there, back]: [&impl Turn; 2], steps: u32, side: Side) -> f64 {
    let given_at = &plain.given_at.0;
    let mut times = Vec::with_capacity(4096);
    rounds(plain, side, 2.0, |first| {
        if first {
            there.give();
            back.take();
            // Whoever gave wrote it before.
            times.push((monotonic() - given_at.load(Ordering::Relaxed)) as f64);
            work(steps);
        } else {
            there.take();
            work(steps);
            given_at.store(monotonic(), Ordering::Relaxed);
            back.give();
        }
    });
    match side {
        Side::First(_) => quartiles(&times)[1],
        Side::Second => 0.0,
    }
}

/// In ns, by a clock that all processes read alike.
fn monotonic() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: fills what it is given.
    let r = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    assert_eq!(r, 0, "clock_gettime: {}", error());
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
