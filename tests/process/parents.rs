//! What becomes of children when their parent dies, forks, or does other things to its children.

use crate::BEFORE_INIT;
use crate::support::{Child, Forked, Name, command, eventually, listen, tell, this_program};
use commonhold::process::{Process, parent_process};
use commonhold::{Error, Event, Segment};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A machine that has better things to do needs no longer.
const LIMIT: Duration = Duration::from_secs(30);

/// In the environment of one that waits for its parent's death.
const PARENT: &str = "COMMONHOLD_TEST_PARENT";

/// Says that it is over, also when a test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A process that is not ours, to be seen ending.
struct Stranger(OwnedFd);

impl Stranger {
    fn of(pid: u32) -> Stranger {
        // SAFETY: plain system call; the descriptor is new.
        unsafe {
            let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0);
            assert!(fd >= 0, "{}", std::io::Error::last_os_error());
            Stranger(OwnedFd::from_raw_fd(fd as i32))
        }
    }

    fn is_alive(&self) -> bool {
        let mut poll = libc::pollfd {
            fd: self.0.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one pollfd stands there.
        unsafe { libc::poll(&raw mut poll, 1, 0) == 0 }
    }
}

/// Much longer than any test waits; and no longer, so that a test that fails leaves nothing for ever.
fn sleep_long(_: ()) {
    tell(&std::process::id().to_string());
    std::thread::sleep(4 * LIMIT);
}

#[test]
fn a_daemon_dies_with_its_parent_that_is_killed() {
    let mut parent = Child::start("has_a_daemon", &[]);
    let daemon = Stranger::of(parent.hear().parse().unwrap());
    assert!(daemon.is_alive());
    parent.kill();
    eventually(LIMIT, "the daemon's death", || !daemon.is_alive());
}

pub(crate) fn has_a_daemon(_: &[String]) {
    // The thread that starts it ends before it does.
    let start = || {
        Process::builder(sleep_long, ())
            .daemon(true)
            .spawn()
            .unwrap()
    };
    let daemon = std::thread::spawn(start).join().unwrap();
    let _ = daemon.join();
}

#[test]
fn a_daemon_outlives_the_thread_that_started_it() {
    let start = || {
        let f = |_: ()| {
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).unwrap();
            line
        };
        let p = Process::builder(f, ()).daemon(true);
        p.stdin(commonhold::process::Stdio::piped())
            .spawn()
            .unwrap()
    };
    let p = std::thread::spawn(start).join().unwrap();
    let mut stdin = p.take_stdin().unwrap();
    std::io::Write::write_all(&mut stdin, b"go on\n").unwrap();
    assert_eq!(p.join().unwrap(), "go on\n");
}

#[test]
fn a_daemon_whose_parent_dies_before_its_init_runs_nothing() {
    let mut parent = command(&this_program());
    parent.env("RUST_TEST_THREADS", "1");
    let mut parent = crate::support::role_command(parent, "is_killed_before_init", &[])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    // The pipe's end comes when the daemon, too, is gone.
    parent
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    parent.wait().unwrap();
    assert!(
        said.contains("@@started") && !said.contains("@@ran"),
        "{said}"
    );
}

pub(crate) fn is_killed_before_init(_: &[String]) {
    let p = Process::builder(|_: ()| tell("ran"), ()).daemon(true);
    let me = std::process::id().to_string();
    let _p = p.env(BEFORE_INIT, "wait").env(PARENT, me).spawn().unwrap();
    tell("started");
    // SAFETY: plain call.
    unsafe { libc::raise(libc::SIGKILL) };
}

/// Before `init`, when nobody has told the kernel yet that this process is to die with its parent.
pub(crate) fn wait_for_the_parent_to_die() {
    let parent = std::env::var(PARENT).unwrap();
    eventually(LIMIT, "the parent's death", || {
        std::os::unix::process::parent_id().to_string() != parent
    });
    tell("init");
}

#[test]
fn a_process_that_is_no_daemon_outlives_its_parent() {
    let mut parent = Child::start("has_an_orphan", &[]);
    parent.expect("started");
    parent.kill_only();
    parent.expect("survived");
}

pub(crate) fn has_an_orphan(_: &[String]) {
    let f = |_: ()| {
        let parent = parent_process().unwrap();
        tell("started");
        eventually(LIMIT, "the parent's death", || !parent.is_alive());
        tell("survived");
    };
    let _ = Process::spawn(f, ()).unwrap().join();
}

#[test]
fn what_a_daemon_starts_is_no_daemon_unless_it_says_so() {
    fn outlive([started, survived]: [Event; 2]) {
        let parent = parent_process().unwrap();
        started.set();
        eventually(LIMIT, "the parent's death", || !parent.is_alive());
        survived.set();
    }
    fn start(events: [Event; 2]) {
        let _ = Process::spawn(outlive, events).unwrap().join();
    }
    let segment = Segment::anonymous(1 << 16).unwrap();
    let [started, survived] =
        ["started", "survived"].map(|name| Event::create(&segment, name).unwrap());
    let daemon = Process::builder(start, [started.clone(), survived.clone()]).daemon(true);
    let daemon = daemon.spawn().unwrap();
    started.wait_timeout(LIMIT).unwrap();
    daemon.kill().unwrap();
    assert!(daemon.join().is_err());
    survived.wait_timeout(LIMIT).unwrap();
}

#[test]
fn a_process_runs_though_its_parent_ended_as_soon_as_it_was_started() {
    for _ in 0..10 {
        Child::start("ends_at_once", &[]).expect("ran");
    }
}

pub(crate) fn ends_at_once(_: &[String]) {
    let p = Process::spawn(|_: ()| tell("ran"), ()).unwrap();
    drop(p);
    std::process::exit(0);
}

#[test]
fn who_ignores_his_children_or_waits_for_any_has_the_results_all_the_same() {
    Child::start("ignores_its_children", &[]).finish();
}

pub(crate) fn ignores_its_children(_: &[String]) {
    let results = |n: u32| {
        for i in 0..n {
            let p = Process::spawn(|n: u32| n + 1, i).unwrap();
            assert_eq!(p.join().unwrap(), i + 1);
            assert!(!p.is_alive());
            let p = Process::spawn(|_: ()| -> u8 { std::process::exit(3) }, ()).unwrap();
            let e = p.join().unwrap_err();
            assert!(
                matches!(
                    e,
                    Error::Exited {
                        code: None | Some(3),
                        began: true
                    }
                ),
                "{e}"
            );
        }
    };
    let is_over = AtomicBool::new(false);
    std::thread::scope(|s| {
        s.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                // SAFETY: takes the answers that are meant for others.
                unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) };
            }
        });
        let _over = Over(&is_over);
        results(10);
    });
    // SAFETY: plain call.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    results(10);
}

#[test]
fn who_closes_descriptors_that_are_not_his_is_told_so_and_no_file_is_harmed() {
    Child::start("closes_all", &[]).finish();
}

/// Whether the thread that starts processes waits for something to do.
fn nursery_sleeps() -> bool {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let read = |task: &Path, what| std::fs::read_to_string(task.join(what)).unwrap_or_default();
    tasks.flatten().map(|task| task.path()).any(|task| {
        let call = libc::SYS_ppoll.to_string();
        read(&task, "comm").starts_with("commonhold-nurs")
            && read(&task, "syscall").split(' ').next() == Some(&call)
    })
}

/// As daemons do that close all they have, though they have started processes.
pub(crate) fn closes_all(_: &[String]) {
    Process::spawn(|_: ()| (), ()).unwrap().join().unwrap();
    eventually(LIMIT, "the nursery sleeps", nursery_sleeps);
    // SAFETY: closes what others think is theirs: that is what is tested.
    unsafe { libc::close_range(3, u32::MAX, 0) };
    let name = Name::new("files");
    let path = name.path();
    // One of them has the number of what was closed.
    let files: Vec<_> = (0..8).map(|_| File::create(&path).unwrap()).collect();
    let e = Process::spawn(|_: ()| (), ()).unwrap_err();
    assert!(e.to_string().contains("closed"), "{e}");
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
    drop(files);
}

#[test]
fn a_forked_child_starts_processes_of_its_own_and_can_wait_for_its_parents() {
    let before = Process::spawn(|_: ()| 7u32, ()).unwrap();
    before.join().unwrap();
    let running = Process::builder(|_: ()| drop(listen()), ());
    let running = running
        .stdin(commonhold::process::Stdio::piped())
        .spawn()
        .unwrap();
    Forked::start(|| {
        let p = Process::spawn(|n: u32| n + 1, 1).unwrap();
        assert_eq!(p.join().unwrap(), 2);
        assert_eq!(before.join().unwrap(), 7);
        let e = running.join_timeout(Duration::ZERO).unwrap_err();
        assert!(matches!(e, Error::Timeout), "{e}");
        assert!(commonhold::process::active_children().is_empty());
        assert_eq!(parent_process(), None);
    })
    .finish();
    running.kill().unwrap();
    let _ = running.join();
}

#[test]
fn a_child_that_is_forked_while_others_start_processes_can_start_one() {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|s| {
        s.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                Process::spawn(|_: ()| (), ()).unwrap().join().unwrap();
            }
        });
        let _over = Over(&is_over);
        for i in 0..20u32 {
            let f = || {
                let p = Process::spawn(|n: u32| n + 1, i).unwrap();
                assert_eq!(p.join_timeout(LIMIT).unwrap(), i + 1);
            };
            Forked::start(f).finish();
        }
    });
}
