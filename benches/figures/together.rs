//! What an operation costs between two processes: streams, and hand-overs there and back.

use crate::{queue, segment};
use commonhold::process::Process;
use commonhold::{Barrier, Event, Messages, Queue, Ring, Value};
use divan::{Bencher, counter::BytesCount};

/// Starts the other party, which dies with this one.
fn other<A>(f: fn(A), args: A) -> Process<()>
where
    A: serde::Serialize + serde::de::DeserializeOwned + 'static,
{
    Process::builder(f, args)
        .daemon(true)
        .spawn()
        .expect("this program, again")
}

/// So many wait at a time, at most.
const CAPACITY: usize = 4096;

#[divan::bench(sample_size = 1000)]
fn queue_send_to_another_process(bencher: Bencher<'_, '_>) {
    let queue = queue::<u64>(CAPACITY);
    let receiver = other(
        |queue: Queue<u64>| queue.iter().for_each(drop),
        queue.clone(),
    );
    bencher.bench_local(|| queue.send(7).expect("it is open"));
    queue.close();
    receiver.join().expect("it ends");
}

/// In batches of this size; what is counted is one item.
#[divan::bench(args = [8, 64, 512], sample_size = 1000)]
fn queue_send_all_to_another_process(bencher: Bencher<'_, '_>, batch: usize) {
    let drain = |queue: Queue<u64>| {
        let mut batch = Vec::with_capacity(512);
        while queue.recv_many(&mut batch, 512).is_ok() {
            batch.clear();
        }
    };
    let queue = queue::<u64>(CAPACITY);
    let receiver = other(drain, queue.clone());
    let items = vec![7; batch];
    bencher
        .counter(divan::counter::ItemsCount::new(batch))
        .bench_local(|| queue.send_all(&items).expect("it is open"));
    queue.close();
    receiver.join().expect("it ends");
}

/// Visible every so many items.
#[divan::bench(args = [1, 32], sample_size = 1000)]
fn ring_send_to_another_process(bencher: Bencher<'_, '_>, lazy: usize) {
    let drain = |ring: Ring<u64>| {
        let mut consumer = ring.consumer().expect("it is free");
        while consumer.recv().is_ok() {}
    };
    let ring = Ring::create(&segment(), "ring", CAPACITY).expect("there is room");
    let receiver = other(drain, ring.clone());
    let mut producer = ring.producer().expect("it is free");
    producer.lazy(lazy);
    bencher.bench_local(|| producer.send(7).expect("it is open"));
    producer.close();
    receiver.join().expect("it ends");
}

/// All bytes written, and read by the other process in place.
#[divan::bench(args = [8, 64, 512, 4096, 1 << 16, 1 << 20], sample_size = 100)]
fn messages_send_to_another_process(bencher: Bencher<'_, '_>, bytes: usize) {
    let drain = |messages: Messages| {
        let read = |message: &[u8]| message.iter().fold(0, |sum, byte| sum ^ byte);
        while messages.recv_with(read).is_ok() {}
    };
    let messages = Messages::create(&segment(), "messages", 1 << 22).expect("there is room");
    let receiver = other(drain, messages.clone());
    let message = vec![7; bytes];
    bencher
        .counter(BytesCount::new(bytes))
        .bench_local(|| messages.send(&message).expect("it is open"));
    messages.close();
    receiver.join().expect("it ends");
}

/// There and back.
#[divan::bench(sample_size = 1000)]
fn event_round_trip(bencher: Bencher<'_, '_>) {
    let echo = |[there, back]: [Event; 2]| {
        while there.wait().is_ok() {
            back.set();
        }
    };
    let segment = segment();
    let events = ["there", "back"]
        .map(|name| Event::create_auto_reset(&segment, name).expect("there is room"));
    let [there, back] = events.clone();
    let echoes = other(echo, events);
    bencher.bench_local(|| {
        there.set();
        back.wait().expect("it answers");
    });
    echoes.kill().expect("it is ours");
}

/// There and back.
#[divan::bench(sample_size = 1000)]
fn queue_round_trip(bencher: Bencher<'_, '_>) {
    let echo = |[there, back]: [Queue<u64>; 2]| {
        there
            .iter()
            .for_each(|item| back.send(item).expect("it is open"));
    };
    let queues = [queue::<u64>(CAPACITY), queue(CAPACITY)];
    let [there, back] = queues.clone();
    let echoes = other(echo, queues);
    bencher.bench_local(|| {
        there.send(7).expect("it is open");
        back.recv().expect("it answers")
    });
    there.close();
    echoes.join().expect("it ends");
}

#[divan::bench(args = [2, 4, 8], sample_size = 1000)]
fn barrier_crossing(bencher: Bencher<'_, '_>, parties: usize) {
    let cross = |barrier: Barrier| while barrier.wait().is_ok() {};
    let barrier = Barrier::create(&segment(), "barrier", parties).expect("there is room");
    let others: Vec<_> = (1..parties)
        .map(|_| other(cross, barrier.clone()))
        .collect();
    bencher.bench_local(|| barrier.wait().expect("nobody died").is_leader());
    barrier.abort();
    for other in others {
        other.join().expect("it ends");
    }
}

/// Of so many processes that all add to one value: what each addition costs this one.
#[divan::bench(args = [2, 4, 16, 64], sample_size = 1000)]
fn value_update_among_members(bencher: Bencher<'_, '_>, members: usize) {
    let segment = segment();
    let value = Value::create(&segment, "value", 0u64).expect("there is room");
    let over = Event::create(&segment, "over").expect("there is room");
    let add = |(value, over): (Value<u64>, Event)| {
        while !over.is_set() {
            value.update(|v| *v += 1).expect("nobody died");
        }
    };
    let others: Vec<_> = (1..members)
        .map(|_| other(add, (value.clone(), over.clone())))
        .collect();
    bencher.bench_local(|| value.update(|v| *v += 1).expect("nobody died"));
    over.set();
    for other in others {
        other.join().expect("it ends");
    }
}
