//! Messages and channels, as queues of numbers.

use crate::bodies::queues::{CAPACITY, QueueLike};
use crate::stage::Object;
use commonhold::{Messages, Result, Segment};
use std::time::Duration;

/// A number is a message of 8 bytes, which takes 16: this is the longest message of a ring for so many.
fn bytes(numbers: usize) -> usize {
    numbers * 16 - 8
}

/// Messages that are numbers, received by copies and in place.
#[derive(Clone)]
pub(crate) struct Mail(Messages);

/// Numbers that are encoded as 8 bytes each.
#[cfg(feature = "serde")]
#[derive(Clone)]
pub(crate) struct Encoded(commonhold::Channel<[u8; 8]>);

impl Mail {
    fn iter(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(|b| number(&b))
    }
    fn send(&self, n: u64) -> Result<()> {
        self.0.send(&n.to_le_bytes())
    }
    fn try_send(&self, n: u64) -> Result<()> {
        self.0
            .try_send_with(8, |to| to.copy_from_slice(&n.to_le_bytes()))
    }
    fn send_timeout(&self, n: u64, timeout: Duration) -> Result<()> {
        self.0.send_timeout(&n.to_le_bytes(), timeout)
    }
    fn recv(&self) -> Result<u64> {
        self.0.recv_with(number)
    }
    fn try_recv(&self) -> Result<u64> {
        let mut got = Vec::new();
        self.0.try_recv(&mut got)?;
        Ok(number(&got))
    }
    fn recv_timeout(&self, timeout: Duration) -> Result<u64> {
        self.0.recv_with_timeout(timeout, number)
    }
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().unwrap())
}

#[cfg(feature = "serde")]
impl Encoded {
    fn iter(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(|n| u64::from_le_bytes(n.unwrap()))
    }
    fn send(&self, n: u64) -> Result<()> {
        self.0.send(&n.to_le_bytes())
    }
    fn try_send(&self, n: u64) -> Result<()> {
        self.0.try_send(&n.to_le_bytes())
    }
    fn send_timeout(&self, n: u64, timeout: Duration) -> Result<()> {
        self.0.send_timeout(&n.to_le_bytes(), timeout)
    }
    fn recv(&self) -> Result<u64> {
        self.0.recv().map(u64::from_le_bytes)
    }
    fn try_recv(&self) -> Result<u64> {
        self.0.try_recv().map(u64::from_le_bytes)
    }
    fn recv_timeout(&self, timeout: Duration) -> Result<u64> {
        self.0.recv_timeout(timeout).map(u64::from_le_bytes)
    }
}

macro_rules! queue_of_numbers {
    ($name:ident, $inner:ty) => {
        impl Object for $name {
            type Home = Segment;
            fn create(home: &Segment, name: &str) -> Result<Self> {
                <$inner>::create(home, name, bytes(CAPACITY)).map($name)
            }
            fn open(home: &Segment, name: &str) -> Result<Self> {
                <$inner>::open(home, name).map($name)
            }
            fn open_or_create(home: &Segment, name: &str) -> Result<Self> {
                <$inner>::open_or_create(home, name, bytes(CAPACITY)).map($name)
            }
        }

        impl QueueLike for $name {
            fn create_of(home: &Segment, name: &str, capacity: usize) -> Result<Self> {
                <$inner>::create(home, name, bytes(capacity)).map($name)
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
                ns.iter().try_for_each(|n| self.send(*n))
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
            /// There is no such call: one is waited for, and what is there comes with it.
            fn recv_many(&self, ns: &mut Vec<u64>, max: usize) -> Result<usize> {
                if max == 0 {
                    return Ok(0);
                }
                let first = self.recv()?;
                let others = std::iter::from_fn(|| self.try_recv().ok());
                let got: Vec<u64> = std::iter::once(first).chain(others).take(max).collect();
                ns.extend(&got);
                Ok(got.len())
            }
            fn len(&self) -> usize {
                self.0.used() / 16
            }
            fn is_empty(&self) -> bool {
                self.0.is_empty()
            }
            fn is_full(&self) -> bool {
                self.0.used() + 16 > self.0.capacity() + 8
            }
            fn close(&self) {
                self.0.close();
            }
            fn is_closed(&self) -> bool {
                self.0.is_closed()
            }
            fn iter(&self) -> impl Iterator<Item = u64> {
                self.iter()
            }
        }
    };
}

queue_of_numbers!(Mail, Messages);
#[cfg(feature = "serde")]
queue_of_numbers!(Encoded, commonhold::Channel<[u8; 8]>);
