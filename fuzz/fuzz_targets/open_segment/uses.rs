//! What is done with each object that opens.

use crate::outside::Outside;
use commonhold::{Array, Atomics, Condvar, Error, Kind, Mutex, Queue, Result, Segment, Value};
use commonhold_fuzz::{AT_ONCE, Item, LentItem, SOON, told};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

/// What a use may do.
#[derive(Clone, Copy)]
pub struct Turn {
    /// Which forms that may wait are used: each time others, because waiting takes long.
    pub number: u8,
    /// Whether to close queues: nothing goes through them after that.
    pub close: bool,
}

/// An object that was opened.
pub trait Used {
    fn use_it(&self, turn: Turn);
}

impl<T: Item> Used for Value<T> {
    fn use_it(&self, turn: Turn) {
        let other = T::number(turn.number.into());
        told(self.get());
        told(self.try_update(|_| ()));
        told(self.update_timeout(AT_ONCE, |x| *x));
        if turn.number.is_multiple_of(4) {
            told(self.wait_until_timeout(AT_ONCE, |_| false));
        }
        told(self.wait_until_timeout(AT_ONCE, |_| true));
        if told(self.try_set(other)).is_some() {
            // Nobody has the writers' lock: the forms that wait for ever do not.
            told(self.set(other));
            told(self.update(|x| *x));
            told(self.wait_until(|_| true));
        }
        told(self.set_timeout(other, AT_ONCE));
    }
}

/// Everything that `Mutex` and `Array` have in common, as macros cannot be generic and traits do not know them.
macro_rules! use_lock {
    ($lock:expr, $write:expr) => {
        let lock = $lock;
        lock.is_poisoned();
        if let Some(mut guard) = told(lock.lock_timeout(AT_ONCE)) {
            $write(&mut *guard);
        }
        let free = match lock.try_lock().map(drop) {
            Err(Error::WouldBlock) => false,
            other => {
                told(other);
                true
            }
        };
        if free {
            told(lock.recover());
            told(lock.lock());
        }
    };
}

impl<T: LentItem> Used for Array<T> {
    fn use_it(&self, turn: Turn) {
        let item = T::number(turn.number.into());
        // `()` takes no room, so an array of it may say that it has any number.
        let few = size_of::<T>() != 0;
        use_lock!(self, |items: &mut [T]| if few {
            items.fill(item)
        });
        assert!(matches!(
            self.get(self.len()),
            Err(Error::OutOfBounds { .. })
        ));
        if let Ok(guard) = self.try_lock() {
            assert_eq!(guard.len(), self.len());
            drop(guard);
            // Nobody has the lock.
            if few {
                told(self.to_vec());
            }
            told(self.get(0));
            told(self.set(self.len().wrapping_sub(1), item));
        }
    }
}

impl Used for Atomics<AtomicU64> {
    fn use_it(&self, _: Turn) {
        for a in self.iter() {
            a.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Used for Atomics<AtomicU8> {
    fn use_it(&self, _: Turn) {
        for a in self.iter() {
            a.swap(1, Ordering::Relaxed);
        }
    }
}

impl Used for Condvar {
    fn use_it(&self, _: Turn) {
        self.notify_one();
        self.notify_all();
    }
}

/// A mutex, and the condition variable to wait with.
struct Waiter<T>(Mutex<T>, Option<Condvar>);

impl<T: LentItem> Used for Waiter<T> {
    fn use_it(&self, turn: Turn) {
        let Waiter(mutex, condvar) = self;
        use_lock!(mutex, |x: &mut T| *x = T::number(turn.number.into()));
        let Some(condvar) = condvar else { return };
        if turn.number % 4 == 1
            && let Ok(guard) = mutex.try_lock()
            && let Some((guard, _)) = told(condvar.wait_timeout(guard, SOON))
        {
            told(condvar.wait_timeout_while(guard, AT_ONCE, |_| true));
        }
    }
}

impl<T: Item> Used for Queue<T> {
    fn use_it(&self, turn: Turn) {
        let item = T::number(turn.number.into());
        let mut items = Vec::new();
        assert!(self.len() <= self.capacity());
        self.is_empty();
        self.is_full();
        self.is_closed();
        told(self.try_recv());
        told(self.try_send(item));
        told(self.try_send_all(&[item, item]));
        told(self.try_recv_many(&mut items, 2));
        match turn.number % 4 {
            0 => drop(told(self.recv_timeout(AT_ONCE))),
            1 => drop(told(self.send_timeout(item, AT_ONCE))),
            2 => drop(told(self.recv_many_timeout(
                &mut items,
                usize::MAX,
                AT_ONCE,
            ))),
            _ => drop(told(self.send_all_timeout(&[item, item, item], AT_ONCE))),
        }
        assert!(items.len() <= self.capacity() + 2);
        if turn.close {
            self.close();
            assert!(self.is_closed());
            // A closed queue makes nobody wait; what comes out of a scribbled one ends, too.
            for _ in 0..=self.capacity() {
                told(self.try_recv());
            }
        }
    }
}

/// Opens the object as each type that it may be, and as one that it is not.
pub fn open_all(seg: &Segment, name: &str, kind: Option<Kind>) -> Vec<Box<dyn Used>> {
    let mut opened = Vec::new();
    macro_rules! open {
        ($kind:expr, $($handle:ty),*) => {
            // What is not listed may yet be found, and be anything.
            if kind.is_none_or(|k| k == $kind) {
                $(opened.extend(told(<$handle>::open(seg, name)).map(used));)*
            }
        };
    }
    told(Queue::<u8>::open(seg, name));
    open!(Kind::Value, Value::<u64>, Value::<bool>);
    open!(
        Kind::Array,
        Array::<u32>,
        Array::<[u8; 24]>,
        Array::<u8>,
        Array::<()>
    );
    open!(Kind::Atomics, Atomics::<AtomicU64>, Atomics::<AtomicU8>);
    open!(Kind::Condvar, Condvar);
    open!(Kind::Mutex, Waiter::<u64>, Waiter::<[u8; 24]>);
    open!(Kind::Queue, Queue::<u64>, Queue::<bool>, Queue::<[u8; 24]>);
    opened
}

fn used(handle: impl Used + 'static) -> Box<dyn Used> {
    Box::new(handle)
}

impl<T: LentItem> Waiter<T> {
    fn open(seg: &Segment, name: &str) -> Result<Waiter<T>> {
        Ok(Waiter(
            Mutex::open(seg, name)?,
            told(Condvar::open(seg, "condvar")),
        ))
    }
}

/// New objects, and old names: all the ways in which a creation can end.
pub fn create_some(seg: &Segment, file: &Outside) {
    macro_rules! create {
        ($e:expr) => {
            // Looked at before each: objects that overlap the directory do not exist, but those before may be odd.
            if !file.directory_is_held() {
                told($e);
            }
        };
    }
    create!(Value::create(seg, "value", 1u64));
    create!(Value::open_or_create(seg, "flag", true));
    create!(Mutex::open_or_create(seg, "array", 1u64));
    create!(Array::open_or_create(seg, "new array", 3, 7u32));
    create!(Atomics::<AtomicU32>::open_or_create(seg, "new atomics", 3));
    create!(Queue::<u64>::open_or_create(seg, "new queue", 3));
    create!(Queue::<u64>::create(seg, "huge", usize::MAX));
    create!(Array::create(seg, "large", 8192, 1u8));
    create!(Condvar::open_or_create(seg, "new condvar"));
    create!(Mutex::create(seg, "", 0u8));
}
