//! The primitives, and the operations of each.

mod array;
mod atomics;
pub mod broken;
mod condvar;
mod mutex;
mod objects;
mod queue;
mod rwlock;
mod segment;
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
        objects::subject(),
        segment::subject(),
    ]
}
