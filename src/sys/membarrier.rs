//! A full fence between two processes that only one of them pays for: membarrier(2).
//!
//! Two sides that each store and then look whether the other has stored (Dekker's pattern) need a full fence each between the two, so that
//! at least one sees the other. Where one side does this with every item and the other only before it sleeps, the *light* side
//! keeps its accesses in program order with a fence for the compiler alone, and the *heavy* side makes the processor's fence for both:
//! `MEMBARRIER_CMD_GLOBAL_EXPEDITED` (Linux 4.16) runs a full fence on each processor on which a thread of a registered process runs, and the
//! threads that do not run went through one when they were switched out. So for each thread of the light side there is a moment within the heavy
//! side's call at which all that it did before in program order is visible to all, and after which it sees all that was done before the call. The
//! processor's own memory model does not matter.
//!
//! The light side must have registered *before* its first light fence, and says in the region whether it could (a claim's bit): where it could not (an old
//! kernel, a filter), its light fence is a full one, which pairs with the full fence that every heavy one begins with.
//!
//! The registration is the address space's. An `exec` ends it; what a forked child has of it does not matter, because whoever makes light fences
//! registers anew.
//!
//! Under loom both sides are full fences: that the kernel's call does what its page says is not modelled.

#[cfg(commonhold_loom)]
use super::model::fence;
use crate::sys::atomic::Ordering;
#[cfg(not(commonhold_loom))]
use core::sync::atomic::{compiler_fence, fence};

/// How the light side keeps its accesses in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Light {
    /// By the heavy side's call: this process is registered.
    Registered,
    /// By full fences of its own.
    Fences,
}

impl Light {
    /// Registers this process. The first time takes some milliseconds if it has several threads.
    #[cfg(not(commonhold_loom))]
    pub(crate) fn register() -> Light {
        if call(libc::MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED) {
            Light::Registered
        } else {
            Light::Fences
        }
    }

    #[cfg(commonhold_loom)]
    pub(crate) fn register() -> Light {
        Light::Fences
    }

    /// Orders all accesses before it before all after it, for those who make a [`heavy_fence`].
    #[inline]
    pub(crate) fn fence(self) {
        match self {
            #[cfg(not(commonhold_loom))]
            Light::Registered => compiler_fence(Ordering::SeqCst),
            _ => fence(Ordering::SeqCst),
        }
    }
}

/// A full fence, also for the light side if it is registered. `false`: not for those.
pub(crate) fn heavy_fence() -> bool {
    fence(Ordering::SeqCst);
    #[cfg(not(commonhold_loom))]
    return call(libc::MEMBARRIER_CMD_GLOBAL_EXPEDITED);
    #[cfg(commonhold_loom)]
    return true;
}

#[cfg(not(commonhold_loom))]
fn call(command: libc::c_int) -> bool {
    let (flags, cpu): (libc::c_uint, libc::c_int) = (0, 0);
    // SAFETY: membarrier takes three numbers and touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_membarrier, command, flags, cpu) == 0 }
}

#[cfg(all(test, not(commonhold_loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering::*};
    use std::time::{Duration, Instant};

    /// In a line of the processor's cache of its own: a store takes a while to reach the other side.
    #[repr(align(128))]
    #[derive(Default)]
    struct Apart(AtomicU32);

    impl Apart {
        /// Spins until it says something else than `n`, and returns that.
        fn leaves(&self, n: u32) -> u32 {
            loop {
                let now = self.0.load(Acquire);
                if now != n {
                    return now;
                }
                std::hint::spin_loop();
            }
        }
    }

    /// Two processors that we may use, if there are so many.
    fn two_processors() -> Option<[usize; 2]> {
        // SAFETY: zero bytes are an empty set, which the call fills.
        let set = unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::sched_getaffinity(0, size_of_val(&set), &raw mut set);
            set
        };
        // SAFETY: within the set.
        let is_ours = |cpu: &usize| unsafe { libc::CPU_ISSET(*cpu, &set) };
        let mut ours = (0..libc::CPU_SETSIZE as usize).filter(is_ours);
        Some([ours.next()?, ours.next()?])
    }

    /// This thread runs nowhere else from here on.
    fn stay_on(cpu: usize) {
        // SAFETY: zero bytes are an empty set, to which one is added.
        unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(cpu, &mut set);
            libc::sched_setaffinity(0, size_of_val(&set), &raw const set);
        }
    }

    /// The litmus test of store buffering. With the kernel's call left out of the heavy fence, one round in ten is missed where the code is
    /// optimized; otherwise a light side's store has arrived before its load is made.
    #[test]
    fn of_a_light_and_a_heavy_side_at_least_one_sees_the_other() {
        const ROUNDS: u32 = 300_000;
        const TIME: Duration = Duration::from_secs(1);
        const OVER: u32 = u32::MAX;
        let light = Light::register();
        let (true, Some(cpus)) = (
            light == Light::Registered && heavy_fence(),
            two_processors(),
        ) else {
            eprintln!("SKIPPED: no membarrier here, or one processor");
            return;
        };
        let (go, done) = (Apart::default(), Apart::default());
        let (x, y, y_was_seen) = (Apart::default(), Apart::default(), Apart::default());
        let heavy_side = || {
            stay_on(cpus[0]);
            let (mut rounds, mut missed, mut pause) = (0, 0, 0);
            let begin = Instant::now();
            while rounds < ROUNDS && begin.elapsed() < TIME {
                rounds += 1;
                go.0.store(rounds, Release);
                // So that the stores meet: as long as it takes until neither side is earlier more often than the other.
                for n in 0..pause + rounds % 4 {
                    std::hint::black_box(n);
                }
                y.0.store(rounds, Relaxed);
                heavy_fence();
                let x_was_seen = x.0.load(Relaxed) == rounds;
                done.leaves(rounds - 1);
                match (x_was_seen, y_was_seen.0.load(Relaxed) == 1) {
                    (true, false) => pause = pause.saturating_sub(1),
                    (false, true) => pause += 1,
                    (true, true) => {}
                    (false, false) => missed += 1,
                }
            }
            go.0.store(OVER, Release);
            (rounds, missed)
        };
        let (rounds, missed) = std::thread::scope(|s| {
            s.spawn(|| {
                stay_on(cpus[1]);
                let mut round = 0;
                while go.leaves(round) != OVER {
                    round += 1;
                    x.0.store(round, Relaxed);
                    light.fence();
                    let seen = y.0.load(Relaxed) == round;
                    y_was_seen.0.store(seen.into(), Relaxed);
                    done.0.store(round, Release);
                }
            });
            s.spawn(heavy_side).join().unwrap()
        });
        assert_eq!(missed, 0, "of {rounds} rounds");
    }
}
