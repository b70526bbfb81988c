//! A process that is stopped after each of its instructions, by ptrace.

use std::io::Write;
use std::ptr::NonNull;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// What a victim runs, one instruction at a time.
pub type Op = Box<dyn FnOnce()>;

/// How long a victim may sleep in one system call, or take to get ready or to end.
const PATIENCE: Duration = crate::support::LIMIT;

/// The processors that this process may run on.
pub fn processors() -> Vec<usize> {
    // SAFETY: zero is a valid value of this plain structure, and the kernel fills as much of it as is asked for.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        let got = libc::sched_getaffinity(0, size_of_val(&set), &mut set);
        assert_eq!(got, 0, "{}", std::io::Error::last_os_error());
        set
    };
    // SAFETY: below the number of processors that a set has room for.
    (0..libc::CPU_SETSIZE as usize)
        .filter(|&i| unsafe { libc::CPU_ISSET(i, &set) })
        .collect()
}

/// Keeps this thread on one processor, and the victims that it starts from now on. Then a step is a switch from one to the other; between
/// two processors each would have to wake the other's, which takes several times as long.
pub fn stay_on(processor: usize) {
    // SAFETY: a plain structure, of whose processors one is named that this thread may run on.
    let done = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(processor, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &set)
    };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

/// A forked process that stands before, in or behind its operation. Killed when dropped.
pub struct Victim {
    pid: i32,
    progress: Shared,
    ended: Option<i32>,
}

/// How a step ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// One instruction, or one half of a system call, further.
    Stepped,
    /// Asleep in a system call.
    Blocked,
    /// No longer there; the status that `waitpid` told.
    Ended(i32),
}

const BEGUN: u32 = 1;
const DONE: u32 = 2;

impl Victim {
    /// Forks a process that makes ready an operation, and stops it before the operation's first instruction. Only the
    /// thread that called this may use the victim.
    pub fn start(make_ready: impl FnOnce() -> Op) -> Victim {
        show_the_victims_panics();
        let progress = Shared::new();
        // SAFETY: the child runs `make_ready` and the operation, and ends without unwinding into the test harness; glibc
        // lets a child of a threaded process allocate.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
        if pid == 0 {
            be_the_victim(make_ready, progress.get());
        }
        let mut victim = Victim {
            pid,
            progress,
            ended: None,
        };
        let status = victim.reap_soon();
        assert!(
            libc::WIFSTOPPED(status) && libc::WSTOPSIG(status) == libc::SIGSTOP,
            "the victim did not get ready: {status:#x}"
        );
        let options = libc::PTRACE_O_EXITKILL | libc::PTRACE_O_TRACESYSGOOD;
        victim.request(libc::PTRACE_SETOPTIONS, options as usize);
        while victim.progress.get().load(Ordering::Relaxed) != BEGUN {
            assert_eq!(victim.step(), Stop::Stepped);
        }
        victim
    }

    /// Whether the operation has returned.
    pub fn is_done(&self) -> bool {
        self.progress.get().load(Ordering::Relaxed) == DONE
    }

    /// Whether the next instruction is a system call.
    pub fn is_at_system_call(&self) -> bool {
        // SAFETY: zero is a valid value of this plain structure, and the kernel fills it for a stopped tracee of ours.
        let at = unsafe {
            let mut registers: libc::user_regs_struct = std::mem::zeroed();
            let to = (&raw mut registers).cast::<libc::c_void>();
            let done = libc::ptrace(libc::PTRACE_GETREGS, self.pid, 0, to);
            assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
            registers.rip as *const [u8; 2]
        };
        // SAFETY: the victim is a fork of this process, so the same code is mapped at the same place here (the vDSO too); it
        // loads no library and makes no code.
        let next = unsafe { at.read_unaligned() };
        next == [0x0f, 0x05]
    }

    /// Lets it run one instruction, which is no system call.
    pub fn step(&mut self) -> Stop {
        self.request(libc::PTRACE_SINGLESTEP, 0);
        // It can't sleep: the kernel has this thread sleep and the victim run in its place.
        let status = self.reap(0).expect("waited for");
        self.stopped(status)
    }

    /// Lets it make the system call that it is at.
    pub fn step_call(&mut self) -> Stop {
        self.request(libc::PTRACE_SINGLESTEP, 0);
        self.settle(false)
    }

    /// Lets it run to the beginning of its next system call, or, if it stands there, to that call's end. What is killed at
    /// the beginning does not make the call.
    pub fn run_to_call(&mut self) -> Stop {
        self.request(libc::PTRACE_SYSCALL, 0);
        self.settle(false)
    }

    /// Waits until it no longer sleeps.
    pub fn wait_awake(&mut self) -> Stop {
        self.settle(true)
    }

    fn settle(&mut self, asleep: bool) -> Stop {
        let start = Instant::now();
        loop {
            // Almost always it stops at once: no look at the clock before the first thousand.
            for _ in 0..1000 {
                if let Some(status) = self.reap(libc::WNOHANG) {
                    return self.stopped(status);
                }
            }
            if !asleep && self.sleeps() {
                return Stop::Blocked;
            }
            assert!(start.elapsed() < PATIENCE, "asleep for {PATIENCE:?}");
            std::thread::yield_now();
        }
    }

    fn stopped(&mut self, status: i32) -> Stop {
        if libc::WIFSTOPPED(status) {
            // With bit 7: at a system call.
            let signal = libc::WSTOPSIG(status) & !0x80;
            assert_eq!(signal, libc::SIGTRAP, "the victim got a signal");
            return Stop::Stepped;
        }
        self.ended = Some(status);
        Stop::Ended(status)
    }

    fn sleeps(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap();
        // After the name, which is in parentheses.
        stat.rsplit(')').next().unwrap().starts_with(" S")
    }

    /// Kills it, and waits until it is gone.
    pub fn kill(&mut self) {
        self.end();
    }

    /// Lets it run on freely, and waits for its good end.
    pub fn finish(mut self) {
        if self.ended.is_none() {
            self.request(libc::PTRACE_DETACH, 0);
            self.ended = Some(self.reap_soon());
        }
        assert_eq!(self.ended, Some(0), "the victim failed");
    }

    fn end(&mut self) {
        if self.ended.is_none() {
            // SAFETY: a child of ours that is not yet reaped.
            unsafe { libc::kill(self.pid, libc::SIGKILL) };
            while let Some(status) = self.reap(0) {
                if !libc::WIFSTOPPED(status) {
                    self.ended = Some(status);
                    break;
                }
            }
        }
    }

    fn reap_soon(&self) -> i32 {
        let start = Instant::now();
        loop {
            if let Some(status) = self.reap(libc::WNOHANG) {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "neither stopped nor ended");
            std::thread::yield_now();
        }
    }

    fn reap(&self, flags: i32) -> Option<i32> {
        let mut status = 0;
        loop {
            // SAFETY: a child of ours that is not yet reaped.
            let got = unsafe { libc::waitpid(self.pid, &mut status, flags | libc::__WALL) };
            match got {
                0 => return None,
                got if got == self.pid => return Some(status),
                _ => {
                    let error = std::io::Error::last_os_error();
                    assert_eq!(error.raw_os_error(), Some(libc::EINTR), "{error}");
                }
            }
        }
    }

    fn request(&self, request: libc::c_uint, data: usize) {
        // SAFETY: a stopped tracee of ours; none of the requests made here has the kernel write into this process.
        let done = unsafe { libc::ptrace(request, self.pid, 0usize, data) };
        assert_eq!(done, 0, "ptrace: {}", std::io::Error::last_os_error());
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.end();
    }
}

/// The test harness's own hook writes into memory that only the parent prints. To be set in the parent: another thread of it
/// may be panicking when the victim is forked, and the victim would then wait for ever to set its own.
fn show_the_victims_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let earlier = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if IS_VICTIM.load(Ordering::Relaxed) {
                let _ = writeln!(std::io::stderr(), "in the victim: {panic}");
            } else {
                earlier(panic);
            }
        }));
    });
}

static IS_VICTIM: AtomicBool = AtomicBool::new(false);

fn be_the_victim(make_ready: impl FnOnce() -> Op, progress: &AtomicU32) -> ! {
    IS_VICTIM.store(true, Ordering::Relaxed);
    let run = || {
        let op = make_ready();
        // SAFETY: plain system calls. The parent traces this process, and goes on once it is stopped.
        unsafe {
            libc::ptrace(libc::PTRACE_TRACEME, 0, 0usize, 0usize);
            libc::kill(libc::getpid(), libc::SIGSTOP);
        }
        progress.store(BEGUN, Ordering::Relaxed);
        op();
        progress.store(DONE, Ordering::Relaxed);
    };
    let ok = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_ok();
    // SAFETY: ends the child at once.
    unsafe { libc::_exit(if ok { 0 } else { 101 }) }
}

/// A word that the victim and its tracer share.
struct Shared(NonNull<AtomicU32>);

impl Shared {
    fn new() -> Shared {
        // SAFETY: a new anonymous mapping, placed by the kernel.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size_of::<AtomicU32>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(at, libc::MAP_FAILED);
        Shared(NonNull::new(at).expect("mmap returns no null").cast())
    }

    fn get(&self) -> &AtomicU32 {
        // SAFETY: mapped until `self` drops; zero bytes are a valid atomic.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: our own mapping, lent no longer than `self` lives.
        unsafe { libc::munmap(self.0.as_ptr().cast(), size_of::<AtomicU32>()) };
    }
}
