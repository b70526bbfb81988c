//! Broadcasts, and the wait of a publisher for a subscriber that receives nothing.

use crate::bodies::Waits;
use crate::bodies::queues::CAPACITY;
use crate::stage::Object;
use commonhold::{Broadcast, Error, Result, Segment, Subscriber};
use std::time::Duration;

/// A broadcast to which publishers send.
#[derive(Clone)]
pub(crate) struct Publishing(Broadcast<u64>);

impl Object for Publishing {
    type Home = Segment;
    fn create(home: &Segment, name: &str) -> Result<Self> {
        Broadcast::create(home, name, CAPACITY).map(Publishing)
    }
    fn open(home: &Segment, name: &str) -> Result<Self> {
        Broadcast::open(home, name).map(Publishing)
    }
    fn open_or_create(home: &Segment, name: &str) -> Result<Self> {
        Broadcast::open_or_create(home, name, CAPACITY).map(Publishing)
    }
}

impl Waits for Publishing {
    type Obstacle<'a> = Subscriber<u64>;
    fn obstruct(&self) -> Subscriber<u64> {
        let subscriber = self.0.subscribe().unwrap();
        let publisher = self.0.publisher().unwrap();
        while !matches!(publisher.try_send(1), Err(Error::Full)) {}
        subscriber
    }
    fn let_through(&self, obstacle: Subscriber<u64>) {
        drop(obstacle);
    }
    fn wait(&self) -> Result<()> {
        self.0.publisher()?.send(2)
    }
    fn wait_timeout(&self, timeout: Duration) -> Result<()> {
        self.0.publisher()?.send_timeout(2, timeout)
    }
}
