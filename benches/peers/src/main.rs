//! commonhold beside its peers, all in one run: each round takes one sample of every contestant, so that whatever disturbs
//! the machine disturbs all alike, and what counts is the ratio within a round.
//!
//! Where two parties meet they are two processes on two CPUs (threads for those peers that can't do more). Each
//! peer is checked before it is timed: one that loses, repeats, mixes up or changes what it is given is not.

mod arena;
mod boost;
#[cfg(test)]
mod checks;
mod context;
mod crowd;
mod deaths;
mod figures;
mod job;
mod links;
mod locks;
mod machine;
mod markdown;
mod meeting;
mod options;
mod party;
mod plots;
mod pools;
mod python;
mod queue;
mod relay;
mod report;
mod rwlocks;
mod segments;
mod servant;
mod svg;
mod table;
mod tally;
mod threads;
mod turns;

use boost::Boost;
use context::Context;
use links::Wires;
use machine::Patience;
use options::{Options, USAGE};
use pools::Pools;
use python::Python;
use report::{Outcome, Report};
use std::cell::RefCell;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// No figure takes so long, in seconds: what does is stuck, and the alarm ends it.
const STUCK: u32 = 180;

fn main() -> ExitCode {
    commonhold::process::init();
    let mut args = std::env::args().skip(1).peekable();
    if args.next_if_eq(party::AS_SECOND).is_some() {
        party::second_main(args);
        return ExitCode::SUCCESS;
    }
    match Options::parse(args) {
        Ok(options) => run(options),
        Err(complaint) if complaint.is_empty() => {
            print!("{USAGE}");
            ExitCode::SUCCESS
        }
        Err(complaint) => {
            eprintln!("{complaint}\n\n{USAGE}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> ExitCode {
    match report(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(complaint) => {
            eprintln!("{complaint}");
            ExitCode::FAILURE
        }
    }
}

fn report(options: &Options) -> Result<(), String> {
    let told = |path: &Path| {
        let path = path.display().to_string();
        move |e: String| format!("{path}: {e}")
    };
    let report = match &options.from {
        Some(path) => Report::read(path).map_err(told(path))?,
        None => measure(options.clone()),
    };
    print!("{}", table::table(&report));
    if let Some(path) = &options.json {
        report.write(path).map_err(told(path))?;
    }
    let mut charts = Vec::new();
    if let Some(path) = &options.plots {
        charts = plots::draw(&report, path).map_err(|e| told(path)(e.to_string()))?;
    }
    if let Some(path) = &options.markdown {
        markdown::write(&report, &charts, path).map_err(told(path))?;
    }
    Ok(())
}

fn measure(options: Options) -> Report {
    alarm();
    let cpus = machine::two_cpus();
    let mut arena = arena::Arena::create().expect("shared memory");
    if let Some([first, _]) = cpus {
        machine::pin(first);
    }
    let second_cpu = cpus.map(|[_, second]| second);
    let (second, ipc_channel) =
        party::Second::start(&mut arena, second_cpu).expect("this program, again");
    let (python, boost) = (python::version(), boost::version());
    let cx = Context {
        arena,
        wires: Wires::new(ipc_channel),
        second: RefCell::new(second),
        cpus,
        pools: Pools::default(),
        python: python.as_ref().map(|_| Python::default()),
        boost: boost.as_ref().map(|_| Boost::new(cpus)),
        options,
        spreads: RefCell::default(),
    };
    let mut facts = machine::describe(cpus);
    let or_none = |version: Option<String>, what| {
        version.unwrap_or_else(|| format!("none here: {what} not measured"))
    };
    facts.push(("python", or_none(python, "multiprocessing is")));
    facts.push(("boost", or_none(boost, "its queue and its mutex are")));
    facts.push(("method", method(&cx.options)));
    if let Some(absent) = links::absent(&cx.arena) {
        facts.push(("absent", absent));
    }
    alarm();
    cx.check();
    let mut patience = Patience::default();
    let mut outcomes = Vec::new();
    for mut figure in figures::all(&cx) {
        if !figure.name.contains(&cx.options.only) {
            continue;
        }
        alarm();
        progress(&figure.name);
        patience.left = Duration::from_secs(if cx.options.wait { 10 } else { 0 });
        let probe = || cx.probe();
        let outcome = Outcome::take(&mut figure, cx.options.rounds, probe, &mut patience);
        outcomes.push(outcome);
    }
    progress("");
    let Patience {
        samples, disturbed, ..
    } = patience;
    let quiet = format!("{disturbed} of {samples} samples taken while other processes ran");
    facts.push(("quiet", quiet));
    let facts = facts.into_iter().map(|(name, fact)| (name.into(), fact));
    Report {
        facts: facts.collect(),
        figures: outcomes,
        spreads: cx.spreads(),
    }
}

fn method(options: &Options) -> String {
    format!(
        "{} rounds interleaved, {} ms a sample ({} ms with two parties), medians; \
         behind by: median of the ratios within a round",
        options.rounds,
        options.solo().as_millis(),
        options.pair().as_millis()
    )
}

/// Starts the time anew.
fn alarm() {
    // SAFETY: sets a timer; its signal ends this process, and with it the second party.
    unsafe { libc::alarm(STUCK) };
}

/// What is being measured, on a terminal, in a line that the next one replaces.
fn progress(what: &str) {
    let mut err = std::io::stderr();
    if err.is_terminal() {
        let _ = write!(err, "\r\x1b[K{what}");
        let _ = err.flush();
    }
}
