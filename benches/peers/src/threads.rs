//! The peers that work between two threads: for each, how items go in and how they come out.
//!
//! Those that only try are tried again at once, with a pause between. What any number of threads may use is given as `Fn`.

use crate::arena::CAPACITY;
use crate::machine::poll;
use crate::queue::{Item, Seen};
use disruptor::{BusySpin, Producer as _, build_single_producer};
use ringbuf::traits::{Consumer as _, Producer as _, Split as _};
use std::sync::Arc;

pub(crate) fn std_mpsc<T: Item>() -> (impl FnMut(T) + Send, impl FnMut() -> T + Send) {
    let (tx, rx) = std::sync::mpsc::sync_channel(CAPACITY);
    (
        move |item| tx.send(item).expect("the receiver is there"),
        move || rx.recv().expect("the sender is there"),
    )
}

pub(crate) fn crossbeam_channel<T: Item>()
-> (impl Fn(T) + Send + Sync, impl Fn() -> T + Send + Sync) {
    let (tx, rx) = crossbeam_channel::bounded(CAPACITY);
    (
        move |item| tx.send(item).expect("the receiver is there"),
        move || rx.recv().expect("the sender is there"),
    )
}

pub(crate) fn kanal<T: Item>() -> (impl Fn(T) + Send + Sync, impl Fn() -> T + Send + Sync) {
    let (tx, rx) = kanal::bounded(CAPACITY);
    (
        move |item| tx.send(item).expect("the receiver is there"),
        move || rx.recv().expect("the sender is there"),
    )
}

pub(crate) fn flume<T: Item>() -> (impl Fn(T) + Send + Sync, impl Fn() -> T + Send + Sync) {
    let (tx, rx) = flume::bounded(CAPACITY);
    (
        move |item| tx.send(item).expect("the receiver is there"),
        move || rx.recv().expect("the sender is there"),
    )
}

pub(crate) fn array_queue<T: Item>() -> (impl Fn(T) + Send + Sync, impl Fn() -> T + Send + Sync) {
    let tx = Arc::new(crossbeam_queue::ArrayQueue::new(CAPACITY));
    let rx = Arc::clone(&tx);
    (
        move |item| poll(|| tx.push(item).ok()),
        move || poll(|| rx.pop()),
    )
}

pub(crate) fn concurrent_queue<T: Item>() -> (impl Fn(T) + Send + Sync, impl Fn() -> T + Send + Sync)
{
    let tx = Arc::new(concurrent_queue::ConcurrentQueue::bounded(CAPACITY));
    let rx = Arc::clone(&tx);
    (
        move |item| poll(|| tx.push(item).ok()),
        move || poll(|| rx.pop().ok()),
    )
}

pub(crate) fn rtrb<T: Item>() -> (impl FnMut(T), impl FnMut() -> T + Send) {
    let (mut tx, mut rx) = rtrb::RingBuffer::new(CAPACITY);
    (
        move |item| poll(|| tx.push(item).ok()),
        move || poll(|| rx.pop().ok()),
    )
}

pub(crate) fn rtrb_batches<T: Item>() -> (impl FnMut(&[T]), impl FnMut(&mut Vec<T>) + Send) {
    let (mut tx, mut rx) = rtrb::RingBuffer::new(CAPACITY);
    (
        move |mut items: &[T]| {
            while !items.is_empty() {
                let free = poll(|| Some(tx.slots()).filter(|&free| free > 0));
                let (now, later) = items.split_at(free.min(items.len()));
                tx.push_entire_slice(now).expect("there is room");
                items = later;
            }
        },
        move |items: &mut Vec<T>| {
            let there = poll(|| Some(rx.slots()).filter(|&there| there > 0));
            let chunk = rx.read_chunk(there.min(items.capacity()));
            let chunk = chunk.expect("they are there");
            let (head, tail) = chunk.as_slices();
            items.extend_from_slice(head);
            items.extend_from_slice(tail);
            chunk.commit_all();
        },
    )
}

pub(crate) fn ringbuf<T: Item>() -> (impl FnMut(T), impl FnMut() -> T + Send) {
    let (mut tx, mut rx) = ringbuf::HeapRb::new(CAPACITY).split();
    (
        move |item| poll(|| tx.try_push(item).ok()),
        move || poll(|| rx.try_pop()),
    )
}

pub(crate) fn ringbuf_batches<T: Item>() -> (impl FnMut(&[T]), impl FnMut(&mut Vec<T>) + Send) {
    let (mut tx, mut rx) = ringbuf::HeapRb::new(CAPACITY).split();
    (
        move |mut items: &[T]| {
            while !items.is_empty() {
                let sent = poll(|| Some(tx.push_slice(items)).filter(|&sent| sent > 0));
                items = &items[sent..];
            }
        },
        move |items: &mut Vec<T>| {
            items.resize(items.capacity(), T::zeroed());
            let got = poll(|| Some(rx.pop_slice(items)).filter(|&got| got > 0));
            items.truncate(got);
        },
    )
}

/// One by one at both ends.
pub(crate) fn disruptor<T: Item>() -> (impl FnMut(T), impl FnMut() -> T + Send) {
    let (mut rx, builder) = build_single_producer(CAPACITY, T::zeroed, BusySpin).new_event_poller();
    let mut tx = builder.build();
    (
        move |item| tx.publish(|slot| *slot = item),
        move || {
            poll(|| {
                let mut events = rx.take(1).ok()?;
                (&mut events).next().copied()
            })
        },
    )
}

/// Its consumer takes all that is there, as it is meant to.
pub(crate) fn disruptor_all<T: Item>() -> (impl FnMut(T), impl FnMut(&mut Seen) + Send) {
    let (mut rx, builder) = build_single_producer(CAPACITY, T::zeroed, BusySpin).new_event_poller();
    let mut tx = builder.build();
    (
        move |item| tx.publish(|slot| *slot = item),
        move |seen: &mut Seen| {
            poll(|| {
                let mut events = rx.poll().ok()?;
                (&mut events).for_each(|&item| seen.note(item));
                Some(())
            });
        },
    )
}

pub(crate) fn disruptor_batches<T: Item>() -> (impl FnMut(&[T]), impl FnMut(&mut Seen) + Send) {
    let (mut rx, builder) = build_single_producer(CAPACITY, T::zeroed, BusySpin).new_event_poller();
    let mut tx = builder.build();
    (
        move |items: &[T]| {
            tx.batch_publish(items.len(), |slots| {
                slots.zip(items).for_each(|(slot, item)| *slot = *item);
            });
        },
        move |seen: &mut Seen| {
            poll(|| {
                let mut events = rx.poll().ok()?;
                (&mut events).for_each(|&item| seen.note(item));
                Some(())
            });
        },
    )
}
