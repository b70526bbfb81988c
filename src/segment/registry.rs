//! The segments that this process has attached, so that one that arrives from another process is not attached twice.

use super::{Inner, Segment};
use crate::sys::fork;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Which segment, among all that there ever were on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// The device and inode number of its file. The file's next owner may have the same.
    pub(super) file: (u64, u64),
    /// From its header. A copy of the file has the same.
    pub(super) id: [u8; 16],
}

impl Inner {
    pub(super) fn identity(&self) -> Identity {
        Identity {
            file: self.file.identity(),
            id: self.geometry.id,
        }
    }
}

struct Attached {
    identity: Identity,
    inner: Weak<Inner>,
}

static ATTACHED: Mutex<Vec<Attached>> = Mutex::new(Vec::new());

/// `f` must drop no segment: its drop may have to keep forks out, too.
fn with<R>(f: impl FnOnce(&mut Vec<Attached>) -> R) -> R {
    // No child is forked while the list is locked, which would find it locked for ever.
    let _no_forks = fork::keep_forks_out();
    f(&mut ATTACHED.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Notes a segment that was just attached.
pub(super) fn note(segment: &Segment) {
    let attached = Attached {
        identity: segment.inner.identity(),
        inner: Arc::downgrade(&segment.inner),
    };
    with(|list| {
        // Those that are gone are taken out before the list would grow.
        if list.len() == list.capacity() {
            list.retain(|a| a.inner.strong_count() > 0);
        }
        list.push(attached);
    });
}

/// The first attachment of that segment that serves: one that is guarded against truncation, if that is wanted, and not lost.
pub(super) fn find(identity: &Identity, guarded: bool) -> Option<Segment> {
    let found: Vec<Arc<Inner>> = with(|list| {
        let same = list.iter().filter(|a| a.identity == *identity);
        same.filter_map(|a| a.inner.upgrade()).collect()
    });
    let serves =
        |inner: &Arc<Inner>| (inner.is_guarded() || !guarded) && inner.check_whole().is_ok();
    let inner = found.into_iter().find(serves)?;
    Some(Segment { inner })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_attached_no_more_is_forgotten() {
        let kept: Vec<Segment> = (0..10).map(|_| Segment::anonymous(1).unwrap()).collect();
        for _ in 0..2000 {
            drop(Segment::anonymous(1).unwrap());
        }
        let (len, dead) = with(|list| {
            let dead = list.iter().filter(|a| a.inner.strong_count() == 0);
            (list.len(), dead.count())
        });
        assert!(dead < 1000, "{dead} of {len}");
        let here = |segment: &Segment| find(&segment.inner.identity(), false).is_some();
        assert!(kept.iter().all(here));
    }
}
