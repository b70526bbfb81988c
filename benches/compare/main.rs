//! commonhold beside its peers, all in one run: each round takes one sample of every contestant, so that whatever disturbs
//! the machine disturbs all alike, and what counts is the ratio within a round.
//!
//! Where two parties meet they are two processes on two CPUs (threads for those peers that can't do more). Each
//! peer is checked before it is timed.

mod arena;
mod context;
mod figures;
mod job;
mod locks;
mod machine;
mod meeting;
mod options;
mod party;
mod queue;
mod report;
mod rwlocks;
mod segments;

use context::Context;
use machine::Patience;
use options::{Options, USAGE};
use std::cell::RefCell;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

/// No figure takes so long, in seconds: what does is stuck, and the alarm ends it.
const STUCK: u32 = 180;

fn main() -> ExitCode {
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
    let cpus = machine::two_cpus();
    let mut arena = arena::Arena::create().expect("shared memory");
    if let Some([first, _]) = cpus {
        machine::pin(first);
    }
    let second_cpu = cpus.map(|[_, second]| second);
    let second = party::Second::start(&mut arena, second_cpu).expect("this program, again");
    let cx = Context {
        arena,
        second: RefCell::new(second),
        second_cpu,
        options,
    };
    let mut facts = machine::describe(cpus);
    facts.push(("method", method(&cx.options)));

    alarm();
    cx.check();
    let mut patience = Patience {
        left: Duration::ZERO,
        samples: 0,
        disturbed: 0,
    };
    let mut outcomes = Vec::new();
    for mut figure in figures::all(&cx) {
        let wanted = cx.options.filter.as_deref().unwrap_or("");
        if !figure.name.contains(wanted) {
            continue;
        }
        alarm();
        progress(figure.name);
        patience.left = Duration::from_secs(if cx.options.wait { 10 } else { 0 });
        let rounds = cx.options.rounds;
        outcomes.push(report::Outcome::take(&mut figure, rounds, &mut patience));
    }
    progress("");
    let Patience {
        samples, disturbed, ..
    } = patience;
    let quiet = format!("{disturbed} of {samples} samples taken while other processes ran");
    facts.push(("quiet", quiet));
    print!("{}", report::table(&facts, &outcomes));
    if let Some(path) = &cx.options.json {
        if let Err(e) = std::fs::write(path, report::json(&facts, &outcomes)) {
            eprintln!("{}: {e}", path.display());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
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
