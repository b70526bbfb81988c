//! A channel of an enum with Strings and Vecs: several processes log to one that collects.
//!
//! ```text
//! cargo run --release --example log
//! ```
//!
//! The loggers are functions in processes of their own, to which the channel travels as an argument. One is killed while it logs: what it had sent is
//! there, and the others go on.

use commonhold::process::{self, Process};
use commonhold::{Channel, Error, Segment};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Debug, Serialize, Deserialize)]
enum Entry {
    Started { who: String },
    Line { who: String, text: String },
    Numbers { who: String, numbers: Vec<u32> },
    Ended { who: String },
}

const LINES: u32 = 2_000;
const LOGGERS: [&str; 3] = ["anna", "bert", "doomed"];
const PATIENCE: Duration = Duration::from_secs(20);

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

fn main() -> Result<()> {
    process::init();

    let seg = Segment::anonymous(1 << 20)?;
    let entries = Channel::<Entry>::create(&seg, "entries", 1 << 16)?;
    let start = |who: &str| {
        // None of them outlives this.
        Process::builder(log, (who.to_owned(), entries.clone()))
            .daemon(true)
            .spawn()
    };
    let loggers = LOGGERS
        .map(start)
        .into_iter()
        .collect::<Result<Vec<_>, Error>>()?;

    let mut ended = 0;
    let mut killed = false;
    let mut lines = BTreeMap::<String, u32>::new();
    let mut sum = 0;
    while ended < 2 || !killed {
        match entries.recv_timeout(PATIENCE)? {
            Entry::Started { who } => println!("{who} has started"),
            Entry::Line { who, text } => {
                let count = lines.entry(who.clone()).or_default();
                *count += 1;
                if *count == 1 {
                    println!("{who}: {text}");
                }
                if who == "doomed" && *count == 100 {
                    loggers[2].kill()?;
                    killed = true;
                }
            }
            Entry::Numbers { who, numbers } => {
                println!("{who} sends {} numbers", numbers.len());
                sum += numbers.iter().sum::<u32>();
            }
            Entry::Ended { who } => {
                println!("{who} has ended: {} lines", lines[&who]);
                ended += 1;
            }
        }
    }
    for (who, logger) in LOGGERS.iter().zip(loggers) {
        match logger.join() {
            Err(e) if *who == "doomed" => println!("doomed: {e}"),
            outcome => outcome?,
        }
    }
    // What the killed one had sent is still there, each entry whole.
    loop {
        match entries.try_recv() {
            Ok(Entry::Line { who, .. }) => *lines.entry(who).or_default() += 1,
            Ok(other) => return Err(format!("{other:?}, after the end").into()),
            Err(Error::Empty) => break,
            Err(e) => return Err(e.into()),
        }
    }
    println!("doomed was killed: {} whole lines of it", lines["doomed"]);
    if lines["anna"] != LINES || lines["bert"] != LINES || sum != 2 * 5050 {
        return Err("entries were lost".into());
    }
    Ok(())
}

/// In a process of its own.
fn log((who, entries): (String, Channel<Entry>)) {
    let send = |entry| {
        entries
            .send_timeout(&entry, PATIENCE)
            .expect("somebody collects");
    };
    let who = || who.clone();
    send(Entry::Started { who: who() });
    let mut number = 0;
    while number < LINES || who() == "doomed" {
        let text = format!(
            "line {number}: {}",
            "all is well. ".repeat(number as usize % 7)
        );
        send(Entry::Line { who: who(), text });
        number += 1;
    }
    send(Entry::Numbers {
        who: who(),
        numbers: (1..=100).collect(),
    });
    send(Entry::Ended { who: who() });
}
