//! The kills that wedge other systems: each is done several times, with SIGKILL, at the worst moment.

use crate::report::ms;
use crate::workers::{Context, PATIENCE, Role, Worker, stay};
use crate::{Result, Tour, lock_kills};
use bytemuck::{Pod, Zeroable};
use commonhold::{Error, Mutex, Queue, Segment, Value};
use std::time::{Duration, Instant};

pub(crate) const ROLES: &[(&str, Role)] = &[
    ("reader", read),
    ("holder", hold),
    ("heir", inherit),
    ("writer", write),
    ("next-writer", write_next),
];

pub(crate) const KILLS: u32 = 10;
const ITEMS_PER_KILL: u64 = 100;

/// Where a worker has come to; it says so in the Value "stage".
const ELSEWHERE: u32 = 0;
pub(crate) const IN_PLACE: u32 = 1;
pub(crate) const WAITING: u32 = 2;

/// What the mutex guards. The sum of the two is always `MONEY`, except while a booking is half done.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Accounts {
    mine: i64,
    yours: i64,
}

const MONEY: i64 = 1000;

impl Accounts {
    fn add_up(&self) -> bool {
        self.mine + self.yours == MONEY
    }
}

/// What is updated: the two are always equal, except in the midst of an update.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
struct Pair {
    left: u64,
    right: u64,
}

pub(crate) fn show(tour: &mut Tour) -> Result<()> {
    tour.report
        .section("4  The kills that wedge other systems")?;
    tour.report.line(&format!(
        "        {KILLS} of each; timed from SIGKILL until the others go on"
    ))?;
    let stage = Value::create(&tour.seg, "stage", ELSEWHERE)?;
    idle_readers(tour, &stage)?;
    mutex_holders(tour, &stage)?;
    value_writers(tour, &stage)?;
    lock_kills::show(tour, &stage)
}

/// Starts a worker and waits until it says that it has come to `place`.
fn start(tour: &Tour, role: &str, stage: &Value<u32>, place: u32) -> Result<Worker> {
    start_with(tour, role, "", stage, place)
}

/// As [`start`], with an argument.
pub(crate) fn start_with(
    tour: &Tour,
    role: &str,
    arg: &str,
    stage: &Value<u32>,
    place: u32,
) -> Result<Worker> {
    stage.set(ELSEWHERE)?;
    let worker = Worker::start(tour.seg.name(), role, arg)?;
    stage
        .wait_until_timeout(PATIENCE, |&at| at == place)
        .context(format_args!("waiting for the {role}"))?;
    Ok(worker)
}

pub(crate) fn tell(seg: &Segment, place: u32) -> Result<()> {
    Ok(Value::open(seg, "stage")?.set(place)?)
}

/// Two readers sleep in `recv`, one is killed; the other gets all that is sent from then on.
fn idle_readers(tour: &mut Tour, stage: &Value<u32>) -> Result<()> {
    let queue = Queue::<u64>::create(&tour.seg, "letters", 16)?;
    let read = Value::create(&tour.seg, "letters read", 0u64)?;
    let survivor = start(tour, "reader", stage, WAITING)?;
    let mut times = Times::default();
    let mut sent = 0;
    for _ in 0..KILLS {
        let victim = start(tour, "reader", stage, WAITING)?;
        survivor.until_asleep()?;
        victim.until_asleep()?;
        let began = Instant::now();
        victim.kill()?;
        let letters: Vec<u64> = (sent..sent + ITEMS_PER_KILL).collect();
        queue.send_timeout(letters[0], PATIENCE)?;
        read.wait_until_timeout(PATIENCE, |&n| n > sent)
            .context("waiting for the surviving reader")?;
        times.add(began.elapsed());
        queue.send_all_timeout(&letters[1..], PATIENCE)?;
        sent += ITEMS_PER_KILL;
        read.wait_until_timeout(PATIENCE, |&n| n == sent)
            .context("waiting for all items to be read")?;
    }
    queue.close();
    survivor.finish()?;
    let read = read.get()?;
    tour.report.check(
        read == sent,
        "a reader killed while idle in recv",
        &times.text(),
    )?;
    tour.report.figure(
        "the other reader got all, in order",
        &format!("{read} of {sent} items"),
    )
}

fn read(seg: &Segment, _: &str) -> Result<()> {
    let queue = Queue::<u64>::open(seg, "letters")?;
    let read = Value::<u64>::open(seg, "letters read")?;
    tell(seg, WAITING)?;
    loop {
        let letter = match queue.recv_timeout(PATIENCE) {
            Err(Error::Closed) => return Ok(()),
            other => other?,
        };
        let expected = read.update(|n| std::mem::replace(n, letter + 1))?;
        if letter != expected {
            return Err(format!("item {letter} came in place of {expected}").into());
        }
    }
}

/// The holder is killed with a booking half done; who waits for the lock is told, mends the accounts, and goes on.
fn mutex_holders(tour: &mut Tour, stage: &Value<u32>) -> Result<()> {
    let first = Accounts {
        mine: MONEY,
        yours: 0,
    };
    let accounts = Mutex::create(&tour.seg, "accounts", first)?;
    let mended = Value::create(&tour.seg, "mended", 0u32)?;
    let mut times = Times::default();
    for round in 1..=KILLS {
        let holder = start(tour, "holder", stage, IN_PLACE)?;
        let heir = start(tour, "heir", stage, WAITING)?;
        heir.until_asleep()?;
        let began = Instant::now();
        holder.kill()?;
        mended
            .wait_until_timeout(PATIENCE, |&n| n == round)
            .context("waiting for the heir")?;
        times.add(began.elapsed());
        heir.finish()?;
    }
    let now = *accounts.lock()?;
    tour.report.check(
        now.add_up() && !accounts.is_poisoned(),
        "a holder killed inside a Mutex",
        &times.text(),
    )?;
    tour.report.figure(
        "heirs got Err(Poisoned) and recovered",
        &format!("{} + {} = {MONEY}", now.mine, now.yours),
    )
}

fn hold(seg: &Segment, _: &str) -> Result<()> {
    let accounts = Mutex::<Accounts>::open(seg, "accounts")?;
    let mut accounts = accounts.lock_timeout(PATIENCE)?;
    accounts.mine -= 100;
    tell(seg, IN_PLACE)?;
    // It never comes to `accounts.yours += 100`.
    stay()
}

fn inherit(seg: &Segment, _: &str) -> Result<()> {
    let accounts = Mutex::<Accounts>::open(seg, "accounts")?;
    tell(seg, WAITING)?;
    match accounts.lock_timeout(PATIENCE) {
        Err(Error::Poisoned) => {}
        Err(e) => return Err(e.into()),
        Ok(_) => return Err("the lock was not poisoned".into()),
    }
    let mut broken = accounts.recover()?;
    if broken.add_up() {
        return Err("the booking was not half done".into());
    }
    broken.yours = MONEY - broken.mine;
    drop(broken);
    if !accounts.lock()?.add_up() {
        return Err("what was mended is broken".into());
    }
    Ok(Value::<u32>::open(seg, "mended")?.update(|n| *n += 1)?)
}

/// The writer is killed inside the closure; readers saw the old value all the time, and the next writer goes on from it.
fn value_writers(tour: &mut Tour, stage: &Value<u32>) -> Result<()> {
    let pair = Value::create(&tour.seg, "pair", Pair { left: 0, right: 0 })?;
    let mut times = Times::default();
    let mut always_whole = true;
    for round in 0..KILLS.into() {
        let old = Pair {
            left: round,
            right: round,
        };
        let writer = start(tour, "writer", stage, IN_PLACE)?;
        let next = start(tour, "next-writer", stage, WAITING)?;
        next.until_asleep()?;
        always_whole &= pair.get()? == old;
        let began = Instant::now();
        writer.kill()?;
        let new = pair
            .wait_until_timeout(PATIENCE, |&now| now != old)
            .context("waiting for the next writer")?;
        times.add(began.elapsed());
        next.finish()?;
        always_whole &= new.left == new.right && new.left == round + 1;
    }
    let Pair { left, right } = pair.get()?;
    tour.report.check(
        always_whole,
        "a writer killed inside Value::update",
        &times.text(),
    )?;
    tour.report.figure(
        "no reader saw half an update",
        &format!("({left}, {right}) after {KILLS} updates"),
    )
}

fn write(seg: &Segment, _: &str) -> Result<()> {
    let pair = Value::<Pair>::open(seg, "pair")?;
    pair.update(|pair| {
        pair.left += 1_000_000;
        tell(seg, IN_PLACE)?;
        // It never comes to `pair.right += 1_000_000`.
        stay()
    })?
}

fn write_next(seg: &Segment, _: &str) -> Result<()> {
    let pair = Value::<Pair>::open(seg, "pair")?;
    tell(seg, WAITING)?;
    Ok(pair.update_timeout(PATIENCE, |pair| {
        pair.left += 1;
        pair.right += 1;
    })?)
}

#[derive(Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    pub(crate) fn text(mut self) -> String {
        self.0.sort_unstable();
        let median = self.0.get(self.0.len() / 2).copied().unwrap_or_default();
        let longest = self.0.last().copied().unwrap_or_default();
        format!("median {}, longest {}", ms(median), ms(longest))
    }
}
