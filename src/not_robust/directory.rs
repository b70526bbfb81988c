//! The objects of a region: a table of fixed size, filled from the front.
//!
//! An entry is free, then claimed by whoever makes the object, then ready. Only the first that is not ready can be claimed, so a
//! name is made once, and an object lies behind the one before it. A claim names nobody: if its maker dies, no object can be
//! made any more in this region.

use super::region::{DATA_AT, Map, Region};
use crate::error::{Error, Place, Result};
use crate::plain::short_type_name;
use bytemuck::{Pod, Zeroable};
use std::cell::UnsafeCell;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const ENTRIES: usize = 64;
const NAME_BYTES: usize = 96;
pub(super) const DIRECTORY_BYTES: usize = ENTRIES * size_of::<Entry>();

/// Objects begin on multiples of it.
const OBJECT_ALIGN: usize = 64;
/// Mappings do, at least, and the objects of the file.
const MOST_ALIGN: usize = 4096;
const _: () = assert!(DATA_AT % MOST_ALIGN == 0);

const FREE: u32 = 0;
const CLAIMED: u32 = 1;
const READY: u32 = 2;

/// What another process may take to make an object.
const PATIENCE: Duration = Duration::from_secs(10);

/// An object. `body` is valid once `state` is READY.
#[repr(C)]
pub(super) struct Entry {
    state: AtomicU32,
    reserved: [u32; 7],
    body: UnsafeCell<Body>,
}

const _: () = assert!(size_of::<Entry>() == 256);

/// What an object is, and where.
#[repr(C)]
#[derive(Clone, Copy)]
struct Body {
    kind: u32,
    type_align: u32,
    type_size: u64,
    offset: u64,
    bytes: u64,
    name: [u8; NAME_BYTES],
    type_name: [u8; NAME_BYTES],
}

// SAFETY: integers and bytes only, and zero is a value of each.
unsafe impl Zeroable for Body {}
// SAFETY: `repr(C)`, integers and bytes only, no padding (the sizes add up to the asserted 256).
unsafe impl Pod for Body {}

/// The kinds of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Kind {
    Mutex = 1,
    RwLock = 2,
    Event = 3,
    AutoResetEvent = 4,
}

/// What an object is to be.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) kind: Kind,
    pub(super) type_name: fn() -> String,
    pub(super) type_size: usize,
    pub(super) type_align: usize,
    /// In all.
    pub(super) bytes: usize,
    /// Where in it the user's value stands.
    pub(super) value_at: usize,
}

impl Shape {
    /// A control block of `control` bytes, and a T behind it.
    pub(super) fn new<T>(kind: Kind, control: usize) -> Shape {
        let value_at = control.next_multiple_of(align_of::<T>());
        Shape {
            kind,
            type_name: short_type_name::<T>,
            type_size: size_of::<T>(),
            type_align: align_of::<T>(),
            // A value of no bytes stands inside, too.
            bytes: value_at + size_of::<T>().max(1),
            value_at,
        }
    }

    fn is_of(&self, body: &Body) -> bool {
        body.kind == self.kind as u32
            && body.type_size == self.type_size as u64
            && body.type_align == self.type_align as u32
            && body.bytes == self.bytes as u64
            && body.type_name == padded(&(self.type_name)())
    }

    fn body(&self, name: &str, offset: usize) -> Body {
        Body {
            kind: self.kind as u32,
            type_align: self.type_align as u32,
            type_size: self.type_size as u64,
            offset: offset as u64,
            bytes: self.bytes as u64,
            name: padded(name),
            type_name: padded(&(self.type_name)()),
        }
    }
}

impl Body {
    /// In words, for an error.
    fn describe(&self) -> String {
        let kind = match self.kind {
            1 => "a Mutex",
            2 => "an RwLock",
            3 => return "an Event".into(),
            4 => return "an Event that resets itself".into(),
            _ => "something unknown",
        };
        let type_name = String::from_utf8_lossy(&self.type_name);
        let type_name = type_name.trim_end_matches('\0');
        format!(
            "{kind}<{type_name}> ({} bytes, aligned to {}) that is not robust",
            self.type_size, self.type_align
        )
    }
}

fn padded(text: &str) -> [u8; NAME_BYTES] {
    let mut bytes = [0; NAME_BYTES];
    let n = text.len().min(NAME_BYTES);
    bytes[..n].copy_from_slice(&text.as_bytes()[..n]);
    bytes
}

/// Where an object lies, of which the region says that it is what was asked for.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    map: Arc<Map>,
    offset: usize,
}

impl Placed {
    /// Where the byte at `offset` of the object is, of those that its shape has.
    pub(super) fn at(&self, offset: usize) -> NonNull<u8> {
        // SAFETY: the object lies in the mapping, as was checked when it was found.
        unsafe { self.map.at(self.offset + offset) }
    }
}

/// Makes an object: `init` gets its zeroed room, and makes what this process needs to use it.
pub(super) fn create<R>(
    region: &Region,
    name: &str,
    shape: Shape,
    init: impl FnOnce(&Placed) -> Result<R>,
) -> Result<(Placed, R)> {
    let name = check(name, &shape)?;
    let mut end = DATA_AT;
    for entry in region.entries() {
        if !entry.is_ready_or_claimed_by_us()? {
            let offset = end.next_multiple_of(shape.type_align.max(OBJECT_ALIGN));
            let made = room(region, offset, &shape).and_then(|placed| {
                // SAFETY: the object's room, which is ours; an earlier attempt may have failed in it.
                unsafe { placed.at(0).write_bytes(0, shape.bytes) };
                let r = init(&placed)?;
                // SAFETY: claimed by us, so nobody else reads or writes it.
                unsafe { entry.write(shape.body(name, offset)) };
                Ok((placed, r))
            });
            // The object, and what `write` wrote, before the state that lets others believe it.
            let state = if made.is_ok() { READY } else { FREE };
            entry.state.store(state, Ordering::Release);
            return made;
        }
        let body = entry.read();
        if body.name == padded(name) {
            return Err(Error::AlreadyExists);
        }
        end = extent(region, &body)?.end;
    }
    Err(Error::TooManyObjects)
}

/// Finds an object.
pub(super) fn open(region: &Region, name: &str, shape: Shape) -> Result<Placed> {
    let name = check(name, &shape)?;
    for entry in region.entries() {
        if entry.state.load(Ordering::Acquire) != READY {
            break;
        }
        let body = entry.read();
        if body.name != padded(name) {
            continue;
        }
        if !shape.is_of(&body) {
            return Err(Error::TypeMismatch {
                name: name.to_owned(),
                expected: shape.body(name, 0).describe(),
                found: body.describe(),
            });
        }
        let offset = extent(region, &body)?.start;
        if offset % shape.type_align.max(OBJECT_ALIGN) != 0 {
            return Err(Error::Corrupt);
        }
        return Ok(Placed {
            map: region.map().clone(),
            offset,
        });
    }
    Err(Error::NotFound)
}

fn check<'a>(name: &'a str, shape: &Shape) -> Result<&'a str> {
    if name.is_empty() || name.len() > NAME_BYTES || name.contains('\0') {
        return Err(Error::InvalidName);
    }
    if shape.type_align > MOST_ALIGN {
        return Err(Error::TooLarge {
            requested: shape.type_align as u64,
            limit: MOST_ALIGN as u64,
        });
    }
    Ok(name)
}

/// Where the object lies, in bytes of the file.
fn extent(region: &Region, body: &Body) -> Result<std::ops::Range<usize>> {
    let start = usize::try_from(body.offset).map_err(|_| Error::Corrupt)?;
    let bytes = usize::try_from(body.bytes).map_err(|_| Error::Corrupt)?;
    let end = start.checked_add(bytes).ok_or(Error::Corrupt)?;
    if start < DATA_AT || end > region.map().len() {
        return Err(Error::Corrupt);
    }
    Ok(start..end)
}

fn room(region: &Region, offset: usize, shape: &Shape) -> Result<Placed> {
    let len = region.map().len();
    if offset.checked_add(shape.bytes).is_none_or(|end| end > len) {
        return Err(Error::OutOfSpace {
            requested: shape.bytes as u64,
            available: len.saturating_sub(offset) as u64,
            place: Place::Segment,
        });
    }
    Ok(Placed {
        map: region.map().clone(),
        offset,
    })
}

impl Region {
    fn entries(&self) -> &[Entry; ENTRIES] {
        // SAFETY: what comes before the objects is in the mapping, which is page-aligned and lives as long as `self`. Shared bytes
        // are only reached by atomics, by `read` and by `write`.
        unsafe { self.map().at(DATA_AT - DIRECTORY_BYTES).cast().as_ref() }
    }
}

impl Entry {
    /// True: there is an object, ready. False: it was free, and is ours now. Waits for one that is being made.
    fn is_ready_or_claimed_by_us(&self) -> Result<bool> {
        let begin = Instant::now();
        loop {
            // Pairs with the release of whoever makes, or made, the object.
            match self
                .state
                .compare_exchange(FREE, CLAIMED, Ordering::Acquire, Ordering::Acquire)
            {
                Ok(_) => return Ok(false),
                Err(READY) => return Ok(true),
                Err(CLAIMED) if begin.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(CLAIMED) => return Err(Error::Timeout),
                Err(_) => return Err(Error::Corrupt),
            }
        }
    }

    /// What a ready entry says.
    fn read(&self) -> Body {
        // SAFETY: readable, aligned, and any bytes are a Body. A peer that scribbles there meanwhile causes other bytes.
        unsafe { self.body.get().read_volatile() }
    }

    /// # Safety
    /// The entry is claimed by the caller.
    unsafe fn write(&self, body: Body) {
        // SAFETY: shared memory, to which the claim gives us access.
        unsafe { self.body.get().write_volatile(body) };
    }
}
