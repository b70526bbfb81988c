//! From a file to an attached segment, with every look at the file's bytes before it is mapped.

use super::{Inner, Segment};
use crate::error::{Error, Place, Result};
use crate::layout::header::Geometry;
use crate::sys::fork::ForkPage;
use crate::sys::map::Map;
use crate::sys::shm::{Plan, SegmentFile};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;

pub(super) fn plan(geometry: &Geometry, mode: u32) -> Plan<'_> {
    Plan {
        len: geometry.file_bytes,
        allocated: geometry.data_at,
        head: bytemuck::bytes_of(geometry),
        mode,
    }
}

/// Reads by `pread`, not through a mapping: a file that is shorter than it says is then an error and not a SIGBUS.
pub(super) fn read_geometry(file: &SegmentFile) -> Result<Geometry> {
    Geometry::check(&head(file)?, file.file().metadata()?.len())
}

pub(super) fn has_magic(file: &SegmentFile) -> Result<bool> {
    Ok(Geometry::has_magic(&head(file)?))
}

fn head(file: &SegmentFile) -> Result<Vec<u8>> {
    let mut head = vec![0; size_of::<Geometry>()];
    let mut len = 0;
    while len < head.len() {
        match file.file().read_at(&mut head[len..], len as u64)? {
            0 => break,
            n => len += n,
        }
    }
    head.truncate(len);
    Ok(head)
}

pub(super) fn refuse_other_users(file: &SegmentFile, allowed: bool) -> Result<()> {
    if !allowed && file.file().metadata()?.uid() != crate::sys::shm::effective_user() {
        return Err(Error::PermissionDenied);
    }
    Ok(())
}

/// Maps the file and becomes a member. `geometry` was checked against the file, or made it.
pub(super) fn attach(
    file: SegmentFile,
    geometry: Geometry,
    name: &str,
    guarded: bool,
) -> Result<Segment> {
    Ok(Segment {
        inner: Arc::new(attach_inner(file, geometry, name, guarded)?),
    })
}

/// Maps a draft, becomes its member, and only then gives it its name. `None`: it can't get one.
pub(super) fn attach_and_publish(
    draft: SegmentFile,
    geometry: Geometry,
    name: &str,
    guarded: bool,
    path: &std::path::Path,
) -> Result<Option<Segment>> {
    let mut inner = attach_inner(draft, geometry, name, guarded)?;
    if !inner.file.publish(path)? {
        return Ok(None);
    }
    Ok(Some(Segment {
        inner: Arc::new(inner),
    }))
}

fn attach_inner(file: SegmentFile, geometry: Geometry, name: &str, guarded: bool) -> Result<Inner> {
    let len = usize::try_from(geometry.file_bytes)
        .ok()
        .filter(|&n| isize::try_from(n).is_ok())
        .ok_or(Error::OutOfSpace {
            requested: geometry.file_bytes,
            available: isize::MAX as u64,
            place: Place::AddressSpace,
        })?;
    let mut inner = Inner {
        map: Map::new(file.file(), len)?,
        file,
        geometry,
        name: name.to_owned(),
        page: ForkPage::new()?,
        truncation: None,
    };
    if guarded {
        inner.guard_truncation()?;
    }
    inner.attach()?;
    Ok(inner)
}
