//! Talks by a pipe whose ends go from hand to hand: each end has one holder, who hears one speaker, in order, and whole messages.

use crate::ledger::{Op, Token};
use crate::stage::Stage;
use crate::times::PATIENCE;
use crate::worker::Worker;
use commonhold::{Error, Pipe, PipeEnd, Result};
use std::sync::atomic::Ordering::SeqCst;

/// Of the pipe, in bytes: many messages are larger.
pub const PIPE: usize = 500;
/// Messages in one talk.
const MOST: u64 = 12;

/// The speaker, how many it has sent before, and what follows from them.
fn message(speaker: Token, n: u64, len: u64) -> Vec<u8> {
    let mut message: Vec<u8> = [speaker.0, n].map(u64::to_ne_bytes).concat();
    message.extend((0..len).map(|i| (i ^ n ^ speaker.0) as u8));
    message
}

fn read(got: &[u8]) -> (Token, u64) {
    let number = |at: usize| u64::from_ne_bytes(got[at..at + 8].try_into().expect("cut off"));
    let (speaker, n) = (Token(number(0)), number(8));
    assert_eq!(got, message(speaker, n, got.len() as u64 - 16), "torn");
    (speaker, n)
}

impl Worker<'_> {
    /// Takes an end, if it is to be had, and talks with whoever has the other.
    pub fn talk(&mut self) {
        let stage: &Stage = self.stage;
        self.operation(Op::Talk, MOST, |w| {
            let side = w.random.below(2) as usize;
            match [Pipe::left, Pipe::right][side](&stage.pipe) {
                Ok(end) => w.hold_an_end(&end, side),
                Err(Error::Busy | Error::Closed | Error::Timeout) => 0,
                Err(e) => panic!("{e}"),
            }
        });
    }

    /// How many messages came.
    fn hold_an_end(&mut self, end: &PipeEnd, side: usize) -> u64 {
        let mine = self.token();
        let holder = &self.stage.speakers[side];
        let before = Token(holder.swap(mine.0, SeqCst));
        assert!(
            before.0 == 0 || self.ledger().may_be_dead(before),
            "{mine} took an end that {before} holds"
        );
        let (mut heard, mut count) = (None, 0);
        for n in 0..self.random.below(MOST) {
            let len = self.random.below(2 * PIPE as u64);
            let sent = match self.random.below(3) {
                0 => end.try_send(&message(mine, n, len)),
                _ => end.send_timeout(&message(mine, n, len), PATIENCE / 100),
            };
            let mut got = Vec::new();
            self.peril();
            let received = match self.random.below(3) {
                0 => end.try_recv(&mut got),
                _ => end.recv_timeout(&mut got, PATIENCE / 100),
            };
            if received.is_ok() {
                let (speaker, n) = read(&got);
                count += 1;
                // One in a session, and in order; those that it gave up are missing.
                if let Some((before, m)) = heard.replace((speaker, n)) {
                    assert_eq!(speaker, before, "two speakers");
                    assert!(m < n, "out of order: {m}, {n}");
                }
            }
            if is_closed(sent) && is_closed(received.map(drop)) {
                assert!(end.is_closed());
                break;
            }
        }
        let left = holder.compare_exchange(mine.0, 0, SeqCst, SeqCst);
        assert!(
            left.is_ok() || self.ledger().may_be_dead(mine),
            "{mine} held an end, and it was given away"
        );
        count
    }
}

fn is_closed(result: Result<()>) -> bool {
    match result {
        Err(Error::Closed) => true,
        Ok(()) | Err(Error::Full | Error::Empty | Error::Timeout | Error::TooLarge { .. }) => false,
        Err(e) => panic!("{e}"),
    }
}

impl Stage {
    /// The pipe is as new, once its ends are taken anew.
    pub fn settle_talks(&self) {
        assert!(self.ledger.done(Op::Talk) > 0, "nobody heard anything");
        // An end that nobody has held in the last session joins that one.
        drop((self.pipe.left().unwrap(), self.pipe.right()));
        let left = self.pipe.left().unwrap();
        let right = self.pipe.right().unwrap();
        let mut got = Vec::new();
        let sent = message(Token::new(0, 0, 0), 0, 0);
        for (from, to) in [(&left, &right), (&right, &left)] {
            assert!(matches!(to.try_recv(&mut got), Err(Error::Empty)));
            from.send(&sent).unwrap();
            to.recv(&mut got).unwrap();
            assert_eq!(got, sent);
        }
    }
}
