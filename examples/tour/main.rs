//! A tour of commonhold: what it does across processes, on a real job, and when processes are killed.
//!
//! ```text
//! cargo run --release --example tour [PATH]
//! ```
//!
//! PATH is the directory (or file) whose bytes and lines are counted; by default the Rust toolchain's own. The tour
//! needs less than 30 seconds on two cores, and exits with 0 only if each result was right.
//!
//! Its workers are this same executable, started again with a hidden first argument that names their role. They inherit no
//! memory and no descriptors: they attach the segment by its name.

mod classics;
mod counting;
mod files;
mod kills;
mod lock_kills;
mod processes;
mod report;
mod segment;
mod tree;
mod workers;

use report::Report;
use segment::OwnSegment;
use std::error::Error;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread::sleep;
use std::time::{Duration, Instant};
use workers::ROLE;

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

const USAGE: &str = "usage: tour [PATH]

Shows what commonhold does across processes, on a real job, and when processes are killed.
PATH is the directory (or file) whose bytes and lines are counted; by default the Rust toolchain's own.
Exit codes: 0 each result was right; 1 a result was wrong; 2 the tour could not be made.";

/// What the sections need: the segment that all processes attach, and where to report.
struct Tour {
    seg: OwnSegment,
    report: Report,
}

fn main() -> ExitCode {
    // The section on processes and pools starts this program again, to run one function.
    commonhold::process::init();
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let outcome = match args.as_slice() {
        [flag, role, segment, argument] if flag == ROLE => {
            workers::play(role, segment, argument).map(|()| true)
        }
        [flag] if flag == "--help" || flag == "-h" => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        [] => tour(None),
        [path] => tour(Some(Path::new(path))),
        _ => Err(USAGE.into()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("tour: {e}");
            ExitCode::from(2)
        }
    }
}

/// Makes the tour; whether each result was right.
fn tour(path: Option<&Path>) -> Result<bool> {
    let began = Instant::now();
    let root = match path {
        Some(path) => path.to_path_buf(),
        None => sysroot(),
    };
    let root = root
        .canonicalize()
        .map_err(|e| format!("cannot read {}: {e}", root.display()))?;

    let mut tour = Tour {
        seg: OwnSegment::create()?,
        report: Report::new(),
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    tour.report.line(&format!(
        "A tour of commonhold: segment /dev/shm/{}, {cores} cores",
        tour.seg.name()
    ))?;
    if cfg!(debug_assertions) {
        tour.report
            .line("A debug build is several times slower: use cargo run --release.")?;
    }
    let busy = busy_tasks();
    if busy > 0 {
        tour.report.line(&format!(
            "Other tasks ({busy}) keep the machine busy: times and speed-ups suffer."
        ))?;
    }
    classics::show(&mut tour)?;
    files::show(&mut tour, &root, cores)?;
    processes::show(&mut tour, cores)?;
    kills::show(&mut tour)?;

    let Tour { seg, report } = tour;
    seg.remove()?;
    report.end(began.elapsed(), workers::started())
}

/// How many tasks of others want a processor just now, going by the best of a few looks.
fn busy_tasks() -> usize {
    let looks = (0..5).filter_map(|_| {
        sleep(Duration::from_millis(2));
        // "0.20 0.18 0.12 2/80 11206": 2 of 80 tasks are running, this one among them.
        let text = std::fs::read_to_string("/proc/loadavg").ok()?;
        let running = text.split(' ').nth(3)?.split('/').next()?;
        running.parse::<usize>().ok()
    });
    looks.min().map_or(0, |running| running.saturating_sub(1))
}

/// Where the Rust toolchain is; without one, a directory that every Linux has.
fn sysroot() -> PathBuf {
    Command::new("rustc")
        .args(["--print", "sysroot"])
        .output()
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .map(|path| PathBuf::from(path.trim_end()))
        .filter(|path| path.is_dir())
        .unwrap_or_else(|| PathBuf::from("/usr/lib"))
}
