//! What is waited for by a select, beside something that never comes.

use crate::bodies::Waits;
use crate::stage::Object;
use commonhold::{Error, Event, Queue, Result, Segment, Select};
use std::time::{Duration, Instant};

/// As [`Receiving`](super::Receiving).
#[derive(Clone)]
pub(crate) struct Selecting {
    queue: Queue<u64>,
    never: Event,
}

impl Selecting {
    fn of(home: &Segment, name: &str, queue: Queue<u64>) -> Result<Selecting> {
        let never = Event::open_or_create(home, &format!("{name}, never"))?;
        Ok(Selecting { queue, never })
    }

    fn recv(&self, ready: impl Fn(&mut Select) -> Result<usize>) -> Result<()> {
        let mut select = Select::new();
        select.wait(&self.never);
        select.recv(&self.queue);
        loop {
            assert_eq!(ready(&mut select)?, 1);
            match self.queue.try_recv() {
                Err(Error::Empty) => {}
                other => return other.map(drop),
            }
        }
    }
}

impl Object for Selecting {
    type Home = Segment;
    fn create(home: &Segment, name: &str) -> Result<Self> {
        Selecting::of(home, name, Object::create(home, name)?)
    }
    fn open(home: &Segment, name: &str) -> Result<Self> {
        Selecting::of(home, name, Object::open(home, name)?)
    }
    fn open_or_create(home: &Segment, name: &str) -> Result<Self> {
        Selecting::of(home, name, Object::open_or_create(home, name)?)
    }
}

impl Waits for Selecting {
    type Obstacle<'a> = ();
    fn obstruct(&self) {
        while self.queue.try_recv().is_ok() {}
    }
    fn let_through(&self, (): ()) {
        self.queue.send(1).unwrap();
    }
    fn wait(&self) -> Result<()> {
        self.recv(Select::ready)
    }
    fn wait_timeout(&self, timeout: Duration) -> Result<()> {
        let start = Instant::now();
        self.recv(|select| select.ready_timeout(timeout.saturating_sub(start.elapsed())))
    }
}
