//! The value that is always whole.

use super::watch::Watch;
use crate::error::{Error, Result};
#[cfg(feature = "async")]
use crate::futures::{Serves, Until, Wanted};
use crate::layout::fingerprint::Kind;
use crate::plain::Plain;
use crate::raw::looking_twice::looking_twice;
use crate::raw::select::Source;
use crate::raw::signal::{Ended, FIRST_NAP, RawSignal};
use crate::raw::versioned::{RawVersioned, copy_of};
use crate::raw::wait::Look;
use crate::raw::{Call, Nap};
use crate::segment::{Inner, Placed, Segment, Shape, travels};
use crate::select::Awaited;
use crate::sys::copy;
use crate::sys::deadline::Deadline;
use crate::sys::map::InRegion;
use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
/// With the feature `process`, a handle is a serde value that [travels to other processes](crate::Segment#sending-it-to-another-process).
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
/// 24, aligned up to `T`, and twice those of `T` (each rounded up to 8 if more than 4). Made for values of up to a few
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

    /// Makes a value, in 24 bytes, aligned up to `T`, and twice those of `T` (each rounded up to 8 if more than 4).
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
        let (value, ()) = self.read_by(deadline, |_| ())?;
        value.ok_or_else(|| Error::Corrupt)
    }

    /// The value, if the bytes are one, and what `note` makes of its version.
    #[inline]
    fn read_by<N>(&self, deadline: Deadline, note: impl Fn(u64) -> N) -> Result<(Option<T>, N)> {
        let raw = self.placed.control();
        let copy = |version| (self.load(copy_of(version)), note(version));
        let (bits, noted) = match raw.try_read(copy) {
            Some(read) => read,
            None => {
                raw.read_against_writers(deadline, |deadline| self.placed.call(deadline), copy)?
            }
        };
        self.placed.check_whole()?;
        Ok((copy::judge(&bits), noted))
    }

    /// The value, if the bytes are one, and its version.
    pub(super) fn read_version(&self, deadline: Deadline) -> Result<(Option<T>, u64)> {
        self.read_by(deadline, |version| version)
    }

    /// A number that each write changes.
    pub(super) fn version(&self) -> Result<u64> {
        let version = self.placed.control().version();
        self.placed.check_whole().map(|()| version)
    }

    /// Makes a [`Watch`] of this value: a receiver of what is written from here on.
    pub fn watch(&self) -> Result<Watch<T>> {
        Watch::of(self)
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

    /// As [`wait_until`](Self::wait_until), without a thread that waits: a future for any runtime.
    ///
    /// What holds for all futures is said at [`Queue::recv_async`](crate::Queue::recv_async).
    #[cfg(feature = "async")]
    pub fn wait_until_async(
        &self,
        mut is_it: impl FnMut(&T) -> bool + Send,
    ) -> impl Future<Output = Result<T>> + Send {
        // Whether it is ready `is_it` alone can say; as a change serves all, nobody else need know.
        let wanted = || {
            let change = Awaited::new(&self.placed, |raw| &raw.changed, |_, _| false);
            Wanted::signal(change, Serves::All)
        };
        Until::new(wanted, move || {
            self.placed.call(Deadline::PASSED)?;
            Some(at_once(self.get_by(Deadline::PASSED))?)
                .filter(&mut is_it)
                .ok_or_else(|| Error::WouldBlock)
        })
    }

    fn wait_by(&self, deadline: Deadline, mut is_it: impl FnMut(&T) -> bool) -> Result<T> {
        self.wait_for(deadline, || {
            Ok(Some(self.get_by(deadline)?).filter(&mut is_it))
        })
    }

    /// Waits until `look`, which is asked after each change, finds something.
    pub(super) fn wait_for<R>(
        &self,
        deadline: Deadline,
        mut look: impl FnMut() -> Result<Option<R>>,
    ) -> Result<R> {
        let mut call = self.placed.call(deadline)?;
        let raw = self.placed.control();
        if let Some(value) = look()? {
            return Ok(value);
        }
        let mut spin = call.spin.begin();
        let mut version = raw.version();
        while spin.look_again() {
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
        let seen = Cell::new(version);
        // Writers make no fence.
        let is_written = || raw.version() != seen.get();
        loop {
            let found = looking_twice(&call, &is_written, |call| {
                loop {
                    let ticket = raw.changed.register(call.members);
                    seen.set(raw.version());
                    if let Some(value) = look()? {
                        return Ok(Some(value));
                    }
                    match raw.changed.wait(&ticket, call, nap) {
                        Ended::Notified | Ended::Told => {}
                        Ended::Death | Ended::Bound => nap = Nap::UntilDeath,
                        Ended::TimedOut => return look()?.map(Some).ok_or_else(|| Error::Timeout),
                        Ended::Lost => return Ok(None),
                    }
                    // A wait that ends by a notify has not looked, and writers may be quicker than we look, each time.
                    if deadline.has_passed() {
                        return look()?.map(Some).ok_or_else(|| Error::Timeout);
                    }
                }
            })?;
            if let Some(value) = found {
                return Ok(value);
            }
            self.placed.check_whole()?;
            // What was asked forked, and we are the child: it waits on in its own name.
            call = self.placed.call(deadline)?;
        }
    }

    /// That the value was written since now, or since a select last said so.
    pub(crate) fn change(&self) -> Awaited {
        Awaited::of(Change {
            seen: AtomicU64::new(self.placed.control().version()),
            placed: self.placed.clone(),
        })
    }

    /// That the value's version is another than `seen`.
    pub(super) fn change_from(&self, seen: Arc<AtomicU64>) -> Awaited {
        Awaited::new(
            &self.placed,
            |raw| &raw.changed,
            move |placed, _| {
                let version = placed.control().version();
                version != seen.load(Ordering::Relaxed) || placed.check_whole().is_err()
            },
        )
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
            let mut value = copy::judge::<T>(&bits).ok_or_else(|| Error::Corrupt)?;
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

struct Change {
    placed: Placed<RawVersioned>,
    /// The version that was there when it was last named.
    seen: AtomicU64,
}

impl Source<Inner> for Change {
    fn members(&self) -> &Inner {
        self.placed.inner()
    }

    fn signal(&self) -> &RawSignal {
        &self.placed.control().changed
    }

    fn is_ready(&self, _: Look) -> bool {
        self.placed.control().version() != self.seen.load(Ordering::Relaxed)
    }

    fn is_named(&self) {
        // Before the caller's look: what is written after this is another change.
        let version = self.placed.control().version();
        self.seen.store(version, Ordering::Relaxed);
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

travels!([T: Plain] Value<T>, placed);

impl<T> std::fmt::Debug for Value<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Value").field(&self.placed).finish()
    }
}

#[cfg(all(test, not(commonhold_loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;
    use std::time::Instant;

    /// Ends the loops of the other threads, also in a panic.
    struct Done<'a>(&'a AtomicBool);

    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it is so, now or soon: a look succeeds while those who write are kept from running.
    fn soon(mut it_is: impl FnMut() -> bool) -> bool {
        let start = Instant::now();
        std::iter::repeat_with(|| start.elapsed() < Duration::from_secs(60))
            .take_while(|in_time| *in_time)
            .any(|_| it_is())
    }

    #[test]
    fn one_who_only_tries_does_not_wait_for_writers_to_pause() {
        if std::thread::available_parallelism().is_ok_and(|n| n.get() == 1) {
            eprintln!("SKIPPED: with one processor nobody writes while another reads");
            return;
        }
        let seg = Segment::anonymous(1 << 20).unwrap();
        let value = Value::create(&seg, "value", [0u64; 1024]).unwrap();
        let raw = value.placed.control();
        // Another has the turn, and keeps it.
        assert!(raw.writer.lock_at_once(value.placed.inner().me().unwrap()));
        let done = AtomicBool::new(false);
        std::thread::scope(|s| {
            // Several, so that one of them runs while we do.
            for _ in 0..3 {
                s.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        raw.version.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            let _done = Done(&done);
            let mut watch = value.watch().unwrap();
            assert!(soon(
                || watch.has_changed().unwrap() && matches!(watch.try_recv(), Err(Error::Empty))
            ));
            #[cfg(feature = "async")]
            assert!(soon(|| {
                let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
                let mut found = Box::pin(value.wait_until_async(|_| true));
                found.as_mut().poll(&mut cx).is_pending()
            }));
        });
    }
}
