//! The creation of objects: each is there whole or not at all, and no room is lost.

use crate::case::{Case, LONG, Look, Subject, leak};
use crate::tracer::Op;
use commonhold::{Array, Atomics, Condvar, Error, Mutex, Queue, Segment, Value};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

fn make(_: &Segment) {}

/// The next one makes an object too: it takes the directory's lock over.
fn mend(seg: &Segment) {
    match Value::create(seg, "mended", 5u64) {
        Ok(v) => assert_eq!(v.get().unwrap(), 5),
        Err(Error::AlreadyExists | Error::TooManyObjects) => {}
        Err(e) => panic!("{e}"),
    }
}

/// All that is there is whole; says how many.
fn judge(seg: &Segment, _: Look) -> u32 {
    let objects = seg.objects();
    for object in &objects {
        assert_whole(seg, &object.name);
    }
    let used: usize = objects.iter().map(|o| o.size.next_multiple_of(128)).sum();
    let taken = seg.capacity() - seg.available();
    assert_eq!(taken.next_multiple_of(128), used, "room was lost");
    for name in ["value", "array", "atomics", "mutex", "condvar", "queue"] {
        let listed = objects.iter().any(|o| o.name == name);
        assert_eq!(exists(seg, name), listed, "{name}");
    }
    let before = objects.iter().filter(|o| o.name != "mended").count();
    let probe = Value::create(seg, "probe", 3u64).unwrap();
    probe.set_timeout(4, LONG).unwrap();
    assert!(seg.available() < seg.capacity() - taken);
    before as u32
}

fn exists(seg: &Segment, name: &str) -> bool {
    // Of a wrong type on purpose: it is there, or it is not.
    !matches!(Value::<[u8; 3]>::open(seg, name), Err(Error::NotFound))
}

fn assert_whole(seg: &Segment, name: &str) {
    match name {
        "mended" => assert_eq!(Value::<u64>::open(seg, name).unwrap().get().unwrap(), 5),
        "value" => assert_eq!(
            Value::<[u64; 9]>::open(seg, name).unwrap().get().unwrap(),
            [7; 9]
        ),
        "array" => {
            let a = Array::<u32>::open(seg, name).unwrap();
            assert_eq!(a.to_vec().unwrap(), [1, 2, 3, 4, 5]);
        }
        "atomics" => {
            let a = Atomics::<AtomicU64>::open(seg, name).unwrap();
            assert!(a.len() == 3 && a.iter().all(|n| n.load(Relaxed) == 0));
        }
        "mutex" => {
            let m = Mutex::<[u64; 4]>::open(seg, name).unwrap();
            assert_eq!(*m.lock_timeout(LONG).unwrap(), [9; 4]);
        }
        "condvar" => Condvar::open(seg, name).unwrap().notify_one(),
        "queue" => {
            let q = Queue::<[u64; 2]>::open(seg, name).unwrap();
            assert!(q.capacity() == 5 && q.is_empty());
            q.send_timeout([1, 2], LONG).unwrap();
            assert_eq!(q.recv_timeout(LONG).unwrap(), [1, 2]);
        }
        other => panic!("an object called {other:?}"),
    }
}

fn make_value(seg: &Segment) {
    Value::create(seg, "value", [7u64; 9]).unwrap();
}

/// With the directory's lock in a dead one's hands.
fn die_creating(seg: &Segment) {
    use crate::tracer::Victim;
    use crate::walk::{Event, Walk};
    let mut victim = Victim::start(|| {
        // It is a member before, so the first change is the lock.
        op(&Segment::open(seg.name()).unwrap(), make_value)
    });
    let mut walk = Walk::new(&mut victim, seg.name(), |_| {});
    while walk.next().expect("it locks the directory").event != Event::Change {}
    drop(walk);
    victim.kill();
}

fn op(seg: &Segment, op: fn(&Segment)) -> Op {
    let seg = leak(seg.clone());
    Box::new(move || op(seg))
}

pub fn subject() -> Subject {
    Subject::new("objects", make, mend, judge)
        .case(Case::new("create a Value", 1, |seg| op(seg, make_value)))
        .case(Case::new("create an Array from a slice", 1, |seg| {
            op(seg, |seg| {
                Array::from_slice(seg, "array", &[1u32, 2, 3, 4, 5]).unwrap();
            })
        }))
        .case(Case::new("create Atomics", 1, |seg| {
            op(seg, |seg| {
                Atomics::<AtomicU64>::create(seg, "atomics", 3).unwrap();
            })
        }))
        .case(Case::new("create a Mutex, and a Condvar", 2, |seg| {
            op(seg, |seg| {
                Mutex::create(seg, "mutex", [9u64; 4]).unwrap();
                Condvar::create(seg, "condvar").unwrap();
            })
        }))
        .case(Case::new("create a Queue", 1, |seg| {
            op(seg, |seg| {
                Queue::<[u64; 2]>::create(seg, "queue", 5).unwrap();
            })
        }))
        .case(Case::new("open_or_create, twice", 1, |seg| {
            op(seg, |seg| {
                for _ in 0..2 {
                    Value::open_or_create(seg, "value", [7u64; 9]).unwrap();
                }
            })
        }))
        .case(
            Case::new("open, and the wrong type", 0, |seg| {
                op(seg, |seg| {
                    Value::<[u64; 9]>::open(seg, "value").unwrap();
                    let wrong = Value::<u8>::open(seg, "value");
                    assert!(matches!(wrong, Err(Error::TypeMismatch { .. })));
                })
            })
            .before(make_value)
            .judged_by(|seg, look| judge(seg, look) - 1),
        )
        .case(
            Case::new("create after a creator died in the middle", 1, |seg| {
                op(seg, make_value)
            })
            .before(die_creating),
        )
        .case(
            Case::new("create by a forked child: attaches first", 1, |seg| {
                op(seg, make_value)
            })
            .by_an_inherited_handle(),
        )
}
