//! Publishers and subscribers in other processes: killed, forked, asleep, and robbed of their segment.

use super::*;

/// [segment, items]: sends them, marked with this process, from 0.
pub(crate) fn publish(args: &[String]) {
    let of = open(args);
    let publisher = of.publisher().unwrap();
    let me = u64::from(std::process::id()) << 32;
    for n in 0..args[1].parse().unwrap() {
        publisher.send(me | n).unwrap();
    }
}

/// [segment]: receives until it is closed, and tells how many and a checksum of their order.
pub(crate) fn receive_all(args: &[String]) {
    let mut subscriber = open(args).subscribe().unwrap();
    tell("ready");
    tell(&sum_up(&mut subscriber));
}

fn sum_up(subscriber: &mut Subscriber<u64>) -> String {
    let (mut count, mut sum) = (0u64, 0u64);
    let mut items = Vec::new();
    while subscriber.recv_many(&mut items, 7).is_ok() {
        for item in items.drain(..) {
            count += 1;
            sum = sum.wrapping_mul(31).wrapping_add(item);
        }
    }
    assert!(is_closed(subscriber.recv()));
    format!("{count} {sum}")
}

fn open(args: &[String]) -> Broadcast<u64> {
    let seg = Segment::open(&args[0]).unwrap();
    Broadcast::open(&seg, "b").unwrap()
}

fn create(name: &str, capacity: usize) -> Broadcast<u64> {
    let seg = Segment::create(name, 1 << 16).unwrap();
    Broadcast::create(&seg, "b", capacity).unwrap()
}

#[test]
fn threads_and_processes_receive_the_same_items_in_the_same_order() {
    let name = Name::new("order");
    let of = create(&name, 8);
    let mut children = [(); 2].map(|()| Child::start("receive_all", &[&name]));
    children.iter_mut().for_each(|c| c.expect("ready"));
    let [mut a, mut b] = [of.subscribe().unwrap(), of.subscribe().unwrap()];
    let sums = std::thread::scope(|scope| {
        let threads = [
            scope.spawn(move || sum_up(&mut a)),
            scope.spawn(move || sum_up(&mut b)),
        ];
        let publishers = [(); 2].map(|()| Child::start("publish", &[&name, "2000"]));
        let publisher = of.publisher().unwrap();
        publisher.send_all(&[3; 1000]).unwrap();
        publishers.into_iter().for_each(Child::finish);
        of.close();
        threads.map(|t| t.join().unwrap())
    });
    assert!(sums[0].starts_with("5000 "), "{sums:?}");
    assert_eq!(sums[0], sums[1]);
    for mut child in children {
        assert_eq!(child.hear(), sums[0]);
    }
}

/// [segment]: subscribes, and receives as many as it is told to.
pub(crate) fn subscribe_and_wait(args: &[String]) {
    let mut subscriber = open(args).subscribe().unwrap();
    tell("ready");
    loop {
        let count: usize = listen().parse().unwrap();
        for _ in 0..count {
            tell(&subscriber.recv().unwrap().to_string());
        }
        if count == 0 {
            wait_to_be_killed();
        }
    }
}

#[test]
fn publishers_do_not_wait_for_a_killed_subscriber() {
    let name = Name::new("killed");
    let of = create(&name, 2);
    let publisher = of.publisher().unwrap();
    let mut mine = of.subscribe().unwrap();
    let mut dead = Child::start("subscribe_and_wait", &[&name]);
    dead.expect("ready");
    assert_eq!(of.subscribers(), 2);
    publisher.send_all(&[1, 2]).unwrap();
    assert_eq!((mine.recv().unwrap(), mine.recv().unwrap()), (1, 2));
    std::thread::scope(|scope| {
        let sends = [3, 4].map(|i| {
            let publisher = &publisher;
            scope.spawn(move || publisher.send(i))
        });
        // Past the first naps, so that only the watch over deaths finds it.
        assert!(matches!(
            publisher.send_timeout(5, Duration::from_millis(100)),
            Err(Error::Timeout)
        ));
        assert!(sends.iter().all(|s| !s.is_finished()));
        dead.kill();
        within_the_limit(|| {
            for s in sends {
                s.join().unwrap().unwrap();
            }
        });
    });
    assert_eq!(of.subscribers(), 1);
    let mut rest = [mine.recv().unwrap(), mine.recv().unwrap()];
    rest.sort_unstable();
    assert_eq!(rest, [3, 4]);
}

#[test]
fn who_only_ever_tries_finds_out_about_a_killed_subscriber() {
    let name = Name::new("tries");
    let of = create(&name, 1);
    let publisher = of.publisher().unwrap();
    let mut dead = Child::start("subscribe_and_wait", &[&name]);
    dead.expect("ready");
    publisher.send(1).unwrap();
    assert!(is_full(publisher.try_send(2)));
    dead.kill();
    eventually(LIMIT, "its place is free", || publisher.try_send(2).is_ok());
}

#[test]
fn a_killed_subscriber_is_found_while_others_come_and_go() {
    let name = Name::new("coming");
    let of = create(&name, 2);
    let publisher = of.publisher().unwrap();
    let mut dead = Child::start("subscribe_and_wait", &[&name]);
    dead.expect("ready");
    publisher.send_all(&[1, 2]).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(SeqCst) {
                    let mut s = of.subscribe().unwrap();
                    assert!(s.try_recv().is_err() || done.load(SeqCst) || s.is_empty());
                    std::thread::yield_now();
                }
            });
        }
        let sends = scope.spawn(|| publisher.send(3));
        assert!(matches!(
            publisher.send_timeout(4, Duration::from_millis(50)),
            Err(Error::Timeout)
        ));
        dead.kill();
        let died = Instant::now();
        while !sends.is_finished() && died.elapsed() < LIMIT {
            std::thread::yield_now();
        }
        let found = sends.is_finished();
        done.store(true, SeqCst);
        of.close();
        assert!(sends.join().unwrap().is_ok() && found);
    });
}

#[test]
fn the_place_of_a_killed_subscriber_is_given_to_the_next() {
    let name = Name::new("place");
    let seg = SegmentOptions::new()
        .capacity(1 << 16)
        .max_members(2)
        .create(&name)
        .unwrap();
    let of = Broadcast::<u64>::create(&seg, "b", 1).unwrap();
    let _mine = of.subscribe().unwrap();
    let mut dead = Child::start("subscribe_and_wait", &[&name]);
    dead.expect("ready");
    assert!(matches!(of.subscribe(), Err(Error::TooManySubscribers)));
    dead.kill();
    let mut heir = of.subscribe().unwrap();
    of.publisher().unwrap().send(9).unwrap();
    assert_eq!(heir.recv().unwrap(), 9);
}

/// [segment]: sends its process and a number, counting from 0, for ever.
pub(crate) fn publish_for_ever(args: &[String]) {
    let publisher = open(args).publisher().unwrap();
    let me = u64::from(std::process::id()) << 32;
    let mut n = me;
    loop {
        let batch: Vec<u64> = (n..n + 5).collect();
        publisher.send_all(&batch).unwrap();
        n += 5;
    }
}

#[test]
fn what_killed_publishers_sent_is_received_without_a_gap() {
    let name = Name::new("gapless");
    let of = create(&name, 16);
    let mut subscriber = of.subscribe().unwrap();
    let mut lossy = of.subscribe_lossy().unwrap();
    for _ in 0..10 {
        let doomed = [(); 2].map(|()| Child::start("publish_for_ever", &[&name]));
        let mut next = std::collections::HashMap::<u64, u64>::new();
        let mut see = |item: u64| {
            let n = next.entry(item >> 32).or_default();
            assert_eq!(item & 0xFFFF_FFFF, *n, "a gap");
            *n += 1;
        };
        for _ in 0..500 {
            see(subscriber.recv().unwrap());
        }
        doomed.into_iter().for_each(Child::kill);
        // What is left of them, until our own.
        let publisher = of.publisher().unwrap();
        std::thread::scope(|scope| {
            let end = scope.spawn(|| publisher.send(u64::MAX));
            loop {
                match within_the_limit(|| subscriber.recv()).unwrap() {
                    u64::MAX => break,
                    item => see(item),
                }
            }
            end.join().unwrap().unwrap();
        });
        // And a lossy one goes on, too, behind what was overwritten.
        let last = loop {
            match lossy.try_recv() {
                Ok(item) if item == u64::MAX => break item,
                Ok(_) | Err(Error::Lagged(_)) => {}
                Err(e) => panic!("{e}"),
            }
        };
        assert_eq!(last, u64::MAX);
    }
}

/// [segment]: fills the broadcast, and sends one more.
pub(crate) fn fill_and_wait(args: &[String]) {
    let publisher = open(args).publisher().unwrap();
    while publisher.try_send(1).is_ok() {}
    tell("full");
    publisher.send(2).unwrap();
    tell("sent");
}

#[test]
fn who_sleeps_in_another_process_is_woken() {
    let name = Name::new("asleep");
    let of = create(&name, 2);
    let mut receiver = Child::start("subscribe_and_wait", &[&name]);
    receiver.expect("ready");
    receiver.say("1");
    eventually(LIMIT, "it sleeps", || waits_on_a_futex(receiver.pid()));
    let publisher = of.publisher().unwrap();
    publisher.send(7).unwrap();
    within_the_limit(|| receiver.expect("7"));
    let mut mine = of.subscribe().unwrap();
    let mut sender = Child::start("fill_and_wait", &[&name]);
    sender.expect("full");
    eventually(LIMIT, "it sleeps", || waits_on_a_futex(sender.pid()));
    receiver.say("1");
    receiver.expect("1");
    // The other one is as slow.
    assert_eq!(mine.recv().unwrap(), 1);
    within_the_limit(|| sender.expect("sent"));
}

#[test]
fn a_subscriber_that_a_forked_child_inherits_is_inert() {
    if !forks_are_noticed() {
        return;
    }
    let (of, publisher) = make(1);
    let mut lossless = of.subscribe().unwrap();
    let mut lossy = of.subscribe_lossy().unwrap();
    let (go, done) = (AtomicU64::new(0), &of);
    publisher.send(1).unwrap();
    let child = Forked::start(|| {
        for mut s in [
            // SAFETY: a bitwise copy in another process, as the fork itself made one; the original is never dropped there.
            unsafe { std::ptr::read(&lossless) },
            // SAFETY: as above.
            unsafe { std::ptr::read(&lossy) },
        ] {
            assert!(matches!(s.recv(), Err(Error::InvalidArgument(_))));
            assert!(matches!(s.try_recv(), Err(Error::InvalidArgument(_))));
            let many = s.try_recv_many(&mut Vec::new(), 1);
            assert!(matches!(many, Err(Error::InvalidArgument(_))));
            // It is the parent's, whose place stays taken.
            drop(s);
        }
        assert_eq!(done.subscribers(), 1);
        assert!(is_full(publisher.try_send(2)));
        let mut anew = lossless.resubscribe().unwrap();
        assert!(is_empty(anew.try_recv()));
        go.store(1, SeqCst);
        // It dies with a subscription of its own.
        std::mem::forget(anew);
    });
    child.finish();
    assert_eq!(go.load(SeqCst), 0, "the child's memory is its own");
    assert_eq!((lossless.recv().unwrap(), lossy.recv().unwrap()), (1, 1));
    // The child's place is found to be nobody's.
    within_the_limit(|| publisher.send_all(&[2])).unwrap();
    assert_eq!(lossless.recv().unwrap(), 2);
    within_the_limit(|| publisher.send(3)).unwrap();
    assert_eq!(lossless.recv().unwrap(), 3);
}

#[test]
fn a_forked_child_publishes_and_subscribes_in_its_own_name() {
    if !forks_are_noticed() {
        return;
    }
    let (of, publisher) = make(4);
    let mut mine = of.subscribe().unwrap();
    let child = Forked::start(|| {
        let mut its = of.subscribe().unwrap();
        publisher.send(1).unwrap();
        assert_eq!(its.recv().unwrap(), 1);
        assert_eq!(its.recv().unwrap(), 2);
    });
    assert_eq!(mine.recv().unwrap(), 1);
    publisher.send(2).unwrap();
    child.finish();
    assert_eq!(mine.recv().unwrap(), 2);
    assert_eq!(of.subscribers(), 1);
}

fn is_corrupt<T>(r: Result<T>) -> bool {
    matches!(r, Err(Error::Corrupt))
}

/// [segment]: has it cut short under its hands.
pub(crate) fn lose_a_broadcast(args: &[String]) {
    let seg = SegmentOptions::new()
        .guard_truncation(true)
        .open(&args[0])
        .unwrap();
    let of = Broadcast::<u64>::open(&seg, "b").unwrap();
    let publisher = of.publisher().unwrap();
    let [mut full, mut idle] = [(); 2].map(|()| of.subscribe().unwrap());
    publisher.send(1).unwrap();
    assert_eq!(idle.recv().unwrap(), 1);
    let mut lossy = of.subscribe_lossy().unwrap();
    std::thread::scope(|scope| {
        let waits: [std::thread::ScopedJoinHandle<'_, Result<()>>; 3] = [
            scope.spawn(|| publisher.send(2)),
            scope.spawn(|| idle.recv().map(drop)),
            scope.spawn(|| lossy.recv().map(drop)),
        ];
        tell("ready");
        listen();
        for wait in waits {
            assert!(is_corrupt(within_the_limit(|| wait.join().unwrap())));
        }
    });
    assert!(is_corrupt(full.recv()) && is_corrupt(full.try_recv()));
    assert!(is_corrupt(full.try_recv_many(&mut Vec::new(), 1)));
    assert!(is_corrupt(publisher.send(3)) && is_corrupt(publisher.try_send(3)));
    assert!(is_corrupt(of.subscribe()) && is_corrupt(of.subscribe_lossy()));
    assert!(is_corrupt(of.publisher()) && is_corrupt(lossy.resubscribe()));
    // Their drops find nothing to give up.
    drop((full, idle, lossy));
    tell("done");
}

#[test]
fn a_broadcast_in_a_region_that_is_lost_is_corrupt() {
    let name = Name::new("lost");
    create(&name, 1);
    let mut child = Child::start("lose_a_broadcast", &[&name]);
    child.expect("ready");
    eventually(LIMIT, "its threads sleep", || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", child.pid())).unwrap();
        let asleep = |task: &std::fs::DirEntry| {
            let now = std::fs::read_to_string(task.path().join("syscall")).unwrap_or_default();
            let number = now.split(' ').next().and_then(|n| n.parse().ok());
            [libc::SYS_futex, libc::SYS_futex_waitv]
                .map(Some)
                .contains(&number)
        };
        tasks.flatten().filter(asleep).count() >= 3
    });
    let file = std::fs::OpenOptions::new().write(true).open(name.path());
    file.unwrap().set_len(0).unwrap();
    child.say("cut");
    child.expect("done");
    child.finish();
}
