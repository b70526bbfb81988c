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
