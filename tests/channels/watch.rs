//! `Value::watch`.

use crate::support::{
    Child, Forked, LIMIT, Name, eventually, forks_are_noticed, tell, waits_on_a_futex,
};
use commonhold::{Error, Result, Segment, SegmentOptions, Value, Watch};
use std::time::{Duration, Instant};

fn is_empty<T>(r: Result<T>) -> bool {
    matches!(r, Err(Error::Empty))
}

#[test]
fn a_watch_receives_the_latest_value_once() {
    let seg = Segment::anonymous(1 << 16).unwrap();
    let value = Value::create(&seg, "v", 0u64).unwrap();
    value.set(1).unwrap();
    let mut watch = value.watch().unwrap();
    assert!(!watch.has_changed().unwrap() && is_empty(watch.try_recv()));
    value.set(2).unwrap();
    value.update(|n| *n += 1).unwrap();
    let mut other = watch.clone();
    assert!(watch.has_changed().unwrap());
    assert_eq!(watch.get().unwrap(), 3);
    assert_eq!(watch.try_recv().unwrap(), 3);
    assert!(is_empty(watch.try_recv()));
    // To another it is new, and so is an equal value.
    assert_eq!(other.recv().unwrap(), 3);
    value.set(3).unwrap();
    assert_eq!(watch.recv_timeout(LIMIT).unwrap(), 3);
    let (start, d) = (Instant::now(), Duration::from_millis(20));
    assert!(matches!(watch.recv_timeout(d), Err(Error::Timeout)));
    assert!(start.elapsed() >= d);
    assert_eq!(watch.value().get().unwrap(), 3);
    assert!(format!("{watch:?}").contains("Watch"));
}

#[test]
fn watchers_see_no_value_twice_or_torn_and_all_see_the_last() {
    const LAST: u64 = 20_000;
    let seg = Segment::anonymous(1 << 16).unwrap();
    let value = Value::create(&seg, "v", [0u64; 5]).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let mut watch = value.watch().unwrap();
            scope.spawn(move || {
                let mut last = 0;
                for [n, rest @ ..] in &mut watch {
                    assert!(n > last && rest == [n; 4], "{n} {rest:?} after {last}");
                    last = n;
                    if n == LAST {
                        break;
                    }
                }
                assert_eq!(last, LAST);
            });
        }
        for n in 1..=LAST {
            value.set([n; 5]).unwrap();
        }
    });
}

/// [segment]: tells each change.
pub(crate) fn watch_and_tell(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let mut watch = Value::<u64>::open(&seg, "v").unwrap().watch().unwrap();
    tell("ready");
    for n in watch.iter() {
        tell(&n.to_string());
    }
}

/// [segment]: counts up for ever.
pub(crate) fn change_for_ever(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let value = Value::<u64>::open(&seg, "v").unwrap();
    loop {
        value.update(|n| *n += 1).unwrap();
    }
}

#[test]
fn a_watcher_in_another_process_is_woken_and_outlives_writers() {
    let name = Name::new("watch");
    let seg = Segment::create(&name, 1 << 16).unwrap();
    let value = Value::create(&seg, "v", 0u64).unwrap();
    let mut child = Child::start("watch_and_tell", &[&name]);
    child.expect("ready");
    eventually(LIMIT, "it sleeps", || waits_on_a_futex(child.pid()));
    value.set(5).unwrap();
    child.expect("5");
    child.kill();
    let mut watch = value.watch().unwrap();
    for _ in 0..5 {
        let writer = Child::start("change_for_ever", &[&name]);
        let first = watch.recv().unwrap();
        assert!(watch.recv().unwrap() > first);
        writer.kill();
        // Its last one is received, and then nothing.
        let last = value.get().unwrap();
        if watch.has_changed().unwrap() {
            assert_eq!(watch.recv().unwrap(), last);
        }
        assert!(is_empty(watch.try_recv()));
        value.set(last + 1).unwrap();
        assert_eq!(watch.recv_timeout(LIMIT).unwrap(), last + 1);
    }
}

#[test]
fn a_forked_child_watches_on_for_itself() {
    if !forks_are_noticed() {
        return;
    }
    let seg = Segment::anonymous(1 << 16).unwrap();
    let value = Value::create(&seg, "v", 0u64).unwrap();
    let mut watch = value.watch().unwrap();
    let answer = Value::create(&seg, "answer", 0u64).unwrap();
    let child = Forked::start(|| {
        let mut watch = watch.clone();
        answer.set(watch.recv().unwrap()).unwrap();
        assert!(is_empty(watch.try_recv()));
    });
    value.set(7).unwrap();
    child.finish();
    assert_eq!(answer.get().unwrap(), 7);
    assert_eq!(watch.recv().unwrap(), 7);
}

#[test]
fn a_watch_of_a_value_in_a_region_that_is_lost_is_corrupt() {
    let name = Name::new("lost-watch");
    let seg = SegmentOptions::new()
        .capacity(1 << 16)
        .guard_truncation(true)
        .create(&name)
        .unwrap();
    let value = Value::create(&seg, "v", 0u64).unwrap();
    let watch = value.watch().unwrap();
    let is_corrupt = |r: Result<u64>| matches!(r, Err(Error::Corrupt));
    std::thread::scope(|scope| {
        let mut sleeper: Watch<u64> = watch.clone();
        let sleeper = scope.spawn(move || sleeper.recv());
        let file = std::fs::OpenOptions::new().write(true).open(name.path());
        file.unwrap().set_len(0).unwrap();
        assert!(is_corrupt(sleeper.join().unwrap()));
    });
    let mut watch = watch;
    assert!(is_corrupt(watch.try_recv()) && is_corrupt(watch.get()));
    assert!(is_corrupt(watch.recv_timeout(LIMIT)) && is_corrupt(watch.recv()));
    assert!(matches!(watch.has_changed(), Err(Error::Corrupt)));
    assert!(matches!(value.watch(), Err(Error::Corrupt)));
}
