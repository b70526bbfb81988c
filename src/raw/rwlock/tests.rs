//! The readers-writer lock beside peers that never stand still, and what a gate that is shut keeps from being counted.

use super::*;
use crate::raw::Nap;
use crate::sys::futex::Wake;
use crate::sys::spin::Adaptive;
use std::cell::RefCell;
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
    // The first puts the name there, the second is solo: from here on all others are counted in the tally.
    let [first, _solo] = [0, 1].map(|_| raw.try_read(&line, &members, me).unwrap());
    let full = Counted::word(me, u32::MAX);
    line.tally.word.store(full, Ordering::Relaxed);
    let refused = raw.try_read(&line, &members, me);
    assert!(matches!(refused, Err(Error::TooLarge { .. })));
    assert_eq!(line.tally.word.load(Ordering::Relaxed), full);
    raw.unlock_read(&line, me, first);
    raw.try_read(&line, &members, me).unwrap();
}

/// What the line says: of the tally and of `solo`.
fn counted(line: &ReaderLine) -> [(Option<MemberId>, u32); 2] {
    [&line.tally, &line.solo].map(|t| {
        let counted = t.load(Ordering::Relaxed);
        (counted.owner, counted.count)
    })
}

#[test]
fn one_of_a_members_readings_at_a_time_is_solo() {
    // SAFETY: as above.
    let (raw, lines) = unsafe { std::mem::zeroed::<(RawRwLock, [ReaderLine; 1])>() };
    let members = Restless { raw: &raw };
    let me = MemberId::new(0, 1).unwrap();
    let read = || raw.try_read(&lines[0], &members, me).unwrap();
    let leave = |reading| raw.unlock_read(&lines[0], me, reading);
    let says = |tally, solo| assert_eq!(counted(&lines[0]), [(Some(me), tally), (Some(me), solo)]);
    leave(read());
    says(0, 0);
    let (solo, beside) = (read(), read());
    assert_eq!((solo, beside), (Reading::Solo, Reading::InTheTally));
    says(1, 1);
    leave(solo);
    says(1, 0);
    assert!(raw.write_at_once(&lines, me).is_err());
    raw.gate.unlock();
    let again = read();
    assert_eq!(again, Reading::Solo);
    leave(beside);
    says(0, 1);
    assert!(raw.write_at_once(&lines, me).is_err());
    raw.gate.unlock();
    leave(again);
    says(0, 0);
    raw.write_at_once(&lines, me).unwrap();
}

/// All but one are dead.
struct Survivor(MemberId);

impl Membership for Survivor {
    fn is_alive(&self, id: MemberId) -> bool {
        id == self.0
    }

    fn deaths(&self) -> u32 {
        0
    }

    fn park(&self, _: &AtomicU32, _: u32, _: u32, _: Nap, _: Deadline) -> Wake {
        unreachable!("nobody has a reason to sleep");
    }
}

#[test]
fn who_died_reading_solo_holds_up_neither_a_writer_nor_the_next_of_its_slot() {
    // SAFETY: as above.
    let (raw, lines) = unsafe { std::mem::zeroed::<(RawRwLock, [ReaderLine; 2])>() };
    let [dead, next, writer] =
        [(1, 1), (1, 2), (0, 1)].map(|(slot, generation)| MemberId::new(slot, generation).unwrap());
    let dies_reading_solo = || {
        let all_live = Restless { raw: &raw };
        let first = raw.try_read(&lines[1], &all_live, dead).unwrap();
        raw.unlock_read(&lines[1], dead, first);
        let last = raw.try_read(&lines[1], &all_live, dead);
        assert!(matches!(last, Ok(Reading::Solo)));
    };
    dies_reading_solo();
    raw.try_write(&lines, &Survivor(writer), writer).unwrap();
    raw.unlock_write();
    assert_eq!(counted(&lines[1])[1], (None, 0), "it was not cleared");
    dies_reading_solo();
    // No writer came in between.
    let members = Survivor(next);
    let read = || raw.try_read(&lines[1], &members, next).unwrap();
    let readings = [read(), read()];
    assert_eq!(readings, [Reading::InTheTally, Reading::Solo]);
    assert_eq!(counted(&lines[1]), [(Some(next), 1); 2]);
    let wrote = raw.try_write(&lines, &members, writer);
    assert!(matches!(wrote, Err(Error::WouldBlock)));
    for reading in readings {
        raw.unlock_read(&lines[1], next, reading);
    }
    raw.try_write(&lines, &members, writer).unwrap();
}

#[test]
fn a_name_that_was_scribbled_away_is_put_back_by_the_next_reading() {
    // SAFETY: as above.
    let (raw, lines) = unsafe { std::mem::zeroed::<(RawRwLock, [ReaderLine; 1])>() };
    let members = Restless { raw: &raw };
    let me = MemberId::new(0, 1).unwrap();
    let read = || {
        let reading = raw.try_read(&lines[0], &members, me).unwrap();
        raw.unlock_read(&lines[0], me, reading);
        reading
    };
    read();
    for scribble in [0, u64::MAX, 1 << 63 | 7, Counted::word(me, 0) | 1 << 62] {
        assert_eq!(read(), Reading::Solo);
        lines[0].solo.word.store(scribble, Ordering::Relaxed);
        assert_eq!(read(), Reading::InTheTally, "{scribble:#x}");
        assert_eq!(counted(&lines[0]), [(Some(me), 0); 2], "{scribble:#x}");
    }
    assert_eq!(read(), Reading::Solo);
    // While one reads so, it goes on counting, and its end puts the name right.
    let solo = raw.try_read(&lines[0], &members, me).unwrap();
    lines[0].solo.word.fetch_or(1 << 62, Ordering::Relaxed);
    assert_eq!(read(), Reading::InTheTally);
    assert!(raw.write_at_once(&lines, me).is_err());
    raw.gate.unlock();
    raw.unlock_read(&lines[0], me, solo);
    assert_eq!(read(), Reading::Solo);
}

/// Of two readers one is dead. The other leaves solo in the nap that `leaves_in` says, and does not see that a writer waits; in the second
/// nap others notify, and a scribbler counts the dead one again.
struct LeavesUnseen<'a> {
    raw: &'a RawRwLock,
    lines: &'a [ReaderLine],
    naps: &'a RefCell<Vec<Nap>>,
    leaves_in: usize,
}

const DEAD: MemberId = MemberId::new(0, 1).unwrap();
const LIVING: MemberId = MemberId::new(1, 1).unwrap();

impl Membership for LeavesUnseen<'_> {
    fn is_alive(&self, id: MemberId) -> bool {
        id != DEAD
    }

    fn deaths(&self) -> u32 {
        0
    }

    fn park(&self, _: &AtomicU32, _: u32, _: u32, nap: Nap, deadline: Deadline) -> Wake {
        self.naps.borrow_mut().push(nap);
        let nap = self.naps.borrow().len();
        if nap == self.leaves_in {
            let solo = &self.lines[1].solo.word;
            solo.store(Counted::word(LIVING, 0), Ordering::Relaxed);
        }
        if nap == 2 {
            let scribbled = Counted::word(DEAD, 1);
            self.lines[0].tally.word.store(scribbled, Ordering::Relaxed);
            self.raw.left.notify(u32::MAX);
            return Wake::Woken;
        }
        while deadline != Deadline::NEVER && !deadline.has_passed() {
            std::hint::spin_loop();
        }
        Wake::TimedOut
    }
}

/// Which naps a writer takes, and what becomes of it.
fn writes_beside_one_that_leaves(leaves_in: usize, deadline: Deadline) -> (Vec<Nap>, Result<()>) {
    // SAFETY: as above.
    let (raw, lines) = unsafe { std::mem::zeroed::<(RawRwLock, [ReaderLine; 3])>() };
    let naps = RefCell::default();
    let members = LeavesUnseen {
        raw: &raw,
        lines: &lines,
        naps: &naps,
        leaves_in,
    };
    for (line, reader) in lines.iter().zip([DEAD, LIVING]) {
        let first = raw.try_read(line, &members, reader).unwrap();
        raw.unlock_read(line, reader, first);
        assert!(matches!(
            raw.try_read(line, &members, reader),
            Ok(Reading::Solo)
        ));
    }
    let call = Call {
        members: &members,
        me: MemberId::new(2, 1).unwrap(),
        spin: &Adaptive::new(),
        deadline,
    };
    let stopped = raw.write_at_once(&lines, call.me).unwrap_err();
    let wrote = raw.write_contended(&lines, &call, stopped);
    (naps.into_inner(), wrote)
}

#[test]
fn a_writer_does_not_sleep_for_long_before_it_has_looked_twice() {
    let (naps, wrote) = writes_beside_one_that_leaves(3, Deadline::NEVER);
    wrote.unwrap();
    let ms = |n| Nap::AtMost(Duration::from_millis(n));
    // The third begins after a notify, so that it is not known who has seen the bits since.
    assert_eq!(naps, [ms(1), ms(2), ms(1)]);
}

#[test]
fn a_writer_whose_time_is_up_looks_a_last_time() {
    let soon = || Deadline::after(Duration::from_millis(100));
    let (naps, wrote) = writes_beside_one_that_leaves(1, soon());
    assert_eq!(naps.len(), 1);
    wrote.unwrap();
    let (naps, wrote) = writes_beside_one_that_leaves(2, soon());
    assert_eq!(naps.len(), 1);
    assert!(matches!(wrote, Err(Error::Timeout)));
}

#[test]
fn one_who_tries_to_read_while_the_gate_is_shut_is_never_counted() {
    // SAFETY: as above.
    let (raw, lines) = unsafe { std::mem::zeroed::<(RawRwLock, [ReaderLine; 3])>() };
    let members = Restless { raw: &raw };
    let [writer, old, new] = [0, 1, 2].map(|slot| MemberId::new(slot, 1).unwrap());
    let reading = raw.try_read(&lines[1], &members, old).unwrap();
    raw.unlock_read(&lines[1], old, reading);
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
