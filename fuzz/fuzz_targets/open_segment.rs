//! Arbitrary bytes as a segment, and then every public operation on whatever opens. Nothing may panic, crash or hang;
//! errors and wrong values of a valid type are fine.
//!
//! Most inputs begin with a valid segment that holds an object of each kind, scribble on it, open it, use it,
//! scribble again while it is open, and use it again. The forms that wait for ever are used only where the lock was seen
//! free: a scribbled lock word that names a living member (this process) is a lock that is held, and waiting
//! for it is what these calls are for.

#![no_main]

use arbitrary::Arbitrary;
use commonhold::{
    Array, AtomicCell, Atomics, Condvar, Error, InPlace, Kind, Mutex, Plain, Queue, Result,
    Segment, SegmentOptions, Value,
};
use libfuzzer_sys::fuzz_target;
use std::fmt::Debug;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    /// The whole file.
    Raw(&'a [u8]),
    /// A valid segment, and what is scribbled on it: before it is opened, and each time between two uses.
    Scribbled {
        shape: u8,
        /// Bytes to add to the file's length, or to take from it.
        resize: Option<i16>,
        before: Vec<Patch<'a>>,
        during: Vec<Vec<Patch<'a>>>,
        same_handles: bool,
        /// Which forms that may wait are used first; each time the next ones, because waiting takes long.
        turn: u8,
    },
}

#[derive(Arbitrary, Debug)]
enum Patch<'a> {
    /// Any bytes anywhere (modulo the file's length).
    Bytes { at: u16, bytes: &'a [u8] },
    /// A field of the 128 bytes that are checked at attach, with the checksum made good again or not.
    Geometry {
        field: u8,
        number: Number,
        mend_checksum: bool,
    },
    /// One of the words that members share.
    Shared { word: u8, number: Number },
    /// A member's claim.
    Slot { slot: u8, claim: Number },
    /// A field of an object's entry.
    Entry {
        index: u8,
        field: u8,
        number: Number,
    },
    /// One byte of an entry: its names, too.
    EntryByte { index: u8, at: u8, byte: u8 },
    /// A word among an object's first 512 bytes: its locks, positions, counts.
    Object { index: u8, at: u8, number: Number },
}

/// A number that is worth trying.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Number {
    Zero,
    Max,
    Small(u8),
    Bit(u8),
    BelowBit(u8),
    Any(u64),
    /// A lock word or claim with this generation and slot, and these flags above.
    Member {
        generation: u8,
        slot: u8,
        flags: u8,
    },
}

impl Number {
    fn get(self) -> u64 {
        match self {
            Number::Zero => 0,
            Number::Max => u64::MAX,
            Number::Small(n) => n.into(),
            Number::Bit(n) => 1 << (n % 64),
            Number::BelowBit(n) => (1 << (n % 64)) - 1,
            Number::Any(n) => n,
            Number::Member {
                generation,
                slot,
                flags,
            } => {
                (u64::from(flags) << 30)
                    | ((u64::from(generation) % 8) << 10)
                    | (u64::from(slot) % MEMBERS)
            }
        }
    }
}

// The layout, as docs/layout.md gives it. If it changes, the fuzzer still runs, but reaches less.
const MEMBERS: u64 = 4;
const SHARED_AT: u64 = 128;
const SLOTS_AT: u64 = 4096;
const SLOT_BYTES: u64 = 64;
const ENTRIES_AT: u64 = SLOTS_AT + MEMBERS * SLOT_BYTES;
const ENTRY_BYTES: u64 = 256;
/// Offset and width of each field of the geometry.
const GEOMETRY: [(u64, usize); 16] = [
    (0, 8),
    (8, 4),
    (12, 4),
    (16, 4),
    (20, 4),
    (24, 4),
    (28, 4),
    (32, 4),
    (36, 4),
    (40, 8),
    (48, 8),
    (56, 8),
    (64, 8),
    (72, 8),
    (80, 8),
    (120, 8),
];
/// The words of the header that members change.
const SHARED: [(u64, usize); 7] = [
    (0, 4),
    (4, 4),
    (8, 8),
    (128, 4),
    (132, 4),
    (136, 4),
    (140, 4),
];
/// The numbers of an entry.
const ENTRY: [(u64, usize); 10] = [
    (0, 4),
    (4, 4),
    (8, 4),
    (12, 4),
    (16, 8),
    (24, 8),
    (32, 8),
    (40, 8),
    (48, 2),
    (50, 2),
];

fn checksum(head: &[u8]) -> u64 {
    head.iter().fold(0xcbf2_9ce4_8422_2325, |h, &b| {
        (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The file of a segment, looked at and written from outside.
struct Outside(File);

impl Outside {
    fn new(bytes: &[u8]) -> Outside {
        // SAFETY: the name is a C string; the kernel gives a new descriptor, which is ours.
        let file = unsafe {
            let fd = libc::memfd_create(c"fuzz".as_ptr(), libc::MFD_CLOEXEC);
            assert!(fd >= 0, "{}", std::io::Error::last_os_error());
            File::from_raw_fd(fd)
        };
        file.write_all_at(bytes, 0).unwrap();
        Outside(file)
    }

    fn len(&self) -> u64 {
        self.0.metadata().unwrap().len()
    }

    /// Writes what fits into the file: it never grows.
    fn write(&self, at: u64, bytes: &[u8]) {
        let room = self.len().saturating_sub(at).min(bytes.len() as u64);
        self.0.write_all_at(&bytes[..room as usize], at).unwrap();
    }

    fn write_number(&self, at: u64, width: usize, number: Number) {
        self.write(at, &number.get().to_ne_bytes()[..width]);
    }

    fn read_u32(&self, at: u64) -> u32 {
        let mut bytes = [0; 4];
        let _ = self.0.read_exact_at(&mut bytes, at);
        u32::from_ne_bytes(bytes)
    }

    fn read_u64(&self, at: u64) -> u64 {
        let mut bytes = [0; 8];
        let _ = self.0.read_exact_at(&mut bytes, at);
        u64::from_ne_bytes(bytes)
    }

    fn apply(&self, patch: &Patch<'_>) {
        let len = self.len().max(1);
        let entry = |index: u8| ENTRIES_AT + u64::from(index % 16) * ENTRY_BYTES;
        match *patch {
            Patch::Bytes { at, bytes } => self.write(u64::from(at) % len, bytes),
            Patch::Geometry {
                field,
                number,
                mend_checksum,
            } => {
                let (at, width) = GEOMETRY[usize::from(field) % GEOMETRY.len()];
                self.write_number(at, width, number);
                let mut head = [0; 120];
                if mend_checksum && self.0.read_exact_at(&mut head, 0).is_ok() {
                    self.write(120, &checksum(&head).to_ne_bytes());
                }
            }
            Patch::Shared { word, number } => {
                let (at, width) = SHARED[usize::from(word) % SHARED.len()];
                self.write_number(SHARED_AT + at, width, number);
            }
            Patch::Slot { slot, claim } => {
                let at = SLOTS_AT + u64::from(slot) % MEMBERS * SLOT_BYTES;
                self.write_number(at, 8, claim);
            }
            Patch::Entry {
                index,
                field,
                number,
            } => {
                let (at, width) = ENTRY[usize::from(field) % ENTRY.len()];
                self.write_number(entry(index) + at, width, number);
            }
            Patch::EntryByte { index, at, byte } => {
                self.write(entry(index) + u64::from(at), &[byte])
            }
            Patch::Object { index, at, number } => {
                let object = self.read_u64(entry(index) + 16);
                self.write_number(
                    object.saturating_add(u64::from(at) % 128 * 4) % len,
                    4,
                    number,
                );
            }
        }
    }

    /// Whether the lock word at `at` names a member for which the kernel vouches.
    fn is_held_by_the_living(&self, at: u64) -> bool {
        let word = self.read_u32(at) & ((1 << 30) - 1);
        // SAFETY: zero bytes are a valid flock, and the command reads and writes one.
        unsafe {
            let mut lock: libc::flock = std::mem::zeroed();
            lock.l_type = libc::F_RDLCK as libc::c_short;
            lock.l_start = (1 << 61) + (i64::from(word % 1024) << 32) + i64::from(word >> 10);
            lock.l_len = 1;
            let r = libc::fcntl(self.0.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock);
            r != 0 || lock.l_type != libc::F_UNLCK as libc::c_short
        }
    }

    /// Whether making an object would wait for a living member (that is, for this process).
    fn directory_is_held(&self) -> bool {
        self.is_held_by_the_living(SHARED_AT)
    }

    /// Whether any object's first word, where a queue has its senders' lock, names a living member.
    fn any_object_is_held(&self) -> bool {
        (0..16).any(|i| {
            let at = self.read_u64(ENTRIES_AT + i * ENTRY_BYTES + 16);
            self.is_held_by_the_living(at % self.len().max(1))
        })
    }
}

/// A valid segment of each shape, made once.
fn valid(shape: u8) -> &'static [u8] {
    static MADE: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    let all = MADE.get_or_init(|| {
        (0..3)
            .map(|i| make([16, 12, 11][i], i == 0).unwrap())
            .collect()
    });
    &all[usize::from(shape) % all.len()]
}

fn make(max_objects: u32, leave_member: bool) -> Result<Vec<u8>> {
    let seg = SegmentOptions::new()
        .capacity(8192)
        .max_members(MEMBERS as u32)
        .max_objects(max_objects)
        .anonymous()?;
    let file = File::from(seg.as_fd().try_clone_to_owned().unwrap());
    Value::create(&seg, "value", 7u64)?.set(8)?;
    Value::create(&seg, "flag", true)?;
    Array::from_slice(&seg, "array", &[1u32, 2, 3, 4, 5])?;
    Array::create(&seg, "wide", 3, [9u8; 24])?;
    Array::create(&seg, "empty", 0, 0u8)?;
    Atomics::<AtomicU64>::create(&seg, "atomics", 4)?;
    let mutex = Mutex::create(&seg, "mutex", 1u64)?;
    Condvar::create(&seg, "condvar")?;
    Queue::create(&seg, "queue", 5)?.send_all(&[1u64, 2, 3])?;
    let closed = Queue::create(&seg, "closed", 3)?;
    closed.send(true)?;
    closed.close();
    Queue::create(&seg, "wide queue", 4)?.send([5u8; 24])?;
    if leave_member {
        // A dead member, and a lock in its hands.
        std::mem::forget(mutex.lock()?);
    } else {
        drop((mutex, closed, seg));
    }
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    Ok(bytes)
}

const NAMES: [&str; 11] = [
    "value",
    "flag",
    "array",
    "wide",
    "empty",
    "atomics",
    "mutex",
    "condvar",
    "queue",
    "closed",
    "wide queue",
];

const AT_ONCE: Duration = Duration::ZERO;
/// Long enough to fall asleep.
const SOON: Duration = Duration::from_micros(50);

/// The message is made, too: it must not panic on names that somebody scribbled.
fn told<R>(result: Result<R>) -> Option<R> {
    result.map_err(|e| assert!(!e.to_string().is_empty())).ok()
}

fn use_value<T: Plain + Debug>(v: &Value<T>, other: T, turn: u8) {
    told(v.get());
    told(v.try_update(|_| ()));
    told(v.update_timeout(AT_ONCE, |x| *x));
    if turn.is_multiple_of(4) {
        told(v.wait_until_timeout(AT_ONCE, |_| false));
    }
    told(v.wait_until_timeout(AT_ONCE, |_| true));
    if told(v.try_set(other)).is_some() {
        // Nobody has the writers' lock: the forms that wait for ever do not.
        told(v.set(other));
        told(v.update(|x| *x));
        told(v.wait_until(|_| true));
    }
    told(v.set_timeout(other, AT_ONCE));
}

/// Everything that `Mutex` and `Array` have in common, as macros cannot be generic and traits do not know them.
macro_rules! use_lock {
    ($lock:expr, $write:expr) => {
        let lock = $lock;
        lock.is_poisoned();
        if let Some(mut guard) = told(lock.lock_timeout(AT_ONCE)) {
            $write(&mut *guard);
        }
        let free = match lock.try_lock().map(drop) {
            Err(Error::WouldBlock) => false,
            other => {
                told(other);
                true
            }
        };
        if free {
            told(lock.recover());
            told(lock.lock());
        }
    };
}

fn use_array<T: InPlace>(a: &Array<T>, item: T) {
    use_lock!(a, |items: &mut [T]| items.fill(item));
    assert!(matches!(a.get(a.len()), Err(Error::OutOfBounds { .. })));
    if let Ok(guard) = a.try_lock() {
        assert_eq!(guard.len(), a.len());
        drop(guard);
        // Nobody has the lock. `()` takes no room, so an array of it may say that it has any number.
        if size_of::<T>() != 0 {
            told(a.to_vec());
        }
        told(a.get(0));
        told(a.set(a.len().wrapping_sub(1), item));
    }
}

fn use_atomics<A: AtomicCell>(a: &Atomics<A>, touch: impl Fn(&A)) {
    a.iter().for_each(touch);
}

fn use_mutex<T: InPlace>(m: &Mutex<T>, condvar: Option<&Condvar>, value: T, turn: u8) {
    use_lock!(m, |x: &mut T| *x = value);
    let Some(condvar) = condvar else { return };
    if turn % 4 == 1
        && let Ok(guard) = m.try_lock()
        && let Some((guard, _)) = told(condvar.wait_timeout(guard, SOON))
    {
        told(condvar.wait_timeout_while(guard, AT_ONCE, |_| true));
    }
}

fn use_queue<T: Plain + Debug>(q: &Queue<T>, item: T, turn: u8, may_close: bool) {
    let mut items = Vec::new();
    assert!(q.len() <= q.capacity());
    q.is_empty();
    q.is_full();
    q.is_closed();
    told(q.try_recv());
    told(q.try_send(item));
    told(q.try_send_all(&[item, item]));
    told(q.try_recv_many(&mut items, 2));
    match turn % 4 {
        0 => drop(told(q.recv_timeout(AT_ONCE))),
        1 => drop(told(q.send_timeout(item, AT_ONCE))),
        2 => drop(told(q.recv_many_timeout(&mut items, usize::MAX, AT_ONCE))),
        _ => drop(told(q.send_all_timeout(&[item, item, item], AT_ONCE))),
    }
    assert!(items.len() <= q.capacity() + 2);
    if may_close {
        q.close();
        assert!(q.is_closed());
        // A closed queue makes nobody wait; what comes out of a scribbled one ends, too.
        for _ in 0..=q.capacity() {
            told(q.try_recv());
        }
    }
}

fn use_all(seg: &Segment, file: &Outside, turn: u8, close: bool) {
    assert!(seg.available() <= seg.capacity());
    assert!(seg.members().len() <= 1024);
    let objects = seg.objects();
    let mut names: Vec<&str> = NAMES.to_vec();
    for object in &objects {
        assert!(object.size <= seg.capacity());
        if !names.contains(&object.name.as_str()) {
            names.push(&object.name);
        }
    }
    for name in names {
        let mut kinds = objects.iter().filter(|o| o.name == name);
        // What is not listed may yet be found, and be anything.
        let kind = kinds.next().map(|o| o.kind);
        use_object(seg, file, name, kind, turn, close);
    }
    create_some(seg, file);
}

/// Opens the object as each type that it may be, and as one that it is not.
fn use_object(
    seg: &Segment,
    file: &Outside,
    name: &str,
    kind: Option<Kind>,
    turn: u8,
    close: bool,
) {
    let may_be = |k: Kind| kind.is_none_or(|kind| kind == k);
    told(Queue::<u8>::open(seg, name));
    if may_be(Kind::Value) {
        if let Some(v) = told(Value::<u64>::open(seg, name)) {
            use_value(&v, 5, turn);
        }
        if let Some(v) = told(Value::<bool>::open(seg, name)) {
            use_value(&v, true, turn);
        }
    }
    if may_be(Kind::Array) {
        if let Some(a) = told(Array::<u32>::open(seg, name)) {
            use_array(&a, 3);
        }
        if let Some(a) = told(Array::<[u8; 24]>::open(seg, name)) {
            use_array(&a, [1; 24]);
        }
        if let Some(a) = told(Array::<u8>::open(seg, name)) {
            use_array(&a, 0xFF);
        }
        if let Some(a) = told(Array::<()>::open(seg, name)) {
            use_array(&a, ());
        }
    }
    if may_be(Kind::Atomics) {
        if let Some(a) = told(Atomics::<AtomicU64>::open(seg, name)) {
            use_atomics(&a, |x| {
                x.fetch_add(1, Ordering::Relaxed);
            });
        }
        if let Some(a) = told(Atomics::<AtomicU8>::open(seg, name)) {
            use_atomics(&a, |x| {
                x.swap(1, Ordering::Relaxed);
            });
        }
    }
    if may_be(Kind::Condvar)
        && let Some(c) = told(Condvar::open(seg, name))
    {
        c.notify_one();
        c.notify_all();
    }
    if may_be(Kind::Mutex) {
        let condvar = told(Condvar::open(seg, "condvar"));
        if let Some(m) = told(Mutex::<u64>::open(seg, name)) {
            use_mutex(&m, condvar.as_ref(), 5, turn);
        }
        if let Some(m) = told(Mutex::<[u8; 24]>::open(seg, name)) {
            use_mutex(&m, condvar.as_ref(), [2; 24], turn);
        }
    }
    if may_be(Kind::Queue) {
        if let Some(q) = told(Queue::<u64>::open(seg, name)) {
            use_queue(&q, 6, turn, close && !file.any_object_is_held());
        }
        if let Some(q) = told(Queue::<bool>::open(seg, name)) {
            use_queue(&q, false, turn, close && !file.any_object_is_held());
        }
        if let Some(q) = told(Queue::<[u8; 24]>::open(seg, name)) {
            use_queue(&q, [8; 24], turn, close && !file.any_object_is_held());
        }
    }
}

/// New objects, and old names: all the ways in which a creation can end.
fn create_some(seg: &Segment, file: &Outside) {
    macro_rules! create {
        ($e:expr) => {
            // Looked at before each: objects that overlap the directory do not exist, but those before may be odd.
            if !file.directory_is_held() {
                told($e);
            }
        };
    }
    create!(Value::create(seg, "value", 1u64));
    create!(Value::open_or_create(seg, "flag", true));
    create!(Mutex::open_or_create(seg, "array", 1u64));
    create!(Array::open_or_create(seg, "new array", 3, 7u32));
    create!(Atomics::<AtomicU32>::open_or_create(seg, "new atomics", 3));
    create!(Queue::<u64>::open_or_create(seg, "new queue", 3));
    create!(Queue::<u64>::create(seg, "huge", usize::MAX));
    create!(Array::create(seg, "large", 8192, 1u8));
    create!(Condvar::open_or_create(seg, "new condvar"));
    create!(Mutex::create(seg, "", 0u8));
}

fn open(file: &Outside) -> Option<Segment> {
    told(Segment::from_fd(
        file.0.as_fd().try_clone_to_owned().unwrap(),
    ))
}

fuzz_target!(|input: Input<'_>| {
    match input {
        Input::Raw(bytes) => {
            let file = Outside::new(bytes);
            if let Some(seg) = open(&file) {
                use_all(&seg, &file, 0, true);
            }
        }
        Input::Scribbled {
            shape,
            resize,
            before,
            during,
            same_handles,
            mut turn,
        } => {
            let file = Outside::new(valid(shape));
            if let Some(by) = resize {
                let len = file.len().saturating_add_signed(by.into());
                file.0.set_len(len).unwrap();
            }
            for patch in &before {
                file.apply(patch);
            }
            let Some(mut seg) = open(&file) else { return };
            let mut other = open(&file);
            use_all(&seg, &file, turn, during.is_empty());
            for (i, patches) in during.iter().take(3).enumerate() {
                for patch in patches {
                    file.apply(patch);
                }
                if !same_handles {
                    match open(&file) {
                        Some(new) => seg = new,
                        None => return,
                    }
                }
                turn = turn.wrapping_add(1);
                use_all(&seg, &file, turn, i + 1 == during.len());
                if let Some(other) = other.take() {
                    use_all(&other, &file, turn, false);
                }
            }
        }
    }
});
