//! Killed at every instruction.
//!
//! A process is forked for each operation of each primitive, and stepped through it by ptrace, one machine instruction after
//! another. At each instruction that changed a byte of the region, at each system call and whenever the process sleeps:
//!
//! - the region's bytes are copied, and survivors go on in the copy, in which nobody else lives: what a death of this very
//!   moment would leave. A judge asserts that nothing is lost and all works, and how far the operation came, which must
//!   never go back, be done when the operation is done, and not be done before it has begun;
//! - at some of these points (all, if there are few) the operation is run afresh and the process killed for real: survivors, and
//!   peers asleep in other processes, go on in the segment itself;
//! - for some of the states (all, if there are few) a survivor's mending is stepped through in turn, each state judged that
//!   *its* death would leave, and killed half-way.
//!
//! `cargo test --release --test every_instruction -- --nocapture` prints the table. `ONLY=text` runs the operations whose names contain it,
//! `KILLS=n` and `MENDED=n` set how many points are killed at and how many states mended.
//!
//! To add a primitive: a file in `subjects/`.

// The tracer reads one machine's registers and instructions.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(unreachable_pub)]

mod case;
mod proof;
mod region;
mod report;
mod subjects;
mod tracer;
mod walk;
mod watchdog;

#[path = "../support/mod.rs"]
mod support;

use case::Subject;
use proof::{Budget, prove};
use report::Row;
use std::sync::Mutex;

fn budget() -> Budget {
    let number = |name: &str, default: usize| match std::env::var(name) {
        Ok(n) => n.parse().unwrap_or_else(|_| panic!("{name} is a number")),
        Err(_) => default,
    };
    Budget {
        kills: number("KILLS", 40),
        mended: number("MENDED", 6),
    }
}

fn prove_all(subjects: &[Subject], budget: Budget) -> Vec<Row> {
    let only = std::env::var("ONLY").unwrap_or_default();
    let cases: Vec<_> = subjects
        .iter()
        .flat_map(|s| s.cases.iter().map(move |c| (s, c)))
        .filter(|(s, c)| format!("{}: {}", s.name, c.name).contains(&only))
        .collect();
    let next = Mutex::new(0..cases.len());
    let rows = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for processor in tracer::processors() {
            let (next, rows, cases) = (&next, &rows, &cases);
            scope.spawn(move || {
                tracer::stay_on(processor);
                loop {
                    let Some(i) = next.lock().unwrap().next() else {
                        return;
                    };
                    let (subject, case) = cases[i];
                    let row = prove(subject, case, budget);
                    println!(
                        "{:.1?} {}: {} {}",
                        row.took,
                        subject.name,
                        case.name,
                        row.failures.len()
                    );
                    rows.lock().unwrap().push((i, row));
                }
            });
        }
    });
    let mut rows = rows.into_inner().unwrap();
    rows.sort_by_key(|(i, _)| *i);
    rows.into_iter().map(|(_, row)| row).collect()
}

// Unoptimised code has ten times the instructions, and is not what users run.
#[test]
#[cfg_attr(
    debug_assertions,
    ignore = "it proves optimised code: cargo test --release --test every_instruction"
)]
fn every_operation_survives_a_death_at_every_instruction() {
    let rows = prove_all(&subjects::all(), budget());
    report::print(&rows);
    let failures: Vec<_> = rows.iter().flat_map(|r| &r.failures).collect();
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(rows.iter().all(|r| r.instructions > 0 && r.kills > 0));
}

#[test]
fn the_proof_finds_what_is_broken() {
    use subjects::broken;
    let broken = [
        (broken::anonymous_lock(), "held for ever"),
        (broken::two_stores(), "torn"),
        (broken::taken_back(), "from 1 to 0"),
        (broken::fragile_mender(), "somebody mends, for ever"),
        (broken::lost_wake(), "the forked child failed: 0xe"),
    ];
    let (subjects, faults): (Vec<_>, Vec<_>) = broken.into_iter().unzip();
    for (row, fault) in prove_all(&subjects, budget()).iter().zip(faults) {
        let found = row.failures.iter().any(|f| f.contains(fault));
        assert!(found, "{}: {:#?}", row.subject, row.failures);
        println!("{}: found", row.subject);
    }
}
