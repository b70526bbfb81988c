//! `Queue::lease` and `Queue::join`.

mod deaths;

use crate::support::{
    Child, Forked, LIMIT, Name, Random, eventually, forks_are_noticed, listen, tell,
    wait_to_be_killed, within_the_limit,
};
use bytemuck::{CheckedBitPattern, NoUninit};
use commonhold::{Atomics, Error, Lease, Queue, Result, Segment, SegmentOptions};
pub(crate) use deaths::{hold_leases, lose_leases, work};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

fn segment(name: &str) -> Segment {
    Segment::create(name, 1 << 16).unwrap()
}

/// A queue of so many places that holds the numbers from 0.
fn filled(seg: &Segment, capacity: usize, items: u64) -> Queue<u64> {
    let q = Queue::create(seg, "jobs", capacity).unwrap();
    (0..items).for_each(|n| q.send(n).unwrap());
    q
}

fn empty<T>(result: Result<T>) -> bool {
    matches!(result, Err(Error::Empty))
}

fn is_an_endpoint<T: Send + Sync + 'static>(_: &T) {}

#[test]
fn a_lease_is_completed_or_given_back() {
    let seg = Segment::anonymous(1 << 16).unwrap();
    let q = filled(&seg, 3, 3);
    let (a, b) = (q.lease().unwrap(), q.try_lease().unwrap());
    is_an_endpoint(&a);
    assert_eq!((*a, *b), (0, 1));
    assert!(!a.redelivered() && !b.redelivered());
    assert_eq!((q.len(), q.leased()), (1, 2));
    // What is leased takes up room.
    assert!(q.is_full());
    assert!(matches!(q.try_send(3), Err(Error::Full)));
    a.complete().unwrap();
    assert!(!q.is_full());
    assert_eq!((q.len(), q.leased()), (1, 1));
    q.try_send(3).unwrap();
    drop(b);
    assert_eq!((q.len(), q.leased()), (3, 0));
    let b = q.lease_timeout(LIMIT).unwrap();
    assert_eq!((*b, b.redelivered()), (1, true));
    assert_eq!((q.recv().unwrap(), q.recv().unwrap()), (2, 3));
    assert!(empty(q.try_lease()));
    let start = Instant::now();
    let d = Duration::from_millis(30);
    assert!(matches!(q.lease_timeout(d), Err(Error::Timeout)));
    assert!(start.elapsed() >= d);
    b.complete().unwrap();
    assert!(q.is_empty() && q.leased() == 0);
}

#[test]
fn what_comes_back_is_delivered_before_what_is_new_and_the_oldest_first() {
    let seg = Segment::anonymous(1 << 16).unwrap();
    let q = filled(&seg, 8, 8);
    let [a, b, c, d] = [(); 4].map(|()| q.lease().unwrap());
    // 0 moves into its place.
    b.complete().unwrap();
    drop((d, c, a));
    assert_eq!((q.len(), q.leased()), (7, 0));
    let mut got = vec![q.recv().unwrap(), *q.lease().unwrap()];
    assert_eq!(got, [0, 2]);
    // Some that came back, and new ones after them, in one batch.
    assert_eq!(q.recv_many(&mut got, 4).unwrap(), 4);
    assert_eq!(got, [0, 2, 2, 3, 4, 5]);
    assert_eq!(q.try_recv_many(&mut got, 4).unwrap(), 2);
    assert!(empty(q.try_recv()));
    q.try_join().unwrap();
}

#[test]
fn a_batch_takes_only_so_many_of_those_that_came_back() {
    let seg = Segment::anonymous(1 << 20).unwrap();
    let q = Queue::<u64>::create(&seg, "jobs", 256).unwrap();
    for item in 0..200 {
        q.send(item).unwrap();
    }
    let leases: Vec<_> = (0..150).map(|_| q.lease().unwrap()).collect();
    drop(leases);
    let mut got = Vec::new();
    let batches = [(); 3].map(|()| q.try_recv_many(&mut got, 200).unwrap());
    // The last one goes on to those that are new.
    assert_eq!(batches, [64, 64, 22 + 50]);
    assert!(got.into_iter().eq(0..200));
}

#[test]
fn one_slow_lease_holds_up_nobody() {
    let seg = Segment::anonymous(1 << 16).unwrap();
    let q = filled(&seg, 4, 2);
    let slow = [(); 2].map(|()| q.lease().unwrap());
    for n in 2..1000 {
        q.try_send(n).unwrap();
        q.try_send(n + 10_000).unwrap();
        let [first, second] = [(); 2].map(|()| q.try_lease().unwrap());
        assert_eq!((*first, *second), (n, n + 10_000));
        // The later one is done first, by a lease or plainly.
        if n % 2 == 0 {
            second.complete().unwrap();
            drop(first);
        } else {
            drop(second);
            assert_eq!(q.try_recv().unwrap(), n + 10_000);
            drop(first);
        }
        assert_eq!((q.len(), q.leased()), (1, 2));
        q.try_send(n + 20_000).unwrap();
        let mut both = Vec::new();
        assert_eq!(q.try_recv_many(&mut both, 2).unwrap(), 2);
        assert_eq!(both, [n, n + 20_000]);
    }
    assert_eq!([*slow[0], *slow[1]], [0, 1]);
    for lease in slow {
        lease.complete().unwrap();
    }
    q.try_join().unwrap();
}

/// What the queue must be: what came back, by when it was first leased, what is new, and what is leased.
#[derive(Default)]
struct Model {
    new: VecDeque<u64>,
    returned: BTreeMap<u64, u64>,
    order: BTreeMap<u64, u64>,
    leases: u64,
}

impl Model {
    fn next(&mut self) -> Option<(u64, bool)> {
        match self.returned.pop_first() {
            Some((_, item)) => Some((item, true)),
            None => self.new.pop_front().map(|item| (item, false)),
        }
    }
}

#[test]
fn whatever_is_done_in_whatever_order_the_queue_is_what_it_must_be() {
    let seg = Segment::anonymous(1 << 20).unwrap();
    let mut random = Random::new();
    for capacity in 1..8 {
        let name = format!("q{capacity}");
        let q = Queue::<u64>::create(&seg, &name, capacity).unwrap();
        let mut model = Model::default();
        let mut leases: Vec<Lease<u64>> = Vec::new();
        let mut sent = 0;
        for _ in 0..5_000 {
            match random.below(6) {
                0 | 1 => {
                    let room = capacity - model.new.len() - model.returned.len() - leases.len();
                    assert_eq!(q.try_send(sent).is_ok(), room > 0);
                    if room > 0 {
                        model.new.push_back(sent);
                        sent += 1;
                    }
                }
                2 => match model.next() {
                    Some((item, again)) => {
                        let lease = q.try_lease().unwrap();
                        assert_eq!((*lease, lease.redelivered()), (item, again));
                        if !again {
                            model.order.insert(item, model.leases);
                            model.leases += 1;
                        }
                        leases.push(lease);
                    }
                    None => assert!(empty(q.try_lease())),
                },
                3 if !leases.is_empty() => {
                    let lease = leases.swap_remove(random.below(leases.len() as u64) as usize);
                    lease.complete().unwrap();
                }
                4 if !leases.is_empty() => {
                    let lease = leases.swap_remove(random.below(leases.len() as u64) as usize);
                    model.returned.insert(model.order[&*lease], *lease);
                }
                5 => {
                    let max = 1 + random.below(3) as usize;
                    let want: Vec<u64> =
                        (0..max).map_while(|_| model.next().map(|n| n.0)).collect();
                    let mut got = Vec::new();
                    let n = q.try_recv_many(&mut got, max);
                    assert_eq!(n.unwrap_or(0), got.len());
                    assert_eq!(got, want);
                }
                _ => {}
            }
            assert_eq!(q.len(), model.new.len() + model.returned.len());
            assert_eq!(q.leased(), leases.len());
            assert_eq!(q.is_full(), q.len() + q.leased() == capacity);
            assert_eq!(q.try_join().is_ok(), q.len() + q.leased() == 0);
        }
    }
}

#[test]
fn a_thread_that_panics_gives_its_lease_back() {
    let seg = Segment::anonymous(1 << 16).unwrap();
    let q = filled(&seg, 3, 1);
    let worker = q.clone();
    let panicked = std::thread::spawn(move || {
        let _lease = worker.lease().unwrap();
        std::panic::resume_unwind(Box::new(()));
    })
    .join();
    assert!(panicked.is_err());
    assert!(q.try_lease().unwrap().redelivered());
}

#[test]
fn a_sender_without_room_goes_on_when_a_lease_ends() {
    let seg = Segment::anonymous(1 << 16).unwrap();
    let q = filled(&seg, 2, 2);
    let [first, second] = [(); 2].map(|()| q.lease().unwrap());
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| q.send(2));
        let d = Duration::from_millis(30);
        assert!(matches!(q.send_timeout(9, d), Err(Error::Timeout)));
        // To give it back makes no room.
        drop(first);
        assert!(matches!(q.try_send(9), Err(Error::Full)));
        assert!(!sender.is_finished());
        second.complete().unwrap();
        within_the_limit(|| sender.join().unwrap().unwrap());
    });
    assert_eq!((q.recv().unwrap(), q.recv().unwrap()), (0, 2));
}

#[test]
fn a_join_ends_when_all_is_received_and_completed_and_not_before() {
    let seg = Segment::anonymous(1 << 16).unwrap();
    let q = filled(&seg, 4, 3);
    q.clone().close();
    let returned = AtomicBool::new(false);
    let still_waits = || {
        let d = Duration::from_millis(30);
        assert!(matches!(q.try_join(), Err(Error::WouldBlock)));
        assert!(matches!(q.join_timeout(d), Err(Error::Timeout)));
        assert!(!returned.load(SeqCst));
    };
    std::thread::scope(|scope| {
        let joiners = [(); 2].map(|()| {
            scope.spawn(|| {
                q.join().unwrap();
                returned.store(true, SeqCst);
            })
        });
        still_waits();
        assert_eq!(q.recv().unwrap(), 0);
        let [a, b] = [(); 2].map(|()| q.lease().unwrap());
        still_waits();
        a.complete().unwrap();
        still_waits();
        drop(b);
        still_waits();
        let b = q.lease().unwrap();
        still_waits();
        b.complete().unwrap();
        within_the_limit(|| joiners.map(|j| j.join().unwrap()));
    });
    // There is nothing to wait for.
    q.try_join().unwrap();
    q.join_timeout(Duration::ZERO).unwrap();
    q.join().unwrap();
}

#[test]
fn a_closed_queue_is_drained_when_its_last_lease_is_completed() {
    let seg = Segment::anonymous(1 << 16).unwrap();
    for gives_back in [false, true] {
        let name = format!("jobs{gives_back}");
        let q = Queue::<u64>::create(&seg, &name, 4).unwrap();
        q.send(7).unwrap();
        let lease = q.lease().unwrap();
        q.close();
        // It may come back.
        assert!(empty(q.try_recv()) && empty(q.try_lease()));
        std::thread::scope(|scope| {
            let waiters = [(); 3].map(|()| scope.spawn(|| q.recv()));
            let d = Duration::from_millis(50);
            assert!(matches!(q.lease_timeout(d), Err(Error::Timeout)));
            assert!(waiters.iter().all(|w| !w.is_finished()));
            if gives_back {
                drop(lease);
            } else {
                lease.complete().unwrap();
            }
            let got = within_the_limit(|| waiters.map(|w| w.join().unwrap()));
            let items: Vec<u64> = got.into_iter().flatten().collect();
            assert_eq!(items, if gives_back { vec![7] } else { vec![] });
        });
        assert!(matches!(q.lease(), Err(Error::Closed)));
        assert!(matches!(q.recv(), Err(Error::Closed)));
        q.try_join().unwrap();
    }
}

/// A number that stands for no value once it is said to be none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
struct Doubtful(u64);

static NO_VALUE: AtomicU64 = AtomicU64::new(u64::MAX);

// SAFETY: an integer, without padding.
unsafe impl NoUninit for Doubtful {}
// SAFETY: an integer, of which any bits are one.
unsafe impl CheckedBitPattern for Doubtful {
    type Bits = u64;
    fn is_valid_bit_pattern(bits: &u64) -> bool {
        *bits != NO_VALUE.load(SeqCst)
    }
}

#[test]
fn an_item_that_came_back_and_was_scribbled_on_is_an_error_of_a_batch_too() {
    let seg = Segment::anonymous(1 << 16).unwrap();
    for scribbled in 0..4 {
        let name = format!("q{scribbled}");
        let q = Queue::<Doubtful>::create(&seg, &name, 8).unwrap();
        (0..4).for_each(|n| q.send(Doubtful(n)).unwrap());
        // Two that came back, one that is leased, and one that is new.
        let [a, b, c] = [(); 3].map(|()| q.lease().unwrap());
        drop((a, b));
        NO_VALUE.store(scribbled, SeqCst);
        let (mut got, mut errors) = (Vec::new(), 0);
        loop {
            match q.try_recv_many(&mut got, 8) {
                Ok(n) => assert_ne!(n, 0),
                Err(Error::Corrupt) => errors += 1,
                Err(Error::Empty) => break,
                Err(e) => panic!("{e}"),
            }
        }
        NO_VALUE.store(u64::MAX, SeqCst);
        let whole = [0, 1, 3].map(Doubtful);
        let whole: Vec<_> = whole.into_iter().filter(|d| d.0 != scribbled).collect();
        assert_eq!((got, errors), (whole, u32::from(scribbled != 2)));
        c.complete().unwrap();
        q.try_join().unwrap();
    }
}

/// How long one looks for what is wrong for a moment now and then.
const A_WHILE: Duration = Duration::from_millis(500);

#[test]
fn no_more_is_counted_than_there_ever_was() {
    let seg = Segment::anonymous(1 << 16).unwrap();
    let q = filled(&seg, 3, 1);
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let [a, b] = [(); 2].map(|()| {
            scope.spawn(|| {
                while !ended.load(SeqCst) {
                    assert!(!q.is_full(), "full");
                    assert!(q.len() <= 1, "waiting");
                    assert!(q.leased() <= 1, "leased");
                }
            })
        });
        let start = Instant::now();
        while start.elapsed() < A_WHILE && !a.is_finished() && !b.is_finished() {
            for n in 0..1000 {
                q.lease().unwrap().complete().unwrap();
                q.send(n).unwrap();
            }
        }
        ended.store(true, SeqCst);
    });
}
