//! The report as Markdown: what was aimed at and what became of it, and all figures.

use crate::plots::Drawn;
use crate::report::{Outcome, Report, digits, quartiles};
use std::fmt::Write;
use std::path::Path;

/// Between them stands what this program wrote.
const BEGIN: &str = "<!-- figures: written by benches/peers with --markdown -->";
const END: &str = "<!-- end of the figures -->";

/// Writes the report to a file: between its two marks if there is such a file, and else a new one. It shows those charts.
pub(crate) fn write(report: &Report, charts: &[Drawn], path: &Path) -> Result<(), String> {
    let charts = shown(charts, path);
    let figures = format!("{BEGIN}\n\n{}{charts}\n{END}", markdown(report));
    let text = match std::fs::read_to_string(path) {
        Ok(text) => between_marks(&text, &figures).ok_or("it lacks the marks of the figures")?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => figures + "\n",
        Err(e) => return Err(e.to_string()),
    };
    std::fs::write(path, text).map_err(|e| e.to_string())
}

/// The charts, by their paths from the file's directory.
fn shown(charts: &[Drawn], path: &Path) -> String {
    let mut text = String::new();
    for Drawn { path: chart, seen } in charts {
        let place = path
            .parent()
            .and_then(|directory| chart.strip_prefix(directory).ok());
        let _ = writeln!(text, "\n![{seen}]({})", place.unwrap_or(chart).display());
    }
    text
}

fn between_marks(text: &str, figures: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{figures}{after}"))
}

fn markdown(report: &Report) -> String {
    let mut text = String::new();
    for (name, content) in &report.facts {
        let _ = writeln!(text, "- {name}: {content}");
    }
    let _ = writeln!(
        text,
        "- line round trip before the samples, ns: {}",
        line(report)
    );
    text.push_str("\n### Goals\n\n| figure | beside | commonhold | ratio | goal | |\n|---|---|---|---|---|---|\n");
    for outcome in &report.figures {
        (0..outcome.rows.len()).for_each(|i| goal(&mut text, outcome, i));
    }
    text.push_str("\n### All figures\n\n| figure | contestant | median | quartiles | behind by |\n|---|---|---|---|---|\n");
    for outcome in &report.figures {
        (0..outcome.rows.len()).for_each(|i| row(&mut text, outcome, i));
    }
    text
}

/// How far apart the two CPUs were, over all samples.
fn line(report: &Report) -> String {
    let rows = report.figures.iter().flat_map(|outcome| &outcome.rows);
    let all: Vec<f64> = rows.flat_map(|row| row.line.iter().copied()).collect();
    if all.is_empty() {
        return "none".into();
    }
    let [low, median, high] = quartiles(&all).map(digits);
    format!("{median} ({low}-{high})")
}

fn title(outcome: &Outcome) -> String {
    match outcome.unit.as_str() {
        "" => outcome.figure.clone(),
        unit => format!("{}, {unit}", outcome.figure),
    }
}

/// A median, or why there is none; and the quartiles.
fn told(samples: &[f64]) -> (String, String) {
    if samples.is_empty() {
        return ("not timed".into(), String::new());
    }
    let [low, median, high] = quartiles(samples).map(digits);
    (median, format!("{low}-{high}"))
}

fn ratio(outcome: &Outcome, contestant: usize) -> String {
    let ahead = outcome.ahead(&outcome.rows[contestant]);
    ahead
        .filter(|_| contestant > 0)
        .map_or(String::new(), |ratios| {
            let (median, quartiles) = told(&ratios);
            format!("{median} × ({quartiles})")
        })
}

fn goal(text: &mut String, outcome: &Outcome, contestant: usize) {
    let Some((goal, met)) = outcome.goal(contestant) else {
        return;
    };
    let beside = if contestant == 0 {
        ""
    } else {
        &outcome.rows[contestant].name
    };
    let (ours, _) = told(&outcome.rows[0].samples);
    let ratio = ratio(outcome, contestant);
    let verdict = if met { "met" } else { "**missed**" };
    let _ = writeln!(
        text,
        "| {} | {beside} | {ours} | {ratio} | {goal} | {verdict} |",
        title(outcome)
    );
}

fn row(text: &mut String, outcome: &Outcome, contestant: usize) {
    let row = &outcome.rows[contestant];
    let title = if contestant == 0 {
        title(outcome)
    } else {
        String::new()
    };
    let (median, quartiles) = told(&row.samples);
    let quartiles = row.broken.as_ref().unwrap_or(&quartiles);
    let ratio = ratio(outcome, contestant);
    let _ = writeln!(
        text,
        "| {title} | {} | {median} | {quartiles} | {ratio} |",
        row.name
    );
}
