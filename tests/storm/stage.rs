//! The stage: one segment with every primitive in it.

use crate::frames::{BLOCK_BYTES, BLOCKS, IN_TRANSIT, NOTES};
use crate::jobs::{JOBS, PLACES};
use crate::ledger::Ledger;
use crate::letters::BYTES;
use crate::permits::{PARTIES, SEATS};
use crate::talk::PIPE;
use crate::twice::TWICE;
use commonhold::{
    Array, Atomics, Barrier, BlockHandle, BlockPool, Broadcast, Condvar, Event, Messages, Mutex,
    Once, Pipe, Queue, ReentrantMutex, Result, Ring, RwLock, Segment, Semaphore, Value,
};
use std::sync::atomic::{AtomicU8, AtomicU64};

/// What a lock protects: its holder's name, some counters, and as many copies of them, changed later.
pub const TALLY: usize = 3;
pub const SHOP: usize = 5;
pub const ARRAY: usize = 65;
/// Large, so that a good part of an update is the writing.
pub type Wide = [u64; 48];
/// Its first word names the stream, its second the item, and the others follow from them.
pub type Item = [u64; 6];
pub const CAPACITY: usize = 13;
pub const RING: usize = 7;
/// Things that are done once.
pub const FIRSTS: usize = 8;

pub struct Stage {
    pub ledger: Ledger,
    pub mutex: Mutex<[u64; TALLY]>,
    pub array: Array<u64>,
    pub table: RwLock<[u64; TALLY]>,
    pub value: Value<Wide>,
    /// Made and taken, one piece at a time.
    pub shop: Mutex<[u64; SHOP]>,
    pub made: Condvar,
    pub taken: Condvar,
    /// Rung by two sides in turn.
    pub bell: Value<[u64; 3]>,
    /// Set for the side whose turn it is, after the bell was rung.
    pub rung: [Event; 2],
    /// Never struck.
    pub gong: Value<u64>,
    /// Never set.
    pub never: Event,
    pub reentrant: ReentrantMutex,
    pub twice: Atomics<AtomicU64>,
    pub firsts: Vec<Once>,
    /// How often each was begun.
    pub begun: Atomics<AtomicU64>,
    /// Whether anybody saw it done.
    pub seen_done: Atomics<AtomicU64>,
    pub queue: Queue<Item>,
    pub ring: Ring<Item>,
    pub letters: Messages,
    pub news: Broadcast<Item>,
    /// Leased, one at a time.
    pub jobs: Queue<u64>,
    /// How many were begun to be sent, and which were sent and done, by the workers' own word.
    pub jobs_begun: Atomics<AtomicU64>,
    pub job_sent: Atomics<AtomicU8>,
    pub job_done: Atomics<AtomicU8>,
    pub permits: Semaphore,
    /// Who sits in each.
    pub seats: Atomics<AtomicU64>,
    /// How many times somebody sat.
    pub sat: Atomics<AtomicU64>,
    pub gate: Barrier,
    /// How many times somebody passed the gate, following and leading.
    pub passed: Atomics<AtomicU64>,
    pub pipe: Pipe,
    /// Who holds its ends.
    pub speakers: Atomics<AtomicU64>,
    pub frames: BlockPool,
    pub to_show: Queue<BlockHandle>,
    /// How many frames were sent, and shown; and the number of the next.
    pub filmed: Atomics<AtomicU64>,
    /// A bit for each frame that was shown.
    pub shown: Atomics<AtomicU64>,
    pub seg: Segment,
}

impl Stage {
    pub fn create(name: &str) -> Result<Stage> {
        let seg = Segment::create(name, Ledger::BYTES + (1 << 18))?;
        Ok(Stage {
            ledger: Ledger::create(&seg)?,
            mutex: Mutex::create(&seg, "mutex", [0; TALLY])?,
            array: Array::create(&seg, "array", ARRAY, 0)?,
            table: RwLock::create(&seg, "table", [0; TALLY])?,
            value: Value::create(&seg, "value", [0; 48])?,
            shop: Mutex::create(&seg, "shop", [0; SHOP])?,
            made: Condvar::create(&seg, "made")?,
            taken: Condvar::create(&seg, "taken")?,
            bell: Value::create(&seg, "bell", [0; 3])?,
            rung: [
                Event::create_auto_reset(&seg, "even")?,
                Event::create_auto_reset(&seg, "odd")?,
            ],
            gong: Value::create(&seg, "gong", 0)?,
            never: Event::create(&seg, "never")?,
            reentrant: ReentrantMutex::create(&seg, "reentrant")?,
            twice: Atomics::create(&seg, "twice", TWICE)?,
            firsts: firsts(&seg, Once::create)?,
            begun: Atomics::create(&seg, "begun", FIRSTS)?,
            seen_done: Atomics::create(&seg, "seen done", FIRSTS)?,
            queue: Queue::create(&seg, "queue", CAPACITY)?,
            ring: Ring::create(&seg, "ring", RING)?,
            letters: Messages::create(&seg, "letters", BYTES)?,
            news: Broadcast::create(&seg, "news", CAPACITY)?,
            jobs: Queue::create(&seg, "jobs", PLACES)?,
            jobs_begun: Atomics::create(&seg, "jobs begun", 1)?,
            job_sent: Atomics::create(&seg, "job sent", JOBS)?,
            job_done: Atomics::create(&seg, "job done", JOBS)?,
            permits: Semaphore::create(&seg, "permits", SEATS)?,
            seats: Atomics::create(&seg, "seats", SEATS)?,
            sat: Atomics::create(&seg, "sat", 1)?,
            gate: Barrier::create(&seg, "gate", PARTIES)?,
            passed: Atomics::create(&seg, "passed", 2)?,
            pipe: Pipe::create(&seg, "pipe", PIPE)?,
            speakers: Atomics::create(&seg, "speakers", 2)?,
            frames: BlockPool::create(&seg, "frames", BLOCKS, BLOCK_BYTES)?,
            to_show: Queue::create(&seg, "to show", IN_TRANSIT)?,
            filmed: Atomics::create(&seg, "filmed", 3)?,
            shown: Atomics::create(&seg, "shown", NOTES)?,
            seg,
        })
    }

    pub fn open(name: &str) -> Result<Stage> {
        let seg = Segment::open(name)?;
        Ok(Stage {
            ledger: Ledger::open(&seg)?,
            mutex: Mutex::open(&seg, "mutex")?,
            array: Array::open(&seg, "array")?,
            table: RwLock::open(&seg, "table")?,
            value: Value::open(&seg, "value")?,
            shop: Mutex::open(&seg, "shop")?,
            made: Condvar::open(&seg, "made")?,
            taken: Condvar::open(&seg, "taken")?,
            bell: Value::open(&seg, "bell")?,
            rung: [Event::open(&seg, "even")?, Event::open(&seg, "odd")?],
            gong: Value::open(&seg, "gong")?,
            never: Event::open(&seg, "never")?,
            reentrant: ReentrantMutex::open(&seg, "reentrant")?,
            twice: Atomics::open(&seg, "twice")?,
            firsts: firsts(&seg, Once::open)?,
            begun: Atomics::open(&seg, "begun")?,
            seen_done: Atomics::open(&seg, "seen done")?,
            queue: Queue::open(&seg, "queue")?,
            ring: Ring::open(&seg, "ring")?,
            letters: Messages::open(&seg, "letters")?,
            news: Broadcast::open(&seg, "news")?,
            jobs: Queue::open(&seg, "jobs")?,
            jobs_begun: Atomics::open(&seg, "jobs begun")?,
            job_sent: Atomics::open(&seg, "job sent")?,
            job_done: Atomics::open(&seg, "job done")?,
            permits: Semaphore::open(&seg, "permits")?,
            seats: Atomics::open(&seg, "seats")?,
            sat: Atomics::open(&seg, "sat")?,
            gate: Barrier::open(&seg, "gate")?,
            passed: Atomics::open(&seg, "passed")?,
            pipe: Pipe::open(&seg, "pipe")?,
            speakers: Atomics::open(&seg, "speakers")?,
            frames: BlockPool::open(&seg, "frames")?,
            to_show: Queue::open(&seg, "to show")?,
            filmed: Atomics::open(&seg, "filmed")?,
            shown: Atomics::open(&seg, "shown")?,
            seg,
        })
    }
}

fn firsts(seg: &Segment, get: fn(&Segment, &str) -> Result<Once>) -> Result<Vec<Once>> {
    (0..FIRSTS)
        .map(|n| get(seg, &format!("first {n}")))
        .collect()
}
