//! The end of an act: everybody is dead, and the books must balance.

use crate::handover::ROOM;
use crate::ledger::{Figure, MASTER, Op, STREAM, STREAMS};
use crate::letters;
use crate::mail::{BATCH, item, read};
use crate::stage::{RING, Stage};
use crate::times::PATIENCE;
use crate::visit::{OBJECTS, object};
use crate::worker::Worker;
use commonhold::{Error, Value};
use std::sync::atomic::Ordering::SeqCst;

impl Stage {
    /// Compares what stands in the segment with what the workers noted. Returns how many items went to dead receivers, and how
    /// many can have.
    pub fn settle(&self) -> (u64, u64) {
        let mut settler = Worker::settler(self, MASTER);
        // Each lock works, and each book goes on.
        settler.lock_step();
        settler.lock_twice();
        let guard = settler.hold_outer();
        let [holder, counter, copy] = [0, 1, 2].map(|i| self.twice[i].load(SeqCst));
        assert_eq!((holder, counter), (0, copy));
        self.balance(Op::Reenter, counter);
        drop(guard);
        settler.settle_firsts();
        let tally = settler.hold(&self.mutex);
        self.balance(Op::Mutex, tally[1]);
        drop(tally);
        let array = settler.hold(&self.array);
        let half = array.len() / 2;
        array[1..=half]
            .iter()
            .for_each(|&n| self.balance(Op::Array, n));
        drop(array);
        // Nobody reads any more.
        let table = self.table.try_write().unwrap();
        self.balance(Op::RwLock, table[1]);
        drop(table);
        let shop = settler.hold(&self.shop);
        self.balance(Op::Make, shop[1]);
        self.balance(Op::Take, shop[2]);
        assert!(shop[1] - shop[2] <= ROOM, "{shop:?}");
        drop(shop);
        let value = self.value.get().unwrap();
        value.iter().for_each(|&n| self.balance(Op::Value, n));
        let seen = self.ledger.figure(Figure::Seen).load(SeqCst);
        assert!(value[0] >= seen, "{seen} was seen, and {} is", value[0]);
        let bell = self.bell.get().unwrap();
        bell.iter().for_each(|&n| self.balance(Op::Ring, n));
        self.settle_permits();
        self.settle_talks();
        self.settle_news();
        self.settle_frames();
        self.settle_objects();
        self.settle_jobs();
        self.settle_mail()
    }

    /// A death after a change and before its note makes the changes one more than the notes.
    pub fn balance(&self, op: Op, is: u64) {
        let (noted, more) = (self.ledger.done(op), self.ledger.cut_short(op));
        assert!(
            is >= noted,
            "{} changes were lost: {op:?}, {is} of {noted}",
            noted - is
        );
        assert!(
            is <= noted + more,
            "changes from nowhere: {op:?}, {is}, and {noted} + {more} were made"
        );
    }

    fn settle_mail(&self) -> (u64, u64) {
        let mut rest = Vec::new();
        loop {
            match self.queue.recv_many_timeout(&mut rest, 100, PATIENCE / 100) {
                Ok(_) => {}
                Err(Error::Timeout) => break,
                Err(e) => panic!("{e}"),
            }
        }
        // All who held the ends are dead.
        let mut consumer = self.ring.consumer().unwrap();
        while consumer.try_recv_many(&mut rest, 100).is_ok() {}
        let mut producer = self.ring.producer().unwrap();
        (0..RING).for_each(|n| producer.try_send(item(0, n)).unwrap());
        (0..RING).for_each(|n| assert_eq!(consumer.recv().unwrap(), item(0, n)));
        for got in &rest {
            let (stream, n) = read(got);
            self.ledger.arrive(stream, n);
        }
        while let Some((stream, n)) = letters::take(&self.letters, PATIENCE / 100).unwrap() {
            self.ledger.arrive(stream, n);
        }
        let mut missing = 0;
        let streams = self.ledger.figure(Figure::Streams).load(SeqCst) as usize;
        for stream in 0..streams.min(STREAMS) {
            let sent = self.ledger.sent[stream].load(SeqCst) as usize;
            let lost = |n: &usize| !self.ledger.has_arrived(stream, *n);
            missing += (0..sent).filter(lost).count() as u64;
            // Beyond what the sender noted only the batch that it was sending can have arrived.
            let last = (sent..STREAM).rfind(|n| !lost(n));
            assert!(
                last.is_none_or(|n| n < sent + BATCH),
                "stream {stream}: {sent} items were sent, and item {last:?} arrived"
            );
        }
        // A receiver that is killed takes along what it had received and not yet noted.
        let in_hand = self.ledger.cut_short(Op::Receive);
        assert!(
            missing <= in_hand,
            "{missing} items were lost, {in_hand} can have been in dead hands"
        );
        (missing, in_hand)
    }

    fn settle_objects(&self) {
        for n in 0..OBJECTS {
            let (name, value) = object(n);
            match Value::<[u64; 2]>::open(&self.seg, &name) {
                Err(Error::NotFound) => {}
                made => assert_eq!(made.unwrap().get().unwrap(), value, "half-made"),
            }
        }
    }
}
