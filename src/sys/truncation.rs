//! Going on when a file is cut short under its mapping: a SIGBUS handler.
//!
//! An access behind the end of a mapped file raises SIGBUS. The handler looks whether the address lies in a guarded
//! mapping, and if so puts private memory, all zero, in the place of all of it: the access is then made anew, and succeeds. Before that
//! it notes that the mapping is lost, and that this process is no member any more; the operations look at these two.
//!
//! The handler does only what a signal handler may: it reads and writes atomics, and makes system calls.

use super::fork::{NO_MEMBER_ANY_MORE, NoForks, PerProcess};
use super::liveness;
use std::cell::UnsafeCell;
use std::io;
use std::mem::MaybeUninit;
use std::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering, compiler_fence, fence,
};

/// Guards one mapping while it lives: drop it before the mapping.
#[derive(Debug)]
pub(crate) struct TruncationGuard(&'static Entry);

/// A line of the handler's list. Lines are never freed (the handler may be reading them), but used again.
#[derive(Debug)]
struct Entry {
    /// Odd while the line changes: the handler then knows that it means another mapping than the one that it came for.
    version: AtomicU32,
    /// 0: unused.
    start: AtomicUsize,
    len: AtomicUsize,
    /// Which member this process is: marked when the mapping is lost.
    page: AtomicPtr<PerProcess>,
    lost: AtomicBool,
    next: AtomicPtr<Entry>,
}

/// The first line. The list is changed only by those who keep forks out, one at a time.
static FIRST: AtomicPtr<Entry> = AtomicPtr::new(std::ptr::null_mut());

/// What SIGBUS did before.
struct Earlier(UnsafeCell<MaybeUninit<libc::sigaction>>);

// SAFETY: written once, before the handler that reads it is installed, by one who keeps others out.
unsafe impl Sync for Earlier {}

static EARLIER: Earlier = Earlier(UnsafeCell::new(MaybeUninit::uninit()));
static INSTALLED: AtomicBool = AtomicBool::new(false);
/// Whether an earlier handler that asked to be called once (SA_RESETHAND) has been.
static SPENT: AtomicBool = AtomicBool::new(false);

impl TruncationGuard {
    /// Guards the `len` bytes that are mapped at `start`; `page`, which is wiped in a forked child, says when they are lost.
    ///
    /// # Safety
    /// The mapping belongs to the caller alone, who keeps it, and `page`, until the guard is dropped; and who, once
    /// [`is_lost`](Self::is_lost), believes nothing that it reads there.
    pub(crate) unsafe fn new(
        start: *mut u8,
        len: usize,
        page: *const PerProcess,
        _no_forks: &NoForks,
    ) -> io::Result<TruncationGuard> {
        install()?;
        let entry = unused().unwrap_or_else(add);
        entry.change(|| {
            entry.start.store(start as usize, Ordering::Relaxed);
            entry.len.store(len, Ordering::Relaxed);
            entry.page.store(page.cast_mut(), Ordering::Relaxed);
            entry.lost.store(false, Ordering::Relaxed);
        });
        Ok(TruncationGuard(entry))
    }

    /// Whether the file was cut short: what was read of the mapping before this call may be nothing.
    pub(crate) fn is_lost(&self) -> bool {
        // Acquire: the caller's reads come before this look. The handler stores the flag before it changes the mapping.
        fence(Ordering::Acquire);
        self.0.lost.load(Ordering::Relaxed)
    }

    /// Ends the guard; as [`new`](Self::new), only while forks are kept out.
    pub(crate) fn end(self, _no_forks: &NoForks) {
        let entry = self.0;
        entry.change(|| entry.start.store(0, Ordering::Relaxed));
    }
}

impl Entry {
    /// Changes the line; the handler passes over it meanwhile.
    fn change(&self, change: impl FnOnce()) {
        let version = self.version.load(Ordering::Relaxed);
        self.version
            .store(version.wrapping_add(1), Ordering::Relaxed);
        // Pairs with the Acquire fence in `covers`: who sees a word of this change sees the odd version after it.
        fence(Ordering::Release);
        change();
        // Release: pairs with the Acquire in `covers`.
        self.version
            .store(version.wrapping_add(2), Ordering::Release);
    }

    /// `true` for the first thread of a process, which is to do the rest. A child that is forked before it is done inherits the
    /// flag and not the mark, and so does it itself.
    fn note_loss(&self, page: &PerProcess) -> bool {
        self.lost.store(true, Ordering::SeqCst);
        page.member.swap(NO_MEMBER_ANY_MORE, Ordering::SeqCst) != NO_MEMBER_ANY_MORE
    }

    /// The mapping and the page, if `address` is in it.
    fn covers(&self, address: usize) -> Option<(usize, usize, *const PerProcess)> {
        // Acquire: pairs with the Release in `change`.
        let version = self.version.load(Ordering::Acquire);
        let start = self.start.load(Ordering::Relaxed);
        let len = self.len.load(Ordering::Relaxed);
        let page = self.page.load(Ordering::Relaxed);
        // Pairs with the Release fence in `change`.
        fence(Ordering::Acquire);
        let steady = version % 2 == 0 && self.version.load(Ordering::Relaxed) == version;
        (steady && start != 0 && address.wrapping_sub(start) < len).then_some((
            start,
            len,
            page.cast_const(),
        ))
    }
}

fn entries() -> impl Iterator<Item = &'static Entry> {
    // Acquire: pairs with the Release in `add`.
    let mut at = FIRST.load(Ordering::Acquire);
    std::iter::from_fn(move || {
        // SAFETY: null, or a line of the list; lines are never freed.
        let entry: &'static Entry = unsafe { at.as_ref() }?;
        at = entry.next.load(Ordering::Acquire);
        Some(entry)
    })
}

fn unused() -> Option<&'static Entry> {
    entries().find(|e| e.start.load(Ordering::Relaxed) == 0)
}

fn add() -> &'static Entry {
    let entry: &'static Entry = Box::leak(Box::new(Entry {
        version: AtomicU32::new(0),
        start: AtomicUsize::new(0),
        len: AtomicUsize::new(0),
        page: AtomicPtr::new(std::ptr::null_mut()),
        lost: AtomicBool::new(false),
        next: AtomicPtr::new(FIRST.load(Ordering::Relaxed)),
    }));
    // Release: who finds the line finds its words.
    FIRST.store(std::ptr::from_ref(entry).cast_mut(), Ordering::Release);
    entry
}

/// Once in a process. The callers keep each other out.
fn install() -> io::Result<()> {
    if INSTALLED.load(Ordering::Relaxed) {
        return Ok(());
    }
    let earlier = EARLIER.0.get().cast::<libc::sigaction>();
    // SAFETY: asks for the present action only; nobody else uses EARLIER before INSTALLED.
    if unsafe { libc::sigaction(libc::SIGBUS, std::ptr::null(), earlier) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: initialised by the call above. A copy of it, with our own handler, keeps its mask and what else it asked for.
    let mut action = unsafe { *earlier };
    action.sa_sigaction = on_sigbus as *const () as usize;
    // Such handlers may run on another stack, and the earlier one, to which we pass on, may need it.
    action.sa_flags &= libc::SA_NODEFER | libc::SA_RESTART;
    action.sa_flags |= libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: a complete action, whose handler does what handlers may.
    if unsafe { libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    INSTALLED.store(true, Ordering::Relaxed);
    Ok(())
}

extern "C" fn on_sigbus(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel hands a handler with SA_SIGINFO valid information; this signal's has an address.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    if code == libc::BUS_ADRERR && replace(address) {
        return;
    }
    pass_on(signal, code, info, context);
}

/// Puts zeros in the place of the guarded mapping at `address`. `false`: there is none.
fn replace(address: usize) -> bool {
    let found = entries().find_map(|e| Some((e, e.covers(address)?)));
    let Some((entry, (start, len, page))) = found else {
        return false;
    };
    // Before the mapping changes: see `is_lost`.
    // SAFETY: kept by the guard's owner as long as the guard lives; and it lives, for its mapping is being accessed.
    let page = unsafe { &*page };
    if !entry.note_loss(page) {
        // Another thread of this process is about to do the rest: the access is made again until it has.
        return true;
    }
    compiler_fence(Ordering::SeqCst);
    // SAFETY: the same holds of the mapping, which is the owner's alone; it will not believe what it reads there. errno is the
    // interrupted code's, and a successful mmap leaves it alone.
    let got = unsafe {
        libc::mmap(
            start as *mut libc::c_void,
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED,
            -1,
            0,
        )
    };
    if got == libc::MAP_FAILED {
        return false;
    }
    // No thread of this process can write to the file any more. To the others it is dead: what it held in a part that is left they
    // must not wait for.
    let held = page.liveness.swap(std::ptr::null_mut(), Ordering::AcqRel);
    if !held.is_null() {
        // SAFETY: this process stored it when it attached; whoever takes it out releases it.
        unsafe { liveness::release(held) };
    }
    true
}

/// As if we were not there.
fn pass_on(signal: i32, code: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: initialised before this handler was installed, and not written since.
    let earlier = unsafe { *EARLIER.0.get().cast::<libc::sigaction>() };
    // Codes over 0 are the kernel's, of an access (but for one: of bad memory that nobody accesses yet); the others are
    // somebody's kill.
    let was_sent = code <= 0 || code == libc::BUS_MCEERR_AO;
    // One that asked to be called once counts on the default action from then on: it returns, or raises the signal anew.
    let spent = earlier.sa_flags & libc::SA_RESETHAND != 0 && SPENT.swap(true, Ordering::Relaxed);
    let action = if spent {
        libc::SIG_DFL
    } else {
        earlier.sa_sigaction
    };
    match action {
        libc::SIG_IGN if was_sent => {}
        libc::SIG_DFL | libc::SIG_IGN => {
            // SAFETY: the default action; it ends the process as soon as the access is made again, or the signal that we send
            // ourselves is let through, which is when this handler returns.
            unsafe {
                libc::signal(libc::SIGBUS, libc::SIG_DFL);
                if was_sent {
                    libc::raise(signal);
                }
            }
        }
        handler if earlier.sa_flags & libc::SA_SIGINFO != 0 => {
            type Handler = extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void);
            // SAFETY: the earlier action said that it is such a function.
            let handler = unsafe { std::mem::transmute::<usize, Handler>(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: the earlier action said that it is such a function.
            let handler = unsafe { std::mem::transmute::<usize, extern "C" fn(i32)>(handler) };
            handler(signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fork::{self, ForkPage};
    use std::os::fd::{AsRawFd, FromRawFd};

    /// A fork may come between another thread's note of the loss and its zeros: the child has the one without the other, and no
    /// such thread.
    #[test]
    fn a_child_that_got_the_note_and_not_the_zeros_helps_itself() {
        const LEN: usize = 4096;
        // SAFETY: the name is a C string; the descriptor is new.
        let file = unsafe {
            std::fs::File::from_raw_fd(libc::memfd_create(c"cut".as_ptr(), libc::MFD_CLOEXEC))
        };
        file.set_len(LEN as u64).unwrap();
        // SAFETY: a new mapping, placed by the kernel.
        let start = unsafe {
            let rw = libc::PROT_READ | libc::PROT_WRITE;
            let fd = file.as_raw_fd();
            libc::mmap(std::ptr::null_mut(), LEN, rw, libc::MAP_SHARED, fd, 0)
        };
        assert_ne!(start, libc::MAP_FAILED);
        let page = ForkPage::new().unwrap();
        let no_forks = fork::keep_forks_out();
        // SAFETY: mapping and page are kept until the guard's end; what is read is only looked at for being zero.
        let guard =
            unsafe { TruncationGuard::new(start.cast(), LEN, page.get(), &no_forks) }.unwrap();
        drop(no_forks);
        file.set_len(0).unwrap();
        assert!(guard.0.note_loss(page.get()));
        // SAFETY: the child makes system calls, and the one access; the parent waits for it.
        let status = unsafe {
            let child = libc::fork();
            if child == 0 {
                // It ends one that makes the access again and again.
                libc::alarm(5);
                libc::_exit(start.cast::<u8>().read_volatile().into());
            }
            let mut status = -1;
            assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
            status
        };
        assert_eq!(status, 0, "the child's end");
        guard.end(&fork::keep_forks_out());
        // SAFETY: mapped above, used no more.
        unsafe { libc::munmap(start, LEN) };
    }
}
