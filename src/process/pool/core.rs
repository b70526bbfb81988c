//! What the pool's handle, its tasks and its manager share.

use super::board::{Board, NOT_OURS, Parent};
use super::crew::Crew;
use super::functions::Functions;
use super::items::Items;
use super::job::{Chunk, Failure, Job};
use super::pace::Pace;
use super::spill::Stream;
use super::state::{Deliveries, State};
use super::worker::Orders;
use crate::error::{Error, Result};
use crate::process::child::Child;
use crate::process::function::Function;
use crate::raw::board::{MAX_ITEMS, MAX_SLOTS, Place};
use crate::sys::deadline::Deadline;
use crate::sys::fork::forks;
use crate::sys::pidfd::Exit;
use crate::sys::spawn::SignalMask;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

/// Tasks that the board has room for, at least: of short ones, each sleep and wake-up is then one for dozens. (With 64 there are four times as
/// many.)
const SLOTS: usize = 256;
/// And as many for each worker.
const SLOTS_PER_WORKER: usize = 4;
/// Half of it for the input, half for the outcomes; what is longer goes on in the spill.
const SLOT_BYTES: usize = 16 << 10;

#[derive(Debug)]
pub(super) struct Core {
    /// For what needs no lock.
    pub(super) board: Board,
    slots: usize,
    pub(super) settings: Settings,
    locked: Mutex<Locked>,
    /// The workers that died since the manager looked, and how.
    deaths: Mutex<Vec<(usize, Exit)>>,
    /// The manager has ended: no worker lives.
    over: Condvar,
    manager: OnceLock<ThreadId>,
    /// A child that is forked from this process inherits the record, but neither the manager nor the workers.
    forks: u32,
    /// The signals that the maker of the pool does not get; its manager gets none at all.
    pub(super) mask: SignalMask,
}

/// What the user asked for.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) name: String,
    pub(super) workers: usize,
    pub(super) retries: u32,
    pub(super) deadline: Option<Duration>,
    pub(super) orders: Orders,
}

#[derive(Debug)]
pub(super) struct Locked {
    pub(super) state: State<Place>,
    pub(super) board: Parent,
    pub(super) functions: Functions,
    pub(super) crew: Crew<Child>,
    /// How many were submitted one by one.
    tasks: u64,
    /// Somebody waits for the end: once all is done, the workers go.
    pub(super) is_leaving: bool,
    pub(super) is_over: bool,
}

impl Locked {
    fn begin(&mut self, function: Function) -> Result<u32> {
        self.state.admits().map_err(|why| why.error(0))?;
        self.functions.index_of(function.to_bytes())
    }
}

impl Core {
    pub(super) fn new(settings: Settings) -> Result<Core> {
        let workers = settings.workers as u32;
        let slots = (SLOTS_PER_WORKER * settings.workers).clamp(SLOTS, MAX_SLOTS);
        let board = Board::new(slots, SLOT_BYTES, workers)?;
        let locked = Locked {
            state: State::new(slots, settings.retries),
            board: Parent::new(board.clone(), workers)?,
            functions: Functions::new()?,
            crew: Crew::new(settings.workers),
            tasks: 0,
            is_leaving: false,
            is_over: false,
        };
        Ok(Core {
            board,
            slots,
            settings,
            locked: Mutex::new(locked),
            deaths: Mutex::default(),
            over: Condvar::new(),
            manager: OnceLock::new(),
            forks: forks(),
            mask: SignalMask::of_this_thread(),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Locked> {
        // No code of the user runs in the lock.
        self.locked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this is the process that made the pool.
    #[inline]
    pub(super) fn is_ours(&self) -> bool {
        self.forks == forks()
    }

    #[inline]
    pub(super) fn check_is_ours(&self) -> Result<()> {
        if self.is_ours() {
            Ok(())
        } else {
            Err(NOT_OURS)
        }
    }

    /// A call begins: the index of its function in the pool's file.
    pub(super) fn begin(&self, function: Function) -> Result<u32> {
        self.check_is_ours()?;
        self.lock().begin(function)
    }

    /// A call with one item, begun and taken on at once: its job and its number.
    pub(super) fn submit_task(&self, function: Function, items: Items) -> Result<(Arc<Job>, u64)> {
        self.check_is_ours()?;
        let job = Arc::new(Job::task());
        let mut deliveries = Vec::new();
        let mut locked = self.lock();
        let function = locked.begin(function)?;
        let id = locked.tasks;
        locked.tasks += 1;
        let chunk = Chunk {
            job: job.clone(),
            function,
            first: id,
            items,
            deaths: 0,
        };
        locked.state.submit(chunk, &mut deliveries);
        self.refill(&mut locked, &mut deliveries);
        drop(locked);
        deliver(deliveries);
        Ok((job, id))
    }

    /// How many bytes of input a slot has room for; more are carried in another way, which takes longer.
    #[inline]
    pub(super) fn room(&self) -> usize {
        self.board.room(Stream::Input)
    }

    /// The pace of a new call.
    pub(super) fn pace(&self, chunk: Option<u32>) -> Pace {
        let most = match self.settings.orders.max_tasks {
            Some(most) => most.min(u64::from(MAX_ITEMS)) as u32,
            None => MAX_ITEMS,
        };
        let room = self.board.room(Stream::Outcomes);
        Pace::new(self.settings.workers, self.slots, chunk, most, room)
    }

    /// Takes chunks on. `false`: nothing is run any more, and some of them failed.
    pub(super) fn submit(&self, chunks: impl IntoIterator<Item = Chunk>) -> bool {
        let mut deliveries = Vec::new();
        let mut are_taken = true;
        let mut locked = self.lock();
        for chunk in chunks {
            are_taken &= locked.state.submit(chunk, &mut deliveries);
        }
        self.refill(&mut locked, &mut deliveries);
        drop(locked);
        deliver(deliveries);
        are_taken
    }

    /// Puts on the board what there is room for.
    pub(super) fn refill(&self, locked: &mut Locked, deliveries: &mut Deliveries) {
        let Locked { state, board, .. } = locked;
        let was_idle = state.in_flight() == 0;
        let timed = self.settings.deadline.is_some();
        while board.free() > 0 {
            let Some(chunk) = state.next() else {
                break;
            };
            let input = chunk.items.bytes();
            match board.publish(chunk.function, chunk.count(), timed, input) {
                Ok(Some(place)) => state.publish(place, chunk),
                Ok(None) => state.refuse(chunk, &Failure::Corrupt, deliveries),
                Err(e) => state.refuse(chunk, &Failure::Other(Arc::new(e)), deliveries),
            }
        }
        if was_idle && timed && state.in_flight() > 0 {
            // The manager slept without looking at the time.
            self.board.nudge();
        }
    }

    /// Cancels a task. `false`: it runs, or is over.
    pub(super) fn cancel(&self, job: &Arc<Job>) -> bool {
        if !self.is_ours() {
            return false;
        }
        self.take_back_by(|state, take_back| state.cancel(job, take_back))
    }

    /// Nobody wants the rest of the call's results.
    pub(super) fn abandon(&self, job: &Arc<Job>) {
        if self.is_ours() {
            self.take_back_by(|state, take_back| state.abandon(job, take_back));
        }
    }

    /// What waits takes the place of what `f` takes back from the board; if nothing is left, the manager is told, whom nobody else tells.
    fn take_back_by<R>(
        &self,
        f: impl FnOnce(&mut State<Place>, &mut dyn FnMut(Place) -> bool) -> R,
    ) -> R {
        let mut deliveries = Vec::new();
        let mut locked = self.lock();
        let Locked { state, board, .. } = &mut *locked;
        let result = f(state, &mut |place| board.take_back(place));
        self.refill(&mut locked, &mut deliveries);
        let is_over = locked.is_leaving && locked.state.is_idle();
        drop(locked);
        if is_over {
            self.board.nudge();
        }
        deliver(deliveries);
        result
    }

    /// Notes a death, for the manager. Called by the nursery.
    pub(super) fn died(&self, seat: usize, exit: Exit) {
        self.deaths().push((seat, exit));
        self.board.nudge();
    }

    pub(super) fn deaths(&self) -> MutexGuard<'_, Vec<(usize, Exit)>> {
        self.deaths.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// No new calls.
    pub(super) fn close(&self) {
        self.lock().state.close();
    }

    /// Nothing is run any more: workers are killed, and all that is not over fails for this reason.
    pub(super) fn end(&self, why: Failure) {
        let mut deliveries = Vec::new();
        let mut locked = self.lock();
        locked.state.end(why, &mut deliveries);
        for worker in locked.crew.iter() {
            // It is ours to kill until it is reaped; if it can't be, it is gone.
            let _ = worker.child.signal(libc::SIGKILL);
        }
        drop(locked);
        self.board.nudge();
        deliver(deliveries);
    }

    /// Lets the workers go once all is done, and waits until none lives; `too_late`: not before the deadline.
    pub(super) fn join(&self, deadline: Deadline, too_late: Error) -> Result<()> {
        self.check_is_ours()?;
        let mut locked = self.lock();
        if !locked.state.is_closed() {
            return Err(Error::InvalidArgument(
                "a pool is closed or terminated before it is joined",
            ));
        }
        locked.is_leaving = true;
        self.board.nudge();
        if self.manager.get() == Some(&thread::current().id()) {
            return Err(Error::InvalidArgument(
                "a waker that the pool calls can't wait for the pool",
            ));
        }
        while !locked.is_over {
            if deadline.has_passed() {
                return Err(too_late);
            }
            locked = deadline.wait(&self.over, locked);
        }
        match locked.state.ended() {
            None | Some(Failure::Cancelled) => Ok(()),
            Some(why) => Err(why.error(0)),
        }
    }

    /// By the manager, as the first thing that it does. It runs wakers, and whatever these drop: the pool itself, maybe.
    pub(super) fn set_manager(&self) {
        let _ = self.manager.set(thread::current().id());
    }

    /// By the manager, as the last thing that it does.
    pub(super) fn set_over(&self) {
        self.lock().is_over = true;
        self.over.notify_all();
    }
}

/// Hands over what became of items. Not in the lock: it runs the wakers of futures.
pub(super) fn deliver(deliveries: Deliveries) {
    for (job, piece) in deliveries {
        job.deliver(piece);
    }
}
