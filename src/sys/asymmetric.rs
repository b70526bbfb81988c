//! A full fence between two processes that only one of them pays for.
//!
//! Two sides that each store and then look whether the other has stored (Dekker's pattern) need a full fence each between the two, so that
//! at least one sees the other. Where one side does this with every item and the other only before it sleeps, the *light* side
//! keeps its accesses in program order with a fence for the compiler alone, and the *heavy* side lets time pass: it makes a full fence after its
//! store, looks, and looks once more [`ARRIVAL`] later. The light side's load may have been made before its store reached the others (the store
//! waited in the processor's store buffer), but not for that long: either the load saw the heavy side's store, or the second look sees the
//! light side's. (The model: Morrison and Afek, *Temporally Bounding TSO for Fence-Free Asymmetric Synchronization*, ASPLOS 2015.) No processor's manual
//! promises a bound; what was measured is far below it.
//!
//! The first look comes after [`linger`], so that the second seldom finds anything: with the two sides timed to meet, on an EPYC, up to 2 in
//! 1,000 first looks missed a store when made at once (in three runs of 3 million), and none of 3 million when made after 100 ns.
//!
//! # Why not membarrier(2)
//! `MEMBARRIER_CMD_GLOBAL_EXPEDITED` is made for this, and does not do it (measured on Linux 6.18). It interrupts the
//! processors whose run queue says that a registered address space is loaded. The run queue is told when the processor switches to *another* address space, and by
//! the registration if it runs a thread of the process just then. A processor that was idle, with the process's address space still
//! loaded (lazy TLB), is told by neither: the thread that wakes there next runs without its bit, and the call skips it, for as long as no other process runs there.
//! That is the rule and not the exception: of 100 processes of which a thread registered on one processor, and another ran on the other, which had been idle, 91
//! were skipped (the call took 0.6 µs, as if they had never registered, and not the 10 µs that an interrupt takes); and in CI both
//! sides of a test missed each other, in at most 300,000 rounds. `MEMBARRIER_CMD_GLOBAL` takes 11 ms, and other forms reach the caller's own process alone.
//!
//! Under loom both sides are full fences, and no time passes.

#[cfg(commonhold_loom)]
use super::model::fence;
use crate::sys::atomic::Ordering;
#[cfg(not(commonhold_loom))]
use crate::sys::deadline::now;
#[cfg(not(commonhold_loom))]
use core::sync::atomic::compiler_fence as fence;
use std::time::Duration;

/// How long after a load of the light side what it stored before is seen by all, at the latest; with a wide margin.
pub(crate) const ARRIVAL: Duration = Duration::from_millis(1);

/// Nearly always long enough.
#[cfg(not(commonhold_loom))]
const NEARLY_ALWAYS: Duration = Duration::from_micros(1);

/// Whether it takes time until the heavy side sees what the light side did.
pub(crate) const TAKES_TIME: bool = cfg!(not(commonhold_loom));

/// Orders all accesses of the light side before it before all after it, for those who look a second time.
#[inline]
pub(crate) fn light_fence() {
    fence(Ordering::SeqCst);
}

/// Between the heavy side's fence and its first look.
pub(crate) fn linger() {
    #[cfg(not(commonhold_loom))]
    {
        let begin = now();
        while now().saturating_sub(begin) < NEARLY_ALWAYS {
            std::hint::spin_loop();
        }
    }
}

/// Between the heavy side's fence and its only look.
pub(crate) fn outlast() {
    #[cfg(not(commonhold_loom))]
    std::thread::sleep(ARRIVAL);
}
