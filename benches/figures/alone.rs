//! What an operation costs when nobody else is there.

use crate::{queue, segment};
use commonhold::{
    Array, Atomics, BlockPool, Broadcast, Condvar, Event, Messages, Mutex, Ring, RwLock, Semaphore,
    Value,
};
use divan::{Bencher, black_box, counter::BytesCount};
use std::sync::atomic::{AtomicU64, Ordering};

/// The item that fills a cache line.
type Line = [u64; 8];

#[divan::bench(sample_size = 1000)]
fn mutex_lock_and_unlock(bencher: Bencher<'_, '_>) {
    let mutex = Mutex::create(&segment(), "m", 0u64).expect("there is room");
    bencher.bench_local(|| *mutex.lock().expect("nobody died") += 1);
}

#[divan::bench(sample_size = 1000)]
fn rwlock_read_and_unlock(bencher: Bencher<'_, '_>) {
    let lock = RwLock::create(&segment(), "l", 7u64).expect("there is room");
    bencher.bench_local(|| *lock.read().expect("nobody died"));
}

#[divan::bench(sample_size = 1000)]
fn rwlock_write_and_unlock(bencher: Bencher<'_, '_>) {
    let lock = RwLock::create(&segment(), "l", 7u64).expect("there is room");
    bencher.bench_local(|| *lock.write().expect("nobody died") += 1);
}

#[divan::bench(sample_size = 1000)]
fn semaphore_acquire_and_release(bencher: Bencher<'_, '_>) {
    let semaphore = Semaphore::create(&segment(), "s", 4).expect("there is room");
    bencher.bench_local(|| semaphore.acquire().map(drop).expect("a permit"));
}

#[divan::bench(sample_size = 1000)]
fn event_set_and_clear(bencher: Bencher<'_, '_>) {
    let event = Event::create(&segment(), "e").expect("there is room");
    bencher.bench_local(|| {
        event.set();
        event.clear();
    });
}

#[divan::bench(sample_size = 1000)]
fn condvar_notify_without_a_waiter(bencher: Bencher<'_, '_>) {
    let condvar = Condvar::create(&segment(), "c").expect("there is room");
    bencher.bench_local(|| condvar.notify_one());
}

#[divan::bench(sample_size = 1000)]
fn value_get(bencher: Bencher<'_, '_>) {
    let value = Value::create(&segment(), "v", 1u64).expect("there is room");
    bencher.bench_local(|| value.get().expect("sound"));
}

#[divan::bench(sample_size = 1000)]
fn value_get_of_64_bytes(bencher: Bencher<'_, '_>) {
    let value = Value::create(&segment(), "v", Line::default()).expect("there is room");
    bencher.bench_local(|| value.get().expect("sound"));
}

#[divan::bench(sample_size = 1000)]
fn value_update(bencher: Bencher<'_, '_>) {
    let value = Value::create(&segment(), "v", 1u64).expect("there is room");
    bencher.bench_local(|| value.update(|v| *v += 1).expect("sound"));
}

#[divan::bench(sample_size = 1000)]
fn array_get(bencher: Bencher<'_, '_>) {
    let array = Array::<u64>::create(&segment(), "a", 1000, 7).expect("there is room");
    bencher.bench_local(|| array.get(black_box(77)).expect("sound"));
}

#[divan::bench(sample_size = 1000)]
fn atomics_fetch_add(bencher: Bencher<'_, '_>) {
    let counters = Atomics::<AtomicU64>::create(&segment(), "a", 8).expect("there is room");
    bencher.bench_local(|| counters[3].fetch_add(1, Ordering::Relaxed));
}

#[divan::bench(sample_size = 1000)]
fn queue_send_and_recv(bencher: Bencher<'_, '_>) {
    let queue = queue::<u64>(64);
    bencher.bench_local(|| {
        queue.send(7).expect("there is room");
        queue.recv().expect("it is there")
    });
}

#[divan::bench(sample_size = 1000)]
fn queue_send_lease_and_complete(bencher: Bencher<'_, '_>) {
    let queue = queue::<u64>(64);
    bencher.bench_local(|| {
        queue.send(7).expect("there is room");
        queue
            .lease()
            .expect("it is there")
            .complete()
            .expect("it is ours");
    });
}

#[divan::bench(sample_size = 1000)]
fn ring_send_and_recv(bencher: Bencher<'_, '_>) {
    let ring = Ring::<u64>::create(&segment(), "r", 64).expect("there is room");
    let (mut producer, mut consumer) = (
        ring.producer().expect("free"),
        ring.consumer().expect("free"),
    );
    bencher.bench_local(|| {
        producer.send(7).expect("there is room");
        consumer.recv().expect("it is there")
    });
}

#[divan::bench(sample_size = 1000)]
fn broadcast_send_and_recv(bencher: Bencher<'_, '_>) {
    let broadcast = Broadcast::<u64>::create(&segment(), "b", 64).expect("there is room");
    let publisher = broadcast.publisher().expect("it is open");
    let mut subscriber = broadcast.subscribe().expect("there is room");
    bencher.bench_local(|| {
        publisher.send(7).expect("it is open");
        subscriber.recv().expect("it is there")
    });
}

#[divan::bench(sample_size = 1000)]
fn blocks_loan_and_return(bencher: Bencher<'_, '_>) {
    let pool = BlockPool::create(&segment(), "p", 8, 4096).expect("there is room");
    bencher.bench_local(|| pool.loan().map(drop).expect("one is free"));
}

/// Written, and read in place.
#[divan::bench(args = [64, 4096], sample_size = 100)]
fn messages_send_and_recv(bencher: Bencher<'_, '_>, bytes: usize) {
    let messages = Messages::create(&segment(), "m", 1 << 22).expect("there is room");
    let message = vec![7; bytes];
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        messages.send(black_box(&message)).expect("there is room");
        messages.recv_with(|m| m.len()).expect("it is there")
    });
}
