//! Streams of items through the queue, and through the ring, whose ends go from hand to hand: each item arrives once, in order, and whole.

use crate::ledger::{Op, STREAM};
use crate::stage::{CAPACITY, Item, RING, Stage};
use crate::times::PATIENCE;
use crate::worker::Worker;
use commonhold::{Error, Result, Select};
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
        // One by the queue, and one by the ring.
        let mut streams = [(0, STREAM); 2];
        loop {
            let by_ring = self.random.below(4) == 0;
            let (stream, n) = &mut streams[usize::from(by_ring)];
            if *n == STREAM {
                let Some(next) = self.ledger().next_stream() else {
                    break;
                };
                (*stream, *n) = (next, 0);
            }
            // What of it was sent is judged by the stream's own book.
            self.operation(Op::Send, 0, |w| {
                let batch = (1 + w.random.below(BATCH as u64) as usize).min(STREAM - *n);
                let items: Vec<_> = (*n..*n + batch).map(|n| item(*stream, n)).collect();
                let sent = match w.random.below(4) {
                    _ if by_ring => w.send_by_ring(&items),
                    0 => stage.queue.send(items[0]).map(|()| 1),
                    1 => stage.queue.send_all(&items).map(|()| batch),
                    2 => stage.queue.try_send_all(&items),
                    _ => stage.queue.send_all_timeout(&items, PATIENCE),
                };
                *n += match sent {
                    Err(Error::Full | Error::Timeout | Error::Busy) => 0,
                    other => other.unwrap(),
                };
                w.ledger().sent[*stream].store(*n as u64, SeqCst);
                0
            });
        }
        loop {
            std::thread::park();
        }
    }

    pub fn receive_for_ever(&mut self) {
        let stage: &Stage = self.stage;
        let mut items = Vec::new();
        let mut last = HashMap::new();
        let mut select = Select::new();
        let item = select.recv(&stage.queue);
        select.wait(&stage.never);
        loop {
            let way = self.random.below(7);
            let most = [1, 1, 7, CAPACITY, RING, RING, 1][way as usize];
            self.operation(Op::Receive, most as u64, |w| {
                let got = match way {
                    0 => stage.queue.recv().map(|item| items.push(item)),
                    1 => stage
                        .queue
                        .recv_timeout(PATIENCE / 100)
                        .map(|item| items.push(item)),
                    2 => stage.queue.recv_many(&mut items, most).map(drop),
                    3 => stage.queue.try_recv_many(&mut items, most).map(drop),
                    4 | 5 => w.receive_by_ring(&mut items),
                    // It may go away again with nothing, and another that sleeps for the item must be told.
                    _ => select.ready_timeout(PATIENCE / 100).and_then(|ready| {
                        assert_eq!(ready, item);
                        stage.queue.try_recv().map(|item| items.push(item))
                    }),
                };
                match got {
                    Err(Error::Empty | Error::Timeout | Error::Busy) => {}
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

    /// Takes the producer's end, if nobody else has it, sends, and gives it up.
    fn send_by_ring(&mut self, items: &[Item]) -> Result<usize> {
        let mut p = self.stage.ring.producer()?;
        // What is not visible yet becomes so when the end is given up.
        p.lazy(self.random.below(4) as usize);
        let sent = match self.random.below(4) {
            0 => p.send_timeout(items[0], PATIENCE / 100).map(|()| 1),
            1 => p.try_send_all(items),
            2 => p.send_all_timeout(items, PATIENCE / 100),
            _ => {
                let some = items.len().min(RING);
                p.write_chunk_timeout(some, PATIENCE / 100)
                    .and_then(|mut chunk| {
                        let (first, second) = chunk.as_mut_slices();
                        let places = first.iter_mut().chain(second);
                        items.iter().zip(places).for_each(|(item, place)| {
                            *place = *item;
                            self.peril();
                        });
                        chunk.commit_all().map(|()| some)
                    })
            }
        };
        // Who dies here holds the end.
        self.peril();
        sent
    }

    /// Takes the consumer's end, if nobody else has it, receives, and gives it up.
    fn receive_by_ring(&mut self, items: &mut Vec<Item>) -> Result<()> {
        let mut c = self.stage.ring.consumer()?;
        let got = match self.random.below(4) {
            0 => c.recv_timeout(PATIENCE / 100).map(|item| items.push(item)),
            1 => c.try_recv_many(items, RING).map(drop),
            2 => c.recv_many_timeout(items, RING, PATIENCE / 100).map(drop),
            _ => {
                let some = 1 + self.random.below(3) as usize;
                c.read_chunk_timeout(some, PATIENCE / 100)
                    .and_then(|chunk| {
                        let (first, second) = chunk.as_slices();
                        let seen: Vec<Item> = first.iter().chain(second).copied().collect();
                        // Who dies here leaves them to the next.
                        self.peril();
                        chunk.commit_all().map(|()| items.extend(seen))
                    })
            }
        };
        self.peril();
        got
    }
}
