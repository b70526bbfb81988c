//! The table.

use std::time::Duration;

/// What was found about one operation.
pub struct Row {
    pub subject: &'static str,
    pub case: &'static str,
    pub instructions: u64,
    pub system_calls: u64,
    /// Distinct states of the region's bytes.
    pub states: usize,
    pub kills: usize,
    pub mending_instructions: u64,
    pub mending_states: usize,
    pub took: Duration,
    pub failures: Vec<String>,
}

impl Row {
    pub fn new(subject: &'static str, case: &'static str) -> Row {
        Row {
            subject,
            case,
            instructions: 0,
            system_calls: 0,
            states: 0,
            kills: 0,
            mending_instructions: 0,
            mending_states: 0,
            took: Duration::ZERO,
            failures: Vec::new(),
        }
    }
}

pub fn print(rows: &[Row]) {
    let line = |name: &str, figures: [String; 8]| {
        let [a, b, c, d, e, f, g, h] = figures;
        println!("{name:<52} {a:>12} {b:>6} {c:>7} {d:>6} {e:>12} {f:>7} {g:>8} {h:>9}");
    };
    line(
        "operation",
        [
            "instructions",
            "calls",
            "states",
            "kills",
            "of menders",
            "states",
            "seconds",
            "failures",
        ]
        .map(str::to_owned),
    );
    for row in rows {
        line(
            &format!("{}: {}", row.subject, row.case),
            [
                row.instructions.to_string(),
                row.system_calls.to_string(),
                row.states.to_string(),
                row.kills.to_string(),
                row.mending_instructions.to_string(),
                row.mending_states.to_string(),
                format!("{:.1}", row.took.as_secs_f64()),
                row.failures.len().to_string(),
            ],
        );
    }
    let sum = |of: fn(&Row) -> u64| rows.iter().map(of).sum::<u64>().to_string();
    line(
        "all",
        [
            sum(|r| r.instructions),
            sum(|r| r.system_calls),
            sum(|r| r.states as u64),
            sum(|r| r.kills as u64),
            sum(|r| r.mending_instructions),
            sum(|r| r.mending_states as u64),
            sum(|r| r.took.as_secs()),
            sum(|r| r.failures.len() as u64),
        ],
    );
}
