//! Queues, and what is waited for at either end.

use crate::bodies::Waits;
use crate::bodies::queues::{CAPACITY, QueueLike};
use crate::stage::Object;
use commonhold::{Error, Lease, Queue, Result, Segment};
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

/// A queue whose items are leased, and completed at once.
#[derive(Clone)]
pub(crate) struct Leasing(Queue<u64>);

fn complete(lease: Result<Lease<u64>>) -> Result<u64> {
    let lease = lease?;
    let n = *lease;
    lease.complete().map(|()| n)
}

impl Object for Leasing {
    type Home = Segment;
    fn create(home: &Segment, name: &str) -> Result<Self> {
        Object::create(home, name).map(Leasing)
    }
    fn open(home: &Segment, name: &str) -> Result<Self> {
        Object::open(home, name).map(Leasing)
    }
    fn open_or_create(home: &Segment, name: &str) -> Result<Self> {
        Object::open_or_create(home, name).map(Leasing)
    }
}

impl QueueLike for Leasing {
    fn create_of(home: &Segment, name: &str, capacity: usize) -> Result<Self> {
        Queue::create(home, name, capacity).map(Leasing)
    }
    fn send(&self, n: u64) -> Result<()> {
        self.0.send(n)
    }
    fn try_send(&self, n: u64) -> Result<()> {
        self.0.try_send(n)
    }
    fn send_timeout(&self, n: u64, timeout: Duration) -> Result<()> {
        self.0.send_timeout(n, timeout)
    }
    fn send_all(&self, ns: &[u64]) -> Result<()> {
        self.0.send_all(ns)
    }
    fn recv(&self) -> Result<u64> {
        complete(self.0.lease())
    }
    fn try_recv(&self) -> Result<u64> {
        complete(self.0.try_lease())
    }
    fn recv_timeout(&self, timeout: Duration) -> Result<u64> {
        complete(self.0.lease_timeout(timeout))
    }
    /// All of them held at once, and completed the last one first.
    fn recv_many(&self, ns: &mut Vec<u64>, max: usize) -> Result<usize> {
        if max == 0 {
            return Ok(0);
        }
        let mut leases = vec![self.0.lease()?];
        while leases.len() < max {
            match self.0.try_lease() {
                Ok(lease) => leases.push(lease),
                Err(Error::Empty) => break,
                Err(e) => return Err(e),
            }
        }
        ns.extend(leases.iter().map(|lease| **lease));
        let count = leases.len();
        leases.into_iter().rev().try_for_each(Lease::complete)?;
        Ok(count)
    }
    fn len(&self) -> usize {
        self.0.len()
    }
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    fn is_full(&self) -> bool {
        self.0.is_full()
    }
    fn close(&self) {
        self.0.close();
    }
    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
    fn iter(&self) -> impl Iterator<Item = u64> {
        std::iter::from_fn(|| self.recv().ok())
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
