//! A block in somebody's hands, and what of it goes through a queue.

use super::{BlockPool, place_of};
use crate::error::{Error, Result};
use crate::queue::Queue;
use crate::raw::MemberId;
use crate::raw::blocks::BlockId;
use crate::sys::deadline::Deadline;
use bytemuck::{Pod, Zeroable};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What goes through a [`Queue`] when a [`Block`] is sent: which block of which pool, and how long it is.
///
/// It is not the block: only [`BlockPool::receive`] makes one of it, and each handle serves once. A handle that is taken out of its queue
/// otherwise ([`Queue::recv`], a lease) serves nobody; its block is free again once somebody, in want of one, has found out.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHandle {
    /// Where the pool stands in the segment.
    pub(crate) pool: u64,
    /// Bytes that the sender filled.
    pub(crate) len: u64,
    pub(crate) index: u32,
    pub(crate) sequence: u32,
}

// SAFETY: integers only, and zero is a value of each.
unsafe impl Zeroable for BlockHandle {}
// SAFETY: `repr(C)`, integers only, no padding (the sizes add up to the asserted 24).
unsafe impl Pod for BlockHandle {}

const _: () = assert!(size_of::<BlockHandle>() == 24 && align_of::<BlockHandle>() == 8);

/// A block of a [`BlockPool`], in the hands of this process alone; dropping it gives it back.
///
/// It derefs to its bytes, in the segment. It begins at a multiple of 64 bytes, or of 4,096 if the pool's blocks have as many. It keeps the
/// segment mapped; any thread may have it, and drop it.
///
/// A block that a forked child inherited is inert: it is the parent's, and dropping or sending the child's copy does nothing (the child must
/// not use what it derefs to). One that is leaked is held until this process detaches or dies.
///
/// A peer that breaks the protocol can change the bytes under the holder's eyes, which is undefined behaviour by Rust's rules, as with
/// the guards of locks. With a peer that you do not trust, copy: use a [`Queue`].
#[must_use = "if unused, the block is given back at once"]
pub struct Block {
    pool: BlockPool,
    /// Whose name stands in the block's word. `None`: nobody's; a peer scribbled.
    owner: Option<MemberId>,
    id: BlockId,
    len: usize,
}

impl Block {
    /// The block is `owner`'s; `len` is at most the bytes of a block, and the index less than their number.
    #[inline]
    pub(super) fn new(pool: &BlockPool, owner: MemberId, id: BlockId, len: usize) -> Block {
        Block {
            pool: pool.clone(),
            owner: Some(owner),
            id,
            len,
        }
    }

    /// Says how many of the block's bytes count: it derefs to these, and the receiver gets as many. The others stay as they are, and count again
    /// when it is made longer. [`TooLarge`](Error::TooLarge) if the block has fewer.
    pub fn set_len(&mut self, len: usize) -> Result<()> {
        let limit = self.capacity();
        if len > limit {
            return Err(Error::TooLarge {
                requested: len as u64,
                limit: limit as u64,
            });
        }
        self.len = len;
        Ok(())
    }

    /// How many bytes the block has.
    #[inline]
    pub fn capacity(&self) -> usize {
        // Of a block that is nobody's any more, none are ours to be touched.
        self.owner.map_or(0, |_| self.pool.block_bytes())
    }

    /// The pool that it is of.
    pub fn pool(&self) -> &BlockPool {
        &self.pool
    }

    /// Sends the block through `queue`, waiting for room as long as it takes. What was written into it is there for the receiver.
    #[inline]
    pub fn send(self, queue: &Queue<BlockHandle>) -> Result<(), BlockSendError> {
        self.send_until(queue, Deadline::NEVER)
    }

    /// Sends the block if there is room; [`Full`](Error::Full) otherwise. Waits at most a millisecond for others that are sending; if
    /// they take longer (stopped, preempted), it is `Full`, too.
    #[inline]
    pub fn try_send(self, queue: &Queue<BlockHandle>) -> Result<(), BlockSendError> {
        self.send_until(queue, Deadline::PASSED)
    }

    /// Sends the block, waiting for room at most `timeout`.
    pub fn send_timeout(
        self,
        queue: &Queue<BlockHandle>,
        timeout: Duration,
    ) -> Result<(), BlockSendError> {
        self.send_until(queue, Deadline::after(timeout))
    }

    #[inline]
    fn send_until(
        mut self,
        queue: &Queue<BlockHandle>,
        deadline: Deadline,
    ) -> Result<(), BlockSendError> {
        let me = match self.check(queue) {
            Ok(me) => me,
            Err(error) => return Err(BlockSendError { error, block: self }),
        };
        let handle = BlockHandle {
            pool: self.pool.placed().offset(),
            len: self.len as u64,
            index: self.id.index,
            sequence: self.id.sequence,
        };
        let publish = || match deadline {
            Deadline::PASSED => queue.try_send(handle),
            _ => queue.send_by(deadline, &[handle]).map(drop),
        };
        let words = self.pool.words();
        match self.id.send(words, me, place_of(queue), publish) {
            Ok(()) => {
                // Nobody's, as far as this process knows.
                self.owner = None;
                Ok(())
            }
            Err(unsent) => {
                if !unsent.is_held {
                    (self.owner, self.len) = (None, 0);
                }
                let (error, block) = (unsent.error, self);
                Err(BlockSendError { error, block })
            }
        }
    }

    /// Whether the block can be sent through `queue`: in whose name.
    fn check(&self, queue: &Queue<BlockHandle>) -> Result<MemberId> {
        self.pool.check_segment(queue)?;
        match self.owner {
            Some(me) if self.is_mine() => Ok(me),
            _ => {
                self.pool.placed().check_whole()?;
                Err(Error::InvalidArgument(
                    "the block was inherited across a fork: it is the parent's, loan another",
                ))
            }
        }
    }

    #[inline]
    fn is_mine(&self) -> bool {
        let member = self.pool.placed().member().load(Ordering::Relaxed);
        self.owner.is_some_and(|me| me.bits() == member)
    }

    #[inline]
    fn bytes(&self) -> *mut u8 {
        let at = self.id.index as usize * self.pool.shared.stride;
        // SAFETY: the object has `count` blocks, `stride` bytes apart, and the index is less than that.
        unsafe { self.pool.placed().data().as_ptr().add(at) }
    }
}

impl Deref for Block {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: the block is in our name, so among members that keep the protocol nobody else has access; `len` is at most its bytes.
        unsafe { std::slice::from_raw_parts(self.bytes(), self.len) }
    }
}

impl DerefMut for Block {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`.
        unsafe { std::slice::from_raw_parts_mut(self.bytes(), self.len) }
    }
}

impl Drop for Block {
    #[inline]
    fn drop(&mut self) {
        // A forked child's copy: the parent has the block.
        if let Some(me) = self.owner.filter(|_| self.is_mine()) {
            self.pool.raw().give_back(self.pool.words(), me, self.id);
        }
    }
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Block")
            .field("index", &self.id.index)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

/// Why a [`Block`] was not sent, and the block.
///
/// With `?` it becomes an [`Error`], and the block is given back to its pool.
#[derive(Debug)]
pub struct BlockSendError {
    /// [`Full`](Error::Full) from `try_send`, [`Timeout`](Error::Timeout) from `send_timeout`, [`Closed`](Error::Closed);
    /// [`InvalidArgument`](Error::InvalidArgument) for a queue of another segment, and for a block that was inherited across a fork;
    /// [`Corrupt`](Error::Corrupt) if a peer scribbled on the queue or on the pool.
    pub error: Error,
    /// As it was before the call. (Of no bytes, and nobody's, if a peer scribbled on the pool.)
    pub block: Block,
}

impl std::fmt::Display for BlockSendError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the block was not sent: {}", self.error)
    }
}

impl std::error::Error for BlockSendError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl From<BlockSendError> for Error {
    fn from(unsent: BlockSendError) -> Error {
        unsent.error
    }
}
