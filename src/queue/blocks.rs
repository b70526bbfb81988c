//! Large data without copies: a pool of equal blocks, which are filled in place, sent as handles through a queue, and read in place.

mod block;

pub use block::{Block, BlockHandle, BlockSendError};

use super::bounded::Queue;
use crate::error::{Error, Result};
#[cfg(feature = "async")]
use crate::futures::{Serves, Until, Wanted};
use crate::layout::fingerprint::{Fingerprint, Kind};
use crate::raw::Call;
use crate::raw::blocks::{BlockId, BlockWord, RawBlocks, Search};
use crate::raw::mutex::LOST_AT_ONCE;
use crate::raw::select::Source;
use crate::raw::signal::RawSignal;
use crate::raw::wait::Look;
use crate::segment::{Inner, Placed, Segment, Shape, travels};
use crate::select::Awaited;
#[cfg(feature = "async")]
use crate::select::Receives;
use crate::sys::copy;
use crate::sys::deadline::Deadline;
use crate::sys::map::InRegion;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

// SAFETY: atomics of which every pattern has a meaning; `repr(C)`, without padding.
unsafe impl InRegion for RawBlocks {}
// SAFETY: one atomic word of which every pattern has a meaning; `repr(transparent)`.
unsafe impl InRegion for BlockWord {}

/// Blocks of one size in the segment, for data that is too large to be copied: frames, images, columns of a table.
///
/// A process [loans](Self::loan) a block, fills it in place, and [sends](Block::send) it; what goes through the [`Queue`] is a handle of 24 bytes.
/// Another process [receives](Self::receive) the block and reads it in place, or changes it and sends it on. A block that is dropped is
/// free again. Any number of processes, pools and queues of one segment work together.
///
/// A block has one holder at a time. It is not erased in between: it holds what its last holder left there, also what that one read
/// in it. A new pool's blocks hold any bytes (as a rule zeros).
///
/// A [`Select`](crate::Select) waits for a [free block](crate::Select::loan), or for one that was sent (in its queue), beside other objects; with
/// the feature `async`, `loan_async` and `receive_async` are futures.
///
/// With the feature `process`, a handle is a serde value that [travels to other processes](crate::Segment#sending-it-to-another-process).
///
/// # When a member dies
/// The blocks that it held become free again: whoever waits for a block, or tries in vain to get one, finds out, within about 50 ms
/// (with more than 64 members, within a second; longer when the dead had much memory to give back). What it had sent is received
/// by others. If it died in the middle of a [`send`](Block::send), the block arrives or is free again; if it died in the middle of a
/// [`receive`](Self::receive), the block goes to another receiver or is free again.
///
/// # Fairness
/// None: a thread that runs may get a block before one that was woken for it. Receiving is as fair as the queue.
///
/// # Errors
/// [`WouldBlock`](Error::WouldBlock) from `try_loan`; [`Empty`](Error::Empty) from `try_receive`; [`Timeout`](Error::Timeout) from
/// the timed forms; [`Closed`](Error::Closed) from receiving, once the queue is closed and drained;
/// [`InvalidArgument`](Error::InvalidArgument) for a queue of another segment; [`Corrupt`](Error::Corrupt): a peer scribbled on a
/// handle, or sent one of another pool (it is out of the queue, the next one is fine), or the segment was cut short; in a forked child's first
/// operation also those of attaching. Sending has [an error of its own](BlockSendError), which gives the block back.
///
/// Making and finding: [`AlreadyExists`](crate::Error::AlreadyExists), [`NotFound`](crate::Error::NotFound),
/// [`TypeMismatch`](crate::Error::TypeMismatch), [`InvalidName`](crate::Error::InvalidName),
/// [`InvalidArgument`](Error::InvalidArgument) for no blocks, or blocks of no bytes, [`TooLarge`](Error::TooLarge) for more than
/// 4,294,967,295 blocks, [`OutOfSpace`](crate::Error::OutOfSpace), [`TooManyObjects`](crate::Error::TooManyObjects),
/// [`Corrupt`](crate::Error::Corrupt), and [`Timeout`](crate::Error::Timeout) if another process has been at making an object for
/// 10 seconds (it may be stopped).
///
/// # Bytes
/// 64, and for each block 8, and its own, rounded up to 64. Blocks of 4,096 bytes and more begin at pages: 4,096, and for each 8, and its own,
/// rounded up to 4,096.
///
/// # Examples
/// ```
/// use commonhold::{BlockHandle, BlockPool, Queue, Segment};
///
/// # fn main() -> commonhold::Result<()> {
/// let seg = Segment::anonymous(1 << 20)?;
/// let frames = BlockPool::create(&seg, "frames", 3, 640 * 480 / 8)?;
/// let to_show = Queue::<BlockHandle>::create(&seg, "to show", 3)?;
///
/// let screen = {
///     let (frames, to_show) = (frames.clone(), to_show.clone());
///     std::thread::spawn(move || {
///         let mut lit = 0;
///         // Until the queue is closed and drained.
///         while let Ok(frame) = frames.receive(&to_show) {
///             lit += frame.iter().map(|byte| byte.count_ones()).sum::<u32>();
///         }
///         lit
///     })
/// };
/// for _ in 0..10 {
///     let mut frame = frames.loan()?;
///     frame.fill(0);
///     frame[17] = 0b11;
///     frame.send(&to_show)?;
/// }
/// to_show.close();
/// assert_eq!(screen.join().unwrap(), 20);
/// assert_eq!(frames.available(), 3);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct BlockPool {
    shared: Arc<Shared>,
}

/// What the handles and blocks of one opening have in common. A block keeps it, so that it may outlive its pool's handles.
struct Shared {
    placed: Placed<RawBlocks>,
    /// Checked, and private.
    block_bytes: usize,
    stride: usize,
    search: Search,
}

const _: () = assert!(size_of::<RawBlocks>() == 16);

impl BlockPool {
    /// Makes a pool of `count` blocks of `block_bytes` each, in 64 bytes, and for each block 8, and its own, rounded up to 64. Blocks
    /// of 4,096 bytes and more begin at pages: 4,096, and for each 8, and its own, rounded up to 4,096.
    pub fn create(segment: &Segment, name: &str, count: usize, block_bytes: usize) -> Result<Self> {
        let (shape, fingerprint) = check(count, block_bytes)?;
        Placed::create_as(segment, name, shape, fingerprint, |_| {}).map(|placed| {
            let stride = shape.stride;
            Self::of(placed, block_bytes, stride)
        })
    }

    /// Finds the pool of that name, whatever its number of blocks and their size.
    pub fn open(segment: &Segment, name: &str) -> Result<Self> {
        Self::open_as(segment, name, None)
    }

    /// Finds the pool of that name, or makes it. One of another number of blocks, or of another size, is a
    /// [`TypeMismatch`](Error::TypeMismatch).
    pub fn open_or_create(
        segment: &Segment,
        name: &str,
        count: usize,
        block_bytes: usize,
    ) -> Result<Self> {
        let (_, fingerprint) = check(count, block_bytes)?;
        match Self::open_as(segment, name, Some(&fingerprint)) {
            Err(Error::NotFound) => {}
            other => return other,
        }
        match Self::create(segment, name, count, block_bytes) {
            // Somebody was quicker. Objects are never removed, so theirs is there.
            Err(Error::AlreadyExists) => Self::open_as(segment, name, Some(&fingerprint)),
            other => other,
        }
    }

    /// Finds the pool of that name; with these blocks, if they are given.
    fn open_as(segment: &Segment, name: &str, asked: Option<&Fingerprint>) -> Result<Self> {
        let mut size = (0, 0);
        let placed = Placed::open_as(segment, name, |found| {
            let serves = match asked {
                Some(asked) => found.serves(asked, false),
                None => found.kind == Kind::BlockPool,
            };
            if !serves {
                let any = Fingerprint::of_blocks(Kind::BlockPool, 0, 0, 0);
                return Err(Error::TypeMismatch {
                    name: name.to_owned(),
                    expected: asked.map_or_else(|| any.describe(true), |a| a.describe(false)),
                    found: found.describe(false),
                });
            }
            // No pool is made that `check` would refuse; one that says so was scribbled on.
            let count = usize::try_from(found.len).map_err(|_| Error::Corrupt)?;
            let bytes = usize::try_from(found.type_size).map_err(|_| Error::Corrupt)?;
            let (shape, ours) = check(count, bytes).map_err(|_| Error::Corrupt)?;
            if *found != ours {
                return Err(Error::Corrupt);
            }
            size = (bytes, shape.stride);
            Ok(shape)
        })?;
        Ok(Self::of(placed, size.0, size.1))
    }

    fn of(placed: Placed<RawBlocks>, block_bytes: usize, stride: usize) -> Self {
        BlockPool {
            shared: Arc::new(Shared {
                placed,
                block_bytes,
                stride,
                search: Search::new(),
            }),
        }
    }

    /// Takes a free block, waiting for one as long as it takes. It is as long as the pool's blocks are, and holds what its last
    /// holder left there.
    #[inline]
    pub fn loan(&self) -> Result<Block> {
        self.loan_until(Deadline::NEVER)
    }

    /// Takes a free block if there is one; [`WouldBlock`](Error::WouldBlock) otherwise.
    #[inline]
    pub fn try_loan(&self) -> Result<Block> {
        self.loan_until(Deadline::PASSED)
    }

    /// Takes a free block, waiting for one at most `timeout`.
    pub fn loan_timeout(&self, timeout: Duration) -> Result<Block> {
        self.loan_until(Deadline::after(timeout))
    }

    /// As [`loan`](Self::loan), without a thread that waits: a future for any runtime. Dropped before it is ready, it has taken nothing.
    ///
    /// What holds for all futures is said at [`Queue::recv_async`].
    #[cfg(feature = "async")]
    pub fn loan_async(&self) -> impl Future<Output = Result<Block>> + Send + '_ {
        let wanted = || Wanted::signal(self.free_block(), Serves::One);
        Until::new(wanted, || self.try_loan())
    }

    /// As [`receive`](Self::receive), without a thread that waits: a future for any runtime. Dropped before it is ready, it has received
    /// nothing.
    ///
    /// What holds for all futures is said at [`Queue::recv_async`].
    #[cfg(feature = "async")]
    pub fn receive_async<'a>(
        &'a self,
        queue: &'a Queue<BlockHandle>,
    ) -> impl Future<Output = Result<Block>> + Send + 'a {
        let wanted = || Wanted::signal(queue.arrival(), Serves::One);
        Until::new(wanted, || self.try_receive(queue))
    }

    /// Receives a block of this pool, waiting for one as long as it takes. It is as long as its sender [left it](Block::set_len).
    #[inline]
    pub fn receive(&self, queue: &Queue<BlockHandle>) -> Result<Block> {
        self.receive_until(queue, Deadline::NEVER)
    }

    /// Receives a block of this pool if there is one; [`Empty`](Error::Empty) otherwise. Waits at most a millisecond for others
    /// that are receiving; if they take longer (stopped, preempted), it is `Empty`, too.
    #[inline]
    pub fn try_receive(&self, queue: &Queue<BlockHandle>) -> Result<Block> {
        self.receive_until(queue, Deadline::PASSED)
    }

    /// Receives a block of this pool, waiting for one at most `timeout`.
    pub fn receive_timeout(&self, queue: &Queue<BlockHandle>, timeout: Duration) -> Result<Block> {
        self.receive_until(queue, Deadline::after(timeout))
    }

    /// How many blocks were free a moment ago. Those of a dead process count once somebody has found out, by waiting, or by trying in
    /// vain.
    pub fn available(&self) -> usize {
        self.raw().available(self.words())
    }

    /// How many blocks there are.
    pub fn count(&self) -> usize {
        self.shared.placed.len()
    }

    /// Bytes of a block.
    pub fn block_bytes(&self) -> usize {
        self.shared.block_bytes
    }

    /// That a block is free.
    pub(crate) fn free_block(&self) -> Awaited {
        Awaited::of(Free(self.clone()))
    }

    #[inline]
    fn loan_until(&self, deadline: Deadline) -> Result<Block> {
        let (raw, words, search) = (self.raw(), self.words(), &self.shared.search);
        let call = self.placed().call(deadline)?;
        let find_lost = || self.find_lost();
        let loaned = match deadline {
            Deadline::PASSED => raw.try_loan(words, &call, search, find_lost),
            _ => raw.loan(words, &call, search, find_lost),
        };
        if self.placed().member().load(Ordering::Relaxed) != call.me.bits() {
            // The region was lost meanwhile, and that there was a block, or none, means nothing.
            return Err(Error::Corrupt);
        }
        Ok(Block::new(self, call.me, loaned?, self.block_bytes()))
    }

    #[inline]
    fn receive_until(&self, queue: &Queue<BlockHandle>, deadline: Deadline) -> Result<Block> {
        self.check_segment(queue)?;
        let mut passed_over = 0;
        loop {
            if let Some(block) = self.receive_next(queue, deadline)? {
                return Ok(block);
            }
            // The holder of the block died. A peer can send any number of handles that serve no more.
            passed_over += 1;
            match deadline {
                Deadline::PASSED if passed_over >= LOST_AT_ONCE => return Err(Error::Empty),
                Deadline::PASSED => {}
                _ if deadline.has_passed() => return Err(Error::Timeout),
                _ => {}
            }
        }
    }

    /// The block of the next handle. `None`: that one serves no more.
    #[inline]
    fn receive_next(
        &self,
        queue: &Queue<BlockHandle>,
        deadline: Deadline,
    ) -> Result<Option<Block>> {
        // In this process's name in the pool's attachment, which need not be the queue's.
        let me = self.placed().call(Deadline::NEVER)?;
        let mut taken = Err(Error::Corrupt);
        let take = |at, _| {
            // In the queue's critical section, and before the store that takes the handle out.
            taken = self.take(copy::judge(&queue.load(at)), &me);
            1
        };
        let (leases, call) = (queue.leases(), queue.placed.call(deadline)?);
        let received = match deadline {
            Deadline::PASSED => leases.try_recv(&call, 1, take),
            _ => leases.recv(&call, 1, take),
        };
        // Before the error, too: an empty queue may be one that was cut off.
        queue.placed.check_whole()?;
        received?;
        let Some((id, len)) = taken? else {
            return Ok(None);
        };
        let block = Block::new(self, me.me, id, len.min(self.block_bytes() as u64) as usize);
        if len > self.block_bytes() as u64 {
            return Err(Error::Corrupt);
        }
        Ok(Some(block))
    }

    /// Takes the block of a handle that is still in the queue, whose receivers' lock is held: the block, and its length as sent. `None`: the
    /// handle serves no more.
    #[inline]
    fn take(
        &self,
        handle: Option<BlockHandle>,
        call: &Call<'_, Inner>,
    ) -> Result<Option<(BlockId, u64)>> {
        let handle = handle.ok_or_else(|| Error::Corrupt)?;
        let id = self.own(&handle).ok_or_else(|| Error::Corrupt)?;
        let taken = id.receive(self.words(), call);
        Ok(taken.map(|id| (id, handle.len)))
    }

    /// The block that a handle means, if it is one of this pool.
    #[inline]
    fn own(&self, handle: &BlockHandle) -> Option<BlockId> {
        let is_own =
            handle.pool == self.placed().offset() && (handle.index as usize) < self.count();
        is_own.then_some(BlockId {
            index: handle.index,
            sequence: handle.sequence,
        })
    }

    fn check_segment(&self, queue: &Queue<BlockHandle>) -> Result<()> {
        if !self.placed().inner().is_same_segment(queue.placed.inner()) {
            return Err(Error::InvalidArgument(
                "the queue is in another segment: the blocks of a pool go through queues of its own segment",
            ));
        }
        Ok(())
    }

    /// Frees blocks that were sent and whose handles are in no queue: someone has taken a handle out, and not the block. Whether there were any.
    #[cold]
    fn find_lost(&self) -> bool {
        let mut found = false;
        for place in self.shared.search.some_places(self.words()) {
            let queue = queue_at(self.placed().segment(), place);
            let look = |see: &mut dyn FnMut(BlockId)| match &queue {
                None => Ok(()),
                Some(queue) => {
                    // A receiver that is stopped must not hold up one who looks for a block.
                    let call = queue.placed.call(Deadline::PASSED)?;
                    let look = |at| {
                        let handle = copy::judge::<BlockHandle>(&queue.load(at));
                        if let Some(id) = handle.and_then(|handle| self.own(&handle)) {
                            see(id);
                        }
                    };
                    queue.leases().look_through(&call, look)?;
                    queue.placed.check_whole()
                }
            };
            // An error: nobody can tell now.
            found |= self
                .raw()
                .free_lost(self.words(), place, look)
                .unwrap_or(false);
        }
        found
    }

    #[inline]
    fn raw(&self) -> &RawBlocks {
        self.placed().control()
    }

    #[inline]
    fn words(&self) -> &[BlockWord] {
        self.placed().of_items()
    }

    #[inline]
    fn placed(&self) -> &Placed<RawBlocks> {
        &self.shared.placed
    }
}

/// That a block is free.
struct Free(BlockPool);

impl Source<Inner> for Free {
    fn members(&self) -> &Inner {
        self.0.placed().inner()
    }

    fn signal(&self) -> &RawSignal {
        &self.0.raw().returned
    }

    fn is_ready(&self, look: Look) -> bool {
        let Free(pool) = self;
        match pool.placed().call(Deadline::PASSED) {
            Ok(call) => {
                let (words, search) = (pool.words(), &pool.shared.search);
                let find_lost = || pool.find_lost();
                pool.raw()
                    .is_worth_loaning(words, &call, search, look, find_lost)
            }
            // The call that loans will say what is wrong.
            Err(_) => true,
        }
    }
}

/// How pools of such blocks are laid out, and what their entries say.
fn check(count: usize, block_bytes: usize) -> Result<(Shape, Fingerprint)> {
    if count == 0 || block_bytes == 0 {
        return Err(Error::InvalidArgument(
            "a pool has at least one block, and a block at least one byte",
        ));
    }
    let most = u64::from(u32::MAX);
    if count as u64 > most {
        return Err(Error::TooLarge {
            requested: count as u64,
            limit: most,
        });
    }
    let align = if block_bytes < 4096 { 64 } else { 4096 };
    let stride = block_bytes
        .checked_next_multiple_of(align)
        .filter(|&stride| stride <= isize::MAX as usize)
        .ok_or(Error::TooLarge {
            requested: block_bytes as u64,
            limit: (isize::MAX as u64).next_multiple_of(4096) - 4096,
        })?;
    let shape = Shape::new::<RawBlocks>(Kind::BlockPool, stride, align);
    let (bytes, align) = (block_bytes as u64, align as u32);
    let fingerprint = Fingerprint::of_blocks(Kind::BlockPool, bytes, align, count as u64);
    Ok((shape.and_for_each_item::<BlockWord>(), fingerprint))
}

/// Objects begin at multiples of this, so places are counted in it.
const PLACE_BYTES: u64 = crate::layout::OBJECT_ALIGN;

/// Where a queue stands, as the word of a block says it; 0 if that is too far behind to be said.
#[inline]
fn place_of(queue: &Queue<BlockHandle>) -> u32 {
    let place = queue.placed.offset() / PLACE_BYTES;
    if place < 1 << 30 { place as u32 } else { 0 }
}

/// The queue at that place. `None`: the directory has none there.
fn queue_at(segment: &Segment, place: u32) -> Option<Queue<BlockHandle>> {
    let offset = u64::from(place) * PLACE_BYTES;
    let shape = Queue::<BlockHandle>::SHAPE;
    let placed = Placed::standing_at::<BlockHandle>(segment, offset, shape)?;
    Queue::of(placed).ok()
}

travels!([] BlockPool, shared.placed);

impl std::fmt::Debug for BlockPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockPool")
            .field("placed", self.placed())
            .field("block_bytes", &self.block_bytes())
            .finish_non_exhaustive()
    }
}
