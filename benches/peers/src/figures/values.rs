//! Values that are copied in and out.

use super::locks::{pairwise, solitary};
use super::{Figure, contestant, python};
use crate::arena::Cell;
use crate::context::{Context, each, job};
use crate::job::{Verb, Who};
use crate::locks::{Lock, with_lock};
use std::hint::black_box;

/// Ours, and for the peers the same done to a copy under their lock.
pub(super) fn figures<'a>(cx: &'a Context) -> Vec<Figure<'a>> {
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
    let mut reading_together = pairwise("Value<u64> get, two parties", together(Verb::Read))
        .goals(&[("raw_sync", 5.0), ("commonhold, one party", 1.9)]);
    let alone = contestant("commonhold, one party", || {
        cx.pair(job(Verb::Read, Who::Commonhold, 1, 0)) / 1e6
    });
    reading_together.contestants.push(alone);
    let element = move |who| match who {
        Who::Commonhold => each(solo, || {
            cx.arena.objects.array.lock().expect("sound")[7] += 1
        }),
        peer => with_lock!(peer, cx.arena, |lock| each(solo, || {
            lock.with(|cell| cell[7] += 1);
        })),
    };
    let with_python = |mut figure: Figure<'a>, work, told: fn(f64) -> f64| {
        figure.contestants.extend(python(cx, work, told));
        figure
    };
    vec![
        solitary("Value<u64> get", get_narrow).goals(&[("commonhold", 3.0)]),
        solitary("Value<[u64; 8]> get", get_wide).goals(&[("commonhold", 10.0)]),
        reading_together,
        with_python(
            solitary("Value<u64> += 1", update_narrow),
            ("Python Value", "value-alone", 100_000),
            |rate| 1e9 / rate,
        )
        .goals(&[("Python Value", 100.0)]),
        solitary("Value<[u64; 8]> += 1", update_wide),
        with_python(
            pairwise("Value<u64> += 1, two parties", together(Verb::Update)),
            ("Python Value", "value-together", 100_000),
            |rate| rate / 1e6,
        )
        .goals(&[("Python Value", 100.0)]),
        with_python(
            solitary("Array<u64>, an element += 1", element),
            ("Python Array", "array-alone", 50_000),
            |rate| 1e9 / rate,
        )
        .goals(&[("Python Array", 100.0)]),
    ]
}
