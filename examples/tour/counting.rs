//! Counting the lines of files: in one process, and by workers that lease chunks from a queue.
//!
//! A chunk whose worker is killed is delivered again, and may then be counted twice. So the workers add nothing up: each chunk has a word of its
//! own for its lines, and to write the same number there twice does no harm.

use crate::Result;
use crate::tree::{FileEntry, KINDS, Tree};
use crate::workers::{Context, PATIENCE, Role, Worker, poll, stay};
use bytemuck::{Pod, Zeroable};
use commonhold::{Array, Atomics, Error, Queue, Segment};
use std::ffi::OsStr;
use std::fs::File;
use std::ops::AddAssign;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub(crate) const ROLES: &[(&str, Role)] = &[
    ("line-counter", count_chunks),
    ("doomed-counter", hold_a_chunk),
];

/// Big files are counted in pieces of this size, so that they keep all workers busy.
const CHUNK: u64 = 1 << 20;
/// How often the progress bar moves, how soon a worker that ended early is noticed, and the doomed one killed.
const TICK: Duration = Duration::from_millis(20);

/// A piece of work, as it goes through the queue.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Chunk {
    /// Index into the list of paths.
    file: u32,
    /// Which of all chunks it is.
    index: u32,
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
    /// From the lines of each chunk. A file counts with its first chunk.
    fn new(tree: &Tree, chunks: &[Chunk], lines: &[u64], began: Instant) -> Count {
        let took = began.elapsed();
        let mut total = Tally::default();
        let mut by_kind = ByKind::default();
        for (chunk, &lines) in chunks.iter().zip(lines) {
            let tally = Tally {
                files: u64::from(chunk.offset == 0),
                bytes: chunk.len,
                lines,
            };
            by_kind[tree.files[chunk.file as usize].kind] += tally;
            total += tally;
        }
        Count {
            total,
            by_kind,
            took,
        }
    }

    pub(crate) fn agrees_with(&self, other: &Count) -> bool {
        self.total == other.total && self.by_kind == other.by_kind
    }
}

pub(crate) fn chunks_of(files: &[FileEntry]) -> Vec<Chunk> {
    let pieces = files.iter().zip(0..).flat_map(|(file, index)| {
        let offsets = (0..file.len).step_by(CHUNK as usize);
        offsets.map(move |offset| (index, offset, CHUNK.min(file.len - offset)))
    });
    let chunk = |((file, offset, len), index)| Chunk {
        file,
        index,
        offset,
        len,
    };
    pieces.zip(0..).map(chunk).collect()
}

/// All chunks in this process, by the same code that the workers run.
pub(crate) fn count_alone(tree: &Tree, chunks: &[Chunk], progress: impl Fn(u64)) -> Result<Count> {
    let began = Instant::now();
    let mut bytes = 0;
    let mut lines = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        lines.push(count(&tree.files[chunk.file as usize].path, chunk)?);
        bytes += chunk.len;
        progress(bytes);
    }
    Ok(Count::new(tree, chunks, &lines, began))
}

/// What the processes share.
struct Job {
    /// Each path ends with a NUL, which no path contains.
    paths: Array<u8>,
    chunks: Queue<Chunk>,
    /// The lines of each chunk, and 1; 0 until they are counted.
    lines: Atomics<AtomicU64>,
    happened: Atomics<AtomicU64>,
}

/// Indexes into what happened: how many chunks were delivered again, and how many are in the hands of the doomed.
const AGAIN: usize = 0;
const DOOMED: usize = 1;

impl Job {
    fn create(seg: &Segment, round: &str, files: &[FileEntry], chunks: usize) -> Result<Job> {
        let name = |what| format!("{what} {round}");
        let mut paths = Vec::new();
        for file in files {
            paths.extend_from_slice(file.path.as_os_str().as_bytes());
            paths.push(0);
        }
        Ok(Job {
            paths: Array::from_slice(seg, &name("paths"), &paths).context("sharing the paths")?,
            chunks: Queue::create(seg, &name("chunks"), 1024)?,
            lines: Atomics::create(seg, &name("lines"), chunks)?,
            happened: Atomics::create(seg, &name("happened"), 2)?,
        })
    }

    fn open(seg: &Segment, round: &str) -> Result<Job> {
        let name = |what| format!("{what} {round}");
        Ok(Job {
            paths: Array::open(seg, &name("paths"))?,
            chunks: Queue::open(seg, &name("chunks"))?,
            lines: Atomics::open(seg, &name("lines"))?,
            happened: Atomics::open(seg, &name("happened"))?,
        })
    }
}

/// The same by worker processes. The time includes sharing the paths and starting the workers. `to_kill` of them are killed in mid-chunk, one
/// after another, and for each another one is started. How many were, and how many chunks were delivered again, is the second answer.
pub(crate) fn count_with_workers(
    seg: &Segment,
    round: &str,
    tree: &Tree,
    chunks: &[Chunk],
    workers: usize,
    to_kill: u64,
    progress: impl Fn(u64),
) -> Result<(Count, Losses)> {
    let began = Instant::now();
    let job = Job::create(seg, round, &tree.files, chunks.len())?;
    let mut ahead = &chunks[job.chunks.try_send_all(chunks)?..];
    let mut crew = Crew::start(seg, round, &job, workers, to_kill)?;
    let done = |ahead: &[Chunk]| {
        let counted = chunks.len() - ahead.len() - job.chunks.len();
        progress(chunks[..counted].iter().map(|c| c.len).sum())
    };
    while !ahead.is_empty() {
        match job.chunks.send_all_timeout(ahead, TICK) {
            Ok(sent) => ahead = &ahead[sent..],
            Err(Error::Timeout) => {}
            Err(e) => return Err(e.into()),
        }
        crew.look_after(&job)?;
        done(ahead);
    }
    while let Err(e) = job.chunks.join_timeout(TICK) {
        if !matches!(e, Error::Timeout) {
            return Err(e.into());
        }
        crew.look_after(&job)?;
        done(ahead);
    }
    let lines: Option<Vec<u64>> = job
        .lines
        .iter()
        .map(|lines| lines.load(Ordering::Relaxed).checked_sub(1))
        .collect();
    let lines = lines.ok_or("a chunk was completed and not counted")?;
    let count = Count::new(tree, chunks, &lines, began);
    job.chunks.close();
    let killed = crew.finish()?;
    let again = job.happened[AGAIN].load(Ordering::Relaxed);
    Ok((count, Losses { killed, again }))
}

/// What became of a count in which workers are killed.
#[derive(Clone, Copy)]
pub(crate) struct Losses {
    /// Workers killed, each with a chunk in its hands.
    pub(crate) killed: u64,
    /// Chunks that were delivered again.
    pub(crate) again: u64,
}

/// The workers, of which one is doomed until enough of them were killed.
struct Crew<'a> {
    seg: &'a Segment,
    round: &'a str,
    sound: Vec<Worker>,
    doomed: Option<Worker>,
    killed: u64,
    to_kill: u64,
}

impl<'a> Crew<'a> {
    fn start(
        seg: &'a Segment,
        round: &'a str,
        job: &Job,
        workers: usize,
        to_kill: u64,
    ) -> Result<Crew<'a>> {
        let mut crew = Crew {
            seg,
            round,
            sound: Vec::new(),
            doomed: None,
            killed: 0,
            to_kill,
        };
        if to_kill > 0 {
            // The first by itself: however small the job is, it gets a chunk.
            crew.replace()?;
            poll("the first chunk's lease", || {
                Ok(crew.doomed_holds_one(job).then_some(()))
            })?;
        }
        while crew.sound.len() + usize::from(to_kill > 0) < workers {
            crew.sound.push(crew.another("line-counter")?);
        }
        Ok(crew)
    }

    fn another(&self, role: &str) -> Result<Worker> {
        Worker::start(self.seg.name(), role, self.round)
    }

    /// Starts the one that comes after the last that was killed.
    fn replace(&mut self) -> Result<()> {
        if self.killed < self.to_kill {
            self.doomed = Some(self.another("doomed-counter")?);
        } else {
            self.sound.push(self.another("line-counter")?);
        }
        Ok(())
    }

    fn doomed_holds_one(&self, job: &Job) -> bool {
        job.happened[DOOMED].load(Ordering::Acquire) > self.killed
    }

    /// Kills the doomed one if it has a chunk, and sees that the others are at work.
    fn look_after(&mut self, job: &Job) -> Result<()> {
        if self.doomed_holds_one(job)
            && let Some(doomed) = self.doomed.take()
        {
            doomed.kill()?;
            self.killed += 1;
            self.replace()?;
        }
        self.sound.iter_mut().try_for_each(Worker::check_running)
    }

    /// Waits until all have ended, after the queue was closed; how many were killed.
    fn finish(self) -> Result<u64> {
        let mut all = self.sound.into_iter().chain(self.doomed);
        all.try_for_each(Worker::finish)?;
        Ok(self.killed)
    }
}

/// The worker: until the queue is closed and drained.
fn count_chunks(seg: &Segment, round: &str) -> Result<()> {
    let job = Job::open(seg, round)?;
    let paths = job.paths.to_vec()?;
    let paths: Vec<&Path> = paths
        .split(|&byte| byte == 0)
        .map(|path| Path::new(OsStr::from_bytes(path)))
        .collect();
    loop {
        let chunk = match job.chunks.lease_timeout(PATIENCE) {
            Err(Error::Closed) => return Ok(()),
            other => other?,
        };
        let lines = count(paths[chunk.file as usize], &chunk)?;
        // Before the lease is completed: who is killed in between leaves a chunk that is counted twice, to the same number.
        job.lines[chunk.index as usize].store(lines + 1, Ordering::Relaxed);
        if chunk.redelivered() {
            job.happened[AGAIN].fetch_add(1, Ordering::Relaxed);
        }
        chunk.complete()?;
    }
}

/// The worker that is killed in mid-chunk.
fn hold_a_chunk(seg: &Segment, round: &str) -> Result<()> {
    let job = Job::open(seg, round)?;
    match job.chunks.lease_timeout(PATIENCE) {
        Err(Error::Closed) => Ok(()),
        lease => {
            let _in_hand = lease?;
            job.happened[DOOMED].fetch_add(1, Ordering::Release);
            stay()
        }
    }
}

/// Maps one chunk and counts its lines.
fn count(path: &Path, chunk: &Chunk) -> Result<u64> {
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
    Ok(count_lines(&map.with_context(what)?))
}

/// How many line feeds there are. Sums of single bytes, which can't overflow in so short a stretch, become vector code.
pub(crate) fn count_lines(bytes: &[u8]) -> u64 {
    let is_feed = |&byte: &u8| u8::from(byte == b'\n');
    bytes
        .chunks(192)
        .map(|stretch| u64::from(stretch.iter().map(is_feed).sum::<u8>()))
        .sum()
}
