//! Ours. Each is made when it is first asked for, and stays.

use super::{Link, depth};
use bytemuck::Pod;
use commonhold::{BlockHandle, BlockPool, Consumer, PipeEnd, Producer, Segment};

/// The names of what goes out and of what comes in.
fn names(kind: &str, len: usize, first: bool) -> [String; 2] {
    let [there, back] = ["there", "back"].map(|way| format!("{kind} of {len}, {way}"));
    if first { [there, back] } else { [back, there] }
}

/// How long a message comes out of an array, which is as long.
fn item<T: Pod>(message: &[u8]) -> T {
    *bytemuck::from_bytes(message)
}

pub(crate) struct Ring<T: commonhold::Plain> {
    tx: Producer<T>,
    rx: Consumer<T>,
    room: Option<T>,
}

impl<T: Pod + Send> Ring<T> {
    pub(crate) fn open(segment: &Segment, first: bool) -> Self {
        let capacity = depth(size_of::<T>());
        let [out, into] = names("ring", size_of::<T>(), first)
            .map(|name| commonhold::Ring::open_or_create(segment, &name, capacity));
        Ring {
            tx: out.expect("there is room").producer().expect("one of us"),
            rx: into.expect("there is room").consumer().expect("one of us"),
            room: None,
        }
    }
}

impl<T: Pod + Send> Link for Ring<T> {
    #[inline]
    fn send(&mut self, message: &[u8]) {
        self.tx.send(item(message)).expect("nobody dies here");
    }
    #[inline]
    fn recv(&mut self) -> &[u8] {
        let item = self.rx.recv().expect("nobody dies here");
        bytemuck::bytes_of(self.room.insert(item))
    }
}

pub(crate) struct Queue<T: commonhold::Plain> {
    tx: commonhold::Queue<T>,
    rx: commonhold::Queue<T>,
    room: Option<T>,
}

impl<T: Pod + Send> Queue<T> {
    pub(crate) fn open(segment: &Segment, first: bool) -> Self {
        let capacity = depth(size_of::<T>());
        let [tx, rx] = names("queue", size_of::<T>(), first).map(|name| {
            commonhold::Queue::open_or_create(segment, &name, capacity).expect("there is room")
        });
        let room = None;
        Queue { tx, rx, room }
    }
}

impl<T: Pod + Send> Link for Queue<T> {
    #[inline]
    fn send(&mut self, message: &[u8]) {
        self.tx.send(item(message)).expect("it is open");
    }
    #[inline]
    fn recv(&mut self) -> &[u8] {
        let item = self.rx.recv().expect("it is open");
        bytemuck::bytes_of(self.room.insert(item))
    }
}

/// A MiB, or four messages.
fn bytes(len: usize) -> usize {
    (4 * len).max(1 << 20)
}

pub(crate) struct Messages {
    tx: commonhold::Messages,
    rx: commonhold::Messages,
    room: Vec<u8>,
}

impl Messages {
    pub(crate) fn open(segment: &Segment, len: usize, first: bool) -> Self {
        let [tx, rx] = names("messages", bytes(len), first).map(|name| {
            commonhold::Messages::open_or_create(segment, &name, bytes(len)).expect("room")
        });
        let room = Vec::with_capacity(len);
        Messages { tx, rx, room }
    }
}

impl Link for Messages {
    #[inline]
    fn send(&mut self, message: &[u8]) {
        self.tx.send(message).expect("it is open");
    }
    #[inline]
    fn recv(&mut self) -> &[u8] {
        self.rx.recv(&mut self.room).expect("it is open");
        &self.room
    }
}

pub(crate) struct Pipe {
    end: PipeEnd,
    room: Vec<u8>,
}

impl Pipe {
    pub(crate) fn open(segment: &Segment, len: usize, first: bool) -> Self {
        let name = format!("pipe of {}", bytes(len));
        let pipe = commonhold::Pipe::open_or_create(segment, &name, bytes(len)).expect("room");
        let end = if first { pipe.left() } else { pipe.right() };
        Pipe {
            end: end.expect("one of us"),
            room: Vec::with_capacity(len),
        }
    }
}

impl Link for Pipe {
    #[inline]
    fn send(&mut self, message: &[u8]) {
        self.end.send(message).expect("nobody dies here");
    }
    #[inline]
    fn recv(&mut self) -> &[u8] {
        self.end.recv(&mut self.room).expect("nobody dies here");
        &self.room
    }
}

/// Blocks that are written in place and handed over; what comes is copied out, as everywhere here.
pub(crate) struct Blocks {
    pool: BlockPool,
    tx: commonhold::Queue<BlockHandle>,
    rx: commonhold::Queue<BlockHandle>,
    room: Vec<u8>,
}

impl Blocks {
    pub(crate) fn open(segment: &Segment, len: usize, first: bool) -> Self {
        let count = depth(len);
        let [tx, rx] = names("blocks", len, first).map(|name| {
            commonhold::Queue::open_or_create(segment, &name, count).expect("there is room")
        });
        let name = format!("blocks of {len}");
        Blocks {
            pool: BlockPool::open_or_create(segment, &name, count, len).expect("there is room"),
            tx,
            rx,
            room: Vec::with_capacity(len),
        }
    }
}

impl Link for Blocks {
    #[inline]
    fn send(&mut self, message: &[u8]) {
        let mut block = self.pool.loan().expect("nobody dies here");
        block.copy_from_slice(message);
        block.send(&self.tx).expect("it is open");
    }
    #[inline]
    fn recv(&mut self) -> &[u8] {
        let block = self.pool.receive(&self.rx).expect("it is open");
        self.room.clear();
        self.room.extend_from_slice(&block);
        &self.room
    }
}
