//! A process with an argument and a result.
//!
//! Python's `Process(target=f, args=('bob',)); p.start(); p.join()`.
//!
//! ```text
//! cargo run --release --example mp_process
//! ```

use commonhold::process::{self, Process};

/// A plain function: what it takes and gives is anything that serde can write and read.
fn greet(name: String) -> String {
    let me = process::current_process();
    let parent = process::parent_process().map(|p| p.pid());
    println!(
        "hello {name}, says {} (pid {}, started by {parent:?})",
        me.name(),
        me.pid()
    );
    name.to_uppercase()
}

fn main() -> commonhold::Result<()> {
    // A child is this program, started again: here it goes another way, and never returns.
    process::init();

    let child = Process::spawn(greet, "bob".to_string())?;
    println!("started {} as pid {}", child.name(), child.pid());
    let loud = child.join()?;
    assert_eq!(loud, "BOB");

    // What goes wrong in the child is an error here, and never a wait for ever.
    let fails: Process<i32> = Process::spawn(|divisor| 1 / divisor, 0)?;
    let error = fails.join().unwrap_err();
    println!("the second one: {error}");
    Ok(())
}
