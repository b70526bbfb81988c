//! The checks themselves: whoever breaks what he is for is caught by them.

use crate::arena::{Arena, Cell};
use crate::figures::{Better, Contestant, Figure, contestant};
use crate::job::{Side, tally};
use crate::links::Link;
use crate::locks::Lock;
use crate::machine::Patience;
use crate::party::in_threads;
use crate::report::{Outcome, Report};
use crate::table::table;
use crate::{queue, relay, threads};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// What happens to one of the items.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    Lost,
    Repeated,
    Late,
    Changed,
}

/// The place of the item to which it happens.
const PLACE: usize = 5000;

/// Hands items on to `send`, all but one as they are.
fn faulty<T: Clone>(
    fault: Fault,
    mut send: impl FnMut(T),
    change: impl Fn(&mut T),
) -> impl FnMut(T) {
    let (mut place, mut late) = (0, None);
    move |mut item: T| {
        let overdue = late.take();
        match fault {
            _ if place != PLACE => send(item),
            Fault::None => send(item),
            Fault::Lost => {}
            Fault::Repeated => {
                send(item.clone());
                send(item);
            }
            Fault::Late => late = Some(item),
            Fault::Changed => {
                change(&mut item);
                send(item);
            }
        }
        overdue.into_iter().for_each(&mut send);
        place += 1;
    }
}

fn items(fault: Fault) -> Result<(), String> {
    let arena = Arena::create().expect("shared memory");
    let (tx, rx) = threads::std_mpsc::<Cell>();
    let tx = faulty(fault, tx, |cell| cell[7] ^= 1 << 40);
    in_threads(
        &arena,
        None,
        || queue::check(&arena, tx),
        || queue::be_checked(&arena, rx),
    )
}

/// One end of a link between two threads.
struct Threads<S> {
    send: S,
    rx: Option<Receiver<Vec<u8>>>,
    room: Vec<u8>,
}

impl<S: FnMut(Vec<u8>)> Link for Threads<S> {
    fn send(&mut self, message: &[u8]) {
        (self.send)(message.to_vec());
    }
    fn recv(&mut self) -> &[u8] {
        let rx = self.rx.as_ref().expect("this end receives");
        self.room = rx.recv().expect("the sender is there");
        &self.room
    }
}

fn messages(fault: Fault) -> Result<(), String> {
    let arena = Arena::create().expect("shared memory");
    let (tx, rx): (Sender<Vec<u8>>, _) = channel();
    let send = faulty(
        fault,
        move |message| tx.send(message).expect("the receiver is there"),
        |message: &mut Vec<u8>| message[100] ^= 1,
    );
    let mut here = Threads {
        send,
        rx: None,
        room: Vec::new(),
    };
    let mut there = Threads {
        send: |_| (),
        rx: Some(rx),
        room: Vec::new(),
    };
    in_threads(
        &arena,
        None,
        || relay::check(&arena, &mut here, 128),
        || relay::be_checked(&arena, &mut there),
    )
}

#[test]
fn a_peer_that_hands_on_all_it_is_given_passes() {
    assert_eq!(items(Fault::None), Ok(()));
    assert_eq!(messages(Fault::None), Ok(()));
}

#[test]
fn a_peer_that_loses_one_item_is_caught() {
    assert!(items(Fault::Lost).is_err());
    assert!(messages(Fault::Lost).is_err());
}

#[test]
fn a_peer_that_hands_one_item_on_twice_is_caught() {
    assert!(items(Fault::Repeated).is_err());
    assert!(messages(Fault::Repeated).is_err());
}

#[test]
fn a_peer_that_hands_two_items_on_in_another_order_is_caught() {
    assert!(items(Fault::Late).is_err());
    assert!(messages(Fault::Late).is_err());
}

#[test]
fn a_peer_that_changes_one_bit_is_caught() {
    assert!(items(Fault::Changed).is_err());
    assert!(messages(Fault::Changed).is_err());
}

/// A lock that keeps nobody out: what one side writes is lost.
struct Open<'a> {
    cell: &'a [AtomicU64; 8],
    forgets: bool,
}

impl Lock for Open<'_> {
    fn with<R>(&self, f: impl FnOnce(&mut Cell) -> R) -> R {
        let mut cell = self
            .cell
            .each_ref()
            .map(|word| word.load(Ordering::Relaxed));
        let result = f(&mut cell);
        if !self.forgets {
            for (word, new) in self.cell.iter().zip(cell) {
                word.store(new, Ordering::Relaxed);
            }
        }
        result
    }
}

#[test]
#[should_panic(expected = "the lock let both in at once")]
fn a_lock_under_which_a_change_is_lost_is_caught() {
    let arena = Arena::create().expect("shared memory");
    let cell = [const { AtomicU64::new(0) }; 8];
    let lock = |forgets| Open {
        cell: &cell,
        forgets,
    };
    let first = Side::First(Duration::from_millis(5));
    in_threads(
        &arena,
        None,
        || tally(&arena, &lock(false), first),
        || {
            tally(&arena, &lock(true), Side::Second);
        },
    );
}

#[test]
fn a_contestant_that_is_broken_is_not_timed_and_the_table_says_why() {
    let broken = Contestant {
        check: Box::new(|| items(Fault::Lost)),
        ..contestant("theirs", || panic!("it was timed"))
    };
    let contestants = vec![contestant("ours", || 1.0), broken];
    let mut figure = Figure::new("something", "ns", Better::Less, contestants);
    let outcome = Outcome::take(&mut figure, 3, || 0.0, &mut Patience::default());
    assert_eq!(outcome.rows[0].samples.len(), 3);
    let report = Report {
        facts: Vec::new(),
        figures: vec![outcome],
        spreads: Vec::new(),
    };
    let table = table(&report);
    let line = table.lines().find(|line| line.contains("theirs"));
    let line = line.expect("it has a line");
    assert!(
        line.contains("BROKEN") && line.contains("items of"),
        "{line}"
    );
}
