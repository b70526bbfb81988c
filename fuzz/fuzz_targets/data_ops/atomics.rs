//! Atomics of one type.

use crate::handles::{Handle, HandleOp, Handles, Members};
use arbitrary::Arbitrary;
use commonhold::{AtomicCell, Atomics, Result, Segment};
use std::fmt::Debug;
use std::sync::atomic::{
    AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicIsize, AtomicU8, AtomicU16, AtomicU32,
    AtomicU64, AtomicUsize, Ordering::SeqCst,
};

#[derive(Arbitrary, Debug)]
pub enum Op {
    Access(u8, Access, i64),
    /// Puts the number there if it finds what it should, or (`false`) something else.
    Exchange(u8, bool, i64),
    All,
    Handle(HandleOp),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Access {
    Store,
    Swap,
    Add,
    Sub,
    And,
    Or,
    Xor,
    Max,
}

/// One of the atomic integers, and its plain sibling.
pub trait Cell: AtomicCell {
    type Plain: Copy + Debug + PartialEq + Default;
    fn load(&self) -> Self::Plain;
    /// What was there before.
    fn access(&self, access: Access, by: i64) -> Self::Plain;
    fn exchange(&self, expected: Self::Plain, by: i64) -> Result<Self::Plain, Self::Plain>;
    fn model(plain: Self::Plain, access: Access, by: i64) -> Self::Plain;
    fn not(plain: Self::Plain) -> Self::Plain;
}

macro_rules! cells {
    ($($atomic:ty = $plain:ty),*) => {$(
        impl Cell for $atomic {
            type Plain = $plain;

            fn load(&self) -> $plain {
                self.load(SeqCst)
            }

            fn access(&self, access: Access, by: i64) -> $plain {
                let by = by as $plain;
                match access {
                    Access::Store => {
                        let before = self.load(SeqCst);
                        self.store(by, SeqCst);
                        before
                    }
                    Access::Swap => self.swap(by, SeqCst),
                    Access::Add => self.fetch_add(by, SeqCst),
                    Access::Sub => self.fetch_sub(by, SeqCst),
                    Access::And => self.fetch_and(by, SeqCst),
                    Access::Or => self.fetch_or(by, SeqCst),
                    Access::Xor => self.fetch_xor(by, SeqCst),
                    Access::Max => self.fetch_max(by, SeqCst),
                }
            }

            fn exchange(&self, expected: $plain, by: i64) -> Result<$plain, $plain> {
                self.compare_exchange(expected, by as $plain, SeqCst, SeqCst)
            }

            fn model(plain: $plain, access: Access, by: i64) -> $plain {
                let by = by as $plain;
                match access {
                    Access::Store | Access::Swap => by,
                    Access::Add => plain.wrapping_add(by),
                    Access::Sub => plain.wrapping_sub(by),
                    Access::And => plain & by,
                    Access::Or => plain | by,
                    Access::Xor => plain ^ by,
                    Access::Max => plain.max(by),
                }
            }

            fn not(plain: $plain) -> $plain {
                !plain
            }
        }
    )*};
}

cells!(
    AtomicU8 = u8,
    AtomicU16 = u16,
    AtomicU32 = u32,
    AtomicU64 = u64,
    AtomicUsize = usize,
    AtomicI8 = i8,
    AtomicI16 = i16,
    AtomicI32 = i32,
    AtomicI64 = i64,
    AtomicIsize = isize
);

impl<A: Cell> Handle for Atomics<A> {
    fn open(segment: &Segment, name: &str) -> Result<Self> {
        Atomics::open(segment, name)
    }

    fn open_or_create(segment: &Segment, name: &str, len: usize) -> Result<Self> {
        Atomics::open_or_create(segment, name, len)
    }
}

pub fn run<A: Cell>(len: u8, ops: &[(u8, Op)]) {
    let members = Members::new(4096);
    let len = usize::from(len % 40);
    let created = Atomics::<A>::create(&members.get(0), "atomics", len).unwrap();
    let handles = Handles::new("atomics", len, created);
    let mut model = vec![A::Plain::default(); len];
    for (handle, op) in ops {
        let atomics = &*handles.get(*handle);
        // One beyond the end, too: a slice of the right length has none there.
        let at = |at: u8| usize::from(at) % (len + 1);
        match *op {
            Op::Access(i, access, by) => {
                let got = atomics.get(at(i)).map(|a| a.access(access, by));
                assert_eq!(got, model.get(at(i)).copied());
                if let Some(plain) = model.get_mut(at(i)) {
                    *plain = A::model(*plain, access, by);
                }
            }
            Op::Exchange(i, right, by) => {
                let found = model.get(at(i)).copied();
                let expected = found.map(|x| if right { x } else { A::not(x) });
                let got = atomics
                    .get(at(i))
                    .zip(expected)
                    .map(|(a, x)| a.exchange(x, by));
                assert_eq!(got, found.map(|x| if right { Ok(x) } else { Err(x) }));
                if let (true, Some(plain)) = (right, model.get_mut(at(i))) {
                    *plain = A::model(*plain, Access::Store, by);
                }
            }
            Op::All => {}
            Op::Handle(ref op) => handles.change(*handle, &members, op),
        }
        let all: Vec<A::Plain> = handles.get(*handle).iter().map(A::load).collect();
        assert_eq!(all, model);
    }
}
