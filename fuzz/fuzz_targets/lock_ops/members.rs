//! The members, their handles, and the guards.

use crate::By;
use crate::beside::{Handles, Shared};
use crate::model::{ITEMS, Life, Model};
use crate::rwlock::{Readers, Table};
use commonhold::{Array, Condvar, Mutex, MutexGuard, Result, RwLock, Segment, SegmentOptions};
use commonhold_fuzz::attach;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::{Rc, Weak};

/// Places for members; the segment has room for one less.
const PLACES: usize = 4;
const MAX_MEMBERS: usize = PLACES - 1;
pub const LOCKS: usize = 3;
const CONDVARS: usize = 2;

type Items = [u32; ITEMS];

/// A handle of a lock. Mutex and Array lend the same guard; here both lend words.
#[derive(Clone, Debug)]
pub enum Lock {
    Mutex(Mutex<Items>),
    Array(Array<u32>),
}

#[derive(Debug)]
pub enum Guard<'a> {
    Mutex(MutexGuard<'a, Items>),
    Array(MutexGuard<'a, [u32]>),
}

/// Calls what both have.
macro_rules! both {
    ($lock:expr, $x:ident => $e:expr) => {
        match $lock {
            $crate::members::Lock::Mutex($x) => $e.map($crate::members::Guard::Mutex),
            $crate::members::Lock::Array($x) => $e.map($crate::members::Guard::Array),
        }
    };
}
pub(crate) use both;

impl Guard<'_> {
    pub fn items(&mut self) -> &mut [u32] {
        match self {
            Guard::Mutex(g) => &mut g[..],
            Guard::Array(g) => &mut g[..],
        }
    }
}

impl Lock {
    /// The first is an array, made by the first member.
    fn open(segment: &Segment, which: usize, or_create: bool) -> Result<Lock> {
        let name = ["array", "first mutex", "second mutex"][which];
        Ok(match (which, or_create) {
            (0, true) => Lock::Array(Array::open_or_create(segment, name, ITEMS, 7)?),
            (0, false) => Lock::Array(Array::open(segment, name)?),
            (_, true) => Lock::Mutex(Mutex::open_or_create(segment, name, [7; ITEMS])?),
            (_, false) => Lock::Mutex(Mutex::open(segment, name)?),
        })
    }

    pub fn is_poisoned(&self) -> bool {
        match self {
            Lock::Mutex(m) => m.is_poisoned(),
            Lock::Array(a) => a.is_poisoned(),
        }
    }
}

/// A handle, and the life that it prolongs: dropped in this order.
pub struct Owned<H> {
    pub handle: H,
    pub life: Rc<Life>,
}

/// A guard, and the handle that it borrows: dropped in this order.
pub struct Held {
    pub guard: Guard<'static>,
    pub lock: Rc<Owned<Lock>>,
}

impl Held {
    pub fn new(lock: &Rc<Owned<Lock>>, guard: Guard<'_>) -> Held {
        // SAFETY: the guard borrows the handle behind the Rc, which does not move, and which outlives it here.
        let guard = unsafe { std::mem::transmute::<Guard<'_>, Guard<'static>>(guard) };
        Held {
            guard,
            lock: lock.clone(),
        }
    }
}

#[derive(Default)]
pub struct Member {
    pub segment: Option<Owned<Segment>>,
    locks: [Option<Rc<Owned<Lock>>>; LOCKS],
    condvars: [Option<Owned<Condvar>>; CONDVARS],
    pub beside: Option<Rc<Handles>>,
    table: Option<Rc<Owned<Table>>>,
}

pub struct World {
    /// Before the members: the guards go first, and find their locks.
    pub guards: [Option<Held>; LOCKS],
    /// Likewise.
    pub beside: Shared,
    /// The readers-writer lock's guards, and its model.
    pub table: Readers,
    members: [Member; PLACES],
    /// Of all members that ever were.
    lives: Vec<Weak<Life>>,
    pub models: [Model; LOCKS],
    file: OwnedFd,
}

impl World {
    pub fn new() -> World {
        let segment = SegmentOptions::new()
            .capacity(4096)
            .max_members(MAX_MEMBERS as u32)
            .max_objects(16)
            .anonymous()
            .unwrap();
        let items = [[1, 2, 3], [7; ITEMS], [7; ITEMS]];
        Array::from_slice(&segment, "array", &items[0]).unwrap();
        let mut world = World {
            guards: Default::default(),
            beside: Shared::default(),
            table: Readers::new([7; ITEMS]),
            members: Default::default(),
            lives: Vec::new(),
            models: items.map(Model::new),
            file: segment.as_fd().try_clone_to_owned().unwrap(),
        };
        world.admit(0, segment);
        world.join(1);
        world
    }

    fn admit(&mut self, place: usize, segment: Segment) {
        let life = Rc::new(Life);
        self.lives.retain(|w| w.strong_count() > 0);
        self.lives.push(Rc::downgrade(&life));
        let own = |which| Owned {
            handle: Lock::open(&segment, which, true).unwrap(),
            life: life.clone(),
        };
        let locks = std::array::from_fn(|which| Some(Rc::new(own(which))));
        let condvars = std::array::from_fn(|which| {
            let handle = Condvar::open_or_create(&segment, CONDVAR_NAMES[which]).unwrap();
            let life = life.clone();
            Some(Owned { handle, life })
        });
        let beside = Some(Rc::new(Handles::open(&segment, &life)));
        let table = Some(Rc::new(Owned {
            handle: RwLock::open_or_create(&segment, "table", [7; ITEMS]).unwrap(),
            life: life.clone(),
        }));
        self.members[place] = Member {
            segment: Some(Owned {
                handle: segment,
                life,
            }),
            locks,
            condvars,
            beside,
            table,
        };
    }

    /// Attaches once more. The model knows whether there is room.
    pub fn join(&mut self, place: u8) {
        let place = usize::from(place) % PLACES;
        self.members[place] = Member::default();
        match attach(&self.file) {
            Ok(segment) => {
                assert!(self.living() < MAX_MEMBERS, "one too many");
                self.admit(place, segment);
            }
            Err(e) => {
                assert!(matches!(e, commonhold::Error::TooManyMembers), "{e:?}");
                assert_eq!(self.living(), MAX_MEMBERS);
            }
        }
    }

    /// Drops all handles of a member.
    pub fn leave(&mut self, life: &Rc<Life>) {
        let is_it = |m: &&mut Member| {
            let locks = m.locks.iter().flatten().map(|l| &l.life);
            let beside = m.beside.iter().map(|b| &b.life);
            let table = m.table.iter().map(|t| &t.life);
            let mut all = locks.chain(beside).chain(table);
            all.any(|l| Rc::ptr_eq(l, life))
        };
        if let Some(member) = self.members.iter_mut().find(is_it) {
            *member = Member::default();
        }
    }

    pub fn living(&self) -> usize {
        self.lives.iter().filter(|w| w.strong_count() > 0).count()
    }

    pub fn member(&mut self, place: u8) -> &mut Member {
        &mut self.members[usize::from(place) % PLACES]
    }

    pub fn lock_slot(&mut self, by: By) -> &mut Option<Rc<Owned<Lock>>> {
        &mut self.member(by.member).locks[usize::from(by.which) % LOCKS]
    }

    pub fn condvar_slot(&mut self, by: By) -> &mut Option<Owned<Condvar>> {
        &mut self.member(by.member).condvars[usize::from(by.which) % CONDVARS]
    }

    pub fn table_slot(&mut self, place: u8) -> &mut Option<Rc<Owned<Table>>> {
        &mut self.member(place).table
    }

    /// Puts a handle in its place that is opened anew, if the member still has its segment.
    pub fn reopen(&mut self, by: By, or_create: bool) {
        let which = usize::from(by.which) % LOCKS;
        let member = self.member(by.member);
        let Some(Owned { handle, life }) = &member.segment else {
            return;
        };
        let lock = Lock::open(handle, which, or_create).unwrap();
        let which_condvar = usize::from(by.which) % CONDVARS;
        let condvar = Condvar::open(handle, CONDVAR_NAMES[which_condvar]).unwrap();
        let life = life.clone();
        member.beside = Some(Rc::new(Handles::open(handle, &life)));
        member.locks[which] = Some(Rc::new(Owned {
            handle: lock,
            life: life.clone(),
        }));
        member.condvars[which_condvar] = Some(Owned {
            handle: condvar,
            life,
        });
    }

    /// What each step leaves must be what the model says, by every handle that is left.
    pub fn look(&mut self) {
        for member in &self.members {
            if let Some(table) = &member.table {
                self.table.look(&table.handle);
            }
            for (lock, model) in member.locks.iter().zip(&self.models) {
                if let Some(lock) = lock {
                    assert_eq!(lock.handle.is_poisoned(), model.poisoned);
                }
            }
            if let Some(handles) = &member.beside {
                self.beside.look(handles);
            }
        }
        for (held, model) in self.guards.iter_mut().zip(&self.models) {
            if let Some(held) = held {
                assert_eq!(held.guard.items(), model.items);
            }
        }
    }
}

const CONDVAR_NAMES: [&str; CONDVARS] = ["first", "second"];
