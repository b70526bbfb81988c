//! A lock that names a member who lives and knows nothing of it: who waits with a deadline gets it, and no more.

use crate::layout::{DIRECTORY_LOCK, Layout, SLOTS};
use crate::region::Region;
use crate::support::Name;
use crate::watch::{GRACE, PATIENCE};
use commonhold::{Array, Error, Mutex, Queue, Result, RwLock, Segment, Value};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_millis(150);
const AT_ONCE: Duration = Duration::ZERO;

/// The call fails so, not before its deadline, and not long after it.
fn fails<R>(deadline: Duration, expected: Error, call: impl FnOnce() -> Result<R>) {
    let start = Instant::now();
    let error = call().err();
    let took = start.elapsed();
    let as_expected = error
        .as_ref()
        .is_some_and(|e| std::mem::discriminant(e) == std::mem::discriminant(&expected));
    assert!(as_expected, "{error:?} and not {expected:?}");
    assert!(
        took >= deadline && took < deadline + GRACE,
        "{took:?}, not {deadline:?}"
    );
}

/// Writes this process's name into a lock word.
fn forge(region: &Region, at: u64) {
    region.put(at, 4, (region.get(SLOTS, 8) >> 1 & 0xF_FFFF) << 10);
    assert!(region.is_held_by_the_living(at));
}

#[test]
fn a_forged_owner_who_lives_costs_a_call_its_deadline() {
    let name = Name::new("forged");
    let seg = Segment::create(&name, 1 << 16).unwrap();
    let mutex = Mutex::create(&seg, "mutex", 1u64).unwrap();
    let array = Array::create(&seg, "array", 3, 1u8).unwrap();
    let value = Value::create(&seg, "value", 1u64).unwrap();
    let queue = Queue::create(&seg, "queue", 2).unwrap();
    queue.send(1u64).unwrap();
    let region = Region::open(&name);
    for object in Layout::of(&region).objects {
        let locks = object
            .places
            .iter()
            .filter(|p| p.sort == crate::layout::Sort::Lock);
        locks.for_each(|lock| forge(&region, lock.at));
    }
    fails(AT_ONCE, Error::WouldBlock, || mutex.try_lock());
    fails(SOON, Error::Timeout, || mutex.lock_timeout(SOON));
    fails(SOON, Error::Timeout, || mutex.recover_timeout(SOON));
    fails(AT_ONCE, Error::WouldBlock, || array.try_lock());
    fails(SOON, Error::Timeout, || array.lock_timeout(SOON));
    fails(SOON, Error::Timeout, || array.recover_timeout(SOON));
    fails(AT_ONCE, Error::WouldBlock, || value.try_set(2));
    fails(SOON, Error::Timeout, || value.set_timeout(2, SOON));
    fails(AT_ONCE, Error::WouldBlock, || value.try_update(|_| ()));
    fails(SOON, Error::Timeout, || value.update_timeout(SOON, |_| ()));
    fails(SOON, Error::Timeout, || {
        value.wait_until_timeout(SOON, |n| *n == 2)
    });
    fails(AT_ONCE, Error::Full, || queue.try_send(2));
    fails(SOON, Error::Timeout, || queue.send_timeout(2, SOON));
    fails(SOON, Error::Timeout, || {
        queue.send_all_timeout(&[2, 3], SOON)
    });
    fails(AT_ONCE, Error::Empty, || queue.try_recv());
    fails(SOON, Error::Timeout, || queue.recv_timeout(SOON));
    fails(SOON, Error::Timeout, || {
        queue.recv_many_timeout(&mut Vec::new(), 2, SOON)
    });
    fails(AT_ONCE, Error::Empty, || queue.try_lease());
    fails(SOON, Error::Timeout, || queue.lease_timeout(SOON));
    fails(AT_ONCE, Error::WouldBlock, || queue.try_join());
    fails(SOON, Error::Timeout, || queue.join_timeout(SOON));
    assert_eq!(value.get().unwrap(), 1);
}

/// At the gate, or in a tally.
#[test]
fn a_forged_writer_or_reader_costs_a_call_its_deadline() {
    let name = Name::new("forged");
    let seg = Segment::create(&name, 1 << 16).unwrap();
    let lock = RwLock::create(&seg, "lock", 1u64).unwrap();
    let region = Region::open(&name);
    let at = Layout::of(&region).object("lock").offset;
    let writers_wait = || {
        fails(AT_ONCE, Error::WouldBlock, || lock.try_write());
        fails(SOON, Error::Timeout, || lock.write_timeout(SOON));
        fails(SOON, Error::Timeout, || lock.recover_timeout(SOON));
    };
    forge(&region, at);
    fails(AT_ONCE, Error::WouldBlock, || lock.try_read());
    fails(SOON, Error::Timeout, || lock.read_timeout(SOON));
    writers_wait();
    region.put(at, 4, 0);

    let tally = at + 256;
    let solo = tally + 8;
    drop(lock.read().unwrap());
    region.put(solo, 4, 1);
    writers_wait();
    // There is the tally.
    drop(lock.try_read().unwrap());
    forge(&region, tally + 4);
    region.put(tally, 4, u32::MAX.into());
    writers_wait();
    // All numbers are taken.
    let too_large = || Error::TooLarge {
        requested: 0,
        limit: 0,
    };
    fails(AT_ONCE, too_large(), || lock.try_read());
    fails(AT_ONCE, too_large(), || lock.read_timeout(SOON));
    fails(AT_ONCE, too_large(), || lock.read());
    // Of all that it says, a name in another's slot is not believed.
    region.put(tally, 4, 0);
    region.put(solo, 4, 0);
    for word in [tally, solo] {
        forge(&region, word + 64 + 4);
        region.put(word + 64, 4, 1);
    }
    region.put(at + 16, 8, 3);
    drop(lock.try_write().unwrap());
}

#[test]
fn a_forged_maker_of_objects_costs_the_next_one_ten_seconds() {
    let name = Name::new("maker");
    let seg = Segment::create(&name, 1 << 16).unwrap();
    Value::create(&seg, "old", 1u64).unwrap();
    let region = Region::open(&name);
    forge(&region, DIRECTORY_LOCK);
    fails(PATIENCE, Error::Timeout, || {
        Value::create(&seg, "new", 1u64)
    });
    // Who only opens does not wait.
    assert_eq!(Value::<u64>::open(&seg, "old").unwrap().get().unwrap(), 1);
    fails(AT_ONCE, Error::NotFound, || Value::<u64>::open(&seg, "new"));
}
