//! What a victim is at, for its parent to see when the victim can no longer tell: in a file of their own, out of the attacker's
//! reach.

use crate::support::Name;
use memmap2::{MmapOptions, MmapRaw};
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

const BYTES: u64 = 4096;
const LONGEST: u64 = 256;

pub(crate) struct Ledger(MmapRaw);

impl Ledger {
    pub(crate) fn create(name: &Name) -> Ledger {
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(name.path())
            .unwrap();
        file.set_len(BYTES).unwrap();
        Ledger(MmapOptions::new().map_raw(&file).unwrap())
    }

    pub(crate) fn open(name: &str) -> Ledger {
        let path = Path::new("/dev/shm").join(name);
        let file = File::options().read(true).write(true).open(path).unwrap();
        Ledger(MmapOptions::new().map_raw(&file).unwrap())
    }

    fn long(&self, index: usize) -> &AtomicU64 {
        assert!(index < 8);
        // SAFETY: within the page, aligned, used by atomics alone.
        unsafe { AtomicU64::from_ptr(self.0.as_mut_ptr().cast::<u64>().add(index)) }
    }

    fn byte(&self, index: u64) -> &AtomicU8 {
        assert!(64 + index < BYTES);
        // SAFETY: as in `long`.
        unsafe { AtomicU8::from_ptr(self.0.as_mut_ptr().add(64 + index as usize)) }
    }

    /// An operation begins that must end within `limit`.
    pub(crate) fn begin(&self, operation: &str, limit: Duration) {
        let name = operation.as_bytes();
        for (i, byte) in (0..LONGEST).zip(name.iter().chain([&0])) {
            self.byte(i).store(*byte, Relaxed);
        }
        self.long(1).fetch_add(1, Relaxed);
        self.long(0)
            .store((now() + limit).as_nanos() as u64, Relaxed);
    }

    pub(crate) fn end(&self) {
        self.long(0).store(0, Relaxed);
    }

    /// By how much the operation under way has overstayed.
    pub(crate) fn overrun(&self) -> Option<Duration> {
        let until = self.long(0).load(Relaxed);
        let over = now().checked_sub(Duration::from_nanos(until))?;
        (until != 0).then_some(over)
    }

    /// The last operation that began, and how many did.
    pub(crate) fn last(&self) -> String {
        let bytes = (0..LONGEST).map(|i| self.byte(i).load(Relaxed));
        let name: Vec<u8> = bytes.take_while(|b| *b != 0).collect();
        let count = self.long(1).load(Relaxed);
        format!("{} (operation {count})", String::from_utf8_lossy(&name))
    }
}

/// The same clock for all processes.
fn now() -> Duration {
    let mut t = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `t` is a timespec that the kernel may fill.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut t) };
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}
