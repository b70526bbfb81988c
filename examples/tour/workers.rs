//! Worker processes: this executable started again, in a role.

use crate::segment::{self, JANITOR};
use crate::{Result, classics, counting, kills, lock_kills};
use commonhold::Segment;
use std::ffi::OsStr;
use std::fmt::Display;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The hidden first argument; the role, the segment's name and the role's own argument follow.
pub(crate) const ROLE: &str = "--role";

/// The bound on each wait: when it is over, something is wrong.
pub(crate) const PATIENCE: Duration = Duration::from_secs(12);

/// What a worker does: with the segment that it attached by name, and its argument.
pub(crate) type Role = fn(&Segment, &str) -> Result<()>;

static STARTED: AtomicUsize = AtomicUsize::new(0);

/// How many processes were started so far.
pub(crate) fn started() -> usize {
    STARTED.load(Ordering::Relaxed)
}

/// In a worker process: plays its role.
pub(crate) fn play(role: &OsStr, segment: &OsStr, argument: &OsStr) -> Result<()> {
    let [Some(role), Some(segment), Some(argument)] = [role, segment, argument].map(OsStr::to_str)
    else {
        return Err("the arguments of a role are text".into());
    };
    if role == JANITOR {
        return segment::janitor(segment);
    }
    let (_, run) = [
        classics::ROLES,
        counting::ROLES,
        kills::ROLES,
        lock_kills::ROLES,
    ]
    .into_iter()
    .flatten()
    .find(|(name, _)| *name == role)
    .ok_or_else(|| format!("there is no role {role:?}"))?;
    end_with_the_tour();
    let seg = Segment::open(segment).context(format_args!("{role}: opening {segment}"))?;
    run(&seg, argument).map_err(|e| format!("{role} {argument}: {e}").into())
}

/// In a worker process: stays where it is until it is killed.
pub(crate) fn stay() -> ! {
    loop {
        thread::park();
    }
}

/// In a worker process: ends it when the tour ends, be it by SIGKILL, for that closes the pipe to its stdin.
fn end_with_the_tour() {
    thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(1);
    });
}

/// A worker process, which does not outlive this.
pub(crate) struct Worker {
    role: String,
    child: Child,
}

impl Worker {
    /// Starts this executable in `role`. It attaches the segment by name.
    pub(crate) fn start(segment: &str, role: &str, argument: &str) -> Result<Worker> {
        Worker::spawn(role, command(segment, role, argument)?)
    }

    /// As `start`, in a process group of its own, so that Ctrl-C on the terminal does not reach it.
    pub(crate) fn start_apart(segment: &str, role: &str) -> Result<Worker> {
        let mut command = command(segment, role, "")?;
        command.process_group(0);
        Worker::spawn(role, command)
    }

    fn spawn(role: &str, mut command: Command) -> Result<Worker> {
        let child = command
            .spawn()
            .context(format_args!("starting the {role}"))?;
        STARTED.fetch_add(1, Ordering::Relaxed);
        Ok(Worker {
            role: role.to_owned(),
            child,
        })
    }

    /// Waits until it has done its work, and done it well.
    pub(crate) fn finish(mut self) -> Result<()> {
        let what = format!("the end of the {}", self.role);
        let status = poll(&what, || Ok(self.child.try_wait()?))?;
        if status.success() {
            return Ok(());
        }
        Err(format!("the {} failed: {status}", self.role).into())
    }

    /// An error if it has ended although its work is not done.
    pub(crate) fn check_running(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(format!("the {} ended early: {status}", self.role).into()),
        }
    }

    /// SIGKILL; it is dead on return.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits until the kernel says that it sleeps.
    pub(crate) fn until_asleep(&self) -> Result<()> {
        let what = format!("the sleep of the {}", self.role);
        let stat = format!("/proc/{}/stat", self.child.id());
        poll(&what, || {
            // "pid (name) state ...", and the name may hold anything.
            let stat = std::fs::read_to_string(&stat)?;
            let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
            Ok(state.filter(|s| s.starts_with('S')).map(drop))
        })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        if self.role != JANITOR {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

fn command(segment: &str, role: &str, argument: &str) -> Result<Command> {
    let tour = std::env::current_exe().context("finding this executable")?;
    let mut command = Command::new(tour);
    command
        .args([ROLE, role, segment, argument])
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    Ok(command)
}

/// Asks until there is an answer: often at first, then each millisecond.
pub(crate) fn poll<T>(what: &str, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    let mut pause = Duration::from_micros(30);
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if Instant::now() > deadline {
            return Err(format!("{what} did not come within {PATIENCE:?}").into());
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(1));
    }
}

/// Says what was being done when an error came.
pub(crate) trait Context<T> {
    fn with_context<D: Display>(self, what: impl FnOnce() -> D) -> Result<T>;

    fn context(self, what: impl Display) -> Result<T>
    where
        Self: Sized,
    {
        self.with_context(|| what)
    }
}

impl<T, E: Display> Context<T> for std::result::Result<T, E> {
    fn with_context<D: Display>(self, what: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|e| format!("{}: {e}", what()).into())
    }
}
