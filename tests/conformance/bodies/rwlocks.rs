//! Locks for many readers or one writer. The writers' side is also tested as a mutex, by `exclusion`.

use super::{Behind, MutexLike};
use crate::stage::{LIMIT, LONG, Own, Working, kept, listen, ms, tell, theirs, timed};
use commonhold::{Error, Result};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

/// A lock whose guards for writing are those of the mutex that it also is, and that lends others for reading.
pub(crate) trait RwLockLike: MutexLike {
    type ReadGuard<'a>: Reads;
    fn read(&self) -> Result<Self::ReadGuard<'_>>;
    fn try_read(&self) -> Result<Self::ReadGuard<'_>>;
    fn read_timeout(&self, timeout: Duration) -> Result<Self::ReadGuard<'_>>;
}

/// What a guard for reading gives access to.
pub(crate) trait Reads {
    fn read(&self) -> u64;
}

fn would_block<R>(result: Result<R>) -> bool {
    match result {
        Ok(_) => false,
        Err(Error::WouldBlock) => true,
        Err(other) => panic!("{other:?}"),
    }
}

pub(crate) fn readers_of_threads_and_processes_read_at_once<A: RwLockLike>() {
    let own = Own::<A>::new();
    own.it.lock().unwrap().write(4);
    let mut child = own.child("rwlocks", &["read"]);
    child.expect("reads 4");
    let together = Arc::new(Barrier::new(4));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (it, together) = (own.it.clone(), together.clone());
            Working::start(move || {
                let guard = it.read().unwrap();
                // Nobody goes on before all hold the lock.
                together.wait();
                guard.read()
            })
        })
        .collect();
    let guard = own.it.try_read().unwrap();
    let second = own.it.read_timeout(LONG).unwrap();
    together.wait();
    assert!(readers.into_iter().all(|reader| reader.done() == 4));
    assert_eq!(guard.read() + second.read(), 8);
    child.say("end");
    child.finish();
}

pub(crate) fn while_one_reads_nobody_writes<A: RwLockLike>() {
    let own = Own::<A>::new();
    let (one, other) = (own.it.read().unwrap(), own.again());
    assert!(would_block(own.it.try_lock()));
    let (result, took) = timed(|| own.it.lock_timeout(ms(15)).map(drop));
    kept(&result, ms(15), took);
    let second = other.read_timeout(LONG).unwrap();
    let writer = own.it.clone();
    let writer = Working::start(move || writer.lock().map(|mut guard| guard.write(9))).sleeps();
    drop(one);
    assert!(writer.is_done().is_none());
    drop(second);
    writer.done().unwrap();
    assert_eq!(own.it.read().unwrap().read(), 9);
}

pub(crate) fn while_one_writes_nobody_reads<A: RwLockLike>() {
    let own = Own::<A>::new();
    let mut child = own.child("rwlocks", &["try"]);
    child.expect("false");
    let mut guard = own.it.lock().unwrap();
    assert!(would_block(own.it.try_read()) && would_block(own.it.try_lock()));
    child.say("try");
    child.expect("true");
    let (result, took) = timed(|| own.it.read_timeout(ms(15)).map(drop));
    kept(&result, ms(15), took);
    let readers = [(), ()].map(|()| {
        let it = own.it.clone();
        Working::start(move || it.read().map(|guard| guard.read())).sleeps()
    });
    guard.write(3);
    drop(guard);
    for reader in readers {
        assert_eq!(reader.done().unwrap(), 3);
    }
    child.say("end");
    child.finish();
}

const ROUNDS: u64 = 1_000;

/// Writers make it odd and even again; readers must only ever see it even.
fn write_much<A: RwLockLike>(it: &A) {
    for round in 0..ROUNDS {
        let mut guard = it.lock().unwrap();
        let n = guard.read();
        guard.write(n + 1);
        if round % 64 == 0 {
            std::thread::yield_now();
        }
        guard.write(n + 2);
    }
}

fn read_much<A: RwLockLike>(it: &A, end: u64) {
    let start = Instant::now();
    let mut last = 0;
    while last < end {
        let n = it.read().unwrap().read();
        assert!(n % 2 == 0 && n >= last, "{n} after {last}");
        last = n;
        // Or, where readers go first, no writer has its turn.
        std::thread::sleep(Duration::from_micros(20));
        assert!(start.elapsed() < 3 * LIMIT, "writers have no turn: {n}");
    }
}

pub(crate) fn readers_see_no_half_of_what_threads_and_processes_write<A: RwLockLike>() {
    let own = Own::<A>::new();
    let writing = own.child("rwlocks", &["write_much"]);
    let reading = own.child("rwlocks", &["read_much"]);
    let writers = [(), ()].map(|()| {
        let it = own.it.clone();
        Working::start(move || write_much(&it))
    });
    read_much(&own.it, 6 * ROUNDS);
    writers.into_iter().for_each(Working::done);
    writing.finish();
    reading.finish();
    assert_eq!(own.it.read().unwrap().read(), 6 * ROUNDS);
}

pub(crate) fn a_reader_that_panics_poisons_nothing<A: RwLockLike>() {
    let own = Own::<A>::new();
    std::thread::scope(|s| {
        let it = &own.it;
        let reader = s.spawn(move || {
            let _ = catch_unwind(AssertUnwindSafe(|| {
                let _guard = it.read().unwrap();
                resume_unwind(Box::new("on purpose"));
            }));
        });
        reader.join().unwrap();
    });
    assert_eq!(own.it.try_read().unwrap().read(), 0);
    assert_eq!(own.it.try_lock().unwrap().read(), 0);
}

pub(crate) fn a_writer_that_panics_poisons_it_for_readers_too<A: RwLockLike>() {
    let own = Own::<A>::new();
    std::thread::scope(|s| {
        let it = &own.it;
        let writer = s.spawn(move || {
            let _ = catch_unwind(AssertUnwindSafe(|| {
                let mut guard = it.lock().unwrap();
                guard.write(1);
                resume_unwind(Box::new("on purpose"));
            }));
        });
        writer.join().unwrap();
    });
    let it = &own.it;
    assert!(matches!(it.read().map(drop), Err(Error::Poisoned)));
    assert!(matches!(it.try_read().map(drop), Err(Error::Poisoned)));
    assert!(matches!(
        it.read_timeout(LONG).map(drop),
        Err(Error::Poisoned)
    ));
    let mut guard = it.recover().unwrap();
    guard.write(2);
    drop(guard);
    assert_eq!(it.try_read().unwrap().read(), 2);
}

pub(crate) fn child<A: RwLockLike>(args: &[String]) {
    let it = theirs::<A>(&args[0]);
    match args[1].as_str() {
        "read" => {
            let guard = it.read().unwrap();
            tell(&format!("reads {}", guard.read()));
            listen();
        }
        "try" => loop {
            tell(&would_block(it.try_read()).to_string());
            if listen() == "end" {
                return;
            }
        },
        "write_much" => write_much(&it),
        "read_much" => read_much(&it, 6 * ROUNDS),
        other => panic!("no role {other}"),
    }
}
