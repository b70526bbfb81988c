//! Atomics in place.

use crate::error::Result;
use crate::layout::fingerprint::Kind;
use crate::segment::{Placed, Segment, Shape, travels};
use crate::sys::map::InRegion;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::atomic::{
    AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicIsize, AtomicU8, AtomicU16, AtomicU32,
    AtomicU64, AtomicUsize,
};

/// The integer atomics of [`std::sync::atomic`]: what an [`Atomics`] can hold.
///
/// `AtomicBool` is none of them: a peer that writes a 2 there would make it undefined behaviour to look. Use an `AtomicU8`.
/// `AtomicUsize` and `AtomicIsize` can't be shared between 32-bit and 64-bit processes; opening them there is a
/// [`TypeMismatch`](crate::Error::TypeMismatch).
pub trait AtomicCell: sealed::Sealed + Send + Sync + 'static {}

mod sealed {
    /// # Safety
    /// The type is an atomic integer: any bytes are a value, and it changes only by atomic accesses.
    pub unsafe trait Sealed {
        /// What the type is called in a segment.
        type Named;
    }
}

macro_rules! cells {
    ($($t:ident),*) => {
        /// The same sizes and alignments under names of our own: std's differ from compiler to compiler (`AtomicU64` to 1.95,
        /// `Atomic<u64>` from 1.96), and programs of different compilers share segments.
        mod named {
            $(#[derive(Debug)] pub struct $t(#[allow(dead_code)] super::$t);)*
        }
        $(
            // SAFETY: an atomic integer.
            unsafe impl sealed::Sealed for $t {
                type Named = named::$t;
            }
            impl AtomicCell for $t {}
        )*
    };
}

cells!(
    AtomicU8,
    AtomicU16,
    AtomicU32,
    AtomicU64,
    AtomicUsize,
    AtomicI8,
    AtomicI16,
    AtomicI32,
    AtomicI64,
    AtomicIsize
);

/// A fixed number of atomic integers, used in place: an `Atomics<AtomicU64>` derefs to `[AtomicU64]`.
///
/// With the feature `process`, a handle is a serde value that [travels to other processes](crate::Segment#sending-it-to-another-process).
///
/// # When a member dies
/// Each access is done or not done; there is no lock.
///
/// # Fairness
/// The processor's.
///
/// # Errors
/// Making and finding: [`AlreadyExists`](crate::Error::AlreadyExists), [`NotFound`](crate::Error::NotFound),
/// [`TypeMismatch`](crate::Error::TypeMismatch), [`InvalidName`](crate::Error::InvalidName),
/// [`OutOfSpace`](crate::Error::OutOfSpace), [`TooManyObjects`](crate::Error::TooManyObjects),
/// [`Corrupt`](crate::Error::Corrupt), and [`Timeout`](crate::Error::Timeout) if another process has been at making an object for
/// 10 seconds (it may be stopped).
///
/// # Bytes
/// Those of the items, which stand side by side: counters that different processes change often are better
/// 128 bytes apart (16 `AtomicU64`s), on cache lines of their own.
///
/// # Examples
/// ```
/// use commonhold::{Atomics, Segment};
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// # fn main() -> commonhold::Result<()> {
/// let seg = Segment::anonymous(1 << 16)?;
/// let counters = Atomics::<AtomicU64>::create(&seg, "counters", 16)?;
/// counters[3].fetch_add(1, Ordering::Relaxed);
/// assert_eq!(counters[3].load(Ordering::Relaxed), 1);
/// # Ok(())
/// # }
/// ```
pub struct Atomics<A> {
    placed: Placed<NoControl>,
    _cells: PhantomData<A>,
}

/// Atomics need no control block.
#[repr(C)]
pub(crate) struct NoControl;

// SAFETY: no bytes.
unsafe impl InRegion for NoControl {}

impl<A: AtomicCell> Atomics<A> {
    const SHAPE: Shape = Shape::new::<NoControl>(Kind::Atomics, size_of::<A>(), align_of::<A>());

    /// Makes `len` atomics, all of them 0, in no more bytes than theirs.
    pub fn create(segment: &Segment, name: &str, len: usize) -> Result<Self> {
        let placed = Placed::create::<A::Named>(segment, name, Self::SHAPE, len, Self::zero(len))?;
        Ok(Self::of(placed))
    }

    /// Finds the atomics of that name, however many there are.
    pub fn open(segment: &Segment, name: &str) -> Result<Self> {
        let placed = Placed::open::<A::Named>(segment, name, Self::SHAPE, None)?;
        Ok(Self::of(placed))
    }

    /// Finds the atomics of that name, or makes them. Another number is a
    /// [`TypeMismatch`](crate::Error::TypeMismatch).
    pub fn open_or_create(segment: &Segment, name: &str, len: usize) -> Result<Self> {
        let placed =
            Placed::open_or_create::<A::Named>(segment, name, Self::SHAPE, len, Self::zero(len))?;
        Ok(Self::of(placed))
    }

    fn zero(len: usize) -> impl FnOnce(std::ptr::NonNull<u8>) {
        // SAFETY: the object has room for `len` of them, and nobody else knows of it yet.
        move |at| unsafe { at.cast::<A>().write_bytes(0, len) }
    }

    fn of(placed: Placed<NoControl>) -> Self {
        Atomics {
            placed,
            _cells: PhantomData,
        }
    }
}

impl<A: AtomicCell> Deref for Atomics<A> {
    type Target = [A];
    #[inline]
    fn deref(&self) -> &[A] {
        // SAFETY: the object has that many, checked when it was found; any bytes are an A (sealed), and it changes only by
        // atomic accesses.
        unsafe { std::slice::from_raw_parts(self.placed.data().as_ptr().cast(), self.placed.len()) }
    }
}

impl<A> Clone for Atomics<A> {
    fn clone(&self) -> Self {
        Atomics {
            placed: self.placed.clone(),
            _cells: PhantomData,
        }
    }
}

travels!([A: AtomicCell] Atomics<A>, placed);

impl<A> std::fmt::Debug for Atomics<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Atomics").field(&self.placed).finish()
    }
}
