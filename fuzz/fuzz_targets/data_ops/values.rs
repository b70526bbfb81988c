//! Two values, of one type.

use crate::handles::{Handle, HandleOp, Handles, Members};
use arbitrary::Arbitrary;
use commonhold::{Error, Result, Segment, Value};
use commonhold_fuzz::{AT_ONCE, Item, SOON, catch, check, panic_on_purpose};
use std::cell::Cell;

#[derive(Arbitrary, Debug)]
pub enum Op {
    Get,
    Set(How, u8),
    Update {
        how: How,
        number: u8,
        panics: bool,
        /// What the closure does besides: with which handle of which value, and what.
        inside: Vec<(u8, Op)>,
    },
    WaitUntil,
    /// Waits for a number; the value has it, or the time runs out.
    WaitFor {
        number: u8,
        sleeps: bool,
    },
    /// A condition that panics.
    WaitPanics,
    Handle(HandleOp),
}

/// Which form of a call.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum How {
    Waits,
    Try,
    Timeout,
}

impl<T: Item> Handle for Value<T> {
    fn open(segment: &Segment, name: &str) -> Result<Self> {
        Value::open(segment, name)
    }

    fn open_or_create(segment: &Segment, name: &str, _: usize) -> Result<Self> {
        // Another value: it must not be taken.
        Value::open_or_create(segment, name, T::number(77))
    }
}

/// A value, and what it must be.
struct Subject<T> {
    handles: Handles<Value<T>>,
    is: Cell<T>,
    /// An update's closure is running.
    busy: Cell<bool>,
}

impl<T: Item> Subject<T> {
    fn new(members: &Members, name: &'static str, number: u64) -> Subject<T> {
        let first = T::number(number);
        let value = Value::create(&members.get(0), name, first).unwrap();
        Subject {
            handles: Handles::new(name, 1, value),
            is: Cell::new(first),
            busy: Cell::new(false),
        }
    }

    /// How a writer ends that must wait if another is writing, and does not.
    fn turn(&self, how: How) -> Result<()> {
        match (self.busy.get(), how) {
            (false, _) => Ok(()),
            (true, How::Timeout) => Err(Error::Timeout),
            (true, _) => Err(Error::WouldBlock),
        }
    }
}

/// Numbers are few, so that a value is waited for that it has.
fn number<T: Item>(n: u8) -> T {
    T::number((n % 4).into())
}

pub fn run<T: Item>(ops: &[(u8, Op)]) {
    let members = Members::new(4096);
    let subjects = [
        Subject::<T>::new(&members, "first", 0),
        Subject::new(&members, "second", 1),
    ];
    for (which, op) in ops {
        step(&members, &subjects, *which, op);
    }
}

fn step<T: Item>(members: &Members, subjects: &[Subject<T>; 2], which: u8, op: &Op) {
    let s = &subjects[usize::from(which % 2)];
    let value = &*s.handles.get(which / 2);
    match op {
        Op::Get => {}
        Op::Set(how, n) => {
            let new = number(*n);
            let got = match how {
                How::Waits if !s.busy.get() => value.set(new),
                How::Waits | How::Try => value.try_set(new),
                How::Timeout => value.set_timeout(new, AT_ONCE),
            };
            let want = s.turn(*how);
            if want.is_ok() {
                s.is.set(new);
            }
            check(got, want);
        }
        Op::Update {
            how,
            number: n,
            panics,
            inside,
        } => {
            let want = s.turn(*how).map(|()| s.is.get());
            let may_run = want.is_ok();
            let change = |x: &mut T| {
                assert!(may_run, "the closure runs while another does");
                s.busy.set(true);
                let before = *x;
                // Whoever looks now sees the old value.
                *x = number(*n);
                for (which, op) in inside {
                    step(members, subjects, *which, op);
                }
                s.busy.set(false);
                if *panics {
                    panic_on_purpose();
                }
                before
            };
            let got = catch(|| match how {
                How::Waits if !s.busy.get() => value.update(change),
                How::Waits | How::Try => value.try_update(change),
                How::Timeout => value.update_timeout(AT_ONCE, change),
            });
            match got {
                None => assert!(*panics && may_run),
                Some(got) => {
                    assert!(!*panics || !may_run, "the panic is lost");
                    if may_run {
                        s.is.set(number(*n));
                    }
                    check(got, want);
                }
            }
        }
        Op::WaitUntil => check(value.wait_until(|x| *x == s.is.get()), Ok(s.is.get())),
        Op::WaitFor { number: n, sleeps } => {
            let wanted = number(*n);
            let want = if s.is.get() == wanted {
                Ok(wanted)
            } else {
                Err(Error::Timeout)
            };
            let timeout = if *sleeps { SOON } else { AT_ONCE };
            check(value.wait_until_timeout(timeout, |x| *x == wanted), want);
        }
        Op::WaitPanics => {
            let got = catch(|| value.wait_until_timeout(AT_ONCE, |_| panic_on_purpose()));
            assert!(got.is_none());
        }
        Op::Handle(op) => s.handles.change(which / 2, members, op),
    }
    for (i, s) in subjects.iter().enumerate() {
        check(s.handles.get(which / 2 + i as u8).get(), Ok(s.is.get()));
    }
}
