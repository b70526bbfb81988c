//! What samples are taken with: both parties, and the clock.

use crate::arena::Arena;
use crate::boost::Boost;
use crate::job::{Job, Side, Verb, Who, take_part, take_part_linked};
use crate::links::{Wires, with_link};
use crate::options::Options;
use crate::party::{self, Second};
use crate::pools::Pools;
use crate::python::Python;
use crate::queue::{self, Item, Seen};
use crate::relay;
use crate::report::{Spread, at, quartiles};
use crate::rwlocks::TABLES;
use std::cell::RefCell;
use std::time::{Duration, Instant};

/// How long what [share](SHARES) of the round trips took at most: a list for each sample.
type Samples = Vec<Vec<f64>>;

/// What samples are taken with.
pub(crate) struct Context {
    /// Ends first: what both parties used is removed after it.
    pub(crate) second: RefCell<Second>,
    pub(crate) arena: Arena,
    pub(crate) wires: Wires,
    /// The two parties'.
    pub(crate) cpus: Option<[usize; 2]>,
    pub(crate) pools: Pools,
    /// If there is one.
    pub(crate) python: Option<Python>,
    /// If there is one.
    pub(crate) boost: Option<Boost>,
    pub(crate) options: Options,
    /// What [`tail`](Self::tail) saw, by the contestants' names.
    pub(crate) spreads: RefCell<Vec<(&'static str, Samples)>>,
}

impl Context {
    /// Both parties do it: two processes, or two threads for those who can't do better.
    pub(crate) fn pair(&self, job: Job) -> f64 {
        self.pair_for(job, self.options.pair())
    }

    fn pair_for(&self, job: Job, duration: Duration) -> f64 {
        let (arena, side) = (&self.arena, Side::First(duration));
        if job.who.in_threads() {
            return self.threads(
                || take_part(arena, job, side),
                || {
                    take_part(arena, job, Side::Second);
                },
            );
        }
        self.second.borrow_mut().give(arena, job);
        if job.is_linked() {
            take_part_linked((arena, &self.wires), job, side)
        } else {
            take_part(arena, job, side)
        }
    }

    /// A cache line there and back, just now. ns.
    pub(crate) fn probe(&self) -> f64 {
        let duration = Duration::from_micros(if self.options.quick { 100 } else { 1000 });
        self.pair_for(job(Verb::Ping, Who::Commonhold, 1, 0), duration)
    }

    fn threads<R>(&self, first: impl FnOnce() -> R, second: impl FnOnce() + Send) -> R {
        party::in_threads(&self.arena, self.cpus.map(|[_, cpu]| cpu), first, second)
    }

    /// Items one by one. So many a second.
    pub(crate) fn items<T: Item>(
        &self,
        (tx, mut rx): (impl FnMut(T), impl FnMut() -> T + Send),
    ) -> f64 {
        self.items_at_once((tx, move |seen: &mut Seen| seen.note(rx())))
    }

    /// The same, received as many as there are.
    pub(crate) fn items_at_once<T: Item>(
        &self,
        (tx, rx): (impl FnMut(T), impl FnMut(&mut Seen) + Send),
    ) -> f64 {
        let (plain, duration) = (&*self.arena, self.options.pair());
        self.threads(
            || queue::send_each(plain, duration, tx),
            || queue::receive(plain, rx),
        )
    }

    /// Items in batches. So many a second.
    pub(crate) fn batches<T: Item>(
        &self,
        batch: usize,
        (tx, rx): (impl FnMut(&[T]), impl FnMut(&mut Vec<T>) + Send),
    ) -> f64 {
        let (plain, duration) = (&*self.arena, self.options.pair());
        self.threads(
            || queue::send_batches(plain, duration, batch, tx),
            || queue::receive_batches(plain, batch, rx),
        )
    }

    /// The same, received as many as there are.
    pub(crate) fn batches_at_once<T: Item>(
        &self,
        batch: usize,
        (tx, rx): (impl FnMut(&[T]), impl FnMut(&mut Seen) + Send),
    ) -> f64 {
        let (plain, duration) = (&*self.arena, self.options.pair());
        self.threads(
            || queue::send_batches(plain, duration, batch, tx),
            || queue::receive(plain, rx),
        )
    }

    /// An item there and back, by one of what `make` makes each way. ns for a round trip.
    pub(crate) fn trips<T: Item, Tx, Rx>(&self, make: impl Fn() -> (Tx, Rx)) -> f64
    where
        Tx: FnMut(T) + Send,
        Rx: FnMut() -> T + Send,
    {
        let (there, here) = make();
        let (back, home) = make();
        let (plain, side) = (&*self.arena, Side::First(self.options.pair()));
        self.threads(
            || queue::trips(plain, side, there, home),
            || {
                queue::trips(plain, Side::Second, back, here);
            },
        )
    }

    /// Whether all items arrive as they were.
    pub(crate) fn check_items<T: Item>(
        &self,
        (tx, rx): (impl FnMut(T), impl FnMut() -> T + Send),
    ) -> Result<(), String> {
        let plain = &*self.arena;
        self.threads(|| queue::check(plain, tx), || queue::be_checked(plain, rx))
    }

    /// Whether all messages arrive as they were.
    pub(crate) fn check_link(&self, who: Who, len: usize) -> Result<(), String> {
        let (arena, job) = (&self.arena, job(Verb::Check, who, len as u32, 0));
        self.second.borrow_mut().give(arena, job);
        let party = (arena, &self.wires);
        with_link!(who, party, len, true, |link| relay::check(arena, link, len))
    }

    /// Round trips, each by itself. ns that all but one of a hundred take at most; how they spread is kept.
    pub(crate) fn tail(&self, who: Who, len: usize) -> f64 {
        let (arena, job) = (&self.arena, job(Verb::Echo, who, len as u32, 0));
        self.second.borrow_mut().give(arena, job);
        let party = (arena, &self.wires);
        let duration = self.options.pair();
        let mut times = with_link!(who, party, len, true, |link| {
            relay::trips(arena, link, len, duration)
        });
        times.sort_by(f64::total_cmp);
        let shares = SHARES.map(|share| at(&times, share));
        let mut spreads = self.spreads.borrow_mut();
        match spreads.iter_mut().find(|(name, _)| *name == who.name()) {
            Some((_, samples)) => samples.push(shares.to_vec()),
            None => spreads.push((who.name(), vec![shares.to_vec()])),
        }
        at(&times, 0.99)
    }

    /// How round trips spread: for each share the median of the samples.
    pub(crate) fn spreads(&self) -> Vec<Spread> {
        let spreads = self.spreads.borrow();
        let spread = |(name, samples): &(&'static str, Samples)| {
            let of = |place: usize| {
                // The first one warmed up.
                let column: Vec<f64> = samples[1..].iter().map(|s| s[place]).collect();
                (SHARES[place], quartiles(&column)[1])
            };
            Spread {
                name: (*name).to_owned(),
                shares: (0..SHARES.len()).map(of).collect(),
            }
        };
        spreads.iter().map(spread).collect()
    }

    /// The locks do what they are for, or nothing is timed.
    pub(crate) fn check(&self) {
        assert!(self.arena.robust.0.survives_its_owner(), "not robust");
        for who in Who::LOCKS {
            self.pair(job(Verb::Tally, who, 0, 0));
        }
        for who in TABLES {
            self.pair(job(Verb::Share, who, 1, 0));
        }
        let before = self.arena.objects.narrow.get().expect("sound");
        self.pair(job(Verb::Update, Who::Commonhold, 0, 0));
        let after = self.arena.objects.narrow.get().expect("sound");
        assert!(after > before, "no update was seen");
        self.pair(job(Verb::Torn, Who::Commonhold, 0, 0));
    }
}

/// Of which a spread tells.
const SHARES: [f64; 12] = [
    0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0,
];

pub(crate) fn job(verb: Verb, who: Who, a: u32, b: u32) -> Job {
    Job { verb, who, a, b }
}

/// Calls `op` over and over. ns each.
#[inline]
pub(crate) fn each(duration: Duration, mut op: impl FnMut()) -> f64 {
    const STRETCH: usize = 1024;
    let mut stretches = Vec::with_capacity(4096);
    let start = Instant::now();
    while start.elapsed() < duration {
        let stretch = Instant::now();
        (0..STRETCH).for_each(|_| op());
        stretches.push(stretch.elapsed().as_nanos() as f64);
    }
    // The median: a stretch in which other processes had the CPU tells nothing.
    quartiles(&stretches)[1] / STRETCH as f64
}
