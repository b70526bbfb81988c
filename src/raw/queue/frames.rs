//! Frames in a [`RawQueue`]: runs of units that are sent and received whole, while the caller holds one end of the queue.
//!
//! An end is lent as a guard, [`Room`] or [`Frame`], under which the caller writes or reads the units in place; publishing and taking
//! are the queue's own stores of `tail` and `head`. How long the frame at `head` is, its units say; the queue does not know.
//! Dropping a guard without that changes nothing, also in a panic. In a child that was forked under a guard the copy is inert: the
//! lock and the frame are the parent's.
//!
//! Two rules differ from those for units that each serve somebody:
//! - One who waits for room may need more of it than another, and only he knows: room is told to all who wait.
//! - A frame is told to one. One who was told and leaves it there, tells another.
//!
//! # Points of death
//!
//! | a member dies | the others see |
//! |---|---|
//! | with a `Room`, before the store of `tail` | nothing: the units beyond `tail` do not exist; the next sender takes the lock over |
//! | after it | the frame; a sleeper that was to be woken for it is woken by the sweep |
//! | with a `Frame`, before the store of `head` | the frame: the next receiver takes the lock over, and gets it |
//! | after it | the frame went to the dead; senders that were to be woken are woken by the sweep |
//! | leaving a `Frame`, before the next one is told | the frame; a sleeper is woken by the sweep |

use super::RawQueue;
use crate::error::{Error, Result};
use crate::raw::member::{Call, Membership};
use crate::raw::mutex::{Heir, Took, UnlockOnDrop};
use crate::raw::wait::{wait_for, wait_for_frames};
use crate::sys::atomic::{LoadOwn, Ordering};
use crate::sys::deadline::Deadline;

/// Room for one frame, and the senders' lock.
#[must_use = "dropped, nothing is sent"]
pub(crate) struct Room<'a, M: Membership> {
    queue: &'a RawQueue,
    call: &'a Call<'a, M>,
    tail: u64,
    units: u64,
}

/// The frame that is next, and the receivers' lock.
#[must_use = "dropped, the frame stays"]
pub(crate) struct Frame<'a, M: Membership> {
    queue: &'a RawQueue,
    call: &'a Call<'a, M>,
    head: u64,
    filled: u64,
}

impl RawQueue {
    /// Waits until the deadline for room for `units`, at least 1 and at most the capacity. If the deadline is
    /// [`Deadline::PASSED`], this is a `try_` form: `Err(Full)` if there is no room.
    #[inline]
    pub(crate) fn reserve<'a, M: Membership>(
        &'a self,
        capacity: u64,
        call: &'a Call<'a, M>,
        units: u64,
    ) -> Result<Room<'a, M>> {
        match self.reserve_at_once(capacity, call, units) {
            Some(room) => Ok(room),
            None => self.reserve_later(capacity, call, units),
        }
    }

    /// Room, if nobody else is sending and it is there: mostly; and not if the receivers are near. Otherwise
    /// [`reserve_later`](Self::reserve_later) is called. The two are [`reserve`](Self::reserve); apart, for one who has a room, where it is
    /// in a hurry, in registers.
    #[inline]
    pub(crate) fn reserve_at_once<'a, M: Membership>(
        &'a self,
        capacity: u64,
        call: &'a Call<'a, M>,
        units: u64,
    ) -> Option<Room<'a, M>> {
        let end = &self.senders;
        if !end.lock.lock_at_once(call.me) {
            return None;
        }
        let looks = self.known_room(capacity) < units;
        if looks && call.spin.is_near() {
            end.lock.unlock();
            return None;
        }
        let tail = end.position.load_own();
        let has_room = matches!(self.room_behind(tail, units, capacity), Ok(free) if free >= units);
        if self.is_closed() || !has_room {
            end.lock.unlock();
            return None;
        }
        if looks {
            self.looked_for_room(capacity, call, units);
        }
        Some(Room {
            queue: self,
            call,
            tail,
            units,
        })
    }

    /// What [`reserve_at_once`](Self::reserve_at_once) did not do.
    #[cold]
    pub(crate) fn reserve_later<'a, M: Membership>(
        &'a self,
        capacity: u64,
        call: &'a Call<'a, M>,
        units: u64,
    ) -> Result<Room<'a, M>> {
        let attempt = || self.reserve_now(capacity, call, units);
        if call.deadline == Deadline::PASSED {
            return match attempt() {
                Ok(None) | Err(Error::Timeout | Error::WouldBlock) => Err(Error::Full),
                Ok(Some(room)) => Ok(room),
                Err(e) => Err(e),
            };
        }
        let looks = call
            .spin
            .keep_distance(|| self.known_room(capacity) < units);
        let mut room = None;
        wait_for(
            call,
            &self.idle.not_full,
            |_| {
                room = attempt()?;
                Ok(room.is_some())
            },
            || self.is_worth_sending(capacity, units),
        )?;
        if looks {
            self.looked_for_room(capacity, call, units);
        }
        Ok(room.expect("the attempt succeeded"))
    }

    fn looked_for_room<M: Membership>(&self, capacity: u64, call: &Call<'_, M>, units: u64) {
        let found = self.known_room(capacity) / units;
        call.spin.looked(found, capacity / units);
    }

    /// The next frame, if nobody else is receiving and it is there; as [`reserve_at_once`](Self::reserve_at_once). And whether it was
    /// looked for: then the caller tells the call's `spin` how many he [found](crate::sys::spin::Adaptive::looked).
    #[inline]
    pub(crate) fn next_frame_at_once<'a, M: Membership>(
        &'a self,
        capacity: u64,
        call: &'a Call<'a, M>,
    ) -> Option<(Frame<'a, M>, bool)> {
        let end = &self.receivers;
        if !end.lock.lock_at_once(call.me) {
            return None;
        }
        let looks = self.known_items() == 0;
        if looks && call.spin.is_near() {
            end.lock.unlock();
            return None;
        }
        let head = end.position.load_own();
        let Ok(filled @ 1..) = self.filled_behind(head, 1, capacity) else {
            end.lock.unlock();
            return None;
        };
        let frame = Frame {
            queue: self,
            call,
            head,
            filled,
        };
        Some((frame, looks))
    }

    /// What [`next_frame_at_once`](Self::next_frame_at_once) did not do: waits for a frame until the deadline. If that is
    /// [`Deadline::PASSED`], this is a `try_` form: `Err(Empty)` if there is none.
    ///
    /// Also whether it had to wait: then the caller tells the call's `spin` whether he [found](crate::sys::spin::Adaptive::found) more than
    /// one.
    #[cold]
    pub(crate) fn next_frame_later<'a, M: Membership>(
        &'a self,
        capacity: u64,
        call: &'a Call<'a, M>,
    ) -> Result<(Frame<'a, M>, bool)> {
        let attempt = || self.next_frame_now(capacity, call);
        if call.deadline == Deadline::PASSED {
            return match attempt() {
                Ok(None) | Err(Error::Timeout | Error::WouldBlock) => Err(Error::Empty),
                Ok(Some(frame)) => Ok((frame, false)),
                Err(e) => Err(e),
            };
        }
        // What is found the caller tells, who knows how long the frame is.
        call.spin.keep_distance(|| self.known_items() == 0);
        let (mut frame, mut tried, mut has_waited) = (None, false, false);
        wait_for_frames(
            call,
            &self.idle.not_empty,
            |_| {
                has_waited = tried;
                tried = true;
                frame = attempt()?;
                Ok(frame.is_some())
            },
            || self.is_worth_receiving(),
        )?;
        Ok((frame.expect("the attempt succeeded"), has_waited))
    }

    /// Whether an attempt to receive a frame would not be told to wait.
    #[inline]
    pub(crate) fn is_worth_receiving(&self) -> bool {
        self.is_closed() || self.difference() != 0
    }

    /// An attempt that waits for the lock.
    fn reserve_now<'a, M: Membership>(
        &'a self,
        capacity: u64,
        call: &'a Call<'a, M>,
        units: u64,
    ) -> Result<Option<Room<'a, M>>> {
        let end = &self.senders;
        // Whether its last holder died makes no difference, here and below: each store it made left a valid state.
        let _: Took = end.lock.lock_inside(call, Heir::Inherits)?;
        let room = Room {
            queue: self,
            call,
            tail: end.position.load_own(),
            units,
        };
        if self.is_closed() {
            return Err(Error::Closed);
        }
        let free = self.room_behind(room.tail, units, capacity)?;
        Ok((free >= units).then_some(room))
    }

    /// As [`reserve_now`](Self::reserve_now).
    fn next_frame_now<'a, M: Membership>(
        &'a self,
        capacity: u64,
        call: &'a Call<'a, M>,
    ) -> Result<Option<Frame<'a, M>>> {
        let end = &self.receivers;
        let _: Took = end.lock.lock_inside(call, Heir::Inherits)?;
        let held = UnlockOnDrop(&end.lock, call);
        let head = end.position.load_own();
        let filled = self.filled_behind(head, 1, capacity)?;
        if filled == 0 {
            return Ok(None);
        }
        std::mem::forget(held);
        Ok(Some(Frame {
            queue: self,
            call,
            head,
            filled,
        }))
    }
}

impl<M: Membership> Room<'_, M> {
    /// The position of the first unit.
    #[inline]
    pub(crate) fn position(&self) -> u64 {
        self.tail
    }

    /// Whether the room is this process's to be written to: looked at behind whatever may have forked.
    pub(crate) fn check_ours(&self) -> Result<()> {
        check_ours(self.call)
    }

    /// Sends the frame.
    #[inline]
    pub(crate) fn publish(self) -> Result<()> {
        check_ours(self.call)?;
        let queue = self.queue;
        // Release: pairs with the Acquire in `refresh_tail`; this store is the publication.
        queue
            .senders
            .position
            .store(self.tail.wrapping_add(self.units), Ordering::Release);
        // The drop would leave the lock without telling anybody.
        std::mem::forget(self);
        queue.senders.lock.unlock();
        // The unlock made a light fence: who waits looks twice.
        queue.idle.not_empty.notify(1);
        Ok(())
    }
}

impl<M: Membership> Drop for Room<'_, M> {
    // Inline, and with it the room stays in registers.
    #[inline]
    fn drop(&mut self) {
        if self.call.members.is_still(self.call.me) {
            self.queue.senders.lock.unlock();
        }
    }
}

impl<M: Membership> Frame<'_, M> {
    /// The position of the first unit.
    #[inline]
    pub(crate) fn position(&self) -> u64 {
        self.head
    }

    /// How many units are there: this frame's, and those of frames behind it.
    #[inline]
    pub(crate) fn filled(&self) -> u64 {
        self.filled
    }

    /// Takes the frame out, which has so many units: at most [`filled`](Self::filled).
    #[inline]
    pub(crate) fn take(self, units: u64) -> Result<()> {
        check_ours(self.call)?;
        let queue = self.queue;
        // Release: pairs with the Acquire in `room_behind`: we are done with the units.
        queue
            .receivers
            .position
            .store(self.head.wrapping_add(units), Ordering::Release);
        // The drop would tell those who wait for the frame.
        std::mem::forget(self);
        queue.receivers.lock.unlock();
        // The unlock made a light fence: who waits looks twice.
        queue.idle.not_full.notify(u32::MAX);
        Ok(())
    }

    /// Takes out all that is there: for one who can't tell where the frame ends.
    #[cold]
    pub(crate) fn take_all(self, capacity: u64) -> Result<()> {
        let filled = self.queue.refresh_tail(self.head, capacity)?;
        self.take(filled)
    }
}

impl<M: Membership> Drop for Frame<'_, M> {
    // As for a room.
    #[inline]
    fn drop(&mut self) {
        if !self.call.members.is_still(self.call.me) {
            return;
        }
        self.queue.receivers.lock.unlock();
        // The unlock made a light fence: who waits looks twice.
        // A wake-up may have chosen us.
        self.queue.idle.not_empty.notify(1);
    }
}

/// Whether the guard is this process's: not in a child that was forked under it.
#[inline]
fn check_ours<M: Membership>(call: &Call<'_, M>) -> Result<()> {
    if call.members.is_still(call.me) {
        return Ok(());
    }
    // Or the region is lost; who asks whether it is whole finds that out.
    Err(Error::InvalidArgument(
        "the closure forked: it is the parent's to finish, call anew in the child",
    ))
}
