//! Which function a task wants: an index into a file that the parent alone writes, and nobody maps.
//!
//! An index that somebody scribbled is one of another function, or of none. So no bytes of shared memory ever become an address.

use crate::error::{Error, Result};
use crate::sys::memfd;
use std::collections::HashMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

/// A function as its bytes.
pub(crate) type Bytes = [u8; 16];

/// The file, as the parent has it.
#[derive(Debug)]
pub(crate) struct Functions {
    file: File,
    known: HashMap<Bytes, u32>,
}

impl Functions {
    pub(crate) fn new() -> Result<Functions> {
        Ok(Functions {
            file: memfd::create(c"commonhold-functions")?,
            known: HashMap::new(),
        })
    }

    /// A descriptor for the workers: they may read.
    pub(crate) fn for_workers(&self) -> Result<OwnedFd> {
        Ok(memfd::reopen_for_reading(&self.file)?.into())
    }

    /// The function's index. Once it is known to the caller, it stands in the file.
    pub(crate) fn index_of(&mut self, function: Bytes) -> Result<u32> {
        if let Some(&index) = self.known.get(&function) {
            return Ok(index);
        }
        let index = u32::try_from(self.known.len()).map_err(|_| Error::Corrupt)?;
        memfd::write_at(&self.file, &function, place(index))?;
        self.known.insert(function, index);
        Ok(index)
    }
}

/// The file, as a worker has it, and what it knows of it as a `T`.
#[derive(Debug)]
pub(crate) struct Resolved<T> {
    file: File,
    known: Vec<Option<T>>,
}

impl<T: Copy> Resolved<T> {
    pub(crate) fn new(file: File) -> Resolved<T> {
        Resolved {
            file,
            known: Vec::new(),
        }
    }

    /// What `resolve` makes of the function of that index. `Err(Corrupt)`: there is none.
    pub(crate) fn get(
        &mut self,
        index: u32,
        resolve: impl FnOnce(Bytes) -> Result<T>,
    ) -> Result<T> {
        if let Some(&Some(known)) = self.known.get(index as usize) {
            return Ok(known);
        }
        let mut bytes = Bytes::default();
        // First: who finds bytes there knows that the file, and so the table, is so long.
        self.file
            .read_exact_at(&mut bytes, place(index))
            .map_err(|_| Error::Corrupt)?;
        let resolved = resolve(bytes)?;
        let len = self.known.len().max(index as usize + 1);
        self.known.resize(len, None);
        self.known[index as usize] = Some(resolved);
        Ok(resolved)
    }
}

fn place(index: u32) -> u64 {
    u64::from(index) * size_of::<Bytes>() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn of(n: u8) -> Bytes {
        [n; 16]
    }

    #[test]
    fn workers_find_what_the_parent_wrote_by_its_index() {
        let mut functions = Functions::new().unwrap();
        let file = functions.for_workers().unwrap().into();
        let mut there = Resolved::new(file);
        for n in 0..10 {
            assert_eq!(functions.index_of(of(n)).unwrap(), n.into());
            assert_eq!(there.get(n.into(), Ok).unwrap(), of(n));
        }
        assert_eq!(functions.index_of(of(3)).unwrap(), 3);
        // It is not resolved again.
        let never = |_| panic!("it is known");
        assert_eq!(there.get(3, never).unwrap(), of(3));
    }

    #[test]
    fn an_index_of_no_function_is_an_error_and_makes_no_room() {
        let mut functions = Functions::new().unwrap();
        functions.index_of(of(7)).unwrap();
        let mut there = Resolved::new(functions.for_workers().unwrap().into());
        for index in [1, 1 << 20, u32::MAX] {
            assert!(matches!(there.get(index, Ok), Err(Error::Corrupt)));
            assert_eq!(there.known.capacity(), 0);
        }
        // One that can't be resolved is not kept.
        let refused = there.get(0, |_| Err(Error::NotInExecutable));
        assert!(matches!(refused, Err(Error::NotInExecutable)));
        assert_eq!(there.get(0, Ok).unwrap(), of(7));
    }

    #[test]
    fn workers_cannot_write_functions() {
        let functions = Functions::new().unwrap();
        let mut file: File = functions.for_workers().unwrap().into();
        let refused = file.write(&of(1)).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EBADF));
    }
}
