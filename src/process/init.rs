//! The beginning of a child: it finds its letter, runs the function and ends.

use super::letter::{Head, Letter, Text};
use super::nursery::LETTER;
use super::outcome::{is_value, push_error};
use super::{panics, who};
use crate::error::{Error, Result};
use crate::sys::descriptor::{FIRST, inherited};
use crate::sys::image::{Identity, Image, has_others_rights};
use crate::sys::own;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What a child ends with that could not read its letter, after it said why on standard error.
const NO_LETTER: i32 = 113;
/// What a child ends with whose function panicked: as a program does whose main panics.
const PANICKED: i32 = 101;

static CALLED: AtomicBool = AtomicBool::new(false);
static GIVEN: Mutex<Vec<OwnedFd>> = Mutex::new(Vec::new());

/// Makes this program one whose functions can run in processes of their own. **The first line of `main`.**
///
/// Such a process is this program started again. There, this call runs the function and ends the process; it does not return. In a program
/// that was started by anybody else it does nothing but to remember that it was called, and [`Process::spawn`](super::Process::spawn) is an error
/// without.
///
/// What stands before it in `main` is run by each process again. A second call does nothing. Where `main` is not yours, in a test, there is
/// [`init_before_main!`](crate::init_before_main).
pub fn init() {
    if CALLED.swap(true, Ordering::Relaxed) {
        // By the function that runs here, perhaps: its letter is taken.
        return;
    }
    let Some(number) = number_of_letter() else {
        return;
    };
    if let Err(e) = run(number) {
        // Not `eprintln`, which panics where nobody reads any more.
        let _ = writeln!(
            io::stderr(),
            "commonhold: this process was to run a function of the one that started it, and can't: {e}"
        );
    }
    std::process::exit(NO_LETTER);
}

/// Calls [`init`](fn@crate::process::init) before `main`, for a program whose `main` is not yours: a test binary.
///
/// Use it once in a program, outside of all functions. The functions then run before `main`, too: the standard library works, but what other code
/// sets up before `main` may not be there.
///
/// The unit tests of a crate are one program (in its `lib.rs` or `main.rs`: `#[cfg(test)] commonhold::init_before_main!();`), and each file in `tests/`
/// is another.
///
/// ```
/// commonhold::init_before_main!();
///
/// # fn main() {
/// // In a #[test]:
/// let p = commonhold::process::Process::spawn(|n: u64| n * n, 4).unwrap();
/// assert_eq!(p.join().unwrap(), 16);
/// # }
/// ```
#[macro_export]
macro_rules! init_before_main {
    () => {
        const _: () = {
            #[used]
            #[unsafe(link_section = ".init_array")]
            static INIT: extern "C" fn() = {
                extern "C" fn init() {
                    $crate::process::init();
                }
                init
            };
        };
    };
}

/// Whether this program called [`init`].
pub(super) fn is_called() -> bool {
    CALLED.load(Ordering::Relaxed)
}

/// The descriptors that this process was given by its parent, once.
pub(crate) fn take_given() -> Vec<OwnedFd> {
    std::mem::take(&mut *GIVEN.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The letter's descriptor. None: nobody started this process to run a function.
fn number_of_letter() -> Option<i32> {
    let argument = std::env::args_os().nth(1).or_else(|| {
        // Where the library learns its arguments only from main, they are not there before it.
        let all = std::fs::read("/proc/self/cmdline").ok()?;
        let argument = all.split(|byte| *byte == 0).nth(1)?;
        Some(OsString::from_vec(argument.to_vec()))
    })?;
    let number = argument.as_bytes().strip_prefix(LETTER.as_bytes())?;
    // One that is none must not be run as an ordinary program, which may start processes in turn. Standard input is none: who may start a
    // program with what rights ever (sudo, say) chooses what stands there.
    Some(
        std::str::from_utf8(number)
            .ok()
            .and_then(|n| n.parse().ok())
            .filter(|n| *n >= FIRST)
            .unwrap_or(-1),
    )
}

/// Runs the function. Returns only if its outcome can't be told.
fn run(number: i32) -> Result<()> {
    if has_others_rights() {
        // Whoever may start the program could have it run any of its functions.
        return Err(Error::Io(io::Error::other(
            "a program that has other rights than those who start it (set-user-id) is not started in this way",
        )));
    }
    // SAFETY: the parent opened it for this, and only this function takes it.
    let fd = unsafe { inherited(number) }.ok_or(Error::Io(io::Error::other(
        "the descriptor that it was to get is not open: did main close it before init()?",
    )))?;
    let letter = Arc::new(Letter::from_fd(fd)?);
    let head = letter.head()?;
    let text = letter.text(&head)?;
    letter.begin()?;
    let mut outcome = Vec::new();
    let ran = prepare(&letter, head, &text).and_then(|entry| {
        let args = letter.args(&head)?;
        entry.call(&mut &args[..], &mut outcome);
        Ok(())
    });
    if let Err(e) = &ran {
        push_error(&mut outcome, e);
    }
    letter.answer(&head, &outcome).or_else(|e| {
        // It may be too long for the limits of this process; the error is short.
        outcome.clear();
        push_error(&mut outcome, &e);
        letter.answer(&head, &outcome).map_err(|_| e)
    })?;
    let _ = std::io::stdout().flush();
    std::process::exit(if is_value(&outcome) { 0 } else { PANICKED });
}

fn inherit(numbers: &[i32]) -> Result<Vec<OwnedFd>> {
    let take = |number: &i32| {
        // SAFETY: the parent opened it for this, and each is taken once.
        unsafe { inherited(*number) }.ok_or(Error::NotFound)
    };
    numbers.iter().map(take).collect()
}

/// Makes the process what the letter says, and finds the function.
fn prepare(letter: &Arc<Letter>, head: Head, text: &Text) -> Result<super::function::Entry> {
    if head.daemon {
        own::die_with_parent()?;
    }
    let parent = own::parent();
    // 0: the parent stands in another pid namespace.
    if head.daemon && parent != head.parent && parent != 0 {
        std::process::exit(NO_LETTER);
    }
    own::set_name(&text.name);
    who::begin(head.parent, text);
    *GIVEN.lock().unwrap_or_else(PoisonError::into_inner) = inherit(&text.given)?;
    // They stay open: a handle that arrives, now or later, finds its segment by them.
    inherit(&text.passed)?
        .into_iter()
        .for_each(std::mem::forget);
    if let Some(directory) = &text.directory {
        std::env::set_current_dir(OsStr::from_bytes(directory))?;
    }
    let to = Arc::clone(letter);
    panics::note_panics(move |panic| {
        let mut outcome = Vec::new();
        push_error(&mut outcome, &panic);
        let _ = to.answer(&head, &outcome);
    });
    let image = Image::of_this_process().ok_or(Error::OtherExecutable)?;
    if Identity::of_this_process(image)? != head.identity {
        return Err(Error::OtherExecutable);
    }
    // SAFETY: of this very executable, and from a letter that its parent alone could write.
    unsafe { head.function.resolve() }
}
