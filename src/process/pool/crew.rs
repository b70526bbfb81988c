//! The workers: who sits where, and what a death means for the pool.

use super::job::Failure;
use super::worker::Served;
use crate::error::Error;
use crate::raw::board::Place;
use std::sync::Arc;

/// So often a worker may die before it is ready, in a row, besides three times for each.
const PATIENCE: usize = 8;

/// Seats by the workers' indexes.
#[derive(Debug)]
pub(super) struct Crew<C> {
    seats: Vec<Option<Worker<C>>>,
    /// How many died in a row that had not become ready.
    failures: usize,
}

/// A worker that was started and is not known to be dead.
#[derive(Debug)]
pub(super) struct Worker<C> {
    pub(super) child: C,
    /// The item of the chunk there that it is killed for, since it runs too long.
    pub(super) doomed: Option<(Place, u32)>,
}

impl<C> Crew<C> {
    pub(super) fn new(workers: usize) -> Crew<C> {
        Crew {
            seats: (0..workers).map(|_| None).collect(),
            failures: 0,
        }
    }

    pub(super) fn sit(&mut self, seat: usize, child: C) {
        self.seats[seat] = Some(Worker {
            child,
            doomed: None,
        });
    }

    pub(super) fn leave(&mut self, seat: usize) -> Option<Worker<C>> {
        self.seats.get_mut(seat)?.take()
    }

    pub(super) fn at(&mut self, seat: usize) -> Option<&mut Worker<C>> {
        self.seats.get_mut(seat)?.as_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Worker<C>> {
        self.seats.iter().flatten()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    pub(super) fn empty_seats(&self) -> impl Iterator<Item = usize> {
        let all = self.seats.iter().enumerate();
        all.filter_map(|(seat, worker)| worker.is_none().then_some(seat))
    }

    /// What the end of a worker means for the pool: whether it had become ready, and had a chunk. `Err`: the pool is of no use.
    pub(super) fn judge(
        &mut self,
        served: Served,
        was_ready: bool,
        had_chunk: bool,
    ) -> Result<(), Failure> {
        match served {
            Served::Well => self.was_ready(),
            Served::Died(_) | Served::Panicked(_) if was_ready => self.was_ready(),
            // It costs an item each time, and so has an end.
            Served::Failed(_) if had_chunk => self.was_ready(),
            Served::Refused(why) => return Err(Failure::NotInitialised(Arc::new(why))),
            Served::Panicked(why) => return Err(Failure::NotInitialised(why)),
            // It had no room to begin, which may be a matter of the moment; or the board is damaged: for one, and maybe for all.
            Served::Failed(why) => return self.was_not_ready(why),
            Served::Died(why) => return self.was_not_ready(Arc::new(why)),
        }
        Ok(())
    }

    /// A worker died after it was ready: those before it that were not do not count any more.
    fn was_ready(&mut self) {
        self.failures = 0;
    }

    /// A worker died, or could not be started, before it was ready. `Err`: too many did.
    pub(super) fn was_not_ready(&mut self, why: Arc<Error>) -> Result<(), Failure> {
        self.failures += 1;
        if self.failures > 3 * self.seats.len() + PATIENCE {
            return Err(Failure::NotInitialised(why));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails(crew: &mut Crew<()>) -> bool {
        crew.was_not_ready(Arc::new(Error::Cancelled)).is_err()
    }

    #[test]
    fn only_an_initializer_that_fails_ends_the_pool_at_once() {
        let crew = || Crew::<()>::new(2);
        let failed = || Served::Failed(Arc::new(Error::Cancelled));
        let panicked = || Served::Panicked(Arc::new(Error::Cancelled));
        let died = || Served::Died(Error::Cancelled);
        let refused = Served::Refused(Error::Cancelled);
        assert!(crew().judge(refused, false, false).is_err());
        assert!(crew().judge(panicked(), false, false).is_err());
        // A worker that found no room to begin may be followed by one that does.
        for served in [failed(), died(), Served::Well] {
            assert!(crew().judge(served, false, false).is_ok());
        }
        // Those that cost an item each are as many as there are items.
        let mut crew = crew();
        for _ in 0..100 {
            assert!(crew.judge(failed(), true, true).is_ok());
            assert!(crew.judge(died(), true, false).is_ok());
            assert!(crew.judge(panicked(), true, true).is_ok());
        }
        // And those that cost nothing have to have an end.
        assert!((0..100).any(|_| crew.judge(failed(), true, false).is_err()));
    }

    #[test]
    fn the_patience_with_workers_that_never_get_ready_ends() {
        let mut crew = Crew::<()>::new(4);
        assert_eq!((0..100).find(|_| fails(&mut crew)), Some(20));
    }

    #[test]
    fn one_that_was_ready_renews_the_patience() {
        let mut crew = Crew::<()>::new(1);
        for _ in 0..100 {
            assert!(!(0..11).any(|_| fails(&mut crew)));
            crew.was_ready();
        }
    }

    #[test]
    fn a_seat_is_empty_until_somebody_sits_there_and_again_when_he_has_left() {
        let mut crew = Crew::new(2);
        assert!(crew.is_empty());
        crew.sit(1, "bob");
        assert!(crew.empty_seats().eq([0]) && !crew.is_empty());
        assert_eq!(crew.leave(1).map(|worker| worker.child), Some("bob"));
        assert!(crew.leave(1).is_none() && crew.leave(7).is_none() && crew.at(7).is_none());
        assert!(crew.empty_seats().eq([0, 1]));
    }
}
