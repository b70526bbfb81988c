//! The once, as what waits for whoever runs its closure.

use crate::bodies::Waits;
use crate::stage::Object;
use commonhold::{Once, Result, Segment};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

impl Object for Once {
    type Home = Segment;
    fn create(home: &Segment, name: &str) -> Result<Self> {
        Once::create(home, name)
    }
    fn open(home: &Segment, name: &str) -> Result<Self> {
        Once::open(home, name)
    }
    fn open_or_create(home: &Segment, name: &str) -> Result<Self> {
        Once::open_or_create(home, name)
    }
}

/// A thread in the closure, until it hears that nobody will say anything more.
pub(crate) struct Running {
    end: mpsc::Sender<()>,
    thread: JoinHandle<Result<()>>,
}

impl Running {
    fn start(once: &Once) -> Running {
        let (end, ended) = mpsc::channel();
        let (begun, begins) = mpsc::channel();
        let once = once.clone();
        let thread = std::thread::spawn(move || {
            once.call_once(|| {
                begun.send(()).unwrap();
                let _ = ended.recv();
            })
        });
        // An error: it was done already, and the closure is gone.
        let _ = begins.recv();
        Running { end, thread }
    }

    fn finish(self) {
        drop(self.end);
        self.thread.join().unwrap().unwrap();
    }
}

impl Waits for Once {
    type Obstacle<'a> = Running;
    fn obstruct(&self) -> Running {
        Running::start(self)
    }
    fn let_through(&self, running: Running) {
        running.finish();
    }
    fn wait(&self) -> Result<()> {
        self.wait()
    }
    fn wait_timeout(&self, timeout: Duration) -> Result<()> {
        self.wait_timeout(timeout)
    }
}

/// A once that waits by calling it.
#[derive(Clone)]
pub(crate) struct Calling(Once);

impl Object for Calling {
    type Home = Segment;
    fn create(home: &Segment, name: &str) -> Result<Self> {
        Once::create(home, name).map(Calling)
    }
    fn open(home: &Segment, name: &str) -> Result<Self> {
        Once::open(home, name).map(Calling)
    }
    fn open_or_create(home: &Segment, name: &str) -> Result<Self> {
        Once::open_or_create(home, name).map(Calling)
    }
}

impl Waits for Calling {
    type Obstacle<'a> = Running;
    fn obstruct(&self) -> Running {
        Running::start(&self.0)
    }
    fn let_through(&self, running: Running) {
        running.finish();
    }
    fn wait(&self) -> Result<()> {
        self.0.call_once(|| panic!("it was to be done once"))
    }
    fn wait_timeout(&self, timeout: Duration) -> Result<()> {
        self.0
            .call_once_timeout(timeout, || panic!("it was to be done once"))
    }
}
