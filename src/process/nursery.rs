//! The thread that starts all children of a process and sees them end.
//!
//! One thread, since a child that is to die with its parent (PR_SET_PDEATHSIG) dies in truth with the *thread* that started it: this one ends
//! only with the process. It waits for all its children, so none of them remains as a zombie, whoever forgets to join it.
//!
//! It is made when the first child is started. A child that was forked from the process has none of it, and makes its own.

use super::child::{Child, Life};
use super::function::Function;
use super::letter::{Head, Letter, Text};
use super::who;
use crate::error::{Error, Result};
use crate::segment::Segment;
use crate::sys::deadline::Deadline;
use crate::sys::fork::this_process;
use crate::sys::image::{Identity, Image};
use crate::sys::pidfd::{self, Bell, Exit};
use crate::sys::spawn::{Handed, SignalMask, Spec};
use crate::sys::thread::spawn_quietly;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Called in the nursery's thread when the child has ended, once.
pub(crate) type OnExit = Box<dyn FnOnce(Exit) + Send>;

/// The first argument of a child: this, and the number of the descriptor that is its letter.
pub(super) const LETTER: &str = "--commonhold-process=";

/// A child to be started.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) name: String,
    pub(crate) lineage: String,
    pub(crate) function: Function,
    /// The encoded argument of the function.
    pub(crate) args: Vec<u8>,
    /// Dies with this process, also when that is killed.
    pub(crate) daemon: bool,
    /// Descriptors that the child gets; there, [`take_given`](super::init::take_given) has them in the same order.
    pub(crate) given: Vec<OwnedFd>,
    /// Segments that the child can attach when a handle of them arrives, whatever has become of this process by then.
    pub(crate) passed: Vec<Segment>,
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// Standard input, output and error; None: as this process has it.
    pub(crate) stdio: [Option<OwnedFd>; 3],
    pub(crate) directory: Option<PathBuf>,
    /// The signals that it does not get; for a start, those that this thread does not.
    pub(crate) mask: SignalMask,
}

impl Start {
    /// With this process's environment, directory and standard input, output and error.
    pub(crate) fn new(name: String, function: Function, args: Vec<u8>) -> Start {
        Start {
            name,
            lineage: who::next_lineage(),
            function,
            args,
            daemon: false,
            given: Vec::new(),
            passed: Vec::new(),
            environment: std::env::vars_os().collect(),
            stdio: [None, None, None],
            directory: None,
            mask: SignalMask::of_this_thread(),
        }
    }
}

/// Starts a child. When it returns, the new process exists. `on_exit` is called only if it does.
pub(crate) fn start(start: Start, on_exit: OnExit) -> Result<Child> {
    if !super::init::is_called() {
        return Err(Error::NotInitialised);
    }
    if start.name.contains('\0') {
        return Err(Error::InvalidArgument(
            "a process's name must be without NUL",
        ));
    }
    let image = Image::of_this_process().ok_or(Error::NotInExecutable)?;
    let mut handed = Vec::with_capacity(1 + start.given.len() + start.passed.len());
    for given in &start.given {
        handed.extend(Handed::new(given)?);
    }
    let given = handed.len();
    if given < start.given.len() {
        return Err(Error::InvalidArgument(
            "a descriptor that is given to a process must not be one of standard input, output and error",
        ));
    }
    // One whose descriptor was closed behind our back is found by its name, if at all.
    for fd in start.passed.iter().filter_map(Segment::fd_if_open) {
        let has = |h: &Handed| h.number() == fd.as_raw_fd();
        // The child owns each number once.
        if !handed.iter().any(has) {
            handed.extend(Handed::new(&fd)?);
        }
    }
    let head = Head {
        identity: Identity::of_this_process(image).map_err(not_started)?,
        function: start.function,
        parent: std::process::id(),
        daemon: start.daemon,
        text_len: 0,
        args_len: 0,
    };
    let numbers = |handed: &[Handed]| handed.iter().map(Handed::number).collect();
    let text = Text {
        name: start.name.clone(),
        lineage: start.lineage,
        parent_name: who::current_process().name().to_owned(),
        directory: start.directory.map(|d| d.into_os_string().into_vec()),
        given: numbers(&handed[..given]),
        passed: numbers(&handed[given..]),
    };
    let letter = Letter::write(head, &text, &start.args)?;
    let letter_is = format!("{LETTER}{}", letter.descriptor().as_raw_fd());
    handed.extend(Handed::new(&letter.descriptor())?);
    let program = std::env::args_os().next().unwrap_or_default();
    let spec = Spec {
        arguments: vec![program, letter_is.into(), start.name.clone().into()],
        environment: start.environment,
        stdio: start.stdio,
        handed,
        mask: start.mask,
    };
    let life = Nursery::of_this_process()?.order(spec, start.name, on_exit)?;
    Ok(Child::new(life, letter))
}

/// The children that have not ended.
pub(super) fn living() -> Vec<Arc<Life>> {
    let Some(nursery) = Nursery::existing() else {
        return Vec::new();
    };
    let living = |life: &Arc<Life>| life.exit().is_none();
    let family = nursery.lock().family.clone();
    family.into_iter().filter(living).collect()
}

/// It is never freed: a forked child leaves it as it is, whatever state that is.
#[derive(Debug)]
struct Nursery {
    process: (u32, u32),
    bell: Bell,
    orders: Mutex<Orders>,
}

#[derive(Debug, Default)]
struct Orders {
    waiting: Vec<Order>,
    /// The children, less those that the nursery has seen end.
    family: Vec<Arc<Life>>,
    /// Whether there is a thread that sees to them.
    runs: bool,
}

struct Order {
    spec: Spec,
    name: String,
    on_exit: OnExit,
    answer: Sender<Result<Arc<Life>>>,
}

impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Order").field(&self.spec).finish()
    }
}

/// A child, and what is to be done when it has ended.
struct Watched {
    life: Arc<Life>,
    on_exit: OnExit,
}

/// The nursery of this process or, in a forked child, of the one that it was forked from.
static NURSERY: AtomicPtr<Nursery> = AtomicPtr::new(ptr::null_mut());

impl Nursery {
    fn existing() -> Option<&'static Nursery> {
        // Acquire: pairs with the Release in `of_this_process`.
        // SAFETY: null, or a nursery, which is never freed.
        unsafe { NURSERY.load(Ordering::Acquire).as_ref() }.filter(|n| n.is_ours())
    }

    fn of_this_process() -> Result<&'static Nursery> {
        if let Some(nursery) = Nursery::existing() {
            return Ok(nursery);
        }
        let mut found = NURSERY.load(Ordering::Acquire);
        let new = Box::into_raw(Box::new(Nursery {
            process: this_process(),
            bell: Bell::new()?,
            orders: Mutex::default(),
        }));
        loop {
            // Release: pairs with the Acquire of those who find it.
            match NURSERY.compare_exchange(found, new, Ordering::AcqRel, Ordering::Acquire) {
                // SAFETY: made above, and never freed from here on.
                Ok(_) => return Ok(unsafe { &*new }),
                Err(theirs) => found = theirs,
            }
            if let Some(theirs) = Nursery::existing() {
                // SAFETY: made above, and nobody else knows of it.
                drop(unsafe { Box::from_raw(new) });
                return Ok(theirs);
            }
        }
    }

    fn is_ours(&self) -> bool {
        self.process == this_process()
    }

    fn lock(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn order(&'static self, spec: Spec, name: String, on_exit: OnExit) -> Result<Arc<Life>> {
        if !self.bell.is_whole() {
            // Its thread would never hear of the order.
            return Err(Error::Io(io::Error::other(
                "this program has closed descriptors that were not its own: processes can't be started any more",
            )));
        }
        let (answer, answered) = channel();
        let mut orders = self.lock();
        if !orders.runs {
            spawn_quietly("commonhold-nursery", move || self.run())?;
            orders.runs = true;
        }
        orders.waiting.push(Order {
            spec,
            name,
            on_exit,
            answer,
        });
        drop(orders);
        self.bell.ring();
        answered.recv().expect("the nursery's thread never ends")
    }

    fn run(&self) {
        let mut children: Vec<Watched> = Vec::new();
        let mut ended = Vec::new();
        loop {
            let ends = children.iter().map(|child| child.life.descriptor());
            let descriptors: Vec<_> = std::iter::once(self.bell.as_fd())
                .chain(ends.map(|end| end.expect("those without are seen off at once")))
                .collect();
            pidfd::sleep_until_ready(&descriptors, Deadline::NEVER, |i| ended.push(i));
            drop(descriptors);
            // From the last to the first: what is taken out of the list moves only those behind it.
            for i in ended.drain(..).rev() {
                match i.checked_sub(1) {
                    None => self.carry_out_orders(&mut children),
                    Some(i) => self.see_off(&mut children, i),
                }
            }
        }
    }

    fn carry_out_orders(&self, children: &mut Vec<Watched>) {
        self.bell.silence();
        let waiting = std::mem::take(&mut self.lock().waiting);
        for order in waiting {
            let started = order.spec.start();
            let life = started
                .and_then(|pid| Life::of(pid, order.name))
                .map_err(not_started);
            if let Ok(life) = &life {
                self.lock().family.push(Arc::clone(life));
                children.push(Watched {
                    life: Arc::clone(life),
                    on_exit: order.on_exit,
                });
                if life.descriptor().is_none() {
                    self.see_off(children, children.len() - 1);
                }
            }
            // Who ordered it waits for the answer.
            let _ = order.answer.send(life);
        }
    }

    fn see_off(&self, children: &mut Vec<Watched>, i: usize) {
        match children[i].life.exit() {
            Some(exit) => {
                let child = children.swap_remove(i);
                let is_other = |life: &Arc<Life>| !Arc::ptr_eq(life, &child.life);
                self.lock().family.retain(is_other);
                // A panic has been reported; the nursery goes on.
                let _ = catch_unwind(AssertUnwindSafe(|| (child.on_exit)(exit)));
            }
            // If it has ended, a debugger is told first.
            None => {
                let end = children[i].life.descriptor();
                if end.is_some_and(pidfd::has_ended) {
                    pidfd::nap(Deadline::NEVER);
                }
            }
        }
    }
}

fn not_started(e: io::Error) -> Error {
    let why =
        format!("this program's executable can't be started again (from /proc/self/exe): {e}");
    Error::Io(io::Error::new(e.kind(), why))
}
