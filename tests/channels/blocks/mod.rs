//! `BlockPool`.

mod deaths;

use crate::support::{
    Child, Forked, LIMIT, Name, Random, eventually, forks_are_noticed, listen, tell,
    two_have_one_each, wait_to_be_killed, waits_on_a_futex, within_the_limit,
};
use commonhold::{
    Atomics, Block, BlockHandle, BlockPool, BlockSendError, Error, Queue, Result, Segment,
    SegmentOptions,
};
pub(crate) use deaths::{
    consume_blocks, hold_blocks, lose_blocks, produce_blocks, share_blocks, wait_for_a_block,
};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(20);

type Handles = Queue<BlockHandle>;

fn segment(name: &str) -> Segment {
    Segment::create(name, 1 << 20).unwrap()
}

/// A pool of so many blocks of 1,000 bytes, and a queue for all of them.
fn pool(seg: &Segment, count: usize) -> (BlockPool, Handles) {
    let pool = BlockPool::create(seg, "pool", count, 1000).unwrap();
    (pool, Queue::create(seg, "queue", count).unwrap())
}

fn find(seg: &Segment) -> (BlockPool, Handles) {
    let pool = BlockPool::open(seg, "pool").unwrap();
    (pool, Queue::open(seg, "queue").unwrap())
}

/// Each block can be had, one by one.
fn all_are_there(pool: &BlockPool) {
    let all: Vec<Block> = (0..pool.count())
        .map(|_| pool.try_loan().unwrap())
        .collect();
    assert!(matches!(pool.try_loan(), Err(Error::WouldBlock)));
    drop(all);
    assert_eq!(pool.available(), pool.count());
}

#[test]
fn a_block_is_loaned_filled_sent_read_in_place_and_free_again() {
    let seg = Segment::anonymous(1 << 20).unwrap();
    let (pool, queue) = pool(&seg, 2);
    assert_eq!((pool.count(), pool.block_bytes()), (2, 1000));
    let mut a = pool.loan().unwrap();
    assert_eq!((a.len(), a.capacity(), pool.available()), (1000, 1000, 1));
    a[..5].copy_from_slice(b"hello");
    a.set_len(5).unwrap();
    let at = a.as_ptr();
    let b = pool.loan_timeout(SHORT).unwrap();
    assert!(matches!(pool.try_loan(), Err(Error::WouldBlock)));
    let start = Instant::now();
    assert!(matches!(pool.loan_timeout(SHORT), Err(Error::Timeout)));
    assert!(matches!(pool.try_receive(&queue), Err(Error::Empty)));
    let timed = pool.receive_timeout(&queue, SHORT);
    assert!(matches!(timed, Err(Error::Timeout)));
    assert!(start.elapsed() >= 2 * SHORT);
    a.send(&queue).unwrap();
    b.try_send(&queue).unwrap();
    // In the queue they are nobody's, and not free.
    assert!(matches!(pool.try_loan(), Err(Error::WouldBlock)));
    let a = pool.receive(&queue).unwrap();
    assert_eq!(
        (&a[..], a.as_ptr(), a.capacity()),
        (&b"hello"[..], at, 1000)
    );
    let b = pool.try_receive(&queue).unwrap();
    assert_eq!((b.len(), pool.available()), (1000, 0));
    drop(a);
    // What was free last is loaned first.
    assert_eq!(pool.loan().unwrap().as_ptr(), at);
    drop(b);
    all_are_there(&pool);
}

#[test]
fn only_the_bytes_that_count_are_shown_and_the_others_stay() {
    let seg = Segment::anonymous(1 << 20).unwrap();
    let (pool, queue) = pool(&seg, 1);
    let mut block = pool.loan().unwrap();
    block.fill(7);
    block.set_len(0).unwrap();
    assert!(block.is_empty());
    block.send_timeout(&queue, LIMIT).unwrap();
    let mut block = pool.receive_timeout(&queue, LIMIT).unwrap();
    assert!(block.is_empty());
    match block.set_len(1001) {
        Err(Error::TooLarge { requested, limit }) => assert_eq!((requested, limit), (1001, 1000)),
        other => panic!("{other:?}"),
    }
    block.set_len(1000).unwrap();
    assert!(block.iter().all(|&b| b == 7));
}

#[test]
fn blocks_begin_at_lines_and_large_ones_at_pages_and_do_not_overlap() {
    let seg = Segment::anonymous(1 << 20).unwrap();
    for (bytes, align) in [(1, 64), (64, 64), (4095, 64), (4096, 4096), (5000, 4096)] {
        let pool = BlockPool::create(&seg, &format!("of {bytes}"), 3, bytes).unwrap();
        let mut blocks = [(); 3].map(|()| pool.loan().unwrap());
        for (i, block) in blocks.iter_mut().enumerate() {
            assert_eq!(block.as_ptr() as usize % align, 0);
            assert_eq!(block.len(), bytes);
            block.fill(i as u8 + 1);
        }
        for (i, block) in blocks.iter().enumerate() {
            assert!(block.iter().all(|&b| b == i as u8 + 1));
        }
    }
}

#[test]
fn a_pool_is_found_by_its_name_and_refused_where_another_was_meant() {
    let seg = Segment::anonymous(1 << 20).unwrap();
    assert!(matches!(BlockPool::open(&seg, "p"), Err(Error::NotFound)));
    let made = BlockPool::open_or_create(&seg, "p", 3, 5000).unwrap();
    let again = BlockPool::create(&seg, "p", 3, 5000);
    assert!(matches!(again, Err(Error::AlreadyExists)));
    let found = BlockPool::open(&seg, "p").unwrap();
    assert_eq!((found.count(), found.block_bytes()), (3, 5000));
    let block = found.loan().unwrap();
    assert_eq!(made.available(), 2);
    assert_eq!(block.pool().count(), 3);
    BlockPool::open_or_create(&seg, "p", 3, 5000).unwrap();
    for (count, bytes) in [(2, 5000), (3, 5001)] {
        match BlockPool::open_or_create(&seg, "p", count, bytes) {
            Err(Error::TypeMismatch {
                expected, found, ..
            }) => {
                let said = "a BlockPool<[u8]> of 3 (5000 bytes each, aligned to 4096)";
                assert_eq!(found, said);
                assert!(expected.contains(&format!("of {count} ({bytes} bytes")));
            }
            other => panic!("{other:?}"),
        }
    }
    Queue::<u64>::create(&seg, "q", 1).unwrap();
    let queue = BlockPool::open(&seg, "q");
    assert!(matches!(queue, Err(Error::TypeMismatch { .. })));
    let pool = Queue::<u64>::open(&seg, "p");
    assert!(matches!(pool, Err(Error::TypeMismatch { .. })));
    let invalid = |r: Result<BlockPool>| assert!(matches!(r, Err(Error::InvalidArgument(_))));
    invalid(BlockPool::create(&seg, "none", 0, 1));
    invalid(BlockPool::open_or_create(&seg, "empty", 1, 0));
    let no_room = BlockPool::create(&seg, "large", 1 << 20, 1);
    assert!(matches!(no_room, Err(Error::OutOfSpace { .. })));
    for (count, bytes) in [(1, usize::MAX), (usize::MAX, 1), (1 << 30, usize::MAX / 4)] {
        let made = BlockPool::create(&seg, "huge", count, bytes);
        let refused = matches!(made, Err(Error::TooLarge { .. } | Error::OutOfSpace { .. }));
        assert!(refused, "{made:?}");
    }
    assert!(format!("{made:?} {block:?}").contains("BlockPool"));
    fn is_a_handle<T: Clone + Send + Sync + std::fmt::Debug + 'static>(_: &T) {}
    fn may_travel<T: Send + Sync + 'static>(_: &T) {}
    is_a_handle(&made);
    may_travel(&block);
}

#[test]
fn a_block_that_cannot_be_sent_comes_back_to_its_sender() {
    let seg = Segment::anonymous(1 << 20).unwrap();
    let pool = BlockPool::create(&seg, "pool", 2, 10).unwrap();
    let queue = Handles::create(&seg, "queue", 1).unwrap();
    pool.loan().unwrap().send(&queue).unwrap();
    let mut block = pool.loan().unwrap();
    block.copy_from_slice(b"0123456789");
    block.set_len(4).unwrap();
    let full = block.try_send(&queue).unwrap_err();
    assert!(matches!(full.error, Error::Full) && full.to_string().contains("full"));
    let late = full.block.send_timeout(&queue, SHORT).unwrap_err();
    assert!(matches!(late.error, Error::Timeout));
    queue.close();
    let closed = late.block.send(&queue).unwrap_err();
    assert!(matches!(closed.error, Error::Closed));
    let elsewhere = Segment::anonymous(1 << 16).unwrap();
    let strange = Handles::create(&elsewhere, "queue", 1).unwrap();
    let strange_send = closed.block.send(&strange).unwrap_err();
    assert!(matches!(strange_send.error, Error::InvalidArgument(_)));
    let strange_receive = pool.try_receive(&strange);
    assert!(matches!(strange_receive, Err(Error::InvalidArgument(_))));
    assert_eq!(&strange_send.block[..], b"0123");
    // Closed, and not yet drained.
    drop(pool.receive(&queue).unwrap());
    assert!(matches!(pool.receive(&queue), Err(Error::Closed)));
    assert!(matches!(pool.try_receive(&queue), Err(Error::Closed)));
    let by_question_mark = |unsent: BlockSendError| -> Result<()> { Err(unsent)? };
    let error = by_question_mark(strange_send);
    assert!(matches!(error, Err(Error::InvalidArgument(_))));
    all_are_there(&pool);
}

#[test]
fn a_received_block_is_changed_and_passed_on_and_outlives_the_handles() {
    let name = Name::new("relay");
    let seg = segment(&name);
    let (pool, queue) = pool(&seg, 2);
    let relayed = Handles::create(&seg, "relayed", 1).unwrap();
    let relay = std::thread::spawn({
        // Another attachment: by another name, in the same segment.
        let seg = Segment::open(&name).unwrap();
        let (pool, queue) = find(&seg);
        let relayed = Handles::open(&seg, "relayed").unwrap();
        move || {
            while let Ok(mut block) = pool.receive(&queue) {
                block[0] += 1;
                block.send(&relayed).unwrap();
            }
        }
    });
    for i in 0..100 {
        let mut block = pool.loan().unwrap();
        block[0] = i;
        block.send(&queue).unwrap();
        let block = pool.receive(&relayed).unwrap();
        assert_eq!(block[0], i + 1);
    }
    queue.close();
    relay.join().unwrap();
    all_are_there(&pool);
    let mut block = pool.loan().unwrap();
    drop((pool, queue, relayed, seg));
    block.fill(9);
    let seg = Segment::open(&name).unwrap();
    let (pool, _) = find(&seg);
    assert_eq!(pool.available(), 1);
    drop(block);
    assert_eq!(pool.available(), 2);
}

#[test]
fn a_handle_that_is_taken_out_serves_nobody_and_its_block_comes_back() {
    let seg = Segment::anonymous(1 << 20).unwrap();
    let (pool, queue) = pool(&seg, 3);
    let second = Handles::create(&seg, "second", 3).unwrap();
    for queue in [&queue, &queue, &second] {
        pool.loan().unwrap().send(queue).unwrap();
    }
    let lost = queue.recv().unwrap();
    let block = pool.try_loan().unwrap();
    // The others stand in their queues.
    assert!(matches!(pool.loan_timeout(SHORT), Err(Error::Timeout)));
    queue.send(lost).unwrap();
    drop(pool.receive(&queue).unwrap());
    let nothing = pool.try_receive(&queue);
    assert!(matches!(nothing, Err(Error::Empty)), "{nothing:?}");
    drop((block, pool.receive(&second).unwrap()));
    all_are_there(&pool);
}

#[test]
fn a_waiter_finds_the_block_of_a_handle_that_is_taken_out_meanwhile() {
    let seg = Segment::anonymous(1 << 20).unwrap();
    let (pool, queue) = pool(&seg, 1);
    pool.loan().unwrap().send(&queue).unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| pool.loan_timeout(LIMIT).map(drop));
        assert!(matches!(pool.try_loan(), Err(Error::WouldBlock)));
        queue.recv().unwrap();
        waiter.join().unwrap().unwrap();
    });
}

#[test]
fn the_block_of_a_lost_handle_is_found_however_many_queues_are_in_use() {
    const QUEUES: usize = 20;
    let seg = Segment::anonymous(1 << 20).unwrap();
    let pool = BlockPool::create(&seg, "pool", QUEUES, 64).unwrap();
    let queues = [(); QUEUES].map(|()| pool.loan().unwrap()).map(|block| {
        let name = format!("queue of {:p}", block.as_ptr());
        let queue = Handles::create(&seg, &name, 1).unwrap();
        block.send(&queue).unwrap();
        queue
    });
    for queue in [&queues[0], &queues[QUEUES - 1]] {
        queue.recv().unwrap();
        let block = pool.loan_timeout(LIMIT).unwrap();
        block.send(queue).unwrap();
    }
}

/// As a program would that gets around the type.
fn forged(handle: BlockHandle, word: usize, value: u64) -> BlockHandle {
    let mut words: [u64; 3] = bytemuck::cast(handle);
    words[word] = value;
    bytemuck::cast(words)
}

#[test]
fn handles_that_are_copied_foreign_or_forged_get_no_block_and_harm_none() {
    let seg = Segment::anonymous(1 << 20).unwrap();
    let (pool, queue) = pool(&seg, 2);
    let other = BlockPool::create(&seg, "other", 1, 10).unwrap();
    pool.loan().unwrap().send(&queue).unwrap();
    let handle = queue.recv().unwrap();
    queue.send_all(&[handle, handle]).unwrap();
    let block = pool.receive(&queue).unwrap();
    // The copy is passed over.
    assert!(matches!(pool.try_receive(&queue), Err(Error::Empty)));
    let late = pool.receive_timeout(&queue, SHORT);
    assert!(matches!(late, Err(Error::Timeout)));
    let [_, _, id]: [u64; 3] = bytemuck::cast(handle);
    let next = id.wrapping_add(1 << 32);
    for held in [forged(handle, 2, next), forged(handle, 2, next + (1 << 32))] {
        queue.send(held).unwrap();
        assert!(matches!(pool.try_receive(&queue), Err(Error::Empty)));
    }
    for bad in [
        forged(handle, 0, 0),
        forged(handle, 2, 2),
        forged(handle, 2, u64::MAX),
    ] {
        queue.send(bad).unwrap();
        assert!(matches!(pool.receive(&queue), Err(Error::Corrupt)));
    }
    other.loan().unwrap().send(&queue).unwrap();
    assert!(matches!(pool.receive(&queue), Err(Error::Corrupt)));
    drop(block);
    // Longer than the block: it is out, and free.
    pool.loan().unwrap().send(&queue).unwrap();
    let handle = queue.recv().unwrap();
    queue.send(forged(handle, 1, 1001)).unwrap();
    assert!(matches!(pool.receive(&queue), Err(Error::Corrupt)));
    all_are_there(&pool);
    all_are_there(&other);
}
