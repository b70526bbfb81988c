//! `Segment`: attaching, looking around, making and finding objects of every kind.

use super::Victim;
use crate::watch::{AT_ONCE, Watch};
use commonhold::{Array, Atomics, Condvar, Mutex, Queue, Result, Segment, Value};
use std::sync::atomic::AtomicU64;

pub(super) struct All {
    seg: Segment,
}

impl Victim for All {
    fn create(seg: &Segment) -> Result<Self> {
        Value::create(seg, "value", 1u64)?;
        Array::create(seg, "array", 10, 2u32)?;
        Array::create(seg, "none", 0, 2u32)?;
        Atomics::<AtomicU64>::create(seg, "atomics", 3)?;
        Mutex::create(seg, "mutex", 4u32)?;
        Condvar::create(seg, "condvar")?;
        Queue::<u32>::create(seg, "queue", 7)?;
        Ok(All { seg: seg.clone() })
    }

    fn open(seg: &Segment) -> Result<Self> {
        Ok(All { seg: seg.clone() })
    }

    fn round(&self, w: &Watch) {
        let seg = &self.seg;
        assert!(w.see("Segment::available", || seg.available()) <= seg.capacity());
        assert!(w.see("Segment::members", || seg.members()).len() <= 1024);
        for object in w.see("Segment::objects", || seg.objects()) {
            assert!(object.size <= seg.capacity());
        }
        w.op("Value::open", AT_ONCE, || Value::<u64>::open(seg, "value"));
        let array = w.op("Array::open", AT_ONCE, || Array::<u32>::open(seg, "array"));
        if let Some(array) = array {
            assert!(array.len() <= seg.capacity() / 4);
            // All of what it says is there.
            let sum = |all: &[u32]| all.iter().fold(0u32, |sum, n| sum.wrapping_add(*n));
            w.op("Array::try_lock", AT_ONCE, || {
                array.try_lock().map(|a| sum(&a))
            });
        }
        let atomics = || Atomics::<AtomicU64>::open(seg, "atomics");
        if let Some(atomics) = w.op("Atomics::open", AT_ONCE, atomics) {
            assert!(atomics.len() <= seg.capacity() / 8);
            let one_more = |n: &AtomicU64| n.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            w.see("Atomics::deref", || atomics.iter().map(one_more).max());
        }
        w.op("Mutex::open", AT_ONCE, || Mutex::<u32>::open(seg, "mutex"));
        w.op("Condvar::open", AT_ONCE, || Condvar::open(seg, "condvar"));
        if let Some(queue) = w.op("Queue::open", AT_ONCE, || Queue::<u32>::open(seg, "queue")) {
            w.op("Queue::try_send", AT_ONCE, || queue.try_send(1));
            w.op("Queue::try_recv", AT_ONCE, || queue.try_recv());
            let mut items = Vec::new();
            w.op("Queue::try_recv_many", AT_ONCE, || {
                queue.try_recv_many(&mut items, usize::MAX)
            });
        }
        self.create_more(w);
    }
}

impl All {
    /// By names that are taken and by new ones.
    fn create_more(&self, w: &Watch) {
        let seg = &self.seg;
        macro_rules! make {
            ($what:literal, $make:expr) => {
                w.make($what, || $make.map(drop));
            };
        }
        make!(
            "Value::open_or_create",
            Value::open_or_create(seg, "a", true)
        );
        make!("Value::create", Value::create(seg, "b", [1u64; 9]));
        make!(
            "Array::open_or_create",
            Array::open_or_create(seg, "c", 5, 1u8)
        );
        make!(
            "Array::from_slice",
            Array::from_slice(seg, "array", &[1u32])
        );
        make!("Array::create", Array::create(seg, "d", 1 << 40, 1u64));
        make!(
            "Atomics::open_or_create",
            Atomics::<AtomicU64>::open_or_create(seg, "e", 4)
        );
        make!("Atomics::create", Atomics::<AtomicU64>::create(seg, "f", 4));
        make!(
            "Mutex::open_or_create",
            Mutex::open_or_create(seg, "g", 0u64)
        );
        make!("Mutex::create", Mutex::create(seg, "mutex", 0u64));
        make!("Condvar::open_or_create", Condvar::open_or_create(seg, "h"));
        make!("Condvar::create", Condvar::create(seg, "i"));
        make!(
            "Queue::open_or_create",
            Queue::<u32>::open_or_create(seg, "j", 3)
        );
        make!("Queue::create", Queue::<char>::create(seg, "k", 300));
    }
}
