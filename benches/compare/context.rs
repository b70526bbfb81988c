//! What samples are taken with: both parties, and the clock.

use crate::arena::Arena;
use crate::job::{Job, Side, Verb, Who, take_part};
use crate::options::Options;
use crate::party::{self, Second};
use crate::queue;
use crate::report::quartiles;
use crate::rwlocks::TABLES;
use std::cell::RefCell;
use std::time::{Duration, Instant};

/// What samples are taken with.
pub(crate) struct Context {
    pub(crate) arena: Arena,
    pub(crate) second: RefCell<Second>,
    pub(crate) second_cpu: Option<usize>,
    pub(crate) options: Options,
}

impl Context {
    /// Both parties do it: two processes, or two threads for those who can't do better.
    pub(crate) fn pair(&self, job: Job) -> f64 {
        let duration = self.options.pair();
        if job.who.in_threads() {
            let arena = &self.arena;
            let first = || take_part(arena, job, Side::First(duration));
            let second = || {
                take_part(arena, job, Side::Second);
            };
            return party::in_threads(arena, self.second_cpu, first, second);
        }
        let mut second = self.second.borrow_mut();
        second.run(&self.arena, job, duration)
    }

    pub(crate) fn channel<T: queue::Item>(&self) -> f64 {
        let (first, second) = queue::channel::<T>(&self.arena, self.options.pair());
        party::in_threads(&self.arena, self.second_cpu, first, second)
    }

    /// Each peer does what it is for, or we don't time it.
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
