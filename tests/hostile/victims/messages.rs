//! `Messages`.

use super::Victim;
use crate::watch::{AT_ONCE, Watch};
use commonhold::{Messages, Result, Segment};

pub(super) struct Mails {
    /// Of a size at which messages cross the ring's end again and again.
    small: Messages,
    large: Messages,
    closed: Messages,
}

impl Victim for Mails {
    fn create(seg: &Segment) -> Result<Self> {
        let all = Mails {
            small: Messages::create(seg, "small", 50)?,
            large: Messages::create(seg, "large", 3000)?,
            closed: Messages::create(seg, "closed", 9)?,
        };
        all.small.send(b"one")?;
        all.large.send(&[7; 1000])?;
        all.closed.send(b"last")?;
        all.closed.close();
        Ok(all)
    }

    fn open(seg: &Segment) -> Result<Self> {
        Ok(Mails {
            small: Messages::open(seg, "small")?,
            large: Messages::open(seg, "large")?,
            closed: Messages::open(seg, "closed")?,
        })
    }

    fn round(&self, w: &Watch) {
        use_messages(&self.small, w, "small", 20);
        use_messages(&self.large, w, "large", 1500);
        use_messages(&self.closed, w, "closed", 0);
        w.untimed("Messages::close", "closed", || {
            self.closed.close();
            Ok(())
        });
    }
}

fn use_messages(m: &Messages, w: &Watch, name: &str, len: usize) {
    w.see("Messages::used", || m.used());
    w.see("Messages::is_empty", || m.is_empty());
    w.see("Messages::is_closed", || m.is_closed());
    let bytes = vec![5; len];
    let fill = |to: &mut [u8]| {
        assert_eq!(to.len(), len);
        to.fill(6);
    };
    // A try-form may wait a millisecond for others at the same end.
    w.op("Messages::try_send", AT_ONCE, || m.try_send(&bytes));
    w.timed("Messages::send_timeout", |soon| {
        m.send_timeout(&bytes, soon)
    });
    w.op("Messages::try_send_with", AT_ONCE, || {
        m.try_send_with(len, fill)
    });
    w.timed("Messages::send_with_timeout", |soon| {
        m.send_with_timeout(len, soon, fill)
    });
    let mut got = Vec::new();
    let fits = |len: usize| assert!(len <= m.capacity());
    w.op("Messages::try_recv", AT_ONCE, || m.try_recv(&mut got))
        .inspect(|len| fits(*len));
    w.timed("Messages::recv_timeout", |soon| {
        m.recv_timeout(&mut got, soon)
    })
    .inspect(|len| fits(*len));
    let read = |bytes: &[u8]| {
        fits(bytes.len());
        bytes.iter().map(|b| u64::from(*b)).sum::<u64>()
    };
    w.op("Messages::try_recv_with", AT_ONCE, || m.try_recv_with(read));
    w.timed("Messages::recv_with_timeout", |soon| {
        m.recv_with_timeout(soon, read)
    });
    let words = |bytes: usize| bytes.next_multiple_of(8) + 8;
    let has_room = || m.used() + words(len) <= words(m.capacity());
    w.untimed("Messages::send", name, || {
        if has_room() { m.send(&bytes) } else { Ok(()) }
    });
    w.untimed("Messages::send_with", name, || {
        if has_room() {
            m.send_with(len, fill)
        } else {
            Ok(())
        }
    });
    w.untimed("Messages::recv", name, || {
        if m.is_empty() {
            Ok(0)
        } else {
            m.recv(&mut got)
        }
    });
    w.untimed("Messages::recv_with", name, || {
        if m.is_empty() {
            Ok(0)
        } else {
            m.recv_with(read)
        }
    });
    w.untimed("Messages::iter", name, || {
        // It ends by itself only where the queue is closed.
        if !m.is_empty() {
            m.iter().take(1).for_each(|bytes| fits(bytes.len()));
        }
        Ok(())
    });
}
