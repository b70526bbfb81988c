//! Starts this process's executable once more, by `posix_spawn`: nothing of a running program is copied.
//!
//! std's `Command` can hand over three descriptors, no more, unless it forks.

use super::descriptor::{FIRST, duplicate};
use std::ffi::{CString, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::ptr;

/// By this name the kernel finds the executable also when its file has got another name, or none.
const EXECUTABLE: &std::ffi::CStr = c"/proc/self/exe";

/// The signals that a thread does not take.
#[derive(Clone, Copy)]
pub(crate) struct SignalMask(libc::sigset_t);

impl SignalMask {
    pub(crate) fn of_this_thread() -> SignalMask {
        // SAFETY: zero bytes are a valid sigset_t, which the call fills in.
        unsafe {
            let mut mask: libc::sigset_t = std::mem::zeroed();
            libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), &raw mut mask);
            SignalMask(mask)
        }
    }
}

impl std::fmt::Debug for SignalMask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SignalMask")
    }
}

/// A descriptor for the new process, where it has the number that it has here.
#[derive(Debug)]
pub(crate) struct Handed {
    number: i32,
    /// The same under another number: what is made of it in the new process is not closed when the program begins.
    ours: OwnedFd,
}

impl Handed {
    /// It must stay open until the process is started. None: it has the number of standard input, output or error.
    pub(crate) fn new(fd: &impl AsRawFd) -> io::Result<Option<Handed>> {
        let number = fd.as_raw_fd();
        if number < FIRST {
            return Ok(None);
        }
        let ours = duplicate(fd)?;
        Ok(Some(Handed { number, ours }))
    }

    pub(crate) fn number(&self) -> i32 {
        self.number
    }
}

/// What is started.
#[derive(Debug)]
pub(crate) struct Spec {
    /// With the program's name as the first.
    pub(crate) arguments: Vec<OsString>,
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// Standard input, output and error; None: as this process has it.
    pub(crate) stdio: [Option<OwnedFd>; 3],
    pub(crate) handed: Vec<Handed>,
    pub(crate) mask: SignalMask,
}

impl Spec {
    /// Starts it: the number of the process.
    pub(crate) fn start(&self) -> io::Result<u32> {
        let arguments = c_strings(self.arguments.iter().map(|a| a.clone().into_vec()))?;
        let environment = c_strings(self.environment.iter().map(|(name, value)| {
            let mut entry = name.clone().into_vec();
            entry.push(b'=');
            entry.extend_from_slice(&value.clone().into_vec());
            entry
        }))?;
        let mut actions = Actions::new()?;
        for handed in &self.handed {
            actions.duplicate(&handed.ours, handed.number)?;
        }
        for (number, fd) in self.stdio.iter().enumerate() {
            if let Some(fd) = fd {
                actions.duplicate(fd, number as i32)?;
            }
        }
        let attributes = Attributes::new(self.mask)?;
        let mut pid = 0;
        // SAFETY: the strings are C strings, their lists end with null; actions and attributes are initialised; all live until it returns.
        let error = unsafe {
            libc::posix_spawn(
                &raw mut pid,
                EXECUTABLE.as_ptr(),
                &raw const actions.0,
                &raw const attributes.0,
                pointers(&arguments).as_ptr(),
                pointers(&environment).as_ptr(),
            )
        };
        check(error)?;
        Ok(pid as u32)
    }
}

struct Actions(libc::posix_spawn_file_actions_t);

impl Actions {
    fn new() -> io::Result<Actions> {
        let mut actions = MaybeUninit::uninit();
        // SAFETY: the call initialises it, or fails.
        unsafe {
            check(libc::posix_spawn_file_actions_init(actions.as_mut_ptr()))?;
            Ok(Actions(actions.assume_init()))
        }
    }

    fn duplicate(&mut self, from: &OwnedFd, to: i32) -> io::Result<()> {
        // SAFETY: initialised above; the numbers are only noted.
        check(unsafe {
            libc::posix_spawn_file_actions_adddup2(&raw mut self.0, from.as_raw_fd(), to)
        })
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: initialised, and dropped once.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.0) };
    }
}

struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    fn new(mask: SignalMask) -> io::Result<Attributes> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: the first call initialises it, or fails; from then on it is destroyed when dropped.
        unsafe {
            check(libc::posix_spawnattr_init(attributes.as_mut_ptr()))?;
            let mut attributes = Attributes(attributes.assume_init());
            check(libc::posix_spawnattr_setsigmask(
                &raw mut attributes.0,
                &raw const mask.0,
            ))?;
            let flags = libc::POSIX_SPAWN_SETSIGMASK as libc::c_short;
            check(libc::posix_spawnattr_setflags(&raw mut attributes.0, flags))?;
            Ok(attributes)
        }
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised, and dropped once.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.0) };
    }
}

fn c_strings(strings: impl Iterator<Item = Vec<u8>>) -> io::Result<Vec<CString>> {
    strings
        .map(|bytes| CString::new(bytes).map_err(io::Error::from))
        .collect()
}

/// The list that C wants. (It says that it may write there, and does not.)
fn pointers(strings: &[CString]) -> Vec<*mut libc::c_char> {
    let pointers = strings.iter().map(|s| s.as_ptr().cast_mut());
    pointers.chain([ptr::null_mut()]).collect()
}

/// These calls return the error's number.
fn check(error: libc::c_int) -> io::Result<()> {
    match error {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}
