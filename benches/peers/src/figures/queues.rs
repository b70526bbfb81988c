//! Queues and rings of items of one type: ours between two processes, the peers between two threads.

use super::{Better, Contestant, Figure, Goals, contestant, python};
use crate::arena::Cell;
use crate::context::{Context, job};
use crate::crowd;
use crate::job::{Verb, Who};
use crate::queue::Item;
use crate::threads as peers;

pub(super) fn figures(cx: &Context) -> Vec<Figure<'_>> {
    let mut all = Vec::new();
    let [rings, mut queues] = one_by_one::<u64>(cx, "u64", [RING_NARROW, QUEUE_NARROW]);
    let work = ("Python Queue", "queue", 10_000);
    queues
        .contestants
        .extend(python(cx, work, |rate| rate / 1e6));
    all.extend([rings, queues]);
    all.extend(one_by_one::<Cell>(cx, "[u64; 8]", [RING_WIDE, QUEUE_WIDE]));
    all.extend(batches::<u64>(cx, "u64"));
    all.extend(batches::<Cell>(cx, "[u64; 8]"));
    let narrow = &cx.arena.objects.narrow_queues[0];
    let wide = &cx.arena.objects.wide_queues[0];
    all.push(two_and_two(cx, "u64", narrow).goals(BEST_NARROW));
    all.push(two_and_two(cx, "[u64; 8]", wide).goals(BEST_WIDE));
    all.extend(round_trips::<u64>(cx, "u64"));
    all.extend(round_trips::<Cell>(cx, "[u64; 8]"));
    all
}

const RING_NARROW: Goals = &[("rtrb", 1.5), ("disruptor", 1.2)];
const RING_WIDE: Goals = &[("rtrb", 2.5), ("disruptor", 1.5)];
const QUEUE_NARROW: Goals = &[("crossbeam ArrayQueue", 1.25), ("Python Queue", 1000.0)];
const QUEUE_WIDE: Goals = &[("crossbeam ArrayQueue", 1.25)];

const BEST_NARROW: Goals = &[
    ("crossbeam ArrayQueue", 1.3),
    ("crossbeam-channel", 1.3),
    ("kanal", 1.3),
];
const BEST_WIDE: Goals = &[
    ("crossbeam ArrayQueue", 1.7),
    ("crossbeam-channel", 1.7),
    ("kanal", 1.7),
];

fn words<T>() -> u32 {
    size_of::<T>() as u32 / 8
}

/// One of ours, or the kernel's.
fn ours<'a, T>(cx: &'a Context, name: &'static str, who: Who, batch: u32) -> Contestant<'a> {
    let job = job(Verb::Send, who, words::<T>(), batch);
    contestant(name, move || cx.pair(job) / 1e6)
}

/// A peer whose items are sent one by one.
fn peer<'a, T, Tx, Rx>(
    cx: &'a Context,
    name: &'static str,
    make: impl Fn() -> (Tx, Rx) + Copy + 'a,
) -> Contestant<'a>
where
    T: Item,
    Tx: FnMut(T),
    Rx: FnMut() -> T + Send,
{
    Contestant {
        check: Box::new(move || cx.check_items(make())),
        ..contestant(name, move || cx.items(make()) / 1e6)
    }
}

fn one_by_one<'a, T: Item>(
    cx: &'a Context,
    of: &str,
    [ring, queue]: [Goals; 2],
) -> [Figure<'a>; 2] {
    let figure = |kind, contestants, goals| {
        let name = format!("{kind}<{of}>, one by one");
        Figure::new(name, "M/s", Better::More, contestants).goals(goals)
    };
    let rings = vec![
        ours::<T>(cx, "commonhold", Who::Ring, 1),
        ours::<T>(cx, "commonhold, lazy(32)", Who::LazyRing, 1),
        peer(cx, "rtrb", peers::rtrb::<T>),
        peer(cx, "ringbuf", peers::ringbuf::<T>),
        Contestant {
            check: Box::new(|| cx.check_items(peers::disruptor::<T>())),
            ..contestant("disruptor", || {
                cx.items_at_once(peers::disruptor_all::<T>()) / 1e6
            })
        },
        peer(cx, "crossbeam ArrayQueue", peers::array_queue::<T>),
    ];
    let queues = vec![
        ours::<T>(cx, "commonhold", Who::Queue, 1),
        peer(cx, "crossbeam ArrayQueue", peers::array_queue::<T>),
        peer(cx, "crossbeam-channel", peers::crossbeam_channel::<T>),
        peer(cx, "concurrent-queue", peers::concurrent_queue::<T>),
        peer(cx, "flume", peers::flume::<T>),
        peer(cx, "kanal", peers::kanal::<T>),
        peer(cx, "std mpsc", peers::std_mpsc::<T>),
        ours::<T>(cx, "pipe", Who::Pipe, 1),
    ];
    [figure("Ring", rings, ring), figure("Queue", queues, queue)]
}

/// For those that have batches.
fn batches<'a, T: Item>(cx: &'a Context, of: &str) -> [Figure<'a>; 2] {
    const BATCH: u32 = 64;
    let figure = |kind, contestants| {
        let name = format!("{kind}<{of}>, 64 at a time");
        Figure::new(name, "M/s", Better::More, contestants)
    };
    let rings = vec![
        ours::<T>(cx, "commonhold", Who::Ring, BATCH),
        contestant("rtrb", || {
            cx.batches(BATCH as usize, peers::rtrb_batches::<T>()) / 1e6
        }),
        contestant("ringbuf", || {
            cx.batches(BATCH as usize, peers::ringbuf_batches::<T>()) / 1e6
        }),
        contestant("disruptor", || {
            cx.batches_at_once(BATCH as usize, peers::disruptor_batches::<T>()) / 1e6
        }),
    ];
    let queues = vec![
        ours::<T>(cx, "commonhold", Who::Queue, BATCH),
        ours::<T>(cx, "pipe", Who::Pipe, BATCH),
    ];
    [
        figure("Ring", rings).goals(&[("rtrb", 1.0), ("ringbuf", 1.0), ("disruptor", 1.0)]),
        figure("Queue", queues),
    ]
}

/// Four processes; four threads for the peers.
fn two_and_two<'a, T: Item + commonhold::Plain>(
    cx: &'a Context,
    of: &str,
    queue: &'a commonhold::Queue<T>,
) -> Figure<'a> {
    let ours = move || {
        let send = |item| queue.send(item).expect("it is open");
        let recv = || queue.recv().expect("it is open");
        crowd::two_and_two(cx, false, (send, recv)) / 1e6
    };
    fn peer<'a, T: Item, Tx: Fn(T) + Sync, Rx: Fn() -> T + Sync>(
        cx: &'a Context,
        name: &'static str,
        make: impl Fn() -> (Tx, Rx) + 'a,
    ) -> Contestant<'a> {
        contestant(name, move || crowd::two_and_two(cx, true, make()) / 1e6)
    }
    let contestants = vec![
        contestant("commonhold", ours),
        peer(cx, "crossbeam ArrayQueue", peers::array_queue::<T>),
        peer(cx, "crossbeam-channel", peers::crossbeam_channel::<T>),
        peer(cx, "concurrent-queue", peers::concurrent_queue::<T>),
        peer(cx, "flume", peers::flume::<T>),
        peer(cx, "kanal", peers::kanal::<T>),
    ];
    let name = format!("Queue<{of}>, two send and two receive");
    Figure::new(name, "M/s", Better::More, contestants)
}

fn round_trips<'a, T: Item>(cx: &'a Context, of: &str) -> [Figure<'a>; 2] {
    let figure = |kind, contestants| {
        let name = format!("{kind}<{of}>, round trip");
        Figure::new(name, "ns", Better::Less, contestants)
    };
    let ours = |who| {
        let job = job(Verb::Return, who, words::<T>(), 0);
        contestant("commonhold", move || cx.pair(job))
    };
    let rings = vec![
        ours(Who::Ring),
        contestant("rtrb", || cx.trips(peers::rtrb::<T>)),
        contestant("ringbuf", || cx.trips(peers::ringbuf::<T>)),
        contestant("disruptor", || cx.trips(peers::disruptor::<T>)),
    ];
    let queues = vec![
        ours(Who::Queue),
        contestant("crossbeam ArrayQueue", || cx.trips(peers::array_queue::<T>)),
        contestant("crossbeam-channel", || {
            cx.trips(peers::crossbeam_channel::<T>)
        }),
        contestant("concurrent-queue", || {
            cx.trips(peers::concurrent_queue::<T>)
        }),
        contestant("flume", || cx.trips(peers::flume::<T>)),
        contestant("kanal", || cx.trips(peers::kanal::<T>)),
        contestant("std mpsc", || cx.trips(peers::std_mpsc::<T>)),
    ];
    [
        figure("Ring", rings).goals(&[("rtrb", 1.0)]),
        figure("Queue", queues),
    ]
}
