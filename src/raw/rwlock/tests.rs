//! The readers-writer lock beside peers that never stand still, and what a gate that is shut keeps from being counted.

use super::*;
use crate::raw::Nap;
use crate::sys::futex::Wake;
use crate::sys::spin::Adaptive;
use std::time::Duration;

/// Somebody who lives, reads and stays; and whenever a writer lies down for it, somebody notifies, for nothing.
struct Restless<'a> {
    raw: &'a RawRwLock,
}

impl Membership for Restless<'_> {
    fn is_alive(&self, _: MemberId) -> bool {
        true
    }

    fn deaths(&self) -> u32 {
        0
    }

    fn park(&self, _: &AtomicU32, _: u32, _: u32, _: Nap, _: Deadline) -> Wake {
        self.raw.left.notify(u32::MAX);
        Wake::Woken
    }
}

#[test]
fn notifies_without_end_and_for_nothing_do_not_outlast_a_writers_deadline() {
    // SAFETY: all zero is free and sound.
    let (raw, lines) = unsafe { std::mem::zeroed::<(RawRwLock, [ReaderLine; 4])>() };
    let reader = MemberId::new(3, 1).unwrap();
    let members = Restless { raw: &raw };
    raw.try_read(&lines[3], &members, reader).unwrap();
    let call = Call {
        members: &members,
        me: MemberId::new(2, 1).unwrap(),
        spin: &Adaptive::new(),
        deadline: Deadline::after(Duration::from_millis(5)),
    };
    let stopped = raw.write_at_once(&lines, call.me).unwrap_err();
    let wrote = raw.write_contended(&lines, &call, stopped);
    assert!(matches!(wrote, Err(Error::Timeout)));
    assert!(matches!(raw.recover(&lines, &call), Err(Error::Timeout)));
    // It left the gate.
    raw.try_read(&lines[2], &members, call.me).unwrap();
}

#[test]
fn a_full_tally_is_refused_and_does_not_wrap() {
    // SAFETY: as above.
    let (raw, line) = unsafe { std::mem::zeroed::<(RawRwLock, ReaderLine)>() };
    let members = Restless { raw: &raw };
    let me = MemberId::new(0, 1).unwrap();
    raw.try_read(&line, &members, me).unwrap();
    let full = Counted::word(me, u32::MAX);
    line.tally.word.store(full, Ordering::Relaxed);
    let refused = raw.try_read(&line, &members, me);
    assert!(matches!(refused, Err(Error::TooLarge { .. })));
    assert_eq!(line.tally.word.load(Ordering::Relaxed), full);
    raw.unlock_read(&line);
    raw.try_read(&line, &members, me).unwrap();
}

#[test]
fn one_who_tries_to_read_while_the_gate_is_shut_is_never_counted() {
    // SAFETY: as above.
    let (raw, lines) = unsafe { std::mem::zeroed::<(RawRwLock, [ReaderLine; 3])>() };
    let members = Restless { raw: &raw };
    let [writer, old, new] = [0, 1, 2].map(|slot| MemberId::new(slot, 1).unwrap());
    raw.try_read(&lines[1], &members, old).unwrap();
    raw.unlock_read(&lines[1]);
    raw.try_write(&lines, &members, writer).unwrap();
    let ticket = raw.left.register(&members);
    for (line, me) in [(&lines[1], old), (&lines[2], new)] {
        let tried = raw.try_read(line, &members, me);
        assert!(matches!(tried, Err(Error::WouldBlock)));
    }
    // One that was counted would have told the writer that it left.
    assert!(!raw.left.has_moved(&ticket));
    assert_eq!(lines[2].tally.word.load(Ordering::Relaxed), 0);
}

/// Whoever sleeps is another process when it wakes: a child, forked in a signal's handler.
struct Forks(AtomicU32);

impl Membership for Forks {
    fn is_alive(&self, _: MemberId) -> bool {
        true
    }

    fn is_still(&self, _: MemberId) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    fn deaths(&self) -> u32 {
        0
    }

    fn park(&self, _: &AtomicU32, _: u32, _: u32, _: Nap, _: Deadline) -> Wake {
        self.0.store(1, Ordering::Relaxed);
        Wake::Again
    }
}

#[test]
fn a_child_forked_in_a_wait_for_readers_leaves_the_gate_to_its_parent() {
    // SAFETY: as above.
    let (raw, lines) = unsafe { std::mem::zeroed::<(RawRwLock, [ReaderLine; 2])>() };
    let members = Forks(AtomicU32::new(0));
    let [reader, me] = [0, 1].map(|slot| MemberId::new(slot, 1).unwrap());
    raw.try_read(&lines[0], &members, reader).unwrap();
    let call = Call {
        members: &members,
        me,
        spin: &Adaptive::new(),
        deadline: Deadline::NEVER,
    };
    let wrote = raw.write_contended(&lines, &call, Stopped::BeforeTheGate);
    assert!(matches!(wrote, Err(Error::Corrupt)));
    assert_eq!(raw.gate.word.load(Ordering::Relaxed), me.bits());
}
