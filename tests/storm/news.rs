//! A broadcast: who subscribes without loss misses nothing from there on, whoever dies, and nobody waits for a dead subscriber.

use crate::ledger::{Figure, Op, STREAM};
use crate::mail::{item, read};
use crate::stage::{CAPACITY, Stage};
use crate::times::{LIMIT, PATIENCE};
use crate::worker::Worker;
use commonhold::Error;
use std::collections::HashMap;
use std::sync::atomic::Ordering::SeqCst;

/// A subscriber receives at most so many times before it subscribes anew.
const ISSUES: u64 = 300;
/// Items in one sending, at the most: publishers wait until the slowest has received them, and in a calm all are slow.
const BATCH: u64 = 5;

impl Worker<'_> {
    pub fn publish_for_ever(&mut self) {
        let stage: &Stage = self.stage;
        let publisher = stage.news.publisher().unwrap();
        loop {
            let editions = self.ledger().figure(Figure::Editions);
            let stream = editions.fetch_add(1, SeqCst) as usize;
            let mut n = 0;
            while n < STREAM {
                self.operation(Op::Publish, 0, |w| {
                    let batch = (1 + w.random.below(BATCH) as usize).min(STREAM - n);
                    let items: Vec<_> = (n..n + batch).map(|n| item(stream, n)).collect();
                    let sent = match w.random.below(4) {
                        0 => publisher.send(items[0]).map(|()| 1),
                        1 => publisher.send_all(&items).map(|()| batch),
                        2 => publisher.try_send_all(&items),
                        _ => publisher.send_all_timeout(&items, PATIENCE),
                    };
                    n += match sent {
                        Err(Error::Full | Error::Timeout) => 0,
                        other => other.unwrap(),
                    };
                    w.peril();
                    0
                });
            }
        }
    }

    pub fn subscribe_for_ever(&mut self) {
        let stage: &Stage = self.stage;
        let mut items = Vec::new();
        loop {
            let mut subscriber = match self.random.below(4) {
                0 => stage.news.subscribe_lossy(),
                _ => stage.news.subscribe(),
            }
            .unwrap();
            // Those that begin from here on are received from their beginning; of one that began just before, perhaps only the rest.
            let begun = self.ledger().figure(Figure::Editions).load(SeqCst) as usize;
            let lossy = subscriber.is_lossy();
            let mut last = HashMap::new();
            for _ in 0..self.random.below(ISSUES) {
                let way = self.random.below(4);
                self.operation(Op::Subscribe, 0, |w| {
                    let got = match way {
                        0 => subscriber.recv().map(|item| items.push(item)),
                        1 => subscriber
                            .recv_timeout(PATIENCE / 100)
                            .map(|item| items.push(item)),
                        2 => subscriber.recv_many(&mut items, CAPACITY).map(drop),
                        _ => subscriber.try_recv_many(&mut items, CAPACITY).map(drop),
                    };
                    // What else there is, so that publishers need not wait for each item.
                    let got = got.and_then(|()| match subscriber.try_recv_many(&mut items, 7) {
                        Err(Error::Empty) => Ok(()),
                        other => other.map(drop),
                    });
                    match got {
                        Err(Error::Empty | Error::Timeout) => {}
                        Err(Error::Lagged(n)) if lossy && n > 0 => {}
                        other => other.unwrap(),
                    }
                    for got in items.drain(..) {
                        let (stream, n) = read(&got);
                        match last.insert(stream, n) {
                            Some(before) if lossy => assert!(before < n, "{before}, {n}"),
                            Some(before) => assert_eq!(before + 1, n, "a gap"),
                            None if lossy || stream < begun => {}
                            None => assert_eq!(n, 0, "a gap"),
                        }
                    }
                    w.peril();
                    0
                });
            }
        }
    }
}

impl Stage {
    /// Nobody is subscribed any more, and all goes on.
    pub fn settle_news(&self) {
        assert_eq!(self.news.subscribers(), 0);
        let publisher = self.news.publisher().unwrap();
        let mut all = [
            self.news.subscribe().unwrap(),
            self.news.subscribe().unwrap(),
            self.news.subscribe_lossy().unwrap(),
        ];
        for n in 0..3 * CAPACITY {
            publisher.send_timeout(item(0, n), LIMIT).unwrap();
            for s in &mut all {
                let got = s.recv_timeout(LIMIT).unwrap();
                assert_eq!(read(&got), (0, n));
            }
        }
    }
}
