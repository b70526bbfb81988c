//! Leases whose holders are killed or forked, or lose their segment.

use super::*;

/// [segment, how many]: leases so many and is killed.
pub(crate) fn hold_leases(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let q = Queue::<u64>::open(&seg, "jobs").unwrap();
    let count: usize = args[1].parse().unwrap();
    let _leases: Vec<_> = (0..count).map(|_| q.lease().unwrap()).collect();
    tell("ready");
    wait_to_be_killed();
}

fn holder(name: &Name, count: usize) -> Child {
    let mut child = Child::start("hold_leases", &[name, &count.to_string()]);
    child.expect("ready");
    child
}

#[test]
fn what_a_killed_worker_leased_goes_to_those_who_wait() {
    let name = Name::new("leases");
    let seg = segment(&name);
    let q = filled(&seg, 4, 3);
    let worker = holder(&name, 3);
    assert_eq!((q.len(), q.leased()), (0, 3));
    std::thread::scope(|scope| {
        let lessee = scope.spawn(|| {
            let lease = q.lease().unwrap();
            assert!(lease.redelivered());
            lease.complete().unwrap();
        });
        let receiver = scope.spawn(|| q.recv().unwrap());
        // Past the first naps, so that only the watch over deaths finds it.
        let d = Duration::from_millis(100);
        assert!(matches!(q.recv_timeout(d), Err(Error::Timeout)));
        assert!(!lessee.is_finished() && !receiver.is_finished());
        worker.kill();
        within_the_limit(|| {
            lessee.join().unwrap();
            receiver.join().unwrap();
        });
    });
    let last = q.try_lease().unwrap();
    assert!(last.redelivered());
    last.complete().unwrap();
    q.try_join().unwrap();
}

#[test]
fn who_only_ever_tries_finds_out_about_a_dead_worker() {
    let name = Name::new("leases");
    let seg = segment(&name);
    let q = filled(&seg, 4, 2);
    holder(&name, 2).kill();
    // Asked just now, and again at once.
    assert_eq!(*q.try_lease().unwrap(), 0);
    holder(&name, 2).kill();
    assert_eq!(q.try_recv().unwrap(), 0);
    assert_eq!(q.try_recv().unwrap(), 1);
    assert!(empty(q.try_recv()));
}

#[test]
fn what_a_dead_worker_leased_comes_back_while_new_items_flow() {
    for plainly in [false, true] {
        let name = Name::new("leases");
        let seg = segment(&name);
        let q = filled(&seg, 4, 1);
        let worker = holder(&name, 1);
        let next = || {
            if plainly {
                return q.recv().unwrap();
            }
            let lease = q.lease().unwrap();
            let item = *lease;
            lease.complete().unwrap();
            item
        };
        // There is always something new, so that no call is in vain.
        q.send(7).unwrap();
        for _ in 0..10 {
            // They have asked after the worker, and it lived.
            q.send(7).unwrap();
            assert_eq!(next(), 7);
        }
        worker.kill();
        let start = Instant::now();
        loop {
            q.send(7).unwrap();
            if next() == 0 {
                break;
            }
            assert!(start.elapsed() < LIMIT, "plainly: {plainly}");
        }
    }
}

#[test]
fn an_inherited_lease_is_inert_and_a_forked_child_takes_its_own() {
    if !forks_are_noticed() {
        return;
    }
    let seg = Segment::anonymous(1 << 16).unwrap();
    let q = filled(&seg, 4, 3);
    let leases = [(); 2].map(|()| q.lease().unwrap());
    let inherited = &leases;
    Forked::start(|| {
        // SAFETY: copies that this process alone has, and uses once.
        let [dropped, completed] = unsafe { std::ptr::read(inherited) };
        drop(dropped);
        let completed = completed.complete();
        assert!(matches!(completed, Err(Error::InvalidArgument(_))));
        assert_eq!((q.len(), q.leased()), (1, 2));
        // Nothing of its parent's; its own dies with it.
        std::mem::forget(q.lease().unwrap());
        assert!(empty(q.try_lease()));
    })
    .finish();
    assert_eq!(q.leased(), 3);
    let again = within_the_limit(|| q.lease().unwrap());
    assert_eq!((*again, again.redelivered()), (2, true));
    drop(again);
    Forked::start(|| {
        q.lease().unwrap().complete().unwrap();
    })
    .finish();
    for lease in leases {
        lease.complete().unwrap();
    }
    q.try_join().unwrap();
}

/// [segment, which]: works, meets the loss of the file, and gets `Corrupt`.
pub(crate) fn lose_leases(args: &[String]) {
    let seg = SegmentOptions::new().guard_truncation(true);
    let seg = seg.open(&args[0]).unwrap();
    let q = Queue::<u64>::open(&seg, "jobs").unwrap();
    let [first, second] = [(); 2].map(|()| q.lease().unwrap());
    let waiter = {
        let q = q.clone();
        std::thread::spawn(move || (q.join(), q.lease().map(drop)))
    };
    tell("ready");
    listen();
    let corrupt = |r: Result<()>| matches!(r, Err(Error::Corrupt));
    let which: usize = args[1].parse().unwrap();
    let calls: [&dyn Fn() -> Result<()>; 7] = [
        &|| q.lease().map(drop),
        &|| q.try_lease().map(drop),
        &|| q.recv().map(drop),
        &|| q.recv_many(&mut Vec::new(), 2).map(drop),
        &|| q.join(),
        &|| q.try_join(),
        &|| q.lease_timeout(LIMIT).map(drop),
    ];
    for i in 0..calls.len() {
        let i = (which + i) % calls.len();
        assert!(corrupt(calls[i]()), "call {i}");
    }
    assert!(corrupt(first.complete()));
    drop(second);
    let (joined, leased) = waiter.join().unwrap();
    assert!(corrupt(joined) && corrupt(leased));
}

#[test]
fn leases_of_a_segment_that_is_cut_short_are_lost() {
    for which in 0..7 {
        let name = Name::new("cut");
        // Enough that the waiter's join has something to wait for.
        drop(filled(&segment(&name), 4, 3));
        let mut child = Child::start("lose_leases", &[&name, &which.to_string()]);
        child.expect("ready");
        let file = std::fs::OpenOptions::new().write(true).open(name.path());
        file.unwrap().set_len(0).unwrap();
        child.say("cut");
        child.finish();
    }
}

/// [segment]: does what there is to do until all is done.
pub(crate) fn work(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let q = Queue::<u64>::open(&seg, "jobs").unwrap();
    let done = Atomics::<AtomicU64>::open(&seg, "done").unwrap();
    let again = Atomics::<AtomicU64>::open(&seg, "again").unwrap();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Ok(lease) = q.lease() {
                    if lease.redelivered() {
                        again[0].fetch_add(1, SeqCst);
                    }
                    done[*lease as usize].fetch_add(1, SeqCst);
                    lease.complete().unwrap();
                }
            });
        }
    });
}

#[test]
fn a_join_sees_all_done_although_workers_are_killed_at_random() {
    const KILLS: u64 = 25;
    const BETWEEN: u64 = 1600;
    const ITEMS: u64 = KILLS * BETWEEN;
    const WORKERS: usize = 3;
    let name = Name::new("killed");
    let seg = Segment::create(&name, 1 << 20).unwrap();
    let q = Queue::<u64>::create(&seg, "jobs", 64).unwrap();
    let done = Atomics::<AtomicU64>::create(&seg, "done", ITEMS as usize).unwrap();
    let again = Atomics::<AtomicU64>::create(&seg, "again", 1).unwrap();
    let mut random = Random::new();
    let start = || Child::start("work", &[&name]);
    let mut workers: Vec<Child> = (0..WORKERS).map(|_| start()).collect();
    let count = || done.iter().map(|d| d.load(SeqCst)).sum::<u64>();
    let kills = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let joiner = scope.spawn(|| {
            for n in 0..ITEMS {
                // However fast the workers are, there is work left for as many deaths.
                if n % BETWEEN == 0 {
                    eventually(LIMIT, "it was killed", || kills.load(SeqCst) >= n / BETWEEN);
                }
                q.send(n).unwrap();
            }
            q.join().unwrap();
            let missing: Vec<usize> = (0..ITEMS as usize)
                .filter(|n| done[*n].load(SeqCst) == 0)
                .collect();
            assert_eq!(missing, [0; 0], "a join that was too early");
        });
        for n in 0..KILLS {
            // At any point of their work.
            let enough = n * BETWEEN + random.below(BETWEEN);
            eventually(LIMIT, "the workers go on", || {
                count() >= enough || joiner.is_finished()
            });
            let victim = random.below(WORKERS as u64) as usize;
            std::mem::replace(&mut workers[victim], start()).kill();
            kills.fetch_add(1, SeqCst);
        }
        joiner.join().unwrap();
    });
    q.close();
    workers.into_iter().for_each(Child::finish);
    // A worker has two leases at the most when it dies, and so much can have been done twice.
    let twice = count() - ITEMS;
    assert!(twice <= 2 * KILLS, "{twice} twice, by {KILLS} kills");
    assert!(twice <= again[0].load(SeqCst));
    assert!(matches!(q.try_lease(), Err(Error::Closed)));
}
