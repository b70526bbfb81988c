//! Messages, pipes, leases, broadcasts, watches and blocks by futures.

use crate::support::{Child, Name, SHORT_OF_A_NAP, tell, wait_to_be_killed};
use crate::{LONG, alone, anonymous, in_time, in_two_threads, on_each, within};
use commonhold::{BlockHandle, BlockPool, Broadcast, Error, Messages, Pipe, Queue, Segment, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// What goes to and fro, each time by another channel: each wait but the last's is ended by the other side.
#[test]
fn each_channel_wakes_those_who_wait_for_it() {
    on_each(|runtime| {
        let seg = anonymous();
        let messages = Messages::create(&seg, "messages", 64).unwrap();
        let queue = Queue::create(&seg, "queue", 1).unwrap();
        let broadcast = Broadcast::create(&seg, "broadcast", 1).unwrap();
        let value = Value::create(&seg, "value", 0u64).unwrap();
        let pipe = Pipe::create(&seg, "pipe", 1000).unwrap();
        let pool = BlockPool::create(&seg, "pool", 1, 64).unwrap();
        let blocks = Queue::<BlockHandle>::create(&seg, "blocks", 1).unwrap();
        let (left, right) = (pipe.left().unwrap(), pipe.right().unwrap());
        let mut every = broadcast.subscribe().unwrap();
        let mut some = broadcast.subscribe_lossy().unwrap();
        let mut watch = value.watch().unwrap();
        const ROUNDS: u64 = 300;
        // One that misses its wake is found by the sweep's bounds at the latest, which is too late here.
        let there = async {
            let publisher = broadcast.publisher().unwrap();
            for n in 0..ROUNDS {
                let bytes = n.to_le_bytes();
                in_time(messages.send_async(&bytes)).await.unwrap();
                tokio::task::yield_now().await;
                in_time(queue.send_async(n)).await.unwrap();
                tokio::task::yield_now().await;
                publisher.try_send(n).unwrap();
                tokio::task::yield_now().await;
                value.set(n).unwrap();
                tokio::task::yield_now().await;
                in_time(left.send_async(&[n as u8; 5000])).await.unwrap();
                let mut block = in_time(pool.loan_async()).await.unwrap();
                block[0] = n as u8;
                block.send(&blocks).unwrap();
                let mut answer = Vec::new();
                in_time(left.recv_async(&mut answer)).await.unwrap();
                assert_eq!(answer, bytes);
            }
        };
        let back = async {
            let mut message = Vec::new();
            for n in 0..ROUNDS {
                in_time(messages.recv_async(&mut message)).await.unwrap();
                assert_eq!(message, n.to_le_bytes());
                let lease = in_time(queue.lease_async()).await.unwrap();
                assert_eq!(*lease, n);
                lease.complete().unwrap();
                assert_eq!(in_time(every.recv_async()).await.unwrap(), n);
                assert_eq!(in_time(some.recv_async()).await.unwrap(), n);
                assert_eq!(in_time(watch.recv_async()).await.unwrap(), n);
                in_time(right.recv_async(&mut message)).await.unwrap();
                assert_eq!(message, [n as u8; 5000]);
                let block = in_time(pool.receive_async(&blocks)).await.unwrap();
                assert_eq!(block[0], n as u8);
                in_time(right.send_async(&n.to_le_bytes())).await.unwrap();
                // The other waits for this block by then, or will.
                drop(block);
            }
        };
        let start = Instant::now();
        runtime.block_on(async { tokio::join!(there, back) });
        eprintln!("{ROUNDS} rounds: {:?}", start.elapsed());
        broadcast.close();
        messages.close();
        runtime.block_on(async {
            let mut message = Vec::new();
            let [a, b] = [every.recv_async().await, some.recv_async().await];
            let c = messages.recv_async(&mut message).await;
            assert!(matches!(
                (a, b, c),
                (Err(Error::Closed), Err(Error::Closed), Err(Error::Closed))
            ));
        });
    });
}

#[cfg(feature = "serde")]
#[test]
fn a_channel_takes_its_values_when_there_is_room() {
    let channel = commonhold::Channel::<Vec<String>>::create(&anonymous(), "c", 100).unwrap();
    on_each(|runtime| {
        runtime.block_on(within(LONG, async {
            let send = async {
                for n in 0..200usize {
                    // The future keeps none of it.
                    let sent = channel.send_async(&vec!["x".into(); n % 40]);
                    in_time(sent).await.unwrap();
                }
            };
            let receive = async {
                for n in 0..200usize {
                    let got = in_time(channel.recv_async()).await.unwrap();
                    assert_eq!(got, vec!["x"; n % 40]);
                }
            };
            tokio::join!(send, receive);
            let long = channel.send_async(&vec!["x".into(); 200]).await;
            assert!(matches!(long, Err(Error::TooLarge { .. })));
        }));
    });
}

/// Senders and receivers of messages of all lengths that give up after a moment, and threads: each message that was sent is had once, and no
/// one waits beside what it waits for.
#[test]
fn cancelling_loses_no_message_and_no_wake() {
    const SENDERS: u64 = 4;
    const EACH: u64 = 2_000;
    let messages = Messages::create(&anonymous(), "messages", 400).unwrap();
    let sum = Arc::new(AtomicU64::new(0));
    let count = |message: &[u8]| u64::from_le_bytes(message[..8].try_into().unwrap());
    let runtime = in_two_threads();
    let start = Instant::now();
    std::thread::scope(|s| {
        s.spawn(|| {
            for message in &messages {
                sum.fetch_add(count(&message), Ordering::Relaxed);
            }
        });
        runtime.block_on(async {
            let mut receivers = JoinSet::new();
            for i in 0..8u64 {
                let (messages, sum) = (messages.clone(), sum.clone());
                receivers.spawn(async move {
                    let mut message = Vec::new();
                    for round in i.. {
                        let patience = Duration::from_micros(round % 7 * 200);
                        let receive = messages.recv_async(&mut message);
                        match tokio::time::timeout(patience, receive).await {
                            Ok(Ok(_)) => drop(sum.fetch_add(count(&message), Ordering::Relaxed)),
                            Ok(Err(Error::Closed)) => return,
                            Ok(Err(e)) => panic!("{e}"),
                            Err(_) => {}
                        }
                    }
                });
            }
            let mut senders = JoinSet::new();
            for i in 0..SENDERS {
                let messages = messages.clone();
                senders.spawn(async move {
                    for n in 1..=EACH {
                        // Short ones and such as need nearly all of it.
                        let mut message = vec![0; [8, 60, 390][(n + i) as usize % 3]];
                        message[..8].copy_from_slice(&n.to_le_bytes());
                        loop {
                            let patience = Duration::from_micros(100 + n % 5 * 300);
                            let send = messages.send_async(&message);
                            if let Ok(sent) = tokio::time::timeout(patience, send).await {
                                break sent.unwrap();
                            }
                            assert!(start.elapsed() < LONG);
                        }
                    }
                });
            }
            within(LONG, senders.join_all()).await;
            messages.close();
            within(LONG, receivers.join_all()).await;
        });
    });
    eprintln!("{} messages: {:?}", SENDERS * EACH, start.elapsed());
    assert_eq!(sum.load(Ordering::Relaxed), SENDERS * EACH * (EACH + 1) / 2);
}

/// A long message that waits for more room, and waited first, does not keep the room from a short one.
#[test]
fn room_is_told_to_each_who_waits_for_some() {
    let messages = Messages::create(&anonymous(), "messages", 100).unwrap();
    let polls = Arc::new(AtomicUsize::new(0));
    on_each(|runtime| {
        polls.store(0, Ordering::Relaxed);
        while messages.try_send(b"").is_ok() {}
        let [long, short] = [vec![1; 100], vec![2; 8]].map(|message| {
            let (messages, polls) = (messages.clone(), polls.clone());
            runtime.spawn(async move {
                let mut send = std::pin::pin!(messages.send_async(&message));
                std::future::poll_fn(|cx| {
                    polls.fetch_add(1, Ordering::Relaxed);
                    send.as_mut().poll(cx)
                })
                .await
            })
        });
        runtime.block_on(async {
            // The one that is spawned first waits first, mostly.
            while polls.load(Ordering::Relaxed) < 2 {
                tokio::task::yield_now().await;
            }
            let mut message = Vec::new();
            for _ in 0..2 {
                messages.recv(&mut message).unwrap();
            }
            in_time(short).await.unwrap().unwrap();
            assert!(!long.is_finished());
            // The long one may come as soon as there is room, while we still look.
            while message.len() != 100 {
                if messages.try_recv(&mut message).is_err() {
                    tokio::task::yield_now().await;
                }
            }
            in_time(long).await.unwrap().unwrap();
        });
    });
}

/// Of a message in pieces whose future is dropped nothing is received, and others have their turn.
#[test]
fn a_large_message_that_is_given_up_is_not_received() {
    let pipe = Pipe::create(&anonymous(), "pipe", 64).unwrap();
    let (left, right) = (pipe.left().unwrap(), pipe.right().unwrap());
    let mut message = Vec::new();
    let mut cx = Context::from_waker(Waker::noop());
    alone().block_on(async {
        for n in 0..20 {
            let mut large = Box::pin(left.send_async(&[1; 1000]));
            assert!(large.as_mut().poll(&mut cx).is_pending());
            // It has the turn, and there is no room either.
            assert!(matches!(left.try_send(b""), Err(Error::Full)));
            let mut receive = Box::pin(right.recv_async(&mut message));
            assert!(receive.as_mut().poll(&mut cx).is_pending());
            if n % 2 == 0 {
                assert!(large.as_mut().poll(&mut cx).is_pending());
            }
            drop(large);
            let (sent, got) = tokio::join!(in_time(left.send_async(b"small")), in_time(receive));
            sent.unwrap();
            assert_eq!(got.unwrap(), 5);
            assert_eq!(message, b"small");
        }
        // One that waits for its turn has it when the other is done.
        let (large, small, got) = tokio::join!(
            in_time(left.send_async(&[2; 3000])),
            in_time(left.send_async(b"behind")),
            async {
                let first = in_time(right.recv_async(&mut message)).await;
                let second = in_time(right.recv_async(&mut message)).await;
                [first.unwrap(), second.unwrap()]
            }
        );
        large.unwrap();
        small.unwrap();
        assert_eq!(got, [3000, 6]);
    });
}

/// [segment]: holds the right end of the pipe, a lease, and a block.
pub(crate) fn hold_channels(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let _end = Pipe::open(&seg, "pipe").unwrap().right().unwrap();
    let _block = BlockPool::open(&seg, "pool").unwrap().loan().unwrap();
    let _lease = Queue::<u64>::open(&seg, "queue").unwrap().lease().unwrap();
    tell("held");
    wait_to_be_killed();
}

#[test]
fn what_the_dead_held_comes_back_to_those_who_wait() {
    on_each(|runtime| {
        let name = Name::new("held");
        let seg = Segment::create(&name, 1 << 18).unwrap();
        let left = Pipe::create(&seg, "pipe", 64).unwrap().left().unwrap();
        let pool = BlockPool::create(&seg, "pool", 1, 64).unwrap();
        let queue = Queue::create(&seg, "queue", 1).unwrap();
        queue.send(7u64).unwrap();
        let mut child = Child::start("hold_channels", &[&name]);
        child.expect("held");
        // No room is left.
        while left.try_send(b"").is_ok() {}
        let mut message = Vec::new();
        runtime.block_on(async {
            let killer = async {
                // Not a moment too early: they wait, and ask no more by themselves.
                tokio::time::sleep(Duration::from_millis(100)).await;
                child.kill();
                Instant::now()
            };
            let (died, block, lease, received, sent, large) = tokio::join!(
                killer,
                within(LONG, pool.loan_async()),
                within(LONG, queue.lease_async()),
                within(LONG, left.recv_async(&mut message)),
                within(LONG, left.send_async(b"x")),
                within(LONG, left.send_async(&[0; 1000])),
            );
            assert!(died.elapsed() < SHORT_OF_A_NAP, "{:?}", died.elapsed());
            drop(block.unwrap());
            let lease = lease.unwrap();
            assert!(lease.redelivered() && *lease == 7);
            assert!(matches!(received, Err(Error::Closed)));
            assert!(matches!(sent, Err(Error::Closed)));
            assert!(matches!(large, Err(Error::Closed)));
        });
    });
}
