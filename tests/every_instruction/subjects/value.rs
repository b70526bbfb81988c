//! A value of four words, always equal.

use crate::case::{Case, LONG, Look, SHORT, Subject, leak, tire};
use crate::support::Forked;
use commonhold::{Error, Segment, Value};
use std::hint::black_box;

type Words = [u64; 4];

fn open(seg: &Segment) -> &'static Value<Words> {
    leak(Value::open(seg, "value").unwrap())
}

fn open_tired(seg: &Segment) -> &'static Value<Words> {
    let v = open(seg);
    tire(|d| {
        let got = v.wait_until_timeout(d, |_| false);
        assert!(matches!(got, Err(Error::Timeout)));
    });
    v
}

fn make(seg: &Segment) {
    Value::<Words>::create(seg, "value", [0; 4]).unwrap();
}

fn step(words: &mut Words) {
    for word in words {
        *black_box(word) += 1;
    }
}

fn mend(seg: &Segment) {
    open(seg).update_timeout(LONG, step).unwrap();
}

fn judge(seg: &Segment, _: Look) -> u32 {
    let v = Value::<Words>::open(seg, "value").unwrap();
    let words = v.get().unwrap();
    assert_eq!(words, [words[0]; 4], "torn");
    v.update_timeout(LONG, step).unwrap();
    assert_eq!(v.get().unwrap(), [words[0] + 1; 4]);
    v.set_timeout([7; 4], LONG).unwrap();
    assert_eq!(v.wait_until_timeout(LONG, |w| w[0] == 7).unwrap(), [7; 4]);
    words[0] as u32
}

fn die_in_update(seg: &Segment) {
    Forked::start(|| {
        let _ = open(seg).update(|words| {
            words[0] = 99;
            // SAFETY: ends the child at once, in the middle.
            unsafe { libc::_exit(0) }
        });
    })
    .finish();
}

fn wait_for_a_step(seg: &Segment) {
    let got = open(seg).wait_until_timeout(LONG, |w| w[0] != 0).unwrap();
    assert_eq!(got, [got[0]; 4]);
}

/// Unless it is done: then the sleeper finds out without being told again.
fn step_if_need_be(seg: &Segment) {
    let v = open(seg);
    if v.get().unwrap()[0] == 0 {
        v.update_timeout(LONG, step).unwrap();
    }
}

pub fn subject() -> Subject {
    Subject::new("Value", make, mend, judge)
        .case(Case::new("get", 0, |seg| {
            let v = open(seg);
            Box::new(|| assert_eq!(v.get().unwrap(), [0; 4]))
        }))
        .case(Case::new("set", 1, |seg| {
            let v = open(seg);
            Box::new(|| v.set([1; 4]).unwrap())
        }))
        .case(Case::new("update, twice", 2, |seg| {
            let v = open(seg);
            Box::new(|| {
                v.update(step).unwrap();
                v.update(step).unwrap();
            })
        }))
        .case(
            Case::new("update after a writer died in the middle", 1, |seg| {
                let v = open(seg);
                Box::new(|| v.update(step).unwrap())
            })
            .before(die_in_update),
        )
        .case(
            Case::new("wait_until, woken by a set; update", 2, |seg| {
                let v = open_tired(seg);
                Box::new(|| {
                    v.wait_until(|w| w[0] == 1).unwrap();
                    v.update(step).unwrap();
                })
            })
            .woken_by(|seg| {
                let v = open(seg);
                Box::new(|| v.update_timeout(LONG, step).unwrap())
            }),
        )
        .case(Case::new("wait_until_timeout that passes", 0, |seg| {
            let v = open_tired(seg);
            Box::new(|| {
                let got = v.wait_until_timeout(SHORT, |w| w[0] == 1);
                assert!(matches!(got, Err(Error::Timeout)));
            })
        }))
        .case(
            Case::new("update that wakes a waiter", 1, |seg| {
                let v = open(seg);
                Box::new(|| v.update(step).unwrap())
            })
            .peer(wait_for_a_step)
            .released_by(step_if_need_be),
        )
}
