//! A counter that any number of processes share.
//!
//! ```text
//! cargo run --example counter                   # in several terminals, at once or one after another
//! cargo run --example counter -- visits 20      # another counter, 20 times
//! cargo run --example counter -- --unlink       # remove the counter (or: --unlink visits)
//! ```
//!
//! Kill one at any moment, also with `kill -9`: the others go on, and what was counted stays counted. The count is kept
//! until the segment is removed or the machine restarts.

use commonhold::{Segment, Value};
use std::error::Error;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args[..] {
        ["--unlink"] => unlink("counter"),
        ["--unlink", name] => unlink(name),
        [] => count("counter", "5"),
        [name] => count(name, "5"),
        [name, times] => count(name, times),
        _ => Err("usage: counter [NAME [TIMES]] | counter --unlink [NAME]".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("counter: {e}");
            ExitCode::FAILURE
        }
    }
}

fn count(name: &str, times: &str) -> Result<(), Box<dyn Error>> {
    let times: u32 = times
        .parse()
        .map_err(|_| format!("TIMES is a number, and {times:?} is none"))?;
    // Whoever comes first makes the segment and the value; all others find them.
    let seg = Segment::open_or_create(name, 1 << 16)?;
    let count = Value::open_or_create(&seg, "count", 0u64)?;
    for _ in 0..times {
        let now = count.update(|n| {
            *n += 1;
            *n
        })?;
        println!("process {}: {now}", std::process::id());
        sleep(Duration::from_millis(500));
    }
    println!("The count is kept. To remove it: cargo run --example counter -- --unlink {name}");
    Ok(())
}

fn unlink(name: &str) -> Result<(), Box<dyn Error>> {
    Ok(Segment::unlink(name)?)
}
