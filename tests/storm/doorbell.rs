//! Waits for a `Value`: a bell that two sides ring in turn, and watchers who see to it that nothing goes back.

use crate::ledger::{Figure, Op};
use crate::stage::Stage;
use crate::times::PATIENCE;
use crate::worker::Worker;
use commonhold::{Error, Result};
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

impl Worker<'_> {
    /// Waits until it is our side's turn, and rings. A wake-up that is lost for good leaves both sides asleep.
    pub fn ring(&mut self, side: u64) {
        let stage: &Stage = self.stage;
        self.operation(Op::Ring, 1, |w| {
            let ours = |bell: &[u64; 3]| bell[0] % 2 == side;
            loop {
                let got = match w.random.below(3) {
                    0 => stage.bell.wait_until(ours),
                    1 => stage.bell.wait_until_timeout(PATIENCE / 10, ours),
                    // Who rang may have died before it said so; then the time passes, and the bell is looked at.
                    _ => {
                        let said = stage.rung[side as usize].wait_timeout(PATIENCE / 10);
                        assert!(matches!(said, Ok(()) | Err(Error::Timeout)), "{said:?}");
                        stage.bell.wait_until_timeout(Duration::ZERO, ours)
                    }
                };
                let bell = match got {
                    Err(Error::Timeout) => continue,
                    other => other.unwrap(),
                };
                assert!(bell.iter().all(|n| *n == bell[0]), "torn: {bell:?}");
                // Another thread of ours may have been quicker.
                let rang = stage.bell.update(|bell| {
                    let is_ours = ours(bell);
                    if is_ours {
                        w.peril();
                        bell.iter_mut().for_each(|n| *n += 1);
                    }
                    is_ours
                });
                if rang.unwrap() {
                    w.peril();
                    stage.rung[1 - side as usize].set();
                    return 1;
                }
            }
        });
    }

    pub fn watch_for_ever(&mut self) {
        loop {
            self.look();
        }
    }

    /// Reads the value, or waits for a later one. What anybody saw before, nobody finds missing.
    pub fn look(&mut self) {
        let stage: &Stage = self.stage;
        self.operation(Op::Watch, 0, |w| {
            let seen = w.ledger().figure(Figure::Seen);
            let before = seen.load(SeqCst);
            let later = before + w.random.below(5);
            let got: Result<_> = match w.random.below(3) {
                0 => stage.value.get(),
                1 => stage.value.wait_until(|v| v[0] >= later),
                _ => stage
                    .value
                    .wait_until_timeout(PATIENCE / 10, |v| v[0] >= later),
            };
            let value = match got {
                // All who change it may have been dead or stopped.
                Err(Error::Timeout) => return 0,
                other => other.unwrap(),
            };
            assert!(value.iter().all(|n| *n == value[0]), "torn: {value:?}");
            assert!(
                value[0] >= before,
                "the value went back from {before} to {}",
                value[0]
            );
            seen.fetch_max(value[0], SeqCst);
            0
        });
    }
}
