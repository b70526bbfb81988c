//! The memory that both parties share: a plain mapping for the peers and for the starting signal, and a segment.

use crate::locks::{PthreadCell, PthreadCond, RawSyncRoom};
use crate::machine;
use crate::meeting::{PthreadBarrier, RawSyncEventRoom, Sem};
use crate::rwlocks::PthreadTable;
use commonhold::{Barrier, Condvar, Event, Mutex, Queue, RwLock, Segment, Semaphore, Value};
use memmap2::MmapRaw;
use std::fs::File;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// What a lock protects in all figures.
pub(crate) type Cell = [u64; 8];

/// How many items each queue holds.
pub(crate) const CAPACITY: usize = 1024;

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
    failed: Line<AtomicU32>,
    pub(crate) ping: Line<AtomicU64>,
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
    pub(crate) table: Line<PthreadTable>,
    pub(crate) raw_sync_table: Line<PthreadTable>,
}

/// The objects in the segment.
pub(crate) struct Objects {
    pub(crate) mutex: Mutex<Cell>,
    pub(crate) condvar: Condvar,
    pub(crate) table: RwLock<Cell>,
    pub(crate) narrow: Value<u64>,
    pub(crate) wide: Value<Cell>,
    pub(crate) narrow_queue: Queue<u64>,
    pub(crate) wide_queue: Queue<Cell>,
    /// There and back.
    pub(crate) events: [Event; 2],
    pub(crate) handed: [Semaphore; 2],
    /// With one permit.
    pub(crate) semaphore: Semaphore,
    pub(crate) barrier: Barrier,
}

/// All of it, as one party sees it.
pub(crate) struct Arena {
    map: MmapRaw,
    pub(crate) objects: Objects,
    /// The pipe's ends; each party uses one.
    pub(crate) read_end: Option<File>,
    pub(crate) write_end: Option<File>,
    /// For the second party: the mapping's file, the segment's, and the pipe's read end, to be inherited.
    pub(crate) inherit: Vec<OwnedFd>,
}

impl Arena {
    /// Made by the first party.
    pub(crate) fn create() -> commonhold::Result<Arena> {
        let seg = Segment::anonymous(1 << 20)?;
        let objects = Objects {
            mutex: Mutex::create(&seg, "mutex", [0; 8])?,
            condvar: Condvar::create(&seg, "condvar")?,
            table: RwLock::create(&seg, "table", [0; 8])?,
            narrow: Value::create(&seg, "narrow", 0)?,
            wide: Value::create(&seg, "wide", [0; 8])?,
            narrow_queue: Queue::create(&seg, "narrow queue", CAPACITY)?,
            wide_queue: Queue::create(&seg, "wide queue", CAPACITY)?,
            events: [
                Event::create_auto_reset(&seg, "event there")?,
                Event::create_auto_reset(&seg, "event back")?,
            ],
            handed: [
                Semaphore::create(&seg, "handed there", 0)?,
                Semaphore::create(&seg, "handed back", 0)?,
            ],
            semaphore: Semaphore::create(&seg, "semaphore", 1)?,
            barrier: Barrier::create(&seg, "barrier", 2)?,
        };
        // SAFETY: the name is a C string.
        let memory = owned(unsafe { libc::memfd_create(c"bench".as_ptr(), 0) });
        let memory = File::from(memory);
        memory.set_len(size_of::<Plain>() as u64)?;
        let mut ends = [0; 2];
        // SAFETY: there is room for two descriptors.
        let made = unsafe { libc::pipe(ends.as_mut_ptr()) };
        assert_eq!(made, 0, "pipe: {}", machine::error());
        let [read_end, write_end] = ends.map(owned);
        // SAFETY: the segment's descriptor is open; a duplicate is without close-on-exec, and so inherited.
        let segment = owned(unsafe { libc::dup(seg.as_fd().as_raw_fd()) });
        let arena = Arena {
            map: map(&memory)?,
            objects,
            read_end: None,
            write_end: Some(write_end.into()),
            inherit: vec![memory.into(), segment, read_end],
        };
        arena.pshared.0.init(false);
        arena.robust.0.init(true);
        arena.raw_sync.0.init();
        arena.cond.0.init();
        arena.sems.iter().for_each(|sem| sem.0.init(0));
        arena.raw_sync_events.iter().for_each(|e| e.0.init());
        arena.sem.0.init(1);
        arena.barrier.0.init();
        arena.table.0.init();
        arena.raw_sync_table.0.init();
        Ok(arena)
    }

    /// Opened by the second party, from what it [inherited](Self::inherit).
    pub(crate) fn open(inherited: &[RawFd]) -> commonhold::Result<Arena> {
        let [memory, segment, read_end] = *inherited else {
            panic!("three descriptors are inherited");
        };
        let seg = Segment::from_fd(owned(segment))?;
        Ok(Arena {
            map: map(&owned(memory).into())?,
            objects: Objects {
                mutex: Mutex::open(&seg, "mutex")?,
                condvar: Condvar::open(&seg, "condvar")?,
                table: RwLock::open(&seg, "table")?,
                narrow: Value::open(&seg, "narrow")?,
                wide: Value::open(&seg, "wide")?,
                narrow_queue: Queue::open(&seg, "narrow queue")?,
                wide_queue: Queue::open(&seg, "wide queue")?,
                events: [
                    Event::open(&seg, "event there")?,
                    Event::open(&seg, "event back")?,
                ],
                handed: [
                    Semaphore::open(&seg, "handed there")?,
                    Semaphore::open(&seg, "handed back")?,
                ],
                semaphore: Semaphore::open(&seg, "semaphore")?,
                barrier: Barrier::open(&seg, "barrier")?,
            },
            read_end: Some(owned(read_end).into()),
            write_end: None,
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
fn owned(fd: RawFd) -> OwnedFd {
    assert!(fd >= 0, "{}", machine::error());
    // SAFETY: open, and nobody else's.
    unsafe { OwnedFd::from_raw_fd(fd) }
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

    /// Waits until both parties are here.
    pub(crate) fn arrive(&self) {
        self.arrived.0.fetch_add(1, Ordering::AcqRel);
        self.spin(|| self.arrived.0.load(Ordering::Acquire) >= 2);
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
