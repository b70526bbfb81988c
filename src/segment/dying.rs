//! Members that can act no more, though their liveness locks are still held: the kernel drops those after it has taken the process's
//! memory apart, which takes 80 ms for a GiB.

use super::Inner;
use crate::raw::MemberId;
use crate::sys::deadline::now;
use crate::sys::exiting::{self, Answer, Identity};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How often a member is looked at in `/proc`, at the most: that costs several times what asking after its lock costs, and who only tries to
/// lock may ask all the time.
const LOOK_EVERY: Duration = Duration::from_micros(500);

/// What this attachment knows of each slot.
#[derive(Debug)]
pub(super) struct Dying(Box<[Known]>);

#[derive(Debug, Default)]
struct Known {
    /// The name of the last member here that was found to have no memory any more: that is for ever.
    gone: AtomicU32,
    /// The name of the last member here whose process we must not look at: each look might be noted in some log.
    denied: AtomicU32,
    /// When it was looked at last, in microseconds of the monotonic clock, which wrap in an hour.
    looked_at: AtomicU32,
}

impl Dying {
    pub(super) fn new(max_members: u32) -> Dying {
        Dying((0..max_members).map(|_| Known::default()).collect())
    }
}

impl Inner {
    /// Whether no thread of this member, whose liveness lock is held, can write any more. `false` for ourselves, and for one that is no
    /// member.
    pub(super) fn is_dying(&self, id: MemberId) -> bool {
        let Some(known) = self.dying.0.get(id.slot() as usize) else {
            return false;
        };
        if self.is_me(id) {
            return false;
        }
        // Acquire and Release: who takes what a dead member had sees all that it wrote. The kernel's own locks order that before the
        // answer of `/proc`, for the thread that asked; this does for the others.
        if known.gone.load(Ordering::Acquire) == id.bits() {
            return true;
        }
        if known.denied.load(Ordering::Relaxed) == id.bits() {
            return false;
        }
        let time = now().as_micros() as u32;
        let since = time.wrapping_sub(known.looked_at.load(Ordering::Relaxed));
        if since < LOOK_EVERY.as_micros() as u32 {
            return false;
        }
        known.looked_at.store(time, Ordering::Relaxed);
        // The claim first: see `Slot::identity`.
        let claim = self.claim(id.slot());
        if claim.owner(id.slot()) != Some(id) {
            return false;
        }
        let identity = Identity(self.slot(id.slot()).identity.load(Ordering::Relaxed));
        match exiting::ask_after(claim.pid(), identity) {
            Answer::Gone => known.gone.store(id.bits(), Ordering::Release),
            Answer::Denied => known.denied.store(id.bits(), Ordering::Relaxed),
            Answer::MayLive => {}
        }
        known.gone.load(Ordering::Relaxed) == id.bits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::members::{Claim, liveness_offset};
    use crate::raw::Membership;
    use crate::raw::member::Call;
    use crate::raw::mutex::{Heir, RawMutex};
    use crate::sys::deadline::Deadline;
    use crate::sys::fork;
    use crate::sys::liveness::Candidate;
    use crate::sys::spin::Adaptive;
    use crate::{Error, Segment};
    use std::os::fd::AsFd;
    use std::process::{Child, Command};

    /// A member whose process is `child`, and whose liveness lock we hold: as the kernel does while it takes a big one apart.
    fn pretend(
        segment: &Segment,
        slot: u32,
        generation: u32,
        child: &Asleep,
        identity: Identity,
    ) -> MemberId {
        let inner = segment.inner();
        let id = MemberId::new(slot, generation).unwrap();
        let no_forks = fork::keep_forks_out();
        let candidate = Candidate::new(inner.file.reopen().unwrap(), &no_forks).unwrap();
        assert!(candidate.lock(liveness_offset(id)).unwrap());
        // Held until this process ends.
        let _page = candidate.hold();
        let place = inner.slot(slot);
        place.identity.store(identity.0, Ordering::Relaxed);
        place
            .claim
            .store(Claim::new(id, child.0.id()).0, Ordering::Release);
        assert!(inner.is_held(id));
        id
    }

    /// A process that is asleep. Once killed it stays unreaped: only what `/proc` says of it tells of its death.
    struct Asleep(Child);

    impl Asleep {
        fn new() -> (Asleep, Identity) {
            let child = Asleep(Command::new("sleep").arg("600").spawn().unwrap());
            let identity = Identity::of(child.0.id()).unwrap();
            (child, identity)
        }

        /// Kills it, and waits until it has lost its memory.
        fn die(&mut self, identity: Identity) {
            self.0.kill().unwrap();
            let deadline = Deadline::after(Duration::from_secs(60));
            while exiting::ask_after(self.0.id(), identity) != Answer::Gone {
                assert!(!deadline.has_passed(), "it does not die");
            }
        }
    }

    impl Drop for Asleep {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_lock_is_taken_from_a_process_that_has_no_memory_though_its_liveness_lock_is_held() {
        let segment = Segment::anonymous(1 << 16).unwrap();
        let inner = segment.inner();
        let (mut child, identity) = Asleep::new();
        let owner = pretend(&segment, 9, 7, &child, identity);
        let mutex = RawMutex::new();
        assert!(mutex.lock_at_once(owner));
        let call = Call {
            members: inner,
            me: inner.me().unwrap(),
            spin: &Adaptive::new(),
            deadline: Deadline::after(Duration::from_millis(3)),
        };
        let refused = mutex.lock(&call, Heir::Refuses);
        assert!(matches!(refused, Err(Error::Timeout)), "{refused:?}");
        child.0.kill().unwrap();
        let deadline = Deadline::after(Duration::from_secs(60));
        let refused = mutex.lock(&Call { deadline, ..call }, Heir::Refuses);
        assert!(matches!(refused, Err(Error::Poisoned)), "{refused:?}");
        drop(child);
        // It is known from then on, though nobody can be asked any more.
        assert!(inner.is_held(owner));
        assert!(!inner.is_alive(owner));
    }

    #[test]
    fn a_member_that_said_nothing_of_itself_is_alive_while_its_lock_is_held() {
        let segment = Segment::anonymous(1 << 16).unwrap();
        let (mut child, identity) = Asleep::new();
        let owner = pretend(&segment, 9, 7, &child, Identity(0));
        child.die(identity);
        assert!(segment.inner().is_alive(owner));
    }

    #[test]
    fn what_is_known_of_who_has_the_slot_now_says_nothing_of_who_had_it() {
        let segment = Segment::anonymous(1 << 16).unwrap();
        let (mut child, identity) = Asleep::new();
        let before = pretend(&segment, 9, 6, &child, identity);
        let owner = pretend(&segment, 9, 7, &child, identity);
        child.die(identity);
        // The only look at this slot: none is left out for having come too soon.
        assert!(segment.inner().is_alive(before));
        let other = Segment::from_fd(segment.as_fd().try_clone_to_owned().unwrap()).unwrap();
        assert!(
            !other.inner().is_alive(owner),
            "there was something to be known"
        );
    }

    #[test]
    fn each_member_says_which_process_it_is() {
        let segment = Segment::anonymous(1 << 16).unwrap();
        let inner = segment.inner();
        let slot = inner.slot(inner.me().unwrap().slot());
        assert_eq!(
            Identity(slot.identity.load(Ordering::Relaxed)),
            Identity::own(&fork::keep_forks_out())
        );
    }
}
