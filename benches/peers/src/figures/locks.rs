//! The locks.

use super::{Better, Contestant, Figure, contestant, told};
use crate::arena::MEMBERS;
use crate::context::{Context, each, job};
use crate::crowd;
use crate::deaths::{End, Read, after_kill as after, alone};
use crate::job::{Verb, Who};
use crate::locks::{Lock, with_lock};
use crate::machine;
use crate::rwlocks::{SharedLock, TABLES, with_table};
use commonhold::{Barrier, Once, Queue, ReentrantMutex, RwLock, Semaphore};
use std::hint::black_box;
use std::time::Duration;

pub(super) fn figures(cx: &Context) -> Vec<Figure<'_>> {
    let mut all = vec![uncontended(cx)];
    all.extend(contended(cx));
    all.extend(crowds(cx));
    all.extend(sharing(cx));
    all.extend(after_kill(cx));
    all
}

const BOOST: &str = "Boost interprocess_mutex";

/// A figure of one party, with all locks.
pub(super) fn solitary<'a>(
    name: &'static str,
    sample: impl Fn(Who) -> f64 + Copy + 'a,
) -> Figure<'a> {
    with_all(&Who::LOCKS, name, "ns", Better::Less, sample)
}

/// A figure of two parties, with all locks.
pub(super) fn pairwise<'a>(
    name: &'static str,
    sample: impl Fn(Who) -> f64 + Copy + 'a,
) -> Figure<'a> {
    with_all(&Who::LOCKS, name, "M/s", Better::More, sample)
}

fn with_all<'a>(
    all: &[Who],
    name: &'static str,
    unit: &'static str,
    better: Better,
    sample: impl Fn(Who) -> f64 + Copy + 'a,
) -> Figure<'a> {
    let one = |&who: &Who| contestant(who.name(), move || sample(who));
    Figure::new(name, unit, better, all.iter().map(one).collect())
}

fn uncontended(cx: &Context) -> Figure<'_> {
    let sample = |who| {
        with_lock!(who, cx.arena, |lock| each(cx.options.solo(), || {
            // Something to protect; but nothing that makes the compiler forget what it knows of the lock.
            lock.with(|cell| cell[0] = cell[0].wrapping_add(1));
        }))
    };
    let mut figure = solitary("lock + unlock, uncontended", sample).goals(&[
        ("std", 1.0 / 1.05),
        ("pthread robust", 2.4),
        ("raw_sync", 2.4),
    ]);
    if let Some(boost) = &cx.boost {
        let sample = move || 1e9 / boost.figure("lock", 1, cx.options.solo());
        figure.contestants.push(contestant(BOOST, sample));
    }
    figure
}

fn contended(cx: &Context) -> [Figure<'_>; 4] {
    let hundred = machine::steps(Duration::from_nanos(100));
    let with = |inside, between| move |who| cx.pair(job(Verb::Contend, who, inside, between)) / 1e6;
    let hand_overs = |who| cx.pair(job(Verb::Tally, who, 0, 0));
    let mut empty = pairwise("contended, empty", with(0, 0));
    if let Some(boost) = &cx.boost {
        let sample = move || boost.figure("lock", 2, cx.options.pair()) / 1e6;
        empty.contestants.push(contestant(BOOST, sample));
    }
    [
        empty.goals(&[("std", 2.0), ("pthread robust", 4.0)]),
        with_all(
            &Who::LOCKS,
            "contended, operations a hand-over",
            "",
            Better::Neither,
            hand_overs,
        )
        .goals(&[("commonhold", 64.0)]),
        pairwise("contended, 100 ns inside", with(hundred, 0))
            .goals(&[("parking_lot", 1.0), ("pthread robust", 2.5)]),
        pairwise("contended, 400 ns between", with(0, 4 * hundred)).goals(&[
            ("std", 1.0),
            ("parking_lot", 1.0),
            ("pthread", 1.0),
            ("pthread robust", 1.0),
            ("raw_sync", 1.0),
        ]),
    ]
}

/// As many members as that, on two CPUs.
fn crowds(cx: &Context) -> impl Iterator<Item = Figure<'_>> {
    let hundred = machine::steps(Duration::from_nanos(100));
    let most = if cx.options.quick { 8 } else { MEMBERS };
    let powers = (0..).map(|power| 1 << power);
    powers.take_while(move |&n| n <= most).map(move |n| {
        let one = |who: Who| {
            let sample = move || crowd::contend(cx, who, n, hundred) / 1e6;
            contestant(who.name(), sample)
        };
        let name = format!("{n} contend, 100 ns inside");
        let contestants = Who::LOCKS.into_iter().map(one).collect();
        Figure::new(name, "M/s", Better::More, contestants).point("contention", n as f64)
    })
}

/// The readers-writer locks.
fn sharing(cx: &Context) -> [Figure<'_>; 3] {
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
    [
        with_all(
            &TABLES,
            "read lock + unlock, uncontended",
            "ns",
            Better::Less,
            read,
        )
        .goals(&[("std", 1.5), ("raw_sync", 5.0)]),
        with_all(&TABLES, "two readers", "M/s", Better::More, together).goals(&[("std", 2.5)]),
        with_all(
            &TABLES,
            "write lock + unlock, uncontended",
            "ns",
            Better::Less,
            write,
        )
        .goals(&[("raw_sync", 1.0)]),
    ]
}

/// Owners of all kinds, small and with much memory to be taken apart; and a waiter that has waited so long that it sleeps until it is
/// told of a death.
fn after_kill(cx: &Context) -> [Figure<'_>; 3] {
    let much = if cx.options.quick { 64 << 20 } else { 1 << 30 };
    let [short, long] = [5, 200].map(Duration::from_millis);
    let end = |bytes, after| End { bytes, after };
    let both = |name: String, end| Figure::new(name, "ms", Better::Less, mutexes(cx, end));
    let mut small = both("from an owner's SIGKILL to the next".into(), end(0, short));
    small.contestants.extend(others(cx, end(0, short)));
    let name = format!("the same, {} resident", told(much));
    let mut large = both(name, end(much, short));
    large.contestants.extend(others(cx, end(much, short)));
    let late = both(
        "the same, to one that has waited for 200 ms".into(),
        end(0, long),
    );
    [
        small.goals(&[("commonhold", 1.0)]),
        large.goals(&[("commonhold", 5.0)]),
        late,
    ]
}

fn mutexes(cx: &Context, end: End) -> Vec<Contestant<'_>> {
    let (ours, robust) = (&cx.arena.objects.mutex, &cx.arena.robust.0);
    vec![
        contestant("commonhold", move || after(cx, || ours, end)),
        contestant("pthread robust", move || after(cx, || robust, end)),
    ]
}

/// Ours beside the mutex: what the dead one did with it.
fn others(cx: &Context, end: End) -> Vec<Contestant<'_>> {
    let written = alone(|s| RwLock::create(s, "lock", [0; 8]));
    let read = alone(|s| RwLock::create(s, "lock", [0; 8]).map(Read));
    let reentrant = alone(|s| ReentrantMutex::create(s, "lock"));
    let semaphore = alone(|s| Semaphore::create(s, "semaphore", 1));
    let once = alone(|s| Once::create(s, "once"));
    let barrier = alone(|s| Barrier::create(s, "barrier", 3));
    let queue = alone(|s| Queue::<u64>::create(s, "queue", 8));
    vec![
        contestant("RwLock, writing", move || after(cx, &written, end)),
        contestant("RwLock, reading", move || after(cx, &read, end)),
        contestant("ReentrantMutex", move || after(cx, &reentrant, end)),
        contestant("Semaphore, its permit", move || after(cx, &semaphore, end)),
        contestant("Once, inside", move || after(cx, &once, end)),
        contestant("Barrier, waiting", move || after(cx, &barrier, end)),
        contestant("Queue, a lease", move || after(cx, &queue, end)),
    ]
}
