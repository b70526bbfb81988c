//! A function as sixteen bytes that another process of the same executable finds it by.
//!
//! Such a process has the executable elsewhere in memory, but the same code at the same offset from its beginning. So a function is two
//! offsets: of itself, and of [`enter`] for its types, by which any function is called in the same way.
//!
//! Whoever can write these bytes decides which code is run. So they stand where their maker alone can write, and never in memory that is mapped
//! shared; both offsets are checked to lie in the executable's code before they become addresses.

use super::call::{Call, Erased};
use super::outcome::{push_error, push_value};
use super::panics;
use crate::encoding::take;
use crate::error::{Error, Result};
use crate::sys::image::Image;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;

/// A function, for processes of this executable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Function {
    /// Where `enter` stands, for the function's type.
    enter: u64,
    /// Where the function stands.
    f: u64,
}

/// What all instances of [`enter`] are.
type Enter = unsafe fn(Erased, &mut &[u8], &mut Vec<u8>);

impl Function {
    pub(crate) const BYTES: usize = 16;

    /// `Err(NotInExecutable)`: it stands in a shared library, say.
    pub(crate) fn of<C: Call>(f: C) -> Result<Function>
    where
        C::Args: DeserializeOwned,
        C::Output: Serialize,
    {
        let image = Image::of_this_process().ok_or(Error::NotInExecutable)?;
        let offset = |address: usize| image.offset_of(address).ok_or(Error::NotInExecutable);
        Ok(Function {
            enter: offset(enter::<C> as Enter as usize)?,
            f: offset(f.erase() as usize)?,
        })
    }

    /// What it is in this process. `Err(NotInExecutable)`: these are no offsets of code.
    ///
    /// # Safety
    /// The bytes must be what [`to_bytes`](Self::to_bytes) gave in a process of the same executable.
    pub(crate) unsafe fn resolve(self) -> Result<Entry> {
        let image = Image::of_this_process().ok_or(Error::NotInExecutable)?;
        let address = |offset: u64| {
            let address = image.address_of(offset).ok_or(Error::NotInExecutable)?;
            Ok::<_, Error>(std::ptr::with_exposed_provenance::<()>(address))
        };
        // SAFETY: code of this executable stands there; the caller vouches that it is the one that `of` had.
        unsafe {
            Ok(Entry {
                enter: std::mem::transmute::<*const (), Enter>(address(self.enter)?),
                f: std::mem::transmute::<*const (), Erased>(address(self.f)?),
            })
        }
    }

    pub(crate) fn to_bytes(self) -> [u8; Function::BYTES] {
        let mut bytes = [0; Function::BYTES];
        bytes[..8].copy_from_slice(&self.enter.to_le_bytes());
        bytes[8..].copy_from_slice(&self.f.to_le_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: [u8; Function::BYTES]) -> Function {
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        Function {
            enter: word(0),
            f: word(8),
        }
    }
}

/// A function of this process that takes its argument as bytes.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    enter: Enter,
    f: Erased,
}

impl Entry {
    /// Takes an argument from the front of `input`, calls the function with it and appends what became of it to `output`: a value, a panic, or
    /// that the argument could not be read (then all of `input` is taken, since nobody knows where the next one begins).
    pub(crate) fn call(self, input: &mut &[u8], output: &mut Vec<u8>) {
        // SAFETY: `resolve` made the pair of what `of` had put together.
        unsafe { (self.enter)(self.f, input, output) }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Entry").field(&(self.f as usize)).finish()
    }
}

/// # Safety
/// `f` must be a `C`.
unsafe fn enter<C: Call>(f: Erased, input: &mut &[u8], output: &mut Vec<u8>)
where
    C::Args: DeserializeOwned,
    C::Output: Serialize,
{
    // SAFETY: the caller vouches for the type.
    let f = unsafe { C::restore(f) };
    let start = output.len();
    // Nothing is left of it unless an argument was read: that may fail, or panic.
    let mut rest = std::mem::take(input);
    let ran = panics::catch(|| match take(&mut rest) {
        Ok(args) => {
            *input = rest;
            push_value(output, &f.call(args));
        }
        Err(e) => push_error(output, &e),
    });
    if let Err(panic) = ran {
        output.truncate(start);
        push_error(output, &panic);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::outcome::take_outcome;

    fn entry_of<A, R>(f: fn(A) -> R) -> Entry
    where
        A: DeserializeOwned + 'static,
        R: Serialize + 'static,
    {
        let bytes = Function::of(f).unwrap().to_bytes();
        // SAFETY: made above, in this process.
        unsafe { Function::from_bytes(bytes).resolve() }.unwrap()
    }

    #[test]
    fn arguments_are_taken_one_after_another_and_each_has_its_outcome() {
        let entry = entry_of(|n: u32| 100 / n);
        let mut input = Vec::new();
        for n in [1u32, 0, 50] {
            crate::encoding::encode(&n, &mut input).unwrap();
        }
        let mut outcomes = Vec::new();
        let mut items = &input[..];
        for _ in 0..3 {
            entry.call(&mut items, &mut outcomes);
        }
        assert!(items.is_empty());
        let mut rest = &outcomes[..];
        assert_eq!(take_outcome::<u32>(&mut rest).unwrap(), 100);
        let e = take_outcome::<u32>(&mut rest).unwrap_err();
        assert!(matches!(e, Error::Panicked { .. }), "{e}");
        assert_eq!(take_outcome::<u32>(&mut rest).unwrap(), 2);
        assert!(matches!(
            take_outcome::<u32>(&mut rest),
            Err(Error::Corrupt)
        ));
    }

    #[test]
    fn an_argument_that_cannot_be_read_is_an_outcome_and_takes_what_is_left() {
        let entry = entry_of(|text: String| text.len());
        let mut outcomes = Vec::new();
        let mut input: &[u8] = &[200, b'a', b'b'];
        entry.call(&mut input, &mut outcomes);
        assert!(input.is_empty());
        let e = take_outcome::<usize>(&mut &outcomes[..]).unwrap_err();
        assert!(matches!(e, Error::NotDecodable { .. }), "{e}");
    }

    /// Can't be read: it panics instead.
    #[derive(Debug)]
    struct Rude;

    impl<'de> serde::Deserialize<'de> for Rude {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let n = u32::deserialize(deserializer)?;
            panic!("nobody reads {n}")
        }
    }

    #[test]
    fn an_argument_whose_reading_panics_is_an_outcome_and_takes_what_is_left() {
        let entry = entry_of(|_: Rude| ());
        let mut outcomes = Vec::new();
        let mut input: &[u8] = &[1, 2];
        entry.call(&mut input, &mut outcomes);
        assert!(input.is_empty(), "{input:?}");
        let e = take_outcome::<()>(&mut &outcomes[..]).unwrap_err();
        assert!(matches!(e, Error::Panicked { .. }), "{e}");
    }

    #[test]
    fn an_outcome_that_cannot_be_read_does_not_harm_the_next_one() {
        let entry = entry_of(|n: u32| n);
        let mut outcomes = Vec::new();
        let mut input: &[u8] = &[200, 3, 4];
        entry.call(&mut input, &mut outcomes);
        entry.call(&mut input, &mut outcomes);
        let mut rest = &outcomes[..];
        let e = take_outcome::<bool>(&mut rest).unwrap_err();
        assert!(matches!(e, Error::NotDecodable { .. }), "{e}");
        assert_eq!(take_outcome::<u32>(&mut rest).unwrap(), 4);
    }

    #[test]
    fn offsets_of_no_code_are_refused() {
        let good = Function::of((|n| n) as fn(u32) -> u32).unwrap();
        for bad in [u64::MAX, 0, 1 << 40, i64::MAX as u64] {
            for f in [Function { enter: bad, ..good }, Function { f: bad, ..good }] {
                // SAFETY: what is looked up is not called.
                let e = unsafe { f.resolve() }.unwrap_err();
                assert!(matches!(e, Error::NotInExecutable), "{f:?}: {e}");
            }
        }
    }
}
