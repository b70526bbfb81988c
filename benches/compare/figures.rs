//! The figures: who takes part in each, and how one sample is taken.

use crate::arena::Cell;
use crate::context::{Context, each, job};
use crate::job::{Verb, Who};
use crate::locks::{Lock, STD_COND, with_lock};
use crate::meeting::Turn;
use crate::rwlocks::{SharedLock, TABLES, with_table};
use crate::{machine, segments};
use std::hint::black_box;
use std::time::Duration;

type Goals = &'static [(&'static str, f64)];

/// Which way is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    Less,
    More,
    /// It only informs.
    Neither,
}

pub(crate) struct Contestant<'a> {
    pub(crate) name: &'static str,
    pub(crate) sample: Box<dyn FnMut() -> f64 + 'a>,
}

pub(crate) struct Figure<'a> {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) better: Better,
    /// Ours first.
    pub(crate) contestants: Vec<Contestant<'a>>,
    /// How far ahead of a peer we mean to be; beside our own name, a bound on our figure itself.
    pub(crate) goals: Goals,
}

fn contestant<'a>(name: &'static str, sample: impl FnMut() -> f64 + 'a) -> Contestant<'a> {
    let sample = Box::new(sample);
    Contestant { name, sample }
}

/// All figures, in the order of the report.
pub(crate) fn all(cx: &Context) -> Vec<Figure<'_>> {
    let mut all = vec![round_trip(cx), uncontended(cx)];
    all.extend(contended(cx));
    all.extend(sharing(cx));
    all.extend(values(cx));
    all.extend(queues(cx));
    all.extend([notify(cx), permit(cx), hand_over(cx), crossing(cx)]);
    all.extend(attaching(cx));
    all
}

fn round_trip(cx: &Context) -> Figure<'_> {
    let ping = |pauses| move || cx.pair(job(Verb::Ping, Who::Commonhold, pauses, 0));
    Figure {
        name: "line round trip, two processes",
        unit: "ns",
        better: Better::Neither,
        contestants: vec![
            contestant("load and store", ping(0)),
            contestant("with a pause", ping(1)),
        ],
        goals: &[],
    }
}

/// A figure of one party, with all locks.
fn solitary<'a>(
    name: &'static str,
    sample: impl Fn(Who) -> f64 + Copy + 'a,
    goals: Goals,
) -> Figure<'a> {
    let one = |who: Who| contestant(who.name(), move || sample(who));
    Figure {
        name,
        unit: "ns",
        better: Better::Less,
        contestants: Who::LOCKS.into_iter().map(one).collect(),
        goals,
    }
}

/// A figure of two parties, with all locks.
fn pairwise<'a>(
    name: &'static str,
    sample: impl Fn(Who) -> f64 + Copy + 'a,
    goals: Goals,
) -> Figure<'a> {
    Figure {
        unit: "M/s",
        better: Better::More,
        ..solitary(name, sample, goals)
    }
}

fn uncontended(cx: &Context) -> Figure<'_> {
    let sample = |who| {
        with_lock!(who, cx.arena, |lock| each(cx.options.solo(), || {
            // Something to protect; but nothing that makes the compiler forget what it knows of the lock.
            lock.with(|cell| cell[0] = cell[0].wrapping_add(1));
        }))
    };
    let goals = &[
        ("std", 1.0 / 1.05),
        ("pthread robust", 2.4),
        ("raw_sync", 2.4),
    ];
    solitary("lock + unlock, uncontended", sample, goals)
}

fn contended(cx: &Context) -> [Figure<'_>; 4] {
    let hundred = machine::steps(Duration::from_nanos(100));
    let with = |inside, between| move |who| cx.pair(job(Verb::Contend, who, inside, between)) / 1e6;
    let best = &[
        ("std", 1.0),
        ("pthread", 1.0),
        ("pthread robust", 1.0),
        ("raw_sync", 1.0),
    ];
    let robust = &[("pthread robust", 2.5)];
    let empty = &[("std", 2.0), ("pthread robust", 4.0)];
    let hand_overs = |who| cx.pair(job(Verb::Tally, who, 0, 0));
    [
        pairwise("contended, empty", with(0, 0), empty),
        Figure {
            unit: "",
            better: Better::Neither,
            ..pairwise(
                "contended, operations a hand-over",
                hand_overs,
                &[("commonhold", 64.0)],
            )
        },
        pairwise("contended, 100 ns inside", with(hundred, 0), robust),
        pairwise("contended, 400 ns between", with(0, 4 * hundred), best),
    ]
}

/// The readers-writer locks.
fn sharing(cx: &Context) -> [Figure<'_>; 3] {
    fn with<'a>(
        figure: Figure<'a>,
        name: &'static str,
        sample: impl Fn(Who) -> f64 + Copy + 'a,
    ) -> Figure<'a> {
        let one = |who: Who| contestant(who.name(), move || sample(who));
        Figure {
            name,
            contestants: TABLES.into_iter().map(one).collect(),
            ..figure
        }
    }
    let solo = cx.options.solo();
    let read = move |who| {
        with_table!(who, cx.arena, |table| each(solo, || {
            black_box(table.reading(|cell| cell[0]));
        }))
    };
    let write = move |who| {
        with_table!(who, cx.arena, |table| each(solo, || {
            table.writing(|cell| cell[0] = cell[0].wrapping_add(1));
        }))
    };
    let together = move |who| cx.pair(job(Verb::Share, who, 0, 0)) / 1e6;
    let figure = |unit, better, goals| Figure {
        name: "",
        unit,
        better,
        contestants: Vec::new(),
        goals,
    };
    let alone = || figure("ns", Better::Less, &[("std", 1.5), ("raw_sync", 5.0)]);
    [
        with(alone(), "read lock + unlock, uncontended", read),
        with(
            figure("M/s", Better::More, &[("std", 2.5)]),
            "two readers",
            together,
        ),
        with(
            figure("ns", Better::Less, &[("raw_sync", 1.0)]),
            "write lock + unlock, uncontended",
            write,
        ),
    ]
}

/// Ours, and for the peers the same done to a copy under their lock.
fn values(cx: &Context) -> Vec<Figure<'_>> {
    let (narrow, wide) = (&cx.arena.objects.narrow, &cx.arena.objects.wide);
    let solo = cx.options.solo();
    let get_narrow = move |who| match who {
        Who::Commonhold => each(solo, || {
            black_box(narrow.get().expect("sound"));
        }),
        peer => with_lock!(peer, cx.arena, |lock| each(solo, || {
            black_box(lock.with(|cell| cell[0]));
        })),
    };
    let get_wide = move |who| match who {
        Who::Commonhold => each(solo, || {
            black_box(wide.get().expect("sound"));
        }),
        peer => with_lock!(peer, cx.arena, |lock| each(solo, || {
            black_box(lock.with(|cell| *cell));
        })),
    };
    let update_narrow = move |who| match who {
        Who::Commonhold => each(solo, || narrow.update(|n| *n += 1).expect("sound")),
        peer => with_lock!(peer, cx.arena, |lock| each(solo, || {
            lock.with(|cell| cell[0] += 1);
        })),
    };
    let plus_one = |cell: &mut Cell| cell.iter_mut().for_each(|n| *n += 1);
    let update_wide = move |who| match who {
        Who::Commonhold => each(solo, || wide.update(plus_one).expect("sound")),
        peer => with_lock!(peer, cx.arena, |lock| each(solo, || lock.with(plus_one))),
    };
    let together = |verb| move |who| cx.pair(job(verb, who, 0, 0)) / 1e6;
    let mut reading_together = pairwise(
        "Value<u64> get, two parties",
        together(Verb::Read),
        &[("raw_sync", 5.0), ("commonhold, one party", 1.9)],
    );
    let alone = contestant("commonhold, one party", || {
        cx.pair(job(Verb::Read, Who::Commonhold, 1, 0)) / 1e6
    });
    reading_together.contestants.push(alone);
    vec![
        solitary("Value<u64> get", get_narrow, &[("commonhold", 3.0)]),
        solitary("Value<[u64; 8]> get", get_wide, &[("commonhold", 10.0)]),
        reading_together,
        solitary("Value<u64> += 1", update_narrow, &[]),
        solitary("Value<[u64; 8]> += 1", update_wide, &[]),
        pairwise("Value<u64> += 1, two parties", together(Verb::Update), &[]),
    ]
}

fn queues(cx: &Context) -> Vec<Figure<'_>> {
    let figure = |name, words, batch| {
        let send = move |who: Who| {
            let sample = move || cx.pair(job(Verb::Send, who, words, batch)) / 1e6;
            contestant(who.name(), sample)
        };
        Figure {
            name,
            unit: "M/s",
            better: Better::More,
            contestants: vec![send(Who::Commonhold), send(Who::Pipe)],
            goals: &[],
        }
    };
    let mut all = vec![
        figure("Queue<u64>, one by one", 1, 1),
        figure("Queue<[u64; 8]>, one by one", 8, 1),
        figure("Queue<u64>, 64 at a time", 1, 64),
        figure("Queue<[u64; 8]>, 64 at a time", 8, 64),
    ];
    // It has no batches.
    let name = Who::SyncChannel.name();
    let narrow = contestant(name, move || cx.channel::<u64>() / 1e6);
    let wide = contestant(name, move || cx.channel::<Cell>() / 1e6);
    all[0].contestants.push(narrow);
    all[1].contestants.push(wide);
    all
}

fn notify(cx: &Context) -> Figure<'_> {
    let (arena, solo) = (&cx.arena, cx.options.solo());
    Figure {
        name: "notify, nobody waits",
        unit: "ns",
        better: Better::Less,
        contestants: vec![
            contestant("commonhold", move || {
                each(solo, || black_box(&arena.objects.condvar).notify_one())
            }),
            contestant("std", move || {
                each(solo, || black_box(&STD_COND.0).notify_one())
            }),
            contestant("pthread", move || {
                each(solo, || black_box(&arena.cond.0).signal())
            }),
        ],
        goals: &[("commonhold", 4.0)],
    }
}

fn permit(cx: &Context) -> Figure<'_> {
    let (arena, solo) = (&cx.arena, cx.options.solo());
    Figure {
        name: "acquire + release a permit, uncontended",
        unit: "ns",
        better: Better::Less,
        contestants: vec![
            contestant("commonhold", move || {
                each(solo, || drop(black_box(&arena.objects.semaphore).acquire()))
            }),
            contestant("sem_t", move || {
                let sem = black_box(&arena.sem.0);
                each(solo, || {
                    sem.take();
                    sem.give();
                })
            }),
        ],
        goals: &[],
    }
}

/// Both parties run, and wait for nothing but each other.
fn hand_over(cx: &Context) -> Figure<'_> {
    let one = |who: Who| contestant(who.name(), move || cx.pair(job(Verb::HandOver, who, 0, 0)));
    Figure {
        name: "hand-over by an event, peer running",
        unit: "ns",
        better: Better::Less,
        contestants: [
            Who::Commonhold,
            Who::Permits,
            Who::Std,
            Who::Sem,
            Who::RawSync,
        ]
        .into_iter()
        .map(one)
        .collect(),
        goals: &[("commonhold", 160.0)],
    }
}

fn crossing(cx: &Context) -> Figure<'_> {
    let one = |who: Who| contestant(who.name(), move || cx.pair(job(Verb::Cross, who, 0, 0)));
    Figure {
        name: "crossing a barrier, two parties",
        unit: "ns",
        better: Better::Less,
        contestants: [Who::Commonhold, Who::Std, Who::Pshared]
            .into_iter()
            .map(one)
            .collect(),
        goals: &[("commonhold", 100.0)],
    }
}

fn attaching(cx: &Context) -> [Figure<'_>; 2] {
    let duration = cx.options.solo();
    let figure = |name, ours: fn(Duration) -> f64, floor: fn(Duration) -> f64, goals| Figure {
        name,
        unit: "µs",
        better: Better::Less,
        contestants: vec![
            contestant("commonhold", move || ours(duration)),
            contestant("the floor", move || floor(duration)),
        ],
        goals,
    };
    [
        figure(
            "create + drop a segment",
            segments::create,
            segments::floor_create,
            &[("the floor", 0.25)],
        ),
        figure(
            "attach + drop a segment",
            segments::attach,
            segments::floor_attach,
            &[("the floor", 0.25)],
        ),
    ]
}
