//! `Broadcast`.

use super::Victim;
use crate::types::{Judged, MIXED, Mixed, check};
use crate::watch::{AT_ONCE, Watch};
use commonhold::{Broadcast, Publisher, Result, Segment, Subscriber};
use std::fmt::Debug;

pub(super) struct Broadcasts {
    numbers: Broadcast<u64>,
    flags: Broadcast<bool>,
    mixed: Broadcast<Mixed>,
    closed: Broadcast<char>,
}

impl Victim for Broadcasts {
    fn create(seg: &Segment) -> Result<Self> {
        let all = Broadcasts {
            // A power of two, and two that are none.
            numbers: Broadcast::create(seg, "numbers", 8)?,
            flags: Broadcast::create(seg, "flags", 5)?,
            mixed: Broadcast::create(seg, "mixed", 100)?,
            closed: Broadcast::create(seg, "closed", 3)?,
        };
        all.numbers.publisher()?.send_all(&[1, 2, 3])?;
        all.closed.close();
        Ok(all)
    }

    fn open(seg: &Segment) -> Result<Self> {
        Ok(Broadcasts {
            numbers: Broadcast::open(seg, "numbers")?,
            flags: Broadcast::open(seg, "flags")?,
            mixed: Broadcast::open(seg, "mixed")?,
            closed: Broadcast::open(seg, "closed")?,
        })
    }

    fn round(&self, w: &Watch) {
        use_broadcast(&self.numbers, w, "numbers", 9);
        use_broadcast(&self.flags, w, "flags", true);
        use_broadcast(&self.mixed, w, "mixed", MIXED);
        use_broadcast(&self.closed, w, "closed", 'y');
        w.untimed("Broadcast::close", "closed", || {
            self.closed.close();
            Ok(())
        });
    }
}

fn use_broadcast<T: Judged + Debug>(of: &Broadcast<T>, w: &Watch, name: &str, item: T) {
    assert!(w.see("Broadcast::subscribers", || of.subscribers()) <= 1024);
    w.see("Broadcast::is_closed", || of.is_closed());
    let publisher = w.op("Broadcast::publisher", AT_ONCE, || of.publisher());
    w.untimed("Broadcast::subscribe", name, || of.subscribe());
    w.op("Broadcast::try_subscribe", AT_ONCE, || of.try_subscribe());
    let lossless = w.timed("Broadcast::subscribe_timeout", |soon| {
        of.subscribe_timeout(soon)
    });
    let lossy = w.op("Broadcast::subscribe_lossy", AT_ONCE, || {
        of.subscribe_lossy()
    });
    for mut subscriber in [lossless, lossy].into_iter().flatten() {
        publisher
            .iter()
            .for_each(|publisher| send(publisher, w, name, item));
        receive(&mut subscriber, w, name, item);
        w.untimed("Subscriber::resubscribe", name, || subscriber.resubscribe());
        w.see("Subscriber::drop", || drop(subscriber));
    }
}

fn send<T: Judged>(p: &Publisher<T>, w: &Watch, name: &str, item: T) {
    let few = &[item; 3];
    // A try-form may wait a millisecond for others that are sending.
    w.op("Publisher::try_send", AT_ONCE, || p.try_send(item));
    w.timed("Publisher::send_timeout", |soon| p.send_timeout(item, soon));
    w.op("Publisher::try_send_all", AT_ONCE, || p.try_send_all(few));
    w.timed("Publisher::send_all_timeout", |soon| {
        p.send_all_timeout(few, soon)
    });
    // For those who live, or are said to, it would wait.
    let nobody = || p.broadcast().subscribers() == 0;
    w.untimed("Publisher::send", name, || {
        if nobody() { p.send(item) } else { Ok(()) }
    });
    w.untimed("Publisher::send_all", name, || {
        if nobody() { p.send_all(few) } else { Ok(()) }
    });
}

fn receive<T: Judged + Debug>(s: &mut Subscriber<T>, w: &Watch, name: &str, item: T) {
    let capacity = s.broadcast().capacity();
    assert!(w.see("Subscriber::len", || s.len()) <= capacity);
    w.see("Subscriber::is_empty", || s.is_empty());
    w.op("Subscriber::try_recv", AT_ONCE, || s.try_recv())
        .inspect(check);
    w.timed("Subscriber::recv_timeout", |soon| s.recv_timeout(soon))
        .inspect(check);
    let mut items = Vec::new();
    w.op("Subscriber::try_recv_many", AT_ONCE, || {
        s.try_recv_many(&mut items, 2)
    });
    w.timed("Subscriber::recv_many_timeout", |soon| {
        s.recv_many_timeout(&mut items, usize::MAX, soon)
    });
    assert!(items.len() <= 2 + capacity);
    items.iter().for_each(check);
    w.untimed("Subscriber::recv", name, || {
        if s.is_empty() { Ok(item) } else { s.recv() }
    })
    .inspect(check);
    w.untimed("Subscriber::recv_many", name, || {
        if s.is_empty() {
            Ok(0)
        } else {
            s.recv_many(&mut items, 100)
        }
    });
    w.untimed("Subscriber::iter", name, || {
        // It ends by itself only where the broadcast is closed.
        if s.broadcast().is_closed() {
            s.iter().for_each(|item| check(&item));
        }
        Ok(())
    });
}
