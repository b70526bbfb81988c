//! Streams of items through messages of different lengths, by copies and in place: in the same book as those of the queue.

use crate::ledger::{Op, STREAM};
use crate::mail::{item, read};
use crate::stage::{Item, Stage};
use crate::times::PATIENCE;
use crate::worker::Worker;
use commonhold::{Error, Messages, Result};
use std::collections::HashMap;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

/// So few that letters often cross the ring's end, and that there is often no room.
pub const BYTES: usize = 300;
const ITEM: usize = size_of::<Item>();

/// The item, and some more that follow from it.
fn letter(stream: usize, n: usize) -> Vec<u8> {
    let words = item(stream, n);
    let head = words.iter().flat_map(|word| word.to_le_bytes());
    head.chain((0..n % 90).map(|i| (n + i) as u8)).collect()
}

/// Which one it is: one that was sent, whole.
fn open(letter: &[u8]) -> (usize, usize) {
    let mut words = [0; ITEM / 8];
    for (word, bytes) in words.iter_mut().zip(letter.chunks_exact(8)) {
        *word = u64::from_le_bytes(bytes.try_into().unwrap());
    }
    let (stream, n) = read(&words);
    assert!(letter == self::letter(stream, n), "torn");
    (stream, n)
}

/// The next letter, if one comes in that time.
pub fn take(letters: &Messages, timeout: Duration) -> Result<Option<(usize, usize)>> {
    match letters.recv_with_timeout(timeout, open) {
        Err(Error::Timeout) => Ok(None),
        other => other.map(Some),
    }
}

impl Worker<'_> {
    /// Ends when the book is full; the master ends the act then.
    pub fn write_for_ever(&mut self) {
        let stage: &Stage = self.stage;
        while let Some(stream) = self.ledger().next_stream() {
            let mut n = 0;
            while n < STREAM {
                self.operation(Op::Send, 0, |w| {
                    let bytes = letter(stream, n);
                    let sent = match w.random.below(4) {
                        0 => stage.letters.send(&bytes),
                        1 => stage.letters.try_send(&bytes),
                        2 => stage.letters.send_timeout(&bytes, PATIENCE),
                        _ => stage.letters.send_with(bytes.len(), |to| {
                            to[..ITEM].copy_from_slice(&bytes[..ITEM]);
                            // Who dies here has sent nothing.
                            w.peril();
                            to[ITEM..].copy_from_slice(&bytes[ITEM..]);
                        }),
                    };
                    n += match sent {
                        Err(Error::Full | Error::Timeout) => 0,
                        other => {
                            other.unwrap();
                            1
                        }
                    };
                    w.ledger().sent[stream].store(n as u64, SeqCst);
                    0
                });
            }
        }
        loop {
            std::thread::park();
        }
    }

    pub fn read_for_ever(&mut self) {
        let stage: &Stage = self.stage;
        let mut bytes = Vec::new();
        let mut last = HashMap::new();
        loop {
            self.operation(Op::Receive, 1, |w| {
                let got = match w.random.below(4) {
                    0 => stage.letters.recv(&mut bytes).map(|_| open(&bytes)),
                    1 => stage.letters.try_recv(&mut bytes).map(|_| open(&bytes)),
                    2 => stage.letters.recv_with_timeout(PATIENCE / 100, open),
                    _ => stage.letters.recv_with(|bytes| {
                        let which = open(bytes);
                        // Who dies here has received nothing.
                        w.peril();
                        which
                    }),
                };
                let (stream, n) = match got {
                    Err(Error::Empty | Error::Timeout) => return 0,
                    other => other.unwrap(),
                };
                // And who dies here takes it along.
                w.peril();
                let before = last.insert(stream, n);
                assert!(
                    before.is_none_or(|b| b < n),
                    "out of order: {before:?}, {n}"
                );
                w.ledger().arrive(stream, n);
                1
            });
        }
    }
}
