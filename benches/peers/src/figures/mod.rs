//! The figures: who takes part in each, and how one sample is taken.

mod links;
mod locks;
mod queues;
mod turns;
mod values;

use crate::context::{Context, job};
use crate::job::{Verb, Who};
use crate::segments;
pub(crate) use links::told;
use serde::{Deserialize, Serialize};
use std::time::Duration;

pub(crate) type Goals = &'static [(&'static str, f64)];

/// Which way is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Better {
    Less,
    More,
    /// It only informs.
    Neither,
}

pub(crate) struct Contestant<'a> {
    pub(crate) name: &'static str,
    /// Whether it does what it is for; if not, it is not timed.
    pub(crate) check: Box<dyn FnMut() -> Result<(), String> + 'a>,
    pub(crate) sample: Box<dyn FnMut() -> f64 + 'a>,
}

pub(crate) struct Figure<'a> {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) better: Better,
    /// Ours first.
    pub(crate) contestants: Vec<Contestant<'a>>,
    /// How far ahead of a peer we mean to be; beside our own name, a bound on our figure itself.
    pub(crate) goals: Goals,
    /// Of which plot it is a point, and where it stands there.
    pub(crate) point: Option<(&'static str, f64)>,
}

impl<'a> Figure<'a> {
    /// Without goals, and of no plot.
    pub(crate) fn new(
        name: impl Into<String>,
        unit: &'static str,
        better: Better,
        contestants: Vec<Contestant<'a>>,
    ) -> Figure<'a> {
        Figure {
            name: name.into(),
            unit,
            better,
            contestants,
            goals: &[],
            point: None,
        }
    }

    pub(crate) fn goals(self, goals: Goals) -> Figure<'a> {
        Figure { goals, ..self }
    }

    fn point(self, plot: &'static str, x: f64) -> Figure<'a> {
        let point = Some((plot, x));
        Figure { point, ..self }
    }
}

/// One that is checked elsewhere.
pub(crate) fn contestant<'a>(
    name: &'static str,
    sample: impl FnMut() -> f64 + 'a,
) -> Contestant<'a> {
    Contestant {
        name,
        check: Box::new(|| Ok(())),
        sample: Box::new(sample),
    }
}

/// Python's, if there is one: its name here, what `python.py` calls it, and how many tasks a sample has. `told` makes the figure
/// of tasks a second.
pub(crate) fn python<'a>(
    cx: &'a Context,
    (name, what, tasks): (&'static str, &'static str, u64),
    told: impl Fn(f64) -> f64 + 'a,
) -> Option<Contestant<'a>> {
    let python = cx.python.as_ref()?;
    let tasks = (tasks / cx.options.shrink()).max(2);
    let sample = move || told(tasks as f64 / python.seconds(what, tasks));
    Some(contestant(name, sample))
}

/// All figures, in the order of the report.
pub(crate) fn all(cx: &Context) -> Vec<Figure<'_>> {
    let mut all = vec![round_trip(cx)];
    all.extend(locks::figures(cx));
    all.extend(values::figures(cx));
    all.extend(queues::figures(cx));
    all.extend(links::figures(cx));
    all.extend(turns::figures(cx));
    all.extend(attaching(cx));
    all.extend(cx.pools.figures(cx));
    all
}

fn round_trip(cx: &Context) -> Figure<'_> {
    let ping = |pauses| move || cx.pair(job(Verb::Ping, Who::Commonhold, pauses, 0));
    let contestants = vec![
        contestant("load and store", ping(0)),
        contestant("with a pause", ping(1)),
    ];
    let name = "line round trip, two processes";
    Figure::new(name, "ns", Better::Neither, contestants)
}

fn attaching(cx: &Context) -> [Figure<'_>; 2] {
    let duration = cx.options.solo();
    let figure = |name, ours: fn(Duration) -> f64, floor: fn(Duration) -> f64| {
        let contestants = vec![
            contestant("commonhold", move || ours(duration)),
            contestant("the floor", move || floor(duration)),
        ];
        Figure::new(name, "µs", Better::Less, contestants).goals(&[("the floor", 0.25)])
    };
    [
        figure(
            "create + drop a segment",
            segments::create,
            segments::floor_create,
        ),
        figure(
            "attach + drop a segment",
            segments::attach,
            segments::floor_attach,
        ),
    ]
}
