use super::*;
use crate::encoding::decode;
use crate::process::pool::items::{Each, Items};
use std::collections::HashMap;

impl At for usize {
    fn slot(self) -> usize {
        self
    }
}

const KILLED: Exit = Exit::Signal(9);

fn chunk(job: &Arc<Job>, first: u64, count: u32) -> Chunk {
    let mut items = Items::default();
    for item in first..first + u64::from(count) {
        items.encode(&item).unwrap();
    }
    Chunk {
        job: job.clone(),
        function: 0,
        first,
        items,
        deaths: 0,
    }
}

fn numbers(items: &Items) -> Vec<u64> {
    Each::of(items.bytes())
        .map(|item| decode(item).unwrap())
        .collect()
}

/// A state of `slots` slots and one call.
struct Stage {
    state: State<usize>,
    job: Arc<Job>,
    deliveries: Deliveries,
}

impl Stage {
    fn new(slots: usize, retries: u32) -> Stage {
        Stage {
            state: State::new(slots, retries),
            job: Arc::new(Job::stream()),
            deliveries: Vec::new(),
        }
    }

    fn submit(&mut self, first: u64, count: u32) {
        let chunk = chunk(&self.job, first, count);
        assert!(self.state.submit(chunk, &mut self.deliveries));
    }

    /// Puts the next chunk into the slot; its items.
    fn publish(&mut self, slot: usize) -> Option<Vec<u64>> {
        let chunk = self.state.next()?;
        let items = numbers(&chunk.items);
        assert_eq!(items.first(), Some(&chunk.first));
        self.state.publish(slot, chunk);
        Some(items)
    }

    fn left(&mut self, slot: usize, done: u32, how: Left<usize>) {
        self.state
            .left(slot, done, Ok(vec![]), how, &mut self.deliveries);
    }

    fn finish(&mut self, slot: usize) {
        self.left(slot, u32::MAX, Left::Done);
    }

    /// What was delivered since: first item, how many, and why they have no result.
    fn delivered(&mut self) -> Vec<(u64, u32, &'static str)> {
        let all = self.deliveries.drain(..);
        all.map(|(_, piece)| (piece.first, piece.count, said(&piece)))
            .collect()
    }
}

fn said(piece: &Piece) -> &'static str {
    match &piece.outcomes {
        Ok(_) => "done",
        Err(Failure::Died(exit)) => {
            assert_eq!(*exit, KILLED);
            "died"
        }
        Err(Failure::TooLong) => "too long",
        Err(Failure::Cancelled) => "cancelled",
        Err(Failure::Closed) => "closed",
        Err(Failure::Corrupt) => "corrupt",
        Err(Failure::Other(_)) => "panicked",
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn a_chunk_that_is_finished_is_delivered_whole_and_once() {
    let mut stage = Stage::new(2, 0);
    stage.submit(0, 3);
    assert!(!stage.state.is_idle());
    assert_eq!(stage.publish(1), Some(vec![0, 1, 2]));
    assert!(!stage.state.is_idle());
    stage.finish(1);
    stage.finish(1);
    assert_eq!(stage.delivered(), [(0, 3, "done")]);
    assert!(stage.state.is_idle());
}

#[test]
fn a_death_costs_the_item_that_ran_and_the_others_go_on() {
    let mut stage = Stage::new(2, 0);
    stage.submit(0, 5);
    stage.submit(5, 1);
    stage.publish(0);
    stage.left(0, 2, Left::Died(KILLED));
    assert_eq!(stage.delivered(), [(0, 2, "done"), (2, 1, "died")]);
    // Those that nobody had begun go first.
    assert_eq!(stage.publish(0), Some(vec![3, 4]));
    assert_eq!(stage.publish(1), Some(vec![5]));
}

#[test]
fn a_death_after_the_last_item_costs_nothing() {
    let mut stage = Stage::new(1, 0);
    stage.submit(0, 2);
    stage.publish(0);
    stage.left(0, 2, Left::Died(KILLED));
    assert_eq!(stage.delivered(), [(0, 2, "done")]);
    assert!(stage.state.is_idle());
}

#[test]
fn an_item_is_run_again_alone_as_often_as_the_retries_allow() {
    let mut stage = Stage::new(1, 2);
    stage.submit(0, 3);
    stage.publish(0);
    stage.left(0, 1, Left::Died(KILLED));
    assert_eq!(stage.delivered(), [(0, 1, "done")]);
    for _ in 0..2 {
        assert_eq!(stage.publish(0), Some(vec![1]));
        stage.left(0, 0, Left::Died(KILLED));
    }
    assert_eq!(stage.delivered(), [(1, 1, "died")]);
    // The last one has its own retries.
    for _ in 0..3 {
        assert_eq!(stage.publish(0), Some(vec![2]));
        stage.left(0, 0, Left::Died(KILLED));
    }
    assert_eq!(stage.delivered(), [(2, 1, "died")]);
    assert!(stage.state.is_idle());
}

#[test]
fn an_item_that_runs_too_long_fails_at_once_and_charges_no_other() {
    let mut stage = Stage::new(1, 5);
    stage.submit(0, 3);
    stage.publish(0);
    stage.left(0, 1, Left::TooLong(0, 1));
    assert_eq!(stage.delivered(), [(0, 1, "done"), (1, 1, "too long")]);
    // It ended just before the kill, and the kill hit the next one.
    assert_eq!(stage.publish(0), Some(vec![2]));
    stage.submit(3, 1);
    stage.left(0, 1, Left::TooLong(0, 0));
    assert_eq!(stage.delivered(), [(2, 1, "done")]);
    assert_eq!(stage.publish(0), Some(vec![3]));
    for other in [Left::TooLong(0, 7), Left::TooLong(1, 0)] {
        stage.left(0, 0, other);
        assert_eq!(stage.publish(0), Some(vec![3]));
    }
    assert!(stage.delivered().is_empty());
}

#[test]
fn a_panic_that_ends_the_worker_is_told_and_not_run_again() {
    let mut stage = Stage::new(1, 5);
    stage.submit(0, 3);
    stage.publish(0);
    stage.left(0, 1, Left::Panicked(Arc::new(Error::Cancelled)));
    assert_eq!(stage.delivered(), [(0, 1, "done"), (1, 1, "panicked")]);
    assert_eq!(stage.publish(0), Some(vec![2]));
}

#[test]
fn what_a_retired_worker_did_not_begin_is_run_by_another() {
    let mut stage = Stage::new(1, 0);
    stage.submit(0, 3);
    stage.publish(0);
    stage.left(0, 2, Left::Done);
    assert_eq!(stage.delivered(), [(0, 2, "done")]);
    assert_eq!(stage.publish(0), Some(vec![2]));
}

#[test]
fn a_worker_that_gives_chunks_back_as_they_are_does_not_get_them_for_ever() {
    let mut stage = Stage::new(1, 2);
    stage.submit(0, 1);
    assert_eq!(stage.publish(0), Some(vec![0]));
    stage.left(0, 0, Left::Done);
    assert_eq!(stage.delivered(), [(0, 1, "corrupt")]);
}

#[test]
fn more_items_done_than_there_are_is_all() {
    let mut stage = Stage::new(1, 0);
    stage.submit(0, 3);
    stage.publish(0);
    stage.left(0, 4_000_000_000, Left::Died(KILLED));
    assert_eq!(stage.delivered(), [(0, 3, "done")]);
}

#[test]
fn a_task_is_cancelled_while_it_waits_or_stands_on_the_board() {
    let mut stage = Stage::new(1, 0);
    let [waits, ready, runs, over] = [(); 4].map(|()| Arc::new(Job::task()));
    stage.state = State::new(3, 0);
    for (slot, job) in [&over, &runs, &ready].into_iter().enumerate() {
        assert!(stage.state.submit(chunk(job, 0, 1), &mut stage.deliveries));
        stage.publish(slot);
    }
    assert!(
        stage
            .state
            .submit(chunk(&waits, 0, 1), &mut stage.deliveries)
    );
    stage.finish(0);
    let state = &mut stage.state;
    assert!(state.cancel(&waits, &mut |_| panic!("it is in no slot")));
    assert!(state.cancel(&ready, &mut |slot| slot == 2));
    assert!(!state.cancel(&runs, &mut |slot| slot != 1));
    assert!(!state.cancel(&over, &mut |_| panic!("it is in no slot any more")));
    for cancelled in [&waits, &ready] {
        assert!(!state.cancel(cancelled, &mut |_| panic!("once is enough")));
    }
    // Only the one that runs is left.
    assert_eq!(stage.publish(0), None);
    stage.delivered();
    stage.left(1, 0, Left::Died(KILLED));
    assert_eq!(stage.delivered(), [(0, 1, "died")]);
    assert!(stage.state.is_idle());
}

#[test]
fn a_task_that_could_not_be_cancelled_is_still_retried() {
    let mut stage = Stage::new(1, 1);
    let job = Arc::new(Job::task());
    assert!(stage.state.submit(chunk(&job, 7, 1), &mut stage.deliveries));
    stage.publish(0);
    assert!(!stage.state.cancel(&job, &mut |_| false));
    stage.left(0, 0, Left::Died(KILLED));
    assert_eq!(stage.publish(0), Some(vec![7]));
}

#[test]
fn of_an_abandoned_call_only_what_runs_goes_on() {
    let mut stage = Stage::new(2, 3);
    for first in 0..4 {
        stage.submit(first, 1);
    }
    stage.publish(0);
    stage.publish(1);
    let job = stage.job.clone();
    stage.state.abandon(&job, &mut |slot| slot == 1);
    stage.left(0, 0, Left::Died(KILLED));
    assert_eq!(stage.publish(0), None);
    assert!(stage.delivered().is_empty());
    assert!(stage.state.is_idle());
}

#[test]
fn a_closed_pool_ends_what_was_begun_and_begins_nothing() {
    let mut stage = Stage::new(1, 0);
    stage.submit(0, 1);
    assert!(stage.state.admits().is_ok() && !stage.state.is_closed());
    stage.state.close();
    assert!(matches!(stage.state.admits(), Err(Failure::Closed)));
    // A call that was begun goes on drawing.
    stage.submit(1, 1);
    for item in 0..2 {
        assert_eq!(stage.publish(0), Some(vec![item]));
        stage.finish(0);
    }
    stage.delivered();
    assert!(stage.state.is_idle());
    stage.state.seal();
    let late = chunk(&stage.job, 2, 2);
    assert!(!stage.state.submit(late, &mut stage.deliveries));
    assert_eq!(stage.delivered(), [(2, 2, "closed")]);
}

#[test]
fn the_end_fails_all_that_is_not_over_and_all_that_comes() {
    let mut stage = Stage::new(1, 3);
    stage.submit(0, 2);
    stage.submit(2, 3);
    stage.publish(0);
    stage.state.end(Failure::Cancelled, &mut stage.deliveries);
    stage.state.end(Failure::TooLong, &mut stage.deliveries);
    assert_eq!(
        stage.delivered(),
        [(0, 2, "cancelled"), (2, 3, "cancelled")]
    );
    assert!(stage.state.is_idle() && stage.state.is_closed() && stage.state.has_ended());
    // Its worker says so too late.
    stage.finish(0);
    stage.left(0, 1, Left::Died(KILLED));
    let late = chunk(&stage.job, 5, 1);
    assert!(!stage.state.submit(late, &mut stage.deliveries));
    assert_eq!(stage.delivered(), [(5, 1, "cancelled")]);
    assert!(matches!(stage.state.admits(), Err(Failure::Cancelled)));
}

/// Workers die at any item, again and again.
#[test]
fn each_item_has_one_result_and_runs_at_most_once_more_than_the_retries() {
    const ITEMS: u64 = 5_000;
    for retries in 0..3 {
        let mut random = 0x1234_5678_9abc_def1u64 ^ u64::from(retries);
        let mut below = |n: u32| {
            random ^= random >> 12;
            random ^= random << 25;
            random ^= random >> 27;
            (random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32 % n
        };
        let mut stage = Stage::new(4, retries);
        let mut submitted = 0;
        let mut runs: HashMap<u64, u32> = HashMap::new();
        let mut results: HashMap<u64, &str> = HashMap::new();
        let mut slots: [Option<Vec<u64>>; 4] = Default::default();
        while submitted < ITEMS || !stage.state.is_idle() {
            if submitted < ITEMS {
                let count = (1 + below(9)).min((ITEMS - submitted) as u32);
                stage.submit(submitted, count);
                submitted += u64::from(count);
            }
            let slot = below(4) as usize;
            let Some(items) = slots[slot].take() else {
                slots[slot] = stage.publish(slot);
                continue;
            };
            let done = below(items.len() as u32 + 1);
            if below(3) > 0 {
                items
                    .iter()
                    .for_each(|item| *runs.entry(*item).or_default() += 1);
                stage.finish(slot);
            } else {
                let begun = items.iter().take(done as usize + 1);
                begun.for_each(|item| *runs.entry(*item).or_default() += 1);
                stage.left(slot, done, Left::Died(KILLED));
            }
            for (first, count, said) in stage.delivered() {
                for item in first..first + u64::from(count) {
                    assert_eq!(results.insert(item, said), None, "two results of {item}");
                }
            }
        }
        assert_eq!(results.len() as u64, ITEMS);
        for (item, result) in results {
            match result {
                "died" => assert_eq!(runs[&item], retries + 1),
                _ => assert!(runs[&item] <= retries + 1),
            }
        }
    }
}
