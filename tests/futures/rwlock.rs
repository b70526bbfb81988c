//! Readers and writers that wait without a thread.

use crate::support::{Child, Name, tell, wait_to_be_killed};
use crate::{LONG, anonymous, in_time, in_two_threads, on_each, within};
use commonhold::{Error, RwLock, Segment};
use std::time::Duration;
use tokio::task::JoinSet;

const SHORT: Duration = Duration::from_millis(10);

#[test]
fn readers_and_writers_keep_each_other_out() {
    let seg = anonymous();
    let lock = RwLock::create(&seg, "lock", [0u64; 2]).unwrap();
    const EACH: u64 = 1_000;
    let add = |m: &mut [u64; 2]| {
        m[0] += 1;
        std::hint::spin_loop();
        m[1] += 1;
    };
    let runtime = in_two_threads();
    std::thread::scope(|s| {
        s.spawn(|| {
            for _ in 0..EACH {
                let read = lock.read().unwrap();
                assert_eq!(read[0], read[1]);
                drop(read);
                add(&mut lock.write().unwrap());
            }
        });
        let lock = lock.clone();
        runtime.block_on(async move {
            let mut tasks = JoinSet::new();
            for i in 0..20 {
                let lock = lock.clone();
                tasks.spawn(async move {
                    for n in 0..EACH / 10 {
                        if i % 2 == 0 {
                            add(&mut lock.write_async().await.unwrap());
                        } else {
                            let read = lock.read_async().await.unwrap();
                            assert_eq!(read[0], read[1]);
                        }
                        if n % 8 == 0 {
                            tokio::task::yield_now().await;
                        }
                    }
                });
            }
            within(LONG, tasks.join_all()).await;
        });
    });
    assert_eq!(lock.read().unwrap()[0], 2 * EACH);
}

#[test]
fn a_writer_that_gives_up_lets_readers_in_again() {
    let seg = anonymous();
    let lock = RwLock::create(&seg, "lock", 0u64).unwrap();
    on_each(|runtime| {
        runtime.block_on(async {
            let read = lock.read_async().await.unwrap();
            let writer = lock.clone();
            let mut write = Box::pin(async move { *writer.write_async().await.unwrap() += 1 });
            assert!(tokio::time::timeout(SHORT, &mut write).await.is_err());
            // It waits for the reader, and no other comes in.
            assert!(matches!(lock.try_read(), Err(Error::WouldBlock)));
            assert!(
                tokio::time::timeout(SHORT, lock.read_async())
                    .await
                    .is_err()
            );
            drop(write);
            drop(in_time(lock.read_async()).await.unwrap());
            let writer = lock.clone();
            let write = runtime.spawn(async move { *writer.write_async().await.unwrap() += 1 });
            tokio::time::sleep(SHORT).await;
            drop(read);
            in_time(write).await.unwrap();
        });
    });
    assert_eq!(*lock.read().unwrap(), 2);
}

pub(crate) fn read_or_write(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let lock = RwLock::<u64>::open(&seg, "lock").unwrap();
    if args[1] == "read" {
        let _read = lock.read().unwrap();
        tell("in");
        wait_to_be_killed();
    }
    let _write = lock.write().unwrap();
    tell("in");
    wait_to_be_killed();
}

#[test]
fn a_killed_reader_is_gone_and_a_killed_writer_leaves_a_doubt() {
    let name = Name::new("rwlock");
    let seg = Segment::create(&name, 1 << 16).unwrap();
    let lock = RwLock::create(&seg, "lock", 0u64).unwrap();
    on_each(|runtime| {
        for after in [0, 150] {
            for does in ["read", "write"] {
                let mut child = Child::start("read_or_write", &[&name, does]);
                child.expect("in");
                runtime.block_on(async {
                    let mut tasks = JoinSet::new();
                    for i in 0..20 {
                        let lock = lock.clone();
                        tasks.spawn(async move {
                            if i % 2 == 0 {
                                lock.read_async().await.map(drop)
                            } else {
                                lock.write_async().await.map(drop)
                            }
                        });
                    }
                    tokio::time::sleep(Duration::from_millis(after)).await;
                    child.kill();
                    for result in in_time(tasks.join_all()).await {
                        if does == "read" {
                            result.unwrap();
                        } else {
                            assert!(matches!(result, Err(Error::Poisoned)));
                        }
                    }
                });
                drop(lock.recover().unwrap());
            }
        }
    });
}
