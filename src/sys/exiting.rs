//! Whether a process that is still dying can act no more, by what `/proc` says of it.
//!
//! A process's record locks go after its memory, which takes some 80 ms for each GiB that it has in use. Its threads lose their address
//! space before that is taken apart, mostly a fifth of a millisecond after a SIGKILL, and a thread without one runs no code of its own, ever again. The
//! kernel shows that: a thread that has lost its address space is 0 bytes long.
//!
//! This is only ever a shorter way to what the record lock says later. Where it is closed (no `/proc`, one that hides other
//! users' processes, another pid namespace, too many threads), and in all doubt, the answer is that the process may live.
//!
//! # Why it is a proof
//! - *It is the process in question.* A process id means something in one pid namespace only, and is used again. So a member leaves beside
//!   its id an [`Identity`]: the namespace, by its inode, and when the process began, by the kernel's clock tick. Ours must be the same
//!   namespace, and today's `/proc` show it; the process under that id must have begun in the same tick. While the member lives, that is
//!   the member: nobody else in its namespace has its id.
//! - *It is every thread.* An exiting one makes no others. If the first is exiting and without memory, and the only one, that is
//!   all. Otherwise the kernel is asked for the list, after it for each thread, and both once more: the lists must be the same, and each thread
//!   in them exiting, without memory, and still there. (One that is gone may have cut the list short: the kernel goes from one
//!   thread to the next.) A thread that could still write when the second list was complete would be in it, so it would be in the first, and
//!   had no memory already.
//! - *It is for ever.* Only `exec` gives a thread another address space: it puts the calling thread in the place of the first one, and
//!   whatever it was called from runs no more.
//!
//! # What it does not see
//! - *A process that was cloned with the same memory, and is no thread.* The child of a `vfork` goes on to `exec` by itself, and has no
//!   business in the region meanwhile. Others (`CLONE_VM` without `CLONE_THREAD`) must not use a segment that the other has attached.
//! - *What the kernel writes on a process's behalf* after its threads are gone: an asynchronous read (libaio, io_uring, RDMA) straight into the region. The
//!   record lock waits for libaio's, and not for all of the others.
//!
//! A look is some 5 µs. If the process loses its memory while the kernel answers, the one who looks may be the one to take the memory apart.

use super::fork::{ForkPage, NoForks};
use std::fs::File;
use std::io::{ErrorKind, Read, Result};
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

/// More threads than this are not asked after: each takes two calls of some microseconds, and the kernel gives a list in pieces, which
/// must be one (musl's are of 62 threads, or more).
const MOST_THREADS: usize = 60;
/// The flag of a thread that is on its way out (`PF_EXITING` of the kernel's sched.h; proc(5) lists the field as the 9th of stat).
const EXITING: u64 = 4;

/// Which process an id meant: its pid namespace's inode in the upper half, the tick in which it began in the lower. 0: nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity(pub(crate) u64);

impl Identity {
    const UNKNOWN: Identity = Identity(0);

    fn new(namespace: u32, began: u64) -> Identity {
        Identity(u64::from(namespace) << 32 | began & u64::from(u32::MAX))
    }

    fn namespace(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Of this process. Its first call reads two files. No fork may come in between: a forked child is to find all or nothing.
    pub(crate) fn own(_no_forks: &NoForks) -> Identity {
        let Some(page) = PAGE.get_or_init(|| ForkPage::new().ok()) else {
            return Identity::UNKNOWN;
        };
        // Relaxed, here and below: the number is all.
        let identity = &page.get().identity;
        if identity.load(Ordering::Relaxed) == 0 {
            let own = Identity::read().unwrap_or(Identity::UNKNOWN);
            identity.store(own.0, Ordering::Relaxed);
        }
        Identity(identity.load(Ordering::Relaxed))
    }

    /// As [`own`](Self::own), if that was called in this process.
    fn known() -> Identity {
        let page = PAGE.get().and_then(Option::as_ref);
        Identity(page.map_or(0, |page| page.get().identity.load(Ordering::Relaxed)))
    }

    /// `/proc/self` is this process, of whatever namespace that `/proc` is.
    fn read() -> Option<Identity> {
        let began = stat("/proc/self/stat")?.began;
        Some(Identity::new(own_namespace()?, began))
    }

    /// Of a process in our namespace.
    #[cfg(test)]
    pub(crate) fn of(pid: u32) -> Option<Identity> {
        let began = stat(&format!("/proc/{pid}/stat"))?.began;
        Some(Identity::new(own_namespace()?, began))
    }
}

/// A forked child has it, too, but reads 0 there: its id does not tell it from its parent, if both are the first of their pid namespaces.
static PAGE: OnceLock<Option<ForkPage>> = OnceLock::new();

fn own_namespace() -> Option<u32> {
    let inode = std::fs::metadata("/proc/self/ns/pid").ok()?.ino();
    u32::try_from(inode).ok()
}

/// Whether the process ids in today's `/proc` are those of this pid namespace.
fn shows(namespace: u32) -> bool {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else {
        return false;
    };
    // All ids that we have, from that in the namespace of this /proc to that in our own: one, if they are the same.
    let ids = status.lines().find_map(|l| l.strip_prefix("NSpid:"));
    ids.is_some_and(|ids| ids.trim().parse() == Ok(std::process::id()))
        && own_namespace() == Some(namespace)
}

/// What `/proc` says of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It can write to no memory any more.
    Gone,
    /// It may live, or nobody knows.
    MayLive,
    /// We must not look.
    Denied,
}

/// Asks after the process that left this id and identity.
pub(crate) fn ask_after(pid: u32, identity: Identity) -> Answer {
    let namespace = identity.namespace();
    if pid == 0 || namespace == 0 || Identity::known().namespace() != namespace {
        return Answer::MayLive;
    }
    match is_without_memory(&format!("/proc/{pid}/statm")) {
        Ok(true) => {}
        // By far the most answers end here.
        Ok(false) => return Answer::MayLive,
        Err(e) if e.kind() == ErrorKind::PermissionDenied => return Answer::Denied,
        Err(_) => return Answer::MayLive,
    }
    let gone = stat(&format!("/proc/{pid}/stat")).is_some_and(|first| {
        first.is_gone()
            && Identity::new(namespace, first.began) == identity
            && (first.threads == 1 || is_each_thread_gone(pid))
            && shows(namespace)
    });
    if gone { Answer::Gone } else { Answer::MayLive }
}

fn is_each_thread_gone(pid: u32) -> bool {
    let is_gone = |tid: u32| {
        stat(&format!("/proc/{pid}/task/{tid}/stat")).is_some_and(|thread| thread.is_gone())
    };
    are_all_gone(|| threads(pid), is_gone)
}

/// Whether the list of the threads is twice the same, and all in it are gone each time.
fn are_all_gone(mut list: impl FnMut() -> Option<Vec<u32>>, is_gone: impl Fn(u32) -> bool) -> bool {
    let mut look = || list().filter(|tids| tids.iter().all(|&tid| is_gone(tid)));
    look().is_some_and(|first| look() == Some(first))
}

/// The ids of a process's threads, in order.
fn threads(pid: u32) -> Option<Vec<u32>> {
    let mut tids = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        // Between two pieces some may slip through.
        if tids.len() == MOST_THREADS {
            return None;
        }
        tids.push(entry.ok()?.file_name().to_str()?.parse().ok()?);
    }
    tids.sort_unstable();
    Some(tids)
}

/// Whether a statm file, read anew, says that its thread has no address space.
fn is_without_memory(statm: &str) -> Result<bool> {
    let mut bytes = [0; 128];
    let pages = read(statm, &mut bytes)?.split_ascii_whitespace().next();
    Ok(pages == Some("0"))
}

/// What a stat file tells of a thread.
#[derive(Debug)]
struct Stat {
    flags: u64,
    threads: u64,
    began: u64,
    /// Bytes of its address space.
    memory: u64,
}

impl Stat {
    fn is_gone(&self) -> bool {
        self.flags & EXITING != 0 && self.memory == 0
    }
}

fn stat(path: &str) -> Option<Stat> {
    // Half of it would do for the fields that are read; a name has 64 bytes at the most.
    let mut bytes = [0; 1024];
    Stat::parse(read(path, &mut bytes).ok()?)
}

impl Stat {
    fn parse(text: &str) -> Option<Stat> {
        // The name stands in parentheses, and may have some of its own.
        let (_, after) = text.rsplit_once(") ")?;
        let mut fields = after.split_ascii_whitespace();
        // The fields as proc(5) counts them, of which `after` begins with the third.
        let mut at = 3;
        let mut field = |number: usize| {
            let found = fields.nth(number - at)?;
            at = number + 1;
            found.parse().ok()
        };
        Some(Stat {
            flags: field(9)?,
            threads: field(20)?,
            began: field(22)?,
            memory: field(23)?,
        })
    }
}

/// What a file of `/proc` holds: these few bytes come in one piece.
fn read<'a>(path: &str, bytes: &'a mut [u8]) -> Result<&'a str> {
    let len = File::open(path)?.read(bytes)?;
    std::str::from_utf8(&bytes[..len]).map_err(|_| ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fork::keep_forks_out;
    use std::time::{Duration, Instant};

    /// A child of this test, as a stranger sees it.
    struct Other(u32);

    extern "C" fn for_ever(_: *mut libc::c_void) -> *mut libc::c_void {
        loop {
            // SAFETY: the call sleeps.
            unsafe { libc::pause() };
        }
    }

    fn own() -> Identity {
        Identity::own(&keep_forks_out())
    }

    impl Other {
        /// One that sleeps, with so many more threads; its first thread ends if it is not to `stay`.
        fn new(more: usize, stay: bool) -> Other {
            // SAFETY: the child makes system calls, and threads that do no more than that.
            unsafe {
                let pid = libc::fork();
                assert!(pid >= 0);
                if pid == 0 {
                    // Whatever becomes of the test.
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                    for _ in 0..more {
                        let (mut thread, none) = (0, std::ptr::null_mut());
                        libc::pthread_create(&raw mut thread, std::ptr::null(), for_ever, none);
                    }
                    if stay {
                        for_ever(std::ptr::null_mut());
                    }
                    libc::syscall(libc::SYS_exit, 0);
                }
                let other = Other(pid as u32);
                other.wait_until(|| other.tids().len() == 1 + more);
                other
            }
        }

        fn wait_until(&self, is_so: impl Fn() -> bool) {
            let start = Instant::now();
            while !is_so() {
                assert!(start.elapsed() < Duration::from_secs(60), "it never was");
                std::thread::yield_now();
            }
        }

        fn tids(&self) -> Vec<u32> {
            threads(self.0).unwrap()
        }

        fn stat(&self, tid: u32) -> Stat {
            stat(&format!("/proc/{}/task/{tid}/stat", self.0)).unwrap()
        }

        fn identity(&self) -> Identity {
            Identity::of(self.0).unwrap()
        }

        fn is_gone(&self, identity: Identity) -> bool {
            own();
            ask_after(self.0, identity) == Answer::Gone
        }

        fn kill(&self) {
            // SAFETY: a child of ours that was not reaped.
            assert_eq!(unsafe { libc::kill(self.0 as i32, libc::SIGKILL) }, 0);
        }

        /// Kills it, and waits until it is a zombie, which has an id but no memory.
        fn die(&self) {
            self.kill();
            self.wait_until(|| self.stat(self.0).is_gone());
        }

        fn reap(&self) {
            // SAFETY: a child of ours; nobody asks for its status.
            unsafe { libc::waitpid(self.0 as i32, std::ptr::null_mut(), 0) };
        }
    }

    impl Drop for Other {
        fn drop(&mut self) {
            self.kill();
            self.reap();
        }
    }

    #[test]
    fn we_know_ourselves_and_are_not_gone() {
        let own = own();
        assert_ne!(own, Identity::UNKNOWN, "tests have a /proc");
        assert_eq!(
            (own, own),
            (Identity::known(), Identity::of(std::process::id()).unwrap())
        );
        assert!(shows(own.namespace()));
        assert!(!shows(own.namespace() ^ 1));
        assert_eq!(ask_after(std::process::id(), own), Answer::MayLive);
    }

    #[test]
    fn a_forked_child_does_not_take_itself_for_its_parent() {
        assert_ne!(own(), Identity::UNKNOWN);
        // SAFETY: the child reads a word, and ends.
        let child = unsafe {
            let pid = libc::fork();
            assert!(pid >= 0);
            if pid == 0 {
                libc::_exit((Identity::known() == Identity::UNKNOWN).into());
            }
            pid
        };
        let mut status = 0;
        // SAFETY: a child of ours, and a place for its status.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(
            (libc::WIFEXITED(status), libc::WEXITSTATUS(status)),
            (true, 1)
        );
    }

    #[test]
    fn threads_are_gone_if_the_list_is_twice_the_same_and_all_in_it_are_gone() {
        let gone_are = |lists: [Option<&[u32]>; 2], gone: &[u32]| {
            let mut lists = lists.into_iter();
            let list = || {
                lists
                    .next()
                    .expect("two are asked for")
                    .map(<[u32]>::to_vec)
            };
            are_all_gone(list, |tid| gone.contains(&tid))
        };
        let (both, first): (&[u32], &[u32]) = (&[7, 8], &[7]);
        assert!(gone_are([Some(both), Some(both)], both));
        assert!(!gone_are([Some(both), Some(both)], first));
        assert!(
            !gone_are([Some(first), Some(both)], both),
            "one slipped through the first list"
        );
        assert!(
            !gone_are([Some(both), Some(first)], both),
            "the second list was cut short"
        );
        assert!(!gone_are([Some(both), None], both));
        assert!(!gone_are([None, None], both));
    }

    #[test]
    fn a_process_is_gone_when_it_has_no_memory_and_not_before() {
        let other = Other::new(0, true);
        let identity = other.identity();
        assert!(!other.is_gone(identity));
        other.die();
        assert!(other.is_gone(identity));
    }

    #[test]
    fn another_process_of_the_same_id_says_nothing() {
        let other = Other::new(0, true);
        let Identity(identity) = other.identity();
        other.die();
        for another in [identity ^ 1, identity ^ 1 << 32, 0] {
            assert!(!other.is_gone(Identity(another)), "{another:#x}");
        }
        assert_eq!(ask_after(0, Identity(identity)), Answer::MayLive);
    }

    #[test]
    fn a_process_whose_first_thread_has_ended_lives_on_in_the_others() {
        let other = Other::new(1, false);
        let identity = other.identity();
        other.wait_until(|| other.stat(other.0).is_gone());
        assert!(!other.is_gone(identity));
        assert_eq!(other.tids().len(), 2);
    }

    #[test]
    fn a_process_whose_threads_are_all_zombies_is_gone() {
        let other = Other::new(1, false);
        let identity = other.identity();
        other.wait_until(|| other.stat(other.0).is_gone());
        let second = other.tids().into_iter().find(|t| *t != other.0).unwrap();
        // SAFETY: the call takes numbers. A thread that is traced stays until its tracer, this thread, has heard of its end.
        if unsafe { libc::ptrace(libc::PTRACE_SEIZE, second as i32, 0, 0) } != 0 {
            eprintln!("SKIPPED: no ptrace here");
            return;
        }
        other.kill();
        other.wait_until(|| other.stat(second).is_gone());
        assert_eq!((other.stat(other.0).threads, other.tids().len()), (2, 2));
        assert!(other.is_gone(identity));
        // SAFETY: a thread that we trace.
        unsafe { libc::waitpid(second as i32, std::ptr::null_mut(), libc::__WALL) };
    }

    #[test]
    fn a_name_with_parentheses_and_spaces_is_no_field() {
        let text = "7 (a) R (b) S 1 7 7 0 -1 4194308 1 0 0 0 0 0 0 0 20 0 3 0 9876 4096 5 rest";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.flags, stat.threads), (4194308, 3));
        assert_eq!((stat.began, stat.memory), (9876, 4096));
        assert!(!stat.is_gone());
        assert!(Stat::parse("7 (cut off) S 1 7").is_none());
        assert!(Stat::parse("").is_none());
    }
}
