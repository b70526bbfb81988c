//! Processes that die, or that never become what they were to be.

use crate::BEFORE_INIT;
use crate::support::{self, Child, command, eventually, role_command, tell, this_program};
use commonhold::Error;
use commonhold::process::Process;
use std::ffi::CString;
use std::fs::{File, Permissions};
use std::io::{ErrorKind, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

fn end_of(f: fn(()) -> u8) -> (Error, Option<i32>) {
    let p = Process::spawn(f, ()).unwrap();
    (p.join().unwrap_err(), p.exit_code())
}

#[test]
fn an_exit_is_an_error_with_its_code() {
    for (f, expected) in [
        ((|_| std::process::exit(3)) as fn(()) -> u8, 3),
        (|_| std::process::exit(0), 0),
        // SAFETY: ends the process at once.
        (|_| unsafe { libc::_exit(255) }, 255),
    ] {
        let (e, code) = end_of(f);
        assert!(
            matches!(e, Error::Exited { code: Some(c), began: true } if c == expected),
            "{e}"
        );
        assert_eq!(code, Some(expected));
    }
}

#[test]
fn a_signal_is_an_error_with_its_number() {
    fn raise(signal: i32) -> u8 {
        // SAFETY: plain calls; the core that would be dumped is of no use.
        unsafe {
            libc::prctl(libc::PR_SET_DUMPABLE, 0);
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        }
        0
    }
    for signal in [
        libc::SIGKILL,
        libc::SIGSEGV,
        libc::SIGTERM,
        libc::SIGABRT,
        libc::SIGXCPU,
    ] {
        let p = Process::spawn(raise, signal).unwrap();
        let e = p.join().unwrap_err();
        assert!(
            matches!(e, Error::Killed { signal: s } if s == signal),
            "{e}"
        );
        assert_eq!(p.exit_code(), Some(-signal));
    }
    let (e, _) = end_of(|_| std::process::abort());
    assert!(
        matches!(
            e,
            Error::Killed {
                signal: libc::SIGABRT
            }
        ),
        "{e}"
    );
}

#[test]
fn a_stack_that_overflows_is_an_error() {
    fn deeper(n: u64) -> u64 {
        let room = std::hint::black_box([n; 1000]);
        if std::hint::black_box(n) == u64::MAX {
            return n;
        }
        deeper(room[999] + 1) + room[0]
    }
    let e = Process::spawn(deeper, 0).unwrap().join().unwrap_err();
    assert!(matches!(e, Error::Killed { .. }), "{e}");
}

#[test]
fn a_process_that_dies_at_its_exit_has_a_result_all_the_same() {
    extern "C" fn die() {
        // SAFETY: plain call.
        unsafe { libc::raise(libc::SIGKILL) };
    }
    let f = |_: ()| {
        // SAFETY: the handler is a function of this program.
        unsafe { libc::atexit(die) };
        7u8
    };
    let p = Process::spawn(f, ()).unwrap();
    assert_eq!(p.join().unwrap(), 7);
    assert_eq!(p.exit_code(), Some(-libc::SIGKILL));
}

#[test]
fn a_process_that_ends_before_init_is_an_error_that_says_so() {
    let start = |what| {
        let p = Process::builder(|_: ()| (), ()).env(BEFORE_INIT, what);
        p.spawn().unwrap().join().unwrap_err()
    };
    let e = start("exit");
    assert!(
        matches!(
            e,
            Error::Exited {
                code: Some(0),
                began: false
            }
        ),
        "{e}"
    );
    assert!(e.to_string().contains("init()"), "{e}");
    let e = start("abort");
    assert!(
        matches!(
            e,
            Error::Killed {
                signal: libc::SIGABRT
            }
        ),
        "{e}"
    );
    // It runs its main as if nobody had sent it anything: here, the harness, which does not know that option.
    let e = start("never");
    assert!(
        matches!(
            e,
            Error::Exited {
                code: Some(101),
                began: false
            }
        ),
        "{e}"
    );
}

#[test]
fn a_function_that_closes_what_is_not_its_own_harms_no_other_file() {
    let f = |path: PathBuf| {
        // SAFETY: closes what others think is theirs: that is what is tested.
        unsafe { libc::close_range(3, u32::MAX, 0) };
        let files: Vec<File> = (0..8).map(|_| File::create(&path).unwrap()).collect();
        std::mem::forget(files);
        vec![1u8; 1 << 16]
    };
    let name = support::Name::new("closed");
    let path = name.path();
    let e = Process::spawn(f, path.clone()).unwrap().join().unwrap_err();
    assert!(
        matches!(
            e,
            Error::Exited {
                code: Some(113),
                began: true
            }
        ),
        "{e}"
    );
    assert_eq!(std::fs::metadata(path).unwrap().len(), 0);
}

#[test]
fn a_function_that_calls_init_again_goes_on() {
    let f = |n: u32| {
        commonhold::process::init();
        n + 1
    };
    assert_eq!(Process::spawn(f, 1).unwrap().join().unwrap(), 2);
}

#[test]
fn who_may_not_wait_for_his_children_is_told_when_he_spawns() {
    Child::start("may_not_wait", &[]).finish();
}

/// As in a sandbox whose rules know none of the newer calls.
pub(crate) fn may_not_wait(_: &[String]) {
    if !support::forbid(libc::SYS_waitid, libc::EPERM) {
        return;
    }
    let sleep = |_: ()| std::thread::sleep(Duration::from_secs(100));
    let e = Process::spawn(sleep, ()).unwrap_err();
    assert!(e.to_string().contains("can't be started again"), "{e}");
    // SAFETY: plain call. Nobody is left of it.
    let r = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) };
    assert_eq!(r, -1);
}

#[test]
fn a_program_that_did_not_call_init_cannot_spawn() {
    let mut program = command(&this_program());
    program.env(BEFORE_INIT, "never");
    Child::start_by(program, "spawn_without_init", &[]).finish();
}

pub(crate) fn spawn_without_init(_: &[String]) {
    let e = Process::spawn(|_: ()| (), ()).unwrap_err();
    assert!(matches!(e, Error::NotInitialised), "{e}");
    assert!(e.to_string().contains("commonhold::process::init()"), "{e}");
}

#[test]
fn a_program_that_is_started_by_way_of_a_loader_says_why_it_cannot_spawn() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let paths = maps.lines().filter_map(|line| line.split(' ').next_back());
    let Some(loader) = paths.into_iter().find(|path| path.contains("/ld-")) else {
        eprintln!("SKIPPED, loaders: this program has none");
        return;
    };
    let mut words = this_program();
    words.insert(words.len() - 1, loader.into());
    Child::start_by(command(&words), "spawn_by_a_loader", &[]).finish();
}

pub(crate) fn spawn_by_a_loader(_: &[String]) {
    let e = Process::spawn(|_: ()| (), ()).unwrap_err();
    assert!(matches!(e, Error::NotInExecutable), "{e}");
    assert!(e.to_string().contains("loader"), "{e}");
}

/// Runs a program that was just written. What another thread of ours is just starting may still have the file open for writing, for as long as it
/// takes to start.
fn run_copy(mut program: Command) -> Output {
    let mut output = None;
    eventually(
        Duration::from_secs(30),
        "nobody writes the program",
        || match program.output() {
            Err(e) if e.kind() == ErrorKind::ExecutableFileBusy => false,
            other => {
                output = Some(other.unwrap());
                true
            }
        },
    );
    output.unwrap()
}

/// A copy of this test binary, for itself.
fn copy_of_this_program(what: &str) -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let copy = exe.with_file_name(format!("copy-{}-{what}", std::process::id()));
    std::fs::copy(exe, &copy).unwrap();
    copy
}

#[test]
fn a_program_whose_file_is_replaced_starts_what_it_is_itself() {
    let copy = copy_of_this_program("replaced");
    let path = copy.to_str().unwrap();
    let output = run_copy(role_command(
        Command::new(&copy),
        "exe_is_replaced",
        &[path],
    ));
    std::fs::remove_file(&copy).unwrap();
    assert!(output.status.success(), "{output:?}");
}

pub(crate) fn exe_is_replaced(args: &[String]) {
    let start = || Process::spawn(|n: u32| n + 1, 1).unwrap().join().unwrap();
    assert_eq!(start(), 2);
    std::fs::rename(&args[0], format!("{}.moved", args[0])).unwrap();
    assert_eq!(start(), 2, "moved");
    std::fs::remove_file(format!("{}.moved", args[0])).unwrap();
    assert_eq!(start(), 2, "removed");
    std::fs::write(&args[0], "#!/bin/false\n").unwrap();
    assert_eq!(start(), 2, "replaced");
}

#[test]
fn a_program_that_is_not_the_parents_any_more_runs_no_function() {
    let copy = copy_of_this_program("touched");
    let mut program = Command::new(&copy);
    program.arg0("another-name");
    let output = run_copy(role_command(program, "exe_is_touched", &[]));
    std::fs::remove_file(&copy).unwrap();
    assert!(output.status.success(), "{output:?}");
}

pub(crate) fn exe_is_touched(_: &[String]) {
    let start = |what| {
        let p = Process::builder(|_: ()| (), ()).env(BEFORE_INIT, what);
        p.spawn().unwrap().join()
    };
    start("nothing").unwrap();
    let e = start("touch").unwrap_err();
    assert!(matches!(e, Error::OtherExecutable), "{e}");
    tell("done");
}

/// The nearest thing to another program under the same name: the kernel lets nobody write into one that runs.
pub(crate) fn touch_own_executable() {
    let exe = File::open("/proc/self/exe").unwrap();
    exe.set_modified(SystemTime::UNIX_EPOCH).unwrap();
}

#[test]
fn a_letter_that_nobody_wrote_runs_nothing() {
    // SAFETY: the name is a C string, and the descriptor is new.
    let forged = unsafe {
        let fd = libc::memfd_create(c"forged".as_ptr(), 0);
        File::from(OwnedFd::from_raw_fd(fd))
    };
    (&forged).write_all(&[0x5a; 4096]).unwrap();
    let numbers = [
        forged.as_raw_fd().to_string(),
        "0".to_owned(),
        "987".to_owned(),
        "-1".to_owned(),
        "99999999999".to_owned(),
        String::new(),
    ];
    for number in numbers {
        let mut program = command(&this_program());
        program.arg(format!("--commonhold-process={number}"));
        let output = program.stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(113), "{number:?}: {output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("can't"), "{number:?}: {said}");
        assert!(output.stdout.is_empty(), "{number:?}: {output:?}");
    }
}

/// Leaves a copy of its own letter in a file, and says in another that it ran.
fn copy_letter((copy, ran): (PathBuf, PathBuf)) {
    let argument = std::env::args().nth(1).unwrap();
    let number = argument.strip_prefix("--commonhold-process=").unwrap();
    std::fs::copy(format!("/proc/self/fd/{number}"), copy).unwrap();
    let ran = File::options().create(true).append(true).open(ran);
    ran.unwrap().write_all(b"x").unwrap();
}

#[test]
fn a_letter_is_believed_from_no_file_that_has_a_name_and_not_from_standard_input() {
    let (copy, ran) = (support::Name::new("letter"), support::Name::new("ran"));
    let args = (copy.path(), ran.path());
    Process::spawn(copy_letter, args).unwrap().join().unwrap();
    let bytes = std::fs::read(copy.path()).unwrap();
    // A file that somebody may have left, and one that nobody has the name of.
    let named = || File::options().read(true).write(true).open(copy.path());
    // SAFETY: the name is a C string, and the descriptor is new.
    let unnamed = unsafe { File::from_raw_fd(libc::memfd_create(c"forged".as_ptr(), 0)) };
    (&unnamed).write_all(&bytes).unwrap();
    let mut by_input = command(&this_program());
    by_input.stdin(unnamed).arg("--commonhold-process=0");
    let mut by_name = command(&this_program());
    let inherited = named().unwrap();
    by_name.arg("--commonhold-process=100");
    // SAFETY: one system call.
    unsafe {
        by_name.pre_exec(move || match libc::dup2(inherited.as_raw_fd(), 100) {
            100 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    for mut program in [by_input, by_name] {
        let output = program.output().unwrap();
        assert_eq!(output.status.code(), Some(113), "{output:?}");
    }
    assert_eq!(std::fs::read(ran.path()).unwrap(), b"x", "it ran once");
}

#[test]
fn a_letter_of_another_user_runs_nothing() {
    // SAFETY: plain call.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("SKIPPED, letters of other users: only root can be another user");
        return;
    }
    let (copy, ran) = (support::Name::new("letter"), support::Name::new("ran"));
    let args = (copy.path(), ran.path());
    Process::spawn(copy_letter, args).unwrap().join().unwrap();
    // SAFETY: the name is a C string, and the descriptor is new.
    let theirs = unsafe { File::from_raw_fd(libc::memfd_create(c"forged".as_ptr(), 0)) };
    std::io::copy(&mut File::open(copy.path()).unwrap(), &mut &theirs).unwrap();
    if std::os::unix::fs::fchown(&theirs, Some(65534), None).is_err() {
        eprintln!("SKIPPED, letters of other users: there is no other user here");
        return;
    }
    let number = theirs.as_raw_fd();
    let mut program = command(&this_program());
    program.arg(format!("--commonhold-process={number}"));
    let output = program.output().unwrap();
    assert_eq!(output.status.code(), Some(113), "{output:?}");
    assert_eq!(std::fs::read(ran.path()).unwrap(), b"x", "it ran once");
}

#[test]
fn a_program_with_other_rights_than_those_of_who_starts_it_believes_no_letter() {
    let copy = copy_of_this_program("set-user-id");
    let nobody = Some(65534);
    let is_made = std::os::unix::fs::chown(&copy, nobody, nobody).is_ok()
        && std::fs::set_permissions(&copy, Permissions::from_mode(0o4755)).is_ok();
    let mut program = Command::new(&copy);
    program.arg("--commonhold-process=0");
    let output = run_copy(program);
    std::fs::remove_file(&copy).unwrap();
    assert_eq!(output.status.code(), Some(113), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    if is_made && is_root_and_heeds_set_user_id(&copy) {
        assert!(said.contains("set-user-id"), "{said}");
    } else {
        eprintln!("SKIPPED, set-user-id programs: they can't be made here");
    }
}

/// Only root can give a file away, and its bit counts only where the file system is not mounted `nosuid` and this process may win rights (some
/// containers forbid it).
fn is_root_and_heeds_set_user_id(path: &Path) -> bool {
    let directory = CString::new(path.parent().unwrap().as_os_str().as_bytes()).unwrap();
    // SAFETY: zero bytes are a valid statvfs, which the call fills in; the path is a C string.
    unsafe {
        let mut of: libc::statvfs = std::mem::zeroed();
        assert_eq!(libc::statvfs(directory.as_ptr(), &raw mut of), 0);
        libc::geteuid() == 0
            && of.f_flag & libc::ST_NOSUID == 0
            && libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0
    }
}
