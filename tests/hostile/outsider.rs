//! One who has the file open, is no member, and writes nothing: what it can do by the kernel's locks alone.

use crate::layout::SLOTS;
use crate::region::Region;
use crate::support::Name;
use commonhold::{Error, Mutex, Segment, Value};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Locks the bytes that vouch for the members in slot `from` and all after it.
fn lock_slots(file: &File, from: i64, kind: i32) -> bool {
    // SAFETY: zero bytes are a valid flock, and the command reads one.
    unsafe {
        let mut lock: libc::flock = std::mem::zeroed();
        lock.l_type = kind as libc::c_short;
        lock.l_start = (1 << 61) + (from << 32);
        libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw mut lock) == 0
    }
}

#[test]
fn who_may_only_read_can_keep_new_members_out_and_no_more() {
    let name = Name::new("reader");
    let seg = Segment::create(&name, 1 << 16).unwrap();
    let value = Value::create(&seg, "value", 1u64).unwrap();
    let reader = File::open(name.path()).unwrap();
    // The member's own lock stands in the way; in the slots after it there is none.
    assert!(!lock_slots(&reader, 0, libc::F_RDLCK));
    assert!(lock_slots(&reader, 1, libc::F_RDLCK));
    assert!(matches!(Segment::open(&name), Err(Error::TooManyMembers)));
    // Who was there before goes on, and is not taken for dead.
    value.set(2).unwrap();
    assert!(seg.members().iter().all(|m| m.alive && m.is_me));
    // It can't claim to be anybody.
    assert!(!lock_slots(&reader, 1, libc::F_WRLCK));
    drop(reader);
    let seg = Segment::open(&name).unwrap();
    assert_eq!(Value::<u64>::open(&seg, "value").unwrap().get().unwrap(), 2);
}

#[test]
fn who_may_write_can_vouch_for_the_dead() {
    let name = Name::new("voucher");
    let seg = Segment::create(&name, 1 << 16).unwrap();
    let mutex = Mutex::create(&seg, "mutex", 1u64).unwrap();
    let region = Region::open(&name);
    // One who leaves with the lock in its hands.
    let other = Segment::open(&name).unwrap();
    std::mem::forget(Mutex::<u64>::open(&other, "mutex").unwrap().lock().unwrap());
    let owner = (region.get(SLOTS + 64, 8) as u32 >> 1 & 0xF_FFFF) << 10 | 1;
    drop(other);
    region.vouch(libc::F_WRLCK, owner);
    let soon = Duration::from_millis(50);
    assert!(matches!(mutex.lock_timeout(soon), Err(Error::Timeout)));
    region.vouch(libc::F_UNLCK, owner);
    assert!(matches!(mutex.lock_timeout(soon), Err(Error::Poisoned)));
}
