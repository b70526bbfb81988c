//! Operation lists on a broadcast, by publishers and subscribers of several members, against a list of all that was sent: each result
//! must be the model's.

#![no_main]

use arbitrary::Arbitrary;
use commonhold::{Broadcast, Error, Result, Segment, SegmentOptions, Subscriber};
use commonhold_fuzz::{AT_ONCE, Item, Type, attach, check};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    item: Type,
    capacity: u8,
    ops: Vec<Op>,
}

#[derive(Arbitrary, Debug)]
enum Op {
    Send,
    TrySend,
    SendTimeout,
    SendAll(u8),
    TrySendAll(u8),
    SendAllTimeout(u8),
    Subscribe {
        lossy: bool,
        by: u8,
    },
    Resubscribe(u8),
    Drop(u8),
    Receive(u8, Receive),
    /// Puts a handle in the publisher's place that was opened anew, by another member or the same one.
    Reopen {
        anew: bool,
    },
    Close,
}

/// What one subscriber does.
#[derive(Arbitrary, Debug)]
enum Receive {
    One,
    TryOne,
    OneTimeout,
    Many(u8),
    TryMany(u8),
    ManyTimeout(u8),
    Iterate(u8),
}

/// Members, and so places for lossless subscribers.
const MEMBERS: u32 = 4;
const SUBSCRIBERS: usize = 6;

/// What the broadcast must be.
struct Model<T> {
    sent: Vec<T>,
    capacity: usize,
    closed: bool,
    made: u64,
}

/// What a subscriber must be.
#[derive(Clone, Copy)]
struct Reader {
    lossy: bool,
    at: usize,
    overtaken: bool,
}

impl<T: Item> Model<T> {
    fn make(&mut self, count: u8) -> Vec<T> {
        let first = self.made;
        self.made += u64::from(count);
        (first..self.made).map(T::number).collect()
    }

    /// For how many there is room.
    fn room(&self, readers: &[Reader]) -> usize {
        let lossless = readers.iter().filter(|r| !r.lossy);
        let backlog = lossless.map(|r| self.sent.len() - r.at).max();
        backlog.map_or(usize::MAX, |most| self.capacity - most)
    }

    /// With `not_now` (`Full` or `Timeout`, by the call's form) if it would have to wait.
    fn send(&mut self, readers: &[Reader], items: &[T], not_now: Error) -> Result<usize> {
        if items.is_empty() {
            return Ok(0);
        }
        if self.closed {
            return Err(Error::Closed);
        }
        let count = items.len().min(self.room(readers));
        if count == 0 {
            return Err(not_now);
        }
        self.sent.extend(&items[..count]);
        Ok(count)
    }

    /// As `send`, with `Empty` or `Timeout`.
    fn recv(&self, reader: &mut Reader, max: usize, not_now: Error) -> Result<Vec<T>> {
        if max == 0 {
            return Ok(Vec::new());
        }
        let tail = self.sent.len();
        let there = tail - reader.at;
        if there > self.capacity {
            let mut next = tail - self.capacity;
            if std::mem::replace(&mut reader.overtaken, true) {
                next += self.capacity / 4;
            }
            let lost = next - std::mem::replace(&mut reader.at, next);
            return Err(Error::Lagged(lost as u64));
        }
        let count = max.min(there);
        match count {
            0 if self.closed => Err(Error::Closed),
            0 => Err(not_now),
            _ => {
                let from = reader.at;
                reader.at += count;
                reader.overtaken = false;
                Ok(self.sent[from..reader.at].to_vec())
            }
        }
    }

    fn gives(&self, reader: &Reader) -> bool {
        self.closed || reader.at != self.sent.len()
    }
}

/// As `check`, and how many items were missed.
#[track_caller]
fn check_all<R: std::fmt::Debug + PartialEq>(got: Result<R>, want: Result<R>) {
    if let (Err(Error::Lagged(got)), Err(Error::Lagged(want))) = (&got, &want) {
        assert_eq!(got, want);
    }
    check(got, want);
}

/// The outcome of receiving one.
fn first<T>(end: Result<Vec<T>>) -> Result<T> {
    end.map(|items| items.into_iter().next().expect("one was asked for"))
}

fn run<T: Item>(input: &Input) {
    let capacity = usize::from(input.capacity % 40) + 1;
    let first = SegmentOptions::new()
        .capacity(4096)
        .max_members(MEMBERS)
        .anonymous()
        .unwrap();
    let segments: [Segment; 2] = [first.clone(), attach(&first).unwrap()];
    Broadcast::<T>::create(&segments[0], "b", capacity).unwrap();
    let mut publisher = Broadcast::<T>::open(&segments[0], "b")
        .unwrap()
        .publisher()
        .unwrap();
    let mut model = Model {
        sent: Vec::new(),
        capacity,
        closed: false,
        made: 0,
    };
    let mut subscribers: Vec<Subscriber<T>> = Vec::new();
    let mut readers: Vec<Reader> = Vec::new();
    for op in &input.ops {
        let p = &publisher;
        let some = |n: u8| (!readers.is_empty()).then(|| usize::from(n) % readers.len());
        match *op {
            Op::Send if model.closed || model.room(&readers) > 0 => {
                let new = model.make(1);
                let want = model.send(&readers, &new, Error::Full);
                check(p.send(new[0]), want.map(drop));
            }
            Op::Send | Op::TrySend => {
                let new = model.make(1);
                let want = model.send(&readers, &new, Error::Full);
                check(p.try_send(new[0]), want.map(drop));
            }
            Op::SendTimeout => {
                let new = model.make(1);
                let want = model.send(&readers, &new, Error::Timeout);
                check(p.send_timeout(new[0], AT_ONCE), want.map(drop));
            }
            Op::SendAll(n) if model.closed || model.room(&readers) >= usize::from(n % 60) => {
                let new = model.make(n % 60);
                let want = model.send(&readers, &new, Error::Full);
                check(p.send_all(&new), want.map(drop));
            }
            Op::SendAll(n) | Op::TrySendAll(n) => {
                let new = model.make(n % 60);
                let want = model.send(&readers, &new, Error::Full);
                check(p.try_send_all(&new), want);
            }
            Op::SendAllTimeout(n) => {
                let new = model.make(n % 60);
                let want = model.send(&readers, &new, Error::Timeout);
                check(p.send_all_timeout(&new, AT_ONCE), want);
            }
            Op::Subscribe { .. } | Op::Resubscribe(_) if readers.len() == SUBSCRIBERS => {}
            Op::Subscribe { lossy, by } => {
                let of = Broadcast::open(&segments[usize::from(by) % 2], "b").unwrap();
                let new = if lossy {
                    of.subscribe_lossy()
                } else {
                    of.subscribe()
                };
                add(new, lossy, &mut subscribers, &mut readers, &model);
            }
            Op::Resubscribe(n) => {
                if let Some(i) = some(n) {
                    let new = subscribers[i].resubscribe();
                    let lossy = readers[i].lossy;
                    add(new, lossy, &mut subscribers, &mut readers, &model);
                }
            }
            Op::Drop(n) => {
                if let Some(i) = some(n) {
                    readers.remove(i);
                    drop(subscribers.remove(i));
                }
            }
            Op::Receive(n, ref how) => {
                if let Some(i) = some(n) {
                    receive(&mut subscribers[i], &mut readers[i], &model, how);
                }
            }
            Op::Reopen { anew } => {
                let seg = if anew {
                    attach(&segments[0]).unwrap()
                } else {
                    segments[1].clone()
                };
                let of = Broadcast::open_or_create(&seg, "b", capacity).unwrap();
                publisher = of.publisher().unwrap();
            }
            Op::Close => {
                p.close();
                model.closed = true;
            }
        }
        let of = publisher.broadcast();
        let lossless = readers.iter().filter(|r| !r.lossy).count();
        assert_eq!(of.subscribers(), lossless);
        assert_eq!((of.capacity(), of.is_closed()), (capacity, model.closed));
        for (s, r) in subscribers.iter().zip(&readers) {
            let len = (model.sent.len() - r.at).min(capacity);
            assert_eq!((s.len(), s.is_empty()), (len, len == 0));
            assert_eq!(s.is_lossy(), r.lossy);
        }
    }
}

fn add<T: Item>(
    new: Result<Subscriber<T>>,
    lossy: bool,
    subscribers: &mut Vec<Subscriber<T>>,
    readers: &mut Vec<Reader>,
    model: &Model<T>,
) {
    let lossless = readers.iter().filter(|r| !r.lossy).count();
    if !lossy && lossless == MEMBERS as usize {
        return check(new.map(drop), Err(Error::TooManySubscribers));
    }
    subscribers.push(new.unwrap());
    readers.push(Reader {
        lossy,
        at: model.sent.len(),
        overtaken: false,
    });
}

fn receive<T: Item>(s: &mut Subscriber<T>, reader: &mut Reader, model: &Model<T>, how: &Receive) {
    // The vector already holds something: receiving appends.
    let mut items = vec![T::number(99)];
    let received = |result: Result<usize>, items: &[T]| {
        assert_eq!(items[0], T::number(99));
        assert!(result.is_ok() || items.len() == 1);
        result.map(|n| {
            assert_eq!(n, items.len() - 1);
            items[1..].to_vec()
        })
    };
    match *how {
        Receive::One if model.gives(reader) => {
            check_all(s.recv(), first(model.recv(reader, 1, Error::Empty)));
        }
        Receive::One | Receive::TryOne => {
            check_all(s.try_recv(), first(model.recv(reader, 1, Error::Empty)));
        }
        Receive::OneTimeout => {
            let got = s.recv_timeout(AT_ONCE);
            check_all(got, first(model.recv(reader, 1, Error::Timeout)));
        }
        Receive::Many(n) if model.gives(reader) => {
            let got = s.recv_many(&mut items, n.into());
            let got = received(got, &items);
            check_all(got, model.recv(reader, n.into(), Error::Empty));
        }
        Receive::Many(n) | Receive::TryMany(n) => {
            let got = s.try_recv_many(&mut items, n.into());
            let got = received(got, &items);
            check_all(got, model.recv(reader, n.into(), Error::Empty));
        }
        Receive::ManyTimeout(n) => {
            let got = s.recv_many_timeout(&mut items, n.into(), AT_ONCE);
            let got = received(got, &items);
            check_all(got, model.recv(reader, n.into(), Error::Timeout));
        }
        Receive::Iterate(n) => {
            // To the end only when there is one.
            let max = if model.closed { u8::MAX } else { n };
            let mut want = Vec::new();
            while want.len() < max.into() {
                match model.recv(reader, 1, Error::Empty) {
                    Ok(items) => want.extend(items),
                    Err(Error::Lagged(_)) => {}
                    Err(_) => break,
                }
            }
            let max = if model.closed {
                u8::MAX.into()
            } else {
                want.len()
            };
            assert_eq!(s.iter().take(max).collect::<Vec<T>>(), want);
        }
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
