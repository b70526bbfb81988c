//! Those who sleep when the file is cut.

use super::*;

fn wait_by(args: &[String], wait: impl FnOnce(&Opened) -> Result<()>) {
    let all = Opened::of(&args[0]);
    tell("ready");
    let got = wait(&all);
    assert!(matches!(got, Err(Error::Corrupt)), "{got:?}");
}

pub(crate) fn wait_in_recv(args: &[String]) {
    wait_by(args, |all| all.queue.recv().map(drop));
}

pub(crate) fn wait_in_wait(args: &[String]) {
    wait_by(args, |all| {
        let guard = all.mutex.lock().unwrap();
        all.condvar.wait_while(guard, |_| true).map(drop)
    });
}

/// The lock is held by this same process, and so by one who lives.
pub(crate) fn wait_in_lock(args: &[String]) {
    wait_by(args, |all| {
        std::mem::forget(all.mutex.lock().unwrap());
        // Whoever finds out first leaves the others nobody who would unlock.
        std::thread::scope(|scope| {
            let others = [(); 3].map(|()| scope.spawn(|| all.mutex.lock().map(drop)));
            for other in others {
                assert!(matches!(other.join().unwrap(), Err(Error::Corrupt)));
            }
        });
        all.mutex.lock().map(drop)
    });
}

/// The reading is this same process's, and so of one who lives; and each sleeps in another place.
pub(crate) fn wait_behind_a_reader(args: &[String]) {
    wait_by(args, |all| {
        std::mem::forget(all.rwlock.read().unwrap());
        std::thread::scope(|scope| {
            let writers = [(); 2].map(|()| scope.spawn(|| all.rwlock.write().map(drop)));
            while all.rwlock.try_read().is_ok() {}
            assert!(matches!(all.rwlock.read().map(drop), Err(Error::Corrupt)));
            for writer in writers {
                assert!(matches!(writer.join().unwrap(), Err(Error::Corrupt)));
            }
        });
        all.rwlock.recover().map(drop)
    });
}

pub(crate) fn wait_in_wait_until(args: &[String]) {
    wait_by(args, |all| all.value.wait_until(|v| v[0] == 1).map(drop));
}

#[test]
fn who_sleeps_finds_out() {
    for role in [
        "wait_in_recv",
        "wait_in_wait",
        "wait_in_lock",
        "wait_behind_a_reader",
        "wait_in_wait_until",
    ] {
        let name = Name::new("asleep");
        drop(make(&name));
        let mut child = Child::start(role, &[&name]);
        child.expect("ready");
        eventually(LIMIT, "it sleeps", || waits_on_a_futex(child.pid()));
        cut(&name, 0);
        within_the_limit(|| child.finish());
    }
}

pub(crate) fn sleep_in_a_child_of_a_condition(args: &[String]) {
    let all = Opened::of(&args[0]);
    let parent = std::process::id();
    let mut child = None;
    let got = all.value.wait_until(|v| {
        if child.is_none() {
            // SAFETY: the child goes on as any thread may, and ends below.
            let pid = unsafe { libc::fork() };
            if pid > 0 {
                tell(&pid.to_string());
            }
            child = Some(pid);
        }
        v[0] == 6
    });
    if std::process::id() == parent {
        assert_eq!(got.unwrap()[0], 6);
        let mut status = -1;
        // SAFETY: a child of ours, waited for once.
        unsafe { libc::waitpid(child.unwrap(), &raw mut status, 0) };
        assert_eq!(status, 0, "the child's end");
    } else {
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(i32::from(got.is_err())) };
    }
}

#[test]
fn who_sleeps_in_a_child_of_its_condition_finds_no_loss() {
    if !support::forks_are_noticed() {
        return;
    }
    let name = Name::new("condition");
    let seg = make(&name);
    let value = Value::<[u64; 4]>::open(&seg, "value").unwrap();
    let mut child = Child::start("sleep_in_a_child_of_a_condition", &[&name]);
    let grandchild: u32 = child.hear().parse().unwrap();
    eventually(LIMIT, "it sleeps", || waits_on_a_futex(grandchild));
    value.set([6; 4]).unwrap();
    child.finish();
}
