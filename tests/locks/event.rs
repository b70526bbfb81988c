use crate::is_a_handle;
use crate::support::{
    self, Child, Forked, LIMIT, Name, SHORT_OF_A_NAP, eventually, listen, tell, waits_on_a_futex,
    within_the_limit,
};
use commonhold::{Error, Event, Mutex, Segment};
use std::time::{Duration, Instant};

#[test]
fn a_manual_event_stays_set_until_it_is_cleared() {
    let seg = Segment::anonymous(1 << 12).unwrap();
    let e = Event::create(&seg, "e").unwrap();
    is_a_handle(&e);
    assert!(!e.is_set() && !e.is_auto_reset());
    assert!(matches!(e.try_wait(), Err(Error::WouldBlock)));
    e.set();
    e.set();
    for _ in 0..3 {
        e.wait().unwrap();
        e.try_wait().unwrap();
        e.wait_timeout(Duration::ZERO).unwrap();
    }
    assert!(e.is_set());
    e.clear();
    assert!(!e.is_set());
    assert!(matches!(e.try_wait(), Err(Error::WouldBlock)));
}

#[test]
fn an_automatic_event_lets_one_through_for_each_set() {
    let seg = Segment::anonymous(1 << 12).unwrap();
    let e = Event::create_auto_reset(&seg, "e").unwrap();
    let waits: [fn(&Event) -> commonhold::Result<()>; 3] = [Event::wait, Event::try_wait, |e| {
        e.wait_timeout(Duration::ZERO)
    }];
    for wait in waits {
        e.set();
        assert!(e.is_set());
        wait(&e).unwrap();
        assert!(!e.is_set());
        assert!(matches!(e.try_wait(), Err(Error::WouldBlock)));
    }
    // Set twice is set.
    e.set();
    e.set();
    e.wait().unwrap();
    assert!(matches!(e.try_wait(), Err(Error::WouldBlock)));
    e.set();
    e.clear();
    assert!(matches!(e.try_wait(), Err(Error::WouldBlock)));
}

#[test]
fn each_kind_of_event_is_found_by_its_own_verbs_and_either_by_open() {
    let seg = Segment::anonymous(1 << 12).unwrap();
    let manual = Event::open_or_create(&seg, "manual").unwrap();
    let auto = Event::open_or_create_auto_reset(&seg, "auto").unwrap();
    assert!(!Event::open(&seg, "manual").unwrap().is_auto_reset());
    assert!(Event::open(&seg, "auto").unwrap().is_auto_reset());
    auto.set();
    Event::open(&seg, "auto").unwrap().wait().unwrap();
    assert!(!auto.is_set() && !manual.is_set());
    let mismatch = |got: commonhold::Result<Event>, expected: &str, found: &str| match got {
        Err(Error::TypeMismatch {
            expected: e,
            found: f,
            ..
        }) => assert_eq!((&*e, &*f), (expected, found)),
        other => panic!("{other:?}"),
    };
    let (one, other) = ("an Event (ManualReset)", "an Event (AutoReset)");
    mismatch(Event::open_or_create(&seg, "auto"), one, other);
    mismatch(Event::open_or_create_auto_reset(&seg, "manual"), other, one);
    Mutex::create(&seg, "mutex", 0u8).unwrap();
    let mutex = "a Mutex<u8> (1 bytes each, aligned to 1)";
    mismatch(Event::open(&seg, "mutex"), "an Event", mutex);
    assert!(matches!(Event::open(&seg, "none"), Err(Error::NotFound)));
    assert!(matches!(
        Event::create(&seg, "auto"),
        Err(Error::AlreadyExists)
    ));
}

#[test]
fn a_timed_wait_ends_at_its_deadline_and_not_before() {
    let seg = Segment::anonymous(1 << 12).unwrap();
    for e in [
        Event::create(&seg, "manual").unwrap(),
        Event::create_auto_reset(&seg, "auto").unwrap(),
    ] {
        for ms in [0, 1, 60] {
            let (start, d) = (Instant::now(), Duration::from_millis(ms));
            assert!(matches!(e.wait_timeout(d), Err(Error::Timeout)));
            let took = start.elapsed();
            assert!(d <= took && took < d + LIMIT, "{took:?}");
        }
    }
}

const ROUNDS: u32 = 20_000;

pub(crate) fn answer(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let [ball, back] = ["ball", "back"].map(|name| Event::open(&seg, name).unwrap());
    for _ in 0..ROUNDS {
        ball.wait().unwrap();
        back.set();
    }
}

#[test]
fn two_processes_throw_a_ball_back_and_forth() {
    let name = Name::new("ball");
    let seg = Segment::create(&name, 1 << 12).unwrap();
    let [ball, back] = ["ball", "back"].map(|name| Event::create_auto_reset(&seg, name).unwrap());
    let other = Child::start("answer", &[&name]);
    for n in 0..ROUNDS {
        ball.set();
        back.wait_timeout(LIMIT)
            .unwrap_or_else(|e| panic!("{n}: {e}"));
    }
    other.finish();
    assert!(!ball.is_set() && !back.is_set());
}

const THREADS: usize = 4;

pub(crate) fn wait_in_threads(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let event = Event::open(&seg, "e").unwrap();
    tell("ready");
    std::thread::scope(|s| {
        (0..THREADS).for_each(|_| drop(s.spawn(|| event.wait().unwrap())));
    });
}

#[test]
fn one_set_lets_all_threads_of_all_processes_through() {
    let name = Name::new("gate");
    let seg = Segment::create(&name, 1 << 12).unwrap();
    let e = Event::create(&seg, "e").unwrap();
    let mut children: Vec<_> = (0..3)
        .map(|_| Child::start("wait_in_threads", &[&name]))
        .collect();
    for child in &mut children {
        child.expect("ready");
        // The main thread waits for the others, by a futex too.
        eventually(LIMIT, "all sleep", || waits_on_a_futex(child.pid()));
    }
    e.set();
    within_the_limit(|| children.into_iter().for_each(Child::finish));
}

/// A pulse: whether those who sleep are quick enough to see it set is not the question.
#[test]
fn a_set_that_is_cleared_at_once_lets_all_through_who_wait() {
    let name = Name::new("pulse");
    let seg = Segment::create(&name, 1 << 12).unwrap();
    let e = Event::create(&seg, "e").unwrap();
    for _ in 0..5 {
        let mut children: Vec<_> = (0..2)
            .map(|_| Child::start("wait_in_threads", &[&name]))
            .collect();
        for child in &mut children {
            child.expect("ready");
            eventually(LIMIT, "all sleep", || waits_on_a_futex(child.pid()));
        }
        e.set();
        e.clear();
        eventually(SHORT_OF_A_NAP, "all are through", || {
            children.iter_mut().all(|c| c.has_ended().is_some())
        });
        children.into_iter().for_each(Child::finish);
        assert!(!e.is_set());
    }
}

pub(crate) fn wait_then_tell(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let event = Event::open(&seg, "e").unwrap();
    loop {
        tell("waits");
        event.wait().unwrap();
        tell("through");
        listen();
    }
}

/// The moment of the kill differs from round to round: before it woke, before it took its turn, after it.
#[test]
fn a_waiter_killed_when_it_is_let_through_takes_no_turn_but_its_own() {
    let name = Name::new("turn");
    let seg = Segment::create(&name, 1 << 12).unwrap();
    let e = Event::create_auto_reset(&seg, "e").unwrap();
    let start = || {
        let mut child = Child::start("wait_then_tell", &[&name]);
        child.expect("waits");
        eventually(LIMIT, "it sleeps", || waits_on_a_futex(child.pid()));
        child
    };
    let mut heir = start();
    for round in 0..30 {
        let victim = start();
        e.set();
        (0..round * 100).for_each(|_| std::hint::spin_loop());
        victim.kill();
        // The set was the victim's, or it is the heir's: it must not lie there.
        eventually(SHORT_OF_A_NAP, "somebody takes it", || !e.is_set());
        e.set();
        heir.expect("through");
        // Two sets: if the victim took none, the heir may have seen them as one or as two.
        e.clear();
        heir.say("again");
        heir.expect("waits");
        eventually(LIMIT, "it sleeps", || waits_on_a_futex(heir.pid()));
    }
}

#[test]
fn a_forked_child_waits_and_sets_in_its_own_name() {
    if !support::forks_are_noticed() {
        return;
    }
    let seg = Segment::anonymous(1 << 12).unwrap();
    let [there, back] = ["there", "back"].map(|name| Event::create_auto_reset(&seg, name).unwrap());
    let child = Forked::start(|| {
        there.wait().unwrap();
        assert_eq!(seg.members().iter().filter(|m| m.alive).count(), 2);
        back.set();
    });
    there.set();
    back.wait_timeout(LIMIT).unwrap();
    child.finish();
}
