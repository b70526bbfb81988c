//! Waiting for several objects at once.

use crate::support::{
    self, Child, Forked, LIMIT, Name, SHORT_OF_A_NAP, eventually, listen, sleeps, tell,
    this_thread, wait_to_be_killed, waits_on_a_futex, within_the_limit,
};
use commonhold::{Error, Event, Queue, Segment, SegmentOptions, Select, Semaphore, Value};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

fn anonymous() -> Segment {
    Segment::anonymous(1 << 16).unwrap()
}

#[test]
fn what_is_ready_is_named_and_nothing_is_taken() {
    let seg = anonymous();
    let queue = Queue::create(&seg, "queue", 1).unwrap();
    let event = Event::create(&seg, "event").unwrap();
    let semaphore = Semaphore::create(&seg, "semaphore", 1).unwrap();
    let value = Value::create(&seg, "value", 0u64).unwrap();
    queue.send(1).unwrap();
    let permit = semaphore.acquire().unwrap();

    let mut select = Select::new();
    assert!(select.is_empty());
    assert!(matches!(select.try_ready(), Err(Error::InvalidArgument(_))));
    assert!(matches!(select.ready(), Err(Error::InvalidArgument(_))));
    let room = select.send(&queue);
    let set = select.wait(&event);
    let free = select.acquire(&semaphore);
    let changed = select.changed(&value);
    let item = select.recv(&Queue::<u64>::create(&seg, "empty", 1).unwrap());
    assert_eq!(select.len(), 5);
    assert!(matches!(select.try_ready(), Err(Error::WouldBlock)));
    let named = |select: &mut Select| {
        let mut all: Vec<usize> = (0..20).map(|_| select.ready().unwrap()).collect();
        all.sort_unstable();
        all.dedup();
        all
    };

    assert_eq!(queue.recv().unwrap(), 1);
    assert_eq!(named(&mut select), [room]);
    queue.send(2).unwrap();
    event.set();
    assert_eq!(named(&mut select), [set]);
    event.clear();
    drop(permit);
    assert_eq!(named(&mut select), [free]);
    assert_eq!(semaphore.available(), 1);
    let _permit = semaphore.acquire().unwrap();
    // Once for each change that was not yet named.
    value.set(1).unwrap();
    value.set(2).unwrap();
    assert_eq!(select.ready().unwrap(), changed);
    assert!(matches!(select.try_ready(), Err(Error::WouldBlock)));
    value.set(3).unwrap();
    assert_eq!(select.try_ready().unwrap(), changed);
    Queue::<u64>::open(&seg, "empty").unwrap().close();
    assert_eq!(named(&mut select), [item]);
    // Whatever is ready always does not hide the others.
    queue.recv().unwrap();
    event.set();
    assert_eq!(named(&mut select), [room, set, item]);
}

#[test]
fn what_is_removed_is_not_waited_for_and_the_others_keep_their_numbers() {
    let seg = anonymous();
    let queues: Vec<_> = (0..3)
        .map(|i| Queue::<u64>::create(&seg, &i.to_string(), 4).unwrap())
        .collect();
    let mut select = Select::new();
    let numbers: Vec<usize> = queues.iter().map(|q| select.recv(q)).collect();
    // Workers whose queues end, one after another, the first at last.
    for ended in [1, 2, 0] {
        queues[ended].close();
        assert_eq!(select.ready().unwrap(), numbers[ended]);
        assert!(matches!(queues[ended].try_recv(), Err(Error::Closed)));
        assert!(select.remove(numbers[ended]));
        assert!(!select.remove(numbers[ended]));
        if ended != 0 {
            assert!(matches!(select.try_ready(), Err(Error::WouldBlock)));
            queues[0].send(1).unwrap();
            assert_eq!(select.ready().unwrap(), numbers[0]);
            queues[0].recv().unwrap();
        }
    }
    assert!(select.is_empty());
    assert!(matches!(select.try_ready(), Err(Error::InvalidArgument(_))));
    // A number is given once.
    let number = select.recv(&queues[0]);
    assert!(!numbers.contains(&number));
    assert_eq!(select.ready().unwrap(), number);
}

#[test]
fn a_deadline_is_kept() {
    let seg = anonymous();
    let queue = Queue::<u64>::create(&seg, "queue", 1).unwrap();
    let mut select = Select::new();
    select.recv(&queue);
    for ms in [0, 5, 50] {
        let timeout = Duration::from_millis(ms);
        let start = Instant::now();
        assert!(matches!(select.ready_timeout(timeout), Err(Error::Timeout)));
        assert!(start.elapsed() >= timeout);
        assert!(start.elapsed() < timeout + LIMIT);
    }
}

pub(crate) fn select_from_two(args: &[String]) {
    let [one, other] = [0, 1].map(|i| Segment::open(&args[i]).unwrap());
    let queue = Queue::<u64>::open(&one, "queue").unwrap();
    let event = Event::open(&other, "event").unwrap();
    let mut select = Select::new();
    let item = select.recv(&queue);
    select.wait(&event);
    tell("ready");
    loop {
        if select.ready().unwrap() == item {
            if let Ok(n) = queue.try_recv() {
                tell(&format!("item {n}"));
            }
        } else {
            tell("event");
            listen();
            event.clear();
        }
    }
}

#[test]
fn a_process_that_sleeps_on_two_segments_is_woken_by_either() {
    let names = [Name::new("one"), Name::new("other")];
    let segs = [0, 1].map(|i| Segment::create(&names[i], 1 << 16).unwrap());
    let queue = Queue::<u64>::create(&segs[0], "queue", 4).unwrap();
    let event = Event::create(&segs[1], "event").unwrap();
    let mut child = Child::start("select_from_two", &[&names[0], &names[1]]);
    child.expect("ready");
    for round in 0..3 {
        let asleep = || waits_on_a_futex(child.pid());
        eventually(LIMIT, "it sleeps", asleep);
        within_the_limit(|| {
            queue.send(round).unwrap();
            child.expect(&format!("item {round}"));
            event.set();
            child.expect("event");
        });
        child.say("clear it");
        eventually(LIMIT, "it is cleared", || !event.is_set());
    }
    // One that is killed in its sleep holds nothing up.
    eventually(LIMIT, "it sleeps", || waits_on_a_futex(child.pid()));
    child.kill();
    queue.send(9).unwrap();
    assert_eq!(queue.recv_timeout(LIMIT).unwrap(), 9);
}

pub(crate) fn hold_a_permit(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let semaphore = Semaphore::open(&seg, "semaphore").unwrap();
    let _permit = semaphore.acquire().unwrap();
    tell("held");
    wait_to_be_killed();
}

#[test]
fn the_death_of_a_holder_makes_its_semaphore_ready() {
    let name = Name::new("permit");
    let seg = Segment::create(&name, 1 << 16).unwrap();
    let semaphore = Semaphore::create(&seg, "semaphore", 1).unwrap();
    let other = anonymous();
    let event = Event::create(&other, "event").unwrap();
    let mut select = Select::new();
    select.wait(&event);
    let permit = select.acquire(&semaphore);
    // It dies while somebody sleeps, and before anybody looks.
    for asleep in [true, false] {
        let mut child = Child::start("hold_a_permit", &[&name]);
        child.expect("held");
        assert!(matches!(select.try_ready(), Err(Error::WouldBlock)));
        let died = std::thread::scope(|s| {
            let killer = s.spawn(|| {
                if asleep {
                    // Not a moment too early: its first naps are over.
                    std::thread::park_timeout(Duration::from_millis(100));
                }
                child.kill();
                Instant::now()
            });
            if !asleep {
                killer.join().unwrap();
                assert_eq!(select.try_ready().unwrap(), permit);
                return Instant::now();
            }
            assert_eq!(select.ready_timeout(LIMIT).unwrap(), permit);
            killer.join().unwrap()
        });
        assert!(died.elapsed() < SHORT_OF_A_NAP);
        drop(semaphore.try_acquire().unwrap());
    }
}

#[test]
fn more_objects_than_the_kernel_waits_for_are_waited_for() {
    let seg = Segment::anonymous(1 << 20).unwrap();
    let events: Vec<Event> = (0..50)
        .map(|i| Event::create(&seg, &format!("{i}")).unwrap())
        .collect();
    let mut select = Select::new();
    for event in events.iter().cycle().take(200) {
        select.wait(event);
    }
    let queue = Queue::create(&seg, "queue", 1).unwrap();
    let last = select.recv(&queue);
    let short = Duration::from_millis(50);
    let timed = within_the_limit(|| select.ready_timeout(short));
    assert!(matches!(timed, Err(Error::Timeout)));
    let (tell, told) = mpsc::channel();
    std::thread::scope(|s| {
        let selecter = s.spawn(move || {
            tell.send(this_thread()).unwrap();
            select.ready_timeout(LIMIT).unwrap()
        });
        let thread = told.recv().unwrap();
        eventually(LIMIT, "it sleeps", || sleeps(thread));
        within_the_limit(|| {
            queue.send(1u64).unwrap();
            assert_eq!(selecter.join().unwrap(), last);
        });
    });
}

#[test]
fn an_inherited_select_serves_the_child() {
    if !support::forks_are_noticed() {
        return;
    }
    let seg = anonymous();
    let queue = Queue::create(&seg, "queue", 4).unwrap();
    let done = Event::create(&seg, "done").unwrap();
    let mut select = Select::new();
    let item = select.recv(&queue);
    assert!(matches!(select.try_ready(), Err(Error::WouldBlock)));
    let child = Forked::start(|| {
        assert_eq!(select.ready_timeout(LIMIT).unwrap(), item);
        assert_eq!(queue.try_recv().unwrap(), 7u64);
        done.set();
    });
    eventually(LIMIT, "the child is a member and sleeps", || {
        seg.members().iter().any(|m| m.pid == child.0 as u32) && waits_on_a_futex(child.0 as u32)
    });
    queue.send(7).unwrap();
    done.wait_timeout(LIMIT).unwrap();
    child.finish();
}

#[test]
fn an_object_in_a_region_that_is_lost_is_ready_and_its_call_says_so() {
    let name = Name::new("lost");
    drop(Segment::create(&name, 1 << 16).unwrap());
    let guarded = SegmentOptions::new().guard_truncation(true);
    let seg = guarded.open(&name).unwrap();
    let queue = Queue::<u64>::create(&seg, "queue", 4).unwrap();
    let other = anonymous();
    let event = Event::create(&other, "event").unwrap();
    let mut select = Select::new();
    // On both sides of it.
    let set = select.wait(&event);
    let lost = select.recv(&queue);
    let set_too = select.wait(&event);
    let (tell, told) = mpsc::channel();
    std::thread::scope(|s| {
        let selecter = s.spawn(|| {
            tell.send(this_thread()).unwrap();
            select.ready_timeout(LIMIT).map(|i| (i, Instant::now()))
        });
        let thread = told.recv().unwrap();
        eventually(LIMIT, "it sleeps", || sleeps(thread));
        let cut = Instant::now();
        let file = std::fs::OpenOptions::new().write(true).open(name.path());
        file.unwrap().set_len(0).unwrap();
        let (ready, at) = selecter.join().unwrap().unwrap();
        assert_eq!(ready, lost);
        assert!(at - cut < SHORT_OF_A_NAP, "{:?}", at - cut);
    });
    assert!(matches!(queue.try_recv(), Err(Error::Corrupt)));
    // And the others are not held up by it.
    event.set();
    let all: Vec<usize> = (0..6).map(|_| select.ready().unwrap()).collect();
    for index in [set, lost, set_too] {
        assert!(all.contains(&index), "{all:?}");
    }
}

/// Some select among two queues and go away with either; some wait for one alone. Each item goes to one of them, and none waits for
/// long beside a sleeper.
#[test]
fn selecters_and_plain_receivers_share_what_comes() {
    let seg = anonymous();
    let queues = ["a", "b"].map(|name| Queue::<u64>::create(&seg, name, 8).unwrap());
    const EACH: u64 = 3_000;
    let sum = AtomicU64::new(0);
    let slowest = AtomicU64::new(0);
    std::thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                let mut select = Select::new();
                for queue in &queues {
                    select.recv(queue);
                }
                let mut closed = [false; 2];
                while closed != [true; 2] {
                    let i = select.ready().unwrap();
                    match queues[i].try_recv() {
                        Ok(n) => {
                            sum.fetch_add(n, Ordering::Relaxed);
                        }
                        Err(Error::Empty) => {}
                        Err(Error::Closed) => closed[i] = true,
                        Err(e) => panic!("{e}"),
                    }
                }
            });
        }
        for queue in &queues {
            let sum = &sum;
            s.spawn(move || {
                for n in queue {
                    sum.fetch_add(n, Ordering::Relaxed);
                }
            });
        }
        for n in 1..=EACH {
            let start = Instant::now();
            queues[n as usize % 2].send_timeout(n, LIMIT).unwrap();
            // Now and then all are let fall asleep, and then one item must be enough.
            if n % 50 == 0 {
                eventually(LIMIT, "all is received", || {
                    queues.iter().all(Queue::is_empty)
                });
                let took = start.elapsed().as_millis() as u64;
                slowest.fetch_max(took, Ordering::Relaxed);
            }
        }
        queues.iter().for_each(Queue::close);
    });
    assert_eq!(sum.into_inner(), EACH * (EACH + 1) / 2);
    assert!(u128::from(slowest.into_inner()) < SHORT_OF_A_NAP.as_millis());
}

/// Two that sleep on the same thing, which is not there, do not keep each other awake.
#[test]
fn selecters_that_find_nothing_sleep() {
    let seg = anonymous();
    let queue = Queue::<u64>::create(&seg, "queue", 8).unwrap();
    let stop = Event::create(&seg, "stop").unwrap();
    let looks = AtomicU64::new(0);
    let (tell, told) = mpsc::channel();
    std::thread::scope(|s| {
        for _ in 0..3 {
            let tell = tell.clone();
            let (queue, stop, looks) = (&queue, &stop, &looks);
            s.spawn(move || {
                tell.send(this_thread()).unwrap();
                let mut select = Select::new();
                let item = select.recv(queue);
                select.wait(stop);
                while select.ready().unwrap() == item {
                    looks.fetch_add(1, Ordering::Relaxed);
                    let _ = queue.try_recv();
                }
            });
        }
        let threads: Vec<libc::c_long> = told.iter().take(3).collect();
        let all_sleep = || threads.iter().all(|&t| sleeps(t));
        for n in 0..20 {
            eventually(LIMIT, "all sleep", all_sleep);
            queue.send(n).unwrap();
            eventually(LIMIT, "it is received", || queue.is_empty());
        }
        eventually(LIMIT, "all sleep", all_sleep);
        let before = looks.load(Ordering::Relaxed);
        std::thread::park_timeout(Duration::from_millis(200));
        assert_eq!(looks.load(Ordering::Relaxed), before);
        stop.set();
    });
    // One item serves one, and wakes the two others at most once.
    assert!(looks.into_inner() <= 60);
}
