//! The classics of every tutorial on multiprocessing, by processes of their own.

use crate::report::{grouped, ms};
use crate::workers::{Context, PATIENCE, Role, Worker};
use crate::{Result, Tour};
use commonhold::{Array, Condvar, Error, Mutex, Queue, Segment, Value};
use std::hint::black_box;
use std::time::{Duration, Instant};

pub(crate) const ROLES: &[(&str, Role)] = &[
    ("value-worker", add_ten),
    ("array-worker", add_one_to_each),
    ("producer", produce),
    ("consumer", consume),
    ("player", play),
    ("counter", count_in_a_process),
];

const ITEMS: u64 = 1_000_000;
const HANDOVERS: u64 = 20_000;
const COUNT: u64 = 10_000_000;
/// Each way of counting is tried so often, and its best time taken.
const TRIES: u32 = 5;

pub(crate) fn show(tour: &mut Tour) -> Result<()> {
    tour.report
        .section("1  The classics, each by processes of their own")?;
    value(tour)?;
    array(tour)?;
    queue(tour)?;
    condvar(tour)?;
    counting(tour)
}

fn value(tour: &mut Tour) -> Result<()> {
    let value = Value::create(&tour.seg, "value", 5i64)?;
    Worker::start(tour.seg.name(), "value-worker", "")?.finish()?;
    let now = value.get()?;
    tour.report.check(
        now == 15,
        "a Value: another process adds 10",
        &format!("5 -> {now}"),
    )
}

fn add_ten(seg: &Segment, _: &str) -> Result<()> {
    Ok(Value::<i64>::open(seg, "value")?.update(|n| *n += 10)?)
}

fn array(tour: &mut Tour) -> Result<()> {
    let array = Array::from_slice(&tour.seg, "array", &[1i64, 2, 3])?;
    Worker::start(tour.seg.name(), "array-worker", "")?.finish()?;
    let now = array.to_vec()?;
    tour.report.check(
        now == [2, 3, 4],
        "an Array: another adds 1 to each item",
        &format!("[1, 2, 3] -> {now:?}"),
    )
}

fn add_one_to_each(seg: &Segment, _: &str) -> Result<()> {
    for n in Array::<i64>::open(seg, "array")?.lock()?.iter_mut() {
        *n += 1;
    }
    Ok(())
}

fn queue(tour: &mut Tour) -> Result<()> {
    Queue::<u64>::create(&tour.seg, "items", 1024)?;
    // How many items came, and the nanoseconds from the first to the last.
    let received = Value::create(&tour.seg, "received", [0u64; 2])?;
    let consumer = Worker::start(tour.seg.name(), "consumer", "")?;
    let producer = Worker::start(tour.seg.name(), "producer", "")?;
    producer.finish()?;
    consumer.finish()?;
    let [items, nanos] = received.get()?;
    tour.report.check(
        items == ITEMS,
        "a Queue: all items arrive, in order",
        &format!(
            "{} items, {:.0} ns each",
            grouped(items),
            nanos as f64 / items as f64
        ),
    )
}

fn produce(seg: &Segment, _: &str) -> Result<()> {
    let items = Queue::<u64>::open(seg, "items")?;
    for item in 0..ITEMS {
        items.send_timeout(item, PATIENCE)?;
    }
    items.close();
    Ok(())
}

fn consume(seg: &Segment, _: &str) -> Result<()> {
    let items = Queue::<u64>::open(seg, "items")?;
    let mut expected = 0;
    let mut first = None;
    loop {
        match items.recv_timeout(PATIENCE) {
            Ok(item) if item == expected => expected += 1,
            Ok(item) => return Err(format!("item {item} came in place of {expected}").into()),
            Err(Error::Closed) => break,
            Err(e) => return Err(e.into()),
        }
        first.get_or_insert_with(Instant::now);
    }
    let nanos = first.map_or(0, |first| first.elapsed().as_nanos() as u64);
    Ok(Value::<[u64; 2]>::open(seg, "received")?.set([expected, nanos])?)
}

fn condvar(tour: &mut Tour) -> Result<()> {
    let ball = Mutex::create(&tour.seg, "ball", 0u64)?;
    Condvar::create(&tour.seg, "thrown")?;
    let began = Instant::now();
    let players = [
        Worker::start(tour.seg.name(), "player", "0")?,
        Worker::start(tour.seg.name(), "player", "1")?,
    ];
    for player in players {
        player.finish()?;
    }
    let (throws, took) = (*ball.lock()?, began.elapsed());
    tour.report.check(
        throws == HANDOVERS,
        "a Condvar: two processes pass a ball",
        &format!(
            "{} hand-overs, {:.1} µs each",
            grouped(throws),
            took.as_secs_f64() * 1e6 / throws as f64
        ),
    )
}

/// Throws the ball each time it has been thrown by the other.
fn play(seg: &Segment, me: &str) -> Result<()> {
    let me: u64 = me.parse()?;
    let ball = Mutex::<u64>::open(seg, "ball")?;
    let thrown = Condvar::open(seg, "thrown")?;
    for _ in 0..HANDOVERS / 2 {
        let (mut throws, wait) =
            thrown.wait_timeout_while(ball.lock()?, PATIENCE, |throws| *throws % 2 != me)?;
        if wait.timed_out() {
            return Err(Error::Timeout.into());
        }
        *throws += 1;
        drop(throws);
        thrown.notify_one();
    }
    Ok(())
}

/// Work for a processor: the compiler may not take the steps together.
fn count(to: u64) -> u64 {
    (0..to).fold(0, |n, _| black_box(n + 1))
}

fn counting(tour: &mut Tour) -> Result<()> {
    let counts = Array::create(&tour.seg, "counts", 2, 0u64)?;
    let finished = Value::create(&tour.seg, "finished", 0u32)?;
    let seg = tour.seg.name();

    let alone = best_of_tries(|_| Ok([count(COUNT), count(COUNT)]))?;
    let threads = best_of_tries(|_| {
        std::thread::scope(|scope| {
            let counting = [(); 2].map(|()| scope.spawn(|| count(COUNT)));
            Ok(counting.map(|thread| thread.join().unwrap_or(0)))
        })
    })?;
    let processes = best_of_tries(|round| {
        counts.lock()?.fill(0);
        let workers = [
            Worker::start(seg, "counter", "0")?,
            Worker::start(seg, "counter", "1")?,
        ];
        finished
            .wait_until_timeout(PATIENCE, |&n| n == 2 * (round + 1))
            .context("waiting for the counters")?;
        let result = [counts.get(0)?, counts.get(1)?];
        workers.into_iter().try_for_each(Worker::finish)?;
        Ok(result)
    })?;

    tour.report.check(
        [&alone, &threads, &processes]
            .iter()
            .all(|way| way.counts == [COUNT; 2]),
        &format!("counting to {}, twice", grouped(COUNT)),
        &format!("best of {TRIES}, starting included"),
    )?;
    for (what, way) in [
        ("one after the other", &alone),
        ("two threads", &threads),
        ("two processes", &processes),
    ] {
        let times = alone.took.as_secs_f64() / way.took.as_secs_f64();
        let found = format!("{:>7} {times:.2} times as fast", ms(way.took));
        tour.report.figure(what, &found)?;
    }
    Ok(())
}

fn count_in_a_process(seg: &Segment, me: &str) -> Result<()> {
    let me: usize = me.parse()?;
    Array::<u64>::open(seg, "counts")?.set(me, count(COUNT))?;
    Ok(Value::<u32>::open(seg, "finished")?.update(|n| *n += 1)?)
}

/// What one way of counting came to.
struct Way {
    counts: [u64; 2],
    took: Duration,
}

/// The quickest try, or one whose counts are wrong.
fn best_of_tries(mut try_once: impl FnMut(u32) -> Result<[u64; 2]>) -> Result<Way> {
    let mut best: Option<Way> = None;
    for round in 0..TRIES {
        let began = Instant::now();
        let way = Way {
            counts: try_once(round)?,
            took: began.elapsed(),
        };
        if way.counts != [COUNT; 2] {
            return Ok(way);
        }
        if best.as_ref().is_none_or(|best| way.took < best.took) {
            best = Some(way);
        }
    }
    best.ok_or_else(|| "no try was made".into())
}
