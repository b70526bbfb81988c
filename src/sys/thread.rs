//! A thread that the process hardly notices.

use std::io;

/// Enough for whatever a waker may do.
const STACK: usize = 256 << 10;

/// What a thread brings upon itself. It must reach its handler there: the kernel kills a process that has it blocked.
const FAULTS: [libc::c_int; 6] = [
    libc::SIGBUS,
    libc::SIGSEGV,
    libc::SIGFPE,
    libc::SIGILL,
    // A breakpoint, and a system call that a filter answers (SECCOMP_RET_TRAP).
    libc::SIGTRAP,
    libc::SIGSYS,
];

/// Runs `f` in a thread that takes no signals: they are for the threads that the program made.
pub(crate) fn spawn_quietly(name: &str, f: impl FnOnce() + Send + 'static) -> io::Result<()> {
    // SAFETY: zero bytes are a valid sigset_t, which the calls fill in.
    let (mut all, mut before): (libc::sigset_t, libc::sigset_t) = unsafe { std::mem::zeroed() };
    // SAFETY: both are sigset_t that the calls may fill; the mask that is set is inherited by the new thread, and then set back.
    unsafe {
        libc::sigfillset(&mut all);
        for fault in FAULTS {
            libc::sigdelset(&mut all, fault);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
    }
    let spawned = std::thread::Builder::new()
        .name(name.to_owned())
        .stack_size(STACK)
        .spawn(f);
    // SAFETY: the mask that this thread had.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut()) };
    spawned.map(drop)
}

#[cfg(all(test, not(commonhold_loom)))]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    fn blocked() -> Vec<libc::c_int> {
        // SAFETY: zero bytes are a valid sigset_t, which the call fills in; nothing is set.
        let mask = unsafe {
            let mut mask: libc::sigset_t = std::mem::zeroed();
            libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &mut mask);
            mask
        };
        // SAFETY: the set was filled in.
        let is_in = |signal: &libc::c_int| unsafe { libc::sigismember(&mask, *signal) == 1 };
        (1..32).filter(is_in).collect()
    }

    #[test]
    fn a_quiet_thread_takes_the_signals_of_its_own_faults_and_no_others() {
        let before = blocked();
        let (tell, told) = channel();
        spawn_quietly("quiet", move || tell.send(blocked()).unwrap()).unwrap();
        let there = told.recv().unwrap();
        for signal in (1..32).filter(|s| ![libc::SIGKILL, libc::SIGSTOP].contains(s)) {
            assert_ne!(
                there.contains(&signal),
                FAULTS.contains(&signal),
                "{signal}"
            );
        }
        assert_eq!(blocked(), before);
    }
}
