//! One operation, in the crate and in the model.

use crate::members::{Guard, Held, LOCKS, Lock, Owned, World, both};
use crate::model::ITEMS;
use crate::{EndOfGuard, How, Op, Wait};
use commonhold::{Array, Condvar, Error, MutexGuard, Result};
use commonhold_fuzz::{AT_ONCE, SOON, apart, catch, check, panic_on_purpose};
use std::rc::Rc;

impl World {
    pub fn step(&mut self, op: &Op) {
        match *op {
            Op::Join(place) => self.join(place),
            Op::DropSegment(place) => self.member(place).segment = None,
            Op::DropLock(by) => *self.lock_slot(by) = None,
            Op::DropCondvar(by) => *self.condvar_slot(by) = None,
            Op::Clone(by) => {
                if let Some(slot) = self.lock_slot(by) {
                    *slot = Rc::new(Owned {
                        handle: slot.handle.clone(),
                        life: slot.life.clone(),
                    });
                }
                if let Some(slot) = self.condvar_slot(by) {
                    slot.handle = slot.handle.clone();
                }
            }
            Op::Open { by, or_create } => self.reopen(by, or_create),
            Op::Lock { by, how } => {
                if let Some(lock) = self.lock_slot(by).clone() {
                    self.lock(&lock, usize::from(by.which) % LOCKS, how);
                }
            }
            Op::Write { guard, at, number } => {
                let which = usize::from(guard) % LOCKS;
                if let Some(held) = &mut self.guards[which] {
                    let at = usize::from(at) % ITEMS;
                    held.guard.items()[at] = number;
                    self.models[which].items[at] = number;
                }
            }
            Op::Unlock { guard, end } => self.unlock(usize::from(guard) % LOCKS, end),
            Op::Wait { guard, by, how } => {
                let which = usize::from(guard) % LOCKS;
                // A clone, so that the handle may be anybody's.
                let Some(condvar) = self.condvar_slot(by).as_ref().map(|c| c.handle.clone()) else {
                    return;
                };
                if let Some(held) = self.guards[which].take() {
                    self.wait(held, which, &condvar, how);
                }
            }
            Op::Rw(ref op) => self.rw_step(op),
            Op::Notify { by, all } => {
                if let Some(condvar) = self.condvar_slot(by) {
                    if all {
                        condvar.handle.notify_all();
                    } else {
                        condvar.handle.notify_one();
                    }
                }
            }
            Op::Get { mut by, at } => {
                by.which = 0;
                let at = usize::from(at) % (ITEMS + 1);
                self.momentarily(by, at, |a| a.get(at), |items| items[at]);
            }
            Op::Set { mut by, at, number } => {
                by.which = 0;
                let at = usize::from(at) % (ITEMS + 1);
                let set = |items: &mut [u32]| items[at] = number;
                self.momentarily(by, at, |a| a.set(at, number), set);
            }
            Op::ToVec(mut by) => {
                by.which = 0;
                self.momentarily(by, 0, Array::to_vec, |items| items.to_vec());
            }
            Op::Members(place) => {
                let living = self.living();
                if let Some(segment) = &self.member(place).segment {
                    let members = segment.handle.members();
                    assert_eq!(members.iter().filter(|m| m.alive).count(), living);
                    assert_eq!(members.iter().filter(|m| m.is_me).count(), 1);
                    assert!(members.iter().all(|m| m.pid == std::process::id()));
                }
            }
            Op::Beside { member, ref op } => self.step_beside(member, op),
            Op::Show(by) => {
                let shown = self
                    .lock_slot(by)
                    .as_ref()
                    .map(|l| format!("{:?}", l.handle));
                assert!(shown.is_none_or(|s| s.contains("Object")));
                for held in self.guards.iter_mut().flatten() {
                    assert!(format!("{:?}", held.guard).contains('['));
                }
            }
        }
    }

    fn lock(&mut self, lock: &Rc<Owned<Lock>>, which: usize, how: How) {
        let model = &mut self.models[which];
        let (handle, life) = (&lock.handle, &lock.life);
        if how == How::WhilePanicking {
            let mut end = None;
            let got = catch(|| {
                let _lock_and_unlock =
                    OnDrop(|| end = Some(both!(handle, l => l.try_lock()).map(drop)));
                panic_on_purpose()
            });
            assert!(got.is_none());
            let want = model.lock(life).unwrap_or(Err(Error::WouldBlock));
            if want.is_ok() {
                model.unlock(false);
            }
            return check(end.expect("the destructor ran"), want);
        }
        let got = match how {
            How::Lock if !model.is_held() => both!(handle, l => l.lock()),
            How::Recover if !model.is_held() => both!(handle, l => l.recover()),
            How::Timeout => both!(handle, l => l.lock_timeout(AT_ONCE)),
            _ => both!(handle, l => l.try_lock()),
        };
        let would_wait = match how {
            How::Timeout => Error::Timeout,
            _ => Error::WouldBlock,
        };
        let want = match how {
            How::Recover => model.recover(life).map(Ok),
            _ => model.lock(life),
        };
        let (held, got) = apart(got.map(|guard| Held::new(lock, guard)));
        check(got, want.unwrap_or(Err(would_wait)));
        if held.is_some() {
            self.guards[which] = held;
        }
    }

    fn unlock(&mut self, which: usize, end: EndOfGuard) {
        let Some(held) = self.guards[which].take() else {
            return;
        };
        match end {
            EndOfGuard::Drop => {
                drop(held);
                self.models[which].unlock(false);
            }
            EndOfGuard::Panic => {
                let got = catch(|| {
                    let _held = held;
                    panic_on_purpose()
                });
                assert!(got.is_none());
                self.models[which].unlock(true);
            }
            EndOfGuard::Forget | EndOfGuard::Die => {
                let Held { guard, lock } = held;
                std::mem::forget(guard);
                if matches!(end, EndOfGuard::Die) {
                    self.leave(&lock.life);
                }
                // The handle goes, and with the last one of the member its life.
                drop(lock);
            }
        }
    }

    fn wait(&mut self, held: Held, which: usize, condvar: &Condvar, how: Wait) {
        let Held { guard, lock } = held;
        let model = &mut self.models[which];
        let end = match guard {
            Guard::Mutex(g) => wait(condvar, g, how, &mut model.items, Guard::Mutex),
            Guard::Array(g) => wait(condvar, g, how, &mut model.items, Guard::Array),
        };
        // Nobody else is there: what was unlocked is got again, and was declared sound if it was unlocked.
        match end {
            Some(Ok((guard, unlocked))) => {
                if unlocked {
                    model.poisoned = false;
                }
                self.guards[which] = Some(Held { guard, lock });
            }
            Some(Err(e)) => panic!("the mutex is lost: {e:?}"),
            None => model.unlock(true),
        }
    }

    /// An array's call that locks, and unlocks before it returns.
    fn momentarily<R: std::fmt::Debug + PartialEq>(
        &mut self,
        by: crate::By,
        at: usize,
        call: impl FnOnce(&Array<u32>) -> Result<R>,
        done: impl FnOnce(&mut [u32]) -> R,
    ) {
        let Some(lock) = self.lock_slot(by).clone() else {
            return;
        };
        let Lock::Array(array) = &lock.handle else {
            unreachable!("the first lock is an array")
        };
        let model = &mut self.models[0];
        if at >= ITEMS {
            // An index is judged without the lock, whoever has it.
            return check(
                call(array),
                Err(Error::OutOfBounds {
                    index: at,
                    len: ITEMS,
                }),
            );
        }
        if model.is_held() {
            // It would wait for ever.
            return;
        }
        let got = call(array);
        let want = model.lock(&lock.life).expect("nobody holds it");
        let want = want.map(|()| {
            model.unlock(false);
            done(&mut model.items)
        });
        check(got, want);
    }
}

/// Calls when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// The guard, and whether the mutex was unlocked meanwhile. `None`: the condition panicked.
fn wait<'a, T: ?Sized + AsMut<[u32]>>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    how: Wait,
    items: &mut [u32; ITEMS],
    as_guard: impl FnOnce(MutexGuard<'a, T>) -> Guard<'a>,
) -> Option<Result<(Guard<'a>, bool)>> {
    let mut asked = 0;
    let mut condition = |state: &mut T, most: u8| {
        asked += 1;
        let first = &mut state.as_mut()[0];
        *first = first.wrapping_add(1);
        asked <= u32::from(most)
    };
    let end = match how {
        Wait::Timeout { sleeps } => {
            let timeout = if sleeps { SOON } else { AT_ONCE };
            let end = condvar.wait_timeout(guard, timeout);
            return Some(end.map(|(guard, result)| {
                assert!(result.timed_out(), "nobody notifies, and nobody dies");
                (as_guard(guard), true)
            }));
        }
        Wait::TimeoutWhile(most) => {
            let end = condvar.wait_timeout_while(guard, SOON, |state| condition(state, most));
            end.map(|(guard, result)| {
                assert_eq!(result.timed_out(), asked <= u32::from(most));
                guard
            })
        }
        Wait::While => condvar.wait_while(guard, |state| condition(state, 0)),
        Wait::Panics => {
            let end = catch(|| condvar.wait_while(guard, |_| panic_on_purpose()));
            assert!(end.is_none());
            return None;
        }
    };
    items[0] = items[0].wrapping_add(asked);
    // It is asked once before each wait, and once at the end.
    Some(end.map(|guard| (as_guard(guard), asked > 1)))
}
