//! Locks for many readers or one writer.

use commonhold::{Result, RwLock, RwLockReadGuard, RwLockWriteGuard, Segment};
use std::time::Duration;

/// The writers' side as a mutex, the readers' as what waits for writers, with the inherent verbs of a lock type.
macro_rules! rwlock {
    ($lock:ty, $home:ty, $write_guard:ident, $read_guard:ident, $reading:ident) => {
        impl crate::stage::Object for $lock {
            type Home = $home;
            fn create(home: &$home, name: &str) -> Result<Self> {
                <$lock>::create(home, name, 0)
            }
            fn open(home: &$home, name: &str) -> Result<Self> {
                <$lock>::open(home, name)
            }
            fn open_or_create(home: &$home, name: &str) -> Result<Self> {
                <$lock>::open_or_create(home, name, 0)
            }
        }

        impl crate::bodies::Behind for $write_guard<'_, u64> {
            fn read(&self) -> u64 {
                **self
            }
            fn write(&mut self, n: u64) {
                **self = n;
            }
        }

        impl crate::bodies::rwlocks::Reads for $read_guard<'_, u64> {
            fn read(&self) -> u64 {
                **self
            }
        }

        impl crate::bodies::MutexLike for $lock {
            type Guard<'a> = $write_guard<'a, u64>;
            fn lock(&self) -> Result<$write_guard<'_, u64>> {
                self.write()
            }
            fn try_lock(&self) -> Result<$write_guard<'_, u64>> {
                self.try_write()
            }
            fn lock_timeout(&self, timeout: Duration) -> Result<$write_guard<'_, u64>> {
                self.write_timeout(timeout)
            }
            fn recover(&self) -> Result<$write_guard<'_, u64>> {
                self.recover()
            }
        }
        crate::adapters::waits_for_the_lock!($lock);

        impl crate::bodies::rwlocks::RwLockLike for $lock {
            type ReadGuard<'a> = $read_guard<'a, u64>;
            fn read(&self) -> Result<$read_guard<'_, u64>> {
                self.read()
            }
            fn try_read(&self) -> Result<$read_guard<'_, u64>> {
                self.try_read()
            }
            fn read_timeout(&self, timeout: Duration) -> Result<$read_guard<'_, u64>> {
                self.read_timeout(timeout)
            }
        }

        /// A lock that readers wait for.
        #[derive(Clone)]
        pub(crate) struct $reading($lock);

        impl crate::stage::Object for $reading {
            type Home = $home;
            fn create(home: &$home, name: &str) -> Result<Self> {
                crate::stage::Object::create(home, name).map($reading)
            }
            fn open(home: &$home, name: &str) -> Result<Self> {
                crate::stage::Object::open(home, name).map($reading)
            }
            fn open_or_create(home: &$home, name: &str) -> Result<Self> {
                crate::stage::Object::open_or_create(home, name).map($reading)
            }
        }

        impl crate::bodies::Waits for $reading {
            type Obstacle<'a> = $write_guard<'a, u64>;
            fn obstruct(&self) -> $write_guard<'_, u64> {
                self.0.write().unwrap()
            }
            fn let_through<'a>(&'a self, obstacle: $write_guard<'a, u64>) {
                drop(obstacle);
            }
            fn wait(&self) -> Result<()> {
                self.0.read().map(drop)
            }
            fn wait_timeout(&self, timeout: Duration) -> Result<()> {
                self.0.read_timeout(timeout).map(drop)
            }
        }
    };
}

pub(crate) type Rw = RwLock<u64>;

rwlock!(Rw, Segment, RwLockWriteGuard, RwLockReadGuard, Reading);
