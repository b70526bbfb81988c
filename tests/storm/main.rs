//! Kills at random moments, with a ledger that proves that nothing committed was lost and nothing delivered twice.
//!
//! Twenty workers, and twenty that sleep, share one segment that holds every primitive. A master kills them, alone and several at a stroke, at
//! moments that it draws, or orders them to die, to stop, to fork or to `exec` at a point where a change is half-done.
//! Who mends what a dead one left dies over it every now and then. After some hundred kills all are killed, the books of the segment
//! are balanced, and the next act begins with a segment of its own, so the ledger stays small however long the storm lasts.
//!
//! `STORM_KILLS` sets the number of kills (default 400); `SEED` repeats a choice of victims and moments, as far as the
//! scheduler lets it.

// A test has no users: what is `pub` here is shared by its files.
#![allow(unreachable_pub)]

#[path = "../support/mod.rs"]
mod support;

mod books;
mod doorbell;
mod frames;
mod handover;
mod jobs;
mod ledger;
mod letters;
mod locks;
mod mail;
mod makers;
mod master;
mod news;
mod permits;
mod report;
mod stage;
mod talk;
mod times;
mod twice;
mod visit;
mod worker;

use makers::make_for_ever;
use master::Master;
use report::Report;
use support::{Name, Random};
use worker::work;

support::roles!(work, make_for_ever);

fn kills() -> u64 {
    match std::env::var("STORM_KILLS") {
        Ok(n) => n.parse().expect("STORM_KILLS is a number"),
        Err(_) => 400,
    }
}

/// Kills in one act, at the most: the ledger's room is for about so many.
const ACT: u64 = 1000;
/// A long storm tells how it goes, each time it has killed so many more.
const PROGRESS: u64 = 10_000;

#[test]
fn nothing_committed_is_lost_in_a_storm_of_kills() {
    let kills = kills();
    // Two acts at the least.
    let act = kills.div_ceil(2).min(ACT);
    let mut random = Random::new();
    let mut report = Report::new();
    while report.kills() < kills {
        let name = Name::new("storm");
        let mut master = Master::new(&name, &mut random);
        master.kill_workers(act.min(kills - report.kills()));
        let before = report.kills();
        report.add(&master.end());
        if report.kills() / PROGRESS > before / PROGRESS {
            println!("so far: {report}");
        }
    }
    println!("{report}");
}
