//! Somebody writes what he likes into the board, while a parent and two workers use it.

use super::*;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

/// A generator of numbers (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// Writes a word somewhere: where it hurts, more often than elsewhere.
fn strike(board: &Board, random: &mut Random) {
    let control: *const u8 = std::ptr::from_ref(board.raw()).cast();
    let todo = std::mem::offset_of!(RawBoard, todo) / 8;
    let slot = random.below(board.count() as u64) as usize;
    let (at, words): (*const u8, usize) = match random.below(8) {
        0 | 1 => (control, todo),
        // SAFETY: within the control block.
        2 => (unsafe { control.add(todo * 8) }, 2 * board.count()),
        3 | 4 => (board.slot(slot), 4),
        // SAFETY: within the slot.
        5 | 6 => (unsafe { board.slot(slot).add(board.half) }, 2),
        _ => (board.slot(0), board.count() * 2 * board.half / 8),
    };
    // SAFETY: one of so many words there; words of the region change through atomics only.
    let word = unsafe {
        &*at.cast::<AtomicU64>()
            .add(random.below(words as u64) as usize)
    };
    let old = word.load(Ordering::Relaxed);
    let new = match random.below(8) {
        0 => random.next(),
        1 => 0,
        2 => u64::MAX,
        3 => old ^ 1 << random.below(64),
        4 => old.wrapping_add(random.below(5)).wrapping_sub(2),
        // A word that could be one.
        5 => old & !0xffff_ffff | random.below(16),
        6 => random.below(4) << 63 | random.below(5) << 39 | random.below(2000),
        _ => 1 << random.below(64),
    };
    word.store(new, Ordering::Relaxed);
}

/// Longer than anything that was published, or could be an outcome here.
const LONG: usize = 1 << 16;

/// What a worker does between two strikes.
fn work(worker: &mut Worker, random: &mut Random, struck: &mut dyn FnMut(&mut Random)) {
    let Ok(mut claimed) = worker.claim(Deadline::PASSED) else {
        return;
    };
    struck(random);
    let mut input = Vec::new();
    if claimed.input(&mut input).is_ok() {
        assert!(input.capacity() <= LONG, "{}", input.capacity());
    }
    for _ in 0..claimed.items().min(4) {
        struck(random);
        let outcome = vec![9; random.below(300) as usize];
        let _ = claimed.append(&outcome);
    }
    if random.below(2) == 0 {
        claimed.leave();
    }
}

fn manage(parent: &mut Parent, board: &Board, random: &mut Random, places: &mut Vec<Place>) {
    let mut ended = Vec::new();
    match random.below(8) {
        0..=2 => {
            let input = vec![8; random.below(700) as usize];
            let items = 1 + random.below(3) as u32;
            let timed = random.below(2) == 0;
            places.extend(parent.publish(7, items, timed, &input).unwrap());
        }
        3 => {
            if let Some(i) = places.len().checked_sub(1) {
                let place = places[random.below(i as u64 + 1) as usize];
                if parent.take_back(place) {
                    places.retain(|p| *p != place);
                }
            }
        }
        4 => parent.abandoned_by(random.below(3) as u32, &mut ended),
        5 => {
            let begun = Instant::now();
            let _ = board.wait_for_results(Deadline::after(Duration::from_micros(50)));
            assert!(begun.elapsed() < Duration::from_secs(5));
        }
        6 => assert!(parent.running().count() <= board.count()),
        all => parent.collect(all == 7 && random.below(2) == 0, &mut ended),
    }
    see_off(parent, places, ended);
}

fn see_off(parent: &mut Parent, places: &mut Vec<Place>, ended: Vec<Place>) {
    for place in ended {
        let mut outcomes = Vec::new();
        if let Ok(ended) = parent.output(place, &mut outcomes) {
            assert!(ended.items <= 3 && outcomes.capacity() <= LONG);
        }
        let at = places.iter().position(|p| *p == place);
        places.swap_remove(at.expect("ended twice"));
        parent.release(place);
    }
}

#[test]
fn scribbles_cost_errors_and_wrong_values_and_heal() {
    let seed = std::env::var("SEED").map_or_else(
        |_| crate::sys::deadline::now().as_nanos() as u64,
        |seed| seed.parse().expect("SEED is a number"),
    );
    println!("to repeat it: SEED={seed}");
    let random = &mut Random(seed);
    let (slots, workers) = (3, 2);
    for _ in 0..100 {
        let board = Board::new(slots, SLOT, workers).unwrap();
        let mut parent = Parent::new(board.clone(), workers).unwrap();
        let mut hands = [0, 1].map(|index| Worker::new(board.clone(), index).unwrap());
        let mut places = Vec::new();
        for _ in 0..200 {
            manage(&mut parent, &board, random, &mut places);
            if random.below(3) == 0 {
                strike(&board, random);
            }
            let hand = random.below(2) as usize;
            work(&mut hands[hand], random, &mut |random| {
                if random.below(10) == 0 {
                    strike(&board, random);
                }
            });
        }
        heals(&mut parent, &board, places);
    }
}

#[test]
fn one_who_scribbles_meanwhile_harms_no_more_than_that() {
    let (slots, workers) = (3, 2);
    let board = Board::new(slots, SLOT, workers).unwrap();
    let mut parent = Parent::new(board.clone(), workers).unwrap();
    let (over, mut places) = (AtomicU32::new(0), Vec::new());
    let is_over = || over.load(Ordering::Relaxed) != 0;
    std::thread::scope(|s| {
        s.spawn(|| {
            let mut random = Random(1);
            while !is_over() {
                strike(&board, &mut random);
            }
        });
        for index in [0, 1] {
            let mut worker = Worker::new(board.clone(), index).unwrap();
            s.spawn(move || {
                let mut random = Random(2 + u64::from(index));
                while !is_over() {
                    work(&mut worker, &mut random, &mut |_| {});
                }
            });
        }
        let (mut random, begun) = (Random(4), Instant::now());
        let managed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            while begun.elapsed() < Duration::from_millis(500) {
                manage(&mut parent, &board, &mut random, &mut places);
            }
        }));
        over.store(1, Ordering::Relaxed);
        managed.unwrap();
    });
    heals(&mut parent, &board, places);
}

#[test]
fn a_scribbled_head_hides_no_task() {
    let (mut parent, board) = board(3, 1);
    let mut worker = Worker::new(board.clone(), 0).unwrap();
    let head = &board.raw().head.entries;
    for value in [3, 1, 1000, u64::MAX, 1 << 63, 0] {
        for i in 0..3 {
            let place = publish(&mut parent, 1, &[i]);
            head.store(value, Ordering::Relaxed);
            assert_eq!(carry_out(&mut worker), [i], "head {value}");
            assert_eq!(collected(&mut parent), [place]);
            parent.release(place);
        }
    }
}

#[test]
fn a_lost_bit_is_made_up_for_by_a_look_at_all() {
    let (mut parent, board) = board(3, 1);
    let place = publish(&mut parent, 1, b"");
    carry_out(&mut Worker::new(board.clone(), 0).unwrap());
    for word in &board.raw().results.finished {
        word.store(0, Ordering::Relaxed);
    }
    assert_eq!(collected(&mut parent), []);
    let woken = board.wait_for_results(Deadline::after(Duration::from_secs(60)));
    assert_eq!(woken.unwrap(), Woken::ToLookAtAll);
    let mut ended = Vec::new();
    parent.collect(true, &mut ended);
    assert_eq!(ended, [place]);
}

fn looked_at_all(parent: &mut Parent) -> Vec<Place> {
    let mut ended = Vec::new();
    parent.collect(true, &mut ended);
    ended
}

#[test]
fn a_look_at_all_comes_also_where_results_never_cease() {
    let (_parent, board) = board(1, 1);
    let begun = Instant::now();
    for woken in [Woken::ToLookAtAll, Woken::ByResults, Woken::ToLookAtAll] {
        loop {
            board.nudge();
            let got = board.wait_for_results(Deadline::NEVER).unwrap();
            assert!(begun.elapsed() < Duration::from_secs(30));
            if got == woken {
                break;
            }
        }
    }
}

#[test]
fn a_look_at_all_leads_workers_to_what_is_still_to_be_done() {
    let (mut parent, board) = board(3, 1);
    let mut worker = Worker::new(board.clone(), 0).unwrap();
    let raw = board.raw();
    let place = publish(&mut parent, 1, b"hidden");
    for cell in &raw.todo {
        cell.store(u64::MAX, Ordering::Relaxed);
    }
    raw.tail.entries.store(77, Ordering::Relaxed);
    raw.head.entries.store(77, Ordering::Relaxed);
    assert!(worker.claim(Deadline::PASSED).is_err());
    assert_eq!(looked_at_all(&mut parent), []);
    let (head, tail) = (&raw.head.entries, &raw.tail.entries);
    assert_eq!(tail.load(Ordering::Relaxed), 1);
    // Who has looked in vain, and now asks nobody, finds it by this.
    assert_eq!(head.load(Ordering::Relaxed), 1u64.wrapping_sub(6));
    assert_eq!(carry_out(&mut worker), b"hidden");
    assert_eq!(collected(&mut parent), [place]);
}

#[test]
fn one_that_did_not_look_ready_when_its_cell_was_wanted_gets_another() {
    let (mut parent, board) = board(2, 1);
    let mut worker = Worker::new(board.clone(), 0).unwrap();
    let place = publish(&mut parent, 1, b"patient");
    let state = &board.task(place.index as usize).state.word;
    let ready = state.swap(0, Ordering::Relaxed);
    for _ in 0..4 {
        let other = publish(&mut parent, 1, b"impatient");
        assert!(parent.take_back(other));
    }
    state.store(ready, Ordering::Relaxed);
    assert!(worker.claim(Deadline::PASSED).is_err());
    assert_eq!(looked_at_all(&mut parent), []);
    assert_eq!(carry_out(&mut worker), b"patient");
    assert_eq!(collected(&mut parent), [place]);
}

/// The state that says that a worker has what is ready.
fn taken_by(worker: u64, ready: u64) -> u64 {
    ready >> 32 << 32 | worker << 2 | 2
}

#[test]
fn a_worker_that_is_at_nothing_disowns_what_is_said_to_be_its() {
    let (mut parent, board) = board(2, 2);
    let mut worker = Worker::new(board.clone(), 1).unwrap();
    // Never claimed.
    let place = publish(&mut parent, 2, b"");
    let state = &board.task(place.index as usize).state.word;
    let ready = state.load(Ordering::Relaxed);
    state.store(taken_by(1, ready), Ordering::Relaxed);
    let other = publish(&mut parent, 1, b"");
    let word = &board.task(other.index as usize).state.word;
    word.store(taken_by(0, word.load(Ordering::Relaxed)), Ordering::Relaxed);
    assert_eq!(looked_at_all(&mut parent), []);
    assert!(worker.claim(Deadline::PASSED).is_err());
    assert_eq!(looked_at_all(&mut parent), [place]);
    assert_eq!(output(&mut parent, place), (0, vec![]));
    parent.release(place);
    // Done, and then not done.
    let place = publish(&mut parent, 1, b"");
    carry_out(&mut worker);
    let progress = &board.outcome(place.index as usize).progress;
    progress.store(0, Ordering::Relaxed);
    assert_eq!(collected(&mut parent), []);
    assert_eq!(looked_at_all(&mut parent), []);
    assert!(worker.claim(Deadline::PASSED).is_err());
    assert_eq!(looked_at_all(&mut parent), [place]);
}

#[test]
fn a_worker_does_not_disturb_what_is_no_longer_its() {
    let (mut parent, board) = board(1, 2);
    let mut hands = [0, 1].map(|index| Worker::new(board.clone(), index).unwrap());
    let [slow, quick] = &mut hands;
    let place = publish(&mut parent, 2, b"in");
    let state = &board.task(0).state.word;
    let ready = state.load(Ordering::Relaxed);
    let (mut claimed, _) = claim(slow);
    claimed.append(b"first").unwrap();
    // Another does it once more, and all of it.
    state.store(ready, Ordering::Relaxed);
    assert_eq!(carry_out(quick), b"in");
    assert!(!claimed.is_mine());
    assert!(matches!(claimed.append(b"second"), Err(Error::Corrupt)));
    assert_eq!(collected(&mut parent), [place]);
    assert_eq!(output(&mut parent, place), (2, b"inin".to_vec()));
    parent.release(place);
    // And the slot serves for another task.
    let place = publish(&mut parent, 1, b"other");
    claimed.leave();
    assert_eq!(looked_at_all(&mut parent), []);
    assert_eq!(carry_out(quick), b"other");
    assert_eq!(collected(&mut parent), [place]);
    assert_eq!(output(&mut parent, place), (1, b"other".to_vec()));
}

#[test]
fn a_board_that_was_scribbled_shut_is_open_for_the_next_worker() {
    let (_parent, board) = board(1, 1);
    let mut worker = Worker::new(board.clone(), 0).unwrap();
    board.raw().idle.closed.store(9, Ordering::Relaxed);
    assert!(matches!(worker.claim(Deadline::PASSED), Err(Error::Closed)));
    board.expect(0);
    let claimed = worker.claim(Deadline::PASSED);
    assert!(matches!(claimed, Err(Error::Timeout)));
}

/// Once nobody scribbles any more, and the workers were replaced, all slots are there and serve.
fn heals(parent: &mut Parent, board: &Board, mut places: Vec<Place>) {
    board.raw().idle.closed.store(0, Ordering::Relaxed);
    let mut ended = Vec::new();
    for index in [0, 1] {
        parent.abandoned_by(index, &mut ended);
    }
    parent.collect(true, &mut ended);
    see_off(parent, &mut places, ended);
    let mut worker = Worker::new(board.clone(), 0).unwrap();
    for place in std::mem::take(&mut places) {
        // What is left is ready, though perhaps in no ring.
        if !parent.take_back(place) {
            places.push(place);
        }
    }
    assert_eq!((places.len(), parent.free()), (0, board.count()));
    // A free slot that was scribbled to look ready is claimed once, for nothing.
    while let Ok(nothing) = worker.claim(Deadline::PASSED) {
        nothing.leave();
    }
    for round in 0..10 {
        let place = publish(parent, 1, &[round]);
        assert_eq!(carry_out(&mut worker), [round]);
        assert_eq!(collected(parent), [place]);
        assert_eq!(output(parent, place), (1, vec![round]));
        parent.release(place);
    }
}
