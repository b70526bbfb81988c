//! `Broadcast`.

mod deaths;

use crate::support::{
    Child, Forked, LIMIT, Name, eventually, forks_are_noticed, listen, most_sent_late, tell,
    wait_to_be_killed, waits_on_a_futex, within_the_limit,
};
use commonhold::{Broadcast, Error, Publisher, Queue, Result, Segment, SegmentOptions, Subscriber};
pub(crate) use deaths::{
    fill_and_wait, lose_a_broadcast, publish, publish_for_ever, receive_all, subscribe_and_wait,
};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

fn segment() -> Segment {
    Segment::anonymous(1 << 16).unwrap()
}

fn make(capacity: usize) -> (Broadcast<u64>, Publisher<u64>) {
    let of = Broadcast::create(&segment(), "b", capacity).unwrap();
    let publisher = of.publisher().unwrap();
    (of, publisher)
}

fn is_full<T>(r: Result<T>) -> bool {
    matches!(r, Err(Error::Full))
}

fn is_empty<T>(r: Result<T>) -> bool {
    matches!(r, Err(Error::Empty))
}

fn is_closed<T>(r: Result<T>) -> bool {
    matches!(r, Err(Error::Closed))
}

#[test]
fn each_subscriber_receives_every_item_sent_since_it_subscribed() {
    let (of, publisher) = make(4);
    publisher.send(0).unwrap();
    let mut first = of.subscribe().unwrap();
    publisher.send(1).unwrap();
    let mut lossy = of.subscribe_lossy().unwrap();
    let mut second = first.resubscribe().unwrap();
    publisher.clone().send(2).unwrap();
    assert_eq!((first.len(), second.len(), lossy.len()), (2, 1, 1));
    assert_eq!((first.recv().unwrap(), first.try_recv().unwrap()), (1, 2));
    assert_eq!(second.recv_timeout(LIMIT).unwrap(), 2);
    assert_eq!(lossy.recv().unwrap(), 2);
    for s in [&mut first, &mut second, &mut lossy] {
        assert!(s.is_empty() && is_empty(s.try_recv()));
    }
    assert!(lossy.is_lossy() && !first.is_lossy());
    assert_eq!(of.subscribers(), 2);
    drop(first);
    assert_eq!(of.subscribers(), 1);
}

#[test]
fn publishers_wait_for_the_slowest_lossless_subscriber_and_for_no_other() {
    let (of, publisher) = make(2);
    let (mut slow, mut quick) = (of.subscribe().unwrap(), of.subscribe().unwrap());
    let lossy = of.subscribe_lossy().unwrap();
    publisher.send_all(&[1, 2]).unwrap();
    assert_eq!((quick.recv().unwrap(), quick.recv().unwrap()), (1, 2));
    assert!(is_full(publisher.try_send(3)));
    let (start, d) = (Instant::now(), Duration::from_millis(20));
    assert!(matches!(publisher.send_timeout(3, d), Err(Error::Timeout)));
    assert!(start.elapsed() >= d);
    assert_eq!(slow.recv().unwrap(), 1);
    publisher.try_send(3).unwrap();
    assert!(is_full(publisher.try_send(4)));
    std::thread::scope(|scope| {
        let sends = scope.spawn(|| publisher.send_all(&[4, 5]));
        // The quick one empties its own backlog meanwhile, and that helps nobody.
        assert_eq!(quick.recv().unwrap(), 3);
        assert_eq!((slow.recv().unwrap(), slow.recv().unwrap()), (2, 3));
        within_the_limit(|| sends.join().unwrap().unwrap());
    });
    drop(slow);
    assert_eq!(quick.iter().take(2).collect::<Vec<_>>(), [4, 5]);
    drop(quick);
    // Only the lossy one is left.
    publisher.send_all(&[6, 7, 8]).unwrap();
    assert_eq!(lossy.len(), 2);
}

#[test]
fn dropping_the_slowest_subscriber_lets_a_waiting_publisher_on() {
    let (of, publisher) = make(1);
    let (slow, mut quick) = (of.subscribe().unwrap(), of.subscribe().unwrap());
    publisher.send(1).unwrap();
    assert_eq!(quick.recv().unwrap(), 1);
    std::thread::scope(|scope| {
        let sends = scope.spawn(|| publisher.send(2));
        // So long that it sleeps.
        assert!(matches!(
            quick.recv_timeout(Duration::from_millis(100)),
            Err(Error::Timeout)
        ));
        assert!(!sends.is_finished());
        drop(slow);
        within_the_limit(|| sends.join().unwrap().unwrap());
    });
    assert_eq!(quick.recv().unwrap(), 2);
}

#[test]
fn a_lossy_subscriber_is_told_how_many_it_missed_and_goes_on_with_the_oldest() {
    let (of, publisher) = make(4);
    let mut lossy = of.subscribe_lossy().unwrap();
    let all: Vec<u64> = (0..10).collect();
    publisher.send_all(&all).unwrap();
    assert!(matches!(lossy.recv(), Err(Error::Lagged(6))));
    assert_eq!(lossy.recv().unwrap(), 6);
    publisher.send_all(&[10, 11]).unwrap();
    let mut items = Vec::new();
    assert!(matches!(
        lossy.recv_many(&mut items, 9),
        Err(Error::Lagged(1))
    ));
    assert_eq!(lossy.try_recv_many(&mut items, 9).unwrap(), 4);
    assert_eq!(items, [8, 9, 10, 11]);
    publisher.send_all(&all).unwrap();
    assert_eq!(lossy.iter().take(2).collect::<Vec<_>>(), [6, 7]);
    let mut newest = lossy.resubscribe().unwrap();
    assert!(is_empty(newest.try_recv()));
}

#[test]
fn a_batch_does_not_wait_beyond_its_deadline_for_one_who_takes_item_after_item() {
    let (of, publisher) = make(1);
    let mut subscriber = of.subscribe().unwrap();
    let take = || drop(subscriber.try_recv());
    let most = most_sent_late(take, || {
        let sent = publisher.send_all_timeout(&[7; 10_000], Duration::ZERO);
        sent.unwrap_or(0)
    });
    assert!((1..100).contains(&most), "{most} sent after the deadline");
}

#[test]
fn many_are_sent_and_received_at_once() {
    let (of, publisher) = make(100);
    let mut subscriber = of.subscribe().unwrap();
    let all: Vec<u64> = (0..130).collect();
    assert_eq!(publisher.try_send_all(&all).unwrap(), 100);
    assert!(is_full(publisher.try_send_all(&all)));
    assert_eq!(publisher.try_send_all(&[]).unwrap(), 0);
    let mut items = Vec::new();
    assert_eq!(subscriber.recv_many(&mut items, 0).unwrap(), 0);
    assert_eq!(subscriber.recv_many(&mut items, 33).unwrap(), 33);
    let d = Duration::from_millis(20);
    assert_eq!(publisher.send_all_timeout(&all[100..], d).unwrap(), 30);
    assert_eq!(publisher.send_all_timeout(&all, d).unwrap(), 3);
    assert!(matches!(
        publisher.send_all_timeout(&all, d),
        Err(Error::Timeout)
    ));
    assert_eq!(
        subscriber
            .recv_many_timeout(&mut items, usize::MAX, d)
            .unwrap(),
        100
    );
    assert_eq!(items[..130], all);
    assert_eq!(items[130..], all[..3]);
    assert!(is_empty(subscriber.try_recv_many(&mut items, 1)));
    let asked = within_the_limit(|| subscriber.recv_many_timeout(&mut items, 1, d));
    assert!(matches!(asked, Err(Error::Timeout)));
}

#[test]
fn closed_means_no_more_is_sent_and_what_was_sent_is_received() {
    let (of, publisher) = make(2);
    let mut subscriber = of.subscribe().unwrap();
    publisher.send_all(&[1, 2]).unwrap();
    let mut idle = of.subscribe().unwrap();
    std::thread::scope(|scope| {
        let sends = scope.spawn(|| publisher.send(3));
        let receives = scope.spawn(|| idle.recv());
        // Until both have begun to sleep, or nearly.
        std::thread::yield_now();
        of.close();
        within_the_limit(|| {
            assert!(is_closed(sends.join().unwrap()));
            assert!(is_closed(receives.join().unwrap()));
        });
    });
    assert!(of.is_closed() && is_closed(publisher.try_send(3)));
    assert_eq!(subscriber.iter().collect::<Vec<_>>(), [1, 2]);
    assert!(is_closed(subscriber.try_recv()) && is_closed(subscriber.recv()));
    assert!(is_closed(subscriber.recv_many(&mut Vec::new(), 1)));
    assert!(is_closed(of.subscribe().unwrap().recv()));
    assert!(is_closed(of.subscribe_lossy().unwrap().recv()));
}

#[test]
fn a_broadcast_is_found_by_its_name_and_type() {
    let seg = segment();
    assert!(matches!(
        Broadcast::<u64>::open(&seg, "b"),
        Err(Error::NotFound)
    ));
    assert!(matches!(
        Broadcast::<u64>::create(&seg, "b", 0),
        Err(Error::InvalidArgument(_))
    ));
    let made = Broadcast::<u64>::open_or_create(&seg, "b", 3).unwrap();
    assert!(matches!(
        Broadcast::<u64>::create(&seg, "b", 3),
        Err(Error::AlreadyExists)
    ));
    for other in [
        Broadcast::<u64>::open_or_create(&seg, "b", 4).map(drop),
        Broadcast::<i64>::open(&seg, "b").map(drop),
        Queue::<u64>::open(&seg, "b").map(drop),
    ] {
        assert!(matches!(other, Err(Error::TypeMismatch { .. })));
    }
    let found = Broadcast::<u64>::open(&seg, "b").unwrap();
    assert_eq!((made.capacity(), found.capacity()), (3, 3));
    let mut subscriber = found.subscribe().unwrap();
    made.publisher().unwrap().send(7).unwrap();
    assert_eq!(subscriber.recv().unwrap(), 7);
    fn is_a_handle<T: Clone + Send + Sync + 'static>(_: &T) {}
    fn is_sent<T: Send + 'static>(_: &T) {}
    is_a_handle(&made);
    is_a_handle(&made.publisher().unwrap());
    is_sent(&subscriber);
    assert!(format!("{made:?} {subscriber:?}").contains("Subscriber"));
}

#[test]
fn there_are_as_many_places_for_lossless_subscribers_as_for_members() {
    let seg = SegmentOptions::new()
        .capacity(1 << 16)
        .max_members(3)
        .anonymous()
        .unwrap();
    let of = Broadcast::<u64>::create(&seg, "b", 1).unwrap();
    let mut all = vec![
        of.subscribe().unwrap(),
        of.try_subscribe().unwrap(),
        of.subscribe_timeout(LIMIT).unwrap(),
    ];
    for more in [
        of.subscribe(),
        of.try_subscribe(),
        of.subscribe_timeout(LIMIT),
    ] {
        assert!(matches!(more, Err(Error::TooManySubscribers)));
    }
    let mut lossy = of.subscribe_lossy().unwrap();
    drop(all.remove(1));
    all.push(of.subscribe().unwrap());
    let publisher = of.publisher().unwrap();
    publisher.send(5).unwrap();
    assert!(is_full(publisher.try_send(6)));
    for s in all.iter_mut().chain([&mut lossy]) {
        assert_eq!(s.recv().unwrap(), 5);
    }
    publisher.try_send(6).unwrap();
}

/// An item that is torn if its words are not all of one item.
type Wide = [u64; 64];

fn wide(n: u64) -> Wide {
    [n; 64]
}

/// A way to receive.
type Next = Box<dyn FnMut(&mut Vec<Wide>) -> Result<usize> + Send>;

fn narrow(item: Wide) -> u64 {
    assert!(item.iter().all(|w| *w == item[0]), "torn: {item:?}");
    item[0]
}

#[test]
fn a_lossy_subscriber_that_is_overtaken_all_the_time_gets_whole_items_and_counts_the_others() {
    let of = Broadcast::<Wide>::create(&segment(), "b", 8).unwrap();
    let mut one = of.subscribe_lossy().unwrap();
    let mut many = of.subscribe_lossy().unwrap();
    let enough = AtomicBool::new(false);
    let sent = std::thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            let publisher = of.publisher().unwrap();
            let mut n = 0;
            while !enough.load(SeqCst) {
                publisher.send(wide(n)).unwrap();
                n += 1;
            }
            publisher.close();
            n
        });
        let receive = |mut next: Next| {
            let enough = &enough;
            scope.spawn(move || {
                let (mut at, mut got, mut missed, mut items) = (0, 0, 0, Vec::new());
                let start = Instant::now();
                loop {
                    items.clear();
                    match next(&mut items) {
                        Ok(_) => {
                            for item in items.drain(..) {
                                assert_eq!(narrow(item), at);
                                at += 1;
                                got += 1;
                            }
                        }
                        Err(Error::Lagged(n)) => {
                            assert!(n > 0);
                            at += n;
                            missed += n;
                        }
                        Err(Error::Closed) => return (got, missed),
                        Err(e) => panic!("{e}"),
                    }
                    if got > 1000 && missed > 10_000 || start.elapsed() > LIMIT {
                        enough.store(true, SeqCst);
                    }
                }
            })
        };
        let receivers = [
            receive(Box::new(move |items| {
                items.push(one.recv()?);
                Ok(1)
            })),
            receive(Box::new(move |items| many.recv_many(items, 40))),
        ];
        for r in receivers.map(|r| r.join().unwrap()) {
            eprintln!("{r:?}");
            assert!(r.0 > 0, "{r:?}");
        }
        publisher.join().unwrap()
    });
    assert!(sent > 0);
}
