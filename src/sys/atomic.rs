//! The atomics facade: the standard library's types, or loom's with a possible death before each access.

#[cfg(not(commonhold_loom))]
pub(crate) use core::sync::atomic::{AtomicU32, AtomicU64, fence};

#[cfg(commonhold_loom)]
pub(crate) use super::model::{AtomicU32, AtomicU64, fence};

pub(crate) use core::sync::atomic::Ordering;

/// A load by whoever alone may store now: the holder of the lock that guards the atomic's stores. Loom checks that no store
/// is concurrent with it.
pub(crate) trait LoadOwn<T> {
    fn load_own(&self) -> T;
}

#[cfg(not(commonhold_loom))]
impl LoadOwn<u32> for AtomicU32 {
    #[inline]
    fn load_own(&self) -> u32 {
        // Relaxed: the lock orders the stores.
        self.load(Ordering::Relaxed)
    }
}

#[cfg(not(commonhold_loom))]
impl LoadOwn<u64> for AtomicU64 {
    #[inline]
    fn load_own(&self) -> u64 {
        // Relaxed: the lock orders the stores.
        self.load(Ordering::Relaxed)
    }
}

/// Orders all accesses before an atomic read-modify-write, which the caller has just made, before all accesses after
/// this call (Linux calls it `smp_mb__after_atomic`).
///
/// On x86 a locked instruction already drains the store buffer, so only the compiler has to be held back; elsewhere
/// it is a full fence.
#[inline]
pub(crate) fn fence_after_rmw() {
    #[cfg(all(any(target_arch = "x86_64", target_arch = "x86"), not(commonhold_loom)))]
    core::sync::atomic::compiler_fence(Ordering::SeqCst);
    #[cfg(any(not(any(target_arch = "x86_64", target_arch = "x86")), commonhold_loom))]
    fence(Ordering::SeqCst);
}
