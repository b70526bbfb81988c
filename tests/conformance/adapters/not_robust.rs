//! The locks of the feature `raw-sync`.
#![allow(deprecated)]

use super::waits_for_the_lock;
use crate::bodies::{Behind, MutexLike};
use crate::stage::{Home, Object};
use commonhold::Result;
use commonhold::not_robust::{
    Event, Mutex, MutexGuard, Region, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
use std::time::Duration;

impl Home for Region {
    fn create(name: &str) -> Result<Region> {
        Region::create(name, 1 << 16)
    }
    fn open(name: &str) -> Result<Region> {
        Region::open(name)
    }
    fn remove(name: &str) {
        Region::unlink(name).unwrap();
    }
    fn put_something_else(&self, name: &str) {
        Mutex::create(self, name, [0u8; 3]).unwrap();
    }
}

pub(crate) type OsMutex = Mutex<u64>;
pub(crate) type OsRwLock = RwLock<u64>;

impl Object for Mutex<u64> {
    type Home = Region;
    fn create(home: &Region, name: &str) -> Result<Self> {
        Mutex::create(home, name, 0)
    }
    fn open(home: &Region, name: &str) -> Result<Self> {
        Mutex::open(home, name)
    }
    fn open_or_create(home: &Region, name: &str) -> Result<Self> {
        Mutex::open_or_create(home, name, 0)
    }
}

impl Behind for MutexGuard<'_, u64> {
    fn read(&self) -> u64 {
        **self
    }
    fn write(&mut self, n: u64) {
        **self = n;
    }
}

impl MutexLike for Mutex<u64> {
    type Guard<'a> = MutexGuard<'a, u64>;
    fn lock(&self) -> Result<MutexGuard<'_, u64>> {
        self.lock()
    }
    fn try_lock(&self) -> Result<MutexGuard<'_, u64>> {
        self.try_lock()
    }
    fn lock_timeout(&self, timeout: Duration) -> Result<MutexGuard<'_, u64>> {
        self.lock_timeout(timeout)
    }
    fn recover(&self) -> Result<MutexGuard<'_, u64>> {
        self.recover()
    }
}
waits_for_the_lock!(OsMutex);

rwlock!(
    OsRwLock,
    Region,
    RwLockWriteGuard,
    RwLockReadGuard,
    OsReading
);
events!(Event, Region, OsEvent, OsAutoEvent);
