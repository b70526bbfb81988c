//! Where inputs and outcomes go on that are longer than a slot of the board: a file without a name, which is not mapped.
//!
//! Each slot has two parts of the file, so far from each other that no length reaches from one into the next. What is written there takes
//! memory, what lies between does not; the parent gives the memory back when it releases the slot.

use crate::error::{Error, Result};
use crate::sys::memfd;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Bytes from one part to the next: more than a slot's outcomes can be. A file on a 32-bit machine cannot be so long, nor anything in its memory.
const PART: u64 = if cfg!(target_pointer_width = "64") {
    1 << 39
} else {
    1 << 32
};

/// Which of a slot's two streams of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Input = 0,
    Outcomes = 1,
}

#[derive(Debug)]
pub(crate) struct Spill {
    file: File,
}

fn part(index: u32, stream: Stream) -> u64 {
    (2 * u64::from(index) + stream as u64) * PART
}

impl Spill {
    pub(crate) fn new() -> Result<Spill> {
        Ok(Spill::of(memfd::create(c"commonhold-spill")?))
    }

    /// The one whose file this is.
    pub(crate) fn of(file: File) -> Spill {
        Spill { file }
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Writes what comes `at` bytes behind that part of the stream that the slot holds.
    pub(crate) fn write(&self, index: u32, stream: Stream, at: u64, bytes: &[u8]) -> Result<()> {
        let end = at.saturating_add(bytes.len() as u64);
        if end > PART {
            return Err(Error::TooLarge {
                requested: end,
                limit: PART,
            });
        }
        memfd::write_at(&self.file, bytes, part(index, stream) + at).inspect_err(|_| {
            // What of it was written takes memory that is wanted.
            let _ = memfd::punch(&self.file, part(index, stream) + at, PART - at);
        })
    }

    /// `Err(Corrupt)`: nobody wrote so many bytes there, so that it is no reason to make room for them.
    pub(crate) fn check_holds(&self, index: u32, stream: Stream, len: u64) -> Result<()> {
        let at = part(index, stream);
        if len > PART || memfd::data_end(&self.file, at)? < at + len {
            return Err(Error::Corrupt);
        }
        Ok(())
    }

    /// Reads so many bytes behind what is in `bytes`, which has room for them.
    pub(crate) fn read(
        &self,
        index: u32,
        stream: Stream,
        bytes: &mut Vec<u8>,
        len: usize,
    ) -> Result<()> {
        let begin = bytes.len();
        bytes.resize(begin + len, 0);
        self.file
            .read_exact_at(&mut bytes[begin..], part(index, stream))
            // It is shorter than it was.
            .map_err(|_| Error::Corrupt)
    }

    /// Gives the memory of a stream back.
    pub(crate) fn clear(&self, index: u32, stream: Stream) {
        // If it fails the memory is kept until the slot's next task, or the pool's end.
        let _ = memfd::punch(&self.file, part(index, stream), PART);
    }
}

#[cfg(test)]
impl Spill {
    /// Bytes of memory that it takes.
    pub(crate) fn held(&self) -> u64 {
        use std::os::unix::fs::MetadataExt;
        512 * self.file.metadata().unwrap().blocks()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(spill: &Spill, index: u32, stream: Stream, len: usize) -> Result<Vec<u8>> {
        spill.check_holds(index, stream, len as u64)?;
        let mut bytes = Vec::with_capacity(len);
        spill.read(index, stream, &mut bytes, len)?;
        Ok(bytes)
    }

    #[test]
    fn streams_of_different_slots_do_not_meet() {
        let spill = Spill::new().unwrap();
        let last = crate::raw::board::MAX_SLOTS as u32 - 1;
        let all = [0, 1, last].map(|index| [Stream::Input, Stream::Outcomes].map(|s| (index, s)));
        for (i, (index, stream)) in all.into_iter().flatten().enumerate() {
            spill.write(index, stream, 0, &[i as u8; 5000]).unwrap();
            spill.write(index, stream, 5000, &[i as u8; 3]).unwrap();
        }
        for (i, (index, stream)) in all.into_iter().flatten().enumerate() {
            let got = read(&spill, index, stream, 5003).unwrap();
            assert!(got.iter().all(|&b| b == i as u8));
            spill.clear(index, stream);
        }
        assert_eq!(spill.held(), 0);
    }

    #[test]
    fn a_length_that_nobody_wrote_makes_no_room() {
        let spill = Spill::new().unwrap();
        let (at, stream) = (3, Stream::Outcomes);
        let corrupt = |len: u64| matches!(spill.check_holds(at, stream, len), Err(Error::Corrupt));
        assert!(corrupt(1));
        spill.write(at, stream, 0, &[1; 10]).unwrap();
        spill.write(at + 1, stream, 0, &[1; 10]).unwrap();
        assert!(read(&spill, at, stream, 10).is_ok());
        for len in [1 << 20, 1 << 38, PART, PART + 1, u64::MAX] {
            assert!(corrupt(len), "{len}");
        }
        // Long, and without anything in it.
        spill.file.set_len(part(900, stream)).unwrap();
        assert!(corrupt(1 << 20));
    }

    #[test]
    fn what_is_longer_than_its_part_is_refused() {
        let spill = Spill::new().unwrap();
        let written = spill.write(0, Stream::Input, PART - 1, b"xy");
        assert!(matches!(written, Err(Error::TooLarge { .. })));
        assert_eq!(spill.held(), 0);
    }
}
