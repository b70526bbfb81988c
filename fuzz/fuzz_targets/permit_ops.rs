//! Operation lists on a semaphore and a barrier, by several members with handles and permits that come and go in any order, against a
//! plain model: how many permits there are and who has them, and whether the barrier is whole.
//!
//! All happens on one thread. So what would wait for ever is not called, a timed wait that must wait runs out, and a member dies
//! by leaving with permits that it leaked.

#![no_main]

use arbitrary::Arbitrary;
use commonhold::{Barrier, Error, Permit, Result, Segment, SegmentOptions, Semaphore};
use commonhold_fuzz::{AT_ONCE, SOON, apart, attach, check};
use libfuzzer_sys::fuzz_target;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::{Rc, Weak};

#[derive(Arbitrary, Debug)]
struct Input {
    permits: u8,
    parties: u8,
    ops: Vec<(u8, Op)>,
}

/// What is done by the handles in one place.
#[derive(Arbitrary, Debug)]
enum Op {
    Acquire(How),
    /// Ends a permit, whoever has it.
    End(u8, EndOfPermit),
    Add(u8),
    AddTooMany,
    Clone,
    Reopen,
    /// A new member, in the place of this one.
    Join,
    /// Drops this place's handles.
    Leave,
    Wait(Wait),
    Abort,
    Reset,
    Show,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum How {
    Acquire,
    Try,
    Timeout,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum EndOfPermit {
    Drop,
    Forget,
    Leak,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Wait {
    Wait,
    AtOnce,
    Soon,
}

const PLACES: usize = 3;

/// A member lives as long as any of its handles.
struct Life;

/// Dropped in this order.
struct Handles {
    semaphore: Semaphore,
    barrier: Barrier,
    life: Rc<Life>,
}

/// A permit, and the handle that it borrows: dropped in this order.
struct Held {
    permit: Permit<'static>,
    by: Rc<Handles>,
}

struct World {
    held: Vec<Held>,
    places: [Option<Rc<Handles>>; PLACES],
    file: OwnedFd,
    // The model.
    total: u64,
    leaked: Vec<Weak<Life>>,
    parties: usize,
    is_broken: bool,
}

impl World {
    fn new(input: &Input) -> World {
        let segment = SegmentOptions::new()
            .capacity(4096)
            .max_members(PLACES as u32)
            .max_objects(2)
            .anonymous()
            .unwrap();
        let total = usize::from(input.permits % 5);
        let parties = usize::from(input.parties % 3) + 1;
        let first = Handles {
            semaphore: Semaphore::create(&segment, "s", total).unwrap(),
            barrier: Barrier::create(&segment, "b", parties).unwrap(),
            life: Rc::new(Life),
        };
        World {
            held: Vec::new(),
            places: [Some(Rc::new(first)), None, None],
            file: segment.as_fd().try_clone_to_owned().unwrap(),
            total: total as u64,
            leaked: Vec::new(),
            parties,
            is_broken: false,
        }
    }

    /// Permits that nobody who lives has.
    fn free(&self) -> u64 {
        let leaked = self.leaked.iter().filter(|l| l.strong_count() > 0).count();
        self.total - (self.held.len() + leaked) as u64
    }

    fn step(&mut self, place: usize, op: &Op) {
        match (op, self.places[place].clone()) {
            (Op::Join, _) => {
                self.places[place] = None;
                match attach(&self.file) {
                    Ok(segment) => self.places[place] = Some(self.open(&segment, Rc::new(Life))),
                    // Members live on in the permits that they hold.
                    Err(e) => assert!(matches!(e, Error::TooManyMembers), "{e:?}"),
                }
            }
            (Op::Leave, _) => self.places[place] = None,
            (Op::End(which, end), _) => self.end(usize::from(*which), *end),
            (_, None) => {}
            (op, Some(by)) => self.use_handles(place, op, &by),
        }
    }

    fn open(&self, segment: &Segment, life: Rc<Life>) -> Rc<Handles> {
        Rc::new(Handles {
            semaphore: Semaphore::open_or_create(segment, "s", 77).unwrap(),
            barrier: Barrier::open_or_create(segment, "b", self.parties).unwrap(),
            life,
        })
    }

    fn end(&mut self, which: usize, end: EndOfPermit) {
        if self.held.is_empty() {
            return;
        }
        let Held { permit, by } = self.held.swap_remove(which % self.held.len());
        match end {
            EndOfPermit::Drop => drop(permit),
            EndOfPermit::Forget => {
                permit.forget();
                self.total -= 1;
            }
            EndOfPermit::Leak => {
                std::mem::forget(permit);
                self.leaked.push(Rc::downgrade(&by.life));
            }
        }
    }

    fn use_handles(&mut self, place: usize, op: &Op, by: &Rc<Handles>) {
        let (s, b) = (&by.semaphore, &by.barrier);
        match op {
            Op::Acquire(how) => self.acquire(by, *how),
            Op::Add(n) => self.add(s, usize::from(*n)),
            // If there are any.
            Op::AddTooMany => self.add(s, Semaphore::MAX_PERMITS),
            Op::Clone => {
                self.places[place] = Some(Rc::new(Handles {
                    semaphore: s.clone(),
                    barrier: b.clone(),
                    life: by.life.clone(),
                }));
            }
            Op::Reopen => {
                if let Ok(segment) = attach(&self.file) {
                    self.places[place] = Some(self.open(&segment, Rc::new(Life)));
                }
            }
            Op::Wait(how) => {
                let got = match how {
                    Wait::Wait if self.is_broken || self.parties == 1 => b.wait(),
                    Wait::Soon => b.wait_timeout(SOON),
                    _ => b.wait_timeout(AT_ONCE),
                };
                let want = match () {
                    () if self.is_broken => Err(Error::Broken),
                    () if self.parties == 1 => Ok(true),
                    () => Err(Error::Timeout),
                };
                self.is_broken |= self.parties != 1;
                check(got.map(|passed| passed.is_leader()), want);
            }
            Op::Abort => {
                b.abort();
                self.is_broken = true;
            }
            Op::Reset => {
                b.reset().unwrap();
                self.is_broken = false;
            }
            Op::Show => {
                assert!(format!("{s:?}{b:?}").contains("Object"));
                for held in &self.held {
                    assert!(format!("{:?}", held.permit).contains("Permit"));
                }
            }
            Op::Join | Op::Leave | Op::End(..) => unreachable!("needs no handle"),
        }
    }

    fn add(&mut self, s: &Semaphore, permits: usize) {
        let (total, limit) = (self.total + permits as u64, Semaphore::MAX_PERMITS as u64);
        let want = match total > limit {
            true => Err(Error::TooLarge {
                requested: total,
                limit,
            }),
            false => Ok(()),
        };
        if want.is_ok() {
            self.total = total;
        }
        check(s.add_permits(permits), want);
    }

    fn acquire(&mut self, by: &Rc<Handles>, how: How) {
        let free = self.free();
        let (got, not_now): (Result<Permit<'_>>, _) = match how {
            How::Acquire if free > 0 => (by.semaphore.acquire_timeout(SOON), Error::Timeout),
            How::Timeout => (by.semaphore.acquire_timeout(AT_ONCE), Error::Timeout),
            _ => (by.semaphore.try_acquire(), Error::WouldBlock),
        };
        let (permit, end) = apart(got);
        check(end, if free > 0 { Ok(()) } else { Err(not_now) });
        if let Some(permit) = permit {
            // SAFETY: the permit borrows the handle behind the Rc, which does not move, and which outlives it here.
            let permit = unsafe { std::mem::transmute::<Permit<'_>, Permit<'static>>(permit) };
            let by = by.clone();
            self.held.push(Held { permit, by });
        } else {
            assert_eq!(by.semaphore.available(), 0);
        }
    }

    /// What each step leaves must be what the model says, by every handle that is left.
    fn look(&self) {
        for by in self.places.iter().flatten() {
            // Less those of dead members that nobody has found out about.
            assert!(by.semaphore.available() as u64 <= self.free());
            assert_eq!(by.barrier.is_broken(), self.is_broken);
            assert_eq!(by.barrier.parties(), self.parties);
            assert_eq!(by.barrier.waiting(), 0);
        }
    }
}

fuzz_target!(|input: Input| {
    let mut world = World::new(&input);
    for (place, op) in input.ops.iter().take(100) {
        world.step(usize::from(*place) % PLACES, op);
        world.look();
    }
});
