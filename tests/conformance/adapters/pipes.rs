//! Pipes, and what is waited for at an end. The suites that start processes do not fit: each end has one holder, and here it is one
//! process that waits and lets through.

use crate::bodies::Waits;
use crate::stage::Object;
use commonhold::{Error, Pipe, PipeEnd, Result, Segment};
use std::sync::Arc;
use std::time::Duration;

const BYTES: usize = 64;

impl Object for Pipe {
    type Home = Segment;
    fn create(home: &Segment, name: &str) -> Result<Self> {
        Pipe::create(home, name, BYTES)
    }
    fn open(home: &Segment, name: &str) -> Result<Self> {
        Pipe::open(home, name)
    }
    fn open_or_create(home: &Segment, name: &str) -> Result<Self> {
        Pipe::open_or_create(home, name, BYTES)
    }
}

/// Both ends: messages go from the left to the right.
#[derive(Clone)]
struct Both(Arc<[PipeEnd; 2]>);

impl Both {
    fn of(pipe: Pipe) -> Result<Both> {
        Ok(Both(Arc::new([pipe.left()?, pipe.right()?])))
    }
    fn send(&self) -> Result<()> {
        self.0[0].send(b"message")
    }
    fn try_send(&self) -> Result<()> {
        self.0[0].try_send(b"message")
    }
    fn recv(&self) -> Result<()> {
        self.0[1].recv(&mut Vec::new()).map(drop)
    }
    fn try_recv(&self) -> Result<()> {
        self.0[1].try_recv(&mut Vec::new()).map(drop)
    }
}

/// A pipe at whose end threads wait for messages.
#[derive(Clone)]
pub(crate) struct Arriving(Both);

/// A pipe at whose end threads wait for room.
#[derive(Clone)]
pub(crate) struct Departing(Both);

/// Made and found as the pipe that it is.
macro_rules! ends_of_a_pipe {
    ($ends:ident) => {
        impl Object for $ends {
            type Home = Segment;
            fn create(home: &Segment, name: &str) -> Result<Self> {
                Both::of(Object::create(home, name)?).map($ends)
            }
            fn open(home: &Segment, name: &str) -> Result<Self> {
                Both::of(Object::open(home, name)?).map($ends)
            }
            fn open_or_create(home: &Segment, name: &str) -> Result<Self> {
                Both::of(Object::open_or_create(home, name)?).map($ends)
            }
        }
    };
}

ends_of_a_pipe!(Arriving);
ends_of_a_pipe!(Departing);

impl Waits for Arriving {
    type Obstacle<'a> = ();
    fn obstruct(&self) {
        while self.0.try_recv().is_ok() {}
    }
    fn let_through(&self, (): ()) {
        self.0.send().unwrap();
    }
    fn wait(&self) -> Result<()> {
        self.0.recv()
    }
    fn wait_timeout(&self, timeout: Duration) -> Result<()> {
        self.0.0[1].recv_timeout(&mut Vec::new(), timeout).map(drop)
    }
}

impl Waits for Departing {
    type Obstacle<'a> = ();
    fn obstruct(&self) {
        while !matches!(self.0.try_send(), Err(Error::Full)) {}
    }
    fn let_through(&self, (): ()) {
        self.0.recv().unwrap();
    }
    fn wait(&self) -> Result<()> {
        self.0.send()
    }
    fn wait_timeout(&self, timeout: Duration) -> Result<()> {
        self.0.0[0].send_timeout(b"message", timeout)
    }
}
