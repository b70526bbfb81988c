//! One array.

use crate::handles::{Handle, HandleOp, Handles, Members};
use arbitrary::Arbitrary;
use commonhold::{Array, Error, Result, Segment};
use commonhold_fuzz::{AT_ONCE, LentItem, catch, check, panic_on_purpose};

/// How the array is made.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Make {
    len: u8,
    from_slice: bool,
}

#[derive(Arbitrary, Debug)]
pub enum Op {
    Get(u8),
    Set(u8, u8),
    /// The last item, the one behind it, and the one that no number is behind.
    Edges,
    ToVec,
    /// Changes an item, or all, by a guard.
    Guard {
        how: How,
        at: Option<u8>,
        number: u8,
        panics: bool,
    },
    Handle(HandleOp),
}

#[derive(Arbitrary, Debug)]
pub enum How {
    Lock,
    Try,
    Timeout,
    Recover,
}

impl<T: LentItem> Handle for Array<T> {
    fn open(segment: &Segment, name: &str) -> Result<Self> {
        Array::open(segment, name)
    }

    fn open_or_create(segment: &Segment, name: &str, len: usize) -> Result<Self> {
        // Other items: they must not be taken.
        Array::open_or_create(segment, name, len, T::number(77))
    }
}

/// What the array must be.
struct Model<T> {
    items: Vec<T>,
    poisoned: bool,
}

impl<T: LentItem> Model<T> {
    /// How a call ends that locks.
    fn locked<R>(&self, done: impl FnOnce() -> Result<R>) -> Result<R> {
        if self.poisoned {
            Err(Error::Poisoned)
        } else {
            done()
        }
    }

    fn out_of_bounds(&self, index: usize) -> Error {
        let len = self.items.len();
        Error::OutOfBounds { index, len }
    }

    fn get(&self, index: usize) -> Result<T> {
        let item = self.items.get(index).copied();
        item.map_or_else(
            || Err(self.out_of_bounds(index)),
            |item| self.locked(|| Ok(item)),
        )
    }

    fn set(&mut self, index: usize, item: T) -> Result<()> {
        self.get(index)?;
        self.items[index] = item;
        Ok(())
    }
}

pub fn run<T: LentItem>(make: Make, ops: &[(u8, Op)]) {
    let members = Members::new(16384);
    let len = usize::from(make.len % 40);
    let (array, items) = if make.from_slice {
        let items: Vec<T> = (0..len as u64).map(T::number).collect();
        (Array::from_slice(&members.get(0), "array", &items), items)
    } else {
        let item = T::number(5);
        let array = Array::create(&members.get(0), "array", len, item);
        (array, vec![item; len])
    };
    let handles = Handles::new("array", len, array.unwrap());
    let mut model = Model {
        items,
        poisoned: false,
    };
    for (handle, op) in ops {
        step(&members, &handles, *handle, &mut model, op);
        let any = handles.get(handle.wrapping_add(1));
        assert_eq!(any.len(), len);
        assert_eq!(any.is_empty(), len == 0);
        assert_eq!(any.is_poisoned(), model.poisoned);
    }
    let last = handles.get(0);
    if model.poisoned {
        drop(last.recover().unwrap());
    }
    check(last.to_vec(), Ok(model.items));
}

fn step<T: LentItem>(
    members: &Members,
    handles: &Handles<Array<T>>,
    handle: u8,
    model: &mut Model<T>,
    op: &Op,
) {
    let array = &*handles.get(handle);
    let len = model.items.len();
    match *op {
        Op::Get(at) => {
            let at = usize::from(at % 48);
            check(array.get(at), model.get(at));
        }
        Op::Set(at, n) => {
            let (at, item) = (usize::from(at % 48), T::number(n.into()));
            check(array.set(at, item), model.set(at, item));
        }
        Op::Edges => {
            for at in [len.wrapping_sub(1), len, usize::MAX, usize::MAX / 2] {
                check(array.get(at), model.get(at));
                let item = T::number(at as u64);
                check(array.set(at, item), model.set(at, item));
            }
        }
        Op::ToVec => check(array.to_vec(), model.locked(|| Ok(model.items.clone()))),
        Op::Guard {
            ref how,
            at,
            number,
            panics,
        } => {
            let recovers = matches!(how, How::Recover);
            let may_lock = recovers || !model.poisoned;
            let item = T::number(number.into());
            let write = |items: &mut [T]| match at {
                Some(at) if len > 0 => items[usize::from(at) % len] = item,
                _ => items.fill(item),
            };
            let got = catch(|| {
                let mut guard = match how {
                    How::Lock => array.lock(),
                    How::Try => array.try_lock(),
                    How::Timeout => array.lock_timeout(AT_ONCE),
                    How::Recover => array.recover(),
                }?;
                assert_eq!(*guard, model.items);
                assert!(matches!(array.try_lock(), Err(Error::WouldBlock)));
                write(&mut guard);
                if panics {
                    panic_on_purpose();
                }
                Ok(())
            });
            if may_lock {
                write(&mut model.items);
                model.poisoned = panics;
            }
            match got {
                None => assert!(panics && may_lock),
                Some(got) => {
                    let want = if may_lock {
                        Ok(())
                    } else {
                        Err(Error::Poisoned)
                    };
                    check(got, want);
                }
            }
        }
        Op::Handle(ref op) => handles.change(handle, members, op),
    }
}
