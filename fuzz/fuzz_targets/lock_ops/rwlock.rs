//! The readers-writer lock: many guards at a time, of which the model knows whose they are.

use crate::EndOfGuard;
use crate::members::{Owned, World};
use crate::model::{ITEMS, Life};
use arbitrary::Arbitrary;
use commonhold::{Error, RwLock, RwLockReadGuard, RwLockWriteGuard};
use commonhold_fuzz::{AT_ONCE, apart, catch, check, panic_on_purpose};
use std::rc::{Rc, Weak};

pub type Table = RwLock<[u32; ITEMS]>;

#[derive(Arbitrary, Debug)]
pub enum RwOp {
    Lock { member: u8, how: RwHow },
    Write { at: u8, number: u32 },
    Downgrade,
    Unlock { guard: u8, end: EndOfGuard },
    Clone { member: u8 },
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
pub enum RwHow {
    Read,
    TryRead,
    ReadTimeout,
    Write,
    TryWrite,
    WriteTimeout,
    Recover,
    RecoverTimeout,
}

enum RwGuard {
    Read(RwLockReadGuard<'static, [u32; ITEMS]>),
    Write(RwLockWriteGuard<'static, [u32; ITEMS]>),
}

/// A guard, and the handle that it borrows: dropped in this order.
struct Held {
    guard: RwGuard,
    lock: Rc<Owned<Table>>,
}

/// What the lock must be, and the guards that are there.
pub struct Readers {
    guards: Vec<Held>,
    /// In whose name readings are counted. Their guards may be forgotten.
    readers: Vec<Weak<Life>>,
    writer: Option<Weak<Life>>,
    poisoned: bool,
    items: [u32; ITEMS],
}

fn lives(life: &Weak<Life>) -> bool {
    life.strong_count() > 0
}

impl Readers {
    pub fn new(items: [u32; ITEMS]) -> Readers {
        Readers {
            guards: Vec::new(),
            readers: Vec::new(),
            writer: None,
            poisoned: false,
            items,
        }
    }

    fn is_written(&self) -> bool {
        self.writer.as_ref().is_some_and(lives)
    }

    fn is_read(&self) -> bool {
        self.readers.iter().any(lives)
    }

    /// `None`: it would wait.
    fn lock(&mut self, me: &Rc<Life>, how: RwHow) -> Option<Result<(), Error>> {
        use RwHow::*;
        if self.is_written() {
            return None;
        }
        // Whoever meets a dead writer says so to all.
        self.poisoned |= self.writer.take().is_some();
        let recovers = matches!(how, Recover | RecoverTimeout);
        if self.poisoned && !recovers {
            return Some(Err(Error::Poisoned));
        }
        if matches!(how, Read | TryRead | ReadTimeout) {
            self.readers.push(Rc::downgrade(me));
        } else if self.is_read() {
            return None;
        } else {
            self.writer = Some(Rc::downgrade(me));
        }
        Some(Ok(()))
    }

    fn leave(&mut self, me: &Rc<Life>) {
        let mine = |w: &Weak<Life>| Weak::ptr_eq(w, &Rc::downgrade(me));
        let at = self.readers.iter().position(mine).expect("it reads");
        self.readers.remove(at);
    }

    /// By any handle.
    pub fn look(&self, lock: &Table) {
        assert_eq!(lock.is_poisoned(), self.poisoned);
        assert!(format!("{lock:?}").contains("Object"));
        for held in &self.guards {
            let items = match &held.guard {
                RwGuard::Read(g) => **g,
                RwGuard::Write(g) => **g,
            };
            assert_eq!(items, self.items);
        }
    }
}

impl World {
    pub fn rw_step(&mut self, op: &RwOp) {
        match *op {
            RwOp::Lock { member, how } => {
                if let Some(lock) = self.table_slot(member).clone() {
                    self.rw_lock(&lock, how);
                }
            }
            RwOp::Write { at, number } => {
                let at = usize::from(at) % ITEMS;
                let model = &mut self.table;
                for held in &mut model.guards {
                    if let RwGuard::Write(guard) = &mut held.guard {
                        guard[at] = number;
                        model.items[at] = number;
                    }
                }
            }
            RwOp::Downgrade => {
                let is_it = |held: &Held| matches!(held.guard, RwGuard::Write(_));
                let Some(at) = self.table.guards.iter().position(is_it) else {
                    return;
                };
                let Held { guard, lock } = self.table.guards.remove(at);
                let RwGuard::Write(guard) = guard else {
                    unreachable!("just looked at")
                };
                let guard = RwGuard::Read(RwLockWriteGuard::downgrade(guard).unwrap());
                self.table.writer = None;
                self.table.poisoned = false;
                self.table.readers.push(Rc::downgrade(&lock.life));
                self.table.guards.push(Held { guard, lock });
            }
            RwOp::Unlock { guard, end } => {
                if !self.table.guards.is_empty() {
                    let at = usize::from(guard) % self.table.guards.len();
                    let held = self.table.guards.remove(at);
                    self.rw_unlock(held, end);
                }
            }
            RwOp::Clone { member } => {
                if let Some(slot) = self.table_slot(member) {
                    *slot = Rc::new(Owned {
                        handle: slot.handle.clone(),
                        life: slot.life.clone(),
                    });
                }
            }
        }
    }

    fn rw_lock(&mut self, lock: &Rc<Owned<Table>>, how: RwHow) {
        use RwHow::*;
        let model = &mut self.table;
        let waits = model.is_written()
            || model.is_read() && (how == Recover || how == Write && !model.poisoned);
        // What would wait for ever is tried instead.
        let how = match how {
            Read if waits => TryRead,
            Write if waits => TryWrite,
            Recover if waits => RecoverTimeout,
            how => how,
        };
        let table = &lock.handle;
        let got = match how {
            Read => table.read().map(read),
            TryRead => table.try_read().map(read),
            ReadTimeout => table.read_timeout(AT_ONCE).map(read),
            Write => table.write().map(write),
            TryWrite => table.try_write().map(write),
            WriteTimeout => table.write_timeout(AT_ONCE).map(write),
            Recover => table.recover().map(write),
            RecoverTimeout => table.recover_timeout(AT_ONCE).map(write),
        };
        let would_wait = match how {
            TryRead | TryWrite => Error::WouldBlock,
            _ => Error::Timeout,
        };
        let want = model.lock(&lock.life, how).unwrap_or(Err(would_wait));
        let (guard, got) = apart(got);
        check(got, want);
        let lock = lock.clone();
        model.guards.extend(guard.map(|guard| Held { guard, lock }));
    }

    fn rw_unlock(&mut self, held: Held, end: EndOfGuard) {
        let life = held.lock.life.clone();
        let writes = matches!(held.guard, RwGuard::Write(_));
        match end {
            EndOfGuard::Drop | EndOfGuard::Panic => {
                let panics = matches!(end, EndOfGuard::Panic);
                if panics {
                    let got = catch(|| {
                        let _held = held;
                        panic_on_purpose()
                    });
                    assert!(got.is_none());
                } else {
                    drop(held);
                }
                if writes {
                    self.table.writer = None;
                    self.table.poisoned = panics;
                } else {
                    self.table.leave(&life);
                }
            }
            EndOfGuard::Forget | EndOfGuard::Die => {
                let Held { guard, lock } = held;
                match guard {
                    RwGuard::Read(guard) => std::mem::forget(guard),
                    RwGuard::Write(guard) => std::mem::forget(guard),
                }
                if matches!(end, EndOfGuard::Die) {
                    self.leave(&life);
                }
                // The handle goes, and with the last one of the member its life.
                drop(lock);
            }
        }
    }
}

fn read(guard: RwLockReadGuard<'_, [u32; ITEMS]>) -> RwGuard {
    type Long = RwLockReadGuard<'static, [u32; ITEMS]>;
    // SAFETY: the guard borrows the handle behind an Rc, which does not move, and which outlives it in `Held`.
    RwGuard::Read(unsafe { std::mem::transmute::<RwLockReadGuard<'_, _>, Long>(guard) })
}

fn write(guard: RwLockWriteGuard<'_, [u32; ITEMS]>) -> RwGuard {
    type Long = RwLockWriteGuard<'static, [u32; ITEMS]>;
    // SAFETY: as above.
    RwGuard::Write(unsafe { std::mem::transmute::<RwLockWriteGuard<'_, _>, Long>(guard) })
}
