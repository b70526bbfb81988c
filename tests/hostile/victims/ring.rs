//! `Ring`.

use super::Victim;
use crate::types::{Judged, MIXED, Mixed, check};
use crate::watch::{AT_ONCE, Watch};
use commonhold::{Consumer, Producer, Result, Ring, Segment};
use std::fmt::Debug;

pub(super) struct Rings {
    numbers: Ring<u64>,
    flags: Ring<bool>,
    mixed: Ring<Mixed>,
    closed: Ring<char>,
}

impl Victim for Rings {
    fn create(seg: &Segment) -> Result<Self> {
        let all = Rings {
            // A power of two, and two that are none.
            numbers: Ring::create(seg, "numbers", 8)?,
            flags: Ring::create(seg, "flags", 5)?,
            mixed: Ring::create(seg, "mixed", 100)?,
            closed: Ring::create(seg, "closed", 3)?,
        };
        all.numbers.producer()?.send_all(&[1, 2, 3])?;
        all.closed.producer()?.send('x')?;
        all.closed.close();
        Ok(all)
    }

    fn open(seg: &Segment) -> Result<Self> {
        Ok(Rings {
            numbers: Ring::open(seg, "numbers")?,
            flags: Ring::open(seg, "flags")?,
            mixed: Ring::open(seg, "mixed")?,
            closed: Ring::open(seg, "closed")?,
        })
    }

    fn round(&self, w: &Watch) {
        use_ring(&self.numbers, w, 9);
        use_chunks(&self.numbers, w);
        use_ring(&self.flags, w, true);
        use_ring(&self.mixed, w, MIXED);
        use_ring(&self.closed, w, 'y');
        w.see("Ring::close", || self.closed.close());
    }
}

fn use_ring<T: Judged + Debug>(r: &Ring<T>, w: &Watch, item: T) {
    assert!(w.see("Ring::len", || r.len()) <= r.capacity());
    w.see("Ring::is_empty", || r.is_empty());
    w.see("Ring::is_full", || r.is_full());
    w.see("Ring::is_closed", || r.is_closed());
    // A claim that was forged, or another victim's, makes these busy.
    if let Some(mut p) = w.op("Ring::producer", AT_ONCE, || r.producer()) {
        send(&mut p, w, item);
        w.see("Producer::drop", || drop(p));
    }
    if let Some(mut c) = w.op("Ring::consumer", AT_ONCE, || r.consumer()) {
        receive(&mut c, w);
        w.see("Consumer::drop", || drop(c));
    }
}

fn send<T: Judged + Debug>(p: &mut Producer<T>, w: &Watch, item: T) {
    let few = &[item; 3];
    w.see("Producer::is_abandoned", || p.is_abandoned());
    w.op("Producer::try_send", AT_ONCE, || p.try_send(item));
    w.timed("Producer::send_timeout", |soon| p.send_timeout(item, soon));
    p.lazy(2);
    w.op("Producer::try_send_all", AT_ONCE, || p.try_send_all(few));
    w.op("Producer::flush", AT_ONCE, || p.flush());
    w.timed("Producer::send_all_timeout", |soon| {
        p.send_all_timeout(few, soon)
    });
    p.lazy(0);
}

fn receive<T: Judged + Debug>(c: &mut Consumer<T>, w: &Watch) {
    w.see("Consumer::is_abandoned", || c.is_abandoned());
    w.op("Consumer::try_recv", AT_ONCE, || c.try_recv())
        .inspect(check);
    w.timed("Consumer::recv_timeout", |soon| c.recv_timeout(soon))
        .inspect(check);
    let mut items = Vec::new();
    w.op("Consumer::try_recv_many", AT_ONCE, || {
        c.try_recv_many(&mut items, 2)
    });
    w.timed("Consumer::recv_many_timeout", |soon| {
        c.recv_many_timeout(&mut items, usize::MAX, soon)
    });
    assert!(items.len() <= 2 + c.capacity());
    items.iter().for_each(check);
}

/// What a chunk lends is the region itself: it is only looked at where nobody strikes meanwhile.
fn use_chunks(r: &Ring<u64>, w: &Watch) {
    let calm = w.strikes_itself();
    if let Some(mut p) = w.op("Ring::producer", AT_ONCE, || r.producer()) {
        w.op("Producer::try_write_chunk", AT_ONCE, || {
            let mut chunk = p.try_write_chunk(3)?;
            if calm {
                let (first, second) = chunk.as_mut_slices();
                first.iter_mut().chain(second).for_each(|n| *n += 1);
            }
            chunk.commit(2)
        });
        w.timed("Producer::write_chunk_timeout", |soon| {
            p.write_chunk_timeout(4, soon)?.commit_all()
        });
        // What the end itself knows is what it waits for: there is room, or there are items.
        w.untimed("Producer::send", "numbers", || {
            if p.try_write_chunk(3).is_ok() {
                p.send(5)?;
                p.send_all(&[6, 7])?;
            }
            Ok(())
        });
    }
    if let Some(mut c) = w.op("Ring::consumer", AT_ONCE, || r.consumer()) {
        w.op("Consumer::try_read_chunk", AT_ONCE, || {
            let chunk = c.try_read_chunk(2)?;
            if calm {
                let (first, second) = chunk.as_slices();
                assert_eq!(first.len() + second.len(), 2);
                std::hint::black_box(first.iter().chain(second).fold(0, |a, b| a ^ b));
            }
            chunk.commit(1)
        });
        w.timed("Consumer::read_chunk_timeout", |soon| {
            c.read_chunk_timeout(3, soon)?.commit_all()
        });
        w.untimed("Consumer::recv", "numbers", || {
            if c.try_read_chunk(3).is_ok() {
                c.recv()?;
                c.iter().take(2).for_each(drop);
            }
            Ok(())
        });
    }
}
