//! What became of one call of a function, as bytes.
//!
//! A word of eight bytes (what it is, and how many bytes follow), then those. So one that cannot be read does not harm the next one.

use crate::encoding::{decode, encode};
use crate::error::{Error, RemoteBacktrace, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The bytes of the word.
const HEAD: usize = 8;
/// What it is stands in the word's highest byte.
const SHIFT: u32 = 56;

/// The function returned, and this is what.
const VALUE: u64 = 0;
/// It panicked: message, backtrace.
const PANICKED: u64 = 1;
/// Its arguments could not be read: type, reason.
const NOT_DECODABLE: u64 = 2;
/// Its result could not be written: type, reason.
const NOT_ENCODABLE: u64 = 3;
/// The function stands in no code of the executable.
const NOT_IN_EXECUTABLE: u64 = 4;
/// The process runs another executable.
const OTHER_EXECUTABLE: u64 = 5;
/// The operating system refused, with that number: what it was asked.
const REFUSED: u64 = 6;

/// Appends what a function returned.
#[inline]
pub(crate) fn push_value<R: Serialize>(output: &mut Vec<u8>, value: &R) {
    let start = begin(output);
    match encode(value, output) {
        Ok(()) => end(output, start, VALUE),
        Err(e) => {
            output.truncate(start);
            push_error(output, &e);
        }
    }
}

/// Appends why there is no value. Of the errors, those that a process has for its parent.
pub(crate) fn push_error(output: &mut Vec<u8>, error: &Error) {
    let start = begin(output);
    let (what, texts) = match error {
        Error::Panicked { message, backtrace } => (PANICKED, (&**message, &**backtrace)),
        Error::NotDecodable { type_name, reason } => (NOT_DECODABLE, (&**type_name, &**reason)),
        Error::NotEncodable { type_name, reason } => (NOT_ENCODABLE, (&**type_name, &**reason)),
        Error::NotInExecutable => (NOT_IN_EXECUTABLE, ("", "")),
        Error::OtherExecutable => (OTHER_EXECUTABLE, ("", "")),
        other => (REFUSED, (&*other.to_string(), "")),
    };
    encode(&texts, output).expect("two texts can be written");
    end(output, start, what);
}

/// Takes the first of the outcomes. `Err(Corrupt)`, and nothing taken: none stands there.
#[inline]
pub(crate) fn take_outcome<R: DeserializeOwned>(outcomes: &mut &[u8]) -> Result<R> {
    match split(outcomes)? {
        (VALUE, bytes) => decode(bytes),
        (what, bytes) => Err(take_error(what, bytes)?),
    }
}

#[cold]
fn take_error(what: u64, bytes: &[u8]) -> Result<Error> {
    let texts: (String, String) = match what {
        NOT_IN_EXECUTABLE => return Ok(Error::NotInExecutable),
        OTHER_EXECUTABLE => return Ok(Error::OtherExecutable),
        _ => postcard::from_bytes(bytes).map_err(|_| Error::Corrupt)?,
    };
    Ok(match what {
        PANICKED => Error::Panicked {
            message: texts.0,
            backtrace: RemoteBacktrace::new(texts.1),
        },
        NOT_DECODABLE => Error::NotDecodable {
            type_name: texts.0,
            reason: texts.1,
        },
        NOT_ENCODABLE => Error::NotEncodable {
            type_name: texts.0,
            reason: texts.1,
        },
        REFUSED => Error::Io(std::io::Error::other(texts.0)),
        _ => Error::Corrupt,
    })
}

/// Whether the first of the outcomes is what a function returned.
pub(crate) fn is_value(outcomes: &[u8]) -> bool {
    matches!(split(&mut &*outcomes), Ok((VALUE, _)))
}

#[inline]
fn begin(output: &mut Vec<u8>) -> usize {
    let start = output.len();
    output.extend_from_slice(&[0; HEAD]);
    start
}

#[inline]
fn end(output: &mut [u8], start: usize, what: u64) {
    let len = (output.len() - start - HEAD) as u64;
    let head = what << SHIFT | len;
    output[start..start + HEAD].copy_from_slice(&head.to_le_bytes());
}

#[inline]
fn split<'a>(outcomes: &mut &'a [u8]) -> Result<(u64, &'a [u8])> {
    let (head, rest) = outcomes
        .split_first_chunk::<HEAD>()
        .ok_or_else(|| Error::Corrupt)?;
    let head = u64::from_le_bytes(*head);
    let len = usize::try_from(head & ((1 << SHIFT) - 1)).map_err(|_| Error::Corrupt)?;
    let (bytes, rest) = rest.split_at_checked(len).ok_or_else(|| Error::Corrupt)?;
    *outcomes = rest;
    Ok((head >> SHIFT, bytes))
}
