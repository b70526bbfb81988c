//! A function, its arguments and its result.

use crate::pool::LONG;
use crate::support::Name;
use commonhold::process::{Pool, Process};
use commonhold::{Error, Segment, Value};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::sync::{Mutex, mpsc};

fn add((a, b): (u64, u64)) -> u64 {
    a + b
}

#[test]
fn a_function_runs_in_a_process_and_its_result_comes_back() {
    let p = Process::spawn(add, (2, 3)).unwrap();
    assert_ne!(p.pid(), std::process::id());
    assert_eq!(p.join().unwrap(), 5);
    assert_eq!(p.join().unwrap(), 5, "and again");
    assert_eq!(p.exit_code(), Some(0));
    assert!(!p.is_alive());
}

#[test]
fn a_closure_that_takes_nothing_from_around_it_runs_too() {
    let p = Process::spawn(|_: ()| std::process::id(), ()).unwrap();
    assert_eq!(p.join().unwrap(), p.pid());
}

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
enum Shape {
    Nothing,
    Named { name: String, sides: Vec<f64> },
    Many(BTreeMap<String, Option<Box<Shape>>>),
}

#[test]
fn arguments_and_results_are_any_serde_values() {
    let named = Shape::Named {
        name: "triangle".to_owned(),
        sides: vec![3.0, 4.0, 5.0],
    };
    let many = Shape::Many(BTreeMap::from([
        ("none".to_owned(), None),
        ("one".to_owned(), Some(Box::new(named))),
        ("nothing".to_owned(), Some(Box::new(Shape::Nothing))),
    ]));
    let p = Process::spawn(|(s, n): (Shape, usize)| vec![s; n], (many.clone(), 3)).unwrap();
    assert_eq!(p.join().unwrap(), vec![many; 3]);
}

fn generic<T: std::ops::Add<Output = T>>((a, b): (T, T)) -> T {
    a + b
}

#[test]
fn one_generic_function_is_another_for_each_type() {
    let floats = Process::spawn(generic::<f64>, (0.5, 0.25)).unwrap();
    let ints = Process::spawn(generic::<i8>, (-5, 3)).unwrap();
    assert_eq!(floats.join().unwrap(), 0.75);
    assert_eq!(ints.join().unwrap(), -2);
}

#[test]
fn arguments_and_results_of_100_megabytes_come_through() {
    let text = "0123456789".repeat(10_000_000);
    let twice = |text: String| (text.len(), text);
    let p = Process::spawn(twice, text.clone()).unwrap();
    let (len, back) = p.join().unwrap();
    assert_eq!(len, 100_000_000);
    assert!(back == text);
}

#[test]
fn a_panic_is_an_error_with_its_message_its_place_and_its_backtrace() {
    fn the_culprit(n: u32) -> u8 {
        panic!("no {n}")
    }
    // Whoever runs the tests may want no backtraces of them.
    let p = Process::builder(the_culprit, 7).env("RUST_BACKTRACE", "1");
    let p = p.env_remove("RUST_LIB_BACKTRACE").spawn().unwrap();
    let e = p.join().unwrap_err();
    assert!(
        e.to_string()
            .contains("no 7, at tests/process/spawning.rs:"),
        "{e}"
    );
    let Error::Panicked { message, backtrace } = e else {
        panic!("{e:?}")
    };
    assert!(message.starts_with("no 7, at "), "{message}");
    assert!(backtrace.contains("the_culprit"), "{backtrace}");
    assert_eq!(p.exit_code(), Some(101));
}

#[test]
fn a_panic_without_a_backtrace_says_that_there_is_none() {
    let p = Process::builder(|_: ()| -> u8 { panic!("no") }, ());
    let p = p
        .env("RUST_BACKTRACE", "0")
        .env_remove("RUST_LIB_BACKTRACE");
    let e = p.spawn().unwrap().join().unwrap_err();
    assert!(format!("{e:?}").ends_with("backtrace: none }"), "{e:?}");
    let Error::Panicked { backtrace, .. } = e else {
        panic!("{e:?}")
    };
    assert!(backtrace.is_empty());
}

#[test]
fn a_panic_with_any_value_is_an_error() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("the payload's drop");
        }
    }
    let p = Process::spawn(|_: ()| -> u8 { std::panic::panic_any(Bomb) }, ()).unwrap();
    let e = p.join().unwrap_err();
    assert!(
        matches!(&e, Error::Panicked { message, .. } if message.contains("no text")),
        "{e}"
    );
}

#[test]
fn a_panic_that_is_resumed_is_told_and_not_one_that_was_caught_before() {
    let f = |_: ()| -> u8 {
        let _ = std::panic::catch_unwind(|| panic!("caught"));
        let thread = std::thread::spawn(|| panic!("of the thread"));
        std::panic::resume_unwind(thread.join().unwrap_err())
    };
    let e = Process::spawn(f, ()).unwrap().join().unwrap_err();
    assert!(e.to_string().ends_with("panicked: of the thread"), "{e}");
}

#[test]
fn a_panic_that_the_function_catches_is_its_own_affair() {
    let f = |_: ()| std::panic::catch_unwind(|| panic!("caught")).is_err();
    assert!(Process::spawn(f, ()).unwrap().join().unwrap());
}

/// Can be written or not, and read or not.
#[derive(Debug)]
struct Moody {
    is_written: bool,
    is_read: bool,
}

impl Serialize for Moody {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !self.is_written {
            return Err(serde::ser::Error::custom("not in the mood"));
        }
        self.is_read.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Moody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let is_read = bool::deserialize(deserializer)?;
        let moody = Moody {
            is_written: true,
            is_read,
        };
        is_read
            .then_some(moody)
            .ok_or_else(|| serde::de::Error::custom("not in the mood"))
    }
}

#[test]
fn what_serde_cannot_write_or_read_is_an_error_wherever_it_happens() {
    let moody = |is_written, is_read| Moody {
        is_written,
        is_read,
    };
    let unit = |_: Moody| ();
    let e = Process::spawn(unit, moody(false, true)).unwrap_err();
    assert!(
        matches!(&e, Error::NotEncodable { type_name, .. } if type_name == "Moody"),
        "{e}"
    );
    let e = Process::spawn(unit, moody(true, false))
        .unwrap()
        .join()
        .unwrap_err();
    assert!(
        matches!(&e, Error::NotDecodable { type_name, .. } if type_name == "Moody"),
        "{e}"
    );
    let made = |(is_written, is_read)| Moody {
        is_written,
        is_read,
    };
    let e = Process::spawn(made, (false, true))
        .unwrap()
        .join()
        .unwrap_err();
    assert!(
        matches!(&e, Error::NotEncodable { type_name, .. } if type_name == "Moody"),
        "{e}"
    );
    let e = Process::spawn(made, (true, false))
        .unwrap()
        .join()
        .unwrap_err();
    assert!(
        matches!(&e, Error::NotDecodable { type_name, .. } if type_name == "Moody"),
        "{e}"
    );
}

#[test]
fn a_function_of_a_shared_library_is_refused_where_it_is_asked_for() {
    // SAFETY: it is never called; only where it stands is looked at.
    let f = unsafe {
        let abs: unsafe extern "C" fn(i32) -> i32 = libc::abs;
        std::mem::transmute::<unsafe extern "C" fn(i32) -> i32, fn(i32) -> i32>(abs)
    };
    let e = Process::spawn(f, -1).unwrap_err();
    assert!(matches!(e, Error::NotInExecutable), "{e}");
}

#[test]
fn a_segment_without_a_name_arrives_though_the_parent_has_dropped_it() {
    let segment = Segment::anonymous(1 << 16).unwrap();
    let value = Value::create(&segment, "v", 41u64).unwrap();
    let f = |value: Value<u64>| {
        value.update(|v| *v += 1).unwrap();
        value.get().unwrap()
    };
    let p = Process::spawn(f, value.clone()).unwrap();
    drop((segment, value));
    assert_eq!(p.join().unwrap(), 42);
}

#[test]
fn what_a_function_forks_answers_for_nobody() {
    let f = |_: ()| {
        // SAFETY: the child returns from this function, which is what is tested.
        let pid = unsafe { libc::fork() };
        if pid != 0 {
            let mut status = 0;
            // SAFETY: a child of ours.
            unsafe { libc::waitpid(pid, &raw mut status, 0) };
            std::process::exit(3);
        }
        pid
    };
    let e = Process::spawn(f, ()).unwrap().join().unwrap_err();
    assert!(matches!(e, Error::Exited { code: Some(3), .. }), "{e}");
}

#[test]
fn a_named_segment_outlives_whom_it_was_sent_to() {
    let name = Name::new("stays");
    let value = Value::create(&Segment::create(&name, 1 << 16).unwrap(), "n", 0u64).unwrap();
    let add = |v: Value<u64>| v.update(|n| *n += 1).unwrap();
    let add_and_die = |v: Value<u64>| {
        v.update(|n| *n += 1).unwrap();
        std::process::abort()
    };
    Process::spawn(add, value.clone()).unwrap().join().unwrap();
    let killed: Result<(), _> = Process::spawn(add_and_die, value.clone()).unwrap().join();
    assert!(matches!(killed, Err(Error::Killed { .. })));
    let pool = Pool::new(1).unwrap();
    pool.apply(add, value.clone()).unwrap();
    pool.terminate();
    pool.join().unwrap();
    drop((pool, value));
    let value: Value<u64> = Value::open(&Segment::open(&name).unwrap(), "n").unwrap();
    assert_eq!(value.get().unwrap(), 3);
}

#[test]
fn a_lock_that_another_thread_holds_is_free_in_the_new_process() {
    static HELD: Mutex<()> = Mutex::new(());
    std::thread::scope(|s| {
        let (holds, held) = mpsc::channel();
        let (_release, released) = mpsc::channel::<()>();
        s.spawn(move || {
            let _both = (HELD.lock().unwrap(), std::io::stdout().lock());
            holds.send(()).unwrap();
            let _ = released.recv();
        });
        held.recv().unwrap();
        let p = Process::spawn(
            |_: ()| {
                let _out = std::io::stdout().lock();
                HELD.try_lock().is_ok()
            },
            (),
        );
        assert!(p.unwrap().join_timeout(LONG).unwrap());
    });
}

#[test]
fn processes_start_processes() {
    fn sum(n: u64) -> u64 {
        match n {
            0 => 0,
            n => n + Process::spawn(sum, n - 1).unwrap().join().unwrap(),
        }
    }
    assert_eq!(Process::spawn(sum, 4).unwrap().join().unwrap(), 10);
}
