//! A real job on real files: one process hands out their chunks through a queue, the others lease, map and count them, also while some of
//! them are killed.

use crate::counting::{Chunk, Count, Tally, chunks_of, count_alone, count_with_workers};
use crate::report::{grouped, ms};
use crate::tree::Tree;
use crate::{Result, Tour};
use std::path::Path;
use std::time::Duration;

/// Both ways of counting are tried so often, in turn, and the best time of each is taken. After one that takes longer than
/// `ENOUGH` there is no further try.
const TRIES: u64 = 3;
const ENOUGH: Duration = Duration::from_secs(2);

/// Workers that are killed in mid-chunk.
const KILLS: u64 = 10;

/// A job that one process does in less than this does not pay for starting others.
const SMALL: Duration = Duration::from_millis(20);

pub(crate) fn show(tour: &mut Tour, root: &Path, cores: usize) -> Result<()> {
    tour.report
        .section("2  A real job: the bytes and lines of real files")?;
    tour.report.line(&format!("        {}", root.display()))?;
    let tree = Tree::read(root, &tour.report)?;
    if let Some(limit) = &tree.limit {
        tour.report.line(&format!(
            "        only the first of its files, up to the tour's limit of {limit}"
        ))?;
    }
    if tree.left_out > 0 {
        tour.report.line(&format!(
            "        left out, as unreadable or on another file system: {}",
            grouped(tree.left_out as u64)
        ))?;
    }

    let workers = cores.clamp(2, 8);
    let chunks = chunks_of(&tree.files);
    let (alone, shared) = best_of_tries(tour, &tree, &chunks, workers)?;
    table(tour, &tree.kinds, &shared)?;
    let read = Tally {
        files: tree.files.len() as u64,
        bytes: tree.bytes,
        lines: tree.lines,
    };
    tour.report.check(
        shared.agrees_with(&alone),
        &format!("{workers} processes count as one does"),
        &format!("{} lines", grouped(shared.total.lines)),
    )?;
    tour.report.check(
        alone.total == read,
        "and as plain reads do",
        &format!("{} lines", grouped(read.lines)),
    )?;
    tour.report.figure("one process", &speed(&alone))?;
    tour.report
        .figure(&format!("{workers} processes"), &speed(&shared))?;
    let times = alone.took.as_secs_f64() / shared.took.as_secs_f64();
    tour.report
        .figure("speed-up", &format!("{times:.2} times"))?;
    if alone.took < SMALL {
        tour.report
            .line("        (so small a job does not pay for starting processes)")?;
    }
    count_among_kills(tour, &tree, &chunks, workers, &alone)
}

/// The same once more, while one worker after another is killed in mid-chunk.
fn count_among_kills(
    tour: &mut Tour,
    tree: &Tree,
    chunks: &[Chunk],
    workers: usize,
    alone: &Count,
) -> Result<()> {
    let step = tour
        .report
        .step("the same, with workers killed", tree.bytes)?;
    let progress = |bytes| step.at(bytes);
    let (count, losses) =
        count_with_workers(&tour.seg, "kills", tree, chunks, workers, KILLS, progress)?;
    drop(step);
    tour.report.check(
        count.agrees_with(alone) && (1..=losses.killed).contains(&losses.again),
        "with workers killed in mid-chunk, too",
        &format!(
            "{} lines; {} killed, {} chunks again",
            grouped(count.total.lines),
            losses.killed,
            losses.again
        ),
    )
}

/// The best times of counting alone and with workers. A try that counts otherwise than the one before ends the tries, and
/// is returned.
fn best_of_tries(
    tour: &Tour,
    tree: &Tree,
    chunks: &[Chunk],
    workers: usize,
) -> Result<(Count, Count)> {
    let what = format!("counting {TRIES} times alone and by {workers} processes");
    let step = tour.report.step(&what, 2 * TRIES * tree.bytes)?;
    let mut best: Option<(Count, Count)> = None;
    for round in 0..TRIES {
        let before = 2 * round * tree.bytes;
        let progress = |bytes| step.at(before + bytes);
        let alone = count_alone(tree, chunks, progress)?;
        let progress = |bytes| step.at(before + tree.bytes + bytes);
        let name = round.to_string();
        let (shared, _) = count_with_workers(&tour.seg, &name, tree, chunks, workers, 0, progress)?;

        let enough = alone.took.max(shared.took) > ENOUGH;
        best = match best {
            None => Some((alone, shared)),
            Some((a, s)) if !(alone.agrees_with(&a) && shared.agrees_with(&s)) => {
                return Ok((alone, shared));
            }
            Some((a, s)) => Some((quicker(a, alone), quicker(s, shared))),
        };
        if enough {
            break;
        }
    }
    best.ok_or_else(|| "no try was made".into())
}

fn quicker(a: Count, b: Count) -> Count {
    if a.took < b.took { a } else { b }
}

fn table(tour: &Tour, kinds: &[String], count: &Count) -> Result<()> {
    let row = |kind: &str, files: &str, mb: &str, lines: &str| {
        tour.report
            .line(&format!("        {kind:<16}{files:>10}{mb:>10}{lines:>14}"))
    };
    row("kind", "files", "MB", "lines")?;
    let tallies = kinds.iter().map(String::as_str).zip(&count.by_kind);
    for (kind, tally) in tallies.chain([("all", &count.total)]) {
        if tally.files > 0 {
            row(
                kind,
                &grouped(tally.files),
                &format!("{:.1}", tally.bytes as f64 / 1e6),
                &grouped(tally.lines),
            )?;
        }
    }
    Ok(())
}

fn speed(count: &Count) -> String {
    let seconds = count.took.as_secs_f64();
    format!(
        "{:>7} {:>7} files/s {:>4.0} MB/s",
        ms(count.took),
        grouped((count.total.files as f64 / seconds) as u64),
        count.total.bytes as f64 / 1e6 / seconds
    )
}
