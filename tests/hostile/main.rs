//! A hostile peer: somebody who may open the segment's file writes whatever he likes into it, wherever he likes, while
//! others work. They may get errors, time-outs, and wrong values of a valid type. They may not panic, die of a signal, touch
//! a byte outside the segment, or stay in a call beyond its deadline.
//!
//! Each primitive is attacked in two ways: by its victim itself between any two of its operations (so that each meets a freshly damaged
//! segment; the same seed does the same), and by a process of its own, flat out, while two victims work.
//!
//! `HOSTILE_SECONDS` is how long each attack lasts (default 1), `SEED` repeats one, and `-- --nocapture` shows the operations:
//! how often each ended well, and was refused, and its longest time in milliseconds.

// The attacker's own calls are written for the 64-bit C library.
#![cfg(target_pointer_width = "64")]

#[path = "../support/mod.rs"]
mod support;

mod chosen;
mod fence;
mod forged;
mod found;
mod layout;
mod ledger;
mod outsider;
mod region;
mod striker;
mod types;
mod victims;
mod watch;

use commonhold::{Segment, SegmentOptions};
use fence::fence_beside_a_hole;
use ledger::Ledger;
use std::time::Duration;
use striker::Striker;
use support::{Child, Name, Random, listen, tell};
use victims::victim;

support::roles!(victim, attacker, fence_beside_a_hole);

fn milliseconds() -> u64 {
    match std::env::var("HOSTILE_SECONDS") {
        Ok(n) => 1000 * n.parse::<u64>().expect("HOSTILE_SECONDS is a number"),
        Err(_) => 1000,
    }
}

/// A segment with the objects of one primitive, and its members.
struct Scene {
    name: Name,
    /// This process is a member too: one who lives, and never has anything to do with the objects.
    _seg: Segment,
    seed: u64,
}

impl Scene {
    fn new(primitive: &str) -> Scene {
        let name = Name::new("hostile");
        let seg = SegmentOptions::new()
            .capacity(1 << 16)
            .max_members(8)
            .max_objects(24)
            .create(&name)
            .unwrap();
        victims::prepare(primitive, &seg);
        Scene {
            name,
            _seg: seg,
            seed: Random::seed(),
        }
    }

    fn victim(&self, primitive: &str, seed: &str) -> Watched {
        let ledger_name = Name::new("ledger");
        let ledger = Ledger::create(&ledger_name);
        let time = milliseconds().to_string();
        let mut child = Child::start(
            "victim",
            &[primitive, &self.name, &ledger_name, &time, seed],
        );
        child.expect("ready");
        Watched {
            child,
            ledger,
            _name: ledger_name,
        }
    }
}

/// A victim, as its parent sees it.
struct Watched {
    child: Child,
    ledger: Ledger,
    _name: Name,
}

/// Lets them begin, and waits for their good end.
fn watch_over(mut victims: Vec<Watched>, attacked: &str, seed: u64) {
    victims.iter_mut().for_each(|v| v.child.say("go"));
    let again = format!("{attacked}; to repeat it: SEED={seed}");
    while let Some(victim) = victims.last_mut() {
        if let Some(status) = victim.child.has_ended() {
            let last = victim.ledger.last();
            assert!(status.success(), "{status} in {last}, {again}");
            println!(
                "{attacked:<34} {:>9} {:>9} {:>10}",
                "well", "refused", "longest ms"
            );
            loop {
                let line = victim.child.hear();
                if line == "end" {
                    break;
                }
                println!("{line}");
            }
            victims.pop();
            continue;
        }
        for victim in &victims {
            if let Some(over) = victim.ledger.overrun() {
                // The victim itself says so too if it ever comes back.
                let last = victim.ledger.last();
                assert!(over < watch::GRACE, "{last} does not end, {again}");
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Strikes between any two operations.
fn struck_between_operations(primitive: &str) {
    let scene = Scene::new(primitive);
    let victim = scene.victim(primitive, &scene.seed.to_string());
    watch_over(
        vec![victim],
        &format!("{primitive}, struck in between"),
        scene.seed,
    );
}

/// Strikes while two victims work.
fn struck_meanwhile(primitive: &str) {
    let scene = Scene::new(primitive);
    let mut attacker = Child::start("attacker", &[&scene.name, &scene.seed.to_string()]);
    attacker.expect("ready");
    let victims = [(); 2].map(|()| scene.victim(primitive, ""));
    attacker.say("go");
    watch_over(
        victims.into(),
        &format!("{primitive}, struck meanwhile"),
        scene.seed,
    );
    assert!(attacker.has_ended().is_none(), "the attacker gave up");
}

/// Flat out, until it is killed: [segment, seed].
fn attacker(args: &[String]) {
    let mut striker = Striker::new(&args[0], args[1].parse().unwrap());
    tell("ready");
    listen();
    loop {
        striker.begin_anew();
        for _ in 0..striker.below(2000) {
            match striker.below(256) {
                0 => {
                    let times = striker.below(20_000);
                    striker.hammer(times);
                }
                _ => striker.strike(),
            }
        }
    }
}

/// By chance there is such a hole in one process of some thousands.
#[test]
fn the_fence_stands_around_the_next_mapping_though_another_hole_would_be_filled_first() {
    let scene = Scene::new("once");
    Child::start("fence_beside_a_hole", &[&scene.name]).finish();
}

macro_rules! attacks {
    ($($primitive:ident),*) => {$(
        mod $primitive {
            #[test]
            fn survives_strikes_between_its_operations() {
                super::struck_between_operations(stringify!($primitive));
            }

            #[test]
            fn survives_one_who_strikes_meanwhile() {
                super::struck_meanwhile(stringify!($primitive));
            }
        }
    )*};
}

attacks!(
    segment, mutex, condvar, value, array, atomics, queue, ring, messages, pipe, broadcast, blocks,
    select, rwlock, semaphore, barrier, event, once, reentrant
);
