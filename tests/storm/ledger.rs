//! The ledger: what each worker says that it does and has done, and who was killed.

use crate::times::{Times, now};
use commonhold::{Atomics, Result, Segment};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::time::Duration;

/// What a worker does at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Op {
    Nothing,
    Mutex,
    Array,
    RwLock,
    Value,
    Make,
    Take,
    Ring,
    Watch,
    Send,
    Receive,
    Attach,
    Object,
    Reenter,
    Once,
    Permit,
    Pass,
    Talk,
    Publish,
    Subscribe,
    Film,
    Show,
    Lease,
}

impl Op {
    pub const ALL: [Op; 23] = [
        Op::Nothing,
        Op::Mutex,
        Op::Array,
        Op::RwLock,
        Op::Value,
        Op::Make,
        Op::Take,
        Op::Ring,
        Op::Watch,
        Op::Send,
        Op::Receive,
        Op::Attach,
        Op::Object,
        Op::Reenter,
        Op::Once,
        Op::Permit,
        Op::Pass,
        Op::Talk,
        Op::Publish,
        Op::Subscribe,
        Op::Film,
        Op::Show,
        Op::Lease,
    ];
}

/// Workers that have something to do.
pub const ACTORS: usize = 22;
/// All of them; the master is one more, when it settles the books.
pub const WORKERS: usize = 2 * ACTORS;
pub const MASTER: usize = WORKERS;
/// Threads of a worker, and its forked child, which counts as one.
pub const THREADS: usize = 4;
pub const CHILD: usize = THREADS - 1;
const LIVES: usize = 1 << 14;

/// Items of one stream: a sender that has sent so many begins another.
pub const STREAM: usize = 4096;
pub const STREAMS: usize = 4096;

/// What a worker is told to do when it next comes to a point where a change is half-done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Order {
    Die = 1,
    Stop,
    Exec,
    Fork,
}

/// Sums over an act.
#[derive(Clone, Copy, Debug)]
pub enum Figure {
    Lives,
    Streams,
    Steps,
    /// Microseconds << 8, and the operation.
    Longest,
    Recoveries,
    MendersKilled,
    Execs,
    Forks,
    Attaches,
    /// Not 0: all rest between operations, so long that others' waits become long ones.
    Slow,
    /// Streams that publishers began.
    Editions,
    /// The greatest value that anybody saw.
    Seen,
}
const FIGURES: usize = Figure::Seen as usize + 1;

const MENDING: u64 = 1 << 16;

pub struct Ledger {
    pub times: Times,
    /// How many operations of each kind were completed, by their workers' own word.
    done: Atomics<AtomicU64>,
    /// How many were cut short, at the most: under way when their worker died.
    cut_short: Atomics<AtomicU64>,
    /// What each thread is doing: begin << 24, MENDING, operation << 8, how many changes it may make.
    acts: Atomics<AtomicU64>,
    /// The current life of each worker, counted from 1 over all.
    life: Atomics<AtomicU64>,
    /// Whether each life is over, or is just being ended.
    doomed: Atomics<AtomicU8>,
    /// Whether the master is killing this worker, whatever life it has just begun.
    condemned: Atomics<AtomicU8>,
    pub orders: Atomics<AtomicU8>,
    /// Whether a worker is to live on for now, and not even to die over its mending.
    pub spared: Atomics<AtomicU8>,
    /// Since when a worker is dying by its own hand, or not yet begun; 0: it is at work.
    away: Atomics<AtomicU64>,
    figures: Atomics<AtomicU64>,
    /// Items of each stream that were sent, by the sender's own word.
    pub sent: Atomics<AtomicU64>,
    /// A bit for each item that arrived.
    arrived: Atomics<AtomicU64>,
}

impl Ledger {
    pub const BYTES: usize = STREAMS * (8 + STREAM / 8) + (1 << 18);

    pub fn create(seg: &Segment) -> Result<Ledger> {
        let ledger = Ledger {
            times: Times::create(seg)?,
            done: Atomics::create(seg, "done", Op::ALL.len())?,
            cut_short: Atomics::create(seg, "cut short", Op::ALL.len())?,
            acts: Atomics::create(seg, "acts", (WORKERS + 1) * THREADS)?,
            life: Atomics::create(seg, "life", WORKERS + 1)?,
            doomed: Atomics::create(seg, "doomed", LIVES)?,
            condemned: Atomics::create(seg, "condemned", WORKERS + 1)?,
            orders: Atomics::create(seg, "orders", WORKERS + 1)?,
            spared: Atomics::create(seg, "spared", WORKERS + 1)?,
            away: Atomics::create(seg, "away", WORKERS + 1)?,
            figures: Atomics::create(seg, "figures", FIGURES)?,
            sent: Atomics::create(seg, "sent", STREAMS)?,
            arrived: Atomics::create(seg, "arrived", STREAMS * STREAM / 64)?,
        };
        Ok(ledger)
    }

    pub fn open(seg: &Segment) -> Result<Ledger> {
        Ok(Ledger {
            times: Times::open(seg)?,
            done: Atomics::open(seg, "done")?,
            cut_short: Atomics::open(seg, "cut short")?,
            acts: Atomics::open(seg, "acts")?,
            life: Atomics::open(seg, "life")?,
            doomed: Atomics::open(seg, "doomed")?,
            condemned: Atomics::open(seg, "condemned")?,
            orders: Atomics::open(seg, "orders")?,
            spared: Atomics::open(seg, "spared")?,
            away: Atomics::open(seg, "away")?,
            figures: Atomics::open(seg, "figures")?,
            sent: Atomics::open(seg, "sent")?,
            arrived: Atomics::open(seg, "arrived")?,
        })
    }

    pub fn figure(&self, figure: Figure) -> &AtomicU64 {
        &self.figures[figure as usize]
    }

    pub fn figures(&self) -> &[AtomicU64] {
        &self.figures
    }

    fn count(&self, figure: Figure) {
        self.figure(figure).fetch_add(1, Relaxed);
    }

    // --- what is being done

    fn act(&self, worker: usize, thread: usize) -> &AtomicU64 {
        &self.acts[worker * THREADS + thread]
    }

    /// A thread begins something that changes the books by up to `amount`.
    pub fn begin(&self, worker: usize, thread: usize, op: Op, amount: u64) -> u64 {
        let begin = now();
        self.act(worker, thread)
            .store(begin << 24 | (op as u64) << 8 | amount, SeqCst);
        begin
    }

    /// It is done, and `amount` changes were made.
    pub fn end(&self, worker: usize, thread: usize, op: Op, amount: u64, begin: u64) {
        self.done[op as usize].fetch_add(amount, SeqCst);
        // After `done`: a death in between makes the books looser, not wrong.
        self.act(worker, thread).store(0, SeqCst);
        let took = self.times.since(begin);
        self.times.note(took);
        self.figure(Figure::Longest)
            .fetch_max(took << 8 | op as u64, Relaxed);
        self.count(Figure::Steps);
    }

    pub fn mending(&self, worker: usize, thread: usize, mends: bool) {
        if mends {
            self.act(worker, thread).fetch_or(MENDING, SeqCst);
        } else {
            self.act(worker, thread).fetch_and(!MENDING, SeqCst);
            self.count(Figure::Recoveries);
        }
    }

    /// Whether a thread still does what it began before that time.
    pub fn is_at_it_since(&self, worker: usize, thread: usize, time: u64) -> bool {
        let act = self.act(worker, thread).load(SeqCst);
        act != 0 && act >> 24 <= time
    }

    /// What a thread does, and for how long.
    pub fn look(&self, worker: usize, thread: usize) -> (Op, u64) {
        let act = self.act(worker, thread).load(SeqCst);
        match Op::ALL[(act >> 8) as usize & 0xff] {
            Op::Nothing => (Op::Nothing, 0),
            op => (op, self.times.since(act >> 24)),
        }
    }

    /// The operation that took longest, of those that were completed.
    pub fn longest(&self) -> (Op, Duration) {
        let longest = self.figure(Figure::Longest).load(SeqCst);
        (
            Op::ALL[longest as usize & 0xff],
            Duration::from_micros(longest >> 8),
        )
    }

    // --- who lives

    /// A worker has begun to run: under a name of its own, with the books of its former life closed.
    pub fn begin_life(&self, worker: usize) -> u64 {
        self.bury(worker);
        self.orders[worker].store(0, SeqCst);
        let life = self.figure(Figure::Lives).fetch_add(1, SeqCst) + 1;
        assert!((life as usize) < LIVES, "the book of lives is full");
        self.life[worker].store(life, SeqCst);
        self.away[worker].store(0, SeqCst);
        life
    }

    /// A worker dies by its own hand, or becomes another program, or is about to begin.
    pub fn go_away(&self, worker: usize) {
        self.away[worker].store(now(), SeqCst);
    }

    /// Since when a worker is away, if it is.
    pub fn away_since(&self, worker: usize) -> Option<u64> {
        Some(self.away[worker].load(SeqCst)).filter(|&t| t != 0)
    }

    /// The worker's process is gone, or has become another by `exec`: what it was doing was cut short.
    pub fn bury(&self, worker: usize) {
        for thread in 0..THREADS {
            let act = self.act(worker, thread).load(SeqCst);
            // First the sum: a death in between makes the books looser, not wrong.
            self.cut_short[(act >> 8) as usize & 0xff].fetch_add(act & 0xff, SeqCst);
            if act & MENDING != 0 {
                self.count(Figure::MendersKilled);
            }
            self.act(worker, thread).store(0, SeqCst);
        }
    }

    /// This life is about to end.
    pub fn doom(&self, life: u64) {
        self.doomed[life as usize].store(1, SeqCst);
    }

    /// The master is about to kill the worker.
    pub fn condemn(&self, worker: usize) {
        self.condemned[worker].store(1, SeqCst);
    }

    /// The master has killed the worker.
    pub fn close_life(&self, worker: usize) {
        self.doom(self.life[worker].load(SeqCst));
        self.condemned[worker].store(0, SeqCst);
        self.bury(worker);
    }

    pub fn may_be_dead(&self, name: Token) -> bool {
        self.condemned[name.worker()].load(SeqCst) != 0
            || self.doomed[name.life() as usize].load(SeqCst) != 0
    }

    // --- the books

    pub fn done(&self, op: Op) -> u64 {
        self.done[op as usize].load(SeqCst)
    }

    pub fn cut_short(&self, op: Op) -> u64 {
        self.cut_short[op as usize].load(SeqCst)
    }

    pub fn next_stream(&self) -> Option<usize> {
        let stream = self.figure(Figure::Streams).fetch_add(1, SeqCst) as usize;
        (stream < STREAMS).then_some(stream)
    }

    /// An item arrived.
    pub fn arrive(&self, stream: usize, n: usize) {
        let bit = 1u64 << (n % 64);
        let before = self.arrived[(stream * STREAM + n) / 64].fetch_or(bit, SeqCst);
        assert!(
            before & bit == 0,
            "delivered twice: item {n} of stream {stream}"
        );
    }

    pub fn has_arrived(&self, stream: usize, n: usize) -> bool {
        self.arrived[(stream * STREAM + n) / 64].load(SeqCst) >> (n % 64) & 1 != 0
    }
}

/// The name that a holder of a lock writes into what the lock protects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token(pub u64);

impl Token {
    pub fn new(worker: usize, thread: usize, life: u64) -> Token {
        Token((worker as u64) << 40 | (thread as u64) << 32 | life)
    }

    fn worker(self) -> usize {
        (self.0 >> 40) as usize
    }

    fn life(self) -> u64 {
        self.0 & 0xffff_ffff
    }
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let thread = self.0 >> 32 & 0xff;
        write!(
            f,
            "worker {} in life {}, thread {thread}",
            self.worker(),
            self.life()
        )
    }
}
