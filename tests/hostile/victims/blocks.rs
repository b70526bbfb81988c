//! `BlockPool`.

use super::Victim;
use crate::watch::{AT_ONCE, Watch};
use commonhold::{Block, BlockHandle, BlockPool, BlockSendError, Error, Queue, Result, Segment};

pub(super) struct Blocks {
    small: BlockPool,
    large: BlockPool,
    queue: Queue<BlockHandle>,
}

impl Victim for Blocks {
    fn create(seg: &Segment) -> Result<Self> {
        Ok(Blocks {
            small: BlockPool::create(seg, "small", 3, 100)?,
            large: BlockPool::create(seg, "large", 2, 5000)?,
            queue: Queue::create(seg, "handles", 4)?,
        })
    }

    fn open(seg: &Segment) -> Result<Self> {
        Ok(Blocks {
            small: BlockPool::open(seg, "small")?,
            large: BlockPool::open(seg, "large")?,
            queue: Queue::open(seg, "handles")?,
        })
    }

    fn round(&self, w: &Watch) {
        use_pool(&self.small, &self.queue, w);
        use_pool(&self.large, &self.queue, w);
        // What is left over when handles go to the wrong pool, by whoever is quicker.
        w.op("Queue::try_recv, a handle", AT_ONCE, || {
            self.queue.try_recv()
        });
    }
}

/// Each byte of it is inside, and can be written.
fn fill(block: &mut Block) {
    assert!(block.len() <= block.capacity());
    block.fill(7);
}

fn use_pool(p: &BlockPool, queue: &Queue<BlockHandle>, w: &Watch) {
    assert!(w.see("BlockPool::available", || p.available()) <= p.count());
    let loaned = [
        w.op("BlockPool::try_loan", AT_ONCE, || p.try_loan()),
        w.timed("BlockPool::loan_timeout", |soon| p.loan_timeout(soon)),
        w.timed("BlockPool::loan_timeout", |soon| p.loan_timeout(soon)),
    ];
    let error = |unsent: BlockSendError| {
        assert!(!unsent.to_string().is_empty());
        let BlockSendError { error, mut block } = unsent;
        fill(&mut block);
        error
    };
    for (i, mut block) in loaned.into_iter().flatten().enumerate() {
        fill(&mut block);
        w.see("Block::set_len", || {
            assert!(block.set_len(p.block_bytes() + 1).is_err());
            assert_eq!(block.set_len(10).is_ok(), block.capacity() != 0);
        });
        match i {
            0 => w.op("Block::try_send", AT_ONCE, || {
                block.try_send(queue).map_err(error)
            }),
            1 => w.timed("Block::send_timeout", |soon| {
                block.send_timeout(queue, soon).map_err(error)
            }),
            _ => {
                w.see("Block::drop", || drop(block));
                None
            }
        };
    }
    let received = [
        w.op("BlockPool::try_receive", AT_ONCE, || p.try_receive(queue)),
        w.timed("BlockPool::receive_timeout", |soon| {
            p.receive_timeout(queue, soon)
        }),
        w.timed("BlockPool::receive_timeout", |soon| {
            p.receive_timeout(queue, soon)
        }),
    ];
    for mut block in received.into_iter().flatten() {
        w.see("Block::deref", || {
            block.iter().map(|b| u64::from(*b)).sum::<u64>()
        });
        fill(&mut block);
        w.see("Block::fmt", || format!("{block:?} {p:?}").len());
        w.see("Block::drop", || drop(block));
    }
    w.untimed("Block::send", "handles", || {
        let block = p.try_loan()?;
        if queue.is_full() {
            return Ok(());
        }
        block.send(queue).map_err(Error::from)
    });
}
