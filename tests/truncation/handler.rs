//! The SIGBUS handler: beside the handlers of others, and where it can do nothing.

use super::*;

fn died_of_sigbus(child: Child) {
    let status = child.wait();
    assert_eq!(status.signal(), Some(libc::SIGBUS), "{status}");
}

pub(crate) fn touch_unguarded(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let value = Value::<[u64; 4]>::open(&seg, "value").unwrap();
    tell("ready");
    listen();
    let _ = value.get();
}

#[test]
fn without_a_guard_it_is_a_sigbus() {
    died_of_sigbus(cut_under("touch_unguarded", 0, &[]));
}

pub(crate) fn touch_with_sigbus_blocked(args: &[String]) {
    let all = Opened::of(&args[0]);
    // SAFETY: zero is a valid set; plain calls on it.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigaddset(&raw mut set, libc::SIGBUS);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
    }
    tell("ready");
    listen();
    let _ = all.value.get();
}

pub(crate) fn touch_without_leave_for_memory(args: &[String]) {
    let all = Opened::of(&args[0]);
    tell("ready");
    listen();
    let none = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: plain system call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_DATA, &none) }, 0);
    let _ = all.value.get();
}

/// What the documentation says of the guard's limits.
#[test]
fn where_the_guard_can_do_nothing_it_is_a_sigbus_and_no_hang() {
    died_of_sigbus(cut_under("touch_with_sigbus_blocked", 0, &[]));
    died_of_sigbus(cut_under("touch_without_leave_for_memory", 0, &[]));
}

/// Touches a mapping of a file of its own that was cut short.
fn fault_elsewhere() {
    let name = Name::new("foreign");
    let file = std::fs::File::create_new(name.path()).unwrap();
    file.set_len(4096).unwrap();
    let map = memmap2::MmapOptions::new().map_raw(&file).unwrap();
    file.set_len(0).unwrap();
    drop(name);
    // SAFETY: mapped; what the access does is the point.
    unsafe { map.as_ptr().read_volatile() };
}

pub(crate) fn meet_a_foreign_fault(args: &[String]) {
    let _all = Opened::of(&args[0]);
    tell("ready");
    listen();
    fault_elsewhere();
}

pub(crate) fn be_sent_a_sigbus(args: &[String]) {
    let _all = Opened::of(&args[0]);
    tell("ready");
    listen();
    // SAFETY: plain system call.
    unsafe { libc::raise(libc::SIGBUS) };
}

#[test]
fn what_is_not_ours_still_ends_the_process() {
    died_of_sigbus(cut_under("meet_a_foreign_fault", 0, &[]));
    died_of_sigbus(cut_under("be_sent_a_sigbus", 0, &[]));
}

static PASSED_ON: AtomicU64 = AtomicU64::new(0);

extern "C" fn mend_one_page(_: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    PASSED_ON.fetch_add(1, Relaxed);
    // SAFETY: the address is that of the one page of `fault_elsewhere`.
    unsafe {
        libc::mmap(
            ((*info).si_addr() as usize & !4095) as *mut libc::c_void,
            4096,
            libc::PROT_READ,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
            -1,
            0,
        );
    }
}

pub(crate) fn pass_on_to_a_handler(args: &[String]) {
    // SAFETY: zero is a valid action, which is completed before it is used.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = mend_one_page as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        let installed = libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut());
        assert_eq!(installed, 0);
    }
    let all = Opened::of(&args[0]);
    fault_elsewhere();
    assert_eq!(PASSED_ON.load(Relaxed), 1);
    tell("ready");
    listen();
    all.assert_all_is_corrupt(3);
    fault_elsewhere();
    assert_eq!(PASSED_ON.load(Relaxed), 2);
}

#[test]
fn an_earlier_handler_gets_what_is_not_ours() {
    cut_under("pass_on_to_a_handler", 0, &[]).finish();
}

extern "C" fn look_and_return(_: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    if PASSED_ON.fetch_add(1, Relaxed) == 1000 {
        // SAFETY: plain system call.
        unsafe { libc::_exit(77) };
    }
}

/// As crash reporters do: say what happened, once, and let the default action follow.
pub(crate) fn pass_on_to_one_that_acts_once(args: &[String]) {
    // SAFETY: zero is a valid action, which is completed before it is used.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = look_and_return as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESETHAND;
        let installed = libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut());
        assert_eq!(installed, 0);
    }
    let _all = Opened::of(&args[0]);
    tell("ready");
    listen();
    fault_elsewhere();
}

#[test]
fn an_earlier_handler_that_acts_once_acts_once() {
    died_of_sigbus(cut_under("pass_on_to_one_that_acts_once", 0, &[]));
}
