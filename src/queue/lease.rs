//! Leasing items of a queue: they are this process's until they are completed, and come back if it dies.

use super::bounded::Queue;
use crate::error::{Error, Result};
#[cfg(feature = "async")]
use crate::futures::{Serves, Until, Wanted};
use crate::plain::Plain;
use crate::raw::leases::Leased;
use crate::raw::{Call, MemberId};
use crate::segment::Inner;
#[cfg(feature = "async")]
use crate::select::Receives;
use crate::sys::copy;
use crate::sys::deadline::Deadline;
use std::ops::Deref;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Work that must not be lost with the worker.
impl<T: Plain> Queue<T> {
    /// Leases an item, waiting for one as long as it takes: it stays in the queue, in the name of this process, until the lease is
    /// [`complete`](Lease::complete).
    ///
    /// If the lease is dropped before, or this process dies, the item is delivered again, to whoever leases or receives next, before
    /// those that were never delivered; of several the one that was first leased before the others.
    pub fn lease(&self) -> Result<Lease<T>> {
        self.lease_by(Deadline::NEVER)
    }

    /// Leases an item if there is one; [`Empty`](Error::Empty) otherwise. Waits as [`try_recv`](Self::try_recv) does.
    pub fn try_lease(&self) -> Result<Lease<T>> {
        self.lease_by(Deadline::PASSED)
    }

    /// Leases an item, waiting for one at most `timeout`.
    pub fn lease_timeout(&self, timeout: Duration) -> Result<Lease<T>> {
        self.lease_by(Deadline::after(timeout))
    }

    /// As [`lease`](Self::lease), without a thread that waits: a future for any runtime. Dropped before it is ready, it has leased nothing.
    ///
    /// What holds for all futures is said at [`recv_async`](Self::recv_async).
    #[cfg(feature = "async")]
    pub fn lease_async(&self) -> impl Future<Output = Result<Lease<T>>> + Send + '_ {
        let wanted = || Wanted::signal(self.arrival(), Serves::One);
        Until::new(wanted, || self.try_lease())
    }

    /// Waits as long as it takes until all that was sent has been received, and all that was leased completed.
    ///
    /// It returns also when workers die meanwhile and others do what they left. If none is left, it waits for one to come: to
    /// see to that, use [`join_timeout`](Self::join_timeout). What was done before the items were completed is seen by whoever
    /// returns from here. An item that is sent meanwhile is waited for, too, unless there was a moment before it with nothing left to do.
    pub fn join(&self) -> Result<()> {
        self.join_by(Deadline::NEVER)
    }

    /// As [`join`](Self::join), at once: [`WouldBlock`](Error::WouldBlock) if there is something that is not received, or not completed.
    pub fn try_join(&self) -> Result<()> {
        let call = self.placed.call(Deadline::PASSED)?;
        let drained = self.leases().try_join(&call);
        // As in `try_recv`.
        self.placed.check_whole()?;
        match drained {
            Ok(true) => Ok(()),
            Ok(false) | Err(Error::Timeout) => Err(Error::WouldBlock),
            Err(e) => Err(e),
        }
    }

    /// As [`join`](Self::join), waiting at most `timeout`.
    pub fn join_timeout(&self, timeout: Duration) -> Result<()> {
        self.join_by(Deadline::after(timeout))
    }

    /// How many items were leased a moment ago. Those of a dead process count until somebody has found out, by leasing or
    /// receiving.
    pub fn leased(&self) -> usize {
        self.leases().leased() as usize
    }

    fn lease_by(&self, deadline: Deadline) -> Result<Lease<T>> {
        let call = self.placed.call(deadline)?;
        let mut item = None;
        let read = |at| {
            item = copy::judge(&self.load(at));
            item.is_some()
        };
        let leases = self.leases();
        let leased = if deadline == Deadline::PASSED {
            leases.try_lease(&call, read)
        } else {
            leases.lease(&call, read)
        };
        // As in `try_recv`.
        self.placed.check_whole()?;
        let leased = leased?;
        Ok(Lease {
            item: item.ok_or_else(|| Error::Corrupt)?,
            of: self.clone(),
            me: call.me,
            leased,
            ended: false,
        })
    }

    fn join_by(&self, deadline: Deadline) -> Result<()> {
        let call = self.placed.call(deadline)?;
        let joined = self.leases().join(&call);
        // As in `try_recv`.
        self.placed.check_whole()?;
        joined
    }
}

/// An item of a [`Queue`] that is this process's to work on; dropping it gives it back.
///
/// It dereferences to a copy of the item. While it is held the item takes up its room in the queue. It belongs to the process: any of
/// its threads may complete or drop it, and it keeps the segment attached.
///
/// # When a member dies
/// Holding a lease: the item is delivered again, marked as [redelivered](Self::redelivered), within about 50 ms if somebody
/// waits for an item (with more than 64 members, within a second; longer when the dead had much memory to give back). If nobody waits,
/// whoever leases or receives finds out, at the latest 20 ms after somebody last looked (for each 32 members that the segment
/// has room for), or by a `try_` form in vain. What the dead worker had done of it is the program's to know: it may be all but
/// the call of `complete`.
///
/// In the call of `complete`: the item is completed or comes back.
///
/// A lease that a forked child inherited is inert: it is the parent's, and dropping the child's copy does nothing. One that is
/// leaked is held until this process dies.
///
/// # Fairness
/// None among those who lease. To complete a lease costs about as much as a receive and, if others are leased, a look at each of
/// those at the most, and a copy of one item.
///
/// # Errors
/// Of [`lease`](Queue::lease): those of [`recv`](Queue::recv). [`Closed`](Error::Closed) comes only when nothing is leased any more: what
/// is may come back. So who holds the last lease of a closed queue and waits for another one waits for itself.
///
/// # Bytes
/// None beyond the queue's.
///
/// # Examples
/// ```
/// use commonhold::{Queue, Segment};
///
/// # fn main() -> commonhold::Result<()> {
/// let seg = Segment::anonymous(1 << 16)?;
/// let chunks = Queue::<u64>::create(&seg, "chunks", 100)?;
/// let sum = commonhold::Value::create(&seg, "sum", 0u64)?;
/// chunks.send_all(&[1, 2, 3])?;
///
/// // It could not do it: the chunk goes back.
/// drop(chunks.lease()?);
///
/// let worker = {
///     let (chunks, sum) = (chunks.clone(), sum.clone());
///     std::thread::spawn(move || -> commonhold::Result<()> {
///         let mut again = 0;
///         while let Ok(chunk) = chunks.lease() {
///             again += u32::from(chunk.redelivered());
///             sum.update(|s| *s += *chunk)?;
///             chunk.complete()?;
///         }
///         assert_eq!(again, 1);
///         Ok(())
///     })
/// };
/// chunks.join()?;
/// assert_eq!(sum.get()?, 6);
/// chunks.close();
/// worker.join().unwrap()
/// # }
/// ```
#[must_use = "if unused, the item is given back at once"]
pub struct Lease<T: Plain> {
    item: T,
    of: Queue<T>,
    /// Whose name its cell bears.
    me: MemberId,
    leased: Leased,
    /// By [`complete`](Self::complete).
    ended: bool,
}

impl<T: Plain> Lease<T> {
    /// Whether the item was delivered before: then whoever had it died or gave it back, and may have done a part of what is to be done.
    pub fn redelivered(&self) -> bool {
        self.leased.redelivered
    }

    /// Ends the lease: the item is done with, and its room is free.
    ///
    /// [`InvalidArgument`](Error::InvalidArgument) for a lease that was inherited across a fork: it is the parent's to
    /// complete. [`Corrupt`](Error::Corrupt) if the file was cut short, or a peer scribbled on the queue.
    ///
    /// As receiving does, it waits for those that are just receiving, leasing or completing, as long as it takes.
    pub fn complete(mut self) -> Result<()> {
        if !self.is_mine() {
            self.of.placed.check_whole()?;
            return Err(Error::InvalidArgument(
                "a lease that was inherited across a fork is the parent's to complete",
            ));
        }
        self.ended = true;
        let completed = self.of.leases().complete(&self.call(), self.leased);
        // As in `try_recv`.
        self.of.placed.check_whole()?;
        completed
    }

    #[inline]
    fn is_mine(&self) -> bool {
        self.of.placed.member().load(Ordering::Relaxed) == self.me.bits()
    }

    #[inline]
    fn call(&self) -> Call<'_, Inner> {
        Call {
            members: self.of.placed.inner(),
            me: self.me,
            spin: &self.of.placed.spin,
            deadline: Deadline::NEVER,
        }
    }
}

impl<T: Plain> Deref for Lease<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.item
    }
}

impl<T: Plain> Drop for Lease<T> {
    fn drop(&mut self) {
        if !self.ended && self.is_mine() {
            // An error: the region is lost, or was scribbled on, and so is the lease.
            let _ = self.of.leases().give_back(&self.call(), self.leased);
        }
    }
}

impl<T: Plain + std::fmt::Debug> std::fmt::Debug for Lease<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease")
            .field("item", &self.item)
            .field("redelivered", &self.redelivered())
            .finish_non_exhaustive()
    }
}
