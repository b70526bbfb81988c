//! Waiting for a readers-writer lock without a thread.

use super::rwlock::RwLock;
use super::rwlock_guards::{RwLockReadGuard, RwLockWriteGuard};
use crate::error::{Error, Result};
use crate::futures::{Lock, Serves, Until, Wanted};
use crate::plain::InPlace;
use crate::raw::MemberId;
use crate::raw::mutex::RawMutex;
use crate::raw::rwlock::RawRwLock;
use crate::raw::select::Source;
use crate::raw::signal::RawSignal;
use crate::raw::wait::Look;
use crate::segment::{Inner, Placed};
use crate::select::Awaited;

impl<T: InPlace + Sync> RwLock<T> {
    /// As [`read`](Self::read), without a thread that waits: a future for any runtime. Dropped before it is ready, it reads nothing.
    ///
    /// The guard is not `Send`: a task that may move between threads drops it before its next `await`, as with std's.
    /// What holds for all futures is said at [`Queue::recv_async`](crate::Queue::recv_async).
    pub fn read_async(&self) -> impl Future<Output = Result<RwLockReadGuard<'_, T>>> + Send + '_ {
        Until::new(|| self.gate(false), || self.try_read())
    }

    /// As [`write`](Self::write), without a thread that waits: a future for any runtime. Dropped before it is ready, it writes nothing.
    ///
    /// As a thread that waits to write does, it lets no new readers in while it waits for others to leave. So one that has been polled
    /// is polled on, or dropped: left alone, it may keep all others out, as a guard does. The guard is as that of
    /// [`read_async`](Self::read_async).
    #[expect(clippy::manual_async_fn, reason = "the signature says that it is Send")]
    pub fn write_async(&self) -> impl Future<Output = Result<RwLockWriteGuard<'_, T>>> + Send + '_ {
        async move {
            let enter = || {
                let me = self.me()?;
                let (raw, lines) = (self.placed.control(), self.placed.of_members());
                let entered = raw
                    .begin_to_enter(lines, self.placed.inner(), me)
                    .map_err(|e| self.unless_lost(e))?;
                Ok((me, entered))
            };
            let (me, entered) = Until::new(|| self.gate(true), enter).await?;
            if !entered {
                self.wait_at_the_gate(me).await?;
            }
            RwLockWriteGuard::new(&self.placed, me)
        }
    }

    /// Until nobody reads. The gate is `me`'s; an error, or a drop, leaves it.
    fn wait_at_the_gate(&self, me: MemberId) -> impl Future<Output = Result<()>> + Send + '_ {
        let mut gate = Some(AtTheGate {
            placed: &self.placed,
            me,
        });
        // The one that has the gate is the only one that waits: nobody has a turn to pass on.
        let left = || Wanted::signal(self.readers_left(), Serves::All);
        Until::new(left, move || {
            if !self.placed.inner().is_me(me) {
                self.placed.check_whole()?;
                return Err(Error::InvalidArgument(
                    "the future was inherited across a fork: the lock is the parent's, lock it anew",
                ));
            }
            let raw = self.placed.control();
            let entered = raw.go_on_to_enter(self.placed.of_members(), self.placed.inner());
            if matches!(entered, Ok(false)) {
                return Err(Error::WouldBlock);
            }
            // It is a writer's now, or it was left.
            std::mem::forget(gate.take());
            entered.map(drop).map_err(|e| self.unless_lost(e))
        })
    }

    /// What a writer waits for that has the gate.
    pub(crate) fn readers_left(&self) -> Awaited {
        let placed = self.placed.clone();
        Awaited::of(Left { placed })
    }

    fn gate(&self, is_kept: bool) -> Wanted {
        Wanted::lock(Gate {
            placed: self.placed.clone(),
            is_kept,
        })
    }
}

/// That a reader has left.
struct Left {
    placed: Placed<RawRwLock>,
}

impl Source<Inner> for Left {
    fn members(&self) -> &Inner {
        self.placed.inner()
    }

    fn signal(&self) -> &RawSignal {
        &self.placed.control().left
    }

    fn is_ready(&self, _: Look) -> bool {
        false
    }
}

struct Gate {
    placed: Placed<RawRwLock>,
    is_kept: bool,
}

impl Lock for Gate {
    fn members(&self) -> &Inner {
        self.placed.inner()
    }

    fn raw(&self) -> &RawMutex {
        &self.placed.control().gate
    }

    fn is_kept(&self) -> bool {
        self.is_kept
    }
}

/// Leaves the gate when it is dropped, unless it is another's by then.
struct AtTheGate<'a> {
    placed: &'a Placed<RawRwLock>,
    me: MemberId,
}

impl Drop for AtTheGate<'_> {
    fn drop(&mut self) {
        if self.placed.inner().is_me(self.me) {
            self.placed.control().gate.unlock_all();
        }
    }
}
