//! Waiting without a thread: std's futures, for any runtime.
//!
//! A future tries what it is for. If that would mean to wait, it registers (as a waiting thread does), tries once more, and leaves its
//! waker with the process's [driver], which sleeps for all. It takes nothing before it is ready; dropped while
//! it waits, it leaves the table, and if it had been chosen by then, it passes its turn on.

mod driver;
mod table;

pub(crate) use table::{Lock, Serves};

use crate::error::{Error, Result};
use crate::raw::wait::Look;
use crate::select::{AnySource, Awaited};
use crate::sys::futex;
use driver::Driver;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use table::{Key, Thing};

/// What a future waits for.
pub(crate) struct Wanted(What);

enum What {
    Signal(Arc<AnySource>, Serves),
    Lock(Arc<dyn Lock>),
}

impl Wanted {
    /// That it is ready. `serves`: how many of those who wait a notify is for.
    pub(crate) fn signal(awaited: Awaited, serves: Serves) -> Wanted {
        Wanted(What::Signal(awaited.source, serves))
    }

    /// That the lock is free.
    pub(crate) fn lock(lock: impl Lock + 'static) -> Wanted {
        Wanted(What::Lock(Arc::new(lock)))
    }
}

/// Tries until it need not wait.
///
/// `attempt` is told whether a wake has chosen this future; `Empty`, `Full` and `WouldBlock` mean: not yet. It takes nothing then.
/// `wanted` says what to wait for, and is asked once, if at all.
pub(crate) struct Until<W, A> {
    wanted: W,
    attempt: A,
    what: Option<What>,
    waits: Option<Waits>,
}

/// An entry in a driver's table.
struct Waits {
    driver: &'static Driver,
    thing: Thing,
    key: Key,
}

/// How often a poll tries anew when what it waits for changes just then, or seems to be there and can't be taken.
const TRIES: u32 = 4;

impl<R, W: Fn() -> Wanted, A: FnMut(bool) -> Result<R>> Until<W, A> {
    pub(crate) fn new(wanted: W, attempt: A) -> Until<W, A> {
        Until {
            wanted,
            attempt,
            what: None,
            waits: None,
        }
    }

    /// `None`: not yet.
    fn attempt(&mut self, was_chosen: bool) -> Option<Result<R>> {
        match (self.attempt)(was_chosen) {
            Err(Error::Empty | Error::Full | Error::WouldBlock) => None,
            other => Some(other),
        }
    }

    fn try_now(&mut self, cx: &mut Context<'_>) -> Option<Result<R>> {
        // In a forked child the entry is the parent's.
        let waits = self.waits.take().filter(|w| w.driver.is_ours());
        if let Some(waits) = waits {
            if waits
                .driver
                .still_waits(&waits.thing, waits.key, cx.waker())
            {
                // It is polled for some other reason. If the attempt panics, the drop takes the entry out.
                self.waits = Some(waits);
                let done = self.attempt(false)?;
                self.leave(done.is_ok());
                return Some(done);
            }
            if let Some(done) = self.attempt(true) {
                waits.leave_turn(done.is_ok());
                return Some(done);
            }
        } else if let Some(done) = self.attempt(false) {
            return Some(done);
        }
        match self.wait(cx) {
            Ok(done) => done,
            Err(e) => Some(Err(e)),
        }
    }

    /// Registers, tries, and leaves the waker. `Some`: there is no need to wait.
    fn wait(&mut self, cx: &mut Context<'_>) -> Result<Option<Result<R>>> {
        if self.what.is_none() {
            self.what = Some((self.wanted)().0);
        }
        for tries in (0..TRIES).rev() {
            let what = self.what.as_ref().expect("said above");
            let (thing, serves) = match what {
                What::Lock(lock) => {
                    // One that had the turn did not get it: others may still sleep.
                    let ticket = lock.raw().freed.register_woken(lock.members());
                    (Thing::Lock(lock.clone(), ticket), Serves::One)
                }
                What::Signal(source, serves) => {
                    let ticket = source.signal().register(source.members());
                    (Thing::Signal(source.clone(), ticket), *serves)
                }
            };
            if let Some(done) = self.attempt(false) {
                return Ok(Some(done));
            }
            // Of a lock the driver sees for itself whether it is free.
            let mut doubtful = false;
            if let Thing::Signal(source, _) = &thing {
                doubtful = source.is_ready(Look::AtOnce);
                if doubtful && tries != 0 {
                    continue;
                }
            }
            if let Some((driver, key)) = Driver::add(&thing, serves, cx.waker(), doubtful)? {
                self.waits = Some(Waits { driver, thing, key });
                return Ok(None);
            }
        }
        if let Some(What::Lock(lock)) = &self.what {
            // If this future is dropped instead of polled, the turn that it may have had is another's.
            futex::wake(lock.raw().freed.word(), 1);
        }
        // It changes all the time: let others run in between.
        cx.waker().wake_by_ref();
        Ok(None)
    }
}

/// Tries until it need not wait, for an endpoint that nobody else uses: what it is ready for nobody else takes.
///
/// `Empty`, `Full` and `WouldBlock` mean: not yet.
pub(crate) async fn when_ready<E, R>(
    endpoint: &mut E,
    awaited: impl Fn(&E) -> Awaited,
    mut attempt: impl FnMut(&mut E) -> Result<R>,
) -> Result<R> {
    // Whether it seemed to be ready, and was not: a scribbler can keep it so.
    let mut in_vain = false;
    loop {
        match attempt(endpoint) {
            Err(Error::Empty | Error::Full | Error::WouldBlock) => {}
            other => return other,
        }
        if std::mem::replace(&mut in_vain, true) {
            let_others_run().await;
        }
        let source = awaited(endpoint).source;
        let wanted = || Wanted(What::Signal(source.clone(), Serves::All));
        let look = |_| match source.is_ready(Look::AtOnce) {
            true => Ok(()),
            // In a region that is lost nothing becomes ready.
            false => source.members().check_whole().and(Err(Error::WouldBlock)),
        };
        Until::new(wanted, look).await?;
    }
}

async fn let_others_run() {
    let mut is_first = true;
    std::future::poll_fn(|cx| match std::mem::take(&mut is_first) {
        true => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
        false => Poll::Ready(()),
    })
    .await
}

impl<W, A> Until<W, A> {
    /// Takes the entry out, and passes the turn on that it may have had. `took`: we go away with what we waited for.
    fn leave(&mut self, took: bool) {
        // As in `try_now`.
        if let Some(waits) = self.waits.take().filter(|w| w.driver.is_ours()) {
            if !waits.driver.remove(&waits.thing, waits.key) {
                waits.leave_turn(took);
            }
        }
    }
}

impl Waits {
    /// We had the turn, and go away. `took`: with what we waited for.
    #[cold]
    fn leave_turn(&self, took: bool) {
        let passes = match &self.thing {
            Thing::Signal(source, _) => source.is_ready(Look::AtOnce),
            // Who has the lock says in it that others sleep.
            Thing::Lock(lock, _) => !(took && lock.is_kept()),
        };
        if passes {
            self.driver.pass_on(&self.thing);
        }
    }
}

// Nothing in it is pinned: it is no borrower of itself.
impl<W, A> Unpin for Until<W, A> {}

impl<R, W: Fn() -> Wanted, A: FnMut(bool) -> Result<R>> Future for Until<W, A> {
    type Output = Result<R>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<R>> {
        match self.try_now(cx) {
            Some(done) => Poll::Ready(done),
            None => Poll::Pending,
        }
    }
}

impl<W, A> Drop for Until<W, A> {
    fn drop(&mut self) {
        self.leave(false);
    }
}
