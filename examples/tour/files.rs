//! A real job on real files: one process hands out their chunks through a queue, the others map and count them.

use crate::report::grouped;
use crate::tree::{self, FileEntry, KINDS, Tree};
use crate::workers::{Context, PATIENCE, Role, Worker};
use crate::{Result, Tour};
use bytemuck::{Pod, Zeroable};
use commonhold::{Array, Error, Queue, Segment, Value};
use std::ffi::OsStr;
use std::ops::AddAssign;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

pub(crate) const ROLES: &[(&str, Role)] = &[("line-counter", count_chunks)];

/// Big files are counted in pieces of this size, so that they keep all workers busy.
const CHUNK: u64 = 1 << 20;
/// How many chunks a worker takes at once, and in one step adds to the shared counts.
const BATCH: usize = 16;
/// How often the progress bar moves, and how soon a worker that ended early is noticed.
const TICK: Duration = Duration::from_millis(100);

/// A piece of work, as it goes through the queue.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Chunk {
    /// Index into the list of paths.
    file: u32,
    kind: u32,
    offset: u64,
    len: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Pod, Zeroable)]
struct Tally {
    files: u64,
    bytes: u64,
    lines: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.files += other.files;
        self.bytes += other.bytes;
        self.lines += other.lines;
    }
}

type ByKind = [Tally; KINDS];

/// What one way of counting came to.
struct Count {
    total: Tally,
    by_kind: ByKind,
    took: Duration,
}

pub(crate) fn show(tour: &mut Tour, root: &Path, cores: usize) -> Result<()> {
    tour.report
        .section("2  A real job: the bytes and lines of real files")?;
    tour.report.line(&format!("        {}", root.display()))?;
    let tree = Tree::read(root, &tour.report)?;
    tell_of(&tree, tour)?;

    let chunks: Vec<Chunk> = chunks_of(&tree.files).collect();
    let alone = count_alone(tour, &tree, &chunks)?;
    let workers = cores.clamp(2, 8);
    let shared = count_with_workers(tour, &tree, &chunks, workers)?;

    table(tour, &tree.kinds, &shared)?;
    let read = Tally {
        files: tree.files.len() as u64,
        bytes: tree.bytes,
        lines: tree.lines,
    };
    tour.report.check(
        shared.total == alone.total && shared.by_kind == alone.by_kind,
        &format!("{workers} processes count what one process counts"),
        &format!("{} lines", grouped(shared.total.lines)),
    )?;
    tour.report.check(
        alone.total == read,
        "and what plain reads counted",
        &format!("{} lines", grouped(read.lines)),
    )?;
    tour.report.figure("one process", &speed(&alone))?;
    tour.report
        .figure(&format!("{workers} processes"), &speed(&shared))?;
    let times = alone.took.as_secs_f64() / shared.took.as_secs_f64();
    tour.report.figure("speed-up", &format!("{times:.2} times"))
}

fn tell_of(tree: &Tree, tour: &Tour) -> Result<()> {
    tour.report.line(&format!(
        "        {} files, {:.0} MB",
        grouped(tree.files.len() as u64),
        tree.bytes as f64 / 1e6
    ))?;
    if let Some(limit) = &tree.limit {
        tour.report.line(&format!(
            "        there may be more: the tour stopped at its limit of {limit}"
        ))?;
    }
    if tree.unreadable > 0 {
        tour.report.line(&format!(
            "        left out, as they could not be read: {}",
            grouped(tree.unreadable as u64)
        ))?;
    }
    Ok(())
}

fn chunks_of(files: &[FileEntry]) -> impl Iterator<Item = Chunk> {
    files.iter().zip(0..).flat_map(|(file, index)| {
        (0..file.len)
            .step_by(CHUNK as usize)
            .map(move |offset| Chunk {
                file: index,
                kind: file.kind as u32,
                offset,
                len: CHUNK.min(file.len - offset),
            })
    })
}

/// Counts one chunk. Its file counts with its first chunk.
fn count(path: &Path, chunk: &Chunk) -> Result<Tally> {
    Ok(Tally {
        files: u64::from(chunk.offset == 0),
        bytes: chunk.len,
        lines: tree::count_lines_mapped(path, chunk.offset, chunk.len)?,
    })
}

/// All chunks in this process, by the same code that the workers run.
fn count_alone(tour: &Tour, tree: &Tree, chunks: &[Chunk]) -> Result<Count> {
    let step = tour.report.step("counting in one process", tree.bytes)?;
    let began = Instant::now();
    let mut total = Tally::default();
    let mut by_kind = ByKind::default();
    for batch in chunks.chunks(BATCH) {
        for chunk in batch {
            let tally = count(&tree.files[chunk.file as usize].path, chunk)?;
            by_kind[chunk.kind as usize] += tally;
            total += tally;
        }
        step.at(total.bytes);
    }
    Ok(Count {
        total,
        by_kind,
        took: began.elapsed(),
    })
}

/// The same by worker processes. The time includes starting them.
fn count_with_workers(tour: &Tour, tree: &Tree, chunks: &[Chunk], workers: usize) -> Result<Count> {
    let what = format!("counting in {workers} processes");
    let step = tour.report.step(&what, tree.bytes)?;
    let seg = &*tour.seg;
    let began = Instant::now();
    // Each path ends with a NUL, which no path contains.
    let mut paths = Vec::new();
    for file in &tree.files {
        paths.extend_from_slice(file.path.as_os_str().as_bytes());
        paths.push(0);
    }
    Array::from_slice(seg, "paths", &paths).context("sharing the paths")?;
    let queue = Queue::<Chunk>::create(seg, "chunks", 1024)?;
    let by_kind = Array::create(seg, "by kind", KINDS, Tally::default())?;
    let total = Value::create(seg, "total", Tally::default())?;
    let mut workers = (0..workers)
        .map(|_| Worker::start(seg.name(), "line-counter", ""))
        .collect::<Result<Vec<_>>>()?;

    let mut ahead = chunks;
    while !ahead.is_empty() {
        match queue.send_all_timeout(ahead, TICK) {
            Ok(sent) => ahead = &ahead[sent..],
            Err(Error::Timeout) => {}
            Err(e) => return Err(e.into()),
        }
        workers.iter_mut().try_for_each(Worker::check_running)?;
        step.at(total.get()?.bytes);
    }
    let total = loop {
        match total.wait_until_timeout(TICK, |total| total.bytes >= tree.bytes) {
            Err(Error::Timeout) => workers.iter_mut().try_for_each(Worker::check_running)?,
            other => break other?,
        }
        step.at(total.get()?.bytes);
    };
    let took = began.elapsed();
    queue.close();
    workers.into_iter().try_for_each(Worker::finish)?;

    let mut kinds = ByKind::default();
    kinds.copy_from_slice(&by_kind.lock()?);
    Ok(Count {
        total,
        by_kind: kinds,
        took,
    })
}

/// The worker: until the queue is closed and drained.
fn count_chunks(seg: &Segment, _: &str) -> Result<()> {
    let paths = Array::<u8>::open(seg, "paths")?.to_vec()?;
    let paths: Vec<&Path> = paths
        .split(|&byte| byte == 0)
        .map(|path| Path::new(OsStr::from_bytes(path)))
        .collect();
    let queue = Queue::<Chunk>::open(seg, "chunks")?;
    let by_kind = Array::<Tally>::open(seg, "by kind")?;
    let total = Value::<Tally>::open(seg, "total")?;

    let mut batch = Vec::with_capacity(BATCH);
    loop {
        batch.clear();
        match queue.recv_many_timeout(&mut batch, BATCH, PATIENCE) {
            Err(Error::Closed) => return Ok(()),
            other => other?,
        };
        let mut batch_total = Tally::default();
        let mut batch_by_kind = ByKind::default();
        for chunk in &batch {
            let tally = count(paths[chunk.file as usize], chunk)?;
            batch_by_kind[chunk.kind as usize] += tally;
            batch_total += tally;
        }
        for (shared, mine) in by_kind.lock()?.iter_mut().zip(batch_by_kind) {
            *shared += mine;
        }
        // Last: when the total is complete, so is the rest.
        total.update(|total| *total += batch_total)?;
    }
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
        "{seconds:.2} s  {:>7} files/s  {:>6.0} MB/s",
        grouped((count.total.files as f64 / seconds) as u64),
        count.total.bytes as f64 / 1e6 / seconds
    )
}
