//! The task board of a pool, in a segment of its own: what the parent and the workers do at it, with bytes.
//!
//! A slot's bytes are two halves: what the parent says of the task, and its input; what the worker says, and the outcomes. What is longer than
//! its half goes on in the [spill](Spill).

mod parent;
mod worker;

#[cfg(test)]
mod tests;
pub(crate) use parent::Parent;
pub(crate) use worker::{Claimed, Worker};

use super::spill::{Spill, Stream};
use crate::error::{Error, Result};
use crate::layout::fingerprint::{Fingerprint, Kind};
use crate::raw::board::{MAX_SLOTS, OutcomeHead, RawBoard, Slots, TaskHead, Waiter, Woken};
use crate::segment::{Placed, Segment, SegmentOptions, Shape};
use crate::sys::copy;
use crate::sys::deadline::Deadline;
use crate::sys::map::InRegion;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

// SAFETY: atomics of which every pattern has a meaning, and padding between lines; `repr(C)`.
unsafe impl InRegion for RawBoard {}
// SAFETY: atomics of which every pattern has a meaning; `repr(C)`, without padding.
unsafe impl InRegion for TaskHead {}
// SAFETY: as above.
unsafe impl InRegion for OutcomeHead {}

/// The name of the one object in the segment.
const NAME: &str = "tasks";
/// Slots begin at pairs of lines.
const ALIGN: usize = 128;
/// Beside the workers and their parent: one who died is a member until another needs its place.
const MORE_MEMBERS: u32 = 2;
/// What a worker's note says.
const READY: u32 = 1;

/// A forked child has the board mapped, and is neither the parent nor a worker.
pub(crate) const NOT_OURS: Error = Error::InvalidArgument(
    "a pool serves the process that made it, and not its forked children: let the child make a pool of its own",
);

/// One process's way to the board.
#[derive(Clone, Debug)]
pub(crate) struct Board {
    placed: Placed<RawBoard>,
    /// Of a slot; checked, and private.
    half: usize,
    spill: Arc<Spill>,
    waiter: Arc<Waiter>,
}

impl Board {
    /// A new board for so many workers, with `slots` slots of `slot_bytes` each.
    pub(crate) fn new(slots: usize, slot_bytes: usize, workers: u32) -> Result<Board> {
        let (shape, fingerprint) = shape(slots, slot_bytes)?;
        let members = workers.saturating_add(1 + MORE_MEMBERS);
        let notes = members as usize * size_of::<AtomicU32>();
        let segment = SegmentOptions::new()
            .capacity(shape.data_at + slots * slot_bytes + notes + 2 * ALIGN)
            .max_members(members)
            .max_objects(1)
            .anonymous()?;
        let placed = Placed::create_as(&segment, NAME, shape, fingerprint, |_| {})?;
        Ok(Board::of(placed, slot_bytes, Spill::new()?))
    }

    /// The board in a segment that another process made.
    pub(crate) fn open(segment: &Segment, spill: Spill) -> Result<Board> {
        let mut slot_bytes = 0;
        let placed = Placed::open_as(segment, NAME, |found| {
            if found.kind != Kind::TaskBoard {
                return Err(Error::Corrupt);
            }
            // None is made that `shape` would refuse.
            let slots = usize::try_from(found.len).map_err(|_| Error::Corrupt)?;
            slot_bytes = usize::try_from(found.type_size).map_err(|_| Error::Corrupt)?;
            let (shape, ours) = shape(slots, slot_bytes).map_err(|_| Error::Corrupt)?;
            if *found != ours {
                return Err(Error::Corrupt);
            }
            Ok(shape)
        })?;
        Ok(Board::of(placed, slot_bytes, spill))
    }

    fn of(placed: Placed<RawBoard>, slot_bytes: usize, spill: Spill) -> Board {
        Board {
            placed,
            half: slot_bytes / 2,
            spill: Arc::new(spill),
            waiter: Arc::new(Waiter::new()),
        }
    }

    pub(crate) fn segment(&self) -> &Segment {
        self.placed.segment()
    }

    pub(crate) fn spill(&self) -> &Spill {
        &self.spill
    }

    /// In the parent: waits until a worker is done with a slot, or another thread calls [`nudge`](Self::nudge).
    pub(crate) fn wait_for_results(&self, deadline: Deadline) -> Result<Woken> {
        let call = self.placed.call(deadline)?;
        self.raw().wait_for_results(self, &call, &self.waiter)
    }

    /// In the parent, which has no time to wait: whether to look at all slots now.
    pub(crate) fn is_to_look_at_all(&self) -> bool {
        self.waiter.is_to_look_at_all()
    }

    /// In the parent: ends the wait for results that is under way in another thread, or the next one.
    pub(crate) fn nudge(&self) {
        self.raw().nudge(&self.waiter);
    }

    /// No more tasks come: workers that find none end.
    pub(crate) fn close(&self) {
        self.raw().close();
    }

    fn raw(&self) -> &RawBoard {
        self.placed.control()
    }

    /// In the parent: nobody with that index is ready for tasks (one is about to be started, so the board is open, whatever it says).
    pub(crate) fn expect(&self, worker: u32) {
        self.raw().reopen();
        if let Some(note) = self.note(worker) {
            note.store(0, Ordering::Relaxed);
        }
    }

    /// In the parent: whether the worker that was started last with that index came so far as to be ready for tasks.
    pub(crate) fn was_ready(&self, worker: u32) -> bool {
        // Relaxed: the kernel's word of its death orders it.
        self.note(worker)
            .is_some_and(|note| note.load(Ordering::Relaxed) == READY)
    }

    /// Where a worker notes that it is ready for tasks; `None` if there is no such worker.
    fn note(&self, worker: u32) -> Option<&AtomicU32> {
        self.placed.of_members().get(worker as usize)
    }

    /// Bytes of the input, and of the outcomes, that a slot itself has room for.
    #[inline]
    pub(crate) fn room(&self, stream: Stream) -> usize {
        match stream {
            Stream::Input => self.half - size_of::<TaskHead>(),
            Stream::Outcomes => self.half - size_of::<OutcomeHead>(),
        }
    }

    fn slot(&self, index: usize) -> *mut u8 {
        assert!(index < self.placed.len());
        // SAFETY: the object has so many slots of twice `half` bytes.
        unsafe { self.placed.data().as_ptr().add(index * 2 * self.half) }
    }

    /// Where a stream begins in its slot: at a multiple of 8.
    fn stream_at(&self, index: usize, stream: Stream) -> *mut u8 {
        let at = match stream {
            Stream::Input => size_of::<TaskHead>(),
            Stream::Outcomes => self.half + size_of::<OutcomeHead>(),
        };
        // SAFETY: within the slot, of which a half is more than a head.
        unsafe { self.slot(index).add(at) }
    }

    /// Writes into the slot from the byte `at` of the stream on, which is a multiple of 8.
    fn store(&self, index: usize, stream: Stream, at: usize, bytes: &[u8]) {
        assert!(at % 8 == 0 && at <= self.room(stream) && bytes.len() <= self.room(stream) - at);
        // SAFETY: that is within the slot, whose halves are whole words; aligned, as said.
        unsafe { copy::store_bytes(self.stream_at(index, stream).add(at), bytes) }
    }

    /// Reads the first bytes of the stream, all that the slot has room for at most, behind what is in `bytes`, which has room for them.
    fn load(&self, index: usize, stream: Stream, len: usize, bytes: &mut Vec<u8>) {
        assert!(len <= self.room(stream));
        let room: &mut [MaybeUninit<u8>] = &mut bytes.spare_capacity_mut()[..len];
        // SAFETY: that is within the slot, as in `store`; `load_bytes` fills all of the room, by which the vector grows.
        unsafe {
            copy::load_bytes(self.stream_at(index, stream), room);
            bytes.set_len(bytes.len() + len);
        }
    }

    /// Reads all of a stream into `bytes`. `Err(Corrupt)`: it is not so long.
    fn read(&self, index: u32, stream: Stream, len: u64, bytes: &mut Vec<u8>) -> Result<()> {
        let in_slot = len.min(self.room(stream) as u64) as usize;
        let spilled = len - in_slot as u64;
        if spilled != 0 {
            self.spill.check_holds(index, stream, spilled)?;
        }
        let len = usize::try_from(len).map_err(|_| Error::Corrupt)?;
        bytes.clear();
        bytes.try_reserve(len).map_err(|_| Error::no_memory(len))?;
        self.load(index as usize, stream, in_slot, bytes);
        if spilled != 0 {
            self.spill.read(index, stream, bytes, len - in_slot)?;
        }
        Ok(())
    }
}

impl Slots for Board {
    fn count(&self) -> usize {
        self.placed.len()
    }

    fn task(&self, index: usize) -> &TaskHead {
        // SAFETY: a TaskHead is in the region (`InRegion`) at the slot's begin: within it, and aligned as that is; mapped as long as the
        // segment is, which `self` keeps.
        unsafe { &*self.slot(index).cast() }
    }

    fn outcome(&self, index: usize) -> &OutcomeHead {
        // SAFETY: as above, at the second half.
        unsafe { &*self.slot(index).add(self.half).cast() }
    }
}

const _: () =
    assert!(align_of::<TaskHead>() <= ALIGN / 2 && align_of::<OutcomeHead>() <= ALIGN / 2);

/// How a board of so many slots is laid out.
fn shape(slots: usize, slot_bytes: usize) -> Result<(Shape, Fingerprint)> {
    if slots == 0 || slots > MAX_SLOTS {
        return Err(Error::InvalidArgument("a board has 1 to 1,024 slots"));
    }
    // Each half has room for a head and some bytes, and is aligned as a line is.
    if slot_bytes == 0 || slot_bytes % ALIGN != 0 || slot_bytes > 1 << 24 {
        return Err(Error::InvalidArgument(
            "a slot's bytes are a multiple of 128, and at most 16,777,216",
        ));
    }
    let shape = Shape::new::<RawBoard>(Kind::TaskBoard, slot_bytes, ALIGN)
        .and_for_each_member::<AtomicU32>();
    let (bytes, align) = (slot_bytes as u64, ALIGN as u32);
    let fingerprint = Fingerprint::of_blocks(Kind::TaskBoard, bytes, align, slots as u64);
    Ok((shape, fingerprint))
}
