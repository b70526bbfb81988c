//! The forms without a thread, each driven by one.

use crate::bodies::Waits;
use crate::bodies::queues::QueueLike;
use crate::stage::Object;
use commonhold::{Error, Mutex, Queue, Result, Segment};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::thread::Thread;
use std::time::{Duration, Instant};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls until it is ready, or the time is up.
fn drive<R>(future: impl Future<Output = Result<R>>, timeout: Duration) -> Result<R> {
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    let start = Instant::now();
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut cx) {
            return done;
        }
        match timeout.checked_sub(start.elapsed()) {
            None | Some(Duration::ZERO) => return Err(Error::Timeout),
            Some(left) => std::thread::park_timeout(left),
        }
    }
}

fn finish<R>(future: impl Future<Output = Result<R>>) -> Result<R> {
    drive(future, Duration::MAX)
}

/// A queue, a mutex by their futures.
#[derive(Clone)]
pub(crate) struct Awaited<T>(T);

impl<T: Object> Object for Awaited<T> {
    type Home = T::Home;
    fn create(home: &T::Home, name: &str) -> Result<Self> {
        T::create(home, name).map(Awaited)
    }
    fn open(home: &T::Home, name: &str) -> Result<Self> {
        T::open(home, name).map(Awaited)
    }
    fn open_or_create(home: &T::Home, name: &str) -> Result<Self> {
        T::open_or_create(home, name).map(Awaited)
    }
}

impl QueueLike for Awaited<Queue<u64>> {
    fn create_of(home: &Segment, name: &str, capacity: usize) -> Result<Self> {
        Queue::create(home, name, capacity).map(Awaited)
    }
    fn send(&self, n: u64) -> Result<()> {
        finish(self.0.send_async(n))
    }
    fn try_send(&self, n: u64) -> Result<()> {
        self.0.try_send(n)
    }
    fn send_timeout(&self, n: u64, timeout: Duration) -> Result<()> {
        drive(self.0.send_async(n), timeout)
    }
    fn send_all(&self, ns: &[u64]) -> Result<()> {
        ns.iter().try_for_each(|n| self.send(*n))
    }
    fn recv(&self) -> Result<u64> {
        finish(self.0.recv_async())
    }
    fn try_recv(&self) -> Result<u64> {
        self.0.try_recv()
    }
    fn recv_timeout(&self, timeout: Duration) -> Result<u64> {
        drive(self.0.recv_async(), timeout)
    }
    fn recv_many(&self, ns: &mut Vec<u64>, max: usize) -> Result<usize> {
        self.0.recv_many(ns, max)
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

impl Waits for Awaited<Mutex<u64>> {
    type Obstacle<'a> = commonhold::MutexGuard<'a, u64>;
    fn obstruct(&self) -> Self::Obstacle<'_> {
        self.0.lock().unwrap()
    }
    fn let_through<'a>(&'a self, obstacle: Self::Obstacle<'a>) {
        drop(obstacle);
    }
    fn wait(&self) -> Result<()> {
        finish(self.0.lock_async()).map(drop)
    }
    fn wait_timeout(&self, timeout: Duration) -> Result<()> {
        drive(self.0.lock_async(), timeout).map(drop)
    }
}
