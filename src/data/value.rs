//! The value that is always whole.

use crate::error::{Error, Result};
use crate::layout::fingerprint::Kind;
use crate::plain::Plain;
use crate::raw::signal::{Ended, FIRST_NAP};
use crate::raw::versioned::RawVersioned;
use crate::raw::{Call, Nap};
use crate::segment::{Inner, Placed, Segment, Shape};
use crate::sys::copy;
use crate::sys::deadline::Deadline;
use crate::sys::map::InRegion;
use std::marker::PhantomData;
use std::time::Duration;

// SAFETY: atomics of which every pattern has a meaning; `repr(C)`.
unsafe impl InRegion for RawVersioned {}

/// A value that is read without a lock, changed in one step, and whole whatever dies.
///
/// Readers copy it out; as long as writers leave them a moment they take no lock and write nothing, and they are never delayed
/// by a writer that is stopped or dead.
/// Writers take turns. An update works on a private copy, writes it beside the current one, and publishes it by
/// one store. `v.update(|n| *n += 1)` is what Python's `value.value += 1` is not: atomic.
///
/// # When a member dies
/// At any instruction of a `set` or an `update`: the others see the old value or the new one, never a mixture, and the next
/// writer goes on. A value is never poisoned; a closure that panics changes nothing.
///
/// # Fairness
/// None among writers. A reader that writers overtake again and again takes a turn among them.
///
/// # Errors
/// [`Corrupt`](Error::Corrupt): the bytes are not a `T`; a peer scribbled on them. [`set`](Self::set) mends it.
/// [`WouldBlock`](Error::WouldBlock) and [`Timeout`](Error::Timeout) from the forms that are named so.
///
/// Making and finding: [`AlreadyExists`](crate::Error::AlreadyExists), [`NotFound`](crate::Error::NotFound),
/// [`TypeMismatch`](crate::Error::TypeMismatch), [`InvalidName`](crate::Error::InvalidName),
/// [`OutOfSpace`](crate::Error::OutOfSpace), [`TooManyObjects`](crate::Error::TooManyObjects),
/// [`Corrupt`](crate::Error::Corrupt), and [`Timeout`](crate::Error::Timeout) if another process has been at making an object for
/// 10 seconds (it may be stopped).
///
/// # Bytes
/// 16, aligned up to `T`, and twice those of `T` (each rounded up to 8 if more than 4). Made for values of up to a few
/// kilobytes: each read and update copies the whole.
///
/// # Examples
/// ```
/// use commonhold::{Segment, Value};
///
/// # fn main() -> commonhold::Result<()> {
/// let seg = Segment::anonymous(1 << 16)?;
/// let position = Value::create(&seg, "position", [0.0f64; 3])?;
/// position.set([1.0, 2.0, 3.0])?;
/// let height = position.update(|p| {
///     p[2] += 1.0;
///     p[2]
/// })?;
/// assert_eq!((height, position.get()?), (4.0, [1.0, 2.0, 4.0]));
/// # Ok(())
/// # }
/// ```
pub struct Value<T> {
    placed: Placed<RawVersioned>,
    _value: PhantomData<T>,
}

// SAFETY: the value is only ever copied in and out, and `T: Send`.
unsafe impl<T: Plain> Send for Value<T> {}
// SAFETY: as above.
unsafe impl<T: Plain> Sync for Value<T> {}

impl<T: Plain> Value<T> {
    const SHAPE: Shape = Shape::new::<RawVersioned>(
        Kind::Value,
        2 * copy::cell_size::<T>(),
        copy::cell_align::<T>(),
    );

    /// Makes a value, in 16 bytes, aligned up to `T`, and twice those of `T` (each rounded up to 8 if more than 4).
    pub fn create(segment: &Segment, name: &str, value: T) -> Result<Self> {
        // SAFETY: two cells' room, aligned, that nobody else knows of yet; copy 0 is current.
        let fill = |at: std::ptr::NonNull<u8>| unsafe { copy::store(at.as_ptr(), &value) };
        let placed = Placed::create::<T>(segment, name, Self::SHAPE, 1, fill)?;
        Ok(Self::of(placed))
    }

    /// Finds the value of that name.
    pub fn open(segment: &Segment, name: &str) -> Result<Self> {
        let placed = Placed::open::<T>(segment, name, Self::SHAPE, None)?;
        Ok(Self::of(placed))
    }

    /// Finds the value of that name, or makes one.
    pub fn open_or_create(segment: &Segment, name: &str, value: T) -> Result<Self> {
        // SAFETY: as in `create`.
        let fill = |at: std::ptr::NonNull<u8>| unsafe { copy::store(at.as_ptr(), &value) };
        let placed = Placed::open_or_create::<T>(segment, name, Self::SHAPE, 1, fill)?;
        Ok(Self::of(placed))
    }

    fn of(placed: Placed<RawVersioned>) -> Self {
        Value {
            placed,
            _value: PhantomData,
        }
    }

    /// The value as it is now. Takes no lock, unless writers overtake it again and again.
    #[inline]
    pub fn get(&self) -> Result<T> {
        self.get_by(Deadline::NEVER)
    }

    #[inline]
    fn get_by(&self, deadline: Deadline) -> Result<T> {
        let raw = self.placed.control();
        let bits = match raw.try_read(|which| self.load(which)) {
            Some(bits) => bits,
            None => raw.read_against_writers(
                deadline,
                |deadline| self.placed.call(deadline),
                |which| self.load(which),
            )?,
        };
        self.placed.check_whole()?;
        copy::judge(&bits).ok_or(Error::Corrupt)
    }

    /// Replaces the value.
    pub fn set(&self, value: T) -> Result<()> {
        self.set_by(&self.placed.call(Deadline::NEVER)?, value)
    }

    /// As [`set`](Self::set); [`WouldBlock`](Error::WouldBlock) if somebody else is writing.
    pub fn try_set(&self, value: T) -> Result<()> {
        at_once(self.set_by(&self.placed.call(Deadline::PASSED)?, value))
    }

    /// As [`set`](Self::set), waiting at most `timeout` for others that are writing.
    pub fn set_timeout(&self, value: T, timeout: Duration) -> Result<()> {
        self.set_by(&self.placed.call(Deadline::after(timeout))?, value)
    }

    /// Changes the value in one step, and returns what `change` returns. Writers wait meanwhile, readers do not.
    ///
    /// If `change` panics, the value stays as it was. `change` must not write to this same value: it would wait for itself.
    pub fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> Result<R> {
        self.update_by(&self.placed.call(Deadline::NEVER)?, change)
    }

    /// As [`update`](Self::update); [`WouldBlock`](Error::WouldBlock) if somebody else is writing.
    pub fn try_update<R>(&self, change: impl FnOnce(&mut T) -> R) -> Result<R> {
        at_once(self.update_by(&self.placed.call(Deadline::PASSED)?, change))
    }

    /// As [`update`](Self::update), waiting at most `timeout` for others that are writing.
    pub fn update_timeout<R>(
        &self,
        timeout: Duration,
        change: impl FnOnce(&mut T) -> R,
    ) -> Result<R> {
        self.update_by(&self.placed.call(Deadline::after(timeout))?, change)
    }

    /// Waits until `is_it` is true of the value, and returns that value.
    ///
    /// `is_it` may be asked more than once about the same value, and not about each value if they change quickly.
    pub fn wait_until(&self, is_it: impl FnMut(&T) -> bool) -> Result<T> {
        self.wait_by(Deadline::NEVER, is_it)
    }

    /// As [`wait_until`](Self::wait_until), at most for `timeout`.
    pub fn wait_until_timeout(
        &self,
        timeout: Duration,
        is_it: impl FnMut(&T) -> bool,
    ) -> Result<T> {
        self.wait_by(Deadline::after(timeout), is_it)
    }

    fn wait_by(&self, deadline: Deadline, mut is_it: impl FnMut(&T) -> bool) -> Result<T> {
        let mut call = self.placed.call(deadline)?;
        let raw = self.placed.control();
        let mut look = || Ok::<_, Error>(Some(self.get_by(deadline)?).filter(&mut is_it));
        if let Some(value) = look()? {
            return Ok(value);
        }
        let mut spin = call.spin.begin();
        let mut version = raw.version();
        while spin.pause(32) {
            let now = raw.version();
            if now != version {
                version = now;
                if let Some(value) = look()? {
                    spin.paid();
                    return Ok(value);
                }
            }
        }
        spin.was_in_vain();
        let mut nap = FIRST_NAP;
        loop {
            let ticket = raw.changed.register(call.members);
            if let Some(value) = look()? {
                return Ok(value);
            }
            match raw.changed.wait(&ticket, &call, nap) {
                Ended::Notified => {}
                Ended::Death | Ended::Bound => nap = Nap::UntilDeath,
                Ended::TimedOut => return look()?.ok_or(Error::Timeout),
                Ended::Lost => {
                    self.placed.check_whole()?;
                    // `is_it` forked, and we are the child: it waits on in its own name.
                    call = self.placed.call(deadline)?;
                }
            }
            // A wait that ends by a notify has not looked, and writers may be quicker than we look, each time.
            if deadline.has_passed() {
                return look()?.ok_or(Error::Timeout);
            }
        }
    }

    fn set_by(&self, call: &Call<'_, Inner>, value: T) -> Result<()> {
        self.placed.control().write(call, |_, spare| {
            self.store(spare, &value);
            Ok(())
        })
    }

    fn update_by<R>(&self, call: &Call<'_, Inner>, change: impl FnOnce(&mut T) -> R) -> Result<R> {
        self.placed.control().write(call, |current, spare| {
            let bits = self.load(current);
            self.placed.check_whole()?;
            let mut value = copy::judge::<T>(&bits).ok_or(Error::Corrupt)?;
            let result = change(&mut value);
            if !call.members.is_me(call.me) {
                self.placed.check_whole()?;
                return Err(Error::InvalidArgument(
                    "the closure forked: the update is the parent's, update anew in the child",
                ));
            }
            self.store(spare, &value);
            Ok(result)
        })
    }

    #[inline]
    fn cell(&self, which: usize) -> *mut u8 {
        debug_assert!(which < 2);
        let data = self.placed.data().as_ptr();
        // SAFETY: the object has two cells, and `which` is a bit.
        unsafe { data.add((which & 1) * copy::cell_size::<T>()) }
    }

    #[inline]
    fn load(&self, which: usize) -> T::Bits {
        // SAFETY: a cell of a T, by the object's shape.
        unsafe { copy::load::<T>(self.cell(which)) }
    }

    #[inline]
    fn store(&self, which: usize, value: &T) {
        // SAFETY: a cell of a T, by the object's shape.
        unsafe { copy::store(self.cell(which), value) }
    }
}

fn at_once<R>(result: Result<R>) -> Result<R> {
    match result {
        Err(Error::Timeout) => Err(Error::WouldBlock),
        other => other,
    }
}

impl<T> Clone for Value<T> {
    fn clone(&self) -> Self {
        Value {
            placed: self.placed.clone(),
            _value: PhantomData,
        }
    }
}

impl<T> std::fmt::Debug for Value<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Value").field(&self.placed).finish()
    }
}
