//! Locks and signals, free and with nobody waiting.

use crate::meter::Meter;
use commonhold::{
    Barrier, Condvar, Event, Mutex, Once, ReentrantMutex, RwLock, Segment, Semaphore,
};
use std::hint::black_box;

pub(crate) fn all(meter: &Meter, segment: &Segment) {
    mutex(meter, segment);
    rwlock(meter, segment);
    signals(meter, segment);
}

fn mutex(meter: &Meter, segment: &Segment) {
    let mutex = Mutex::create(segment, "mutex", 0u64).expect("room");
    meter.each("Mutex: lock, unlock", || {
        *black_box(&mutex).lock().expect("sound") += 1;
    });
    meter.each("Mutex: try_lock, unlock", || {
        *black_box(&mutex).try_lock().expect("free") += 1;
    });
    let held = mutex.lock().expect("sound");
    meter.each("Mutex: try_lock of a held one", || {
        black_box(&mutex).try_lock().is_err()
    });
    drop(held);

    let reentrant = ReentrantMutex::create(segment, "reentrant").expect("room");
    meter.each("ReentrantMutex: lock, unlock", || {
        drop(black_box(&reentrant).lock().expect("sound"));
    });
    let _held = reentrant.lock().expect("sound");
    meter.each("ReentrantMutex: lock again, unlock", || {
        drop(black_box(&reentrant).lock().expect("ours"));
    });
}

fn rwlock(meter: &Meter, segment: &Segment) {
    let lock = RwLock::create(segment, "rwlock", 0u64).expect("room");
    meter.each("RwLock: read, unlock", || {
        *black_box(&lock).read().expect("sound")
    });
    meter.each("RwLock: write, unlock", || {
        *black_box(&lock).write().expect("sound") += 1;
    });
}

fn signals(meter: &Meter, segment: &Segment) {
    let semaphore = Semaphore::create(segment, "semaphore", 1).expect("room");
    meter.each("Semaphore: acquire, release", || {
        drop(black_box(&semaphore).acquire().expect("free"));
    });

    let event = Event::create(segment, "event").expect("room");
    meter.each("Event: set, clear", || {
        black_box(&event).set();
        black_box(&event).clear();
    });
    event.set();
    meter.each("Event: set one that is set", || black_box(&event).set());
    meter.each("Event: wait for one that is set", || {
        black_box(&event).wait().expect("set");
    });
    let auto = Event::create_auto_reset(segment, "automatic").expect("room");
    meter.each("Event: set, wait, which resets it", || {
        black_box(&auto).set();
        black_box(&auto).wait().expect("set");
    });

    let condvar = Condvar::create(segment, "condvar").expect("room");
    meter.each("Condvar: notify_one of nobody", || {
        black_box(&condvar).notify_one();
    });
    meter.each("Condvar: notify_all of nobody", || {
        black_box(&condvar).notify_all();
    });

    let barrier = Barrier::create(segment, "barrier", 1).expect("room");
    meter.each("Barrier: wait, of one", || {
        black_box(&barrier).wait().expect("sound")
    });

    let once = Once::create(segment, "once").expect("room");
    meter.each("Once: call_once of a done one", || {
        black_box(&once).call_once(|| ()).expect("sound");
    });
}
