//! Which charts a report makes: throughput and round trips against the length of messages, how round trips spread, and
//! throughput under a lock against the number of members.

use crate::figures::told;
use crate::links::LENGTHS;
use crate::report::{Report, Row, quartiles};
use crate::svg::{Axis, Chart, Line, decades};
use std::path::{Path, PathBuf};

/// A chart in a file.
pub(crate) struct Drawn {
    pub(crate) path: PathBuf,
    /// What is seen, for those who don't see it.
    pub(crate) seen: String,
}

/// Draws what the report has figures for into that directory.
pub(crate) fn draw(report: &Report, directory: &Path) -> std::io::Result<Vec<Drawn>> {
    std::fs::create_dir_all(directory)?;
    let charts = [
        ("throughput.svg", throughput(report)),
        ("round-trip.svg", round_trip(report)),
        ("latency.svg", latency(report)),
        ("contention.svg", contention(report)),
    ];
    let mut drawn = Vec::new();
    for (name, chart) in charts {
        if !chart.lines.is_empty() {
            let path = directory.join(name);
            std::fs::write(&path, chart.draw())?;
            let Chart { title, x, y, lines } = &chart;
            let names: Vec<&str> = lines.iter().map(|line| &*line.name).collect();
            let seen = format!(
                "{title}. {}, against {}: {}.",
                y.label,
                x.label,
                names.join(", ")
            );
            drawn.push(Drawn { path, seen });
        }
    }
    Ok(drawn)
}

/// The lines of a plot: for each contestant its medians, times `scale`.
fn lines(report: &Report, plot: &str, scale: f64) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for outcome in &report.figures {
        let Some((_, x)) = outcome.point.as_ref().filter(|(of, _)| of == plot) else {
            continue;
        };
        for row in outcome.rows.iter().filter(|row| !row.samples.is_empty()) {
            let point = (*x, median(row) * scale);
            match lines.iter_mut().find(|line| line.name == row.name) {
                Some(line) => line.points.push(point),
                None => lines.push(Line {
                    name: row.name.clone(),
                    ours: is_ours(&row.name),
                    points: vec![point],
                }),
            }
        }
    }
    lines
}

fn median(row: &Row) -> f64 {
    quartiles(&row.samples)[1]
}

fn is_ours(name: &str) -> bool {
    name.starts_with("commonhold")
}

/// Both axes from the lines' points, the x axis with ticks of its own.
fn chart(title: &str, x: (&str, Vec<(f64, String)>), y: &str, lines: Vec<Line>) -> Chart {
    let values = lines.iter().flat_map(|line| &line.points).map(|&(_, y)| y);
    Chart {
        title: title.into(),
        x: Axis {
            label: x.0.into(),
            ticks: x.1,
        },
        y: Axis {
            label: y.into(),
            ticks: decades(values),
        },
        lines,
    }
}

fn lengths() -> (&'static str, Vec<(f64, String)>) {
    let ticks = LENGTHS.map(|len| (len as f64, told(len)));
    ("length of a message", ticks.into())
}

fn throughput(report: &Report) -> Chart {
    chart(
        "Messages one way, between two processes",
        lengths(),
        "messages a second",
        lines(report, "one way", 1e3),
    )
}

fn round_trip(report: &Report) -> Chart {
    chart(
        "Messages there and back, between two processes",
        lengths(),
        "µs for a round trip",
        lines(report, "round trip", 1.0),
    )
}

fn latency(report: &Report) -> Chart {
    // From the best to the worst, the rare ones wide apart: one in two, in ten, in a hundred…
    let rarity = |share: f64| 1.0 / (1.0 - share);
    let ticks =
        [0.0, 0.5, 0.9, 0.99, 0.999].map(|share| (rarity(share), format!("{} %", share * 100.0)));
    let line = |spread: &crate::report::Spread| Line {
        name: spread.name.clone(),
        ours: is_ours(&spread.name),
        points: spread
            .shares
            .iter()
            .filter(|(share, _)| *share <= 0.999)
            .map(|&(share, ns)| (rarity(share), ns / 1e3))
            .collect(),
    };
    chart(
        "How round trips of 64 B spread, between two processes",
        ("share of the round trips that take no longer", ticks.into()),
        "µs",
        report.spreads.iter().map(line).collect(),
    )
}

fn contention(report: &Report) -> Chart {
    let lines = lines(report, "contention", 1e6);
    let members = lines.iter().flat_map(|line| &line.points);
    let mut members: Vec<f64> = members.map(|&(x, _)| x).collect();
    members.sort_by(f64::total_cmp);
    members.dedup();
    let ticks = members.iter().map(|&n| (n, n.to_string())).collect();
    chart(
        "One lock, about 100 ns inside, more members than CPUs",
        ("members (threads for std and parking_lot)", ticks),
        "operations a second",
        lines,
    )
}
