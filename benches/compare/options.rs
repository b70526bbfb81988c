//! The command line.

use std::path::PathBuf;
use std::time::Duration;

pub(crate) const USAGE: &str = "\
commonhold beside its peers.

    cargo bench --bench compare -- [OPTIONS] [FILTER]

FILTER         only the figures whose name contains it
--quick        a few seconds in all: do the figures still come out?
--full         the full run also without cargo bench
--rounds N     as many rounds
--wait         wait for moments in which nothing else runs, up to ten seconds a figure
--json FILE    write all samples there, too
";

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) quick: bool,
    pub(crate) rounds: usize,
    pub(crate) wait: bool,
    pub(crate) json: Option<PathBuf>,
    pub(crate) filter: Option<String>,
}

impl Options {
    /// Reads the arguments after the program's name.
    pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
        let (mut bench, mut quick, mut wait, mut rounds) = (false, false, false, None);
        let (mut json, mut filter) = (None, None);
        while let Some(arg) = args.next() {
            match arg.as_str() {
                // From `cargo bench`. Without it we were started by `cargo test --benches`, or by hand.
                "--bench" | "--full" => bench = true,
                "--quick" | "--test" => quick = true,
                "--wait" => wait = true,
                "--json" => json = Some(args.next().ok_or("--json needs a file")?.into()),
                "--rounds" => {
                    let n = args.next().and_then(|n| n.parse().ok());
                    rounds = Some(n.filter(|&n| n > 0).ok_or("--rounds needs a number")?);
                }
                "--help" | "-h" => return Err(String::new()),
                other if other.starts_with('-') => {
                    return Err(format!("no such option: {other}"));
                }
                other => filter = Some(other.to_owned()),
            }
        }
        let quick = quick || !bench;
        Ok(Options {
            quick,
            rounds: rounds.unwrap_or(if quick { 3 } else { 11 }),
            wait,
            json,
            filter,
        })
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
