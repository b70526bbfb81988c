//! Becoming a member, and ceasing to be one.
//!
//! # Points of death
//!
//! | a process dies | what is left | who mends it |
//! |---|---|---|
//! | before the slot's claim is stored | nothing: its lock is gone with it | – |
//! | after it | a claim without a lock: a dead member | the sweep, a waiter on its locks, or the next attacher |
//! | while it detaches | the same, or a free slot | the same |

use super::Inner;
use crate::error::{Error, Result};
use crate::layout::members::{Claim, Slot, liveness_offset};
use crate::raw::MemberId;
use crate::sys::exiting::Identity;
use crate::sys::fork;
use crate::sys::futex;
use crate::sys::liveness::{self, Candidate};
use std::sync::atomic::Ordering;

impl Inner {
    #[inline]
    pub(super) fn me_if_attached(&self) -> Option<MemberId> {
        // Relaxed: the id alone is used; nothing else is read by way of it.
        MemberId::from_private(self.page.get().member.load(Ordering::Relaxed))
    }

    pub(super) fn slot(&self, slot: u32) -> &Slot {
        debug_assert!(slot < self.geometry.max_members);
        self.map
            .get(self.geometry.slot_at(slot))
            .expect("the member table is mapped")
    }

    pub(super) fn claim(&self, slot: u32) -> Claim {
        // Acquire: pairs with the claiming exchange, though nothing but the word itself is believed.
        Claim(self.slot(slot).claim.load(Ordering::Acquire))
    }

    /// Makes this process a member: takes a liveness lock first and then the slot, so that no claim is ever without a lock
    /// while its owner lives.
    #[cold]
    pub(super) fn attach(&self) -> Result<MemberId> {
        self.check_whole()?;
        let no_forks = fork::keep_forks_out();
        if let Some(id) = self.me_if_attached() {
            // Another thread of this process was quicker.
            return Ok(id);
        }
        let identity = Identity::own(&no_forks);
        let candidate = Candidate::new(self.file.reopen()?, &no_forks)?;
        // Slots that are free, and only if there is none those of the dead: asking after them takes a system call each.
        let id = match self.take_slot(&candidate, identity, false)? {
            Some(id) => id,
            None => self
                .take_slot(&candidate, identity, true)?
                .ok_or_else(|| Error::TooManyMembers)?,
        };
        let liveness = candidate.hold();
        // Some file systems (overlayfs) map another file than the one that was opened: there the lock is gone with the
        // descriptor, and all would take us for dead.
        if !self.is_held(id) {
            // SAFETY: mapped just now by this process, and not stored anywhere.
            unsafe { liveness::release(liveness) };
            self.free_slot(id.slot(), self.claim(id.slot()));
            return Err(Error::Io(std::io::Error::new(
                std::io::ErrorKind::Unsupported,
                "this file system (an overlay?) does not keep a lock with a mapping: choose a directory on tmpfs or a disk",
            )));
        }
        let page = self.page.get();
        page.liveness.store(liveness, Ordering::Relaxed);
        // Only where there is no name: if the region was lost meanwhile, the handler's mark stands there, and other threads must not
        // for a moment take what they read for a member's.
        page.member
            .compare_exchange(0, id.bits(), Ordering::Release, Ordering::Relaxed)
            // The drop releases the liveness page, if the handler did not find it.
            .map_err(|_| Error::Corrupt)?;
        Ok(id)
    }

    fn take_slot(
        &self,
        candidate: &Candidate<'_>,
        identity: Identity,
        of_the_dead: bool,
    ) -> Result<Option<MemberId>> {
        let slots = self.geometry.max_members;
        let next = &self.shared().next_slot;
        let start = next.load(Ordering::Relaxed) % slots;
        for slot in (start..slots).chain(0..start) {
            let claim = self.claim(slot);
            if let Some(owner) = claim.owner(slot) {
                if !of_the_dead || self.is_held(owner) {
                    continue;
                }
                self.announce_departure();
            }
            if let Some(id) = self.take_from(slot, claim, candidate, identity)? {
                // A slot is taken again only after all others: ids repeat as late as they can.
                next.store((slot + 1) % slots, Ordering::Relaxed);
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    /// Takes a slot whose claim was this a moment ago, unless somebody else did.
    fn take_from(
        &self,
        slot: u32,
        claim: Claim,
        candidate: &Candidate<'_>,
        identity: Identity,
    ) -> Result<Option<MemberId>> {
        let generation = MemberId::next_generation(claim.generation());
        let id = MemberId::new(slot, generation).expect("a slot and a generation in range");
        if !candidate.lock(liveness_offset(id))? {
            // Somebody else is about to take this slot.
            return Ok(None);
        }
        // While we have the next generation's lock nobody else takes the slot, or touches its identity; but somebody may have taken
        // it, and left it to a third, since its claim was read.
        if self.claim(slot).generation() == claim.generation() {
            // Relaxed: the exchange publishes it.
            self.slot(slot)
                .identity
                .store(identity.0, Ordering::Relaxed);
            // AcqRel: who sees the claim sees all that its owner did before; the owner sees what the last one left.
            let taken = self.slot(slot).claim.compare_exchange(
                claim.0,
                Claim::new(id, std::process::id()).0,
                Ordering::AcqRel,
                Ordering::Relaxed,
            );
            if taken.is_ok() {
                return Ok(Some(id));
            }
        }
        candidate.unlock(liveness_offset(id))?;
        Ok(None)
    }

    /// Whether the kernel can be asked at all: not when our descriptor was closed behind our back and there is no name to
    /// open the file by.
    pub(super) fn can_ask(&self) -> bool {
        self.file.with_file(|_| Ok(())).is_ok()
    }

    /// Whether the kernel vouches for the member. In doubt (no descriptor to ask by), yes: a living member must never be
    /// taken for dead.
    pub(super) fn is_held(&self, id: MemberId) -> bool {
        self.file
            .with_file(|file| liveness::is_held(file, liveness_offset(id)))
            .unwrap_or(true)
    }

    /// Tells all waiters that somebody is gone: before the slot is freed, so that a death while this runs is found again.
    pub(super) fn announce_departure(&self) {
        let deaths = &self.shared().deaths;
        // Release: who sees the new count asks after owners later than the kernel let go of the dead.
        deaths.fetch_add(1, Ordering::Release);
        futex::wake(deaths, u32::MAX);
    }

    /// Frees the slot of a member that is gone, unless somebody did already.
    pub(super) fn free_slot(&self, slot: u32, claim: Claim) {
        let _ = self.slot(slot).claim.compare_exchange(
            claim.0,
            claim.freed().0,
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.leave();
        if let Some(guard) = self.truncation.take() {
            guard.end(&fork::keep_forks_out());
        }
    }
}

impl Inner {
    fn leave(&self) {
        // The handler of a loss releases it, too.
        let page = self
            .page
            .get()
            .liveness
            .swap(std::ptr::null_mut(), Ordering::AcqRel);
        // In a forked child that never became a member both are 0: what the parent has is not ours to give up.
        if page.is_null() {
            return;
        }
        // SAFETY: this process stored the page when it attached (a child would read null), and drops once.
        unsafe { liveness::release(page) };
        // None: the region is lost.
        let Some(id) = self.me_if_attached() else {
            return;
        };
        // Claims that this process still has, by guards that were forgotten, are a dead member's from here on.
        // Nobody is woken for it (a thousand sleepers at each detach would cost too much): who leaves in order has no call under way
        // that could have swallowed a wake-up, and waiters for a forgotten guard's lock ask after its owner when their
        // sleep ends.
        self.shared().deaths.fetch_add(1, Ordering::Release);
        let claim = self.claim(id.slot());
        if claim.owner(id.slot()) == Some(id) {
            self.free_slot(id.slot(), claim);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fork::NO_MEMBER_ANY_MORE;
    use crate::{Segment, SegmentOptions};
    use std::os::fd::AsFd;

    #[test]
    fn a_loss_in_the_midst_of_attaching_leaves_no_member() {
        let segment = Segment::anonymous(4096).unwrap();
        let page = segment.inner().page.get();
        let first = page.liveness.swap(std::ptr::null_mut(), Ordering::Relaxed);
        // SAFETY: it stands in the page no more, so the drop will not release it again.
        unsafe { liveness::release(first) };
        // As the handler does in another thread, after the first look.
        page.member.store(NO_MEMBER_ANY_MORE, Ordering::Relaxed);
        assert!(matches!(segment.inner().attach(), Err(Error::Corrupt)));
        assert_eq!(page.member.load(Ordering::Relaxed), NO_MEMBER_ANY_MORE);
    }

    #[test]
    fn who_comes_late_for_a_slot_leaves_the_identity_of_its_member_alone() {
        let segment = SegmentOptions::new()
            .capacity(4096)
            .max_members(2)
            .anonymous()
            .unwrap();
        let again = || Segment::from_fd(segment.as_fd().try_clone_to_owned().unwrap()).unwrap();
        let (inner, stale) = (segment.inner(), Claim(0));
        drop(again());
        let member = again();
        let id = member.inner().me().unwrap();
        assert!(id.generation() > 1, "not the one after the stale claim");
        let identity = || inner.slot(id.slot()).identity.load(Ordering::Relaxed);
        let before = identity();
        let no_forks = fork::keep_forks_out();
        let candidate = Candidate::new(inner.file.reopen().unwrap(), &no_forks).unwrap();
        let taken = inner.take_from(id.slot(), stale, &candidate, Identity(!before));
        assert!(matches!(taken, Ok(None)), "{taken:?}");
        assert_eq!(identity(), before);
        // And it has given back the lock that it got.
        let lock = MemberId::new(id.slot(), 1).unwrap();
        assert!(!inner.is_held(lock));
    }
}
