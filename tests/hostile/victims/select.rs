//! `Select`.

use super::Victim;
use crate::watch::{AT_ONCE, Watch};
use commonhold::{Event, Queue, Result, Segment, Select, Semaphore, Value};

pub(super) struct Selected {
    queue: Queue<u64>,
    event: Event,
    auto: Event,
    permits: Semaphore,
    value: Value<u64>,
}

impl Victim for Selected {
    fn create(seg: &Segment) -> Result<Self> {
        Ok(Selected {
            queue: Queue::create(seg, "queue", 3)?,
            event: Event::create(seg, "event")?,
            auto: Event::create_auto_reset(seg, "auto")?,
            permits: Semaphore::create(seg, "permits", 1)?,
            value: Value::create(seg, "value", 0)?,
        })
    }

    fn open(seg: &Segment) -> Result<Self> {
        Ok(Selected {
            queue: Queue::open(seg, "queue")?,
            event: Event::open(seg, "event")?,
            auto: Event::open(seg, "auto")?,
            permits: Semaphore::open(seg, "permits")?,
            value: Value::open(seg, "value")?,
        })
    }

    fn round(&self, w: &Watch) {
        let mut select = Select::new();
        select.recv(&self.queue);
        select.wait(&self.event);
        select.wait(&self.auto);
        select.acquire(&self.permits);
        select.changed(&self.value);
        let mut full = Select::new();
        full.send(&self.queue);
        for _ in 0..3 {
            for select in [&mut select, &mut full] {
                let len = select.len();
                let named = w.timed("Select::ready_timeout", |soon| select.ready_timeout(soon));
                assert!(named.is_none_or(|i| i < len));
                w.op("Select::try_ready", AT_ONCE, || select.try_ready());
            }
            w.op("Event::try_wait", AT_ONCE, || self.auto.try_wait());
            w.op("Semaphore::try_acquire", AT_ONCE, || {
                self.permits.try_acquire()
            });
            w.op("Queue::try_send", AT_ONCE, || self.queue.try_send(1));
            w.op("Queue::try_recv", AT_ONCE, || self.queue.try_recv());
        }
        self.event.set();
        w.timed("Select::ready_timeout", |soon| select.ready_timeout(soon));
        self.event.clear();
    }
}
