//! A once whose closure makes two words 1, by two stores.

use crate::case::{Case, LONG, Look, SHORT, Subject, leak, tire};
use crate::support::Forked;
use crate::tracer::Op;
use commonhold::{Atomics, Error, Once, Segment};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc;

struct Job {
    once: Once,
    words: Atomics<AtomicU64>,
}

impl Job {
    fn open(seg: &Segment) -> &'static Job {
        leak(Job {
            once: Once::open(seg, "once").unwrap(),
            words: Atomics::open(seg, "words").unwrap(),
        })
    }

    fn open_tired(seg: &Segment) -> &'static Job {
        let job = Job::open(seg);
        tire(|d| {
            let got = job.once.call_once_timeout(d, || unreachable!());
            assert!(matches!(got, Err(Error::Timeout)));
        });
        job
    }

    fn work(&self) {
        self.words.iter().for_each(|word| word.store(1, Relaxed));
    }

    fn call(&self) {
        self.once.call_once(|| self.work()).unwrap();
    }
}

fn make(seg: &Segment) {
    Once::create(seg, "once").unwrap();
    Atomics::<AtomicU64>::create(seg, "words", 2).unwrap();
}

fn mend(seg: &Segment) {
    let job = Job::open(seg);
    job.once.call_once_timeout(LONG, || job.work()).unwrap();
}

/// 0: new; 1: begun; 2: done.
fn judge(seg: &Segment, _: Look) -> u32 {
    let job = Job::open(seg);
    let words = || [0, 1].map(|i| job.words[i].load(Relaxed));
    let found = words();
    let was_completed = job.once.is_completed();
    let mut told = None;
    let called = job.once.call_once_force_timeout(LONG, |state| {
        told = Some(state.is_poisoned());
        job.work();
    });
    called.unwrap();
    assert_eq!(told.is_none(), was_completed);
    assert!(job.once.is_completed());
    assert_eq!(words(), [1; 2]);
    job.once.wait_timeout(LONG).unwrap();
    job.once.try_call_once(|| unreachable!()).unwrap();
    match told {
        None => {
            assert_eq!(found, [1; 2], "done, and not there");
            2
        }
        Some(true) => 1,
        Some(false) => {
            assert_eq!(found, [0; 2], "begun, and nobody was told");
            0
        }
    }
}

/// For what begins when it is begun.
fn judge_from_begun(seg: &Segment, look: Look) -> u32 {
    judge(seg, look) - 1
}

fn die_inside(seg: &Segment) {
    Forked::start(|| {
        let job = Job::open(seg);
        let _ = job.once.call_once(|| {
            job.words[0].store(1, Relaxed);
            // SAFETY: ends the child at once, in the middle.
            unsafe { libc::_exit(0) }
        });
    })
    .finish();
}

/// Is in its closure until the operation sleeps.
fn run(seg: &Segment) -> Op {
    run_until_told(seg, Job::work)
}

/// As that; and then it panics.
fn run_in_vain(seg: &Segment) -> Op {
    run_until_told(seg, |_| std::panic::resume_unwind(Box::new("on purpose")))
}

fn run_until_told(seg: &Segment, work: fn(&Job)) -> Op {
    let job = Job::open(seg);
    let (began, begun) = mpsc::channel();
    let (go, gone) = mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        let called = job.once.call_once(|| {
            began.send(()).unwrap();
            gone.recv().unwrap();
            work(job);
        });
        called.unwrap();
    });
    begun.recv().unwrap();
    Box::new(move || {
        go.send(()).unwrap();
        let _ = thread.join();
    })
}

fn wait_for_completion(seg: &Segment) {
    let job = Job::open(seg);
    job.once.wait_timeout(LONG).unwrap();
    assert!(job.words.iter().all(|word| word.load(Relaxed) == 1));
}

pub fn subject() -> Subject {
    Subject::new("Once", make, mend, judge)
        .case(Case::new("call_once, two stores", 2, |seg| {
            let job = Job::open(seg);
            Box::new(|| job.call())
        }))
        .case(Case::new("try_call_once, two stores", 2, |seg| {
            let job = Job::open(seg);
            Box::new(|| job.once.try_call_once(|| job.work()).unwrap())
        }))
        .case(
            Case::new("call_once, when it is done", 0, |seg| {
                let job = Job::open(seg);
                Box::new(|| job.once.call_once(|| unreachable!()).unwrap())
            })
            .before(mend)
            .judged_by(|seg, look| 2 - judge(seg, look)),
        )
        .case(
            Case::new("call_once after one died in the middle", 1, |seg| {
                let job = Job::open(seg);
                Box::new(|| job.call())
            })
            .before(die_inside)
            .judged_by(judge_from_begun),
        )
        .case(
            Case::new("try_call_once after one died in the middle", 1, |seg| {
                let job = Job::open(seg);
                Box::new(|| job.once.try_call_once(|| job.work()).unwrap())
            })
            .before(die_inside)
            .judged_by(judge_from_begun),
        )
        .case(
            Case::new("call_once while another runs, who ends", 1, |seg| {
                let job = Job::open_tired(seg);
                Box::new(|| job.once.call_once(|| unreachable!()).unwrap())
            })
            .woken_by(run)
            .judged_by(judge_from_begun),
        )
        .case(
            Case::new("call_once_timeout that passes", 0, |seg| {
                let job = Job::open_tired(seg);
                Box::new(|| {
                    let got = job.once.call_once_timeout(SHORT, || unreachable!());
                    assert!(matches!(got, Err(Error::Timeout)));
                })
            })
            .woken_by(run_in_vain)
            .after_naps(1000)
            .judged_by(judge_from_begun),
        )
        .case(
            Case::new("wait, done by another", 2, |seg| {
                let job = Job::open(seg);
                tire(|d| assert!(matches!(job.once.wait_timeout(d), Err(Error::Timeout))));
                Box::new(|| job.once.wait().unwrap())
            })
            .woken_by(|seg| {
                let job = Job::open(seg);
                Box::new(|| job.call())
            }),
        )
        .case(
            Case::new("call_once with two who wait", 2, |seg| {
                let job = Job::open(seg);
                Box::new(|| job.call())
            })
            .peer(wait_for_completion)
            .peer(wait_for_completion)
            // If it is done they find out without being told again.
            .released_by(mend),
        )
}
