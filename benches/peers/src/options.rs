//! The command line.

use std::path::PathBuf;
use std::time::Duration;

pub(crate) const USAGE: &str = "\
commonhold beside its peers.

    cargo run --release --manifest-path benches/peers/Cargo.toml -- [OPTIONS]

--quick        under a minute in all: do the figures still come out?
--only NAME    only the figures whose name contains it
--rounds N     as many rounds
--wait         wait for moments in which nothing else runs, up to ten seconds a figure
--json FILE    write all samples there, too
--markdown FILE
               write tables of the goals and of all figures there: between the marks, if the file has them
--plots DIR    draw charts there
--from FILE    measure nothing: report what such a JSON file says
";

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) quick: bool,
    pub(crate) rounds: usize,
    pub(crate) wait: bool,
    pub(crate) json: Option<PathBuf>,
    pub(crate) markdown: Option<PathBuf>,
    pub(crate) plots: Option<PathBuf>,
    pub(crate) from: Option<PathBuf>,
    pub(crate) only: String,
}

impl Options {
    /// Reads the arguments after the program's name.
    pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
        let (mut quick, mut wait, mut rounds) = (false, false, None);
        let (mut json, mut markdown, mut plots) = (None, None, None);
        let (mut from, mut only) = (None, String::new());
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--quick" => quick = true,
                "--only" => only = args.next().ok_or("--only needs a name")?,
                "--wait" => wait = true,
                "--from" => from = Some(args.next().ok_or("--from needs a file")?.into()),
                "--markdown" => {
                    markdown = Some(args.next().ok_or("--markdown needs a file")?.into());
                }
                "--plots" => plots = Some(args.next().ok_or("--plots needs a directory")?.into()),
                "--json" => json = Some(args.next().ok_or("--json needs a file")?.into()),
                "--rounds" => {
                    let n = args.next().and_then(|n| n.parse().ok());
                    rounds = Some(n.filter(|&n| n > 0).ok_or("--rounds needs a number")?);
                }
                "--help" | "-h" => return Err(String::new()),
                other => return Err(format!("no such option: {other}")),
            }
        }
        Ok(Options {
            quick,
            rounds: rounds.unwrap_or(if quick { 3 } else { 11 }),
            wait,
            json,
            markdown,
            plots,
            from,
            only,
        })
    }

    /// By how much fewer tasks a sample has where it is made of tasks.
    pub(crate) fn shrink(&self) -> u64 {
        if self.quick { 10 } else { 1 }
    }

    /// How long one sample of a figure with one party takes.
    pub(crate) fn solo(&self) -> Duration {
        Duration::from_millis(if self.quick { 2 } else { 20 })
    }

    /// How long one sample of a figure with two parties takes.
    pub(crate) fn pair(&self) -> Duration {
        Duration::from_millis(if self.quick { 8 } else { 60 })
    }
}
