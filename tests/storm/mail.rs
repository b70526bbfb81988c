//! Streams of items through the queue: each item arrives once, in order, and whole.

use crate::ledger::{Op, STREAM};
use crate::stage::{CAPACITY, Item, Stage};
use crate::times::LIMIT;
use crate::worker::Worker;
use commonhold::Error;
use std::collections::HashMap;
use std::sync::atomic::Ordering::SeqCst;

/// Items in one sending, at the most.
pub const BATCH: usize = 20;

pub fn item(stream: usize, n: usize) -> Item {
    let (stream, n) = (stream as u64, n as u64);
    [
        stream,
        n,
        !stream,
        !n,
        stream << 32 | n,
        stream * STREAM as u64 + n,
    ]
}

/// Which item it is: one that was sent, whole.
pub fn read(got: &Item) -> (usize, usize) {
    let (stream, n) = (got[0] as usize, got[1] as usize);
    assert_eq!(*got, item(stream, n), "torn");
    (stream, n)
}

impl Worker<'_> {
    /// Ends when the book is full; the master ends the act then.
    pub fn send_for_ever(&mut self) {
        let stage: &Stage = self.stage;
        while let Some(stream) = self.ledger().next_stream() {
            let mut n = 0;
            while n < STREAM {
                // What of it was sent is judged by the stream's own book.
                self.operation(Op::Send, 0, |w| {
                    let batch = (1 + w.random.below(BATCH as u64) as usize).min(STREAM - n);
                    let items: Vec<_> = (n..n + batch).map(|n| item(stream, n)).collect();
                    let sent = match w.random.below(4) {
                        0 => stage.queue.send(items[0]).map(|()| 1),
                        1 => stage.queue.send_all(&items).map(|()| batch),
                        2 => stage.queue.try_send_all(&items),
                        _ => stage.queue.send_all_timeout(&items, LIMIT),
                    };
                    n += match sent {
                        Err(Error::Full | Error::Timeout) => 0,
                        other => other.unwrap(),
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

    pub fn receive_for_ever(&mut self) {
        let stage: &Stage = self.stage;
        let mut items = Vec::new();
        let mut last = HashMap::new();
        loop {
            let way = self.random.below(4);
            let most = [1, 1, 7, CAPACITY][way as usize];
            self.operation(Op::Receive, most as u64, |w| {
                let got = match way {
                    0 => stage.queue.recv().map(|item| items.push(item)),
                    1 => stage
                        .queue
                        .recv_timeout(LIMIT / 100)
                        .map(|item| items.push(item)),
                    2 => stage.queue.recv_many(&mut items, most).map(drop),
                    _ => stage.queue.try_recv_many(&mut items, most).map(drop),
                };
                match got {
                    Err(Error::Empty | Error::Timeout) => {}
                    other => other.unwrap(),
                }
                // Who dies here takes items along.
                w.peril();
                let count = items.len();
                for got in items.drain(..) {
                    let (stream, n) = read(&got);
                    let before = last.insert(stream, n);
                    assert!(
                        before.is_none_or(|b| b < n),
                        "out of order: {before:?}, {n}"
                    );
                    w.ledger().arrive(stream, n);
                }
                count as u64
            });
        }
    }
}
