//! `Pipe`.

use super::Victim;
use crate::watch::{AT_ONCE, Watch};
use commonhold::{Pipe, PipeEnd, Result, Segment};
use std::time::Duration;

pub(super) struct Pipes {
    /// Of a number of words that is a power of two, and of one that is not.
    even: Pipe,
    odd: Pipe,
}

impl Victim for Pipes {
    fn create(seg: &Segment) -> Result<Self> {
        Ok(Pipes {
            even: Pipe::create(seg, "even", 56)?,
            odd: Pipe::create(seg, "odd", 100)?,
        })
    }

    fn open(seg: &Segment) -> Result<Self> {
        Ok(Pipes {
            even: Pipe::open(seg, "even")?,
            odd: Pipe::open(seg, "odd")?,
        })
    }

    fn round(&self, w: &Watch) {
        use_pipe(&self.even, w, "even");
        use_pipe(&self.odd, w, "odd");
    }
}

/// How long one who takes an end waits for another, by its documentation.
const PATIENCE: Duration = Duration::from_secs(1);

fn use_pipe(pipe: &Pipe, w: &Watch, name: &str) {
    // A newcomer whose entry was forged meets a lock at another place: a second each time.
    let take = |what, f: &dyn Fn() -> Result<PipeEnd>| match w.strikes_itself() {
        true => w.untimed(what, name, f),
        false => w.op(what, PATIENCE, f),
    };
    let mut ends = [
        take("Pipe::left", &|| pipe.left()),
        take("Pipe::right", &|| pipe.right()),
    ];
    for round in 0..3 {
        // Each receives what the other has sent, if that is still what was sent.
        for end in ends.iter().flatten() {
            send(end, w, name);
        }
        for end in ends.iter().flatten() {
            end.limit_messages([usize::MAX, 1000, 3][round]);
            receive(end, w, name);
        }
    }
    for end in &mut ends {
        w.see("(drop of an end)", || end.take());
    }
}

fn send(end: &PipeEnd, w: &Watch, name: &str) {
    w.see("PipeEnd::is_closed", || end.is_closed());
    w.op("PipeEnd::try_send", AT_ONCE, || end.try_send(&[7; 11]));
    w.op("PipeEnd::try_send", AT_ONCE, || end.try_send(&[]));
    w.timed("PipeEnd::send_timeout", |soon| {
        end.send_timeout(&[8; 30], soon)
    });
    w.timed("PipeEnd::send_timeout, in pieces", |soon| {
        end.send_timeout(&[9; 500], soon)
    });
    // Otherwise there may be no room.
    w.untimed("PipeEnd::send", name, || match end.is_closed() {
        true => end.send(&[2]),
        false => Ok(()),
    });
}

fn receive(end: &PipeEnd, w: &Watch, name: &str) {
    let mut message = Vec::new();
    w.op("PipeEnd::poll", AT_ONCE, || end.poll(AT_ONCE));
    w.timed("PipeEnd::poll", |soon| end.poll(soon));
    w.op("PipeEnd::try_recv", AT_ONCE, || end.try_recv(&mut message));
    w.timed("PipeEnd::recv_timeout", |soon| {
        end.recv_timeout(&mut message, soon)
    });
    w.untimed("PipeEnd::recv", name, || match end.poll(AT_ONCE)? {
        true => end.recv(&mut message),
        false => Ok(0),
    });
    w.untimed("PipeEnd::iter", name, || {
        let is_there = end.poll(AT_ONCE)?;
        Ok(end.iter().take(is_there.into()).count())
    });
    // Nothing grows beyond what was sent.
    assert!(message.len() <= 4096, "{}", message.len());
}
