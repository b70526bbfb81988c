//! Kills at random moments, with a ledger that proves that nothing committed was lost and nothing delivered twice.
//!
//! `STORM_KILLS` sets the number of kills (default 400); `SEED` repeats a choice of victims and moments, as far as the
//! scheduler lets it.

mod support;

use commonhold::{Array, Atomics, Error, Mutex, Queue, Segment, Value};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use support::{Child, Forked, Name, Random, eventually, tell};

support::roles!(work, make_for_ever);

const WORKERS: usize = 6;
const SENDERS: usize = 2;
/// Items of one stream: a worker that lives longer begins another.
const STREAM: usize = 4096;
/// What an operation of a survivor may take at most.
const LIMIT: Duration = Duration::from_secs(1);

fn kills() -> usize {
    match std::env::var("STORM_KILLS") {
        Ok(n) => n.parse().expect("STORM_KILLS is a number"),
        Err(_) => 400,
    }
}

/// Everything that a worker needs, and the ledger.
struct Stage {
    seg: Segment,
    mutex: Mutex<[u64; 2]>,
    array: Array<u64>,
    value: Value<[u64; 3]>,
    queue: Queue<[u32; 2]>,
    /// How often an operation on [mutex, array, value] was completed, by its worker's own word.
    done: Atomics<AtomicU64>,
    /// Items of each stream that were sent, by the sender's own word.
    sent: Atomics<AtomicU64>,
    /// How often each item arrived.
    arrived: Atomics<AtomicU8>,
    /// [next stream, steps of all workers, longest operation in µs, recoveries of the mutex, of the array]
    figures: Atomics<AtomicU64>,
}

const NEXT_STREAM: usize = 0;
const STEPS: usize = 1;
const LONGEST: usize = 2;
const RECOVERIES: usize = 3;

impl Stage {
    fn create(name: &str, streams: usize) -> Stage {
        let room = streams * (STREAM + 64) + (1 << 16);
        let seg = Segment::create(name, room).unwrap();
        Stage {
            mutex: Mutex::create(&seg, "mutex", [0; 2]).unwrap(),
            array: Array::create(&seg, "array", 5, 0).unwrap(),
            value: Value::create(&seg, "value", [0; 3]).unwrap(),
            queue: Queue::create(&seg, "queue", 13).unwrap(),
            done: Atomics::create(&seg, "done", 3).unwrap(),
            sent: Atomics::create(&seg, "sent", streams).unwrap(),
            arrived: Atomics::create(&seg, "arrived", streams * STREAM).unwrap(),
            figures: Atomics::create(&seg, "figures", 5).unwrap(),
            seg,
        }
    }

    fn open(name: &str) -> Stage {
        let seg = Segment::open(name).unwrap();
        Stage {
            mutex: Mutex::open(&seg, "mutex").unwrap(),
            array: Array::open(&seg, "array").unwrap(),
            value: Value::open(&seg, "value").unwrap(),
            queue: Queue::open(&seg, "queue").unwrap(),
            done: Atomics::open(&seg, "done").unwrap(),
            sent: Atomics::open(&seg, "sent").unwrap(),
            arrived: Atomics::open(&seg, "arrived").unwrap(),
            figures: Atomics::open(&seg, "figures").unwrap(),
            seg,
        }
    }

    /// Counts both halves of the pair under the lock; a death in between is mended by the next.
    fn step_mutex(&self) {
        let mut pair = match self.mutex.lock() {
            Err(Error::Poisoned) => {
                let mut pair = self.mutex.recover().unwrap();
                assert!(pair[0] - pair[1] <= 1, "{pair:?}");
                pair[1] = pair[0];
                self.figures[RECOVERIES].fetch_add(1, Relaxed);
                pair
            }
            other => other.unwrap(),
        };
        assert_eq!(pair[0], pair[1], "seen half-done without being told");
        pair[0] += 1;
        std::hint::black_box(&mut pair);
        pair[1] += 1;
        drop(pair);
        self.done[0].fetch_add(1, Relaxed);
    }

    fn step_array(&self) {
        let mut items = match self.array.lock_timeout(LIMIT) {
            Err(Error::Poisoned) => {
                let mut items = self.array.recover().unwrap();
                let most = items[0];
                items.fill(most);
                self.figures[RECOVERIES + 1].fetch_add(1, Relaxed);
                items
            }
            other => other.unwrap(),
        };
        let before = items[0];
        assert!(items.iter().all(|n| *n == before), "half-done: {items:?}");
        for n in items.iter_mut() {
            *std::hint::black_box(n) += 1;
        }
        drop(items);
        self.done[1].fetch_add(1, Relaxed);
    }

    fn step_value(&self) {
        self.value
            .update(|v| v.iter_mut().for_each(|n| *std::hint::black_box(n) += 1))
            .unwrap();
        self.done[2].fetch_add(1, Relaxed);
        let v = self.value.get().unwrap();
        assert!(v[0] == v[1] && v[1] == v[2], "torn: {v:?}");
    }

    fn took(&self, start: Instant) {
        self.figures[LONGEST].fetch_max(start.elapsed().as_micros() as u64, Relaxed);
        self.figures[STEPS].fetch_add(1, Relaxed);
    }

    fn send_for_ever(&self, random: &mut Random) {
        loop {
            let stream = self.figures[NEXT_STREAM].fetch_add(1, Relaxed) as usize;
            if stream >= self.sent.len() {
                return;
            }
            let mut n = 0;
            while n < STREAM {
                let start = Instant::now();
                let batch = (1 + random.below(20) as usize).min(STREAM - n);
                let items: Vec<_> = (n..n + batch).map(|i| [stream as u32, i as u32]).collect();
                if batch == 1 {
                    self.queue.send(items[0]).unwrap();
                    n += 1;
                } else {
                    match self.queue.send_all_timeout(&items, LIMIT) {
                        Ok(sent) => n += sent,
                        Err(e) => panic!("{e}"),
                    }
                }
                self.sent[stream].store(n as u64, Relaxed);
                self.took(start);
                self.step_value();
            }
        }
    }

    fn receive_for_ever(&self, random: &mut Random) {
        let mut items = Vec::new();
        let mut last = std::collections::HashMap::new();
        loop {
            let start = Instant::now();
            match random.below(3) {
                0 => items.push(self.queue.recv().unwrap()),
                1 => drop(self.queue.recv_many(&mut items, 7).unwrap()),
                _ => drop(self.queue.try_recv_many(&mut items, 100)),
            }
            for [stream, n] in items.drain(..) {
                let (stream, n) = (stream as usize, n as usize);
                let before = last.insert(stream, n);
                assert!(before.is_none_or(|b| b < n), "out of order");
                let times = self.arrived[stream * STREAM + n].fetch_add(1, Relaxed);
                assert_eq!(times, 0, "delivered twice: item {n} of stream {stream}");
            }
            self.took(start);
        }
    }

    fn lock_for_ever(&self) {
        loop {
            let start = Instant::now();
            self.step_mutex();
            self.step_array();
            self.step_value();
            self.took(start);
        }
    }

    fn work(&self, worker: usize, random: &mut Random) {
        match worker {
            0..SENDERS => self.send_for_ever(random),
            2..4 => self.receive_for_ever(random),
            _ => self.lock_for_ever(),
        }
    }
}

fn work(args: &[String]) {
    let stage = Stage::open(&args[0]);
    let worker: usize = args[1].parse().unwrap();
    stage.work(worker, &mut Random::from(args[2].parse().unwrap()));
}

/// A worker, forked (with the parent's handles) or started afresh (by name): killed when dropped.
trait Worker {}
impl Worker for Forked {}
impl Worker for Child {}

fn start(stage: &Stage, worker: usize, random: &mut Random) -> Box<dyn Worker> {
    let seed = random.below(u64::MAX);
    if random.below(8) == 0 || !support::forks_are_noticed() {
        let (worker, seed) = (worker.to_string(), seed.to_string());
        Box::new(Child::start("work", &[stage.seg.name(), &worker, &seed]))
    } else {
        Box::new(Forked::start(|| {
            stage.work(worker, &mut Random::from(seed));
        }))
    }
}

#[test]
fn nothing_committed_is_lost_in_a_storm_of_kills() {
    let kills = kills();
    let name = Name::new("storm");
    let mut random = Random::new();
    let stage = Stage::create(&name, 4 * kills + 200);
    let mut workers: Vec<Box<dyn Worker>> = (0..WORKERS)
        .map(|w| start(&stage, w, &mut random))
        .collect();
    let mut killed = [0u64; WORKERS];
    let begin = Instant::now();
    for _ in 0..kills {
        // A random moment: when the workers have made some more steps. Never none: nobody is stuck.
        let until = stage.figures[STEPS].load(Relaxed) + 1 + random.below(300);
        eventually(Duration::from_secs(10), "the survivors go on", || {
            stage.figures[STEPS].load(Relaxed) >= until
        });
        let victim = random.below(WORKERS as u64) as usize;
        // Dropping kills and reaps.
        workers.remove(victim);
        killed[victim] += 1;
        let next = start(&stage, victim, &mut random);
        workers.insert(victim, next);
    }
    let took = begin.elapsed();
    drop(workers);
    settle(&stage, &killed);
    let f = |i: usize| stage.figures[i].load(Relaxed);
    println!(
        "{kills} kills in {took:.1?}, {} steps, {} items sent, longest operation {} ms, recoveries: {} of the mutex, {} of the array",
        f(STEPS),
        (0..stage.sent.len())
            .map(|s| stage.sent[s].load(Relaxed))
            .sum::<u64>(),
        f(LONGEST) / 1000,
        f(RECOVERIES),
        f(RECOVERIES + 1),
    );
    assert!(
        f(LONGEST) < LIMIT.as_micros() as u64,
        "a survivor waited {} µs",
        f(LONGEST)
    );
}

/// The books must balance.
fn settle(stage: &Stage, killed: &[u64; WORKERS]) {
    // The last workers were killed too.
    let killed: Vec<u64> = killed.iter().map(|k| k + 1).collect();
    let all: u64 = killed.iter().sum();
    // A death after the change and before the note makes the change one more than the notes.
    let balanced = |what: &str, is: u64, noted: u64| {
        assert!(
            is >= noted && is <= noted + all,
            "{what}: {is}, noted {noted}"
        );
    };
    stage.step_mutex();
    stage.step_array();
    stage.step_value();
    let done = |i: usize| stage.done[i].load(Relaxed);
    balanced("mutex", stage.mutex.lock().unwrap()[0], done(0));
    balanced("array", stage.array.get(0).unwrap(), done(1));
    balanced("value", stage.value.get().unwrap()[0], done(2));

    let mut rest = Vec::new();
    while stage.queue.try_recv_many(&mut rest, 100).is_ok() {}
    for [stream, n] in rest {
        let times = stage.arrived[stream as usize * STREAM + n as usize].fetch_add(1, Relaxed);
        assert_eq!(times, 0, "delivered twice");
    }
    let mut missing = 0;
    for stream in 0..stage.sent.len() {
        let sent = stage.sent[stream].load(Relaxed) as usize;
        let arrived = &stage.arrived[stream * STREAM..][..STREAM];
        missing += arrived[..sent]
            .iter()
            .filter(|n| n.load(Relaxed) == 0)
            .count() as u64;
        // Beyond what the sender noted, only the batch that it was sending can have arrived, from its beginning.
        let beyond: Vec<bool> = arrived[sent..]
            .iter()
            .map(|n| n.load(Relaxed) != 0)
            .collect();
        assert!(beyond.iter().rposition(|&b| b).is_none_or(|last| last < 20));
    }
    // A receiver that is killed takes what it had received and not yet noted: a batch of at most 13, the capacity.
    let in_hand = (killed[2] + killed[3]) * 13;
    assert!(
        missing <= in_hand,
        "{missing} items lost, {in_hand} can have been in dead hands"
    );
}

/// Makes segments and objects, over and over, until it is killed.
fn make_for_ever(args: &[String]) {
    tell("ready");
    for n in 0u64.. {
        let name = format!("{}-{}", args[0], n % 3);
        let seg = Segment::create(&name, 1 << 20).unwrap_or_else(|_| Segment::open(&name).unwrap());
        for i in 0..20 {
            let _ = Value::create(&seg, &format!("value {i}"), [n, !n]);
            let _ = Array::create(&seg, &format!("array {i}"), 1000, n);
        }
        if Segment::unlink(&name).is_err() {
            return;
        }
    }
}

#[test]
fn makers_killed_at_random_leave_nothing_half_made() {
    let base = Name::new("makers");
    let mut random = Random::new();
    let mut found = 0;
    for _ in 0..60 {
        let mut child = Child::start("make_for_ever", &[&base]);
        child.expect("ready");
        for _ in 0..random.below(30_000) {
            std::hint::spin_loop();
        }
        child.kill();
        let mut names = Vec::new();
        for entry in std::fs::read_dir("/dev/shm").unwrap() {
            let entry = entry.unwrap().file_name().into_string().unwrap();
            if entry.starts_with(&*base) {
                names.push(entry);
            }
        }
        assert!(names.len() <= 1, "left behind: {names:?}");
        for name in names {
            found += 1;
            // Whatever has a name is whole, and goes on being made.
            let seg = Segment::open(&name).unwrap();
            let before = seg.objects();
            let available = seg.available();
            for o in &before {
                match &*o.type_name {
                    "[u64; 2]" => {
                        let v = Value::<[u64; 2]>::open(&seg, &o.name)
                            .unwrap()
                            .get()
                            .unwrap();
                        assert_eq!(v[0], !v[1]);
                    }
                    _ => {
                        let all = Array::<u64>::open(&seg, &o.name).unwrap().to_vec().unwrap();
                        assert!(all.len() == 1000 && all.iter().all(|n| *n == all[0]));
                    }
                }
            }
            Value::create(&seg, "one more", 1u64).unwrap();
            assert!(seg.available() < available);
            let used: usize = seg
                .objects()
                .iter()
                .map(|o| o.size.next_multiple_of(128))
                .sum();
            assert_eq!(
                (seg.capacity() - seg.available()).next_multiple_of(128),
                used,
                "room was lost"
            );
            Segment::unlink(&name).unwrap();
        }
    }
    println!("{found} segments were found half-filled, and whole");
}
