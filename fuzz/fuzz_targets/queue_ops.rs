//! Operation lists on a queue, by several handles of several members, against a plain model: each result must be the
//! model's.

#![no_main]

use arbitrary::Arbitrary;
use commonhold::{Error, Lease, Queue, Result, Segment, Select};
use commonhold_fuzz::{AT_ONCE, Item, Type, attach, check};
use libfuzzer_sys::fuzz_target;
use std::collections::{BTreeMap, VecDeque};

#[derive(Arbitrary, Debug)]
struct Input {
    item: Type,
    capacity: u8,
    ops: Vec<(u8, Op)>,
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
    Lease,
    TryLease,
    LeaseTimeout,
    /// Of those that are held, by any handle.
    Complete(u8),
    GiveBack(u8),
    TryJoin,
    JoinTimeout,
    /// What a select says of both ends.
    Select,
    /// Puts a clone in the handle's place.
    Clone,
    /// Puts a handle in its place that was opened anew, by another member or the same one.
    Reopen {
        anew: bool,
    },
    Close,
}

/// What the queue must be.
struct Model<T: Item> {
    /// What was never delivered.
    items: VecDeque<T>,
    /// What came back, by when it was first leased.
    returned: BTreeMap<u64, T>,
    /// What is held, and when it was first leased.
    held: Vec<(Lease<T>, u64)>,
    leases: u64,
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
        let count = items.len().min(self.room());
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
        match self.waiting() {
            0 if self.is_over() => Err(Error::Closed),
            0 => Err(not_now),
            n => Ok((0..n.min(max)).map(|_| self.next().1).collect()),
        }
    }

    /// The next to be delivered, and when it was first leased.
    fn next(&mut self) -> (Option<u64>, T) {
        match self.returned.pop_first() {
            Some((first, item)) => (Some(first), item),
            None => (None, self.items.pop_front().expect("something waits")),
        }
    }

    fn lease(&mut self, got: Result<Lease<T>>, not_now: Error) {
        match self.waiting() {
            0 if self.is_over() => check(got.map(drop), Err(Error::Closed)),
            0 => check(got.map(drop), Err(not_now)),
            _ => {
                let lease = got.expect("something waits");
                let (first, item) = self.next();
                assert_eq!((*lease, lease.redelivered()), (item, first.is_some()));
                let first = first.unwrap_or_else(|| {
                    self.leases += 1;
                    self.leases
                });
                self.held.push((lease, first));
            }
        }
    }

    fn take_held(&mut self, which: u8) -> Option<(Lease<T>, u64)> {
        let count = self.held.len();
        (count != 0).then(|| self.held.swap_remove(usize::from(which) % count))
    }

    fn waiting(&self) -> usize {
        self.items.len() + self.returned.len()
    }

    fn room(&self) -> usize {
        self.capacity - self.waiting() - self.held.len()
    }

    /// Whether nothing will ever come any more.
    fn is_over(&self) -> bool {
        self.closed && self.is_done()
    }

    fn is_done(&self) -> bool {
        self.waiting() + self.held.len() == 0
    }

    /// Whether a send of so many makes nobody wait.
    fn takes(&self, count: usize) -> bool {
        self.closed || self.room() >= count
    }

    fn gives(&self) -> bool {
        self.is_over() || self.waiting() != 0
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
        returned: BTreeMap::new(),
        held: Vec::new(),
        leases: 0,
        capacity,
        closed: false,
        made: 0,
    };
    for (handle, op) in &input.ops {
        let handle = usize::from(*handle) % handles.len();
        step(&mut handles, handle, &segments, &mut model, op);
    }
    while let Some((lease, first)) = model.take_held(0) {
        model.returned.insert(first, *lease);
    }
    let mut rest = Vec::new();
    while handles[0].try_recv_many(&mut rest, usize::MAX).is_ok() {}
    let expected: Vec<T> = model.returned.into_values().chain(model.items).collect();
    assert_eq!(rest, expected, "what is left at the end");
    handles[0].try_join().unwrap();
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
            let max = if model.closed && model.held.is_empty() {
                usize::MAX
            } else {
                usize::from(n).min(model.waiting())
            };
            let got: Vec<T> = q.iter().take(max).collect();
            let count = max.min(model.waiting());
            let want: Vec<T> = (0..count).map(|_| model.next().1).collect();
            assert_eq!(got, want);
        }
        Op::Look => {}
        Op::Lease if model.gives() => model.lease(q.lease(), Error::Empty),
        Op::Lease | Op::TryLease => model.lease(q.try_lease(), Error::Empty),
        Op::LeaseTimeout => model.lease(q.lease_timeout(AT_ONCE), Error::Timeout),
        Op::Complete(which) => {
            if let Some((lease, _)) = model.take_held(which) {
                lease.complete().unwrap();
            }
        }
        Op::GiveBack(which) => {
            if let Some((lease, first)) = model.take_held(which) {
                model.returned.insert(first, *lease);
            }
        }
        Op::TryJoin => {
            let done = model.is_done().then_some(()).ok_or(Error::WouldBlock);
            check(q.try_join(), done);
        }
        Op::JoinTimeout => {
            let done = model.is_done().then_some(()).ok_or(Error::Timeout);
            check(q.join_timeout(AT_ONCE), done);
        }
        Op::Select => {
            let mut select = Select::new();
            let ends = [
                (select.recv(q), model.gives()),
                (select.send(q), model.takes(1)),
            ];
            let want: Vec<usize> = ends.iter().filter(|e| e.1).map(|e| e.0).collect();
            // The look begins with another each time, so both are named if both are ready.
            let named = [select.try_ready(), select.ready_timeout(AT_ONCE)];
            if want.is_empty() {
                assert!(matches!(
                    named,
                    [Err(Error::WouldBlock), Err(Error::Timeout)]
                ));
            } else {
                let mut named = named.map(Result::unwrap).to_vec();
                named.sort_unstable();
                named.dedup();
                assert_eq!(named, want);
            }
        }
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
        assert_eq!(q.len(), model.waiting());
        assert_eq!(q.leased(), model.held.len());
        assert_eq!(q.is_empty(), model.waiting() == 0);
        assert_eq!(q.is_full(), model.room() == 0);
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
