//! The second party: this same program started again, or a thread.

use crate::arena::Arena;
use crate::job::{Job, Side, take_part, take_part_linked};
use crate::links::ipc_channel::{self, IpcChannel};
use crate::links::{Wires, iceoryx};
use crate::machine::pin;
use crate::segments;
use std::ffi::CString;
use std::io::{BufRead, Write};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

/// The hidden argument.
pub(crate) const AS_SECOND: &str = "--as-second-party";

/// The process that does the other half of each job. It ends with us, however we end.
pub(crate) struct Second(Child);

impl Second {
    /// Starts it, on that CPU, and connects with it.
    pub(crate) fn start(
        arena: &mut Arena,
        cpu: Option<usize>,
    ) -> std::io::Result<(Second, IpcChannel)> {
        let (server, name) = ipc_channel::serve();
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(AS_SECOND).arg(name);
        command.arg(std::process::id().to_string());
        command.arg(cpu.map_or("-".into(), |cpu| cpu.to_string()));
        for fd in &arena.inherit {
            command.arg(
                fd.as_ref()
                    .map_or("-".into(), |fd| fd.as_raw_fd().to_string()),
            );
        }
        let child = command.stdin(Stdio::piped()).spawn()?;
        // Above all the ends of pipes: if the child fails, what we do with ours is to fail, too.
        arena.inherit.clear();
        Ok((Second(child), server.accept()))
    }

    /// Lets it do its side of the job. The first party's is to be done, too.
    pub(crate) fn give(&mut self, arena: &Arena, job: Job) {
        arena.reset();
        let stdin = self.0.stdin.as_mut().expect("its stdin is piped");
        writeln!(stdin, "{job}").expect("the second party listens");
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
pub(crate) fn in_threads<R>(
    arena: &Arena,
    cpu: Option<usize>,
    first: impl FnOnce() -> R,
    second: impl FnOnce() + Send,
) -> R {
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
    let name = args.next().expect("where to connect");
    let mut numbers = args.map(|n| n.parse::<i32>().ok());
    let parent = numbers.next().flatten().expect("the parent's pid");
    end_with(parent);
    if let Some(cpu) = numbers.next().flatten() {
        pin(cpu as usize);
    }
    let inherited: Vec<_> = numbers.collect();
    let arena = Arena::open(&inherited).expect("what the first party made");
    let wires = Wires::new(IpcChannel::connect(name));
    let _fail = FailOnPanic(&arena);
    for line in std::io::stdin().lock().lines() {
        let job: Job = line.expect("a line").parse().expect("a job");
        if job.is_linked() {
            take_part_linked((&arena, &wires), job, Side::Second);
        } else {
            take_part(&arena, job, Side::Second);
        }
    }
}

/// What removes the files that the first party may leave when it is killed: a program and its arguments.
static REMOVAL: OnceLock<[CString; 3]> = OnceLock::new();

/// Sees to it that this process does not outlive its parent, and that the parent leaves nothing behind.
fn end_with(parent: i32) {
    let [ours, floor] = segments::names(parent as u32);
    let [shared, directory] = iceoryx::files(parent as u32);
    let command = format!("rm -rf /dev/shm/{ours} /dev/shm/{floor} {shared} {directory}");
    let removal = ["/bin/sh", "-c", &command].map(|word| CString::new(word).expect("no NUL"));
    REMOVAL.set(removal).expect("called once");
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
    if let Some([program, option, command]) = REMOVAL.get() {
        let [program, option, command] = [program, option, command].map(|word| word.as_ptr());
        let arguments = [program, option, command, std::ptr::null()];
        // SAFETY: C strings, and a list of them that ends with null; `execv` may be called in a signal handler.
        unsafe { libc::execv(program, arguments.as_ptr()) };
    }
    // SAFETY: it may be called anywhere.
    unsafe { libc::_exit(1) };
}
