//! Rings, and what is waited for at either end. Whoever waits, or lets through, takes an end for as long as that takes.

use crate::bodies::Waits;
use crate::stage::Object;
use commonhold::{Error, Result, Ring, Segment};
use std::time::Duration;

const CAPACITY: usize = 4;

impl Object for Ring<u64> {
    type Home = Segment;
    fn create(home: &Segment, name: &str) -> Result<Self> {
        Ring::create(home, name, CAPACITY)
    }
    fn open(home: &Segment, name: &str) -> Result<Self> {
        Ring::open(home, name)
    }
    fn open_or_create(home: &Segment, name: &str) -> Result<Self> {
        Ring::open_or_create(home, name, CAPACITY)
    }
}

/// Made and found as the ring that it is.
macro_rules! end_of_a_ring {
    ($end:ident) => {
        impl Object for $end {
            type Home = Segment;
            fn create(home: &Segment, name: &str) -> Result<Self> {
                Object::create(home, name).map($end)
            }
            fn open(home: &Segment, name: &str) -> Result<Self> {
                Object::open(home, name).map($end)
            }
            fn open_or_create(home: &Segment, name: &str) -> Result<Self> {
                Object::open_or_create(home, name).map($end)
            }
        }
    };
}

/// A ring out of which its consumer waits for items.
#[derive(Clone)]
pub(crate) struct Draining(Ring<u64>);

/// A ring into which its producer waits for room.
#[derive(Clone)]
pub(crate) struct Filling(Ring<u64>);

end_of_a_ring!(Draining);
end_of_a_ring!(Filling);

impl Waits for Draining {
    type Obstacle<'a> = ();
    fn obstruct(&self) {
        let mut c = self.0.consumer().unwrap();
        while c.try_recv().is_ok() {}
    }
    fn let_through(&self, (): ()) {
        self.0.producer().unwrap().send(1).unwrap();
    }
    fn wait(&self) -> Result<()> {
        self.0.consumer()?.recv().map(drop)
    }
    fn wait_timeout(&self, timeout: Duration) -> Result<()> {
        self.0.consumer()?.recv_timeout(timeout).map(drop)
    }
}

impl Waits for Filling {
    type Obstacle<'a> = ();
    fn obstruct(&self) {
        let mut p = self.0.producer().unwrap();
        while !matches!(p.try_send(1), Err(Error::Full)) {}
    }
    fn let_through(&self, (): ()) {
        self.0.consumer().unwrap().recv().unwrap();
    }
    fn wait(&self) -> Result<()> {
        self.0.producer()?.send(2)
    }
    fn wait_timeout(&self, timeout: Duration) -> Result<()> {
        self.0.producer()?.send_timeout(2, timeout)
    }
}
