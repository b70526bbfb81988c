//! Making and finding objects in a segment.
//!
//! # Points of death
//!
//! | a creator dies | what is left | who mends it |
//! |---|---|---|
//! | before the entry's state is stored | room that belongs to nobody, and the directory's lock | the next creator takes the lock over, and uses the room |
//! | after it | an object, and the lock | the next creator takes the lock over |
//!
//! What room is taken follows from the entries alone, so that storing an entry's state is the one publication, and no word but
//! an entry's own can make two objects share a place. It costs a look at each entry: some 5 ns each, for each object made.

use super::shape::Shape;
use super::{Inner, Segment};
use crate::error::{Error, Place, Result};
use crate::layout::OBJECT_ALIGN;
use crate::layout::directory::{self, Described, Entry};
use crate::layout::fingerprint::Fingerprint;
use crate::raw::mutex::Heir;
use crate::raw::{Call, MemberId};
use crate::sys::deadline::Deadline;
use crate::sys::map::InRegion;
use crate::sys::spin::Adaptive;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::time::Duration;

/// How long the maker of an object waits for another that is making one: it may be stopped, and then it is alive for ever.
const CREATOR_PATIENCE: Duration = Duration::from_secs(10);

/// An entry of the directory that was read.
struct Found {
    /// Which one it is.
    #[cfg(feature = "process")]
    entry: u32,
    object: Described,
}

/// An object, found and checked: where its control block and its items are. What every typed handle is made of.
pub(crate) struct Placed<R> {
    segment: Segment,
    /// Where it stands in the segment.
    offset: u64,
    /// Which entry of the directory it is.
    #[cfg(feature = "process")]
    entry: u32,
    control: NonNull<R>,
    data: NonNull<u8>,
    len: usize,
    /// Where the items' words are: `per_item` bytes for each item.
    of_items: NonNull<u8>,
    per_item: usize,
    /// Where the members' part is: `per_member` bytes for each of so many slots. (A copy: the segment's own is two loads away.)
    of_members: NonNull<u8>,
    member_slots: usize,
    per_member: usize,
    /// Where this process's name stands, in the segment's fork page. Kept here because to go by way of the segment is two
    /// more loads in a row, and none of them begins before the last locked instruction is done.
    member: NonNull<AtomicU32>,
    /// What this handle has learned about spinning.
    pub(crate) spin: Adaptive,
    _control: PhantomData<R>,
}

// SAFETY: `R` is shared between processes already; the pointers are to memory that `segment` keeps mapped.
unsafe impl<R: InRegion> Send for Placed<R> {}
// SAFETY: as above; the control block changes only through atomics, and how items are shared is for the handle to say.
unsafe impl<R: InRegion> Sync for Placed<R> {}

impl<R: InRegion> Placed<R> {
    /// Makes the object. `fill` writes all its items (and what stands behind them); all else is zero.
    pub(crate) fn create<T>(
        segment: &Segment,
        name: &str,
        shape: Shape,
        len: usize,
        fill: impl FnOnce(NonNull<u8>),
    ) -> Result<Placed<R>> {
        let fingerprint = Fingerprint::of::<T>(shape.kind, len as u64);
        Placed::create_as(segment, name, shape, fingerprint, fill)
    }

    /// As [`create`](Self::create), of items that have no type of their own.
    pub(crate) fn create_as(
        segment: &Segment,
        name: &str,
        shape: Shape,
        fingerprint: Fingerprint,
        fill: impl FnOnce(NonNull<u8>),
    ) -> Result<Placed<R>> {
        let (inner, len) = (segment.inner(), fingerprint.len);
        let found = inner.create_object(name, fingerprint, shape, |at, size| {
            let words_at = shape.of_items_at(len).unwrap_or(size) as usize;
            // SAFETY: the object's `size` bytes are the control block, the items from `data_at`, and from `words_at` the items'
            // words and the members' part; nobody else knows of them yet.
            unsafe {
                at.write_bytes(0, shape.data_at);
                at.add(words_at).write_bytes(0, size as usize - words_at);
                fill(at.add(shape.data_at));
            }
        })?;
        Placed::at(segment, &found, shape)
    }

    /// Finds the object, with `len` items if that is given.
    pub(crate) fn open<T>(
        segment: &Segment,
        name: &str,
        shape: Shape,
        len: Option<usize>,
    ) -> Result<Placed<R>> {
        directory::check_name(name)?;
        let asked = Fingerprint::of::<T>(shape.kind, len.unwrap_or(0) as u64);
        let found = segment.inner().find(name)?.ok_or_else(|| Error::NotFound)?;
        let fingerprint = &found.object.fingerprint;
        if !fingerprint.serves(&asked, len.is_none()) {
            return Err(Error::TypeMismatch {
                name: name.to_owned(),
                expected: asked.describe(len.is_none()),
                found: fingerprint.describe(false),
            });
        }
        Placed::at(segment, &found, shape)
    }

    /// Finds the object whose fingerprint, whatever it says, `shape_of` finds to be one that is asked for.
    pub(crate) fn open_as(
        segment: &Segment,
        name: &str,
        shape_of: impl FnOnce(&Fingerprint) -> Result<Shape>,
    ) -> Result<Placed<R>> {
        directory::check_name(name)?;
        let found = segment.inner().find(name)?.ok_or_else(|| Error::NotFound)?;
        let shape = shape_of(&found.object.fingerprint)?;
        Placed::at(segment, &found, shape)
    }

    /// The object of that kind and type that stands at `offset`, if the directory has one there.
    pub(crate) fn standing_at<T>(
        segment: &Segment,
        offset: u64,
        shape: Shape,
    ) -> Option<Placed<R>> {
        let (inner, asked) = (segment.inner(), Fingerprint::of::<T>(shape.kind, 0));
        let serves = |d: &Described| d.offset == offset && d.fingerprint.serves(&asked, true);
        (0..inner.geometry.max_objects)
            .filter_map(|index| inner.read_entry(index).ok().flatten())
            .find(|found| serves(&found.object))
            .and_then(|found| Placed::at(segment, &found, shape).ok())
    }

    /// Finds the object, or makes it.
    pub(crate) fn open_or_create<T>(
        segment: &Segment,
        name: &str,
        shape: Shape,
        len: usize,
        fill: impl FnOnce(NonNull<u8>),
    ) -> Result<Placed<R>> {
        match Placed::open::<T>(segment, name, shape, Some(len)) {
            Err(Error::NotFound) => {}
            other => return other,
        }
        match Placed::create::<T>(segment, name, shape, len, fill) {
            // Somebody was quicker. Objects are never removed, so theirs is there.
            Err(Error::AlreadyExists) => Placed::open::<T>(segment, name, shape, Some(len)),
            other => other,
        }
    }

    fn at(segment: &Segment, found: &Found, shape: Shape) -> Result<Placed<R>> {
        let (inner, d) = (segment.inner(), &found.object);
        inner.check_place(d)?;
        // Kinds that are not counted are reached without a look at the length: it must be there.
        let counted = d.fingerprint.kind.is_counted();
        let len = d.fingerprint.len;
        let size = shape.size(len, inner.geometry.max_members);
        if size != Some(d.size) || !counted && len != 1 {
            return Err(Error::Corrupt);
        }
        let of_items_at = shape.of_items_at(len).ok_or_else(|| Error::Corrupt)?;
        let members_at = shape.members_at(len).ok_or_else(|| Error::Corrupt)?;
        let at = inner.map.bytes(d.offset, d.size, shape.align)?;
        let control = inner.map.get::<R>(d.offset)?;
        // SAFETY: `data_at` is within the object's size, which was checked to be mapped.
        let data = unsafe { at.add(shape.data_at) };
        // SAFETY: as above: it is at most the size.
        let of_items = unsafe { at.add(of_items_at as usize) };
        // SAFETY: as above.
        let of_members = unsafe { at.add(members_at as usize) };
        let not_null = |at| NonNull::new(at).expect("a mapping is not at null");
        Ok(Placed {
            segment: segment.clone(),
            offset: d.offset,
            #[cfg(feature = "process")]
            entry: found.entry,
            control: NonNull::from(control),
            data: not_null(data),
            len: len as usize,
            of_items: not_null(of_items),
            per_item: shape.per_item,
            of_members: not_null(of_members),
            member_slots: inner.geometry.max_members as usize,
            per_member: shape.per_member,
            member: NonNull::from(&inner.page.get().member),
            spin: Adaptive::new(),
            _control: PhantomData,
        })
    }

    #[inline]
    pub(crate) fn control(&self) -> &R {
        // SAFETY: checked in `at` (bounds, alignment, any bytes are an R), and mapped as long as `segment` lives.
        unsafe { self.control.as_ref() }
    }

    /// Where the items begin: `len * stride` bytes.
    #[inline]
    pub(crate) fn data(&self) -> NonNull<u8> {
        self.data
    }

    /// What each item has of its own in this object. `W` is the one that the shape was made with.
    #[inline]
    pub(crate) fn of_items<W: InRegion>(&self) -> &[W] {
        assert!(size_of::<W>() == self.per_item);
        // SAFETY: checked in `at`: `len` times `per_item` bytes, which is the size of a W, lie behind `of_items`; they are
        // aligned as the shape is; any bytes are a W, and it changes only through atomics.
        unsafe { std::slice::from_raw_parts(self.of_items.as_ptr().cast(), self.len) }
    }

    /// What each member slot has of its own in this object: as many as the segment has slots. `W` is the one that the shape was
    /// made with.
    #[inline]
    pub(crate) fn of_members<W: InRegion>(&self) -> &[W] {
        assert!(size_of::<W>() == self.per_member);
        let slots = self.member_slots();
        // SAFETY: checked in `at`: `slots` times `per_member` bytes, which is the size of a W, lie behind `of_members`; they are
        // aligned as the shape is; any bytes are a W, and it changes only through atomics.
        unsafe { std::slice::from_raw_parts(self.of_members.as_ptr().cast(), slots) }
    }

    /// What this process has of its own in this object, as the member `me` that it is.
    #[inline]
    pub(crate) fn of_member<W: InRegion>(&self, me: MemberId) -> &W {
        &self.of_members()[me.slot() as usize]
    }

    /// As [`of_member`](Self::of_member), with nothing in it that panics, for what is to be part of its callers; `None` where that would.
    #[inline]
    pub(crate) fn of_member_if<W: InRegion>(&self, me: MemberId) -> Option<&W> {
        let (slot, fits) = (me.slot() as usize, size_of::<W>() == self.per_member);
        // SAFETY: as in `of_members`, of one of them.
        (fits && slot < self.member_slots)
            .then(|| unsafe { self.of_members.cast::<W>().add(slot).as_ref() })
    }

    /// How many items, by the private copy that was checked.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// How many member slots the segment has.
    #[inline]
    pub(crate) fn member_slots(&self) -> usize {
        self.member_slots
    }

    /// Where it stands in the segment: no other object ever stands there.
    #[inline]
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// What the directory calls it.
    #[cfg(feature = "process")]
    pub(crate) fn name(&self) -> Result<String> {
        match self.inner().read_entry(self.entry)? {
            Some(found) if found.object.offset == self.offset => Ok(found.object.name),
            // It stood there when this handle was made, and entries stay.
            _ => Err(Error::Corrupt),
        }
    }

    #[inline]
    pub(crate) fn segment(&self) -> &Segment {
        &self.segment
    }

    #[inline]
    pub(crate) fn inner(&self) -> &Inner {
        self.segment.inner()
    }

    /// Where this process's name in claims stands; none in a forked child that is not a member yet.
    #[inline]
    pub(crate) fn member(&self) -> &AtomicU32 {
        // SAFETY: the fork page is mapped as long as `segment` lives.
        unsafe { self.member.as_ref() }
    }

    /// Stands behind each reading of items: `Err(Corrupt)` if the file was cut short meanwhile, so that it means nothing.
    #[inline]
    pub(crate) fn check_whole(&self) -> Result<()> {
        // The readings come before this look; see `TruncationGuard::is_lost`.
        fence(Ordering::Acquire);
        // The loss of the region takes the name away; so does a fork, which does no harm.
        if MemberId::from_private(self.member().load(Ordering::Relaxed)).is_none() {
            return self.inner().check_whole();
        }
        Ok(())
    }

    /// For those who only wake others: makes a forked child a member, if it can be one. The death of one who is none is found by
    /// nobody, and with it the wake-ups that it did not make.
    #[inline]
    pub(crate) fn become_member(&self) {
        let _ = self.me();
    }

    /// This process's name.
    #[inline]
    pub(crate) fn me(&self) -> Result<MemberId> {
        self.inner().me_at(self.member())
    }

    #[inline]
    pub(crate) fn call(&self, deadline: Deadline) -> Result<Call<'_, Inner>> {
        let members = self.inner();
        Ok(Call {
            members,
            me: self.me()?,
            spin: &self.spin,
            deadline,
        })
    }
}

impl<R> Clone for Placed<R> {
    fn clone(&self) -> Self {
        Placed {
            segment: self.segment.clone(),
            spin: self.spin.clone(),
            ..*self
        }
    }
}

impl<R> std::fmt::Debug for Placed<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Object")
            .field("segment", &self.segment.name())
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

impl Inner {
    pub(super) fn entry(&self, index: u32) -> &Entry {
        self.map
            .get(self.geometry.entry_at(index))
            .expect("the directory is mapped")
    }

    fn read_entry(&self, entry: u32) -> Result<Option<Found>> {
        let object = self.entry(entry).read()?;
        Ok(object.map(|object| Found {
            #[cfg(feature = "process")]
            entry,
            object,
        }))
    }

    /// Whether the place that an entry names is one where objects are.
    pub(super) fn check_place(&self, d: &Described) -> Result<()> {
        let end = d.offset.checked_add(d.size).ok_or_else(|| Error::Corrupt)?;
        let data_end = self.geometry.data_at + self.geometry.capacity;
        let inside = d.offset >= self.geometry.data_at && end <= data_end;
        if !inside || d.offset % OBJECT_ALIGN != 0 || d.fingerprint.len > isize::MAX as u64 {
            return Err(Error::Corrupt);
        }
        Ok(())
    }

    pub(super) fn available(&self) -> u64 {
        self.geometry.capacity - self.allocated()
    }

    /// Bytes of the data area up to the end of the last object, in whole lines.
    fn allocated(&self) -> u64 {
        let data_at = self.geometry.data_at;
        let data_end = data_at + self.geometry.capacity;
        (0..self.geometry.max_objects)
            .filter_map(|index| self.entry(index).end())
            // Another end is no object's.
            .filter(|end| (data_at..=data_end).contains(end))
            .max()
            // The capacity is whole lines, so this is no more.
            .map_or(0, |end| (end - data_at).next_multiple_of(OBJECT_ALIGN))
    }

    fn find(&self, name: &str) -> Result<Option<Found>> {
        for index in directory::probe(name, self.geometry.max_objects) {
            match self.read_entry(index)? {
                None => break,
                Some(f) if f.object.name == name => return self.check_whole().map(|()| Some(f)),
                Some(_) => {}
            }
        }
        self.check_whole().map(|()| None)
    }

    fn create_object(
        &self,
        name: &str,
        fingerprint: Fingerprint,
        shape: Shape,
        init: impl FnOnce(NonNull<u8>, u64),
    ) -> Result<Found> {
        directory::check_name(name)?;
        let me = self.me()?;
        let _held = self.lock_directory(me)?;
        let mut free = None;
        for index in directory::probe(name, self.geometry.max_objects) {
            match self.entry(index).read()? {
                Some(d) if d.name == name => return Err(Error::AlreadyExists),
                Some(_) => {}
                None => {
                    free = Some(index);
                    break;
                }
            }
        }
        let free = free.ok_or_else(|| Error::TooManyObjects)?;

        let (offset, size) = self.room(shape, fingerprint.len)?;
        // Items of no bytes find room for any number; nobody could open more than this.
        if fingerprint.len > isize::MAX as u64 {
            return Err(Error::TooLarge {
                requested: fingerprint.len,
                limit: isize::MAX as u64,
            });
        }
        let d = Described {
            name: name.to_owned(),
            fingerprint,
            offset,
            size,
        };
        // Where a file system has no fallocate, allocating would make a file that was cut short long again, with zeros where there
        // were objects.
        if self.file.len()? < self.geometry.file_bytes {
            return Err(Error::Corrupt);
        }
        self.file.allocate(offset, size)?;
        let at = self.map.bytes(offset, size, shape.align)?;
        init(NonNull::new(at).expect("a mapping is not at null"), size);
        self.entry(free).publish(&d);
        // Cut short meanwhile, what we made is nobody's but ours.
        self.check_whole().map(|()| Found {
            #[cfg(feature = "process")]
            entry: free,
            object: d,
        })
    }

    /// Room for an object, behind all others.
    fn room(&self, shape: Shape, len: u64) -> Result<(u64, u64)> {
        let geometry = &self.geometry;
        let allocated = self.allocated();
        let no_room = |requested| Error::OutOfSpace {
            requested,
            available: geometry.capacity - allocated,
            place: Place::Segment,
        };
        let size = shape
            .size(len, geometry.max_members)
            .ok_or_else(|| no_room(u64::MAX))?;
        let align = OBJECT_ALIGN.max(shape.align as u64);
        let offset = (geometry.data_at + allocated).next_multiple_of(align);
        if size > (geometry.data_at + geometry.capacity).saturating_sub(offset) {
            return Err(no_room(size));
        }
        Ok((offset, size))
    }

    fn lock_directory(&self, me: MemberId) -> Result<DirectoryHeld<'_>> {
        let spin = Adaptive::new();
        let call = Call {
            members: self,
            me,
            spin: &spin,
            deadline: Deadline::after(CREATOR_PATIENCE),
        };
        // Whether its last holder died makes no difference: an entry is there or not.
        self.shared().directory.lock(&call, Heir::Inherits)?;
        Ok(DirectoryHeld(self))
    }
}

struct DirectoryHeld<'a>(&'a Inner);

impl Drop for DirectoryHeld<'_> {
    fn drop(&mut self) {
        self.0.shared().directory.unlock();
    }
}
