//! Waking, handing over and meeting.

use super::{Better, Figure, contestant, python};
use crate::context::{Context, each, job};
use crate::job::{Verb, Who};
use crate::locks::STD_COND;
use crate::machine;
use crate::turns::Turn;
use std::hint::black_box;
use std::time::Duration;

pub(super) fn figures(cx: &Context) -> Vec<Figure<'_>> {
    let mut all = vec![notify(cx), permit(cx), hand_over(cx)];
    all.extend([5, 20, 100].map(|pause| hand_over_after(cx, pause)));
    all.push(wake_up(cx));
    all.push(crossing(cx));
    all
}

fn notify(cx: &Context) -> Figure<'_> {
    let (arena, solo) = (&cx.arena, cx.options.solo());
    let contestants = vec![
        contestant("commonhold", move || {
            each(solo, || black_box(&arena.objects.condvar).notify_one())
        }),
        contestant("std", move || {
            each(solo, || black_box(&STD_COND.0).notify_one())
        }),
        contestant("pthread", move || {
            each(solo, || black_box(&arena.cond.0).signal())
        }),
    ];
    Figure::new("notify, nobody waits", "ns", Better::Less, contestants)
        .goals(&[("commonhold", 4.0)])
}

fn permit(cx: &Context) -> Figure<'_> {
    let (arena, solo) = (&cx.arena, cx.options.solo());
    let contestants = vec![
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
    ];
    let name = "acquire + release a permit, uncontended";
    Figure::new(name, "ns", Better::Less, contestants)
}

const TURNS: [Who; 8] = [
    Who::Commonhold,
    Who::Permits,
    Who::OurCondvar,
    Who::Std,
    Who::Pshared,
    Who::Sem,
    Who::Eventfd,
    Who::RawSync,
];

/// Both parties run, and wait for nothing but each other.
fn hand_over(cx: &Context) -> Figure<'_> {
    let one = |who: Who| contestant(who.name(), move || cx.pair(job(Verb::HandOver, who, 0, 0)));
    let contestants = TURNS.into_iter().map(one).collect();
    let name = "hand-over by an event, peer running";
    Figure::new(name, "ns", Better::Less, contestants).goals(&[("commonhold", 160.0)])
}

/// The same when each works first: the figure includes that.
fn hand_over_after(cx: &Context, micros: u64) -> Figure<'_> {
    let steps = machine::steps(Duration::from_micros(micros));
    let job = move |who| job(Verb::HandOver, who, steps, 0);
    let one = |who: Who| contestant(who.name(), move || cx.pair(job(who)) / 1e3);
    let contestants = TURNS.into_iter().map(one).collect();
    let name = format!("hand-over after {micros} µs of work");
    Figure::new(name, "µs", Better::Less, contestants).goals(match micros {
        5 => &[("sem_t", 5.0)],
        20 => &[("sem_t", 3.0)],
        _ => &[("sem_t", 1.1)],
    })
}

/// To one that has given up spinning, several times over, and sleeps.
fn wake_up(cx: &Context) -> Figure<'_> {
    let steps = machine::steps(Duration::from_micros(250));
    let job = move |who| job(Verb::WakeUp, who, steps, 0);
    let one = |who: Who| contestant(who.name(), move || cx.pair(job(who)) / 1e3);
    let contestants = TURNS.into_iter().map(one).collect();
    let name = "hand-over, peer asleep, from giving to going on";
    Figure::new(name, "µs", Better::Less, contestants).goals(&[
        ("sem_t", 0.95),
        ("std", 0.95),
        ("pthread", 0.95),
    ])
}

fn crossing(cx: &Context) -> Figure<'_> {
    let one = |who: Who| contestant(who.name(), move || cx.pair(job(Verb::Cross, who, 0, 0)));
    let contestants = [Who::Commonhold, Who::Std, Who::Pshared];
    let mut contestants: Vec<_> = contestants.into_iter().map(one).collect();
    let work = ("Python Barrier", "barrier", 2_000);
    contestants.extend(python(cx, work, |rate| 1e9 / rate));
    let name = "crossing a barrier, two parties";
    let goals = &[("commonhold", 100.0), ("Python Barrier", 500.0)];
    Figure::new(name, "ns", Better::Less, contestants).goals(goals)
}
