//! An end of a pipe: sending and receiving.

#[cfg(feature = "async")]
mod futures;
mod ready;
mod turns;

pub use ready::PipeRoom;

use super::pieces::Piece;
use crate::error::{Error, Result};
use crate::queue::words::Words;
use crate::raw::pipe::{Cursor, RawPipe, Side, Taken};
use crate::raw::wait::Look;
use crate::raw::{Call, MemberId};
use crate::segment::{Inner, Placed};
use crate::sys::deadline::Deadline;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use turns::Turns;

/// An end of a [`Pipe`](super::Pipe), held by this process; dropping it gives it up, and its peer is told.
///
/// Threads may share it (by reference, or in an [`Arc`]): one that sends while another receives, also when both directions carry
/// large messages. A process that only sends, while its peer only sends, too, waits when the pipe is full, as with any pipe, until
/// somebody receives.
///
/// An end that a forked child inherited is inert: it is the parent's, all calls say [`InvalidArgument`](Error::InvalidArgument), and
/// dropping it does nothing. One that is leaked is held until this process detaches or dies.
///
/// See [`Pipe`](super::Pipe) for what a death leaves, and for the errors.
#[must_use = "if unused, the end is given up at once, and the peer finds the pipe closed"]
pub struct PipeEnd {
    placed: Placed<RawPipe>,
    side: Side,
    /// Whose claim stands for this end.
    me: MemberId,
    /// The lane on which this end sends, and the one on which it receives.
    from: Words,
    to: Words,
    sending: Turns<Cursor>,
    receiving: Turns<Arriving>,
    /// Whether a message in several pieces was taken out, all of it, and not received: for those who have not got the turn.
    gathered: Arc<AtomicBool>,
    /// The longest message that is received.
    limit: AtomicUsize,
}

/// What has arrived, and of a message in several pieces what was taken out already.
struct Arriving {
    at: Cursor,
    pieces: Vec<u8>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No message has been begun.
    Nothing,
    /// `pieces` are the beginning of one.
    Part,
    /// `pieces` are the next message.
    Whole,
}

/// Where the next message is.
enum Next {
    /// In the lane: one piece.
    Lane(Piece),
    /// In `pieces`.
    Gathered,
}

impl Arriving {
    /// The message that was begun will not be ended.
    fn forget(&mut self) {
        self.pieces.clear();
        self.state = State::Nothing;
    }
}

impl PipeEnd {
    pub(super) fn new(
        placed: Placed<RawPipe>,
        side: Side,
        me: MemberId,
        taken: Taken,
        from: Words,
        to: Words,
    ) -> PipeEnd {
        let arriving = Arriving {
            at: taken.arriving,
            pieces: Vec::new(),
            state: State::Nothing,
        };
        PipeEnd {
            placed,
            side,
            me,
            from,
            to,
            sending: Turns::of(taken.out),
            receiving: Turns::of(arriving),
            gathered: Arc::new(AtomicBool::new(false)),
            limit: AtomicUsize::new(usize::MAX),
        }
    }

    /// Sends a message, waiting for room as long as it takes.
    ///
    /// One that is larger than the pipe goes in pieces, and is sent when the peer has received all but the last ones. If the
    /// peer goes meanwhile, it is [`Closed`](Error::Closed).
    #[inline]
    pub fn send(&self, message: &[u8]) -> Result<()> {
        self.send_by(Deadline::NEVER, message)
    }

    /// Sends a message if there is room for all of it; [`Full`](Error::Full) otherwise, and [`TooLarge`](Error::TooLarge) if there never is.
    ///
    /// It waits for another thread that is sending at most a millisecond; if that takes longer, it is `Full`, too.
    #[inline]
    pub fn try_send(&self, message: &[u8]) -> Result<()> {
        let call = self.call(Deadline::PASSED)?;
        let piece = self.in_one_piece(message.len())?;
        let mut attempt = |look| {
            let mut at = self.sending.next(&call)?;
            self.put(&mut at, piece, message, &call, look)
        };
        let sent = tried(&mut attempt, Error::Full);
        self.placed.check_whole()?;
        sent
    }

    /// Sends a message, waiting for room at most `timeout`. If it is not sent by then, no part of it is received.
    pub fn send_timeout(&self, message: &[u8], timeout: Duration) -> Result<()> {
        self.send_by(Deadline::after(timeout), message)
    }

    /// Receives a message, waiting for one as long as it takes; puts it in the place of what was in `message`, and says how long it is.
    ///
    /// An error leaves `message` as it was, or empty. The vector's memory is used again where that is possible; for messages that are
    /// larger than the pipe, this end keeps one such vector.
    #[inline]
    pub fn recv(&self, message: &mut Vec<u8>) -> Result<usize> {
        self.recv_by(Deadline::NEVER, message)
    }

    /// Receives a message if there is one; [`Empty`](Error::Empty) otherwise.
    ///
    /// It waits for another thread that is receiving at most a millisecond; if that takes longer, it is `Empty`, too.
    #[inline]
    pub fn try_recv(&self, message: &mut Vec<u8>) -> Result<usize> {
        let call = self.call(Deadline::PASSED)?;
        let mut attempt = |look| self.receive(&call, look, message);
        let received = tried(&mut attempt, Error::Empty);
        self.received(received, message)
    }

    /// Receives a message, waiting for one at most `timeout`. Of one that is larger than the pipe, and has arrived in part by then, nothing
    /// is lost.
    pub fn recv_timeout(&self, message: &mut Vec<u8>, timeout: Duration) -> Result<usize> {
        self.recv_by(Deadline::after(timeout), message)
    }

    /// Waits at most `timeout` until a [`recv`](Self::recv) need not wait, and says whether that is so: a whole message is there, or the peer is
    /// gone, and `recv` would say [`Closed`](Error::Closed).
    ///
    /// Another thread may be quicker to receive it.
    pub fn poll(&self, timeout: Duration) -> Result<bool> {
        let deadline = match timeout {
            Duration::ZERO => Deadline::PASSED,
            _ => Deadline::after(timeout),
        };
        let call = self.call(deadline)?;
        let mut attempt = |look| {
            let mut arriving = self.receiving.next(&call)?;
            Ok(self.gather(&mut arriving, &call, look)?.is_some())
        };
        let waited = match timeout {
            Duration::ZERO => tried(&mut attempt, Error::Timeout),
            _ => self.wait_for_arrival(&call, attempt),
        };
        self.placed.check_whole()?;
        match waited {
            Ok(()) | Err(Error::Closed) => Ok(true),
            Err(Error::Timeout) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// From here on, a message of more than so many bytes is thrown away, and whoever receives (or polls) gets
    /// [`TooLarge`](Error::TooLarge) in its stead. By default there is no limit: a message takes as much memory as its sender sends, which
    /// is too much for one who does not trust the peer.
    pub fn limit_messages(&self, bytes: usize) {
        // Relaxed: it orders nothing.
        self.limit.store(bytes, Ordering::Relaxed);
    }

    /// Whether the peer is gone, or this end is inert or lost: then nothing can be sent any more. There may still be messages to be
    /// received. Asks the kernel.
    pub fn is_closed(&self) -> bool {
        match self.call(Deadline::PASSED) {
            Ok(call) => self
                .raw()
                .peer_is_gone(self.side, &call, Look::AskingAfterOwners),
            Err(_) => true,
        }
    }

    /// Receives, one after another, until the peer is gone and all that it sent was received.
    ///
    /// It ends at any other error, too; to see which, loop over [`recv`](Self::recv).
    pub fn iter(&self) -> PipeIter<'_> {
        PipeIter { end: self }
    }

    /// The piece that is all of a message of so many bytes, if the pipe can take one.
    #[inline]
    fn in_one_piece(&self, len: usize) -> Result<Piece> {
        let piece = Piece::whole(len);
        if piece.words() > self.from.len() {
            return Err(Error::TooLarge {
                requested: len as u64,
                limit: self.placed.len() as u64,
            });
        }
        Ok(piece)
    }

    #[inline]
    fn send_by(&self, deadline: Deadline, message: &[u8]) -> Result<()> {
        let call = self.call(deadline)?;
        let piece = Piece::whole(message.len());
        let sent = match self.sending.at_once(&call) {
            Some(mut at) if piece.words() <= self.from.len() => {
                self.put(&mut at, piece, message, &call, Look::AtOnce)
            }
            _ => Ok(false),
        };
        match sent {
            Ok(true) => self.placed.check_whole(),
            Ok(false) => self.send_later(&call, piece, message),
            Err(e) => self.placed.check_whole().and(Err(e)),
        }
    }

    /// After an attempt that was in vain, or for which it was not this thread's turn.
    #[cold]
    fn send_later(&self, call: &Call<'_, Inner>, piece: Piece, message: &[u8]) -> Result<()> {
        let sent = if piece.words() > self.from.len() {
            self.send_in_pieces(call, message)
        } else {
            self.wait_for_room(call, piece, |look| {
                let mut at = self.sending.next(call)?;
                self.put(&mut at, piece, message, call, look)
            })
        };
        self.placed.check_whole()?;
        sent
    }

    /// Sends a message that is larger than the pipe. If it does not come to the end, the next message's first piece tells the receiver.
    #[cold]
    fn send_in_pieces(&self, call: &Call<'_, Inner>, message: &[u8]) -> Result<()> {
        // For all of it: no other thread's message comes in between.
        let mut at = self.sending.next(call)?;
        let mut rest = message;
        while !rest.is_empty() {
            let (piece, now, later) = self.next_piece(message, rest);
            if !piece.first && call.deadline.has_passed() {
                return Err(Error::Timeout);
            }
            self.wait_for_room(call, piece, |look| {
                self.put(&mut at, piece, now, call, look)
            })?;
            rest = later;
        }
        Ok(())
    }

    /// Of a message that goes in pieces, and has this rest: the next one, its bytes, and the rest behind it.
    fn next_piece<'m>(&self, message: &[u8], rest: &'m [u8]) -> (Piece, &'m [u8], &'m [u8]) {
        // Quarters, so that the two sides are at work at once.
        let most = (self.from.len() / 4).max(2) as usize * 8 - 8;
        let (now, later) = rest.split_at(most.min(rest.len()));
        let piece = Piece {
            len: now.len(),
            first: rest.len() == message.len(),
            last: later.is_empty(),
        };
        (piece, now, later)
    }

    #[inline]
    fn wait_for_room(
        &self,
        call: &Call<'_, Inner>,
        piece: Piece,
        attempt: impl FnMut(Look) -> Result<bool>,
    ) -> Result<()> {
        self.raw()
            .wait_for_room(self.side, self.from.len(), piece.words(), call, attempt)
    }

    /// Sends a piece if there is room for it.
    #[inline]
    fn put(
        &self,
        at: &mut Cursor,
        piece: Piece,
        bytes: &[u8],
        call: &Call<'_, Inner>,
        look: Look,
    ) -> Result<bool> {
        let words = self.from.len();
        if !self
            .raw()
            .has_room(self.side, words, at, piece.words(), call, look)?
        {
            return Ok(false);
        }
        self.from.write_piece(at.own, piece, bytes);
        self.raw().publish(self.side, at, piece.words());
        Ok(true)
    }

    #[inline]
    fn recv_by(&self, deadline: Deadline, message: &mut Vec<u8>) -> Result<usize> {
        let call = self.call(deadline)?;
        let received = match self.receiving.at_once(&call) {
            Some(mut arriving) => self.take(&mut arriving, &call, Look::AtOnce, message),
            None => Ok(false),
        };
        match received {
            Ok(true) => self.received(Ok(()), message),
            Ok(false) => self.recv_later(&call, message),
            Err(e) => self.received(Err(e), message),
        }
    }

    /// As [`send_later`](Self::send_later).
    #[cold]
    fn recv_later(&self, call: &Call<'_, Inner>, message: &mut Vec<u8>) -> Result<usize> {
        let attempt = |look| self.receive(call, look, message);
        let received = self.wait_for_arrival(call, attempt);
        self.received(received, message)
    }

    #[inline]
    fn received(&self, received: Result<()>, message: &mut Vec<u8>) -> Result<usize> {
        // Before the error, too: an empty pipe may be one that was cut off.
        self.placed.check_whole().inspect_err(|_| message.clear())?;
        received.map(|()| message.len())
    }

    #[inline]
    fn wait_for_arrival(
        &self,
        call: &Call<'_, Inner>,
        attempt: impl FnMut(Look) -> Result<bool>,
    ) -> Result<()> {
        // Relaxed: who sees that the last piece was given back sees this, too.
        let gathered = || self.gathered.load(Ordering::Relaxed);
        self.raw()
            .wait_for_arrival(self.side, call, attempt, gathered)
    }

    /// Receives a message if one is there.
    fn receive(&self, call: &Call<'_, Inner>, look: Look, message: &mut Vec<u8>) -> Result<bool> {
        let mut arriving = self.receiving.next(call)?;
        self.take(&mut arriving, call, look, message)
    }

    #[inline]
    fn take(
        &self,
        arriving: &mut Arriving,
        call: &Call<'_, Inner>,
        look: Look,
        message: &mut Vec<u8>,
    ) -> Result<bool> {
        let Some(next) = self.gather(arriving, call, look)? else {
            return Ok(false);
        };
        match next {
            Next::Gathered => {
                std::mem::swap(message, &mut arriving.pieces);
                arriving.forget();
                self.gathered.store(false, Ordering::Relaxed);
            }
            Next::Lane(piece) => {
                message.clear();
                // No more than the lane holds.
                message
                    .try_reserve(piece.len)
                    .map_err(|_| Error::no_memory(piece.len))?;
                self.to.read_piece(arriving.at.own, piece, message);
                self.raw()
                    .give_back(self.side, &mut arriving.at, piece.words());
            }
        }
        Ok(true)
    }

    /// Finds the next message, if all of it has arrived. The pieces of one in several are taken out, to make room for the rest of it; but
    /// in one call no more than a lane holds, lest a peer that sends and sends keep us here.
    #[inline]
    fn gather(
        &self,
        arriving: &mut Arriving,
        call: &Call<'_, Inner>,
        look: Look,
    ) -> Result<Option<Next>> {
        let mut taken = 0;
        while arriving.state != State::Whole {
            let at = &mut arriving.at;
            let filled = match self.raw().arrived(self.side, self.to.len(), at, call, look) {
                Ok(0) => return Ok(None),
                Ok(filled) => filled,
                Err(e) => {
                    if matches!(e, Error::Closed | Error::Corrupt) {
                        arriving.forget();
                    }
                    return Err(e);
                }
            };
            let Some(piece) = self.to.piece(at.own, filled) else {
                // Where the next piece begins is not known any more: all that is here goes.
                self.raw().skip(self.side, at);
                arriving.forget();
                return Err(Error::Corrupt);
            };
            if piece.first {
                // One that was begun before it was given up.
                arriving.forget();
                if piece.last && piece.len <= self.limit() {
                    return Ok(Some(Next::Lane(piece)));
                }
            }
            if taken >= self.to.len() {
                return Ok(None);
            }
            taken += piece.words();
            self.take_out(arriving, piece)?;
        }
        Ok(Some(Next::Gathered))
    }

    /// Puts a piece of a message in several to those before it, or throws it away.
    #[cold]
    fn take_out(&self, arriving: &mut Arriving, piece: Piece) -> Result<()> {
        // Otherwise the rest of a message whose beginning is lost.
        let wanted = piece.first || arriving.state == State::Part;
        let len = arriving.pieces.len() + piece.len;
        let limit = self.limit();
        let has_room = wanted && len <= limit && arriving.pieces.try_reserve(piece.len).is_ok();
        if has_room {
            self.to
                .read_piece(arriving.at.own, piece, &mut arriving.pieces);
            arriving.state = if piece.last {
                State::Whole
            } else {
                State::Part
            };
            // Before the words are given back, and that is a Release.
            self.gathered.store(piece.last, Ordering::Relaxed);
        }
        self.raw()
            .give_back(self.side, &mut arriving.at, piece.words());
        if !wanted || has_room {
            return Ok(());
        }
        arriving.pieces = Vec::new();
        arriving.state = State::Nothing;
        if len <= limit {
            return Err(Error::no_memory(len));
        }
        Err(Error::TooLarge {
            requested: len as u64,
            limit: limit as u64,
        })
    }

    #[inline]
    fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    #[inline]
    fn raw(&self) -> &RawPipe {
        self.placed.control()
    }

    #[inline]
    fn is_mine(&self) -> bool {
        self.placed.member().load(Ordering::Relaxed) == self.me.bits()
    }

    #[inline]
    fn call(&self, deadline: Deadline) -> Result<Call<'_, Inner>> {
        if !self.is_mine() {
            return Err(self.inert());
        }
        Ok(Call {
            members: self.placed.inner(),
            me: self.me,
            spin: &self.placed.spin,
            deadline,
        })
    }

    #[cold]
    fn inert(&self) -> Error {
        match self.placed.check_whole() {
            Err(e) => e,
            Ok(()) => Error::InvalidArgument(
                "the pipe's end was inherited across a fork: it is the parent's, use one that this process took",
            ),
        }
    }
}

/// A `try_` form: at once; and if that is in vain, once more, with a look whether the peer lives.
#[inline]
fn tried(attempt: &mut dyn FnMut(Look) -> Result<bool>, in_vain: Error) -> Result<()> {
    for look in [Look::AtOnce, Look::AskingAfterOwners] {
        match attempt(look) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            // Another thread has its turn for long.
            Err(Error::Timeout | Error::WouldBlock) => break,
            Err(e) => return Err(e),
        }
    }
    Err(in_vain)
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        if self.is_mine() {
            self.raw().leave(self.side, self.me);
        }
    }
}

/// Receives until the peer is gone; see [`PipeEnd::iter`].
#[derive(Debug)]
pub struct PipeIter<'a> {
    end: &'a PipeEnd,
}

impl Iterator for PipeIter<'_> {
    type Item = Vec<u8>;
    fn next(&mut self) -> Option<Vec<u8>> {
        let mut message = Vec::new();
        self.end.recv(&mut message).ok().map(|_| message)
    }
}

impl<'a> IntoIterator for &'a PipeEnd {
    type Item = Vec<u8>;
    type IntoIter = PipeIter<'a>;
    fn into_iter(self) -> PipeIter<'a> {
        self.iter()
    }
}

impl std::fmt::Debug for PipeEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PipeEnd")
            .field("side", &self.side)
            .field("pipe", &self.placed)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(commonhold_loom)))]
mod tests;
