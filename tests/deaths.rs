//! A process is killed while it holds, waits, writes or makes something; the others go on.

mod support;

use commonhold::{Array, Atomics, Condvar, Error, Mutex, Queue, Segment, Value};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use support::{
    Child, Forked, LIMIT, Name, SHORT_OF_A_NAP, eventually, forbid, listen, tell,
    wait_to_be_killed, within_the_limit,
};

support::roles!(
    hold,
    hold_array,
    hold_by_recover,
    wait_in_recv,
    wait_in_eight_threads,
    take_for_ever,
    wait_in_recv_on_an_old_kernel,
    wait_on_condvar,
    write_half,
    wait_for_a_notify,
    hold_then_exec
);

struct Stage {
    name: Name,
    seg: Segment,
    mutex: Mutex<u64>,
    array: Array<u64>,
    value: Value<[u64; 4]>,
    queue: Queue<u64>,
    condvar: Condvar,
}

impl Stage {
    fn new() -> Stage {
        let name = Name::new("deaths");
        let seg = Segment::create(&name, 1 << 16).unwrap();
        Stage {
            mutex: Mutex::create(&seg, "mutex", 0).unwrap(),
            array: Array::create(&seg, "array", 3, 0).unwrap(),
            value: Value::create(&seg, "value", [1; 4]).unwrap(),
            queue: Queue::create(&seg, "queue", 4).unwrap(),
            condvar: Condvar::create(&seg, "condvar").unwrap(),
            name,
            seg,
        }
    }

    fn open(name: &str) -> Stage {
        let seg = Segment::open(name).unwrap();
        Stage {
            mutex: Mutex::open(&seg, "mutex").unwrap(),
            array: Array::open(&seg, "array").unwrap(),
            value: Value::open(&seg, "value").unwrap(),
            queue: Queue::open(&seg, "queue").unwrap(),
            condvar: Condvar::open(&seg, "condvar").unwrap(),
            // The child's own; the parent's name is the parent's to remove.
            name: Name::new("none"),
            seg,
        }
    }

    fn child(&self, role: &str) -> Child {
        let mut child = Child::start(role, &[&self.name]);
        child.expect("ready");
        child
    }
}

fn hold(args: &[String]) {
    let stage = Stage::open(&args[0]);
    let mut guard = stage.mutex.lock().unwrap();
    *guard = 13;
    tell("ready");
    listen();
    drop(guard);
    tell("unlocked");
    listen();
}

#[test]
fn a_killed_holder_poisons_the_mutex_until_somebody_recovers() {
    let stage = Stage::new();
    let m = &stage.mutex;
    let holder = stage.child("hold");
    assert!(matches!(m.try_lock(), Err(Error::WouldBlock)));
    assert!(matches!(
        m.lock_timeout(Duration::from_millis(50)),
        Err(Error::Timeout)
    ));
    holder.kill();
    assert!(matches!(
        within_the_limit(|| m.lock()),
        Err(Error::Poisoned)
    ));
    assert!(m.is_poisoned());
    assert!(matches!(m.lock(), Err(Error::Poisoned)));
    assert!(matches!(m.try_lock(), Err(Error::Poisoned)));
    assert!(matches!(m.lock_timeout(LIMIT), Err(Error::Poisoned)));
    let mut guard = within_the_limit(|| m.recover()).unwrap();
    assert_eq!(*guard, 13);
    *guard = 0;
    drop(guard);
    assert!(!m.is_poisoned());
    assert_eq!(*m.lock().unwrap(), 0);
}

#[test]
fn one_who_only_ever_tries_meets_the_death_too() {
    let stage = Stage::new();
    stage.child("hold").kill();
    assert!(matches!(stage.mutex.try_lock(), Err(Error::Poisoned)));
}

#[test]
fn all_who_wait_when_the_holder_is_killed_are_told() {
    let stage = Stage::new();
    let holder = stage.child("hold");
    let start = AtomicU32::new(0);
    std::thread::scope(|s| {
        let waiters: Vec<_> = (0..8)
            .map(|_| {
                s.spawn(|| {
                    start.fetch_add(1, Ordering::Relaxed);
                    matches!(stage.mutex.lock(), Err(Error::Poisoned))
                })
            })
            .collect();
        eventually(LIMIT, "all wait", || start.load(Ordering::Relaxed) == 8);
        // Beyond the short naps, where only the sweep finds the death.
        assert!(matches!(
            stage.mutex.lock_timeout(Duration::from_millis(300)),
            Err(Error::Timeout)
        ));
        holder.kill();
        within_the_limit(|| {
            for w in waiters {
                assert!(w.join().unwrap());
            }
        });
    });
}

fn hold_array(args: &[String]) {
    let stage = Stage::open(&args[0]);
    let mut guard = stage.array.lock().unwrap();
    guard[0] = 1;
    tell("ready");
    wait_to_be_killed();
}

#[test]
fn a_killed_holder_poisons_the_array() {
    let stage = Stage::new();
    stage.child("hold_array").kill();
    let a = &stage.array;
    assert!(matches!(
        within_the_limit(|| a.lock().map(drop)),
        Err(Error::Poisoned)
    ));
    assert!(matches!(a.get(1), Err(Error::Poisoned)));
    assert!(matches!(a.set(1, 1), Err(Error::Poisoned)));
    assert!(matches!(a.to_vec(), Err(Error::Poisoned)));
    a.recover().unwrap()[0] = 0;
    assert_eq!(a.to_vec().unwrap(), [0; 3]);
}

fn hold_by_recover(args: &[String]) {
    let stage = Stage::open(&args[0]);
    let _guard = stage.mutex.recover().unwrap();
    tell("ready");
    wait_to_be_killed();
}

#[test]
fn one_that_dies_while_it_mends_leaves_the_mutex_poisoned() {
    let stage = Stage::new();
    stage.child("hold").kill();
    let mender = stage.child("hold_by_recover");
    assert!(matches!(stage.mutex.try_lock(), Err(Error::WouldBlock)));
    mender.kill();
    assert!(matches!(stage.mutex.lock(), Err(Error::Poisoned)));
    drop(stage.mutex.recover().unwrap());
    assert!(stage.mutex.lock().is_ok());
}

#[test]
fn a_thread_that_panics_with_the_guard_poisons_the_mutex() {
    let stage = Stage::new();
    let m = stage.mutex.clone();
    let panicked = std::thread::spawn(move || {
        let _guard = m.lock().unwrap();
        std::panic::resume_unwind(Box::new(()));
    })
    .join();
    assert!(panicked.is_err());
    assert!(matches!(stage.mutex.lock(), Err(Error::Poisoned)));
    drop(stage.mutex.recover().unwrap());
    assert!(stage.mutex.lock().is_ok());
}

fn wait_in_recv(args: &[String]) {
    let stage = Stage::open(&args[0]);
    tell("ready");
    let _ = stage.queue.recv();
    wait_to_be_killed();
}

#[test]
fn readers_killed_while_idle_in_recv_take_nothing_with_them() {
    let stage = Stage::new();
    for round in 0..10 {
        let readers = [(); 3].map(|()| stage.child("wait_in_recv"));
        let mut survivor = stage.child("wait_in_recv");
        readers.into_iter().for_each(Child::kill);
        // The wake-up for this item may go to one of the dead.
        stage.queue.send(round).unwrap();
        eventually(SHORT_OF_A_NAP, "the survivor takes the item", || {
            stage.queue.is_empty()
        });
        survivor.kill_only();
    }
    assert_eq!(stage.queue.len(), 0);
    stage.queue.send(7).unwrap();
    assert_eq!(stage.queue.recv().unwrap(), 7);
}

fn wait_in_eight_threads(args: &[String]) {
    let stage = Stage::open(&args[0]);
    std::thread::scope(|s| {
        for _ in 0..8 {
            s.spawn(|| stage.queue.recv());
        }
        tell("ready");
        wait_to_be_killed();
    });
}

fn take_for_ever(args: &[String]) {
    let stage = Stage::open(&args[0]);
    tell("ready");
    while stage.queue.recv().is_ok() {}
}

/// How many of the roles of the watch over deaths the process has (`docs/layout.md`: Shared, roles).
fn roles_of(stage: &Stage, pid: u32) -> usize {
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileExt;
    let file: std::fs::File = stage.seg.as_fd().try_clone_to_owned().unwrap().into();
    let mut header = vec![0; 8192];
    file.read_exact_at(&mut header, 0).unwrap();
    let word = |at: usize| u32::from_ne_bytes(header[at..at + 4].try_into().unwrap());
    (0..8)
        .map(|role| word(128 + 144 + 4 * role))
        .filter(|holder| *holder != 0)
        .filter(|holder| word(4096 + 64 * (holder % 1024) as usize + 4) == pid)
        .count()
}

#[test]
fn a_process_of_many_waiting_threads_takes_not_the_whole_watch_with_it() {
    for round in 0..5 {
        let stage = Stage::new();
        let many = stage.child("wait_in_eight_threads");
        eventually(LIMIT, "it watches", || roles_of(&stage, many.pid()) > 0);
        let survivors = [(); 3].map(|()| stage.child("take_for_ever"));
        for s in &survivors {
            eventually(LIMIT, "they watch", || roles_of(&stage, s.pid()) > 0);
        }
        // A sweeper that has no processor for long is replaced, by whoever looks.
        eventually(LIMIT, "no more than its share", || {
            roles_of(&stage, many.pid()) <= 2
        });
        // A stopped process swallows wake-ups, and then it dies.
        many.signal(libc::SIGSTOP);
        stage.queue.send(round).unwrap();
        many.kill();
        eventually(SHORT_OF_A_NAP, "a survivor takes the item", || {
            stage.queue.is_empty()
        });
    }
}

fn has_futex_waitv() -> bool {
    // SAFETY: refused, whether the kernel has the call or not: it waits for no words.
    let r = unsafe { libc::syscall(libc::SYS_futex_waitv, 0, 0, 0, 0, 0) };
    assert_eq!(r, -1);
    std::io::Error::last_os_error().raw_os_error() != Some(libc::ENOSYS)
}

/// Lets the kernel say of `futex_waitv` that it has no such call, as kernels before 5.16 do.
fn wait_in_recv_on_an_old_kernel(args: &[String]) {
    // Some can't filter, and need not: qemu's user mode has no such call.
    if has_futex_waitv() {
        assert!(forbid(libc::SYS_futex_waitv, libc::ENOSYS));
    }
    assert!(!has_futex_waitv());
    wait_in_recv(args);
}

#[test]
fn deaths_are_found_without_futex_waitv_too() {
    let stage = Stage::new();
    for round in 0..3 {
        let doomed = [(); 2].map(|()| stage.child("wait_in_recv_on_an_old_kernel"));
        let mut survivor = stage.child("wait_in_recv_on_an_old_kernel");
        doomed.into_iter().for_each(Child::kill);
        stage.queue.send(round).unwrap();
        eventually(SHORT_OF_A_NAP, "the survivor takes the item", || {
            stage.queue.is_empty()
        });
        survivor.kill_only();
    }
}

fn write_half(args: &[String]) {
    let stage = Stage::open(&args[0]);
    stage
        .value
        .update(|v| {
            v[0] = 99;
            tell("ready");
            wait_to_be_killed();
        })
        .unwrap();
}

#[test]
fn a_writer_killed_in_an_update_leaves_the_old_value_and_no_lock() {
    let stage = Stage::new();
    let writer = stage.child("write_half");
    assert_eq!(stage.value.get().unwrap(), [1; 4]);
    assert!(matches!(
        stage.value.try_set([5; 4]),
        Err(Error::WouldBlock)
    ));
    assert!(matches!(
        stage
            .value
            .update_timeout(Duration::from_millis(20), |_| ()),
        Err(Error::Timeout)
    ));
    writer.kill();
    assert_eq!(stage.value.get().unwrap(), [1; 4]);
    within_the_limit(|| stage.value.update(|v| v[1] += 1)).unwrap();
    assert_eq!(stage.value.get().unwrap(), [1, 2, 1, 1]);
}

#[test]
fn a_closure_that_panics_changes_nothing_and_leaves_no_lock() {
    let stage = Stage::new();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        stage.value.update(|v| {
            v[0] = 99;
            std::panic::resume_unwind(Box::new(()));
        })
    }));
    assert!(result.is_err());
    assert_eq!(stage.value.get().unwrap(), [1; 4]);
    stage.value.try_set([2; 4]).unwrap();
    assert_eq!(stage.value.get().unwrap(), [2; 4]);
}

fn wait_on_condvar(args: &[String]) {
    let stage = Stage::open(&args[0]);
    let guard = lock_or_recover(&stage);
    tell("ready");
    let _guard = stage.condvar.wait_while(guard, |_| true);
    panic!("nobody ends this wait");
}

fn wait_for_a_notify(args: &[String]) {
    let stage = Stage::open(&args[0]);
    let mut guard = lock_or_recover(&stage);
    tell("ready");
    loop {
        match stage.condvar.wait_while(guard, |n| *n == 0) {
            Ok(mut guard) => {
                *guard -= 1;
                return;
            }
            Err(Error::Poisoned) => guard = stage.mutex.recover().unwrap(),
            Err(e) => panic!("{e}"),
        }
    }
}

/// One who waits takes the mutex for a moment whenever it looks again, and can be killed in that moment.
fn lock_or_recover(stage: &Stage) -> commonhold::MutexGuard<'_, u64> {
    match stage.mutex.lock() {
        Err(Error::Poisoned) => stage.mutex.recover().unwrap(),
        other => other.unwrap(),
    }
}

#[test]
fn killed_waiters_neither_hang_the_notifier_nor_strand_the_living() {
    let stage = Stage::new();
    for _ in 0..5 {
        let doomed = [(); 3].map(|()| stage.child("wait_on_condvar"));
        let survivor = stage.child("wait_for_a_notify");
        // Whoever got the mutex tells so before it waits; once we have it, all of them wait.
        within_the_limit(|| *lock_or_recover(&stage) = 1);
        doomed.into_iter().for_each(Child::kill);
        // One wake-up for four waiters, of which three are dead.
        within_the_limit(|| stage.condvar.notify_one());
        within_the_limit(|| survivor.finish());
        within_the_limit(|| assert_eq!(*lock_or_recover(&stage), 0));
    }
}

#[test]
fn a_stopped_holder_is_not_taken_for_dead() {
    let stage = Stage::new();
    let mut holder = stage.child("hold");
    holder.signal(libc::SIGSTOP);
    assert!(matches!(
        stage.mutex.lock_timeout(Duration::from_millis(300)),
        Err(Error::Timeout)
    ));
    assert!(stage.seg.members().iter().all(|m| m.alive));
    holder.signal(libc::SIGCONT);
    holder.say("unlock");
    holder.expect("unlocked");
    assert_eq!(*stage.mutex.lock().unwrap(), 13);
    holder.kill();
}

fn hold_then_exec(args: &[String]) {
    use std::os::unix::process::CommandExt;
    let stage = Stage::open(&args[0]);
    std::mem::forget(stage.mutex.lock().unwrap());
    tell("ready");
    let e = Command::new("cat").exec();
    panic!("{e}");
}

#[test]
fn a_holder_that_becomes_another_program_is_gone() {
    let stage = Stage::new();
    let holder = stage.child("hold_then_exec");
    eventually(LIMIT, "it has become cat", || {
        std::fs::read_to_string(format!("/proc/{}/comm", holder.pid()))
            .is_ok_and(|comm| comm.trim() == "cat")
    });
    assert!(matches!(
        within_the_limit(|| stage.mutex.lock()),
        Err(Error::Poisoned)
    ));
    holder.kill();
}

#[test]
fn a_process_lives_on_when_the_thread_that_attached_ends() {
    let stage = Stage::new();
    let seg = stage.seg.clone();
    let other = std::thread::spawn(move || {
        let seg = Segment::open(seg.name()).unwrap();
        let mutex = Mutex::<u64>::open(&seg, "mutex").unwrap();
        std::mem::forget(mutex.lock().unwrap());
        seg
    })
    .join()
    .unwrap();
    assert!(matches!(
        stage.mutex.lock_timeout(Duration::from_millis(100)),
        Err(Error::Timeout)
    ));
    // With its last handle the membership ends, and the forgotten guard is a dead member's.
    drop(other);
    assert!(matches!(
        within_the_limit(|| stage.mutex.lock()),
        Err(Error::Poisoned)
    ));
}

#[test]
fn a_lock_is_found_dead_though_a_forked_child_of_its_owner_lives() {
    if !support::forks_are_noticed() {
        return;
    }
    let stage = Stage::new();
    let flags = Atomics::<AtomicU32>::create(&stage.seg, "flags", 2).unwrap();
    let holder = Forked::start(|| {
        let _guard = stage.mutex.lock().unwrap();
        // SAFETY: the grandchild makes plain system calls only, and dies with its parent's signal at the latest.
        if unsafe { libc::fork() } == 0 {
            // SAFETY: as above.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, 0) };
            // SAFETY: as above.
            let pid = unsafe { libc::getpid() };
            flags[1].store(pid as u32, Ordering::Release);
            loop {
                // SAFETY: as above.
                unsafe { libc::pause() };
            }
        }
        flags[0].store(1, Ordering::Release);
        loop {
            // SAFETY: plain system call.
            unsafe { libc::pause() };
        }
    });
    let grandchild = || flags[1].load(Ordering::Acquire) as i32;
    eventually(LIMIT, "both are there", || {
        flags[0].load(Ordering::Acquire) == 1 && grandchild() != 0
    });
    holder.kill();
    let result = within_the_limit(|| stage.mutex.lock().map(drop));
    // SAFETY: the process that our child started, and that it told us of; nobody has reaped it, so the pid is its own
    // unless it has died, which nothing but this signal makes it do.
    unsafe { libc::kill(grandchild(), libc::SIGKILL) };
    assert!(matches!(result, Err(Error::Poisoned)));
}
