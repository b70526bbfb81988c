//! A worker: a child process that takes task after task from the board.

use super::board::{Board, Claimed, Worker};
use super::core::Core;
use super::functions::Resolved;
use super::items::Each;
use super::spill::Spill;
use crate::encoding::encode;
use crate::error::{Error, Result};
use crate::process::child::Child;
use crate::process::function::{Entry, Function};
use crate::process::init::take_given;
use crate::process::nursery::{self, Start};
use crate::process::outcome::{is_value, push_error, take_outcome};
use crate::segment::Segment;
use crate::sys::deadline::Deadline;
use crate::sys::descriptor::duplicate;
use crate::sys::pidfd::Exit;
use std::fmt;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// What each worker of a pool is told.
#[derive(Debug, Default)]
pub(super) struct Orders {
    /// It ends after so many.
    pub(super) max_tasks: Option<u64>,
    /// What it runs before the first.
    pub(super) initializer: Option<Initializer>,
}

/// A call that each worker begins with.
pub(super) struct Initializer {
    pub(super) function: Function,
    /// The encoded argument.
    pub(super) args: Vec<u8>,
    /// Those whose handles are in the argument.
    pub(super) segments: Vec<Segment>,
}

/// Without the argument: it may be a password, and is bytes here.
impl fmt::Debug for Initializer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Initializer").finish_non_exhaustive()
    }
}

/// As they travel: the worker's index, `max_tasks`, and the initializer as bytes.
type Letter = (u32, Option<u64>, Option<([u8; Function::BYTES], Vec<u8>)>);

/// How a worker ended that was not killed: `Err` is an outcome without a value, and whether it is the initializer's.
type End = Result<(), (bool, Vec<u8>)>;

/// How a worker ended.
#[derive(Debug)]
pub(super) enum Served {
    /// As it should: it has run as many tasks as it may, or there are no more.
    Well,
    /// Its initializer failed: that of another would fail, too.
    Refused(Error),
    /// It could not go on: it had no room to attach the board or to leave an outcome there, or the board was damaged.
    Failed(Arc<Error>),
    /// It died of a panic that nobody caught.
    Panicked(Arc<Error>),
    /// It died in another way.
    Died(Error),
}

/// Starts the worker of that seat.
pub(super) fn hire(core: &Arc<Core>, seat: usize) -> Result<()> {
    let orders = &core.settings.orders;
    let initializer = orders.initializer.as_ref();
    let letter: Letter = (
        seat as u32,
        orders.max_tasks,
        initializer.map(|i| (i.function.to_bytes(), i.args.clone())),
    );
    let mut args = Vec::new();
    encode(&letter, &mut args)?;
    let name = format!("{}-{}", core.settings.name, seat + 1);
    let mut start = Start::new(name, Function::of(serve as fn(Letter) -> End)?, args);
    start.daemon = true;
    start.mask = core.mask;
    // What comes in is for this process.
    start.stdio[0] = Some(File::open("/dev/null")?.into());
    start.passed = initializer.map_or(Vec::new(), |i| i.segments.clone());
    let locked = core.lock();
    start.given = vec![
        duplicate(&core.board.segment().as_fd())?,
        duplicate(core.board.spill().file())?,
        locked.functions.for_workers()?,
    ];
    core.board.expect(seat as u32);
    drop(locked);
    let to = Arc::downgrade(core);
    let on_exit = move |exit| {
        if let Some(core) = to.upgrade() {
            core.died(seat, exit);
        }
    };
    let child = nursery::start(start, Box::new(on_exit))?;
    let mut locked = core.lock();
    if locked.state.has_ended() {
        // The others were killed while this one was being started.
        let _ = child.signal(libc::SIGKILL);
    }
    locked.crew.sit(seat, child);
    Ok(())
}

/// How the worker ended that is dead.
pub(super) fn served(child: &Child, exit: Exit) -> Served {
    let end = child.outcome(exit).and_then(|outcome| {
        let end: End = take_outcome(&mut &outcome[..])?;
        Ok(end)
    });
    match end {
        Ok(Ok(())) => Served::Well,
        Ok(Err((of_initializer, outcome))) => {
            let why = match take_outcome::<()>(&mut &outcome[..]) {
                Ok(()) => Error::Corrupt,
                Err(why) => why,
            };
            match of_initializer {
                true => Served::Refused(why),
                false => Served::Failed(Arc::new(why)),
            }
        }
        Err(why @ Error::Panicked { .. }) => Served::Panicked(Arc::new(why)),
        Err(why) => Served::Died(why),
    }
}

/// What a worker does, all its life.
fn serve((index, max_tasks, initializer): Letter) -> End {
    work(index, max_tasks, initializer).map_err(|why| match why {
        Stopped::Outcome(failed) => (true, failed),
        Stopped::Error(e) => {
            let mut outcome = Vec::new();
            push_error(&mut outcome, &e);
            (false, outcome)
        }
    })
}

/// Why a worker can't go on.
enum Stopped {
    /// The initializer's.
    Outcome(Vec<u8>),
    Error(Error),
}

impl From<Error> for Stopped {
    fn from(e: Error) -> Self {
        Stopped::Error(e)
    }
}

fn work(
    index: u32,
    max_tasks: Option<u64>,
    initializer: Option<([u8; Function::BYTES], Vec<u8>)>,
) -> Result<(), Stopped> {
    let given: Result<[OwnedFd; 3], _> = take_given().try_into();
    let [segment, spill, functions] = given.map_err(|_| Error::Corrupt)?;
    let spill = Spill::of(File::from(spill));
    let board = Board::open(&Segment::from_fd(segment)?, spill)?;
    let mut functions = Resolved::new(File::from(functions));
    let mut worker = Worker::new(board, index)?;
    if let Some((function, args)) = initializer {
        let mut outcome = Vec::new();
        entry(function)?.call(&mut &args[..], &mut outcome);
        if !is_value(&outcome) {
            return Err(Stopped::Outcome(outcome));
        }
    }
    worker.note_ready();
    let mut left = max_tasks.unwrap_or(u64::MAX);
    let mut scratch = Scratch::default();
    while left > 0 {
        let task = match worker.claim(Deadline::NEVER) {
            Ok(task) => task,
            Err(Error::Closed) => return Ok(()),
            Err(e) => return Err(e.into()),
        };
        let function = functions.get(task.function(), entry);
        left -= run(task, function, left, &mut scratch)?;
    }
    Ok(())
}

fn entry(function: [u8; Function::BYTES]) -> Result<Entry> {
    // SAFETY: bytes that the parent wrote, where it alone can write; they were `to_bytes` of functions of this executable, which this process is
    // one of.
    unsafe { Function::from_bytes(function).resolve() }
}

/// What is used again for each task.
#[derive(Default)]
struct Scratch {
    input: Vec<u8>,
    outcome: Vec<u8>,
}

/// Vectors that are longer are not kept.
const KEPT: usize = 1 << 20;

/// Runs the items of a task, `most` of them at most. How many.
fn run(
    mut task: Claimed<'_>,
    function: Result<Entry>,
    most: u64,
    scratch: &mut Scratch,
) -> Result<u64> {
    let Scratch { input, outcome } = scratch;
    let readable = task.input(input);
    let mut items = Each::of(input);
    let all = u64::from(task.items());
    let (mut count, mut reads) = (0, true);
    while reads && count < all.min(most) {
        outcome.clear();
        // What can't be read costs its item an error. The others are left to those who may be told better: nobody knows how many there are.
        reads = false;
        match (&readable, &function, items.next()) {
            (Ok(()), Ok(function), Some(mut item)) => {
                function.call(&mut item, outcome);
                reads = true;
            }
            (Err(e), ..) | (_, Err(e), _) => push_error(outcome, e),
            (.., None) if count > 0 => break,
            (.., None) => push_error(outcome, &Error::Corrupt),
        }
        count += 1;
        if let Err(e) = task.append(outcome) {
            if !task.is_mine() {
                // Nobody waits for what this worker makes of it.
                break;
            }
            // Most likely there is no room for so much.
            outcome.clear();
            push_error(outcome, &e);
            task.append(outcome)?;
        }
    }
    task.leave();
    for kept in [input, outcome] {
        if kept.capacity() > KEPT {
            *kept = Vec::new();
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::pool::board::Parent;
    use crate::process::pool::items::Items;
    use crate::raw::board::Slots;
    use std::sync::atomic::Ordering;

    /// Runs a task of two items whose head is damaged: how many items were run or refused, and how many outcomes the parent finds.
    fn ran(damage: impl FnOnce(&Board)) -> (u64, Option<u32>) {
        let board = Board::new(1, 1024, 1).unwrap();
        let mut parent = Parent::new(board.clone(), 1).unwrap();
        let mut items = Items::default();
        for item in [3u64, 4] {
            items.encode(&item).unwrap();
        }
        parent.publish(0, 2, false, items.bytes()).unwrap().unwrap();
        damage(&board);
        let f: fn(u64) -> u64 = |n| n + 1;
        let mut worker = Worker::new(board, 0).unwrap();
        let task = worker.claim(Deadline::PASSED).unwrap();
        let function = entry(Function::of(f).unwrap().to_bytes());
        let count = run(task, function, 1000, &mut Scratch::default()).unwrap();
        let (mut ended, mut outcomes) = (Vec::new(), Vec::new());
        parent.collect(false, &mut ended);
        let output = parent.output(ended[0], &mut outcomes);
        (count, output.ok().map(|ended| ended.items))
    }

    #[test]
    fn a_worker_runs_the_items_that_are_there_whatever_their_number_says() {
        let says = |n| ran(move |board| board.task(0).items.store(n, Ordering::Relaxed));
        assert_eq!(says(2), (2, Some(2)));
        for n in [3, 1 << 24, u32::MAX] {
            assert_eq!(says(n), (2, Some(2)), "{n}");
        }
        assert_eq!(says(1), (1, Some(1)));
        assert_eq!(says(0), (0, Some(0)));
    }

    #[test]
    fn an_input_that_cannot_be_read_is_one_error_and_the_rest_is_left() {
        for len in [0, 7, 1 << 20, u64::MAX] {
            let (count, outcomes) =
                ran(|board| board.task(0).input_bytes.store(len, Ordering::Relaxed));
            assert_eq!((count, outcomes), (1, Some(1)), "{len}");
        }
    }
}
