//! Those who sleep at one end are woken by the other.

use super::*;

/// [segment]: receives, and tells what, for ever.
pub(crate) fn recv_for_ever(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let mut c = Ring::<u64>::open(&seg, "r").unwrap().consumer().unwrap();
    tell("ready");
    for item in &mut c {
        tell(&item.to_string());
    }
    tell("closed");
}

#[test]
fn a_sleeping_consumer_in_another_process_is_woken_also_by_the_next_producer() {
    let name = Name::new("sleeper");
    let seg = segment(&name);
    let r = Ring::<u64>::create(&seg, "r", 3).unwrap();
    let mut child = Child::start("recv_for_ever", &[&name]);
    child.expect("ready");
    for item in 0..5 {
        let mut p = r.producer().unwrap();
        eventually(LIMIT, "it sleeps", || waits_on_a_futex(child.pid()));
        within_the_limit(|| {
            p.send(item).unwrap();
            child.expect(&item.to_string());
        });
        drop(p);
    }
    eventually(LIMIT, "it sleeps", || waits_on_a_futex(child.pid()));
    r.close();
    child.expect("closed");
    child.finish();
}

#[test]
fn a_wake_up_is_not_lost_between_the_last_look_and_the_sleep() {
    // To and fro, each side pausing about as long as the other spins before it sleeps. A wake-up that is lost costs a nap of 20 ms.
    let (there, back) = (private_ring(1), private_ring(1));
    let all = 8000;
    let one = || {
        let (mut c, mut p) = (there.consumer().unwrap(), back.producer().unwrap());
        for i in 0..all {
            c.recv().unwrap();
            (0..i % 1500).for_each(|_| std::hint::spin_loop());
            p.send(i).unwrap();
        }
    };
    let other = |rounds: &AtomicU32| {
        let (mut p, mut c) = (there.producer().unwrap(), back.consumer().unwrap());
        for i in 0..all {
            p.send(i).unwrap();
            assert_eq!(c.recv().unwrap(), i);
            rounds.fetch_add(1, SeqCst);
        }
    };
    assert_eq!(lost_wake_ups(one, other), 0);
}

/// Runs `test` with functions that the thread of either end calls before it takes it (`true`) and after it: they forbid it membarrier(2), as
/// the filter of a container does, never, before or after, in every combination.
fn where_membarrier_is_forbidden(test: impl Fn(&(dyn Fn(bool) + Sync), &(dyn Fn(bool) + Sync))) {
    let forbid = || forbid(libc::SYS_membarrier, libc::EPERM);
    if !std::thread::spawn(forbid).join().unwrap() {
        eprintln!("SKIPPED: no seccomp here");
        return;
    }
    let never = |_: bool| {};
    let first = |before: bool| assert!(!before || forbid());
    let later = |before: bool| assert!(before || forbid());
    let when: [&(dyn Fn(bool) + Sync); 3] = [&never, &first, &later];
    for one in when {
        for other in when {
            test(one, other);
        }
    }
}

#[test]
fn without_membarrier_no_wake_up_is_lost() {
    where_membarrier_is_forbidden(|one, other| {
        let (there, back) = (private_ring(1), private_ring(1));
        let all = 400;
        let one = || {
            one(true);
            let (mut c, mut p) = (there.consumer().unwrap(), back.producer().unwrap());
            one(false);
            for i in 0..all {
                c.recv().unwrap();
                (0..i % 100 * 20).for_each(|_| std::hint::spin_loop());
                p.send(i).unwrap();
            }
        };
        let other = |rounds: &AtomicU32| {
            other(true);
            let (mut p, mut c) = (there.producer().unwrap(), back.consumer().unwrap());
            other(false);
            for i in 0..all {
                p.send(i).unwrap();
                assert_eq!(c.recv().unwrap(), i);
                rounds.fetch_add(1, SeqCst);
            }
        };
        assert_eq!(lost_wake_ups(one, other), 0);
    });
}

#[test]
fn without_membarrier_a_close_amid_sends_loses_nothing_that_was_accepted() {
    where_membarrier_is_forbidden(|one, other| {
        for round in 0..40 {
            let r = private_ring(3);
            let (sent, got) = std::thread::scope(|s| {
                let sender = s.spawn(|| {
                    one(true);
                    let mut p = r.producer().unwrap();
                    one(false);
                    (0..).take_while(|&i| p.send(i).is_ok()).count()
                });
                let receiver = s.spawn(|| {
                    other(true);
                    let mut c = r.consumer().unwrap();
                    other(false);
                    c.iter().count()
                });
                (0..round * 100).for_each(|_| std::hint::spin_loop());
                r.close();
                (sender.join().unwrap(), receiver.join().unwrap())
            });
            assert_eq!(sent, got);
        }
    });
}
