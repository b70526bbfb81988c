//! Values, arrays and atomics that nobody else is writing to.

use crate::meter::Meter;
use commonhold::{Array, Atomics, Segment, Value};
use std::hint::black_box;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

pub(crate) fn all(meter: &Meter, segment: &Segment) {
    let value = Value::create(segment, "value", 0u64).expect("room");
    meter.each("Value of 8 bytes: get", || {
        black_box(&value).get().expect("sound")
    });
    meter.each("Value of 8 bytes: set", || {
        black_box(&value).set(black_box(1)).expect("sound");
    });
    meter.each("Value of 8 bytes: update", || {
        black_box(&value).update(|n| *n += 1).expect("sound");
    });
    let value = Value::create(segment, "value of 64", [0u64; 8]).expect("room");
    meter.each("Value of 64 bytes: get", || {
        black_box(&value).get().expect("sound")
    });
    meter.each("Value of 64 bytes: set", || {
        black_box(&value).set(black_box([1; 8])).expect("sound");
    });
    let mut watch = value.watch().expect("room");
    meter.each("Watch: try_recv of no change", || {
        black_box(&mut watch).try_recv().is_err()
    });

    let array = Array::create(segment, "array", 64, 0u64).expect("room");
    meter.each("Array: get", || {
        black_box(&array).get(black_box(7)).expect("sound")
    });
    meter.each("Array: set", || {
        black_box(&array).set(black_box(7), 1).expect("sound");
    });
    meter.each("Array: lock, unlock", || {
        black_box(&array).lock().expect("sound")[black_box(7)] += 1;
    });

    let atomics = Atomics::<AtomicU64>::create(segment, "atomics", 64).expect("room");
    meter.each("Atomics: fetch_add", || {
        black_box(&atomics)[black_box(7)].fetch_add(1, Relaxed)
    });
}
