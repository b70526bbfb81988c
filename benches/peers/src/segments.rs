//! Creating and attaching: ours, and the system calls that nobody can do without.

use crate::machine;
use crate::report::quartiles;
use commonhold::Segment;
use std::ffi::CString;
use std::time::{Duration, Instant};

const BYTES: usize = 1 << 20;

/// The names that this figure uses: ours and the floor's.
pub(crate) fn names(pid: u32) -> [String; 2] {
    ["", "-floor"].map(|what| format!("commonhold-bench{what}-{pid}"))
}

fn own_names() -> [String; 2] {
    names(std::process::id())
}

/// A name that is removed whatever happens.
struct Named(CString);

impl Named {
    fn new(name: &str) -> Named {
        Named(CString::new(format!("/{name}")).expect("no NUL in it"))
    }
    fn unlink(&self) -> i32 {
        // SAFETY: a C string.
        unsafe { libc::shm_unlink(self.0.as_ptr()) }
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        self.unlink();
    }
}

/// Times `op` over and over, with `after`, untimed, between. µs each.
fn each(duration: Duration, mut op: impl FnMut(), mut after: impl FnMut()) -> f64 {
    let mut times = Vec::with_capacity(4096);
    let start = Instant::now();
    while start.elapsed() < duration {
        let before = Instant::now();
        op();
        times.push(before.elapsed().as_nanos() as f64);
        after();
    }
    // The median: one during which other processes had the CPU tells nothing.
    quartiles(&times)[1] / 1e3
}

pub(crate) fn create(duration: Duration) -> f64 {
    let [name, _] = own_names();
    let guard = Named::new(&name);
    each(
        duration,
        || drop(Segment::create(&name, BYTES).expect("the name is free")),
        || assert_eq!(guard.unlink(), 0, "the segment was there"),
    )
}

pub(crate) fn attach(duration: Duration) -> f64 {
    let [name, _] = own_names();
    let _guard = Named::new(&name);
    let kept = Segment::create(&name, BYTES).expect("the name is free");
    let time = each(
        duration,
        || drop(Segment::open(&name).expect("it was made")),
        || {},
    );
    assert_eq!(kept.members().len(), 1, "those who left are gone");
    time
}

pub(crate) fn floor_create(duration: Duration) -> f64 {
    let [_, name] = own_names();
    let guard = Named::new(&name);
    each(
        duration,
        || floor(&guard, libc::O_CREAT | libc::O_EXCL),
        || assert_eq!(guard.unlink(), 0, "the file was there"),
    )
}

pub(crate) fn floor_attach(duration: Duration) -> f64 {
    let [_, name] = own_names();
    let guard = Named::new(&name);
    floor(&guard, libc::O_CREAT | libc::O_EXCL);
    each(duration, || floor(&guard, 0), || {})
}

/// Opens (or makes), maps and touches shared memory, and gives it up.
fn floor(name: &Named, flags: i32) {
    // SAFETY: a C string; the descriptor and the mapping are this function's own, and are given up once each. The byte is
    // within the file, which is long enough already or made so.
    unsafe {
        let fd = libc::shm_open(name.0.as_ptr(), flags | libc::O_RDWR, 0o600);
        assert!(fd >= 0, "shm_open: {}", machine::error());
        if flags != 0 {
            assert_eq!(libc::ftruncate(fd, BYTES as libc::off_t), 0);
        }
        let map = libc::mmap(
            std::ptr::null_mut(),
            BYTES,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            fd,
            0,
        );
        assert_ne!(map, libc::MAP_FAILED, "mmap: {}", machine::error());
        map.cast::<u8>().write_volatile(1);
        libc::munmap(map, BYTES);
        libc::close(fd);
    }
}
