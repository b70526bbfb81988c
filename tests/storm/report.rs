//! What a storm was: one line for the reader.

use crate::ledger::{Figure, Ledger, Op, STREAMS};
use crate::times::{BUCKETS, end_of_bucket, now};
use crate::worker::Part;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering::SeqCst;

/// The figures of one act, or of several.
pub struct Report {
    begin: u64,
    acts: u64,
    pub killed: BTreeMap<Part, u64>,
    pub by_own_hand: u64,
    pub afresh: u64,
    pub stops: u64,
    pub killed_stopped: u64,
    pub standstills: u64,
    pub calms: u64,
    sums: [u64; Figure::Attaches as usize + 1],
    items: u64,
    /// Items that went to receivers which were killed, and how many can have.
    pub lost: (u64, u64),
    times: Vec<u64>,
}

impl Report {
    pub fn new() -> Report {
        Report {
            begin: now(),
            acts: 0,
            killed: BTreeMap::new(),
            by_own_hand: 0,
            afresh: 0,
            stops: 0,
            killed_stopped: 0,
            standstills: 0,
            calms: 0,
            sums: Default::default(),
            items: 0,
            lost: (0, 0),
            times: vec![0; BUCKETS],
        }
    }

    pub fn kills(&self) -> u64 {
        self.killed.values().sum()
    }

    /// Takes over what stands in the ledger of an act that is over.
    pub fn read(&mut self, ledger: &Ledger) {
        self.acts = 1;
        for (figure, sum) in self.sums.iter_mut().enumerate() {
            *sum = ledger.figures()[figure].load(SeqCst);
        }
        self.items = (0..STREAMS).map(|s| ledger.sent[s].load(SeqCst)).sum();
        self.times = ledger.times.counts();
    }

    /// Adds an act.
    pub fn add(&mut self, act: &Report) {
        self.acts += act.acts;
        for (part, kills) in &act.killed {
            *self.killed.entry(*part).or_default() += kills;
        }
        self.by_own_hand += act.by_own_hand;
        self.afresh += act.afresh;
        self.stops += act.stops;
        self.killed_stopped += act.killed_stopped;
        self.standstills += act.standstills;
        self.calms += act.calms;
        self.items += act.items;
        self.lost.0 += act.lost.0;
        self.lost.1 += act.lost.1;
        let longest = Figure::Longest as usize;
        let most = self.sums[longest].max(act.sums[longest]);
        for (sum, n) in self.sums.iter_mut().zip(act.sums) {
            *sum += n;
        }
        self.sums[longest] = most;
        for (sum, n) in self.times.iter_mut().zip(&act.times) {
            *sum += n;
        }
    }

    fn sum(&self, figure: Figure) -> u64 {
        self.sums[figure as usize]
    }

    /// The time, in microseconds, that this share of the operations did not exceed.
    fn quantile(&self, share: f64) -> u64 {
        let all: u64 = self.times.iter().sum();
        let mut left = (all as f64 * share) as u64;
        for (bucket, &n) in self.times.iter().enumerate() {
            if left <= n {
                return end_of_bucket(bucket);
            }
            left -= n;
        }
        end_of_bucket(BUCKETS - 1)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let took = (now() - self.begin) as f64 / 1e6;
        write!(
            f,
            "{} kills in {took:.1} s and {} acts (",
            self.kills(),
            self.acts
        )?;
        for (i, (part, kills)) in self.killed.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{part:?} {kills}")?;
        }
        let longest = self.sum(Figure::Longest);
        write!(
            f,
            "), {} of them in the middle of a change, {} while mending, {} while stopped; {} stops, {} execs, {} forks, \
             {} started afresh, {} attaches, {} calms; {} operations, {} items, {} of them in dead hands (at most {}), {} recoveries; \
             an operation took at most {} µs in half of the cases, {} µs in 99 %, {} µs in 99.99 %, {} ms in the worst ({:?}); \
             the machine stood still {} times",
            self.by_own_hand,
            self.sum(Figure::MendersKilled),
            self.killed_stopped,
            self.stops,
            self.sum(Figure::Execs),
            self.sum(Figure::Forks),
            self.afresh,
            self.sum(Figure::Attaches),
            self.calms,
            self.sum(Figure::Steps),
            self.items,
            self.lost.0,
            self.lost.1,
            self.sum(Figure::Recoveries),
            self.quantile(0.5),
            self.quantile(0.99),
            self.quantile(0.9999),
            (longest >> 8) / 1000,
            Op::ALL[longest as usize & 0xff],
            self.standstills,
        )
    }
}
