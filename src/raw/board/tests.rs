//! What the words say.

use super::*;

#[test]
fn a_state_word_names_a_worker_only_in_its_turn_and_state() {
    for (turn, worker) in [(0, 0), (1, 7), (u32::MAX, WORKERS - 1)] {
        let word = word_of(turn, worker, RUNNING);
        assert_eq!(runner(word, turn), Some(worker));
        assert_eq!(runner(word, turn.wrapping_add(1)), None);
        for state in [FREE, READY, 3] {
            assert_eq!(runner(word_of(turn, worker, state), turn), None);
        }
        // Bits that no word has.
        for bit in 18..32 {
            assert_eq!(runner(word | 1 << bit, turn), None, "bit {bit}");
        }
    }
}

#[test]
fn progress_is_one_word() {
    for (items, bytes, is_last) in [
        (0, 0, false),
        (1, 8, true),
        (MAX_ITEMS, MAX_OUTCOME_BYTES, false),
        (MAX_ITEMS, MAX_OUTCOME_BYTES, true),
    ] {
        let progress = Progress {
            items,
            bytes,
            is_last,
        };
        assert_eq!(Progress::of(progress.word()), progress);
    }
    assert_eq!(Progress::of(0), Progress::NONE);
}
