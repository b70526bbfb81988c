//! More kills: in each of the other locks, somebody is killed while another waits for it.

use crate::kills::{IN_PLACE, KILLS, Times, WAITING, start_with, tell};
use crate::workers::{Context, PATIENCE, Role, stay};
use crate::{Result, Tour};
use commonhold::{Barrier, Error, Once, RwLock, Segment, Semaphore, Value};
use std::time::Instant;

pub(crate) const ROLES: &[(&str, Role)] = &[
    ("rwlock-reader", |seg, _| {
        let table = RwLock::<u64>::open(seg, "table")?;
        let _reading = table.read_timeout(PATIENCE)?;
        tell(seg, IN_PLACE)?;
        stay()
    }),
    ("rwlock-writer", |seg, _| {
        let table = RwLock::<u64>::open(seg, "table")?;
        tell(seg, WAITING)?;
        *table.write_timeout(PATIENCE)? += 1;
        go_on(seg)
    }),
    ("permit-holder", |seg, _| {
        let permits = Semaphore::open(seg, "permits")?;
        let _permit = permits.acquire_timeout(PATIENCE)?;
        tell(seg, IN_PLACE)?;
        stay()
    }),
    ("permit-waiter", |seg, _| {
        let permits = Semaphore::open(seg, "permits")?;
        tell(seg, WAITING)?;
        drop(permits.acquire_timeout(PATIENCE)?);
        go_on(seg)
    }),
    ("party", |seg, _| {
        let start = Barrier::open(seg, "start")?;
        tell(seg, IN_PLACE)?;
        start.wait()?;
        Err("the barrier let two of three through".into())
    }),
    ("other-party", |seg, _| {
        let start = Barrier::open(seg, "start")?;
        tell(seg, WAITING)?;
        match start.wait_timeout(PATIENCE) {
            Err(Error::Broken) => go_on(seg),
            Err(e) => Err(e.into()),
            Ok(_) => Err("the barrier let two of three through".into()),
        }
    }),
    ("once-runner", |seg, round| {
        let setup = Once::open(seg, &format!("setup {round}"))?;
        let mut ended = Ok(());
        setup.call_once(|| ended = tell(seg, IN_PLACE).and_then(|()| stay()))?;
        ended
    }),
    ("once-heir", |seg, round| {
        let setup = Once::open(seg, &format!("setup {round}"))?;
        tell(seg, WAITING)?;
        let mut ran = false;
        setup.call_once_timeout(PATIENCE, || ran = true)?;
        if !ran || !setup.is_completed() {
            return Err("nobody ran it".into());
        }
        go_on(seg)
    }),
];

/// An heir says that it went on.
fn go_on(seg: &Segment) -> Result<()> {
    Ok(Value::<u32>::open(seg, "went on")?.update(|n| *n += 1)?)
}

pub(crate) fn show(tour: &mut Tour, stage: &Value<u32>) -> Result<()> {
    let table = RwLock::create(&tour.seg, "table", 0u64)?;
    let permits = Semaphore::create(&tour.seg, "permits", 1)?;
    let start = Barrier::create(&tour.seg, "start", 3)?;
    Value::create(&tour.seg, "went on", 0u32)?;

    let times = kill_each(tour, stage, "rwlock-reader", "rwlock-writer", |_| Ok(()))?;
    let ok = *table.read()? == KILLS.into();
    tour.report
        .check(ok, "a reader killed, a writer waiting", &times.text())?;

    let times = kill_each(tour, stage, "permit-holder", "permit-waiter", |_| Ok(()))?;
    let ok = permits.available() == 1;
    tour.report
        .check(ok, "a holder of a permit killed", &times.text())?;

    let times = kill_each(tour, stage, "party", "other-party", |_| Ok(start.reset()?))?;
    let was_broken = start.is_broken();
    start.reset()?;
    let ok = was_broken && !start.is_broken();
    tour.report
        .check(ok, "a party of a Barrier killed: Broken", &times.text())?;

    let seg = tour.seg.clone();
    let make = |round: u32| {
        Once::create(&seg, &format!("setup {round}"))?;
        Ok(())
    };
    let times = kill_each(tour, stage, "once-runner", "once-heir", make)?;
    tour.report
        .check(true, "a runner of a Once killed", &times.text())
}

/// Kills a victim that is in place while its heir waits, several times: how long it takes until the heir has gone on.
fn kill_each(
    tour: &Tour,
    stage: &Value<u32>,
    victim: &str,
    heir: &str,
    prepare: impl Fn(u32) -> Result<()>,
) -> Result<Times> {
    let went_on = Value::<u32>::open(&tour.seg, "went on")?;
    went_on.set(0)?;
    let mut times = Times::default();
    for round in 1..=KILLS {
        prepare(round)?;
        let arg = round.to_string();
        let victim = start_with(tour, victim, &arg, stage, IN_PLACE)?;
        victim.until_asleep()?;
        let heir_process = start_with(tour, heir, &arg, stage, WAITING)?;
        heir_process.until_asleep()?;
        let began = Instant::now();
        victim.kill()?;
        went_on
            .wait_until_timeout(PATIENCE, |&n| n == round)
            .context(format_args!("waiting for the {heir}"))?;
        times.add(began.elapsed());
        heir_process.finish()?;
    }
    Ok(times)
}
