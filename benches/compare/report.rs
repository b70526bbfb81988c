//! Samples become medians, medians a table.

use crate::figures::{Better, Figure};
use crate::machine::Patience;
use std::fmt::Write;

/// A figure, taken.
pub(crate) struct Outcome {
    name: &'static str,
    unit: &'static str,
    better: Better,
    goals: &'static [(&'static str, f64)],
    rows: Vec<(&'static str, Vec<f64>)>,
}

impl Outcome {
    /// Takes all samples, round by round; before that a round to warm up, which does not count.
    pub(crate) fn take(figure: &mut Figure<'_>, rounds: usize, patience: &mut Patience) -> Outcome {
        let contestants = &mut figure.contestants;
        let mut rows: Vec<_> = contestants.iter().map(|c| (c.name, Vec::new())).collect();
        let n = contestants.len();
        for round in 0..=rounds {
            // Each begins in its turn, so that none is always the one after the same other.
            for i in (0..n).map(|i| (i + round) % n) {
                let sample = patience.sample(&mut contestants[i].sample);
                if round > 0 {
                    rows[i].1.push(sample);
                }
            }
        }
        Outcome {
            name: figure.name,
            unit: figure.unit,
            better: figure.better,
            goals: figure.goals,
            rows,
        }
    }

    /// How many times better the first contestant is than this one, in each round.
    fn ahead(&self, samples: &[f64]) -> Option<Vec<f64>> {
        let (_, first) = &self.rows[0];
        let pairs = first.iter().zip(samples);
        match self.better {
            Better::Less => Some(pairs.map(|(ours, theirs)| theirs / ours).collect()),
            Better::More => Some(pairs.map(|(ours, theirs)| ours / theirs).collect()),
            Better::Neither => None,
        }
    }

    /// What was aimed at for this contestant, and whether it was reached.
    fn goal(&self, contestant: usize) -> String {
        let (name, samples) = &self.rows[contestant];
        let Some(&(_, goal)) = self.goals.iter().find(|(whose, _)| whose == name) else {
            return String::new();
        };
        let (met, sign) = if contestant == 0 {
            (quartiles(samples)[1] <= goal, "≤")
        } else {
            let ahead = self.ahead(samples).unwrap_or_default();
            (quartiles(&ahead)[1] >= goal, "≥")
        };
        let verdict = if met { "met" } else { "missed" };
        format!("{sign} {} {verdict}", digits(goal))
    }

    fn lines(&self) -> Vec<[String; 6]> {
        let line = |(i, (name, samples)): (usize, &(&'static str, Vec<f64>))| {
            let [low, median, high] = quartiles(samples);
            let ahead = self.ahead(samples).filter(|_| i > 0);
            let ahead = ahead.map_or(String::new(), |ratios| {
                let [low, median, high] = quartiles(&ratios);
                format!("{} ({}-{})", digits(median), digits(low), digits(high))
            });
            let title = match (i, self.unit) {
                (0, "") => self.name.to_owned(),
                (0, unit) => format!("{}, {unit}", self.name),
                _ => String::new(),
            };
            let spread = format!("{}-{}", digits(low), digits(high));
            let name = (*name).to_owned();
            [title, name, digits(median), spread, ahead, self.goal(i)]
        };
        self.rows.iter().enumerate().map(line).collect()
    }
}

/// The first quartile, the median, and the third quartile.
pub(crate) fn quartiles(samples: &[f64]) -> [f64; 3] {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let place = share * (sorted.len() - 1) as f64;
        let (low, high) = (
            sorted[place.floor() as usize],
            sorted[place.ceil() as usize],
        );
        low + (high - low) * place.fract()
    };
    [at(0.25), at(0.5), at(0.75)]
}

/// Three significant digits.
fn digits(n: f64) -> String {
    let places = match n.abs() {
        n if n >= 99.95 => 0,
        n if n >= 9.995 => 1,
        _ => 2,
    };
    format!("{n:.places$}")
}

/// The whole report, as a table.
pub(crate) fn table(facts: &[(&'static str, String)], outcomes: &[Outcome]) -> String {
    let head = [
        "figure",
        "contestant",
        "median",
        "quartiles",
        "behind by ×",
        "goal",
    ];
    let mut lines = vec![head.map(str::to_owned)];
    for outcome in outcomes {
        lines.push(Default::default());
        lines.extend(outcome.lines());
    }
    let width = |column: usize| {
        let lengths = lines
            .iter()
            .map(|line: &[String; 6]| line[column].chars().count());
        lengths.max().unwrap_or(0)
    };
    let widths: [usize; 6] = std::array::from_fn(width);
    let mut text = String::new();
    for (name, content) in facts {
        let _ = writeln!(text, "{name:8} {content}");
    }
    text.push('\n');
    for [figure, contestant, median, spread, ahead, goal] in &lines {
        let [f, c, m, s, a, _] = widths;
        let line = format!(
            "{figure:f$}  {contestant:c$}  {median:>m$}  {spread:>s$}  {ahead:<a$}  {goal}"
        );
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// The whole report, each sample included.
pub(crate) fn json(facts: &[(&'static str, String)], outcomes: &[Outcome]) -> String {
    let object = |fields: Vec<String>| format!("{{{}}}", fields.join(","));
    let contestant = |(name, samples): &(&'static str, Vec<f64>)| {
        let samples: Vec<_> = samples.iter().map(f64::to_string).collect();
        format!("{}:[{}]", quoted(name), samples.join(","))
    };
    let figure = |o: &Outcome| {
        object(vec![
            format!("\"figure\":{}", quoted(o.name)),
            format!("\"unit\":{}", quoted(o.unit)),
            format!("\"better\":{}", quoted(&format!("{:?}", o.better))),
            format!(
                "\"samples\":{}",
                object(o.rows.iter().map(contestant).collect())
            ),
        ])
    };
    let mut fields: Vec<_> = facts
        .iter()
        .map(|(name, content)| format!("{}:{}", quoted(name), quoted(content)))
        .collect();
    let figures: Vec<_> = outcomes.iter().map(figure).collect();
    fields.push(format!("\"figures\":[\n{}\n]", figures.join(",\n")));
    object(fields) + "\n"
}

fn quoted(text: &str) -> String {
    let plain = text.chars().filter(|c| !c.is_control());
    let escaped = plain.map(|c| match c {
        '"' | '\\' => format!("\\{c}"),
        c => c.to_string(),
    });
    format!("\"{}\"", escaped.collect::<String>())
}
