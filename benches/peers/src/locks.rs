//! The locks, ours and the peers', behind one trait, and the peers' condition variable.

use crate::arena::{Cell, Line};
use raw_sync::locks::{LockImpl, LockInit};
use std::cell::UnsafeCell;
use std::sync::{Condvar, Mutex};

/// A lock over a [`Cell`].
pub(crate) trait Lock {
    fn with<R>(&self, f: impl FnOnce(&mut Cell) -> R) -> R;
}

impl Lock for commonhold::Mutex<Cell> {
    #[inline]
    fn with<R>(&self, f: impl FnOnce(&mut Cell) -> R) -> R {
        f(&mut self.lock().expect("nobody dies here"))
    }
}

impl Lock for Mutex<Cell> {
    #[inline]
    fn with<R>(&self, f: impl FnOnce(&mut Cell) -> R) -> R {
        f(&mut self.lock().expect("nobody panics here"))
    }
}

impl Lock for parking_lot::Mutex<Cell> {
    #[inline]
    fn with<R>(&self, f: impl FnOnce(&mut Cell) -> R) -> R {
        f(&mut self.lock())
    }
}

/// For two threads.
pub(crate) static PARKING_LOT: Line<parking_lot::Mutex<Cell>> =
    Line(parking_lot::const_mutex([0; 8]));
/// The standard library's, for two threads.
pub(crate) static STD: Line<Mutex<Cell>> = Line(Mutex::new([0; 8]));
pub(crate) static STD_COND: Line<Condvar> = Line(Condvar::new());

/// A pthread mutex that processes share, and what it protects.
#[repr(C)]
pub(crate) struct PthreadCell {
    mutex: UnsafeCell<libc::pthread_mutex_t>,
    cell: UnsafeCell<Cell>,
}

// SAFETY: the mutex is made to be shared, and the cell is used only under it.
unsafe impl Sync for PthreadCell {}

impl PthreadCell {
    /// Before anybody else knows of it.
    pub(crate) fn init(&self, robust: bool) {
        // SAFETY: zero bytes will do for attributes that init overwrites; nobody uses the mutex yet.
        unsafe {
            let mut attr: libc::pthread_mutexattr_t = std::mem::zeroed();
            ok(libc::pthread_mutexattr_init(&mut attr));
            let shared = libc::PTHREAD_PROCESS_SHARED;
            ok(libc::pthread_mutexattr_setpshared(&mut attr, shared));
            if robust {
                let robust = libc::PTHREAD_MUTEX_ROBUST;
                ok(libc::pthread_mutexattr_setrobust(&mut attr, robust));
            }
            ok(libc::pthread_mutex_init(self.mutex.get(), &attr));
            ok(libc::pthread_mutexattr_destroy(&mut attr));
        }
    }

    /// Takes it, and never gives it back.
    pub(crate) fn lock_for_ever(&self) {
        // SAFETY: the mutex is initialised.
        ok(unsafe { libc::pthread_mutex_lock(self.mutex.get()) });
    }

    /// Takes it, and says whether its last owner died with it. Then it is made sound, and free.
    pub(crate) fn is_inherited(&self) -> bool {
        // SAFETY: the mutex is initialised; made consistent and unlocked only by the one who got it from the dead.
        unsafe {
            let told = libc::pthread_mutex_lock(self.mutex.get()) == libc::EOWNERDEAD;
            if told {
                ok(libc::pthread_mutex_consistent(self.mutex.get()));
                ok(libc::pthread_mutex_unlock(self.mutex.get()));
            }
            told
        }
    }

    /// Whether the next owner hears of it when a thread ends with the lock. Only for a robust one, which is free.
    pub(crate) fn survives_its_owner(&self) -> bool {
        std::thread::scope(|s| {
            s.spawn(|| self.lock_for_ever());
        });
        self.is_inherited()
    }
}

impl PthreadCell {
    /// Waits under the lock until `is_so`, and then calls `f`.
    pub(crate) fn with_when<R>(
        &self,
        changed: &PthreadCond,
        is_so: impl Fn(&Cell) -> bool,
        f: impl FnOnce(&mut Cell) -> R,
    ) -> R {
        // SAFETY: both are initialised, and the cell is used only while the mutex is held. Neither closure panics.
        unsafe {
            ok(libc::pthread_mutex_lock(self.mutex.get()));
            while !is_so(&*self.cell.get()) {
                ok(libc::pthread_cond_wait(changed.0.get(), self.mutex.get()));
            }
            let result = f(&mut *self.cell.get());
            ok(libc::pthread_mutex_unlock(self.mutex.get()));
            result
        }
    }
}

impl Lock for PthreadCell {
    #[inline]
    fn with<R>(&self, f: impl FnOnce(&mut Cell) -> R) -> R {
        // SAFETY: the mutex is initialised, and the cell is used only while it is held. `f` does not panic.
        unsafe {
            ok(libc::pthread_mutex_lock(self.mutex.get()));
            let result = f(&mut *self.cell.get());
            ok(libc::pthread_mutex_unlock(self.mutex.get()));
            result
        }
    }
}

/// Room for raw_sync's mutex and for what it protects.
#[repr(C, align(16))]
pub(crate) struct RawSyncRoom(UnsafeCell<[u8; 128]>);

// SAFETY: used only by raw_sync's lock, which is made to be shared.
unsafe impl Sync for RawSyncRoom {}

/// raw_sync's mutex, as one process sees it.
pub(crate) struct RawSync(Box<dyn LockImpl>);

impl RawSyncRoom {
    /// Behind the lock, of which raw_sync says how long it is.
    fn places(&self) -> (*mut u8, *mut u8) {
        let lock = self.0.get().cast::<u8>();
        let len = raw_sync::locks::Mutex::size_of(Some(lock));
        let cell = len.next_multiple_of(align_of::<Cell>());
        assert!(cell + size_of::<Cell>() <= size_of::<Self>());
        // SAFETY: within the room, as just checked.
        (lock, unsafe { lock.add(cell) })
    }

    /// Before anybody else knows of it.
    pub(crate) fn init(&self) {
        let (lock, cell) = self.places();
        // SAFETY: the room is long enough for both, and nobody uses it yet.
        let made = unsafe { raw_sync::locks::Mutex::new(lock, cell) };
        made.expect("raw_sync makes a mutex");
    }

    pub(crate) fn open(&self) -> RawSync {
        let (lock, cell) = self.places();
        // SAFETY: `init` made it.
        let found = unsafe { raw_sync::locks::Mutex::from_existing(lock, cell) };
        RawSync(found.expect("raw_sync finds the mutex").0)
    }
}

impl Lock for RawSync {
    #[inline]
    fn with<R>(&self, f: impl FnOnce(&mut Cell) -> R) -> R {
        let guard = self.0.lock().expect("raw_sync locks");
        // SAFETY: the place of a Cell, aligned, and the lock is held.
        f(unsafe { &mut *guard.cast::<Cell>() })
    }
}

/// A pthread condition variable that processes share.
#[repr(C)]
pub(crate) struct PthreadCond(UnsafeCell<libc::pthread_cond_t>);

// SAFETY: it is made to be shared.
unsafe impl Sync for PthreadCond {}

impl PthreadCond {
    /// Before anybody else knows of it.
    pub(crate) fn init(&self) {
        // SAFETY: zero bytes will do for attributes that init overwrites; nobody uses it yet.
        unsafe {
            let mut attr: libc::pthread_condattr_t = std::mem::zeroed();
            ok(libc::pthread_condattr_init(&mut attr));
            let shared = libc::PTHREAD_PROCESS_SHARED;
            ok(libc::pthread_condattr_setpshared(&mut attr, shared));
            ok(libc::pthread_cond_init(self.0.get(), &attr));
            ok(libc::pthread_condattr_destroy(&mut attr));
        }
    }

    pub(crate) fn signal(&self) {
        // SAFETY: initialised.
        ok(unsafe { libc::pthread_cond_signal(self.0.get()) });
    }
}

#[inline]
pub(crate) fn ok(r: libc::c_int) {
    assert_eq!(r, 0, "a pthread call failed");
}

/// Runs `$do` with `$lock` standing for the lock of that contestant, as the type that it is.
macro_rules! with_lock {
    ($who:expr, $arena:expr, |$lock:ident| $do:expr) => {
        match $who {
            Who::Commonhold => {
                let $lock = &$arena.objects.mutex;
                $do
            }
            Who::Std => {
                // As all others: at an address that the compiler does not know.
                let $lock = std::hint::black_box(&$crate::locks::STD.0);
                $do
            }
            Who::ParkingLot => {
                let $lock = std::hint::black_box(&$crate::locks::PARKING_LOT.0);
                $do
            }
            Who::Pshared => {
                let $lock = &$arena.pshared.0;
                $do
            }
            Who::Robust => {
                let $lock = &$arena.robust.0;
                $do
            }
            Who::RawSync => {
                let $lock = &$arena.raw_sync.0.open();
                $do
            }
            other => unreachable!("{other:?} is no lock"),
        }
    };
}
pub(crate) use with_lock;
