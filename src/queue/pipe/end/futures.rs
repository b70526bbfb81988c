//! Sending and receiving by futures.

use super::PipeEnd;
use super::ready::What;
use super::turns::Turn;
use crate::error::{Error, Result};
use crate::futures::{Serves, Until, Wanted};
use crate::queue::pipe::pieces::Piece;
use crate::raw::pipe::Cursor;
use crate::raw::wait::Look;
use crate::select::Receives;
use crate::sys::deadline::Deadline;

impl PipeEnd {
    /// As [`send`](Self::send), without a thread that waits: a future for any runtime. Dropped before it is ready, it has sent nothing: of a
    /// message that went in pieces no part is received.
    ///
    /// Such a message, larger than the pipe, has the turn until the future is ready or dropped: threads of this process that send by the same
    /// end wait for it meanwhile.
    ///
    /// What holds for all futures is said at [`Queue::recv_async`](crate::Queue::recv_async).
    pub fn send_async<'a>(
        &'a self,
        message: &'a [u8],
    ) -> impl Future<Output = Result<()>> + Send + 'a {
        let whole = Piece::whole(message.len());
        let in_pieces = whole.words() > self.from.len();
        let need = match in_pieces {
            true => self.next_piece(message, message).0.words(),
            false => whole.words(),
        };
        let words = self.from.len();
        // Each is told of any room, since only it knows how much it needs.
        let wanted = move || Wanted::signal(self.awaits(What::Room { words, need }), Serves::All);
        let (mut turn, mut rest) = (None, message);
        Until::new(wanted, move || match in_pieces {
            true => self.send_more(message, &mut rest, &mut turn),
            false => self.try_send(message),
        })
    }

    /// As [`recv`](Self::recv), without a thread that waits: a future for any runtime. Dropped before it is ready, it has received
    /// nothing; what has arrived of a message in pieces stays with this end.
    ///
    /// What holds for all futures is said at [`Queue::recv_async`](crate::Queue::recv_async).
    pub fn recv_async<'a>(
        &'a self,
        message: &'a mut Vec<u8>,
    ) -> impl Future<Output = Result<usize>> + Send + 'a {
        let wanted = || Wanted::signal(self.arrival(), Serves::One);
        Until::new(wanted, move || self.try_recv(message))
    }

    /// Sends as many pieces of the rest as there is room for, having, or taking, the turn; `Err(Full)` until it is the last one.
    fn send_more<'a>(
        &'a self,
        message: &[u8],
        rest: &mut &[u8],
        turn: &mut Option<Turn<'a, Cursor>>,
    ) -> Result<()> {
        let sent = self.send_pieces(message, rest, turn);
        let sent = self.placed.check_whole().and(sent);
        if !matches!(sent, Err(Error::Full)) {
            *turn = None;
            // Those who found that it was not their turn wait for room, and there may be some.
            self.raw().drained(self.side).notify(u32::MAX);
        }
        sent
    }

    fn send_pieces<'a>(
        &'a self,
        message: &[u8],
        rest: &mut &[u8],
        turn: &mut Option<Turn<'a, Cursor>>,
    ) -> Result<()> {
        let call = self.call(Deadline::PASSED)?;
        let at = match turn {
            Some(at) => at,
            None => match self.sending.next(&call) {
                Ok(taken) => turn.insert(taken),
                Err(Error::Timeout | Error::WouldBlock) => return Err(Error::Full),
                Err(e) => return Err(e),
            },
        };
        while !rest.is_empty() {
            let (piece, now, later) = self.next_piece(message, rest);
            if !self.put(at, piece, now, &call, Look::AskingAfterOwners)? {
                return Err(Error::Full);
            }
            *rest = later;
        }
        Ok(())
    }
}
