//! What the segments must be.

use crate::room::{LINE, PAGE, Plan, data_at};
use crate::things::{How, SPECS, Spec};
use crate::{Capacity, Count, Options};
use commonhold::{Error, Kind, Place, Result};
use std::cell::{Cell, RefCell};

pub struct SegmentModel {
    pub capacity: u64,
    pub max_members: usize,
    pub max_objects: usize,
    pub living: Cell<usize>,
    pub objects: RefCell<Vec<ObjectModel>>,
}

pub struct ObjectModel {
    pub name: String,
    /// Which of the `SPECS`.
    pub spec: usize,
    pub len: usize,
    pub size: u64,
    /// Where it ends, counted from the data area.
    end: u64,
    /// What was written last.
    pub number: Option<u64>,
}

impl Capacity {
    pub fn bytes(self) -> u64 {
        match self {
            Capacity::Bytes(n) => n.into(),
            Capacity::Sparse => 1 << 30,
            Capacity::Unmappable => 1 << 50,
            Capacity::TooLarge => (1 << 56) + 1,
            Capacity::Most => u64::MAX,
        }
    }
}

impl Count {
    pub fn number(self, limit: u32) -> u32 {
        match self {
            Count::Few(n) => u32::from(n % 8) + 1,
            Count::None => 0,
            Count::TooMany => limit + 1,
            Count::Most => u32::MAX,
        }
    }
}

pub const MOST_MEMBERS: u32 = 1024;
pub const MOST_OBJECTS: u32 = 65_536;

fn limit(requested: u64, limit: u64) -> Result<()> {
    if requested > limit {
        return Err(Error::TooLarge { requested, limit });
    }
    Ok(())
}

impl SegmentModel {
    /// What is made of these options, wherever it is.
    pub fn new(o: &Options) -> Result<SegmentModel> {
        let members = o.members.number(MOST_MEMBERS);
        let objects = o.objects.number(MOST_OBJECTS);
        if members == 0 || objects == 0 {
            return Err(Error::InvalidArgument(""));
        }
        limit(members.into(), MOST_MEMBERS.into())?;
        limit(objects.into(), MOST_OBJECTS.into())?;
        limit(o.capacity.bytes(), 1 << 56)?;
        let capacity = o.capacity.bytes().max(1).next_multiple_of(PAGE);
        Ok(SegmentModel {
            capacity,
            max_members: members as usize,
            max_objects: objects as usize,
            living: Cell::new(0),
            objects: RefCell::default(),
        })
    }

    /// Whether it can be mapped: the last thing that a creation tries.
    pub fn mapped(self) -> Result<SegmentModel> {
        if self.capacity < 1 << 40 {
            return Ok(self);
        }
        Err(Error::OutOfSpace {
            requested: data_at(self.max_members as u32, self.max_objects as u32) + self.capacity,
            available: 0,
            place: Place::AddressSpace,
        })
    }

    /// Bytes up to the end of the last object, in whole lines.
    pub fn taken(&self) -> u64 {
        let ends = self.objects.borrow().iter().map(|o| o.end).max();
        ends.unwrap_or(0).next_multiple_of(LINE)
    }

    pub fn find(&self, name: &str) -> Option<usize> {
        self.objects.borrow().iter().position(|o| o.name == name)
    }

    /// Makes or finds an object: its number.
    pub fn make(&self, how: How, name: &str, spec: usize, len: usize, n: u64) -> Result<usize> {
        let kind = SPECS[spec].kind;
        if kind == Kind::Queue && len == 0 && how != How::Open {
            return Err(Error::InvalidArgument(""));
        }
        if name.is_empty() || name.len() > 96 || name.contains('\0') {
            return Err(Error::InvalidName);
        }
        match how {
            How::Create | How::FromSlice => self.create(name, spec, len, n),
            How::Open => self.open(name, spec, None),
            How::OpenOrCreate => match self.open(name, spec, Some(len)) {
                Err(Error::NotFound) => self.create(name, spec, len, n),
                other => other,
            },
        }
    }

    fn open(&self, name: &str, spec: usize, len: Option<usize>) -> Result<usize> {
        let found = self.find(name).ok_or(Error::NotFound)?;
        let object = &self.objects.borrow()[found];
        if object.spec != spec || len.is_some_and(|len| counted(&SPECS[spec], len) != object.len) {
            let text = String::new;
            return Err(Error::TypeMismatch {
                name: name.to_owned(),
                expected: text(),
                found: text(),
            });
        }
        Ok(found)
    }

    fn create(&self, name: &str, spec: usize, len: usize, n: u64) -> Result<usize> {
        if self.find(name).is_some() {
            return Err(Error::AlreadyExists);
        }
        if self.objects.borrow().len() == self.max_objects {
            return Err(Error::TooManyObjects);
        }
        let len = counted(&SPECS[spec], len);
        let (plan, taken) = (Plan::of(&SPECS[spec]), self.taken());
        let no_room = |requested| Error::OutOfSpace {
            requested,
            available: self.capacity - taken,
            place: Place::Segment,
        };
        let size = plan.size(len as u64).ok_or(no_room(u64::MAX))?;
        let end = plan.place(taken).saturating_add(size);
        if end > self.capacity {
            return Err(no_room(size));
        }
        // Only items of no bytes come so far.
        limit(len as u64, i64::MAX as u64)?;
        let written = !matches!(SPECS[spec].kind, Kind::Atomics | Kind::Queue);
        let mut objects = self.objects.borrow_mut();
        objects.push(ObjectModel {
            name: name.to_owned(),
            spec,
            len,
            size,
            end,
            number: written.then_some(n),
        });
        Ok(objects.len() - 1)
    }
}

/// How many items an object has that was asked for with `len`.
fn counted(spec: &Spec, len: usize) -> usize {
    match spec.kind {
        Kind::Array | Kind::Atomics | Kind::Queue => len,
        _ => 1,
    }
}
