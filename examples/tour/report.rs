//! What the tour prints.

use crate::Result;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// Prints each line as soon as it is known, and remembers which results were wrong.
pub(crate) struct Report {
    results: usize,
    wrong: usize,
}

impl Report {
    pub(crate) fn new() -> Report {
        Report {
            results: 0,
            wrong: 0,
        }
    }

    pub(crate) fn line(&self, text: &str) -> Result<()> {
        Ok(writeln!(std::io::stdout(), "{text}")?)
    }

    pub(crate) fn section(&self, title: &str) -> Result<()> {
        self.line(&format!("\n{title}"))
    }

    /// A result that is right or wrong.
    pub(crate) fn check(&mut self, right: bool, what: &str, found: &str) -> Result<()> {
        self.results += 1;
        self.wrong += usize::from(!right);
        let mark = if right { "ok" } else { "WRONG" };
        self.line(&format!("  {mark:<6}{what:<38} {found}"))
    }

    /// A figure that belongs to the result above it.
    pub(crate) fn figure(&self, what: &str, found: &str) -> Result<()> {
        self.line(&format!("        {what:<38} {found}"))
    }

    /// A step that takes a while: a bar on a terminal (not wider than 80 characters), else a line.
    pub(crate) fn step(&self, what: &str, bytes: u64) -> Result<Step> {
        if !std::io::stderr().is_terminal() {
            self.line(&format!("        {what} ..."))?;
        }
        let bar = ProgressBar::new(bytes);
        bar.set_style(
            ProgressStyle::with_template("        {msg} [{bar:16}] {percent:>3} % {elapsed}")?
                .progress_chars("=> "),
        );
        bar.set_message(what.to_owned());
        Ok(Step { bar })
    }

    /// The last lines; whether all was right.
    pub(crate) fn end(self, took: Duration, processes: usize) -> Result<bool> {
        let Report { results, wrong } = self;
        let verdict = match wrong {
            0 => format!("All {results} results are right"),
            _ => format!("{wrong} of {results} results are WRONG"),
        };
        self.line(&format!(
            "\n{verdict}: {:.1} s, {processes} processes, nothing left behind.",
            took.as_secs_f64()
        ))?;
        Ok(wrong == 0)
    }
}

/// A step under way; its bar goes away with it.
pub(crate) struct Step {
    bar: ProgressBar,
}

impl Step {
    pub(crate) fn at(&self, bytes: u64) {
        self.bar.set_position(bytes);
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A number with a comma at each thousand.
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time in milliseconds, with as many decimals as make sense.
pub(crate) fn ms(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    let decimals = if ms < 10.0 { 2 } else { 0 };
    format!("{ms:.decimals$} ms")
}
