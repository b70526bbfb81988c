//! Operation lists on a queue, by several handles of several members, against a `VecDeque`: each result must be the
//! model's.

#![no_main]

use arbitrary::Arbitrary;
use commonhold::{Error, Queue, Result, Segment};
use commonhold_fuzz::{AT_ONCE, Item, attach, check};
use libfuzzer_sys::fuzz_target;
use std::collections::VecDeque;

#[derive(Arbitrary, Debug)]
struct Input {
    item: Type,
    capacity: u8,
    ops: Vec<(u8, Op)>,
}

#[derive(Arbitrary, Debug)]
enum Type {
    U8,
    U64,
    Bytes,
    Bool,
}

/// What one handle does.
#[derive(Arbitrary, Debug)]
enum Op {
    Send,
    TrySend,
    SendTimeout,
    SendAll(u8),
    TrySendAll(u8),
    SendAllTimeout(u8),
    Recv,
    TryRecv,
    RecvTimeout,
    RecvMany(u8),
    TryRecvMany(u8),
    RecvManyTimeout(u8),
    Iterate(u8),
    Look,
    /// Puts a clone in the handle's place.
    Clone,
    /// Puts a handle in its place that was opened anew, by another member or the same one.
    Reopen {
        anew: bool,
    },
    Close,
}

/// What the queue must be.
struct Model<T> {
    items: VecDeque<T>,
    capacity: usize,
    closed: bool,
    made: u64,
}

impl<T: Item> Model<T> {
    fn make(&mut self, count: u8) -> Vec<T> {
        let first = self.made;
        self.made += u64::from(count);
        (first..self.made).map(T::number).collect()
    }

    /// With `not_now` (`Full` or `Timeout`, by the call's form) if it would have to wait.
    fn send(&mut self, items: &[T], not_now: Error) -> Result<usize> {
        if items.is_empty() {
            return Ok(0);
        }
        if self.closed {
            return Err(Error::Closed);
        }
        let count = items.len().min(self.capacity - self.items.len());
        if count == 0 {
            return Err(not_now);
        }
        self.items.extend(&items[..count]);
        Ok(count)
    }

    /// As `send`, with `Empty` or `Timeout`.
    fn recv(&mut self, max: usize, not_now: Error) -> Result<Vec<T>> {
        if max == 0 {
            return Ok(Vec::new());
        }
        let count = max.min(self.items.len());
        match count {
            0 if self.closed => Err(Error::Closed),
            0 => Err(not_now),
            _ => Ok(self.items.drain(..count).collect()),
        }
    }

    /// Whether a send of so many makes nobody wait.
    fn takes(&self, count: usize) -> bool {
        self.closed || self.capacity - self.items.len() >= count
    }

    fn gives(&self) -> bool {
        self.closed || !self.items.is_empty()
    }
}

/// The outcome of receiving one.
fn first<T>(end: Result<Vec<T>>) -> Result<T> {
    end.map(|items| items.into_iter().next().expect("one was asked for"))
}

fn run<T: Item>(input: &Input) {
    let capacity = usize::from(input.capacity % 9) + 1;
    let segments: [Segment; 2] = {
        let first = Segment::anonymous(4096).unwrap();
        let second = attach(&first).unwrap();
        [first, second]
    };
    let created = Queue::<T>::create(&segments[0], "q", capacity).unwrap();
    let opened = Queue::<T>::open(&segments[1], "q").unwrap();
    let mut handles = [created.clone(), created, opened];
    let mut model = Model {
        items: VecDeque::new(),
        capacity,
        closed: false,
        made: 0,
    };
    for (handle, op) in &input.ops {
        let handle = usize::from(*handle) % handles.len();
        step(&mut handles, handle, &segments, &mut model, op);
    }
    let mut rest = Vec::new();
    while handles[0].try_recv_many(&mut rest, usize::MAX).is_ok() {}
    assert_eq!(rest, Vec::from(model.items), "what is left at the end");
}

fn step<T: Item>(
    handles: &mut [Queue<T>; 3],
    handle: usize,
    segments: &[Segment; 2],
    model: &mut Model<T>,
    op: &Op,
) {
    let q = &handles[handle];
    // The vector already holds something: receiving appends.
    let mut items = vec![T::number(99)];
    let received = |result: Result<usize>, items: &[T]| {
        assert_eq!(items[0], T::number(99));
        result.map(|n| {
            assert_eq!(n, items.len() - 1);
            items[1..].to_vec()
        })
    };
    match *op {
        Op::Send if model.takes(1) => {
            let new = model.make(1);
            check(q.send(new[0]), model.send(&new, Error::Full).map(drop));
        }
        Op::Send | Op::TrySend => {
            let new = model.make(1);
            check(q.try_send(new[0]), model.send(&new, Error::Full).map(drop));
        }
        Op::SendTimeout => {
            let new = model.make(1);
            let got = q.send_timeout(new[0], AT_ONCE);
            check(got, model.send(&new, Error::Timeout).map(drop));
        }
        Op::SendAll(n) if model.takes((n % 12).into()) => {
            let new = model.make(n % 12);
            check(q.send_all(&new), model.send(&new, Error::Full).map(drop));
        }
        Op::SendAll(n) | Op::TrySendAll(n) => {
            let new = model.make(n % 12);
            check(q.try_send_all(&new), model.send(&new, Error::Full));
        }
        Op::SendAllTimeout(n) => {
            let new = model.make(n % 12);
            let got = q.send_all_timeout(&new, AT_ONCE);
            check(got, model.send(&new, Error::Timeout));
        }
        Op::Recv if model.gives() => check(q.recv(), first(model.recv(1, Error::Empty))),
        Op::Recv | Op::TryRecv => check(q.try_recv(), first(model.recv(1, Error::Empty))),
        Op::RecvTimeout => {
            let got = q.recv_timeout(AT_ONCE);
            check(got, first(model.recv(1, Error::Timeout)));
        }
        Op::RecvMany(n) if model.gives() => {
            let got = q.recv_many(&mut items, n.into());
            let got = received(got, &items);
            check(got, model.recv(n.into(), Error::Empty));
        }
        Op::RecvMany(n) | Op::TryRecvMany(n) => {
            let got = q.try_recv_many(&mut items, n.into());
            let got = received(got, &items);
            check(got, model.recv(n.into(), Error::Empty));
        }
        Op::RecvManyTimeout(n) => {
            let got = q.recv_many_timeout(&mut items, n.into(), AT_ONCE);
            let got = received(got, &items);
            check(got, model.recv(n.into(), Error::Timeout));
        }
        Op::Iterate(n) => {
            // To the end only when there is one.
            let max = if model.closed {
                usize::MAX
            } else {
                usize::from(n).min(model.items.len())
            };
            let got: Vec<T> = q.iter().take(max).collect();
            let want: Vec<T> = model.items.drain(..max.min(model.items.len())).collect();
            assert_eq!(got, want);
        }
        Op::Look => {}
        Op::Clone => handles[handle] = q.clone(),
        Op::Reopen { anew: false } => {
            handles[handle] = Queue::open(&segments[handle % 2], "q").unwrap();
        }
        Op::Reopen { anew: true } => {
            let seg = attach(&segments[0]).unwrap();
            handles[handle] = Queue::open_or_create(&seg, "q", model.capacity).unwrap();
        }
        Op::Close => {
            q.close();
            model.closed = true;
        }
    }
    for q in handles {
        assert_eq!(q.len(), model.items.len());
        assert_eq!(q.is_empty(), model.items.is_empty());
        assert_eq!(q.is_full(), model.items.len() == model.capacity);
        assert_eq!(q.capacity(), model.capacity);
        assert_eq!(q.is_closed(), model.closed);
    }
}

fuzz_target!(|input: Input| {
    match input.item {
        Type::U8 => run::<u8>(&input),
        Type::U64 => run::<u64>(&input),
        Type::Bytes => run::<[u8; 24]>(&input),
        Type::Bool => run::<bool>(&input),
    }
});
