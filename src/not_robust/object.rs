//! What the three kinds of lock have in common: some words, one of raw_sync's primitives, and a value.

use super::directory::{self, Kind, Placed, Shape};
use super::os::{OsMutex, Signal};
use super::region::Region;
use crate::error::{Error, Result};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// An object begins with it. Each word is zero in the beginning, and means what its kind says.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Words {
    /// Not zero: somebody panicked who held the lock.
    pub(super) poisoned: AtomicU32,
    /// Of a mutex: not zero while it is held.
    pub(super) held: AtomicU32,
    /// Of the others: who has it, or whether it is set.
    pub(super) state: AtomicU32,
    /// How many wait.
    pub(super) waiters: AtomicU32,
}

/// What raw_sync makes.
pub(super) trait Primitive: Sized {
    fn room() -> usize;
    /// # Safety
    /// `at` has [`room`](Self::room), aligned to 16, zeroed, that nobody else knows of, and that outlives the result.
    unsafe fn create(at: *mut u8) -> Result<Self>;
    /// # Safety
    /// At `at`, in memory that outlives the result, somebody [created](Self::create) one.
    unsafe fn open(at: *mut u8) -> Result<Self>;
}

macro_rules! primitive {
    ($what:ty) => {
        impl Primitive for $what {
            fn room() -> usize {
                <$what>::room()
            }
            unsafe fn create(at: *mut u8) -> Result<Self> {
                // SAFETY: the caller's.
                unsafe { <$what>::create(at) }
            }
            unsafe fn open(at: *mut u8) -> Result<Self> {
                // SAFETY: the caller's.
                unsafe { <$what>::open(at) }
            }
        }
    };
}
primitive!(OsMutex);
primitive!(Signal);

/// An object in a region, as this process sees it.
pub(super) struct Object<P>(Arc<Inner<P>>);

struct Inner<P> {
    /// Dropped before what it stands in.
    primitive: P,
    placed: Placed,
    value_at: usize,
}

impl<P: Primitive> Object<P> {
    fn shape<T>(kind: Kind) -> Shape {
        Shape::new::<T>(kind, size_of::<Words>() + P::room())
    }

    /// Makes an object of that kind that holds `value`.
    pub(super) fn create<T>(region: &Region, name: &str, kind: Kind, value: T) -> Result<Self> {
        let shape = Self::shape::<T>(kind);
        let init = |placed: &Placed| {
            // SAFETY: the shape has a T's room there, aligned, and nobody else knows of it yet.
            unsafe { placed.at(shape.value_at).cast::<T>().write(value) };
            // SAFETY: the primitive's room in the shape, zeroed; `Inner` keeps the mapping for as long.
            unsafe { P::create(placed.at(size_of::<Words>()).as_ptr()) }
        };
        let (placed, primitive) = directory::create(region, name, shape, init)?;
        Ok(Self::of(placed, primitive, shape))
    }

    /// Finds the object of that name and kind.
    pub(super) fn open<T>(region: &Region, name: &str, kind: Kind) -> Result<Self> {
        let shape = Self::shape::<T>(kind);
        let placed = directory::open(region, name, shape)?;
        // SAFETY: made by `create`, as its entry says; `Inner` keeps the mapping for as long.
        let primitive = unsafe { P::open(placed.at(size_of::<Words>()).as_ptr()) }?;
        Ok(Self::of(placed, primitive, shape))
    }

    /// Finds the object of that name and kind, or makes one that holds `value`.
    pub(super) fn open_or_create<T: Copy>(
        region: &Region,
        name: &str,
        kind: Kind,
        value: T,
    ) -> Result<Self> {
        loop {
            match Self::open::<T>(region, name, kind) {
                Err(Error::NotFound) => {}
                other => return other,
            }
            match Self::create(region, name, kind, value) {
                Err(Error::AlreadyExists) => {}
                other => return other,
            }
        }
    }

    fn of(placed: Placed, primitive: P, shape: Shape) -> Self {
        Object(Arc::new(Inner {
            primitive,
            placed,
            value_at: shape.value_at,
        }))
    }
}

impl<P> Object<P> {
    pub(super) fn primitive(&self) -> &P {
        &self.0.primitive
    }

    pub(super) fn words(&self) -> &Words {
        // SAFETY: the object begins with them, aligned to 64, mapped as long as `self`; atomics of which every pattern has a meaning.
        unsafe { self.0.placed.at(0).cast().as_ref() }
    }

    /// The value, which is a T by the object's shape.
    pub(super) fn value<T>(&self) -> NonNull<T> {
        self.0.placed.at(self.0.value_at).cast()
    }

    pub(super) fn is_poisoned(&self) -> bool {
        self.words().poisoned.load(Ordering::Relaxed) != 0
    }
}

impl<P> Clone for Object<P> {
    fn clone(&self) -> Self {
        Object(self.0.clone())
    }
}

impl<P> std::fmt::Debug for Object<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.words().fmt(f)
    }
}

/// Who made a guard, and whether that thread was panicking then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holder {
    process: u32,
    panicking: bool,
}

impl Holder {
    pub(super) fn new() -> Holder {
        Holder {
            process: std::process::id(),
            panicking: std::thread::panicking(),
        }
    }

    /// Whether a forked child has inherited the guard, which is the parent's.
    pub(super) fn is_another_process(self) -> bool {
        self.process != std::process::id()
    }

    /// Whether the guard is dropped by a panic that began after it was made.
    pub(super) fn panics(self) -> bool {
        !self.panicking && std::thread::panicking()
    }
}
