//! Who is a member: forks, exec, namespaces, reused pids, full tables, closed descriptors.

mod support;

use commonhold::{Atomics, Error, Mutex, Queue, Segment, SegmentOptions, Value};
use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use support::{
    Child, Forked, LIMIT, Name, eventually, listen, tell, wait_to_be_killed, within_the_limit,
};

support::roles!(hold, attach, hold_while_threads_fork);

fn hold(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let mutex = Mutex::<u32>::open(&seg, "mutex").unwrap();
    let _guard = mutex.lock().unwrap();
    tell("ready");
    wait_to_be_killed();
}

fn attach(args: &[String]) {
    let _seg = Segment::open(&args[0]).unwrap();
    tell("ready");
    listen();
}

#[test]
fn members_are_listed_with_their_pids_and_the_dead_as_dead() {
    let name = Name::new("members");
    let seg = Segment::create(&name, 1 << 16).unwrap();
    let mut child = Child::start("attach", &[&name]);
    child.expect("ready");
    let of = |pid: u32| seg.members().into_iter().find(|m| m.pid == pid);
    assert!(of(std::process::id()).is_some_and(|m| m.alive && m.is_me));
    assert!(of(child.pid()).is_some_and(|m| m.alive && !m.is_me));
    let pid = child.pid();
    child.kill();
    assert!(of(pid).is_none_or(|m| !m.alive));
    let mut child = Child::start("attach", &[&name]);
    child.expect("ready");
    child.say("end");
    child.finish();
    assert!(seg.members().iter().filter(|m| m.alive).count() == 1);
}

#[test]
fn a_forked_child_is_a_member_of_its_own() {
    if !support::forks_are_noticed() {
        return;
    }
    let name = Name::new("fork");
    let seg = Segment::create(&name, 1 << 16).unwrap();
    let value = Value::create(&seg, "value", 0u32).unwrap();
    // Also when the name is gone.
    Segment::unlink(&name).unwrap();
    Forked::start(|| {
        assert!(seg.members().iter().all(|m| !m.is_me));
        value.update(|v| *v += 1).unwrap();
        assert_eq!(seg.members().iter().filter(|m| m.is_me).count(), 1);
        assert_eq!(seg.members().iter().filter(|m| m.alive).count(), 2);
        // And its child.
        Forked::start(|| {
            value.update(|v| *v += 1).unwrap();
            assert_eq!(seg.members().iter().filter(|m| m.alive).count(), 3);
        })
        .finish();
    })
    .finish();
    assert_eq!(value.get().unwrap(), 2);
    assert_eq!(seg.members().iter().filter(|m| m.alive).count(), 1);
}

#[test]
fn a_child_that_drops_what_it_inherited_takes_nothing_from_its_parent() {
    if !support::forks_are_noticed() {
        return;
    }
    let name = Name::new("inherit");
    let seg = Segment::create(&name, 1 << 16).unwrap();
    let mutex = Mutex::create(&seg, "mutex", 0u32).unwrap();
    let other = Segment::open(&name).unwrap();
    let guard = mutex.lock().unwrap();
    let mut handles = Some((guard, seg.clone(), other));
    Forked::start(|| drop(handles.take())).finish();
    let (guard, seg, other) = handles.unwrap();
    assert!(matches!(mutex.try_lock(), Err(Error::WouldBlock)));
    assert_eq!(seg.members().iter().filter(|m| m.alive).count(), 2);
    drop(other);
    drop(guard);
    assert!(mutex.try_lock().is_ok());
}

#[test]
fn an_inherited_guard_is_inert_also_in_a_child_that_has_attached() {
    if !support::forks_are_noticed() {
        return;
    }
    let name = Name::new("inert");
    let seg = Segment::create(&name, 1 << 16).unwrap();
    let mutex = Mutex::create(&seg, "mutex", 0u32).unwrap();
    let condvar = commonhold::Condvar::create(&seg, "condvar").unwrap();
    let mut guard = Some(mutex.lock().unwrap());
    Forked::start(|| {
        assert!(matches!(mutex.try_lock(), Err(Error::WouldBlock)));
        let error = condvar.wait(guard.take().unwrap()).map(drop).unwrap_err();
        assert!(
            error.to_string().contains("inherited across a fork"),
            "{error}"
        );
        assert!(matches!(mutex.try_lock(), Err(Error::WouldBlock)));
    })
    .finish();
    drop(guard);
    assert!(mutex.try_lock().is_ok());
}

#[test]
fn two_handles_of_one_process_are_two_members_that_know_each_other_alive() {
    let name = Name::new("twice");
    let a = Segment::create(&name, 1 << 16).unwrap();
    let b = Segment::open(&name).unwrap();
    let ma = Mutex::create(&a, "mutex", 0u32).unwrap();
    let mb = Mutex::<u32>::open(&b, "mutex").unwrap();
    let guard = ma.lock().unwrap();
    assert!(matches!(
        mb.lock_timeout(Duration::from_millis(100)),
        Err(Error::Timeout)
    ));
    drop(guard);
    assert!(mb.lock().is_ok());
}

#[test]
fn a_full_table_says_so_and_the_places_of_the_dead_are_taken() {
    let name = Name::new("full");
    let options = SegmentOptions::new().max_members(2);
    let seg = options.create(&name).unwrap();
    let mutex = Mutex::create(&seg, "mutex", 0u32).unwrap();
    let mut holder = Child::start("hold", &[&name]);
    holder.expect("ready");
    let error = Segment::open(&name).unwrap_err();
    assert!(matches!(error, Error::TooManyMembers));
    holder.kill();
    let again = Segment::open(&name).unwrap();
    // The new member in the dead one's slot does not vouch for it.
    assert!(matches!(mutex.lock(), Err(Error::Poisoned)));
    drop(again);
    for _ in 0..100 {
        Segment::open(&name).unwrap();
    }
    assert_eq!(seg.members().len(), 1);
}

/// `unshare` with these flags, running the test binary; `None` where that is not allowed.
fn unshare(flags: &[&str]) -> Option<Command> {
    let allowed = Command::new("unshare").args(flags).arg("true").status();
    if !allowed.is_ok_and(|s| s.success()) {
        eprintln!("SKIPPED: unshare {flags:?} is not allowed here");
        return None;
    }
    let mut command = Command::new("unshare");
    command.args(flags).arg("--").args(support::this_program());
    Some(command)
}

#[test]
fn life_and_death_are_seen_across_pid_namespaces() {
    for flags in [
        &["--pid", "--fork", "--kill-child"][..],
        &[
            "--pid",
            "--fork",
            "--kill-child",
            "--user",
            "--ipc",
            "--uts",
        ][..],
    ] {
        let Some(command) = unshare(flags) else {
            return;
        };
        let name = Name::new("namespace");
        let seg = Segment::create(&name, 1 << 16).unwrap();
        let mutex = Mutex::create(&seg, "mutex", 0u32).unwrap();
        let mut holder = if flags.contains(&"--user") {
            // Another user namespace has another user: unmapped, it is not the segment's owner.
            let mut command = Command::new("unshare");
            command.args(flags).arg("--map-root-user").arg("--");
            command.args(support::this_program());
            Child::start_by(command, "hold", &[&name])
        } else {
            Child::start_by(command, "hold", &[&name])
        };
        holder.expect("ready");
        // Its pid there is 1, which here is somebody else, and alive.
        assert!(seg.members().iter().any(|m| m.pid == 1 && m.alive));
        assert!(matches!(
            mutex.lock_timeout(Duration::from_millis(200)),
            Err(Error::Timeout)
        ));
        holder.kill();
        let locked = within_the_limit(|| mutex.lock());
        assert!(matches!(locked, Err(Error::Poisoned)));
        assert!(!seg.members().iter().any(|m| m.pid == 1 && m.alive));
    }
}

#[test]
fn a_process_with_the_pid_of_the_dead_does_not_vouch_for_it() {
    if !support::forks_are_noticed() {
        return;
    }
    const LAST_PID: &str = "/proc/sys/kernel/ns_last_pid";
    let name = Name::new("pid");
    let seg = Segment::create(&name, 1 << 16).unwrap();
    let mutex = Mutex::create(&seg, "mutex", 0u32).unwrap();
    let ready = Atomics::<AtomicU32>::create(&seg, "ready", 1).unwrap();
    let hold_for_ever = || {
        std::mem::forget(mutex.lock().unwrap());
        ready[0].store(1, Ordering::Release);
        loop {
            // SAFETY: plain system call.
            unsafe { libc::pause() };
        }
    };
    let first = Forked::start(hold_for_ever);
    let pid = first.0;
    eventually(LIMIT, "it holds", || ready[0].load(Ordering::Acquire) == 1);
    first.kill();
    for _ in 0..200 {
        if std::fs::write(LAST_PID, format!("{}", pid - 1)).is_err() {
            eprintln!("SKIPPED: {LAST_PID} can't be written here");
            return;
        }
        // Another that was not the one may have stored 2.
        ready[0].store(1, Ordering::Release);
        let second = Forked::start(|| {
            // A member, and alive.
            mutex.inner_member_is_made();
            ready[0].store(2, Ordering::Release);
            loop {
                // SAFETY: plain system call.
                unsafe { libc::pause() };
            }
        });
        if second.0 == pid {
            eventually(LIMIT, "it is a member", || {
                ready[0].load(Ordering::Acquire) == 2
            });
            assert!(seg.members().iter().any(|m| m.pid == pid as u32 && m.alive));
            assert!(matches!(mutex.try_lock(), Err(Error::Poisoned)));
            return;
        }
    }
    eprintln!("SKIPPED: another process always took the pid first");
}

trait MakeMember {
    fn inner_member_is_made(&self);
}

impl MakeMember for Mutex<u32> {
    /// Any operation makes a forked child a member; this one changes nothing.
    fn inner_member_is_made(&self) {
        assert!(!matches!(self.try_lock(), Err(Error::TooManyMembers)));
    }
}

#[test]
fn a_thousand_members_attach_and_their_deaths_are_found() {
    if !support::forks_are_noticed() {
        return;
    }
    let name = Name::new("thousand");
    let options = SegmentOptions::new().max_members(1024);
    let seg = options.create(&name).unwrap();
    let queue = Queue::<u32>::create(&seg, "queue", 1024).unwrap();
    let mutex = Mutex::create(&seg, "mutex", 0u32).unwrap();
    let members: Vec<Forked> = (0..1000)
        .map(|i| {
            Forked::start(|| {
                if i == 999 {
                    std::mem::forget(mutex.lock().unwrap());
                }
                queue.send(i).unwrap();
                loop {
                    // SAFETY: plain system call.
                    unsafe { libc::pause() };
                }
            })
        })
        .collect();
    eventually(LIMIT, "all are members", || queue.len() == 1000);
    assert_eq!(seg.members().iter().filter(|m| m.alive).count(), 1001);
    assert!(matches!(mutex.try_lock(), Err(Error::WouldBlock)));
    drop(members);
    let locked = within_the_limit(|| mutex.lock());
    assert!(matches!(locked, Err(Error::Poisoned)));
    assert_eq!(seg.members().iter().filter(|m| m.alive).count(), 1);
    // While somebody waits, the sweep clears the table: one pass over a thousand takes half a second and more.
    let mut items = Vec::new();
    while queue.try_recv_many(&mut items, 1024).is_ok() {}
    assert_eq!(items.len(), 1000);
    eventually(LIMIT, "the table is clear", || {
        let _ = queue.recv_timeout(Duration::from_millis(100));
        seg.members().len() == 1
    });
}

#[test]
fn a_daemon_that_closed_all_its_descriptors_still_tells_the_living_from_the_dead() {
    if !support::forks_are_noticed() {
        return;
    }
    let name = Name::new("daemon");
    let seg = Segment::create(&name, 1 << 16).unwrap();
    let mutex = Mutex::create(&seg, "mutex", 0u32).unwrap();
    let mut holder = Child::start("hold", &[&name]);
    holder.expect("ready");
    let fd = seg.as_fd().as_raw_fd();
    Forked::start(|| {
        let close = |only: i32| {
            // SAFETY: the child needs no descriptor any more; this is what the test is about.
            unsafe { libc::close_range(only as u32, only as u32, 0) };
        };
        // Before it is a member, and with another file under the old number.
        close(fd);
        let null = std::fs::File::open("/dev/null").unwrap();
        // SAFETY: plain system call.
        unsafe { libc::dup2(null.as_raw_fd(), fd) };
        assert!(matches!(mutex.try_lock(), Err(Error::WouldBlock)));
        assert!(seg.members().iter().filter(|m| m.alive).count() == 3);
        let value = Value::create(&seg, "value", 1u32).unwrap();
        assert_eq!(value.get().unwrap(), 1);
    })
    .finish();
    holder.kill();
    assert!(matches!(mutex.try_lock(), Err(Error::Poisoned)));
}

/// Attaches again and again while another thread forks again and again; the forked live on when this process is killed.
fn hold_while_threads_fork(args: &[String]) {
    let attached = AtomicU32::new(0);
    let mut segments = Vec::new();
    let pids = std::thread::scope(|s| {
        let forker = s.spawn(|| {
            let mut pids = Vec::new();
            while attached.load(Ordering::Relaxed) < ATTACHES || pids.len() < 50 {
                // SAFETY: the child makes plain system calls only.
                let pid = unsafe { libc::fork() };
                if pid == 0 {
                    // SAFETY: as above. The alarm ends it if nobody else does.
                    unsafe { libc::alarm(30) };
                    loop {
                        // SAFETY: as above.
                        unsafe { libc::pause() };
                    }
                }
                pids.push(pid.to_string());
            }
            pids
        });
        for n in 1..=ATTACHES {
            segments.push(Segment::open(&args[0]).unwrap());
            attached.store(n, Ordering::Relaxed);
        }
        forker.join().unwrap()
    });
    tell(&pids.join(" "));
    wait_to_be_killed();
}

const ATTACHES: u32 = 400;

#[test]
fn forks_by_another_thread_never_inherit_the_power_to_vouch() {
    if !support::forks_are_noticed() {
        return;
    }
    let name = Name::new("forks");
    let options = SegmentOptions::new().max_members(ATTACHES + 1);
    let seg = options.create(&name).unwrap();
    let mut child = Child::start("hold_while_threads_fork", &[&name]);
    let pids = child.hear();
    let alive = || seg.members().iter().filter(|m| m.alive).count() as u32;
    let before = alive();
    child.kill();
    let after = alive();
    for pid in pids.split(' ').map(|p| p.parse().unwrap()) {
        // SAFETY: a process that our child started, which only its alarm or this signal ends.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
    assert_eq!(before, ATTACHES + 1);
    assert_eq!(after, 1, "a forked child vouches for its dead parent");
}

#[test]
fn a_segment_is_gone_when_unlinked_and_its_members_go_on() {
    let name = Name::new("unlink");
    let seg = Segment::create(&name, 1 << 16).unwrap();
    Segment::unlink(&name).unwrap();
    assert!(matches!(Segment::unlink(&name), Err(Error::NotFound)));
    assert!(matches!(Segment::open(&name), Err(Error::NotFound)));
    let value = Value::create(&seg, "value", 1u8).unwrap();
    let new = Segment::create(&name, 1 << 16).unwrap();
    assert!(matches!(
        Value::<u8>::open(&new, "value"),
        Err(Error::NotFound)
    ));
    assert_eq!(value.get().unwrap(), 1);
}
