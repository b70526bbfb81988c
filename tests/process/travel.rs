//! Handles that are sent to other processes.

use crate::support::{self, Child, Forked, Name, forks_are_noticed, tell};
use commonhold::process::Process;
use commonhold::{
    Array, Atomics, Barrier, BlockPool, Broadcast, Channel, Condvar, Error, Event, Messages, Mutex,
    Once, Pipe, Queue, ReentrantMutex, Result, Ring, RwLock, Segment, SegmentOptions, Semaphore,
    Value,
};
use serde::{Deserialize, Serialize};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(20);

/// One of each.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kit {
    segment: Segment,
    value: Value<u64>,
    array: Array<u32>,
    atomics: Atomics<AtomicU64>,
    mutex: Mutex<u64>,
    condvar: Condvar,
    rwlock: RwLock<u64>,
    reentrant: ReentrantMutex,
    semaphore: Semaphore,
    barrier: Barrier,
    event: Event,
    once: Once,
    queue: Queue<u64>,
    ring: Ring<u64>,
    messages: Messages,
    channel: Channel<String>,
    pipe: Pipe,
    broadcast: Broadcast<u64>,
    blocks: BlockPool,
}

impl Kit {
    fn new(segment: Segment) -> Kit {
        let s = &segment;
        let kit: Result<Kit> = (|| {
            Ok(Kit {
                value: Value::create(s, "value", 0)?,
                array: Array::create(s, "array", 3, 0)?,
                atomics: Atomics::create(s, "atomics", 2)?,
                mutex: Mutex::create(s, "mutex", 0)?,
                condvar: Condvar::create(s, "condvar")?,
                rwlock: RwLock::create(s, "rwlock", 0)?,
                reentrant: ReentrantMutex::create(s, "reentrant")?,
                semaphore: Semaphore::create(s, "semaphore", 2)?,
                barrier: Barrier::create(s, "barrier", 2)?,
                event: Event::create_auto_reset(s, "event")?,
                once: Once::create(s, "once")?,
                queue: Queue::create(s, "queue", 4)?,
                ring: Ring::create(s, "ring", 4)?,
                messages: Messages::create(s, "messages", 64)?,
                channel: Channel::create(s, "channel", 64)?,
                pipe: Pipe::create(s, "pipe", 64)?,
                broadcast: Broadcast::create(s, "broadcast", 4)?,
                blocks: BlockPool::create(s, "blocks", 2, 64)?,
                segment: s.clone(),
            })
        })();
        kit.unwrap()
    }

    /// What the receiver does with it. Waits for [`see`](Self::see) at the barrier.
    fn work(&self) -> Result<()> {
        self.value.set(1)?;
        self.array.set(1, 2)?;
        self.atomics[1].store(3, Ordering::Relaxed);
        *self.rwlock.write()? = 5;
        let _held = self.reentrant.lock()?;
        self.semaphore.acquire()?.forget();
        self.once.call_once(|| ())?;
        self.queue.send(6)?;
        self.ring.producer()?.send(7)?;
        self.messages.send(b"eight")?;
        self.channel.send(&"nine".to_owned())?;
        let left = self.pipe.left()?;
        left.send(b"ten")?;
        let publisher = self.broadcast.publisher()?;
        let mut block = self.blocks.loan()?;
        block[0] = 12;
        self.event.set();
        *self.mutex.lock()? = 4;
        self.condvar.notify_all();
        self.barrier.wait_timeout(LONG)?;
        publisher.send(11)?;
        self.barrier.wait_timeout(LONG)?;
        Ok(())
    }

    /// What the sender sees of it.
    fn see(&self) -> Result<()> {
        let done = self.mutex.lock()?;
        let (done, late) = self.condvar.wait_timeout_while(done, LONG, |n| *n == 0)?;
        assert!(!late.timed_out());
        assert_eq!(*done, 4);
        drop(done);
        assert_eq!(
            (self.value.get()?, self.array.to_vec()?),
            (1, vec![0, 2, 0])
        );
        assert_eq!(self.atomics[1].load(Ordering::Relaxed), 3);
        assert_eq!(*self.rwlock.read()?, 5);
        assert!(matches!(self.reentrant.try_lock(), Err(Error::WouldBlock)));
        assert_eq!(self.semaphore.available(), 1);
        // It lets one through, as it was made to.
        self.event.wait_timeout(LONG)?;
        assert!(!self.event.is_set());
        assert!(self.once.is_completed());
        assert_eq!(self.queue.try_recv()?, 6);
        assert_eq!(self.ring.consumer()?.try_recv()?, 7);
        let mut bytes = Vec::new();
        self.messages.try_recv(&mut bytes)?;
        assert_eq!(bytes, b"eight");
        assert_eq!(self.channel.try_recv()?, "nine");
        self.pipe.right()?.try_recv(&mut bytes)?;
        assert_eq!(bytes, b"ten");
        let mut subscriber = self.broadcast.subscribe()?;
        // One is out.
        let _one = self.blocks.try_loan()?;
        assert!(matches!(self.blocks.try_loan(), Err(Error::WouldBlock)));
        self.barrier.wait_timeout(LONG)?;
        assert_eq!(subscriber.recv_timeout(LONG)?, 11);
        self.barrier.wait_timeout(LONG)?;
        Ok(())
    }
}

/// What goes from process to process in these tests: handles within all sorts of other values.
#[derive(Debug, Serialize, Deserialize)]
enum Parcel {
    Kit(Box<Kit>),
    Kits(Vec<Option<Kit>>, (Segment, u8)),
    Segment(Segment),
    Ask(Channel<Parcel>),
}

/// A channel of parcels in a segment of its own.
struct Post {
    name: Name,
    parcels: Channel<Parcel>,
}

impl Post {
    fn new() -> Post {
        let name = Name::new("post");
        let segment = Segment::create(&name, 1 << 16).unwrap();
        let parcels = Channel::create(&segment, "parcels", 1 << 15).unwrap();
        Post { name, parcels }
    }

    fn recv(&self) -> Result<Parcel> {
        self.parcels.recv_timeout(LONG)
    }
}

fn post(args: &[String]) -> Channel<Parcel> {
    let segment = Segment::open(&args[0]).unwrap();
    Channel::open(&segment, "parcels").unwrap()
}

fn anonymous() -> Segment {
    Segment::anonymous(1 << 16).unwrap()
}

fn alive(segment: &Segment) -> usize {
    segment.members().iter().filter(|m| m.alive).count()
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn mappings() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|m| m.contains("commonhold")).count()
}

pub(crate) fn use_a_kit(args: &[String]) {
    let Ok(Parcel::Kit(kit)) = post(args).recv_timeout(LONG) else {
        panic!("a kit was to come");
    };
    assert_eq!(alive(&kit.segment), 2, "one member for nineteen handles");
    kit.work().unwrap();
}

fn every_handle_works_where_it_arrives(segment: Segment, prepare: impl FnOnce(&Kit)) {
    let post = Post::new();
    let kit = Kit::new(segment);
    prepare(&kit);
    post.parcels
        .send(&Parcel::Kit(Box::new(kit.clone())))
        .unwrap();
    let child = Child::start("use_a_kit", &[&post.name]);
    kit.see().unwrap();
    child.finish();
}

#[test]
fn every_handle_of_a_named_segment_works_where_it_arrives() {
    let name = Name::new("kit");
    every_handle_works_where_it_arrives(Segment::create(&name, 1 << 16).unwrap(), |_| {});
}

#[test]
fn every_handle_of_an_anonymous_segment_works_where_it_arrives() {
    every_handle_works_where_it_arrives(anonymous(), |_| {});
}

#[test]
fn every_handle_works_though_the_name_was_removed_or_is_anothers() {
    let name = Name::new("removed");
    let segment = Segment::create(&name, 1 << 16).unwrap();
    every_handle_works_where_it_arrives(segment, |_| Segment::unlink(&name).unwrap());
    let segment = Segment::create(&name, 1 << 16).unwrap();
    let mut other = None;
    every_handle_works_where_it_arrives(segment, |_| {
        Segment::unlink(&name).unwrap();
        other = Some(Segment::create(&name, 1 << 16).unwrap());
    });
    assert!(other.unwrap().objects().is_empty());
}

#[test]
fn a_named_segment_is_an_argument_though_its_descriptor_was_closed() {
    let name = Name::new("closed");
    Child::start("close_and_spawn", &[&name]).finish();
}

/// Closes a segment's descriptor, as daemons do that close all they have.
pub(crate) fn close_and_spawn(args: &[String]) {
    let segment = Segment::create(&args[0], 1 << 16).unwrap();
    let value = Value::create(&segment, "value", 1u64).unwrap();
    let number = segment.as_fd().as_raw_fd();
    let f = |(value, number): (Value<u64>, i32)| {
        let link = std::fs::read_link(format!("/proc/self/fd/{number}"));
        let is_socket = link.is_ok_and(|l| l.to_string_lossy().starts_with("socket:"));
        (value.get().unwrap(), is_socket)
    };
    let start = || {
        let p = Process::builder(f, (value.clone(), number)).pass(&segment);
        p.spawn().unwrap().join().unwrap()
    };
    let (_ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    // SAFETY: closes what others think is theirs, and takes its number: that is what is tested.
    let taken = unsafe { libc::dup3(theirs.as_raw_fd(), number, libc::O_CLOEXEC) };
    assert_eq!(taken, number);
    assert_eq!(
        start(),
        (1, false),
        "a stranger's socket is not handed over"
    );
    // SAFETY: as above.
    unsafe { libc::close(number) };
    assert_eq!(start(), (1, false));
}

/// Sends an anonymous segment and a named one, and lives on until it is killed.
pub(crate) fn send_two_and_wait(args: &[String]) {
    let post = post(args);
    let named = Segment::create(&args[1], 1 << 16).unwrap();
    Value::create(&named, "value", 5u64).unwrap();
    let without_name = anonymous();
    post.send(&Parcel::Segment(without_name.clone())).unwrap();
    post.send(&Parcel::Segment(named.clone())).unwrap();
    tell("sent");
    support::wait_to_be_killed();
}

#[test]
fn when_its_sender_is_dead_a_named_segment_arrives_and_an_anonymous_one_says_why_not() {
    let (post, name) = (Post::new(), Name::new("left"));
    let mut child = Child::start("send_two_and_wait", &[&post.name, &name]);
    child.expect("sent");
    let pid = child.pid();
    child.kill();
    let Err(Error::NotDecodable { reason, .. }) = post.recv() else {
        panic!("nobody has it any more");
    };
    assert!(
        reason.contains(&format!("process {pid}, which sent it")),
        "{reason}"
    );
    assert!(reason.contains("use a segment that has a name"), "{reason}");
    let Ok(Parcel::Segment(named)) = post.recv() else {
        panic!("its name is there");
    };
    assert_eq!(named.name(), &*name);
    let value = Value::<u64>::open(&named, "value").unwrap();
    assert_eq!(value.get().unwrap(), 5);
}

/// Sends a segment of the directory that it was started in.
pub(crate) fn send_from_a_directory(args: &[String]) {
    let options = SegmentOptions::new().directory(".");
    let segment = options.create("here").unwrap();
    post(args).send(&Parcel::Segment(segment)).unwrap();
}

#[test]
fn a_segment_of_another_directory_arrives_wherever_the_receiver_stands() {
    let post = Post::new();
    let directory = format!("commonhold-travel-{}", std::process::id());
    let directory = std::env::temp_dir().join(directory);
    std::fs::create_dir(&directory).unwrap();
    let mut program = support::command(&support::this_program());
    program.current_dir(&directory);
    Child::start_by(program, "send_from_a_directory", &[&post.name]).finish();
    let arrived = post.recv();
    std::fs::remove_dir_all(&directory).unwrap();
    let Ok(Parcel::Segment(segment)) = arrived else {
        panic!("{arrived:?}");
    };
    assert_eq!((segment.name(), alive(&segment)), ("here", 1));
}

#[test]
fn handles_within_vectors_options_and_tuples_arrive() {
    let post = Post::new();
    let (one, two) = (Kit::new(anonymous()), Kit::new(anonymous()));
    let kits = vec![
        Some(one.clone()),
        None,
        Some(two.clone()),
        Some(one.clone()),
    ];
    let other = (two.segment.clone(), 9);
    post.parcels.send(&Parcel::Kits(kits, other)).unwrap();
    let Ok(Parcel::Kits(kits, (segment, 9))) = post.recv() else {
        panic!("as they were sent");
    };
    let [Some(a), None, Some(b), Some(c)] = &kits[..] else {
        panic!("{kits:?}");
    };
    a.value.set(1).unwrap();
    b.value.set(2).unwrap();
    assert_eq!(c.value.get().unwrap(), 1);
    assert_eq!(one.value.get().unwrap(), 1);
    assert_eq!(two.value.get().unwrap(), 2);
    // In the sender's own process they are the mapping that is there.
    let number = |s: &Segment| format!("{:?}", s.as_fd());
    assert_eq!(number(&segment), number(&two.segment));
    assert_eq!((alive(&one.segment), alive(&two.segment)), (1, 1));
}

/// Is asked for kits by channels that it is sent, and answers with some of its own.
pub(crate) fn ask_for_kits(args: &[String]) {
    let post = post(args);
    let kit = Kit::new(anonymous());
    for _ in 0..args[1].parse().unwrap() {
        let Ok(Parcel::Ask(answers)) = post.recv_timeout(LONG) else {
            panic!("a question was to come");
        };
        let kit = Box::new(kit.clone());
        answers.send_timeout(&Parcel::Kit(kit), LONG).unwrap();
    }
    support::listen();
}

#[test]
fn a_thousand_arrivals_leave_no_descriptor_no_mapping_and_no_member() {
    if !forks_are_noticed() {
        return;
    }
    const ARRIVALS: usize = 1000;
    let post = Post::new();
    let mut child = Child::start("ask_for_kits", &[&post.name, &(ARRIVALS + 2).to_string()]);
    let answers = anonymous();
    let answers = Channel::create(&answers, "answers", 1 << 12).unwrap();
    // In a process of one thread, where nobody else opens anything.
    Forked::start(|| {
        let ask = || {
            post.parcels.send(&Parcel::Ask(answers.clone())).unwrap();
            match answers.recv_timeout(LONG).unwrap() {
                Parcel::Kit(kit) => kit,
                other => panic!("{other:?}"),
            }
        };
        let first = ask();
        let other = ask();
        assert_eq!(alive(&first.segment), 2);
        drop((first, other));
        let before = (descriptors(), mappings());
        // Each attaches it anew, since no handle is left of the last one.
        for _ in 0..ARRIVALS / 2 {
            assert_eq!(alive(&ask().segment), 2);
        }
        assert_eq!((descriptors(), mappings()), before);
        // And all together are one member.
        let kits: Vec<_> = (0..ARRIVALS / 2).map(|_| ask()).collect();
        assert_eq!(alive(&kits[0].segment), 2);
        assert_eq!(descriptors(), before.0 + 1);
        drop(kits);
        assert_eq!((descriptors(), mappings()), before);
    })
    .finish();
    child.say("all have arrived");
    child.finish();
}

#[test]
fn what_arrives_in_several_threads_at_once_is_attached_once() {
    const THREADS: usize = 4;
    const ROUNDS: usize = 50;
    let post = Post::new();
    let n = (THREADS * ROUNDS).to_string();
    let mut child = Child::start("ask_for_kits", &[&post.name, &n]);
    let answers = Channel::create(&anonymous(), "answers", 1 << 15).unwrap();
    let together = std::sync::Barrier::new(THREADS);
    for _ in 0..ROUNDS {
        for _ in 0..THREADS {
            post.parcels.send(&Parcel::Ask(answers.clone())).unwrap();
        }
        let arrive = || {
            together.wait();
            answers.recv_timeout(LONG)
        };
        let arrived: Vec<_> = std::thread::scope(|s| {
            let threads: Vec<_> = (0..THREADS).map(|_| s.spawn(arrive)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        for parcel in &arrived {
            let Ok(Parcel::Kit(kit)) = parcel else {
                panic!("{parcel:?}");
            };
            assert_eq!(alive(&kit.segment), 2);
        }
    }
    child.say("all have arrived");
    child.finish();
}

#[test]
fn a_forked_child_sends_and_receives_as_a_process_of_its_own() {
    if !forks_are_noticed() {
        return;
    }
    let post = Post::new();
    let back = Channel::<Parcel>::create(&anonymous(), "back", 1 << 15).unwrap();
    let kit = Kit::new(anonymous());
    post.parcels
        .send(&Parcel::Kit(Box::new(kit.clone())))
        .unwrap();
    let inherited = kit.clone();
    let (answers, parcels) = (back.clone(), post.parcels.clone());
    let child = Forked::start(move || {
        let Ok(Parcel::Kit(kit)) = parcels.recv_timeout(LONG) else {
            panic!("a kit was to come");
        };
        // What it inherited is there already.
        kit.value.set(3).unwrap();
        assert_eq!(inherited.value.get().unwrap(), 3);
        assert_eq!(alive(&kit.segment), 2);
        // Its own, which its parent has never seen.
        let own = Kit::new(anonymous());
        own.value.set(4).unwrap();
        answers.send(&Parcel::Kit(Box::new(own.clone()))).unwrap();
        own.event.set();
        own.barrier.wait_timeout(LONG).unwrap();
    });
    let Ok(Parcel::Kit(theirs)) = back.recv_timeout(LONG) else {
        panic!("a kit was to come");
    };
    assert_eq!(theirs.value.get().unwrap(), 4);
    assert_eq!(kit.value.get().unwrap(), 3);
    assert_eq!(alive(&theirs.segment), 2);
    theirs.barrier.wait_timeout(LONG).unwrap();
    child.finish();
}

#[test]
fn a_child_that_is_forked_while_handles_arrive_can_receive_one() {
    if !forks_are_noticed() {
        return;
    }
    let over = AtomicBool::new(false);
    let parcels = Channel::<Parcel>::create(&anonymous(), "parcels", 1 << 12).unwrap();
    let other = Channel::<Parcel>::create(&anonymous(), "parcels", 1 << 12).unwrap();
    let arrive = |parcels: &Channel<Parcel>| {
        parcels.send(&Parcel::Ask(parcels.clone())).unwrap();
        assert!(matches!(parcels.recv().unwrap(), Parcel::Ask(_)));
    };
    let fork_one = || {
        let child = Forked::start(|| {
            // SAFETY: plain system call: ends a child that waits for ever.
            unsafe { libc::alarm(20) };
            arrive(&parcels);
        });
        child.finish();
    };
    std::thread::scope(|s| {
        s.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                arrive(&other);
            }
        });
        let forks = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            (0..100).for_each(|_| fork_one());
        }));
        over.store(true, Ordering::Relaxed);
        forks.unwrap();
    });
}
