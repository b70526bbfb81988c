//! Handing the turn over, and meeting: ours and the peers', each behind one trait, and the jobs that two parties do with them.

use crate::arena::{Arena, Line, Plain};
use crate::job::{Side, Who};
use crate::locks::ok;
use crate::report::quartiles;
use raw_sync::Timeout;
use raw_sync::events::{Event, EventImpl, EventInit, EventState};
use std::cell::UnsafeCell;
use std::sync::atomic::Ordering;
use std::sync::{Barrier, Condvar, Mutex};
use std::time::Instant;

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

/// Where two parties wait for each other.
pub(crate) trait Meeting {
    fn meet(&self);
}

impl Meeting for commonhold::Barrier {
    #[inline]
    fn meet(&self) {
        self.wait().expect("nobody dies here");
    }
}

impl Meeting for Barrier {
    fn meet(&self) {
        self.wait();
    }
}

/// A pthread barrier that processes share.
#[repr(C)]
pub(crate) struct PthreadBarrier(UnsafeCell<libc::pthread_barrier_t>);

// SAFETY: it is made to be shared.
unsafe impl Sync for PthreadBarrier {}

impl PthreadBarrier {
    /// For two, before anybody else knows of it.
    pub(crate) fn init(&self) {
        // SAFETY: zero bytes will do for attributes that init overwrites; nobody uses it yet.
        unsafe {
            let mut attr: libc::pthread_barrierattr_t = std::mem::zeroed();
            ok(libc::pthread_barrierattr_init(&mut attr));
            let shared = libc::PTHREAD_PROCESS_SHARED;
            ok(libc::pthread_barrierattr_setpshared(&mut attr, shared));
            ok(libc::pthread_barrier_init(self.0.get(), &attr, 2));
            ok(libc::pthread_barrierattr_destroy(&mut attr));
        }
    }
}

impl Meeting for PthreadBarrier {
    fn meet(&self) {
        // SAFETY: initialised.
        let r = unsafe { libc::pthread_barrier_wait(self.0.get()) };
        assert!(r == 0 || r == libc::PTHREAD_BARRIER_SERIAL_THREAD);
    }
}

/// Hands the turn over and back. ns for one hand-over.
pub(crate) fn hand_over(arena: &Arena, who: Who, side: Side) -> f64 {
    let objects = &arena.objects;
    match who {
        Who::Commonhold => turns(arena, objects.events.each_ref(), side),
        Who::Permits => turns(arena, objects.handed.each_ref(), side),
        Who::Std => turns(arena, STD_TURNS.each_ref().map(|line| &line.0), side),
        Who::Sem => turns(arena, arena.sems.each_ref().map(|line| &line.0), side),
        Who::RawSync => {
            let rooms = arena.raw_sync_events.each_ref();
            let events = rooms.map(|line| line.0.open());
            turns(arena, events.each_ref(), side)
        }
        other => unreachable!("{other:?} hands nothing over"),
    }
}

/// Meets again and again. ns for one meeting.
pub(crate) fn cross(arena: &Arena, who: Who, side: Side) -> f64 {
    // The standard library's, for two threads.
    static STD: std::sync::LazyLock<Barrier> = std::sync::LazyLock::new(|| Barrier::new(2));
    match who {
        Who::Commonhold => crossings(arena, &arena.objects.barrier, side),
        Who::Std => crossings(arena, &*STD, side),
        Who::Pshared => crossings(arena, &arena.barrier.0, side),
        other => unreachable!("{other:?} is no barrier"),
    }
}

/// How often the clock is read.
const STRETCH: u64 = 256;
/// Where a peer needs a system call for each.
const FEW: u64 = 16;

fn turns(plain: &Plain, [there, back]: [&impl Turn; 2], side: Side) -> f64 {
    rounds(plain, side, 2.0, |first| {
        if first {
            there.give();
            back.take();
        } else {
            there.take();
            back.give();
        }
    })
}

fn crossings(plain: &Plain, place: &impl Meeting, side: Side) -> f64 {
    rounds(plain, side, 1.0, |_| place.meet())
}

/// Both do their part of `round` equally often; each round begins with something that the second can't pass before the first. ns
/// for one of the `steps` of a round.
fn rounds(plain: &Plain, side: Side, steps: f64, mut round: impl FnMut(bool)) -> f64 {
    let last = &plain.ping.0;
    let mut done = 0;
    plain.arrive();
    match side {
        Side::First(duration) => {
            let mut stretches = Vec::with_capacity(4096);
            let start = Instant::now();
            let mut stretch = FEW;
            while start.elapsed() < duration {
                let begin = Instant::now();
                (0..stretch).for_each(|_| round(true));
                done += stretch;
                let each = begin.elapsed().as_nanos() as f64 / stretch as f64;
                stretches.push(each);
                stretch = if each < 10_000.0 { STRETCH } else { FEW };
            }
            // Before the round that the second is to end with.
            last.store(done + 1, Ordering::Release);
            round(true);
            let second = plain.await_report();
            assert_eq!(second, done + 1, "the two did not do the same");
            quartiles(&stretches)[1] / steps
        }
        Side::Second => {
            while last.load(Ordering::Acquire) != done || done == 0 {
                round(false);
                done += 1;
            }
            plain.report(done);
            0.0
        }
    }
}
