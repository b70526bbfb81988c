//! What a process finds when it starts: the function that it is to run, the arguments, and room for what becomes of it.
//!
//! A letter is a file without a name, which parent and child alone have, and which is not mapped. The parent writes it before the child is
//! started, the child writes its outcome behind; the parent reads that when the child is dead. So nobody waits for anybody, whatever the
//! size, and there is nothing that a death could leave half-done: the outcome is there once the word `state` says so.
//!
//! | from | bytes |
//! |---|---|
//! | 0 | the head: [`Head::WORDS`] words of eight bytes, little-endian |
//! | [`STATE_AT`] | the word `state` |
//! | [`TEXT_AT`] | the text: [`Text`] |
//! | behind it | the arguments |
//! | behind them | the outcome |

use super::function::Function;
use crate::encoding::{decode, encode};
use crate::error::{Error, Result};
use crate::sys::descriptor::duplicate;
use crate::sys::image::{Checksum, Identity};
use crate::sys::memfd;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::{AtomicBool, Ordering};

/// The first word: "chletter".
const MAGIC: u64 = u64::from_le_bytes(*b"chletter");
const VERSION: u64 = 1;
const STATE_AT: u64 = 8 * Head::WORDS as u64;
const TEXT_AT: u64 = STATE_AT + 8;

/// `state`: the child has not come as far as `init`.
const SENT: u64 = 0;
/// It has.
const BEGUN: u64 = 1;
/// The outcome is there; its length stands above these bits.
const DONE: u64 = 2;
const STATE_BITS: u32 = 2;

/// The part of fixed length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Of the executable that the function stands in.
    pub(super) identity: Identity,
    pub(super) function: Function,
    pub(super) parent: u32,
    pub(super) daemon: bool,
    pub(super) text_len: u64,
    pub(super) args_len: u64,
}

/// The part that has names in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) name: String,
    /// Which child of which child this is, as in "2:1".
    pub(super) lineage: String,
    pub(super) parent_name: String,
    /// Where to run; None: where the parent is.
    pub(super) directory: Option<Vec<u8>>,
    /// The numbers of the descriptors that are handed over.
    pub(super) given: Vec<i32>,
    /// Those of segments.
    pub(super) passed: Vec<i32>,
}

impl Head {
    /// Magic, version, identity, function (2), parent, daemon, two lengths, and a checksum of all before.
    const WORDS: usize = 2 + Identity::WORDS + 2 + 1 + 1 + 2 + 1;

    fn to_bytes(self) -> [u8; 8 * Head::WORDS] {
        let mut bytes = Vec::with_capacity(8 * Head::WORDS);
        let mut push = |word: u64| bytes.extend_from_slice(&word.to_le_bytes());
        push(MAGIC);
        push(VERSION);
        self.identity.0.into_iter().for_each(&mut push);
        let function = self.function.to_bytes();
        bytes.extend_from_slice(&function);
        let mut push = |word: u64| bytes.extend_from_slice(&word.to_le_bytes());
        push(self.parent.into());
        push(self.daemon.into());
        push(self.text_len);
        push(self.args_len);
        let mut sum = Checksum::new();
        sum.add(&bytes);
        bytes.extend_from_slice(&sum.0.to_le_bytes());
        bytes.try_into().expect("as many words as there are")
    }

    /// `Corrupt`: these are no bytes of a letter of this build.
    fn from_bytes(bytes: &[u8; 8 * Head::WORDS]) -> Result<Head> {
        let (front, sum) = bytes.split_last_chunk::<8>().expect("several words");
        let mut expected = Checksum::new();
        expected.add(front);
        let mut words = front
            .chunks_exact(8)
            .map(|w| u64::from_le_bytes(w.try_into().expect("8 bytes")));
        let mut next = || words.next().expect("as many words as were written");
        if next() != MAGIC || next() != VERSION || u64::from_le_bytes(*sum) != expected.0 {
            return Err(Error::Corrupt);
        }
        let identity = Identity(std::array::from_fn(|_| next()));
        let mut function = [0; Function::BYTES];
        function[..8].copy_from_slice(&next().to_le_bytes());
        function[8..].copy_from_slice(&next().to_le_bytes());
        Ok(Head {
            identity,
            function: Function::from_bytes(function),
            parent: u32::try_from(next()).map_err(|_| Error::Corrupt)?,
            daemon: match next() {
                0 => false,
                1 => true,
                _ => return Err(Error::Corrupt),
            },
            text_len: next(),
            args_len: next(),
        })
    }
}

impl Text {
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let parts = (
            &self.name,
            &self.lineage,
            &self.parent_name,
            &self.directory,
            &self.given,
            &self.passed,
        );
        encode(&parts, &mut bytes).expect("texts and numbers can be written");
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Result<Text> {
        let (name, lineage, parent_name, directory, given, passed) =
            decode(bytes).map_err(|_| Error::Corrupt)?;
        Ok(Text {
            name,
            lineage,
            parent_name,
            directory,
            given,
            passed,
        })
    }
}

/// The file.
#[derive(Debug)]
pub(super) struct Letter {
    file: File,
    /// The file's device and inode number: its descriptor may be closed behind our back, and the number be given to another file.
    is: (u64, u64),
    /// Who has it. A child that is forked inherits it, and has nothing to write there.
    process: u32,
    /// Whether it has its outcome, or is just getting it.
    is_answered: AtomicBool,
}

impl Letter {
    /// A new one. The lengths in `head` are filled in.
    pub(super) fn write(mut head: Head, text: &Text, args: &[u8]) -> Result<Letter> {
        // Above standard input, output and error, which may be closed here.
        let file = File::from(duplicate(&memfd::create(c"commonhold-letter")?)?);
        let text = text.to_bytes();
        head.text_len = text.len() as u64;
        head.args_len = args.len() as u64;
        let mut front = head.to_bytes().to_vec();
        front.extend_from_slice(&SENT.to_le_bytes());
        front.extend_from_slice(&text);
        memfd::write_at(&file, &front, 0)?;
        memfd::write_at(&file, args, front.len() as u64)?;
        Letter::of(file)
    }

    /// One that was inherited. An error: it is no file that only a process of this user can have written.
    pub(super) fn from_fd(fd: OwnedFd) -> Result<Letter> {
        let file = File::from(fd);
        if !memfd::is_own(&file)? {
            return Err(Error::Io(io::Error::other(
                "the descriptor that it was to get is another file's, or another user's",
            )));
        }
        Letter::of(file)
    }

    fn of(file: File) -> Result<Letter> {
        let status = file.metadata()?;
        Ok(Letter {
            is: (status.dev(), status.ino()),
            file,
            process: std::process::id(),
            is_answered: AtomicBool::new(false),
        })
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    pub(super) fn head(&self) -> Result<Head> {
        let mut bytes = [0; 8 * Head::WORDS];
        self.file
            .read_exact_at(&mut bytes, 0)
            .map_err(|_| Error::Corrupt)?;
        Head::from_bytes(&bytes)
    }

    pub(super) fn text(&self, head: &Head) -> Result<Text> {
        Text::from_bytes(&memfd::read_at(&self.file, head.text_len, TEXT_AT)?)
    }

    pub(super) fn args(&self, head: &Head) -> Result<Vec<u8>> {
        memfd::read_at(&self.file, head.args_len, args_at(head)?)
    }

    /// By the child: it has come as far as `init`.
    pub(super) fn begin(&self) -> Result<()> {
        self.set_state(BEGUN)
    }

    /// By the child: what became of its function. The first answer counts: a thread may panic (and say so) while the process ends. A child that
    /// this one forked has nothing to answer.
    pub(super) fn answer(&self, head: &Head, outcome: &[u8]) -> Result<()> {
        if std::process::id() != self.process || self.is_answered.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        self.write_outcome(head, outcome)
            // There may be room for a shorter one.
            .inspect_err(|_| self.is_answered.store(false, Ordering::Relaxed))
    }

    fn write_outcome(&self, head: &Head, outcome: &[u8]) -> Result<()> {
        let status = self.file.metadata()?;
        if (status.dev(), status.ino()) != self.is {
            return Err(Error::Io(io::Error::other(
                "its function closed a descriptor that was not its own",
            )));
        }
        memfd::write_at(&self.file, outcome, outcome_at(head)?)?;
        self.set_state((outcome.len() as u64) << STATE_BITS | DONE)
    }

    /// By the parent, when the child is dead: what became of its function. `Err`: it left none, and whether it had begun.
    pub(super) fn outcome(&self) -> Result<Result<Vec<u8>, HasBegun>> {
        let state = self.state()?;
        let len = state >> STATE_BITS;
        match state & ((1 << STATE_BITS) - 1) {
            SENT => Ok(Err(HasBegun(false))),
            DONE => {
                let head = self.head()?;
                Ok(Ok(memfd::read_at(&self.file, len, outcome_at(&head)?)?))
            }
            _ => Ok(Err(HasBegun(true))),
        }
    }

    fn state(&self) -> Result<u64> {
        let mut state = [0; 8];
        self.file
            .read_exact_at(&mut state, STATE_AT)
            .map_err(|_| Error::Corrupt)?;
        Ok(u64::from_le_bytes(state))
    }

    fn set_state(&self, state: u64) -> Result<()> {
        memfd::write_at(&self.file, &state.to_le_bytes(), STATE_AT)
    }
}

/// Whether a child that left no outcome had come as far as `init`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HasBegun(pub(super) bool);

fn args_at(head: &Head) -> Result<u64> {
    TEXT_AT
        .checked_add(head.text_len)
        .ok_or_else(|| Error::Corrupt)
}

fn outcome_at(head: &Head) -> Result<u64> {
    args_at(head)?
        .checked_add(head.args_len)
        .ok_or_else(|| Error::Corrupt)
}

#[cfg(test)]
mod tests;
