//! The master: kills, stops, and orders the workers about, and sees to it that nobody is stuck.

use crate::ledger::{ACTORS, CHILD, Figure, Ledger, Order, STREAMS, THREADS, WORKERS};
use crate::report::Report;
use crate::stage::Stage;
use crate::support::{self, Forked, Random, eventually};
use crate::times::{LIMIT, now};
use crate::worker::{Part, exec, part, run};
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

/// The time between two strokes, at the most, in microseconds.
const BETWEEN: u64 = 3000;
/// If the master could not look for so long, then the machine did not run others either: that is nobody's delay.
const STANDSTILL: u64 = 100_000;
/// If a process took no longer than this to end, or to begin, it is no pause: others have to bear it.
const QUICK: u64 = 20_000;
/// A new program may take longer to begin than an operation: the machine is busy.
const TO_START: Duration = support::LIMIT;

/// For so long, in microseconds, every other worker is spared; then these are, and those not.
const SPARED: u64 = 2_500_000;
/// After one stroke in so many comes a calm, and it takes so many microseconds until it is one.
const CALM: u64 = 80;
const TO_CALM_DOWN: u64 = 100_000;

struct Stopped {
    worker: usize,
    until: u64,
    is_killed: bool,
}

pub struct Master<'a> {
    stage: Stage,
    random: &'a mut Random,
    /// `None` only between a death and the next life.
    workers: Vec<Option<Forked>>,
    stopped: Vec<Stopped>,
    /// When it last looked whether anybody was stuck.
    looked: u64,
    report: Report,
}

impl<'a> Master<'a> {
    pub fn new(name: &str, random: &'a mut Random) -> Master<'a> {
        let mut master = Master {
            stage: Stage::create(name).unwrap(),
            random,
            workers: Vec::new(),
            stopped: Vec::new(),
            looked: now(),
            report: Report::new(),
        };
        for worker in 0..WORKERS {
            master.workers.push(None);
            master.start(worker);
        }
        master
    }

    /// A worker that is forked, with the master's handles, or started afresh, by name.
    fn start(&mut self, worker: usize) {
        let seed = self.random.below(u64::MAX);
        let afresh = self.random.below(8) == 0;
        self.report.afresh += u64::from(afresh);
        let stage = &self.stage;
        stage.ledger.go_away(worker);
        self.workers[worker] = Some(Forked::start(|| {
            if afresh {
                exec(stage, worker, seed);
            }
            run(stage, worker, seed);
        }));
    }

    fn pid(&self, worker: usize) -> i32 {
        self.workers[worker].as_ref().expect("it lives").0
    }

    pub fn kill_workers(&mut self, kills: u64) {
        // The last stroke, at the end of the act, kills all.
        let kills = kills.saturating_sub(WORKERS as u64);
        while self.report.kills() < kills {
            let streams = self.stage.ledger.figure(Figure::Streams).load(SeqCst);
            if streams as usize >= STREAMS - 4 * WORKERS {
                // The book is full.
                return;
            }
            // A random moment; nothing is waited for.
            let time = self.random.below(BETWEEN);
            std::thread::sleep(Duration::from_micros(time));
            self.go_round();
            self.let_go();
            self.see_that_nobody_is_stuck();
            self.spare_some();
            if self.random.below(CALM) == 0 {
                self.calm();
            }
            match self.random.below(20) {
                0..11 => self.strike(),
                11..16 => self.order(Order::Die),
                16 => self.order(Order::Stop),
                17 if self.random.below(2) == 0 => self.stop(),
                18 => self.order(Order::Exec),
                19 => self.order(Order::Fork),
                _ => {}
            }
        }
    }

    /// The pause is over, unless somebody is stopped, or takes long to begin.
    fn go_on(&self, at_most: u64) {
        if self.stopped.is_empty() && self.late_since().is_none() {
            self.stage.ledger.times.go_on(at_most);
        }
    }

    /// Since when somebody has been late: those who wait for it are not to blame.
    fn late_since(&self) -> Option<u64> {
        let ledger = &self.stage.ledger;
        let away = (0..WORKERS).filter_map(|worker| ledger.away_since(worker));
        away.min()
            .filter(|&since| now().saturating_sub(since) > QUICK)
    }

    /// Some live for longer than anything takes, while others die around them. Who is stuck is found in the next calm at the latest, which waits
    /// for it.
    fn spare_some(&self) {
        let turn = (now() / SPARED) as usize % 2;
        for worker in 0..WORKERS {
            let spared = worker % 2 == turn;
            self.stage.ledger.spared[worker].store(spared.into(), SeqCst);
        }
    }

    /// One of the workers; the sleepers together are as likely as two actors.
    fn any(&mut self) -> usize {
        match self.random.below(ACTORS as u64 + 2) as usize {
            actor if actor < ACTORS => actor,
            _ => ACTORS + self.random.below((WORKERS - ACTORS) as u64) as usize,
        }
    }

    /// One that is not spared.
    fn victim(&mut self) -> usize {
        loop {
            let worker = self.any();
            if self.stage.ledger.spared[worker].load(SeqCst) == 0 {
                return worker;
            }
        }
    }

    /// All work slowly, so that waits are long, and some die where they take wake-ups along. Then nobody is killed, so no death ends
    /// anybody's sleep, until each thread has done what it was about. New deaths would hide that one is stuck.
    fn calm(&mut self) {
        self.report.calms += 1;
        self.stage.ledger.figure(Figure::Slow).store(1, SeqCst);
        let before = now();
        while now() - before < TO_CALM_DOWN {
            for worker in 0..ACTORS {
                let meant = matches!(part(worker), Part::Makes | Part::Takes);
                if meant && self.stage.ledger.spared[worker].load(SeqCst) == 0 {
                    self.stage.ledger.orders[worker].store(Order::Die as u8, SeqCst);
                }
            }
            std::thread::sleep(Duration::from_micros(BETWEEN));
            self.go_round();
            self.let_go();
            self.see_that_nobody_is_stuck();
        }
        (0..WORKERS).for_each(|worker| self.stage.ledger.orders[worker].store(0, SeqCst));
        let begin = now();
        let is_at_it = |ledger: &Ledger| {
            (0..WORKERS).any(|worker| {
                ledger.away_since(worker).is_some()
                    || (0..THREADS).any(|thread| ledger.is_at_it_since(worker, thread, begin))
            })
        };
        while is_at_it(&self.stage.ledger) {
            self.go_round();
            self.let_go();
            self.see_that_nobody_is_stuck();
            std::thread::yield_now();
        }
        self.stage.ledger.figure(Figure::Slow).store(0, SeqCst);
    }

    /// Kills one, two or three at a stroke.
    fn strike(&mut self) {
        let count = [1, 1, 1, 1, 2, 3][self.random.below(6) as usize];
        let mut victims: Vec<usize> = (0..count).map(|_| self.victim()).collect();
        victims.sort();
        victims.dedup();
        self.kill(&victims);
        for worker in victims {
            self.start(worker);
        }
    }

    /// Kills them at one stroke, and closes their books.
    fn kill(&mut self, victims: &[usize]) {
        let ledger = &self.stage.ledger;
        for &worker in victims {
            // Before it dies: who finds it dead is to find it condemned.
            ledger.condemn(worker);
        }
        ledger.times.pause(now());
        for &worker in victims {
            // SAFETY: a child of ours that is not yet reaped.
            unsafe { libc::kill(self.pid(worker), libc::SIGKILL) };
        }
        for &worker in victims {
            let status = wait(self.pid(worker), 0).expect("it was killed");
            let stopped = self.stopped.iter().position(|s| s.worker == worker);
            if let Some(stopped) = stopped {
                self.report.killed_stopped += 1;
                self.stopped.swap_remove(stopped);
            }
            self.bury(worker, status);
        }
        self.go_on(QUICK);
    }

    /// A worker is gone: it must have been killed, by us or, by our order or over its mending, by itself.
    fn bury(&mut self, worker: usize, status: i32) {
        let part = part(worker);
        // Reaped: its pid may be another's by now.
        std::mem::forget(self.workers[worker].take());
        assert!(
            libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL,
            "worker {worker} ({part:?}) failed: {status:#x}"
        );
        *self.report.killed.entry(part).or_default() += 1;
        self.stage.ledger.close_life(worker);
    }

    /// Looks after each: who ended by itself is replaced, who stopped will be let go again.
    fn go_round(&mut self) {
        for worker in 0..WORKERS {
            let Some(status) = wait(self.pid(worker), libc::WNOHANG | libc::WUNTRACED) else {
                continue;
            };
            if libc::WIFSTOPPED(status) {
                self.note_stopped(worker);
            } else {
                self.report.by_own_hand += 1;
                if let Some(begin) = self.stage.ledger.away_since(worker) {
                    self.stage.ledger.times.pause(begin);
                    self.go_on(QUICK);
                }
                self.bury(worker, status);
                self.start(worker);
            }
        }
    }

    fn order(&mut self, order: Order) {
        let worker = match order {
            Order::Die | Order::Exec => self.victim(),
            Order::Stop | Order::Fork => self.any(),
        };
        self.stage.ledger.orders[worker].store(order as u8, SeqCst);
    }

    /// Stops one wherever it is.
    fn stop(&mut self) {
        let worker = self.any();
        // SAFETY: a child of ours that is not yet reaped.
        unsafe { libc::kill(self.pid(worker), libc::SIGSTOP) };
    }

    fn note_stopped(&mut self, worker: usize) {
        let now = now();
        self.report.stops += 1;
        self.stage.ledger.times.pause(now);
        self.stopped.push(Stopped {
            worker,
            until: now + 30_000 + self.random.below(30_000),
            is_killed: self.random.below(2) == 0
                && self.stage.ledger.spared[worker].load(SeqCst) == 0,
        });
    }

    /// Lets those go on that were stopped for long enough; some go no further.
    fn let_go(&mut self) {
        let time = now();
        while let Some(due) = self.stopped.iter().position(|s| s.until <= time) {
            let Stopped {
                worker, is_killed, ..
            } = self.stopped[due];
            if is_killed {
                self.kill(&[worker]);
                self.start(worker);
            } else {
                // SAFETY: a child of ours that is not yet reaped.
                unsafe { libc::kill(self.pid(worker), libc::SIGCONT) };
                self.stopped.swap_remove(due);
                self.go_on(0);
            }
        }
    }

    /// No operation that is under way has taken too long.
    fn see_that_nobody_is_stuck(&mut self) {
        if now() - self.looked > STANDSTILL {
            self.report.standstills += 1;
            self.stage.ledger.times.pause(self.looked);
            self.go_on(0);
        }
        self.looked = now();
        match self.late_since() {
            Some(since) => self.stage.ledger.times.pause(since),
            None => self.go_on(0),
        }
        let ledger = &self.stage.ledger;
        for worker in 0..WORKERS {
            if let Some(begin) = ledger.away_since(worker) {
                let time = Duration::from_micros(now() - begin);
                assert!(time < TO_START, "worker {worker} does not begin");
                continue;
            }
            for thread in 0..THREADS {
                let (op, time) = ledger.look(worker, thread);
                let child = if thread == CHILD { " (its child)" } else { "" };
                assert!(
                    time < LIMIT.as_micros() as u64,
                    "worker {worker}{child} is stuck: {op:?} for {} ms",
                    time / 1000
                );
            }
        }
    }

    /// Kills all that are left, and balances the books.
    ///
    /// No operation that was completed took too long.
    pub fn end(mut self) -> Report {
        self.calm();
        let all: Vec<usize> = (0..WORKERS).collect();
        self.kill(&all);
        // Their children die with them.
        eventually(support::LIMIT, "nobody but us is left", || {
            self.stage.seg.members().iter().all(|m| m.is_me || !m.alive)
        });
        let longest = self.stage.ledger.longest();
        assert!(
            longest.1 < LIMIT,
            "{:?} of a survivor took {:?}",
            longest.0,
            longest.1
        );
        self.report.lost = self.stage.settle();
        self.report.read(&self.stage.ledger);
        std::mem::replace(&mut self.report, Report::new())
    }
}

impl Drop for Master<'_> {
    fn drop(&mut self) {
        // If the test has failed: who dies now dies by us.
        (0..WORKERS).for_each(|worker| self.stage.ledger.condemn(worker));
    }
}

/// What became of a child: `None` if nothing new (with WNOHANG).
fn wait(child: i32, options: i32) -> Option<i32> {
    let mut status = 0;
    loop {
        // SAFETY: a child of ours that is not yet reaped; writes one integer.
        let pid = unsafe { libc::waitpid(child, &raw mut status, options) };
        match pid {
            0 => return None,
            -1 => {
                let e = std::io::Error::last_os_error();
                assert_eq!(e.kind(), std::io::ErrorKind::Interrupted, "waitpid: {e}");
            }
            _ => return Some(status),
        }
    }
}
