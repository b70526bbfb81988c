//! Visits: a member that comes, makes or finds objects, works a little, and goes.

use crate::ledger::{Figure, Op};
use crate::stage::Stage;
use crate::worker::Worker;
use commonhold::Value;
use std::sync::atomic::Ordering::SeqCst;

/// Objects that visitors make; the first that comes makes each.
pub const OBJECTS: u64 = 60;

pub fn object(n: u64) -> (String, [u64; 2]) {
    (format!("made by a visitor {n}"), [n, !n])
}

impl Worker<'_> {
    pub fn visit(&mut self) {
        let name = self.stage.seg.name();
        let mut opened = None;
        self.operation(Op::Attach, 0, |_| {
            opened = Some(Stage::open(name).unwrap());
            0
        });
        let stage = opened.expect("opened just now");
        self.ledger().figure(Figure::Attaches).fetch_add(1, SeqCst);
        let mut visitor = self.on(&stage);
        for _ in 0..visitor.random.below(4) {
            visitor.lock_step();
            visitor.look();
            visitor.operation(Op::Object, 0, |w| {
                let (name, value) = object(w.random.below(OBJECTS));
                let made = Value::open_or_create(&stage.seg, &name, value).unwrap();
                assert_eq!(made.get().unwrap(), value, "half-made");
                0
            });
        }
    }
}
