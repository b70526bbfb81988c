//! `Queue`.

use super::Victim;
use crate::types::{Judged, MIXED, Mixed, check};
use crate::watch::{AT_ONCE, Watch};
use commonhold::{Lease, Queue, Result, Segment};
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
    use_leases(q, w, name, few);
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
    w.untimed("Queue::recv", name, || match ends(w, name) {
        true => q.recv(),
        false => Ok(item),
    })
    .inspect(check);
    w.untimed("Queue::recv_many", name, || match ends(w, name) {
        true => q.recv_many(&mut Vec::new(), 100),
        false => Ok(0),
    });
    w.untimed("Queue::iter", name, || {
        let mut all = q.iter().take(q.capacity());
        while ends(w, name) {
            match all.next() {
                Some(item) => check(&item),
                None => break,
            }
        }
        Ok(())
    });
}

/// Whether a receive without a deadline has to end: something was never delivered; or the queue is closed, and nothing leased by one who
/// lives. Not by `Queue::is_empty`: it goes by a count of what came back, and where that is scribbled, the receive puts it right and
/// waits, as it may.
fn ends(w: &Watch, name: &str) -> bool {
    w.look(name, |region, queue| {
        let [tail, head, cursor, closed] =
            [(8, 8), (136, 8), (152, 8), (264, 4)].map(|(at, n)| region.get(queue.offset + at, n));
        let cursor = cursor.max(head);
        // By a number that cannot be, `Corrupt`.
        let kept = (head..cursor).take(queue.len as usize);
        let words = queue.offset + queue.size - queue.len * 8;
        let leased = |at| region.is_held_by_the_living(words + at % queue.len * 8 + 4);
        tail != cursor || closed != 0 && !kept.into_iter().any(leased)
    })
    .unwrap_or(false)
}

/// To end a lease takes the receivers' lock, without a deadline; see `victims/semaphore.rs`.
fn end<T: Judged>(
    mut lease: Option<Lease<T>>,
    w: &Watch,
    name: &str,
    what: &'static str,
    how: fn(Lease<T>) -> Result<()>,
) {
    if w.strikes_itself() {
        w.untimed(what, name, || lease.take().map_or(Ok(()), how));
        std::mem::forget(lease);
    } else if let Some(lease) = lease {
        w.op(what, AT_ONCE, || how(lease));
    }
}

fn use_leases<T: Judged + Debug>(q: &Queue<T>, w: &Watch, name: &str, few: &[T]) {
    let leased = || Ok(q.leased());
    if w.strikes_itself() && w.untimed("Queue::leased", name, leased).is_none() {
        // What could not be ended would keep the segment of this handle, one after another.
        return;
    }
    assert!(w.see("Queue::leased", || q.leased()) <= q.capacity());
    w.op("Queue::try_send_all", AT_ONCE, || q.try_send_all(few));
    let first = w.op("Queue::try_lease", AT_ONCE, || q.try_lease());
    let second = w.timed("Queue::lease_timeout", |soon| q.lease_timeout(soon));
    let third = w.op("Queue::try_lease", AT_ONCE, || q.try_lease());
    for lease in [&first, &second, &third].into_iter().flatten() {
        check(&**lease);
        w.see("Lease::fmt", || format!("{lease:?}").len());
    }
    // Those of the others are moved, and met.
    end(second, w, name, "Lease::complete", Lease::complete);
    w.op("Queue::try_recv", AT_ONCE, || q.try_recv())
        .inspect(check);
    end(first, w, name, "Lease::drop", |lease| {
        drop(lease);
        Ok(())
    });
    w.timed("Queue::recv_timeout", |soon| q.recv_timeout(soon))
        .inspect(check);
    end(third, w, name, "Lease::complete", Lease::complete);
    w.op("Queue::try_join", AT_ONCE, || q.try_join());
    w.timed("Queue::join_timeout", |soon| q.join_timeout(soon));
}
