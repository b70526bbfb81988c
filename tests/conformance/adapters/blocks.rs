//! A pool of one block, which is a lock of its bytes; and receivers that wait for a block.

use super::waits_for_the_lock;
use crate::bodies::{Behind, MutexLike, Waits};
use crate::stage::Object;
use commonhold::{Block, BlockHandle, BlockPool, Queue, Result, Segment};
use std::time::Duration;

impl Object for BlockPool {
    type Home = Segment;
    fn create(home: &Segment, name: &str) -> Result<Self> {
        BlockPool::create(home, name, 1, 8)
    }
    fn open(home: &Segment, name: &str) -> Result<Self> {
        BlockPool::open(home, name)
    }
    fn open_or_create(home: &Segment, name: &str) -> Result<Self> {
        BlockPool::open_or_create(home, name, 1, 8)
    }
}

impl Behind for Block {
    fn read(&self) -> u64 {
        u64::from_ne_bytes(self[..].try_into().unwrap())
    }
    fn write(&mut self, n: u64) {
        self.copy_from_slice(&n.to_ne_bytes());
    }
}

impl MutexLike for BlockPool {
    type Guard<'a> = Block;
    const POISONS: bool = false;
    fn lock(&self) -> Result<Block> {
        self.loan()
    }
    fn try_lock(&self) -> Result<Block> {
        self.try_loan()
    }
    fn lock_timeout(&self, timeout: Duration) -> Result<Block> {
        self.loan_timeout(timeout)
    }
}
waits_for_the_lock!(BlockPool);

/// A queue out of which receivers wait for blocks.
#[derive(Clone)]
pub(crate) struct ReceivingBlocks {
    pool: BlockPool,
    queue: Queue<BlockHandle>,
}

/// The name of the pool beside the queue.
fn pool_of(name: &str) -> String {
    format!("{name}'s pool")
}

impl Object for ReceivingBlocks {
    type Home = Segment;
    fn create(home: &Segment, name: &str) -> Result<Self> {
        let pool = BlockPool::open_or_create(home, &pool_of(name), 4, 8)?;
        let queue = Queue::create(home, name, 4)?;
        Ok(ReceivingBlocks { pool, queue })
    }
    fn open(home: &Segment, name: &str) -> Result<Self> {
        let queue = Queue::open(home, name)?;
        let pool = BlockPool::open(home, &pool_of(name))?;
        Ok(ReceivingBlocks { pool, queue })
    }
    fn open_or_create(home: &Segment, name: &str) -> Result<Self> {
        let pool = BlockPool::open_or_create(home, &pool_of(name), 4, 8)?;
        let queue = Queue::open_or_create(home, name, 4)?;
        Ok(ReceivingBlocks { pool, queue })
    }
}

impl Waits for ReceivingBlocks {
    type Obstacle<'a> = ();
    fn obstruct(&self) {
        while self.pool.try_receive(&self.queue).is_ok() {}
    }
    fn let_through(&self, (): ()) {
        self.pool.loan().unwrap().send(&self.queue).unwrap();
    }
    fn wait(&self) -> Result<()> {
        self.pool.receive(&self.queue).map(drop)
    }
    fn wait_timeout(&self, timeout: Duration) -> Result<()> {
        self.pool.receive_timeout(&self.queue, timeout).map(drop)
    }
}
