//! The memory that both parties share: a plain mapping for the peers and for the starting signal, and a segment.

use crate::crowd::Crowd;
use crate::links::kernel::{self, Ends};
use crate::locks::{PthreadCell, PthreadCond, RawSyncRoom};
use crate::machine;
use crate::meeting::PthreadBarrier;
use crate::rwlocks::PthreadTable;
use crate::turns::{OurTurn, PthreadTurn, RawSyncEventRoom, Sem};
use commonhold::{
    Array, Barrier, Condvar, Event, Mutex, Queue, Ring, RwLock, Segment, SegmentOptions, Semaphore,
    Value,
};
use memmap2::MmapRaw;
use std::fs::File;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// What a lock protects in all figures.
pub(crate) type Cell = [u64; 8];

/// How many items each queue holds.
pub(crate) const CAPACITY: usize = 1024;

/// How many there are at most at a time, beside the two parties.
pub(crate) const MEMBERS: usize = 64;

/// Address space for all that is sent through it.
const SEGMENT: usize = 256 << 20;

/// Something on cache lines of its own (two: some CPUs fetch them in pairs).
#[repr(C, align(128))]
pub(crate) struct Line<T>(pub(crate) T);

/// The plain mapping. All zero at first.
#[repr(C)]
pub(crate) struct Plain {
    arrived: Line<AtomicU32>,
    stop: Line<AtomicU32>,
    /// What the second party did, plus 1; 0 while it is at it.
    done: Line<AtomicU64>,
    /// Of what it saw, before it says what it did.
    sum: Line<AtomicU64>,
    failed: Line<AtomicU32>,
    pub(crate) ping: Line<AtomicU64>,
    /// When something was given away.
    pub(crate) given_at: Line<AtomicU64>,
    pub(crate) crowd: Crowd,
    pub(crate) pshared: Line<PthreadCell>,
    pub(crate) robust: Line<PthreadCell>,
    pub(crate) raw_sync: Line<RawSyncRoom>,
    pub(crate) cond: Line<PthreadCond>,
    /// There and back.
    pub(crate) sems: [Line<Sem>; 2],
    pub(crate) raw_sync_events: [Line<RawSyncEventRoom>; 2],
    /// With one permit.
    pub(crate) sem: Line<Sem>,
    pub(crate) barrier: Line<PthreadBarrier>,
    /// There and back.
    pub(crate) pthread_turns: [Line<PthreadTurn>; 2],
    pub(crate) table: Line<PthreadTable>,
    pub(crate) raw_sync_table: Line<PthreadTable>,
}

/// The objects in the segment.
pub(crate) struct Objects {
    pub(crate) mutex: Mutex<Cell>,
    pub(crate) condvar: Condvar,
    pub(crate) table: RwLock<Cell>,
    pub(crate) array: Array<u64>,
    pub(crate) narrow: Value<u64>,
    pub(crate) wide: Value<Cell>,
    /// There and back, as all pairs.
    pub(crate) narrow_queues: [Queue<u64>; 2],
    pub(crate) wide_queues: [Queue<Cell>; 2],
    pub(crate) narrow_rings: [Ring<u64>; 2],
    pub(crate) wide_rings: [Ring<Cell>; 2],
    pub(crate) events: [Event; 2],
    pub(crate) handed: [Semaphore; 2],
    pub(crate) noticed: [OurTurn; 2],
    /// With one permit.
    pub(crate) semaphore: Semaphore,
    pub(crate) barrier: Barrier,
}

/// All of it, as one party sees it.
pub(crate) struct Arena {
    map: MmapRaw,
    pub(crate) segment: Segment,
    pub(crate) objects: Objects,
    pub(crate) ends: Ends,
    /// For the second party: the mapping's file, the segment's, and its ends of what the kernel offers.
    pub(crate) inherit: Vec<Option<OwnedFd>>,
}

impl Arena {
    /// Made by the first party.
    pub(crate) fn create() -> commonhold::Result<Arena> {
        let seg = SegmentOptions::new()
            .capacity(SEGMENT)
            .max_members(2 * MEMBERS as u32)
            .anonymous()?;
        let objects = Objects {
            mutex: Mutex::create(&seg, "mutex", [0; 8])?,
            condvar: Condvar::create(&seg, "condvar")?,
            table: RwLock::create(&seg, "table", [0; 8])?,
            array: Array::create(&seg, "array", 64, 0)?,
            narrow: Value::create(&seg, "narrow", 0)?,
            wide: Value::create(&seg, "wide", [0; 8])?,
            narrow_queues: [
                Queue::create(&seg, "narrow queue there", CAPACITY)?,
                Queue::create(&seg, "narrow queue back", CAPACITY)?,
            ],
            wide_queues: [
                Queue::create(&seg, "wide queue there", CAPACITY)?,
                Queue::create(&seg, "wide queue back", CAPACITY)?,
            ],
            narrow_rings: [
                Ring::create(&seg, "narrow ring there", CAPACITY)?,
                Ring::create(&seg, "narrow ring back", CAPACITY)?,
            ],
            wide_rings: [
                Ring::create(&seg, "wide ring there", CAPACITY)?,
                Ring::create(&seg, "wide ring back", CAPACITY)?,
            ],
            events: [
                Event::create_auto_reset(&seg, "event there")?,
                Event::create_auto_reset(&seg, "event back")?,
            ],
            handed: [
                Semaphore::create(&seg, "handed there", 0)?,
                Semaphore::create(&seg, "handed back", 0)?,
            ],
            noticed: [
                OurTurn::create(&seg, "notice there")?,
                OurTurn::create(&seg, "notice back")?,
            ],
            semaphore: Semaphore::create(&seg, "semaphore", 1)?,
            barrier: Barrier::create(&seg, "barrier", 2)?,
        };
        // SAFETY: the name is a C string.
        let memory = owned(unsafe { libc::memfd_create(c"peers".as_ptr(), libc::MFD_CLOEXEC) });
        let memory = File::from(memory);
        memory.set_len(size_of::<Plain>() as u64)?;
        let [ends, theirs] = kernel::make();
        let mut inherit = vec![Some(inheritable(&memory)), Some(inheritable(&seg))];
        inherit.extend(theirs.inherit());
        let arena = Arena {
            map: map(&memory)?,
            segment: seg,
            objects,
            ends,
            inherit,
        };
        arena.pshared.0.init(false);
        arena.robust.0.init(true);
        arena.raw_sync.0.init();
        arena.cond.0.init();
        arena.sems.iter().for_each(|sem| sem.0.init(0));
        arena.raw_sync_events.iter().for_each(|e| e.0.init());
        arena.sem.0.init(1);
        arena.barrier.0.init();
        arena.pthread_turns.iter().for_each(|turn| turn.0.init());
        arena.table.0.init();
        arena.raw_sync_table.0.init();
        Ok(arena)
    }

    /// Opened by the second party, from what it [inherited](Self::inherit).
    pub(crate) fn open(inherited: &[Option<RawFd>]) -> commonhold::Result<Arena> {
        let &[Some(memory), Some(segment), ref ends @ ..] = inherited else {
            panic!("the mapping's descriptor and the segment's");
        };
        let seg = Segment::from_fd(owned(segment))?;
        Ok(Arena {
            map: map(&owned(memory).into())?,
            objects: Objects {
                mutex: Mutex::open(&seg, "mutex")?,
                condvar: Condvar::open(&seg, "condvar")?,
                table: RwLock::open(&seg, "table")?,
                array: Array::open(&seg, "array")?,
                narrow: Value::open(&seg, "narrow")?,
                wide: Value::open(&seg, "wide")?,
                narrow_queues: [
                    Queue::open(&seg, "narrow queue there")?,
                    Queue::open(&seg, "narrow queue back")?,
                ],
                wide_queues: [
                    Queue::open(&seg, "wide queue there")?,
                    Queue::open(&seg, "wide queue back")?,
                ],
                narrow_rings: [
                    Ring::open(&seg, "narrow ring there")?,
                    Ring::open(&seg, "narrow ring back")?,
                ],
                wide_rings: [
                    Ring::open(&seg, "wide ring there")?,
                    Ring::open(&seg, "wide ring back")?,
                ],
                events: [
                    Event::open(&seg, "event there")?,
                    Event::open(&seg, "event back")?,
                ],
                handed: [
                    Semaphore::open(&seg, "handed there")?,
                    Semaphore::open(&seg, "handed back")?,
                ],
                noticed: [
                    OurTurn::open(&seg, "notice there")?,
                    OurTurn::open(&seg, "notice back")?,
                ],
                semaphore: Semaphore::open(&seg, "semaphore")?,
                barrier: Barrier::open(&seg, "barrier")?,
            },
            segment: seg,
            ends: Ends::inherited(ends),
            inherit: Vec::new(),
        })
    }
}

impl Deref for Arena {
    type Target = Plain;
    fn deref(&self) -> &Plain {
        // SAFETY: the mapping is as long as a Plain and lives as long as `self`; any bytes are a Plain (atomics, and cells that
        // are only used as their own code says), and it changes only through atomics and cells.
        unsafe { &*self.map.as_ptr().cast::<Plain>() }
    }
}

/// Takes a descriptor that a system call returned, or that was inherited for this alone.
pub(crate) fn owned(fd: RawFd) -> OwnedFd {
    assert!(fd >= 0, "{}", machine::error());
    // SAFETY: open, and nobody else's.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// A duplicate that a program which is started has, too.
pub(crate) fn inheritable(file: &impl AsFd) -> OwnedFd {
    // SAFETY: the descriptor is open; its duplicate is without close-on-exec.
    owned(unsafe { libc::dup(file.as_fd().as_raw_fd()) })
}

fn map(file: &File) -> std::io::Result<MmapRaw> {
    memmap2::MmapOptions::new()
        .len(size_of::<Plain>())
        .map_raw(file)
}

impl Plain {
    /// Before a job is given out: nobody has arrived.
    pub(crate) fn reset(&self) {
        self.arrived.0.store(0, Ordering::Relaxed);
        self.stop.0.store(0, Ordering::Relaxed);
        self.done.0.store(0, Ordering::Relaxed);
        self.ping.0.store(0, Ordering::Release);
    }

    /// Waits until both parties are here; as often as both call it.
    pub(crate) fn arrive(&self) {
        let before = self.arrived.0.fetch_add(1, Ordering::AcqRel);
        let both = before / 2 * 2 + 2;
        self.spin(|| self.arrived.0.load(Ordering::Acquire) >= both);
    }

    pub(crate) fn stop(&self) {
        self.stop.0.store(1, Ordering::Release);
    }

    #[inline]
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.0.load(Ordering::Relaxed) != 0
    }

    /// Says what the second party did.
    pub(crate) fn report(&self, count: u64) {
        self.report_sum(count, 0);
    }

    /// The same, with a sum of what it saw.
    pub(crate) fn report_sum(&self, count: u64, sum: u64) {
        self.sum.0.store(sum, Ordering::Relaxed);
        self.done.0.store(count + 1, Ordering::Release);
    }

    /// What the second party did, when it is done.
    pub(crate) fn await_report(&self) -> u64 {
        let mut done = 0;
        self.spin(|| {
            done = self.done.0.load(Ordering::Acquire);
            done != 0
        });
        done - 1
    }

    /// What was reported beside the count.
    pub(crate) fn reported_sum(&self) -> u64 {
        self.sum.0.load(Ordering::Relaxed)
    }

    /// Says that this party is out of it.
    pub(crate) fn fail(&self) {
        self.failed.0.store(1, Ordering::Release);
    }

    fn spin(&self, mut until: impl FnMut() -> bool) {
        let mut looks = 0u32;
        while !until() {
            looks += 1;
            std::hint::spin_loop();
            if looks % 4096 == 0 {
                let failed = self.failed.0.load(Ordering::Acquire);
                assert_eq!(failed, 0, "the other party failed");
                // With one CPU for both, or on a busy machine, the other may be waiting for this one.
                std::thread::yield_now();
            }
        }
    }
}
