//! An operation to be killed in, and how to tell whether what is left is right.

use crate::support::SHORT_OF_A_NAP;
use crate::tracer::Op;
use commonhold::{Segment, SegmentOptions};
use std::time::Duration;

/// What survivors may take at most for all that they do.
pub const LIMIT: Duration = SHORT_OF_A_NAP;

/// For calls that must not time out by themselves: they may be made by a process that is stepped through, or before another
/// one is.
pub const LONG: Duration = Duration::from_secs(300);

/// Members that a case's segment has room for.
pub const MEMBERS: u32 = 14;

/// Which look at what a death left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Look {
    /// Nobody but the victim did anything: the judge can tell how far it came.
    First,
    /// Others went on meanwhile, or another died while it mended: the judge can only tell whether all is sound.
    Later,
}

/// A primitive under proof.
pub struct Subject {
    pub name: &'static str,
    /// Makes it in a fresh segment.
    pub make: fn(&Segment),
    /// What the next one does who meets it after a death; stepped through, and killed, like the operations.
    pub mend: fn(&Segment),
    /// Asserts that nothing is lost and everything works, and says how far the operation came: never less than was said of an
    /// earlier instruction. See [`Case::judge`].
    pub judge: Judge,
    pub cases: Vec<Case>,
}

pub type Judge = fn(&Segment, Look) -> u32;

/// One operation.
pub struct Case {
    pub name: &'static str,
    /// What was done before, by processes that may be dead by now.
    pub before: fn(&Segment),
    /// What others do once the operation has gone to sleep: it makes itself ready before the operation begins.
    pub wake: Option<fn(&Segment) -> Op>,
    /// How many times the operation goes to sleep before that.
    pub naps: u32,
    /// Other processes that block, are released by the operation, and must end well, also if the victim does not.
    pub peers: Vec<fn(&Segment)>,
    /// What they need if the victim died first.
    pub release: Option<fn(&Segment)>,
    /// Makes ready in the victim, and returns, the operation.
    pub act: fn(&Segment) -> Op,
    /// The victim works by the handle that it inherited when it was forked; otherwise by one that it opened.
    pub inherits: bool,
    /// The judge of this case, if it is not the subject's.
    pub judge: Option<Judge>,
    /// What the judge says when the operation is done. Before it, 0.
    pub done: u32,
}

impl Subject {
    pub fn new(name: &'static str, make: fn(&Segment), mend: fn(&Segment), judge: Judge) -> Self {
        Subject {
            name,
            make,
            mend,
            judge,
            cases: Vec::new(),
        }
    }

    pub fn case(mut self, case: Case) -> Self {
        self.cases.push(case);
        self
    }
}

impl Case {
    /// An operation that takes the judge from 0 to `done`.
    pub fn new(name: &'static str, done: u32, act: fn(&Segment) -> Op) -> Case {
        Case {
            name,
            before: |_| {},
            wake: None,
            naps: 1,
            peers: Vec::new(),
            release: None,
            act,
            inherits: false,
            judge: None,
            done,
        }
    }

    pub fn before(self, before: fn(&Segment)) -> Case {
        Case { before, ..self }
    }

    pub fn woken_by(self, wake: fn(&Segment) -> Op) -> Case {
        Case {
            wake: Some(wake),
            ..self
        }
    }

    pub fn by_an_inherited_handle(self) -> Case {
        Case {
            inherits: true,
            ..self
        }
    }

    pub fn after_naps(self, naps: u32) -> Case {
        Case { naps, ..self }
    }

    pub fn peer(mut self, peer: fn(&Segment)) -> Case {
        self.peers.push(peer);
        self
    }

    pub fn released_by(self, release: fn(&Segment)) -> Case {
        Case {
            release: Some(release),
            ..self
        }
    }

    pub fn judged_by(self, judge: Judge) -> Case {
        Case {
            judge: Some(judge),
            ..self
        }
    }
}

/// As small as they come: its bytes are compared at each instruction.
pub fn options() -> SegmentOptions {
    SegmentOptions::new()
        .capacity(4096)
        .max_members(MEMBERS)
        .max_objects(4)
}

/// For waits that must end by themselves, and not before they have slept, however slowly they are stepped through.
pub const SHORT: Duration = Duration::from_millis(300);

/// Waits in vain, as often as it takes until the handle no longer spins for long before it sleeps: thousands of
/// instructions that do nothing.
pub fn tire(mut wait_in_vain: impl FnMut(Duration)) {
    (0..12).for_each(|_| wait_in_vain(Duration::from_nanos(1)));
}

/// For what lives as long as the process, such as a victim's handles.
pub fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}
