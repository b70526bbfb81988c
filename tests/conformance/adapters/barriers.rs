//! The barrier, and as what waits for another party.

use crate::bodies::Waits;
use crate::bodies::barriers::BarrierLike;
use crate::stage::{LIMIT, Object};
use commonhold::{Barrier, Error, Result, Segment};
use std::time::Duration;

impl Object for Barrier {
    type Home = Segment;
    fn create(home: &Segment, name: &str) -> Result<Self> {
        Barrier::create(home, name, 2)
    }
    fn open(home: &Segment, name: &str) -> Result<Self> {
        Barrier::open(home, name)
    }
    fn open_or_create(home: &Segment, name: &str) -> Result<Self> {
        Barrier::open_or_create(home, name, 2)
    }
}

impl Waits for Barrier {
    type Obstacle<'a> = ();
    fn obstruct(&self) {}
    /// Arrives, too; one that gave up has broken it.
    fn let_through(&self, (): ()) {
        match self.wait_timeout(LIMIT) {
            Ok(_) | Err(Error::Broken) => {}
            other => panic!("{other:?}"),
        }
    }
    fn wait(&self) -> Result<()> {
        self.wait().map(drop)
    }
    fn wait_timeout(&self, timeout: Duration) -> Result<()> {
        self.wait_timeout(timeout).map(drop)
    }
}

impl BarrierLike for Barrier {
    fn create_of(home: &Segment, name: &str, parties: usize) -> Result<Self> {
        Barrier::create(home, name, parties)
    }
    fn wait(&self) -> Result<bool> {
        self.wait().map(|result| result.is_leader())
    }
    fn wait_timeout(&self, timeout: Duration) -> Result<bool> {
        self.wait_timeout(timeout).map(|result| result.is_leader())
    }
    fn reset(&self) -> Result<()> {
        self.reset()
    }
    fn abort(&self) {
        self.abort();
    }
    fn is_broken(&self) -> bool {
        self.is_broken()
    }
}
