//! What a process says of itself to the kernel.

use std::ffi::CString;
use std::io;

pub(crate) const TERMINATE: i32 = libc::SIGTERM;
pub(crate) const KILL: i32 = libc::SIGKILL;

/// From here on SIGKILL comes when the thread ends that started this process.
pub(crate) fn die_with_parent() -> io::Result<()> {
    // SAFETY: plain system call.
    match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The process that started this one; when that has ended, the one that took it over. 0: it stands in another pid namespace.
pub(crate) fn parent() -> u32 {
    std::os::unix::process::parent_id()
}

/// What tools show as the name of this thread (and of the process, if it is the first); cut where the kernel has no room.
pub(crate) fn set_name(name: &str) {
    const ROOM: usize = 15;
    let bytes: Vec<u8> = name
        .bytes()
        .take(ROOM)
        .map(|b| if b == 0 { b'?' } else { b })
        .collect();
    let name = CString::new(bytes).expect("no NUL is left");
    // SAFETY: the name is a C string.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}
