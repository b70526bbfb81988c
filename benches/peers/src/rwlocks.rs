//! The readers-writer locks, ours and the peers', behind one trait, and the job that two parties do with them.

use crate::arena::{Arena, Cell, Line};
use crate::job::{Side, Who, meet};
use raw_sync::locks::{LockImpl, LockInit};
use std::cell::UnsafeCell;
use std::hint::black_box;
use std::sync::RwLock;

/// A readers-writer lock over a [`Cell`].
pub(crate) trait SharedLock {
    fn reading<R>(&self, f: impl FnOnce(&Cell) -> R) -> R;
    fn writing<R>(&self, f: impl FnOnce(&mut Cell) -> R) -> R;
}

impl SharedLock for commonhold::RwLock<Cell> {
    #[inline]
    fn reading<R>(&self, f: impl FnOnce(&Cell) -> R) -> R {
        f(&self.read().expect("nobody dies here"))
    }
    #[inline]
    fn writing<R>(&self, f: impl FnOnce(&mut Cell) -> R) -> R {
        f(&mut self.write().expect("nobody dies here"))
    }
}

impl SharedLock for RwLock<Cell> {
    #[inline]
    fn reading<R>(&self, f: impl FnOnce(&Cell) -> R) -> R {
        f(&self.read().expect("nobody panics here"))
    }
    #[inline]
    fn writing<R>(&self, f: impl FnOnce(&mut Cell) -> R) -> R {
        f(&mut self.write().expect("nobody panics here"))
    }
}

impl SharedLock for parking_lot::RwLock<Cell> {
    #[inline]
    fn reading<R>(&self, f: impl FnOnce(&Cell) -> R) -> R {
        f(&self.read())
    }
    #[inline]
    fn writing<R>(&self, f: impl FnOnce(&mut Cell) -> R) -> R {
        f(&mut self.write())
    }
}

/// For two threads.
pub(crate) static PARKING_LOT_TABLE: Line<parking_lot::RwLock<Cell>> =
    Line(parking_lot::const_rwlock([0; 8]));
/// The standard library's, for two threads.
pub(crate) static STD_TABLE: Line<RwLock<Cell>> = Line(RwLock::new([0; 8]));

/// Room for a pthread lock that processes share, and for what it protects. raw_sync makes it, and uses it by its own code; we use it
/// by ours.
#[repr(C, align(16))]
pub(crate) struct PthreadTable {
    lock: UnsafeCell<libc::pthread_rwlock_t>,
    cell: UnsafeCell<Cell>,
}

// SAFETY: the lock is made to be shared, and the cell is used only under it.
unsafe impl Sync for PthreadTable {}

/// raw_sync's lock, as one process sees it.
pub(crate) struct RawSyncTable(Box<dyn LockImpl>);

impl PthreadTable {
    fn places(&self) -> (*mut u8, *mut u8) {
        let len = raw_sync::locks::RwLock::size_of(Some(self.lock.get().cast()));
        assert!(len <= size_of_val(&self.lock));
        (self.lock.get().cast(), self.cell.get().cast())
    }

    /// Before anybody else knows of it.
    pub(crate) fn init(&self) {
        let (lock, cell) = self.places();
        // SAFETY: room for both, and nobody uses it yet.
        let made = unsafe { raw_sync::locks::RwLock::new(lock, cell) };
        made.expect("raw_sync makes a lock");
    }

    pub(crate) fn open(&self) -> RawSyncTable {
        let (lock, cell) = self.places();
        // SAFETY: `init` made it.
        let found = unsafe { raw_sync::locks::RwLock::from_existing(lock, cell) };
        RawSyncTable(found.expect("raw_sync finds the lock").0)
    }
}

impl SharedLock for PthreadTable {
    #[inline]
    fn reading<R>(&self, f: impl FnOnce(&Cell) -> R) -> R {
        // SAFETY: the lock is initialised, and the cell is read only while it is held. `f` does not panic.
        unsafe {
            assert_eq!(libc::pthread_rwlock_rdlock(self.lock.get()), 0);
            let result = f(&*self.cell.get());
            assert_eq!(libc::pthread_rwlock_unlock(self.lock.get()), 0);
            result
        }
    }
    #[inline]
    fn writing<R>(&self, f: impl FnOnce(&mut Cell) -> R) -> R {
        // SAFETY: as above, and nobody else has it.
        unsafe {
            assert_eq!(libc::pthread_rwlock_wrlock(self.lock.get()), 0);
            let result = f(&mut *self.cell.get());
            assert_eq!(libc::pthread_rwlock_unlock(self.lock.get()), 0);
            result
        }
    }
}

impl SharedLock for RawSyncTable {
    #[inline]
    fn reading<R>(&self, f: impl FnOnce(&Cell) -> R) -> R {
        let guard = self.0.rlock().expect("raw_sync locks");
        // SAFETY: the place of a Cell, aligned, and nobody writes.
        f(unsafe { &*guard.cast::<Cell>() })
    }
    #[inline]
    fn writing<R>(&self, f: impl FnOnce(&mut Cell) -> R) -> R {
        let guard = self.0.lock().expect("raw_sync locks");
        // SAFETY: the place of a Cell, aligned, and nobody else has it.
        f(unsafe { &mut *guard.cast::<Cell>() })
    }
}

/// Who takes part.
pub(crate) const TABLES: [Who; 5] = [
    Who::Commonhold,
    Who::Std,
    Who::ParkingLot,
    Who::Pshared,
    Who::RawSync,
];

/// Runs `$do` with `$lock` standing for the lock of that contestant, as the type that it is.
macro_rules! with_table {
    ($who:expr, $arena:expr, |$lock:ident| $do:expr) => {
        match $who {
            Who::Commonhold => {
                let $lock = &$arena.objects.table;
                $do
            }
            Who::Std => {
                // As all others: at an address that the compiler does not know.
                let $lock = std::hint::black_box(&$crate::rwlocks::STD_TABLE.0);
                $do
            }
            Who::ParkingLot => {
                let $lock = std::hint::black_box(&$crate::rwlocks::PARKING_LOT_TABLE.0);
                $do
            }
            Who::Pshared => {
                let $lock = &$arena.table.0;
                $do
            }
            Who::RawSync => {
                let $lock = &$arena.raw_sync_table.0.open();
                $do
            }
            other => unreachable!("{other:?} is no readers-writer lock"),
        }
    };
}
pub(crate) use with_table;

/// Both parties read; or the second writes, and the first looks whether what it sees is whole. Gives readings a second.
pub(crate) fn share(arena: &Arena, who: Who, second_writes: bool, side: Side) -> f64 {
    with_table!(who, arena, |table| match side {
        Side::Second if second_writes => meet(arena, side, || {
            table.writing(|cell| *cell = [cell[0] + 1; 8]);
        }),
        _ if second_writes => meet(arena, side, || {
            let words = table.reading(|cell| *black_box(cell));
            assert!(words.iter().all(|&n| n == words[0]), "torn: {words:?}");
        }),
        _ => meet(arena, side, || {
            black_box(table.reading(|cell| cell[0]));
        }),
    }
    .rate())
}
