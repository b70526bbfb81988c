//! Locks that hold no value, and a number beside them.

use super::waits_for_the_lock;
use crate::bodies::semaphores::SemaphoreLike;
use crate::bodies::{Behind, MutexLike};
use crate::stage::Object;
use commonhold::{
    Atomics, Permit, ReentrantMutex, ReentrantMutexGuard, Result, Segment, Semaphore,
};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A lock, and the number that it is to protect; which is read and written in two steps, as one that is not atomic.
#[derive(Clone)]
pub(crate) struct Beside<L> {
    lock: L,
    number: Atomics<AtomicU64>,
}

/// A guard of such a lock.
pub(crate) struct Access<'a, G> {
    _guard: G,
    number: &'a AtomicU64,
}

impl<G> Behind for Access<'_, G> {
    fn read(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }
    fn write(&mut self, n: u64) {
        self.number.store(n, Ordering::Relaxed);
    }
}

/// With what the lock is made of beside its name, and the verbs by which it is locked.
macro_rules! beside {
    ($lock:ident $(, $made_of:literal)?; $guard:ident; $take:ident, $try:ident, $timed:ident) => {
        impl Object for Beside<$lock> {
            type Home = Segment;
            fn create(home: &Segment, name: &str) -> Result<Self> {
                let number = Atomics::open_or_create(home, &format!("{name}'s number"), 1)?;
                let lock = $lock::create(home, name $(, $made_of)?)?;
                Ok(Beside { lock, number })
            }
            fn open(home: &Segment, name: &str) -> Result<Self> {
                let lock = $lock::open(home, name)?;
                let number = Atomics::open(home, &format!("{name}'s number"))?;
                Ok(Beside { lock, number })
            }
            fn open_or_create(home: &Segment, name: &str) -> Result<Self> {
                let number = Atomics::open_or_create(home, &format!("{name}'s number"), 1)?;
                let lock = $lock::open_or_create(home, name $(, $made_of)?)?;
                Ok(Beside { lock, number })
            }
        }

        impl Beside<$lock> {
            fn access<'a>(&'a self, guard: Result<$guard<'a>>) -> Result<Access<'a, $guard<'a>>> {
                let number = &self.number[0];
                guard.map(|_guard| Access { _guard, number })
            }
        }

        impl MutexLike for Beside<$lock> {
            type Guard<'a> = Access<'a, $guard<'a>>;
            const REENTRANT: bool = beside!(@reentrant $lock);
            const POISONS: bool = beside!(@reentrant $lock);
            fn lock(&self) -> Result<Self::Guard<'_>> {
                self.access(self.lock.$take())
            }
            fn try_lock(&self) -> Result<Self::Guard<'_>> {
                self.access(self.lock.$try())
            }
            fn lock_timeout(&self, timeout: Duration) -> Result<Self::Guard<'_>> {
                self.access(self.lock.$timed(timeout))
            }
            beside!(@recover $lock);
        }
        waits_for_the_lock!(Beside<$lock>);
    };
    (@reentrant ReentrantMutex) => { true };
    (@reentrant Semaphore) => { false };
    (@recover ReentrantMutex) => {
        fn recover(&self) -> Result<Self::Guard<'_>> {
            self.access(self.lock.recover())
        }
    };
    // A permit comes back, whatever happened.
    (@recover Semaphore) => {};
}

beside!(ReentrantMutex; ReentrantMutexGuard; lock, try_lock, lock_timeout);
beside!(Semaphore, 1; Permit; acquire, try_acquire, acquire_timeout);

/// As a semaphore, it is that without the number.
impl SemaphoreLike for Semaphore {
    type Permit<'a> = Permit<'a>;
    fn create_of(home: &Segment, name: &str, permits: usize) -> Result<Self> {
        Semaphore::create(home, name, permits)
    }
    fn acquire(&self) -> Result<Permit<'_>> {
        self.acquire()
    }
    fn try_acquire(&self) -> Result<Permit<'_>> {
        self.try_acquire()
    }
    fn acquire_timeout(&self, timeout: Duration) -> Result<Permit<'_>> {
        self.acquire_timeout(timeout)
    }
    fn forget(permit: Permit<'_>) {
        permit.forget();
    }
    fn add_permits(&self, permits: usize) -> Result<()> {
        self.add_permits(permits)
    }
    fn available(&self) -> usize {
        self.available()
    }
}

impl Object for Semaphore {
    type Home = Segment;
    fn create(home: &Segment, name: &str) -> Result<Self> {
        Semaphore::create(home, name, 1)
    }
    fn open(home: &Segment, name: &str) -> Result<Self> {
        Semaphore::open(home, name)
    }
    fn open_or_create(home: &Segment, name: &str) -> Result<Self> {
        Semaphore::open_or_create(home, name, 1)
    }
}
