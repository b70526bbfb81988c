//! The primitives, and the operations of each.

mod array;
mod atomics;
mod barrier;
pub mod broken;
mod condvar;
mod event;
mod mutex;
mod objects;
mod once;
mod queue;
mod reentrant;
mod rwlock;
mod segment;
mod semaphore;
mod value;

use crate::case::Subject;

pub fn all() -> Vec<Subject> {
    vec![
        mutex::subject(),
        rwlock::subject(),
        condvar::subject(),
        value::subject(),
        array::subject(),
        atomics::subject(),
        queue::subject(),
        semaphore::subject(),
        barrier::subject(),
        event::subject(),
        once::subject(),
        reentrant::subject(),
        objects::subject(),
        segment::subject(),
    ]
}
