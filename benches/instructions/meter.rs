//! What valgrind counts, and for which operation.

use std::cell::Cell;

/// How often an operation is counted, unless it is slow: so many that what calls the loop does not show.
const TIMES: u32 = 1000;

/// Runs each operation where it is counted.
pub(crate) struct Meter {
    names: bool,
    operations: Cell<u32>,
}

impl Meter {
    /// With `names` it says what it runs, for who counts.
    pub(crate) fn new(names: bool) -> Meter {
        Meter {
            names,
            operations: Cell::new(0),
        }
    }

    /// Has `op` counted, [`TIMES`] times.
    pub(crate) fn each<R>(&self, name: &str, op: impl FnMut() -> R) {
        self.times(TIMES, name, op);
    }

    /// Runs `op` so many times as it is, so that what happens once has happened, and then where it is counted.
    pub(crate) fn times<R>(&self, times: u32, name: &str, mut op: impl FnMut() -> R) {
        let lap: &mut dyn FnMut() = &mut || {
            for _ in 0..times {
                std::hint::black_box(op());
            }
        };
        lap();
        counted(lap);
        self.operations.set(self.operations.get() + 1);
        if self.names {
            println!("{times}\t{name}");
        }
    }

    /// How many operations there were.
    pub(crate) fn operations(&self) -> u32 {
        self.operations.get()
    }
}

/// What is run in here is counted, and a call of it is one dump of callgrind's: `.ci/instructions` names this function to it.
#[inline(never)]
// SAFETY: nothing else has that name.
#[unsafe(export_name = "commonhold_counted")]
fn counted(lap: &mut dyn FnMut()) {
    lap();
}
