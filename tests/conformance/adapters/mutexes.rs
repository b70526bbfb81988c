//! What lends guards for one thread at a time.

use super::waits_for_the_lock;
use crate::bodies::{Behind, MutexLike};
use crate::stage::Object;
use commonhold::{Array, Mutex, MutexGuard, Result, Segment};
use std::time::Duration;

impl Behind for MutexGuard<'_, u64> {
    fn read(&self) -> u64 {
        **self
    }
    fn write(&mut self, n: u64) {
        **self = n;
    }
}

/// The number stands at both ends, so that a change that was half seen is noticed.
impl Behind for MutexGuard<'_, [u64]> {
    fn read(&self) -> u64 {
        assert_eq!(self.first(), self.last(), "half of a change is seen");
        self[0]
    }
    fn write(&mut self, n: u64) {
        self.fill(n);
    }
}

/// The methods are the inherent ones, by the same names.
macro_rules! mutex_like {
    ($lock:ty, $target:ty) => {
        impl MutexLike for $lock {
            type Guard<'a> = MutexGuard<'a, $target>;
            fn lock(&self) -> Result<MutexGuard<'_, $target>> {
                self.lock()
            }
            fn try_lock(&self) -> Result<MutexGuard<'_, $target>> {
                self.try_lock()
            }
            fn lock_timeout(&self, timeout: Duration) -> Result<MutexGuard<'_, $target>> {
                self.lock_timeout(timeout)
            }
            fn recover(&self) -> Result<MutexGuard<'_, $target>> {
                self.recover()
            }
        }
        waits_for_the_lock!($lock);
    };
}

mutex_like!(Mutex<u64>, u64);
mutex_like!(Array<u64>, [u64]);

impl Object for Mutex<u64> {
    type Home = Segment;
    fn create(home: &Segment, name: &str) -> Result<Self> {
        Mutex::create(home, name, 0)
    }
    fn open(home: &Segment, name: &str) -> Result<Self> {
        Mutex::open(home, name)
    }
    fn open_or_create(home: &Segment, name: &str) -> Result<Self> {
        Mutex::open_or_create(home, name, 0)
    }
}

const ITEMS: usize = 16;

impl Object for Array<u64> {
    type Home = Segment;
    fn create(home: &Segment, name: &str) -> Result<Self> {
        Array::create(home, name, ITEMS, 0)
    }
    fn open(home: &Segment, name: &str) -> Result<Self> {
        Array::open(home, name)
    }
    fn open_or_create(home: &Segment, name: &str) -> Result<Self> {
        Array::open_or_create(home, name, ITEMS, 0)
    }
}
