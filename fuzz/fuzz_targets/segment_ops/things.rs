//! Objects of every kind, with items of several types, behind one face.

use arbitrary::Arbitrary;
use commonhold::{Array, AtomicCell, Atomics, Condvar, Kind, Mutex, Queue, Result, Segment, Value};
use commonhold_fuzz::{Item, LentItem, Wide};
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering::Relaxed};

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
pub enum How {
    Create,
    Open,
    OpenOrCreate,
    /// For arrays; the others are created.
    FromSlice,
}

/// An object, by a handle.
pub trait Thing {
    /// Makes all its bytes tell the number.
    fn write(&self, number: u64);
    /// Whether they do; `None`: they are as they were made.
    fn shows(&self, number: Option<u64>) -> bool;
}

/// How a kind is made with one type of item.
trait Family: Thing + Sized + 'static {
    const KIND: Kind;
    type Item;
    fn make(how: How, segment: &Segment, name: &str, len: usize, number: u64) -> Result<Self>;
}

type Make = fn(How, &Segment, &str, usize, u64) -> Result<Box<dyn Thing>>;

/// A kind with a type of item: what the model knows of it, and how it is made.
pub struct Spec {
    pub kind: Kind,
    pub type_name: &'static str,
    pub size: usize,
    pub align: usize,
    pub make: Make,
}

impl Spec {
    const fn of<F: Family>(type_name: &'static str) -> Spec {
        Spec {
            kind: F::KIND,
            type_name,
            size: size_of::<F::Item>(),
            align: align_of::<F::Item>(),
            make: |how, segment, name, len, number| {
                Ok(Box::new(F::make(how, segment, name, len, number)?))
            },
        }
    }
}

pub const SPECS: [Spec; 21] = [
    Spec::of::<Value<u8>>("u8"),
    Spec::of::<Value<[u8; 3]>>("[u8; 3]"),
    Spec::of::<Value<u64>>("u64"),
    Spec::of::<Value<bool>>("bool"),
    Spec::of::<Value<Wide>>("Wide"),
    Spec::of::<Array<u8>>("u8"),
    Spec::of::<Array<u32>>("u32"),
    Spec::of::<Array<i32>>("i32"),
    Spec::of::<Array<[u8; 24]>>("[u8; 24]"),
    Spec::of::<Array<Wide>>("Wide"),
    Spec::of::<Array<()>>("()"),
    Spec::of::<Atomics<AtomicU8>>("AtomicU8"),
    Spec::of::<Atomics<AtomicU64>>("AtomicU64"),
    Spec::of::<Atomics<AtomicI64>>("AtomicI64"),
    Spec::of::<Mutex<u8>>("u8"),
    Spec::of::<Mutex<u64>>("u64"),
    Spec::of::<Mutex<Wide>>("Wide"),
    Spec::of::<Condvar>("()"),
    Spec::of::<Queue<u8>>("u8"),
    Spec::of::<Queue<[u8; 24]>>("[u8; 24]"),
    Spec::of::<Queue<Wide>>("Wide"),
];

/// The three calls, which every kind has.
macro_rules! make {
    ($handle:ident, $how:expr, $segment:expr, $name:expr $(, $first:expr)?) => {
        match $how {
            How::Open => $handle::open($segment, $name),
            How::OpenOrCreate => $handle::open_or_create($segment, $name $(, $first)?),
            How::Create | How::FromSlice => $handle::create($segment, $name $(, $first)?),
        }
    };
}

impl<T: Item> Thing for Value<T> {
    fn write(&self, number: u64) {
        self.set(T::number(number)).unwrap();
    }

    fn shows(&self, number: Option<u64>) -> bool {
        number.is_some_and(|n| self.get().unwrap() == T::number(n))
    }
}

impl<T: Item> Family for Value<T> {
    const KIND: Kind = Kind::Value;
    type Item = T;

    fn make(how: How, segment: &Segment, name: &str, _: usize, number: u64) -> Result<Self> {
        make!(Value, how, segment, name, T::number(number))
    }
}

impl<T: LentItem> Thing for Mutex<T> {
    fn write(&self, number: u64) {
        *self.lock().unwrap() = T::number(number);
    }

    fn shows(&self, number: Option<u64>) -> bool {
        number.is_some_and(|n| *self.lock().unwrap() == T::number(n))
    }
}

impl<T: LentItem> Family for Mutex<T> {
    const KIND: Kind = Kind::Mutex;
    type Item = T;

    fn make(how: How, segment: &Segment, name: &str, _: usize, number: u64) -> Result<Self> {
        make!(Mutex, how, segment, name, T::number(number))
    }
}

impl<T: LentItem> Thing for Array<T> {
    fn write(&self, number: u64) {
        // Of items of no bytes there may be any number.
        if size_of::<T>() != 0 {
            self.lock().unwrap().fill(T::number(number));
        }
    }

    fn shows(&self, number: Option<u64>) -> bool {
        let is = |n| self.lock().unwrap().iter().all(|x| *x == T::number(n));
        size_of::<T>() == 0 || number.is_some_and(is)
    }
}

impl<T: LentItem> Family for Array<T> {
    const KIND: Kind = Kind::Array;
    type Item = T;

    fn make(how: How, segment: &Segment, name: &str, len: usize, number: u64) -> Result<Self> {
        let item = T::number(number);
        match how {
            How::Open => Array::open(segment, name),
            How::OpenOrCreate => Array::open_or_create(segment, name, len, item),
            // A slice must fit into this process's own memory first.
            How::FromSlice if len <= 1 << 17 => Array::from_slice(segment, name, &vec![item; len]),
            How::Create | How::FromSlice => Array::create(segment, name, len, item),
        }
    }
}

/// An atomic integer, as a number.
trait Counter: AtomicCell {
    fn put(&self, number: u64);
    /// Whether it is what `put` makes of the number, or 0.
    fn is(&self, number: Option<u64>) -> bool;
}

macro_rules! counters {
    ($($atomic:ty = $plain:ty),*) => {$(
        impl Counter for $atomic {
            fn put(&self, number: u64) {
                self.store(number as $plain, Relaxed);
            }

            fn is(&self, number: Option<u64>) -> bool {
                self.load(Relaxed) == number.unwrap_or(0) as $plain
            }
        }
    )*};
}

counters!(AtomicU8 = u8, AtomicU64 = u64, AtomicI64 = i64);

impl<A: Counter> Thing for Atomics<A> {
    fn write(&self, number: u64) {
        self.iter().for_each(|a| a.put(number));
    }

    fn shows(&self, number: Option<u64>) -> bool {
        self.iter().all(|a| a.is(number))
    }
}

impl<A: Counter> Family for Atomics<A> {
    const KIND: Kind = Kind::Atomics;
    type Item = A;

    fn make(how: How, segment: &Segment, name: &str, len: usize, _: u64) -> Result<Self> {
        make!(Atomics, how, segment, name, len)
    }
}

impl Thing for Condvar {
    fn write(&self, _: u64) {
        self.notify_all();
    }

    fn shows(&self, _: Option<u64>) -> bool {
        true
    }
}

impl Family for Condvar {
    const KIND: Kind = Kind::Condvar;
    type Item = ();

    fn make(how: How, segment: &Segment, name: &str, _: usize, _: u64) -> Result<Self> {
        make!(Condvar, how, segment, name)
    }
}

impl<T: Item> Thing for Queue<T> {
    fn write(&self, number: u64) {
        while self.try_recv().is_ok() {}
        self.send_all(&vec![T::number(number); self.capacity()])
            .unwrap();
    }

    fn shows(&self, number: Option<u64>) -> bool {
        let mut items = Vec::new();
        let Some(number) = number else {
            return self.is_empty();
        };
        self.try_recv_many(&mut items, usize::MAX).unwrap();
        self.send_all(&items).unwrap();
        items == vec![T::number(number); self.capacity()]
    }
}

impl<T: Item> Family for Queue<T> {
    const KIND: Kind = Kind::Queue;
    type Item = T;

    fn make(how: How, segment: &Segment, name: &str, len: usize, _: u64) -> Result<Self> {
        make!(Queue, how, segment, name, len)
    }
}
