//! The second party: this same program started again, or a thread.

use crate::arena::Arena;
use crate::job::{Job, Side, take_part};
use crate::machine::pin;
use crate::segments;
use std::ffi::CString;
use std::io::{BufRead, Write};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

/// The hidden argument.
pub(crate) const AS_SECOND: &str = "--as-second-party";

/// The process that does the other half of each job. It ends with us, however we end.
pub(crate) struct Second(Child);

impl Second {
    /// Starts it, on that CPU.
    pub(crate) fn start(arena: &mut Arena, cpu: Option<usize>) -> std::io::Result<Second> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(AS_SECOND).arg(std::process::id().to_string());
        command.arg(cpu.map_or("-".into(), |cpu| cpu.to_string()));
        for fd in &arena.inherit {
            command.arg(fd.as_raw_fd().to_string());
        }
        let child = command.stdin(Stdio::piped()).spawn()?;
        // Above all the pipe's read end: if the child fails, our writes are to fail, too.
        arena.inherit.clear();
        Ok(Second(child))
    }

    /// Does the job with it.
    pub(crate) fn run(&mut self, arena: &Arena, job: Job, duration: Duration) -> f64 {
        arena.reset();
        let stdin = self.0.stdin.as_mut().expect("its stdin is piped");
        writeln!(stdin, "{job}").expect("the second party listens");
        take_part(arena, job, Side::First(duration))
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // It may be waiting for us for ever.
            let _ = self.0.kill();
        }
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Does `first` here and `second` in a thread on that CPU.
pub(crate) fn in_threads(
    arena: &Arena,
    cpu: Option<usize>,
    first: impl FnOnce() -> f64,
    second: impl FnOnce() + Send,
) -> f64 {
    arena.reset();
    std::thread::scope(|s| {
        s.spawn(move || {
            if let Some(cpu) = cpu {
                pin(cpu);
            }
            let fail = FailOnPanic(arena);
            second();
            drop(fail);
        });
        first()
    })
}

/// Lets the first party know, who would otherwise wait for ever.
struct FailOnPanic<'a>(&'a Arena);

impl Drop for FailOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail();
        }
    }
}

/// What the second process does: job after job, until its input ends.
pub(crate) fn second_main(mut args: impl Iterator<Item = String>) {
    let mut number = || args.next().and_then(|n| n.parse::<i32>().ok());
    let parent = number().expect("the parent's pid");
    end_with(parent);
    if let Some(cpu) = number() {
        pin(cpu as usize);
    }
    let inherited: Vec<i32> = std::iter::from_fn(number).collect();
    let arena = Arena::open(&inherited).expect("what the first party made");
    let _fail = FailOnPanic(&arena);
    for line in std::io::stdin().lock().lines() {
        let job = line.expect("a line").parse().expect("a job");
        take_part(&arena, job, Side::Second);
    }
    clean_up();
}

/// The names that the first party may leave when it is killed.
static NAMES: OnceLock<[CString; 2]> = OnceLock::new();

/// Sees to it that this process does not outlive its parent, and that the parent leaves no name behind.
fn end_with(parent: i32) {
    let path = |name| CString::new(format!("/dev/shm/{name}")).expect("no NUL in it");
    let names = segments::names(parent as u32).map(path);
    NAMES.set(names).expect("called once");
    let handler: extern "C" fn(i32) = on_parents_death;
    // SAFETY: the handler makes only calls that are allowed in one. An interrupt from the terminal reaches the parent, too,
    // whose end we outlive by a moment.
    unsafe {
        libc::signal(libc::SIGTERM, handler as libc::sighandler_t);
        libc::signal(libc::SIGINT, libc::SIG_IGN);
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
        if libc::getppid() != parent {
            on_parents_death(0);
        }
    }
}

extern "C" fn on_parents_death(_: i32) {
    clean_up();
    // SAFETY: it may be called anywhere.
    unsafe { libc::_exit(1) };
}

fn clean_up() {
    for name in NAMES.get().into_iter().flatten() {
        // SAFETY: a C string; `unlink` may be called in a signal handler.
        unsafe { libc::unlink(name.as_ptr()) };
    }
}
