//! Values that are waited for.

use crate::bodies::{Nudged, Waits};
use crate::stage::Object;
use commonhold::{Result, Segment, Value};
use std::time::Duration;

impl Object for Value<u64> {
    type Home = Segment;
    fn create(home: &Segment, name: &str) -> Result<Self> {
        Value::create(home, name, 0)
    }
    fn open(home: &Segment, name: &str) -> Result<Self> {
        Value::open(home, name)
    }
    fn open_or_create(home: &Segment, name: &str) -> Result<Self> {
        Value::open_or_create(home, name, 0)
    }
}

impl Waits for Value<u64> {
    type Obstacle<'a> = ();
    fn obstruct(&self) {
        self.set(0).unwrap();
    }
    fn let_through(&self, (): ()) {
        self.set(1).unwrap();
    }
    fn wait(&self) -> Result<()> {
        self.wait_until(|n| *n == 1).map(drop)
    }
    fn wait_timeout(&self, timeout: Duration) -> Result<()> {
        self.wait_until_timeout(timeout, |n| *n == 1).map(drop)
    }
}

impl Nudged for Value<u64> {
    fn nudge(&self) {
        self.update(|n| *n ^= 2).unwrap();
    }
}
