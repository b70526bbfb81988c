//! Files that are cut short under the segments that they hold.

mod handler;
mod received;
mod sleepers;
#[path = "../support/mod.rs"]
mod support;

use commonhold::{
    Array, Atomics, Condvar, Error, Mutex, Queue, Result, RwLock, Segment, SegmentOptions, Value,
};
use handler::{
    be_sent_a_sigbus, meet_a_foreign_fault, pass_on_to_a_handler, pass_on_to_one_that_acts_once,
    touch_unguarded, touch_with_sigbus_blocked, touch_without_leave_for_memory,
};
use received::receive_what_was_cut;
use sleepers::{
    sleep_in_a_child_of_a_condition, wait_behind_a_reader, wait_in_lock, wait_in_recv,
    wait_in_wait, wait_in_wait_until,
};
use std::fs::OpenOptions;
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use support::{
    Child, Forked, LIMIT, Name, SHORT_OF_A_NAP, eventually, listen, tell, waits_on_a_futex,
    within_the_limit,
};

support::roles!(
    use_all,
    wait_in_recv,
    wait_in_wait,
    wait_in_lock,
    wait_behind_a_reader,
    wait_in_wait_until,
    hold_a_guard,
    read_without_end,
    receive_without_end,
    receive_what_was_cut,
    touch_unguarded,
    touch_with_sigbus_blocked,
    touch_without_leave_for_memory,
    meet_a_foreign_fault,
    be_sent_a_sigbus,
    pass_on_to_a_handler,
    fork_after_the_loss,
    open_again_and_again,
    lose_while_holding,
    pass_on_to_one_that_acts_once,
    sleep_in_a_child_of_a_condition,
);

fn guarded() -> SegmentOptions {
    SegmentOptions::new().guard_truncation(true)
}

/// Everything in one segment, opened by somebody who guards it.
struct Opened {
    seg: Segment,
    value: Value<[u64; 4]>,
    array: Array<u64>,
    atomics: Atomics<AtomicU64>,
    mutex: Mutex<[u64; 2]>,
    rwlock: RwLock<[u64; 2]>,
    condvar: Condvar,
    queue: Queue<u64>,
}

fn make(name: &str) -> Segment {
    let seg = Segment::create(name, 1 << 16).unwrap();
    Value::create(&seg, "value", [5u64; 4]).unwrap();
    Array::create(&seg, "array", 2000, 5u64).unwrap();
    Atomics::<AtomicU64>::create(&seg, "atomics", 1).unwrap()[0].store(5, Relaxed);
    Mutex::create(&seg, "mutex", [5u64; 2]).unwrap();
    RwLock::create(&seg, "rwlock", [5u64; 2]).unwrap();
    Condvar::create(&seg, "condvar").unwrap();
    Queue::<u64>::create(&seg, "queue", 8).unwrap();
    seg
}

impl Opened {
    fn of(name: &str) -> Opened {
        let seg = guarded().open(name).unwrap();
        Opened {
            value: Value::open(&seg, "value").unwrap(),
            array: Array::open(&seg, "array").unwrap(),
            atomics: Atomics::open(&seg, "atomics").unwrap(),
            mutex: Mutex::open(&seg, "mutex").unwrap(),
            rwlock: RwLock::open(&seg, "rwlock").unwrap(),
            condvar: Condvar::open(&seg, "condvar").unwrap(),
            queue: Queue::open(&seg, "queue").unwrap(),
            seg,
        }
    }

    /// Each operation, by itself: the loss is found by whichever comes first, `first`.
    fn assert_all_is_corrupt(&self, first: usize) {
        let ops: [(&str, &dyn Fn() -> Result<()>); 21] = [
            ("get", &|| self.value.get().map(drop)),
            ("set", &|| self.value.set([1; 4])),
            ("update", &|| self.value.update(|v| v[0] += 1)),
            ("wait_until", &|| {
                self.value.wait_until(|v| v[0] == 77).map(drop)
            }),
            ("array get", &|| self.array.get(1500).map(drop)),
            ("array set", &|| self.array.set(1, 1)),
            ("to_vec", &|| self.array.to_vec().map(drop)),
            ("lock", &|| self.mutex.lock().map(drop)),
            ("try_lock", &|| self.mutex.try_lock().map(drop)),
            ("recover", &|| self.mutex.recover().map(drop)),
            ("read", &|| self.rwlock.read().map(drop)),
            ("try_read", &|| self.rwlock.try_read().map(drop)),
            ("write", &|| self.rwlock.write().map(drop)),
            ("try_write", &|| self.rwlock.try_write().map(drop)),
            ("recover a rwlock", &|| self.rwlock.recover().map(drop)),
            ("recv", &|| self.queue.recv().map(drop)),
            ("try_recv", &|| self.queue.try_recv().map(drop)),
            ("recv_timeout", &|| {
                self.queue.recv_timeout(Duration::from_millis(1)).map(drop)
            }),
            ("recv_many", &|| {
                self.queue.recv_many(&mut Vec::new(), 3).map(drop)
            }),
            ("open", &|| {
                Value::<[u64; 4]>::open(&self.seg, "value").map(drop)
            }),
            ("create", &|| {
                Value::create(&self.seg, "another", 1u8).map(drop)
            }),
        ];
        for i in 0..ops.len() {
            let (what, op) = ops[(first + i) % ops.len()];
            match op() {
                Err(Error::Corrupt) => {}
                // It may have been done just before the file was cut.
                Ok(()) if i == 0 && what == "set" => {
                    assert!(matches!(op(), Err(Error::Corrupt)), "{what}, again");
                }
                Ok(()) => panic!("{what} (after {first})"),
                Err(e) => panic!("{what} (after {first}): {e}"),
            }
        }
        assert!(matches!(self.queue.send(1), Err(Error::Corrupt)));
        self.condvar.notify_all();
        self.queue.close();
        assert_eq!(self.atomics[0].load(Relaxed), 0);
        assert!(self.seg.objects().is_empty());
        assert!(self.seg.members().is_empty());
    }
}

fn cut(name: &Name, to: u64) {
    let file = OpenOptions::new().write(true).open(name.path()).unwrap();
    file.set_len(to).unwrap();
}

/// Starts a child, cuts its segment short when it is ready, and says so.
fn cut_under(role: &str, to: u64, args: &[&str]) -> Child {
    let mut child = cut_unheard(role, to, args);
    child.say("cut");
    child
}

/// As [`cut_under`], and says nothing: the child finds out by itself, and may have ended by then.
fn cut_unheard(role: &str, to: u64, args: &[&str]) -> Child {
    let name = Name::new("cut");
    // Dropped before the file is cut: it is not guarded.
    drop(make(&name));
    let mut all = vec![&*name];
    all.extend(args);
    let mut child = Child::start(role, &all);
    child.expect("ready");
    cut(&name, to);
    child
}

fn use_all(args: &[String]) {
    let all = Opened::of(&args[0]);
    assert_eq!(all.value.get().unwrap(), [5; 4]);
    tell("ready");
    listen();
    all.assert_all_is_corrupt(args[1].parse().unwrap());
}

#[test]
fn every_operation_says_corrupt_whichever_meets_the_loss_first() {
    for first in 0..21 {
        cut_under("use_all", 0, &[&first.to_string()]).finish();
    }
    // The header, the members and the directory are still there; the objects are not.
    for first in 0..19 {
        cut_under("use_all", 40_960, &[&first.to_string()]).finish();
    }
}

#[test]
fn no_object_is_made_in_a_file_that_was_cut_short() {
    let name = Name::new("regrow");
    let seg = make(&name);
    cut(&name, 40_960);
    assert!(matches!(
        Value::create(&seg, "more", 1u8),
        Err(Error::Corrupt)
    ));
    assert_eq!(name.path().metadata().unwrap().len(), 40_960);
    // The drop touches only what is left.
}

fn hold_a_guard(args: &[String]) {
    let all = Opened::of(&args[0]);
    let mut guard = all.mutex.lock().unwrap();
    tell("ready");
    listen();
    assert_eq!(*guard, [0; 2]);
    guard[0] = 7;
    drop(guard);
    all.assert_all_is_corrupt(0);
}

#[test]
fn a_guard_that_is_held_shows_zeros() {
    cut_under("hold_a_guard", 0, &[]).finish();
}

/// Two threads, so that one reads while the other's fault is dealt with.
fn in_two_threads(args: &[String], until_corrupt: impl Fn(&Opened) + Sync) {
    let all = Opened::of(&args[0]);
    std::thread::scope(|scope| {
        scope.spawn(|| until_corrupt(&all));
        tell("ready");
        until_corrupt(&all);
    });
    all.assert_all_is_corrupt(0);
}

fn read_without_end(args: &[String]) {
    in_two_threads(args, |all| {
        loop {
            match all.value.get() {
                Ok(v) => assert_eq!(v, [5; 4], "made up"),
                Err(Error::Corrupt) => return,
                Err(e) => panic!("{e}"),
            }
        }
    });
}

fn receive_without_end(args: &[String]) {
    in_two_threads(args, |all| {
        loop {
            match all.queue.try_send(5).and_then(|()| all.queue.try_recv()) {
                Ok(n) => assert_eq!(n, 5, "made up"),
                Err(Error::Corrupt) => return,
                Err(Error::Empty | Error::Full) => {}
                Err(e) => panic!("{e}"),
            }
        }
    });
}

#[test]
fn what_is_read_was_never_made_up() {
    for _ in 0..10 {
        cut_unheard("read_without_end", 0, &[]).finish();
        cut_unheard("receive_without_end", 0, &[]).finish();
    }
}

fn fork_after_the_loss(args: &[String]) {
    let all = Opened::of(&args[0]);
    // One is forked before, and meets the loss by itself; its guard is inherited.
    let (mut go, mut wait) = std::os::unix::net::UnixStream::pair().unwrap();
    let before = Forked::start(|| {
        std::io::Read::read_exact(&mut wait, &mut [0]).unwrap();
        all.assert_all_is_corrupt(0);
    });
    tell("ready");
    listen();
    all.assert_all_is_corrupt(4);
    Forked::start(|| all.assert_all_is_corrupt(7)).finish();
    std::io::Write::write_all(&mut go, &[0]).unwrap();
    before.finish();
}

#[test]
fn forked_children_find_it_too() {
    cut_under("fork_after_the_loss", 0, &[]).finish();
}

fn open_again_and_again(args: &[String]) {
    let keep = Opened::of(&args[0]);
    for _ in 0..200 {
        drop(Opened::of(&args[0]));
    }
    let other = Name::new("other");
    for _ in 0..20 {
        drop(make(&other));
        let lost = Opened::of(&other);
        cut(&other, 0);
        lost.assert_all_is_corrupt(0);
        drop(lost);
        std::fs::remove_file(other.path()).unwrap();
        assert_eq!(keep.value.get().unwrap(), [5; 4]);
    }
    tell("ready");
    listen();
    keep.assert_all_is_corrupt(0);
}

#[test]
fn guards_come_and_go() {
    cut_under("open_again_and_again", 0, &[]).finish();
}

#[test]
fn a_deadline_is_kept_whatever_happens_to_the_file() {
    let name = Name::new("deadline");
    drop(make(&name));
    let all = Opened::of(&name);
    let limit = Duration::from_millis(30);
    std::thread::scope(|scope| {
        let timed = scope.spawn(|| {
            let start = Instant::now();
            let got = all.queue.recv_timeout(limit);
            assert!(
                matches!(got, Err(Error::Timeout | Error::Corrupt)),
                "{got:?}"
            );
            start.elapsed()
        });
        cut(&name, 0);
        assert!(timed.join().unwrap() < SHORT_OF_A_NAP);
    });
    all.assert_all_is_corrupt(0);
}

/// The child's sleep ends, and it is no member: of a segment that is whole.
fn lose_while_holding(args: &[String]) {
    let seg = guarded().open(&args[0]).unwrap();
    let early = Mutex::<u64>::open(&seg, "early").unwrap();
    let late = Array::<u64>::open(&seg, "late").unwrap();
    let guard = early.lock().unwrap();
    tell("ready");
    listen();
    assert!(matches!(late.get(7999), Err(Error::Corrupt)));
    drop(guard);
    tell("lost");
    listen();
}

#[test]
fn what_one_held_who_lost_the_region_is_not_held_for_ever() {
    let name = Name::new("held");
    let seg = Segment::create(&name, 1 << 16).unwrap();
    let early = Mutex::create(&seg, "early", 5u64).unwrap();
    Array::create(&seg, "late", 8000, 5u64).unwrap();
    let mut child = Child::start("lose_while_holding", &[&name]);
    child.expect("ready");
    let len = name.path().metadata().unwrap().len();
    cut(&name, len - 16_384);
    child.say("cut");
    child.expect("lost");
    let got = early.lock_timeout(LIMIT).map(|n| *n);
    assert!(matches!(got, Err(Error::Poisoned)), "{got:?}");
    child.say("end");
    child.finish();
}
