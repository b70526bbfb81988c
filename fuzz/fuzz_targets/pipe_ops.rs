//! Operation lists on both ends of a pipe, taken and given up again, against two `VecDeque`s: each result must be the model's, until the
//! fuzzer scribbles on the pipe; from there on nothing may panic, or wait.

#![no_main]

use arbitrary::Arbitrary;
use commonhold::{Error, Pipe, PipeEnd, Result, Segment};
use commonhold_fuzz::{AT_ONCE, attach, check, told};
use libfuzzer_sys::fuzz_target;
use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

#[derive(Arbitrary, Debug)]
struct Input {
    bytes: u8,
    ops: Vec<(bool, Op)>,
}

/// What is done by way of one end.
#[derive(Arbitrary, Debug)]
enum Op {
    Take,
    Drop,
    Send(u8),
    TrySend(u8),
    SendTimeout(u16),
    Recv,
    TryRecv,
    RecvTimeout,
    Poll,
    Limit(u8),
    IsClosed,
    Iterate,
    Scribble { at: u16, bytes: Vec<u8> },
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    Fresh,
    Held,
    Over,
}

/// What stands in a lane.
enum Sent {
    Message(Vec<u8>),
    /// The beginning of one whose sender gave up.
    Part(usize),
}

impl Sent {
    fn len(&self) -> usize {
        match self {
            Sent::Message(message) => message.len(),
            Sent::Part(len) => *len,
        }
    }
}

struct Model {
    bytes: usize,
    ends: [End; 2],
    limits: [usize; 2],
    /// By the end that sends.
    lanes: [VecDeque<Sent>; 2],
    made: u8,
}

fn words(len: usize) -> usize {
    1 + len.div_ceil(8)
}

impl Model {
    fn take(&mut self, end: usize) -> Result<()> {
        match (self.ends[end], self.ends[1 - end]) {
            (End::Held, _) => return Err(Error::Busy),
            (End::Over, End::Held) => return Err(Error::Closed),
            (End::Over, _) => {
                self.ends = [End::Fresh; 2];
                self.lanes.iter_mut().for_each(VecDeque::clear);
            }
            (End::Fresh, _) => {}
        }
        self.ends[end] = End::Held;
        self.limits[end] = usize::MAX;
        Ok(())
    }

    fn is_over(&self, end: usize) -> bool {
        self.ends[1 - end] == End::Over
    }

    fn make(&mut self, len: usize) -> Vec<u8> {
        self.made = self.made.wrapping_add(1);
        vec![self.made; len]
    }

    fn has_room(&self, end: usize, len: usize) -> bool {
        let used: usize = self.lanes[end].iter().map(|s| words(s.len())).sum();
        words(self.bytes) - used >= words(len)
    }

    fn send(&mut self, end: usize, message: &[u8], not_now: Error) -> Result<()> {
        if self.is_over(end) {
            return Err(Error::Closed);
        }
        if words(message.len()) > words(self.bytes) {
            // In pieces: when the first is there, or has no room, the time is up.
            let piece = (words(self.bytes) / 4).max(2) * 8 - 8;
            if self.has_room(end, piece) {
                self.lanes[end].push_back(Sent::Part(piece));
            }
            return Err(not_now);
        }
        if !self.has_room(end, message.len()) {
            return Err(not_now);
        }
        self.lanes[end].push_back(Sent::Message(message.to_vec()));
        Ok(())
    }

    /// Takes out what is no message.
    fn look(&mut self, end: usize, not_now: Error) -> Result<()> {
        let limit = self.limits[end];
        let over = self.is_over(end);
        let lane = &mut self.lanes[1 - end];
        loop {
            match lane.front() {
                None if over => return Err(Error::Closed),
                None => return Err(not_now),
                Some(sent) if sent.len() > limit => {
                    let requested = lane.pop_front().map_or(0, |s| s.len()) as u64;
                    return Err(Error::TooLarge {
                        requested,
                        limit: limit as u64,
                    });
                }
                Some(Sent::Part(_)) => drop(lane.pop_front()),
                Some(Sent::Message(_)) => return Ok(()),
            }
        }
    }

    fn recv(&mut self, end: usize, not_now: Error) -> Result<Vec<u8>> {
        self.look(end, not_now)?;
        match self.lanes[1 - end].pop_front() {
            Some(Sent::Message(message)) => Ok(message),
            _ => unreachable!("it was there"),
        }
    }

    /// Whether a receiver need not wait.
    fn gives(&self, end: usize) -> bool {
        let lane = &self.lanes[1 - end];
        self.is_over(end) || lane.iter().any(|sent| matches!(sent, Sent::Message(_)))
    }
}

/// Where the lock stands that is held while an end is taken.
const LOCK: u64 = 512;

fn run(input: &Input) {
    let bytes = usize::from(input.bytes % 100) + 1;
    let segments: [Segment; 2] = {
        let first = Segment::anonymous(4096).unwrap();
        let second = attach(&first).unwrap();
        [first, second]
    };
    let pipes = [
        Pipe::create(&segments[0], "p", bytes).unwrap(),
        Pipe::open(&segments[1], "p").unwrap(),
    ];
    let file: std::fs::File = segments[0].as_fd().try_clone_to_owned().unwrap().into();
    let data_at = 40_960;
    let mut model = Some(Model {
        bytes,
        ends: [End::Fresh; 2],
        limits: [usize::MAX; 2],
        lanes: Default::default(),
        made: 0,
    });
    let mut ends: [Option<PipeEnd>; 2] = [None, None];
    for (side, op) in &input.ops {
        let side = usize::from(*side);
        if let Op::Scribble { at, bytes } = op {
            // Everything is fair but to take the lock in a living member's name: to take an end then lasts a second.
            for (i, byte) in bytes.iter().take(64).enumerate() {
                let at = (u64::from(*at) + i as u64) % (672 + 2 * 100);
                if !(LOCK..LOCK + 4).contains(&at) {
                    file.write_all_at(&[*byte], data_at + at).unwrap();
                }
            }
            model = None;
            continue;
        }
        match &mut model {
            Some(model) => step(&pipes, &mut ends, side, model, op),
            None => blunder(&pipes, &mut ends, side, op),
        }
    }
}

fn take(pipes: &[Pipe; 2], side: usize) -> Result<PipeEnd> {
    if side == 0 {
        pipes[0].left()
    } else {
        pipes[1].right()
    }
}

fn step(
    pipes: &[Pipe; 2],
    ends: &mut [Option<PipeEnd>; 2],
    side: usize,
    model: &mut Model,
    op: &Op,
) {
    if let Op::Take = op {
        let got = take(pipes, side).map(|end| ends[side] = Some(end));
        return check(got, model.take(side));
    }
    let Some(end) = &ends[side] else { return };
    // The vector already holds something: receiving replaces it.
    let mut message = vec![99; 3];
    let received = |result: Result<usize>, message: Vec<u8>| {
        result.map(|len| {
            assert_eq!(len, message.len());
            message
        })
    };
    match *op {
        Op::Drop => {
            ends[side] = None;
            model.ends[side] = End::Over;
        }
        Op::Send(len) if model.is_over(side) || model.has_room(side, len.into()) => {
            let new = model.make(len.into());
            check(end.send(&new), model.send(side, &new, Error::Full));
        }
        Op::Send(len) | Op::TrySend(len) => {
            let new = model.make(len.into());
            let want = if words(new.len()) > words(model.bytes) {
                Err(Error::TooLarge {
                    requested: new.len() as u64,
                    limit: model.bytes as u64,
                })
            } else {
                model.send(side, &new, Error::Full)
            };
            check(end.try_send(&new), want);
        }
        Op::SendTimeout(len) => {
            let new = model.make((len % 2000).into());
            let want = model.send(side, &new, Error::Timeout);
            check(end.send_timeout(&new, AT_ONCE), want);
        }
        Op::Recv if model.gives(side) => {
            let got = received(end.recv(&mut message), message);
            check(got, model.recv(side, Error::Empty));
        }
        Op::Recv | Op::TryRecv => {
            let got = received(end.try_recv(&mut message), message);
            check(got, model.recv(side, Error::Empty));
        }
        Op::RecvTimeout => {
            let got = received(end.recv_timeout(&mut message, AT_ONCE), message);
            check(got, model.recv(side, Error::Timeout));
        }
        Op::Poll => {
            let want = match model.look(side, Error::Timeout) {
                Ok(()) | Err(Error::Closed) => Ok(true),
                Err(Error::Timeout) => Ok(false),
                Err(e) => Err(e),
            };
            check(end.poll(AT_ONCE), want);
        }
        Op::Limit(limit) => {
            end.limit_messages(limit.into());
            model.limits[side] = limit.into();
        }
        Op::IsClosed => assert_eq!(end.is_closed(), model.is_over(side)),
        Op::Iterate => {
            if model.is_over(side) {
                for got in end {
                    assert_eq!(got, model.recv(side, Error::Empty).unwrap());
                }
                assert!(model.recv(side, Error::Empty).is_err());
            }
        }
        Op::Take | Op::Scribble { .. } => unreachable!("seen to above"),
    }
}

/// Somebody scribbled.
fn blunder(pipes: &[Pipe; 2], ends: &mut [Option<PipeEnd>; 2], side: usize, op: &Op) {
    if let Op::Take = op {
        ends[side] = told(take(pipes, side));
        return;
    }
    let Some(end) = &ends[side] else { return };
    let mut message = Vec::new();
    match *op {
        Op::Drop => ends[side] = None,
        Op::Send(len) | Op::TrySend(len) => drop(told(end.try_send(&vec![1; len.into()]))),
        Op::SendTimeout(len) => {
            told(end.send_timeout(&vec![2; (len % 2000).into()], AT_ONCE));
        }
        Op::Recv | Op::TryRecv => drop(told(end.try_recv(&mut message))),
        Op::RecvTimeout => drop(told(end.recv_timeout(&mut message, AT_ONCE))),
        Op::Poll => drop(told(end.poll(AT_ONCE))),
        Op::Limit(limit) => end.limit_messages(limit.into()),
        Op::IsClosed => drop(end.is_closed()),
        Op::Iterate => while told(end.try_recv(&mut message)).is_some() {},
        Op::Take | Op::Scribble { .. } => unreachable!("seen to above"),
    }
    assert!(message.len() <= 4096);
}

fuzz_target!(|input: Input| run(&input));
