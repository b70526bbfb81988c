//! The receiving side of a broadcast.

use super::broadcast::Broadcast;
use crate::error::{Error, Result};
#[cfg(feature = "async")]
use crate::futures::when_ready;
use crate::plain::Plain;
use crate::raw::broadcast::{Found, RawBroadcast, Subscription};
use crate::raw::select::Source;
use crate::raw::signal::RawSignal;
use crate::raw::wait::Look;
use crate::raw::{Call, MemberId};
use crate::segment::{Inner, Placed};
use crate::select::{Awaited, Receives, Shown};
use crate::sys::copy;
use crate::sys::deadline::Deadline;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How many items are copied between two looks whether publishers have overtaken.
const PIECE: usize = 16;

/// Receives every item that is sent to a [`Broadcast`].
///
/// Made by [`Broadcast::subscribe`], which makes publishers wait for it, or by [`Broadcast::subscribe_lossy`]. It receives what was
/// sent after that. It may go to another thread, but is not shared or cloned: for another one, [`resubscribe`](Self::resubscribe).
///
/// A subscriber that a forked child inherited is inert: it is the parent's. The child's calls are
/// [`InvalidArgument`](Error::InvalidArgument), and dropping its copy does nothing; it may `resubscribe`. A lossless one that is leaked
/// is waited for until this process detaches or dies.
#[must_use = "if unused, it is unsubscribed at once"]
pub struct Subscriber<T> {
    of: Broadcast<T>,
    /// Who subscribed.
    me: MemberId,
    /// Of a lossless one: the number of its record.
    record: Option<usize>,
    /// The position of the item to receive next. To publishers the record shows it; it is never read from there.
    cursor: Shown,
    /// Whether publishers overtook in the last receive.
    overtaken: bool,
}

impl<T: Plain> Subscriber<T> {
    pub(super) fn new(of: Broadcast<T>, me: MemberId, record: Option<usize>, cursor: u64) -> Self {
        Subscriber {
            of,
            me,
            record,
            cursor: Shown::new(cursor),
            overtaken: false,
        }
    }

    /// Receives the next item, waiting for one as long as it takes.
    #[inline]
    pub fn recv(&mut self) -> Result<T> {
        self.recv_by(Deadline::NEVER)
    }

    /// Receives the next item if it is there; [`Empty`](Error::Empty) otherwise.
    #[inline]
    pub fn try_recv(&mut self) -> Result<T> {
        self.call(Deadline::PASSED)?;
        let of = &self.of;
        let mut bits = None;
        let found = of.raw().look(of.slots(), self.cursor.get(), 1, |at, _| {
            bits = Some(of.load(at));
            1
        });
        self.take(found, bits)
    }

    /// Receives the next item, waiting for it at most `timeout`.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<T> {
        self.recv_by(Deadline::after(timeout))
    }

    /// As [`recv`](Self::recv), without a thread that waits: a future for any runtime. Dropped before it is ready, it has received
    /// nothing.
    ///
    /// What holds for all futures is said at [`Queue::recv_async`](crate::Queue::recv_async).
    #[cfg(feature = "async")]
    pub fn recv_async(&mut self) -> impl Future<Output = Result<T>> + Send + '_ {
        when_ready(self, Receives::arrival, Self::try_recv)
    }

    /// Waits for an item as long as it takes, then receives up to `max` of those that are there, appends them to `items`,
    /// and says how many.
    pub fn recv_many(&mut self, items: &mut Vec<T>, max: usize) -> Result<usize> {
        self.recv_many_by(items, max, Some(Deadline::NEVER))
    }

    /// As [`recv_many`](Self::recv_many), without waiting; [`Empty`](Error::Empty) if there is nothing.
    pub fn try_recv_many(&mut self, items: &mut Vec<T>, max: usize) -> Result<usize> {
        self.recv_many_by(items, max, None)
    }

    /// As [`recv_many`](Self::recv_many), waiting for the first item at most `timeout`.
    pub fn recv_many_timeout(
        &mut self,
        items: &mut Vec<T>,
        max: usize,
        timeout: Duration,
    ) -> Result<usize> {
        self.recv_many_by(items, max, Some(Deadline::after(timeout)))
    }

    /// Receives, one after another, until the broadcast is closed and all that was sent is received. A lossy subscriber goes on
    /// after what it missed.
    ///
    /// It ends at any other error, too; to see which, or how many were missed, loop over [`recv`](Self::recv).
    pub fn iter(&mut self) -> Received<'_, T> {
        Received { subscriber: self }
    }

    /// How many items there were a moment ago that this subscriber has not received: at most the capacity.
    pub fn len(&self) -> usize {
        self.of.raw().len(self.of.slots(), self.cursor.get()) as usize
    }

    /// Whether there was none a moment ago.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether publishers never wait for it.
    pub fn is_lossy(&self) -> bool {
        self.record.is_none()
    }

    /// The broadcast that it receives from.
    pub fn broadcast(&self) -> &Broadcast<T> {
        &self.of
    }

    /// A new subscriber of the same kind, that receives what is sent from here on. Of a lossy one that fell far behind it
    /// is a quick way to the newest.
    pub fn resubscribe(&self) -> Result<Subscriber<T>> {
        match self.record {
            Some(_) => self.of.subscribe(),
            None => self.of.subscribe_lossy(),
        }
    }

    #[inline]
    fn recv_by(&mut self, deadline: Deadline) -> Result<T> {
        let call = self.call(deadline)?;
        let of = &self.of;
        let mut bits = None;
        let record = record(&of.placed, self.record);
        let read = |at, _| {
            bits = Some(of.load(at));
            1
        };
        let found = of
            .raw()
            .recv(record, of.slots(), &call, self.cursor.get(), 1, read);
        self.take(found, bits)
    }

    /// Takes the one item that was found.
    #[inline]
    fn take(&mut self, found: Result<Found>, bits: Option<T::Bits>) -> Result<T> {
        // Before the error, too: where nothing is, the region may have been cut off.
        self.of.placed.check_whole()?;
        match found? {
            Found::Nothing => Err(self.found_nothing()),
            Found::Items(n) => {
                self.advance(self.cursor.get().wrapping_add(n));
                self.overtaken = false;
                bits.as_ref()
                    .and_then(copy::judge)
                    .ok_or_else(|| Error::Corrupt)
            }
            Found::Overtaken(oldest) => Err(self.go_on_after(oldest)),
        }
    }

    /// Without a deadline it does not wait.
    fn recv_many_by(
        &mut self,
        items: &mut Vec<T>,
        max: usize,
        deadline: Option<Deadline>,
    ) -> Result<usize> {
        let call = self.call(deadline.unwrap_or(Deadline::PASSED))?;
        let of = &self.of;
        let max = max.min(of.capacity());
        if max == 0 {
            return Ok(0);
        }
        // What the capacity is, the broadcast's maker said, and there need not be as much memory.
        items
            .try_reserve(max)
            .map_err(|_| Error::no_memory(max * size_of::<T>()))?;
        let (raw, slots, before) = (of.raw(), of.slots(), items.len());
        let record = record(&of.placed, self.record);
        let mut at = self.cursor.get();
        let first = loop {
            let there = items.len();
            let wanted = PIECE.min(before + max - there) as u64;
            let read = |at: u64, n: u64| {
                for i in 0..n {
                    match copy::judge(&of.load(at.wrapping_add(i))) {
                        Some(item) => items.push(item),
                        // It ends this piece; the next one begins with it.
                        None => return i.max(1),
                    }
                }
                n
            };
            let is_first = at == self.cursor.get();
            let found = match deadline {
                Some(_) if is_first => raw.recv(record, slots, &call, at, wanted, read),
                _ => raw.look(slots, at, wanted, read),
            };
            let Ok(Found::Items(n)) = found else {
                items.truncate(there);
                break found;
            };
            let read = (items.len() - there) as u64;
            // Of an item that is none, there is something to say: if it is not the first, the next time.
            if read == n || is_first {
                at = at.wrapping_add(n);
            }
            if read < wanted || items.len() - before == max {
                break found;
            }
        };
        if let Err(e) = of.placed.check_whole() {
            items.truncate(before);
            return Err(e);
        }
        if at != self.cursor.get() {
            self.advance(at);
            self.overtaken = false;
            return match items.len() - before {
                0 => Err(Error::Corrupt),
                n => Ok(n),
            };
        }
        // There was not even the first. What is met behind it, the next call finds again.
        match first? {
            Found::Overtaken(oldest) => Err(self.go_on_after(oldest)),
            _ => Err(self.found_nothing()),
        }
    }

    /// There is nothing at the cursor.
    fn found_nothing(&self) -> Error {
        if let Some(record) = record(&self.of.placed, self.record) {
            self.of.raw().mend(record, self.cursor.get());
        }
        Error::Empty
    }

    /// Publishers have overtaken: goes on with the oldest item that is still there.
    #[cold]
    fn go_on_after(&mut self, oldest: u64) -> Error {
        let missed = oldest.wrapping_sub(self.cursor.get()) as i64;
        let mut next = oldest;
        if self.overtaken {
            // Again, before it got anything: the oldest is gone too soon.
            let there = self.of.raw().len(self.of.slots(), oldest);
            next = next.wrapping_add(there.min(self.of.slots() / 4));
        }
        let lagged = next.wrapping_sub(self.cursor.get());
        self.overtaken = true;
        self.advance(next);
        if missed > 0 && self.is_lossy() {
            Error::Lagged(lagged)
        } else {
            // Publishers do not overtake a lossless one, and nobody goes back.
            Error::Corrupt
        }
    }

    /// Has received all before `next`.
    #[inline]
    fn advance(&mut self, next: u64) {
        if let Some(record) = record(&self.of.placed, self.record) {
            self.of.raw().advance(record, self.cursor.get(), next);
        }
        self.cursor.set(next);
    }

    /// `Err`: it is the parent's.
    #[inline]
    fn call(&self, deadline: Deadline) -> Result<Call<'_, Inner>> {
        let placed = &self.of.placed;
        if placed.member().load(Ordering::Relaxed) != self.me.bits() {
            placed.check_whole()?;
            return Err(Error::InvalidArgument(
                "the subscriber was inherited across a fork: it is the parent's, resubscribe in the child",
            ));
        }
        Ok(Call {
            members: placed.inner(),
            me: self.me,
            spin: &placed.spin,
            deadline,
        })
    }
}

/// The record of that number, if any.
#[inline]
fn record(placed: &Placed<RawBroadcast>, number: Option<usize>) -> Option<&Subscription> {
    placed.of_members::<Subscription>().get(number?)
}

impl<T> Drop for Subscriber<T> {
    fn drop(&mut self) {
        let placed = &self.of.placed;
        if placed.member().load(Ordering::Relaxed) != self.me.bits() {
            // A forked child's copy: the parent is subscribed. Or the region is lost.
            return;
        }
        if let Some(record) = record(placed, self.record) {
            placed
                .control()
                .unsubscribe(record, self.me, self.cursor.get());
        }
    }
}

impl<T: Plain> Receives for Subscriber<T> {
    fn arrival(&self) -> Awaited {
        Awaited::of(Arrival {
            placed: self.of.placed.clone(),
            me: self.me,
            cursor: self.cursor.show(),
        })
    }
}

/// That there is something at a subscriber's cursor, or that nothing more will come.
struct Arrival {
    placed: Placed<RawBroadcast>,
    me: MemberId,
    cursor: Arc<AtomicU64>,
}

impl Source<Inner> for Arrival {
    fn members(&self) -> &Inner {
        self.placed.inner()
    }

    fn signal(&self) -> &RawSignal {
        &self.placed.control().idle.not_empty
    }

    fn is_ready(&self, _: Look) -> bool {
        let raw = self.placed.control();
        // A former cursor is behind the end: it makes ready, and never keeps anything from being so.
        raw.end() != self.cursor.load(Ordering::Relaxed)
            || raw.is_closed()
            // The call says what is wrong.
            || self.placed.member().load(Ordering::Relaxed) != self.me.bits()
    }
}

/// What a subscriber receives, one after another; see [`Subscriber::iter`].
#[derive(Debug)]
pub struct Received<'a, T> {
    subscriber: &'a mut Subscriber<T>,
}

impl<T: Plain> Iterator for Received<'_, T> {
    type Item = T;
    fn next(&mut self) -> Option<T> {
        loop {
            match self.subscriber.recv() {
                Err(Error::Lagged(_)) => {}
                other => return other.ok(),
            }
        }
    }
}

impl<'a, T: Plain> IntoIterator for &'a mut Subscriber<T> {
    type Item = T;
    type IntoIter = Received<'a, T>;
    fn into_iter(self) -> Received<'a, T> {
        self.iter()
    }
}

impl<T> std::fmt::Debug for Subscriber<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscriber")
            .field("of", &self.of.placed)
            .field("lossless", &self.record.is_some())
            .finish_non_exhaustive()
    }
}
