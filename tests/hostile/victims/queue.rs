//! `Queue`.

use super::Victim;
use crate::types::{Judged, MIXED, Mixed, check};
use crate::watch::{AT_ONCE, Watch};
use commonhold::{Queue, Result, Segment};
use std::fmt::Debug;

pub(super) struct Queues {
    numbers: Queue<u64>,
    flags: Queue<bool>,
    mixed: Queue<Mixed>,
    closed: Queue<char>,
}

impl Victim for Queues {
    fn create(seg: &Segment) -> Result<Self> {
        let all = Queues {
            // A power of two, and two that are none.
            numbers: Queue::create(seg, "numbers", 8)?,
            flags: Queue::create(seg, "flags", 5)?,
            mixed: Queue::create(seg, "mixed", 100)?,
            closed: Queue::create(seg, "closed", 3)?,
        };
        all.numbers.send_all(&[1, 2, 3])?;
        all.closed.send('x')?;
        all.closed.close();
        Ok(all)
    }

    fn open(seg: &Segment) -> Result<Self> {
        Ok(Queues {
            numbers: Queue::open(seg, "numbers")?,
            flags: Queue::open(seg, "flags")?,
            mixed: Queue::open(seg, "mixed")?,
            closed: Queue::open(seg, "closed")?,
        })
    }

    fn round(&self, w: &Watch) {
        use_queue(&self.numbers, w, "numbers", 9);
        use_queue(&self.flags, w, "flags", true);
        use_queue(&self.mixed, w, "mixed", MIXED);
        use_queue(&self.closed, w, "closed", 'y');
        w.untimed("Queue::close", "closed", || {
            self.closed.close();
            Ok(())
        });
    }
}

fn use_queue<T: Judged + Debug>(q: &Queue<T>, w: &Watch, name: &str, item: T) {
    assert!(w.see("Queue::len", || q.len()) <= q.capacity());
    w.see("Queue::is_empty", || q.is_empty());
    w.see("Queue::is_full", || q.is_full());
    w.see("Queue::is_closed", || q.is_closed());
    let few = &[item; 3];
    // A try-form may wait a millisecond for others at the same end.
    w.op("Queue::try_send", AT_ONCE, || q.try_send(item));
    w.timed("Queue::send_timeout", |soon| q.send_timeout(item, soon));
    w.op("Queue::try_send_all", AT_ONCE, || q.try_send_all(few));
    w.timed("Queue::send_all_timeout", |soon| {
        q.send_all_timeout(few, soon)
    });
    w.op("Queue::try_recv", AT_ONCE, || q.try_recv())
        .inspect(check);
    w.timed("Queue::recv_timeout", |soon| q.recv_timeout(soon))
        .inspect(check);
    let mut items = Vec::new();
    w.op("Queue::try_recv_many", AT_ONCE, || {
        q.try_recv_many(&mut items, 2)
    });
    w.timed("Queue::recv_many_timeout", |soon| {
        q.recv_many_timeout(&mut items, usize::MAX, soon)
    });
    assert!(items.len() <= 2 + q.capacity());
    items.iter().for_each(check);
    let full = q.is_full();
    if !full {
        w.untimed("Queue::send", name, || {
            if q.is_full() { Ok(()) } else { q.send(item) }
        });
        w.untimed("Queue::send_all", name, || {
            if q.is_full() {
                Ok(())
            } else {
                q.send_all(&[item])
            }
        });
    }
    w.untimed("Queue::recv", name, || {
        if q.is_empty() { Ok(item) } else { q.recv() }
    })
    .inspect(check);
    w.untimed("Queue::recv_many", name, || {
        let mut items = Vec::new();
        if q.is_empty() {
            Ok(0)
        } else {
            q.recv_many(&mut items, 100)
        }
    });
    w.untimed("Queue::iter", name, || {
        // It ends by itself only where the queue is closed.
        q.iter().take(q.len()).for_each(|item| check(&item));
        Ok(())
    });
}
