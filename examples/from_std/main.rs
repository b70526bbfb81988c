//! A program that moves from `std::sync` to commonhold, and from threads to processes: what changes is the `use`, the constructors,
//! and an `unwrap` where std's call can't fail and ours can (a party of a barrier may be killed).
//!
//! `cargo run --release --example from_std`

#![forbid(unsafe_code)]

mod with_commonhold;
mod with_std;

use commonhold::{Result, Segment};
use std::process::Command;

fn main() -> Result<()> {
    if let Some(name) = std::env::args().nth(1) {
        with_commonhold::Bank::new(&Segment::open(&name)?)?.work();
        return Ok(());
    }
    println!(
        "with std, {} threads:         {}",
        with_std::TELLERS,
        in_threads()
    );
    println!(
        "with commonhold, {} processes: {}\n",
        with_commonhold::TELLERS,
        in_processes()?
    );
    show_both();
    Ok(())
}

fn in_threads() -> i64 {
    let bank = with_std::Bank::new();
    std::thread::scope(|s| {
        for _ in 0..with_std::TELLERS {
            s.spawn(|| bank.work());
        }
        bank.close()
    })
}

fn in_processes() -> Result<i64> {
    let name = Name(format!("commonhold-from-std-{}", std::process::id()));
    let bank = with_commonhold::Bank::new(&Segment::create(&name.0, 1 << 16)?)?;
    let tellers: Vec<_> = (0..with_commonhold::TELLERS)
        .map(|_| Command::new(std::env::current_exe()?).arg(&name.0).spawn())
        .collect::<std::io::Result<_>>()?;
    let money = bank.close();
    for mut teller in tellers {
        assert!(teller.wait()?.success());
    }
    Ok(money)
}

/// The name of a segment, which goes when this does.
struct Name(String);

impl Drop for Name {
    fn drop(&mut self) {
        let _ = Segment::unlink(&self.0);
    }
}

/// Prints the lines in which the two programs differ, beside each other.
fn show_both() {
    let std = include_str!("with_std.rs").lines();
    let commonhold = include_str!("with_commonhold.rs").lines();
    assert_eq!(std.clone().count(), commonhold.clone().count());
    println!("{:<56} with_commonhold.rs", "with_std.rs");
    for (std, commonhold) in std.zip(commonhold).filter(|(a, b)| a != b).skip(1) {
        println!("{:<56} {}", std.trim(), commonhold.trim());
    }
}
