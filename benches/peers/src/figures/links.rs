//! Messages of all lengths between two processes, one way and there and back.

use super::{Better, Contestant, Figure, Goals, contestant, python};
use crate::context::{Context, job};
use crate::job::{Verb, Who};
use crate::links::{LENGTHS, contestants};

pub(super) fn figures(cx: &Context) -> Vec<Figure<'_>> {
    let one_way = LENGTHS.into_iter().map(|len| one_way(cx, len));
    let echo = LENGTHS.into_iter().map(|len| echo(cx, len));
    one_way.chain(echo).chain([tail(cx)]).collect()
}

/// As people say it.
pub(crate) fn told(len: usize) -> String {
    match len {
        n if n >= 1 << 30 => format!("{} GiB", n >> 30),
        n if n >= 1 << 20 => format!("{} MiB", n >> 20),
        n if n >= 1 << 10 => format!("{} KiB", n >> 10),
        n => format!("{n} B"),
    }
}

fn with_all<'a>(
    cx: &'a Context,
    len: usize,
    sample: impl Fn(Who) -> f64 + Copy + 'a,
) -> Vec<Contestant<'a>> {
    contestants(&cx.arena, len)
        .map(|who| Contestant {
            check: Box::new(move || cx.check_link(who, len)),
            ..contestant(who.name(), move || sample(who))
        })
        .collect()
}

const BOOST: &str = "Boost message_queue";

/// It checks order and number itself, and fails if they are wrong.
fn boost<'a>(cx: &'a Context, what: &'static str, len: usize) -> Option<Contestant<'a>> {
    let boost = cx.boost.as_ref()?;
    let sample = move || boost.figure(what, len, cx.options.pair()) / 1e3;
    Some(contestant(BOOST, sample))
}

fn one_way(cx: &Context, len: usize) -> Figure<'_> {
    let goals: Goals = match len {
        64 => &[("pipe", 20.0), ("iceoryx2", 12.0), (BOOST, 10.0)],
        4096 => &[("pipe", 4.0), ("iceoryx2", 3.0), ("Python Queue", 100.0)],
        0x10_0000 => &[("Unix seqpacket", 1.2), ("iceoryx2", 3.0)],
        _ => &[],
    };
    let job = move |who| job(Verb::OneWay, who, len as u32, 0);
    let mut all = with_all(cx, len, move |who| cx.pair(job(who)) / 1e3);
    all.extend(boost(cx, "one-way", len));
    if len == 4 << 10 {
        let work = ("Python Queue", "queue-4k", 10_000);
        all.extend(python(cx, work, |rate| rate / 1e3));
    }
    let name = format!("messages of {}, one way", told(len));
    Figure::new(name, "thousand/s", Better::More, all)
        .goals(goals)
        .point("one way", len as f64)
}

fn echo(cx: &Context, len: usize) -> Figure<'_> {
    let goals: Goals = match len {
        64 => &[("iceoryx2", 4.0)],
        _ => &[],
    };
    let job = move |who| job(Verb::Echo, who, len as u32, 0);
    let mut all = with_all(cx, len, move |who| cx.pair(job(who)) / 1e3);
    all.extend(boost(cx, "echo", len));
    let name = format!("messages of {}, round trip", told(len));
    Figure::new(name, "µs", Better::Less, all)
        .goals(goals)
        .point("round trip", len as f64)
}

/// Each trip by itself; how they spread goes into the report, too.
fn tail(cx: &Context) -> Figure<'_> {
    const LEN: usize = 64;
    let all = with_all(cx, LEN, move |who| cx.tail(who, LEN) / 1e3);
    let name = format!("messages of {}, round trip, 99th percentile", told(LEN));
    Figure::new(name, "µs", Better::Less, all)
}
