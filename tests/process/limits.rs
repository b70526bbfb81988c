//! What processes cost, and what happens when there is no more of it.

use crate::support::{Child, eventually};
use commonhold::process::Process;
use commonhold::{Error, Segment, Value};
use std::path::PathBuf;
use std::time::Duration;

/// A machine that has better things to do needs no longer.
const LIMIT: Duration = Duration::from_secs(30);

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn a_thousand_processes_leave_no_descriptor_and_no_zombie() {
    Child::start("many_processes", &[]).finish();
}

pub(crate) fn many_processes(_: &[String]) {
    let add_one = |n: u32| n + 1;
    Process::spawn(add_one, 1).unwrap().join().unwrap();
    let before = descriptors();
    let mut pids = Vec::new();
    for i in 0..250u32 {
        // Four at a time, of which one is not joined.
        let four = [0; 4].map(|_| Process::spawn(add_one, i).unwrap());
        pids.extend(four.each_ref().map(Process::pid));
        for p in &four[1..] {
            assert_eq!(p.join().unwrap(), i + 1);
        }
    }
    let is_there = |pid: &u32| PathBuf::from(format!("/proc/{pid}")).exists();
    eventually(LIMIT, "none is left", || !pids.iter().any(is_there));
    eventually(LIMIT, "their descriptors are closed", || {
        descriptors() <= before
    });
}

#[test]
fn without_descriptors_spawn_is_an_error_and_leaves_nothing() {
    Child::start("descriptors_run_out", &[]).finish();
}

pub(crate) fn descriptors_run_out(_: &[String]) {
    let limit = |n: u64| {
        let limit = libc::rlimit {
            rlim_cur: n,
            rlim_max: 1024,
        };
        // SAFETY: an rlimit stands there.
        let r = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
        assert_eq!(r, 0);
    };
    let segment = Segment::anonymous(1 << 16).unwrap();
    let value = Value::create(&segment, "v", 1u64).unwrap();
    let get = |v: Value<u64>| v.get().unwrap();
    // From a program that has started none, and in one that has.
    for round in 0..2 {
        let before = descriptors();
        let mut refused = 0;
        for more in 0..16 {
            limit(before as u64 - 1 + more);
            let started = Process::spawn(get, value.clone());
            limit(1024);
            match started {
                Ok(p) => assert_eq!(p.join().unwrap(), 1),
                Err(Error::Io(e)) => {
                    assert!(
                        e.to_string().contains("files") || e.raw_os_error().is_some(),
                        "{e}"
                    );
                    refused += 1;
                }
                Err(e) => panic!("{e}"),
            }
        }
        assert!(refused >= 1, "{refused} in round {round}");
        // The nursery's bell stays.
        eventually(LIMIT, "what was opened is closed", || {
            descriptors() <= before + 1
        });
    }
    eventually(LIMIT, "none is left", || {
        commonhold::process::active_children().is_empty()
    });
}

#[test]
fn who_gave_up_his_rights_and_can_not_be_looked_into_starts_processes_all_the_same() {
    Child::start("nobody_in_particular", &[]).finish();
}

pub(crate) fn nobody_in_particular(_: &[String]) {
    // SAFETY: plain calls. Who is not root stays who he is.
    unsafe {
        libc::setgroups(0, std::ptr::null());
        libc::setresgid(65534, 65534, 65534);
        libc::setresuid(65534, 65534, 65534);
        assert_eq!(libc::prctl(libc::PR_SET_DUMPABLE, 0), 0);
    }
    let segment = Segment::anonymous(1 << 16).unwrap();
    let value = Value::create(&segment, "v", 1u64).unwrap();
    let p = Process::spawn(
        |v: Value<u64>| v.update(|v| *v += 1).unwrap(),
        value.clone(),
    )
    .unwrap();
    p.join().unwrap();
    assert_eq!(value.get().unwrap(), 2);
    // What arrives in another way than as an argument.
    let channel = commonhold::Channel::create(&segment, "c", 1 << 10).unwrap();
    let other = Segment::anonymous(1 << 16).unwrap();
    let far = Value::create(&other, "far", 5u64).unwrap();
    let f = |c: commonhold::Channel<Value<u64>>| c.recv().unwrap().get().unwrap();
    let p = Process::builder(f, channel.clone())
        .pass(&other)
        .spawn()
        .unwrap();
    channel.send(&far).unwrap();
    assert_eq!(p.join().unwrap(), 5);
}
