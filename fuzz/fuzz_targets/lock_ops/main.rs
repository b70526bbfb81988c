//! Operation lists on locks, a readers-writer lock, condition variables, events and what is done once, by several members with handles and guards that come and go in
//! any order, against a plain model: who holds which lock, which are poisoned, what stands behind them.
//!
//! All happens on one thread. So what would wait for ever is not called (the model knows when), a timed wait always runs
//! out, and a member dies by leaving with a forgotten guard.

#![no_main]

mod beside;
mod members;
mod model;
mod rwlock;
mod step;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    ops: Vec<Op>,
}

/// A handle of a member: which of its locks, or of its condition variables.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct By {
    member: u8,
    which: u8,
}

#[derive(Arbitrary, Debug)]
enum Op {
    /// A new member, in the place of another, which loses its handles.
    Join(u8),
    /// Drops a member's segment; its handles stay.
    DropSegment(u8),
    DropLock(By),
    DropCondvar(By),
    /// Puts a clone of the handle in its place.
    Clone(By),
    /// Puts a handle in its place that was opened anew.
    Open {
        by: By,
        or_create: bool,
    },
    Lock {
        by: By,
        how: How,
    },
    /// Writes by a lock's guard.
    Write {
        guard: u8,
        at: u8,
        number: u32,
    },
    Unlock {
        guard: u8,
        end: EndOfGuard,
    },
    Wait {
        guard: u8,
        by: By,
        how: Wait,
    },
    Notify {
        by: By,
        all: bool,
    },
    /// The calls of an array that lock for a moment.
    Get {
        by: By,
        at: u8,
    },
    Set {
        by: By,
        at: u8,
        number: u32,
    },
    ToVec(By),
    /// Who is a member, and who lives.
    Members(u8),
    /// What a person sees.
    Show(By),
    Beside {
        member: u8,
        op: beside::Beside,
    },
    Rw(rwlock::RwOp),
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
enum How {
    Lock,
    Try,
    Timeout,
    Recover,
    /// By a destructor that runs because of a panic: no reason to poison.
    WhilePanicking,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum EndOfGuard {
    Drop,
    Panic,
    Forget,
    /// Forgets it, and the member leaves: it dies, unless it has another guard.
    Die,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Wait {
    Timeout {
        sleeps: bool,
    },
    /// While the condition, which changes the state each time it is asked, was asked less often than this.
    TimeoutWhile(u8),
    /// Likewise; at once.
    While,
    /// In a condition that panics.
    Panics,
}

fuzz_target!(|input: Input| {
    let mut world = members::World::new();
    for op in input.ops.iter().take(100) {
        world.step(op);
        world.look();
    }
});
