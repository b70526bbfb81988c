//! The report as a table for the terminal.

use crate::report::{Outcome, Report, digits, quartiles};
use std::fmt::Write;

const HEAD: [&str; 6] = [
    "figure",
    "contestant",
    "median",
    "quartiles",
    "behind by ×",
    "goal",
];

pub(crate) fn table(report: &Report) -> String {
    let mut lines = vec![HEAD.map(str::to_owned)];
    for outcome in &report.figures {
        lines.push(Default::default());
        lines.extend((0..outcome.rows.len()).map(|i| line(outcome, i)));
    }
    let width = |column: usize| {
        let lengths = lines
            .iter()
            .map(|line: &[String; 6]| line[column].chars().count());
        lengths.max().unwrap_or(0)
    };
    let widths: [usize; 6] = std::array::from_fn(width);
    let mut text = String::new();
    for (name, content) in &report.facts {
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

fn line(outcome: &Outcome, contestant: usize) -> [String; 6] {
    let row = &outcome.rows[contestant];
    let title = match (contestant, outcome.unit.as_str()) {
        (0, "") => outcome.figure.clone(),
        (0, unit) => format!("{}, {unit}", outcome.figure),
        _ => String::new(),
    };
    if let Some(broken) = &row.broken {
        let why = format!("not timed: {broken}");
        return [
            title,
            row.name.clone(),
            "BROKEN".into(),
            why,
            String::new(),
            String::new(),
        ];
    }
    let [low, median, high] = quartiles(&row.samples);
    let ahead = outcome.ahead(row).filter(|_| contestant > 0);
    let ahead = ahead.map_or(String::new(), |ratios| {
        let [low, median, high] = quartiles(&ratios);
        format!("{} ({}-{})", digits(median), digits(low), digits(high))
    });
    let goal = outcome
        .goal(contestant)
        .map_or(String::new(), |(goal, met)| {
            format!("{goal} {}", if met { "met" } else { "missed" })
        });
    let spread = format!("{}-{}", digits(low), digits(high));
    [title, row.name.clone(), digits(median), spread, ahead, goal]
}
