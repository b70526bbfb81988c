//! What brings messages from one process to another, ours and the peers', behind one trait.

pub(crate) mod iceoryx;
pub(crate) mod ipc_channel;
pub(crate) mod kernel;
pub(crate) mod ours;

use crate::arena::Arena;
use crate::job::Who;
use iceoryx::Iceoryx;
use ipc_channel::IpcChannel;
use std::cell::RefCell;

/// One party's end of a connection that goes both ways.
pub(crate) trait Link {
    /// Called when both ends are there, before anything is sent.
    fn connect(&mut self) {}
    /// Hands a message over, waiting for room.
    fn send(&mut self, message: &[u8]);
    /// Waits for the next message, and gives it in memory of this process's own.
    fn recv(&mut self) -> &[u8];
}

/// One party's ends that are one thread's alone.
pub(crate) struct Wires {
    pub(crate) ipc_channel: RefCell<IpcChannel>,
    pub(crate) iceoryx: RefCell<Iceoryx>,
}

impl Wires {
    pub(crate) fn new(ipc_channel: IpcChannel) -> Wires {
        Wires {
            ipc_channel: RefCell::new(ipc_channel),
            iceoryx: RefCell::default(),
        }
    }
}

/// The lengths of messages, in bytes.
pub(crate) const LENGTHS: [usize; 5] = [8, 64, 4 << 10, 64 << 10, 1 << 20];

/// How many messages of a length may be under way where that is ours to say: a MiB of them, and no more than a queue has
/// elsewhere.
pub(crate) fn depth(len: usize) -> usize {
    ((1 << 20) / len).clamp(4, crate::arena::CAPACITY)
}

/// Ours first.
const LINKS: [Who; 12] = [
    Who::Messages,
    Who::Ring,
    Who::Queue,
    Who::OurPipe,
    Who::Blocks,
    Who::Iceoryx,
    Who::IpcChannel,
    Who::Pipe,
    Who::WidePipe,
    Who::Stream,
    Who::Seqpacket,
    Who::PosixQueue,
];

/// Who brings messages of that length here.
pub(crate) fn contestants(arena: &Arena, len: usize) -> impl Iterator<Item = Who> {
    LINKS.into_iter().filter(move |who| match who {
        // By value: what is larger does not belong on a stack.
        Who::Ring | Who::Queue => len <= 4 << 10,
        // Loaned in place: not for what fits into a line.
        Who::Blocks => len >= 4 << 10,
        Who::Seqpacket | Who::PosixQueue => arena.ends.longest(*who) >= len,
        _ => true,
    })
}

/// Who is left out of what, since the system refuses.
pub(crate) fn absent(arena: &Arena) -> Option<String> {
    let left_out = [Who::Seqpacket, Who::PosixQueue]
        .into_iter()
        .filter_map(|who| {
            let longest = arena.ends.longest(who);
            let name = who.name();
            let what = match longest {
                0 => format!("{name}: the system gives none"),
                len => format!("{name} beyond {len} bytes"),
            };
            (longest < LENGTHS[LENGTHS.len() - 1]).then_some(what)
        });
    let left_out: Vec<_> = left_out.collect();
    (!left_out.is_empty()).then(|| left_out.join(", "))
}

/// Runs `$do` with `$link` standing for this party's end, as the type that it is.
macro_rules! with_link {
    ($who:expr, $party:expr, $len:expr, $first:expr, |$link:ident| $do:expr) => {{
        use $crate::links::{kernel, ours};
        let (len, first): (usize, bool) = ($len, $first);
        let (arena, wires): (&$crate::arena::Arena, &$crate::links::Wires) = $party;
        let segment = &arena.segment;
        match ($who, len) {
            (Who::Ring, 8) => with_link!(@ ours::Ring::<[u64; 1]>::open(segment, first), $link, $do),
            (Who::Ring, 64) => with_link!(@ ours::Ring::<[u64; 8]>::open(segment, first), $link, $do),
            (Who::Ring, _) => with_link!(@ ours::Ring::<[u64; 512]>::open(segment, first), $link, $do),
            (Who::Queue, 8) => with_link!(@ ours::Queue::<[u64; 1]>::open(segment, first), $link, $do),
            (Who::Queue, 64) => with_link!(@ ours::Queue::<[u64; 8]>::open(segment, first), $link, $do),
            (Who::Queue, _) => with_link!(@ ours::Queue::<[u64; 512]>::open(segment, first), $link, $do),
            (Who::Messages, _) => with_link!(@ ours::Messages::open(segment, len, first), $link, $do),
            (Who::OurPipe, _) => with_link!(@ ours::Pipe::open(segment, len, first), $link, $do),
            (Who::Blocks, _) => with_link!(@ ours::Blocks::open(segment, len, first), $link, $do),
            (Who::Pipe | Who::WidePipe | Who::Stream, _) => {
                with_link!(@ kernel::Stream::new(&arena.ends, $who, len), $link, $do)
            }
            (Who::Seqpacket, _) => with_link!(@ kernel::Packets::new(&arena.ends, len), $link, $do),
            (Who::PosixQueue, _) => with_link!(@ kernel::PosixQueue::new(&arena.ends), $link, $do),
            (Who::IpcChannel, _) => {
                let $link = &mut *wires.ipc_channel.borrow_mut();
                $do
            }
            (Who::Iceoryx, _) => {
                let mut iceoryx = wires.iceoryx.borrow_mut();
                let $link = iceoryx.link(len, first);
                $do
            }
            (other, _) => unreachable!("{other:?} brings no messages"),
        }
    }};
    (@ $open:expr, $link:ident, $do:expr) => {{
        let $link = &mut $open;
        $do
    }};
}
pub(crate) use with_link;
