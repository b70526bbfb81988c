//! Items of a fixed size: queues, rings, broadcasts, blocks, with one process at both ends.

use crate::meter::Meter;
use commonhold::{BlockPool, Broadcast, Plain, Queue, Ring, Segment};
use std::hint::black_box;

/// More than one batch, and a multiple of it.
const CAPACITY: usize = 256;
const BATCH: usize = 64;

pub(crate) fn all(meter: &Meter, segment: &Segment) {
    queue(meter, segment, "u64", 1u64);
    queue(meter, segment, "64 bytes", [1u64; 8]);
    lease(meter, segment);
    ring(meter, segment, "u64", 1u64);
    ring(meter, segment, "64 bytes", [1u64; 8]);
    chunks(meter, segment);
    broadcast(meter, segment);
    blocks(meter, segment);
}

fn queue<T: Plain + Copy>(meter: &Meter, segment: &Segment, what: &str, item: T) {
    let queue = Queue::create(segment, &format!("queue, {what}"), CAPACITY).expect("room");
    meter.each(&format!("Queue of {what}: send, recv"), || {
        black_box(&queue).send(black_box(item)).expect("room");
        black_box(&queue).recv().expect("one is there")
    });
    let batch = [item; BATCH];
    let mut got = Vec::with_capacity(BATCH);
    let name = format!("Queue of {what}: send_all, recv_many of {BATCH}");
    meter.each(&name, || {
        black_box(&queue).send_all(black_box(&batch)).expect("room");
        got.clear();
        black_box(&queue)
            .recv_many(&mut got, BATCH)
            .expect("they are there")
    });
    meter.each(&format!("Queue of {what}: try_recv of none"), || {
        black_box(&queue).try_recv().is_err()
    });
}

fn lease(meter: &Meter, segment: &Segment) {
    let queue = Queue::create(segment, "leases", CAPACITY).expect("room");
    meter.each("Queue of u64: send, lease, complete", || {
        black_box(&queue).send(black_box(1u64)).expect("room");
        let lease = black_box(&queue).lease().expect("one is there");
        lease.complete().expect("ours")
    });
}

fn ring<T: Plain + Copy>(meter: &Meter, segment: &Segment, what: &str, item: T) {
    let ring = Ring::create(segment, &format!("ring, {what}"), CAPACITY).expect("room");
    let mut producer = ring.producer().expect("nobody else");
    let mut consumer = ring.consumer().expect("nobody else");
    meter.each(&format!("Ring of {what}: send, recv"), || {
        black_box(&mut producer)
            .send(black_box(item))
            .expect("room");
        black_box(&mut consumer).recv().expect("one is there")
    });
    let batch = [item; BATCH];
    let mut got = Vec::with_capacity(BATCH);
    let name = format!("Ring of {what}: send_all, recv_many of {BATCH}");
    meter.each(&name, || {
        black_box(&mut producer)
            .send_all(black_box(&batch))
            .expect("room");
        got.clear();
        black_box(&mut consumer)
            .recv_many(&mut got, BATCH)
            .expect("they are there")
    });
    let name = format!("Ring of {what}: lazy send, recv of {BATCH}");
    producer.lazy(BATCH);
    meter.each(&name, || {
        for _ in 0..BATCH {
            black_box(&mut producer)
                .send(black_box(item))
                .expect("room");
        }
        for _ in 0..BATCH {
            black_box(black_box(&mut consumer).recv().expect("one is there"));
        }
    });
}

fn chunks(meter: &Meter, segment: &Segment) {
    let ring = Ring::<u64>::create(segment, "chunks", CAPACITY).expect("room");
    let mut producer = ring.producer().expect("nobody else");
    let mut consumer = ring.consumer().expect("nobody else");
    let name = format!("Ring of u64: write_chunk, read_chunk of {BATCH}, untouched");
    meter.each(&name, || {
        let mut chunk = black_box(&mut producer).write_chunk(BATCH).expect("room");
        black_box(chunk.as_mut_slices());
        chunk.commit_all().expect("ours");
        let chunk = black_box(&mut consumer)
            .read_chunk(BATCH)
            .expect("they are there");
        black_box(chunk.as_slices());
        chunk.commit_all().expect("ours");
    });
}

fn broadcast(meter: &Meter, segment: &Segment) {
    let broadcast = Broadcast::create(segment, "broadcast", CAPACITY).expect("room");
    let publisher = broadcast.publisher().expect("room");
    meter.each("Broadcast of u64: send to nobody", || {
        black_box(&publisher).send(black_box(1u64)).expect("room");
    });
    let mut subscriber = broadcast.subscribe().expect("room");
    meter.each("Broadcast of u64: send, recv", || {
        black_box(&publisher).send(black_box(1)).expect("room");
        black_box(&mut subscriber).recv().expect("one is there")
    });
}

fn blocks(meter: &Meter, segment: &Segment) {
    let pool = BlockPool::create(segment, "blocks", 4, 4096).expect("room");
    meter.each("BlockPool: loan, drop", || {
        drop(black_box(&pool).loan().expect("one is free"));
    });
    let queue = Queue::create(segment, "blocks' queue", 4).expect("room");
    meter.each("BlockPool: loan, send, receive, drop", || {
        let block = black_box(&pool).loan().expect("one is free");
        block.send(black_box(&queue)).expect("room");
        drop(black_box(&pool).receive(&queue).expect("one is there"));
    });
}
