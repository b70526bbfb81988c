//! The many handles of one object.

use arbitrary::Arbitrary;
use commonhold::{Result, Segment};
use commonhold_fuzz::attach;
use std::cell::RefCell;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

/// What may be done to a handle.
#[derive(Arbitrary, Debug)]
pub enum HandleOp {
    /// Puts a clone of another in its place.
    Clone(u8),
    /// Puts one in its place that a member opened anew.
    Open(u8),
    /// The same, by the call that would also make it.
    OpenOrCreate(u8),
    /// The same, by a new member, of which only the handle stays.
    Attach,
    /// Drops a member's segment; a new member takes its place when it is needed.
    Leave(u8),
}

/// Attaches the same segment again and again.
pub struct Members {
    file: OwnedFd,
    segments: RefCell<[Option<Segment>; 2]>,
}

impl Members {
    /// The first member, and the way in for others.
    pub fn new(capacity: usize) -> Members {
        let first = Segment::anonymous(capacity).unwrap();
        Members {
            file: first.as_fd().try_clone_to_owned().unwrap(),
            segments: RefCell::new([Some(first), None]),
        }
    }

    pub fn get(&self, index: u8) -> Segment {
        self.segments.borrow_mut()[usize::from(index % 2)]
            .get_or_insert_with(|| self.attach())
            .clone()
    }

    fn attach(&self) -> Segment {
        attach(&self.file).unwrap()
    }

    fn leave(&self, index: u8) {
        self.segments.borrow_mut()[usize::from(index % 2)] = None;
    }
}

/// How handles of one object are got.
pub trait Handle: Clone {
    fn open(segment: &Segment, name: &str) -> Result<Self>;
    /// `len`: of an object that counts.
    fn open_or_create(segment: &Segment, name: &str, len: usize) -> Result<Self>;
}

/// Four handles of the object `name`.
pub struct Handles<H> {
    name: &'static str,
    len: usize,
    all: RefCell<[Rc<H>; 4]>,
}

impl<H: Handle> Handles<H> {
    pub fn new(name: &'static str, len: usize, created: H) -> Handles<H> {
        let one = Rc::new(created);
        Handles {
            name,
            len,
            all: RefCell::new([one.clone(), one.clone(), one.clone(), one]),
        }
    }

    pub fn get(&self, index: u8) -> Rc<H> {
        self.all.borrow()[usize::from(index) % 4].clone()
    }

    pub fn change(&self, index: u8, members: &Members, op: &HandleOp) {
        let new = match *op {
            HandleOp::Clone(from) => H::clone(&self.get(from)),
            HandleOp::Open(by) => H::open(&members.get(by), self.name).unwrap(),
            HandleOp::OpenOrCreate(by) => {
                H::open_or_create(&members.get(by), self.name, self.len).unwrap()
            }
            HandleOp::Attach => H::open(&members.attach(), self.name).unwrap(),
            HandleOp::Leave(member) => return members.leave(member),
        };
        self.all.borrow_mut()[usize::from(index) % 4] = Rc::new(new);
    }
}
