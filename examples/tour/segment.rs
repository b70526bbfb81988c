//! The tour's segment, removed however the tour ends.

use crate::Result;
use crate::workers::{Context, Worker};
use commonhold::{Error, Segment};
use std::io::Read;
use std::ops::Deref;

/// Address space, not memory: pages are taken by the objects that are created.
const CAPACITY: usize = 256 << 20;

/// The role of the process that removes the name when the tour is killed.
pub(crate) const JANITOR: &str = "janitor";

/// A new segment with a name of its own, which is unlinked when this is dropped.
pub(crate) struct OwnSegment {
    seg: Segment,
    /// Ends when its stdin does: when this is dropped, or when the tour is killed, be it by SIGKILL.
    _janitor: Worker,
}

impl OwnSegment {
    pub(crate) fn create() -> Result<OwnSegment> {
        let name = format!("commonhold-tour-{}", std::process::id());
        let seg = Segment::create(&name, CAPACITY)
            .context(format_args!("creating the segment {name}"))?;
        // Only now: a name that was taken is not ours to remove.
        let janitor = Worker::start_apart(&name, JANITOR).inspect_err(|_| {
            let _ = Segment::unlink(&name);
        })?;
        Ok(OwnSegment {
            seg,
            _janitor: janitor,
        })
    }

    /// Unlinks the name; unlike a drop, it tells when that fails.
    pub(crate) fn remove(self) -> Result<()> {
        Segment::unlink(self.seg.name()).context("removing the segment")
    }
}

impl Deref for OwnSegment {
    type Target = Segment;
    fn deref(&self) -> &Segment {
        &self.seg
    }
}

impl Drop for OwnSegment {
    fn drop(&mut self) {
        // Gone already after `remove`.
        let _ = Segment::unlink(self.seg.name());
    }
}

/// Waits for the end of the tour, then removes what it could not remove itself.
pub(crate) fn janitor(name: &str) -> Result<()> {
    std::io::stdin().read_to_end(&mut Vec::new())?;
    match Segment::unlink(name) {
        Ok(()) | Err(Error::NotFound) => Ok(()),
        Err(e) => Err(e.into()),
    }
}
