//! Noticing a fork, and keeping forks out of the moment in which a member attaches.

use std::cell::UnsafeCell;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// A page of private memory that reads zero in a forked child (MADV_WIPEONFORK, Linux 4.14).
///
/// It holds what is true of one process only: which member it is, and where its liveness page is mapped. A child
/// reads "no member" and "no page" without anybody having told it.
#[derive(Debug)]
pub(crate) struct ForkPage(NonNull<PerProcess>);

/// In the place of a member id: the region is lost to this process, for ever. It is no id (those have 30 bits), and it is not 0, so
/// that a thread that is just becoming a member finds its place taken.
pub(crate) const NO_MEMBER_ANY_MORE: u32 = u32::MAX;

/// The words of a [`ForkPage`].
#[repr(C)]
#[derive(Debug)]
pub(crate) struct PerProcess {
    /// The member id of this process in the segment; 0: not (yet) a member; or [`NO_MEMBER_ANY_MORE`].
    pub(crate) member: AtomicU32,
    /// The mapping that holds this process's liveness lock; null: none.
    pub(crate) liveness: AtomicPtr<libc::c_void>,
    /// In the page that a process has beside those of its segments: its [`Identity`](super::exiting::Identity); 0: not (yet) known.
    pub(crate) identity: AtomicU64,
}

// SAFETY: the page is reached only through its atomics.
unsafe impl Send for ForkPage {}
// SAFETY: as above.
unsafe impl Sync for ForkPage {}

impl ForkPage {
    pub(crate) fn new() -> io::Result<ForkPage> {
        let size = size_of::<PerProcess>();
        // SAFETY: a new anonymous mapping, placed by the kernel, touches no other memory.
        let page = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let page = ForkPage(NonNull::new(page).expect("mmap returns no null").cast());
        // SAFETY: the mapping was made above; the kernel rounds the length up to the page it mapped.
        if unsafe { libc::madvise(page.0.as_ptr().cast(), size, libc::MADV_WIPEONFORK) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(page)
    }

    #[inline]
    pub(crate) fn get(&self) -> &PerProcess {
        // SAFETY: the page is mapped until `self` drops, zero-filled at first, and zero bytes are a valid PerProcess.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for ForkPage {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and `get` lends it no longer than `self` lives.
        unsafe { libc::munmap(self.0.as_ptr().cast(), size_of::<PerProcess>()) };
    }
}

/// A pthread mutex, because one thread locks it before a fork and its copy in the child unlocks it after.
struct AttachMutex(UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: a pthread mutex is made to be shared between threads.
unsafe impl Sync for AttachMutex {}

static ATTACH: AttachMutex = AttachMutex(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));

/// While this lives, no thread of this process forks (by libc's `fork`) and no other attaches.
#[derive(Debug)]
pub(crate) struct NoForks(());

/// Keeps forks out. Between the `open` of the liveness description and its `close`, a forked child would inherit the
/// description, and with it the power to keep a dead parent "alive" (one attach in ten, measured under constant forks).
pub(crate) fn keep_forks_out() -> NoForks {
    lock();
    NoForks(())
}

/// Runs before `main`, when there is one thread. Later would be too late: a fork that another thread began before the
/// handlers were registered copies the mutex locked (or a `Once` half-run), and the child's first attach waits for ever. And before others' code that
/// runs before `main` (by the number: those without one come last), which may be `process::init`.
#[used]
#[unsafe(link_section = ".init_array.00100")]
static REGISTER: extern "C" fn() = register;

extern "C" fn register() {
    // SAFETY: the handlers only lock and unlock a static mutex, and count. A failure (ENOMEM) leaves us without the
    // protection, which is then the state before this crate existed: a rare late detection.
    unsafe { libc::pthread_atfork(Some(lock), Some(unlock), Some(begin_child)) };
}

impl Drop for NoForks {
    fn drop(&mut self) {
        unlock();
    }
}

extern "C" fn lock() {
    // SAFETY: the mutex is static and initialised.
    unsafe { libc::pthread_mutex_lock(ATTACH.0.get()) };
}

extern "C" fn unlock() {
    // SAFETY: the caller holds the mutex: the thread that locked it, or that thread's copy in a forked child.
    unsafe { libc::pthread_mutex_unlock(ATTACH.0.get()) };
}

/// How many forks lie between this process and the first one that this program was.
static FORKS: AtomicU32 = AtomicU32::new(0);

extern "C" fn begin_child() {
    // Relaxed: there is one thread.
    FORKS.fetch_add(1, Ordering::Relaxed);
    unlock();
}

/// A number that is another in a child that was forked (by libc's `fork`), at next to no cost.
#[cfg(feature = "process")]
#[inline]
pub(crate) fn forks() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

/// Which process this is, for those that live no longer than it does. The pid alone does not tell: the first process of a pid
/// namespace and its child that is the first of another are both 1. Nor does the count: of a child that was made without libc's `fork`.
#[cfg(any(feature = "async", feature = "process"))]
pub(crate) fn this_process() -> (u32, u32) {
    (std::process::id(), FORKS.load(Ordering::Relaxed))
}
