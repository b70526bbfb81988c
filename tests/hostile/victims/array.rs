//! `Array`.

use super::Victim;
use crate::watch::{AT_ONCE, Watch};
use commonhold::{Array, Error, InPlace, Result, Segment};

pub(super) struct Arrays {
    bytes: Array<u8>,
    wide: Array<[u64; 3]>,
}

impl Victim for Arrays {
    fn create(seg: &Segment) -> Result<Self> {
        Ok(Arrays {
            bytes: Array::create(seg, "bytes", 1000, 1)?,
            wide: Array::from_slice(seg, "wide", &[[1, 2, 3]; 7])?,
        })
    }

    fn open(seg: &Segment) -> Result<Self> {
        Ok(Arrays {
            bytes: Array::open(seg, "bytes")?,
            wide: Array::open(seg, "wide")?,
        })
    }

    fn round(&self, watch: &Watch) {
        use_array(&self.bytes, watch, "bytes", 3);
        use_array(&self.wide, watch, "wide", [4; 3]);
    }
}

fn use_array<T: InPlace>(a: &Array<T>, w: &Watch, name: &str, item: T) {
    let len = w.see("Array::len", || a.len());
    w.see("Array::is_empty", || a.is_empty());
    w.see("Array::is_poisoned", || a.is_poisoned());
    if let Some(mut guard) = w.op("Array::try_lock", AT_ONCE, || a.try_lock()) {
        assert_eq!(guard.len(), len);
        w.see("MutexGuard<[T]>::deref_mut", || guard.fill(item));
        w.see("MutexGuard<[T]>::drop", || drop(guard));
    }
    if let Some(guard) = w.timed("Array::lock_timeout", |soon| a.lock_timeout(soon)) {
        w.see("MutexGuard<[T]>::deref", || guard.to_vec());
        w.see("MutexGuard<[T]>::drop", || drop(guard));
    }
    let beyond = w.op("Array::get, beyond", AT_ONCE, || match a.get(len) {
        Err(Error::OutOfBounds { .. }) => Ok(()),
        _ => panic!("an item beyond the end"),
    });
    assert!(beyond.is_some());
    w.timed("Array::recover_timeout", |soon| {
        a.recover_timeout(soon).map(drop)
    });
    w.untimed("Array::recover", name, || a.recover().map(drop));
    w.untimed("Array::lock", name, || a.lock().map(drop));
    if len > 0 {
        w.untimed("Array::get", name, || a.get(len - 1));
        w.untimed("Array::set", name, || a.set(len - 1, item));
    }
    w.untimed("Array::to_vec", name, || a.to_vec());
}
