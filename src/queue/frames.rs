//! A ring of messages of any length: what [`Messages`](crate::Messages) and `Channel` are made of.
//!
//! The ring is a [`RawQueue`] whose units are words of 8 bytes. A message is a *frame*: a header, which is one word, and the
//! payload, filled up to whole words. A frame that reaches the ring's end goes on at its beginning.

use super::words::{At, WORD, Words};
use crate::error::{Error, Result};
#[cfg(feature = "async")]
use crate::futures::{Serves, Until, Wanted};
use crate::layout::fingerprint::Kind;
use crate::raw::Call;
use crate::raw::queue::RawQueue;
use crate::raw::queue::frames::{Frame, Room};
use crate::segment::{Inner, Placed, Segment, Shape};
use crate::select::{Awaited, Sends};
use crate::sys::deadline::Deadline;
use std::sync::atomic::{Ordering, fence};

/// The word before each message.
///
/// | mark (48..64) | length (0..48) | meaning |
/// |---|---|---|
/// | that of the header's position and the length | n, of which a frame is there | a message of n bytes |
/// | the same | any other | scribbled |
/// | another | any | scribbled, or no header: where frames begin is no longer known |
///
/// The mark keeps accidents from being taken for lengths; it does not keep anybody from lying.
struct Header;

impl Header {
    const LENGTH: u64 = (1 << 48) - 1;

    #[inline]
    fn word(position: u64, len: u64) -> u64 {
        // Fibonacci hashing: the upper bits depend on all bits.
        let mixed = (position ^ len.rotate_left(32) ^ 0xF3A5).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed & !Self::LENGTH | len
    }

    /// The length that the header at `position` tells, if it is one.
    #[inline]
    fn length(position: u64, word: u64) -> Option<u64> {
        let len = word & Self::LENGTH;
        (word == Self::word(position, len)).then_some(len)
    }
}

/// Words of the frame of a message of so many bytes.
#[inline]
fn frame_words(len: u64) -> u64 {
    // No division that minds numbers near the end of all.
    1 + ((len + 7) >> 3)
}

/// A ring in which any message of up to `placed.len()` bytes has room.
#[derive(Clone)]
pub(super) struct Frames {
    pub(super) placed: Placed<RawQueue>,
    /// Mapped as long as `placed` lives.
    words: Words,
}

const fn shape(kind: Kind) -> Shape {
    // As many bytes as the payload, filled up to a word, and a header.
    Shape::new::<RawQueue>(kind, 1, WORD).and_behind(WORD - 1 + WORD)
}

impl Frames {
    pub(super) fn create<T>(
        segment: &Segment,
        name: &str,
        kind: Kind,
        bytes: usize,
    ) -> Result<Self> {
        check_capacity(bytes)?;
        Self::of(Placed::create::<T>(
            segment,
            name,
            shape(kind),
            bytes,
            |_| {},
        )?)
    }

    pub(super) fn open<T>(segment: &Segment, name: &str, kind: Kind) -> Result<Self> {
        Self::of(Placed::open::<T>(segment, name, shape(kind), None)?)
    }

    pub(super) fn open_or_create<T>(
        segment: &Segment,
        name: &str,
        kind: Kind,
        bytes: usize,
    ) -> Result<Self> {
        check_capacity(bytes)?;
        let placed = Placed::open_or_create::<T>(segment, name, shape(kind), bytes, |_| {})?;
        Self::of(placed)
    }

    fn of(placed: Placed<RawQueue>) -> Result<Self> {
        // None is made without room; one that says so was scribbled on.
        if placed.len() == 0 {
            return Err(Error::Corrupt);
        }
        // SAFETY: the words of the longest message's frame: so many are there, and aligned, by the object's shape.
        let words = unsafe { Words::new(placed.data().cast(), frame_words(placed.len() as u64)) };
        Ok(Frames { placed, words })
    }

    /// Sends the message; at once or not at all if the deadline is [`Deadline::PASSED`].
    #[inline]
    pub(super) fn send(&self, deadline: Deadline, message: &[u8]) -> Result<()> {
        let units = self.units_for(message.len())?;
        let call = self.placed.call(deadline)?;
        match self.raw().reserve_at_once(self.words.len(), &call, units) {
            Some(room) => self.put(room, message),
            None => self.send_later(&call, units, message),
        }
    }

    #[cold]
    fn send_later(&self, call: &Call<'_, Inner>, units: u64, message: &[u8]) -> Result<()> {
        let room = self.raw().reserve_later(self.words.len(), call, units)?;
        self.put(room, message)
    }

    #[inline]
    fn put(&self, room: Room<'_, Inner>, message: &[u8]) -> Result<()> {
        let frame = self.words.at(room.position());
        let header = Header::word(room.position(), message.len() as u64);
        frame.word().store(header, Ordering::Relaxed);
        frame.store_behind(message);
        self.judge(room.publish())
    }

    /// As [`send`](Self::send), with a message that `write` writes in place.
    pub(super) fn send_with<R>(
        &self,
        deadline: Deadline,
        len: usize,
        write: impl FnOnce(&mut [u8]) -> R,
    ) -> Result<R> {
        let units = self.units_for(len)?;
        let call = self.placed.call(deadline)?;
        let mut copy = Vec::new();
        loop {
            let room = self.raw().reserve(self.words.len(), &call, units)?;
            let frame = self.words.at(room.position());
            let (result, written) = match frame.in_one_piece(len) {
                Some(bytes) => {
                    // SAFETY: the bytes are mapped, and nobody who keeps the protocol looks at them before they are published.
                    let result = write(unsafe { std::slice::from_raw_parts_mut(bytes, len) });
                    (result, &[][..])
                }
                None if copy.len() < len => {
                    // Not under the lock, which others want.
                    drop(room);
                    copy = zeros(len)?;
                    continue;
                }
                None => (write(&mut copy), &copy[..]),
            };
            // The room is not that of a child that `write` forked: others' bytes may stand there by now.
            self.judge(room.check_ours())?;
            frame.store_behind(written);
            let header = Header::word(room.position(), len as u64);
            frame.word().store(header, Ordering::Relaxed);
            self.judge(room.publish())?;
            return Ok(result);
        }
    }

    /// Receives a message in the place of what `message` holds; if that is an error, `message` is empty. At once or not at all if
    /// the deadline is [`Deadline::PASSED`].
    #[inline]
    pub(super) fn recv(&self, deadline: Deadline, message: &mut Vec<u8>) -> Result<usize> {
        message.clear();
        let call = self.placed.call(deadline)?;
        let words = self.words.len();
        if let Some((next, looked)) = self.raw().next_frame_at_once(words, &call) {
            let frame = self.words.at(next.position());
            if let Some((len, units)) = self.length(&next, frame) {
                if looked {
                    call.spin.looked(next.filled() / units, words / units);
                }
                if let Some(room) = message.spare_capacity_mut().get_mut(..len) {
                    frame.load_behind(room);
                    self.judge(take(next, units))?;
                    // SAFETY: the capacity is as much, and all of it was filled.
                    unsafe { message.set_len(len) };
                    return Ok(len);
                }
            }
        }
        self.judge(self.recv_later(&call, message))
    }

    #[cold]
    fn recv_later(&self, call: &Call<'_, Inner>, message: &mut Vec<u8>) -> Result<usize> {
        loop {
            let (next, (len, units)) = self.next_later(call)?;
            if let Some(room) = message.spare_capacity_mut().get_mut(..len) {
                self.words.at(next.position()).load_behind(room);
                take(next, units)?;
                // SAFETY: as in `recv`.
                unsafe { message.set_len(len) };
                return Ok(len);
            }
            // Not under the lock, which others want. The message stays for now.
            drop(next);
            reserve(message, len)?;
        }
    }

    /// The next frame, where it is not there at once, and its [`length`](Self::length).
    #[cold]
    fn next_later<'a>(
        &'a self,
        call: &'a Call<'a, Inner>,
    ) -> Result<(Frame<'a, Inner>, (usize, u64))> {
        let words = self.words.len();
        let looks = self.raw().known_items() == 0;
        let (next, has_waited) = self.raw().next_frame_later(words, call)?;
        let Some((len, units)) = self.length(&next, self.words.at(next.position())) else {
            return self.lose_all(next);
        };
        if has_waited {
            call.spin.found(next.filled() > units);
        }
        if looks {
            call.spin.looked(next.filled() / units, words / units);
        }
        Ok((next, (len, units)))
    }

    /// As [`recv`](Self::recv), with a message that `read` reads in place.
    pub(super) fn recv_with<R>(
        &self,
        deadline: Deadline,
        read: impl FnOnce(&[u8]) -> R,
    ) -> Result<R> {
        self.judge(self.recv_in_place(deadline, read))
    }

    fn recv_in_place<R>(&self, deadline: Deadline, read: impl FnOnce(&[u8]) -> R) -> Result<R> {
        let call = self.placed.call(deadline)?;
        let mut copy = Vec::new();
        loop {
            let words = self.words.len();
            let (next, (len, units)) = match self.raw().next_frame_at_once(words, &call) {
                Some((next, looked)) => {
                    let Some(length) = self.length(&next, self.words.at(next.position())) else {
                        return self.lose_all(next);
                    };
                    if looked {
                        call.spin.looked(next.filled() / length.1, words / length.1);
                    }
                    (next, length)
                }
                None => self.next_later(&call)?,
            };
            let frame = self.words.at(next.position());
            let result = match frame.in_one_piece(len) {
                // SAFETY: the bytes are mapped, and nobody who keeps the protocol writes to them before they are taken.
                Some(bytes) => read(unsafe { std::slice::from_raw_parts(bytes, len) }),
                None if copy.capacity() < len => {
                    drop(next);
                    reserve(&mut copy, len)?;
                    continue;
                }
                None => {
                    frame.load_behind(&mut copy.spare_capacity_mut()[..len]);
                    // SAFETY: the capacity is as much, and all of it was filled.
                    unsafe { copy.set_len(len) };
                    read(&copy)
                }
            };
            take(next, units)?;
            return Ok(result);
        }
    }

    /// As [`send`](Self::send), by a future.
    #[cfg(feature = "async")]
    pub(super) fn send_async<'a>(
        &'a self,
        message: impl AsRef<[u8]> + Send + 'a,
    ) -> impl Future<Output = Result<()>> + Send + 'a {
        // Each is told of any room, since only it knows how much it needs.
        let len = message.as_ref().len();
        let wanted = move || {
            let units = frame_words(len as u64);
            Wanted::signal(self.room_of(units), Serves::All)
        };
        Until::new(wanted, move || {
            self.send(Deadline::PASSED, message.as_ref())
        })
    }

    /// That there is room for so many words, or never again.
    fn room_of(&self, units: u64) -> Awaited {
        let words = self.words.len();
        let ready =
            move |placed: &Placed<RawQueue>, _| placed.control().is_worth_sending(words, units);
        Awaited::new(&self.placed, |raw| &raw.idle.not_full, ready)
    }

    /// That there is a message, or that none will come.
    pub(super) fn arrival(&self) -> Awaited {
        let ready = |placed: &Placed<RawQueue>, _| placed.control().is_worth_receiving();
        Awaited::new(&self.placed, |raw| &raw.idle.not_empty, ready)
    }

    /// What a select waits for with a message of so many bytes.
    pub(super) fn room_for(&self, len: usize) -> Result<MessageRoom> {
        Ok(MessageRoom {
            units: self.units_for(len)?,
            frames: self.clone(),
        })
    }

    /// Bytes of the ring that were taken a moment ago.
    pub(super) fn used(&self) -> usize {
        self.raw().len(self.words.len()) as usize * WORD
    }

    /// Bytes of the longest message.
    pub(super) fn capacity(&self) -> usize {
        self.placed.len()
    }

    pub(super) fn close(&self) {
        let closed = self
            .placed
            .call(Deadline::NEVER)
            .and_then(|call| self.raw().close(&call));
        if closed.is_err() {
            // Only a forked child for which no member slot is left comes here.
            self.raw().idle.close_without_lock();
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.raw().is_closed()
    }

    #[inline]
    fn raw(&self) -> &RawQueue {
        self.placed.control()
    }

    /// Words for a message of so many bytes, if one so long can be sent.
    #[inline]
    fn units_for(&self, len: usize) -> Result<u64> {
        if len > self.capacity() {
            return Err(Error::TooLarge {
                requested: len as u64,
                limit: self.capacity() as u64,
            });
        }
        Ok(frame_words(len as u64))
    }

    /// The length of the message in the frame that is there, and the frame's words; `None` if its header tells none that can be.
    #[inline]
    fn length(&self, next: &Frame<'_, Inner>, frame: At<'_>) -> Option<(usize, u64)> {
        let header = frame.word().load(Ordering::Relaxed);
        let len = Header::length(next.position(), header)?;
        let units = frame_words(len);
        (len <= self.capacity() as u64 && units <= next.filled()).then_some((len as usize, units))
    }

    /// Where frames begin is no longer known: takes all out, so that what is sent from now on is found.
    #[cold]
    fn lose_all<R>(&self, frame: Frame<'_, Inner>) -> Result<R> {
        frame.take_all(self.words.len())?;
        Err(Error::Corrupt)
    }

    /// How an operation ends. One that could not be made was cut off from the region, or is that of a forked child.
    #[inline]
    fn judge<R>(&self, end: Result<R>) -> Result<R> {
        end.or_else(|e| self.judge_error(e))
    }

    #[cold]
    fn judge_error<R>(&self, error: Error) -> Result<R> {
        self.placed.check_whole().and(Err(error))
    }
}

/// Room for a message of a certain length, for a [`Select`](crate::Select) to wait for; made by
/// [`Messages::room_for`](crate::Messages::room_for) and `Channel::room_for`.
///
/// It reserves nothing: when it is there, `try_send` may still find that another was quicker.
#[derive(Clone)]
pub struct MessageRoom {
    frames: Frames,
    units: u64,
}

impl Sends for MessageRoom {
    fn room(&self) -> Awaited {
        self.frames.room_of(self.units)
    }
}

impl std::fmt::Debug for MessageRoom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MessageRoom")
            .field("of", &self.frames)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Frames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.placed.fmt(f)
    }
}

/// The end of a receive of a frame of so many words, which were read. If it succeeds, they were those of the region, and not what stands
/// in its place if it is lost: who has lost it is no member any more, and one who is none takes no frame.
#[inline]
fn take(next: Frame<'_, Inner>, units: u64) -> Result<()> {
    // The readings come before that look; see `TruncationGuard::is_lost`.
    fence(Ordering::Acquire);
    next.take(units)
}

/// Makes `bytes`, which is empty, hold `len`.
#[cold]
fn reserve(bytes: &mut Vec<u8>, len: usize) -> Result<()> {
    bytes.try_reserve(len).map_err(|_| Error::no_memory(len))
}

fn zeros(len: usize) -> Result<Vec<u8>> {
    let mut zeros = Vec::new();
    reserve(&mut zeros, len)?;
    zeros.resize(len, 0);
    Ok(zeros)
}

fn check_capacity(bytes: usize) -> Result<()> {
    if bytes == 0 {
        return Err(Error::InvalidArgument("a capacity must be at least 1 byte"));
    }
    Ok(())
}
