//! The thread that sees to a pool: collects results, sends more tasks, and replaces workers.

use super::begun::Begun;
use super::core::{Core, Locked, deliver};
use super::job::Failure;
use super::state::{Deliveries, Left};
use super::worker::{self, Served};
use crate::error::Error;
use crate::raw::board::{Place, Woken};
use crate::sys::deadline::{Deadline, now};
use crate::sys::pidfd::Exit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// How long it waits before it tries again to start a worker.
const HIRE_AGAIN: Duration = Duration::from_millis(100);

/// How long it sleeps at a stretch: then it looks at all slots if it is time for that. While nothing is on the board, which it is not told of, for
/// longer.
const STRETCH: Duration = Duration::from_millis(200);
const IDLE_STRETCH: Duration = Duration::from_secs(1);

/// How often in a row it collects results, which may come without end, before it sees to the workers.
const ROUNDS: u32 = 4;

pub(super) struct Manager {
    core: Arc<Core>,
    /// When to try again to start workers.
    hire_at: Option<Deadline>,
    ended: Vec<Place>,
    begun: Begun<Place>,
}

impl Manager {
    pub(super) fn new(core: Arc<Core>) -> Manager {
        Manager {
            core,
            hire_at: None,
            ended: Vec::new(),
            begun: Begun::new(),
        }
    }

    /// Until no worker lives and none is wanted.
    pub(super) fn run(mut self) {
        let core = self.core.clone();
        core.set_manager();
        // Nobody waits for a thread that is gone, also if it went by a fault of this crate. Of what it used, only `core` is used on, and
        // that is no more now than a list of who is to be told.
        if catch_unwind(AssertUnwindSafe(|| self.see_to_all())).is_err() {
            let why =
                "the pool's manager panicked: a fault of this crate, please report its message";
            core.end(Failure::Other(Arc::new(std::io::Error::other(why).into())));
        }
        core.set_over();
    }

    fn see_to_all(&mut self) {
        let mut look_at_all = false;
        while !self.is_over() {
            self.bury();
            let more = self.collect(look_at_all);
            self.hire();
            let watch = self.watch();
            if self.is_over() {
                break;
            }
            if more {
                look_at_all = self.core.board.is_to_look_at_all();
                continue;
            }
            let hire_at = self.hire_at.unwrap_or(Deadline::NEVER);
            let deadline = watch.min(hire_at).min(self.stretch());
            look_at_all = match self.core.board.wait_for_results(deadline) {
                Ok(woken) => woken == Woken::ToLookAtAll,
                // With its time up it has looked, or does so at the next wait.
                Err(Error::Timeout) => false,
                Err(e) => {
                    self.core.end(Failure::Other(Arc::new(e)));
                    true
                }
            };
        }
    }

    /// Whether it has nothing to see to any more; once all is done and nothing more comes, sends the workers away.
    fn is_over(&self) -> bool {
        let mut locked = self.core.lock();
        let Locked {
            state,
            crew,
            is_leaving,
            ..
        } = &mut *locked;
        if !state.has_ended() {
            if !*is_leaving || !state.is_closed() || !state.is_idle() {
                return false;
            }
            state.seal();
            // Again each time, in case somebody scribbled.
            self.core.board.close();
        }
        crew.is_empty()
    }

    /// Collects what is complete, and puts on the board what waits. `true`: there may be more; but it is time to see to the workers.
    fn collect(&mut self, look_at_all: bool) -> bool {
        let core = &*self.core;
        let mut deliveries = Vec::new();
        for _ in 0..ROUNDS {
            let mut locked = core.lock();
            core.refill(&mut locked, &mut deliveries);
            locked.board.collect(look_at_all, &mut self.ended);
            for place in self.ended.drain(..) {
                take_up(&mut locked, place, Left::Done, &mut deliveries);
            }
            drop(locked);
            if deliveries.is_empty() {
                return false;
            }
            deliver(std::mem::take(&mut deliveries));
        }
        true
    }

    /// Sees to those that died.
    fn bury(&mut self) {
        let deaths = std::mem::take(&mut *self.core.deaths());
        for (seat, exit) in deaths {
            self.see_off(seat, exit);
        }
    }

    fn see_off(&mut self, seat: usize, exit: Exit) {
        let core = &*self.core;
        let mut deliveries = Vec::new();
        let mut locked = core.lock();
        let Some(worker) = locked.crew.leave(seat) else {
            return;
        };
        let served = worker::served(&worker.child, exit);
        let how = match (worker.doomed, &served) {
            (Some((place, item)), _) => Left::TooLong(place, item),
            (None, Served::Panicked(why) | Served::Failed(why)) => Left::Panicked(why.clone()),
            (None, _) => Left::Died(exit),
        };
        locked.board.abandoned_by(seat as u32, &mut self.ended);
        let had_chunk = !self.ended.is_empty();
        for place in self.ended.drain(..) {
            take_up(&mut locked, place, how.clone(), &mut deliveries);
        }
        let was_ready = core.board.was_ready(seat as u32);
        let fate = locked.crew.judge(served, was_ready, had_chunk);
        drop(locked);
        deliver(deliveries);
        if let Err(why) = fate {
            core.end(why);
        }
    }

    /// Starts workers where there are none.
    fn hire(&mut self) {
        if self.hire_at.is_some_and(|at| !at.has_passed()) {
            return;
        }
        self.hire_at = None;
        loop {
            let locked = self.core.lock();
            let is_wanted = !locked.state.has_ended() && !locked.state.is_sealed();
            let Some(seat) = locked.crew.empty_seats().next().filter(|_| is_wanted) else {
                return;
            };
            drop(locked);
            if let Err(why) = worker::hire(&self.core, seat) {
                self.hire_at = Some(Deadline::after(HIRE_AGAIN));
                let mut locked = self.core.lock();
                // While others work, it may become better.
                if locked.crew.is_empty() {
                    if let Err(why) = locked.crew.was_not_ready(Arc::new(why)) {
                        drop(locked);
                        self.core.end(why);
                    }
                }
                return;
            }
        }
    }

    /// Until when to sleep at the most. A wait by itself looks again after seconds: so long a task would wait that somebody scribbled on.
    fn stretch(&self) -> Deadline {
        Deadline::after(match self.core.lock().state.in_flight() {
            0 => IDLE_STRETCH,
            _ => STRETCH,
        })
    }

    /// Kills those whose task takes too long. When the next one does.
    fn watch(&mut self) -> Deadline {
        let Some(limit) = self.core.settings.deadline else {
            return Deadline::NEVER;
        };
        let Locked {
            state, board, crew, ..
        } = &mut *self.core.lock();
        if state.in_flight() == 0 {
            return Deadline::NEVER;
        }
        let now = now();
        // One that begins from here on has at least this long.
        let mut next = limit;
        let all: Vec<_> = board.running().collect();
        let what = all.iter().map(|r| {
            let said = r.started.map(Duration::from_nanos);
            (r.place, r.items, said)
        });
        for (running, (_, begun)) in all.iter().zip(self.begun.look(what, now)) {
            let Some(worker) = crew.at(running.worker as usize) else {
                continue;
            };
            let left = begun.saturating_add(limit).saturating_sub(now);
            if left > Duration::ZERO {
                next = next.min(left);
            } else if worker.doomed.is_none() {
                worker.doomed = Some((running.place, running.items));
                // If it is gone, its death is told of.
                let _ = worker.child.signal(libc::SIGKILL);
            }
        }
        Deadline::after(next)
    }
}

/// The slot's worker is done with it, or dead: passes on what it left there.
fn take_up(locked: &mut Locked, place: Place, how: Left<Place>, deliveries: &mut Deliveries) {
    let mut outcomes = Vec::new();
    let (items, how, outcomes) = match locked.board.output(place, &mut outcomes) {
        // It was done with it before it died, of whatever.
        Ok(ended) if ended.is_done => (ended.items, Left::Done, Ok(outcomes)),
        Ok(ended) => (ended.items, how, Ok(outcomes)),
        Err(Error::Corrupt) => (u32::MAX, how, Err(Failure::Corrupt)),
        Err(e) => (u32::MAX, how, Err(Failure::Other(Arc::new(e)))),
    };
    locked.state.left(place, items, outcomes, how, deliveries);
    locked.board.release(place);
}
