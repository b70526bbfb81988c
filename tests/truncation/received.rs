//! A file that is cut behind a message's beginning: the loss is met while the message is read.

use crate::support::{Child, Name, listen, tell};
use crate::{cut, guarded};
use commonhold::{Error, Messages, Segment};

const ROOM: usize = 1 << 17;
const LEN: usize = 60_000;

/// [segment, how]
pub(crate) fn receive_what_was_cut(args: &[String]) {
    let seg = guarded().open(&args[0]).unwrap();
    let messages = Messages::open(&seg, "messages").unwrap();
    tell("ready");
    listen();
    let mut message = vec![7; LEN];
    let received = match &*args[1] {
        "recv" => messages.recv(&mut message),
        "recv_with" => messages.recv_with(|bytes| {
            // Here all is lost that was read before, too.
            message.clear();
            bytes.iter().filter(|b| **b == 1).count()
        }),
        how => panic!("{how}"),
    };
    assert!(matches!(received, Err(Error::Corrupt)), "{received:?}");
    assert!(message.is_empty());
}

#[test]
fn a_message_that_is_cut_off_while_it_is_read_is_not_received() {
    for how in ["recv", "recv_with"] {
        let name = Name::new("message");
        let seg = Segment::create(&name, ROOM).unwrap();
        let messages = Messages::create(&seg, "messages", LEN + 4096).unwrap();
        messages.send(&vec![1; LEN]).unwrap();
        drop((messages, seg));
        let mut child = Child::start("receive_what_was_cut", &[&name, how]);
        child.expect("ready");
        let len = std::fs::metadata(name.path()).unwrap().len();
        // The room is the last of the file, and the queue the first in it: in the midst of the message.
        cut(&name, len - ROOM as u64 + LEN as u64 / 2);
        child.say("cut");
        child.finish();
    }
}
