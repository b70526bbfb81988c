//! The kernel's: pipes, sockets and message queues, made before the second party is started, which inherits its ends.

use super::Link;
use crate::arena::{inheritable, owned};
use crate::job::Who;
use crate::machine::error;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// The places of one party's descriptors. What goes in comes first where there are two.
const PIPE: usize = 0;
const WIDE_PIPE: usize = 2;
const QUEUE: usize = 4;
const EVENTS: usize = 6;
const STREAM: usize = 8;
const SEQPACKET: usize = 9;
const COUNT: usize = 10;

/// How much room we ask for where the default is less than the longest message.
const ROOM: libc::c_int = 4 << 20;
/// The longest message that we ask message queues for, and what they take anyhow.
const LONG: libc::c_long = 1 << 20;
const SHORT: libc::c_long = 8 << 10;
/// As many as a queue has unless it is told otherwise.
const MESSAGES: libc::c_long = 10;

/// One party's ends.
pub(crate) struct Ends {
    /// None where the system refuses.
    files: [Option<File>; COUNT],
    /// The longest message of a queue.
    queue_len: usize,
}

/// Makes both parties' ends.
pub(crate) fn make() -> [Ends; 2] {
    let mut ends = [(); 2].map(|()| Ends {
        files: Default::default(),
        queue_len: 0,
    });
    for (place, room) in [(PIPE, None), (WIDE_PIPE, Some(1 << 20))] {
        for from in [0, 1] {
            let [into, out] = pipe(room);
            ends[1 - from].files[place] = Some(into);
            ends[from].files[place + 1] = Some(out);
        }
    }
    for (place, kind) in [
        (STREAM, libc::SOCK_STREAM),
        (SEQPACKET, libc::SOCK_SEQPACKET),
    ] {
        let both = sockets(kind).into_iter();
        for (ends, socket) in ends.iter_mut().zip(both) {
            ends.files[place] = Some(socket);
        }
    }
    for place in [EVENTS, EVENTS + 1] {
        // SAFETY: takes two numbers.
        let event = File::from(owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) }));
        ends[1].files[place] = Some(event.try_clone().expect("a duplicate"));
        ends[0].files[place] = Some(event);
    }
    for (from, way) in [(0, "there"), (1, "back")] {
        let Ok((queue, len)) = queue(way) else { break };
        ends[1 - from].files[QUEUE] = Some(queue.try_clone().expect("a duplicate"));
        ends[from].files[QUEUE + 1] = Some(queue);
        ends.iter_mut().for_each(|ends| ends.queue_len = len);
    }
    ends
}

impl Ends {
    /// Duplicates to be inherited, in their order.
    pub(crate) fn inherit(&self) -> impl Iterator<Item = Option<OwnedFd>> {
        self.files.iter().map(|file| file.as_ref().map(inheritable))
    }

    /// From what was inherited, in its order; `None` for what was not there.
    pub(crate) fn inherited(fds: &[Option<RawFd>]) -> Ends {
        let mut files: [Option<File>; COUNT] = Default::default();
        for (file, fd) in files.iter_mut().zip(fds) {
            *file = fd.map(|fd| owned(fd).into());
        }
        let queue_len = files[QUEUE].as_ref().map_or(0, message_len);
        Ends { files, queue_len }
    }

    /// The longest message that it takes.
    pub(crate) fn longest(&self, who: Who) -> usize {
        match who {
            Who::Seqpacket => self.files[SEQPACKET].as_ref().map_or(0, room),
            Who::PosixQueue => self.queue_len,
            _ => usize::MAX,
        }
    }

    fn file(&self, place: usize) -> &File {
        self.files[place]
            .as_ref()
            .expect("its figures are left out")
    }

    /// What comes in by a pipe, and what goes out.
    pub(crate) fn pipe(&self) -> [&File; 2] {
        [PIPE, PIPE + 1].map(|place| self.file(place))
    }

    /// Counters to be waited for: there and back.
    pub(crate) fn events(&self) -> [&File; 2] {
        [EVENTS, EVENTS + 1].map(|place| self.file(place))
    }
}

/// A stream of bytes: the kernel says nothing of where a message ends, the length does.
pub(crate) struct Stream<'a> {
    into: &'a File,
    out: &'a File,
    room: Vec<u8>,
}

impl<'a> Stream<'a> {
    pub(crate) fn new(ends: &'a Ends, who: Who, len: usize) -> Self {
        let [into, out] = match who {
            Who::Pipe => [PIPE, PIPE + 1],
            Who::WidePipe => [WIDE_PIPE, WIDE_PIPE + 1],
            _ => [STREAM, STREAM],
        };
        Stream {
            into: ends.file(into),
            out: ends.file(out),
            room: vec![0; len],
        }
    }
}

impl Link for Stream<'_> {
    fn send(&mut self, message: &[u8]) {
        self.out.write_all(message).expect("the other end is open");
    }
    fn recv(&mut self) -> &[u8] {
        self.into
            .read_exact(&mut self.room)
            .expect("the other end is open");
        &self.room
    }
}

/// A socket that keeps messages apart.
pub(crate) struct Packets<'a> {
    socket: &'a File,
    room: Vec<u8>,
}

impl<'a> Packets<'a> {
    pub(crate) fn new(ends: &'a Ends, len: usize) -> Self {
        Packets {
            socket: ends.file(SEQPACKET),
            room: vec![0; len],
        }
    }
}

impl Link for Packets<'_> {
    fn send(&mut self, message: &[u8]) {
        let sent = self.socket.write(message).expect("the other end is open");
        assert_eq!(sent, message.len(), "half a message");
    }
    fn recv(&mut self) -> &[u8] {
        let len = self
            .socket
            .read(&mut self.room)
            .expect("the other end is open");
        &self.room[..len]
    }
}

/// POSIX message queues, one each way.
pub(crate) struct PosixQueue<'a> {
    into: &'a File,
    out: &'a File,
    room: Vec<u8>,
}

impl<'a> PosixQueue<'a> {
    pub(crate) fn new(ends: &'a Ends) -> Self {
        PosixQueue {
            into: ends.file(QUEUE),
            out: ends.file(QUEUE + 1),
            // It wants room for the longest.
            room: vec![0; ends.queue_len],
        }
    }
}

impl Link for PosixQueue<'_> {
    fn send(&mut self, message: &[u8]) {
        // SAFETY: the pointer and the length are the message's.
        let r = unsafe {
            libc::mq_send(
                self.out.as_raw_fd(),
                message.as_ptr().cast(),
                message.len(),
                0,
            )
        };
        assert_eq!(r, 0, "mq_send: {}", error());
    }
    fn recv(&mut self) -> &[u8] {
        // SAFETY: the pointer and the length are the room's; null is for a priority that nobody asks for.
        let len = unsafe {
            libc::mq_receive(
                self.into.as_raw_fd(),
                self.room.as_mut_ptr().cast(),
                self.room.len(),
                std::ptr::null_mut(),
            )
        };
        assert!(len >= 0, "mq_receive: {}", error());
        &self.room[..len as usize]
    }
}

fn pipe(room: Option<libc::c_int>) -> [File; 2] {
    let mut ends = [0; 2];
    // SAFETY: there is room for two descriptors.
    let made = unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) };
    assert_eq!(made, 0, "pipe: {}", error());
    if let Some(room) = room {
        // SAFETY: an open pipe. What an ordinary user may have is just as much; if not, it stays as it is.
        unsafe { libc::fcntl(ends[1], libc::F_SETPIPE_SZ, room) };
    }
    ends.map(|fd| owned(fd).into())
}

fn sockets(kind: libc::c_int) -> [File; 2] {
    let mut ends = [0; 2];
    // SAFETY: there is room for two descriptors.
    let made = unsafe {
        libc::socketpair(
            libc::AF_UNIX,
            kind | libc::SOCK_CLOEXEC,
            0,
            ends.as_mut_ptr(),
        )
    };
    assert_eq!(made, 0, "socketpair: {}", error());
    let ends: [File; 2] = ends.map(|fd| owned(fd).into());
    if kind == libc::SOCK_SEQPACKET {
        // With CAP_NET_ADMIN as much as we ask for; without, what anybody may have.
        for option in [libc::SO_SNDBUF, libc::SO_SNDBUFFORCE] {
            ends.iter().for_each(|end| {
                // SAFETY: the option's value is an int, and so is what the pointer leads to.
                unsafe {
                    libc::setsockopt(
                        end.as_raw_fd(),
                        libc::SOL_SOCKET,
                        option,
                        std::ptr::from_ref(&ROOM).cast(),
                        size_of_val(&ROOM) as libc::socklen_t,
                    )
                };
            });
        }
    }
    ends
}

/// The longest message that a socket takes.
fn room(socket: &File) -> usize {
    let mut room: libc::c_int = 0;
    let mut len = size_of_val(&room) as libc::socklen_t;
    // SAFETY: the option's value is an int, and so is what the pointer leads to.
    let r = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_SNDBUF,
            (&raw mut room).cast(),
            &mut len,
        )
    };
    assert_eq!(r, 0, "getsockopt: {}", error());
    // The kernel keeps 32 bytes to itself.
    (room as usize).saturating_sub(32)
}

/// A message queue that has no name any more, and the longest message that it takes.
fn queue(way: &str) -> std::io::Result<(File, usize)> {
    let unlimited = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: reads a struct. Only root may; others have the shorter messages.
    unsafe { libc::setrlimit(libc::RLIMIT_MSGQUEUE, &unlimited) };
    let name = format!("/commonhold-peers-{}-{way}\0", std::process::id());
    let name = std::ffi::CStr::from_bytes_with_nul(name.as_bytes()).expect("one NUL, at the end");
    let open = |len| {
        // SAFETY: zero bytes are an mq_attr, which the call reads; the name is a C string.
        unsafe {
            let mut attributes: libc::mq_attr = std::mem::zeroed();
            attributes.mq_maxmsg = MESSAGES;
            attributes.mq_msgsize = len;
            let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC;
            let queue = libc::mq_open(name.as_ptr(), flags, 0o600, &raw const attributes);
            if queue < 0 {
                return Err(error());
            }
            libc::mq_unlink(name.as_ptr());
            Ok(File::from(owned(queue)))
        }
    };
    let queue = open(LONG).or_else(|_| open(SHORT))?;
    let len = message_len(&queue);
    Ok((queue, len))
}

fn message_len(queue: &File) -> usize {
    // SAFETY: zero bytes are an mq_attr, which the call fills.
    unsafe {
        let mut attributes: libc::mq_attr = std::mem::zeroed();
        let r = libc::mq_getattr(queue.as_raw_fd(), &mut attributes);
        assert_eq!(r, 0, "mq_getattr: {}", error());
        attributes.mq_msgsize as usize
    }
}
