//! Counting the bytes and lines of files: in one process, and by workers that get chunks through a queue.

use crate::Result;
use crate::tree::{FileEntry, KINDS, Tree};
use crate::workers::{Context, PATIENCE, Role, Worker};
use bytemuck::{Pod, Zeroable};
use commonhold::{Array, Error, Queue, Segment, Value};
use std::ffi::OsStr;
use std::fs::File;
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
pub(crate) struct Chunk {
    /// Index into the list of paths.
    file: u32,
    kind: u32,
    offset: u64,
    len: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Pod, Zeroable)]
pub(crate) struct Tally {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) lines: u64,
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
pub(crate) struct Count {
    pub(crate) total: Tally,
    pub(crate) by_kind: ByKind,
    pub(crate) took: Duration,
}

impl Count {
    pub(crate) fn agrees_with(&self, other: &Count) -> bool {
        self.total == other.total && self.by_kind == other.by_kind
    }
}

pub(crate) fn chunks_of(files: &[FileEntry]) -> impl Iterator<Item = Chunk> {
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

/// All chunks in this process, by the same code that the workers run.
pub(crate) fn count_alone(tree: &Tree, chunks: &[Chunk], progress: impl Fn(u64)) -> Result<Count> {
    let began = Instant::now();
    let mut total = Tally::default();
    let mut by_kind = ByKind::default();
    for batch in chunks.chunks(BATCH) {
        for chunk in batch {
            let tally = count(&tree.files[chunk.file as usize].path, chunk)?;
            by_kind[chunk.kind as usize] += tally;
            total += tally;
        }
        progress(total.bytes);
    }
    Ok(Count {
        total,
        by_kind,
        took: began.elapsed(),
    })
}

/// What the processes share.
struct Job {
    /// Each path ends with a NUL, which no path contains.
    paths: Array<u8>,
    chunks: Queue<Chunk>,
    by_kind: Array<Tally>,
    total: Value<Tally>,
}

impl Job {
    fn create(seg: &Segment, round: &str, files: &[FileEntry]) -> Result<Job> {
        let name = |what| format!("{what} {round}");
        let mut paths = Vec::new();
        for file in files {
            paths.extend_from_slice(file.path.as_os_str().as_bytes());
            paths.push(0);
        }
        Ok(Job {
            paths: Array::from_slice(seg, &name("paths"), &paths).context("sharing the paths")?,
            chunks: Queue::create(seg, &name("chunks"), 1024)?,
            by_kind: Array::create(seg, &name("by kind"), KINDS, Tally::default())?,
            total: Value::create(seg, &name("total"), Tally::default())?,
        })
    }

    fn open(seg: &Segment, round: &str) -> Result<Job> {
        let name = |what| format!("{what} {round}");
        Ok(Job {
            paths: Array::open(seg, &name("paths"))?,
            chunks: Queue::open(seg, &name("chunks"))?,
            by_kind: Array::open(seg, &name("by kind"))?,
            total: Value::open(seg, &name("total"))?,
        })
    }
}

/// The same by worker processes. The time includes sharing the paths and starting the workers.
pub(crate) fn count_with_workers(
    seg: &Segment,
    round: &str,
    tree: &Tree,
    chunks: &[Chunk],
    workers: usize,
    progress: impl Fn(u64),
) -> Result<Count> {
    let began = Instant::now();
    let job = Job::create(seg, round, &tree.files)?;
    let mut workers = (0..workers)
        .map(|_| Worker::start(seg.name(), "line-counter", round))
        .collect::<Result<Vec<_>>>()?;

    let mut ahead = chunks;
    while !ahead.is_empty() {
        match job.chunks.send_all_timeout(ahead, TICK) {
            Ok(sent) => ahead = &ahead[sent..],
            Err(Error::Timeout) => {}
            Err(e) => return Err(e.into()),
        }
        workers.iter_mut().try_for_each(Worker::check_running)?;
        progress(job.total.get()?.bytes);
    }
    let done = |total: &Tally| total.bytes >= tree.bytes;
    let total = loop {
        match job.total.wait_until_timeout(TICK, done) {
            Err(Error::Timeout) => workers.iter_mut().try_for_each(Worker::check_running)?,
            other => break other?,
        }
        progress(job.total.get()?.bytes);
    };
    let took = began.elapsed();
    job.chunks.close();
    workers.into_iter().try_for_each(Worker::finish)?;

    let mut by_kind = ByKind::default();
    by_kind.copy_from_slice(&job.by_kind.lock()?);
    Ok(Count {
        total,
        by_kind,
        took,
    })
}

/// The worker: until the queue is closed and drained.
fn count_chunks(seg: &Segment, round: &str) -> Result<()> {
    let job = Job::open(seg, round)?;
    let paths = job.paths.to_vec()?;
    let paths: Vec<&Path> = paths
        .split(|&byte| byte == 0)
        .map(|path| Path::new(OsStr::from_bytes(path)))
        .collect();

    let mut batch = Vec::with_capacity(BATCH);
    loop {
        batch.clear();
        match job.chunks.recv_many_timeout(&mut batch, BATCH, PATIENCE) {
            Err(Error::Closed) => return Ok(()),
            other => other?,
        };
        let mut total = Tally::default();
        let mut by_kind = ByKind::default();
        for chunk in &batch {
            let tally = count(paths[chunk.file as usize], chunk)?;
            by_kind[chunk.kind as usize] += tally;
            total += tally;
        }
        for (shared, mine) in job.by_kind.lock()?.iter_mut().zip(by_kind) {
            *shared += mine;
        }
        // Last: when the total is complete, so is the rest.
        job.total.update(|shared| *shared += total)?;
    }
}

/// Maps one chunk and counts it. Its file counts with its first chunk.
fn count(path: &Path, chunk: &Chunk) -> Result<Tally> {
    let what = || format!("mapping {}", path.display());
    let file = File::open(path).with_context(what)?;
    if file.metadata().with_context(what)?.len() < chunk.offset + chunk.len {
        return Err(format!("{} has become shorter", path.display()).into());
    }
    // SAFETY: mapped for reading only, and the bytes are used as numbers. That nobody changes or truncates the file in this
    // moment cannot be had from the system: whoever runs the tour promises it.
    let map = unsafe {
        memmap2::MmapOptions::new()
            .offset(chunk.offset)
            .len(usize::try_from(chunk.len)?)
            .populate()
            .map(&file)
    };
    Ok(Tally {
        files: u64::from(chunk.offset == 0),
        bytes: chunk.len,
        lines: count_lines(&map.with_context(what)?),
    })
}

/// How many line feeds there are. Sums of single bytes, which can't overflow in so short a stretch, become vector code.
pub(crate) fn count_lines(bytes: &[u8]) -> u64 {
    let is_feed = |&byte: &u8| u8::from(byte == b'\n');
    bytes
        .chunks(192)
        .map(|stretch| u64::from(stretch.iter().map(is_feed).sum::<u8>()))
        .sum()
}
