//! `RwLock`.

use crate::is_a_handle;
use crate::support::{
    self, Child, Forked, LIMIT, Name, eventually, listen, tell, wait_to_be_killed,
    waits_on_a_futex, within_the_limit,
};
use commonhold::{Error, RwLock, RwLockWriteGuard, Segment};
use std::time::{Duration, Instant};

type Pair = [u64; 2];

struct Stage {
    name: Name,
    pair: RwLock<Pair>,
}

impl Stage {
    fn new() -> Stage {
        let name = Name::new("rwlock");
        let seg = Segment::create(&name, 1 << 16).unwrap();
        let pair = RwLock::create(&seg, "pair", [0; 2]).unwrap();
        Stage { name, pair }
    }

    fn child(&self, role: &str) -> Child {
        let mut child = Child::start(role, &[&self.name]);
        child.expect("ready");
        child
    }

    fn sleeping_child(&self, role: &str) -> Child {
        let child = self.child(role);
        eventually(LIMIT, "it sleeps", || waits_on_a_futex(child.pid()));
        child
    }
}

fn open(args: &[String]) -> RwLock<Pair> {
    RwLock::open(&Segment::open(&args[0]).unwrap(), "pair").unwrap()
}

const SOON: Duration = Duration::from_millis(20);

pub(crate) fn read_for_ever(args: &[String]) {
    let pair = open(args);
    let _one = pair.read().unwrap();
    let _two = pair.read().unwrap();
    tell("ready");
    wait_to_be_killed();
}

pub(crate) fn write_half(args: &[String]) {
    let pair = open(args);
    let mut guard = pair.write().unwrap();
    guard[0] += 1;
    tell("ready");
    listen();
    guard[1] += 1;
    drop(guard);
    tell("written");
}

pub(crate) fn recover_for_ever(args: &[String]) {
    let pair = open(args);
    let _guard = pair.recover().unwrap();
    tell("ready");
    wait_to_be_killed();
}

pub(crate) fn wait_to_read(args: &[String]) {
    let pair = open(args);
    tell("ready");
    tell(match pair.read() {
        Ok(guard) if guard[0] == guard[1] => "whole",
        Ok(_) => "torn",
        Err(Error::Poisoned) => "poisoned",
        Err(_) => "another error",
    });
}

pub(crate) fn wait_to_write(args: &[String]) {
    let pair = open(args);
    tell("ready");
    match pair.write() {
        Ok(mut guard) => {
            *guard = [guard[0] + 1; 2];
            tell("written");
        }
        Err(Error::Poisoned) => tell("poisoned"),
        Err(_) => tell("another error"),
    }
}

pub(crate) fn add_while_told(args: &[String]) {
    let pair = open(args);
    tell("ready");
    for i in 0..20_000 {
        if i % 4 == 0 {
            let mut guard = pair.write().unwrap();
            guard[0] += 1;
            guard[1] += 1;
        } else {
            let guard = pair.read().unwrap();
            assert_eq!(guard[0], guard[1], "torn");
        }
    }
    tell("done");
}

#[test]
fn many_read_at_a_time_and_one_writes() {
    let stage = Stage::new();
    let pair = &stage.pair;
    is_a_handle(pair);
    let one = pair.read().unwrap();
    let two = pair.try_read().unwrap();
    let three = pair.read_timeout(SOON).unwrap();
    assert_eq!((one[0], two[0], three[1]), (0, 0, 0));
    assert!(matches!(pair.try_write(), Err(Error::WouldBlock)));
    let start = Instant::now();
    assert!(matches!(pair.write_timeout(SOON), Err(Error::Timeout)));
    assert!(start.elapsed() >= SOON);
    assert!(matches!(pair.recover_timeout(SOON), Err(Error::Timeout)));
    drop((one, two));
    assert!(matches!(pair.try_write(), Err(Error::WouldBlock)));
    drop(three);

    let mut write = pair.write().unwrap();
    *write = [1, 2];
    assert!(matches!(pair.try_read(), Err(Error::WouldBlock)));
    assert!(matches!(pair.try_write(), Err(Error::WouldBlock)));
    let start = Instant::now();
    assert!(matches!(pair.read_timeout(SOON), Err(Error::Timeout)));
    assert!(start.elapsed() >= SOON);
    assert!(matches!(pair.write_timeout(SOON), Err(Error::Timeout)));
    assert_eq!(format!("{write:?}"), "[1, 2]");
    drop(write);
    assert_eq!(*pair.read().unwrap(), [1, 2]);
    assert!(!pair.is_poisoned());
    // On a sound lock it is a write.
    *pair.recover().unwrap() = [3; 2];
    assert_eq!(*pair.write_timeout(SOON).unwrap(), [3; 2]);
}

#[test]
fn handles_of_two_members_exclude_each_other() {
    let stage = Stage::new();
    let other = open(&[stage.name.to_string()]);
    let read = stage.pair.read().unwrap();
    let also = other.read().unwrap();
    drop(read);
    assert!(matches!(stage.pair.try_write(), Err(Error::WouldBlock)));
    drop(also);
    let write = stage.pair.try_write().unwrap();
    assert!(matches!(other.try_read(), Err(Error::WouldBlock)));
    assert!(matches!(other.try_write(), Err(Error::WouldBlock)));
    drop(write);
    assert!(other.try_write().is_ok());
}

#[test]
fn readers_and_writers_in_threads_and_processes_see_whole_values_and_lose_none() {
    let stage = Stage::new();
    let mut children: Vec<_> = (0..2).map(|_| stage.child("add_while_told")).collect();
    std::thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                for i in 0..20_000 {
                    if i % 4 == 0 {
                        let mut guard = stage.pair.write_timeout(LIMIT).unwrap();
                        guard[0] += 1;
                        guard[1] += 1;
                    } else {
                        let guard = stage.pair.read_timeout(LIMIT).unwrap();
                        assert_eq!(guard[0], guard[1], "torn");
                    }
                }
            });
        }
    });
    for child in &mut children {
        child.expect("done");
    }
    assert_eq!(*stage.pair.read().unwrap(), [20_000; 2]);
}

#[test]
fn a_writer_becomes_a_reader_and_no_other_writer_comes_in_between() {
    let stage = Stage::new();
    let mut write = stage.pair.write().unwrap();
    let mut reader = stage.sleeping_child("wait_to_read");
    let mut writer = stage.sleeping_child("wait_to_write");
    *write = [7; 2];
    let read = RwLockWriteGuard::downgrade(write).unwrap();
    // The reader may come to the gate behind the writer, who then waits for us, too.
    drop(stage.pair.read_timeout(SOON));
    assert_eq!(*read, [7; 2]);
    assert!(matches!(stage.pair.try_write(), Err(Error::WouldBlock)));
    drop(read);
    writer.expect("written");
    reader.expect("whole");
    assert_eq!(*stage.pair.read().unwrap(), [8; 2]);
}

#[test]
fn readers_that_sleep_come_in_when_the_writer_leaves() {
    let stage = Stage::new();
    let write = stage.pair.write().unwrap();
    let mut readers: Vec<_> = (0..3)
        .map(|_| stage.sleeping_child("wait_to_read"))
        .collect();
    drop(write);
    within_the_limit(|| readers.iter_mut().for_each(|r| r.expect("whole")));
}

#[test]
fn a_writer_that_waits_keeps_new_readers_out_and_one_that_gives_up_lets_them_in() {
    let stage = Stage::new();
    let read = stage.pair.read().unwrap();
    let writer = stage.sleeping_child("wait_to_write");
    assert!(matches!(stage.pair.try_read(), Err(Error::WouldBlock)));
    // It dies at the gate: nothing was written.
    writer.kill();
    drop(within_the_limit(|| stage.pair.read()).unwrap());
    assert!(matches!(
        stage.pair.write_timeout(SOON),
        Err(Error::Timeout)
    ));
    drop(stage.pair.try_read().unwrap());
    drop(read);
    assert!(!stage.pair.is_poisoned());
    drop(stage.pair.try_write().unwrap());
}

#[test]
fn killed_readers_leave_nothing_that_stops_a_writer() {
    let stage = Stage::new();
    let read = stage.pair.read().unwrap();
    let readers = [stage.child("read_for_ever"), stage.child("read_for_ever")];
    drop(read);
    let mut writer = stage.sleeping_child("wait_to_write");
    readers.into_iter().for_each(Child::kill);
    within_the_limit(|| writer.expect("written"));
    assert_eq!(*stage.pair.read().unwrap(), [1; 2]);
    // One who only ever tries meets the death too.
    stage.child("read_for_ever").kill();
    drop(stage.pair.try_write().unwrap());
    assert!(!stage.pair.is_poisoned());
}

#[test]
fn a_reader_killed_after_long_is_found_by_a_writer_that_sleeps_long() {
    let stage = Stage::new();
    let reader = stage.child("read_for_ever");
    std::thread::scope(|s| {
        let writer = s.spawn(|| stage.pair.write().map(drop));
        eventually(LIMIT, "it has the gate", || {
            matches!(stage.pair.try_read(), Err(Error::WouldBlock))
        });
        // Beyond the short naps, where only the sweep finds the death.
        let waited = stage.pair.read_timeout(Duration::from_millis(300));
        assert!(matches!(waited, Err(Error::Timeout)));
        reader.kill();
        within_the_limit(|| writer.join().unwrap()).unwrap();
    });
}

#[test]
fn a_killed_writer_poisons_for_readers_and_writers_until_somebody_recovers() {
    let stage = Stage::new();
    let pair = &stage.pair;
    let writer = stage.child("write_half");
    let mut waiting = [
        stage.sleeping_child("wait_to_read"),
        stage.sleeping_child("wait_to_write"),
        stage.sleeping_child("wait_to_read"),
    ];
    writer.kill();
    within_the_limit(|| waiting.iter_mut().for_each(|w| w.expect("poisoned")));
    assert!(pair.is_poisoned());
    assert!(matches!(pair.read(), Err(Error::Poisoned)));
    assert!(matches!(pair.try_read(), Err(Error::Poisoned)));
    assert!(matches!(pair.read_timeout(LIMIT), Err(Error::Poisoned)));
    assert!(matches!(pair.write(), Err(Error::Poisoned)));
    assert!(matches!(pair.try_write(), Err(Error::Poisoned)));
    assert!(matches!(pair.write_timeout(LIMIT), Err(Error::Poisoned)));
    let mut guard = pair.recover().unwrap();
    assert!(pair.is_poisoned());
    assert!(matches!(pair.try_read(), Err(Error::WouldBlock)));
    assert_eq!(*guard, [1, 0]);
    guard[1] = 1;
    drop(guard);
    assert!(!pair.is_poisoned());
    assert_eq!(*pair.read().unwrap(), [1; 2]);
}

#[test]
fn one_who_only_ever_tries_meets_the_writers_death_too() {
    for role in ["write_half", "recover_for_ever"] {
        let stage = Stage::new();
        stage.child(role).kill();
        assert!(matches!(stage.pair.try_read(), Err(Error::Poisoned)));
        let stage = Stage::new();
        stage.child(role).kill();
        assert!(matches!(stage.pair.try_write(), Err(Error::Poisoned)));
    }
}

#[test]
fn one_that_dies_while_it_mends_leaves_the_doubt() {
    let stage = Stage::new();
    stage.child("write_half").kill();
    let mender = stage.child("recover_for_ever");
    assert!(matches!(stage.pair.try_read(), Err(Error::WouldBlock)));
    mender.kill();
    assert!(matches!(
        within_the_limit(|| stage.pair.read()),
        Err(Error::Poisoned)
    ));
    // A reading from the guard that mended declares it sound, too.
    let read = RwLockWriteGuard::downgrade(stage.pair.recover().unwrap()).unwrap();
    assert!(!stage.pair.is_poisoned());
    drop(stage.pair.read().unwrap());
    drop(read);
}

#[test]
fn a_panic_poisons_when_it_ends_a_write_and_not_when_it_ends_a_reading() {
    let stage = Stage::new();
    let panics = |f: &(dyn Fn() + Sync)| {
        std::thread::scope(|s| assert!(s.spawn(f).join().is_err()));
    };
    panics(&|| {
        let _guard = stage.pair.read().unwrap();
        panic!("on purpose");
    });
    assert!(!stage.pair.is_poisoned());
    drop(stage.pair.try_write().unwrap());
    panics(&|| {
        let _guard = stage.pair.write().unwrap();
        panic!("on purpose");
    });
    assert!(stage.pair.is_poisoned());
    assert!(matches!(stage.pair.read(), Err(Error::Poisoned)));
    drop(stage.pair.recover().unwrap());

    struct DowngradesInDrop<'a>(Option<RwLockWriteGuard<'a, Pair>>);
    impl Drop for DowngradesInDrop<'_> {
        fn drop(&mut self) {
            let guard = self.0.take().unwrap();
            let turned = RwLockWriteGuard::downgrade(guard);
            assert!(matches!(turned, Err(Error::Poisoned)));
        }
    }
    panics(&|| {
        let _guard = DowngradesInDrop(Some(stage.pair.write().unwrap()));
        panic!("on purpose");
    });
    assert!(stage.pair.is_poisoned());
}

#[test]
fn a_guard_that_a_forked_child_inherited_is_inert_and_the_child_joins() {
    if !support::forks_are_noticed() {
        return;
    }
    let stage = Stage::new();
    let mut read = Some(stage.pair.read().unwrap());
    Forked::start(|| {
        drop(read.take());
        // It is the parent's still.
        assert!(matches!(stage.pair.try_write(), Err(Error::WouldBlock)));
        assert_eq!(*stage.pair.read().unwrap(), [0; 2]);
    })
    .finish();
    drop(read.take());
    let mut write = Some(stage.pair.try_write().unwrap());
    Forked::start(|| {
        let write = write.take().unwrap();
        assert!(matches!(
            RwLockWriteGuard::downgrade(write),
            Err(Error::InvalidArgument(_))
        ));
        assert!(matches!(stage.pair.try_read(), Err(Error::WouldBlock)));
    })
    .finish();
    *write.take().unwrap() = [4; 2];
    Forked::start(|| {
        let mut guard = stage.pair.write().unwrap();
        assert_eq!(*guard, [4; 2]);
        *guard = [5; 2];
    })
    .finish();
    assert_eq!(*stage.pair.read().unwrap(), [5; 2]);
    // It ends with the guard in hand.
    Forked::start(|| std::mem::forget(stage.pair.read().unwrap())).finish();
    drop(within_the_limit(|| stage.pair.write()).unwrap());
}

#[test]
fn more_than_sixty_four_members_are_all_seen() {
    let name = Name::new("rwlock-many");
    let seg = commonhold::SegmentOptions::new()
        .capacity(1 << 16)
        .max_members(130)
        .create(&name)
        .unwrap();
    let pair = RwLock::create(&seg, "pair", [0u64; 2]).unwrap();
    let others: Vec<RwLock<Pair>> = (0..129).map(|_| open(&[name.to_string()])).collect();
    for other in others.iter().rev() {
        let read = other.read().unwrap();
        assert!(matches!(pair.try_write(), Err(Error::WouldBlock)));
        assert!(pair.read().is_ok());
        drop(read);
        assert!(pair.try_write().is_ok());
    }
}
