//! A worker: a process that plays one part on the stage until it is killed.

use crate::ledger::{ACTORS, CHILD, Figure, Ledger, Op, Order, THREADS, Token};
use crate::stage::Stage;
use crate::support::{self, Forked, Random};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Sends,
    Receives,
    Writes,
    Reads,
    Locks,
    Makes,
    Takes,
    RingsEven,
    RingsOdd,
    Watches,
    Publishes,
    Subscribes,
    Visits,
    /// Sleeps. There are more of these than roles in the watch over deaths, so an actor that sleeps has none for the most part,
    /// and nothing but a wake-up, or a death, ends its sleep within seconds.
    Sleeps,
}

const CAST: [Part; ACTORS] = [
    Part::Sends,
    Part::Sends,
    Part::Receives,
    Part::Receives,
    Part::Writes,
    Part::Reads,
    Part::Locks,
    Part::Locks,
    Part::Makes,
    Part::Makes,
    Part::Takes,
    Part::Takes,
    Part::RingsEven,
    Part::RingsEven,
    Part::RingsOdd,
    Part::RingsOdd,
    Part::Watches,
    Part::Publishes,
    Part::Publishes,
    Part::Subscribes,
    Part::Subscribes,
    Part::Visits,
];

pub fn part(worker: usize) -> Part {
    CAST.get(worker).copied().unwrap_or(Part::Sleeps)
}

/// A worker rests after one operation in so many, for up to so many microseconds.
const OFTEN: u64 = 16;
const REST: u64 = 1000;
/// In a calm all rest for so long at the least: a wait of more than 20 ms is one that only a wake-up, or a death, ends.
const SLOW: u64 = 25_000;

/// One thread of a worker, or the child that it forked.
pub struct Worker<'a> {
    pub stage: &'a Stage,
    pub random: Random,
    pub worker: usize,
    pub thread: usize,
    life: u64,
    children: Vec<Forked>,
}

/// The role of a process that was started afresh, by `exec`: it attaches by name.
pub fn work(args: &[String]) {
    let stage = Stage::open(&args[0]).unwrap();
    run(&stage, args[1].parse().unwrap(), args[2].parse().unwrap());
}

/// Becomes another program that plays the same part.
pub fn exec(stage: &Stage, worker: usize, seed: u64) -> ! {
    let exe = support::command(&support::this_program());
    let args = [stage.seg.name(), &worker.to_string(), &seed.to_string()];
    let mut command = support::role_command(exe, "work", &args);
    let error = command.stdin(Stdio::null()).stdout(Stdio::null()).exec();
    panic!("exec: {error}");
}

/// Plays a part with one thread, or two or three that share the handles.
pub fn run(stage: &Stage, worker: usize, seed: u64) {
    // The test harness keeps what its threads print, and what a killed process keeps is lost.
    std::panic::set_hook(Box::new(move |info| {
        let _ = writeln!(std::io::stderr(), "worker {worker}: {info}");
    }));
    let life = stage.ledger.begin_life(worker);
    let mut random = Random::from(seed);
    let threads = match part(worker) {
        Part::Sleeps => 1,
        _ => [1, 1, 1, 2, 3][random.below(5) as usize],
    };
    let play = |thread: usize, seed: u64| {
        let mut worker = Worker {
            stage,
            random: Random::from(seed),
            worker,
            thread,
            life,
            children: Vec::new(),
        };
        let end = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| worker.play()));
        // SAFETY: ends the process at once: the other threads would never end.
        unsafe { libc::_exit(if end.is_ok() { 0 } else { 101 }) };
    };
    std::thread::scope(|scope| {
        for thread in 1..threads {
            let seed = random.below(u64::MAX);
            scope.spawn(move || play(thread, seed));
        }
        play(0, random.below(u64::MAX));
    });
}

impl<'a> Worker<'a> {
    /// One that only settles the books.
    pub fn settler(stage: &'a Stage, worker: usize) -> Worker<'a> {
        Worker {
            stage,
            random: Random::from(1),
            worker,
            thread: CHILD,
            life: stage.ledger.begin_life(worker),
            children: Vec::new(),
        }
    }

    /// The same thread, by way of other handles.
    pub fn on<'b>(&mut self, stage: &'b Stage) -> Worker<'b> {
        Worker {
            stage,
            random: Random::from(self.random.below(u64::MAX)),
            worker: self.worker,
            thread: self.thread,
            life: self.life,
            children: Vec::new(),
        }
    }

    fn play(&mut self) {
        match part(self.worker) {
            Part::Sends => self.send_for_ever(),
            Part::Receives => self.receive_for_ever(),
            Part::Writes => self.write_for_ever(),
            Part::Reads => self.read_for_ever(),
            Part::Locks => loop {
                self.lock_step();
                self.lock_twice();
                if self.random.below(8) == 0 {
                    self.do_once();
                }
                self.do_a_job();
                self.sit();
                self.film();
                self.show();
            },
            Part::Makes => loop {
                self.make();
                self.pass();
            },
            Part::Takes => loop {
                self.take();
                self.pass();
                self.talk();
            },
            Part::RingsEven => loop {
                self.ring(0);
            },
            Part::RingsOdd => loop {
                self.ring(1);
            },
            Part::Watches => self.watch_for_ever(),
            Part::Publishes => self.publish_for_ever(),
            Part::Subscribes => self.subscribe_for_ever(),
            Part::Visits => loop {
                self.visit();
                self.sit();
                self.talk();
                self.show();
            },
            Part::Sleeps if self.worker % 2 == 0 => {
                let never = self.stage.never.wait();
                panic!("nobody set it: {never:?}");
            }
            Part::Sleeps => {
                let gong = self.stage.gong.wait_until(|struck| *struck != 0);
                panic!("nobody struck the gong: {gong:?}");
            }
        }
    }

    pub fn ledger(&self) -> &'a Ledger {
        &self.stage.ledger
    }

    pub fn token(&self) -> Token {
        Token::new(self.worker, self.thread, self.life)
    }

    /// Does something that changes the books by up to `most`, and by as much as `f` says.
    pub fn operation(&mut self, op: Op, most: u64, f: impl FnOnce(&mut Self) -> u64) {
        let ledger = self.ledger();
        let begin = ledger.begin(self.worker, self.thread, op, most);
        let changes = f(self);
        ledger.end(self.worker, self.thread, op, changes, begin);
        // Their books are their own: they run as long as they must, and end well.
        self.children.drain(..).for_each(Forked::finish);
        if ledger.figure(Figure::Slow).load(SeqCst) != 0 && self.thread != CHILD {
            std::thread::sleep(Duration::from_micros(SLOW + self.random.below(SLOW)));
        } else if self.random.below(OFTEN) == 0 {
            // Nothing is waited for. With more work than the processors can do, the dead wait for a processor to die on.
            std::thread::sleep(Duration::from_micros(self.random.below(REST)));
        }
    }

    /// A point at which a change is half-done: the master's orders are carried out here.
    pub fn peril(&mut self) {
        let orders = &self.ledger().orders[self.worker];
        let order = orders.load(SeqCst);
        if order == 0 || self.thread == CHILD || self.random.below(3) != 0 {
            return;
        }
        let fork = order == Order::Fork as u8;
        if fork && self.thread != 0 || orders.compare_exchange(order, 0, SeqCst, SeqCst).is_err() {
            return;
        }
        match order {
            o if o == Order::Die as u8 => self.die(),
            // SAFETY: plain system call.
            o if o == Order::Stop as u8 => assert_eq!(unsafe { libc::raise(libc::SIGSTOP) }, 0),
            o if o == Order::Exec as u8 => {
                self.ledger().figure(Figure::Execs).fetch_add(1, SeqCst);
                self.ledger().doom(self.life);
                self.ledger().go_away(self.worker);
                // A child would be the new program's, which knows nothing of it.
                self.children.clear();
                exec(self.stage, self.worker, self.random.below(u64::MAX));
            }
            _ => self.fork(),
        }
    }

    /// Dies here and now, as if by somebody else's hand.
    pub fn die(&self) -> ! {
        self.ledger().doom(self.life);
        self.ledger().go_away(self.worker);
        loop {
            // SAFETY: plain system call; this process alone is meant.
            unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
        }
    }

    /// Forks a child that works with the inherited handles, while this thread goes on.
    fn fork(&mut self) {
        self.ledger().figure(Figure::Forks).fetch_add(1, SeqCst);
        let mut child = self.on(self.stage);
        child.thread = CHILD;
        // SAFETY: plain system call.
        let parent = unsafe { libc::getpid() };
        self.children.push(Forked::start(|| {
            // SAFETY: as above. If the parent died before the child could ask to die with it, it ends here.
            if unsafe { libc::getppid() } == parent {
                child.lock_step();
                child.sit();
                child.film();
                child.show();
                child.look();
                child.lock_twice();
                child.lock_step();
            }
        }));
    }
}

const _: () = assert!(THREADS == 4, "three threads and a child");
