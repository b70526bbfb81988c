//! From a file to an attached segment, with every look at the file's bytes before it is mapped.

use super::dying::Dying;
use super::{Inner, Segment};
use crate::error::{Error, Place, Result};
use crate::layout::header::Geometry;
use crate::sys::fork::ForkPage;
use crate::sys::map::Map;
use crate::sys::shm::{Plan, SegmentFile};
use std::os::unix::fs::FileExt;
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
    Geometry::check(&head(file)?, file.len_then())
}

/// As [`read_geometry`], of a file that anybody may have sent, as it is now: one that was found to be sealed, and so is trusted not to
/// become shorter, may have become shorter before that.
pub(super) fn read_geometry_anew(file: &SegmentFile) -> Result<Geometry> {
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
    if !allowed && file.owner() != crate::sys::shm::effective_user() {
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
    attach_inner(file, geometry, name, guarded).map(attached)
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
    Ok(Some(attached(inner)))
}

fn attached(inner: Inner) -> Segment {
    let segment = Segment {
        inner: Arc::new(inner),
    };
    #[cfg(feature = "process")]
    super::registry::note(&segment);
    segment
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
        dying: Dying::new(geometry.max_members),
        truncation: None,
    };
    if guarded {
        inner.guard_truncation()?;
    }
    inner.attach()?;
    Ok(inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::SegmentOptions;
    use std::os::fd::{AsFd, AsRawFd, FromRawFd};

    #[test]
    fn a_file_that_was_cut_short_when_it_was_open_already_is_refused() {
        let seg = SegmentOptions::new().capacity(1 << 16).anonymous().unwrap();
        let bytes = std::fs::read(format!("/proc/self/fd/{}", seg.as_fd().as_raw_fd())).unwrap();
        // SAFETY: the name is a C string.
        let fd = unsafe { libc::memfd_create(c"commonhold".as_ptr(), libc::MFD_CLOEXEC) };
        // SAFETY: the kernel just gave us this descriptor.
        let file = unsafe { std::fs::File::from_raw_fd(fd) };
        file.write_all_at(&bytes, 0).unwrap();
        let taken = SegmentFile::adopt(file.try_clone().unwrap(), None).unwrap();
        read_geometry_anew(&taken).unwrap();
        file.set_len(4096).unwrap();
        let refused = read_geometry_anew(&taken);
        assert!(matches!(refused, Err(Error::Corrupt)), "{refused:?}");
    }
}
