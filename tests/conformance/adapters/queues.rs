//! Queues, and what is waited for at either end.

use crate::bodies::Waits;
use crate::bodies::queues::{CAPACITY, QueueLike};
use crate::stage::Object;
use commonhold::{Error, Queue, Result, Segment};
use std::time::Duration;

impl Object for Queue<u64> {
    type Home = Segment;
    fn create(home: &Segment, name: &str) -> Result<Self> {
        Queue::create(home, name, CAPACITY)
    }
    fn open(home: &Segment, name: &str) -> Result<Self> {
        Queue::open(home, name)
    }
    fn open_or_create(home: &Segment, name: &str) -> Result<Self> {
        Queue::open_or_create(home, name, CAPACITY)
    }
}

impl QueueLike for Queue<u64> {
    fn create_of(home: &Segment, name: &str, capacity: usize) -> Result<Self> {
        Queue::create(home, name, capacity)
    }
    fn send(&self, n: u64) -> Result<()> {
        self.send(n)
    }
    fn try_send(&self, n: u64) -> Result<()> {
        self.try_send(n)
    }
    fn send_timeout(&self, n: u64, timeout: Duration) -> Result<()> {
        self.send_timeout(n, timeout)
    }
    fn send_all(&self, ns: &[u64]) -> Result<()> {
        self.send_all(ns)
    }
    fn recv(&self) -> Result<u64> {
        self.recv()
    }
    fn try_recv(&self) -> Result<u64> {
        self.try_recv()
    }
    fn recv_timeout(&self, timeout: Duration) -> Result<u64> {
        self.recv_timeout(timeout)
    }
    fn recv_many(&self, ns: &mut Vec<u64>, max: usize) -> Result<usize> {
        self.recv_many(ns, max)
    }
    fn len(&self) -> usize {
        self.len()
    }
    fn is_empty(&self) -> bool {
        self.is_empty()
    }
    fn is_full(&self) -> bool {
        self.is_full()
    }
    fn close(&self) {
        self.close();
    }
    fn is_closed(&self) -> bool {
        self.is_closed()
    }
    fn iter(&self) -> impl Iterator<Item = u64> {
        self.iter()
    }
}

/// Made and found as the queue that it is.
macro_rules! end_of_a_queue {
    ($end:ident) => {
        impl<Q: QueueLike> Object for $end<Q> {
            type Home = Q::Home;
            fn create(home: &Q::Home, name: &str) -> Result<Self> {
                Q::create(home, name).map($end)
            }
            fn open(home: &Q::Home, name: &str) -> Result<Self> {
                Q::open(home, name).map($end)
            }
            fn open_or_create(home: &Q::Home, name: &str) -> Result<Self> {
                Q::open_or_create(home, name).map($end)
            }
        }
    };
}

/// A queue out of which receivers wait for items.
#[derive(Clone)]
pub(crate) struct Receiving<Q>(Q);

/// A queue into which senders wait for room.
#[derive(Clone)]
pub(crate) struct Sending<Q>(Q);

end_of_a_queue!(Receiving);
end_of_a_queue!(Sending);

impl<Q: QueueLike> Waits for Receiving<Q> {
    type Obstacle<'a> = ();
    fn obstruct(&self) {
        while self.0.try_recv().is_ok() {}
    }
    fn let_through(&self, (): ()) {
        self.0.send(1).unwrap();
    }
    fn wait(&self) -> Result<()> {
        self.0.recv().map(drop)
    }
    fn wait_timeout(&self, timeout: Duration) -> Result<()> {
        self.0.recv_timeout(timeout).map(drop)
    }
}

impl<Q: QueueLike> Waits for Sending<Q> {
    type Obstacle<'a> = ();
    fn obstruct(&self) {
        while !matches!(self.0.try_send(1), Err(Error::Full)) {}
    }
    fn let_through(&self, (): ()) {
        self.0.recv().unwrap();
    }
    fn wait(&self) -> Result<()> {
        self.0.send(2)
    }
    fn wait_timeout(&self, timeout: Duration) -> Result<()> {
        self.0.send_timeout(2, timeout)
    }
}
