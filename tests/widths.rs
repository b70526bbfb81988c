//! Programs built for different machines, or by different compilers, in one segment. `COMMONHOLD_OTHER` is the command of the
//! other build of this test (`.ci/machines` has it for 32 bits and for aarch64); without it this build meets itself.

mod support;

use bytemuck::{Pod, Zeroable};
use commonhold::{Array, Atomics, Condvar, Error, Mutex, Place, Queue, Result, Segment, Value};
use std::ffi::OsString;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use support::{Child, LIMIT, Name, listen, tell, wait_to_be_killed};

support::roles!(visit, open_strangers, open_large);

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
struct Small {
    a: u32,
    b: u16,
    c: [u8; 2],
}

/// With its alignment said, a type with 64-bit fields is the same on 32-bit x86, which aligns them to 4 by itself.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
struct Wide {
    big: u64,
    turn: u32,
    rest: u32,
}

/// One name, and fields that each machine may have, but other bytes.
#[cfg(target_arch = "x86")]
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
struct Uneven {
    a: u32,
    b: u64,
}
#[cfg(not(target_arch = "x86"))]
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
struct Uneven {
    a: u32,
    padding: u32,
    b: u64,
}

const SMALL: Small = Small {
    a: 0x0102_0304,
    b: 0x0506,
    c: [7, 8],
};
const WIDE: Wide = Wide {
    big: 0x0102_0304_0506_0708,
    turn: 0,
    rest: 9,
};

/// One object of each kind, and of types of many sizes.
struct Objects {
    small: Value<Small>,
    wide: Value<Wide>,
    array: Array<u16>,
    wides: Array<Wide>,
    atomics: Atomics<AtomicU64>,
    mutex: Mutex<Wide>,
    condvar: Condvar,
    queue: Queue<Small>,
    odd: Queue<[u8; 5]>,
}

impl Objects {
    fn create(seg: &Segment, whose: &str) -> Result<Objects> {
        let name = |what: &str| format!("{whose} {what}");
        let objects = Objects {
            small: Value::create(seg, &name("small"), SMALL)?,
            wide: Value::create(seg, &name("wide"), WIDE)?,
            array: Array::from_slice(seg, &name("array"), &[1, 2, 3])?,
            wides: Array::create(seg, &name("wides"), 3, WIDE)?,
            atomics: Atomics::create(seg, &name("atomics"), 3)?,
            mutex: Mutex::create(seg, &name("mutex"), WIDE)?,
            condvar: Condvar::create(seg, &name("condvar"))?,
            queue: Queue::create(seg, &name("queue"), 3)?,
            odd: Queue::create(seg, &name("odd"), 3)?,
        };
        objects.atomics[1].store(1 << 33, Relaxed);
        objects.queue.send(SMALL)?;
        objects.odd.send_all(&[[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]])?;
        Ok(objects)
    }

    fn open(seg: &Segment, whose: &str) -> Result<Objects> {
        let name = |what: &str| format!("{whose} {what}");
        Ok(Objects {
            small: Value::open(seg, &name("small"))?,
            wide: Value::open(seg, &name("wide"))?,
            array: Array::open(seg, &name("array"))?,
            wides: Array::open(seg, &name("wides"))?,
            atomics: Atomics::open(seg, &name("atomics"))?,
            mutex: Mutex::open(seg, &name("mutex"))?,
            condvar: Condvar::open(seg, &name("condvar"))?,
            queue: Queue::open(seg, &name("queue"))?,
            odd: Queue::open(seg, &name("odd"))?,
        })
    }

    /// By the one who opened them: finds what was created, and changes all.
    fn change(&self) -> Result<()> {
        assert_eq!(
            self.small.update(|v| std::mem::replace(&mut v.b, 1))?,
            SMALL.b
        );
        assert_eq!(
            self.wide.update(|v| std::mem::replace(&mut v.big, 2))?,
            WIDE.big
        );
        assert_eq!(self.array.to_vec()?, [1, 2, 3]);
        self.array.set(1, 20)?;
        assert_eq!(self.wides.to_vec()?, [WIDE; 3]);
        self.wides.set(2, Wide { big: 4, ..WIDE })?;
        assert_eq!(self.atomics[1].fetch_add(1 << 33, Relaxed), 1 << 33);
        assert_eq!(std::mem::replace(&mut self.mutex.lock()?.big, 3), WIDE.big);
        assert_eq!(self.queue.recv()?, SMALL);
        assert_eq!(
            [self.odd.recv()?, self.odd.recv()?],
            [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]]
        );
        self.odd.send([5, 4, 3, 2, 1])
    }

    /// By the one who created them: finds the changes.
    fn find_changed(&self) -> Result<()> {
        assert_eq!(self.small.get()?, Small { b: 1, ..SMALL });
        assert_eq!(self.wide.get()?, Wide { big: 2, ..WIDE });
        assert_eq!(self.array.to_vec()?, [1, 20, 3]);
        assert_eq!(self.wides.get(2)?, Wide { big: 4, ..WIDE });
        assert_eq!(self.wides.get(1)?, WIDE);
        assert_eq!(self.atomics[1].load(Relaxed), 1 << 34);
        assert_eq!(*self.mutex.lock()?, Wide { big: 3, ..WIDE });
        assert_eq!(self.odd.recv()?, [5, 4, 3, 2, 1]);
        Ok(())
    }

    /// Waits for `mine` and makes it the other's turn, again and again.
    fn take_turns(&self, mine: u32) -> Result<()> {
        for _ in 0..100 {
            let mut wide = self.mutex.lock()?;
            while wide.turn != mine {
                wide = self.condvar.wait(wide)?;
            }
            wide.turn = 1 - mine;
            drop(wide);
            self.condvar.notify_all();
        }
        Ok(())
    }
}

/// The other build of this test.
fn other(role: &str, args: &[&str]) -> Child {
    let words = match std::env::var("COMMONHOLD_OTHER") {
        Ok(other) => other.split_whitespace().map(OsString::from).collect(),
        Err(_) => support::this_program(),
    };
    Child::start_by(support::command(&words), role, args)
}

fn visit(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let host = Objects::open(&seg, "host's").unwrap();
    host.change().unwrap();
    let mine = Objects::create(&seg, "guest's").unwrap();
    tell("created");
    assert_eq!(listen(), "changed");
    mine.find_changed().unwrap();
    host.take_turns(1).unwrap();
    for _ in 0..1000 {
        let item = host.queue.recv().unwrap();
        mine.queue.send(Small { a: !item.a, ..item }).unwrap();
    }
    let mut guard = mine.mutex.lock().unwrap();
    guard.big = 5;
    tell("holding");
    wait_to_be_killed();
}

#[test]
fn programs_of_different_machines_share_objects_of_each_kind() {
    let name = Name::new("widths");
    let seg = Segment::create(&name, 1 << 16).unwrap();
    let mine = Objects::create(&seg, "host's").unwrap();
    let mut guest = other("visit", &[&name]);
    guest.expect("created");
    mine.find_changed().unwrap();
    let theirs = Objects::open(&seg, "guest's").unwrap();
    theirs.change().unwrap();
    guest.say("changed");
    mine.take_turns(0).unwrap();
    for a in 0..1000 {
        mine.queue
            .send_timeout(Small { a, ..SMALL }, LIMIT)
            .unwrap();
        assert_eq!(
            theirs.queue.recv_timeout(LIMIT).unwrap(),
            Small { a: !a, ..SMALL }
        );
    }
    guest.expect("holding");
    assert_eq!(seg.members().iter().filter(|m| m.alive).count(), 2);
    assert!(matches!(theirs.mutex.try_lock(), Err(Error::WouldBlock)));
    guest.kill();
    assert!(matches!(theirs.mutex.lock(), Err(Error::Poisoned)));
    assert_eq!(theirs.mutex.recover().unwrap().big, 5);
}

/// What a type is like here, and whether the object of that name may be opened as it.
fn stranger<T: commonhold::Plain + PartialEq>(seg: &Segment, name: &str, value: T) -> String {
    let opened = match Value::<T>::open(seg, name) {
        Ok(v) => {
            assert!(v.get().unwrap() == value, "{name} is misread");
            true
        }
        Err(Error::TypeMismatch { .. }) => false,
        Err(e) => panic!("{name}: {e}"),
    };
    format!("{name} {} {} {opened}", size_of::<T>(), align_of::<T>())
}

fn uneven() -> Uneven {
    Uneven {
        a: 5,
        b: 1 << 40,
        ..Zeroable::zeroed()
    }
}

fn open_strangers(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    tell(&stranger(&seg, "u64", 1u64 << 40));
    tell(&stranger(&seg, "u128", 1u128 << 100));
    tell(&stranger(&seg, "usize", 7usize));
    tell(&stranger(&seg, "f64", 0.5f64));
    tell(&stranger(&seg, "Uneven", uneven()));
}

#[test]
fn a_type_that_is_other_bytes_on_the_other_machine_is_refused_and_never_misread() {
    let name = Name::new("strangers");
    let seg = Segment::create(&name, 1 << 16).unwrap();
    Value::create(&seg, "u64", 1u64 << 40).unwrap();
    Value::create(&seg, "u128", 1u128 << 100).unwrap();
    Value::create(&seg, "usize", 7usize).unwrap();
    Value::create(&seg, "f64", 0.5f64).unwrap();
    Value::create(&seg, "Uneven", uneven()).unwrap();
    let mut guest = other("open_strangers", &[&name]);
    for (name, size, align) in [
        ("u64", size_of::<u64>(), align_of::<u64>()),
        ("u128", size_of::<u128>(), align_of::<u128>()),
        ("usize", size_of::<usize>(), align_of::<usize>()),
        ("f64", size_of::<f64>(), align_of::<f64>()),
        ("Uneven", size_of::<Uneven>(), align_of::<Uneven>()),
    ] {
        let told = guest.hear();
        let same = told.starts_with(&format!("{name} {size} {align} "));
        assert!(
            told.ends_with(&format!(" {same}")),
            "{told}; here {size} {align}"
        );
        eprintln!("{told}; here {size} {align}");
    }
    guest.finish();
}

fn open_large(args: &[String]) {
    let opened = Segment::open(&args[0]);
    if cfg!(target_pointer_width = "64") {
        assert_eq!(opened.unwrap().capacity() as u64, 3 << 30);
        return;
    }
    assert!(
        matches!(
            opened,
            Err(Error::OutOfSpace { requested, place: Place::AddressSpace, .. }) if requested > 3 << 30
        ),
        "{opened:?}"
    );
}

#[test]
#[cfg(target_pointer_width = "64")]
fn a_segment_that_32_bits_cannot_map_is_refused_there() {
    let name = Name::new("large");
    // Only its first pages get storage.
    let _seg = Segment::create(&name, 3 << 30).unwrap();
    other("open_large", &[&name]).finish();
}
