//! Condition variables with the locks that they wait with.

use crate::bodies::condvars::{CondvarLike, Held};
use crate::bodies::{Behind, MutexLike, Nudged, Waits};
use crate::stage::Object;
use commonhold::{Array, Condvar, Error, Mutex, Result, Segment};
use std::time::Duration;

/// A condition variable and its lock.
#[derive(Clone)]
pub(crate) struct Condvars<L> {
    condvar: Condvar,
    lock: L,
}

impl<L: Object<Home = Segment>> Object for Condvars<L> {
    type Home = Segment;
    fn create(home: &Segment, name: &str) -> Result<Self> {
        // It and its lock are found by one name; whoever makes the one also makes the other.
        let lock = L::open_or_create(home, &format!("{name}'s lock"))?;
        let condvar = Condvar::create(home, name)?;
        Ok(Condvars { condvar, lock })
    }
    fn open(home: &Segment, name: &str) -> Result<Self> {
        let condvar = Condvar::open(home, name)?;
        let lock = L::open(home, &format!("{name}'s lock"))?;
        Ok(Condvars { condvar, lock })
    }
    fn open_or_create(home: &Segment, name: &str) -> Result<Self> {
        let lock = L::open_or_create(home, &format!("{name}'s lock"))?;
        let condvar = Condvar::open_or_create(home, name)?;
        Ok(Condvars { condvar, lock })
    }
}

/// The number behind the lock, as the condition sees it.
fn first(n: &u64) -> u64 {
    *n
}

fn first_of(ns: &[u64]) -> u64 {
    ns[0]
}

macro_rules! condvar_like {
    ($lock:ty, $number:ident) => {
        impl CondvarLike for Condvars<$lock> {
            type Lock = $lock;
            fn mutex(&self) -> &$lock {
                &self.lock
            }
            fn wait_with<'a>(&self, guard: Held<'a, Self>) -> Result<Held<'a, Self>> {
                self.condvar.wait(guard)
            }
            fn wait_with_timeout<'a>(
                &self,
                guard: Held<'a, Self>,
                timeout: Duration,
            ) -> Result<(Held<'a, Self>, bool)> {
                let (guard, result) = self.condvar.wait_timeout(guard, timeout)?;
                Ok((guard, result.timed_out()))
            }
            fn wait_while<'a>(
                &self,
                guard: Held<'a, Self>,
                mut condition: impl FnMut(u64) -> bool,
            ) -> Result<Held<'a, Self>> {
                self.condvar
                    .wait_while(guard, |behind| condition($number(behind)))
            }
            fn wait_timeout_while<'a>(
                &self,
                guard: Held<'a, Self>,
                timeout: Duration,
                mut condition: impl FnMut(u64) -> bool,
            ) -> Result<(Held<'a, Self>, bool)> {
                let (guard, result) =
                    self.condvar
                        .wait_timeout_while(guard, timeout, |behind| condition($number(behind)))?;
                Ok((guard, result.timed_out()))
            }
            fn notify_one(&self) {
                self.condvar.notify_one();
            }
            fn notify_all(&self) {
                self.condvar.notify_all();
            }
        }
        impl Waits for Condvars<$lock> {
            type Obstacle<'a> = ();
            fn obstruct(&self) {
                self.lock.lock().unwrap().write(0);
            }
            fn let_through(&self, (): ()) {
                self.lock.lock().unwrap().write(1);
                self.condvar.notify_one();
            }
            fn wait(&self) -> Result<()> {
                let guard = MutexLike::lock(&self.lock)?;
                take(CondvarLike::wait_while(self, guard, |n| n == 0)?)
            }
            fn wait_timeout(&self, timeout: Duration) -> Result<()> {
                let guard = MutexLike::lock(&self.lock)?;
                match CondvarLike::wait_timeout_while(self, guard, timeout, |n| n == 0)? {
                    (_, true) => Err(Error::Timeout),
                    (guard, false) => take(guard),
                }
            }
        }
        impl Nudged for Condvars<$lock> {
            fn nudge(&self) {
                self.condvar.notify_all();
            }
        }
    };
}

/// Takes what was waited for.
fn take(mut guard: impl Behind) -> Result<()> {
    guard.write(0);
    Ok(())
}

condvar_like!(Mutex<u64>, first);
condvar_like!(Array<u64>, first_of);
