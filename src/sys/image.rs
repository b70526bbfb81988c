//! The executable that this process runs: where it lies in memory, where its code is, and which file it is.

use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// How the kernel names the executable of the one who asks. By way of the thread: of a process whose main thread has ended, the
/// kernel does not know it any more.
const EXECUTABLE: &str = "/proc/thread-self/exe";

/// The executable in memory.
#[derive(Debug)]
pub(crate) struct Image {
    /// Where its address 0 lies.
    base: usize,
    /// The addresses of its code.
    code: Vec<Range<usize>>,
    /// A checksum of what its program headers say.
    shape: u64,
}

/// Which executable this is. Two processes of which these agree have the same functions at the same offsets.
///
/// The times of the file's *attributes* are no part of it: they change when a running program's file is replaced by another (the old one
/// loses a name).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity(pub(crate) [u64; Identity::WORDS]);

impl Identity {
    pub(crate) const WORDS: usize = 6;

    /// That of this process. An error where there is no /proc.
    pub(crate) fn of_this_process(image: &Image) -> std::io::Result<Identity> {
        let file = std::fs::metadata(EXECUTABLE)?;
        Ok(Identity([
            file.dev(),
            file.ino(),
            file.size(),
            file.mtime() as u64,
            file.mtime_nsec() as u64,
            image.shape,
        ]))
    }
}

impl Image {
    /// None: the program was not started by the kernel itself but by a loader that was named on the command line, and /proc
    /// shows that one as the executable.
    pub(crate) fn of_this_process() -> Option<&'static Image> {
        /// Not a lock: in a forked child it could be held by a thread that is not there.
        static IMAGE: AtomicPtr<Image> = AtomicPtr::new(ptr::null_mut());
        // Acquire: pairs with the Release below.
        let found = IMAGE.load(Ordering::Acquire);
        if found.is_null() {
            let image = Box::into_raw(Box::new(look()?));
            // Two threads may both have looked: they saw the same, and one image is never freed.
            IMAGE.store(image, Ordering::Release);
        }
        // SAFETY: made above, or by another thread, and never freed.
        unsafe { IMAGE.load(Ordering::Acquire).as_ref() }
    }

    /// How far into the executable that code stands. None: it is none of its code.
    pub(crate) fn offset_of(&self, address: usize) -> Option<u64> {
        self.has_code_at(address)
            .then(|| address.wrapping_sub(self.base) as u64)
    }

    /// The address of the code that stands so far into the executable. None: no code stands there.
    pub(crate) fn address_of(&self, offset: u64) -> Option<usize> {
        let address = self.base.wrapping_add(usize::try_from(offset).ok()?);
        self.has_code_at(address).then_some(address)
    }

    fn has_code_at(&self, address: usize) -> bool {
        self.code.iter().any(|range| range.contains(&address))
    }
}

/// Whether this process has rights that those who started it have not (set-user-id and its like): what they hand over is then not to be
/// believed.
pub(crate) fn has_others_rights() -> bool {
    // SAFETY: plain call; it reads what the kernel left at the start.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

fn look() -> Option<Image> {
    let mut image = None;
    // SAFETY: the callback gets `image` as its argument, and no longer than the call lasts.
    unsafe { libc::dl_iterate_phdr(Some(first), (&raw mut image).cast()) };
    image
}

/// The first object of all is the executable.
unsafe extern "C" fn first(
    info: *mut libc::dl_phdr_info,
    _size: usize,
    image: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: the loader's description, which lives as long as the callback runs.
    let info = unsafe { &*info };
    // SAFETY: `look` passes its variable.
    let image = unsafe { &mut *image.cast::<Option<Image>>() };
    let base = info.dlpi_addr as usize;
    // SAFETY: so many headers stand there, for as long as the program runs.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    // SAFETY: plain call. It says where the kernel put the loader that the program asks for: nowhere, if it took the loader itself for the program.
    let has_loader = unsafe { libc::getauxval(libc::AT_BASE) } != 0;
    if !has_loader && headers.iter().any(|h| h.p_type == libc::PT_INTERP) {
        return 1;
    }
    let mut code = Vec::new();
    let mut shape = Checksum::new();
    for header in headers {
        let (start, size) = (header.p_vaddr as usize, header.p_memsz as usize);
        for word in [
            u64::from(header.p_type),
            u64::from(header.p_flags),
            start as u64,
            size as u64,
        ] {
            shape.add(&word.to_le_bytes());
        }
        if header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_X != 0 {
            let start = base.wrapping_add(start);
            code.push(start..start.saturating_add(size));
        }
    }
    *image = Some(Image {
        base,
        code,
        shape: shape.0,
    });
    1
}

/// FNV-1a: tells what was changed by mistake.
#[derive(Debug)]
pub(crate) struct Checksum(pub(crate) u64);

impl Checksum {
    pub(crate) fn new() -> Checksum {
        Checksum(0xcbf2_9ce4_8422_2325)
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_of_this_executable_is_found_again() {
        let image = Image::of_this_process().unwrap();
        let here = a_function_of_this_executable_is_found_again as fn() as usize;
        let offset = image.offset_of(here).unwrap();
        assert_eq!(image.address_of(offset), Some(here));
    }

    #[test]
    fn what_is_no_code_of_the_executable_has_no_offset() {
        let image = Image::of_this_process().unwrap();
        let libc_code = libc::getpid as unsafe extern "C" fn() -> i32 as usize;
        // Constants may stand among the code, where the linker does not part them.
        static DATA: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());
        let data = (&raw const DATA) as usize;
        // In a static program libc is part of it.
        let others = (!cfg!(target_feature = "crt-static")).then_some(libc_code);
        for address in others.into_iter().chain([data, 0, 1, usize::MAX]) {
            assert_eq!(image.offset_of(address), None, "{address:#x}");
        }
    }

    #[test]
    fn an_offset_beyond_the_code_has_no_address() {
        let image = Image::of_this_process().unwrap();
        let end = image.code.iter().map(|c| c.end).max().unwrap();
        let beyond = end.wrapping_sub(image.base) as u64;
        assert!(image.address_of(beyond - 1).is_some());
        for offset in [beyond, u64::MAX, u64::MAX / 2, 1 << 47, 0] {
            assert_eq!(image.address_of(offset), None, "{offset:#x}");
        }
    }

    #[test]
    fn one_executable_has_one_identity() {
        let image = Image::of_this_process().unwrap();
        let of = || Identity::of_this_process(image).unwrap();
        assert_eq!(of(), of());
        assert_eq!(look().unwrap().shape, image.shape);
    }
}
