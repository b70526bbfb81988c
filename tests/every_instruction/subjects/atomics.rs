//! Atomics: each access is done or not.

use crate::case::{Case, Look, Subject, leak};
use commonhold::{Atomics, Segment};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

fn open(seg: &Segment) -> &'static Atomics<AtomicU64> {
    leak(Atomics::open(seg, "atomics").unwrap())
}

fn make(seg: &Segment) {
    Atomics::<AtomicU64>::create(seg, "atomics", 2).unwrap();
}

fn mend(seg: &Segment) {
    open(seg)[1].fetch_add(1, Relaxed);
}

fn judge(seg: &Segment, _: Look) -> u32 {
    let a = Atomics::<AtomicU64>::open(seg, "atomics").unwrap();
    assert_eq!(a.len(), 2);
    a[1].fetch_add(1, Relaxed);
    a[0].load(Relaxed) as u32
}

pub fn subject() -> Subject {
    Subject::new("Atomics", make, mend, judge).case(Case::new("fetch_add, twice", 2, |seg| {
        let a = open(seg);
        Box::new(|| {
            a[0].fetch_add(1, Relaxed);
            a[0].fetch_add(1, Relaxed);
        })
    }))
}
