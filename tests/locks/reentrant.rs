use crate::is_a_handle;
use crate::support::{
    self, Child, Forked, LIMIT, Name, eventually, tell, wait_to_be_killed, waits_on_a_futex,
    within_the_limit,
};
use commonhold::{Atomics, Error, ReentrantMutex, Segment};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

fn new() -> (Segment, ReentrantMutex) {
    let seg = Segment::anonymous(1 << 12).unwrap();
    let m = ReentrantMutex::create(&seg, "r").unwrap();
    (seg, m)
}

/// Whether another thread finds it free.
fn is_free(m: &ReentrantMutex) -> bool {
    std::thread::scope(|s| match s.spawn(|| m.try_lock().map(drop)).join() {
        Ok(Ok(())) => true,
        Ok(Err(Error::WouldBlock)) => false,
        other => panic!("{other:?}"),
    })
}

#[test]
fn its_holder_locks_it_again_and_the_last_guard_unlocks_whichever_it_is() {
    let (_seg, m) = new();
    is_a_handle(&m);
    for last in 0..3 {
        let clone = m.clone();
        let mut guards = vec![
            m.lock().unwrap(),
            clone.try_lock().unwrap(),
            m.lock_timeout(LIMIT).unwrap(),
        ];
        assert!(!is_free(&m));
        let kept = guards.remove(last);
        drop(guards);
        assert!(!is_free(&m));
        drop(m.recover().unwrap());
        assert!(!is_free(&m));
        drop(kept);
        assert!(is_free(&m));
    }
}

#[test]
fn a_timed_lock_ends_at_its_deadline_and_not_before() {
    let (_seg, m) = new();
    let _held = m.lock().unwrap();
    std::thread::scope(|s| {
        s.spawn(|| {
            for ms in [0, 1, 60] {
                let d = Duration::from_millis(ms);
                for lock in [
                    ReentrantMutex::lock_timeout,
                    ReentrantMutex::recover_timeout,
                ] {
                    let start = Instant::now();
                    assert!(matches!(lock(&m, d).map(drop), Err(Error::Timeout)));
                    let took = start.elapsed();
                    assert!(d <= took && took < d + LIMIT, "{took:?}");
                }
            }
        });
    });
}

#[test]
fn a_segment_that_is_opened_twice_makes_two_holders() {
    let (seg, m) = new();
    let twin = Segment::from_fd(seg.as_fd().try_clone_to_owned().unwrap()).unwrap();
    let other = ReentrantMutex::open(&twin, "r").unwrap();
    let held = m.lock().unwrap();
    assert!(matches!(other.try_lock(), Err(Error::WouldBlock)));
    drop(held);
    let _held = other.lock().unwrap();
    assert!(matches!(m.try_lock(), Err(Error::WouldBlock)));
}

#[test]
fn an_inner_guard_that_goes_by_a_panic_poisons_when_the_last_one_goes() {
    let (_seg, m) = new();
    let outer = m.lock().unwrap();
    let panics = AssertUnwindSafe(|| {
        let _inner = m.lock().unwrap();
        std::panic::resume_unwind(Box::new("on purpose"));
    });
    assert!(catch_unwind(panics).is_err());
    // It is still ours, and we know of the panic.
    drop(m.lock().unwrap());
    assert!(!m.is_poisoned());
    drop(outer);
    assert!(m.is_poisoned());
    assert!(matches!(m.lock(), Err(Error::Poisoned)));
    assert!(matches!(m.try_lock(), Err(Error::Poisoned)));
    assert!(matches!(m.lock_timeout(LIMIT), Err(Error::Poisoned)));
    let mending = m.recover().unwrap();
    // While it mends it may lock again, by whatever call.
    drop(m.lock().unwrap());
    assert!(m.is_poisoned());
    drop(mending);
    assert!(!m.is_poisoned());
    drop(m.lock().unwrap());
}

#[test]
fn a_guard_that_is_made_while_its_thread_panics_does_not_poison() {
    struct Locks<'a>(&'a ReentrantMutex);
    impl Drop for Locks<'_> {
        fn drop(&mut self) {
            let _outer = self.0.lock().unwrap();
            let _inner = self.0.lock().unwrap();
        }
    }
    let (_seg, m) = new();
    let panics = AssertUnwindSafe(|| {
        let _locks = Locks(&m);
        std::panic::resume_unwind(Box::new("on purpose"));
    });
    assert!(catch_unwind(panics).is_err());
    assert!(!m.is_poisoned());
    drop(m.lock().unwrap());
}

const COUNTS: u64 = 3000;

pub(crate) fn count_up(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let m = ReentrantMutex::open(&seg, "r").unwrap();
    let counts = Atomics::<AtomicU64>::open(&seg, "counts").unwrap();
    // Not atomic: by two accesses.
    let add = |i: usize| {
        let n = counts[i].load(Ordering::Relaxed);
        counts[i].store(n + 1, Ordering::Relaxed);
    };
    std::thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                for n in 0..COUNTS {
                    let outer = m.lock().unwrap();
                    add(0);
                    let inner: Vec<_> = (0..n % 4).map(|_| m.lock().unwrap()).collect();
                    add(1);
                    if n % 2 == 0 {
                        drop(outer);
                        // Without inner ones it is free now.
                        (!inner.is_empty()).then(|| add(2));
                    } else {
                        drop(inner);
                        add(2);
                    }
                }
            });
        }
    });
}

#[test]
fn no_count_is_lost_between_threads_and_processes() {
    let name = Name::new("count-up");
    let seg = Segment::create(&name, 1 << 12).unwrap();
    ReentrantMutex::create(&seg, "r").unwrap();
    let counts = Atomics::<AtomicU64>::create(&seg, "counts", 3).unwrap();
    let children: Vec<_> = (0..3).map(|_| Child::start("count_up", &[&name])).collect();
    children.into_iter().for_each(Child::finish);
    let all = 6 * COUNTS;
    let counts = [0, 1, 2].map(|i| counts[i].load(Ordering::Relaxed));
    assert_eq!(counts, [all, all, all * 3 / 4]);
}

pub(crate) fn hold_thrice(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let m = ReentrantMutex::open(&seg, "r").unwrap();
    let _guards = [(); 3].map(|()| m.lock().unwrap());
    drop(m.lock().unwrap());
    tell("holds");
    wait_to_be_killed();
}

pub(crate) fn mend_for_ever(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let m = ReentrantMutex::open(&seg, "r").unwrap();
    let _outer = m.recover().unwrap();
    let _inner = m.lock().unwrap();
    tell("mends");
    wait_to_be_killed();
}

#[test]
fn a_holder_that_is_killed_at_depth_three_poisons_and_so_does_its_mender() {
    let name = Name::new("thrice");
    let seg = Segment::create(&name, 1 << 12).unwrap();
    let m = ReentrantMutex::create(&seg, "r").unwrap();
    let mut holder = Child::start("hold_thrice", &[&name]);
    holder.expect("holds");
    assert!(matches!(m.try_lock(), Err(Error::WouldBlock)));
    std::thread::scope(|s| {
        let waiter = s.spawn(|| m.lock().map(drop));
        assert!(matches!(
            m.lock_timeout(Duration::from_millis(50)),
            Err(Error::Timeout)
        ));
        holder.kill();
        within_the_limit(|| assert!(matches!(waiter.join().unwrap(), Err(Error::Poisoned))));
    });
    assert!(m.is_poisoned());
    let mut mender = Child::start("mend_for_ever", &[&name]);
    mender.expect("mends");
    assert!(matches!(m.try_lock(), Err(Error::WouldBlock)));
    mender.kill();
    assert!(matches!(
        within_the_limit(|| m.lock().map(drop)),
        Err(Error::Poisoned)
    ));
    let guard = within_the_limit(|| m.recover_timeout(LIMIT)).unwrap();
    drop(m.lock().unwrap());
    assert!(m.is_poisoned());
    drop(guard);
    assert!(!m.is_poisoned() && is_free(&m));
}

#[test]
fn guards_that_a_forked_child_inherits_are_inert() {
    if !support::forks_are_noticed() {
        return;
    }
    let (seg, m) = new();
    let told = Atomics::<AtomicU64>::create(&seg, "told", 1).unwrap();
    let outer = m.lock().unwrap();
    let inner = m.lock().unwrap();
    let mut inherited = Some((outer, inner));
    let child = Forked::start(|| {
        // The child's thread has the number of its parent's: it is another all the same.
        assert!(matches!(m.try_lock(), Err(Error::WouldBlock)));
        inherited.take();
        assert!(matches!(m.try_lock(), Err(Error::WouldBlock)));
        told[0].store(1, Ordering::Release);
        drop(m.lock().unwrap());
    });
    eventually(LIMIT, "the child let go of what it inherited", || {
        told[0].load(Ordering::Acquire) == 1
    });
    assert!(!is_free(&m));
    eventually(LIMIT, "it sleeps", || waits_on_a_futex(child.0 as u32));
    let (outer, inner) = inherited.expect("the parent's copies");
    drop(outer);
    assert!(!is_free(&m));
    drop(inner);
    child.finish();
    assert!(!m.is_poisoned() && is_free(&m));
}
