//! Segments themselves: made, opened, left and unlinked. The operations work on a second segment beside the first.

use crate::case::{Case, LONG, Look, MEMBERS, Subject, leak, options};
use crate::region::SECOND;
use crate::support::Forked;
use crate::tracer::Op;
use commonhold::{Error, Segment, Value};

fn second(seg: &Segment) -> String {
    format!("{}{SECOND}", seg.name())
}

fn make(_: &Segment) {}

/// A second segment, with something in it.
fn make_second(seg: &Segment) {
    let made = options().create(&second(seg)).unwrap();
    Value::create(&made, "value", [6u64; 3]).unwrap();
}

/// The next one: makes sure that it exists, and uses it.
fn mend(seg: &Segment) {
    let there = options().open_or_create(&second(seg)).unwrap();
    let v = Value::open_or_create(&there, "value", [6u64; 3]).unwrap();
    v.set_timeout([6; 3], LONG).unwrap();
}

/// Whether it exists, whole; afterwards it does not, and can be made.
fn judge(seg: &Segment, _: Look) -> u32 {
    let name = second(seg);
    let there = match Segment::open(&name) {
        Ok(found) => {
            for object in found.objects() {
                let v = Value::<[u64; 3]>::open(&found, &object.name).unwrap();
                assert_eq!(v.get().unwrap(), [6; 3]);
            }
            Value::create(&found, "probe", 1u8).unwrap();
            assert_all_slots_can_be_had(&name, found);
            Segment::unlink(&name).unwrap();
            1
        }
        Err(Error::NotFound) => 0,
        Err(e) => panic!("{e}"),
    };
    let made = options().create(&name).unwrap();
    assert!(made.objects().is_empty());
    Segment::unlink(&name).unwrap();
    there
}

/// The dead, and those who left, hold no slot for ever.
fn assert_all_slots_can_be_had(name: &str, first: Segment) {
    let living = first.members().iter().filter(|m| m.alive).count() as u32;
    let mut handles = vec![first];
    while handles.len() as u32 <= MEMBERS - living {
        handles.push(Segment::open(name).unwrap());
    }
    assert!(matches!(Segment::open(name), Err(Error::TooManyMembers)));
    assert_eq!(handles[0].members().len() as u32, MEMBERS);
}

fn op(seg: &Segment, op: fn(&str)) -> Op {
    let name = leak(second(seg));
    Box::new(move || op(name))
}

fn unlinked(seg: &Segment, look: Look) -> u32 {
    1 - judge(seg, look)
}

/// All slots but one belong to the dead, who were members of one open each.
fn crowd_of_the_dead(seg: &Segment) {
    make_second(seg);
    Forked::start(|| {
        for _ in 0..MEMBERS {
            std::mem::forget(Segment::open(&second(seg)).unwrap());
        }
    })
    .finish();
}

pub fn subject() -> Subject {
    Subject::new("Segment", make, mend, judge)
        .case(Case::new("create", 1, |seg| {
            op(seg, |name| {
                std::mem::forget(options().create(name).unwrap())
            })
        }))
        .case(Case::new("create, and leave it", 1, |seg| {
            op(seg, |name| drop(options().create(name).unwrap()))
        }))
        .case(Case::new("open_or_create, makes it", 1, |seg| {
            op(seg, |name| drop(options().open_or_create(name).unwrap()))
        }))
        .case(
            Case::new("create, and the name is taken", 0, |seg| {
                op(seg, |name| {
                    let taken = options().create(name);
                    assert!(matches!(taken, Err(Error::AlreadyExists)));
                })
            })
            .before(make_second)
            .judged_by(unlinked),
        )
        .case(
            Case::new("open: attaches", 0, |seg| {
                op(seg, |name| std::mem::forget(Segment::open(name).unwrap()))
            })
            .before(make_second)
            .judged_by(unlinked),
        )
        .case(
            Case::new("open, over slots of the dead", 0, |seg| {
                op(seg, |name| std::mem::forget(Segment::open(name).unwrap()))
            })
            .before(crowd_of_the_dead)
            .judged_by(unlinked),
        )
        .case(
            Case::new("drop: detaches", 0, |seg| {
                let there = Segment::open(&second(seg)).unwrap();
                Box::new(move || drop(there))
            })
            .before(make_second)
            .judged_by(unlinked),
        )
        .case(
            Case::new("members() that meets the dead", 0, |seg| {
                let there = Segment::open(&second(seg)).unwrap();
                Box::new(move || {
                    let living = there.members().iter().filter(|m| m.alive).count();
                    assert_eq!(living, 1);
                    std::mem::forget(there);
                })
            })
            .before(crowd_of_the_dead)
            .judged_by(unlinked),
        )
        .case(
            Case::new("unlink", 1, |seg| {
                op(seg, |name| Segment::unlink(name).unwrap())
            })
            .before(make_second)
            .judged_by(unlinked),
        )
}
