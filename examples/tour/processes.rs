//! Plain functions in processes of their own: one, and a pool whose workers are killed under way.

use crate::report::{grouped, ms};
use crate::{Result, Tour};
use commonhold::process::{Pool, Process, active_children};
use std::time::{Duration, Instant};

const NUMBERS: u64 = 4_000;
const FROM: u64 = 100_000_000_000;
const KILLS: u64 = 10;
const STARTS: usize = 20;

fn smallest_factor(n: u64) -> u64 {
    (2..)
        .take_while(|d| d * d <= n)
        .find(|d| n % d == 0)
        .unwrap_or(n)
}

fn shout(what: String) -> String {
    what.to_uppercase()
}

fn divide((a, b): (u32, u32)) -> u32 {
    a / b
}

pub(crate) fn show(tour: &mut Tour, cores: usize) -> Result<()> {
    tour.report
        .section("3  Processes and pools: plain functions, run by this program, started again")?;
    one(tour)?;
    pool(tour, cores)
}

fn one(tour: &mut Tour) -> Result<()> {
    let mut took = Vec::new();
    let mut right = true;
    for _ in 0..STARTS {
        let start = Instant::now();
        let child = Process::spawn(shout, "plain functions".to_owned())?;
        right &= child.join()? == "PLAIN FUNCTIONS";
        took.push(start.elapsed());
    }
    took.sort();
    let found = format!(
        "start and join {}, the median of {STARTS}",
        ms(took[STARTS / 2])
    );
    tour.report
        .check(right, "a String there, a String back", &found)?;

    let outcome = Process::builder(divide, (1, 0))
        .stderr(commonhold::process::Stdio::null())
        .spawn()?
        .join();
    let (right, found) = match outcome {
        Ok(n) => (false, n.to_string()),
        Err(e) => {
            let text = e.to_string();
            let line = text.lines().next().unwrap_or_default().to_owned();
            (text.contains("divide by zero"), line)
        }
    };
    tour.report
        .check(right, "a panic there is an error here", &shortened(&found))
}

fn pool(tour: &mut Tour, cores: usize) -> Result<()> {
    let numbers = FROM..FROM + NUMBERS;
    let start = Instant::now();
    let expected: u64 = numbers.clone().map(smallest_factor).sum();
    let alone = start.elapsed();

    // Who is killed over a number costs it one more try.
    let pool = Pool::builder()
        .workers(cores)
        .retries(KILLS as u32)
        .build()?;
    let start = Instant::now();
    let factors = pool.map(smallest_factor, numbers.clone())?;
    let pooled = start.elapsed();
    let right = factors.iter().sum::<u64>() == expected;
    let speed_up = alone.as_secs_f64() / pooled.max(Duration::from_nanos(1)).as_secs_f64();
    let found = format!("{}, one process {}: {speed_up:.2} x", ms(pooled), ms(alone));
    let what = format!("factors of {} numbers, {cores} workers", grouped(NUMBERS));
    tour.report.check(right, &what, &found)?;

    let (mut sum, mut killed) = (0, 0);
    for (n, factor) in (1..).zip(pool.imap(smallest_factor, numbers)) {
        sum += factor?;
        if n % (NUMBERS / (KILLS + 1)) == 0 && killed < KILLS {
            let workers = pool.pids();
            let victim = workers[killed as usize % workers.len()];
            for worker in active_children()
                .into_iter()
                .filter(|child| child.pid() == victim)
            {
                worker.kill()?;
                killed += 1;
            }
        }
    }
    pool.close();
    pool.join()?;
    let found = format!("{killed} workers killed and replaced, each result came once");
    tour.report.check(
        sum == expected && killed == KILLS,
        "the same, under fire",
        &found,
    )
}

fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(60).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
