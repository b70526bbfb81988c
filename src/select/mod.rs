//! Waiting for several objects at once.

mod awaited;
mod shown;

pub(crate) use awaited::{AnySource, Awaited};
pub use awaited::{Receives, Sends};
pub(crate) use shown::Shown;

use crate::data::Value;
use crate::error::{Error, Result};
use crate::plain::Plain;
use crate::queue::BlockPool;
use crate::raw::MemberId;
use crate::raw::select::Any;
use crate::raw::wait::{ASK_EVERY, Look};
use crate::sync::{Event, Semaphore};
use crate::sys::deadline::{Deadline, LastDone};
use crate::sys::spin::Adaptive;
use std::sync::Arc;
use std::time::Duration;

/// Waits for several objects at once, of one segment or of many, until one of them is ready.
///
/// Each object is added with what is wanted of it; [`ready`](Self::ready) says which is ready, by the number that adding it
/// returned. It takes nothing: the caller then makes the call that does not wait ([`Queue::try_recv`](crate::Queue::try_recv), say),
/// which can still find that somebody else was quicker. So nothing can be lost on the way.
///
/// *Ready* means that this call would not be told to wait. A closed queue is ready, again and again, until it is
/// [removed](Self::remove): the call says [`Closed`](Error::Closed). So is an object in a segment whose file was cut short ([`Corrupt`](Error::Corrupt)).
///
/// A change of any object ends its sleep, as long as the objects and their segments are together at most 128; with more, or where the
/// kernel has no `futex_waitv` (before 5.16), it looks every 1 to 20 ms. A select keeps the segments of its objects mapped. It is one thread's at a time; adding objects costs an
/// allocation each, so one that is used again and again is made once.
///
/// # When a member dies
/// A death that makes an object ready (of one who held a semaphore's permits, say), or that swallowed a wake-up, is found within about
/// 50 ms (with more than 64 members, within a second; after some 100 ms where others are ready all the time). One that dies in `ready` takes nothing with it.
///
/// # Fairness
/// Each look begins one object further than the last, so that none starves beside others that are always ready. Among those that wait
/// for one object: none.
///
/// # Errors
/// [`WouldBlock`](Error::WouldBlock) from `try_ready`; [`Timeout`](Error::Timeout) from `ready_timeout`;
/// [`InvalidArgument`](Error::InvalidArgument) without any object; in a forked child also those of attaching.
///
/// # Bytes
/// None in the segment.
///
/// # Examples
/// ```
/// use commonhold::{Error, Event, Queue, Segment, Select};
///
/// # fn main() -> commonhold::Result<()> {
/// let seg = Segment::anonymous(1 << 16)?;
/// let jobs = Queue::<u32>::create(&seg, "jobs", 100)?;
/// let stop = Event::create(&seg, "stop")?;
///
/// let worker = {
///     let (jobs, stop) = (jobs.clone(), stop.clone());
///     std::thread::spawn(move || -> commonhold::Result<u32> {
///         let mut select = Select::new();
///         let job = select.recv(&jobs);
///         select.wait(&stop);
///         let mut sum = 0;
///         loop {
///             if select.ready()? != job {
///                 return Ok(sum);
///             }
///             match jobs.try_recv() {
///                 Ok(n) => sum += n,
///                 Err(Error::Empty) => {} // another was quicker
///                 Err(e) => return Err(e),
///             }
///         }
///     })
/// };
/// jobs.send_all(&[1, 2, 3])?;
/// # while !jobs.is_empty() { std::thread::yield_now(); }
/// stop.set();
/// assert_eq!(worker.join().unwrap()?, 6);
/// # Ok(())
/// # }
/// ```
pub struct Select {
    /// Each with the member that this process is in its segment, as of the last call.
    sources: Vec<(Arc<AnySource>, MemberId)>,
    /// Of each the number that adding it returned: they rise.
    numbers: Vec<usize>,
    next_number: usize,
    /// The one that the next look begins with.
    from: usize,
    spin: Adaptive,
    /// When owners were last asked after though there was no need to sleep.
    asked: LastDone,
}

impl Select {
    /// Makes one that waits for nothing yet.
    pub fn new() -> Select {
        Select {
            sources: Vec::new(),
            numbers: Vec::new(),
            next_number: 0,
            from: 0,
            spin: Adaptive::new(),
            asked: LastDone::never(),
        }
    }

    /// Adds: that something can be received from a [`Queue`](crate::Queue), or whatever else [`Receives`].
    ///
    /// It borrows nothing: an endpoint that is used by `&mut` ([`Consumer`](crate::Consumer), [`Subscriber`](crate::Subscriber),
    /// [`Watch`](crate::Watch)) can be used while the select waits for it. Once it is dropped, what the select says of it means nothing.
    pub fn recv(&mut self, from: &impl Receives) -> usize {
        self.add(from.arrival())
    }

    /// Adds: that something can be sent to a [`Queue`](crate::Queue), or whatever else [`Sends`]. Where it depends on the message whether it
    /// can, that is what [`room_for`](crate::Messages::room_for) says.
    pub fn send(&mut self, to: &impl Sends) -> usize {
        self.add(to.room())
    }

    /// Adds: that an event is set. One that is cleared at once may go unseen.
    pub fn wait(&mut self, event: &Event) -> usize {
        self.add(event.setting())
    }

    /// Adds: that a permit can be taken.
    pub fn acquire(&mut self, semaphore: &Semaphore) -> usize {
        self.add(semaphore.permits())
    }

    /// Adds: that a block can be loaned. (That one can be received: [`recv`](Self::recv) of its queue.)
    pub fn loan(&mut self, pool: &BlockPool) -> usize {
        self.add(pool.free_block())
    }

    /// Adds: that a value was written, since now or since [`ready`](Self::ready) last said so.
    pub fn changed<T: Plain>(&mut self, value: &Value<T>) -> usize {
        self.add(value.change())
    }

    fn add(&mut self, awaited: Awaited) -> usize {
        // Nobody's name: each call puts in the one that this process has by then.
        const NOBODY: MemberId = MemberId::new(0, 1).unwrap();
        self.sources.push((awaited.source, NOBODY));
        let number = self.next_number;
        self.numbers.push(number);
        self.next_number += 1;
        number
    }

    /// Takes the object of that number out: it is not waited for any more, and the others keep their numbers. `false` if there is none.
    ///
    /// Whoever goes on after an object has come to its end (its queue is closed and drained, say) takes it out: it would be ready each time.
    pub fn remove(&mut self, number: usize) -> bool {
        let Ok(index) = self.numbers.binary_search(&number) else {
            return false;
        };
        self.numbers.remove(index);
        self.sources.remove(index);
        true
    }

    /// How many objects it waits for.
    pub fn len(&self) -> usize {
        self.sources.len()
    }

    /// Whether it waits for nothing.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// Waits until one of the objects is ready, as long as it takes, and returns its number.
    pub fn ready(&mut self) -> Result<usize> {
        self.ready_by(Deadline::NEVER)
    }

    /// The number of an object that is ready; [`WouldBlock`](Error::WouldBlock) if none is.
    pub fn try_ready(&mut self) -> Result<usize> {
        let ready = match self.find(Look::AskingAfterOwners)? {
            Some(index) => index,
            None => return Err(Error::WouldBlock),
        };
        Ok(self.name(ready))
    }

    /// As [`ready`](Self::ready), waiting at most `timeout`.
    pub fn ready_timeout(&mut self, timeout: Duration) -> Result<usize> {
        self.ready_by(Deadline::after(timeout))
    }

    fn ready_by(&mut self, deadline: Deadline) -> Result<usize> {
        // Whoever always finds something ready never sleeps, and would never ask.
        let look = match self.asked.is_due(ASK_EVERY) {
            true => Look::AskingAfterOwners,
            false => Look::AtOnce,
        };
        let ready = match self.find(look)? {
            Some(index) => index,
            None => self.any(deadline).wait()?,
        };
        Ok(self.name(ready))
    }

    fn find(&mut self, look: Look) -> Result<Option<usize>> {
        if self.sources.is_empty() {
            return Err(Error::InvalidArgument(
                "a select needs at least one object to wait for",
            ));
        }
        self.from = (self.from + 1) % self.sources.len();
        for (source, me) in &mut self.sources {
            match source.members().me() {
                Ok(id) => *me = id,
                // Its region is lost. So we are not the member that stands here, and it is found ready when its turn comes.
                Err(Error::Corrupt) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(self.any(Deadline::PASSED).first_ready(look))
    }

    fn any(&self, deadline: Deadline) -> Any<'_, AnySource> {
        Any {
            sources: &self.sources,
            from: self.from,
            spin: &self.spin,
            asked: &self.asked,
            deadline,
        }
    }

    fn name(&self, index: usize) -> usize {
        self.sources[index].0.is_named();
        self.numbers[index]
    }
}

impl Default for Select {
    fn default() -> Self {
        Select::new()
    }
}

impl std::fmt::Debug for Select {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Select")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
