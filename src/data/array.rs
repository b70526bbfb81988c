//! The array behind one lock.

use crate::error::{Error, Result};
use crate::layout::fingerprint::Kind;
use crate::plain::InPlace;
use crate::raw::mutex::RawMutex;
use crate::segment::{Placed, Segment, Shape, travels};
use crate::sync::{Locker, MutexGuard};
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::time::Duration;

/// A fixed number of items behind one lock: one by one, or all of them in place as a slice.
///
/// With the feature `process`, a handle is a serde value that [travels to other processes](crate::Segment#sending-it-to-another-process).
///
/// # When a member dies
/// As [`Mutex`](crate::Mutex): if it held the lock (also for the moment of a [`set`](Self::set)), every access gets
/// [`Err(Poisoned)`](Error::Poisoned) until somebody calls [`recover`](Self::recover) and drops the guard.
///
/// # Fairness
/// None. `get`, `set` and `to_vec` lock, too: a thread that holds the guard uses the guard instead.
///
/// # Errors
/// [`OutOfBounds`](Error::OutOfBounds), [`OutOfSpace`](Error::OutOfSpace) from [`to_vec`](Self::to_vec) if there is no memory
/// for the copy, and those of [`Mutex`](crate::Mutex).
///
/// Making and finding: [`AlreadyExists`](crate::Error::AlreadyExists), [`NotFound`](crate::Error::NotFound),
/// [`TypeMismatch`](crate::Error::TypeMismatch), [`InvalidName`](crate::Error::InvalidName),
/// [`OutOfSpace`](crate::Error::OutOfSpace), [`TooManyObjects`](crate::Error::TooManyObjects),
/// [`Corrupt`](crate::Error::Corrupt), and [`Timeout`](crate::Error::Timeout) if another process has been at making an object for
/// 10 seconds (it may be stopped).
///
/// # Bytes
/// 64, aligned up to `T`, and those of the items.
///
/// # Examples
/// ```
/// use commonhold::{Array, Segment};
///
/// # fn main() -> commonhold::Result<()> {
/// let seg = Segment::anonymous(1 << 16)?;
/// let grid = Array::from_slice(&seg, "grid", &[1, 2, 3])?;
/// for n in grid.lock()?.iter_mut() {
///     *n += 1;
/// }
/// grid.set(0, 10)?;
/// assert_eq!(grid.to_vec()?, [10, 3, 4]);
/// # Ok(())
/// # }
/// ```
pub struct Array<T> {
    placed: Placed<ArrayControl>,
    _items: PhantomData<T>,
}

/// The lock, on a line of its own, so that waiting for it does not disturb the holder's work on the first items.
#[repr(C, align(64))]
pub(crate) struct ArrayControl {
    pub(crate) lock: RawMutex,
    pub(crate) reserved: [u32; 14],
}

// SAFETY: an atomic word, and reserved bytes that nobody reads; `repr(C)`.
unsafe impl crate::sys::map::InRegion for ArrayControl {}

const _: () = assert!(size_of::<ArrayControl>() == 64);

// SAFETY: the items are reached only under the lock, by one thread at a time, and `T: Send`.
unsafe impl<T: InPlace> Send for Array<T> {}
// SAFETY: as above.
unsafe impl<T: InPlace> Sync for Array<T> {}

impl<T: InPlace> Array<T> {
    const SHAPE: Shape = Shape::new::<ArrayControl>(Kind::Array, size_of::<T>(), align_of::<T>());

    /// Makes an array of `len` items, all of them `value`, in 64 bytes, aligned up to `T`, and those of the items.
    pub fn create(segment: &Segment, name: &str, len: usize, value: T) -> Result<Self> {
        let fill = |at: NonNull<u8>| fill(at.cast::<T>(), std::iter::repeat_n(value, len));
        let placed = Placed::create::<T>(segment, name, Self::SHAPE, len, fill)?;
        Ok(Self::of(placed))
    }

    /// Makes an array that holds a copy of `items`, in as many bytes as [`create`](Self::create).
    pub fn from_slice(segment: &Segment, name: &str, items: &[T]) -> Result<Self> {
        let fill = |at: NonNull<u8>| fill(at.cast::<T>(), items.iter().copied());
        let placed = Placed::create::<T>(segment, name, Self::SHAPE, items.len(), fill)?;
        Ok(Self::of(placed))
    }

    /// Finds the array of that name, however many items it has.
    pub fn open(segment: &Segment, name: &str) -> Result<Self> {
        let placed = Placed::open::<T>(segment, name, Self::SHAPE, None)?;
        Ok(Self::of(placed))
    }

    /// Finds the array of that name, or makes it. One of another length is a [`TypeMismatch`](Error::TypeMismatch).
    pub fn open_or_create(segment: &Segment, name: &str, len: usize, value: T) -> Result<Self> {
        let fill = |at: NonNull<u8>| fill(at.cast::<T>(), std::iter::repeat_n(value, len));
        let placed = Placed::open_or_create::<T>(segment, name, Self::SHAPE, len, fill)?;
        Ok(Self::of(placed))
    }

    fn of(placed: Placed<ArrayControl>) -> Self {
        Array {
            placed,
            _items: PhantomData,
        }
    }

    /// How many items there are.
    pub fn len(&self) -> usize {
        self.placed.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A copy of item `index`.
    pub fn get(&self, index: usize) -> Result<T> {
        self.check(index)?;
        let item = self.lock()?[index];
        self.placed.check_whole()?;
        Ok(item)
    }

    /// Replaces item `index`.
    pub fn set(&self, index: usize, item: T) -> Result<()> {
        self.check(index)?;
        self.lock()?[index] = item;
        Ok(())
    }

    /// A copy of all items, as they were at one moment.
    pub fn to_vec(&self) -> Result<Vec<T>> {
        // Room first: allocating may take long. And it may fail: how many items there are, the array's maker said.
        let mut items = Vec::new();
        items
            .try_reserve_exact(self.len())
            .map_err(|_| Error::no_memory(self.len() * size_of::<T>()))?;
        items.extend_from_slice(&self.lock()?);
        self.placed.check_whole()?;
        Ok(items)
    }

    #[inline]
    fn locker(&self) -> Locker<'_, [T]> {
        let first = self.placed.data().cast::<T>();
        Locker {
            segment: self.placed.segment(),
            member: self.placed.member(),
            raw: &self.placed.control().lock,
            spin: &self.placed.spin,
            data: NonNull::slice_from_raw_parts(first, self.len()),
        }
    }

    /// Locks the whole array, waiting as long as it takes; the guard is the slice of the items.
    #[inline]
    pub fn lock(&self) -> Result<MutexGuard<'_, [T]>> {
        self.locker().lock()
    }

    /// Locks the whole array if nobody has; [`WouldBlock`](Error::WouldBlock) otherwise.
    #[inline]
    pub fn try_lock(&self) -> Result<MutexGuard<'_, [T]>> {
        self.locker().try_lock()
    }

    /// Locks the whole array, waiting at most `timeout`.
    pub fn lock_timeout(&self, timeout: Duration) -> Result<MutexGuard<'_, [T]>> {
        self.locker().lock_timeout(timeout)
    }

    /// Locks the whole array, also when it is poisoned; see [`Mutex::recover`](crate::Mutex::recover).
    pub fn recover(&self) -> Result<MutexGuard<'_, [T]>> {
        self.locker().recover()
    }

    /// As [`recover`](Self::recover), waiting at most `timeout`.
    pub fn recover_timeout(&self, timeout: Duration) -> Result<MutexGuard<'_, [T]>> {
        self.locker().recover_timeout(timeout)
    }

    /// Whether the state is in doubt: since a holder's death was met (or a holder panicked), until a guard of
    /// [`recover`](Self::recover) is dropped. A death that nobody has met yet does not count.
    pub fn is_poisoned(&self) -> bool {
        self.placed.control().lock.is_poisoned()
    }

    fn check(&self, index: usize) -> Result<()> {
        let len = self.len();
        if index >= len {
            return Err(Error::OutOfBounds { index, len });
        }
        Ok(())
    }
}

/// Writes `items`, one after another, from `first` on.
fn fill<T: InPlace>(first: NonNull<T>, items: impl ExactSizeIterator<Item = T>) {
    if size_of::<T>() == 0 {
        // There may be 2^63 of them, and nothing to write.
        return;
    }
    for (i, item) in items.enumerate() {
        // SAFETY: the object has room for as many items as its length says, which is the iterator's; nobody else knows of
        // it yet.
        unsafe { first.add(i).write(item) };
    }
}

impl<T> Clone for Array<T> {
    fn clone(&self) -> Self {
        Array {
            placed: self.placed.clone(),
            _items: PhantomData,
        }
    }
}

travels!([T: InPlace] Array<T>, placed);

impl<T> std::fmt::Debug for Array<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Array").field(&self.placed).finish()
    }
}
