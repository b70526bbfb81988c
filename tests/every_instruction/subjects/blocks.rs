//! A pool of two blocks and a queue of their handles; each block holds a number and its complement.

use super::die_at_the_change;
use crate::case::{Case, LONG, Look, SHORT, Subject, leak, tire};
use crate::support::Forked;
use crate::tracer::Op;
use commonhold::{Block, BlockHandle, BlockPool, Error, Queue, Segment};

const BLOCKS: usize = 2;

/// A pool, and the queue.
type Post = (BlockPool, Queue<BlockHandle>);

fn open(seg: &Segment) -> &'static Post {
    let pool = BlockPool::open(seg, "pool").unwrap();
    leak((pool, Queue::open(seg, "queue").unwrap()))
}

/// Handles that do not spin for long when there is no block.
fn open_tired(seg: &Segment) -> &'static Post {
    let post = open(seg);
    tire(|d| assert!(matches!(post.0.loan_timeout(d), Err(Error::Timeout))));
    post
}

fn make(seg: &Segment) {
    BlockPool::create(seg, "pool", BLOCKS, 24).unwrap();
    Queue::<BlockHandle>::create(seg, "queue", BLOCKS).unwrap();
}

fn filled((pool, _): &Post, n: u64) -> Block {
    let mut block = pool.loan_timeout(LONG).unwrap();
    block[..8].copy_from_slice(&n.to_ne_bytes());
    block[8..16].copy_from_slice(&(!n).to_ne_bytes());
    block.set_len(16).unwrap();
    block
}

fn number(block: &Block) -> u64 {
    let word = |at: usize| u64::from_ne_bytes(block[at..at + 8].try_into().unwrap());
    assert_eq!((block.len(), word(8)), (16, !word(0)), "torn");
    word(0)
}

fn send_all(seg: &Segment) {
    let post = open(seg);
    for n in 0..BLOCKS as u64 {
        filled(post, n).send(&post.1).unwrap();
    }
}

/// Holds all blocks until the operation sleeps.
fn hold(seg: &Segment) -> Op {
    let post = open(seg);
    let blocks = [0, 1].map(|n| filled(post, n));
    Box::new(|| drop(blocks))
}

/// Leaves all blocks to be found by those who meet a dead holder.
fn die_holding(seg: &Segment) {
    Forked::start(|| std::mem::forget([0, 1].map(|n| filled(open(seg), n)))).finish();
}

/// Leaves a block with a dead one who has it, and whose handle is still in the queue.
fn die_receiving(seg: &Segment) {
    send_all(seg);
    die_at_the_change(seg, 3, |seg| {
        let (pool, queue) = open(seg);
        Box::new(|| std::mem::forget(pool.receive(queue).unwrap()))
    });
}

/// Leaves a block with a dead one who was about to send it.
fn die_sending(seg: &Segment) {
    die_at_the_change(seg, 2, |seg| {
        let post = open(seg);
        let block = filled(post, 0);
        Box::new(|| block.send(&post.1).unwrap())
    });
}

/// Takes the handles out, and not the blocks.
fn lose_handles(seg: &Segment) {
    send_all(seg);
    let (_, queue) = open(seg);
    (0..BLOCKS).for_each(|_| assert!(queue.recv().is_ok()));
}

fn mend(seg: &Segment) {
    let (pool, queue) = open(seg);
    drop(pool.try_receive(queue));
    drop(pool.loan_timeout(LONG));
}

fn take_one(seg: &Segment) {
    drop(open(seg).0.loan_timeout(LONG).unwrap());
}

fn receive_one(seg: &Segment) {
    let (pool, queue) = open(seg);
    number(&pool.receive_timeout(queue, LONG).unwrap());
}

/// Unless the victim sent one: then the sleeper finds it without being told again.
fn send_one_if_need_be(seg: &Segment) {
    let post = open(seg);
    if post.1.is_empty() {
        filled(post, 7).send(&post.1).unwrap();
    }
}

/// What there is to be received, whole; then all blocks are there, and go through.
fn drain(seg: &Segment) -> Vec<u64> {
    let post = &(
        BlockPool::open(seg, "pool").unwrap(),
        Queue::open(seg, "queue").unwrap(),
    );
    let (pool, queue) = post;
    let mut got = Vec::new();
    loop {
        match pool.try_receive(queue) {
            Ok(block) => got.push(number(&block)),
            Err(Error::Empty) => break,
            Err(e) => panic!("{e}"),
        }
    }
    for _ in 0..2 {
        let blocks = [5, 6].map(|n| filled(post, n));
        assert_ne!(blocks[0].as_ptr(), blocks[1].as_ptr());
        assert!(matches!(pool.try_loan(), Err(Error::WouldBlock)));
        for block in blocks {
            block.try_send(queue).unwrap();
        }
        for n in [5, 6] {
            assert_eq!(number(&pool.receive_timeout(queue, LONG).unwrap()), n);
        }
        assert_eq!(pool.available(), BLOCKS);
    }
    got
}

/// How many blocks came.
fn sent(seg: &Segment, _: Look) -> u32 {
    drain(seg).len() as u32
}

/// How many of those that were sent are gone.
fn received(seg: &Segment, _: Look) -> u32 {
    (BLOCKS as u32).saturating_sub(drain(seg).len() as u32)
}

pub fn subject() -> Subject {
    Subject::new("BlockPool", make, mend, sent)
        .case(Case::new("loan, drop", 0, |seg| {
            let (pool, _) = open(seg);
            Box::new(|| drop(pool.loan().unwrap()))
        }))
        .case(Case::new("try_loan twice, drop", 0, |seg| {
            let (pool, _) = open(seg);
            Box::new(|| drop([(); 2].map(|()| pool.try_loan().unwrap())))
        }))
        .case(
            Case::new("loan, all held by another, past two naps", 0, |seg| {
                let (pool, _) = open_tired(seg);
                Box::new(|| drop(pool.loan().unwrap()))
            })
            .woken_by(hold)
            .after_naps(3),
        )
        .case(
            Case::new("try_loan and loan_timeout in vain", 0, |seg| {
                let (pool, _) = open_tired(seg);
                Box::new(|| {
                    assert!(matches!(pool.try_loan(), Err(Error::WouldBlock)));
                    let got = pool.loan_timeout(SHORT);
                    assert!(matches!(got, Err(Error::Timeout)));
                })
            })
            .woken_by(hold)
            .after_naps(1000),
        )
        .case(
            Case::new("drop that wakes a sleeper", 0, |seg| {
                let mut blocks = vec![filled(open(seg), 0), filled(open(seg), 1)];
                Box::new(move || drop(blocks.pop()))
            })
            .peer(take_one),
        )
        .case(
            Case::new("loan whose holder died", 0, |seg| {
                let (pool, _) = open(seg);
                Box::new(|| drop(pool.loan().unwrap()))
            })
            .before(die_holding),
        )
        .case(
            Case::new("try_loan whose holder died", 0, |seg| {
                let (pool, _) = open(seg);
                Box::new(|| drop(pool.try_loan().unwrap()))
            })
            .before(die_holding),
        )
        .case(
            Case::new("try_loan, the handles taken out", 0, |seg| {
                let (pool, _) = open(seg);
                Box::new(|| drop(pool.try_loan().unwrap()))
            })
            .before(lose_handles),
        )
        .case(Case::new("send", 1, |seg| {
            let post = open(seg);
            let block = filled(post, 0);
            Box::new(|| block.send(&post.1).unwrap())
        }))
        .case(
            Case::new("try_send to a full queue", 0, |seg| {
                let (pool, queue) = open(seg);
                let handle = queue.recv().unwrap();
                let block = pool.receive(queue).unwrap();
                queue.send(handle).unwrap();
                queue.send(handle).unwrap();
                Box::new(|| drop(block.try_send(queue).unwrap_err()))
            })
            .before(send_all)
            // The handle that was put back, twice, serves once.
            .judged_by(|seg, _| (drain(seg).len() as u32).saturating_sub(1)),
        )
        .case(
            Case::new("send that wakes a receiver", 1, |seg| {
                let post = open(seg);
                let block = filled(post, 0);
                Box::new(|| block.send(&post.1).unwrap())
            })
            .peer(receive_one)
            .released_by(send_one_if_need_be),
        )
        .case(
            Case::new("send after a sender died in the middle", 1, |seg| {
                let post = open(seg);
                let block = filled(post, 0);
                Box::new(|| block.send(&post.1).unwrap())
            })
            .before(die_sending),
        )
        .case(
            Case::new("receive, twice", 2, |seg| {
                let (pool, queue) = open(seg);
                Box::new(|| {
                    (0..2).for_each(|n| assert_eq!(number(&pool.receive(queue).unwrap()), n));
                })
            })
            .before(send_all)
            .judged_by(received),
        )
        .case(
            Case::new("receive after a receiver died in the middle", 1, |seg| {
                let (pool, queue) = open(seg);
                Box::new(|| assert_eq!(number(&pool.receive(queue).unwrap()), 0))
            })
            .before(die_receiving)
            .judged_by(received),
        )
        .case(
            Case::new("receive, change, pass on", 0, |seg| {
                let (pool, queue) = open(seg);
                Box::new(|| {
                    let mut block = pool.receive(queue).unwrap();
                    assert_eq!(number(&block), 0);
                    block[..8].copy_from_slice(&9u64.to_ne_bytes());
                    block[8..16].copy_from_slice(&(!9u64).to_ne_bytes());
                    block.send(queue).unwrap();
                })
            })
            .before(send_all)
            // The other is there, and this one as it was, or in the dead one's hands, or as it is.
            .judged_by(|seg, look| {
                let got = drain(seg);
                let left = [&[0, 1][..], &[1], &[1, 9]].contains(&&got[..]);
                assert!(left || look == Look::Later, "{got:?}");
                0
            }),
        )
}
