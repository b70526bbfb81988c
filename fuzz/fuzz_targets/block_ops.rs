//! Operation lists on a pool of blocks and two queues of their handles, by several members with handles and blocks that come and go in any
//! order, against a plain model: who has which block, what is in it, and which handles stand in which queue.
//!
//! All happens on one thread. So what would wait for ever is not called, and a timed wait that must wait runs out.

#![no_main]

use arbitrary::Arbitrary;
use commonhold::{Block, BlockHandle, BlockPool, Error, Queue, Segment, SegmentOptions};
use commonhold_fuzz::{AT_ONCE, SOON, apart, attach, check};
use libfuzzer_sys::fuzz_target;
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};

#[derive(Arbitrary, Debug)]
struct Input {
    blocks: u8,
    /// From small blocks to some that begin at pages.
    bytes: u16,
    room: u8,
    ops: Vec<(u8, Op)>,
}

/// What is done by the handles in one place.
#[derive(Arbitrary, Debug)]
enum Op {
    Loan(How),
    /// Fills so much of a block.
    Fill(u8, u8, u16),
    Drop(u8),
    Send(u8, bool, How),
    Receive(bool, How),
    /// Takes a handle out, and not its block.
    TakeOut(bool),
    /// Puts one back that was taken out; it may be put back again.
    PutBack(u8, bool),
    Close(bool),
    /// A new member, in the place of this one.
    Join,
    /// Drops this place's handles.
    Leave,
    Show,
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
enum How {
    Wait,
    Try,
    Timeout,
}

const PLACES: usize = 3;

#[derive(Clone)]
struct Handles {
    pool: BlockPool,
    queues: [Queue<BlockHandle>; 2],
}

struct Held {
    block: Block,
    index: usize,
    /// What its bytes are, if that is known.
    byte: Option<u8>,
}

/// Where the model has a block.
#[derive(Clone, Copy, PartialEq)]
enum State {
    Free,
    Held,
    Sent {
        via: usize,
        turn: u64,
        byte: Option<u8>,
        len: usize,
    },
}

/// A handle: of which block, and for which of its turns.
#[derive(Clone, Copy, PartialEq)]
struct Pass {
    index: usize,
    turn: u64,
}

struct World {
    held: Vec<Held>,
    places: [Option<Handles>; PLACES],
    file: OwnedFd,
    bytes: usize,
    room: usize,
    // The model.
    blocks: Vec<State>,
    turns: u64,
    in_queue: [VecDeque<Pass>; 2],
    is_closed: [bool; 2],
    taken_out: Vec<(BlockHandle, Pass)>,
}

/// Which one it is.
fn index(block: &Block) -> usize {
    let shown = format!("{block:?}");
    let (_, rest) = shown.split_once("index: ").unwrap();
    rest.split(',').next().unwrap().parse().unwrap()
}

fn open(segment: &Segment) -> Handles {
    Handles {
        pool: BlockPool::open(segment, "pool").unwrap(),
        queues: ["0", "1"].map(|name| Queue::open(segment, name).unwrap()),
    }
}

impl World {
    fn new(input: &Input) -> World {
        let segment = SegmentOptions::new()
            .capacity(1 << 16)
            .max_members(PLACES as u32)
            .max_objects(3)
            .anonymous()
            .unwrap();
        let blocks = usize::from(input.blocks % 4) + 1;
        let bytes = usize::from(input.bytes % 5000) + 1;
        let room = usize::from(input.room % 4) + 1;
        let first = Handles {
            pool: BlockPool::create(&segment, "pool", blocks, bytes).unwrap(),
            queues: ["0", "1"].map(|name| Queue::create(&segment, name, room).unwrap()),
        };
        World {
            held: Vec::new(),
            places: [Some(first), None, None],
            file: segment.as_fd().try_clone_to_owned().unwrap(),
            bytes,
            room,
            blocks: vec![State::Free; blocks],
            turns: 0,
            in_queue: Default::default(),
            is_closed: [false; 2],
            taken_out: Vec::new(),
        }
    }

    fn step(&mut self, place: usize, op: &Op) {
        match (op, self.places[place].clone()) {
            (Op::Join, _) => {
                self.places[place] = None;
                match attach(&self.file) {
                    Ok(segment) => self.places[place] = Some(open(&segment)),
                    // Members live on in the blocks that they have.
                    Err(e) => assert!(matches!(e, Error::TooManyMembers), "{e:?}"),
                }
            }
            (Op::Leave, _) => self.places[place] = None,
            (Op::Fill(which, byte, len), _) => self.fill(*which, *byte, usize::from(*len)),
            (Op::Drop(which), _) => {
                if let Some(held) = self.take(*which) {
                    self.blocks[held.index] = State::Free;
                }
            }
            (_, None) => {}
            (op, Some(by)) => self.use_handles(op, &by),
        }
    }

    fn take(&mut self, which: u8) -> Option<Held> {
        match self.held.len() {
            0 => None,
            n => Some(self.held.swap_remove(usize::from(which) % n)),
        }
    }

    fn fill(&mut self, which: u8, byte: u8, len: usize) {
        let Some(mut held) = self.take(which) else {
            return;
        };
        let limit = self.bytes;
        let want = match len > limit {
            true => Err(Error::TooLarge {
                requested: len as u64,
                limit: limit as u64,
            }),
            false => Ok(()),
        };
        check(held.block.set_len(len), want);
        held.block.fill(byte);
        held.byte = Some(byte);
        self.held.push(held);
    }

    fn use_handles(&mut self, op: &Op, by: &Handles) {
        match *op {
            Op::Loan(how) => self.loan(by, how),
            Op::Send(which, second, how) => self.send(by, which, usize::from(second), how),
            Op::Receive(second, how) => self.receive(by, usize::from(second), how),
            Op::TakeOut(second) => {
                let q = usize::from(second);
                let (handle, end) = apart(by.queues[q].try_recv());
                match self.in_queue[q].pop_front() {
                    Some(pass) => {
                        check(end, Ok(()));
                        self.taken_out.push((handle.unwrap(), pass));
                    }
                    None => check(end, Err(self.nothing(q, Error::Empty))),
                }
            }
            Op::PutBack(which, second) if !self.taken_out.is_empty() => {
                let which = usize::from(which) % self.taken_out.len();
                let (q, (handle, pass)) = (usize::from(second), self.taken_out[which]);
                let want = self.has_room(q, Error::Full);
                if want.is_ok() {
                    self.in_queue[q].push_back(pass);
                }
                check(by.queues[q].try_send(handle), want);
            }
            Op::Close(second) => {
                by.queues[usize::from(second)].close();
                self.is_closed[usize::from(second)] = true;
            }
            Op::Show => assert!(format!("{:?}{:?}", by.pool, by.queues).contains("Object")),
            _ => {}
        }
    }

    fn nothing(&self, q: usize, not_now: Error) -> Error {
        match self.is_closed[q] {
            true => Error::Closed,
            false => not_now,
        }
    }

    fn has_room(&self, q: usize, not_now: Error) -> Result<(), Error> {
        match () {
            () if self.is_closed[q] => Err(Error::Closed),
            () if self.in_queue[q].len() == self.room => Err(not_now),
            () => Ok(()),
        }
    }

    /// Whether the block was sent, and its handle is not in the queue by which it was.
    fn is_lost(&self, index: usize) -> bool {
        match self.blocks[index] {
            State::Sent { via, turn, .. } => !self.in_queue[via].contains(&Pass { index, turn }),
            _ => false,
        }
    }

    fn loan(&mut self, by: &Handles, how: How) {
        let any_free = self.blocks.contains(&State::Free);
        let lost: Vec<usize> = (0..self.blocks.len())
            .filter(|i| self.is_lost(*i))
            .collect();
        let (got, not_now) = match how {
            How::Wait if any_free => (by.pool.loan(), Error::Timeout),
            How::Timeout => (by.pool.loan_timeout(AT_ONCE), Error::Timeout),
            _ => (by.pool.try_loan(), Error::WouldBlock),
        };
        let (block, end) = apart(got);
        let Some(block) = block else {
            assert!(!any_free);
            return check(end, Err(not_now));
        };
        if !any_free {
            // It looks for lost ones now and then, and then finds all.
            assert!(!lost.is_empty());
            lost.iter().for_each(|i| self.blocks[*i] = State::Free);
        }
        assert_eq!(block.len(), self.bytes);
        let index = index(&block);
        assert!(self.blocks[index] == State::Free);
        self.hold(block, index, None);
    }

    fn hold(&mut self, block: Block, index: usize, byte: Option<u8>) {
        self.blocks[index] = State::Held;
        self.held.push(Held { block, index, byte });
    }

    fn send(&mut self, by: &Handles, which: u8, q: usize, how: How) {
        let Some(Held { block, index, byte }) = self.take(which) else {
            return;
        };
        let (len, queue) = (block.len(), &by.queues[q]);
        let room = self.has_room(q, Error::Full);
        let (sent, want) = match how {
            How::Wait if !matches!(room, Err(Error::Full)) => (block.send(queue), room),
            How::Timeout => (
                block.send_timeout(queue, AT_ONCE),
                self.has_room(q, Error::Timeout),
            ),
            _ => (block.try_send(queue), room),
        };
        match sent {
            Ok(()) => {
                check(Ok(()), want);
                self.turns += 1;
                let (via, turn) = (q, self.turns);
                self.blocks[index] = State::Sent {
                    via,
                    turn,
                    byte,
                    len,
                };
                self.in_queue[q].push_back(Pass { index, turn });
            }
            Err(unsent) => {
                assert_eq!(unsent.block.len(), len);
                check(Err(unsent.error), want);
                self.hold(unsent.block, index, byte);
            }
        }
    }

    fn receive(&mut self, by: &Handles, q: usize, how: How) {
        let serves = |w: &World, pass: &Pass| match w.blocks[pass.index] {
            State::Sent { turn, .. } => turn == pass.turn,
            _ => false,
        };
        let front = self.in_queue[q].front().copied();
        // A timed one may run out as it passes over those that serve no more.
        let sure = front.is_none_or(|pass| serves(self, &pass));
        let (got, not_now) = match how {
            How::Wait if sure && (front.is_some() || self.is_closed[q]) => {
                (by.pool.receive(&by.queues[q]), Error::Timeout)
            }
            How::Timeout if sure => {
                let time = if front.is_some() { SOON } else { AT_ONCE };
                (by.pool.receive_timeout(&by.queues[q], time), Error::Timeout)
            }
            _ => (by.pool.try_receive(&by.queues[q]), Error::Empty),
        };
        let (block, end) = apart(got);
        while let Some(pass) = self.in_queue[q].pop_front() {
            let State::Sent {
                turn, byte, len, ..
            } = self.blocks[pass.index]
            else {
                continue;
            };
            if turn != pass.turn {
                continue;
            }
            check(end, Ok(()));
            let block = block.unwrap();
            assert_eq!((index(&block), block.len()), (pass.index, len));
            return self.hold(block, pass.index, byte);
        }
        check(end, Err(self.nothing(q, not_now)));
    }

    /// What each step leaves must be what the model says, by every handle that is left.
    fn look(&self) {
        let free = self.blocks.iter().filter(|b| **b == State::Free).count();
        for by in self.places.iter().flatten() {
            assert_eq!(by.pool.available(), free);
            assert_eq!(
                (by.pool.count(), by.pool.block_bytes()),
                (self.blocks.len(), self.bytes)
            );
            for q in 0..2 {
                assert_eq!(by.queues[q].len(), self.in_queue[q].len());
            }
        }
        for held in &self.held {
            assert_eq!(held.block.capacity(), self.bytes);
            if let Some(byte) = held.byte {
                assert!(held.block.iter().all(|b| *b == byte));
            }
        }
    }
}

fuzz_target!(|input: Input| {
    let mut world = World::new(&input);
    for (place, op) in input.ops.iter().take(100) {
        world.step(usize::from(*place) % PLACES, op);
        world.look();
    }
});
