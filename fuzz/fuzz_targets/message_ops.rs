//! Operation lists on messages, by several handles of several members, against a `VecDeque`: each result must be the model's. Then the
//! ring's bytes are scribbled on, and nothing may come of it but errors and wrong bytes, until all is gone and the model holds again.

#![no_main]

use arbitrary::Arbitrary;
use commonhold::{Error, Messages, Result, Segment};
use commonhold_fuzz::{AT_ONCE, attach, catch, check, panic_on_purpose, told};
use libfuzzer_sys::fuzz_target;
use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

#[derive(Arbitrary, Debug)]
struct Input {
    capacity: u8,
    ops: Vec<(u8, Op)>,
}

/// How long a call waits, if it must.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Form {
    Blocking,
    Try,
    Timed,
}

/// What one handle does.
#[derive(Arbitrary, Debug)]
enum Op {
    Send(Form, u8),
    SendWith(Form, u8, Closure),
    Recv(Form),
    RecvWith(Form, Closure),
    Iterate(u8),
    /// Puts a clone in the handle's place.
    Clone,
    /// Puts a handle in its place that was opened anew, by another member or the same one.
    Reopen {
        anew: bool,
    },
    Close,
    /// Writes into the object, at some word: its positions and locks are spared, or nothing would ever be well again.
    Scribble {
        word: u8,
        value: u64,
    },
    /// Writes a header that is one, where the next message's is, of another length.
    Forge(u8),
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
enum Closure {
    Returns,
    Panics,
}

/// What the messages must be.
struct Model {
    messages: VecDeque<Vec<u8>>,
    capacity: usize,
    closed: bool,
    made: usize,
    /// Words that were sent and received since the beginning.
    tail: u64,
    head: u64,
    /// Somebody scribbled: what is there is anything.
    scribbled: bool,
}

fn words(len: usize) -> u64 {
    1 + len.div_ceil(8) as u64
}

fn header(position: u64, len: u64) -> u64 {
    let mixed = (position ^ len.rotate_left(32) ^ 0xF3A5).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed >> 48 << 48 | len
}

impl Model {
    fn make(&mut self, len: usize) -> Vec<u8> {
        self.made += 1;
        (0..len).map(|i| (self.made * 31 + i * 7) as u8).collect()
    }

    fn room(&self) -> u64 {
        words(self.capacity) - (self.tail - self.head)
    }

    /// What a send of a message of that length comes to, if somebody must wait for nothing.
    fn may_send(&self, len: usize, not_now: Error) -> Result<()> {
        if len > self.capacity {
            return Err(Error::TooLarge {
                requested: len as u64,
                limit: self.capacity as u64,
            });
        }
        match self.room() >= words(len) {
            _ if self.closed => Err(Error::Closed),
            true => Ok(()),
            false => Err(not_now),
        }
    }

    fn sent(&mut self, message: Vec<u8>) {
        self.tail += words(message.len());
        self.messages.push_back(message);
    }

    fn next(&self, not_now: Error) -> Result<Vec<u8>> {
        match self.messages.front() {
            Some(message) => Ok(message.clone()),
            None if self.closed => Err(Error::Closed),
            None => Err(not_now),
        }
    }

    fn received(&mut self) {
        if let Some(message) = self.messages.pop_front() {
            self.head += words(message.len());
        }
    }
}

fuzz_target!(|input: Input| {
    let capacity = usize::from(input.capacity % 70) + 1;
    let segments: [Segment; 2] = {
        let first = Segment::anonymous(4096).unwrap();
        let second = attach(&first).unwrap();
        [first, second]
    };
    let created = Messages::create(&segments[0], "m", capacity).unwrap();
    let opened = Messages::open(&segments[1], "m").unwrap();
    let mut handles = [created.clone(), created, opened];
    let mut model = Model {
        messages: VecDeque::new(),
        capacity,
        closed: false,
        made: 0,
        tail: 0,
        head: 0,
        scribbled: false,
    };
    for (handle, op) in &input.ops {
        let handle = usize::from(*handle) % handles.len();
        step(&mut handles, handle, &segments, &mut model, op);
    }
    if model.scribbled {
        set_right(&handles[0], &segments[0], &mut model);
    }
    for message in &model.messages {
        assert_eq!(handles[1].recv_with(<[u8]>::to_vec).unwrap(), *message);
    }
    assert!(handles[2].is_empty());
});

/// The segment's file, and where the ring begins.
fn ring(segment: &Segment) -> (File, u64) {
    let file = File::from(segment.as_fd().try_clone_to_owned().unwrap());
    let mut data_at = [0; 8];
    file.read_exact_at(&mut data_at, 56).unwrap();
    (file, u64::from_ne_bytes(data_at) + 384)
}

/// Takes out what is there, whatever it is, and finds where it ends.
fn set_right(m: &Messages, segment: &Segment, model: &mut Model) {
    let mut got = Vec::new();
    for _ in 0..=words(model.capacity) {
        if m.is_empty() {
            break;
        }
        match m.try_recv(&mut got) {
            Ok(len) => assert!(len == got.len() && len <= model.capacity),
            Err(Error::Corrupt) => assert!(got.is_empty() && m.is_empty()),
            Err(e) => panic!("{e:?}"),
        }
    }
    assert!(m.is_empty(), "each takes out one word at the least");
    let (file, ring) = ring(segment);
    let position = |end: u64| {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, ring - 384 + end * 128 + 8)
            .unwrap();
        u64::from_ne_bytes(bytes)
    };
    assert_eq!(position(0), position(1));
    (model.head, model.tail) = (position(1), position(0));
    model.messages.clear();
    model.scribbled = false;
}

fn step(
    handles: &mut [Messages; 3],
    handle: usize,
    segments: &[Segment; 2],
    model: &mut Model,
    op: &Op,
) {
    let m = &handles[handle];
    if model.scribbled {
        match *op {
            Op::Recv(_) => {
                let mut got = vec![9];
                let len = told(m.try_recv(&mut got));
                assert_eq!(len.unwrap_or(0), got.len());
                assert!(got.len() <= model.capacity);
            }
            Op::RecvWith(_, closure) => {
                let read = |bytes: &[u8]| {
                    assert!(bytes.len() <= model.capacity);
                    if closure == Closure::Panics {
                        panic_on_purpose();
                    }
                    bytes.iter().map(|b| u64::from(*b)).sum::<u64>()
                };
                catch(|| told(m.try_recv_with(read)));
            }
            Op::Scribble { .. } | Op::Forge(_) => scribble(segments, model, op),
            _ => set_right(m, &segments[0], model),
        }
        return;
    }
    match *op {
        Op::Send(form, len) => {
            let message = model.make(usize::from(len % 80));
            let ready = model.may_send(message.len(), Error::Full);
            let (got, want) = match form {
                Form::Blocking if !matches!(ready, Err(Error::Full)) => (m.send(&message), ready),
                Form::Blocking | Form::Try => (m.try_send(&message), ready),
                Form::Timed => (
                    m.send_timeout(&message, AT_ONCE),
                    model.may_send(message.len(), Error::Timeout),
                ),
            };
            let sent = got.is_ok();
            check(got, want);
            if sent {
                model.sent(message);
            }
        }
        Op::SendWith(form, len, closure) => {
            let message = model.make(usize::from(len % 80));
            let len = message.len();
            let write = |bytes: &mut [u8]| {
                bytes.copy_from_slice(&message);
                if closure == Closure::Panics {
                    panic_on_purpose();
                }
            };
            let ready = model.may_send(len, Error::Full);
            let will_run = ready.is_ok();
            let (got, want) = match form {
                Form::Blocking if !matches!(ready, Err(Error::Full)) => {
                    (catch(|| m.send_with(len, write)), ready)
                }
                Form::Blocking | Form::Try => (catch(|| m.try_send_with(len, write)), ready),
                Form::Timed => (
                    catch(|| m.send_with_timeout(len, AT_ONCE, write)),
                    model.may_send(len, Error::Timeout),
                ),
            };
            match got {
                None => assert!(will_run && closure == Closure::Panics),
                Some(got) => {
                    check(got, want);
                    if will_run {
                        model.sent(message);
                    }
                }
            }
        }
        Op::Recv(form) => {
            let mut got = vec![9; 3];
            let ready = model.next(Error::Empty);
            let (len, want) = match form {
                Form::Blocking if !matches!(ready, Err(Error::Empty)) => (m.recv(&mut got), ready),
                Form::Blocking | Form::Try => (m.try_recv(&mut got), ready),
                Form::Timed => (
                    m.recv_timeout(&mut got, AT_ONCE),
                    model.next(Error::Timeout),
                ),
            };
            assert_eq!(*len.as_ref().unwrap_or(&0), got.len());
            check(len.map(|_| got), want);
            model.received();
        }
        Op::RecvWith(form, closure) => {
            let read = |bytes: &[u8]| {
                if closure == Closure::Panics {
                    panic_on_purpose();
                }
                bytes.to_vec()
            };
            let ready = model.next(Error::Empty);
            let will_run = ready.is_ok();
            let (got, want) = match form {
                Form::Blocking if !matches!(ready, Err(Error::Empty)) => {
                    (catch(|| m.recv_with(read)), ready)
                }
                Form::Blocking | Form::Try => (catch(|| m.try_recv_with(read)), ready),
                Form::Timed => (
                    catch(|| m.recv_with_timeout(AT_ONCE, read)),
                    model.next(Error::Timeout),
                ),
            };
            match got {
                // It stays.
                None => assert!(will_run && closure == Closure::Panics),
                Some(got) => {
                    check(got, want);
                    model.received();
                }
            }
        }
        Op::Iterate(n) => {
            // To the end only when there is one.
            let max = if model.closed {
                usize::MAX
            } else {
                usize::from(n).min(model.messages.len())
            };
            for got in m.iter().take(max) {
                assert_eq!(got, model.next(Error::Empty).unwrap());
                model.received();
            }
            assert!(!model.closed || model.messages.is_empty());
        }
        Op::Clone => handles[handle] = m.clone(),
        Op::Reopen { anew: false } => {
            handles[handle] = Messages::open(&segments[handle % 2], "m").unwrap();
        }
        Op::Reopen { anew: true } => {
            let seg = attach(&segments[0]).unwrap();
            handles[handle] = Messages::open_or_create(&seg, "m", model.capacity).unwrap();
        }
        Op::Close => {
            m.close();
            model.closed = true;
        }
        Op::Scribble { .. } | Op::Forge(_) => return scribble(segments, model, op),
    }
    for m in handles {
        assert_eq!(m.used() as u64, (model.tail - model.head) * 8);
        assert_eq!(m.is_empty(), model.messages.is_empty());
        assert_eq!(m.capacity(), model.capacity);
        assert_eq!(m.is_closed(), model.closed);
    }
}

fn scribble(segments: &[Segment; 2], model: &mut Model, op: &Op) {
    let (file, ring) = ring(&segments[1]);
    let (word, value) = match *op {
        Op::Scribble { word, value } => (u64::from(word), value),
        Op::Forge(len) => (model.head, header(model.head, len.into())),
        _ => unreachable!("it is no scribbling"),
    };
    let at = ring + word % words(model.capacity) * 8;
    file.write_all_at(&value.to_ne_bytes(), at).unwrap();
    model.scribbled = true;
}
