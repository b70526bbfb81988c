//! Samples, and what becomes of them: a report, which is written as JSON, and read again.

use crate::figures::{Better, Figure};
use crate::machine::Patience;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// All that a run found out.
#[derive(Serialize, Deserialize)]
pub(crate) struct Report {
    /// About the machine and the method: name and content.
    pub(crate) facts: Vec<(String, String)>,
    pub(crate) figures: Vec<Outcome>,
    pub(crate) spreads: Vec<Spread>,
}

/// A figure, taken.
#[derive(Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) figure: String,
    pub(crate) unit: String,
    pub(crate) better: Better,
    /// For a peer, how many times better than it we mean to be; for the first contestant, a bound of its own.
    pub(crate) goals: Vec<(String, f64)>,
    /// Of which plot it is a point, and where it stands there.
    pub(crate) point: Option<(String, f64)>,
    /// The first is ours.
    pub(crate) rows: Vec<Row>,
}

/// A contestant's part in it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// Why it was not timed, if it was not.
    pub(crate) broken: Option<String>,
    /// One a round.
    pub(crate) samples: Vec<f64>,
    /// What a cache line took there and back just before each, in ns.
    pub(crate) line: Vec<f64>,
}

/// How long single round trips of a contestant took, in ns.
#[derive(Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) name: String,
    /// What share of them took no longer than so long.
    pub(crate) shares: Vec<(f64, f64)>,
}

impl Report {
    pub(crate) fn read(path: &Path) -> Result<Report, String> {
        let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
        serde_json::from_str(&text).map_err(|e| e.to_string())
    }

    pub(crate) fn write(&self, path: &Path) -> Result<(), String> {
        let text = serde_json::to_string(self).map_err(|e| e.to_string())?;
        std::fs::write(path, text + "\n").map_err(|e| e.to_string())
    }
}

impl Outcome {
    /// Takes all samples, round by round, with a look at the line before each; before that a round to warm up, which does not
    /// count.
    pub(crate) fn take(
        figure: &mut Figure<'_>,
        rounds: usize,
        probe: impl Fn() -> f64,
        patience: &mut Patience,
    ) -> Outcome {
        let contestants = &mut figure.contestants;
        let mut rows: Vec<_> = contestants
            .iter_mut()
            .map(|contestant| Row {
                name: contestant.name.into(),
                broken: (contestant.check)().err(),
                samples: Vec::new(),
                line: Vec::new(),
            })
            .collect();
        let n = contestants.len();
        for round in 0..=rounds {
            // Each begins in its turn, so that none is always the one after the same other.
            for i in (0..n).map(|i| (i + round) % n) {
                if rows[i].broken.is_some() {
                    continue;
                }
                let line = probe();
                let sample = patience.sample(&mut contestants[i].sample);
                if round > 0 {
                    rows[i].samples.push(sample);
                    rows[i].line.push(line);
                }
            }
        }
        let goals = figure.goals.iter();
        Outcome {
            figure: figure.name.clone(),
            unit: figure.unit.into(),
            better: figure.better,
            goals: goals.map(|&(whose, goal)| (whose.into(), goal)).collect(),
            point: figure.point.map(|(plot, x)| (plot.into(), x)),
            rows,
        }
    }

    /// How many times better the first contestant is than this one, in each round.
    pub(crate) fn ahead(&self, row: &Row) -> Option<Vec<f64>> {
        if row.samples.is_empty() || self.rows[0].samples.is_empty() {
            return None;
        }
        let pairs = self.rows[0].samples.iter().zip(&row.samples);
        match self.better {
            Better::Less => Some(pairs.map(|(ours, theirs)| theirs / ours).collect()),
            Better::More => Some(pairs.map(|(ours, theirs)| ours / theirs).collect()),
            Better::Neither => None,
        }
    }

    /// What was aimed at for this contestant, and whether it was reached, if it was timed.
    pub(crate) fn goal(&self, contestant: usize) -> Option<(String, bool)> {
        let row = &self.rows[contestant];
        let &(_, goal) = self.goals.iter().find(|(whose, _)| *whose == row.name)?;
        if contestant == 0 {
            let met = !row.samples.is_empty() && quartiles(&row.samples)[1] <= goal;
            return Some((format!("≤ {}", digits(goal)), met));
        }
        let ahead = self.ahead(row)?;
        let met = quartiles(&ahead)[1] >= goal;
        Some((format!("≥ {} ×", digits(goal)), met))
    }
}

/// The first quartile, the median, and the third quartile.
pub(crate) fn quartiles(samples: &[f64]) -> [f64; 3] {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    [0.25, 0.5, 0.75].map(|share| at(&sorted, share))
}

/// What that share of sorted samples does not exceed.
pub(crate) fn at(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (low, high) = (
        sorted[place.floor() as usize],
        sorted[place.ceil() as usize],
    );
    low + (high - low) * place.fract()
}

/// Three significant digits.
pub(crate) fn digits(n: f64) -> String {
    let places = match n.abs() {
        n if n >= 99.95 => 0,
        n if n >= 9.995 => 1,
        n if n >= 0.095 || n == 0.0 => 2,
        _ => 4,
    };
    format!("{n:.places$}")
}
