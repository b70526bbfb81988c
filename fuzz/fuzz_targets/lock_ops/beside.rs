//! What stands beside the mutexes: a reentrant one, events, and what is done once.

use crate::members::World;
use crate::model::Life;
use crate::{EndOfGuard, How};
use arbitrary::Arbitrary;
use commonhold::{Error, Event, Once, ReentrantMutex, ReentrantMutexGuard, Result, Segment};
use commonhold_fuzz::{AT_ONCE, SOON, apart, catch, check, panic_on_purpose};
use std::rc::{Rc, Weak};

#[derive(Arbitrary, Debug)]
pub enum Beside {
    /// Drops a member's handles of all these.
    Drop,
    /// Puts clones in their place.
    Clone,
    Reenter(How),
    /// Drops one of the guards, whosever it is.
    Leave {
        guard: u8,
        end: EndOfGuard,
    },
    Set {
        auto: bool,
    },
    Clear {
        auto: bool,
    },
    Wait {
        auto: bool,
        how: Wait,
    },
    Do {
        which: u8,
        how: Do,
    },
    Show,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Wait {
    Wait,
    Try,
    Timeout { sleeps: bool },
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Do {
    Call,
    Try,
    Timeout,
    /// In a closure that panics.
    Panic,
    /// In a closure that calls the same once again.
    Nest,
    Wait,
}

const ONCES: usize = 2;

/// One member's handles, and the life that they prolong: dropped in this order.
#[derive(Clone)]
pub struct Handles {
    reentrant: ReentrantMutex,
    events: [Event; 2],
    onces: [Once; ONCES],
    pub life: Rc<Life>,
}

impl Handles {
    pub fn open(segment: &Segment, life: &Rc<Life>) -> Handles {
        let once = |name| Once::open_or_create(segment, name).unwrap();
        Handles {
            reentrant: ReentrantMutex::open_or_create(segment, "reentrant").unwrap(),
            events: [
                Event::open_or_create(segment, "manual").unwrap(),
                Event::open_or_create_auto_reset(segment, "auto").unwrap(),
            ],
            onces: ["first once", "second once"].map(once),
            life: life.clone(),
        }
    }
}

/// A guard, and the handle that it borrows: dropped in this order.
struct Held {
    guard: ReentrantMutexGuard<'static>,
    handles: Rc<Handles>,
}

/// What all members share, and the guards.
#[derive(Default)]
pub struct Shared {
    guards: Vec<Held>,
    reentrant: Reentrant,
    are_set: [bool; 2],
    onces: [State; ONCES],
}

#[derive(Clone, Copy, Default, PartialEq)]
enum State {
    #[default]
    New,
    Begun,
    Done,
}

/// What the reentrant mutex must be.
#[derive(Default)]
struct Reentrant {
    owner: Option<Weak<Life>>,
    /// Guards of the owner, forgotten ones too.
    depth: u32,
    panicked: bool,
    poisoned: bool,
}

impl Reentrant {
    /// With what a call ends; `None`: it would wait.
    fn lock(&mut self, me: &Rc<Life>, recovers: bool) -> Option<Result<()>> {
        match self.owner.as_ref().map(Weak::upgrade) {
            Some(Some(owner)) if Rc::ptr_eq(&owner, me) => {
                self.depth += 1;
                return Some(Ok(()));
            }
            Some(Some(_)) => return None,
            // Whoever meets a dead holder says so to all.
            Some(None) => self.poisoned = true,
            None => {}
        }
        self.owner = None;
        if self.poisoned && !recovers {
            return Some(Err(Error::Poisoned));
        }
        self.owner = Some(Rc::downgrade(me));
        self.depth = 1;
        self.panicked = false;
        Some(Ok(()))
    }

    fn unlock(&mut self, panicked: bool) {
        self.panicked |= panicked;
        self.depth -= 1;
        if self.depth == 0 {
            self.owner = None;
            self.poisoned = self.panicked;
        }
    }

    fn would_wait(&self, me: &Rc<Life>) -> bool {
        let owner = self.owner.as_ref().and_then(Weak::upgrade);
        owner.is_some_and(|owner| !Rc::ptr_eq(&owner, me))
    }
}

impl World {
    pub fn step_beside(&mut self, place: u8, op: &Beside) {
        if let Beside::Leave { guard, end } = *op {
            return self.leave_reentrant(guard, end);
        }
        let Some(handles) = self.member(place).beside.clone() else {
            return;
        };
        match *op {
            Beside::Drop => self.member(place).beside = None,
            Beside::Clone => self.member(place).beside = Some(Rc::new(Handles::clone(&handles))),
            Beside::Reenter(how) => self.beside.reenter(&handles, how),
            Beside::Leave { .. } => unreachable!("done above"),
            Beside::Set { auto } => {
                handles.events[usize::from(auto)].set();
                self.beside.are_set[usize::from(auto)] = true;
            }
            Beside::Clear { auto } => {
                handles.events[usize::from(auto)].clear();
                self.beside.are_set[usize::from(auto)] = false;
            }
            Beside::Wait { auto, how } => self.beside.wait(&handles, auto, how),
            Beside::Do { which, how } => self.beside.do_once(&handles, which, how),
            Beside::Show => {
                let Handles {
                    reentrant,
                    events,
                    onces,
                    ..
                } = &*handles;
                let shown = format!("{reentrant:?} {events:?} {onces:?}");
                assert!(shown.contains("is_auto_reset: true"));
                if let Some(held) = self.beside.guards.last() {
                    assert!(format!("{:?}", held.guard).contains("Object"));
                }
            }
        }
    }

    fn leave_reentrant(&mut self, guard: u8, end: EndOfGuard) {
        let guards = &mut self.beside.guards;
        if guards.is_empty() {
            return;
        }
        let held = guards.remove(usize::from(guard) % guards.len());
        match end {
            EndOfGuard::Drop => {
                drop(held);
                self.beside.reentrant.unlock(false);
            }
            EndOfGuard::Panic => {
                let got = catch(|| {
                    let _held = held;
                    panic_on_purpose()
                });
                assert!(got.is_none());
                self.beside.reentrant.unlock(true);
            }
            EndOfGuard::Forget | EndOfGuard::Die => {
                let Held { guard, handles } = held;
                std::mem::forget(guard);
                if matches!(end, EndOfGuard::Die) {
                    self.leave(&handles.life);
                }
                // With the last handle of the member goes its life.
                drop(handles);
            }
        }
    }
}

impl Shared {
    /// What each step leaves must be what the model says.
    pub fn look(&self, handles: &Handles) {
        assert_eq!(handles.reentrant.is_poisoned(), self.reentrant.poisoned);
        assert_eq!(handles.events.each_ref().map(Event::is_set), self.are_set);
        let done = self.onces.map(|state| state == State::Done);
        assert_eq!(handles.onces.each_ref().map(Once::is_completed), done);
    }

    fn reenter(&mut self, handles: &Rc<Handles>, how: How) {
        let (lock, life) = (&handles.reentrant, &handles.life);
        let would_wait = self.reentrant.would_wait(life);
        if how == How::WhilePanicking {
            struct Locks<'a>(&'a ReentrantMutex, &'a mut Option<Result<()>>);
            impl Drop for Locks<'_> {
                fn drop(&mut self) {
                    *self.1 = Some(self.0.try_lock().map(drop));
                }
            }
            let mut end = None;
            let got = catch(|| {
                let _locks_and_unlocks = Locks(lock, &mut end);
                panic_on_purpose()
            });
            assert!(got.is_none());
            let want = self.reentrant.lock(life, false);
            if let Some(Ok(())) = want {
                self.reentrant.unlock(false);
            }
            let got = end.expect("the destructor ran");
            return check(got, want.unwrap_or(Err(Error::WouldBlock)));
        }
        let got = match how {
            How::Lock if !would_wait => lock.lock(),
            How::Recover if !would_wait => lock.recover(),
            How::Recover => lock.recover_timeout(AT_ONCE),
            How::Timeout => lock.lock_timeout(AT_ONCE),
            _ => lock.try_lock(),
        };
        let late = match how {
            How::Timeout | How::Recover => Error::Timeout,
            _ => Error::WouldBlock,
        };
        let want = self.reentrant.lock(life, how == How::Recover);
        let (guard, got) = apart(got);
        check(got, want.unwrap_or(Err(late)));
        let Some(guard) = guard else { return };
        // SAFETY: the guard borrows the handle behind the Rc, which does not move, and which outlives it in `Held`.
        let guard = unsafe {
            std::mem::transmute::<ReentrantMutexGuard<'_>, ReentrantMutexGuard<'static>>(guard)
        };
        let handles = handles.clone();
        self.guards.push(Held { guard, handles });
    }

    fn wait(&mut self, handles: &Handles, auto: bool, how: Wait) {
        let which = usize::from(auto);
        let event = &handles.events[which];
        let got = match how {
            Wait::Wait if self.are_set[which] => event.wait(),
            Wait::Timeout { sleeps } => event.wait_timeout(if sleeps { SOON } else { AT_ONCE }),
            _ => event.try_wait(),
        };
        let want = match how {
            _ if self.are_set[which] => Ok(()),
            Wait::Timeout { .. } => Err(Error::Timeout),
            _ => Err(Error::WouldBlock),
        };
        check(got, want);
        self.are_set[which] &= !auto;
    }

    fn do_once(&mut self, handles: &Handles, which: u8, how: Do) {
        let which = usize::from(which) % ONCES;
        let (once, state) = (&handles.onces[which], &mut self.onces[which]);
        if let Do::Wait = how {
            let want = match state {
                State::Done => Ok(()),
                _ => Err(Error::Timeout),
            };
            return check(once.wait_timeout(AT_ONCE), want);
        }
        let mut told = None;
        let got = catch(|| {
            let f = |s: &commonhold::OnceState| {
                told = Some(s.is_poisoned());
                match how {
                    Do::Panic => panic_on_purpose(),
                    Do::Nest => {
                        let again = once.try_call_once(|| unreachable!());
                        check(again, Err(Error::WouldBlock));
                        let again = once.call_once_timeout(AT_ONCE, || unreachable!());
                        check(again, Err(Error::Timeout));
                    }
                    _ => {}
                }
            };
            match how {
                Do::Try => once.try_call_once_force(f),
                Do::Timeout => once.call_once_force_timeout(AT_ONCE, f),
                _ => once.call_once_force(f),
            }
        });
        let want = match state {
            State::New => Some(false),
            State::Begun => Some(true),
            State::Done => None,
        };
        assert_eq!(told, want);
        let panics = matches!(how, Do::Panic) && told.is_some();
        assert_eq!(got.is_none(), panics);
        if let Some(got) = got {
            check(got, Ok(()));
            *state = State::Done;
        } else {
            *state = State::Begun;
        }
    }
}
