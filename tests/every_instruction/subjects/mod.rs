//! The primitives, and the operations of each.

mod array;
mod atomics;
mod barrier;
mod blocks;
mod broadcast;
pub mod broken;
mod condvar;
mod event;
mod lease;
mod messages;
mod mutex;
mod objects;
mod once;
mod pipe;
mod queue;
mod reentrant;
mod ring;
mod rwlock;
mod segment;
mod select;
mod semaphore;
mod value;

use crate::case::Subject;
use crate::tracer::{Op, Victim};
use crate::walk::{Event, Walk};
use commonhold::Segment;

pub fn all() -> Vec<Subject> {
    vec![
        mutex::subject(),
        rwlock::subject(),
        condvar::subject(),
        value::subject(),
        array::subject(),
        atomics::subject(),
        queue::subject(),
        ring::subject(),
        lease::subject(),
        messages::subject(),
        pipe::subject(),
        broadcast::subject(),
        blocks::subject(),
        semaphore::subject(),
        barrier::subject(),
        event::subject(),
        once::subject(),
        select::subject(),
        reentrant::subject(),
        objects::subject(),
        segment::subject(),
    ]
}

/// Runs an operation in another process, and kills it once it has changed the region for the nth time.
fn die_at_the_change(seg: &Segment, nth: u32, act: fn(&Segment) -> Op) {
    let mut victim = Victim::start(|| act(&Segment::open(seg.name()).unwrap()));
    let mut walk = Walk::new(&mut victim, seg.name(), |_| {});
    for _ in 0..nth {
        while walk.next().expect("it changes the region").event != Event::Change {}
    }
    drop(walk);
    victim.kill();
}
