//! Waiting for channels beside each other: what makes each of them ready, and who wakes the one that waits.

use crate::support::{
    Child, LIMIT, Name, Random, eventually, lost_wake_ups, tell, wait_to_be_killed,
    within_the_limit,
};
use commonhold::{
    BlockHandle, BlockPool, Broadcast, Error, Messages, Pipe, Queue, Ring, Segment, Select, Value,
};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

fn anonymous() -> Segment {
    Segment::anonymous(1 << 18).unwrap()
}

/// All that are ready.
fn named(select: &mut Select) -> Vec<usize> {
    let mut all: Vec<usize> = (0..3 * select.len())
        .map_while(|_| select.try_ready().ok())
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

#[test]
fn messages_are_ready_and_so_is_room_for_those_that_fit() {
    let seg = anonymous();
    let messages = Messages::create(&seg, "messages", 100).unwrap();
    let mut select = Select::new();
    let arrival = select.recv(&messages);
    let short = select.send(&messages.room_for(0).unwrap());
    let long = select.send(&messages.room_for(100).unwrap());
    assert!(matches!(
        messages.room_for(101),
        Err(Error::TooLarge { .. })
    ));
    assert_eq!(named(&mut select), [short, long]);
    messages.send(b"a").unwrap();
    assert_eq!(named(&mut select), [arrival, short]);
    while messages.try_send(b"").is_ok() {}
    assert_eq!(named(&mut select), [arrival]);
    let mut message = Vec::new();
    messages.recv(&mut message).unwrap();
    assert_eq!(named(&mut select), [arrival, short]);
    while messages.try_recv(&mut message).is_ok() {}
    assert_eq!(named(&mut select), [short, long]);
    messages.close();
    assert_eq!(named(&mut select), [arrival, short, long]);
}

#[cfg(feature = "serde")]
#[test]
fn a_channel_is_ready_for_a_value_that_fits() {
    let channel = commonhold::Channel::<String>::create(&anonymous(), "channel", 64).unwrap();
    let mut select = Select::new();
    let arrival = select.recv(&channel);
    let long = select.send(&channel.room_for(&"x".repeat(60)).unwrap());
    assert_eq!(named(&mut select), [long]);
    channel.send(&"hello".into()).unwrap();
    assert_eq!(named(&mut select), [arrival]);
    assert_eq!(channel.recv().unwrap(), "hello");
    assert_eq!(named(&mut select), [long]);
}

#[test]
fn the_ends_of_a_ring_are_ready_while_they_are_used() {
    let ring = Ring::<u32>::create(&anonymous(), "ring", 3).unwrap();
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
    let mut select = Select::new();
    let items = select.recv(&consumer);
    let room = select.send(&producer);
    for n in 0..20 {
        assert_eq!(named(&mut select), [room]);
        producer.send(n).unwrap();
        assert_eq!(named(&mut select), [items, room]);
        while producer.try_send(0).is_ok() {}
        assert_eq!(named(&mut select), [items]);
        assert_eq!(consumer.recv().unwrap(), n);
        assert_eq!(named(&mut select), [items, room]);
        while consumer.try_recv().is_ok() {}
    }
    // What is not shown yet can't be received; and there is less room than it seems, until the producer has tried.
    producer.lazy(3);
    for n in 0..2 {
        producer.send(n).unwrap();
    }
    assert_eq!(named(&mut select), [room]);
    producer.flush().unwrap();
    assert_eq!(named(&mut select), [items, room]);
    producer.close();
    while consumer.try_recv().is_ok() {}
    assert_eq!(named(&mut select), [items, room]);
    assert!(matches!(consumer.try_recv(), Err(Error::Closed)));
}

#[test]
fn each_subscriber_and_watch_is_ready_for_what_it_has_not_received() {
    let seg = anonymous();
    let broadcast = Broadcast::<u32>::create(&seg, "broadcast", 4).unwrap();
    let publisher = broadcast.publisher().unwrap();
    let mut every = broadcast.subscribe().unwrap();
    let mut some = broadcast.subscribe_lossy().unwrap();
    let value = Value::create(&seg, "value", 0u32).unwrap();
    let mut watch = value.watch().unwrap();
    let mut select = Select::new();
    let [to_every, to_some, change] =
        [select.recv(&every), select.recv(&some), select.recv(&watch)];
    for n in 1..10 {
        assert_eq!(named(&mut select), []);
        publisher.send(n).unwrap();
        publisher.send(n).unwrap();
        assert_eq!(named(&mut select), [to_every, to_some]);
        every.recv().unwrap();
        assert_eq!(named(&mut select), [to_every, to_some]);
        every.recv().unwrap();
        assert_eq!(named(&mut select), [to_some]);
        value.set(n).unwrap();
        assert_eq!(named(&mut select), [to_some, change]);
        // Another watch has its own.
        let other = watch.clone();
        assert_eq!(watch.recv().unwrap(), n);
        assert!(other.has_changed().unwrap());
        assert_eq!(named(&mut select), [to_some]);
        some.recv().unwrap();
        some.recv().unwrap();
    }
    drop(every);
    // One that is overtaken goes on where there is something.
    (0..9).for_each(|n| publisher.send(n).unwrap());
    assert!(matches!(some.recv(), Err(Error::Lagged(_))));
    while some.try_recv().is_ok() {}
    let mut select = Select::new();
    let to_some = select.recv(&some);
    assert_eq!(named(&mut select), []);
    publisher.send(1).unwrap();
    assert_eq!(named(&mut select), [to_some]);
    some.recv().unwrap();
    broadcast.close();
    assert_eq!(named(&mut select), [to_some]);
}

#[test]
fn a_pipe_is_ready_for_each_part_of_a_message() {
    let pipe = Pipe::create(&anonymous(), "pipe", 64).unwrap();
    let (left, right) = (pipe.left().unwrap(), pipe.right().unwrap());
    let mut select = Select::new();
    let arrival = select.recv(&right);
    let mut message = Vec::new();
    assert_eq!(named(&mut select), []);
    left.send(b"").unwrap();
    assert_eq!(named(&mut select), [arrival]);
    assert_eq!(right.recv(&mut message).unwrap(), 0);
    assert_eq!(named(&mut select), []);
    std::thread::scope(|s| {
        s.spawn(|| left.send(&[7; 10_000]).unwrap());
        loop {
            assert_eq!(select.ready_timeout(LIMIT).unwrap(), arrival);
            match right.try_recv(&mut message) {
                Ok(len) => break assert_eq!(len, 10_000),
                Err(Error::Empty) => {}
                Err(e) => panic!("{e}"),
            }
        }
    });
    // What was taken out and not received is ready, too.
    std::thread::scope(|s| {
        s.spawn(|| left.send(&[8; 1_000]).unwrap());
        assert!(right.poll(LIMIT).unwrap());
    });
    assert_eq!(named(&mut select), [arrival]);
    assert_eq!(right.try_recv(&mut message).unwrap(), 1_000);
    assert_eq!(named(&mut select), []);
    drop(left);
    assert_eq!(named(&mut select), [arrival]);
    assert!(matches!(right.try_recv(&mut message), Err(Error::Closed)));
}

#[test]
fn an_end_is_ready_when_there_is_room_for_the_message_or_nobody_to_send_it_to() {
    let seg = anonymous();
    let pipe = Pipe::create(&seg, "pipe", 100).unwrap();
    let (left, right) = (pipe.left().unwrap(), pipe.right().unwrap());
    let mut select = Select::new();
    let short = select.send(&left.room_for(0).unwrap());
    let long = select.send(&left.room_for(100).unwrap());
    assert!(matches!(
        left.room_for(105),
        Err(Error::TooLarge { requested: 105, .. })
    ));
    assert_eq!(named(&mut select), [short, long]);
    left.try_send(b"1").unwrap();
    assert_eq!(named(&mut select), [short]);
    assert!(matches!(left.try_send(&[2; 100]), Err(Error::Full)));
    while left.try_send(b"").is_ok() {}
    assert_eq!(named(&mut select), []);
    std::thread::scope(|s| {
        s.spawn(|| while right.try_recv(&mut Vec::new()).is_ok() {});
        assert!([short, long].contains(&select.ready_timeout(LIMIT).unwrap()));
    });
    left.try_send(&[2; 100]).unwrap();
    assert_eq!(named(&mut select), []);
    drop(right);
    assert_eq!(named(&mut select), [short, long]);
    assert!(matches!(left.try_send(b""), Err(Error::Closed)));
}

#[test]
fn a_pool_is_ready_when_a_block_is_free() {
    let seg = anonymous();
    let pool = BlockPool::create(&seg, "pool", 2, 64).unwrap();
    let queue = Queue::<BlockHandle>::create(&seg, "queue", 2).unwrap();
    let mut select = Select::new();
    let free = select.loan(&pool);
    let sent = select.recv(&queue);
    let [one, other] = [(); 2].map(|()| pool.try_loan().unwrap());
    assert_eq!(named(&mut select), []);
    one.send(&queue).unwrap();
    assert_eq!(named(&mut select), [sent]);
    let one = pool.try_receive(&queue).unwrap();
    std::thread::scope(|s| {
        let dropper = s.spawn(|| drop(one));
        assert_eq!(select.ready_timeout(LIMIT).unwrap(), free);
        dropper.join().unwrap();
    });
    let _one = pool.try_loan().unwrap();
    // One whose handle nobody can use any more.
    other.send(&queue).unwrap();
    queue.recv().unwrap();
    within_the_limit(|| assert_eq!(select.ready_timeout(LIMIT).unwrap(), free));
}

/// Each item goes to one that is about to fall asleep, by way of another ring each time: a wake-up that is missed costs 20 ms.
#[test]
fn a_ring_wakes_its_selecter_each_time() {
    const ROUNDS: u64 = 20_000;
    let seg = anonymous();
    let rings = ["a", "b", "back"].map(|name| Ring::<u64>::create(&seg, name, 4).unwrap());
    let one = || {
        let mut consumers = [0, 1].map(|i| rings[i].consumer().unwrap());
        let mut back = rings[2].producer().unwrap();
        let mut select = Select::new();
        for consumer in &consumers {
            select.recv(consumer);
        }
        for _ in 0..ROUNDS {
            let i = select.ready_timeout(LIMIT).unwrap();
            back.send(consumers[i].try_recv().unwrap()).unwrap();
        }
    };
    let other = |rounds: &AtomicU32| {
        let mut producers = [0, 1].map(|i| rings[i].producer().unwrap());
        let mut back = rings[2].consumer().unwrap();
        let mut select = Select::new();
        select.recv(&back);
        let mut random = Random::new();
        for n in 0..ROUNDS {
            // About as long as it takes the other to fall asleep.
            let start = Instant::now();
            let pause = Duration::from_nanos(random.below(60_000));
            while start.elapsed() < pause {
                std::hint::spin_loop();
            }
            producers[n as usize % 2].send(n).unwrap();
            select.ready_timeout(LIMIT).unwrap();
            assert_eq!(back.try_recv().unwrap(), n);
            rounds.fetch_add(1, Ordering::SeqCst);
        }
    };
    assert_eq!(lost_wake_ups(one, other), 0);
}

/// [segment]: holds the right end, and a block.
pub(crate) fn hold_an_end(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let _end = Pipe::open(&seg, "pipe").unwrap().right().unwrap();
    let _block = BlockPool::open(&seg, "pool").unwrap().loan().unwrap();
    tell("held");
    wait_to_be_killed();
}

/// One that never sleeps, or is woken again and again for nothing, asks after its peers all the same.
#[test]
fn a_death_is_found_beside_traffic() {
    for in_vain in [false, true] {
        let name = Name::new("traffic");
        let seg = Segment::create(&name, 1 << 18).unwrap();
        let left = Pipe::create(&seg, "pipe", 64).unwrap().left().unwrap();
        let pool = BlockPool::create(&seg, "pool", 1, 64).unwrap();
        let mut child = Child::start("hold_an_end", &[&name]);
        child.expect("held");
        // What is in another segment's traffic tells nothing of a death.
        let other = anonymous();
        let queue = Queue::<u64>::create(&other, "queue", 8).unwrap();
        // There is never room for a long one: who waits for that is woken in vain.
        let messages = Messages::create(&other, "messages", 100).unwrap();
        messages.send(b"").unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|s| {
            s.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    if in_vain {
                        messages.send(b"").unwrap();
                        messages.recv(&mut Vec::new()).unwrap();
                    } else {
                        let _ = queue.try_send(1);
                    }
                    std::thread::park_timeout(Duration::from_micros(200));
                }
            });
            let mut select = Select::new();
            let item = select.recv(&queue);
            select.send(&messages.room_for(100).unwrap());
            let gone = select.recv(&left);
            let free = select.loan(&pool);
            let mut found = [false; 2];
            let start = Instant::now();
            s.spawn(|| {
                // Not a moment too early: one that begins to wait asks.
                std::thread::park_timeout(Duration::from_millis(50));
                child.kill();
            });
            while found != [true; 2] && start.elapsed() < LIMIT {
                match select.ready_timeout(LIMIT).unwrap() {
                    i if i == item => drop(queue.try_recv()),
                    i if i == gone => found[0] = true,
                    i if i == free => found[1] = true,
                    i => panic!("{i}"),
                }
            }
            stop.store(true, Ordering::Relaxed);
            assert_eq!(found, [true; 2]);
        });
        let end = left.try_recv(&mut Vec::new());
        assert!(matches!(end, Err(Error::Closed)));
        assert!(pool.try_loan().is_ok());
    }
}

/// A message in a ring serves one of those who wait for it, whichever way.
#[test]
fn selecters_and_receivers_share_messages() {
    let seg = anonymous();
    let messages = Messages::create(&seg, "messages", 256).unwrap();
    let done = Messages::create(&seg, "done", 256).unwrap();
    std::thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                let mut select = Select::new();
                select.recv(&messages);
                let mut message = Vec::new();
                loop {
                    select.ready_timeout(LIMIT).unwrap();
                    match messages.try_recv(&mut message) {
                        Ok(_) => done.send(&message).unwrap(),
                        Err(Error::Empty) => {}
                        Err(Error::Closed) => break,
                        Err(e) => panic!("{e}"),
                    }
                }
            });
            s.spawn(|| {
                for message in &messages {
                    done.send(&message).unwrap();
                }
            });
        }
        let mut message = Vec::new();
        let start = Instant::now();
        for round in 0..2_000u32 {
            let sent = round.to_le_bytes();
            messages.send(&sent).unwrap();
            done.recv_timeout(&mut message, LIMIT).unwrap();
            assert_eq!(message, sent);
        }
        eprintln!("2,000 messages: {:?}", start.elapsed());
        messages.close();
        eventually(LIMIT, "it is drained", || messages.is_empty());
    });
}
