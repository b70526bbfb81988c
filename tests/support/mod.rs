//! What the multi-process tests share: children, which are the test binary started again, and names that clean up.

// Each test binary uses a part of it.
#![allow(dead_code, unreachable_pub, unused_imports, unused_macros)]

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicU32, Ordering};
use std::time::{Duration, Instant};

const ROLE: &str = "COMMONHOLD_TEST_ROLE";
const ARGS: &str = "COMMONHOLD_TEST_ARGS";
const SEPARATOR: char = '\u{1f}';

/// Who is not done by then waits for ever. The machine may be slow, and stand still for seconds: no test is about that.
pub const LIMIT: Duration = Duration::from_secs(30);

/// What one must take less than who is woken, or asks after the dead, in time. One who is forgotten finds out by itself: if enough others watch over deaths
/// after 8 s at the earliest (`OTHERS` in `sweep.rs`), and as a future after 10 s.
pub const SHORT_OF_A_NAP: Duration = Duration::from_secs(6);

/// Runs what nobody must be forgotten over.
#[track_caller]
pub fn within_the_limit<R>(f: impl FnOnce() -> R) -> R {
    let start = Instant::now();
    let r = f();
    assert!(start.elapsed() < SHORT_OF_A_NAP, "{:?}", start.elapsed());
    r
}

/// Names the functions that children of this test binary can run, each `fn(&[String])`.
///
/// It defines the test by which a child enters; started by anybody else, that test returns at once.
macro_rules! roles {
    ($($(#[$when:meta])* $role:ident),* $(,)?) => {
        #[test]
        fn child_process_entry() {
            let Some((role, args)) = support::role() else { return };
            match &*role {
                $($(#[$when])* stringify!($role) => $role(&args),)*
                other => panic!("no role {other}"),
            }
            std::process::exit(0);
        }
    };
}
pub(crate) use roles;

pub fn role() -> Option<(String, Vec<String>)> {
    let role = std::env::var(ROLE).ok()?;
    let args = std::env::var(ARGS).unwrap_or_default();
    // SAFETY: plain system call. A child must not outlive the test that started it, however that ends.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    Some((role, args.split(SEPARATOR).map(str::to_owned).collect()))
}

/// This test binary, to be started again: by way of an emulator, if one runs it, which `COMMONHOLD_TEST_RUNNER` then names.
pub fn this_program() -> Vec<OsString> {
    let exe = std::env::current_exe().unwrap().into_os_string();
    std::env::var_os("COMMONHOLD_TEST_RUNNER")
        .filter(|runner| !runner.is_empty())
        .into_iter()
        .chain([exe])
        .collect()
}

/// The command made of these words.
pub fn command(words: &[OsString]) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command
}

/// Whether the kernel does for forked children what it was told to (MADV_WIPEONFORK); if not, says so. qemu's user mode
/// accepts the advice and forgets it, so a child there takes itself for its parent.
pub fn forks_are_noticed() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(wipe_on_fork_works)
}

fn wipe_on_fork_works() -> bool {
    let size = 4096;
    // SAFETY: a new page of our own; the child only reads it and ends, the parent waits for it and unmaps the page.
    let status = unsafe {
        let page = libc::mmap(
            std::ptr::null_mut(),
            size,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        assert_ne!(page, libc::MAP_FAILED);
        assert_eq!(libc::madvise(page, size, libc::MADV_WIPEONFORK), 0);
        page.cast::<u8>().write(1);
        let pid = libc::fork();
        if pid == 0 {
            libc::_exit(page.cast::<u8>().read_volatile().into());
        }
        let mut status = -1;
        assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
        libc::munmap(page, size);
        status
    };
    if status != 0 {
        eprintln!("SKIPPED, what forks: this kernel (an emulator?) ignores MADV_WIPEONFORK");
    }
    status == 0
}

/// The command that runs a role, by way of `program`.
pub fn role_command(mut program: Command, role: &str, args: &[&str]) -> Command {
    program
        .args([
            "--exact",
            "child_process_entry",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(ROLE, role)
        .env(ARGS, args.join(&SEPARATOR.to_string()));
    program
}

/// A child process, killed when dropped.
pub struct Child {
    process: std::process::Child,
    says: BufReader<ChildStdout>,
    hears: Option<ChildStdin>,
}

impl Child {
    pub fn start(role: &str, args: &[&str]) -> Child {
        Child::start_by(command(&this_program()), role, args)
    }

    /// Starts by way of `command`, which gets the test binary's arguments after its own.
    pub fn start_by(command: Command, role: &str, args: &[&str]) -> Child {
        Child::start_from(command, role, args, Stdio::piped())
    }

    /// Starts with another standard input; it can't be [said](Self::say) anything.
    pub fn start_with_stdin(role: &str, args: &[&str], stdin: Stdio) -> Child {
        Child::start_from(command(&this_program()), role, args, stdin)
    }

    fn start_from(program: Command, role: &str, args: &[&str], stdin: Stdio) -> Child {
        let mut process = role_command(program, role, args)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Child {
            says: BufReader::new(process.stdout.take().unwrap()),
            hears: process.stdin.take(),
            process,
        }
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Waits for the next [`tell`] of the child.
    pub fn hear(&mut self) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            let n = self.says.read_line(&mut line).unwrap();
            assert_ne!(n, 0, "the child ended: {:?}", self.process.wait());
            if let Some((_, told)) = line.split_once("@@") {
                return told.trim_end().to_owned();
            }
        }
    }

    pub fn expect(&mut self, told: &str) {
        assert_eq!(self.hear(), told);
    }

    /// Ends a [`listen`] of the child.
    pub fn say(&mut self, word: &str) {
        let hears = self.hears.as_mut().expect("its standard input is ours");
        writeln!(hears, "{word}").unwrap();
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: a process that we started and have not yet waited for.
        assert_eq!(unsafe { libc::kill(self.pid() as i32, signal) }, 0);
    }

    /// Kills it with SIGKILL, and waits until it is gone.
    pub fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Kills it, and leaves its remains: the pid stays taken.
    pub fn kill_only(&mut self) {
        self.process.kill().unwrap();
    }

    /// How it ended, if it has.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().unwrap()
    }

    pub fn wait(mut self) -> ExitStatus {
        self.process.wait().unwrap()
    }

    /// Waits for its good end.
    pub fn finish(self) {
        let status = self.wait();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// In a child: tells the parent.
pub fn tell(line: &str) {
    println!("\n@@{line}");
}

/// In a child: waits for the parent's word.
pub fn listen() -> String {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

/// In a child: never returns; the parent kills it.
pub fn wait_to_be_killed() -> ! {
    listen();
    panic!("the parent let go of a child that it was to kill");
}

/// A name in /dev/shm that no other test uses, removed when dropped.
pub struct Name(String);

impl Name {
    pub fn new(what: &str) -> Name {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        Name(format!("commonhold-test-{}-{n}-{what}", std::process::id()))
    }

    pub fn path(&self) -> std::path::PathBuf {
        Path::new("/dev/shm").join(&self.0)
    }
}

impl std::ops::Deref for Name {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.path());
    }
}

/// The most items that one call of `send`, whose time is up when it begins, sends to one who takes item after item.
pub fn most_sent_late(mut take: impl FnMut() + Send, mut send: impl FnMut() -> usize) -> usize {
    let over = AtomicBool::new(false);
    std::thread::scope(|s| {
        s.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                take();
                (0..100).for_each(|_| std::hint::spin_loop());
            }
        });
        // Long enough for the two to run at once for a while, also on a busy machine.
        let start = Instant::now();
        let mut most = 0;
        while start.elapsed() < Duration::from_millis(250) {
            most = most.max(send());
        }
        over.store(true, Ordering::Relaxed);
        most
    })
}

/// From here on the kernel refuses that system call to this thread (and to those it starts) with that error. `false`: it can't be told to, as
/// in qemu's user mode.
#[must_use]
pub fn forbid(call: libc::c_long, errno: i32) -> bool {
    let rule = |code: u32, jt, jf, k| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    let error = libc::SECCOMP_RET_ERRNO | errno as u32;
    let mut rules = [
        // The number of the call is the first word.
        rule(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        rule(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            0,
            1,
            call as u32,
        ),
        rule(libc::BPF_RET | libc::BPF_K, 0, 0, error),
        rule(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: rules.len() as u16,
        filter: rules.as_mut_ptr(),
    };
    let filter = libc::SECCOMP_MODE_FILTER;
    // SAFETY: plain system calls; the program is four rules that end.
    unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, filter, &raw const program) == 0
    }
}

/// Whether each thread of the process sleeps in the kernel, waiting for a word in memory to change.
pub fn waits_on_a_futex(pid: u32) -> bool {
    waits_in(pid, &[libc::SYS_futex, libc::SYS_futex_waitv])
}

/// Whether each thread of the process is in one of these system calls.
pub fn waits_in(pid: u32, calls: &[libc::c_long]) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.flatten().all(|task| is_in(&task.path(), calls))
}

/// Whether the thread that has this directory in /proc is in one of these system calls.
fn is_in(task: &Path, calls: &[libc::c_long]) -> bool {
    let now = std::fs::read_to_string(task.join("syscall")).unwrap_or_default();
    let number = now.split(' ').next().and_then(|n| n.parse().ok());
    number.is_some_and(|n| calls.contains(&n))
}

/// Which thread this is, for others to see that it [sleeps].
pub fn this_thread() -> libc::c_long {
    // SAFETY: plain system call.
    unsafe { libc::syscall(libc::SYS_gettid) }
}

/// Whether the thread of this process sleeps on a futex, or on many. One that was woken does not, also while it has no processor yet.
pub fn sleeps(thread: libc::c_long) -> bool {
    is_in(
        Path::new(&format!("/proc/self/task/{thread}")),
        &[libc::SYS_futex, libc::SYS_futex_waitv],
    )
}

/// Runs the two sides of something that goes to and fro, the other of which counts its rounds, and counts the times when both were found
/// asleep: then it lay there, and a wake-up was lost. How slow they are makes no difference.
pub fn lost_wake_ups(one: impl FnOnce() + Send, other: impl FnOnce(&AtomicU32) + Send) -> u32 {
    let rounds = AtomicU32::new(0);
    let (tell, told) = std::sync::mpsc::channel();
    let tell_too = tell.clone();
    std::thread::scope(|s| {
        let one = s.spawn(move || {
            tell.send(this_thread()).unwrap();
            one();
        });
        let other = s.spawn(|| {
            tell_too.send(this_thread()).unwrap();
            other(&rounds);
        });
        let [a, b] = [(); 2].map(|()| told.recv().unwrap());
        // The first one again: it was not woken meanwhile.
        let asleep =
            || (sleeps(a) && sleeps(b) && sleeps(a)).then(|| rounds.load(Ordering::SeqCst));
        let (mut lost, mut last) = (0, None);
        while !one.is_finished() && !other.is_finished() {
            // Longer than the naps that are there to make up for a wake-up.
            std::thread::park_timeout(Duration::from_millis(5));
            let now = asleep();
            lost += u32::from(now.is_some() && now == last);
            last = now;
        }
        lost
    })
}

/// Two threads take and leave what there is one of, each once the other sleeps: there is always one who waits, and never for long. Meanwhile the
/// holder of another one is killed. Whether both had one at last.
pub fn two_have_one_each<T>(holder: Child, take: impl Fn() -> T + Sync) -> bool {
    let threads = [(); 2].map(|()| AtomicIsize::new(0));
    let (turns, taken) = (AtomicU32::new(0), AtomicU32::new(0));
    let met = AtomicBool::new(false);
    let start = Instant::now();
    let is_over = || met.load(Ordering::SeqCst) || start.elapsed() > LIMIT;
    std::thread::scope(|s| {
        for [mine, other] in [[0, 1], [1, 0]].map(|i| i.map(|i| &threads[i])) {
            let (turns, taken, met, is_over, take) = (&turns, &taken, &met, &is_over, &take);
            s.spawn(move || {
                mine.store(this_thread() as isize, Ordering::SeqCst);
                while !is_over() {
                    let one = take();
                    met.fetch_or(taken.fetch_add(1, Ordering::SeqCst) == 1, Ordering::SeqCst);
                    while !is_over() && !sleeps(other.load(Ordering::SeqCst) as libc::c_long) {
                        std::thread::yield_now();
                    }
                    taken.fetch_sub(1, Ordering::SeqCst);
                    turns.fetch_add(1, Ordering::SeqCst);
                    drop(one);
                }
            });
        }
        // They have asked after the holder, and it lived.
        eventually(LIMIT, "they take turns", || {
            turns.load(Ordering::SeqCst) > 10
        });
        holder.kill();
    });
    met.into_inner()
}

/// Waits until `it_is`, by looking again and again; fails after `limit`.
pub fn eventually(limit: Duration, what: &str, mut it_is: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !it_is() {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::yield_now();
    }
    start.elapsed()
}

/// Runs `f` in a forked child, which ends with it; the child is killed when the handle is dropped.
pub struct Forked(pub i32);

impl Forked {
    pub fn start(f: impl FnOnce()) -> Forked {
        // SAFETY: the child runs `f` and ends without unwinding into the test harness. `f` allocates, which glibc allows
        // in a child of a threaded process.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
        if pid == 0 {
            // SAFETY: plain system call.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            let ok = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).is_ok();
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(if ok { 0 } else { 101 }) };
        }
        Forked(pid)
    }

    pub fn kill(self) {
        drop(self);
    }

    /// Waits for its good end.
    pub fn finish(self) {
        let status = self.reap();
        std::mem::forget(self);
        assert!(
            libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0,
            "the forked child failed: {status:#x}"
        );
    }

    fn reap(&self) -> i32 {
        let mut status = 0;
        loop {
            // SAFETY: a child of ours, reaped once.
            if unsafe { libc::waitpid(self.0, &mut status, 0) } == self.0 {
                return status;
            }
        }
    }
}

impl Drop for Forked {
    fn drop(&mut self) {
        // SAFETY: a child of ours that is not yet reaped.
        unsafe { libc::kill(self.0, libc::SIGKILL) };
        self.reap();
    }
}

/// A small pseudo-random generator (xorshift64*), seeded from the clock; the seed is printed, to repeat a run.
pub struct Random(u64);

impl Random {
    pub fn new() -> Random {
        let seed = Random::seed();
        eprintln!("SEED={seed}");
        Random(seed)
    }

    /// What `SEED` says; by default, the clock.
    pub fn seed() -> u64 {
        match std::env::var("SEED") {
            Ok(seed) => seed.parse().expect("SEED is a number"),
            Err(_) => {
                let t = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
                t.as_nanos() as u64 | 1
            }
        }
    }

    pub fn from(seed: u64) -> Random {
        Random(seed | 1)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % n
    }
}
