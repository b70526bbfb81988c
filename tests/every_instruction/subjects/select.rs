//! A select on a queue and an event. It takes nothing: what dies in it leaves all as it was.

use crate::case::{Case, LONG, Look, Subject, leak};
use commonhold::{Error, Event, Queue, Segment, Select};
use std::time::Duration;

fn queue(seg: &Segment) -> Queue<u64> {
    Queue::open(seg, "queue").unwrap()
}

fn event(seg: &Segment) -> Event {
    Event::open(seg, "event").unwrap()
}

/// One that does not spin for long: the event first, then the queue.
fn tired(seg: &Segment) -> &'static mut Select {
    let mut select = Select::new();
    select.wait(&event(seg));
    select.recv(&queue(seg));
    crate::case::tire(|d| assert!(matches!(select.ready_timeout(d), Err(Error::Timeout))));
    Box::leak(Box::new(select))
}

fn make(seg: &Segment) {
    Queue::<u64>::create(seg, "queue", 4).unwrap();
    Event::create(seg, "event").unwrap();
}

fn mend(seg: &Segment) {
    let mut select = Select::new();
    select.recv(&queue(seg));
    select.wait(&event(seg));
    let _ = select.ready_timeout(Duration::from_millis(1));
}

/// Whether the item was sent; and then that both work.
fn sent(seg: &Segment, _: Look) -> u32 {
    let (q, e) = (queue(seg), event(seg));
    let mut select = Select::new();
    let (item, set) = (select.recv(&q), select.wait(&e));
    e.clear();
    let mut came = 0;
    while select.try_ready().is_ok() {
        came += 1;
        assert_eq!(q.try_recv().unwrap(), 7);
    }
    e.set();
    assert_eq!(select.ready_timeout(LONG).unwrap(), set);
    e.clear();
    q.send_timeout(7, LONG).unwrap();
    assert_eq!(select.ready_timeout(LONG).unwrap(), item);
    assert_eq!(q.recv_timeout(LONG).unwrap(), 7);
    came
}

fn was_set(seg: &Segment, look: Look) -> u32 {
    let was_set = event(seg).is_set();
    sent(seg, look);
    was_set.into()
}

fn receive(seg: &Segment) {
    assert_eq!(queue(seg).recv_timeout(LONG).unwrap(), 7);
}

pub fn subject() -> Subject {
    Subject::new("Select", make, mend, sent)
        .case(
            Case::new("ready, sent by another", 1, |seg| {
                let select = tired(seg);
                Box::new(|| assert_eq!(select.ready().unwrap(), 1))
            })
            .woken_by(|seg| {
                let q = leak(queue(seg));
                Box::new(|| q.send(7).unwrap())
            }),
        )
        .case(
            Case::new(
                "ready, set by another, while others wait for the item",
                1,
                |seg| {
                    let select = tired(seg);
                    Box::new(|| assert!(select.ready().unwrap() < 2))
                },
            )
            .woken_by(|seg| {
                let (q, e) = (leak(queue(seg)), leak(event(seg)));
                Box::new(|| {
                    e.set();
                    q.send(7).unwrap();
                })
            })
            .peer(receive)
            .released_by(|seg| drop(queue(seg).try_send(7)))
            .judged_by(was_set),
        )
}
