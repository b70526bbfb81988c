//! Through one operation, from one point at which a death could matter to the next.

use crate::case::{Case, LIMIT, Subject, options};
use crate::region::{Names, Region, Snapshot};
use crate::support::{Forked, eventually, waits_in};
use crate::tracer::{Op, Stop, Victim};
use crate::watchdog::within;
use commonhold::Segment;
use std::time::{Duration, Instant};

/// A case, set up afresh: its segment, its victim before the first instruction, its peers asleep.
pub struct Scene {
    pub victim: Victim,
    pub peers: Vec<Forked>,
    wake: Option<Op>,
    pub seg: Segment,
    pub name: Names,
}

impl Scene {
    pub fn set(subject: &Subject, case: &Case) -> Scene {
        let name = Names::new();
        let seg = options().create(&name).unwrap();
        (subject.make)(&seg);
        (case.before)(&seg);
        let wake = case.wake.map(|make_ready| make_ready(&seg));
        let victim = Victim::start(|| {
            if case.inherits {
                (case.act)(&seg)
            } else {
                (case.act)(&Segment::open(&name).unwrap())
            }
        });
        let peers: Vec<_> = case
            .peers
            .iter()
            .map(|peer| Forked::start(|| peer(&seg)))
            .collect();
        for peer in &peers {
            until_it_waits_for_long(peer.0 as u32);
        }
        Scene {
            victim,
            peers,
            wake,
            seg,
            name,
        }
    }

    /// Does what would have woken the victim, unless that was done.
    pub fn wake(&mut self) {
        if let Some(wake) = self.wake.take() {
            within(LIMIT, "waking the victim", wake);
        }
    }
}

/// Waits until the process is past its first short sleeps, and relies on being woken: then it waits for two words at once, or
/// (others' primitives, and where the kernel can't do that) it is always found asleep, longer than the short sleeps are.
fn until_it_waits_for_long(pid: u32) {
    let mut since = Instant::now();
    eventually(LIMIT, "the peer waits", || {
        if !waits_in(pid, &[libc::SYS_futex]) {
            since = Instant::now();
        }
        waits_in(pid, &[libc::SYS_futex_waitv]) || since.elapsed() > Duration::from_millis(150)
    });
}

/// A point at which a death could leave something else than at the instruction before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// The region's bytes changed.
    Change,
    /// A system call is about to be made.
    SystemCall,
    /// The victim sleeps.
    Blocked,
}

/// An event by what went before it: a way to it that need not step through it all.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub event: Event,
    /// System calls before; that of the event itself included.
    pub calls: u64,
    /// Changes since the last of them, that of the event itself included.
    pub changes: u64,
}

/// Steps a victim from event to event.
pub struct Walk<'a> {
    victim: &'a mut Victim,
    /// Called when the victim sleeps for the nth time.
    asleep: Box<dyn FnMut(u32) + 'a>,
    region: Region,
    /// The region's bytes at the last event.
    pub now: Snapshot,
    pub instructions: u64,
    pub system_calls: u64,
    changes: u64,
    naps: u32,
    is_asleep: bool,
    told_of_call: bool,
}

impl<'a> Walk<'a> {
    pub fn new(victim: &'a mut Victim, name: &str, asleep: impl FnMut(u32) + 'a) -> Walk<'a> {
        let region = Region::of(name);
        Walk {
            victim,
            asleep: Box::new(asleep),
            now: region.snapshot(),
            region,
            instructions: 0,
            system_calls: 0,
            changes: 0,
            naps: 0,
            is_asleep: false,
            told_of_call: false,
        }
    }

    /// To the next event; `None`: the operation is done.
    pub fn next(&mut self) -> Option<Place> {
        loop {
            let stop = if self.is_asleep {
                self.wake_up()
            } else {
                if self.victim.is_done() {
                    return None;
                }
                if !self.told_of_call && self.victim.is_at_system_call() {
                    self.told_of_call = true;
                    self.system_calls += 1;
                    self.changes = 0;
                    return Some(self.place(Event::SystemCall));
                }
                if self.told_of_call {
                    self.victim.step_call()
                } else {
                    self.victim.step()
                }
            };
            match stop {
                Stop::Stepped => self.instructions += 1,
                Stop::Blocked => {
                    self.falls_asleep();
                    return Some(self.place(Event::Blocked));
                }
                Stop::Ended(status) => panic!("the victim failed: {status:#x}"),
            }
            if self.told_of_call {
                self.told_of_call = false;
                self.region.look_for_files();
            }
            if self.see_change() {
                return Some(self.place(Event::Change));
            }
        }
    }

    fn place(&self, event: Event) -> Place {
        Place {
            event,
            calls: self.system_calls,
            changes: self.changes,
        }
    }

    fn see_change(&mut self) -> bool {
        let changed = self.region.differs(&self.now);
        if changed {
            self.now = self.region.snapshot();
            self.changes += 1;
        }
        changed
    }

    fn falls_asleep(&mut self) {
        self.is_asleep = true;
        self.naps += 1;
    }

    fn wake_up(&mut self) -> Stop {
        self.is_asleep = false;
        (self.asleep)(self.naps);
        self.victim.wait_awake()
    }

    /// To a place of an earlier walk, or as near as it comes to that: time plays a part in what a victim does.
    pub fn go_to(&mut self, place: Place) {
        while self.system_calls < place.calls {
            self.run(); // to its beginning
            if self.victim.is_done() {
                return;
            }
            self.system_calls += 1;
            self.changes = 0;
            if self.system_calls == place.calls {
                match place.event {
                    Event::SystemCall => return,
                    Event::Blocked => {
                        self.victim.step_call();
                        return;
                    }
                    Event::Change => {
                        self.see_change();
                        self.changes = 0;
                    }
                }
            }
            self.run(); // to its end
            self.region.look_for_files();
            self.see_change();
        }
        while self.changes < place.changes
            && self.system_calls <= place.calls
            && self.next().is_some()
        {}
    }

    /// Runs without looking, to a system call's beginning or end.
    fn run(&mut self) {
        let mut stop = self.victim.run_to_call();
        while stop == Stop::Blocked {
            self.falls_asleep();
            stop = self.wake_up();
        }
        assert_eq!(stop, Stop::Stepped, "the victim failed");
    }
}

impl Scene {
    pub fn walk<'a>(&'a mut self, case: &Case) -> Walk<'a> {
        let Scene {
            victim, wake, name, ..
        } = self;
        let naps = case.naps;
        Walk::new(victim, name, move |nap| {
            if nap == naps
                && let Some(wake) = wake.take()
            {
                within(LIMIT, "waking the victim", wake);
            }
        })
    }
}
