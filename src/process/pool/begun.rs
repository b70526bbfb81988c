//! Since when items run, for their deadline: as their workers say, and as the manager saw.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// Which item of the chunk at each place was seen to run, and since when.
#[derive(Debug)]
pub(super) struct Begun<P> {
    seen: HashMap<P, (u32, Duration)>,
}

impl<P: Copy + Eq + Hash> Begun<P> {
    pub(super) fn new() -> Begun<P> {
        Begun {
            seen: HashMap::new(),
        }
    }

    /// For each item that runs, since when. One whose worker does not say (it was stopped before it could), or says what can't be, began
    /// when it was seen first: not later, whatever is said.
    pub(super) fn look(
        &mut self,
        running: impl Iterator<Item = (P, u32, Option<Duration>)>,
        now: Duration,
    ) -> Vec<(P, Duration)> {
        let before = std::mem::take(&mut self.seen);
        let since = |(place, item, said): (P, u32, Option<Duration>)| {
            let seen = before.get(&place).filter(|(seen, _)| *seen == item);
            let first = seen.map_or(now, |(_, first)| *first);
            self.seen.insert(place, (item, first));
            (place, said.map_or(first, |said| said.min(first)))
        };
        running.map(since).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn look(begun: &mut Begun<char>, item: u32, said: Option<Duration>, now: u64) -> Duration {
        let found = begun.look([('a', item, said)].into_iter(), ms(now));
        assert_eq!((found.len(), found[0].0), (1, 'a'));
        found[0].1
    }

    #[test]
    fn an_item_began_when_its_worker_says() {
        let mut begun = Begun::new();
        assert_eq!(look(&mut begun, 0, Some(ms(5)), 10), ms(5));
        assert_eq!(look(&mut begun, 0, Some(ms(5)), 20), ms(5));
    }

    #[test]
    fn one_of_which_nothing_is_said_began_when_it_was_seen_first() {
        let mut begun = Begun::new();
        // Nothing, or that it begins in future.
        for said in [None, Some(Duration::MAX), None, Some(ms(1000))] {
            assert_eq!(look(&mut begun, 0, None, 10), ms(10));
            assert_eq!(look(&mut begun, 0, said, 20), ms(10));
        }
    }

    #[test]
    fn one_that_is_said_to_begin_again_and_again_began_when_it_was_seen_first() {
        let mut begun = Begun::new();
        for now in [10, 20, 30] {
            assert_eq!(look(&mut begun, 0, Some(ms(now)), now), ms(10));
        }
    }

    #[test]
    fn the_next_item_or_chunk_begins_anew() {
        let mut begun = Begun::new();
        assert_eq!(look(&mut begun, 0, None, 10), ms(10));
        assert_eq!(look(&mut begun, 1, None, 20), ms(20));
        assert!(begun.look([].into_iter(), ms(30)).is_empty());
        assert_eq!(look(&mut begun, 1, None, 40), ms(40));
    }
}
