//! Each primitive between independent processes that attach by name.

mod support;

use commonhold::{Array, Atomics, Condvar, Error, Mutex, Queue, Result, Segment, Value};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use support::{Child, LIMIT, Name, SHORT_OF_A_NAP, listen, most_sent_late, tell};

support::roles!(
    change,
    count,
    produce,
    consume,
    give,
    create_or_fail,
    close_when_told,
    add_by_descriptor
);

fn change(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let value = Value::<u64>::open(&seg, "value").unwrap();
    value.update(|v| *v *= 3).unwrap();
    let array = Array::<u32>::open(&seg, "array").unwrap();
    array.lock().unwrap().iter_mut().for_each(|n| *n += 1);
}

#[test]
fn a_value_and_an_array_are_changed_by_another_process() {
    let name = Name::new("change");
    let seg = Segment::create(&name, 1 << 16).unwrap();
    let value = Value::create(&seg, "value", 5u64).unwrap();
    let array = Array::from_slice(&seg, "array", &[1u32, 2, 3]).unwrap();
    Child::start("change", &[&name]).finish();
    assert_eq!(value.get().unwrap(), 15);
    assert_eq!(array.to_vec().unwrap(), [2, 3, 4]);
}

const COUNTS: u64 = 20_000;

fn count(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let mutex = Mutex::<[u64; 2]>::open(&seg, "mutex").unwrap();
    let value = Value::<[u64; 3]>::open(&seg, "value").unwrap();
    let array = Array::<u64>::open(&seg, "array").unwrap();
    let atomics = Atomics::<AtomicU64>::open(&seg, "atomics").unwrap();
    for _ in 0..COUNTS {
        {
            let mut pair = mutex.lock().unwrap();
            assert_eq!(pair[0], pair[1]);
            pair[0] += 1;
            pair[1] += 1;
        }
        value
            .update(|v| v.iter_mut().for_each(|n| *n += 1))
            .unwrap();
        let v = value.get().unwrap();
        assert!(v[0] == v[1] && v[1] == v[2], "torn: {v:?}");
        array.lock().unwrap()[3] += 1;
        atomics[1].fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn no_increment_is_lost_between_three_processes() {
    let name = Name::new("count");
    let seg = Segment::create(&name, 1 << 16).unwrap();
    let mutex = Mutex::create(&seg, "mutex", [0u64; 2]).unwrap();
    let value = Value::create(&seg, "value", [0u64; 3]).unwrap();
    let array = Array::create(&seg, "array", 5, 0u64).unwrap();
    let atomics = Atomics::<AtomicU64>::create(&seg, "atomics", 2).unwrap();
    let children: Vec<_> = (0..3).map(|_| Child::start("count", &[&name])).collect();
    children.into_iter().for_each(Child::finish);
    let all = 3 * COUNTS;
    assert_eq!(*mutex.lock().unwrap(), [all; 2]);
    assert_eq!(value.get().unwrap(), [all; 3]);
    assert_eq!(array.to_vec().unwrap(), [0, 0, 0, all, 0]);
    assert_eq!(atomics[1].load(Ordering::Relaxed), all);
}

const ITEMS: u64 = 30_000;

fn produce(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let queue = Queue::<u64>::open(&seg, "never");
    assert!(matches!(queue, Err(Error::NotFound)));
    let queue = Queue::<[u64; 2]>::open(&seg, "queue").unwrap();
    let me: u64 = args[1].parse().unwrap();
    let mut n = 0;
    while n < ITEMS {
        match n % 5 {
            0 => {
                let batch: Vec<_> = (n..(n + 40).min(ITEMS)).map(|i| [me, i]).collect();
                queue.send_all(&batch).unwrap();
                n += batch.len() as u64;
            }
            1 if queue.try_send([me, n]).is_err() => {}
            _ => {
                queue.send([me, n]).unwrap();
                n += 1;
            }
        }
        if n % 5 == 1 && queue.send_timeout([me, n], LIMIT).is_ok() {
            n += 1;
        }
    }
}

/// Receives in all ways, checks the order of each sender's items, and reports how many and their sum.
fn consume(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let queue = Queue::<[u64; 2]>::open(&seg, "queue").unwrap();
    let mut last = [None; 2];
    let (mut count, mut sum) = (0u64, 0u64);
    let mut batch = Vec::new();
    loop {
        let got = match count % 3 {
            0 => queue.recv().map(|item| batch.push(item)),
            1 => queue.recv_many(&mut batch, 17).map(drop),
            _ => queue.recv_timeout(LIMIT).map(|item| batch.push(item)),
        };
        match got {
            Ok(()) => {}
            Err(Error::Closed) => break,
            Err(e) => panic!("{e}"),
        }
        for [sender, n] in batch.drain(..) {
            let last = &mut last[sender as usize];
            assert!(last.is_none_or(|l| l < n), "out of order");
            *last = Some(n);
            count += 1;
            sum += n;
        }
    }
    tell(&format!("{count} {sum}"));
}

#[test]
fn each_item_of_two_senders_reaches_one_of_two_receivers_once_and_in_order() {
    for capacity in [1, 7, 256] {
        let name = Name::new("queue");
        let seg = Segment::create(&name, 1 << 16).unwrap();
        let queue = Queue::<[u64; 2]>::create(&seg, "queue", capacity).unwrap();
        let senders = ["0", "1"].map(|n| Child::start("produce", &[&name, n]));
        let mut receivers = [(); 2].map(|()| Child::start("consume", &[&name]));
        senders.into_iter().for_each(Child::finish);
        queue.close();
        let totals = receivers.each_mut().map(|r| {
            let told = r.hear();
            let (count, sum) = told.split_once(' ').unwrap();
            (count.parse::<u64>().unwrap(), sum.parse::<u64>().unwrap())
        });
        receivers.into_iter().for_each(Child::finish);
        assert_eq!(totals[0].0 + totals[1].0, 2 * ITEMS, "capacity {capacity}");
        assert_eq!(totals[0].1 + totals[1].1, ITEMS * (ITEMS - 1));
        assert!(queue.is_closed() && queue.is_empty());
        assert!(matches!(queue.send([0, 0]), Err(Error::Closed)));
        assert!(matches!(queue.try_recv(), Err(Error::Closed)));
    }
}

fn give(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let ball = Mutex::<u64>::open(&seg, "ball").unwrap();
    let thrown = Condvar::open(&seg, "thrown").unwrap();
    for turn in 0..1000 {
        let mut guard = thrown
            .wait_while(ball.lock().unwrap(), |b| *b != 2 * turn + 1)
            .unwrap();
        *guard += 1;
        thrown.notify_one();
    }
}

#[test]
fn a_ball_is_thrown_a_thousand_times_by_condvar() {
    let name = Name::new("condvar");
    let seg = Segment::create(&name, 1 << 16).unwrap();
    let ball = Mutex::create(&seg, "ball", 0u64).unwrap();
    let thrown = Condvar::create(&seg, "thrown").unwrap();
    let other = Child::start("give", &[&name]);
    for turn in 0..1000 {
        let mut guard = thrown
            .wait_while(ball.lock().unwrap(), |b| *b != 2 * turn)
            .unwrap();
        *guard += 1;
        thrown.notify_one();
    }
    other.finish();
    assert_eq!(*ball.lock().unwrap(), 2000);
}

fn close_when_told(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let queue = Queue::<u8>::open(&seg, "queue").unwrap();
    let value = Value::<u8>::open(&seg, "value").unwrap();
    listen();
    queue.close();
    value.set(1).unwrap();
}

#[test]
fn a_close_and_a_set_wake_those_who_wait() {
    let name = Name::new("close");
    let seg = Segment::create(&name, 1 << 16).unwrap();
    let queue = Queue::<u8>::create(&seg, "queue", 1).unwrap();
    let value = Value::create(&seg, "value", 0u8).unwrap();
    let mut other = Child::start("close_when_told", &[&name]);
    let waiters = [
        std::thread::spawn({
            let queue = queue.clone();
            move || matches!(queue.recv(), Err(Error::Closed))
        }),
        std::thread::spawn({
            let value = value.clone();
            move || value.wait_until(|&v| v == 1).is_ok()
        }),
    ];
    other.say("now");
    other.finish();
    for w in waiters {
        assert!(w.join().unwrap());
    }
}

fn create_or_fail(args: &[String]) {
    tell("ready");
    listen();
    let first = Segment::create(&args[0], 1 << 16);
    let seg = Segment::open_or_create(&args[0], 1 << 16).unwrap();
    assert_eq!(seg.capacity(), 1 << 16);
    let object = Value::create(&seg, "object", 7u64);
    let value = Value::open_or_create(&seg, "object", 7u64).unwrap();
    assert_eq!(value.get().unwrap(), 7);
    let won = |r: std::result::Result<(), Error>| match r {
        Ok(()) => 1,
        Err(Error::AlreadyExists) => 0,
        Err(e) => panic!("{e}"),
    };
    let (segment, object) = (won(first.map(drop)), won(object.map(drop)));
    tell(&format!("{segment} {object}"));
}

#[test]
fn of_racing_creators_exactly_one_wins() {
    for _ in 0..10 {
        let name = Name::new("race");
        let mut all = [(); 4].map(|()| Child::start("create_or_fail", &[&name]));
        all.iter_mut().for_each(|c| c.expect("ready"));
        all.iter_mut().for_each(|c| c.say("go"));
        let mut wins = [0, 0];
        for mut c in all {
            let told = c.hear();
            let (segment, object) = told.split_once(' ').unwrap();
            wins[0] += segment.parse::<u32>().unwrap();
            wins[1] += object.parse::<u32>().unwrap();
            c.finish();
        }
        assert_eq!(wins, [1, 1]);
    }
}

#[test]
fn an_anonymous_segment_is_shared_by_its_descriptor() -> Result<()> {
    use std::os::fd::AsFd;
    let seg = Segment::anonymous(1 << 16)?;
    let value = Value::create(&seg, "value", 1u32)?;
    let same = Segment::from_fd(seg.as_fd().try_clone_to_owned().unwrap())?;
    Value::<u32>::open(&same, "value")?.set(2)?;
    assert_eq!(value.get()?, 2);
    assert_eq!((same.name(), same.members().len()), ("", 2));
    drop(same);
    assert_eq!(seg.members().len(), 1);
    Ok(())
}

/// Attaches the segment behind its standard input, and adds one.
fn add_by_descriptor(_args: &[String]) {
    use std::os::fd::AsFd;
    let fd = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    let seg = Segment::from_fd(fd).unwrap();
    let value = Value::<u32>::open(&seg, "value").unwrap();
    value.update(|v| *v += 1).unwrap();
}

#[test]
fn a_descriptor_is_all_that_another_program_needs() {
    use std::os::fd::AsFd;
    let seg = Segment::anonymous(1 << 16).unwrap();
    let value = Value::create(&seg, "value", 1u32).unwrap();
    let fd = seg.as_fd().try_clone_to_owned().unwrap();
    Child::start_with_stdin("add_by_descriptor", &[], fd.into()).finish();
    assert_eq!(value.get().unwrap(), 2);
}

#[test]
fn a_batch_does_not_wait_beyond_its_deadline_for_one_who_takes_item_after_item() {
    let seg = Segment::anonymous(1 << 16).unwrap();
    let queue = Queue::<u64>::create(&seg, "queue", 1).unwrap();
    let take = || drop(queue.try_recv());
    let most = most_sent_late(take, || {
        let sent = queue.send_all_timeout(&[7; 10_000], Duration::ZERO);
        sent.unwrap_or(0)
    });
    assert!((1..100).contains(&most), "{most} sent after the deadline");
}

#[test]
fn a_timed_call_keeps_its_deadline_and_does_not_end_early() {
    let seg = Segment::anonymous(1 << 16).unwrap();
    let queue = Queue::<u64>::create(&seg, "queue", 1).unwrap();
    let mutex = Mutex::create(&seg, "mutex", 0u64).unwrap();
    let array = Array::create(&seg, "array", 1, 0u64).unwrap();
    let condvar = Condvar::create(&seg, "condvar").unwrap();
    let value = Value::create(&seg, "value", 0u64).unwrap();
    let (_held, _held_too) = (mutex.lock().unwrap(), array.lock().unwrap());
    let other = Mutex::create(&seg, "other", 0u64).unwrap();
    for ms in [0, 1, 30, 300] {
        let d = Duration::from_millis(ms);
        let timed = |what: &str, f: &dyn Fn() -> bool| {
            let start = Instant::now();
            assert!(f(), "{what}");
            let took = start.elapsed();
            assert!(took >= d, "{what}: {took:?} of {d:?}");
            assert!(took < d + SHORT_OF_A_NAP, "{what}: {took:?} of {d:?}");
        };
        let out = |r: Result<()>| matches!(r, Err(Error::Timeout));
        timed("recv", &|| out(queue.recv_timeout(d).map(drop)));
        timed("recv_many", &|| {
            out(queue.recv_many_timeout(&mut Vec::new(), 9, d).map(drop))
        });
        queue.send(1).unwrap();
        timed("send", &|| out(queue.send_timeout(2, d)));
        timed("send_all", &|| {
            out(queue.send_all_timeout(&[1, 2], d).map(drop))
        });
        queue.recv().unwrap();
        std::thread::scope(|s| {
            s.spawn(|| timed("lock", &|| out(mutex.lock_timeout(d).map(drop))));
            s.spawn(|| timed("array", &|| out(array.lock_timeout(d).map(drop))));
        });
        timed("wait_until", &|| {
            out(value.wait_until_timeout(d, |v| *v == 1).map(drop))
        });
        timed("condvar", &|| {
            let guard = other.lock().unwrap();
            condvar.wait_timeout(guard, d).unwrap().1.timed_out()
        });
        timed("wait_timeout_while", &|| {
            let guard = other.lock().unwrap();
            condvar
                .wait_timeout_while(guard, d, |_| true)
                .unwrap()
                .1
                .timed_out()
        });
    }
}

#[test]
fn a_wait_of_more_than_a_lifetime_is_a_wait() {
    let seg = Segment::anonymous(1 << 16).unwrap();
    let queue = Queue::<u64>::create(&seg, "queue", 1).unwrap();
    std::thread::scope(|s| {
        let waiter = s.spawn(|| queue.recv_timeout(Duration::MAX));
        queue.send(5).unwrap();
        assert_eq!(waiter.join().unwrap().unwrap(), 5);
    });
}
