//! Tables, as Markdown has them, which are read on a terminal too; and samples that become rows.

use std::fmt;
use std::time::{Duration, Instant};

/// Rows of cells, the first of them the head.
pub(crate) struct Table(Vec<Vec<String>>);

impl Table {
    pub(crate) fn new<const N: usize>(head: [&str; N]) -> Table {
        Table(vec![head.map(str::to_owned).into()])
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        assert_eq!(self.0[0].len(), N, "as many as the head has");
        self.0.push(cells.into());
    }

    /// Takes samples of all sizes, round by round, so that what disturbs one disturbs all; a row for each size.
    pub(crate) fn grow(&mut self, rounds: usize, what: &str, mut sizes: Vec<Size<'_>>) {
        let mut samples = vec![Vec::new(); sizes.len()];
        for round in 0..=rounds {
            for (size, samples) in sizes.iter_mut().zip(&mut samples) {
                let sample = (size.sample)();
                // The first warms up.
                if round > 0 {
                    samples.push(sample);
                }
            }
        }
        let titles = [what].into_iter().chain(std::iter::repeat(""));
        for ((size, mut samples), title) in sizes.into_iter().zip(samples).zip(titles) {
            let [low, median, high] = quartiles(&mut samples).map(digits);
            self.row([title.into(), size.name, median, format!("{low}-{high}")]);
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.0[0].len();
        let width = |column: usize| {
            let widths = self.0.iter().map(|row| row[column].chars().count());
            widths.max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (place, row) in self.0.iter().enumerate() {
            let cells = row.iter().zip(&widths);
            let cells: Vec<String> = cells.map(|(cell, w)| format!("{cell:w$}")).collect();
            writeln!(f, "| {} |", cells.join(" | "))?;
            if place == 0 {
                writeln!(f, "|{}", "---|".repeat(columns))?;
            }
        }
        Ok(())
    }
}

/// A size of something, and how one sample is taken at it.
pub(crate) struct Size<'a> {
    name: String,
    sample: Box<dyn FnMut() -> f64 + 'a>,
}

pub(crate) fn size<'a>(name: impl Into<String>, sample: impl FnMut() -> f64 + 'a) -> Size<'a> {
    Size {
        name: name.into(),
        sample: Box::new(sample),
    }
}

/// The median of so many calls, in ns. What a call returns is dropped untimed.
pub(crate) fn each<R>(calls: usize, mut call: impl FnMut() -> R) -> f64 {
    let mut times: Vec<f64> = (0..calls)
        .map(|_| {
            let start = Instant::now();
            let made = call();
            let time = start.elapsed();
            drop(made);
            nanos(time)
        })
        .collect();
    quartiles(&mut times)[1]
}

pub(crate) fn nanos(time: Duration) -> f64 {
    time.as_nanos() as f64
}

/// The first quartile, the median, and the third quartile.
pub(crate) fn quartiles(samples: &mut [f64]) -> [f64; 3] {
    samples.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| samples[(samples.len() - 1) * quarter / 4])
}

/// Three significant digits.
fn digits(n: f64) -> String {
    let places = match n {
        99.95.. => 0,
        9.995.. => 1,
        _ => 2,
    };
    format!("{n:.places$}")
}
