//! Processes and pools, two workers each, beside Python's. Each result is checked.

use crate::context::Context;
use crate::figures::{Better, Figure, Goals, contestant, python};
use crate::machine::on_all_cpus;
use commonhold::process::{Pool, Process};
use std::cell::OnceCell;
use std::hint::black_box;
use std::time::Instant;

const WORKERS: usize = 2;

fn double(n: u64) -> u64 {
    2 * n
}

fn nothing(_: ()) {}

/// One kind of work: what it is called, how many tasks a sample of ours has and one of theirs, and who else does it.
struct Work {
    name: &'static str,
    unit: Unit,
    /// Gives the sum of the results.
    ours: fn(&Pools, u64) -> u64,
    tasks: u64,
    peers: &'static [Peer],
    goals: Goals,
}

/// One of Python's: its name, what `python.py` calls it, and how many tasks a sample has.
struct Peer(&'static str, &'static str, u64);

/// In what a figure is told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    ThousandsPerSecond,
    MillisecondsEach,
}

const WORK: [Work; 4] = [
    Work {
        name: "pool: map, chunked",
        unit: Unit::ThousandsPerSecond,
        ours: |pools, tasks| {
            let results = pools.ours().map(double, 0..tasks).expect("nobody dies");
            results.into_iter().sum()
        },
        tasks: 2_000_000,
        peers: &[
            Peer("Python Pool", "pool-chunked", 100_000),
            Peer("Python executor", "executor-chunked", 100_000),
        ],
        goals: &[("Python Pool", 100.0), ("Python executor", 100.0)],
    },
    Work {
        name: "pool: imap_unordered, one by one",
        unit: Unit::ThousandsPerSecond,
        ours: |pools, tasks| {
            let results = pools.ours().imap_unordered(double, 0..tasks).chunk_size(1);
            results.map(|result| result.expect("nobody dies")).sum()
        },
        tasks: 200_000,
        peers: &[
            Peer("Python Pool", "pool-one-by-one", 10_000),
            Peer("Python executor", "executor-one-by-one", 3_000),
        ],
        goals: &[("Python Pool", 50.0), ("Python executor", 50.0)],
    },
    Work {
        name: "pool: submit, then get",
        unit: Unit::ThousandsPerSecond,
        ours: |pools, tasks| {
            let submit = |n| pools.ours().submit(double, n).expect("it is open");
            let submitted: Vec<_> = (0..tasks).map(submit).collect();
            let results = submitted.into_iter().map(|task| task.get());
            results.map(|result| result.expect("nobody dies")).sum()
        },
        tasks: 100_000,
        peers: &[],
        goals: &[],
    },
    Work {
        name: "process: start and join",
        unit: Unit::MillisecondsEach,
        ours: |_, processes| {
            for _ in 0..processes {
                let child = Process::spawn(nothing, ()).expect("it starts");
                child.join().expect("it ends");
            }
            processes * (processes - 1)
        },
        tasks: 20,
        peers: &[
            Peer("Python fork", "process-fork", 10),
            Peer("Python spawn", "process-spawn", 2),
        ],
        goals: &[("commonhold", 2.5)],
    },
];

/// Our pool, started when it is first used.
#[derive(Default)]
pub(crate) struct Pools {
    ours: OnceCell<Pool>,
}

impl Pools {
    fn ours(&self) -> &Pool {
        self.ours
            .get_or_init(|| Pool::new(WORKERS).expect("a pool starts"))
    }

    /// The figures; without Python's where there is no Python.
    pub(crate) fn figures<'a>(&'a self, cx: &'a Context) -> Vec<Figure<'a>> {
        let shrink = cx.options.shrink();
        WORK.iter()
            .map(|work| {
                let ours = contestant("commonhold", move || self.sample(work, shrink));
                let theirs = work.peers.iter().filter_map(|&Peer(name, what, tasks)| {
                    let told = |rate: f64| work.unit.of(1.0 / rate);
                    python(cx, (name, what, tasks), told)
                });
                let (unit, better) = match work.unit {
                    Unit::ThousandsPerSecond => ("thousand/s", Better::More),
                    Unit::MillisecondsEach => ("ms", Better::Less),
                };
                let contestants = std::iter::once(ours).chain(theirs).collect();
                Figure::new(work.name, unit, better, contestants).goals(work.goals)
            })
            .collect()
    }

    fn sample(&self, work: &Work, shrink: u64) -> f64 {
        let tasks = (work.tasks / shrink).max(2);
        on_all_cpus(|| {
            let start = Instant::now();
            let sum = black_box((work.ours)(self, tasks));
            let took = start.elapsed();
            assert_eq!(sum, tasks * (tasks - 1), "{}", work.name);
            work.unit.of(took.as_secs_f64() / tasks as f64)
        })
    }
}

impl Unit {
    /// From seconds for each.
    fn of(self, each: f64) -> f64 {
        match self {
            Unit::ThousandsPerSecond => 1e-3 / each,
            Unit::MillisecondsEach => each * 1e3,
        }
    }
}
