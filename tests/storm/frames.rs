//! Frames in blocks of a pool, sent as handles: each is shown once, and whole, and no block is lost.

use crate::ledger::Op;
use crate::stage::Stage;
use crate::times::{LIMIT, PATIENCE};
use crate::worker::Worker;
use commonhold::{Block, Error};
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

pub const BLOCKS: usize = 5;
/// Less than the blocks: so one who waits for a block never waits for one who waits for a frame.
pub const IN_TRANSIT: usize = BLOCKS - 1;
pub const BLOCK_BYTES: usize = 512;
/// Frames of which it is noted that they were shown; there may be more.
const NOTED: u64 = 1 << 18;
/// Words of these notes.
pub const NOTES: usize = NOTED as usize / 64;

fn draw(block: &mut Block, number: u64) {
    for (i, word) in (number << 8..).zip(block.chunks_exact_mut(8)) {
        word.copy_from_slice(&i.to_ne_bytes());
    }
}

fn look_at(block: &Block) -> u64 {
    let word = |word: &[u8]| u64::from_ne_bytes(word.try_into().unwrap());
    let first = word(&block[..8]);
    for (i, got) in (first..).zip(block.chunks_exact(8)) {
        assert_eq!(i, word(got), "torn");
    }
    first >> 8
}

impl Worker<'_> {
    /// Draws a frame, and sends it if there is room.
    pub fn film(&mut self) {
        let stage: &Stage = self.stage;
        self.operation(Op::Film, 1, |w| {
            let mut block = loop {
                let got = match w.random.below(4) {
                    0 => stage.frames.try_loan(),
                    1 => {
                        let time = Duration::from_millis(w.random.below(30));
                        stage.frames.loan_timeout(time)
                    }
                    _ => stage.frames.loan(),
                };
                match got {
                    Err(Error::WouldBlock | Error::Timeout) => {}
                    other => break other.unwrap(),
                }
            };
            draw(&mut block, 0);
            w.peril();
            draw(&mut block, stage.filmed[2].fetch_add(1, SeqCst));
            let sent = match w.random.below(2) {
                0 => block.try_send(&stage.to_show),
                _ => block.send_timeout(&stage.to_show, PATIENCE / 50),
            };
            match sent {
                Ok(()) => {
                    stage.filmed[0].fetch_add(1, SeqCst);
                    1
                }
                Err(unsent) => {
                    assert!(matches!(unsent.error, Error::Full | Error::Timeout));
                    look_at(&unsent.block);
                    0
                }
            }
        });
    }

    /// Shows a frame, if there is one soon.
    pub fn show(&mut self) {
        let stage: &Stage = self.stage;
        self.operation(Op::Show, 1, |w| {
            let got = match w.random.below(2) {
                0 => stage.frames.try_receive(&stage.to_show),
                _ => stage.frames.receive_timeout(&stage.to_show, PATIENCE / 100),
            };
            let block = match got {
                Err(Error::Empty | Error::Timeout) => return 0,
                other => other.unwrap(),
            };
            let number = stage.note(&block);
            w.peril();
            assert_eq!(look_at(&block), number);
            stage.filmed[1].fetch_add(1, SeqCst);
            1
        });
    }
}

impl Stage {
    /// Notes that a frame was received: once.
    fn note(&self, block: &Block) -> u64 {
        let number = look_at(block);
        if number < NOTED {
            let (word, bit) = (number as usize / 64, 1 << (number % 64));
            let before = self.shown[word].fetch_or(bit, SeqCst);
            assert_eq!(before & bit, 0, "frame {number} was shown twice");
        }
        number
    }

    /// What was sent was shown, or went to the dead; and all blocks are there.
    pub fn settle_frames(&self) {
        let (sent, shown) = (self.filmed[0].load(SeqCst), self.filmed[1].load(SeqCst));
        self.balance(Op::Film, sent);
        self.balance(Op::Show, shown);
        let mut rest = 0;
        loop {
            match self.frames.receive_timeout(&self.to_show, PATIENCE / 100) {
                Ok(block) => drop(self.note(&block)),
                Err(Error::Timeout) => break,
                Err(e) => panic!("{e}"),
            }
            rest += 1;
        }
        let (not_noted, in_hand) = (
            self.ledger.cut_short(Op::Film),
            self.ledger.cut_short(Op::Show),
        );
        assert!(
            sent <= shown + rest + in_hand && shown + rest <= sent + not_noted,
            "{sent} were sent, {shown} shown, {rest} left; {in_hand} in dead hands, {not_noted} not noted"
        );
        let blocks = [(); BLOCKS].map(|()| self.frames.loan_timeout(LIMIT).unwrap());
        assert!(matches!(self.frames.try_loan(), Err(Error::WouldBlock)));
        drop(blocks);
        assert_eq!(self.frames.available(), BLOCKS);
    }
}
