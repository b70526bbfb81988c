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
/// Of `attempt` `Empty`, `Full` and `WouldBlock` mean: not yet. It takes nothing then.
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

impl<R, W: Fn() -> Wanted, A: FnMut() -> Result<R>> Until<W, A> {
    pub(crate) fn new(wanted: W, attempt: A) -> Until<W, A> {
        Until {
            wanted,
            attempt,
            what: None,
            waits: None,
        }
    }

    /// `None`: not yet.
    fn attempt(&mut self) -> Option<Result<R>> {
        match (self.attempt)() {
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
                let done = self.attempt()?;
                self.leave(done.is_ok());
                return Some(done);
            }
            return self.use_turn(&waits, cx);
        }
        self.attempt_or_wait(cx)
    }

    fn attempt_or_wait(&mut self, cx: &mut Context<'_>) -> Option<Result<R>> {
        match self.attempt() {
            None => self.wait(cx),
            done => done,
        }
    }

    /// The turn is passed on when there is more than we take, or we go away.
    fn use_turn(&mut self, had: &Waits, cx: &mut Context<'_>) -> Option<Result<R>> {
        let done = self.attempt_or_wait(cx);
        match &done {
            Some(done) => had.leave_turn(done.is_ok()),
            // It may be dropped instead of polled.
            None if self.waits.is_none() => had.leave_turn(false),
            None => {}
        }
        done
    }

    /// Registers, tries, and leaves the waker. `Some`: there is no need to wait.
    fn wait(&mut self, cx: &mut Context<'_>) -> Option<Result<R>> {
        if self.what.is_none() {
            self.what = Some((self.wanted)().0);
        }
        for tries in (0..TRIES).rev() {
            let what = self.what.as_ref().expect("said above");
            let (thing, serves) = match what {
                What::Lock(lock) => {
                    // For those who sleep on, the driver has put the bits back.
                    let ticket = lock.raw().freed.register(lock.members());
                    (Thing::Lock(lock.clone(), ticket), Serves::One)
                }
                What::Signal(source, serves) => {
                    let ticket = source.signal().register(source.members());
                    (Thing::Signal(source.clone(), ticket), *serves)
                }
            };
            if let Some(done) = self.attempt() {
                return Some(done);
            }
            // Of a lock the driver sees for itself whether it is free.
            let mut doubtful = false;
            if let Thing::Signal(source, _) = &thing {
                doubtful = source.is_ready(Look::AtOnce);
                if doubtful && tries != 0 {
                    continue;
                }
            }
            match Driver::add(&thing, serves, cx.waker(), doubtful) {
                Ok(Some((driver, key))) => {
                    self.waits = Some(Waits { driver, thing, key });
                    return None;
                }
                Ok(None) => {}
                Err(e) => return Some(Err(e)),
            }
        }
        // It changes all the time: let others run in between.
        cx.waker().wake_by_ref();
        None
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
        let look = || match source.is_ready(Look::AtOnce) {
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

impl<R, W: Fn() -> Wanted, A: FnMut() -> Result<R>> Future for Until<W, A> {
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

#[cfg(test)]
mod tests {
    use super::table::{Added, Entry, Table};
    use super::*;
    use crate::Segment;
    use crate::raw::MemberId;
    use crate::raw::mutex::{Heir, RawMutex};
    use crate::segment::Inner;
    use crate::sys::deadline::now;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::task::{Wake, Waker};
    use std::time::Duration;

    const LONG: Duration = Duration::from_secs(5);

    /// A lock that those who have passed it need not hold.
    struct Gate {
        segment: Segment,
        raw: RawMutex,
    }

    struct Shut(Arc<Gate>);

    impl Lock for Shut {
        fn members(&self) -> &Inner {
            self.0.segment.inner()
        }

        fn raw(&self) -> &RawMutex {
            &self.0.raw
        }

        fn is_kept(&self) -> bool {
            false
        }
    }

    impl Gate {
        fn me(&self) -> MemberId {
            self.segment.inner().me().unwrap()
        }
    }

    /// Takes the gate again at once, before it says who was woken.
    struct Woken {
        gate: Arc<Gate>,
        said: Sender<()>,
    }

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            let gate = &self.gate;
            let _ = gate
                .raw
                .try_lock(gate.segment.inner(), gate.me(), Heir::Inherits);
            self.said.send(()).unwrap();
        }
    }

    fn waker(gate: &Arc<Gate>) -> (Waker, Receiver<()>) {
        let (said, hears) = channel();
        let gate = gate.clone();
        (Arc::new(Woken { gate, said }).into(), hears)
    }

    /// The wake was for the first, which went away before the driver looked; somebody else sleeps on, of whom no unlock would know.
    #[test]
    fn a_wake_whose_future_has_gone_is_no_secret_of_the_one_that_comes_next() {
        let gate = Arc::new(Gate {
            segment: Segment::anonymous(1 << 16).unwrap(),
            raw: RawMutex::new(),
        });
        let waker = Waker::noop();
        let entry = || Entry {
            waker: waker.clone(),
            serves: Serves::One,
        };
        let thing = || {
            let ticket = gate.raw.freed.register(gate.segment.inner());
            Thing::Lock(Arc::new(Shut(gate.clone())), ticket)
        };
        // Without its driver, whose part the test plays.
        let mut table = Table::default();
        assert!(gate.raw.lock_at_once(gate.me()));
        let first = thing();
        let Added::At(key, _) = table.add(&first, entry(), false) else {
            panic!("nothing has changed");
        };
        assert!(table.look(now()).chosen.is_empty());
        assert!(gate.raw.freed.has_sleepers());

        gate.raw.unlock();
        assert!(!gate.raw.freed.has_sleepers(), "they go with the wake");
        table.remove(&first, key);
        assert!(matches!(table.add(&thing(), entry(), false), Added::At(..)));
        assert_eq!(table.look(now()).chosen.len(), 1);
        assert!(gate.raw.freed.has_sleepers());
    }

    /// The gate was shut again before it came, and open when it had registered anew. It holds nothing, so no unlock of its own wakes the next.
    #[test]
    fn one_who_comes_in_though_it_had_its_turn_in_vain_passes_it_on() {
        let gate = Arc::new(Gate {
            segment: Segment::anonymous(1 << 16).unwrap(),
            raw: RawMutex::new(),
        });
        assert!(gate.raw.lock_at_once(gate.me()));
        let wanted = || Wanted::lock(Shut(gate.clone()));
        // Twice before it waits, and once with the turn.
        let mut shut = 3;
        let mut first = Until::new(wanted, || match shut {
            0 => Ok(()),
            _ => {
                shut -= 1;
                Err(Error::WouldBlock)
            }
        });
        let mut second = Until::new(wanted, || Err::<(), _>(Error::WouldBlock));
        let (of_first, first_is_woken) = waker(&gate);
        let (of_second, second_is_woken) = waker(&gate);
        let poll_first =
            |first: &mut _| Future::poll(Pin::new(first), &mut Context::from_waker(&of_first));
        assert!(poll_first(&mut first).is_pending());
        let mut cx = Context::from_waker(&of_second);
        assert!(Pin::new(&mut second).poll(&mut cx).is_pending());
        gate.raw.unlock();
        first_is_woken.recv_timeout(LONG).unwrap();
        assert!(matches!(poll_first(&mut first), Poll::Ready(Ok(()))));
        second_is_woken.recv_timeout(LONG).unwrap();
        drop(second);
        gate.raw.unlock();
    }
}
