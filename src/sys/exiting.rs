//! Whether a process that is still dying can act no more, by what `/proc` says of it.
//!
//! A process's record locks go after its memory, which takes some 80 ms for each GiB that it has in use. Its threads lose their address
//! space before that is taken apart, a fifth of a millisecond after a SIGKILL, and a thread without one writes nothing, ever again. The
//! kernel shows that: a thread that has lost its address space is 0 bytes long.
//!
//! This is only ever a shorter way to what the record lock says later. Where it is closed (no `/proc`, one that hides other
//! users' processes, another pid namespace, too many threads), and in all doubt, the answer is no.
//!
//! # Why it is a proof
//! - *It is the process in question.* A process id means something in one pid namespace only, and is used again. So a member leaves beside
//!   its id an [`Identity`]: the namespace, by its inode, and when the process began, by the kernel's clock tick. Ours must be the same namespace, and
//!   our `/proc` show it; the process under that id must have begun in the same tick. (An id is used again only after all others.)
//! - *It is every thread.* An exiting one makes no others. If the first is exiting and without memory, and the only one, that is
//!   all. Otherwise the kernel is asked for the list, after it for each thread, and both once more: the lists must be the same, and each thread
//!   in them exiting, without memory, and still there. (One that is gone may have cut the list short: the kernel goes from one
//!   thread to the next.) A thread that could still write when the second list was complete would be in it, so it would be in the first, and
//!   had no memory already.
//! - *It is for ever.* Only `exec` gives a thread another address space: it puts the calling thread in the place of the first one, and
//!   whatever it was called from runs no more.
//!
//! What the kernel has no list of is a process that was cloned with the same memory but is no thread: the child of a `vfork`. It
//! goes on to `exec` by itself, and has no business in the region meanwhile.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// More threads than this are not asked after: each takes two calls of some microseconds.
const MOST_THREADS: usize = 256;
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

    /// Of this process. The first call of a process reads four files.
    pub(crate) fn own() -> Identity {
        static OF: AtomicU32 = AtomicU32::new(0);
        static OWN: AtomicU64 = AtomicU64::new(0);
        let pid = std::process::id();
        // Acquire and Release: who sees whose it is sees what it is. A forked child has another id than its parent.
        if OF.load(Ordering::Acquire) != pid {
            OWN.store(
                read_own(pid).unwrap_or(Identity::UNKNOWN).0,
                Ordering::Relaxed,
            );
            OF.store(pid, Ordering::Release);
        }
        Identity(OWN.load(Ordering::Relaxed))
    }

    /// Of a process in our namespace.
    #[cfg(test)]
    pub(crate) fn of(pid: u32) -> Option<Identity> {
        let began = stat(&format!("/proc/{pid}/stat"))?.began;
        Some(Identity::new((Identity::own().0 >> 32) as u32, began))
    }

    /// Whether `other` was written in the same pid namespace.
    fn is_near(self, other: Identity) -> bool {
        self != Identity::UNKNOWN && self.0 >> 32 == other.0 >> 32
    }
}

fn read_own(pid: u32) -> Option<Identity> {
    // One id only: that of the namespace whose processes this /proc shows is our own, not one of those within it.
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let ids = status.lines().find_map(|l| l.strip_prefix("NSpid:"))?;
    if ids.trim().parse() != Ok(pid) {
        return None;
    }
    let me = stat("/proc/self/stat")?;
    // What is looked for must be there to be missed.
    if me.is_gone() || is_without_memory("/proc/self/statm")? {
        return None;
    }
    let namespace = std::fs::metadata("/proc/self/ns/pid").ok()?.ino();
    Some(Identity::new(u32::try_from(namespace).ok()?, me.began))
}

/// Whether the process that left this id and identity can write to no memory any more. In doubt `false`.
pub(crate) fn has_lost_its_memory(pid: u32, identity: Identity) -> bool {
    if pid == 0 || !Identity::own().is_near(identity) {
        return false;
    }
    // By far the most answers end here.
    if is_without_memory(&format!("/proc/{pid}/statm")) != Some(true) {
        return false;
    }
    let Some(first) = stat(&format!("/proc/{pid}/stat")) else {
        return false;
    };
    let namespace = (identity.0 >> 32) as u32;
    first.is_gone()
        && Identity::new(namespace, first.began) == identity
        && (first.threads == 1 || is_each_thread_gone(pid))
}

fn is_each_thread_gone(pid: u32) -> bool {
    let gone = |tid: &u32| {
        stat(&format!("/proc/{pid}/task/{tid}/stat")).is_some_and(|thread| thread.is_gone())
    };
    let look = || threads(pid).filter(|tids| tids.iter().all(gone));
    look().is_some_and(|first| look() == Some(first))
}

/// The ids of a process's threads, in order.
fn threads(pid: u32) -> Option<Vec<u32>> {
    let mut tids = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        // So many, that the list comes in several pieces, between which others may slip through.
        if tids.len() == MOST_THREADS {
            return None;
        }
        tids.push(entry.ok()?.file_name().to_str()?.parse().ok()?);
    }
    tids.sort_unstable();
    Some(tids)
}

/// Whether a statm file, read anew, says that its thread has no address space: `None` if it can't be read.
fn is_without_memory(statm: &str) -> Option<bool> {
    let mut bytes = [0; 128];
    let text = read(statm, &mut bytes)?;
    Some(text.split_ascii_whitespace().next()?.parse() == Ok(0_u64))
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
    Stat::parse(read(path, &mut bytes)?)
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
fn read<'a>(path: &str, bytes: &'a mut [u8]) -> Option<&'a str> {
    let len = File::open(path).ok()?.read(bytes).ok()?;
    std::str::from_utf8(&bytes[..len]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    /// A child of this test, as a stranger sees it.
    struct Other(u32);

    extern "C" fn for_ever(_: *mut libc::c_void) -> *mut libc::c_void {
        loop {
            // SAFETY: the call sleeps.
            unsafe { libc::pause() };
        }
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
            has_lost_its_memory(self.0, identity)
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
        let own = Identity::own();
        assert_ne!(own, Identity::UNKNOWN, "tests have a /proc");
        assert_eq!(own, Identity::own());
        assert!(!has_lost_its_memory(std::process::id(), own));
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
        assert!(!has_lost_its_memory(0, Identity(identity)));
    }

    #[test]
    fn a_process_that_was_reaped_says_nothing() {
        let other = Other::new(0, true);
        let (pid, identity) = (other.0, other.identity());
        other.kill();
        other.reap();
        std::mem::forget(other);
        assert!(!has_lost_its_memory(pid, identity));
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
