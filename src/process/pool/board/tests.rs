//! One process is the parent, and mostly the workers too.

mod deaths;
mod scribbles;

use super::*;
use crate::raw::board::Place;
use std::os::fd::AsFd;
use std::time::Duration;

const SLOT: usize = 1024;

fn board(slots: usize, workers: u32) -> (Parent, Board) {
    let board = Board::new(slots, SLOT, workers).unwrap();
    (Parent::new(board.clone(), workers).unwrap(), board)
}

fn publish(parent: &mut Parent, items: u32, input: &[u8]) -> Place {
    let place = parent.publish(7, items, false, input).unwrap();
    place.expect("a slot is free")
}

fn collected(parent: &mut Parent) -> Vec<Place> {
    let mut ended = Vec::new();
    parent.collect(false, &mut ended);
    ended
}

fn abandoned(parent: &mut Parent, worker: u32) -> Vec<Place> {
    let mut ended = Vec::new();
    parent.abandoned_by(worker, &mut ended);
    ended
}

/// The number of outcomes, and what they are.
fn output(parent: &mut Parent, place: Place) -> (u32, Vec<u8>) {
    let mut outcomes = Vec::new();
    let ended = parent.output(place, &mut outcomes).unwrap();
    (ended.items, outcomes)
}

/// Takes the next task: its input.
fn claim(worker: &mut Worker) -> (Claimed<'_>, Vec<u8>) {
    let claimed = worker.claim(Deadline::PASSED).unwrap();
    let mut input = Vec::new();
    claimed.input(&mut input).unwrap();
    (claimed, input)
}

/// Gives each item of the next task its input as its outcome.
fn carry_out(worker: &mut Worker) -> Vec<u8> {
    let (mut claimed, input) = claim(worker);
    for _ in 0..claimed.items() {
        claimed.append(&input).unwrap();
    }
    input
}

#[test]
fn a_task_goes_to_a_worker_and_its_outcomes_come_back() {
    let (mut parent, board) = board(4, 2);
    let mut worker = Worker::new(board, 1).unwrap();
    assert!(matches!(
        worker.claim(Deadline::PASSED),
        Err(Error::Timeout)
    ));
    let place = publish(&mut parent, 3, b"the input");
    assert_eq!(parent.free(), 3);
    let (mut claimed, input) = claim(&mut worker);
    assert_eq!(
        (claimed.function(), claimed.items(), &*input),
        (7, 3, &b"the input"[..])
    );
    for outcome in [&b"one"[..], b"", b"and another"] {
        assert_eq!(collected(&mut parent), []);
        claimed.append(outcome).unwrap();
    }
    assert!(matches!(claimed.append(b"more"), Err(Error::Corrupt)));
    assert_eq!(collected(&mut parent), [place]);
    assert_eq!(collected(&mut parent), []);
    assert_eq!(output(&mut parent, place), (3, b"oneand another".to_vec()));
    parent.release(place);
    assert_eq!(parent.free(), 4);
    // It is nobody's any more.
    parent.release(place);
    assert!(matches!(
        parent.output(place, &mut Vec::new()),
        Err(Error::Corrupt)
    ));
    assert_eq!(parent.free(), 4);
}

#[test]
fn tasks_are_begun_in_the_order_in_which_they_were_published() {
    let (mut parent, board) = board(3, 1);
    let mut worker = Worker::new(board, 0).unwrap();
    for round in 0..20u8 {
        let places = [0, 1, 2].map(|i| publish(&mut parent, 1, &[round, i]));
        assert!(parent.publish(7, 1, false, b"").unwrap().is_none());
        for i in 0..3 {
            assert_eq!(carry_out(&mut worker), [round, i]);
        }
        let mut ended = collected(&mut parent);
        ended.sort_by_key(|p| places.iter().position(|q| q == p));
        assert_eq!(ended, places);
        for place in places {
            parent.release(place);
        }
    }
}

#[test]
fn one_that_waits_is_not_lost_behind_many_that_were_taken_back() {
    let (mut parent, board) = board(3, 1);
    let mut worker = Worker::new(board, 0).unwrap();
    let waits = publish(&mut parent, 1, b"patient");
    for _ in 0..100 {
        let place = publish(&mut parent, 1, b"impatient");
        assert!(parent.take_back(place));
        assert!(!parent.take_back(place));
    }
    assert_eq!(carry_out(&mut worker), b"patient");
    assert_eq!(collected(&mut parent), [waits]);
    assert!(!parent.take_back(waits));
    assert!(matches!(
        worker.claim(Deadline::PASSED),
        Err(Error::Timeout)
    ));
}

#[test]
fn what_was_begun_cannot_be_taken_back() {
    let (mut parent, board) = board(1, 1);
    let mut worker = Worker::new(board, 0).unwrap();
    let place = publish(&mut parent, 1, b"in");
    let (mut claimed, _) = claim(&mut worker);
    assert!(!parent.take_back(place));
    claimed.append(b"out").unwrap();
    assert!(!parent.take_back(place));
    assert_eq!(collected(&mut parent), [place]);
    assert_eq!(output(&mut parent, place), (1, b"out".to_vec()));
}

#[test]
fn inputs_and_outcomes_of_any_length_arrive_whole() {
    let (mut parent, board) = board(2, 1);
    let (input, outcomes) = (board.room(Stream::Input), board.room(Stream::Outcomes));
    let mut worker = Worker::new(board.clone(), 0).unwrap();
    let lengths = [0, 1, 7, 8, 9];
    let around = |n: usize| [n - 1, n, n + 1, n + 8];
    let large = [5000, 10_000_000];
    for len in lengths
        .into_iter()
        .chain(around(input))
        .chain(around(outcomes))
        .chain(large)
    {
        // Its period is no power of two.
        let mut bytes = (0..251).collect::<Vec<u8>>().repeat(len / 251 + 1);
        bytes.truncate(len);
        let place = publish(&mut parent, 3, &bytes);
        let (mut claimed, arrived) = claim(&mut worker);
        assert!(arrived == bytes, "of {len}");
        // Where it goes from the slot into the spill, and from word to word, falls into each of them.
        let (first, rest) = bytes.split_at(len / 3);
        let (second, third) = rest.split_at(len / 2);
        for outcome in [first, second, third] {
            claimed.append(outcome).unwrap();
        }
        assert_eq!(collected(&mut parent), [place]);
        let (items, came) = output(&mut parent, place);
        assert!(items == 3 && came == bytes, "of {len}");
        parent.release(place);
        assert_eq!(board.spill().held(), 0, "of {len}");
    }
}

#[test]
fn outcomes_one_byte_at_a_time_arrive_whole() {
    let (mut parent, board) = board(1, 1);
    let mut worker = Worker::new(board, 0).unwrap();
    let bytes: Vec<u8> = (0..2 * SLOT).map(|i| (i % 251) as u8).collect();
    let place = publish(&mut parent, bytes.len() as u32, b"");
    let (mut claimed, _) = claim(&mut worker);
    for byte in &bytes {
        claimed.append(&[*byte]).unwrap();
    }
    assert_eq!(collected(&mut parent), [place]);
    assert_eq!(output(&mut parent, place), (bytes.len() as u32, bytes));
}

#[test]
fn a_task_that_is_taken_back_or_abandoned_gives_back_what_it_spilled() {
    let (mut parent, board) = board(2, 1);
    let long = vec![7; 100_000];
    let place = publish(&mut parent, 1, &long);
    assert!(board.spill().held() >= 90_000);
    assert!(parent.take_back(place));
    assert_eq!(board.spill().held(), 0);

    let mut worker = Worker::new(board.clone(), 0).unwrap();
    let place = publish(&mut parent, 2, b"");
    let (mut claimed, _) = claim(&mut worker);
    // It dies when it has written an outcome that it does not account for.
    claimed.write(&long).unwrap();
    assert!(board.spill().held() >= 90_000);
    assert_eq!(abandoned(&mut parent, 0), [place]);
    assert_eq!(output(&mut parent, place), (0, vec![]));
    parent.release(place);
    assert_eq!(board.spill().held(), 0);
}

#[test]
fn a_worker_may_leave_items_to_others() {
    let (mut parent, board) = board(1, 1);
    let mut worker = Worker::new(board, 0).unwrap();
    let place = publish(&mut parent, 3, b"");
    let (mut claimed, _) = claim(&mut worker);
    claimed.append(b"one").unwrap();
    claimed.leave();
    assert_eq!(collected(&mut parent), [place]);
    assert_eq!(output(&mut parent, place), (1, b"one".to_vec()));
}

#[test]
fn closed_workers_end_when_nothing_is_left() {
    let (mut parent, board) = board(2, 1);
    let mut worker = Worker::new(board.clone(), 0).unwrap();
    publish(&mut parent, 1, b"last");
    board.close();
    assert_eq!(carry_out(&mut worker), b"last");
    assert!(matches!(worker.claim(Deadline::NEVER), Err(Error::Closed)));
}

#[test]
fn a_thread_that_waits_for_results_is_woken_by_a_worker_and_by_a_nudge() {
    let (mut parent, board) = board(1, 1);
    let soon = || Deadline::after(Duration::from_secs(60));
    // A look at all is due at the first time-out.
    let first = board.wait_for_results(Deadline::PASSED).unwrap();
    assert_eq!(first, Woken::ToLookAtAll);
    let second = board.wait_for_results(Deadline::PASSED);
    assert!(matches!(second, Err(Error::Timeout)));
    std::thread::scope(|s| {
        s.spawn(|| board.nudge());
        assert_eq!(waited(&board, soon()), Woken::ByResults);
        publish(&mut parent, 1, b"");
        let other = board.clone();
        s.spawn(move || carry_out(&mut Worker::new(other, 0).unwrap()));
        assert_eq!(waited(&board, soon()), Woken::ByResults);
    });
    assert_eq!(collected(&mut parent).len(), 1);
}

/// Passes over the precaution.
fn waited(board: &Board, deadline: Deadline) -> Woken {
    loop {
        let woken = board.wait_for_results(deadline).unwrap();
        if woken != Woken::ToLookAtAll {
            return woken;
        }
    }
}

#[test]
fn the_parent_sees_who_is_at_what_since_when() {
    let (mut parent, board) = board(2, 3);
    let before = crate::sys::deadline::now().as_nanos() as u64;
    let place = parent.publish(7, 3, true, b"").unwrap().unwrap();
    assert_eq!(parent.running().count(), 0);
    let mut worker = Worker::new(board.clone(), 2).unwrap();
    let (mut claimed, _) = claim(&mut worker);
    let mut last = before;
    for items in 0..3 {
        let running: Vec<_> = parent.running().collect();
        let [running] = running[..] else {
            panic!("{running:?}")
        };
        assert_eq!((running.place, running.worker), (place, 2));
        assert_eq!(running.items, items);
        let started = running.started.unwrap();
        assert!(started >= last);
        last = started;
        claimed.append(b"").unwrap();
    }
    assert_eq!(collected(&mut parent), [place]);
    assert_eq!(parent.running().count(), 0);
    // Who was not asked for the time does not tell it.
    parent.release(place);
    publish(&mut parent, 1, b"");
    let _ = claim(&mut worker);
    assert_eq!(parent.running().next().unwrap().started, None);
}

#[test]
fn the_parent_knows_who_was_ready() {
    let (parent, board) = board(1, 2);
    board.expect(1);
    assert!(!board.was_ready(1));
    Worker::new(board.clone(), 1).unwrap().note_ready();
    assert!(board.was_ready(1) && !board.was_ready(0));
    board.expect(1);
    assert!(!board.was_ready(1));
    // No such workers.
    board.expect(u32::MAX);
    assert!(!board.was_ready(u32::MAX));
    assert!(Worker::new(board, 5000).is_err());
    drop(parent);
}

#[test]
fn a_board_is_opened_by_another_process_s_handle() {
    let (mut parent, board) = board(3, 1);
    publish(&mut parent, 1, &[5; 3000]);
    let segment = Segment::from_fd(board.segment().as_fd().try_clone_to_owned().unwrap()).unwrap();
    let spill = Spill::of(board.spill().file().try_clone().unwrap());
    let there = Board::open(&segment, spill).unwrap();
    assert_eq!((there.count(), there.half), (3, SLOT / 2));
    assert_eq!(carry_out(&mut Worker::new(there, 0).unwrap()), [5; 3000]);
    assert_eq!(collected(&mut parent).len(), 1);
}

#[test]
fn boards_that_cannot_be_are_refused() {
    for (slots, slot_bytes) in [
        (0, SLOT),
        (MAX_SLOTS + 1, SLOT),
        (1, 0),
        (1, 100),
        (1, 1 << 25),
    ] {
        assert!(
            matches!(
                Board::new(slots, slot_bytes, 1),
                Err(Error::InvalidArgument(_))
            ),
            "{slots} of {slot_bytes}"
        );
    }
    assert!(Board::new(1, SLOT, 5000).is_err());
    Board::new(MAX_SLOTS, ALIGN, 1000).unwrap();
    let other = Segment::anonymous(4096).unwrap();
    let spill = || Spill::new().unwrap();
    assert!(matches!(Board::open(&other, spill()), Err(Error::NotFound)));
    crate::Value::create(&other, NAME, 0u64).unwrap();
    assert!(matches!(Board::open(&other, spill()), Err(Error::Corrupt)));
}
