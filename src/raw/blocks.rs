//! The pool of blocks: for each block a word that says who has it.
//!
//! A block is free, or a member holds it, or it was sent: then a *handle*, which is the block's index and its sequence number,
//! stands in a queue, and nobody holds the block. Who takes the handle out of the queue takes the block by exchanging its word,
//! before the store that takes the handle out. The sequence number is counted up whenever a block is loaned, received or becomes free. So
//! a handle serves once; and only who received a block holds it in the turn after its handle's.
//! A change is one exchange of one word; there is no lock. Fairness: none.
//!
//! # Points of death
//!
//! | a member dies | the block | who mends it |
//! |---|---|---|
//! | loaning, before / after the exchange of the word | is free / is its own: the next line | – |
//! | holding it | is its own until somebody finds out | who finds no free block, by waiting or trying, frees it |
//! | sending, before its handle is in the queue | is its own: as above | as above |
//! | sending, after that, before it is noted as sent | goes to a receiver; or, if somebody finds no free block before, becomes free | the same; a receiver passes over the handle that then serves no more |
//! | sending, after it is noted as sent | goes to a receiver | – |
//! | receiving, before the exchange of the word | goes to another receiver | – |
//! | receiving, after it, with the handle still in the queue | goes to another receiver; or becomes free, as above | the same |
//! | receiving, after that | is its own: as above | as above |
//! | giving it back, before / after the exchange | is its own: as above / is free; a sleeper that was to be woken is woken by the sweep | as above |
//! | freeing those of the dead | each is freed by one exchange, or not | the next who finds no free block |

use super::answers::Answers;
use super::member::{Call, MemberId, Membership, owner_is_alive};
use super::mutex::LOST_AT_ONCE;
use super::signal::RawSignal;
use super::wait::{Look, wait_for};
use crate::error::{Error, Result};
use crate::sys::atomic::{AtomicU32, AtomicU64, Ordering, fence_after_rmw};
use crate::sys::deadline::LastDone;
use std::cell::Cell;
use std::time::Duration;

/// All zero is a pool in which each block is free, with its sequence numbers from 0 on.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct RawBlocks {
    /// A block became free.
    pub(crate) returned: RawSignal,
    pub(crate) reserved: AtomicU32,
    /// The block that became free last (in its upper half), and its sequence number then: no two such events have the same. Says that it
    /// is worth looking for a free one, and where to look first; nobody relies on it.
    pub(crate) last: AtomicU64,
}

/// The word of a block.
///
/// | bits 34..64 | state (32..34) | meaning |
/// |---|---|---|
/// | 0 | 0 | free |
/// | id | 1 | the member holds it |
/// | id | 2 | the member holds it and is sending it: if the handle stands in a queue, a receiver may take it |
/// | where | 3 | sent: nobody holds it, a receiver may take it. Its handle stands in the queue at this place (0: not known) |
/// | 0, or bits that no member bore | 1 or 2 | scribbled: as if held by one who is dead |
/// | anything else | 0 | scribbled: free |
///
/// Bits 0..32 are the sequence number: of the handle by which the block is sent, or would be.
#[repr(transparent)]
#[derive(Debug)]
pub(crate) struct BlockWord {
    pub(crate) word: AtomicU64,
}

const FREE: u32 = 0;
const HELD: u32 = 1;
const SENDING: u32 = 2;
const SENT: u32 = 3;

/// Which block, and which of its turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockId {
    pub(crate) index: u32,
    pub(crate) sequence: u32,
}

/// Why a block was not sent.
#[derive(Debug)]
pub(crate) struct Unsent {
    pub(crate) error: Error,
    /// Whether the sender still holds it: it does, unless a peer scribbled, or forged a handle.
    pub(crate) is_held: bool,
}

/// What a handle remembers of its searches for a free block.
#[derive(Debug)]
pub(crate) struct Search {
    /// When it last asked the kernel after those who hold blocks.
    asked: LastDone,
    /// When it last looked for blocks whose handles are lost.
    looked: LastDone,
    /// Behind the block that was found last.
    next: std::sync::atomic::AtomicU32,
    /// The first block whose queue had no place in the last look for lost handles.
    looks_from: std::sync::atomic::AtomicU32,
}

impl Search {
    pub(crate) fn new() -> Search {
        Search {
            asked: LastDone::never(),
            looked: LastDone::never(),
            next: std::sync::atomic::AtomicU32::new(0),
            looks_from: std::sync::atomic::AtomicU32::new(0),
        }
    }

    /// Where queues stand by which blocks were sent: not all, as a scribbler could name any number; the next call goes on behind them.
    pub(crate) fn some_places(&self, words: &[BlockWord]) -> Vec<u32> {
        const PLACES: usize = 16;
        let from = self.looks_from.load(Ordering::Relaxed) as usize % words.len();
        let mut places = Vec::with_capacity(PLACES);
        for index in (from..words.len()).chain(0..from) {
            let Some(place) = words[index].sent_to() else {
                continue;
            };
            if place == 0 || places.contains(&place) {
                continue;
            }
            if places.len() == PLACES {
                self.looks_from.store(index as u32, Ordering::Relaxed);
                break;
            }
            places.push(place);
        }
        places
    }
}

/// How long a handle whose waits are short leaves off asking after owners.
const ASK_EVERY: Duration = Duration::from_millis(20);
/// How long a handle leaves off looking for lost handles: they are lost only where somebody breaks the rules.
const LOOK_EVERY: Duration = Duration::from_millis(200);

impl RawBlocks {
    #[cfg(commonhold_loom)]
    pub(crate) fn new() -> RawBlocks {
        RawBlocks {
            returned: RawSignal::new(),
            reserved: AtomicU32::new(0),
            last: AtomicU64::new(0),
        }
    }

    /// Takes a free block, waiting for one until the deadline. `find_lost` frees blocks whose handles are lost; it is called now and
    /// then, when there is no other way.
    #[inline]
    pub(crate) fn loan<M: Membership>(
        &self,
        words: &[BlockWord],
        call: &Call<'_, M>,
        search: &Search,
        mut find_lost: impl FnMut() -> bool,
    ) -> Result<BlockId> {
        let (mut found, seen) = (None, Cell::new(0));
        let attempt = |look| {
            let asks = || match look {
                Look::AskingAfterOwners => true,
                Look::AtOnce => search.asked.is_due(ASK_EVERY),
                Look::Idly => false,
            };
            found = self.loan_now(words, call, search, &seen, asks, &mut find_lost);
            Ok(found.is_some())
        };
        // Acquire: as in `find`.
        let worth_it = || self.last.load(Ordering::Acquire) != seen.get();
        wait_for(call, &self.returned, attempt, worth_it)?;
        found.ok_or_else(|| Error::Timeout)
    }

    /// As [`loan`](Self::loan), at once: `Err(WouldBlock)` if none is free. Asks the kernel after those who hold them, so that one
    /// who only ever tries finds out about a death too.
    #[inline]
    pub(crate) fn try_loan<M: Membership>(
        &self,
        words: &[BlockWord],
        call: &Call<'_, M>,
        search: &Search,
        mut find_lost: impl FnMut() -> bool,
    ) -> Result<BlockId> {
        let seen = Cell::new(0);
        self.loan_now(words, call, search, &seen, || true, &mut find_lost)
            .ok_or_else(|| Error::WouldBlock)
    }

    /// One attempt, which asks after those who hold blocks if none is free and `asks` says so. `seen` becomes what `last` said before it.
    #[inline]
    fn loan_now<M: Membership>(
        &self,
        words: &[BlockWord],
        call: &Call<'_, M>,
        search: &Search,
        seen: &Cell<u64>,
        asks: impl FnOnce() -> bool,
        find_lost: &mut dyn FnMut() -> bool,
    ) -> Option<BlockId> {
        if let Some(id) = self.find(words, call.me, search, seen) {
            return Some(id);
        }
        if self.free_more(words, call, search, asks(), find_lost) {
            self.find(words, call.me, search, seen)
        } else {
            None
        }
    }

    /// Whether an attempt would find a free block. Asks the kernel after those who hold them if none is free and `look` says so.
    pub(crate) fn is_worth_loaning<M: Membership>(
        &self,
        words: &[BlockWord],
        call: &Call<'_, M>,
        search: &Search,
        look: Look,
        mut find_lost: impl FnMut() -> bool,
    ) -> bool {
        // Relaxed: who loans looks again.
        let is_free = |w: &BlockWord| parts(w.word.load(Ordering::Relaxed)).1 == FREE;
        let asks = look == Look::AskingAfterOwners;
        words.iter().any(is_free) || self.free_more(words, call, search, asks, &mut find_lost)
    }

    /// Where none is free: frees those that nobody can give back any more. Whether there were any.
    fn free_more<M: Membership>(
        &self,
        words: &[BlockWord],
        call: &Call<'_, M>,
        search: &Search,
        asks: bool,
        find_lost: &mut dyn FnMut() -> bool,
    ) -> bool {
        asks && self.free_those_of_the_dead(words, call)
            || search.looked.is_due(LOOK_EVERY) && find_lost()
    }

    /// Takes a free block if there is one.
    #[inline]
    fn find(
        &self,
        words: &[BlockWord],
        me: MemberId,
        search: &Search,
        seen: &Cell<u64>,
    ) -> Option<BlockId> {
        // Again, if one became free behind our back; not for ever: see `LOST_AT_ONCE`.
        for _ in 0..LOST_AT_ONCE {
            // Acquire: pairs with the Release in `tell`: what became free before it is seen to be free.
            let last = self.last.load(Ordering::Acquire);
            seen.set(last);
            let hinted = (last >> 32) as usize;
            let next = search.next.load(Ordering::Relaxed) as usize % words.len();
            let order = (next..words.len()).chain(0..next);
            let hinted = (hinted < words.len()).then_some(hinted);
            for index in hinted.into_iter().chain(order) {
                if let Some(sequence) = words[index].take(me) {
                    search.next.store(index as u32 + 1, Ordering::Relaxed);
                    let index = index as u32;
                    return Some(BlockId { index, sequence });
                }
            }
            // Acquire: as above.
            if self.last.load(Ordering::Acquire) == last {
                break;
            }
        }
        None
    }

    /// Frees the blocks that dead members hold. Whether there were any.
    #[cold]
    fn free_those_of_the_dead<M: Membership>(
        &self,
        words: &[BlockWord],
        call: &Call<'_, M>,
    ) -> bool {
        let mut answers = Answers::none(call.me);
        self.free_all(words, |_, word| {
            let (bits, state, _) = parts(word);
            matches!(state, HELD | SENDING) && answers.is_dead(bits, call.members)
        })
    }

    /// Frees the blocks that were sent by way of the queue at `place` and whose handles don't stand in it. `look` hands all handles
    /// that do to its argument, while nobody receives. Whether there were any.
    ///
    /// A block is noted as sent after its handle was published. So who sees the note sees the handle, unless it was taken out:
    /// and who takes it out as a receiver takes the block before that.
    #[cold]
    pub(crate) fn free_lost(
        &self,
        words: &[BlockWord],
        place: u32,
        look: impl FnOnce(&mut dyn FnMut(BlockId)) -> Result<()>,
    ) -> Result<bool> {
        let mut suspects = Vec::new();
        suspects
            .try_reserve_exact(words.len())
            .map_err(|_| Error::Corrupt)?;
        // Acquire: pairs with the last Release in `send`; before the look.
        let suspect = |w: &BlockWord| match w.word.load(Ordering::Acquire) {
            word if word >> 32 == word_of(place, SENT, 0) >> 32 => Some(word),
            _ => None,
        };
        suspects.extend(words.iter().map(suspect));
        look(&mut |id: BlockId| {
            if let Some(suspect) = suspects.get_mut(id.index as usize) {
                if suspect.is_some_and(|word| word as u32 == id.sequence) {
                    *suspect = None;
                }
            }
        })?;
        Ok(self.free_all(words, |index, word| suspects[index] == Some(word)))
    }

    /// Frees each block of whose word `is_to_be` says so. Whether there were any.
    fn free_all(&self, words: &[BlockWord], mut is_to_be: impl FnMut(usize, u64) -> bool) -> bool {
        let (mut freed, mut last) = (0, None);
        for (index, w) in words.iter().enumerate() {
            let word = w.word.load(Ordering::Relaxed);
            // AcqRel: the dead made no Release. That its last accesses come first follows from the kernel's having told us of its
            // death; and who takes the block next sees what we know.
            if is_to_be(index, word)
                && w.exchange(word, word_of(0, FREE, after(word)), Ordering::AcqRel)
            {
                freed += 1;
                let (index, sequence) = (index as u32, after(word));
                last = Some(BlockId { index, sequence });
            }
        }
        if let Some(last) = last {
            self.tell(last, freed);
        }
        last.is_some()
    }

    /// Gives a block back that `me` holds.
    #[inline]
    pub(crate) fn give_back(&self, words: &[BlockWord], me: MemberId, id: BlockId) {
        let held = word_of(me.bits(), HELD, id.sequence);
        let free = word_of(0, FREE, after(held));
        // Release: pairs with the Acquire in `take`: we are done with the bytes. If it fails, a peer scribbled.
        if id.of(words).exchange(held, free, Ordering::Release) {
            let sequence = after(held);
            self.tell(BlockId { sequence, ..id }, 1);
        }
    }

    /// So many became free, the last of them this one.
    #[inline]
    fn tell(&self, last: BlockId, freed: u32) {
        let event = u64::from(last.index) << 32 | u64::from(last.sequence);
        // Release: pairs with the Acquire in `find`. Acquire only because a swap that nobody looks at may be made a store, and
        // it must be a read-modify-write: pairs, with the fence, with the one in `register`.
        self.last.swap(event, Ordering::AcqRel);
        fence_after_rmw();
        self.returned.notify(freed);
    }

    /// How many blocks were free a moment ago. Those of the dead count once somebody has found out.
    pub(crate) fn available(&self, words: &[BlockWord]) -> usize {
        let is_free = |w: &&BlockWord| parts(w.word.load(Ordering::Relaxed)).1 == FREE;
        words.iter().filter(is_free).count()
    }
}

impl BlockWord {
    #[cfg(commonhold_loom)]
    pub(crate) fn new() -> BlockWord {
        BlockWord {
            word: AtomicU64::new(0),
        }
    }

    /// Takes the block if it is free: the sequence number of the turn that begins.
    #[inline]
    fn take(&self, me: MemberId) -> Option<u32> {
        let word = self.word.load(Ordering::Relaxed);
        let sequence = after(word);
        let held = word_of(me.bits(), HELD, sequence);
        // Acquire: pairs with the Release of whoever gave it back.
        let took = parts(word).1 == FREE && self.exchange(word, held, Ordering::Acquire);
        took.then_some(sequence)
    }

    /// Where the queue is by which the block was sent, if it was.
    fn sent_to(&self) -> Option<u32> {
        let (place, state, _) = parts(self.word.load(Ordering::Relaxed));
        (state == SENT).then_some(place)
    }

    #[inline]
    fn exchange(&self, from: u64, to: u64, order: Ordering) -> bool {
        self.word
            .compare_exchange(from, to, order, Ordering::Relaxed)
            .is_ok()
    }
}

impl BlockId {
    #[inline]
    fn of(self, words: &[BlockWord]) -> &BlockWord {
        &words[self.index as usize]
    }

    /// Sends the block that `me` holds: `publish` puts its handle into the queue at `place`, or fails and does not.
    ///
    /// The handle comes before the note that the block was sent: one who dies in between leaves a block that is still in its name, and
    /// so is never lost; whatever it leaves before that is its own.
    #[inline]
    pub(crate) fn send(
        self,
        words: &[BlockWord],
        me: MemberId,
        place: u32,
        publish: impl FnOnce() -> Result<()>,
    ) -> Result<(), Unsent> {
        let [held, sending] = [HELD, SENDING].map(|s| word_of(me.bits(), s, self.sequence));
        let word = self.of(words);
        // Release: pairs with the Acquire in `take_over`: what we wrote into the block is there.
        if !word.exchange(held, sending, Ordering::Release) {
            return Err(Unsent {
                error: Error::Corrupt,
                is_held: false,
            });
        }
        if let Err(error) = publish() {
            // Relaxed: nobody could take it, and nothing is handed over.
            let is_held = word.exchange(sending, held, Ordering::Relaxed);
            return Err(Unsent { error, is_held });
        }
        let sent = word_of(place, SENT, self.sequence);
        // Release: pairs with the Acquire in `free_lost`: the handle is there. If it fails, the block has been received.
        word.exchange(sending, sent, Ordering::Release);
        Ok(())
    }

    /// Takes the block of a handle that is still in the queue, at a moment at which nobody else receives. `None`: the handle serves no more:
    /// its block was freed after its sender, or a receiver, died (or it was copied, and the block went with the copy).
    #[inline]
    pub(crate) fn receive<M: Membership>(
        self,
        words: &[BlockWord],
        call: &Call<'_, M>,
    ) -> Option<BlockId> {
        let word = self.of(words).word.load(Ordering::Relaxed);
        let (_, state, sequence) = parts(word);
        if !matches!(state, SENDING | SENT) || sequence != self.sequence {
            return self.receive_anew(words, call);
        }
        self.take_over(words, call.me, word).or_else(|| {
            // The sender has just noted it as sent, say.
            self.receive_anew(words, call)
        })
    }

    #[cold]
    fn receive_anew<M: Membership>(
        self,
        words: &[BlockWord],
        call: &Call<'_, M>,
    ) -> Option<BlockId> {
        for _ in 0..LOST_AT_ONCE {
            let word = self.of(words).word.load(Ordering::Relaxed);
            let (bits, state, sequence) = parts(word);
            let serves = match state {
                SENDING | SENT => sequence == self.sequence,
                // A receiver that took the block and died before it took the handle out: one who loaned it is further on.
                HELD => {
                    sequence == self.sequence.wrapping_add(1) && !owner_is_alive(bits, call.members)
                }
                _ => false,
            };
            if !serves {
                break;
            }
            let took = self.take_over(words, call.me, word);
            if took.is_some() {
                return took;
            }
        }
        None
    }

    /// Exchanges the block's word for one that says that `me` holds it, in its next turn.
    #[inline]
    fn take_over(self, words: &[BlockWord], me: MemberId, word: u64) -> Option<BlockId> {
        let sequence = after(word);
        let held = word_of(me.bits(), HELD, sequence);
        // Acquire: pairs with the first Release in `send`, which all later exchanges continue.
        // The queue's `tail` orders that already for a handle that was sent, but not for one that was forged.
        let took = self.of(words).exchange(word, held, Ordering::Acquire);
        took.then_some(BlockId { sequence, ..self })
    }
}

const fn word_of(bits: u32, state: u32, sequence: u32) -> u64 {
    (bits as u64) << 34 | (state as u64) << 32 | sequence as u64
}

/// The 30 bits of the owner (or of the place), the state, the sequence number.
const fn parts(word: u64) -> (u32, u32, u32) {
    ((word >> 34) as u32, (word >> 32) as u32 & 3, word as u32)
}

/// The sequence number that comes after a word's.
const fn after(word: u64) -> u32 {
    (word as u32).wrapping_add(1)
}
