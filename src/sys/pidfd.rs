//! Descriptors of processes: a child is waited for and signalled by what nobody else can be given meanwhile, unlike its number.

use super::deadline::{Deadline, now};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Somebody else in this process took the answer.
    Unknown,
}

/// How long a wait that the kernel refuses sleeps instead.
const NAP: Duration = Duration::from_millis(5);

/// The descriptor of the child that was just started under that number. None: it has ended already, and other code of this process took the
/// answer. (Then the number may be another process's by now.)
pub(crate) fn open(pid: u32) -> io::Result<Option<OwnedFd>> {
    // SAFETY: plain system call.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid as libc::pid_t, 0) };
    if fd < 0 {
        return match io::Error::last_os_error() {
            e if e.raw_os_error() == Some(libc::ESRCH) => Ok(None),
            e => Err(e),
        };
    }
    // SAFETY: the kernel just gave us this descriptor. (It sets FD_CLOEXEC by itself.)
    let pidfd = unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) };
    // Leaves the answer where it is.
    match wait(&pidfd, libc::WNOWAIT) {
        Ok(_) => Ok(Some(pidfd)),
        // No child of ours: its number was given to another process.
        Err(e) if e.raw_os_error() == Some(libc::ECHILD) => Ok(None),
        // A sandbox that forbids it, say: nobody would know when it ends.
        Err(e) => Err(e),
    }
}

/// Sends a signal. None is sent to a process that has ended, and that is no error.
pub(crate) fn send_signal(pidfd: &OwnedFd, signal: i32) -> io::Result<()> {
    // SAFETY: plain system call, without a siginfo.
    let r = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if r == 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        e if e.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        e => Err(e),
    }
}

/// How the child ended. None: it has not, or its end is first for whoever traces it.
pub(crate) fn reap(pidfd: &OwnedFd) -> Option<Exit> {
    let Ok(info) = wait(pidfd, 0) else {
        // It is no child of ours any more: whether it lives, its descriptor says.
        return has_ended(pidfd.as_fd()).then_some(Exit::Unknown);
    };
    // SAFETY: waitid filled the fields that it fills for a child, or left them zero.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    match info.si_code {
        _ if pid == 0 => None,
        libc::CLD_EXITED => Some(Exit::Code(status)),
        _ => Some(Exit::Signal(status)),
    }
}

/// Asks for the child's end without waiting for it.
fn wait(pidfd: &OwnedFd, how: libc::c_int) -> io::Result<libc::siginfo_t> {
    // SAFETY: zero bytes are a valid siginfo_t.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: `info` may be filled.
    let r = unsafe {
        libc::waitid(
            libc::P_PIDFD,
            pidfd.as_raw_fd() as libc::id_t,
            &raw mut info,
            libc::WEXITED | libc::WNOHANG | how,
        )
    };
    match r {
        0 => Ok(info),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Ends a child that has no descriptor, and takes its answer.
pub(crate) fn kill_and_reap(pid: u32) {
    let mut status = 0;
    // SAFETY: a child that was just started, and that nobody else knows of.
    unsafe {
        libc::kill(pid as libc::pid_t, libc::SIGKILL);
        while libc::waitpid(pid as libc::pid_t, &raw mut status, 0) < 0
            && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
        {}
    }
}

/// Whether the process has ended. Anybody may ask.
pub(crate) fn has_ended(pidfd: BorrowedFd<'_>) -> bool {
    let mut answer = [polled(&pidfd)];
    poll(&mut answer, Deadline::PASSED).is_ok() && answer[0].revents != 0
}

/// Sleeps until there may be something to be had from one of the descriptors, and calls `with` for each of which it is so. May return
/// earlier.
pub(crate) fn sleep_until_ready(
    descriptors: &[BorrowedFd<'_>],
    deadline: Deadline,
    mut with: impl FnMut(usize),
) {
    let mut all: Vec<_> = descriptors.iter().map(polled).collect();
    if poll(&mut all, deadline).is_err() {
        // More descriptors than RLIMIT_NOFILE now allows, say. Then each is asked now and then.
        nap(deadline);
        (0..all.len()).for_each(with);
        return;
    }
    for (i, one) in all.iter().enumerate() {
        if one.revents != 0 {
            with(i);
        }
    }
}

/// Sleeps a little, for lack of anything to wait for.
pub(crate) fn nap(deadline: Deadline) {
    let left = deadline.at().map_or(NAP, |at| at.saturating_sub(now()));
    std::thread::sleep(left.min(NAP));
}

fn polled(fd: &impl AsRawFd) -> libc::pollfd {
    libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    }
}

/// A signal that is handled ends the sleep, with nothing ready.
fn poll(all: &mut [libc::pollfd], deadline: Deadline) -> io::Result<()> {
    let left = deadline.at().map(|at| {
        let left = at.saturating_sub(now());
        libc::timespec {
            tv_sec: left.as_secs() as libc::time_t,
            tv_nsec: left.subsec_nanos() as _,
        }
    });
    let left = left.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: so many pollfds stand there; the time is a timespec or null; null for the mask keeps the thread's.
    let r = unsafe {
        libc::ppoll(
            all.as_mut_ptr(),
            all.len() as libc::nfds_t,
            left,
            std::ptr::null(),
        )
    };
    if r >= 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        e if e.kind() == io::ErrorKind::Interrupted => {
            all.iter_mut().for_each(|one| one.revents = 0);
            Ok(())
        }
        e => Err(e),
    }
}

/// What one thread rings and another sleeps on, beside the ends of processes.
#[derive(Debug)]
pub(crate) struct Bell {
    file: File,
    /// Its device and inode number, which it shares with other descriptors of the kind, and with no file.
    is: (u64, u64),
}

impl Bell {
    pub(crate) fn new() -> io::Result<Bell> {
        // SAFETY: plain system call.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just gave us this descriptor.
        let file = unsafe { File::from_raw_fd(fd) };
        let status = file.metadata()?;
        Ok(Bell {
            is: (status.dev(), status.ino()),
            file,
        })
    }

    /// Whether it can be rung: its descriptor may be closed behind our back, and the number be given to a file, which it must not write into.
    pub(crate) fn is_whole(&self) -> bool {
        let status = self.file.metadata();
        status.is_ok_and(|status| (status.dev(), status.ino()) == self.is)
    }

    pub(crate) fn ring(&self) {
        let one = 1u64;
        if self.is_whole() {
            // SAFETY: eight bytes stand there. A full counter (which fails) rings as well.
            unsafe { libc::write(self.file.as_raw_fd(), (&raw const one).cast(), 8) };
        }
    }

    /// From here on it sleeps again.
    pub(crate) fn silence(&self) {
        let mut count = 0u64;
        if self.is_whole() {
            // SAFETY: eight bytes may be written there. Where nobody has rung, it fails.
            unsafe { libc::read(self.file.as_raw_fd(), (&raw mut count).cast(), 8) };
        } else {
            nap(Deadline::NEVER);
        }
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
