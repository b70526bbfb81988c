//! An array of words that are always equal, but for the last, which is set alone.

use crate::case::{Case, LONG, Look, Subject, leak, tire};
use crate::support::Forked;
use commonhold::{Array, Error, Segment};
use std::hint::black_box;

fn open(seg: &Segment) -> &'static Array<u64> {
    leak(Array::open(seg, "array").unwrap())
}

fn make(seg: &Segment) {
    Array::<u64>::create(seg, "array", 5, 0).unwrap();
}

fn step(items: &mut [u64]) {
    for item in items {
        *black_box(item) += 1;
    }
}

/// Makes a half-written array whole; says how far it had come.
fn mended(a: &Array<u64>) -> u64 {
    match a.lock_timeout(LONG) {
        Ok(items) => {
            assert_eq!(items[..4], [items[0]; 4], "half-done, and nobody was told");
            items.iter().sum()
        }
        Err(Error::Poisoned) => {
            let mut items = a.recover().unwrap();
            let sum = items.iter().sum();
            let most = items[0];
            items.fill(most);
            sum
        }
        Err(e) => panic!("{e}"),
    }
}

fn mend(seg: &Segment) {
    mended(open(seg));
}

fn judge(seg: &Segment, _: Look) -> u32 {
    let a = Array::<u64>::open(seg, "array").unwrap();
    let sum = mended(&a);
    assert_eq!(a.len(), 5);
    a.set(4, 17).unwrap();
    assert_eq!(a.get(4).unwrap(), 17);
    assert_eq!(a.to_vec().unwrap()[4], 17);
    assert!(!a.is_poisoned());
    sum as u32
}

fn die_writing(seg: &Segment) {
    Forked::start(|| {
        let mut items = open(seg).lock().unwrap();
        items[0] = 1;
        std::mem::forget(items);
    })
    .finish();
}

pub fn subject() -> Subject {
    Subject::new("Array", make, mend, judge)
        .case(Case::new("get, to_vec", 0, |seg| {
            let a = open(seg);
            Box::new(|| {
                assert_eq!(a.get(1).unwrap(), 0);
                assert_eq!(a.to_vec().unwrap(), [0; 5]);
            })
        }))
        .case(Case::new("set", 1, |seg| {
            let a = open(seg);
            Box::new(|| a.set(4, 1).unwrap())
        }))
        .case(Case::new("lock, write the slice, unlock", 5, |seg| {
            let a = open(seg);
            Box::new(|| step(&mut a.lock().unwrap()))
        }))
        .case(
            Case::new("lock held by another; write, unlock", 5, |seg| {
                let a = open(seg);
                tire(|d| assert!(matches!(a.lock_timeout(d), Err(Error::Timeout))));
                Box::new(|| step(&mut a.lock().unwrap()))
            })
            .woken_by(|seg| {
                let items = open(seg).lock().unwrap();
                Box::new(|| drop(items))
            }),
        )
        .case(
            // 1 of 5 is written before; the judge's sum goes on from there.
            Case::new("recover, make whole, unlock", 4, |seg| {
                let a = open(seg);
                Box::new(|| {
                    let mut items = a.recover().unwrap();
                    for item in items.iter_mut() {
                        *black_box(item) = 1;
                    }
                })
            })
            .before(die_writing)
            .judged_by(|seg, look| judge(seg, look) - 1),
        )
}
