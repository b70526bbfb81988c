//! What two parties do together. Each runs [`take_part`] with the same job.

use crate::arena::{Arena, Cell, Plain};
use crate::links::{Wires, with_link};
use crate::locks::{Lock, with_lock};
use crate::machine::work;
use crate::report::quartiles;
use crate::{meeting, queue, relay, rwlocks, turns};
use std::hint::black_box;
use std::str::FromStr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Names that travel as words.
macro_rules! words {
    ($(#[$about:meta])* enum $name:ident { $($(#[$doc:meta])* $word:ident,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name {
            $($(#[$doc])* $word,)*
        }

        impl $name {
            fn of(word: &str) -> Option<$name> {
                [$($name::$word),*].into_iter().find(|it| format!("{it:?}") == word)
            }
        }
    };
}

words! {
    enum Verb {
        /// Send a number there and back; `a`: pauses between looks. Gives ns for a round trip.
        Ping,
        /// Lock; `a` steps of work inside and `b` outside. Gives operations a second.
        Contend,
        /// Lock and count; `a`: how many the first party does, at least. Gives operations a hand-over, and checks the count.
        Tally,
        /// Add 1 to a value under its lock. Gives operations a second.
        Update,
        /// Read a value; with `a`, only the first party does. Gives operations a second.
        Read,
        /// Read a wide value while the other party writes it. Gives nothing: a check.
        Torn,
        /// Read under a readers-writer lock, together; with `a`, the second party writes, and it is a check. Gives readings a second.
        Share,
        /// Send items of `a` words, `b` at a time. Gives items a second.
        Send,
        /// Send an item of `a` words there and back. Gives ns for a round trip.
        Return,
        /// Give the other its turn after `a` steps of work, wait for one's own. Gives ns for a hand-over.
        HandOver,
        /// The same, of which only the time from giving to the other's going on counts, which sleeps by then. Gives ns.
        WakeUp,
        /// Wait for each other. Gives ns for a crossing.
        Cross,
        /// Messages of `a` bytes over a link, one way. Gives messages a second.
        OneWay,
        /// The same there and back. Gives ns for a round trip.
        Echo,
        /// The same one way, to be compared. Gives nothing: a check.
        Check,
    }
}

words! {
    enum Who {
        /// The one of ours that the figure is about.
        Commonhold,
        Std,
        ParkingLot,
        Pshared,
        Robust,
        RawSync,
        /// Ours, beside [`Commonhold`](Who::Commonhold).
        Permits,
        OurCondvar,
        Sem,
        Eventfd,
        Messages,
        Ring,
        /// Publishes every 32 items.
        LazyRing,
        Queue,
        OurPipe,
        Blocks,
        Iceoryx,
        IpcChannel,
        Pipe,
        WidePipe,
        Stream,
        Seqpacket,
        PosixQueue,
    }
}

impl Who {
    pub(crate) const LOCKS: [Who; 6] = [
        Who::Commonhold,
        Who::Std,
        Who::ParkingLot,
        Who::Pshared,
        Who::Robust,
        Who::RawSync,
    ];

    /// For those who read the report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Who::Commonhold => "commonhold",
            Who::Std => "std",
            Who::ParkingLot => "parking_lot",
            Who::Pshared => "pthread",
            Who::Robust => "pthread robust",
            Who::RawSync => "raw_sync",
            Who::Permits => "by permits",
            Who::OurCondvar => "by a condvar",
            Who::Sem => "sem_t",
            Who::Eventfd => "eventfd",
            Who::Messages => "commonhold Messages",
            Who::Ring => "commonhold Ring",
            Who::LazyRing => "commonhold Ring, lazy",
            Who::Queue => "commonhold Queue",
            Who::OurPipe => "commonhold Pipe",
            Who::Blocks => "commonhold blocks",
            Who::Iceoryx => "iceoryx2",
            Who::IpcChannel => "ipc-channel",
            Who::Pipe => "pipe",
            Who::WidePipe => "pipe of 1 MiB",
            Who::Stream => "Unix stream",
            Who::Seqpacket => "Unix seqpacket",
            Who::PosixQueue => "POSIX mq",
        }
    }

    /// Whether it works between threads only.
    pub(crate) fn in_threads(self) -> bool {
        matches!(self, Who::Std | Who::ParkingLot)
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    pub(crate) verb: Verb,
    pub(crate) who: Who,
    pub(crate) a: u32,
    pub(crate) b: u32,
}

impl Job {
    pub(crate) fn is_linked(self) -> bool {
        matches!(self.verb, Verb::OneWay | Verb::Echo | Verb::Check)
    }
}

/// As [`Job::from_str`] reads it.
impl std::fmt::Display for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {:?} {} {}", self.verb, self.who, self.a, self.b)
    }
}

impl FromStr for Job {
    type Err = String;
    fn from_str(line: &str) -> Result<Job, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let &[verb, who, a, b] = words.as_slice() else {
            return Err(format!("not four words: {line}"));
        };
        let (verb, who) = (Verb::of(verb), Who::of(who));
        match (verb, who, a.parse(), b.parse()) {
            (Some(verb), Some(who), Ok(a), Ok(b)) => Ok(Job { verb, who, a, b }),
            _ => Err(format!("not a job: {line}")),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Side {
    /// Says when it ends: after this time.
    First(Duration),
    Second,
}

/// Does one side of the job. The first side gets the result, the second 0.
pub(crate) fn take_part(arena: &Arena, job: Job, side: Side) -> f64 {
    let narrow = &arena.objects.narrow;
    match (job.verb, job.who) {
        (Verb::Ping, _) => ping(arena, job.a, side),
        (Verb::Contend, who) => with_lock!(who, arena, |lock| meet(arena, side, || {
            lock.with(|cell| {
                black_box(cell);
                work(job.a);
            });
            work(job.b);
        })
        .rate()),
        (Verb::Tally, who) => with_lock!(who, arena, |lock| tally(arena, lock, side)),
        (Verb::Update, Who::Commonhold) => meet(arena, side, || {
            narrow.update(|n| *n += 1).expect("the value is sound");
        })
        .rate(),
        (Verb::Update, who) => with_lock!(who, arena, |lock| meet(arena, side, || {
            lock.with(|cell| cell[0] += 1);
        })
        .rate()),
        (Verb::Read, _) if job.a != 0 && matches!(side, Side::Second) => {
            arena.arrive();
            arena.report(0);
            0.0
        }
        (Verb::Read, Who::Commonhold) => meet(arena, side, || {
            black_box(narrow.get().expect("the value is sound"));
        })
        .rate(),
        (Verb::Read, who) => with_lock!(who, arena, |lock| meet(arena, side, || {
            black_box(lock.with(|cell| cell[0]));
        })
        .rate()),
        (Verb::Torn, _) => torn(arena, side),
        (Verb::HandOver | Verb::WakeUp, _) => turns::hand_over(arena, job, side),
        (Verb::Cross, who) => meeting::cross(arena, who, side),
        (Verb::Share, who) => rwlocks::share(arena, who, job.a != 0, side),
        (Verb::Send, who) => queue::take_part(arena, who, job.a, job.b as usize, side),
        (Verb::Return, who) => queue::there_and_back(arena, who, job.a, side),
        (Verb::OneWay | Verb::Echo | Verb::Check, _) => unreachable!("it takes a link"),
    }
}

/// The same for a job with a link.
pub(crate) fn take_part_linked(party: (&Arena, &Wires), job: Job, side: Side) -> f64 {
    let (plain, len): (&Plain, usize) = (party.0, job.a as usize);
    let first = matches!(side, Side::First(_));
    with_link!(job.who, party, len, first, |link| match job.verb {
        Verb::OneWay => relay::one_way(plain, link, len, side),
        Verb::Echo => relay::echo(plain, link, len, side),
        Verb::Check => {
            relay::be_checked(plain, link);
            0.0
        }
        other => unreachable!("{other:?} takes no link"),
    })
}

/// What both parties did, and how long that took. Zero for the second.
pub(crate) struct Met {
    ops: u64,
    time: Duration,
}

impl Met {
    pub(crate) fn rate(&self) -> f64 {
        self.ops as f64 / self.time.as_secs_f64().max(1e-9)
    }
}

/// Both parties do `op` over and over, until the first's time is up.
#[inline]
pub(crate) fn meet(plain: &Plain, side: Side, mut op: impl FnMut()) -> Met {
    plain.arrive();
    let mut ops = 0;
    match side {
        Side::First(duration) => {
            let start = Instant::now();
            loop {
                (0..256).for_each(|_| op());
                ops += 256;
                if start.elapsed() >= duration {
                    break;
                }
            }
            plain.stop();
            let time = start.elapsed();
            ops += plain.await_report();
            Met { ops, time }
        }
        Side::Second => {
            while !plain.is_stopped() {
                op();
                ops += 1;
            }
            plain.report(ops);
            Met {
                ops: 0,
                time: Duration::ZERO,
            }
        }
    }
}

/// Counts under the lock, and how often it changes hands.
pub(crate) fn tally(plain: &Plain, lock: &impl Lock, side: Side) -> f64 {
    let first = matches!(side, Side::First(_));
    let before = if first {
        lock.with(|cell| *cell = [0; 8]);
        0
    } else {
        1
    };
    let met = meet(plain, side, || {
        lock.with(|[count, holder, changes, ..]: &mut Cell| {
            *count += 1;
            if *holder != before {
                *holder = before;
                *changes += 1;
            }
        });
    });
    if !first {
        return 0.0;
    }
    let (count, changes) = lock.with(|cell| (cell[0], cell[2]));
    assert_eq!(count, met.ops, "the lock let both in at once");
    count as f64 / changes.max(1) as f64
}

/// A wide value, of which all words are always the same.
fn torn(arena: &Arena, side: Side) -> f64 {
    let value = &arena.objects.wide;
    match side {
        Side::First(_) => meet(arena, side, || {
            let words = value.get().expect("the value is sound");
            assert!(words.iter().all(|&n| n == words[0]), "torn: {words:?}");
        }),
        Side::Second => meet(arena, side, || {
            let next = |words: &mut Cell| *words = [words[0] + 1; 8];
            value.update(next).expect("the value is sound");
        }),
    };
    0.0
}

/// One cache line, there and back.
fn ping(plain: &Plain, pauses: u32, side: Side) -> f64 {
    const END: u64 = u64::MAX;
    let word = &plain.ping.0;
    let look = || {
        (0..pauses).for_each(|_| std::hint::spin_loop());
        word.load(Ordering::Acquire)
    };
    plain.arrive();
    match side {
        Side::First(duration) => {
            const STRETCH: u64 = 256;
            let mut stretches = Vec::with_capacity(4096);
            let start = Instant::now();
            let mut trips = 0;
            while start.elapsed() < duration {
                let stretch = Instant::now();
                for _ in 0..STRETCH {
                    word.store(2 * trips + 1, Ordering::Release);
                    trips += 1;
                    while look() != 2 * trips {}
                }
                stretches.push(stretch.elapsed().as_nanos() as f64);
            }
            word.store(END, Ordering::Release);
            plain.await_report();
            // The median: a stretch in which one of the two did not run tells nothing.
            quartiles(&stretches)[1] / STRETCH as f64
        }
        Side::Second => {
            let mut trips = 0;
            loop {
                match look() {
                    END => break,
                    n if n == 2 * trips + 1 => {
                        trips += 1;
                        word.store(2 * trips, Ordering::Release);
                    }
                    _ => {}
                }
            }
            plain.report(trips);
            0.0
        }
    }
}
